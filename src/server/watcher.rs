//! The thread that reads a Flow's metrics once a second while it is under load.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::figures::places;
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
    /// When the load was over: later readings count as made at that time, however long they take.
    over: Option<Instant>,
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
        let readings = Readings::of(told.len());
        let shared =
            Arc::new(Mutex::new(Shared { readings, sources: told, news: Vec::new(), over: None }));
        let (begin, begun) = watch::channel(None);
        let stop = CancellationToken::new();
        let (done, is_done) = oneshot::channel();
        let (all, ended, watch) = (shared.clone(), stop.clone(), watch.clone());
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
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
        self.begin.send_replace(Some(measured_from));
    }

    /// The figures of the last seconds.
    pub(crate) fn recent(&self, elapsed: Duration, seconds: u64) -> Vec<Seen> {
        let from_s = (elapsed.as_secs_f64() - seconds as f64).max(0.0);
        let (_, places) = places(&lock(&self.shared).readings, from_s);
        ServerSummary { places, ..ServerSummary::default() }.seen()
    }

    /// The readings since the last call.
    pub(crate) fn news(&self) -> Vec<Reading> {
        std::mem::take(&mut lock(&self.shared).news)
    }

    /// The summary so far.
    pub(crate) fn so_far(&self) -> ServerSummary {
        let shared = lock(&self.shared);
        let (t_s, places) = places(&shared.readings, f64::NEG_INFINITY);
        ServerSummary { sources: shared.sources.clone(), t_s, places }
    }

    /// Reads everything once more, and returns the summary.
    pub(crate) async fn finish(self) -> ServerSummary {
        lock(&self.shared).over = Some(Instant::now());
        self.stop.cancel();
        let _ = tokio::time::timeout(END_TIMEOUT, self.done).await;
        let shared = lock(&self.shared);
        let (t_s, places) = places(&shared.readings, f64::NEG_INFINITY);
        let mut sources = shared.sources.clone();
        // A source that has not answered at all yet has no reported reading.
        for source in sources.iter_mut().filter(|source| source.scrapes == 0) {
            (source.scrapes, source.failed) = (1, 1);
            source.problem = Some(ScrapeError::Slow(END_TIMEOUT).to_string());
        }
        ServerSummary { sources, t_s, places }
    }
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
    let early = reader.read_unless(&stop).await;
    let origin = tokio::select! {
        origin = begun.wait_for(Option::is_some) => origin.ok().and_then(|origin| *origin),
        () = stop.cancelled() => None,
    };
    let Some(origin) = origin else { return };
    let early_at = midway(began);
    let is_start = origin.saturating_duration_since(early_at) <= JUST_BEFORE && early.is_ok();
    tell(index, shared, (0, origin), early_at, early);
    let mut tick = u32::from(is_start || early_at > origin);
    loop {
        let due = origin + EVERY * tick;
        let last = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            () = tokio::time::sleep_until(due.into()) => false,
        };
        let began = Instant::now();
        let read = reader.read_unless(&stop).await;
        // A source that did not answer until the end is not read again.
        let is_over = last || stop.is_cancelled() && read.is_err();
        tell(index, shared, (tick, origin), midway(began), read);
        if is_over {
            return;
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
    let at_s = seconds_between(origin, shared.over.map_or(at, |over| at.min(over)));
    let problem = read.as_ref().err().map(ScrapeError::to_string);
    shared.sources[index].note(at_s, problem.as_deref());
    if shared.news.len() < NEWS_MAX {
        let name = shared.sources[index].address.clone();
        let told = (read.as_ref().ok(), problem);
        shared.news.push(Reading::new((index, &name), (tick, at_s), told));
    }
    if let Ok(page) = read {
        shared.readings.add(index, tick, at_s, page);
    }
}

impl Reader {
    /// Reads it. Once the load is over, a response may take at most [`LAST_TIMEOUT`].
    async fn read_unless(&mut self, stop: &CancellationToken) -> Result<Page, ScrapeError> {
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_TIMEOUT).await;
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
