//! Something open that many share: opened when first needed, and again after it has ended, once for
//! all who ask in the meantime.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::client::CallError;

/// A place for one open thing. `T` is a handle, cheap to clone.
pub(super) struct Reopen<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    Closed,
    Opening(Opening<T>),
    Open(T),
}

type Opening<T> = Shared<BoxFuture<'static, Result<T, CallError>>>;

impl<T: Clone + Send + Sync + 'static> Reopen<T> {
    /// Nothing is open yet.
    pub(super) fn new() -> Reopen<T> {
        Reopen { state: Mutex::new(State::Closed) }
    }

    /// The open thing if `usable` says so, else what `open` makes.
    ///
    /// One `open` runs at a time, and all who come while it runs get what it gives, its error
    /// included. It runs to its end even when all of them give up. There is no pause after an error:
    /// each later caller tries once.
    ///
    /// # Errors
    /// Those that `open` returns.
    pub(super) async fn get<F>(
        &self,
        usable: impl FnOnce(&T) -> bool,
        open: impl FnOnce() -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        let opening = {
            let mut state = self.state();
            match &*state {
                State::Open(open) if usable(open) => return Ok(open.clone()),
                State::Opening(opening) => opening.clone(),
                State::Open(_) | State::Closed => {
                    let task = tokio::spawn(open());
                    let opening = async {
                        match task.await {
                            Ok(result) => result,
                            Err(_) => Err(CallError::Unsupported(
                                "the runtime ended while a connection was being opened".into(),
                            )),
                        }
                    };
                    let opening = opening.boxed().shared();
                    *state = State::Opening(opening.clone());
                    opening
                }
            }
        };
        let result = opening.clone().await;
        let mut state = self.state();
        // The first to hear of it notes it; by now another opening may be under way.
        if matches!(&*state, State::Opening(current) if current.ptr_eq(&opening)) {
            *state = match &result {
                Ok(open) => State::Open(open.clone()),
                Err(_) => State::Closed,
            };
        }
        result
    }

    /// Looks at the open thing; `None` while there is none.
    pub(super) fn look<R>(&self, at: impl FnOnce(&T) -> R) -> Option<R> {
        match &*self.state() {
            State::Open(open) => Some(at(open)),
            State::Closed | State::Opening(_) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing under the lock can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::fmt::Debug for Reopen<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reopen").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    /// Opens something after a second, and counts how often.
    fn opener(
        opened: &Arc<AtomicUsize>,
        fails: bool,
    ) -> impl FnOnce() -> BoxFuture<'static, Result<usize, CallError>> + use<> {
        let opened = opened.clone();
        move || {
            async move {
                sleep(Duration::from_secs(1)).await;
                let count = opened.fetch_add(1, Ordering::Relaxed) + 1;
                if fails { Err(CallError::Unsupported("refused".into())) } else { Ok(count) }
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_come_while_it_opens_share_one_opening() {
        let (place, opened) = (Reopen::new(), Arc::default());
        let got = futures_util::future::join_all(
            (0..10).map(|_| place.get(|_| true, opener(&opened, false))),
        )
        .await;
        assert!(got.into_iter().all(|got| got.unwrap() == 1));
        assert_eq!(place.get(|_| true, opener(&opened, false)).await.unwrap(), 1);
        assert_eq!(place.get(|_| false, opener(&opened, false)).await.unwrap(), 2, "it had ended");
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_come_while_it_opens_share_its_error_and_the_next_tries_anew() {
        let (place, opened) = (Reopen::new(), Arc::default());
        let got = futures_util::future::join_all(
            (0..10).map(|_| place.get(|_| true, opener(&opened, true))),
        )
        .await;
        assert!(got.into_iter().all(|got| got.is_err()));
        assert_eq!(place.get(|_| true, opener(&opened, false)).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_goes_on_when_those_who_asked_give_up() {
        let (place, opened) = (Reopen::new(), Arc::default());
        let patience = Duration::from_millis(10);
        let impatient = place.get(|_| true, opener(&opened, false));
        assert!(tokio::time::timeout(patience, impatient).await.is_err());
        sleep(Duration::from_secs(5)).await;
        assert_eq!(place.get(|_| true, opener(&opened, false)).await.unwrap(), 1);
    }
}
