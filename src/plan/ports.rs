//! Flows that commands start at the same address: they must run one after the other.

use std::collections::HashMap;

use super::{Origin, Plan, Scenario};
use crate::scenario::LoadedSuite;
use crate::source::{Problem, Spot};

/// Reports Flows at the same address that could run at the same time.
pub(super) fn check(suite: &LoadedSuite, plan: &Plan, problems: &mut Vec<Problem>) {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); plan.flows.len()];
    for (index, scenario) in plan.scenarios.iter().enumerate() {
        users[scenario.flow].push(index);
    }
    let mut at: HashMap<(String, u16), Vec<usize>> = HashMap::new();
    for (index, flow) in plan.flows.iter().enumerate() {
        let Origin::Command { clients, .. } = &flow.origin else { continue };
        for client in clients.iter().filter(|_| !users[index].is_empty()) {
            let flows = at.entry((host(&client.target.host), client.target.port)).or_default();
            if !flows.contains(&index) {
                flows.push(index);
            }
        }
    }
    let mut shared: Vec<(u16, Vec<usize>)> = at
        .into_iter()
        .filter(|(_, all)| all.len() > 1)
        .map(|((_, port), all)| (port, all))
        .collect();
    if shared.is_empty() {
        return;
    }
    shared.sort_unstable();
    let order = Order::new(&plan.scenarios);
    for (port, flows) in shared {
        for (at, first) in flows.iter().enumerate() {
            for second in &flows[at + 1..] {
                if let Some(problem) =
                    together(suite, plan, &order, [*first, *second], &users, port)
                {
                    problems.push(problem);
                    // One such pair is enough to report.
                    return;
                }
            }
        }
    }
}

/// Why two Flows cannot share a port, if they cannot.
fn together(
    suite: &LoadedSuite,
    plan: &Plan,
    order: &Order,
    pair: [usize; 2],
    users: &[Vec<usize>],
    port: u16,
) -> Option<Problem> {
    let all_before = |first: usize, second: usize| {
        users[first].iter().all(|a| users[second].iter().all(|b| order.is_before(*a, *b)))
    };
    let name = |flow: usize| &plan.flows[flow].name;
    let at = |scenario: usize| Spot::of(&suite.scenarios[scenario].node).key("flow").place();
    for [first, second] in [pair, [pair[1], pair[0]]] {
        if !all_before(first, second) {
            continue;
        }
        let keeps =
            matches!(&plan.flows[first].origin, Origin::Command { launch, .. } if launch.keep);
        return keeps.then(|| {
            let (first, second_name) = (name(first), name(second));
            let message = format!(
                "flow `{second_name}` cannot start: flow `{first}` is at the same port {port}, and \
                 `keep` keeps it there to the end of the run"
            );
            Problem::at(at(users[second][0]), message)
        });
    }
    let [first, second] = pair;
    let pairs = users[first].iter().flat_map(|a| users[second].iter().map(move |b| (*a, *b)));
    let loose = pairs.clone().find(|(a, b)| !order.is_before(*a, *b) && !order.is_before(*b, *a));
    let scenario = |index: usize| &plan.scenarios[index].name;
    Some(match loose {
        Some((a, b)) => {
            let (a, b) = (a.min(b), a.max(b));
            let message = format!(
                "scenarios `{}` and `{}` may run at the same time, and their flows `{}` and `{}` are \
                 both at port {port}",
                scenario(a),
                scenario(b),
                name(plan.scenarios[a].flow),
                name(plan.scenarios[b].flow),
            );
            let base = suite.scenarios[a].base_name.as_deref().unwrap_or_default();
            Problem::at(at(b), message)
                .help(format!("`needs: [{base}]` makes the second wait for the first to stop"))
        }
        // Each is in use both before and after the other.
        None => {
            let message = format!(
                "flows `{}` and `{}` are both at port {port}, and each would have to stop before the \
                 other is used for the last time",
                name(first),
                name(second)
            );
            Problem::at(at(users[second][0]), message).help("give them different ports")
        }
    })
}

/// A host, with all names for this machine made equal.
fn host(host: &str) -> String {
    match host {
        "localhost" | "127.0.0.1" | "0.0.0.0" | "::1" | "::" => String::new(),
        other => other.to_ascii_lowercase(),
    }
}

/// For each scenario a bit set of the scenarios that have ended before it begins.
struct Order(Vec<Vec<u64>>);

impl Order {
    fn new(scenarios: &[Scenario]) -> Order {
        let words = scenarios.len().div_ceil(64);
        let mut before = vec![vec![0_u64; words]; scenarios.len()];
        let mut waited_for: Vec<Vec<usize>> = vec![Vec::new(); scenarios.len()];
        let mut left: Vec<usize> = Vec::with_capacity(scenarios.len());
        for (index, scenario) in scenarios.iter().enumerate() {
            let before = scenario.needs.iter().chain(&scenario.after);
            left.push(before.clone().count());
            before.for_each(|other| waited_for[*other].push(index));
        }
        let mut free: Vec<usize> = (0..left.len()).filter(|index| left[*index] == 0).collect();
        while let Some(index) = free.pop() {
            let mut own = before[index].clone();
            own[index / 64] |= 1 << (index % 64);
            for next in &waited_for[index] {
                before[*next].iter_mut().zip(&own).for_each(|(word, own)| *word |= own);
                left[*next] -= 1;
                if left[*next] == 0 {
                    free.push(*next);
                }
            }
        }
        Order(before)
    }

    fn is_before(&self, first: usize, second: usize) -> bool {
        self.0[second][first / 64] >> (first % 64) & 1 == 1
    }
}
