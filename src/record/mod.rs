//! What was measured: latency histograms, the timeline, the saved result.

mod histogram;

pub use histogram::{Histogram, HistogramError};
