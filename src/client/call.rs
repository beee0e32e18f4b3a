//! One request and what came of it, whatever the protocol.

use std::ops::AddAssign;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{CallError, HttpRequest, HttpResponse, RequestHeaders};
use crate::wire::{DataRequest, DecodeError, Encoded, Form, Head, Map, Route, decode_single};

/// One way to reach a Flow: sends a request and hands back the reply that answers it.
///
/// Implementations choose their connections, multiplexing and wire formats. Dropping the future gives
/// the request up: a late reply to it is discarded.
pub trait Call: Clone + Send + Sync + 'static {
    /// Sends `request`, waits for its last reply.
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, Failure>> + Send;
}

/// Replies that matched no request, and were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// They had no request id.
    pub without_id: u64,
    /// Their request id was never sent.
    pub unknown_id: u64,
    /// Their request had its reply already.
    pub duplicate: u64,
    /// Their request had been given up: a timeout.
    pub late: u64,
}

impl Unmatched {
    /// The number of all of them.
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

/// What is sent. Cheap to clone, so the same request can go out a million times.
#[derive(Clone, Debug)]
pub enum Request {
    /// A DataRequest to an endpoint.
    Post {
        /// The body in the form the session speaks ([`super::Session::form`]).
        message: Encoded,
        /// The endpoint again, `on`: HTTP of v2 has it in the path.
        endpoint: Arc<str>,
    },
    /// A GraphQL mutation, over HTTP whatever the session's protocol.
    Mutate {
        /// The JSON body `{"query": …, "variables": …}`.
        body: Bytes,
    },
    /// A DataRequest of exactly one Document to a streaming endpoint (v2's `stream_doc`): many
    /// replies, of which the first and the last are timed. gRPC only.
    Stream {
        /// The `SingleDocumentRequestProto`, encoded but for its request id.
        message: Encoded,
    },
    /// A plain HTTP request. Sessions over HTTP only.
    Http(Arc<HttpRequest>),
    /// One of the others with headers of its own: over HTTP, and over gRPC if it is a call of its own.
    /// Requests that share a stream or a WebSocket share its headers too.
    WithHeaders(Arc<(RequestHeaders, Request)>),
}

impl Request {
    /// The request without headers of its own.
    pub fn bare(&self) -> &Request {
        match self {
            Request::WithHeaders(both) => both.1.bare(),
            bare => bare,
        }
    }
}

/// What came back, decoded as far as its head.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Header and routes; for `Mutate` a status made of the GraphQL errors.
    pub head: Head,
    /// Parameters and Documents, still encoded.
    pub body: Body,
    /// The instants of the request on the wire.
    pub timing: Timing,
}

/// The undecoded part of a reply.
#[derive(Clone, Debug)]
pub enum Body {
    /// A DataRequest.
    Message {
        /// How `bytes` are to be read.
        form: Form,
        /// The whole message.
        bytes: Bytes,
    },
    /// No Documents: an error response of a kind that carries none (HTTP of v2).
    Empty,
    /// Replies of a streaming endpoint, `SingleDocumentRequestProto` each.
    Stream(Vec<Bytes>),
    /// A GraphQL response body.
    GraphQl(Bytes),
    /// The response to a plain HTTP request.
    Http(Arc<HttpResponse>),
}

impl Body {
    /// Its bytes, still encoded.
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

/// The instants of one request on the wire. When it was *due* only the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When the transport took the first byte (of the last attempt); `None`: never sent.
    pub written: Option<Instant>,
    /// When the first reply began to come in.
    pub first: Option<Instant>,
    /// When the last reply was there, or the failure was known.
    pub done: Instant,
    /// How often it was tried, at least 1.
    pub attempts: u32,
    /// The connection that it went over, by its number at its session; `None`: none, or not known.
    pub connection: Option<u32>,
}

impl Timing {
    /// Of what was tried once and never sent, and was over at this instant.
    pub(crate) fn unsent(done: Instant) -> Timing {
        Timing { written: None, first: None, done, attempts: 1, connection: None }
    }
}

/// A call that brought no reply, and when.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// Why there is no reply.
    #[source]
    pub error: CallError,
    /// The instants of the request as far as it came.
    pub timing: Timing,
    /// Of a plain request that failed by its status, what came back.
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
    /// The failure that this reply reports, if any: an Executor's exception or, in a GraphQL
    /// response, its errors.
    pub fn failure(&self) -> Option<CallError> {
        let status = self.head.header.status.as_ref().filter(|status| !status.is_ok())?;
        if let Body::GraphQl(_) = self.body {
            return Some(CallError::GraphQl(status.description.clone()));
        }
        // The status names the Executor's class; its name in the Flow stands on its route.
        let failed = |route: &&Route| route.status.as_ref().is_some_and(|status| !status.is_ok());
        let route = self.head.routes.as_deref().unwrap_or_default().iter().find(failed);
        Some(CallError::Executor {
            description: status.description.clone(),
            executor: route.map(|route| route.executor.as_str().to_owned()),
            exception: status.exception.clone().map(Arc::new),
        })
    }

    /// Decodes parameters and Documents too. The Documents of a streaming endpoint's replies are
    /// taken together.
    ///
    /// # Errors
    /// When the body is not what its form says, and for the response to a mutation or a plain HTTP
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
                "a GraphQL response holds what its mutation selects, not a DataRequest".into(),
            )),
            Body::Http(_) => Err(DecodeError::Content(
                "the response to a plain HTTP request holds no DataRequest".into(),
            )),
        }
    }
}
