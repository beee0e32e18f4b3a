//! A handle on connections for callers that send a request now and then: a task owns the
//! connections and is asked to send.

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

/// How long requests in flight may take to end when no sender is left.
const CLOSING: Duration = Duration::from_secs(1);

/// Orders taken before the connections get their turn.
const ORDERS_AT_ONCE: usize = 256;

/// Lanes that a task can own.
pub(super) trait Owned: Lanes + Send + 'static {
    /// What can be asked of them besides requests.
    type Extra: Send;

    /// Does what is asked. A row number taken for it is returned by [`Owned::ended`] once it is no
    /// longer needed.
    fn extra(&mut self, _extra: Self::Extra, _rows: &mut Numbers) {}

    /// A row that was taken for something other than a request, and is free again.
    fn ended(&mut self) -> Option<u32> {
        None
    }

    /// Nothing more will be offered. Returns true once all connections have ended.
    fn close(&mut self) -> bool;
}

/// Row numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    next: u32,
    free: Vec<u32>,
}

impl Numbers {
    /// A number that is not in use.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            // Memory limits requests in flight long before 32 bits do.
            self.next += 1;
            self.next - 1
        })
    }
}

/// A handle. Dropping the last one closes the connections.
pub(super) struct Handle<L: Owned> {
    orders: mpsc::UnboundedSender<Order<L>>,
    tickets: Arc<AtomicU64>,
}

/// An order to the task. Callers wait for the result, which limits the number of orders.
enum Order<L: Owned> {
    Call(u64, Request, oneshot::Sender<Result<Reply, Failure>>),
    /// Its caller no longer waits.
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

    /// Takes the connections themselves. This handle can send nothing from then on.
    ///
    /// # Errors
    /// When they have been taken already.
    pub(super) async fn hand_over(&self, target: &Target) -> Result<L, CallError> {
        let (hand, handed) = oneshot::channel();
        let _ = self.orders.send(Order::HandOver(hand));
        handed.await.map_err(|_| gone(target))
    }

    /// One attempt of a request. Dropping the future abandons the request.
    pub(super) async fn call(&self, request: Request, target: &Target) -> Result<Reply, Failure> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (settle, settled) = oneshot::channel();
        // If the task is gone, `settled` reports it.
        let _ = self.orders.send(Order::Call(ticket, request, settle));
        let mut waiting = Waiting { orders: Some(&self.orders), ticket };
        let outcome = settled.await;
        waiting.orders = None;
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::unsent(gone(target))),
        }
    }

    /// Sends another kind of order.
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

/// The error when the task that drove the connections is gone, with its runtime or its connections.
pub(super) fn gone(target: &Target) -> CallError {
    CallError::Lost { target: target.clone(), reason: "its task was stopped".into() }
}

/// Tells the task when a caller no longer waits for its request.
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
    /// The rows of those callers.
    rows: HashMap<u64, u32>,
}

impl<L: Owned> Driver<L> {
    async fn run(mut self) {
        let mut landed = Vec::new();
        let hand = poll_fn(|cx| {
            let mut begun = 0;
            // Everything that is pending goes out together.
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
            // Requests in flight are abandoned together with their callers.
            Some(hand) => drop(hand.send(self.lanes)),
            None => self.close(landed).await,
        }
    }

    /// No sender is left. Requests in flight may still end.
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
            // Handled where it is received.
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
            // A caller that gave up at this moment misses nothing.
            let _ = settle.send(outcome);
        }
    }
}
