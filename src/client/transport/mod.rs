//! The protocols, one per file or folder, and what they have in common.
//!
//! Each has lanes: connections that their owner polls, with requests as rows of a table (`rows.rs`)
//! and the wakers and timers of `turns.rs`. A load owns them (`session_lanes.rs`); for everyone
//! else a task does (`handle.rs`). `connect/` opens connections (with `tls.rs`), `http1/` and
//! `http2/` have the protocols of one connection, `pending.rs` finds whose reply a message is,
//! `retry.rs` retries, `info.rs` asks a Flow what it is, and `probe.rs` guesses what a port speaks
//! that is not a Flow.

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

/// How long a response that cannot be read is skipped for the sake of those behind it. After that
/// its stream or connection is abandoned, and the next request gets a new one.
const PASS_OVER_TIME: Duration = Duration::from_secs(10);

/// How many of its bytes are skipped: as many as a readable response may have, or as take no time.
const fn pass_over_max(message_bytes_max: usize) -> usize {
    const NO_TIME: usize = 16 << 20;
    if message_bytes_max > NO_TIME { message_bytes_max } else { NO_TIME }
}

/// Opens an HTTP/2 connection for something other than a Flow.
///
/// # Errors
/// As for a session.
pub(crate) async fn connect(
    config: &ClientConfig,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static + use<>, CallError> {
    Connector::new(config, Alpn::Http2)?.connect().await
}

/// Checks the TLS options of a configuration, files included, without connecting.
pub(super) fn check_tls(config: &ClientConfig) -> Result<(), ConfigError> {
    Connector::new(config, Alpn::Any).map(drop)
}

/// Open connections to one Flow, for any number of requests. Cheap to clone; dropping the last
/// clone closes them.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Transport,
    info: FlowInfo,
    schemas: Arc<Schemas>,
    config: Arc<ClientConfig>,
    connector: Connector,
    /// Whether an HTTP session talks to another kind of port, determined at its first 404.
    elsewhere: OnceCell<Option<CallError>>,
}

/// Why a request on a shared connection cannot have its own headers.
const SHARED_HEADERS: &str = "a single request cannot have headers where all requests share a \
                              stream or a WebSocket; over HTTP each request has its own";

#[derive(Debug)]
enum Transport {
    Grpc(grpc::Grpc),
    Http(http::Http),
    WebSocket(websocket::WebSocket),
}

impl Session {
    /// Connects, and asks the Flow for its family unless the configuration names it, with as many
    /// attempts as the configuration allows. If that fails, the error says what the port seems to
    /// speak.
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

    /// What the Flow reported about itself when the session was opened.
    pub fn info(&self) -> &FlowInfo {
        &self.0.info
    }

    /// The schemas of Documents that the Flow reports for its endpoints; none if it reports none:
    /// v1, a WebSocket gateway, and gRPC gateways that fail to report those of nested Documents.
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

    /// Replies so far that matched no request. They were discarded. Over HTTP, where a connection
    /// carries one request at a time and is closed when that is abandoned, only duplicates are
    /// seen.
    pub fn unmatched(&self) -> Unmatched {
        match &self.0.transport {
            Transport::Grpc(grpc) => grpc.unmatched(),
            Transport::WebSocket(websocket) => websocket.unmatched(),
            Transport::Http(http) => http.unmatched(),
        }
    }

    /// Takes the connections themselves, to send many requests from one task. Over gRPC the session
    /// can send nothing from then on.
    ///
    /// # Errors
    /// When they have been taken already.
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

    /// Makes sure that a server that speaks the protocol is there. Opening a session does that too,
    /// except over HTTP to a Flow whose family is given and which has no endpoints to report.
    ///
    /// # Errors
    /// As for opening a session: the error says what the port seems to speak.
    pub async fn greet(&self) -> Result<(), CallError> {
        let Inner { transport, info, config, connector, .. } = &*self.0;
        // Something other than a Flow is asked nothing; it is known to accept connections.
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
    /// `Gateway` when it does not, with its message; or when there is no answer.
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

    /// Sends a request to a streaming endpoint ([`Request::Stream`]) and returns the replies one by
    /// one as they arrive. [`Call::call`] returns them all at once. Nothing is retried.
    ///
    /// # Errors
    /// `Unsupported` except over gRPC, and every error of a request.
    pub async fn stream(&self, request: Request) -> Result<ReplyStream, Failure> {
        match (&self.0.transport, request) {
            (Transport::Grpc(grpc), Request::Stream { message }) => {
                Ok(ReplyStream(grpc.stream(Request::Stream { message })))
            }
            (Transport::Grpc(_), _) => Err(Failure::unsent(CallError::Unsupported(
                "only requests to streaming endpoints receive replies one by one".into(),
            ))),
            _ => Err(Failure::unsent(CallError::Unsupported(
                "streaming endpoints are offered over gRPC only".into(),
            ))),
        }
    }
}

/// The fields of a JSON StatusProto that we read.
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

/// Replies of a streaming endpoint. Dropping it abandons the rest.
#[derive(Debug)]
pub struct ReplyStream(grpc::DocumentReplies);

impl ReplyStream {
    /// The next reply, with one message in its [`super::Body::Stream`]; `None` if there are no
    /// more.
    ///
    /// # Errors
    /// How the stream broke; nothing follows.
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
    /// Whether an error may mean another kind of port. A WebSocket gateway answers everything that
    /// opening an HTTP session asks, and has no endpoints.
    fn is_unexplained(&self, error: &CallError) -> bool {
        let Inner { transport, config, .. } = &*self.0;
        matches!(transport, Transport::Http(_))
            // A 404 from something that is not a Flow says nothing about the port.
            && config.family != crate::client::FamilyChoice::NoFlow
            && matches!(error, CallError::Gateway { code: GatewayCode::Http(404), .. })
    }

    /// Names that kind, determined at the first such error.
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
        // Rare and large, so it is allocated separately and not part of every request in flight.
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
