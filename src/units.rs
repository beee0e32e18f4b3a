//! `Rate`, `Quantile`, `ByteSize` and durations: parse, range, display. Everyone may import it.

/// A request rate, in requests per second. Finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}
