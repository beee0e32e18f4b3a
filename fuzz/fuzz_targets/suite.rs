//! No text makes reading a suite panic, hang, or take memory without bound: not its YAML, not its
//! expressions, not its matrices, not what is planned of it.
#![no_main]

use std::path::Path;

use flowbench::plan;
use flowbench::scenario::{self, Options};

libfuzzer_sys::fuzz_target!(|text: &str| {
    // Nothing is there, so that no file of the machine is read.
    let base = Path::new("/nonexistent");
    let read = scenario::load_text("suite.yaml", text.to_owned(), base, &Options::default())
        .and_then(|suite| plan::resolve(&suite));
    match read {
        Ok(plan) => drop(plan.resolved()),
        Err(problems) => drop(problems.to_string()),
    }
});
