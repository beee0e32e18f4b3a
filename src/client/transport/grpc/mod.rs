//! gRPC: connections with long-lived streams, and separate calls beside them.
//!
//! `lanes/` has the connections, over our own HTTP/2 (`../http2/`); a load owns them. Everyone else
//! uses [`Grpc`], a handle on a task that owns them.
//!
//! A gateway answers with a *stub*, a header with nothing but the request id, when a request fails
//! in a way that ends the stream. The stub is held back: if the stream then ends with an error, the
//! request gets that error; if the stream continues, the stub was a reply after all.

mod frame;
pub(super) mod lanes;
mod setup;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::lanes::{Extra, Lanes, decode_error};
use self::setup::Setup;
use super::connect::Connector;
use super::handle::{Handle, gone};
use crate::client::{CallError, ClientConfig, Failure, Reply, Request, Unmatched};
use crate::wire::proto::jina::{EndpointsProto, JinaInfoProto, StatusProto};
use crate::wire::{Family, Schemas, decode_struct};

/// The method for streams.
const CALL: &str = "/jina.JinaRPC/Call";
const SINGLE: &str = "/jina.JinaSingleDataRequestRPC/process_single_data";
const STREAM_DOC: &str = "/jina.JinaSingleDocumentRequestRPC/stream_doc";
const STATUS: &str = "/jina.JinaInfoRPC/_status";
const DRY_RUN: &str = "/jina.JinaGatewayDryRunRPC/dry_run";
const ENDPOINTS: &str = "/jina.JinaDiscoverEndpointsRPC/endpoint_discovery";

/// A handle on gRPC connections.
#[derive(Debug)]
pub(super) struct Grpc {
    setup: Arc<Setup>,
    handle: Handle<Lanes>,
    tickets: AtomicU64,
}

impl Grpc {
    /// Opens all connections.
    ///
    /// # Errors
    /// The first error of any of them.
    pub(super) async fn open(
        config: Arc<ClientConfig>,
        connector: Connector,
    ) -> Result<Grpc, CallError> {
        let setup = Arc::new(Setup::new(config, connector)?);
        Ok(Grpc::of(Lanes::open(setup).await?))
    }

    fn of(lanes: Lanes) -> Grpc {
        let setup = lanes.setup().clone();
        Grpc { setup, handle: Handle::new(lanes), tickets: AtomicU64::new(0) }
    }

    /// Replies so far that matched no request.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.setup.unmatched.get()
    }

    /// Sets the family of the Flow, which affects only the format of replies.
    pub(super) fn speaks(&self, family: Family) {
        self.handle.extra(Extra::Speak(family));
    }

    /// Takes the connections themselves. This handle can send nothing from then on.
    ///
    /// # Errors
    /// When they have been taken already.
    pub(super) async fn hand_over(&self) -> Result<Lanes, CallError> {
        self.handle.hand_over(self.setup.target()).await
    }

    /// One attempt of a request.
    pub(super) async fn call(&self, request: Request) -> Result<Reply, Failure> {
        self.handle.call(request, self.setup.target()).await
    }

    /// Sends a Document to a streaming endpoint; replies arrive one by one.
    pub(super) fn stream(&self, request: Request) -> DocumentReplies {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (parts, replies) = mpsc::unbounded_channel();
        self.handle.extra(Extra::Stream(ticket, request, parts));
        let (handle, setup) = (self.handle.clone(), self.setup.clone());
        DocumentReplies { replies, handle, ticket, setup }
    }

    /// What the gateway reports about itself.
    pub(super) async fn info(&self) -> Result<JinaInfoProto, CallError> {
        self.ask(STATUS).await
    }

    /// Whether the gateway reaches all Executors: if so, the status is OK.
    pub(super) async fn dry_run(&self) -> Result<StatusProto, CallError> {
        self.ask(DRY_RUN).await
    }

    /// The endpoints that Executors serve. Only the v2 family reports them.
    pub(super) async fn endpoints(&self) -> Result<EndpointsProto, CallError> {
        self.ask(ENDPOINTS).await
    }

    /// The schemas of the endpoints' Documents; none if the gateway fails to report them.
    ///
    /// # Errors
    /// When the connection fails.
    pub(super) async fn schemas(&self) -> Result<Schemas, CallError> {
        match self.endpoints().await {
            Ok(told) => {
                let schemas = told.schemas.unwrap_or_default().encode_to_vec();
                Ok(decode_struct(schemas.into())
                    .map_or_else(|_| Schemas::default(), |schemas| Schemas::of_discovery(&schemas)))
            }
            Err(error @ (CallError::Connect { .. } | CallError::Tls { .. })) => Err(error),
            Err(_) => Ok(Schemas::default()),
        }
    }

    /// A query without arguments, answered within the connect timeout.
    async fn ask<M: Message + Default>(&self, path: &'static str) -> Result<M, CallError> {
        let (settle, settled) = oneshot::channel();
        self.handle.extra(Extra::Ask(path, settle));
        let limit = self.setup.connector.limit();
        let answer = match timeout(limit, settled).await {
            Ok(answer) => answer.map_err(|_| gone(self.setup.target()))??,
            Err(_) => return Err(CallError::Timeout(limit)),
        };
        M::decode(answer).map_err(decode_error)
    }
}

/// Replies of a streaming endpoint, one by one as they arrive. Dropping it abandons the rest.
#[derive(Debug)]
pub(super) struct DocumentReplies {
    replies: mpsc::UnboundedReceiver<Result<Option<(Reply, usize)>, Failure>>,
    handle: Handle<Lanes>,
    ticket: u64,
    setup: Arc<Setup>,
}

impl DocumentReplies {
    /// The next reply; `None` if the endpoint has no more. Its timing says when this reply was
    /// complete, and when the first one began.
    pub(super) async fn next(&mut self) -> Result<Option<Reply>, Failure> {
        match self.replies.recv().await {
            Some(Ok(Some((reply, bytes)))) => {
                self.handle.extra(Extra::Read(self.ticket, bytes));
                Ok(Some(reply))
            }
            Some(Ok(None)) => Ok(None),
            Some(Err(failure)) => Err(failure),
            None => Err(Failure::unsent(gone(self.setup.target()))),
        }
    }
}

impl Drop for DocumentReplies {
    fn drop(&mut self) {
        self.handle.extra(Extra::GiveUp(self.ticket));
    }
}
