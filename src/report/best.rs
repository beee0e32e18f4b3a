//! Compares the scenarios of a matrix: which combination of its values is the best.

use serde_json::Value;

use super::words::{latency, rate};
use crate::record::summary::{ScenarioSummary, Summary, Verdict, base_name};

/// Figures that differ by less count as equal: runs vary by as much.
const SAME: f64 = 0.02;

/// The scenarios of each matrix, with their indices, under the name they share. Only matrices with several
/// scenarios.
pub(super) fn groups(summary: &Summary) -> Vec<(&str, Vec<(usize, &ScenarioSummary)>)> {
    let mut groups: Vec<(&str, Vec<(usize, &ScenarioSummary)>)> = Vec::new();
    for (index, scenario) in summary.scenarios.iter().enumerate() {
        if scenario.matrix.is_empty() {
            continue;
        }
        let base = base_name(&scenario.name);
        match groups.iter_mut().find(|(name, _)| *name == base) {
            Some((_, group)) => group.push((index, scenario)),
            None => groups.push((base, vec![(index, scenario)])),
        }
    }
    groups.retain(|(_, group)| group.len() > 1);
    groups
}

/// The best combination by throughput and by p99, among those that passed: the criterion, the combination, and
/// the figure.
pub(super) fn rows(group: &[(usize, &ScenarioSummary)]) -> Vec<[String; 3]> {
    let passed: Vec<&ScenarioSummary> = group
        .iter()
        .map(|(_, scenario)| *scenario)
        .filter(|scenario| scenario.verdict == Verdict::Passed)
        .collect();
    let throughput = |s: &ScenarioSummary| Some(s.throughput.requests_per_s).filter(|x| *x > 0.0);
    let p99 = |s: &ScenarioSummary| s.response_time_ms.told_p99();
    let row =
        |title: &str, best: Result<(&ScenarioSummary, f64), &str>, show: &dyn Fn(f64) -> String| {
            let (who, figure) = match best {
                Ok((best, figure)) => (combination(best, ""), show(figure)),
                Err(_) if passed.is_empty() => ("none passed".into(), "–".into()),
                Err(why) => (why.into(), "–".into()),
            };
            [title.to_owned(), who, figure]
        };
    vec![
        row("throughput", best(&passed, throughput, true), &|value| rate(value)),
        row("p99", best(&passed, p99, false), &|value| latency(Some(value))),
    ]
}

/// The scenario with the highest or lowest figure, or why there is none.
fn best<'a>(
    all: &[&'a ScenarioSummary],
    of: impl Fn(&ScenarioSummary) -> Option<f64>,
    highest: bool,
) -> Result<(&'a ScenarioSummary, f64), &'static str> {
    let mut known: Vec<(&ScenarioSummary, f64)> =
        all.iter().filter_map(|scenario| Some((*scenario, of(scenario)?))).collect();
    known.sort_by(|(_, a), (_, b)| if highest { b.total_cmp(a) } else { a.total_cmp(b) });
    let (Some((_, first)), Some((_, last))) = (known.first(), known.last()) else {
        return Err("unknown: too few requests");
    };
    let same = known.len() > 1 && (first - last).abs() <= SAME * first.max(*last);
    if same { Err("no difference of more than 2%") } else { Ok(known[0]) }
}

/// The matrix values of a scenario, except one.
pub(super) fn combination(scenario: &ScenarioSummary, but: &str) -> String {
    let values = scenario.matrix.iter().filter(|(key, _)| *key != but);
    let values = values.map(|(key, value)| format!("{key} {}", text(value)));
    values.collect::<Vec<_>>().join(", ")
}

/// A value of a matrix.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(replicas: u64, per_s: f64, p99: f64, verdict: Verdict) -> ScenarioSummary {
        let mut scenario = ScenarioSummary {
            name: format!("tune [replicas={replicas}]"),
            verdict,
            ..ScenarioSummary::default()
        };
        scenario.matrix.insert("replicas".into(), replicas.into());
        scenario.throughput.requests_per_s = per_s;
        scenario.response_time_ms.p99 = Some(p99);
        scenario.response_time_ms.count = 1_000_000;
        scenario
    }

    fn told(scenarios: Vec<ScenarioSummary>) -> Vec<[String; 3]> {
        let summary = Summary { scenarios, ..Summary::default() };
        let groups = groups(&summary);
        let [(name, group)] = &groups[..] else { panic!("one matrix") };
        assert_eq!(*name, "tune");
        rows(group)
    }

    #[test]
    fn the_best_of_those_that_passed_is_named_by_throughput_and_by_p99() {
        let (passed, failed) = (Verdict::Passed, Verdict::Failed);
        let rows = told(vec![
            scenario(1, 100.0, 20.0, passed),
            scenario(2, 180.0, 25.0, passed),
            scenario(4, 300.0, 5.0, failed),
        ]);
        assert_eq!(rows[0][..2], ["throughput".to_owned(), "replicas 2".into()]);
        assert_eq!(rows[1][..2], ["p99".to_owned(), "replicas 1".into()]);
    }

    #[test]
    fn figures_that_runs_do_not_tell_apart_have_no_best() {
        let passed = Verdict::Passed;
        let rows = told(vec![scenario(1, 100.0, 20.0, passed), scenario(2, 101.0, 40.0, passed)]);
        assert_eq!(rows[0][1], "no difference of more than 2%");
        assert_eq!(rows[1][1], "replicas 1");
        let failed = Verdict::Failed;
        let rows = told(vec![scenario(1, 100.0, 20.0, failed), scenario(2, 200.0, 40.0, failed)]);
        assert_eq!(rows[0][1..], ["none passed".to_owned(), "–".into()]);
    }
}
