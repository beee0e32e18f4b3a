//! Reasons against comparing two results: differences other than the Flow.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::Saved;
use crate::record::reason::{self, Code};
use crate::record::summary::{EndReason, Environment, ScenarioSummary, Summary};

type Map = serde_json::Map<String, Value>;

/// Why two results should not be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name of the scenario; null if it concerns all.
    pub scenario: Option<String>,
    /// What differs: `seed`, `machine`, `load` …
    pub what: String,
    /// Code of the reason: [`Code::Differs`], or why a result is unusable.
    pub code: Code,
    /// In words, with both values and where they were found.
    pub text: String,
}

impl Difference {
    /// Whether a result is unusable, whatever it is compared with.
    pub(super) fn is_unusable(&self) -> bool {
        self.code != Code::Differs
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scenario {
            Some(scenario) => write!(f, "`{scenario}`: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// All reasons against comparing these results on these scenarios; only the first of each kind.
pub(super) fn differences(
    base: &[Saved],
    candidate: &[Saved],
    names: &[String],
) -> Vec<Difference> {
    let mut found: Vec<Difference> = Vec::new();
    let mut add = |scenario: Option<&str>, what: &str, code: Code, text: String| {
        let scenario = scenario.map(str::to_owned);
        if !found.iter().any(|known| known.what == what && known.scenario == scenario) {
            found.push(Difference { scenario, what: what.into(), code, text });
        }
    };
    let Some(first) = base.first() else { return Vec::new() };
    let all = || base.iter().chain(candidate);
    for saved in all().skip(1) {
        for (what, ours, theirs) in whole(&first.summary, &saved.summary) {
            let text = differ(&what, &first.label, &ours, &saved.label, &theirs);
            add(None, &what, Code::Differs, text);
        }
    }
    for saved in all().filter(|saved| saved.summary.interrupted) {
        let text = format!("{} was interrupted", saved.label);
        add(None, "interrupted", Code::Interrupted, text);
    }
    for name in names {
        let named = |saved: &'_ &Saved| scenario(&saved.summary, name).is_some();
        let mut having = all().filter(named);
        let Some(first) = having.next() else { continue };
        for saved in having {
            for (what, ours, theirs) in part(&first.summary, &saved.summary, name) {
                let text = differ(&what, &first.label, &ours, &saved.label, &theirs);
                add(Some(name), &what, Code::Differs, text);
            }
        }
        for saved in all() {
            let Some(scenario) = scenario(&saved.summary, name) else { continue };
            if !ended(scenario) {
                let text = format!("in {} it did not run to its end", saved.label);
                add(Some(name), "end", Code::NotRun, text);
            } else if scenario.validity.against_all().next().is_some() {
                let reasons = reason::join(scenario.validity.against_all());
                let text = format!("in {} it is not valid: {reasons}", saved.label);
                add(Some(name), "validity", Code::RunInvalid, text);
            }
        }
    }
    found
}

/// Notes on what does not prevent a comparison, but is worth knowing.
pub(super) fn notes(base: &[Saved], candidate: &[Saved]) -> Vec<String> {
    let mut versions: Vec<&str> = Vec::new();
    for saved in base.iter().chain(candidate) {
        let version = &*saved.summary.environment.flowbench;
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let several = versions.len() > 1;
    let note = || format!("different versions of flowbench measured: {}", versions.join(", "));
    several.then(note).into_iter().collect()
}

/// Kind of the machine. Machines with the same description are assumed to be equally fast.
pub(super) fn machine(environment: &Environment) -> String {
    let cpu = environment.cpu.as_deref().unwrap_or("unknown processor");
    let quota = environment.cpu_quota.map(|quota| format!(", limited to {quota}"));
    // The reported memory varies slightly between boots, but not when rounded to GiB.
    let memory = environment.memory_bytes.map(|bytes| {
        let gib = (bytes as f64 / f64::from(1 << 30)).round();
        format!(", {gib} GiB")
    });
    format!(
        "{} {}, {} × {cpu}{}{}",
        environment.os,
        environment.arch,
        environment.cores,
        quota.unwrap_or_default(),
        memory.unwrap_or_default()
    )
}

fn scenario<'a>(summary: &'a Summary, name: &str) -> Option<&'a ScenarioSummary> {
    summary.scenarios.iter().find(|scenario| scenario.name == name)
}

fn ended(scenario: &ScenarioSummary) -> bool {
    matches!(scenario.end.reason, EndReason::Time | EndReason::Requests | EndReason::Documents)
}

fn differ(what: &str, first: &str, ours: &str, other: &str, theirs: &str) -> String {
    format!("the {what} differs: {ours} in {first}, {theirs} in {other}")
}

/// What differs, and its two values.
type Pair = (String, String, String);

fn unequal<'a>(pairs: impl IntoIterator<Item = (&'a str, String, String)>) -> Vec<Pair> {
    let pairs = pairs.into_iter().filter(|(_, ours, theirs)| ours != theirs);
    pairs.map(|(what, ours, theirs)| (what.to_owned(), ours, theirs)).collect()
}

/// Differences that concern all scenarios.
fn whole(ours: &Summary, theirs: &Summary) -> Vec<Pair> {
    unequal([
        ("seed", ours.seed.to_string(), theirs.seed.to_string()),
        ("machine", machine(&ours.environment), machine(&theirs.environment)),
    ])
}

/// Differences that concern one scenario. Its Flow may differ: that is what is compared.
fn part(ours: &Summary, theirs: &Summary, name: &str) -> Vec<Pair> {
    let (Some(our), Some(their)) = (scenario(ours, name), scenario(theirs, name)) else {
        return Vec::new();
    };
    let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
    let tls = |tls: bool| if tls { "with TLS" } else { "without" }.to_owned();
    let warmup = |s: &ScenarioSummary| format!("{} s", s.warmup.duration_s);
    let mut found = unequal([
        ("load", our.load.clone(), their.load.clone()),
        ("warmup", warmup(our), warmup(their)),
        ("protocol", our.target.protocol.clone(), their.target.protocol.clone()),
        ("encryption", tls(our.target.tls), tls(their.target.tls)),
        ("family", show(&our.target.family), show(&their.target.family)),
    ]);
    found.extend(settings(ours, theirs, name));
    found
}

/// Keys of a scenario that do not affect what is sent, or that are what is compared.
const FREE: [&str; 7] =
    ["name", "flow", "thresholds", "assert", "on_done", "on_error", "on_always"];

/// Differences between the resolved suites.
fn settings(ours: &Summary, theirs: &Summary, name: &str) -> Vec<Pair> {
    let (Some(our), Some(their)) = (resolved(ours, name), resolved(theirs, name)) else {
        return Vec::new();
    };
    let mut keys: Vec<&str> = our.keys().chain(their.keys()).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut found = Vec::new();
    for key in keys.into_iter().filter(|key| !FREE.contains(key)) {
        let of = |summary: &Summary, scenario: &Map| {
            let value = scenario.get(key).unwrap_or(&Value::Null);
            // A named generator is compared by its content, not by its name.
            let named = (key == "documents").then(|| value.as_str()).flatten();
            let generator = named
                .and_then(|name| summary.resolved.as_ref()?.get("documents")?.get(name).cloned());
            generator.unwrap_or_else(|| value.clone())
        };
        let (our, their) = (of(ours, our), of(theirs, their));
        if our != their {
            found.push((format!("`{key}`"), short(&our), short(&their)));
        }
    }
    found
}

fn resolved<'a>(summary: &'a Summary, name: &str) -> Option<&'a Map> {
    let scenarios = summary.resolved.as_ref()?.get("scenarios")?.as_array()?;
    let scenario = scenarios.iter().find(|scenario| scenario.get("name") == Some(&name.into()))?;
    scenario.as_object()
}

/// A value, shortened for a sentence.
fn short(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = match value {
        Value::Null => return "left out".into(),
        value => value.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
