//! What was measured: latency histograms, the timeline, the saved result.
//!
//! A [`Recorder`] listens to one worker and folds its events into [`tally::Tally`]s. A
//! [`Recording`] merges the tallies of all workers by addition. A [`summary::Summary`] is what is
//! saved and evaluated.

pub mod breakdown;
mod cut;
mod exchange;
mod histogram;
mod packed;
mod part;
pub mod reason;
mod recorder;
mod recording;
mod sample;
pub mod saved;
mod steady;
mod summarize;
pub mod summary;
pub mod tally;
pub mod validity;
pub mod why;

pub use cut::cut;
pub(crate) use exchange::Exchange;
pub use histogram::{Histogram, HistogramError};
pub use recorder::{Delta, Recorder};
pub use recording::{Compact, Recording, Second};
pub(crate) use sample::Noted;
pub use sample::Sampled;
pub use summarize::Window;
