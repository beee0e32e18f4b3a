//! Which scenarios wait for which.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::scenario::Unit;
use crate::source::{Node, Problem, Spot};

/// What scenarios need, by name. A matrix counts as one scenario: a group.
pub(super) struct Needs<'a> {
    units: &'a [Unit],
    // The scenarios that a name stands for: the name of a matrix stands for all its scenarios.
    by_name: HashMap<&'a str, Vec<usize>>,
    names: HashMap<usize, &'a str>,
    // The groups that each group needs.
    needed: HashMap<usize, Vec<usize>>,
    // The groups that may depend on themselves, directly or through others.
    circular: HashSet<usize>,
}

impl<'a> Needs<'a> {
    pub(super) fn new(units: &'a [Unit]) -> Needs<'a> {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut names = HashMap::new();
        for (index, unit) in units.iter().enumerate() {
            let base = unit.base_name.as_deref();
            names.entry(unit.group).or_insert(base.unwrap_or_default());
            by_name.entry(&unit.name).or_default().push(index);
            if let Some(base) = base.filter(|base| *base != unit.name) {
                by_name.entry(base).or_default().push(index);
            }
        }
        let mut needed: HashMap<usize, Vec<usize>> = HashMap::new();
        for unit in units {
            let groups = needed.entry(unit.group).or_default();
            for name in unit.node.get("needs").map(Node::items).unwrap_or_default() {
                let others = name.text().and_then(|name| by_name.get(name));
                groups.extend(others.into_iter().flatten().map(|other| units[*other].group));
            }
            groups.sort_unstable();
            groups.dedup();
        }
        let circular = circular(&needed);
        Needs { units, by_name, names, needed, circular }
    }

    /// The scenarios that must have ended before this one: those it names, and the one before it in
    /// its matrix.
    pub(super) fn of(
        &self,
        me: usize,
        given: &[String],
        at: Spot<'_>,
        problems: &mut Vec<Problem>,
    ) -> Vec<usize> {
        let group = self.units[me].group;
        let mut needs: Vec<usize> = Vec::new();
        for (index, name) in given.iter().enumerate() {
            let at = at.index(index);
            let Some(found) = self.by_name.get(name.as_str()) else {
                at.problem(problems, format!("no scenario is named `{name}`"), |problem| {
                    problem.suggest(name, self.known())
                });
                continue;
            };
            let Some((chain, first)) = self.circle(group, found) else {
                needs.extend(found);
                continue;
            };
            // Each scenario of the cycle finds it; only one reports it.
            if first {
                let message = if chain.len() == 1 {
                    "a scenario cannot need itself".to_owned()
                } else {
                    let names: Vec<String> = chain.iter().map(|name| format!("`{name}`")).collect();
                    format!("scenarios need one another: {}", names.join(" needs "))
                };
                at.problem(problems, message, |problem| problem);
            }
        }
        if me > 0 && self.units[me - 1].group == group {
            needs.push(me - 1);
        }
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// The names as written, in the order of the file.
    fn known(&self) -> Vec<&'a str> {
        let mut seen = HashSet::new();
        let names = self.units.iter().filter_map(|unit| unit.base_name.as_deref());
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The names on the shortest path from a group through one of `found` back to it, and whether it is the
    /// first of them in the file; `None` if there is no such path.
    fn circle(&self, group: usize, found: &[usize]) -> Option<(Vec<&'a str>, bool)> {
        if !self.circular.contains(&group) {
            return None;
        }
        let name = |group: usize| self.names.get(&group).copied().unwrap_or_default();
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut open: VecDeque<usize> = VecDeque::new();
        for other in found.iter().map(|other| self.units[*other].group) {
            if other == group {
                return Some((vec![name(group)], true));
            }
            if from.insert(other, group).is_none() {
                open.push_back(other);
            }
        }
        while let Some(at) = open.pop_front() {
            if at == group {
                let mut chain = vec![name(group)];
                let mut first = true;
                let mut step = from[&group];
                while step != group {
                    first &= group < step;
                    chain.push(name(step));
                    step = from[&step];
                }
                chain.push(name(group));
                chain.reverse();
                return Some((chain, first));
            }
            for other in self.needed.get(&at).into_iter().flatten() {
                if *other != at && !from.contains_key(other) {
                    from.insert(*other, at);
                    open.push_back(*other);
                }
            }
        }
        None
    }
}

/// The groups that remain when those without needs are removed repeatedly: all that are part of a cycle, and
/// those that need one of them.
fn circular(needed: &HashMap<usize, Vec<usize>>) -> HashSet<usize> {
    let mut needed_by: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut left: HashMap<usize, usize> = HashMap::new();
    for (group, others) in needed {
        left.insert(*group, others.len());
        for other in others {
            needed_by.entry(*other).or_default().push(*group);
        }
    }
    let mut free: Vec<usize> =
        left.iter().filter_map(|(group, count)| (*count == 0).then_some(*group)).collect();
    while let Some(group) = free.pop() {
        left.remove(&group);
        for other in needed_by.get(&group).into_iter().flatten() {
            if let Some(count) = left.get_mut(other) {
                *count -= 1;
                if *count == 0 {
                    free.push(*other);
                }
            }
        }
    }
    left.into_keys().collect()
}
