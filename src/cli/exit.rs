//! Exit codes.

use crate::record::summary::{EndReason, Summary, Verdict};

/// Exit codes of the program. The numbers are part of the contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Everything passed.
    Passed = 0,
    /// A threshold, an assertion or a gate failed; a call got a response with a failure.
    Failed = 1,
    /// The suite or the command line is wrong.
    Usage = 2,
    /// A target could not be reached or started.
    Unreachable = 3,
    /// Inconclusive: a run is not valid, or a gate cannot decide.
    Inconclusive = 4,
    /// A report could not be written.
    NotWritten = 5,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Exit {
    /// The exit code to use if both apply.
    pub(super) fn or(self, other: Exit) -> Exit {
        const ORDER: [Exit; 6] = [
            Exit::Interrupted,
            Exit::NotWritten,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Failed,
            Exit::Inconclusive,
        ];
        let known = ORDER.into_iter().find(|exit| [self, other].contains(exit));
        known.unwrap_or(Exit::Passed)
    }
}

/// The exit code of a run.
pub(super) fn of_run(summary: &Summary) -> Exit {
    let ended = |reason| summary.scenarios.iter().any(|scenario| scenario.end.reason == reason);
    match summary.verdict {
        Verdict::Interrupted => Exit::Interrupted,
        _ if ended(EndReason::Broken) => Exit::Usage,
        Verdict::NotReached => Exit::Unreachable,
        Verdict::Failed => Exit::Failed,
        Verdict::Inconclusive => Exit::Inconclusive,
        // What is not judged does not fail.
        Verdict::Passed | Verdict::Part => Exit::Passed,
    }
}
