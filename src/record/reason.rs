//! Why figures may not be quoted, a condition or a gate cannot be judged, or a search has no clear
//! answer, as data: a code and its figures. The sentence beside them is for people; no code reads it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// One reason.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Reason {
    /// What kind it is: stable, for programs to act on.
    pub code: Code,
    /// What was found, in the unit of `code`; null where it has no figure.
    pub found: Option<f64>,
    /// What is allowed or needed, in the same unit.
    pub limit: Option<f64>,
    /// The same as a sentence.
    pub text: String,
}

/// The kinds of reasons, each with the unit of its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The load generator fell behind schedule: p99 of its send delay, ms.
    GeneratorBehind,
    /// Documents were made too slowly: p99 of the wait for them, ms.
    DocumentsBehind,
    /// Arrivals that could not be sent in time: those that could, of all.
    NotSentInTime,
    /// A thread that sends had no time left: the share of a processor it used.
    ThreadBusy,
    /// Steal time, or CPU throttling by a quota: its share of the time.
    CpuWithheld,
    /// A thread that sends had to wait for a processor that others used: the share of the time.
    CpuContended,
    /// The load exceeds capacity: requests in flight at the end, and half-way.
    Overload,
    /// The load was too short to tell whether the Flow keeps up: the share of it that was still in
    /// flight at the end.
    TooShort,
    /// Requests for which a limit on our side (open files, local ports) let no connection be opened:
    /// how many.
    OwnLimit,
    /// Requests in flight and time spent differ: by which share.
    LittlesLaw,
    /// Too few requests for a percentile: how many there are, and how many it needs.
    TooFewRequests,
    /// The scenario did not run, or not to its end.
    NotRun,
    /// Nothing was sent, or nothing in the window that was cut out.
    NothingMeasured,
    /// The figure is not kept by the second, or not of this step.
    NotKept,
    /// It was interrupted.
    Interrupted,
    /// The Flow was still getting faster from trial to trial: its mean response time in the last and
    /// in the first, ms.
    FlowCold,
    /// A load is too near the edge for a trial to tell on which side it lies: that load.
    NearEdge,
    /// No trial of a load was valid, however often it was made: that load.
    LevelInvalid,
    /// A search has made all the trials it may: how many.
    TrialsUsedUp,
    /// A search goes on.
    NotOver,
    /// A load failed once and passed twice: that load.
    FailedOnce,
    /// What a Flow sustains and what is too much lie further apart than was asked for: shares.
    EndsFarApart,
    /// Runs that cannot be told from what a gate allows: how many per side, and how many would
    /// probably tell.
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
    /// Of a flowbench that had no code for it.
    #[serde(other)]
    Other,
}

impl Code {
    /// Whether it stands against one condition alone and says nothing of the run.
    pub fn is_of_one_condition(self) -> bool {
        matches!(self, Code::TooFewRequests | Code::NotKept)
    }
}

impl Reason {
    /// A reason with its figures.
    pub fn new(code: Code, found: f64, limit: f64, text: impl Into<String>) -> Reason {
        Reason { code, found: Some(found), limit: Some(limit), text: text.into() }
    }

    /// A reason with what was found, where nothing is allowed or needed.
    pub fn of(code: Code, found: f64, text: impl Into<String>) -> Reason {
        Reason { code, found: Some(found), limit: None, text: text.into() }
    }

    /// A reason that has no figures.
    pub fn plain(code: Code, text: impl Into<String>) -> Reason {
        Reason { code, found: None, limit: None, text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Results of before 0.2 have the sentence alone.
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

/// Several reasons in one line.
pub fn join<'a>(reasons: impl IntoIterator<Item = &'a Reason>) -> String {
    let texts: Vec<&str> = reasons.into_iter().map(|reason| reason.text.as_str()).collect();
    texts.join("; ")
}
