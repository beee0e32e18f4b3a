//! Why figures may not be quoted, why a threshold or gate is inconclusive, or why a search has no
//! clear answer, as data: a code and its figures. The sentence with them is for people; no code
//! reads it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// A reason with its figures.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Reason {
    /// Stable code, for programs to act on.
    pub code: Code,
    /// The value found, in the unit of `code`; null if it has no figures.
    pub found: Option<f64>,
    /// The value allowed or required, in the same unit.
    pub limit: Option<f64>,
    /// The reason as a sentence.
    pub text: String,
}

/// The codes of reasons, with the units of their figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The load generator fell behind schedule: p99 of its send delay, ms.
    GeneratorBehind,
    /// Documents were generated too slowly: p99 of the wait for them, ms.
    DocumentsBehind,
    /// Some arrivals could not be sent in time: number sent in time, number of all.
    NotSentInTime,
    /// A sending thread had no time left: the share of a processor it used.
    ThreadBusy,
    /// Steal time or CPU throttling by a quota: its share of the time.
    CpuWithheld,
    /// A sending thread waited for a processor that others used: the share of the time.
    CpuContended,
    /// The load exceeds capacity: requests in flight at the end, and half-way.
    Overload,
    /// The load was too short to tell whether the Flow keeps up: the share of it still in flight at
    /// the end.
    TooShort,
    /// A limit of this machine (open files, local ports) prevented connections for some requests: their
    /// number.
    OwnLimit,
    /// Little's law fails: the relative difference between counted requests in flight and time
    /// spent in flight.
    LittlesLaw,
    /// Parts of the load have no result: how many there are, and how many there should be.
    PartMissing,
    /// A part of the load ended before its time: after how many seconds.
    PartLost,
    /// A part of the load began late: by how much, and the limit, ms.
    PartLate,
    /// Too few requests for a percentile: how many there are, and how many it needs.
    TooFewRequests,
    /// The scenario did not run, or not to its end.
    NotRun,
    /// Nothing was sent, or nothing in the selected window.
    NothingMeasured,
    /// The figure is not kept per second, or not for this step.
    NotKept,
    /// The run or the search was interrupted.
    Interrupted,
    /// The Flow kept getting faster from trial to trial: mean response time in the last and in the
    /// first trial, ms.
    FlowCold,
    /// A load is too close to the edge for a trial to decide: that load.
    NearEdge,
    /// No trial of a load was valid, however often it was repeated: that load.
    LevelInvalid,
    /// The search has used all its trials: their number.
    TrialsUsedUp,
    /// The scenario or the search has not ended.
    NotOver,
    /// A load failed once and passed twice: that load.
    FailedOnce,
    /// The sustained load and the upper bound are further apart than requested: shares.
    EndsFarApart,
    /// Too few runs to decide a gate: runs per side, and how many would probably suffice.
    TooFewRuns,
    /// The candidate has no such scenario.
    ScenarioMissing,
    /// No request of the base succeeded.
    BaseFailed,
    /// Not every run has the metric.
    MetricMissing,
    /// One of the runs is not valid.
    RunInvalid,
    /// Two results differ in more than their Flow.
    Differs,
    /// Fresh runs did not repeat a regression: how many were made per side.
    NotRepeated,
    /// The budget leaves no time to repeat a regression.
    NoTimeToRepeat,
    /// From a version of flowbench that had no code for it.
    #[serde(other)]
    Other,
}

impl Code {
    /// Whether it only affects one condition, and not the whole run.
    pub fn is_of_one_condition(self) -> bool {
        matches!(self, Code::TooFewRequests | Code::NotKept)
    }
}

impl Reason {
    /// A reason with its figures.
    pub fn new(code: Code, found: f64, limit: f64, text: impl Into<String>) -> Reason {
        Reason { code, found: Some(found), limit: Some(limit), text: text.into() }
    }

    /// A reason with a found value but no limit.
    pub fn of(code: Code, found: f64, text: impl Into<String>) -> Reason {
        Reason { code, found: Some(found), limit: None, text: text.into() }
    }

    /// A reason without figures.
    pub fn plain(code: Code, text: impl Into<String>) -> Reason {
        Reason { code, found: None, limit: None, text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Older results, written before reasons had codes, only have the sentence.
impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
        #[derive(Deserialize)]
        struct Saved {
            code: Code,
            found: Option<f64>,
            limit: Option<f64>,
            text: String,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Reason;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reason: `code`, `found`, `limit` and `text`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reason, E> {
                Ok(Reason::plain(Code::Other, text))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Reason, A::Error> {
                let saved = Saved::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let Saved { code, found, limit, text } = saved;
                Ok(Reason { code, found, limit, text })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Joins several reasons into one line.
pub fn join<'a>(reasons: impl IntoIterator<Item = &'a Reason>) -> String {
    let texts: Vec<&str> = reasons.into_iter().map(|reason| reason.text.as_str()).collect();
    texts.join("; ")
}
