//! Capacity planning: how much load a Flow sustains, how certain that is, and what more of it would
//! sustain.
//!
//! [`search`] finds the highest load that meets an objective, [`judge`] decides one of its trials
//! as early as the samples allow; [`usl`] and [`queue`] fit models to the measurements, and
//! [`forecast`] plans with them. No code here touches the network, a clock or a file: the search
//! says which trial comes next and is given its result, so that tests can run it on simulated Flows
//! of known capacity.
//!
//! Sources: common practice from MLPerf LoadGen's early stopping, wrk2 and k6; Wald's sequential
//! test in the form of a test martingale (Ville's inequality), so that repeated looks at the
//! samples cost no confidence.

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
