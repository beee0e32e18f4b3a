//! flowbench: a declarative scenario runner and load tester for Jina Flows.
//!
//! A run takes three calls, and its result is the command's `report.json` as plain data:
//!
//! ```
//! use flowbench::{plan, run, scenario};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = "
//! scenarios:
//!   - name: search
//!     on: /search
//!     documents: {text: {words: 3}}
//!     request_size: 1
//!     load: {rate: 100/s, duration: 1s}
//!     thresholds: [p50 < 1s]";
//! let suite = scenario::load_text("suite", text.into(), ".".as_ref(), &scenario::Options::default())?;
//! let plan = plan::resolve(&suite)?;
//! let runtime = tokio::runtime::Runtime::new()?;
//! let summary = runtime.block_on(run::run(plan, run::Options::default()))?;
//! let search = &summary.scenarios[0];
//! assert_eq!((search.requests.ok, search.passed), (100, true));
//! println!("p99: {:?} ms", search.response_time_ms.p99);
//! # Ok(())
//! # }
//! ```
//!
//! The modules are in reading order, lowest layer first; `ARCHITECTURE.md` says what each may import.

pub mod clock;
mod error;
pub mod metric;
pub mod random;
pub mod schedule;
pub mod source;
pub mod stats;
pub mod template;
mod text;
pub mod units;
pub mod wire;

mod assertion;
pub mod client;
mod documents;
pub mod flow;

mod download;
pub mod meet;
pub mod plan;
pub mod scenario;
pub mod server;

pub mod engine;
pub mod record;

pub mod compare;
pub mod threshold;

pub mod capacity;

pub mod run;

pub mod report;
pub mod selftest;

pub mod cli;
