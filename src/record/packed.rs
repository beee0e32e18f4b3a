//! The counts of a histogram as stored in a journal: only non-empty buckets, so that the cost of adding depends on
//! what was measured, not on the possible range.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Buckets by their lowest value, in ascending order, with the number of values in each.
///
/// Two LEB128 numbers per bucket: its distance from the previous bucket in µs, and its count. In JSON, base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    values: u64,
}

/// Why bytes are not valid buckets.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackedError {
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("a number that is truncated or too large")]
    Number,
    #[error("a bucket without values, or not above the one before it")]
    Order,
    #[error("a value above {0} µs")]
    Beyond(u64),
}

impl Packed {
    /// Packs buckets, each with its lowest value, in ascending order.
    pub(super) fn new(buckets: impl Iterator<Item = (u64, u64)>) -> Packed {
        let (mut bytes, mut values, mut before) = (Vec::new(), 0, 0);
        for (us, count) in buckets {
            write(&mut bytes, us - before);
            write(&mut bytes, count);
            values += count;
            before = us;
        }
        Packed { bytes: bytes.into(), values }
    }

    /// Checks what was read: no value is above `us_max`.
    fn read(bytes: Vec<u8>, us_max: u64) -> Result<Packed, PackedError> {
        let (mut rest, mut before, mut values) = (&bytes[..], None, 0u64);
        while !rest.is_empty() {
            let distance = number(&mut rest).ok_or(PackedError::Number)?;
            let count = number(&mut rest).ok_or(PackedError::Number)?;
            if count == 0 || (before.is_some() && distance == 0) {
                return Err(PackedError::Order);
            }
            let us = before.unwrap_or(0u64).checked_add(distance).filter(|us| *us <= us_max);
            before = Some(us.ok_or(PackedError::Beyond(us_max))?);
            values = values.checked_add(count).ok_or(PackedError::Number)?;
        }
        Ok(Packed { bytes: bytes.into(), values })
    }

    /// Size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Number of values in all buckets.
    pub(super) fn values(&self) -> u64 {
        self.values
    }

    /// The lowest value of each bucket in µs, and its count, in ascending order.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let (mut rest, mut before) = (&self.bytes[..], 0);
        std::iter::from_fn(move || {
            before += number(&mut rest)?;
            Some((before, number(&mut rest)?))
        })
    }
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number from the start; `None` if it is incomplete or too large.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        // Only one bit of the tenth byte fits.
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.bytes))
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packed, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Packed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the buckets of a histogram")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Packed, E> {
                let bytes = BASE64_STANDARD.decode(text).map_err(PackedError::from);
                let us_max = super::Histogram::MAX.as_micros() as u64;
                bytes.and_then(|bytes| Packed::read(bytes, us_max)).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Packed, PackedError> {
        Packed::read(bytes.to_vec(), 3_600_000_000)
    }

    #[test]
    fn what_is_no_list_of_buckets_is_refused() {
        for (bytes, what) in [
            (&[0x80][..], "a number that ends in the middle"),
            (&[1], "a bucket without a count"),
            (&[1, 0], "a count of zero"),
            (&[1, 1, 0, 1], "the same bucket twice"),
            (&[0xff; 12], "a number of more than 64 bits"),
            (&[0x80, 0x80, 0x80, 0x80, 0x7f, 1], "more than an hour"),
            (
                &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1],
                "more values than there can be",
            ),
        ] {
            assert!(read(bytes).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn buckets_are_read_as_they_were_packed(
            buckets in proptest::collection::btree_map(0u64..=3_600_000_000, 1u64..1 << 50, 0..50),
        ) {
            let buckets: Vec<(u64, u64)> = buckets.into_iter().collect();
            let packed = Packed::new(buckets.iter().copied());
            let text = serde_json::to_string(&packed).unwrap();
            let again: Packed = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&again, &packed);
            prop_assert_eq!(again.values(), buckets.iter().map(|(_, count)| count).sum::<u64>());
            prop_assert_eq!(again.buckets().collect::<Vec<_>>(), buckets);
        }

        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(packed) = read(&bytes) {
                prop_assert_eq!(packed.buckets().map(|(_, count)| count).sum::<u64>(), packed.values());
            }
        }
    }
}
