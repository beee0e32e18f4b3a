//! Results of examining responses, as they are saved.

use serde::{Deserialize, Serialize};

use crate::engine::examine;
use crate::record::summary::{AssertionSummary, CallbackCount, CallbackCounts};

/// Results of examining responses, since the start of the scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Examined {
    pub(super) assertions: Vec<AssertionSummary>,
    pub(super) callbacks: CallbackCounts,
    pub(super) counters: indexmap::IndexMap<String, u64>,
}

impl Examined {
    /// Number of failed assertions.
    pub(super) fn assertion_failures(&self) -> u64 {
        self.assertions.iter().map(|assertion| assertion.failed).sum()
    }

    /// Adds the results of another part of the load.
    pub(super) fn add(&mut self, other: Examined) {
        for theirs in other.assertions {
            match self.assertions.iter_mut().find(|mine| mine.name == theirs.name) {
                Some(mine) => {
                    mine.passed += theirs.passed;
                    mine.failed += theirs.failed;
                    mine.example = mine.example.take().or(theirs.example);
                }
                None => self.assertions.push(theirs),
            }
        }
        let CallbackCounts { on_done, on_error, on_always } = other.callbacks;
        let mine = &mut self.callbacks;
        let pairs = [
            (&mut mine.on_done, on_done),
            (&mut mine.on_error, on_error),
            (&mut mine.on_always, on_always),
        ];
        for (mine, theirs) in pairs {
            mine.fired += theirs.fired;
            mine.failed += theirs.failed;
            mine.example = mine.example.take().or(theirs.example);
        }
        for (name, count) in other.counters {
            *self.counters.entry(name).or_default() += count;
        }
    }
}

/// The results so far.
pub(super) fn found(examined: &examine::Examined) -> Examined {
    let count = |count: &examine::CallbackCount| CallbackCount {
        fired: count.fired,
        failed: count.failed,
        example: count.example.clone(),
    };
    let assertions = examined.assertions.iter().map(|assertion| AssertionSummary {
        name: assertion.name.clone(),
        passed: assertion.passed,
        failed: assertion.failed,
        example: assertion.example.clone(),
    });
    Examined {
        assertions: assertions.collect(),
        callbacks: CallbackCounts {
            on_done: count(&examined.on_done),
            on_error: count(&examined.on_error),
            on_always: count(&examined.on_always),
        },
        counters: examined.counters.clone(),
    }
}
