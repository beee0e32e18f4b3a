//! Executors: what happens to a request, and how long it takes.

mod embed;
mod exception;
mod fields;
mod handler;
mod memory_index;
mod read;
mod service;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use tokio::time::{Duration, Instant};

pub(super) use self::exception::Exception;
pub(super) use self::fields::Fields;
use self::handler::{Effect, Handler, Work};
use self::memory_index::MemoryIndex;
use self::read::ReadError;
pub(super) use self::read::complete_v1;
use super::config::{Condition, Down, ExecutorConfig, Fail, SchemaSpec, StreamOf};
use super::message::{Docs, Faults, Parameters};
use super::queue::{Full, Queue, Standstill};
use super::timer::Timer;
use crate::random::Key;
use crate::wire::{DecodeError, Document, Family, Map, Status};

/// One Executor of the Flow, with its replicas.
#[derive(Debug)]
pub(super) struct Executor {
    name: String,
    class: String,
    when: Option<Condition>,
    down: Option<Down>,
    stalls: bool,
    default: Option<Handler>,
    named: HashMap<String, Handler>,
    replicas: Vec<Replica>,
    /// The replica whose turn it is.
    next: AtomicUsize,
    /// Whether routes show the replica.
    tells_replica: bool,
}

#[derive(Debug)]
struct Replica {
    /// The key of its results: `indexer/rep-0`.
    pod: String,
    /// How many times slower it is than the others.
    factor: f64,
    state: Mutex<State>,
    index: Arc<MemoryIndex>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    rng: Pcg64Mcg,
    /// When the replica serves requests again, if one blocks it by sleeping.
    blocked: Duration,
}

/// What all Executors of a Flow share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) family: Family,
    /// The start of the Flow, from which times count.
    pub(super) epoch: Instant,
    pub(super) timer: Timer,
}

/// What an Executor returned in addition to its Documents.
#[derive(Debug, Default)]
pub(super) struct Handled {
    /// A dict, and the pod that returned it.
    pub(super) results: Option<(String, Map)>,
    /// The exception it ended with.
    pub(super) failure: Option<Status>,
    /// Deliberate faults of the answer.
    pub(super) faults: Faults,
    /// The replica, if routes show it.
    pub(super) replica: Option<String>,
}

/// What will happen to a request, decided when it arrives.
struct Admission<'a> {
    /// When its service ends, counted from the start of the Flow.
    done: Result<Duration, Full>,
    /// The failure that it was chosen for at random, if any.
    fails: Option<&'a Fail>,
    faults: Faults,
}

impl Executor {
    pub(super) fn new(config: &ExecutorConfig, seed: u64, schema: &SchemaSpec) -> Executor {
        let stall = config.stall.and_then(|s| Standstill::new(s.every.get(), s.r#for.get()));
        let (default, named) = Handler::all(config, schema);
        let handlers = default.iter().chain(named.iter().map(|(_, handler)| handler));
        let counts = handlers.into_iter().any(|handler| handler.sampler.counts());
        let key = Key::new(seed).part(&config.name);
        let factor = |number: u32| match config.slow_replica {
            Some(slow) if slow.replica == number => slow.factor,
            _ => 1.0,
        };
        let replica = |number: u32| Replica {
            pod: format!("{}/rep-{number}", config.name),
            factor: factor(number),
            state: Mutex::new(State {
                queue: Queue::new(
                    config.concurrency.map(|n| n as usize),
                    config.queue,
                    stall,
                    counts,
                ),
                // Each replica has its own random numbers, so that its behaviour does not depend on how its
                // requests interleave with those of others.
                rng: key.index(number.into()).rng(),
                blocked: Duration::ZERO,
            }),
            index: Arc::default(),
        };
        Executor {
            class: config.class.clone().unwrap_or_else(|| class_name(&config.name)),
            when: config.when.clone(),
            down: config.down,
            stalls: stall.is_some(),
            default,
            named: named.into_iter().collect(),
            replicas: (0..config.replicas).map(replica).collect(),
            tells_replica: config.slow_replica.is_some(),
            next: AtomicUsize::new(0),
            name: config.name.clone(),
        }
    }

    /// The name that `target_executor` is matched against.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The endpoints it binds by name.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// Whether it takes requests to endpoints that it does not bind by name.
    pub(super) fn has_default(&self) -> bool {
        self.default.is_some()
    }

    /// Whether it processes requests to this endpoint. `None` is a request without an endpoint.
    pub(super) fn serves(&self, endpoint: Option<&str>) -> bool {
        // Without an endpoint, every Executor takes part.
        endpoint.is_none() || self.handler(endpoint).is_some()
    }

    /// The stream of this endpoint, if it is a streaming one.
    pub(super) fn stream(&self, endpoint: &str) -> Option<StreamOf> {
        self.named.get(endpoint).and_then(Handler::stream)
    }

    /// Which fields Documents of an endpoint may have, if it takes part in requests to it.
    pub(super) fn fields(&self, endpoint: &str) -> Option<&Fields> {
        self.handler(Some(endpoint)).map(|handler| &handler.fields)
    }

    /// Whether it has a condition on Documents.
    pub(super) fn is_conditional(&self) -> bool {
        self.when.is_some()
    }

    /// Whether it is ever unreachable.
    pub(super) fn can_be_down(&self) -> bool {
        self.down.is_some()
    }

    /// Whether it is unreachable at this time since the Flow's start.
    pub(super) fn is_down(&self, now: Duration) -> bool {
        self.down.is_some_and(|Down { after, r#for }| {
            now >= after.get() && r#for.is_none_or(|length| now < after.get() + length.get())
        })
    }

    fn handler(&self, endpoint: Option<&str>) -> Option<&Handler> {
        endpoint.and_then(|endpoint| self.named.get(endpoint)).or(self.default.as_ref())
    }

    /// Keeps only Documents that meet its condition.
    pub(super) fn filter(
        &self,
        docs: &mut Docs,
        endpoint: Option<&str>,
        family: Family,
    ) -> Result<(), DecodeError> {
        let Some(condition) = &self.when else { return Ok(()) };
        // Filtering only reads Documents, so it must not drop fields of a custom schema.
        let fields = match self.handler(endpoint).map(|handler| &handler.fields) {
            Some(Fields::Any | Fields::Own(_)) => Fields::Any,
            Some(Fields::Legacy) | None => Fields::Legacy,
        };
        match handler::keep(docs, condition, family, &fields) {
            Ok(()) => Ok(()),
            Err(ReadError::Decode(error)) => Err(error),
            // Documents that cannot be read are left to the Executor, which reports the error.
            Err(ReadError::Exception(_)) => Ok(()),
        }
    }

    /// Processes a request: waits until its service would be done, then changes the Documents.
    pub(super) async fn run(
        &self,
        docs: &mut Docs,
        endpoint: Option<&str>,
        parameters: &Parameters,
        world: &World,
    ) -> Result<Handled, DecodeError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.replicas.len();
        let replica = &self.replicas[turn];
        let Some(handler) = self.handler(endpoint) else { return Ok(Handled::default()) };
        let mut outcome = Handled {
            replica: self.tells_replica.then(|| replica.pod.clone()),
            ..Handled::default()
        };
        let received = match &*docs {
            Docs::Read(_) => None,
            encoded => Some(encoded.clone()),
        };
        let work = Work {
            family: world.family,
            fields: &handler.fields,
            executor: &self.name,
            parameters,
        };
        let worked = match self.serve(replica, handler, docs, &mut outcome, world).await {
            Ok(()) => handler.work(docs, &replica.index, &work).await,
            Err(exception) => Err(exception.into()),
        };
        match worked {
            Ok(Effect { results, sleep, blocks }) => {
                self.sleep(replica, sleep, blocks, world).await;
                outcome.results = results.map(|map| (replica.pod.clone(), map));
            }
            Err(ReadError::Decode(error)) => return Err(error),
            Err(ReadError::Exception(exception)) => {
                // The answer has the Documents as this Executor got them.
                if let Some(received) = received {
                    *docs = received;
                }
                outcome.failure = Some(exception.into_status(&self.class, "run", world.family));
            }
        }
        Ok(outcome)
    }

    /// Waits until a request has been served.
    async fn serve(
        &self,
        replica: &Replica,
        handler: &Handler,
        docs: &Docs,
        outcome: &mut Handled,
        world: &World,
    ) -> Result<(), Exception> {
        if !self.is_timed(handler) && !handler.draws() {
            return Ok(());
        }
        let (now, admission) = {
            let mut state = replica.state.lock().unwrap_or_else(PoisonError::into_inner);
            // The clock is read under the lock, so arrivals are in order.
            let now = world.epoch.elapsed();
            (now, self.admit(&mut state, handler, docs.count(), now, replica.factor))
        };
        let Admission { done, fails, faults } = admission;
        outcome.faults = faults;
        match done {
            Ok(done) if done > now => world.timer.sleep_until(world.epoch + done).await,
            Ok(_) => (),
            Err(_) => {
                let message = format!("the queue of {} is full", replica.pod);
                return Err(Exception::new("RuntimeError").text(message));
            }
        }
        match fails {
            Some(fail) => Err((&fail.exception).into()),
            None => Ok(()),
        }
    }

    /// Whether requests take any time.
    fn is_timed(&self, handler: &Handler) -> bool {
        self.stalls || !handler.sampler.is_zero()
    }

    /// Decides what will happen to a request with this many Documents that arrives `now`.
    fn admit<'a>(
        &self,
        State { queue, rng, .. }: &mut State,
        handler: &'a Handler,
        documents: usize,
        now: Duration,
        factor: f64,
    ) -> Admission<'a> {
        let sampler = &handler.sampler;
        let alone = sampler.draw(rng, documents, now).mul_f64(factor);
        let fails =
            handler.fail.as_ref().filter(|fail| rng.random::<f64>() < fail.share.fraction());
        let faults = handler.draw_faults(rng);
        let done = match self.is_timed(handler) {
            true => queue.admit(now, |in_service| sampler.among(alone, in_service)),
            false => Ok(now),
        };
        Admission { done, fails, faults }
    }

    /// Sleeps for a `sleeper`. If it blocks, later requests wait.
    async fn sleep(&self, replica: &Replica, time: Duration, blocks: bool, world: &World) {
        let now = world.epoch.elapsed();
        let until = {
            let mut state = replica.state.lock().unwrap_or_else(PoisonError::into_inner);
            let until = now.max(state.blocked) + time;
            if blocks {
                state.blocked = until;
            }
            until
        };
        if until > now {
            world.timer.sleep_until(world.epoch + until).await;
        }
    }
}

/// The Document number `number` (from 0) of a streaming endpoint.
pub(super) fn streamed(doc: &Document, number: u32) -> Document {
    let id = format!("{}-{number}", doc.id);
    // Documents with a custom schema are returned unchanged.
    if doc.has_own_schema() {
        return Document { id, ..doc.clone() };
    }
    let text = doc.text.as_deref().unwrap_or_default();
    Document { id, text: Some(format!("{text} {number}")), ..doc.clone() }
}

/// A Python class name for an Executor's name: `ImageEncoder` for `image-encoder`.
fn class_name(name: &str) -> String {
    let mut class = String::new();
    for part in name.split(|c: char| !c.is_alphanumeric()) {
        let mut chars = part.chars();
        class.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        class.push_str(chars.as_str());
    }
    class
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, Exp};

    use super::super::Theory;
    use super::super::config::ServiceTime;
    use super::*;
    use crate::units::Rate;

    #[test]
    fn a_name_becomes_a_class() {
        assert_eq!(class_name("failer"), "Failer");
        assert_eq!(class_name("image-encoder_2"), "ImageEncoder2");
    }

    /// The response times, sorted, of requests that arrive at random with a mean of `rate` per second. Time
    /// is simulated.
    fn simulate(config: &ExecutorConfig, rate: f64) -> Vec<Duration> {
        const REQUESTS: usize = 2_000_000;
        // Requests before the queue reaches equilibrium are left out.
        const WARMUP: usize = 20_000;
        let executor = Executor::new(config, 1, &SchemaSpec::Legacy);
        let handler = executor.handler(None).expect("it has a default");
        let replica = &executor.replicas[0];
        let mut state = replica.state.lock().expect("nobody panicked");
        let gaps = Exp::new(rate).expect("a rate");
        let mut rng = Key::new(2).rng();
        let mut now = 0.0;
        let mut arrive = || {
            now += gaps.sample(&mut rng);
            let arrival = Duration::from_secs_f64(now);
            let admission = executor.admit(&mut state, handler, 1, arrival, 1.0);
            admission.done.expect("the queue has room") - arrival
        };
        (0..WARMUP).for_each(|_| {
            arrive();
        });
        let mut times: Vec<Duration> = (0..REQUESTS).map(|_| arrive()).collect();
        times.sort_unstable();
        times
    }

    /// Checks that mean and quantiles are within 1 % of theory.
    #[track_caller]
    fn follows_theory(model: &str, service_time: ServiceTime, servers: u32, utilisation: f64) {
        let config = ExecutorConfig {
            service_time,
            concurrency: Some(servers),
            ..ExecutorConfig::named("executor")
        };
        let rate = utilisation * f64::from(servers) * 1000.0; // a service takes 1 ms
        let theory = Theory::of(&config, Rate::new(rate).expect("a rate")).expect("a closed form");
        assert_eq!(theory.model, model);
        let times = simulate(&config, rate);
        let total: f64 = times.iter().map(Duration::as_secs_f64).sum();
        let check = |what: &str, found: f64, expected: Duration| {
            let off = found / expected.as_secs_f64() - 1.0;
            assert!(off.abs() < 0.01, "{model}: {what} is off by {:.2}%", off * 100.0);
        };
        check("the mean", total / times.len() as f64, theory.mean);
        for q in [0.5, 0.9, 0.95, 0.99] {
            let found = times[(times.len() as f64 * q) as usize].as_secs_f64();
            check(&format!("quantile {q}"), found, theory.quantile(q).expect("a closed form"));
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn even_work_on_one_server_is_md1() {
        follows_theory("M/D/1", ServiceTime::Constant(MS), 1, 0.7);
    }

    #[test]
    fn random_work_on_one_server_is_mm1() {
        follows_theory("M/M/1", ServiceTime::Exponential(MS), 1, 0.6);
    }

    #[test]
    fn random_work_on_two_servers_is_mm2() {
        follows_theory("M/M/2", ServiceTime::Exponential(MS), 2, 0.7);
    }

    #[test]
    fn random_work_on_eight_servers_is_mm8() {
        follows_theory("M/M/8", ServiceTime::Exponential(MS), 8, 0.8);
    }
}
