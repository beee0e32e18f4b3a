//! One request and its outcome, whatever the protocol.

use std::ops::AddAssign;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{CallError, HttpRequest, HttpResponse, RequestHeaders};
use crate::wire::{DataRequest, DecodeError, Encoded, Form, Head, Map, Route, decode_single};

/// One way to reach a Flow: sends a request and returns its reply.
///
/// Implementations choose their connections, multiplexing and wire formats. Dropping the future
/// abandons the request: a late reply to it is discarded.
pub trait Call: Clone + Send + Sync + 'static {
    /// Sends `request` and waits for its last reply.
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, Failure>> + Send;
}

/// Replies that matched no request and were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// Replies without a request id.
    pub without_id: u64,
    /// Replies with a request id that was never sent.
    pub unknown_id: u64,
    /// Replies to a request that already had its reply.
    pub duplicate: u64,
    /// Replies to a request that was abandoned after a timeout.
    pub late: u64,
}

impl Unmatched {
    /// The number of all unmatched replies.
    pub fn total(&self) -> u64 {
        self.without_id + self.unknown_id + self.duplicate + self.late
    }
}

impl AddAssign for Unmatched {
    fn add_assign(&mut self, other: Unmatched) {
        self.without_id += other.without_id;
        self.unknown_id += other.unknown_id;
        self.duplicate += other.duplicate;
        self.late += other.late;
    }
}

/// A request. Cheap to clone, so that it can be sent a million times.
#[derive(Clone, Debug)]
pub enum Request {
    /// A DataRequest to an endpoint.
    Post {
        /// The body in the session's format ([`super::Session::form`]).
        message: Encoded,
        /// The endpoint (`on`) once more, because HTTP to a v2 Flow has it in the path.
        endpoint: Arc<str>,
    },
    /// A GraphQL mutation, over HTTP whatever the session's protocol.
    Mutate {
        /// The JSON body `{"query": …, "variables": …}`.
        body: Bytes,
    },
    /// A DataRequest with exactly one Document for a streaming endpoint (v2's `stream_doc`). It
    /// gets many replies; the first and the last are timed. gRPC only.
    Stream {
        /// The `SingleDocumentRequestProto`, encoded except for its request id.
        message: Encoded,
    },
    /// A plain HTTP request. Sessions over HTTP only.
    Http(Arc<HttpRequest>),
    /// Any of the others with additional headers: over HTTP, and over gRPC if each request is a
    /// separate call. Requests that share a stream or a WebSocket share its headers too.
    WithHeaders(Arc<(RequestHeaders, Request)>),
}

impl Request {
    /// The request without its additional headers.
    pub fn bare(&self) -> &Request {
        match self {
            Request::WithHeaders(both) => both.1.bare(),
            bare => bare,
        }
    }
}

/// A reply, of which only the head is decoded.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Header and routes; for `Mutate`, a status made from the GraphQL errors.
    pub head: Head,
    /// Parameters and Documents, still encoded.
    pub body: Body,
    /// Timestamps of the request on the wire.
    pub timing: Timing,
}

/// The undecoded part of a reply.
#[derive(Clone, Debug)]
pub enum Body {
    /// A DataRequest.
    Message {
        /// The format of `bytes`.
        form: Form,
        /// The whole message.
        bytes: Bytes,
    },
    /// No Documents: an error response that carries none (HTTP to a v2 Flow).
    Empty,
    /// Replies of a streaming endpoint, each a `SingleDocumentRequestProto`.
    Stream(Vec<Bytes>),
    /// A GraphQL response body.
    GraphQl(Bytes),
    /// The response to a plain HTTP request.
    Http(Arc<HttpResponse>),
}

impl Body {
    /// Its encoded size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks for it")]
    pub fn len(&self) -> usize {
        match self {
            Body::Message { bytes, .. } | Body::GraphQl(bytes) => bytes.len(),
            Body::Stream(replies) => replies.iter().map(Bytes::len).sum(),
            Body::Http(response) => response.body.len(),
            Body::Empty => 0,
        }
    }
}

/// Timestamps of one request on the wire. Only the engine knows when it was *due*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When the transport took the first byte (of the last attempt); `None` if it was never sent.
    pub written: Option<Instant>,
    /// When the first reply began to arrive.
    pub first: Option<Instant>,
    /// When the last reply was complete, or the failure was known.
    pub done: Instant,
    /// Number of attempts, at least 1.
    pub attempts: u32,
    /// The number of its connection within the session; `None` if there was none or it is unknown.
    pub connection: Option<u32>,
}

impl Timing {
    /// For a request that was tried once, was never sent, and ended at this instant.
    pub(crate) fn unsent(done: Instant) -> Timing {
        Timing { written: None, first: None, done, attempts: 1, connection: None }
    }
}

/// A call that got no reply, and when.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// Why there is no reply.
    #[source]
    pub error: CallError,
    /// Timestamps of the request, as far as it got.
    pub timing: Timing,
    /// The response to a plain request that failed because of its status.
    pub response: Option<Box<Reply>>,
}

impl Failure {
    /// A failure without a response.
    pub fn new(error: CallError, timing: Timing) -> Failure {
        Failure { error, timing, response: None }
    }

    /// A failure before anything was sent, known now.
    pub(super) fn unsent(error: CallError) -> Failure {
        Failure::new(error, Timing::unsent(Instant::now()))
    }
}

impl Reply {
    /// The failure that this reply reports, if any: an Executor's exception, or the errors in a
    /// GraphQL response.
    pub fn failure(&self) -> Option<CallError> {
        let status = self.head.header.status.as_ref().filter(|status| !status.is_ok())?;
        if let Body::GraphQl(_) = self.body {
            return Some(CallError::GraphQl(status.description.clone()));
        }
        // The status names the Executor's class; the route has its name in the Flow.
        let failed = |route: &&Route| route.status.as_ref().is_some_and(|status| !status.is_ok());
        let route = self.head.routes.as_deref().unwrap_or_default().iter().find(failed);
        Some(CallError::Executor {
            description: status.description.clone(),
            executor: route.map(|route| route.executor.as_str().to_owned()),
            exception: status.exception.clone().map(Arc::new),
        })
    }

    /// Decodes parameters and Documents too. The Documents of all replies of a streaming endpoint
    /// are returned as one list.
    ///
    /// # Errors
    /// When the body does not match its format, and for the response to a mutation or a plain HTTP
    /// request, which holds no DataRequest.
    pub fn decode(&self) -> Result<DataRequest, DecodeError> {
        match &self.body {
            Body::Message { form, bytes } => form.decode(bytes.clone()),
            Body::Empty => Ok(DataRequest {
                header: self.head.header.clone(),
                routes: self.head.routes.clone().unwrap_or_default(),
                ..DataRequest::default()
            }),
            Body::Stream(replies) => {
                let mut data = Vec::with_capacity(replies.len());
                let mut parameters = Map::new();
                for reply in replies {
                    let reply = decode_single(reply.clone())?;
                    data.extend(reply.data.unwrap_or_default());
                    parameters = reply.parameters;
                }
                Ok(DataRequest {
                    header: self.head.header.clone(),
                    parameters,
                    routes: self.head.routes.clone().unwrap_or_default(),
                    data: Some(data),
                })
            }
            Body::GraphQl(_) => Err(DecodeError::Content(
                "a GraphQL response contains what its mutation selects, not a DataRequest".into(),
            )),
            Body::Http(_) => Err(DecodeError::Content(
                "the response to a plain HTTP request contains no DataRequest".into(),
            )),
        }
    }
}
