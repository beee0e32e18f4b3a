//! The gateway: what is the same for all protocols.

mod body;
mod codecs;
mod graphql;
mod grpc;
mod http;
mod listen;
mod openapi;
mod outbox;
mod post;
mod reflection;
mod reply;
mod side;
mod sse;
mod websocket;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use indexmap::IndexMap;
use tokio::time::{Duration, Instant};

pub(super) use self::listen::Server;
pub use self::listen::TlsError;

use super::config::{FlowConfig, SchemaName, StreamOf};
use super::executor::{Executor, World};
use super::log::{Log, Stamp};
use super::message::{Faults, Message, RESULTS, now, started};
use super::pattern::{Pattern, PatternError};
use super::timer::Timer;
use super::topology::{NetworkError, Topology, WalkError};
use crate::wire::{DecodeError, EncodeError, Family, Protocol, Status};

/// The largest message taken: 1 GiB, as a real gateway's WebSocket side has it. Where a real one
/// has no limit at all, a bound still keeps one client from taking all memory.
const MESSAGE_MAX: usize = 1 << 30;

/// Requests of one call in work at a time when the Flow sets no limit.
const PREFETCH_MAX: usize = 100_000;

/// How many compiled `target_executor` patterns are kept.
const PATTERNS: usize = 64;

/// What answers requests, whatever protocol they come by.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) family: Family,
    /// Requests of one call that are worked on at a time.
    prefetch: usize,
    graphql: bool,
    crud: bool,
    expose: Vec<String>,
    cors: bool,
    topology: Topology,
    world: World,
    log: Option<Log>,
    /// What names this gateway: `_status`.
    started: SystemTime,
    /// Compiled patterns by their text, oldest first.
    patterns: Mutex<IndexMap<String, Pattern>>,
    /// Whether the gateway has asked its Executors for their endpoints yet.
    discovered: AtomicBool,
    /// How many requests are being worked on.
    in_work: Arc<AtomicUsize>,
}

/// Why a request brings its whole call to an end instead of an answer.
#[derive(Debug, thiserror::Error)]
enum CallFailure {
    /// `target_executor` is no regular expression.
    #[error("Unexpected <class 're.error'>: {0}")]
    Pattern(#[from] PatternError),
    /// The request cannot be read.
    #[error("Unexpected <class 'google.protobuf.message.DecodeError'>: Error parsing message")]
    Decode(#[from] DecodeError),
    /// A request of no bytes at all, over which a real gateway trips.
    #[error("Unexpected <class 'ValueError'>: the buffer is already decompressed")]
    Empty,
    /// A number under `__results__`, over which a real gateway trips too.
    #[error("Unexpected <class 'TypeError'>: 'float' object is not iterable")]
    Results,
    /// The answer cannot be written.
    #[error("Unexpected <class 'ValueError'>: {0}")]
    Encode(#[from] EncodeError),
    /// An Executor was not reached, or did not answer in time.
    #[error("{}", error.details())]
    Network {
        /// The request that met it.
        request_id: String,
        /// What happened.
        error: NetworkError,
    },
}

/// An answer on its way out.
#[derive(Debug)]
struct Reply {
    bytes: Bytes,
    faults: Faults,
}

impl Gateway {
    /// A gateway with its Executors, on the caller's runtime.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(super) fn new(config: &FlowConfig) -> io::Result<Gateway> {
        let family = Family::from(config.family);
        Ok(Gateway {
            family,
            prefetch: limit(config.prefetch),
            graphql: config.graphql.unwrap_or(true) && family == Family::V1,
            crud: config.crud && family == Family::V1,
            expose: config.expose.clone(),
            cors: config.cors,
            topology: Topology::new(config),
            world: World {
                family,
                any_field: family == Family::V2 && config.schema == SchemaName::Any,
                epoch: Instant::now(),
                timer: Timer::start(),
            },
            log: config.log.as_deref().map(Log::create).transpose()?,
            started: SystemTime::now(),
            patterns: Mutex::default(),
            discovered: AtomicBool::new(family == Family::V2),
            in_work: Arc::default(),
        })
    }

    /// Writes what is left to write.
    pub(super) fn close(&self) {
        if let Some(log) = &self.log {
            log.flush();
        }
    }

    fn executors(&self) -> impl Iterator<Item = &Executor> {
        self.topology.executors()
    }

    /// The endpoints that Executors bind by name, sorted.
    fn endpoints(&self) -> BTreeSet<&str> {
        self.executors().flat_map(Executor::endpoints).collect()
    }

    /// Whether an Executor takes requests to endpoints that nobody binds by name.
    fn has_default(&self) -> bool {
        self.executors().any(Executor::has_default)
    }

    /// Whether all Executors can be reached.
    fn dry_run(&self) -> Result<(), NetworkError> {
        self.topology.unreachable(self.world.epoch.elapsed()).map_or(Ok(()), Err)
    }

    /// What streams at this endpoint. A real gateway has one Executor then.
    fn stream(&self, endpoint: &str) -> Option<StreamOf> {
        self.executors().find_map(|executor| executor.stream(endpoint))
    }

    /// Whether nothing is being worked on.
    fn is_idle(&self) -> bool {
        self.in_work.load(Ordering::Relaxed) == 0
    }

    /// Counts as work for as long as it is kept.
    fn working(&self) -> Working {
        self.in_work.fetch_add(1, Ordering::Relaxed);
        Working(self.in_work.clone())
    }

    /// Waits.
    async fn sleep(&self, time: Duration) {
        if !time.is_zero() {
            self.world.timer.sleep_until(Instant::now() + time).await;
        }
    }

    /// Sends a request through the Executors. What an Executor raises is part of the answer.
    async fn handle(&self, mut message: Message) -> Result<Message, CallFailure> {
        let _working = self.working();
        message.routes.clear();
        message.routes.push(started("gateway"));
        let target = message.header.target_executor.replace(String::new());
        let pattern = match target.as_deref() {
            None | Some("") => None,
            Some(target) => Some(self.pattern(target)?),
        };
        if message.parameters.known(RESULTS).is_some_and(serde_json::Value::is_number) {
            return Err(CallFailure::Results);
        }
        // The first request of a v1 gateway finds it not yet knowing who binds what.
        let discovered = self.discovered.swap(true, Ordering::Relaxed);
        let walked =
            self.topology.walk(&mut message, pattern.as_ref(), discovered, &self.world).await;
        match walked {
            Ok(()) => (),
            Err(WalkError::Decode(error)) => return Err(error.into()),
            Err(WalkError::Pattern(error)) => return Err(error.into()),
            Err(WalkError::Network(error)) => {
                let request_id = message.header.request_id;
                return Err(CallFailure::Network { request_id, error });
            }
        }
        self.sleep(message.faults.late).await;
        if message.faults.wrong_id {
            message.header.request_id = crate::flow::new_uuid().simple().to_string();
        }
        message.routes[0].end_time = Some(now());
        Ok(message)
    }

    /// Answers a request in protobuf.
    async fn answer(&self, bytes: Bytes, protocol: Protocol) -> Result<Reply, CallFailure> {
        if bytes.is_empty() {
            return Err(CallFailure::Empty);
        }
        let message = Message::decode(bytes)?;
        let note = self.arrived(&message, protocol);
        let answered = async {
            let message = self.handle(message).await?;
            let faults = message.faults;
            let bytes = match faults.garbage {
                true => garbage(),
                false => message.encode(self.family)?,
            };
            Ok(Reply { bytes, faults })
        }
        .await;
        note.departs(answered.as_ref().is_ok_and(|reply: &Reply| !reply.faults.drop));
        answered
    }

    /// Notes a request in the log; what is given back notes its departure.
    fn arrived(&self, message: &Message, protocol: Protocol) -> Note<'_> {
        Note(
            self.log
                .as_ref()
                .map(|log| (log, message.header.request_id.clone(), protocol, Stamp::now())),
        )
    }

    /// A pattern, compiled if it was not yet.
    fn pattern(&self, text: &str) -> Result<Pattern, PatternError> {
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = patterns.get(text) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::new(text)?;
        if patterns.len() >= PATTERNS {
            patterns.shift_remove_index(0);
        }
        patterns.insert(text.to_owned(), pattern.clone());
        Ok(pattern)
    }

    /// What a gateway says of itself: `jina` and `envs` of `_status`.
    fn about(&self) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let (jina, docarray, proto) = match self.family {
            Family::V1 => ("3.12.0", "0.21.1", "0.1.13"),
            Family::V2 => ("3.34.0", "0.40.1", "0.1.27"),
        };
        let uptime = self.started.elapsed().unwrap_or_default().as_secs_f64();
        let jina = [
            ("jina", jina),
            ("docarray", docarray),
            ("jcloud", "(unset)"),
            ("jina-hubble-sdk", "(unset)"),
            ("jina-proto", proto),
            ("protobuf", "(unset)"),
            ("proto-backend", "prost"),
            ("grpcio", "(unset)"),
            ("pyyaml", "(unset)"),
            ("python", "(unset)"),
            ("platform", std::env::consts::OS),
            ("platform-release", "(unset)"),
            ("platform-version", "(unset)"),
            ("architecture", std::env::consts::ARCH),
            ("processor", ""),
            ("uid", "0"),
            ("session-id", "(unset)"),
            ("uptime", &format!("{uptime:.6}")),
            ("ci-vendor", "(unset)"),
            ("internal", "False"),
            ("flowbench", env!("CARGO_PKG_VERSION")),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let envs = ENVIRONMENT.map(|key| (key.to_owned(), "(unset)".to_owned()));
        (jina.into(), envs.into())
    }
}

/// The variables a gateway tells of; an embedded one reads none.
const ENVIRONMENT: [&str; 20] = [
    "JINA_DEFAULT_HOST",
    "JINA_DEFAULT_TIMEOUT_CTRL",
    "JINA_DEPLOYMENT_NAME",
    "JINA_DISABLE_UVLOOP",
    "JINA_EARLY_STOP",
    "JINA_FULL_CLI",
    "JINA_GATEWAY_IMAGE",
    "JINA_GRPC_RECV_BYTES",
    "JINA_GRPC_SEND_BYTES",
    "JINA_HUB_NO_IMAGE_REBUILD",
    "JINA_LOG_CONFIG",
    "JINA_LOG_LEVEL",
    "JINA_LOG_NO_COLOR",
    "JINA_MP_START_METHOD",
    "JINA_OPTOUT_TELEMETRY",
    "JINA_RANDOM_PORT_MAX",
    "JINA_RANDOM_PORT_MIN",
    "JINA_LOCKS_ROOT",
    "JINA_K8S_ACCESS_MODES",
    "JINA_K8S_STORAGE_CLASS_NAME",
];

impl CallFailure {
    /// What Python's exception says, without its class.
    fn message(&self) -> String {
        match self {
            CallFailure::Pattern(error) => error.to_string(),
            CallFailure::Decode(_) => "Error parsing message".into(),
            CallFailure::Empty => "the buffer is already decompressed".into(),
            CallFailure::Results => "'float' object is not iterable".into(),
            CallFailure::Encode(error) => error.to_string(),
            CallFailure::Network { error, .. } => error.details(),
        }
    }
}

/// A request that is being worked on, see [`Gateway::working`].
#[must_use]
struct Working(Arc<AtomicUsize>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes a departure.
#[must_use]
struct Note<'a>(Option<(&'a Log, String, Protocol, Stamp)>);

impl Note<'_> {
    /// The answer leaves, or there is none.
    fn departs(self, answered: bool) {
        if let Some((log, id, protocol, arrival)) = self.0 {
            log.departure(&id, protocol, arrival, answered);
        }
    }
}

/// A limit on requests in work, where 0 is none.
fn limit(prefetch: usize) -> usize {
    match prefetch {
        0 => PREFETCH_MAX,
        limit => limit.min(PREFETCH_MAX),
    }
}

/// What no message begins with: field 0, and a length that never ends.
fn garbage() -> Bytes {
    Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
}

/// The status of a dry run.
fn dry_run_status(gateway: &Gateway) -> Option<Status> {
    gateway.dry_run().err().map(|error| error.into_status(gateway.family))
}
