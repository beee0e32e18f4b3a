//! Wakers and timers of a worker that owns many connections: which of them can continue, and what
//! is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// The connections of a worker that can continue, by their places.
///
/// Each place has a separate waker, so that of thousands of connections only those that can
/// continue are looked at.
#[derive(Debug, Default)]
pub(super) struct Turns {
    woken: Arc<Woken>,
    /// Places that have something to send, and whether a place is among them.
    stirred: Vec<usize>,
    is_stirred: Vec<bool>,
    /// Places that may have something to read, in the next round and in this one.
    read: Vec<usize>,
    now: Vec<usize>,
}

/// The places where something happened since they were last looked at.
#[derive(Debug, Default)]
struct Woken(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    places: Vec<usize>,
    worker: Option<Waker>,
}

struct Place {
    woken: Arc<Woken>,
    place: usize,
}

impl Wake for Place {
    fn wake(self: Arc<Place>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Place>) {
        let mut state = self.woken.state();
        state.places.push(self.place);
        if let Some(worker) = &state.worker {
            worker.wake_by_ref();
        }
    }
}

impl Turns {
    /// The waker of a place.
    pub(super) fn waker(&self, place: usize) -> Waker {
        Waker::from(Arc::new(Place { woken: self.woken.clone(), place }))
    }

    /// A place has something to send.
    pub(super) fn stir(&mut self, place: usize) {
        if self.is_stirred.len() <= place {
            self.is_stirred.resize(place + 1, false);
        }
        if !std::mem::replace(&mut self.is_stirred[place], true) {
            self.stirred.push(place);
        }
    }

    /// A place may have something to read, whether or not it is woken.
    pub(super) fn read(&mut self, place: usize) {
        self.read.push(place);
    }

    /// Begins a round: takes over the places that were woken, and registers `cx` to be woken for
    /// later ones.
    pub(super) fn take(&mut self, cx: &mut Context<'_>) {
        let mut state = self.woken.state();
        self.read.append(&mut state.places);
        if !state.worker.as_ref().is_some_and(|worker| worker.will_wake(cx.waker())) {
            state.worker = Some(cx.waker().clone());
        }
        drop(state);
        self.now.append(&mut self.read);
        self.now.sort_unstable_by(|a, b| b.cmp(a));
        self.now.dedup();
    }

    /// The next place that has something to send.
    pub(super) fn next_to_send(&mut self) -> Option<usize> {
        let place = self.stirred.pop()?;
        self.is_stirred[place] = false;
        Some(place)
    }

    /// The next place of this round that may have something to read.
    pub(super) fn next_to_read(&mut self) -> Option<usize> {
        self.now.pop()
    }

    /// Whether the next round can begin without being woken.
    pub(super) fn goes_on(&self) -> bool {
        !self.read.is_empty() || !self.stirred.is_empty()
    }
}

impl Woken {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Things that are due at some time, on one timer.
pub(super) struct Timers<D> {
    due: BinaryHeap<Reverse<(Instant, D)>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<D: Ord> Timers<D> {
    /// No timers.
    pub(super) fn new() -> Timers<D> {
        Timers { due: BinaryHeap::new(), sleep: None }
    }

    /// Adds something that is due at this time.
    pub(super) fn add(&mut self, at: Instant, due: D) {
        self.due.push(Reverse((at, due)));
    }

    /// Takes something that is due by now, or else registers `cx` to be woken when it is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<D> {
        let Reverse((at, _)) = self.due.peek()?;
        if *at <= Instant::now() {
            return self.due.pop().map(|Reverse((_, due))| due);
        }
        self.arm(cx);
        None
    }

    /// Registers `cx` to be woken when the next is due, without taking it: for things added since
    /// [`Timers::poll`].
    pub(super) fn arm(&mut self, cx: &mut Context<'_>) {
        let Some(&Reverse((at, _))) = self.due.peek() else { return };
        if at <= Instant::now() {
            return cx.waker().wake_by_ref();
        }
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.deadline() != at {
                    sleep.as_mut().reset(at);
                }
                sleep
            }
            none => none.insert(Box::pin(sleep_until(at))),
        };
        // If it has gone off in the meantime, what is due is taken the next time.
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Drops what no longer matters, once more than `most` entries have piled up.
    pub(super) fn tidy(&mut self, most: usize, mut matters: impl FnMut(&D) -> bool) {
        if self.due.len() > most {
            self.due.retain(|Reverse((_, due))| matters(due));
        }
    }
}
