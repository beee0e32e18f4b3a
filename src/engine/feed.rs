//! The bodies of requests, ready to be sent when they are due.
//!
//! Bodies are made in advance on other threads and handed over through a bounded queue; a body that
//! never changes is made once. So nothing is made or encoded on the path of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::mpsc;

use super::error::FeedError;
use super::event::Traits;
use super::source::Budget;
use crate::client::Request;
use crate::units::Part;

/// One request, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Its body. Cheap to clone.
    pub request: Request,
    /// Number of Documents it carries.
    pub documents: u64,
    /// Its index in the stream of Documents, from 0.
    pub index: u64,
    /// What is known about it.
    pub traits: Traits,
}

/// A stream of requests.
#[derive(Debug)]
pub(crate) enum Feed {
    /// The same body again and again.
    Same(Box<Same>),
    /// Made by other threads, in order; `Ok(None)` is the regular end. Memory is limited by the
    /// capacity of the queue and by the room that its requests take.
    Queue(mpsc::Receiver<Result<Option<Queued>, FeedError>>),
}

/// A request waiting in a queue.
#[derive(Debug)]
pub(crate) struct Queued {
    batch: Batch,
    // Released when the request is taken, or the queue is dropped.
    _held: Option<Held>,
}

/// Room for the bodies waiting in the queues of one maker, in bytes.
///
/// Only the maker waits for it. Releasing room takes no lock: a sender is never held up.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    bytes: usize,
    maker: Thread,
}

/// Bytes of a room that are taken.
#[derive(Debug)]
struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// A room of this many bytes, for requests that this thread makes.
    pub(super) fn here(bytes: usize) -> Arc<Room> {
        Arc::new(Room { taken: AtomicUsize::new(0), bytes, maker: thread::current() })
    }

    /// Waits until there is some room, then takes as much as the request needs: a single one may be
    /// larger than the room. `None` if `gone` says that nobody will take it any more.
    pub(super) fn put(
        self: &Arc<Room>,
        batch: Batch,
        bytes: usize,
        gone: impl Fn() -> bool,
    ) -> Option<Queued> {
        while self.taken.load(Ordering::Acquire) >= self.bytes {
            if gone() {
                return None;
            }
            // Releasing room ends this at once; the timeout is for workers that end without taking
            // anything.
            thread::park_timeout(Duration::from_millis(100));
        }
        self.taken.fetch_add(bytes, Ordering::AcqRel);
        Some(Queued { batch, _held: Some(Held { room: self.clone(), bytes }) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.maker.unpark();
    }
}

#[cfg(test)]
impl From<Batch> for Queued {
    fn from(batch: Batch) -> Queued {
        Queued { batch, _held: None }
    }
}

/// The same body, as often as the budget allows.
#[derive(Clone, Debug)]
pub(crate) struct Same {
    /// All requests but the last.
    pub batch: Batch,
    /// The last request of the whole load, if it differs: the rest of the Documents.
    pub last: Option<Batch>,
    /// Number of requests, shared with the other workers of the part.
    pub budget: Budget,
    /// The part of the whole load that they belong to.
    pub part: Part,
}

impl Feed {
    /// The next request, if it is ready; `Ok(None)` at the end of the Documents.
    ///
    /// # Errors
    /// When it could not be made.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Batch>, FeedError>> {
        match self {
            Feed::Same(same) => {
                let Same { batch, last, budget, part } = &mut **same;
                Poll::Ready(Ok(budget.take().map(|n| {
                    let index = part.nth(n);
                    let last = last.as_ref().filter(|last| last.index == index);
                    Batch { index, ..last.unwrap_or(batch).clone() }
                })))
            }
            Feed::Queue(queue) => queue.poll_recv(cx).map(|made| {
                let made = made.unwrap_or(Err(FeedError::Gone))?;
                Ok(made.map(|queued| queued.batch))
            }),
        }
    }

    /// This many requests with an empty body, for tests of timing.
    #[cfg(test)]
    pub(crate) fn empty(count: u64) -> Feed {
        let request = Request::Mutate { body: bytes::Bytes::new() };
        let batch = Batch { request, documents: 1, index: 0, traits: Traits::default() };
        Feed::Same(Box::new(Same {
            batch,
            last: None,
            budget: Budget::new(count),
            part: Part::WHOLE,
        }))
    }
}
