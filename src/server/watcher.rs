//! The thread that reads a Flow's metrics once a second while it is under load.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::figures::{Told, places};
use super::processes::Processes;
use super::readings::Page;
use super::readings::{Place, Readings};
use super::replay::Reading;
use super::scrape::{LAST_TIMEOUT, ScrapeError, Source, TIMEOUT, client};
use super::summary::{Seen, ServerSummary, SourceSummary};
use super::{Prometheus, Watch};

/// How often a source is read.
const EVERY: Duration = Duration::from_secs(1);

/// A reading this shortly before the start counts as made at the start.
const JUST_BEFORE: Duration = Duration::from_millis(250);

/// If it matters by no more than this share of the load when exactly a source was read, it is not read twice.
const UNCERTAIN_MAX: f64 = 0.005;

/// The least time between the two: shorter ones tell no rate.
const BETWEEN: Duration = Duration::from_millis(50);

/// How long names of hosts that may be the same are looked up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait for the thread to end.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum number of readings not fetched yet: without a journal, nobody fetches them.
const NEWS_MAX: usize = 256;

/// A Flow whose metrics are being read.
#[derive(Debug)]
pub(crate) struct Watcher {
    shared: Arc<Mutex<Shared>>,
    begin: watch::Sender<Option<Instant>>,
    stop: CancellationToken,
    done: oneshot::Receiver<()>,
}

/// The readings.
#[derive(Debug)]
struct Shared {
    readings: Readings,
    sources: Vec<SourceSummary>,
    /// Readings since they were last fetched.
    news: Vec<Reading>,
    /// When what is measured began.
    origin: Option<Instant>,
    /// When the load was over: later readings count as made at that time, however long they take.
    over: Option<Instant>,
    /// Of each source the first one that asks the same machine at the same port, which may be itself.
    same: Vec<usize>,
    /// Metrics and queries that have a name of their own.
    named: Vec<String>,
}

/// A source that the thread reads.
enum Reader {
    Source { source: Source, client: Result<reqwest::Client, ScrapeError>, also: Arc<[String]> },
    Processes(Processes),
}

impl Watcher {
    /// Starts reading, if there is anything to read. `group`: the processes that a command started.
    pub(crate) fn start(watch: &Watch, group: Option<i32>) -> Option<Watcher> {
        let mut sources: Vec<Source> =
            watch.addresses.iter().cloned().map(Source::Metrics).collect();
        if let Some(Prometheus { url, queries }) = &watch.prometheus {
            sources.extend(queries.iter().map(|(name, query)| Source::Query {
                server: url.clone(),
                name: name.clone(),
                query: query.clone(),
            }));
        }
        let group = group.filter(|_| cfg!(target_os = "linux"));
        let names = sources.iter().map(Source::name).chain(group.map(|_| "processes".to_owned()));
        let told: Vec<SourceSummary> =
            names.map(|address| SourceSummary { address, ..SourceSummary::default() }).collect();
        if told.is_empty() {
            return None;
        }
        let shared = Arc::new(Mutex::new(Shared {
            readings: Readings::of(told.len()),
            news: Vec::new(),
            origin: None,
            over: None,
            same: (0..told.len()).collect(),
            named: watch.named().map(str::to_owned).collect(),
            sources: told,
        }));
        let (begin, begun) = watch::channel(None);
        let stop = CancellationToken::new();
        let (done, is_done) = oneshot::channel();
        let (all, ended, watch) = (shared.clone(), stop.clone(), watch.clone());
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let same = runtime.block_on(same_machines(&sources));
            same.into_iter().enumerate().for_each(|(index, same)| lock(&all).same[index] = same);
            let client = client(&watch);
            let also: Arc<[String]> = watch.also.into();
            let of_source =
                |source| Reader::Source { source, client: client.clone(), also: also.clone() };
            let readers = sources.into_iter().map(of_source);
            let group = group.map(|group| Reader::Processes(Processes::of_group(group)));
            let following = readers
                .chain(group)
                .enumerate()
                .map(|(index, reader)| follow(index, reader, &all, begun.clone(), ended.clone()));
            runtime.block_on(join_all(following));
            let _ = done.send(());
            // A name that does not resolve must not block shutdown.
            runtime.shutdown_background();
        });
        thread.ok()?;
        Some(Watcher { shared, begin, stop, done: is_done })
    }

    /// Sets the start of measurement.
    pub(crate) fn begin(&self, measured_from: Instant) {
        lock(&self.shared).origin = Some(measured_from);
        self.begin.send_replace(Some(measured_from));
    }

    /// The figures of the last seconds.
    pub(crate) fn recent(&self, elapsed: Duration, seconds: u64) -> Vec<Seen> {
        let from_s = (elapsed.as_secs_f64() - seconds as f64).max(0.0);
        let Told { places, .. } = places(&lock(&self.shared).readings, from_s);
        ServerSummary { places, ..ServerSummary::default() }.seen()
    }

    /// The readings since the last call.
    pub(crate) fn news(&self) -> Vec<Reading> {
        std::mem::take(&mut lock(&self.shared).news)
    }

    /// The summary so far.
    pub(crate) fn so_far(&self) -> ServerSummary {
        lock(&self.shared).summary()
    }

    /// Reads everything once more, and returns the summary.
    pub(crate) async fn finish(self) -> ServerSummary {
        lock(&self.shared).over = Some(Instant::now());
        self.stop.cancel();
        let _ = tokio::time::timeout(END_TIMEOUT, self.done).await;
        let mut shared = lock(&self.shared);
        if let Some((origin, over)) = shared.origin.zip(shared.over) {
            shared.readings.settle(seconds_between(origin, over));
        }
        // Of one that was asked and has not answered yet, nobody was told.
        for source in shared.sources.iter_mut().filter(|source| source.scrapes == 0) {
            (source.scrapes, source.failed) = (1, 1);
            source.problem = Some(ScrapeError::Slow(END_TIMEOUT).to_string());
        }
        shared.summary()
    }
}

impl Shared {
    fn summary(&self) -> ServerSummary {
        ServerSummary::new(self.sources.clone(), &self.readings, &self.named)
    }

    /// Whether the figures of a source depend on when exactly it was read.
    fn is_uncertain(&self, source: usize, origin: Instant, last: Instant) -> bool {
        let Some(over) = self.over else { return false };
        let early_s = -self.readings.start(source).unwrap_or_default().min(0.0);
        let late_s = seconds_between(over, last).max(0.0);
        early_s + late_s > UNCERTAIN_MAX * seconds_between(origin, over)
    }

    /// Leaves out what another source tells of the same pods of the same machine.
    fn leave_once(&mut self, index: usize, page: &mut Page) {
        let (same, readings) = (&self.same, &self.readings);
        let other = |source: usize| source != index && same[source] == same[index];
        let before = page.places.len();
        page.places.retain(|(place, _)| !readings.is_told_by(place, other));
        if page.places.len() < before {
            page.places.retain(|(place, _)| !place.is_host());
            let known = (0..same.len()).find(|source| other(*source));
            self.sources[index].same_as = known.map(|known| self.sources[known].address.clone());
        }
    }
}

/// Of each source the first one that asks the same machine at the same port.
async fn same_machines(sources: &[Source]) -> Vec<usize> {
    let endpoint = |source: &Source| match source {
        Source::Metrics(address) => Some(address.endpoint()),
        Source::Query { .. } => None,
    };
    let endpoints: Vec<Option<(String, u16)>> = sources.iter().map(endpoint).collect();
    let lookups = endpoints.iter().map(|endpoint| async {
        let Some((host, port)) = endpoint else { return Vec::new() };
        // Nobody else could be the same.
        if endpoints.iter().flatten().filter(|(_, other)| other == port).count() < 2 {
            return Vec::new();
        }
        let found = tokio::net::lookup_host((host.as_str(), *port));
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, found).await;
        let found = found.ok().and_then(Result::ok).into_iter().flatten();
        found.map(|address| address.ip().to_canonical()).collect::<Vec<IpAddr>>()
    });
    let ips = join_all(lookups).await;
    let is_same = |one: usize, other: usize| {
        let ports = endpoints[one].as_ref().zip(endpoints[other].as_ref());
        ports.is_some_and(|((_, one), (_, other))| one == other)
            && ips[one].iter().any(|ip| ips[other].contains(ip))
    };
    (0..sources.len())
        .map(|one| (0..one).find(|other| is_same(one, *other)).unwrap_or(one))
        .collect()
}

/// Reads a source until it has to stop, and then once more.
async fn follow(
    index: usize,
    mut reader: Reader,
    shared: &Mutex<Shared>,
    mut begun: watch::Receiver<Option<Instant>>,
    stop: CancellationToken,
) {
    let began = Instant::now();
    let early = reader.read_unless(&stop, shared).await;
    let origin = tokio::select! {
        origin = begun.wait_for(Option::is_some) => origin.ok().and_then(|origin| *origin),
        () = stop.cancelled() => None,
    };
    let Some(origin) = origin else { return };
    let early_at = midway(began);
    let is_start = origin.saturating_duration_since(early_at) <= JUST_BEFORE && early.is_ok();
    tell(index, shared, (0, origin), early_at, early);
    let mut tick = u32::from(is_start || early_at > origin);
    // Whether it has answered since the load was over, and whether it was asked after that.
    let (mut has_answered, mut is_second) = (false, false);
    loop {
        let due = origin + EVERY * tick;
        tokio::select! {
            biased;
            () = stop.cancelled() => (),
            () = tokio::time::sleep_until(due.into()) => (),
        }
        let began = Instant::now();
        let read = reader.read_unless(&stop, shared).await;
        let (at, is_read) = (midway(began), read.is_ok());
        if is_read || !has_answered {
            tell(index, shared, (tick, origin), at, read);
        }
        let (over, is_uncertain) = {
            let shared = lock(shared);
            (shared.over, shared.is_uncertain(index, origin, at))
        };
        if let Some(over) = over {
            let is_late = at >= over;
            // Who did not answer up to the end is not asked again.
            if !is_read || is_late && (is_second || !is_uncertain) {
                return;
            }
            (has_answered, is_second) = (true, is_late);
            if is_late {
                tokio::time::sleep(BETWEEN.saturating_sub(began.elapsed())).await;
            }
        }
        let passed = origin.elapsed().as_secs_f64() / EVERY.as_secs_f64();
        tick = (tick + 1).max(passed.ceil() as u32);
    }
}

fn tell(
    index: usize,
    shared: &Mutex<Shared>,
    (tick, origin): (u32, Instant),
    at: Instant,
    read: Result<Page, ScrapeError>,
) {
    let mut shared = lock(shared);
    let at_s = seconds_between(origin, at);
    let problem = read.as_ref().err().map(ScrapeError::to_string);
    shared.sources[index].note(at_s, problem.as_deref());
    if shared.news.len() < NEWS_MAX {
        let name = shared.sources[index].address.clone();
        let told = (read.as_ref().ok(), problem);
        shared.news.push(Reading::new((index, &name), (tick, at_s), told));
    }
    if let Ok(mut page) = read {
        shared.leave_once(index, &mut page);
        shared.readings.add(index, tick, at_s, page);
    }
}

impl Reader {
    /// Reads it. When the load is over, or once it is, an answer may take no longer than a last one.
    async fn read_unless(
        &mut self,
        stop: &CancellationToken,
        shared: &Mutex<Shared>,
    ) -> Result<Page, ScrapeError> {
        let over = async {
            stop.cancelled().await;
            let over = lock(shared).over.unwrap_or_else(Instant::now);
            tokio::time::sleep_until((over + LAST_TIMEOUT).into()).await;
        };
        tokio::select! {
            read = self.read(TIMEOUT) => read,
            () = over => Err(ScrapeError::Slow(LAST_TIMEOUT)),
        }
    }

    async fn read(&mut self, within: Duration) -> Result<Page, ScrapeError> {
        match self {
            Reader::Source { source, client, also } => {
                let client = client.as_ref().map_err(Clone::clone)?;
                source.read(client, also, within).await
            }
            Reader::Processes(processes) => {
                let counts = processes.look();
                let places = counts.map(|counts| (Place::processes(), counts));
                Ok(Page { places: places.into_iter().collect(), ..Page::default() })
            }
        }
    }
}

/// Between an instant and now: the nominal time of a reading that began then.
fn midway(began: Instant) -> Instant {
    began + began.elapsed() / 2
}

fn seconds_between(origin: Instant, at: Instant) -> f64 {
    match at.checked_duration_since(origin) {
        Some(after) => after.as_secs_f64(),
        None => -origin.duration_since(at).as_secs_f64(),
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
