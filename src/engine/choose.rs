//! Which of several lists of steps an iteration runs.

use std::sync::Arc;

use crate::plan::Choice;
use crate::random::Key;

/// Chooses by weight. The choice depends only on the seed, the scenario and the index of the
/// iteration, so it is the same with any number of workers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    /// The first step of each list, and the sum of the weights up to and including it.
    lists: Arc<[(usize, f64)]>,
    key: Key,
}

impl Pick {
    /// Chooses among these lists; if there are none, the only list begins with the first step.
    pub(crate) fn new(choices: &[Choice], seed: u64, scenario: &str) -> Pick {
        let mut sum = 0.0;
        let lists = choices.iter().map(|choice| {
            sum += choice.weight;
            (choice.steps.start, sum)
        });
        let key = Key::new(seed).part("choose").part(scenario);
        Pick { lists: lists.collect(), key }
    }

    /// The first step of the iteration of this index.
    pub(crate) fn first_step(&self, index: u64) -> usize {
        const PARTS: u64 = 1 << 53;
        let Some((last, all)) = self.lists.last() else { return 0 };
        if self.lists.len() == 1 {
            return *last;
        }
        let drawn = self.key.index(index).below(PARTS) as f64 / PARTS as f64 * all;
        self.lists.iter().find(|(_, sum)| drawn < *sum).map_or(*last, |(first, _)| *first)
    }

    /// The first steps of all lists.
    pub(crate) fn first_steps(&self) -> impl Iterator<Item = usize> {
        let one = self.lists.is_empty().then_some(0);
        one.into_iter().chain(self.lists.iter().map(|(first, _)| *first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_chosen_as_often_as_its_weight_says_whatever_the_seed() {
        let choice =
            |weight, first| Choice { name: String::new(), weight, steps: first..first + 1 };
        let choices = [choice(3.0, 0), choice(1.0, 2), choice(0.5, 5)];
        let mut firsts = Vec::new();
        for seed in 0..5 {
            let pick = Pick::new(&choices, seed, "s");
            let chosen: Vec<usize> = (0..9000).map(|index| pick.first_step(index)).collect();
            for (first, expected) in [(0, 6000.0), (2, 2000.0), (5, 1000.0)] {
                let count = chosen.iter().filter(|chosen| **chosen == first).count() as f64;
                assert!((count - expected).abs() < expected * 0.12, "{seed}: {first} {count}");
            }
            firsts.push(chosen);
        }
        firsts.dedup();
        assert_eq!(firsts.len(), 5, "seeds choose differently");
        assert_eq!(Pick::new(&[], 0, "s").first_step(7), 0);
    }
}
