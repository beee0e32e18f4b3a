//! The callbacks of a post: `on_done`, `on_error`, `on_always`.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use futures_util::{Stream, StreamExt};

use super::{BoxError, CallError, PostError, Response};

type OnDone<'a> = Box<dyn FnMut(&Response) -> Result<(), BoxError> + Send + 'a>;
type OnError<'a> =
    Box<dyn FnMut(Option<&Response>, &CallError) -> Result<(), BoxError> + Send + 'a>;
type OnAlways<'a> = Box<dyn FnMut(Option<&Response>) -> Result<(), BoxError> + Send + 'a>;

/// The callbacks of a post, all optional.
#[derive(Default)]
pub struct Callbacks<'a> {
    on_done: Option<OnDone<'a>>,
    on_error: Option<OnError<'a>>,
    on_always: Option<OnAlways<'a>>,
}

/// One of the caller's callbacks failed: Jina's `BadClientCallback`.
#[derive(Debug, thiserror::Error)]
#[error("callback `{callback}` failed: {source}")]
pub struct CallbackError {
    /// `on_done`, `on_error` or `on_always`.
    pub callback: &'static str,
    /// The error it returned, or the message of its panic.
    pub source: BoxError,
}

/// What a callback may return: nothing, or a `Result`.
pub trait CallbackReturn {
    /// Returning nothing is success.
    ///
    /// # Errors
    /// The callback's error.
    fn into_result(self) -> Result<(), BoxError>;
}

impl CallbackReturn for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> CallbackReturn for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

impl<'a> Callbacks<'a> {
    pub(super) fn on_done<R: CallbackReturn>(
        &mut self,
        mut callback: impl FnMut(&Response) -> R + Send + 'a,
    ) {
        self.on_done = Some(Box::new(move |response| callback(response).into_result()));
    }

    pub(super) fn on_error<R: CallbackReturn>(
        &mut self,
        mut callback: impl FnMut(Option<&Response>, &CallError) -> R + Send + 'a,
    ) {
        self.on_error =
            Some(Box::new(move |response, error| callback(response, error).into_result()));
    }

    pub(super) fn on_always<R: CallbackReturn>(
        &mut self,
        mut callback: impl FnMut(Option<&Response>) -> R + Send + 'a,
    ) {
        self.on_always = Some(Box::new(move |response| callback(response).into_result()));
    }

    /// Calls the callbacks for each outcome in turn, to the last. Keeps only the first error that
    /// no callback received, and returns it at the end.
    pub(super) async fn run(
        mut self,
        outcomes: impl Stream<Item = Result<Response, PostError>>,
        continue_on_error: bool,
    ) -> Result<(), PostError> {
        let mut outcomes = pin!(outcomes);
        let mut untold: Option<PostError> = None;
        while let Some(outcome) = outcomes.next().await {
            let (response, failure) = match outcome {
                Ok(response) => {
                    let failure = response.failure();
                    (Some(response), failure)
                }
                Err(PostError::Call(error)) => (None, Some(error)),
                // Neither networking nor Jina, so no callback receives it.
                Err(other) => {
                    untold.get_or_insert(other);
                    continue;
                }
            };
            for failed in self.fire(response.as_ref(), failure.as_ref()).into_iter().flatten() {
                if !continue_on_error {
                    return Err(failed.into());
                }
                untold.get_or_insert(failed.into());
            }
            if let (Some(failure), None) = (failure, &self.on_error) {
                untold.get_or_insert(failure.into());
            }
        }
        untold.map_or(Ok(()), Err)
    }

    /// Calls `on_done` or `on_error`, then `on_always`, even if the first one failed.
    fn fire(
        &mut self,
        response: Option<&Response>,
        failure: Option<&CallError>,
    ) -> [Option<CallbackError>; 2] {
        let first = match (response, failure) {
            (response, Some(failure)) => self
                .on_error
                .as_mut()
                .and_then(|callback| guarded("on_error", || callback(response, failure))),
            (Some(response), None) => {
                self.on_done.as_mut().and_then(|callback| guarded("on_done", || callback(response)))
            }
            (None, None) => None,
        };
        let always = self
            .on_always
            .as_mut()
            .and_then(|callback| guarded("on_always", || callback(response)));
        [first, always]
    }
}

/// Calls a callback. A panic in it is an error like any other; the panic hook has shown where it
/// was.
fn guarded(
    callback: &'static str,
    call: impl FnOnce() -> Result<(), BoxError>,
) -> Option<CallbackError> {
    // A callback that panicked may leave its captures half changed. It is called again only if the
    // caller asked to continue after errors.
    let source = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error,
        Err(panic) => format!("it panicked: {}", words(&*panic)).into(),
    };
    Some(CallbackError { callback, source })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl fmt::Debug for Callbacks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("on_done", &self.on_done.is_some())
            .field("on_error", &self.on_error.is_some())
            .field("on_always", &self.on_always.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::stream;

    use super::super::scripted::{Scripted, Setting, documents};
    use super::*;

    /// Which callbacks a post has.
    #[derive(Clone, Copy, PartialEq)]
    enum With {
        Done,
        Error,
        Always,
    }
    use With::{Always, Done, Error};

    /// Runs a post with callbacks that log their calls; returns the log and the result. A callback
    /// fails if the text of its response or the kind of its error says so: `panic` panics, `bad`
    /// returns an error.
    async fn fired(
        with: &[With],
        continue_on_error: bool,
        outcomes: impl Stream<Item = Result<Response, PostError>>,
    ) -> (Vec<String>, String) {
        let log = Mutex::new(Vec::new());
        let note = |name: &str, response: Option<&Response>, error: Option<&CallError>| {
            let text = response.map_or("None".into(), |response| {
                response.texts().expect("decodes").first().copied().unwrap_or_default().to_owned()
            });
            let error = error.map(|error| format!(", {}", error.kind())).unwrap_or_default();
            log.lock().expect("not held by a panic").push(format!("{name}({text}{error})"));
            match text.as_str() {
                text if text.starts_with("panic") => panic!("oh no"),
                text if text.starts_with("bad") => Err("disk full"),
                _ => Ok(()),
            }
        };
        let mut callbacks = Callbacks::default();
        if with.contains(&Done) {
            callbacks.on_done(|response| note("done", Some(response), None));
        }
        if with.contains(&Error) {
            callbacks.on_error(|response, error| note("error", response, Some(error)));
        }
        if with.contains(&Always) {
            callbacks.on_always(|response| note("always", response, None));
        }
        let result = match callbacks.run(outcomes, continue_on_error).await {
            Ok(()) => "ok".into(),
            Err(error) => error.to_string(),
        };
        (log.into_inner().expect("not held by a panic"), result)
    }

    #[tokio::test(start_paused = true)]
    async fn callbacks_fire_as_in_jina_3_6() {
        let failed = "Executor failed: ValueError('as told')";
        let lost = "connection to grpc://scripted:80 lost: as told";
        let all = [Done, Error, Always];
        for (name, script, with, expected, result) in [
            ("success", ["a"], &all[..], vec!["done(a)", "always(a)"], "ok"),
            (
                "an exception in an Executor",
                ["fail"],
                &all,
                vec!["error(fail, executor)", "always(fail)"],
                "ok",
            ),
            ("no response", ["lost"], &all, vec!["error(None, lost)", "always(None)"], "ok"),
            ("success that nobody wants to hear of", ["a"], &[Error], vec![], "ok"),
            ("on_always alone hears of success", ["a"], &[Always], vec!["always(a)"], "ok"),
            ("an exception that nobody was told of", ["fail"], &[Done], vec![], failed),
            (
                "on_always is not told why there is no response",
                ["lost"],
                &[Done, Always],
                vec!["always(None)"],
                lost,
            ),
            (
                "on_done panics, on_always fires nevertheless",
                ["panic"],
                &all,
                vec!["done(panic)", "always(panic)"],
                "callback `on_done` failed: it panicked: oh no",
            ),
            (
                "on_always returns an error",
                ["bad"],
                &[Always],
                vec!["always(bad)"],
                "callback `on_always` failed: disk full",
            ),
        ] {
            let flow = Scripted::default();
            let post = flow.post(Setting::of(1), documents(script));
            let (calls, came_back) = fired(with, false, post).await;
            assert_eq!(calls, expected, "{name}");
            assert_eq!(came_back, result, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_nobody_was_told_of_comes_back_when_all_is_over() {
        let flow = Scripted::default();
        let post = flow.post(Setting::of(1), documents(["fail", "a", "b"]));
        let (calls, result) = fired(&[Done], false, post).await;
        assert_eq!(calls, ["done(a)", "done(b)"]);
        assert_eq!(result, "Executor failed: ValueError('as told')");
    }

    #[tokio::test(start_paused = true)]
    async fn a_callback_that_fails_ends_the_post() {
        let inputs = || documents(["a", "bad:1", "b:2", "panic:3", "c:4"]);
        let flow = Scripted::default();
        let post = flow.post(Setting::of(1), inputs());
        let (calls, result) = fired(&[Done], false, post).await;
        assert_eq!(calls, ["done(a)", "done(bad:1)"]);
        assert_eq!(result, "callback `on_done` failed: disk full");

        let post = flow.post(Setting::of(1).continue_on_error(), inputs());
        let (calls, result) = fired(&[Done], true, post).await;
        assert_eq!(calls, ["done(a)", "done(bad:1)", "done(b:2)", "done(panic:3)", "done(c:4)"]);
        assert_eq!(result, "callback `on_done` failed: disk full", "the first of them");
    }

    #[tokio::test]
    async fn what_failed_outside_of_networking_and_jina_fires_none() {
        let outcomes = stream::iter([Err(PostError::Input("gone".into()))]);
        let (calls, result) = fired(&[Done, Error, Always], false, outcomes).await;
        assert!(calls.is_empty());
        assert_eq!(result, "the inputs ended with an error: gone");
    }
}
