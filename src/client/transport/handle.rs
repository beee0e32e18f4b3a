//! A handle on connections for all who send a request now and then: the connections are with a task,
//! which is asked to send.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::client::lanes::{Landed, Lanes};
use crate::client::{CallError, Failure, Reply, Request};
use crate::wire::Target;

/// How long what has been sent may take to end when nobody is left who sends.
const CLOSING: Duration = Duration::from_secs(1);

/// Orders that are taken before the connections get their turn.
const ORDERS_AT_ONCE: usize = 256;

/// Lanes that a task can own.
pub(super) trait Owned: Lanes + Send + 'static {
    /// What can be asked of them beside requests.
    type Extra: Send;

    /// Does that, where anything can be asked. What takes a number of a row is told by [`Owned::ended`] when it needs it no more.
    fn extra(&mut self, _extra: Self::Extra, _rows: &mut Numbers) {}

    /// A row that was taken for something else than a request, and is free.
    fn ended(&mut self) -> Option<u32> {
        None
    }

    /// Nothing more will be offered. True when all connections are done with.
    fn close(&mut self) -> bool;
}

/// Numbers of rows.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: u32,
    free: Vec<u32>,
}

impl Numbers {
    /// One that is not in use.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            // In-flight requests are bounded by memory long before 32 bits.
            self.next += 1;
            self.next - 1
        })
    }
}

/// A handle. The last one that is dropped closes the connections.
pub(super) struct Handle<L: Owned> {
    orders: mpsc::UnboundedSender<Order<L>>,
    tickets: Arc<AtomicU64>,
}

/// What the task is asked to do. Callers wait for it, so they bound how much that is.
enum Order<L: Owned> {
    Call(u64, Request, oneshot::Sender<Result<Reply, Failure>>),
    /// Nobody waits for it any more.
    GiveUp(u64),
    Extra(L::Extra),
    HandOver(oneshot::Sender<L>),
}

impl<L: Owned> Handle<L> {
    /// Gives connections to a task.
    pub(super) fn new(lanes: L) -> Handle<L> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (numbers, waiting, rows) = Default::default();
        tokio::spawn(Driver { lanes, orders: ordered, numbers, waiting, rows }.run());
        Handle { orders, tickets: Arc::default() }
    }

    /// The connections themselves. Nothing can be sent by this handle from then on.
    ///
    /// # Errors
    /// When somebody has them already.
    pub(super) async fn hand_over(&self, target: &Target) -> Result<L, CallError> {
        let (hand, handed) = oneshot::channel();
        let _ = self.orders.send(Order::HandOver(hand));
        handed.await.map_err(|_| gone(target))
    }

    /// One attempt of a request. Dropping it gives the request up.
    pub(super) async fn call(&self, request: Request, target: &Target) -> Result<Reply, Failure> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (settle, settled) = oneshot::channel();
        // Where the task is gone, whoever waits hears of it.
        let _ = self.orders.send(Order::Call(ticket, request, settle));
        let mut waiting = Waiting { orders: Some(&self.orders), ticket };
        let outcome = settled.await;
        waiting.orders = None;
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::unsent(gone(target))),
        }
    }

    /// Asks for something else.
    pub(super) fn extra(&self, extra: L::Extra) {
        let _ = self.orders.send(Order::Extra(extra));
    }
}

impl<L: Owned> std::fmt::Debug for Handle<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<L: Owned> Clone for Handle<L> {
    fn clone(&self) -> Handle<L> {
        Handle { orders: self.orders.clone(), tickets: self.tickets.clone() }
    }
}

/// The task that drove the connections is gone, with its runtime, or its connections are.
pub(super) fn gone(target: &Target) -> CallError {
    CallError::Lost { target: target.clone(), reason: "its task was stopped".into() }
}

/// Tells the task when nobody waits for a request any more.
struct Waiting<'a, L: Owned> {
    orders: Option<&'a mpsc::UnboundedSender<Order<L>>>,
    ticket: u64,
}

impl<L: Owned> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        if let Some(orders) = self.orders {
            let _ = orders.send(Order::GiveUp(self.ticket));
        }
    }
}

/// The task that owns connections.
struct Driver<L: Owned> {
    lanes: L,
    orders: mpsc::UnboundedReceiver<Order<L>>,
    numbers: Numbers,
    waiting: HashMap<u32, (u64, oneshot::Sender<Result<Reply, Failure>>)>,
    /// The rows of those who wait.
    rows: HashMap<u64, u32>,
}

impl<L: Owned> Driver<L> {
    async fn run(mut self) {
        let mut landed = Vec::new();
        let hand = poll_fn(|cx| {
            let mut begun = 0;
            // What is there goes out together.
            while begun < ORDERS_AT_ONCE {
                match self.orders.poll_recv(cx) {
                    Poll::Ready(Some(Order::HandOver(hand))) => return Poll::Ready(Some(hand)),
                    Poll::Ready(Some(order)) => self.take(order),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
                begun += 1;
            }
            self.lanes.poll(cx, &mut landed);
            self.hand_out(&mut landed);
            if begun == ORDERS_AT_ONCE {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        match hand {
            // What is in flight is given up with those who wait for it.
            Some(hand) => drop(hand.send(self.lanes)),
            None => self.close(landed).await,
        }
    }

    /// Nobody is left who sends. What is in flight may still end.
    async fn close(mut self, mut landed: Vec<Landed>) {
        let closed = poll_fn(|cx| {
            let is_over = self.lanes.close();
            self.lanes.poll(cx, &mut landed);
            self.hand_out(&mut landed);
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = timeout_at(Instant::now() + CLOSING, closed).await;
    }

    fn take(&mut self, order: Order<L>) {
        match order {
            Order::Call(ticket, request, settle) => {
                let row = self.numbers.take();
                self.waiting.insert(row, (ticket, settle));
                self.rows.insert(ticket, row);
                self.lanes.offer(row, request);
            }
            Order::GiveUp(ticket) => {
                if let Some(row) = self.rows.remove(&ticket) {
                    self.lanes.give_up(row);
                    self.waiting.remove(&row);
                    self.numbers.free.push(row);
                }
            }
            Order::Extra(extra) => self.lanes.extra(extra, &mut self.numbers),
            // Taken where it comes.
            Order::HandOver(_) => (),
        }
    }

    fn hand_out(&mut self, landed: &mut Vec<Landed>) {
        while let Some(row) = self.lanes.ended() {
            self.numbers.free.push(row);
        }
        for Landed { row, outcome } in landed.drain(..) {
            let Some((ticket, settle)) = self.waiting.remove(&row) else { continue };
            self.rows.remove(&ticket);
            self.numbers.free.push(row);
            // Whoever gave up in this moment does not hear of it.
            let _ = settle.send(outcome);
        }
    }
}
