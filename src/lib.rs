//! flowbench: a declarative scenario runner and load tester for Jina Flows.
//!
//! The rooms stand in reading order, lowest floor first; `ARCHITECTURE.md` says what each may
//! import.

pub mod clock;
pub mod error;
pub mod random;
pub mod source;
pub mod stats;
pub mod template;
pub mod text;
pub mod units;
pub mod wire;

pub mod assertion;
pub mod client;
pub mod documents;
pub mod flow;

pub mod plan;
pub mod scenario;

pub mod engine;
pub mod record;

pub mod compare;
pub mod threshold;

pub mod capacity;

pub mod run;

pub mod report;
pub mod selftest;

pub mod cli;
