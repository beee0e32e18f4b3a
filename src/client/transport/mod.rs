//! The protocols. Each file or folder holds one; here is what they have in common.
//!
//! Each has lanes: connections that their owner polls, with requests as rows of a table (`rows.rs`) and
//! wakers and timers of `turns.rs`. A load owns them (`session_lanes.rs`); for everybody else a task does
//! (`handle.rs`). `connect/` opens connections (with `tls.rs`), `http1/` and `http2/` have the protocols of
//! one, `pending.rs` tells whose reply a message is, `retry.rs` tries again, `info.rs` asks a Flow what it
//! is, and `probe.rs` guesses what a port speaks that is no Flow.

mod connect;
mod grpc;
mod handle;
mod http;
mod http1;
mod http2;
mod info;
mod pending;
mod probe;
mod retry;
mod rows;
mod session_lanes;
mod spoken;
mod tls;
mod turns;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;

use self::connect::Connector;
pub use self::info::{FamilySource, FlowInfo};
use self::session_lanes::Kind;
pub use self::session_lanes::SessionLanes;
use self::tls::Alpn;
pub(crate) use self::tls::tls_for;
use super::{
    Call, CallError, ClientConfig, ConfigError, Failure, GatewayCode, HttpVersion, Reply, Request,
    Unmatched,
};
use crate::wire::{Family, Form, Protocol, Schemas};

/// How long a response that nobody can read is passed over for the sake of those behind it. After
/// that its stream or connection is given up, and the next request has a new one.
const PASS_OVER_TIME: Duration = Duration::from_secs(10);

/// How many bytes of it are: as many as of one that can be read, or what takes no time.
const fn pass_over_max(message_bytes_max: usize) -> usize {
    const NO_TIME: usize = 16 << 20;
    if message_bytes_max > NO_TIME { message_bytes_max } else { NO_TIME }
}

/// Opens a connection for HTTP/2, to speak something over it that is not for Flows.
///
/// # Errors
/// As for a session.
pub(crate) async fn connect(
    config: &ClientConfig,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static + use<>, CallError> {
    Connector::new(config, Alpn::Http2)?.connect().await
}

/// Looks at the TLS options of a configuration, files included, without connecting.
pub(super) fn check_tls(config: &ClientConfig) -> Result<(), ConfigError> {
    Connector::new(config, Alpn::Any).map(drop)
}

/// Open connections to one Flow, for as many requests as wanted. Cheap to clone; closing is
/// dropping the last clone.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Transport,
    info: FlowInfo,
    schemas: Arc<Schemas>,
    config: Arc<ClientConfig>,
    connector: Connector,
    /// Whether an HTTP session speaks to another kind of port, found out with its first 404.
    elsewhere: OnceCell<Option<CallError>>,
}

/// Why a request on a shared connection has no headers of its own.
const SHARED_HEADERS: &str = "headers of a single request where all requests share a stream or a WebSocket; \
                              over HTTP each has its own";

#[derive(Debug)]
enum Transport {
    Grpc(grpc::Grpc),
    Http(http::Http),
    WebSocket(websocket::WebSocket),
}

impl Session {
    /// Connects, and asks the Flow for its family unless the configuration names it, as often as
    /// the configuration allows. When that fails, the error says what the port seems to speak.
    pub(super) async fn open(config: Arc<ClientConfig>) -> Result<Session, CallError> {
        let alpn = match config.target.protocol {
            Protocol::Grpc => Alpn::Http2,
            Protocol::Http if config.http_version == HttpVersion::Two => Alpn::Http2,
            Protocol::Http | Protocol::WebSocket => Alpn::Http1,
        };
        let connector = Connector::new(&config, alpn)?;
        let open = || Transport::open(&config, &connector);
        match retry::until_open(&config.retry, open).await {
            Ok((transport, info, schemas)) => {
                let (schemas, elsewhere) = (Arc::new(schemas), OnceCell::new());
                let inner = Inner { transport, info, schemas, config, connector, elsewhere };
                Ok(Session(Arc::new(inner)))
            }
            Err(error) => Err(probe::explain(&connector, error).await),
        }
    }

    /// What the Flow told of itself when the session was opened.
    pub fn info(&self) -> &FlowInfo {
        &self.0.info
    }

    /// The schemas of Documents that the Flow told of its endpoints; none where it tells none: v1, a
    /// WebSocket gateway, and gateways over gRPC that fail to tell those of Documents in Documents.
    pub fn schemas(&self) -> &Arc<Schemas> {
        &self.0.schemas
    }

    /// The family the Flow speaks.
    pub fn family(&self) -> Family {
        self.0.info.family
    }

    /// The form in which messages of `Request::Post` must be encoded.
    pub fn form(&self) -> Form {
        match self.0.transport {
            Transport::Grpc(_) | Transport::WebSocket(_) => Form::Protobuf(self.family()),
            Transport::Http(_) => Form::Json(self.family()),
        }
    }

    /// Replies that matched no request, so far. They were discarded. Over HTTP, where a connection
    /// carries one request at a time and is closed when that is given up, only second ones are seen.
    pub fn unmatched(&self) -> Unmatched {
        match &self.0.transport {
            Transport::Grpc(grpc) => grpc.unmatched(),
            Transport::WebSocket(websocket) => websocket.unmatched(),
            Transport::Http(http) => http.unmatched(),
        }
    }

    /// The connections themselves, for who sends many requests from one task. Over gRPC nothing can be
    /// sent by the session from then on.
    ///
    /// # Errors
    /// When somebody has them already.
    pub async fn lanes(&self) -> Result<SessionLanes, CallError> {
        let kind = match &self.0.transport {
            Transport::Grpc(grpc) => Kind::Grpc(Box::new(grpc.hand_over().await?)),
            Transport::Http(http) => Kind::Http(http.hand_over().await?),
            Transport::WebSocket(websocket) => {
                Kind::WebSocket(Box::new(websocket.hand_over().await?))
            }
        };
        Ok(SessionLanes::new(self.clone(), kind, self.0.config.retry))
    }

    /// Makes sure that somebody who speaks the protocol is there. To open a session asks that much, but
    /// over HTTP to a Flow whose family is given and has no endpoints to tell.
    ///
    /// # Errors
    /// As for opening a session: the error says what the port seems to speak.
    pub async fn greet(&self) -> Result<(), CallError> {
        let Inner { transport, info, config, connector, .. } = &*self.0;
        // Nothing is asked of what is no Flow; that it takes connections has been seen.
        if config.family == crate::client::FamilyChoice::NoFlow {
            return Ok(());
        }
        let was_asked = info.family_source != FamilySource::Config || info.family == Family::V2;
        if was_asked || !matches!(transport, Transport::Http(_)) {
            return Ok(());
        }
        match retry::until_open(&config.retry, || probe::speaks_http(config, connector)).await {
            Ok(()) => Ok(()),
            Err(error) => Err(probe::explain(connector, error).await),
        }
    }

    /// Jina's dry run: asks the gateway whether it reaches all Executors.
    ///
    /// # Errors
    /// `Gateway` when it does not, with its words; or when there is no answer to the question.
    pub async fn dry_run(&self) -> Result<(), CallError> {
        let status = match &self.0.transport {
            Transport::Grpc(grpc) => {
                let status = grpc.dry_run().await?;
                DryRun {
                    code: status.code,
                    description: status.description,
                    exception: status.exception.map(|told| Exception { name: told.name }),
                }
            }
            Transport::Http(_) | Transport::WebSocket(_) => {
                let Inner { config, connector, .. } = &*self.0;
                let (code, body) = probe::get(config, connector, "/dry_run").await?;
                match serde_json::from_slice(&body) {
                    Ok(status) if code == 200 => status,
                    _ => {
                        let begin = String::from_utf8_lossy(&body[..body.len().min(200)]);
                        let (code, message) = (GatewayCode::Http(code), begin.into_owned());
                        return Err(CallError::Gateway { code, message, retry_after: None });
                    }
                }
            }
        };
        if status.code == 0 {
            return Ok(());
        }
        let exception = status.exception.map(|exception| exception.name);
        let code = GatewayCode::DryRun(exception.filter(|name| !name.is_empty()));
        Err(CallError::Gateway { code, message: status.description, retry_after: None })
    }

    /// Sends a request to a streaming endpoint ([`Request::Stream`]) and gives the replies one by
    /// one as they come. [`Call::call`] gives them all at once. Nothing is tried again.
    ///
    /// # Errors
    /// `Unsupported` but over gRPC, and all that can befall a request.
    pub async fn stream(&self, request: Request) -> Result<ReplyStream, Failure> {
        match (&self.0.transport, request) {
            (Transport::Grpc(grpc), Request::Stream { message }) => {
                Ok(ReplyStream(grpc.stream(Request::Stream { message })))
            }
            (Transport::Grpc(_), _) => Err(Failure::unsent(CallError::Unsupported(
                "only requests to streaming endpoints have replies one by one".into(),
            ))),
            _ => Err(Failure::unsent(CallError::Unsupported(
                "streaming endpoints are offered over gRPC only".into(),
            ))),
        }
    }
}

/// A StatusProto in JSON, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct DryRun {
    code: i32,
    #[serde(default)]
    description: String,
    exception: Option<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(default)]
    name: String,
}

/// Replies of a streaming endpoint. Dropping it gives up what has not come yet.
#[derive(Debug)]
pub struct ReplyStream(grpc::DocumentReplies);

impl ReplyStream {
    /// The next reply, with one message in its [`super::Body::Stream`]; `None` when there are no
    /// more.
    ///
    /// # Errors
    /// How the stream broke; nothing comes after that.
    pub async fn next(&mut self) -> Result<Option<Reply>, Failure> {
        self.0.next().await
    }
}

impl Transport {
    async fn open(
        config: &Arc<ClientConfig>,
        connector: &Connector,
    ) -> Result<(Transport, FlowInfo, Schemas), CallError> {
        let connector = connector.clone();
        match config.target.protocol {
            Protocol::Grpc => {
                let grpc = grpc::Grpc::open(config.clone(), connector).await?;
                let info = FlowInfo::over_grpc(config, &grpc).await?;
                info.has_what_is_called(config)?;
                grpc.speaks(info.family);
                let schemas = match info.family_source {
                    FamilySource::Config | FamilySource::Assumed => Schemas::default(),
                    _ if info.family == Family::V1 => Schemas::default(),
                    _ => grpc.schemas().await?,
                };
                Ok((Transport::Grpc(grpc), info, schemas))
            }
            Protocol::Http => {
                let info = FlowInfo::over_http(config, &connector).await?;
                let (http, schemas) = http::Http::open(config, connector, info.family).await?;
                Ok((Transport::Http(http), info, schemas))
            }
            Protocol::WebSocket => {
                let info = FlowInfo::over_http(config, &connector).await?;
                let websocket = websocket::WebSocket::open(config, connector, info.family).await?;
                Ok((Transport::WebSocket(websocket), info, Schemas::default()))
            }
        }
    }

    async fn attempt(&self, request: Request) -> Result<Reply, Failure> {
        match self {
            Transport::Grpc(grpc) => grpc.call(request).await,
            Transport::Http(http) => http.call(request).await,
            Transport::WebSocket(websocket) => websocket.call(request).await,
        }
    }
}

impl Session {
    /// Whether an error may tell of another kind of port. A WebSocket gateway answers all that opening an
    /// HTTP session asks, and has no endpoints.
    fn is_unexplained(&self, error: &CallError) -> bool {
        let Inner { transport, config, .. } = &*self.0;
        matches!(transport, Transport::Http(_))
            // A 404 of what is no Flow says nothing about the port.
            && config.family != crate::client::FamilyChoice::NoFlow
            && matches!(error, CallError::Gateway { code: GatewayCode::Http(404), .. })
    }

    /// What it is then, found out with the first of them.
    async fn explained(&self, error: CallError) -> CallError {
        let Inner { connector, elsewhere, .. } = &*self.0;
        let explain = async || {
            let explained = probe::explain(connector, error.clone()).await;
            matches!(explained, CallError::Protocol { .. }).then_some(explained)
        };
        elsewhere.get_or_init(explain).await.clone().unwrap_or(error)
    }
}

impl Call for Session {
    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        let Inner { transport, config, .. } = &*self.0;
        let attempt = |request| transport.attempt(request);
        // What is rare and large waits in a place of its own, so that it is no part of every request
        // in flight.
        let mut outcome = match config.retry.max_attempts {
            0 | 1 => attempt(request).await,
            _ => Box::pin(retry::with_retries(&config.retry, request, attempt)).await,
        };
        if let Err(Failure { error, .. }) = &mut outcome
            && self.is_unexplained(error)
        {
            *error = Box::pin(self.explained(error.clone())).await;
        }
        outcome
    }
}
