//! The messages of `proto/meet.proto`, and what wraps them.

#![expect(unreachable_pub, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/meet/flowbench.meet.rs"));

/// The service's only method.
pub(super) const JOIN: &str = "/flowbench.meet.Meeting/Join";

impl From<from_part::Kind> for FromPart {
    fn from(kind: from_part::Kind) -> FromPart {
        FromPart { kind: Some(kind) }
    }
}

impl From<to_part::Kind> for ToPart {
    fn from(kind: to_part::Kind) -> ToPart {
        ToPart { kind: Some(kind) }
    }
}
