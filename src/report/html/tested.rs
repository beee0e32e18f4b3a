//! What was tested: the facts needed to interpret a figure.

use super::parts::Fact;
use crate::record::summary::{ScenarioSummary, WorkSummary};
use crate::report::words::{bytes, count};

/// Endpoint, Documents, load and Flow.
pub(super) fn facts(scenario: &ScenarioSummary) -> Vec<Fact> {
    let target = &scenario.target;
    let mut flow = match target.built_in {
        true => format!("{}, the built-in Flow", target.flow),
        false => target.flow.clone(),
    };
    flow.push_str(&format!(", over {}", target.protocol));
    if let Some(call) = &target.call {
        flow.push_str(&format!(" ({call})"));
    }
    if let Some(address) = &target.address {
        flow.push_str(&format!(", {address}"));
    }
    if let Some(jina) = target.jina.as_ref().filter(|_| !target.built_in) {
        flow.push_str(&format!(", Jina {jina}"));
    }
    match (&target.docarray, &target.family) {
        (Some(version), _) if !target.built_in => flow.push_str(&format!(", DocArray {version}")),
        (_, Some(family)) => flow.push_str(&format!(", DocArray {family}")),
        _ => (),
    }
    let mut facts = vec![
        Fact { name: "Load", value: scenario.load.clone() },
        Fact { name: "Flow", value: flow },
    ];
    let several = scenario.work.len() > 1;
    let each = |of: fn(&WorkSummary) -> Option<String>| {
        let named = scenario.work.iter().filter_map(|work| {
            let value = of(work)?;
            Some(if several { format!("{}: {value}", work.step) } else { value })
        });
        let mut named: Vec<String> = named.collect();
        named.dedup();
        named.join("; ")
    };
    for (name, value) in [
        ("Requests", each(requests)),
        ("Documents", each(documents)),
        ("Bytes per request", weight(scenario)),
    ] {
        if !value.is_empty() {
            facts.push(Fact { name, value });
        }
    }
    facts
}

fn requests(work: &WorkSummary) -> Option<String> {
    let on = work.on.as_deref();
    Some(match work.kind.as_str() {
        "mutate" => "GraphQL mutation".to_owned(),
        "http" => on?.to_owned(),
        "stream" => format!("{}, streaming", on?),
        _ => match work.request_size {
            None => format!("{}, without Documents", on?),
            Some(1) => format!("{}, 1 Document each", on?),
            Some(size) => format!("{}, {} Documents each", on?, count(size)),
        },
    })
}

fn documents(work: &WorkSummary) -> Option<String> {
    work.documents.clone()
}

fn weight(scenario: &ScenarioSummary) -> String {
    let Some(weights) = scenario.bytes else { return String::new() };
    let sent: u64 = match scenario.steps.as_slice() {
        [] => scenario.requests.sent,
        steps => steps.iter().map(|step| step.requests.sent).sum(),
    };
    let ok: u64 = match scenario.steps.as_slice() {
        [] => scenario.requests.ok,
        steps => steps.iter().map(|step| step.requests.ok).sum(),
    };
    if sent == 0 || ok == 0 {
        return String::new();
    }
    let each = |sum: u64, of: u64| bytes(sum as f64 / of as f64);
    format!("{} sent, {} received", each(weights.sent, sent), each(weights.received, ok))
}
