//! Finds whose reply a message is, when replies arrive in any order, and counts those of no
//! request.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use tokio::time::Instant;

use crate::client::Unmatched;
use crate::wire::RequestId;

/// Counts replies that matched no request, over all streams of a session.
#[derive(Debug, Default)]
pub(super) struct UnmatchedCounts([AtomicU64; 4]);

/// Why a reply matched no request, as an index of [`UnmatchedCounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    WithoutId,
    UnknownId,
    Duplicate,
    Late,
}

impl UnmatchedCounts {
    pub(super) fn add(&self, why: Why) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Unmatched {
        let count = |why: Why| self.0[why as usize].load(Ordering::Relaxed);
        Unmatched {
            without_id: count(Why::WithoutId),
            unknown_id: count(Why::UnknownId),
            duplicate: count(Why::Duplicate),
            late: count(Why::Late),
        }
    }
}

/// The request that a message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An id of the kind that we make.
    Id(RequestId),
    /// Some other id.
    Other,
    /// No id.
    Nothing,
}

/// A message as received.
#[derive(Debug)]
pub(super) struct Received {
    /// The message, not decoded.
    pub(super) message: Bytes,
    /// When its first byte arrived.
    pub(super) first: Instant,
    /// When its last byte arrived.
    pub(super) done: Instant,
}

/// Reads the request id of an encoded `DataRequestProto`, or of the beginning of one, without
/// decoding anything else; `None` if there is no id, or not one of ours.
pub(super) fn request_id(message: &[u8]) -> Option<RequestId> {
    match named(message) {
        Named::Id(id) => Some(id),
        Named::Other | Named::Nothing => None,
    }
}

/// The same, distinguishing an id that is not ours from none.
pub(super) fn named(message: &[u8]) -> Named {
    let id = length_delimited(message, 1).and_then(|header| length_delimited(header, 1));
    match id {
        None | Some([]) => Named::Nothing,
        Some(id) => {
            let id = std::str::from_utf8(id).ok().and_then(RequestId::parse);
            id.map_or(Named::Other, Named::Id)
        }
    }
}

/// The first field `number` of a message, truncated where `bytes` end.
fn length_delimited(mut bytes: &[u8], number: u32) -> Option<&[u8]> {
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).ok()?;
        let skip = match wire_type {
            WireType::Varint => {
                decode_varint(&mut bytes).ok()?;
                continue;
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).ok()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
                if tag == number {
                    return Some(&bytes[..length]);
                }
                length
            }
            // Groups: Jina's messages have none.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        bytes.advance(skip.min(bytes.len()));
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::proto::jina::{DataRequestProto, HeaderProto};

    #[test]
    fn the_request_id_is_read_wherever_it_stands() {
        let id = RequestId { sender: 0x1234, number: u64::MAX };
        let digits = String::from_utf8(id.digits().to_vec()).unwrap();
        let header = HeaderProto {
            request_id: digits,
            exec_endpoint: Some("/index".into()),
            ..HeaderProto::default()
        };
        let message = DataRequestProto { header: Some(header), ..DataRequestProto::default() };
        let bytes = message.encode_to_vec();
        assert_eq!(request_id(&bytes), Some(id));
        assert_eq!(request_id(&bytes[..36]), Some(id), "the beginning is enough");
        assert_eq!(request_id(&bytes[..35]), None);
        // A varint, a fixed64, a fixed32 and a string before the header.
        let mut moved = b"\x28\xff\x01\x31abcdefgh\x3dabcd\x42\x02hi".to_vec();
        moved.extend(&bytes);
        assert_eq!(request_id(&moved), Some(id));
    }

    #[test]
    fn garbage_has_no_request_id() {
        for bytes in [&b""[..], b"\x0a", b"\x0a\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(request_id(bytes), None, "{bytes:?}");
        }
        proptest::proptest!(|(bytes: Vec<u8>)| { request_id(&bytes); });
    }
}
