//! Predictions, comparisons and plans as sentences.

use crate::capacity::Estimate;
use crate::capacity::analysis::HeldOut;
use crate::capacity::combinations::{Combination, Combinations};
use crate::capacity::forecast::Plan;
use crate::capacity::number::{number, sure};
use crate::capacity::pareto::Pareto;
use crate::capacity::predict::{self, Prediction, RatePrediction, Stop};
use crate::capacity::trials::Unit;
use crate::capacity::words::level;

/// A measured load and its predictions.
pub fn held_out(held_out: &HeldOut) -> String {
    let place = |estimate: &Estimate, actual: f64| match estimate.contains(actual) {
        true => "inside",
        false => "outside",
    };
    let interval = |estimate: &Estimate| match estimate.high.is_finite() {
        true => format!("{} to {}", number(estimate.low), number(estimate.high)),
        false => format!("at least {}", number(estimate.low)),
    };
    let HeldOut { throughput_per_s, mean_ms, .. } = *held_out;
    let mut words = format!(
        "held-out point: {}/s with a mean of {} ms",
        number(throughput_per_s),
        number(mean_ms)
    );
    if let Some(estimate) = &held_out.by_usl_per_s {
        words.push_str(&format!(
            "; {} the 95 % interval of the scalability law, {}/s ({})",
            place(estimate, throughput_per_s),
            number(estimate.value),
            interval(estimate)
        ));
    }
    if let Some(estimate) = &held_out.by_queue_ms {
        words.push_str(&format!(
            "; {} that of the queue, {} ms ({})",
            place(estimate, mean_ms),
            number(estimate.value),
            interval(estimate)
        ));
    }
    words
}

/// What a number of replicas would sustain; `highest_per_s` is the highest throughput measured.
pub fn prediction(prediction: &Prediction, highest_per_s: f64) -> String {
    let Prediction { replicas, holds_per_s, confidence, beyond, .. } = *prediction;
    let between = match holds_per_s.high.is_finite() {
        true => format!("{} to {}/s", number(holds_per_s.low), number(holds_per_s.high)),
        false => format!("{}/s or more", number(holds_per_s.low)),
    };
    let plural = if replicas == 1 { "" } else { "s" };
    format!(
        "{replicas} replica{plural} of the Flow would sustain {between}, {} % sure if nothing \
         else saturates{}",
        sure(confidence),
        warning(beyond, highest_per_s, "linear scaling")
    )
}

/// The predicted response time at a rate; `highest_per_s` is the highest throughput measured.
pub fn rate(prediction: &RatePrediction, highest_per_s: f64) -> String {
    let takes = match prediction.mean_ms {
        Some(ms) if ms.high.is_finite() => format!(
            "a request would take {} ms on average ({} to {})",
            number(ms.value),
            number(ms.low),
            number(ms.high)
        ),
        Some(ms) => format!(
            "a request would take {} ms on average (at least {})",
            number(ms.value),
            number(ms.low)
        ),
        None => "the queue would grow without bound".to_owned(),
    };
    let warning = warning(prediction.beyond, highest_per_s, "the queue model");
    format!("at {}/s {takes}{warning}", number(prediction.rate_per_s))
}

/// A warning for a prediction far beyond the measured range.
fn warning(beyond: bool, highest_per_s: f64, what: &str) -> String {
    if !beyond {
        return String::new();
    }
    let highest = number(highest_per_s);
    format!(", extrapolated beyond twice the measured {highest}/s, {what} unverified")
}

/// Which Executor saturates next once the first one has more replicas.
pub fn next(executors: &[Stop]) -> Option<String> {
    let (first, next) = (executors.first()?, predict::next(executors)?);
    let when = match next.capacity_per_s {
        Some(capacity) if capacity.high.is_finite() => {
            format!("its capacity is {} to {}/s", number(capacity.low), number(capacity.high))
        }
        Some(capacity) => {
            format!("its capacity is at least {}/s", number(capacity.low))
        }
        None => "its capacity is unknown".to_owned(),
    };
    Some(format!(
        "with more replicas of `{}` alone, `{}` saturates next: {when}",
        first.name, next.name
    ))
}

/// The recommended combination of request size and connections, for an objective.
pub fn pareto(pareto: &Pareto, objective: &str) -> String {
    match pareto.recommended.and_then(|index| pareto.variants.get(index)) {
        Some(variant) => format!(
            "the most Documents per second within {objective}: {}, with {}",
            number(variant.documents_per_s.unwrap_or(0.0)),
            combination(variant.request_size, variant.connections)
        ),
        None => format!("no combination meets {objective}"),
    }
}

/// "10 Documents per request over 1 connection".
pub fn combination(request_size: usize, connections: usize) -> String {
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    format!(
        "{} per request over {}",
        many(request_size, "Document"),
        many(connections, "connection")
    )
}

/// Which settings of a Flow sustain the most within an objective, and which cost the least.
pub(crate) fn settings(all: &Combinations, objective: &str, unit: Unit) -> String {
    let told = |row: &Combination| match values(row) {
        values if values.is_empty() => "the Flow".to_owned(),
        values => values,
    };
    let held = |row: &Combination| row.held().map_or_else(String::new, |held| level(held, unit));
    let Some(most) = all.most.and_then(|index| all.rows.get(index)) else {
        return match all.rows.len() {
            1 => format!("it does not meet {objective}"),
            count => format!("none of {count} combinations meets {objective}"),
        };
    };
    let costs = |row: &Combination| {
        let hour = row.cost_per_hour.map(|cost| format!("{} per hour", money(cost)));
        let million =
            row.cost_per_million.map(|cost| format!("{} per million requests", money(cost)));
        let both: Vec<String> = hour.into_iter().chain(million).collect();
        if both.is_empty() { String::new() } else { format!(" at {}", both.join(", ")) }
    };
    if all.rows.len() == 1 {
        return format!("{} sustains {}{}", told(most), held(most), costs(most));
    }
    let mut text = format!("{} sustains the most: {}{}", told(most), held(most), costs(most));
    let same: Vec<String> = all.not_told_apart().into_iter().map(told).collect();
    if !same.is_empty() {
        text.push_str(&format!(" (no measurable difference from {})", same.join(" and ")));
    }
    match all.cheapest.and_then(|index| all.rows.get(index)) {
        Some(_) if all.cheapest == all.most => {
            text.push_str("; it also costs the least per request")
        }
        Some(row) => {
            text.push_str(&format!(
                "; {} costs the least per request: {}{}",
                told(row),
                held(row),
                costs(row)
            ));
        }
        None => (),
    }
    text
}

/// The values of a combination: "replicas 2, threads 4".
pub(crate) fn values(row: &Combination) -> String {
    let value =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values = row.matrix.iter().map(|(key, of)| format!("{key} {}", value(of)));
    values.collect::<Vec<_>>().join(", ")
}

/// How long today's replicas suffice, and what the end of the forecast needs.
pub fn plan(plan: &Plan) -> String {
    let (setup, s, does) = match plan.replicas {
        1 => ("today's one replica".to_owned(), "s", "does"),
        replicas => (format!("today's {replicas} replicas"), "", "do"),
    };
    let headroom = number(plan.headroom * 100.0);
    let first = match (plan.outgrown, plan.steps.first()) {
        (None, _) => format!("{setup} sustain{s} all of the forecast with {headroom} % to spare"),
        (Some(from), Some(step)) if step.from == from => format!(
            "{setup} {does} not sustain today's peak of {}/s with {headroom} % to spare",
            number(step.per_s)
        ),
        (Some(from), _) => format!(
            "{setup} no longer sustain{s} the peak with {headroom} % to spare from {} on",
            from.strftime("%B %Y")
        ),
    };
    let Some(last) = plan.steps.last() else { return first };
    let cost = last.cost_per_million.map_or(String::new(), |cost| {
        format!(", {} per million Documents at the peak", money(cost))
    });
    let beyond = if last.beyond {
        format!(
            " (extrapolated beyond twice the measured {}/s, linear scaling unverified)",
            number(plan.holds_per_s)
        )
    } else {
        String::new()
    };
    format!(
        "{first}; {} needs {} replica{} for {}/s, {} with one spare{cost}{beyond}",
        last.from.strftime("%B %Y"),
        last.replicas,
        if last.replicas == 1 { "" } else { "s" },
        number(last.per_s),
        last.with_spare
    )
}

/// A price: two decimals, more if it would round to zero.
pub(crate) fn money(amount: f64) -> String {
    match amount {
        _ if amount >= 0.095 => format!("{amount:.2}"),
        _ => format!("{amount:.4}"),
    }
}
