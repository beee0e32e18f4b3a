//! Flows that differ for each combination of a matrix: only one of them runs at a time.

use std::collections::{HashMap, HashSet};

use crate::plan::Scenario;

/// Makes scenarios wait so that all that use one of `flows` are over before the first that uses the next.
/// `groups` has the matrix of each scenario.
///
/// A scenario that needs one of another matrix on the same Flows only needs those of its own combination: what
/// was indexed into a Flow is gone when the Flow is stopped. A combination that fails does not prevent the
/// others from running.
pub(super) fn one_after_the_other(flows: &[usize], groups: &[usize], scenarios: &mut [Scenario]) {
    let place: HashMap<usize, usize> =
        flows.iter().enumerate().map(|(place, flow)| (*flow, place)).collect();
    let of: Vec<Option<usize>> =
        scenarios.iter().map(|scenario| place.get(&scenario.flow).copied()).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); flows.len()];
    // Which groups use each of the Flows.
    let mut used_by: HashSet<(usize, usize)> = HashSet::new();
    for (index, place) in of.iter().enumerate() {
        if let Some(place) = place {
            users[*place].push(index);
            used_by.insert((*place, groups[index]));
        }
    }
    let mut last: HashMap<(usize, usize), usize> = HashMap::new();
    for index in 0..scenarios.len() {
        let Some(place) = of[index] else { continue };
        let scenario = &mut scenarios[index];
        // Keep needs of the same combination, or without a corresponding combination.
        scenario.needs.retain(|need| {
            let other = of[*need].is_some_and(|other| other != place);
            !other || (groups[*need] != groups[index] && !used_by.contains(&(place, groups[*need])))
        });
        // The previous one in its matrix for this Flow, which may now be further up in the file.
        if let Some(before) = last.insert((place, groups[index]), index)
            && !scenario.needs.contains(&before)
        {
            scenario.needs.push(before);
            scenario.needs.sort_unstable();
        }
        if place > 0 {
            scenario.after.clone_from(&users[place - 1]);
        }
    }
}

/// A scenario that waits for itself, directly or through others, if there is one.
pub(super) fn in_a_circle(scenarios: &[Scenario]) -> Option<usize> {
    let waits = |scenario: &Scenario| scenario.needs.len() + scenario.after.len();
    if scenarios.iter().all(|scenario| scenario.after.is_empty()) {
        // Cycles in `needs` alone are reported where they are read.
        return None;
    }
    let mut left: Vec<usize> = scenarios.iter().map(waits).collect();
    let mut waited_for: Vec<Vec<usize>> = vec![Vec::new(); scenarios.len()];
    for (index, scenario) in scenarios.iter().enumerate() {
        scenario.needs.iter().chain(&scenario.after).for_each(|o| waited_for[*o].push(index));
    }
    let mut free: Vec<usize> = (0..left.len()).filter(|index| left[*index] == 0).collect();
    while let Some(index) = free.pop() {
        for next in &waited_for[index] {
            left[*next] -= 1;
            if left[*next] == 0 {
                free.push(*next);
            }
        }
    }
    left.iter().position(|left| *left > 0)
}
