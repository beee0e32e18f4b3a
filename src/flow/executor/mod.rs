//! Executors: what happens to a request, and how long it takes.

mod embed;
mod memory_index;
mod service;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::time::{Duration, Instant};

use self::memory_index::MemoryIndex;
use self::service::Sampler;
use super::config::{ExecutorConfig, Uses};
use super::message::Message;
use super::queue::{Queue, Standstill};
use crate::wire::{DecodeError, ExceptionInfo, Family, Map, Status};

/// How many requests may wait for one replica unless told otherwise: enough for any rehearsal of
/// an overload, and a bound all the same.
const WAITING: usize = 100_000;

/// One Executor of the Flow, with its replicas.
#[derive(Debug)]
pub(super) struct Executor {
    name: String,
    class: String,
    uses: Uses,
    fail: f64,
    sampler: Sampler,
    /// Whether a request passes without time, so that queue and clock need not be asked.
    instant: bool,
    replicas: Vec<Replica>,
    /// The replica whose turn it is.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Replica {
    /// The name results are filed under: `indexer/rep-0`.
    pod: String,
    state: Mutex<State>,
    index: MemoryIndex,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    rng: Pcg64Mcg,
}

/// What an Executor returned beside its Documents.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// A dict, and the pod that returned it.
    pub(super) results: Option<(String, Map)>,
    /// The exception it ended with.
    pub(super) failure: Option<Status>,
}

/// A Python exception, as an Executor raises it.
#[derive(Debug)]
pub(super) struct Exception {
    /// The class, `ValueError`.
    pub(super) name: String,
    /// Its arguments as `str` shows them, and as `repr` does.
    pub(super) args: Vec<(String, String)>,
}

impl Executor {
    pub(super) fn new(config: &ExecutorConfig, position: usize, seed: u64) -> Executor {
        let sampler = Sampler::new(config.service_time);
        let stall = config.stall.and_then(|s| Standstill::new(s.every.get(), s.r#for.get()));
        let servers = config.concurrency.map(|n| n as usize);
        let instant = sampler.is_zero() && stall.is_none();
        let replica = |number: usize| Replica {
            pod: format!("{}/rep-{number}", config.name),
            state: Mutex::new(State {
                queue: Queue::new(servers, WAITING, stall),
                // Each replica draws from a stream of its own, so that what one does to its
                // requests does not depend on how they meet those of another.
                rng: Pcg64Mcg::seed_from_u64(
                    seed ^ (((position as u64) << 32 | number as u64) + 1)
                        .wrapping_mul(0x9e37_79b9_7f4a_7c15),
                ),
            }),
            index: MemoryIndex::default(),
        };
        Executor {
            class: class_name(&config.name),
            uses: config.uses,
            fail: config.fail.fraction(),
            sampler,
            instant,
            replicas: vec![replica(0)],
            next: AtomicUsize::new(0),
            name: config.name.clone(),
        }
    }

    /// The name `target_executor` is matched with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The endpoints it binds by name.
    pub(super) fn endpoints(&self) -> &'static [&'static str] {
        match self.uses {
            Uses::Echo => &[],
            Uses::Encoder => &["/index", "/search"],
            Uses::MemoryIndex => &["/index", "/search", "/delete", "/status"],
        }
    }

    /// Whether it takes part in requests to this endpoint.
    pub(super) fn serves(&self, endpoint: &str) -> bool {
        match self.uses {
            Uses::Echo | Uses::Encoder => true,
            Uses::MemoryIndex => self.endpoints().contains(&endpoint),
        }
    }

    /// Works on a request: waits for its turn and for the work to be done, then changes Documents.
    /// Times count from `epoch`, the start of the Flow.
    pub(super) async fn run(
        &self,
        message: &mut Message,
        family: Family,
        epoch: Instant,
    ) -> Result<Outcome, DecodeError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.replicas.len();
        let replica = &self.replicas[turn];
        let mut exception = None;
        if !self.instant || self.fail > 0.0 {
            let now = epoch.elapsed();
            let (done, fails) = {
                let mut state = replica.state.lock().unwrap_or_else(PoisonError::into_inner);
                let service = self.sampler.sample(&mut state.rng);
                let fails = self.fail > 0.0 && state.rng.random::<f64>() < self.fail;
                (state.queue.admit(now, service), fails)
            };
            match done {
                Ok(done) if done > now => tokio::time::sleep_until(epoch + done).await,
                Ok(_) => (),
                Err(_) => {
                    exception = Some(Exception::new("RuntimeError", &["the queue is full"]));
                }
            }
            if fails {
                exception =
                    Some(Exception::new("RuntimeError", &["the Executor was told to fail"]));
            }
        }
        let worked = match exception {
            Some(exception) => Err(exception),
            None => self.work(replica, message, family).await?,
        };
        Ok(match worked {
            Ok(results) => {
                Outcome { results: results.map(|map| (replica.pod.clone(), map)), failure: None }
            }
            Err(exception) => Outcome { results: None, failure: Some(exception.into_status(self)) },
        })
    }

    async fn work(
        &self,
        replica: &Replica,
        message: &mut Message,
        family: Family,
    ) -> Result<Result<Option<Map>, Exception>, DecodeError> {
        let endpoint = message.header.exec_endpoint.clone().unwrap_or_default();
        match self.uses {
            Uses::Echo => Ok(Ok(None)),
            Uses::Encoder => {
                if matches!(endpoint.as_str(), "/index" | "/search") {
                    embed::embed_missing(message.docs(family)?);
                }
                Ok(Ok(None))
            }
            Uses::MemoryIndex => {
                let limit = memory_index::limit(message.parameters()?);
                let docs = message.docs(family)?;
                Ok(match endpoint.as_str() {
                    "/index" => replica.index.index(docs).map(|()| None),
                    "/search" => replica.index.search(docs, limit).map(|()| None),
                    "/delete" => {
                        replica.index.delete(docs);
                        Ok(None)
                    }
                    "/status" => Ok(Some(replica.index.status())),
                    _ => Ok(None),
                })
            }
        }
    }
}

impl Exception {
    /// An exception whose arguments are strings.
    pub(super) fn new(name: &str, args: &[&str]) -> Exception {
        let args = args.iter().map(|arg| ((*arg).into(), python_repr(arg))).collect();
        Exception { name: name.into(), args }
    }

    fn into_status(self, executor: &Executor) -> Status {
        let reprs: Vec<&str> = self.args.iter().map(|(_, repr)| repr.as_str()).collect();
        let strs: Vec<&str> = self.args.iter().map(|(str, _)| str.as_str()).collect();
        let last = match strs.as_slice() {
            [] => format!("{}\n", self.name),
            [one] => format!("{}: {one}\n", self.name),
            _ => format!("{}: ({})\n", self.name, reprs.join(", ")),
        };
        Status {
            code: 1,
            description: format!("{}({})", self.name, reprs.join(", ")),
            exception: Some(ExceptionInfo {
                stacks: vec![
                    "Traceback (most recent call last):\n".into(),
                    format!("  File \"flowbench\", line 1, in {}\n", executor.name),
                    last,
                ],
                args: self.args.into_iter().map(|(str, _)| str).collect(),
                name: self.name,
                executor: executor.class.clone(),
            }),
        }
    }
}

/// A string as Python's `repr` shows it.
fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => {
                shown.push('\\');
                shown.push(c);
            }
            c if c.is_control() => shown.push_str(&format!("\\x{:02x}", c as u32)),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

/// The class a Python programmer would have named so: `image-encoder` is an `ImageEncoder`.
fn class_name(name: &str) -> String {
    let mut class = String::new();
    for part in name.split(|c: char| !c.is_alphanumeric()) {
        let mut chars = part.chars();
        class.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        class.push_str(chars.as_str());
    }
    class
}

/// Time until `Duration::MAX` would overflow an instant; a service time is cut to it.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_shown_as_python_shows_it() {
        assert_eq!(python_repr("plain"), "'plain'");
        assert_eq!(python_repr("it's"), "\"it's\"");
        assert_eq!(python_repr("'\""), "'\\'\"'");
        assert_eq!(python_repr("a\nb\\"), "'a\\nb\\\\'");
    }

    #[test]
    fn a_name_becomes_a_class() {
        assert_eq!(class_name("failer"), "Failer");
        assert_eq!(class_name("image-encoder_2"), "ImageEncoder2");
    }
}
