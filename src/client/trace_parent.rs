//! W3C's `traceparent` header: a request's place in a trace, as tracing systems identify it.

use std::fmt;

/// The value of the header: the trace, and the span that sent the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The id of the trace; never 0.
    pub trace: u128,
    /// The id of our own span; never 0.
    pub span: u64,
}

impl TraceParent {
    /// The name of the header.
    pub const HEADER: &'static str = "traceparent";

    /// A new trace. Its id is random even if the suite has a seed: the previous run has used that
    /// id.
    pub fn random() -> TraceParent {
        TraceParent { trace: rand::random::<u128>().max(1), span: rand::random::<u64>().max(1) }
    }

    /// The id of the trace, as tracing systems write it.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// A new trace for this share of requests.
    pub(crate) fn of_share(share: f64) -> Option<TraceParent> {
        (rand::random::<f64>() < share).then(TraceParent::random)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Version 0; flag 1: sampled.
        write!(f, "00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_standard_has_it() {
        let parent = TraceParent {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
        };
        assert_eq!(parent.to_string(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_ne!(TraceParent::random(), TraceParent::random());
    }
}
