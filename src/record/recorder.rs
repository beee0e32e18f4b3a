//! Folds the events of one worker into tallies, one per second.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::breakdown::Stop;
use super::exchange::{Exchange, Sent};
use super::sample::{Noted, Sampled, Sampler};
use super::tally::{ErrorCount, SlowRequest, Tally};
use super::{Histogram, cut};
use crate::client::{Body, CallError, Reply};
use crate::engine::event::{Event, Finished, Iteration, Listener, Outcome};
use crate::error::chain;
use crate::wire::Route;

/// What a recorder hands over periodically, to be merged with that of the other workers.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// The worker that sends it.
    pub worker: usize,
    /// Up to which time the worker has reported everything, from the start of the measurement.
    /// `Duration::MAX` once it is done.
    pub told: Duration,
    /// Measured requests by the second they belong to, from the start of the measurement.
    pub(crate) seconds: Vec<(u64, Tally)>,
    /// Requests of the warmup.
    pub(crate) warmup: Tally,
    /// Response time of the warmup's ok requests by the second in which they ended, counted
    /// backwards from the end of the warmup: 1 is the last.
    pub warmup_seconds: Vec<(u64, Histogram)>,
    /// When the very first request was answered, and its response time.
    pub first_request: Option<(Instant, Duration)>,
    /// When the last measured request ended.
    pub last_done: Option<Instant>,
    /// When the load was ended early.
    pub stopped: Option<Instant>,
    /// A sample of the measured requests, and how many it was taken from; only in the last delta.
    pub(crate) sample: (Vec<Sampled>, u64),
    /// New entries in a smaller sample, and the part of the load they belong to; 0 if there are no parts.
    pub(crate) noted: (u64, Vec<Noted>),
}

impl Delta {
    /// Has everything in it happen so many seconds later, as counted from the start of what is measured.
    pub(crate) fn lay_later(&mut self, seconds: u64) {
        self.seconds.iter_mut().for_each(|(second, _)| *second += seconds);
        let placed = self.noted.1.iter_mut().flat_map(|noted| &mut noted.placed);
        placed.for_each(|(_, sampled)| sampled.done += Duration::from_secs(seconds));
    }

    /// Adds everything but the seconds of another delta; `worker` and `told` are replaced by its values.
    pub(crate) fn add_rest(&mut self, other: &Delta) {
        (self.worker, self.told) = (other.worker, other.told);
        self.warmup.merge(&other.warmup);
        for (second, histogram) in &other.warmup_seconds {
            match self.warmup_seconds.iter_mut().find(|(known, _)| known == second) {
                Some((_, known)) => known.merge(histogram),
                None => self.warmup_seconds.push((*second, histogram.clone())),
            }
        }
        self.first_request = [self.first_request, other.first_request].into_iter().flatten().min();
        self.last_done = self.last_done.max(other.last_done);
        self.stopped = self.stopped.max(other.stopped);
        let news = other.noted.1.iter().filter(|noted| !noted.placed.is_empty());
        self.noted.1.extend(news.cloned());
    }
}

/// Records the events of one worker. Hands tallies over periodically, and never waits for the
/// receiver.
#[derive(Debug)]
pub struct Recorder {
    /// Start of the measurement.
    start: Instant,
    /// End of the load, if it ends by time or was stopped.
    end: Option<Instant>,
    /// Whether iterations have steps, which are counted separately.
    by_step: bool,
    /// Not handed over yet; usually only the current second.
    seconds: Vec<(u64, Tally)>,
    warmup: Tally,
    warmup_seconds: Vec<(u64, Histogram)>,
    first_request: Option<(Instant, Duration)>,
    first_told: bool,
    last_done: Option<Instant>,
    stopped: Option<Instant>,
    in_flight: u64,
    in_flight_since: Instant,
    /// Sum of the instants, from the start, at which the requests now in flight were released.
    /// Those released before the start count as 0.
    released_sum: f64,
    /// The same for instants not after the end.
    released_in_time_sum: f64,
    /// Interval at which tallies are handed over.
    tells_every: Duration,
    /// Index of the interval in which tallies were last handed over, counted from the start.
    told: Option<i128>,
    worker: usize,
    sampler: Option<Sampler>,
    /// Whether the gateway's clock is read from responses, to compare the clocks of parts.
    compares_clocks: bool,
    /// Holds a few. A receiver that falls behind gets the same counts later, added up.
    deltas: mpsc::Sender<Delta>,
}

impl Recorder {
    /// A recorder for a worker's iterations from `start` on; `by_step`: they have steps, each of which is counted
    /// separately. Events marked as not measured are kept apart.
    pub fn new(
        worker: usize,
        start: Instant,
        end: Option<Instant>,
        by_step: bool,
        deltas: mpsc::Sender<Delta>,
    ) -> Recorder {
        Recorder {
            start,
            end,
            by_step,
            seconds: Vec::new(),
            warmup: Tally::default(),
            warmup_seconds: Vec::new(),
            first_request: None,
            first_told: false,
            last_done: None,
            stopped: None,
            in_flight: 0,
            in_flight_since: start,
            released_sum: 0.0,
            released_in_time_sum: 0.0,
            tells_every: Recorder::TELLS_EVERY,
            told: None,
            worker,
            sampler: None,
            compares_clocks: false,
            deltas,
        }
    }

    /// Takes a sample of the requests, as one of this many workers in a load of this many parts.
    pub fn sampling(self, workers: usize, parts: u64) -> Recorder {
        let sampler = Some(Sampler::new(self.worker, workers, parts, self.start));
        Recorder { sampler, ..self }
    }

    /// Records the gateway's clock, against which the clocks of parts are compared.
    pub(crate) fn comparing_clocks(self, compares_clocks: bool) -> Recorder {
        Recorder { compares_clocks, ..self }
    }

    /// Default interval for handing tallies over. Merging costs the same however little there is to
    /// merge, and what was not handed over is lost when the process is killed. Twice a second, that
    /// is less than one second.
    pub(crate) const TELLS_EVERY: Duration = Duration::from_millis(500);

    /// Sets the interval for handing tallies over. It cannot be shorter than the tick of the
    /// engine.
    pub(crate) fn telling_every(self, tells_every: Duration) -> Recorder {
        Recorder { tells_every, ..self }
    }

    /// The tallies not handed over yet.
    pub fn finish(mut self) -> Delta {
        let rest = self.take(Duration::MAX);
        let sample = self.sampler.take().map(Sampler::finish).unwrap_or_default();
        Delta { sample, ..rest }
    }

    /// Announces that nothing more will come except the result of [`Recorder::finish`], so that nobody waits for this
    /// worker. If the channel is full, the others wait until all workers are done.
    pub fn done(&mut self) {
        if let Ok(room) = self.deltas.clone().try_reserve() {
            room.send(self.take(Duration::MAX));
        }
    }

    fn take(&mut self, told: Duration) -> Delta {
        Delta {
            worker: self.worker,
            told,
            seconds: std::mem::take(&mut self.seconds),
            warmup: std::mem::take(&mut self.warmup),
            warmup_seconds: std::mem::take(&mut self.warmup_seconds),
            first_request: self.first_request.take(),
            last_done: self.last_done,
            stopped: self.stopped,
            sample: Default::default(),
            noted: (0, self.sampler.as_mut().map(Sampler::news).into_iter().collect()),
        }
    }

    /// The tally of the second that contains `at`; earlier instants belong to the first second.
    fn second(&mut self, at: Instant) -> &mut Tally {
        let second = at.saturating_duration_since(self.start).as_secs();
        let index = match self.seconds.iter().rposition(|(known, _)| *known == second) {
            Some(index) => index,
            None => {
                self.seconds.push((second, Tally::default()));
                self.seconds.len() - 1
            }
        };
        &mut self.seconds[index].1
    }

    fn tally(&mut self, measured: bool, at: Instant) -> &mut Tally {
        if measured { self.second(at) } else { &mut self.warmup }
    }

    /// Changes the number in flight, after the area until then was added. A thread that is busy or waits for a
    /// processor reads a response, and learns of it, later: then the area since `at` was added without this change,
    /// and is corrected by it.
    fn in_flight(&mut self, at: Instant, change: i64) {
        let added = self.in_flight_since;
        if at > added {
            self.add_area(added, at, i64::try_from(self.in_flight).unwrap_or(i64::MAX));
            self.in_flight_since = at;
        } else {
            self.add_area(at.max(self.start), added, change);
        }
        self.in_flight = self.in_flight.saturating_add_signed(change);
    }

    /// Adds the area of this many requests in flight between two instants, second by second.
    fn add_area(&mut self, from: Instant, to: Instant, number: i64) {
        if number == 0 {
            return;
        }
        let (start, end) = (self.start, self.end);
        let mut since = from;
        while since < to {
            let second = (since - start).as_secs() + 1;
            let until = to.min(start + Duration::from_secs(second));
            let in_time = self.in_time_s(until) - self.in_time_s(since);
            let in_flight = &mut self.second(since).in_flight;
            in_flight.area += number as f64 * (until - since).as_secs_f64();
            in_flight.area_in_time += number as f64 * in_time;
            if since == start {
                in_flight.at_start = in_flight.at_start.saturating_add_signed(number);
            }
            if end.is_some_and(|end| since < end && end <= until) {
                in_flight.at_end = in_flight.at_end.saturating_add_signed(number);
            }
            since = until;
        }
    }

    /// An instant in seconds from the start; 0 if it was earlier.
    fn since_start_s(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    /// The same, but not later than the end.
    fn in_time_s(&self, at: Instant) -> f64 {
        self.since_start_s(self.end.map_or(at, |end| at.min(end)))
    }

    /// A request came back ok. It counts toward the throughput of that instant, whenever it was
    /// due.
    fn completed(&mut self, finished: &Finished) {
        let done = finished.timing.done;
        if done <= self.start {
            return;
        }
        let in_time = u64::from(self.end.is_none_or(|end| done <= end));
        let warmup = u64::from(!finished.iteration.arrival.measured);
        let (ends, documents) = (u64::from(finished.ends), finished.documents);
        let by_step = self.by_step;
        let tally = self.second(done);
        tally.ok_in_time += in_time * ends;
        tally.documents_in_time += in_time * documents;
        tally.warmup_ok += warmup * ends;
        tally.warmup_documents += warmup * documents;
        if by_step {
            let step = tally.step(finished.step);
            step.ok_in_time += in_time;
            step.warmup_ok += warmup;
        }
    }

    fn finished(&mut self, finished: &Finished) {
        let done = finished.timing.done;
        let iteration = &finished.iteration;
        let measured = iteration.arrival.measured;
        if !self.first_told {
            self.first_told = true;
            self.first_request = Some((done, finished.response_time()));
        }
        if finished.ends {
            self.over(iteration, done);
        }
        if finished.outcome == Outcome::Ok {
            self.completed(finished);
        }
        let (start, by_step, compares_clocks) = (self.start, self.by_step, self.compares_clocks);
        let tally = self.tally(measured, done);
        let outcome = finished.outcome;
        tally.retries += u64::from(finished.timing.attempts.saturating_sub(1));
        if finished.begins {
            tally.lag.record(iteration.lag());
            tally.pacer.record(iteration.pacer_lag());
            tally.held.record(iteration.held_back(done));
            if !iteration.starved.is_zero() {
                tally.starved.record(iteration.starved);
            }
        }
        if by_step {
            let step = tally.step(finished.step);
            step.response[outcome as usize].record(finished.response_time());
            if let (Outcome::Ok, Some(service)) = (outcome, finished.service_time()) {
                step.service.record(service);
            }
        }
        let response = done - iteration.arrival.due;
        if finished.ends {
            tally.response[outcome as usize].record(response);
        }
        if let Some(trace) = finished.traits.trace {
            let due = finished.due.saturating_duration_since(start);
            tally.traced.record(trace, outcome == Outcome::Ok, due, finished.response_time());
        }
        if let Some(error) = &finished.error {
            tally.errors.record(ErrorCount {
                kind: error.kind().into(),
                message: cut(&error.to_string()).into_owned(),
                count: 1,
                first_at: done.saturating_duration_since(start),
                last_at: Some(done.saturating_duration_since(start)),
                details: details(error).or_else(|| refusal(finished.reply.as_ref())),
            });
        }
        if outcome == Outcome::Ok {
            tally.documents_ok += finished.documents;
            if finished.ends {
                // Several steps: from writing the first request to the end of the last one.
                let service = iteration.written.map_or(Duration::ZERO, |written| done - written);
                tally.service.record(service);
                if by_step {
                    tally.active.record(response.saturating_sub(iteration.paused));
                }
            }
            let routes = answered(tally, finished, start);
            if compares_clocks {
                tally.exchange = Exchange::best(tally.exchange, exchange(finished, routes, start));
            }
            if finished.ends && !measured {
                self.warmed_up(done, response);
            }
        }
    }

    /// A request of the warmup succeeded. One that ended after the warmup is not recorded.
    fn warmed_up(&mut self, done: Instant, response: Duration) {
        let Some(before) = self.start.checked_duration_since(done) else { return };
        let second = before.as_secs() + 1;
        match self.warmup_seconds.last_mut() {
            Some((known, histogram)) if *known == second => histogram.record(response),
            _ => {
                let mut histogram = Histogram::new();
                histogram.record(response);
                self.warmup_seconds.push((second, histogram));
            }
        }
    }

    /// An iteration is no longer in flight.
    fn over(&mut self, iteration: &Iteration, at: Instant) {
        self.in_flight(at, -1);
        let released = iteration.released;
        let (from, until) = (self.since_start_s(released), self.since_start_s(at));
        let (in_time_from, in_time_until) = (self.in_time_s(released), self.in_time_s(at));
        self.released_sum -= from;
        self.released_in_time_sum -= in_time_from;
        if until > 0.0 {
            let in_flight = &mut self.second(at).in_flight;
            in_flight.spent += until - from;
            in_flight.spent_in_time += in_time_until - in_time_from;
        }
        if iteration.arrival.measured {
            self.last_done = self.last_done.max(Some(at));
        }
    }
}

/// Records what only an ok response contains; returns the routes in it, if they are plausible.
fn answered<'a>(tally: &mut Tally, finished: &'a Finished, start: Instant) -> &'a [Route] {
    let service = finished.service_time().unwrap_or_default();
    let Some(reply) = &finished.reply else { return &[] };
    tally.bytes_received += reply.body.len() as u64;
    if let (crate::client::Body::Stream(_), Some(first)) = (&reply.body, finished.timing.first) {
        tally.first.record(first - finished.due);
    }
    let received = match (&reply.body, reply.head.documents) {
        // Each reply of a streaming endpoint is one Document.
        (crate::client::Body::Stream(replies), _) => Some(replies.len() as u64),
        (_, documents) => documents,
    };
    match received {
        Some(received) => {
            tally.documents_received += received;
            // An endpoint such as `/delete` returns none.
            if received > 0 {
                tally.documents_missing += finished.documents.saturating_sub(received);
            }
        }
        None => tally.without_count += 1,
    }
    let routes = match &reply.head.routes {
        Some(routes) if routes.iter().filter_map(time_in).any(|time| time > most(service)) => {
            tally.impossible_routes += 1;
            &[]
        }
        Some(routes) => routes.as_slice(),
        None => {
            tally.without_routes += 1;
            &[]
        }
    };
    for route in routes {
        if let Some(time) = time_in(route) {
            tally.executor(route.executor_name()).record(time);
        }
    }
    let response = finished.response_time();
    if let Some((gateway, own)) = in_gateway(routes) {
        tally.gateway.record(own);
        // Two clocks: ours may be behind the gateway's by the time it takes to read it.
        let network = service.saturating_sub(gateway);
        tally.network.record(network);
        let executors = routes.iter().filter(|route| route.executor != "gateway");
        tally.breakdown.record(
            response,
            [
                (Stop::Lag, response.saturating_sub(service)),
                (Stop::Network, network),
                (Stop::Gateway, own),
            ],
            executors.filter_map(|route| Some((route.executor_name(), time_in(route)?))),
        );
    }
    if tally.slowest.wants(response) {
        tally.slowest.record(SlowRequest {
            due: finished.due.saturating_duration_since(start),
            response,
            service,
            lag: response.saturating_sub(service),
            routes: routes
                .iter()
                .map(|route| (cut(&route.executor).into_owned(), time_in(route)))
                .collect(),
        });
    }
    routes
}

/// The longest plausible time of a request in a hop: the whole service time, plus what two clocks
/// may drift apart meanwhile.
fn most(service: Duration) -> Duration {
    service + service / 100 + Duration::from_millis(5)
}

/// Time of a request in a hop; `None` for an Executor that was skipped. Both instants come from the
/// gateway's clock, so no common clock is needed. If that clock was set back, there is no time.
fn time_in(route: &Route) -> Option<Duration> {
    route.end_time?.duration_since(route.start_time?).ok()
}

/// Time of a request in the gateway, and the part of it outside all Executors. Executors that work
/// in parallel count once.
fn in_gateway(routes: &[Route]) -> Option<(Duration, Duration)> {
    let gateway = routes.iter().find(|route| route.executor == "gateway")?;
    let whole = time_in(gateway)?;
    let stops = routes.iter().filter(|route| route.executor != "gateway");
    let mut spans: Vec<_> =
        stops.filter_map(|route| Some((route.start_time?, route.end_time?))).collect();
    spans.sort_unstable();
    let mut covered = Duration::ZERO;
    let mut until = None;
    for (start, end) in spans {
        let start = until.map_or(start, |until| start.max(until));
        covered += end.duration_since(start).unwrap_or_default();
        until = until.max(Some(end));
    }
    Some((whole, whole.saturating_sub(covered)))
}

/// The clock exchange with the gateway in a response.
fn exchange(finished: &Finished, routes: &[Route], start: Instant) -> Option<Exchange> {
    let gateway = routes.iter().find(|route| route.executor == "gateway")?;
    let ns = |at: Instant| {
        let (after, before) =
            (at.saturating_duration_since(start), start.saturating_duration_since(at));
        Some(i64::try_from(after.as_nanos()).ok()? - i64::try_from(before.as_nanos()).ok()?)
    };
    let timing = &finished.timing;
    let sent = Sent { written_ns: ns(timing.written?)?, done_ns: ns(timing.done)? };
    Exchange::new(&sent, gateway.start_time?, gateway.end_time?)
}

/// Details that the one-line message of an error omits.
fn details(error: &CallError) -> Option<String> {
    let CallError::Executor { executor, exception: Some(exception), .. } = error else {
        return None;
    };
    let mut lines = Vec::new();
    if let Some(executor) = executor {
        lines.push(format!("Executor `{executor}` ({})", exception.executor));
    }
    lines.extend(exception.stacks.iter().map(|line| line.trim_end().to_owned()));
    (!lines.is_empty()).then(|| cut(&lines.join("\n")).into_owned())
}

/// The response to a plain request that failed by its status.
fn refusal(reply: Option<&Reply>) -> Option<String> {
    let Body::Http(response) = &reply?.body else { return None };
    let body = String::from_utf8_lossy(&response.body[..response.body.len().min(DETAILS_MAX)]);
    let lines = format!("status {}\n{}", response.status, body.trim_end());
    Some(cut(&lines).into_owned())
}

/// Only this much of a body is read, in bytes.
const DETAILS_MAX: usize = 16 << 10;

impl Listener for Recorder {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Arrived(arrival) => self.tally(arrival.measured, arrival.due).offered += 1,
            Event::Dropped { arrival, at, late } => {
                let tally = self.tally(arrival.measured, arrival.due);
                tally.dropped += 1;
                tally.drops.record(at.saturating_duration_since(arrival.due));
                tally.dropped_late += u64::from(late);
            }
            Event::Released { arrival, step, begins, at, documents, bytes, in_flight } => {
                let by_step = self.by_step;
                let tally = self.tally(arrival.measured, at);
                tally.documents_sent += documents;
                tally.bytes_sent += bytes;
                tally.sent += u64::from(begins);
                if by_step {
                    let step = tally.step(step);
                    step.sent += 1;
                    step.begun += u64::from(begins);
                }
                if arrival.measured {
                    tally.in_flight.max = tally.in_flight.max.max(in_flight as u64);
                }
                if begins {
                    self.in_flight(at, 1);
                    self.released_sum += self.since_start_s(at);
                    self.released_in_time_sum += self.in_time_s(at);
                }
            }
            Event::Finished(finished) => {
                self.finished(finished);
                if let Some(sampler) = &mut self.sampler {
                    sampler.on(finished);
                }
            }
            Event::Broken { iteration, at, error } => {
                self.over(&iteration, at);
                let start = self.start;
                let tally = self.tally(iteration.arrival.measured, at);
                let response = at - iteration.arrival.due;
                tally.response[Outcome::ResponseError as usize].record(response);
                tally.errors.record(ErrorCount {
                    kind: error.kind().into(),
                    message: cut(&chain(error)).into_owned(),
                    count: 1,
                    first_at: at.saturating_duration_since(start),
                    last_at: Some(at.saturating_duration_since(start)),
                    details: None,
                });
            }
            Event::Abandoned { measured, warmup, unsent, at } => {
                for iteration in unsent {
                    let tally = self.tally(iteration.arrival.measured, at);
                    tally.held.record(iteration.held_back(at));
                    tally.abandoned_unsent += 1;
                }
                self.last_done = self.last_done.max(Some(at));
                let all = measured + warmup;
                self.in_flight(at, -i64::try_from(all).unwrap_or(i64::MAX));
                let spent = all as f64 * self.since_start_s(at) - self.released_sum;
                let in_time = all as f64 * self.in_time_s(at) - self.released_in_time_sum;
                let tally = self.second(at);
                tally.abandoned += measured;
                tally.in_flight.spent += spent;
                tally.in_flight.spent_in_time += in_time;
                self.warmup.abandoned += warmup;
            }
            Event::Stopped(at) => {
                self.in_flight(at, 0);
                if at > self.start && self.end.is_none_or(|end| at < end) {
                    let number = self.in_flight;
                    self.second(at).in_flight.at_end += number;
                }
                let end = self.end.map_or(at, |end| end.min(at));
                (self.end, self.stopped) = (Some(end), Some(end));
            }
            Event::Tick(at) => {
                self.in_flight(at, 0);
                let since = at.saturating_duration_since(self.start);
                let before = self.start.saturating_duration_since(at).as_millis() as i128;
                let every = self.tells_every.as_millis().max(1) as i128;
                let stretch = (since.as_millis() as i128 - before).div_euclid(every);
                if self.told != Some(stretch)
                    && let Ok(room) = self.deltas.clone().try_reserve()
                {
                    self.told = Some(stretch);
                    room.send(self.take(since));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::client::{Body, Reply, Timing};
    use crate::engine::TICK;
    use crate::engine::event::Arrival;
    use crate::wire::Head;

    /// A request that was answered as soon as it was due.
    fn answered(at: Instant) -> Finished {
        let arrival = Arrival { due: at, client: 0, measured: true };
        Finished {
            iteration: Iteration {
                arrival,
                released: at,
                written: Some(at),
                starved: Duration::ZERO,
                blocked: Duration::ZERO,
                paused: Duration::ZERO,
            },
            step: 0,
            begins: true,
            ends: true,
            due: at,
            documents: 1,
            traits: Default::default(),
            timing: Timing { written: Some(at), first: Some(at), ..Timing::unsent(at) },
            outcome: Outcome::Ok,
            reply: None,
            error: None,
        }
    }

    #[test]
    fn times_in_executors_longer_than_the_request_are_left_out_and_counted() {
        let start = Instant::now();
        let (deltas, _taken) = mpsc::channel(4);
        let mut recorder = Recorder::new(0, start, None, false, deltas);
        for (took_ms, claimed_ms) in [(100, 90), (100, 104), (100, 200), (10, 3_600_000)] {
            let mut finished = answered(start);
            finished.timing.done = start + Duration::from_millis(took_ms);
            let end = SystemTime::UNIX_EPOCH + Duration::from_millis(claimed_ms);
            let route = |executor: &str| Route {
                executor: executor.into(),
                start_time: Some(SystemTime::UNIX_EPOCH),
                end_time: Some(end),
                status: None,
            };
            let routes = Some(vec![route("gateway"), route("e")]);
            let head = Head { routes, documents: Some(1), ..Head::default() };
            let timing = finished.timing;
            finished.reply = Some(Reply { head, body: Body::Empty, timing });
            recorder.on(Event::Finished(&finished));
        }
        let (_, tally) = recorder.finish().seconds.remove(0);
        assert_eq!(tally.ok().count(), 4);
        assert_eq!(tally.impossible_routes, 2);
        let counts: Vec<u64> = tally.executors.iter().map(|stop| stop.time.count()).collect();
        assert_eq!(counts, [2, 2]);
        assert_eq!(tally.gateway.count(), 2);
    }

    #[test]
    fn what_is_heard_of_late_is_in_flight_until_it_ended() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let (deltas, _taken) = mpsc::channel(1);
        // Nothing is received meanwhile, so all counts are still here at the end.
        deltas.try_send(Delta::default()).expect("there is room for one");
        let mut recorder = Recorder::new(0, start, Some(at(1600)), false, deltas);
        let requests = [(100, 900), (200, 1700), (300, 2100)].map(|(released, done)| {
            let mut finished = answered(at(released));
            finished.timing.done = at(done);
            finished
        });
        for (n, request) in requests.iter().enumerate() {
            let Iteration { arrival, released, .. } = request.iteration;
            let (step, begins, documents, bytes, in_flight) = (0, true, 1, 9, n + 1);
            let at = released;
            recorder.on(Event::Released { arrival, step, begins, at, documents, bytes, in_flight });
        }
        // The thread learns of none of them before its last count.
        recorder.on(Event::Tick(at(2500)));
        requests.iter().for_each(|request| recorder.on(Event::Finished(request)));
        let mut all = Tally::default();
        recorder.finish().seconds.iter().for_each(|(_, tally)| all.merge(tally));
        let in_flight = all.in_flight;
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}");
        near(in_flight.area, 0.8 + 1.5 + 1.8);
        near(in_flight.area_in_time, 0.8 + 1.4 + 1.3);
        near(in_flight.spent, in_flight.area);
        near(in_flight.spent_in_time, in_flight.area_in_time);
        assert_eq!(in_flight.at_end, 2);
    }

    /// What was handed over is written to the journal immediately, so a kill can lose only the rest.
    #[test]
    fn what_ended_a_second_ago_has_been_handed_over_whenever_somebody_asks() {
        const EVERY_MS: u64 = 10;
        for phase in (0..TICK.as_millis() as u64).step_by(70) {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let (deltas, mut taken) = mpsc::channel(4);
            let mut recorder = Recorder::new(0, start, None, false, deltas);
            let mut handed = 0;
            for ms in (0..5000).step_by(EVERY_MS as usize) {
                recorder.on(Event::Finished(&answered(at(ms))));
                if ms % TICK.as_millis() as u64 == phase / EVERY_MS * EVERY_MS {
                    recorder.on(Event::Tick(at(ms)));
                }
                while let Ok(delta) = taken.try_recv() {
                    let ok = delta.seconds.iter().map(|(_, tally)| tally.ok().count());
                    handed += ok.sum::<u64>();
                }
                let a_second_ago = ms.saturating_sub(1000) / EVERY_MS;
                assert!(handed >= a_second_ago, "{handed} of {a_second_ago} after {ms} ms");
            }
        }
    }
}
