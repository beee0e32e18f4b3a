//! Results as sentences for people. Nothing parses them.

mod limit;
mod models;

pub(crate) use limit::limit;
pub(crate) use models::money;
pub use models::{combination, held_out, next, pareto, plan, prediction, rate};
pub(crate) use models::{settings, values};

use super::number::{number, sure};
use super::predict;
use super::result::Capacity;
use super::search::{Answer, Kind, Settings};
use super::trials::{TrialOutcome, TrialSummary, Unit};
use crate::record::summary::{ThresholdSummary, Verdict};
use crate::scenario::condition::Condition;

/// Writes every sentence of a result from its figures. Must be called before it is saved or shown.
pub fn write(capacity: &mut Capacity) {
    let highest_per_s = predict::highest(&capacity.trials);
    let objective = capacity.objective.join(" and ");
    if let Some(limit) = &mut capacity.first_limit {
        limit.words = self::limit(limit, capacity.unit);
    }
    if let Some(held_out) = &mut capacity.models.held_out {
        held_out.words = self::held_out(held_out);
    }
    for prediction in &mut capacity.models.replicas {
        prediction.words = self::prediction(prediction, highest_per_s);
    }
    for rate in &mut capacity.models.rates {
        rate.words = self::rate(rate, highest_per_s);
    }
    if let Some(pareto) = &mut capacity.pareto {
        pareto.words = self::pareto(pareto, &objective);
    }
    if let Some(combinations) = &mut capacity.combinations {
        combinations.words = self::settings(combinations, &objective, capacity.unit);
    }
    if let Some(plan) = &mut capacity.plan {
        plan.words = self::plan(plan);
    }
    let Capacity { answer, trials, objective, unit, confidence, .. } = &*capacity;
    capacity.words = self::answer(answer, trials, objective, *unit, *confidence);
    capacity.paragraph = paragraph(capacity);
}

/// An answer in a sentence: "sustains at least 412/s at p99 < 100ms, 99 % sure; 431/s fails (p99 163 ms)".
pub fn answer(
    answer: &Answer,
    trials: &[TrialSummary],
    objective: &[String],
    unit: Unit,
    confidence: f64,
) -> String {
    let goal = objective.join(" and ");
    let sure = format!("{} % sure", sure(confidence));
    let say = |level: f64| self::level(level, unit);
    let why = |level: f64| why(trials, level).map_or(String::new(), |why| format!(" ({why})"));
    match answer {
        Answer::Edge { held, fails: Some(fails), .. } => format!(
            "sustains at least {} at {goal}, {sure}; {} {}{}",
            say(*held),
            say(*fails),
            if unit == Unit::Clients && *fails > 1.0 { "fail" } else { "fails" },
            why(*fails)
        ),
        Answer::Edge { held, fails: None, .. } => {
            let above = above(trials, *held, unit);
            format!("sustains at least {} at {goal}, {sure}; {above}", say(*held))
        }
        Answer::FailsAtLow { level } => {
            let tenth = match unit {
                Unit::Rate => level / 10.0,
                Unit::Clients => (level / 10.0).ceil(),
            };
            let lower = match unit {
                Unit::Clients if *level <= 1.0 => "a rate below that of one client".to_owned(),
                _ => say(tenth),
            };
            let why = self::why(trials, *level).map_or(String::new(), |why| format!(": {why}"));
            format!(
                "fails even at {}{why}; start the range lower, for example at {lower}, or relax \
                 the objective",
                say(*level)
            )
        }
        Answer::HoldsAtHigh { level } => format!(
            "still sustains {}, the end of the range, at {goal}, {sure}; end the range higher, \
             for example at {}",
            say(*level),
            say(level * 4.0)
        ),
        Answer::Inconclusive { held: Some(held), reason } => {
            format!("inconclusive: {reason}; {} seemed to hold", say(*held))
        }
        Answer::Inconclusive { held: None, reason } => format!("inconclusive: {reason}"),
    }
}

/// Why it is not known which load above the sustained one fails.
fn above(trials: &[TrialSummary], held: f64, unit: Unit) -> String {
    let of = |outcome| {
        let there = trials.iter().filter(|trial| trial.level > held && trial.outcome == outcome);
        there.map(|trial| trial.level).reduce(f64::min).map(|lowest| level(lowest, unit))
    };
    match (of(TrialOutcome::Inconclusive), of(TrialOutcome::Invalid)) {
        (Some(level), None) => {
            format!("{level} was inconclusive within the trial budget: use a longer `trial`")
        }
        (_, Some(level)) => format!(
            "{level} was inconclusive, as trials were not valid: give flowbench more of the machine"
        ),
        (None, None) => "no load above it was confirmed to fail: use a longer `trial`".into(),
    }
}

/// Which condition failed at a level, and how: "p99 163 ms".
fn why(trials: &[TrialSummary], level: f64) -> Option<String> {
    let at = |trial: &&TrialSummary| trial.level == level && trial.outcome == TrialOutcome::Failed;
    let trial = trials.iter().rfind(at)?;
    let failed = trial.objective.iter().find(|judged| is_broken(judged)).map(condition);
    let failed = failed.or_else(|| {
        let growing = trial.point.growing;
        growing.then(|| "requests in flight grew without bound".to_owned())
    });
    // Responses that arrived after the decision may have improved the totals.
    let excess = (1.0 < trial.excess && trial.excess < f64::MAX).then_some(trial.excess);
    failed.or_else(|| {
        let excess = number(excess?);
        Some(format!("{excess} times the allowed requests were over the limit when it was decided"))
    })
}

/// Whether a condition is violated, even if there may be too few requests to judge it alone.
fn is_broken(judged: &ThresholdSummary) -> bool {
    let holds = |actual: f64| judged.that.parse().is_ok_and(|that: Condition| that.holds(actual));
    judged.verdict == Verdict::Failed
        || judged.verdict == Verdict::Inconclusive && !judged.actual.is_some_and(holds)
}

/// A condition's metric and its value: "p99 163 ms".
pub fn condition(judged: &ThresholdSummary) -> String {
    let metric = judged.that.split(' ').next().unwrap_or_default();
    let value = match (judged.actual, judged.unit.as_str()) {
        (None, "ms") => "above every response time".to_owned(),
        (None, _) => "unknown".to_owned(),
        (Some(ms), "ms") if ms >= 10_000.0 => format!("{} s", number(ms / 1e3)),
        (Some(ms), "ms") => format!("{} ms", number(ms)),
        (Some(share), "share") => format!("{} %", number(share * 100.0)),
        (Some(value), "per_s") => format!("{}/s", number(value)),
        (Some(value), "bytes") => format!("{} MiB", number(value / f64::from(1 << 20))),
        (Some(value), _) => number(value),
    };
    format!("{metric} {value}")
}

/// What a search is going to do, and how long it may take.
pub(crate) fn outlook(settings: &Settings) -> String {
    let unit = if settings.clients { Unit::Clients } else { Unit::Rate };
    let (trials, seconds) = settings.outlook();
    let most = |seconds: f64| match seconds {
        _ if seconds < 120.0 => format!("{} s", number(seconds.ceil())),
        _ => format!("{} min", number((seconds / 60.0).ceil())),
    };
    let overload = if settings.overload { ", then up to twice the sustained load" } else { "" };
    format!(
        "{} to {} in about {trials} trials of at most {} and two of at most {}{overload}: {} if \
         none ends early, as most do",
        level(settings.low, unit),
        level(settings.high, unit),
        most(settings.trial_at(settings.low)),
        most(settings.trial_at(settings.low) * Settings::CONFIRM),
        most(seconds)
    )
}

/// The purpose of a trial.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Bracket => "bracket",
        Kind::Bisect => "bisect",
        Kind::Confirm => "confirm",
        Kind::Retest => "once more",
        Kind::Above => "upper bound",
        Kind::Overload => "overload",
        Kind::CoolDown => "cool down",
    }
}

/// The outcome of a trial.
pub fn outcome(outcome: TrialOutcome) -> &'static str {
    match outcome {
        TrialOutcome::Passed => "passed",
        TrialOutcome::Failed => "failed",
        TrialOutcome::Inconclusive => "inconclusive",
        TrialOutcome::Invalid => "not valid",
        TrialOutcome::Seen => "seen",
    }
}

/// A level: "412/s", "16 clients".
pub fn level(level: f64, unit: Unit) -> String {
    match unit {
        Unit::Rate => format!("{}/s", number(level)),
        Unit::Clients if level == 1.0 => "1 client".into(),
        Unit::Clients => format!("{} clients", number(level)),
    }
}

/// Further findings, one per line.
pub fn details(capacity: &Capacity) -> Vec<String> {
    let unit = capacity.unit;
    let mut lines = Vec::new();
    if let Some(knee) = capacity.knee {
        let between = match knee.high.is_finite() {
            true => format!("between {} and {}", number(knee.low), level(knee.high, unit)),
            false => format!("{} or more", level(knee.low, unit)),
        };
        lines.push(format!(
            "the knee is at {} ({between}): beyond it, latency rises faster than throughput",
            level(knee.value, unit)
        ));
    }
    let goodput = capacity.overload.iter().filter_map(|overload| {
        let goodput = overload.goodput_per_s?;
        let percent = number(overload.factor * 100.0);
        let doubt = if overload.reasons.is_empty() { "" } else { " (not valid)" };
        Some(format!("{}/s at {percent} %{doubt}", number(goodput)))
    });
    let goodput = goodput.collect::<Vec<_>>();
    if !goodput.is_empty() {
        lines.push(format!("goodput under overload: {}", goodput.join(", ")));
    }
    if let Some(seconds) = capacity.recovered_s {
        lines.push(format!("recovers within {} s of the worst overload", number(seconds)));
    } else if capacity.unit == Unit::Rate && !capacity.overload.is_empty() {
        lines.push("did not recover from the worst overload within its trial".into());
    }
    let models = &capacity.models;
    if let Some(stop) = models.executors.iter().find(|stop| stop.saturates_first) {
        lines.push(format!(
            "Executor `{}` saturates first: its time grows from {} to {} ms",
            stop.name,
            number(stop.unloaded_ms),
            number(stop.loaded_ms)
        ));
    }
    lines.extend(next(&models.executors));
    lines.extend(capacity.first_limit.iter().map(|limit| limit.words.clone()));
    if let Some(held_out) = &models.held_out {
        lines.push(held_out.words.clone());
    }
    if models.replicas.len() > 1 {
        lines.extend(models.replicas.iter().map(|prediction| prediction.words.clone()));
    }
    let combinations =
        capacity.combinations.iter().filter(|all| all.rows.len() > 1 || all.has_costs());
    lines.extend(combinations.map(|all| all.words.clone()));
    lines.extend(capacity.pareto.iter().map(|pareto| pareto.words.clone()));
    lines.extend(capacity.plan.iter().map(|plan| plan.words.clone()));
    lines.extend(notes(capacity));
    lines
}

/// Caveats for interpreting the result.
pub fn notes(capacity: &Capacity) -> impl Iterator<Item = String> {
    let even = capacity.burstiness == Some(0.0) && capacity.answer.held().is_some();
    let even = even.then(|| {
        "requests arrived at equal gaps, unlike those of independent users: with `arrivals: \
         poisson` a Flow sustains less"
            .to_owned()
    });
    capacity.notes.iter().map(|note| note.text.clone()).chain(even)
}

/// A summary paragraph for decision makers.
pub fn paragraph(capacity: &Capacity) -> String {
    let unit = capacity.unit;
    let goal = capacity.objective.join(" and ");
    let sure = sure(capacity.confidence);
    let mut text = match &capacity.answer {
        Answer::Edge { held, fails, .. } => {
            let fails = fails.map_or(String::new(), |fails| {
                format!(" At {} it no longer does.", level(fails, unit))
            });
            format!(
                "We are {sure} % sure that this Flow meets its SLO ({goal}) at {}.{fails}",
                level(*held, unit)
            )
        }
        Answer::HoldsAtHigh { level: high } => format!(
            "We are {sure} % sure that this Flow meets its SLO ({goal}) at {}, the highest load \
             tried; its limit is not known.",
            level(*high, unit)
        ),
        Answer::FailsAtLow { level: low } => format!(
            "This Flow does not meet its SLO ({goal}) even at {}, the lowest load tried.",
            level(*low, unit)
        ),
        Answer::Inconclusive { reason, .. } => {
            format!("The capacity of this Flow is inconclusive: {reason}.")
        }
    };
    if let Some(stop) = capacity.models.executors.iter().find(|stop| stop.saturates_first) {
        text.push_str(&format!(
            " The Executor “{}” saturates first: to sustain more, start there.",
            stop.name
        ));
    }
    if let Some(limit) = &capacity.first_limit {
        let (first, rest) = limit.words.split_at(1);
        text.push_str(&format!(" {}{rest}.", first.to_uppercase()));
    }
    if let (Some(worst), Some(held)) = (capacity.overload.last(), capacity.answer.held())
        && unit == Unit::Rate
    {
        let kept = worst.goodput_per_s.unwrap_or(0.0) / held;
        let verdict = match kept {
            _ if worst.goodput_per_s.is_none() => "it was not observed for long enough to tell",
            _ if kept >= 0.8 => "it keeps serving about as much as it can",
            _ if kept >= 0.3 => "it serves part of that in time",
            _ => "hardly any request is answered in time",
        };
        text.push_str(&format!(" Under twice that load {verdict}"));
        text.push_str(&match capacity.recovered_s {
            Some(seconds) => format!(", and it recovers within {} s.", number(seconds)),
            None => ".".into(),
        });
    }
    if let Some(plan) = &capacity.plan {
        text.push_str(&format!(" Looking ahead: {}.", plan.words));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::analysis::tests::trial;

    #[test]
    fn every_answer_says_what_to_do() {
        let words = |given| answer(&given, &[], &["p99 < 100ms".into()], Unit::Rate, 0.99);
        assert_eq!(
            words(Answer::Edge { held: 412.0, fails: Some(431.0), estimate: 421.0 }),
            "sustains at least 412/s at p99 < 100ms, 99 % sure; 431/s fails"
        );
        assert!(
            words(Answer::FailsAtLow { level: 50.0 })
                .contains("start the range lower, for example at 5/s")
        );
        assert!(
            words(Answer::HoldsAtHigh { level: 5000.0 })
                .contains("end the range higher, for example at 20,000/s")
        );
    }

    #[test]
    fn a_search_says_beforehand_how_long_it_may_take() {
        let settings = Settings {
            low: 100.0,
            high: 5000.0,
            clients: false,
            precision: 0.1,
            confidence: 0.99,
            trial_s: 30.0,
            limits: Vec::new(),
            overload: true,
        };
        // 100 to 6400 in seven loads, 2 to 1.05 in four bisections; 17 · 30 s, 3 · 15 s and 45 s.
        assert_eq!(
            outlook(&settings),
            "100/s to 5,000/s in about 11 trials of at most 30 s and two of at most 90 s, then \
             up to twice the sustained load: 10 min if none ends early, as most do"
        );
        let clients = Settings { low: 1.0, high: 32.0, clients: true, overload: false, ..settings };
        assert_eq!(
            outlook(&clients),
            "1 client to 32 clients in about 10 trials of at most 30 s and two of at most 90 s: \
             8 min if none ends early, as most do"
        );
    }

    #[test]
    fn clients_are_many() {
        let edge = Answer::Edge { held: 5.0, fails: Some(6.0), estimate: 5.5 };
        assert_eq!(
            answer(&edge, &[], &["p90 < 60ms".into()], Unit::Clients, 0.99),
            "sustains at least 5 clients at p90 < 60ms, 99 % sure; 6 clients fail"
        );
    }

    #[test]
    fn an_answer_without_an_upper_end_says_why() {
        let words = |above: &[(f64, TrialOutcome)]| {
            let trials: Vec<TrialSummary> = above
                .iter()
                .map(|(level, outcome)| TrialSummary { outcome: *outcome, ..trial(*level) })
                .collect();
            let edge = Answer::Edge { held: 40.0, fails: None, estimate: 40.0 };
            answer(&edge, &trials, &["p99 < 100ms".into()], Unit::Rate, 0.99)
        };
        let begins = "sustains at least 40/s at p99 < 100ms, 99 % sure; ";
        for (above, ends) in [
            (&[][..], "no load above it was confirmed to fail: use a longer `trial`"),
            (
                &[
                    (44.0, TrialOutcome::Inconclusive),
                    (42.0, TrialOutcome::Inconclusive),
                    (39.0, TrialOutcome::Invalid),
                ],
                "42/s was inconclusive within the trial budget: use a longer `trial`",
            ),
            (
                &[(42.0, TrialOutcome::Inconclusive), (44.0, TrialOutcome::Invalid)],
                "44/s was inconclusive, as trials were not valid: give flowbench more of the machine",
            ),
        ] {
            assert_eq!(words(above), format!("{begins}{ends}"));
        }
    }

    #[test]
    fn what_fails_always_has_a_reason() {
        let failed = TrialSummary { excess: 1.34, ..trial(80.0) };
        let edge = Answer::Edge { held: 76.0, fails: Some(80.0), estimate: 78.0 };
        assert_eq!(
            answer(&edge, &[failed], &["p99 < 100ms".into()], Unit::Rate, 0.99),
            "sustains at least 76/s at p99 < 100ms, 99 % sure; 80/s fails (1.34 times the \
             allowed requests were over the limit when it was decided)"
        );
    }
}
