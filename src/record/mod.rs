//! What was measured: latency histograms, the timeline, the saved result.
//!
//! A [`Recorder`] listens to one worker and folds events into [`tally::Tally`]s; a [`Recording`]
//! merges those of all workers by addition; a [`summary::Summary`] is what is saved and judged.

pub mod breakdown;
mod cut;
mod histogram;
mod part;
pub mod reason;
mod recorder;
mod recording;
pub mod saved;
mod steady;
mod summarize;
pub mod summary;
pub mod tally;
pub mod validity;

pub use cut::cut;
pub use histogram::{Histogram, HistogramError};
pub use recorder::{Delta, Recorder};
pub use recording::{Compact, Recording, Second};
pub use summarize::Window;
