//! Capacity planning: how much load a Flow holds, how sure that is, and what more of it would hold.
//!
//! [`search`] finds the highest load that meets an objective, [`judge`] decides one trial of it as
//! early as its samples allow; [`usl`] and [`queue`] fit models to what was measured, [`forecast`]
//! makes a plan of it. Nothing here knows a network, a clock or a file: the search says which trial
//! comes next and learns what came of it, so that the tests run it on simulated Flows whose capacity
//! is known.
//!
//! Sources: the practices of the field gathered from MLPerf LoadGen's early stopping, wrk2 and k6;
//! Wald's sequential test in the form of a test martingale (Ville's inequality), so that looking at
//! the samples again and again costs no confidence.

pub(crate) mod analysis;
pub mod combinations;
pub mod forecast;
pub mod judge;
pub mod limit;
pub mod number;
pub mod objective;
pub mod pareto;
pub mod planning;
pub mod predict;
pub mod queue;
pub mod result;
pub mod search;
mod stats;
pub mod trials;
pub mod usl;
pub mod words;

pub use stats::Estimate;
