//! What requests carry, ready to be sent when they are due.
//!
//! Bodies are made ahead of need on other threads and handed over through a bounded queue; a body
//! that never changes is made once. So the path of a request neither makes nor encodes anything.

use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::source::Budget;
use crate::client::Request;

/// One request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its body. Cheap to clone.
    pub request: Request,
    /// How many Documents it carries.
    pub documents: u64,
    /// Its place in the stream of Documents, from 0.
    pub index: u64,
}

/// Why a request could not be made. Ends the scenario: the next would fail as well.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FeedError {
    /// The Documents could not be generated or read.
    #[error("request {index}: {message}")]
    Make {
        /// Which request, from 0.
        index: u64,
        /// What went wrong, causes included.
        message: String,
    },
    /// The thread that makes them is gone.
    #[error("the thread that makes the requests ended in the middle")]
    Gone,
}

/// A stream of requests.
#[derive(Debug)]
pub enum Feed {
    /// The same body again and again.
    Same(Same),
    /// Made by other threads, in their order. The queue's bound limits the memory; `Ok(None)` is
    /// the regular end.
    Queue(mpsc::Receiver<Result<Option<Batch>, FeedError>>),
}

/// The same body, as often as the budget has it.
#[derive(Clone, Debug)]
pub struct Same {
    /// All but the last.
    pub batch: Batch,
    /// The last, where it is another: the rest of the Documents.
    pub last: Option<Batch>,
    /// How many in all, shared with the other workers.
    pub budget: Budget,
}

impl Feed {
    /// The next request, if it is there; `Ok(None)` at the end of the Documents.
    ///
    /// # Errors
    /// When it could not be made.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Batch>, FeedError>> {
        match self {
            Feed::Same(Same { batch, last, budget }) => {
                Poll::Ready(Ok(budget.take().map(|index| {
                    let is_last = index + 1 == budget.total();
                    let batch = last.as_ref().filter(|_| is_last).unwrap_or(batch);
                    Batch { index, ..batch.clone() }
                })))
            }
            Feed::Queue(queue) => {
                queue.poll_recv(cx).map(|made| made.unwrap_or(Err(FeedError::Gone)))
            }
        }
    }

    /// So many requests with an empty body: what tests of time need.
    #[cfg(test)]
    pub(crate) fn empty(count: u64) -> Feed {
        let request = Request::Mutate { body: bytes::Bytes::new() };
        let batch = Batch { request, documents: 1, index: 0 };
        Feed::Same(Same { batch, last: None, budget: Budget::new(count) })
    }
}
