//! One long-lived `/jina.JinaRPC/Call` stream: many requests down, their replies up in any order.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::pending::{Named, Pending, Received, named, request_id};
use super::Setup;
use super::channel::{Channel, Replies, Sending};
use super::frame::{Incoming, Outgoing, PREFIX};
use crate::client::{CallError, Compression, Failure, Mark, Timing};
use crate::wire::Encoded;

/// The endpoint of the stream.
const CALL: &str = "/jina.JinaRPC/Call";

/// Requests that wait for the sender task. It takes all there are in one go as long as flow control
/// lets it, so a full queue means that the gateway reads no more, and callers wait in line. An entry
/// is a handle on a message that its caller holds anyway.
const QUEUE: usize = 1024;

/// Requests are sent together in chunks of about this many bytes: enough to make one write of many,
/// too few to hold the first back for the last.
const CHUNK: usize = 32 << 10;

/// How long the two halves of a stream wait for one another at its end.
const GRACE: Duration = Duration::from_secs(1);

/// A reply as short as a header with a request id. A gateway sends it for a request that failed, just
/// before it ends the stream with the reason.
const STUB: usize = 36;

/// An open stream. Dropping the last handle ends it: what is queued still goes out.
#[derive(Debug)]
pub(super) struct Stream {
    pending: Arc<Pending>,
    queue: mpsc::Sender<Outgoing>,
    channel: Arc<Channel>,
    /// Dropped with the stream: tells the reader.
    _open: oneshot::Sender<()>,
}

impl Stream {
    /// Opens a stream on a connection.
    ///
    /// # Errors
    /// When the connection takes no more of them.
    pub(super) async fn open(channel: &Arc<Channel>, setup: &Setup) -> Result<Stream, CallError> {
        let (sending, replies) = channel.begin(CALL, None).await?;
        let pending = Pending::new(setup.unmatched.clone());
        let (queue, queued) = mpsc::channel(QUEUE);
        let (open, closed) = oneshot::channel();
        tokio::spawn({
            let (pending, channel) = (pending.clone(), channel.clone());
            async move {
                let (compression, leaving) = (channel.compression(), channel.leaving());
                let sent = send(queued, sending, &pending, compression, leaving).await;
                if let Err(error) = sent {
                    // As a rule the reader hears of the end too, and with it the gateway's reason.
                    sleep(GRACE).await;
                    pending.end(error);
                }
            }
        });
        let reader = Reader { pending: pending.clone(), terse: setup.terse.clone(), held: None };
        tokio::spawn(reader.run(replies, closed));
        Ok(Stream { pending, queue, channel: channel.clone(), _open: open })
    }

    /// Whether requests can be sent on it, as far as we know.
    pub(super) fn is_open(&self) -> bool {
        !self.pending.has_ended() && !self.channel.leaving().is_cancelled()
    }

    /// Whether a gateway with Jina's own bound takes no more requests from it for now.
    pub(super) fn is_full(&self) -> bool {
        self.pending.is_full()
    }

    /// Sends a request and waits for its reply, for at most `limit` in all.
    ///
    /// # Errors
    /// `Timeout`, `NotTaken` when it may go out again on another stream, and whatever ended the stream.
    pub(super) async fn call(
        &self,
        message: Encoded,
        limit: Option<Duration>,
        mark: &Mark,
    ) -> Result<(Bytes, Timing), Failure> {
        let start = Instant::now();
        let waiter = match self.pending.register(mark) {
            Ok(waiter) => waiter,
            Err(error) => return Err(Failure::unsent(error)),
        };
        let outgoing = Outgoing::Request { message, id: waiter.id() };
        let limit = match self.queue.try_send(outgoing) {
            Ok(()) => limit,
            // The stream has ended; the waiter knows why, or will in a moment. Or it drains.
            Err(mpsc::error::TrySendError::Closed(_)) => match self.refusal() {
                Some(refusal) => return Err(refusal),
                None => limit,
            },
            Err(mpsc::error::TrySendError::Full(outgoing)) => {
                let queued = self.queue.send(outgoing);
                let (queued, limit) = match limit {
                    None => (queued.await, None),
                    Some(limit) => match timeout(limit, queued).await {
                        Ok(queued) => (queued, Some(limit.saturating_sub(start.elapsed()))),
                        Err(_) => return Err(Failure::unsent(CallError::Timeout(limit))),
                    },
                };
                match queued.err().and_then(|_| self.refusal()) {
                    Some(refusal) => return Err(refusal),
                    None => limit,
                }
            }
        };
        let mut outcome = waiter.reply(limit).await;
        if let Err(Failure { error, timing }) = &mut outcome
            && timing.written.is_none()
            && let CallError::Lost { reason, .. } = error
        {
            *error = self.channel.not_taken(reason);
        }
        outcome
    }

    /// Why a request that the queue did not take will never go out, if that is known by now.
    fn refusal(&self) -> Option<Failure> {
        let leaving = self.channel.leaving().is_cancelled();
        leaving.then(|| Failure::unsent(self.channel.not_taken("it said goodbye")))
    }
}

/// Sends what is queued until nobody can queue any more, or the gateway says goodbye: then our half ends
/// with what is queued by now, and replies go on coming in.
async fn send(
    mut queued: mpsc::Receiver<Outgoing>,
    mut sending: Sending,
    pending: &Pending,
    compression: Compression,
    leaving: &CancellationToken,
) -> Result<(), CallError> {
    let mut chunk = BytesMut::new();
    let mut leaving = pin!(leaving.cancelled());
    let mut drains = false;
    loop {
        let next = tokio::select! {
            biased;
            () = &mut leaving, if !drains => {
                queued.close();
                drains = true;
                continue;
            }
            next = queued.recv() => next,
        };
        let Some(mut next) = next else { break };
        sending.room((PREFIX + next.len()).min(CHUNK)).await?;
        loop {
            // The instant called `written`: flow control lets the message go. The connection's task
            // hands it to the operating system next, unless the socket is full.
            if let Outgoing::Request { id, .. } = &next
                && pending.written(*id)
            {
                let tail =
                    next.write(compression, &mut chunk).expect("writing to memory does not fail");
                if let Some(tail) = tail {
                    sending.send(chunk.split().freeze())?;
                    sending.send(tail)?;
                    break;
                }
            }
            if chunk.len() >= CHUNK {
                break;
            }
            match queued.try_recv() {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
        if chunk.is_empty() {
            // Everybody gave up while we waited for room; or a tail went out.
            sending.no_room();
        } else {
            sending.send(chunk.split().freeze())?;
        }
    }
    sending.end();
    Ok(())
}

/// Hands replies to those who wait for them.
struct Reader {
    pending: Arc<Pending>,
    /// See [`Setup`].
    terse: Arc<AtomicBool>,
    /// A stub, until it is clear what it was.
    held: Option<(Named, Received, Instant)>,
}

impl Reader {
    async fn run(mut self, mut replies: Replies, mut closed: oneshot::Receiver<()>) {
        let mut closing: Option<Instant> = None;
        let error = loop {
            let wake = match (&self.held, closing) {
                (Some((.., until)), Some(closing)) => Some(closing.min(*until)),
                (Some((.., until)), None) => Some(*until),
                (None, closing) => closing,
            };
            let waking = async {
                match wake {
                    Some(wake) => sleep_until(wake).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                received = replies.next() => match received {
                    Ok(Some(received)) => {
                        if let Err(error) = self.on(received) {
                            break error;
                        }
                    }
                    Ok(None) => {
                        self.release();
                        break replies.over("the gateway ended the stream");
                    }
                    // The stub is no result: its request gets the error with all the others.
                    Err(error) => break error,
                },
                _ = &mut closed, if closing.is_none() => closing = Some(Instant::now() + GRACE),
                () = waking => {
                    if closing.is_some_and(|closing| closing <= Instant::now()) {
                        break replies.over("we closed the stream");
                    }
                    self.release_as_reply();
                }
            }
        };
        self.pending.end(error);
    }

    /// # Errors
    /// When a message that is skipped does not say whose it is.
    fn on(&mut self, received: Incoming) -> Result<(), CallError> {
        // Another message follows the stub, so it did not announce the end.
        self.release_as_reply();
        match received {
            Incoming::Message(arrival) => {
                let named = named(&arrival.message);
                if arrival.message.len() <= STUB && !self.terse.load(Ordering::Relaxed) {
                    self.held = Some((named, arrival, Instant::now() + GRACE));
                } else {
                    self.pending.arrived(named, arrival);
                }
            }
            Incoming::Skipped(beginning, error) => match request_id(&beginning) {
                Some(id) => self.pending.fail(id, error),
                None => return Err(error),
            },
        }
        Ok(())
    }

    /// The stub was the reply of a gateway that tells no routes.
    fn release_as_reply(&mut self) {
        if self.held.is_some() {
            self.terse.store(true, Ordering::Relaxed);
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some((named, arrival, _)) = self.held.take() {
            self.pending.arrived(named, arrival);
        }
    }
}
