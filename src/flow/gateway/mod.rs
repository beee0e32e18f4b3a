//! The gateway: what is the same for all protocols.

mod grpc;
mod http;
mod listen;
mod websocket;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use indexmap::IndexMap;
use regex::Regex;
use tokio::time::Instant;

pub(super) use self::listen::Server;
pub use self::listen::TlsError;
use super::config::FlowConfig;
use super::executor::Executor;
use super::message::Message;
use crate::wire::{DecodeError, EncodeError, Family, Map, Route};

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
    pub(super) prefetch: usize,
    executors: Vec<Executor>,
    /// Times of queues count from here.
    epoch: Instant,
    /// Compiled patterns by their text, oldest first.
    patterns: Mutex<IndexMap<String, Regex>>,
    /// Whether the gateway has asked its Executors for their endpoints yet.
    discovered: AtomicBool,
}

/// Why a request brings its whole call to an end instead of an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallFailure {
    /// `target_executor` is no regular expression.
    #[error("Unexpected <class 're.error'>: {0}")]
    Pattern(String),
    /// The request cannot be read.
    #[error("Unexpected <class 'google.protobuf.message.DecodeError'>: Error parsing message")]
    Decode(#[from] DecodeError),
    /// A request of no bytes at all, over which a real gateway trips.
    #[error("Unexpected <class 'ValueError'>: the buffer is already decompressed")]
    Empty,
    /// The answer cannot be written.
    #[error("Unexpected <class 'ValueError'>: {0}")]
    Encode(#[from] EncodeError),
}

impl Gateway {
    pub(super) fn new(config: &FlowConfig) -> Gateway {
        let executors = config.executors.iter().enumerate();
        Gateway {
            family: config.family.into(),
            prefetch: match config.prefetch {
                0 => PREFETCH_MAX,
                limit => limit.min(PREFETCH_MAX),
            },
            executors: executors.map(|(i, e)| Executor::new(e, i, config.seed)).collect(),
            epoch: Instant::now(),
            patterns: Mutex::default(),
            discovered: AtomicBool::new(false),
        }
    }

    /// The endpoints that Executors bind by name, sorted.
    pub(super) fn endpoints(&self) -> BTreeSet<&str> {
        self.executors.iter().flat_map(Executor::endpoints).copied().collect()
    }

    /// Whether an Executor takes requests to endpoints that nobody binds by name.
    pub(super) fn has_default(&self) -> bool {
        self.executors.iter().any(|executor| executor.serves(""))
    }

    /// Sends a request through the Executors. What an Executor raises is part of the answer.
    pub(super) async fn handle(&self, mut message: Message) -> Result<Message, CallFailure> {
        message.routes.push(started("gateway"));
        let target = message.header.target_executor.replace(String::new());
        let pattern = match target.as_deref() {
            None | Some("") => None,
            Some(target) => Some(self.pattern(target)?),
        };
        // The first request of a v1 gateway finds it not yet knowing who binds what.
        let discovered = self.family == Family::V2 || self.discovered.swap(true, Ordering::Relaxed);
        let mut results = Map::new();
        for executor in &self.executors {
            let mut route = started(executor.name());
            let endpoint = message.header.exec_endpoint.as_deref().unwrap_or_default();
            let bound = !discovered || executor.serves(endpoint);
            let wanted = pattern.as_ref().is_none_or(|pattern| pattern.is_match(executor.name()));
            if !bound || !wanted {
                message.routes.push(route);
                continue;
            }
            let outcome = executor.run(&mut message, self.family, self.epoch).await?;
            route.end_time = Some(now());
            route.status.clone_from(&outcome.failure);
            message.routes.push(route);
            if let Some((pod, map)) = outcome.results {
                results.insert(pod, map.into());
            }
            if outcome.failure.is_some() {
                message.header.status = outcome.failure;
                break;
            }
        }
        if !results.is_empty() {
            message.parameters()?.insert("__results__".into(), results.into());
        }
        message.routes[0].end_time = Some(now());
        Ok(message)
    }

    /// A pattern as Python's `re.match` takes it: anchored at its start only.
    fn pattern(&self, text: &str) -> Result<Regex, CallFailure> {
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = patterns.get(text) {
            return Ok(pattern.clone());
        }
        let pattern = Regex::new(&format!("^(?:{text})"))
            .map_err(|error| CallFailure::Pattern(error.to_string()))?;
        if patterns.len() >= PATTERNS {
            patterns.shift_remove_index(0);
        }
        patterns.insert(text.to_owned(), pattern.clone());
        Ok(pattern)
    }
}

fn started(name: &str) -> Route {
    Route { executor: name.to_owned(), start_time: Some(now()), end_time: None, status: None }
}

/// The time of day to the microsecond, which is what Python's clock counts.
fn now() -> SystemTime {
    let now = SystemTime::now();
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    now - std::time::Duration::from_nanos(u64::from(nanos % 1000))
}
