//! Many requests at once without a task, a future or a channel for each: the sender owns the
//! connections, and requests are rows of a table.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::time::Instant;

use super::{Call, Failure, Reply, Request};

/// Connections owned by their sender.
pub trait Lanes {
    /// Takes a request under a number that is not in flight. The next [`Lanes::poll`] sends it,
    /// together with others offered in the meantime.
    fn offer(&mut self, row: u32, request: Request);

    /// Writes and reads as much as is possible now. Requests that ended are added to `landed`; the
    /// waker of `cx` is woken when there is more to do.
    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>);

    /// Abandons a request: a late reply to it is discarded. Returns when the first byte of its
    /// first attempt was sent; `None` if it was not, as far as is known.
    fn give_up(&mut self, row: u32) -> Option<Instant>;
}

/// A request that is no longer in flight.
#[derive(Debug)]
pub struct Landed {
    /// Its number.
    pub row: u32,
    /// The reply, or why there is none.
    pub outcome: Result<Reply, Failure>,
}

impl<L: Lanes> Lanes for &mut L {
    fn offer(&mut self, row: u32, request: Request) {
        (**self).offer(row, request);
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        (**self).poll(cx, landed);
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        (**self).give_up(row)
    }
}

/// Lanes over any way to call a Flow, with a future per request.
pub struct Calls<C> {
    call: C,
    flying: FuturesUnordered<Abortable<Pin<Box<dyn Future<Output = Landed> + Send>>>>,
    /// When each was offered, and the handle that aborts it.
    offered: HashMap<u32, (Instant, AbortHandle)>,
}

impl<C: Call> Calls<C> {
    /// Sends through `call`.
    pub fn new(call: C) -> Calls<C> {
        Calls { call, flying: FuturesUnordered::new(), offered: HashMap::new() }
    }
}

impl<C: Call> Lanes for Calls<C> {
    fn offer(&mut self, row: u32, request: Request) {
        let call = self.call.clone();
        let (handle, registration) = AbortHandle::new_pair();
        self.offered.insert(row, (Instant::now(), handle));
        let landing = async move { Landed { row, outcome: call.call(request).await } };
        self.flying.push(Abortable::new(Box::pin(landing), registration));
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        while let Poll::Ready(Some(outcome)) = Pin::new(&mut self.flying).poll_next(cx) {
            // The outcome of an abandoned request does not matter.
            if let Ok(ended) = outcome {
                self.offered.remove(&ended.row);
                landed.push(ended);
            }
        }
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        let (offered, handle) = self.offered.remove(&row)?;
        handle.abort();
        // It is assumed to have been sent at once.
        Some(offered)
    }
}

impl<C> std::fmt::Debug for Calls<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("flying", &self.flying.len()).finish_non_exhaustive()
    }
}
