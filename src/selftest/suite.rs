//! Runs suites as a user would: read from a file, planned, run and summarized.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{SelftestError, arrivals};
use crate::engine::Stop;
use crate::record::summary::{EndReason, ScenarioSummary};
use crate::{plan, run, scenario};

/// Where suites are run.
pub(super) struct Bench {
    folder: TempDir,
    stop: Stop,
    ran: Vec<Ran>,
}

/// A suite of one scenario that was run.
#[derive(Clone)]
pub(super) struct Ran {
    /// The scenario's summary.
    pub(super) summary: ScenarioSummary,
    /// When the measured requests arrived, by the Flow's clock, in ns, ascending. Empty if the Flow
    /// keeps no log.
    pub(super) arrivals: Vec<u64>,
}

impl Ran {
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.summary.name, self.summary.load)
    }
}

impl Bench {
    pub(super) fn new(stop: Stop) -> Result<Bench, SelftestError> {
        Ok(Bench { folder: tempfile::tempdir()?, stop, ran: Vec::new() })
    }

    /// All suites that were run.
    pub(super) fn ran(&self) -> &[Ran] {
        &self.ran
    }

    /// Runs a suite of one scenario; `$LOG` in it is where its Flow writes arrivals.
    pub(super) async fn run(
        &mut self,
        check: &'static str,
        suite: &str,
    ) -> Result<Ran, SelftestError> {
        let failed = |reason: String| SelftestError::Run { check, reason };
        let (path, log) = (self.path("suite.yaml"), self.path("arrivals.jsonl"));
        let logs = suite.contains("$LOG");
        // JSON strings are valid YAML strings.
        let quoted = serde_json::to_string(&log).map_err(std::io::Error::from)?;
        std::fs::write(&path, suite.replace("$LOG", &quoted))?;
        let suite = scenario::load(&path, &scenario::Options::default());
        let plan = suite.and_then(|suite| plan::resolve(&suite));
        let plan = plan.map_err(|problems| failed(problems.render(false)))?;
        let options = run::Options { stop: self.stop.clone(), ..run::Options::default() };
        let summary = run::run(plan, options).await.map_err(|error| failed(error.to_string()))?;
        if summary.interrupted {
            return Err(SelftestError::Interrupted);
        }
        let summary = summary.scenarios.into_iter().next();
        let summary = summary.ok_or_else(|| failed("there is no scenario in it".into()))?;
        if matches!(summary.end.reason, EndReason::Unreachable | EndReason::Broken) {
            return Err(failed(summary.end.message.unwrap_or_default()));
        }
        let mut arrivals = if logs { arrivals::read(&log)? } else { Vec::new() };
        // Those of the warmup came first.
        let warmup = arrivals.len().saturating_sub(summary.requests.sent as usize);
        arrivals.drain(..warmup);
        let ran = Ran { summary, arrivals };
        self.ran.push(ran.clone());
        Ok(ran)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
