//! The gateway itself, independent of protocols: it passes messages through the Executors.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use indexmap::IndexMap;
use tokio::time::{Duration, Instant};

use super::failure::CallFailure;
use crate::flow::config::FlowConfig;
use crate::flow::executor::World;
use crate::flow::log::{Log, Stamp};
use crate::flow::message::{Faults, Message, RESULTS, now, started};
use crate::flow::pattern::{Pattern, PatternError};
use crate::flow::timer::Timer;
use crate::flow::topology::{NetworkError, Topology, WalkError};
use crate::wire::{Family, Protocol, Status};

/// Maximum size of a message in bytes: 1 GiB, the limit of a real gateway over WebSocket. A real one has no
/// limit over gRPC and HTTP, but here one client must not take all memory.
pub(super) const MESSAGE_MAX: usize = 1 << 30;

/// How many requests of one call are processed at a time when the Flow sets no limit.
const PREFETCH_MAX: usize = 100_000;

/// How many compiled `target_executor` patterns are kept.
const PATTERNS: usize = 64;

/// The Executors, and everything that protocols need to send messages through them.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) family: Family,
    /// How many requests of one call are processed at a time.
    pub(super) prefetch: usize,
    /// Whether `/graphql` is served.
    pub(super) graphql: bool,
    /// Whether `/index`, `/search`, `/update` and `/delete` are served.
    pub(super) crud: bool,
    /// Endpoints with a path of their own.
    pub(super) expose: Vec<String>,
    /// Whether browsers may send requests from pages of other origins.
    pub(super) cors: bool,
    /// Its Executors and the endpoints they bind.
    pub(super) topology: Topology,
    world: World,
    log: Option<Log>,
    started: SystemTime,
    /// Compiled patterns by their text, oldest first.
    patterns: Mutex<IndexMap<String, Pattern>>,
    /// Whether the gateway has asked its Executors for their endpoints yet.
    discovered: AtomicBool,
    /// How many requests are being processed.
    in_work: Arc<AtomicUsize>,
}

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Bytes,
    pub(super) faults: Faults,
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
            world: World { family, epoch: Instant::now(), timer: Timer::start() },
            log: config.log.as_deref().map(Log::create).transpose()?,
            started: SystemTime::now(),
            patterns: Mutex::default(),
            discovered: AtomicBool::new(family == Family::V2),
            in_work: Arc::default(),
        })
    }

    /// Flushes the log.
    pub(super) fn close(&self) {
        if let Some(log) = &self.log {
            log.flush();
        }
    }

    /// Whether all Executors can be reached.
    pub(super) fn dry_run(&self) -> Result<(), NetworkError> {
        self.topology.unreachable(self.world.epoch.elapsed()).map_or(Ok(()), Err)
    }

    /// The status of a dry run: `None` if all Executors can be reached.
    pub(super) fn dry_run_status(&self) -> Option<Status> {
        self.dry_run().err().map(|error| error.into_status(self.family))
    }

    /// Whether requests may fail because an Executor cannot be reached or is too slow.
    pub(super) fn can_be_cut_off(&self) -> bool {
        self.topology.can_be_cut_off()
    }

    /// How long this gateway has been up.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed().unwrap_or_default()
    }

    /// Whether nothing is being processed.
    pub(super) fn is_idle(&self) -> bool {
        self.in_work.load(Ordering::Relaxed) == 0
    }

    /// Counts a request as being processed until the returned value is dropped.
    pub(super) fn working(&self) -> Working {
        self.in_work.fetch_add(1, Ordering::Relaxed);
        Working(self.in_work.clone())
    }

    /// Sleeps this long, by the exact clock of the Flow.
    pub(super) async fn sleep(&self, time: Duration) {
        if !time.is_zero() {
            self.world.timer.sleep_until(Instant::now() + time).await;
        }
    }

    /// Sends a request through the Executors. An exception of an Executor is part of the answer.
    pub(super) async fn handle(&self, mut message: Message) -> Result<Message, CallFailure> {
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
        // At its first request, a v1 gateway does not know yet which Executor binds which endpoint.
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
            message.header.request_id = crate::flow::message::new_uuid().simple().to_string();
        }
        message.routes[0].end_time = Some(now());
        Ok(message)
    }

    /// Answers a request in protobuf.
    pub(super) async fn answer(
        &self,
        bytes: Bytes,
        protocol: Protocol,
    ) -> Result<Answer, CallFailure> {
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
            Ok(Answer { bytes, faults })
        }
        .await;
        note.departs(answered.as_ref().is_ok_and(|reply: &Answer| !reply.faults.drop));
        answered
    }

    /// Notes the arrival of a request. The returned value writes its line into the log.
    pub(super) fn arrived(&self, message: &Message, protocol: Protocol) -> Note<'_> {
        Note(
            self.log
                .as_ref()
                .map(|log| (log, message.header.request_id.clone(), protocol, Stamp::now())),
        )
    }

    /// A compiled pattern, from the cache if possible.
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
}

/// A request that is being processed, see [`Gateway::working`].
#[must_use]
pub(super) struct Working(Arc<AtomicUsize>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes the line of a request into the log.
#[must_use]
pub(super) struct Note<'a>(Option<(&'a Log, String, Protocol, Stamp)>);

impl Note<'_> {
    /// Records that the answer leaves, or that there is none.
    pub(super) fn departs(self, answered: bool) {
        if let Some((log, id, protocol, arrival)) = self.0 {
            log.departure(&id, protocol, arrival, answered);
        }
    }
}

/// The number of requests to process at a time; 0 stands for no limit.
pub(super) fn limit(prefetch: usize) -> usize {
    match prefetch {
        0 => PREFETCH_MAX,
        limit => limit.min(PREFETCH_MAX),
    }
}

/// Bytes that are not a protobuf message: a varint that never ends.
pub(super) fn garbage() -> Bytes {
    Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
}
