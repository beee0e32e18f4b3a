//! The client core: everything Jina's own Python client does, over gRPC, HTTP and WebSocket.
//!
//! [`Client::post`] and [`Client::mutate`] are for people and programs; [`Client::open`] returns a
//! [`Session`], the leaner interface that load runs use: connections stay open, bodies are encoded
//! once, and only the parts of a reply that are read are decoded. `post` uses a session too, so
//! each protocol is implemented once.

mod call;
mod callbacks;
mod channel;
mod config;
mod error;
mod exchange;
mod input;
pub(crate) mod lanes;
mod memory;
mod mutate;
mod plain;
mod post;
mod response;
#[cfg(test)]
mod scripted;
mod stream_doc;
mod trace_parent;
mod transport;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::runtime;
use tokio::sync::OnceCell;

pub use call::{Body, Call, Failure, Reply, Request, Timing, Unmatched};
pub use callbacks::{CallbackError, CallbackReturn, Callbacks};
pub(crate) use channel::Channel;
pub use config::{ClientConfig, Compression, FamilyChoice, HttpVersion, Limits, Retry, TlsOptions};
pub use error::{CallError, ConfigError, GatewayCode};
pub use input::{Inputs, IntoInput, IntoInputs, Many, One, RequestSize, Streamed};
pub use lanes::{Calls, Landed, Lanes};
pub use memory::ResponseMemory;
pub use mutate::Mutate;
pub use plain::{HttpRequest, HttpRequestError, HttpResponse, RequestHeaders};
pub use post::{NoCallbacks, Post, PostError, Responses};
pub use response::{Response, Results};
pub use stream_doc::StreamDoc;
pub use trace_parent::TraceParent;
pub use transport::{FamilySource, FlowInfo, ReplyStream, Session, SessionLanes};
pub(crate) use transport::{connect, tls_for};

use crate::wire::{Document, Map, TargetError};

/// An error in the caller's own code: in a callback or a producer of inputs.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client of one Flow. Cheap to clone. Connects when first used; all clones share the connections.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    session: Arc<SharedSession>,
    /// For GraphQL, if `session` does not speak HTTP.
    http_session: Arc<SharedSession>,
}

impl Client {
    /// A client of the Flow at `config.target`; nothing is sent yet.
    pub fn new(config: ClientConfig) -> Client {
        Client { config: Arc::new(config), session: Arc::default(), http_session: Arc::default() }
    }

    /// A client with Jina's defaults of the Flow at `address`, for example `grpc://localhost:1234`.
    ///
    /// # Errors
    /// When `address` is not a valid address.
    pub fn at(address: &str) -> Result<Client, TargetError> {
        Ok(Client::new(ClientConfig::new(address.parse()?)))
    }

    /// The client's settings.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Posts to the endpoint `on`: sends Documents in requests of up to 100, and receives the responses.
    /// See [`Post`] for its options.
    ///
    /// The endpoint goes over the wire as it is written, so `/search` and `search` differ, except
    /// over HTTP to a v2 Flow, where it is a path.
    pub fn post<'a>(&self, on: impl Into<String>) -> Post<'a> {
        Post::new(self.clone(), on.into())
    }

    /// A GraphQL mutation, Jina's `client.mutate`. See [`Mutate`].
    pub fn mutate(&self, mutation: impl Into<String>) -> Mutate {
        Mutate::new(self.clone(), mutation.into())
    }

    /// Sends a Document to the streaming endpoint `on` and receives the Documents it yields one by one.
    /// See [`StreamDoc`].
    pub fn stream_doc(&self, on: impl Into<String>, document: Document) -> StreamDoc {
        StreamDoc::new(self.clone(), on.into(), document)
    }

    /// Whether the Flow is up and its gateway reaches all Executors. If not, [`Session::dry_run`]
    /// says why.
    pub async fn is_flow_ready(&self) -> bool {
        match self.session.get(&self.config).await {
            Ok(session) => session.dry_run().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Asks the Flow for its family and versions.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn info(&self) -> Result<FlowInfo, CallError> {
        // A session does not ask for the family if it is set.
        let asking = ClientConfig { family: FamilyChoice::Auto, ..(*self.config).clone() };
        Ok(Session::open(Arc::new(asking)).await?.info().clone())
    }

    /// Opens the connections of a session and, if the family is `auto`, asks the Flow for it.
    ///
    /// # Errors
    /// `Connect`, `Tls`, `Protocol` (with a guess at what the port speaks instead), `Timeout`,
    /// `Config`.
    pub async fn open(&self) -> Result<Session, CallError> {
        Session::open(self.config.clone()).await
    }

    /// The shared session, or a separate one for separate settings.
    async fn session(&self, own: Option<ClientConfig>) -> Result<Session, CallError> {
        let Some(mut own) = own else { return self.session.get(&self.config).await };
        // A Flow that has answered already is not asked again.
        if let (FamilyChoice::Auto, Some(session)) = (own.family, self.session.opened()) {
            own.family = FamilyChoice::Is(session.family());
        }
        Session::open(Arc::new(own)).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Parameters or variables from names and values.
fn map<K: Into<String>, V: Into<Value>>(values: impl IntoIterator<Item = (K, V)>) -> Map {
    values.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// A session that opens when first needed.
///
/// It belongs to the runtime it was opened on, and its connections end with that runtime. On
/// another runtime, it is opened again.
#[derive(Default)]
struct SharedSession(Mutex<Option<(runtime::Id, Arc<OnceCell<Session>>)>>);

impl SharedSession {
    /// The session. A caller that arrives while it is being opened waits for it instead of opening
    /// another.
    async fn get(&self, config: &Arc<ClientConfig>) -> Result<Session, CallError> {
        let cell = self.cell();
        cell.get_or_try_init(|| Session::open(config.clone())).await.cloned()
    }

    /// The session if it is open.
    fn opened(&self) -> Option<Session> {
        self.cell().get().cloned()
    }

    /// Makes the next caller open another session. Requests on the current one continue.
    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn cell(&self) -> Arc<OnceCell<Session>> {
        let here = runtime::Handle::current().id();
        let mut cell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cell {
            Some((runtime, cell)) if *runtime == here => cell.clone(),
            _ => cell.insert((here, Arc::default())).1.clone(),
        }
    }
}
