//! `Client::post`: a builder, and four ways to receive the responses.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};

use serde_json::Value;

use super::callbacks::{CallbackReturn, Callbacks};
use super::exchange::{Envelope, Exchange, Manner};
use super::input::Batches;
use super::{
    BoxError, CallError, CallbackError, Client, ClientConfig, Compression, Inputs, IntoInputs,
    RequestSize, Response, Results, Retry, map,
};
use crate::wire::{Map, Misfit, Protocol};

/// A builder of a post. Nothing is sent before one of its final methods is called.
///
/// Without callbacks these are [`Post::send`] for one list of Documents, [`Post::responses`] for a
/// list of responses and [`Post::stream`] for responses one by one. Adding a callback makes it a
/// `Post<Callbacks>`, which accumulates and returns nothing and has only [`Post::run`].
#[derive(Debug)]
#[must_use = "nothing is sent before `send`, `responses`, `stream` or, with callbacks, `run`"]
pub struct Post<'a, Ending = NoCallbacks> {
    client: Client,
    /// The client's settings, with this post's overrides.
    config: Option<Box<ClientConfig>>,
    envelope: Envelope,
    manner: Manner,
    inputs: Inputs<'a>,
    request_size: RequestSize,
    ending: Ending,
}

/// Default limit of requests in flight over HTTP: the number of connections that Jina's client
/// opens, and far below the usual limit of open files.
const HTTP_PREFETCH: usize = 100;

/// A [`Post`] without callbacks.
#[derive(Debug)]
pub struct NoCallbacks(());

/// Why a post ended early.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// A request got no response, or (from [`Post::run`] and [`Results::into_ok`]) a response
    /// reported a failure.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The iterator or stream of inputs failed. The Documents before the error were sent and
    /// answered.
    #[error("the inputs ended with an error: {0}")]
    Input(#[source] BoxError),
    /// A Document does not fit the schema that the Flow reports for the endpoint. The Documents
    /// before it were sent and answered.
    #[error("Document {index}, for endpoint `{endpoint}`: {misfit}")]
    Unfit {
        /// Index of the Document in the post, from 0.
        index: u64,
        /// The endpoint.
        endpoint: String,
        /// What does not fit.
        #[source]
        misfit: Box<Misfit>,
    },
    /// A callback failed.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// A request size of 0, into which no Document fits.
    #[error("`request_size` is 0; expected at least 1 Document, or `RequestSize::All`")]
    RequestSize,
}

impl<'a> Post<'a> {
    pub(super) fn new(client: Client, on: String) -> Post<'a> {
        let config = client.config();
        Post {
            config: None,
            envelope: Envelope { on, target_executor: String::new(), parameters: Map::new() },
            manner: Manner {
                prefetch: match (config.target.protocol, config.prefetch) {
                    (Protocol::Http, ClientConfig::PREFETCH) => HTTP_PREFETCH,
                    (_, prefetch) => prefetch,
                },
                results_in_order: config.results_in_order,
                continue_on_error: false,
                fit_schema: false,
            },
            inputs: Inputs::default(),
            request_size: RequestSize::Documents(100),
            ending: NoCallbacks(()),
            client,
        }
    }

    /// Sends everything and returns the Documents of all responses as one flat list, in the order
    /// of the responses.
    ///
    /// Responses that report a failure are not an error here, as in Jina up to 3.6.5: their Documents
    /// are part of the list. [`Results::failures`] lists the failures.
    ///
    /// # Errors
    /// When a request gets no response or the inputs fail; the rest is abandoned then. With
    /// [`Post::continue_on_error`], a request without a response is one of the failures instead,
    /// unless the Flow cannot be reached at all.
    pub async fn send(self) -> Result<Results, PostError> {
        let continue_on_error = self.manner.continue_on_error;
        let mut responses = self.stream();
        let mut results = Results::default();
        while let Some(outcome) = responses.next().await {
            let docs = match outcome {
                Ok(response) => {
                    results.failures.extend(response.failure());
                    response.into_docs()
                }
                Err(PostError::Call(error)) => Err(error),
                Err(error) => return Err(error),
            };
            match docs {
                Ok(mut docs) => results.docs.append(&mut docs),
                Err(error) if continue_on_error && !error.is_final() => {
                    results.failures.push(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(results)
    }

    /// Sends everything and returns the list of responses, Jina's `return_responses=True`,
    /// including those that report a failure.
    ///
    /// # Errors
    /// When a request gets no response, which has no place in the list, or the inputs fail.
    pub async fn responses(self) -> Result<Vec<Response>, PostError> {
        self.stream().try_collect().await
    }

    /// Returns responses one by one as they arrive, while inputs are still being produced.
    ///
    /// The post advances only while the stream is being read, so nothing piles up. A request that
    /// got no response is an `Err`; then no further input is taken, and the stream ends after the
    /// outcomes of the requests in flight. Dropping the stream abandons them.
    pub fn stream(self) -> Responses<'a> {
        self.into_parts().0
    }

    /// Called with each successful response. See [`Post::run`].
    pub fn on_done<R: CallbackReturn>(
        self,
        callback: impl FnMut(&Response) -> R + Send + 'a,
    ) -> Post<'a, Callbacks<'a>> {
        self.with_callbacks().on_done(callback)
    }

    /// Called for each request that failed: with the response if there is one, and the error. See
    /// [`Post::run`].
    pub fn on_error<R: CallbackReturn>(
        self,
        callback: impl FnMut(Option<&Response>, &CallError) -> R + Send + 'a,
    ) -> Post<'a, Callbacks<'a>> {
        self.with_callbacks().on_error(callback)
    }

    /// Called for each request, whatever its outcome: with the response if there is one. See
    /// [`Post::run`].
    pub fn on_always<R: CallbackReturn>(
        self,
        callback: impl FnMut(Option<&Response>) -> R + Send + 'a,
    ) -> Post<'a, Callbacks<'a>> {
        self.with_callbacks().on_always(callback)
    }

    fn with_callbacks(self) -> Post<'a, Callbacks<'a>> {
        let Post { client, config, envelope, manner, inputs, request_size, ending: _ } = self;
        let ending = Callbacks::default();
        Post { client, config, envelope, manner, inputs, request_size, ending }
    }
}

impl<'a> Post<'a, Callbacks<'a>> {
    /// Called with each successful response. See [`Post::run`].
    pub fn on_done<R: CallbackReturn>(
        mut self,
        callback: impl FnMut(&Response) -> R + Send + 'a,
    ) -> Self {
        self.ending.on_done(callback);
        self
    }

    /// Called for each request that failed: with the response if there is one, and the error. See
    /// [`Post::run`].
    pub fn on_error<R: CallbackReturn>(
        mut self,
        callback: impl FnMut(Option<&Response>, &CallError) -> R + Send + 'a,
    ) -> Self {
        self.ending.on_error(callback);
        self
    }

    /// Called for each request, whatever its outcome: with the response if there is one. See
    /// [`Post::run`].
    pub fn on_always<R: CallbackReturn>(
        mut self,
        callback: impl FnMut(Option<&Response>) -> R + Send + 'a,
    ) -> Self {
        self.ending.on_always(callback);
        self
    }

    /// Sends everything and calls the callbacks as outcomes arrive, one call at a time: `on_done`
    /// or `on_error`, then `on_always`. Nothing is accumulated.
    ///
    /// A failure to connect at all is one outcome. A lost connection is one outcome for each
    /// request in flight; no further input is taken then.
    ///
    /// Callbacks run on the task that receives, so a slow one delays receiving.
    ///
    /// # Errors
    /// A failure passed to `on_error` counts as handled. The first one that no callback received is
    /// returned when the post has ended: a failed request if there is no `on_error` (`on_always` is
    /// not given the reason), or an error of the inputs. A callback that returns an error or panics
    /// ends the post with [`PostError::Callback`].
    pub async fn run(self) -> Result<(), PostError> {
        let continue_on_error = self.manner.continue_on_error;
        let (responses, callbacks) = self.into_parts();
        callbacks.run(responses, continue_on_error).await
    }
}

impl<'a, Ending> Post<'a, Ending> {
    /// The inputs to send: a Document, a list, an iterator or an async stream. Without inputs, one
    /// request without Documents is sent.
    pub fn inputs<Kind>(mut self, inputs: impl IntoInputs<'a, Kind>) -> Self {
        self.inputs = inputs.into_inputs();
        self
    }

    /// Documents per request, 100 by default.
    pub fn request_size(mut self, size: impl Into<RequestSize>) -> Self {
        self.request_size = size.into();
        self
    }

    /// Parameters for the Executors: a [`Map`], or names and values as in `[("k", 3)]`.
    pub fn parameters<K: Into<String>, V: Into<Value>>(
        mut self,
        parameters: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.envelope.parameters = map(parameters);
        self
    }

    /// Only Executors whose name matches this regular expression (Python's, from the start of the
    /// name) process the requests. Empty: all.
    pub fn target_executor(mut self, pattern: impl Into<String>) -> Self {
        self.envelope.target_executor = pattern.into();
        self
    }

    /// Hand responses out in the order of their requests instead of as they finish.
    pub fn results_in_order(mut self, in_order: bool) -> Self {
        self.manner.results_in_order = in_order;
        self
    }

    /// Maximum number of requests in flight; 0 means no limit, and then all inputs of a fast
    /// iterator are in memory at once. The default is the client's, 1000; over HTTP, where each
    /// request in flight has its own connection, 100.
    pub fn prefetch(mut self, requests: usize) -> Self {
        self.manner.prefetch = requests;
        let of_client = self.client.config().prefetch;
        if of_client != 0 && (requests == 0 || requests > of_client) {
            // The client's connections are not set up for this many.
            return self.configured(|config| config.prefetch = requests);
        }
        self
    }

    /// Take further inputs after a request got no response or a callback failed. If the Flow cannot
    /// be reached at all, the post still ends.
    pub fn continue_on_error(mut self, continue_on_error: bool) -> Self {
        self.manner.continue_on_error = continue_on_error;
        self
    }

    /// Fit Documents to the schema that the Flow reports for the endpoint, as scenarios do: each
    /// field gets the expected type, and unset fields are not sent. A Document that does not fit
    /// ends the post with [`PostError::Unfit`]. Off by default, because Jina's client does not do
    /// this.
    pub fn fit_schema(mut self, fit: bool) -> Self {
        self.manner.fit_schema = fit;
        self
    }

    /// Timeout of one request, from sending it to the end of its response.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.configured(|config| config.timeout = Some(timeout))
    }

    /// Which failures are retried, and how often.
    pub fn retry(self, retry: Retry) -> Self {
        self.configured(|config| config.retry = retry)
    }

    /// Compression of gRPC requests; HTTP and WebSocket ignore it.
    pub fn compression(self, compression: Compression) -> Self {
        self.configured(|config| config.compression = compression)
    }

    /// Adds a header (HTTP, WebSocket) or metadata entry (gRPC).
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configured(|config| config.headers.push((name.into(), value.into())))
    }

    fn configured(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(self.config.get_or_insert_with(|| Box::new(self.client.config().clone())));
        self
    }

    fn into_parts(self) -> (Responses<'a>, Ending) {
        let Post { client, config, envelope, manner, inputs, request_size, ending } = self;
        let shared = config.is_none().then(|| client.session.clone());
        let exchange = async move {
            let size = match request_size {
                RequestSize::Documents(0) => return Err(PostError::RequestSize),
                RequestSize::Documents(size) => size,
                RequestSize::All => usize::MAX,
            };
            let batches = Batches::new(inputs, size);
            let session = client.session(config.map(|config| *config)).await?;
            let form = session.form();
            let schema = session.schemas().endpoint(&envelope.on).filter(|_| manner.fit_schema);
            let schema = schema.cloned();
            Ok(Exchange::new(session, form, envelope, manner, batches).of_schema(schema))
        };
        let outcomes = stream::once(exchange).try_flatten().inspect_err(move |error| {
            // The next post opens a new session.
            if let (PostError::Call(error), Some(shared)) = (error, &shared)
                && error.may_be_of_session()
            {
                shared.forget();
            }
        });
        (Responses::new(outcomes.boxed()), ending)
    }
}

/// Responses one by one, see [`Post::stream`] and [`super::StreamDoc::stream`].
#[must_use = "nothing is sent unless the stream is read"]
pub struct Responses<'a>(BoxStream<'a, Result<Response, PostError>>);

impl<'a> Responses<'a> {
    pub(super) fn new(responses: BoxStream<'a, Result<Response, PostError>>) -> Responses<'a> {
        Responses(responses)
    }
}

impl Stream for Responses<'_> {
    type Item = Result<Response, PostError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Responses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responses(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetch_is_the_callers_or_suits_the_protocol() {
        let client = |address: &str| Client::at(address).expect("an address");
        for (address, expected) in [("grpc://h", 1000), ("ws://h", 1000), ("https://h", 100)] {
            assert_eq!(client(address).post("/").manner.prefetch, expected, "{address}");
            assert_eq!(client(address).post("/").prefetch(2000).manner.prefetch, 2000);
        }
        let mut config = ClientConfig::new("http://h".parse().expect("an address"));
        config.prefetch = 7;
        assert_eq!(Client::new(config).post("/").manner.prefetch, 7);
    }
}
