//! Why is it slow? What sets the slowest requests, and those that failed, apart from the others.
//!
//! Each property of a request (its size, a tag, its connection, …) is a question: is it more common among the slow
//! requests than among all? It is tested within short stretches of time, so that if a Flow was slow for a while,
//! properties that happened to be common at that time are not blamed (Mantel and Haenszel). The answer counts only if
//! it is very unlikely to be chance, given the number of questions (Bonferroni), and if the difference matters.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sample::Sampled;
use crate::engine::event::Outcome;
use crate::stats::{poisson_tail, wilson};

/// What distinguishes slow or failed requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhySummary {
    /// Requests that were examined: a random sample if there were more.
    pub sampled: u64,
    /// Requests from which the sample was taken.
    pub of: u64,
    /// The slowest 1 %; null if there were too few requests for a statement.
    pub slow: Option<Apart>,
    /// Those that failed; null if there were too few of them.
    pub failed: Option<Apart>,
}

/// What distinguishes some requests from all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Apart {
    /// Number of these requests.
    pub requests: u64,
    /// For slow ones, the response time from which they count as slow, ms.
    pub from_ms: Option<f64>,
    /// Number of properties that were tested.
    pub looks: u64,
    /// What was found, the largest difference first; empty if nothing distinguishes them.
    pub factors: Vec<Factor>,
}

/// One property that distinguishes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Factor {
    /// The kind of property.
    pub about: About,
    /// The value, as in `lang=de`, `at least 4096` or `worker 0, connection 3`.
    pub value: String,
    /// The share of them that has it, from 0 to 1.
    pub share: f64,
    /// Lower end of the 95 % confidence interval of that share.
    pub low: f64,
    /// Upper end of that interval.
    pub high: f64,
    /// The share of all requests that has it.
    pub share_of_all: f64,
    /// Mean response time of requests that have it, ms.
    pub with_ms: f64,
    /// Mean response time of those that do not, ms.
    pub without_ms: f64,
}

/// What a factor is about.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A tag of the first Document, or a parameter of the request, by its value.
    #[default]
    Value,
    /// Bytes of the request.
    Bytes,
    /// Documents in the request.
    Documents,
    /// Length of its longest Document.
    Length,
    /// The step.
    Step,
    /// The Executor that took the longest.
    Executor,
    /// A replica.
    Replica,
    /// The connection.
    Connection,
    /// For how long its connection had been idle.
    Idle,
    /// It was under way while its connection stalled.
    Stall,
}

/// Probability of claiming anything about requests that nothing sets apart, per table.
const ALPHA: f64 = 0.002;

/// Fewest slow or failed requests to analyse.
const FEW: usize = 20;

/// Number of requests in a stretch of time.
const STRETCH: usize = 200;

/// How much more common a factor must be among them than among all: by this ratio, and by this difference.
const RATIO_MIN: f64 = 1.5;
const MORE_MIN: f64 = 0.1;

/// Maximum number of values of a tag, or of connections; more are not distinguished.
const LEVELS_MAX: usize = 200;

/// Maximum number of factors reported.
const FACTORS_MAX: usize = 10;

/// Analyses a sample of `of` requests. `steps`: their names.
pub fn why(sample: &[Sampled], of: u64, steps: &[&str]) -> WhySummary {
    let mut rows: Vec<&Sampled> = sample.iter().collect();
    // By when they were due: those that end last are all slow.
    rows.sort_by_key(|row| row.done.saturating_sub(row.response));
    let mut times: Vec<_> =
        rows.iter().filter(|row| row.outcome == Outcome::Ok).map(|row| row.response).collect();
    times.sort_unstable();
    let questions = questions(&rows, steps);
    let slow_from = times.get(times.len().saturating_sub(times.len() / 100)).copied();
    let slow = slow_from.filter(|_| times.len() / 100 >= FEW).map(|from| {
        let ok: Vec<bool> = rows.iter().map(|row| row.outcome == Outcome::Ok).collect();
        let is_slow: Vec<bool> =
            rows.iter().zip(&ok).map(|(row, ok)| *ok && row.response >= from).collect();
        let from_ms = Some(from.as_secs_f64() * 1e3);
        Apart { from_ms, ..apart(&rows, &ok, &is_slow, &questions) }
    });
    let is_failed: Vec<bool> = rows.iter().map(|row| row.outcome != Outcome::Ok).collect();
    let failed = is_failed.iter().filter(|failed| **failed).count();
    let all = vec![true; rows.len()];
    // If almost all failed, there is nothing to compare them with.
    let failed = (failed >= FEW && rows.len() - failed >= FEW)
        .then(|| apart(&rows, &all, &is_failed, &questions));
    WhySummary { sampled: rows.len() as u64, of, slow, failed }
}

/// A yes-no question about each request.
struct Question {
    about: About,
    value: String,
    /// The answer for each request.
    has: Vec<bool>,
}

fn questions(rows: &[&Sampled], steps: &[&str]) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut by_name: BTreeMap<(About, String), Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let mut note =
            |about, value: String| by_name.entry((about, value)).or_default().push(index);
        for (name, value) in row.traits.values.iter().flat_map(|values| values.iter()) {
            note(About::Value, format!("{name}={value}"));
        }
        if steps.len() > 1 {
            note(About::Step, steps.get(row.step).copied().unwrap_or_default().to_owned());
        }
        if let Some(longest) = &row.longest {
            note(About::Executor, longest.clone());
        }
        row.replicas.iter().for_each(|replica| note(About::Replica, replica.clone()));
        if let Some((worker, connection)) = row.connection {
            let part = if row.part > 0 { format!("part {}, ", row.part) } else { String::new() };
            note(About::Connection, format!("{part}worker {worker}, connection {connection}"));
        }
        if row.stalled {
            note(About::Stall, "while its connection stalled".into());
        }
    }
    let mut levels: HashMap<(About, String), usize> = HashMap::new();
    for (about, value) in by_name.keys() {
        *levels.entry(kind(*about, value)).or_default() += 1;
    }
    for ((about, value), having) in by_name {
        // A property that only one request has, or that all have, says nothing.
        let many = levels.get(&kind(about, &value)).is_some_and(|count| *count > LEVELS_MAX);
        if many || having.len() < FEW.min(rows.len() / 50).max(5) || having.len() == rows.len() {
            continue;
        }
        let mut has = vec![false; rows.len()];
        having.into_iter().for_each(|index| has[index] = true);
        questions.push(Question { about, value, has });
    }
    let numbers: [(About, Number); 4] = [
        (About::Bytes, |row| row.traits.bytes as f64),
        (About::Documents, |row| row.documents as f64),
        (About::Length, |row| row.traits.length as f64),
        (About::Idle, |row| row.idle.map_or(0.0, |idle| idle.as_secs_f64() * 1e3)),
    ];
    for (about, number) in numbers {
        let values: Vec<f64> = rows.iter().map(|row| number(row)).collect();
        let mut ascending = values.clone();
        ascending.sort_by(f64::total_cmp);
        let mut cuts: Vec<f64> = [0.5, 0.75, 0.9, 0.95, 0.99]
            .iter()
            .filter_map(|share| ascending.get((ascending.len() as f64 * share) as usize).copied())
            .filter(|cut| Some(cut) > ascending.first())
            .collect();
        cuts.dedup();
        for cut in cuts {
            let has = values.iter().map(|value| *value >= cut).collect();
            let unit = if about == About::Idle { " ms" } else { "" };
            let value = format!("at least {}{unit}", (cut * 10.0).round() / 10.0);
            questions.push(Question { about, value, has });
        }
    }
    questions
}

/// Reads a numeric property of a request.
type Number = fn(&Sampled) -> f64;

/// The tag or parameter that a value belongs to: each has its own levels.
fn kind(about: About, value: &str) -> (About, String) {
    let name = value.split('=').next().filter(|_| about == About::Value);
    (about, name.unwrap_or_default().to_owned())
}

/// What sets the `marked` requests apart, among those that `counts` selects.
fn apart(rows: &[&Sampled], counts: &[bool], marked: &[bool], questions: &[Question]) -> Apart {
    let all = counts.iter().filter(|counts| **counts).count();
    let slow = marked.iter().filter(|marked| **marked).count();
    let looks = questions.len().max(1);
    let mut factors: Vec<Factor> = questions
        .iter()
        .filter_map(|question| {
            let (mut expected, mut found, mut having) = (0.0, 0usize, 0usize);
            let stretches = rows.len().div_ceil(STRETCH).max(1);
            let mut stretch = vec![(0.0, 0.0, 0.0); stretches];
            let (mut with, mut without) = ((0.0, 0usize), (0.0, 0usize));
            for (index, row) in rows.iter().enumerate().filter(|(index, _)| counts[*index]) {
                let (of, its, has) = &mut stretch[index / STRETCH];
                *of += 1.0;
                *its += f64::from(u8::from(marked[index]));
                *has += f64::from(u8::from(question.has[index]));
                let ms = row.response.as_secs_f64() * 1e3;
                let side = if question.has[index] { &mut with } else { &mut without };
                *side = (side.0 + ms, side.1 + 1);
                having += usize::from(question.has[index]);
                found += usize::from(question.has[index] && marked[index]);
            }
            for (of, its, has) in stretch.into_iter().filter(|(of, ..)| *of > 0.0) {
                expected += its * has / of;
            }
            if having == 0 || having == all {
                return None;
            }
            let chance = poisson_tail(found as u64, expected) * looks as f64;
            let share = found as f64 / slow as f64;
            let share_of_all = having as f64 / all as f64;
            let (low, high) = wilson(found as u64, slow as u64);
            let usual = expected / slow as f64;
            let matters = share >= RATIO_MIN * usual.max(share_of_all)
                && share >= usual.max(share_of_all) + MORE_MIN
                && low > share_of_all;
            let mean =
                |(sum, count): (f64, usize)| if count > 0 { sum / count as f64 } else { 0.0 };
            (chance <= ALPHA && matters).then(|| Factor {
                about: question.about,
                value: question.value.clone(),
                share,
                low,
                high,
                share_of_all,
                with_ms: mean(with),
                without_ms: mean(without),
            })
        })
        .collect();
    factors.sort_by(|a, b| {
        let more = |factor: &Factor| factor.share - factor.share_of_all;
        more(b).total_cmp(&more(a)).then_with(|| a.about.cmp(&b.about))
    });
    // Of several cuts of a number, keep the most telling one.
    let mut kept: Vec<Factor> = Vec::new();
    for factor in factors {
        let is_number =
            matches!(factor.about, About::Bytes | About::Documents | About::Length | About::Idle);
        if !(is_number && kept.iter().any(|known| known.about == factor.about)) {
            kept.push(factor);
        }
    }
    kept.truncate(FACTORS_MAX);
    Apart { requests: slow as u64, from_ms: None, looks: looks as u64, factors: kept }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::RngExt;
    use rand_pcg::Pcg64Mcg as Pcg64;

    use super::*;
    use crate::engine::event::Traits;
    use crate::random::Key;

    /// Requests of a Flow that is occasionally slow for a while, whatever is sent.
    fn sample(seed: u64, count: usize) -> (Vec<Sampled>, Pcg64) {
        let mut rng = Key::new(seed).rng();
        let mut backlog = 0.0f64;
        let rows = (0..count).map(|n| {
            // A queue, whose length neighbouring requests share.
            let draw: f64 = rng.random::<f64>().max(1e-12);
            backlog = (backlog - 0.8).max(0.0) - draw.ln() * if n % 2000 < 60 { 2.0 } else { 0.6 };
            let ms = 5.0 + backlog + rng.random::<f64>();
            let pick = |rng: &mut Pcg64, of: u32| rng.random_range(0..of);
            let values = vec![
                ("lang".to_owned(), format!("l{}", pick(&mut rng, 20))),
                ("id".to_owned(), n.to_string()),
                ("limit".to_owned(), pick(&mut rng, 3).to_string()),
            ];
            Sampled {
                done: Duration::from_millis(n as u64),
                response: Duration::from_secs_f64(ms / 1e3),
                outcome: if rng.random::<f64>() < 0.01 { Outcome::Timeout } else { Outcome::Ok },
                step: pick(&mut rng, 2) as usize,
                traits: Traits {
                    trace: None,
                    bytes: u64::from(pick(&mut rng, 5000)),
                    length: u64::from(pick(&mut rng, 300)),
                    values: Some(values.into()),
                },
                documents: u64::from(pick(&mut rng, 4)),
                part: 0,
                connection: Some((0, pick(&mut rng, 16))),
                idle: Some(Duration::from_micros(u64::from(pick(&mut rng, 9000)))),
                stalled: false,
                longest: Some(format!("e{}", pick(&mut rng, 2))),
                replicas: vec![format!("e/rep-{}", pick(&mut rng, 4))],
            }
        });
        (rows.collect(), rng)
    }

    fn looked_at(rows: &[Sampled]) -> WhySummary {
        why(rows, rows.len() as u64, &["a", "b"])
    }

    #[test]
    fn nothing_is_claimed_where_nothing_sets_them_apart() {
        let mut claims = 0;
        for seed in 0..100 {
            let (rows, _) = sample(seed, 5000);
            let WhySummary { slow, failed, .. } = looked_at(&rows);
            let (slow, failed) =
                (slow.expect("there are enough"), failed.expect("there are enough"));
            assert!(slow.looks > 40 && slow.requests >= 45, "{slow:?}");
            claims += usize::from(!slow.factors.is_empty() || !failed.factors.is_empty());
        }
        assert!(claims <= 1, "{claims} of 100 runs");
    }

    #[test]
    fn what_costs_more_is_found_first() {
        let slower = |row: &mut Sampled| row.response += Duration::from_millis(200);
        let first = |change: &dyn Fn(&mut Sampled, &mut Pcg64)| {
            let (mut rows, mut rng) = sample(7, 8000);
            rows.iter_mut().for_each(|row| change(row, &mut rng));
            let found = looked_at(&rows).slow.expect("there are enough").factors.remove(0);
            assert!(found.low <= found.share && found.share <= found.high, "{found:?}");
            assert!(found.with_ms > found.without_ms, "{found:?}");
            (found.about, found.value)
        };
        let tag = |row: &Sampled, value: &str| {
            row.traits.values.iter().flat_map(|values| values.iter()).any(|(_, v)| v == value)
        };
        let of_tag = first(&|row, _| {
            if tag(row, "l3") {
                slower(row)
            }
        });
        assert_eq!(of_tag, (About::Value, "lang=l3".to_owned()));
        let replica = first(&|row, _| {
            if row.replicas[0] == "e/rep-2" {
                slower(row)
            }
        });
        assert_eq!(replica, (About::Replica, "e/rep-2".to_owned()));
        let connection = first(&|row, rng| {
            if row.connection == Some((0, 5)) && rng.random::<f64>() < 0.2 {
                slower(row)
            }
        });
        assert_eq!(connection, (About::Connection, "worker 0, connection 5".to_owned()));
        let (about, value) = first(&|row, _| {
            if row.traits.bytes > 4800 {
                slower(row)
            }
        });
        assert!(about == About::Bytes && value.starts_with("at least 4"), "{value}");
    }

    #[test]
    fn failures_have_a_table_of_their_own_and_few_requests_none() {
        let (mut rows, _) = sample(9, 3000);
        rows.iter_mut().for_each(|row| {
            if row.step == 1 && row.documents == 3 {
                row.outcome = Outcome::ResponseError
            }
        });
        let found = looked_at(&rows).failed.expect("there are enough").factors;
        let about: Vec<About> = found.iter().map(|factor| factor.about).collect();
        assert!(about.contains(&About::Documents) && about.contains(&About::Step), "{found:?}");
        let (few, _) = sample(9, 500);
        assert_eq!((looked_at(&few).slow, looked_at(&few).failed), (None, None));
        assert_eq!(looked_at(&[]), WhySummary::default());
    }
}
