//! A limit on the memory of all responses in flight.
//!
//! `Limits::message_bytes_max` limits one response. A thousand that arrive at the same time, each
//! below it, would still exceed any machine's memory, so all connections of a Flow, and usually all
//! of a run, share a [`ResponseMemory`]. Only the response that finds no room fails: waiting for
//! room would mean waiting for others that wait as well.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{CallError, ClientConfig};

/// A limit on the bytes of responses that are arriving or still held, shared by its clones.
#[derive(Clone)]
pub struct ResponseMemory(Arc<Shared>);

struct Shared {
    bytes_max: usize,
    used: AtomicUsize,
}

/// Responses up to this size, in bytes, are not counted: there are too many of them, and the
/// buffers of each connection hold as much anyway.
const FREE: usize = 64 << 10;

/// The memory claimed by one response. Dropping it releases the memory.
#[derive(Debug)]
pub(super) struct Claim {
    memory: ResponseMemory,
    bytes: usize,
}

/// Limits on the bytes of responses: of each, and of all together.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// The limit of one response, decompressed, in bytes.
    pub(super) message_bytes_max: usize,
    /// The limit of all responses together.
    pub(super) memory: ResponseMemory,
}

impl Bounds {
    /// The limits from a client's settings.
    pub(super) fn of(config: &ClientConfig) -> Bounds {
        Bounds {
            message_bytes_max: config.limits.message_bytes_max,
            memory: config.response_memory.clone().unwrap_or_else(ResponseMemory::boundless),
        }
    }

    /// The limits for the answer to a single small query.
    pub(super) fn small(message_bytes_max: usize) -> Bounds {
        Bounds { message_bytes_max, memory: ResponseMemory::boundless() }
    }
}

impl From<NoRoom> for CallError {
    fn from(NoRoom { bytes_max }: NoRoom) -> CallError {
        CallError::NoRoom { bytes_max }
    }
}

/// There is no room for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// The limit, in bytes.
    pub(super) bytes_max: usize,
}

impl ResponseMemory {
    /// A limit of this many bytes.
    pub fn new(bytes_max: usize) -> ResponseMemory {
        ResponseMemory(Arc::new(Shared { bytes_max, used: AtomicUsize::new(0) }))
    }

    /// No limit.
    fn boundless() -> ResponseMemory {
        ResponseMemory::new(usize::MAX)
    }

    /// The limit, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }

    /// An empty claim.
    pub(super) fn claim(&self) -> Claim {
        Claim { memory: self.clone(), bytes: 0 }
    }
}

impl fmt::Debug for ResponseMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseMemory({} bytes)", self.0.bytes_max)
    }
}

impl Claim {
    /// Whether a response of this size is not counted.
    pub(super) fn is_free(bytes: &usize) -> bool {
        *bytes <= FREE
    }

    /// Raises the claim to at least this many bytes. To be called with the capacity of the buffer
    /// whenever it has grown.
    ///
    /// # Errors
    /// When there is no room; the claim is then unchanged.
    pub(super) fn cover(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if Claim::is_free(&bytes) || bytes <= self.bytes {
            return Ok(());
        }
        let more = bytes - self.bytes;
        let Shared { bytes_max, used } = &*self.memory.0;
        // Only the sum is shared, so no ordering with other memory is needed.
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| sum <= bytes_max)
        })
        .map_err(|_| NoRoom { bytes_max: *bytes_max })?;
        self.bytes = bytes;
        Ok(())
    }

    /// Releases what was claimed so far.
    pub(super) fn give_back(&mut self) {
        drop(std::mem::replace(self, self.memory.claim()));
    }

    /// Moves the claim to the response, which releases it when dropped, and starts a new one.
    pub(super) fn hold(&mut self, response: Bytes) -> Bytes {
        if self.bytes == 0 {
            return response;
        }
        let claim = std::mem::replace(self, self.memory.claim());
        Bytes::from_owner(Held { response, _claim: claim })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    response: Bytes,
    _claim: Claim,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_responses_take_is_shared_and_given_back_with_the_last_of_their_bytes() {
        let memory = ResponseMemory::new(1 << 20);
        let mut first = memory.claim();
        first.cover(700 << 10).unwrap();
        first.cover(100).unwrap();
        let mut second = memory.claim();
        assert_eq!(second.cover(400 << 10), Err(NoRoom { bytes_max: 1 << 20 }));
        let held = first.hold(Bytes::from(vec![7; 700 << 10]));
        let part = held.slice(10..20);
        drop(held);
        assert!(second.cover(400 << 10).is_err(), "a part of it is still there");
        assert_eq!(&part[..], [7; 10]);
        drop(part);
        second.cover(1 << 20).unwrap();
        assert!(first.cover(FREE + 1).is_err());
        assert_eq!(first.cover(FREE), Ok(()), "small ones always find room");
    }
}
