//! Makes requests in advance: generates their Documents, encodes them, queues them.
//!
//! A request that never changes is made once. All others come from a separate thread, which spreads
//! the work over rayon's pool and never waits on it, so that any number of scenarios share the
//! pool.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;
use tokio::sync::mpsc;

use super::choose::Pick;
use super::error::{FeedError, MakeError};
use super::event::Traits;
use super::feed::{Batch, Feed, Queued, Room, Same};
use super::source::Budget;
use crate::client::{HttpRequestError, Request, RequestHeaders, TraceParent};
use crate::documents::{Documents, TwoContents};
use crate::plan::{self, HttpError, Parameters, Post, Step, Work};
use crate::units::Part;
use crate::wire::{DataRequest, Family, Form, Header, Map, Schema, Schemas, encode_single};

/// Makes the requests of one step.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    work: Arc<Work>,
    /// Headers of each request, in addition to those of its Flow.
    headers: Option<Parameters>,
    /// The share of requests that get a trace id.
    traced: Option<f64>,
    form: Form,
    /// The schema of the endpoint's Documents, if the Flow reports it.
    schema: Option<Schema>,
    /// Set if lists of steps are chosen from.
    chosen: Option<Arc<Chosen>>,
}

/// The makers of the first steps of several lists, and what chooses among them.
#[derive(Debug)]
struct Chosen {
    pick: Pick,
    makers: Vec<(usize, Maker)>,
}

/// Limit of the encoded requests waiting in a queue, in bytes: enough to bridge a hiccup of the
/// generator at a hundred thousand small requests a second, little enough for any machine.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Limit of their number.
const QUEUED_MAX: usize = 4096;

/// Requests made at a time on all cores, so that distributing the work costs little in comparison.
const CHUNK: u64 = 32;

/// Bytes of requests made at a time: large ones are made one by one.
const CHUNK_BYTES: usize = 32 << 20;

/// The form in which a session wants requests, and the Flow's schemas of its endpoints' Documents.
pub(crate) type Spoken<'a> = (Form, &'a Schemas);

impl Maker {
    /// Makes the requests of a step in the form that the session speaks. Documents are fitted to
    /// the schemas that the Flow reports for its endpoints.
    pub(crate) fn new(step: &Step, (form, schemas): Spoken<'_>) -> Maker {
        let (work, headers) = (Arc::new(step.work.clone()), step.headers.clone());
        let schema = match &*work {
            Work::Post(post) => schemas.endpoint(&post.on).map(|endpoint| endpoint.input.clone()),
            Work::Mutate { .. } | Work::Http(_) => None,
        };
        let traced = step.traced;
        Maker { work, headers, traced, form, schema, chosen: None }
    }

    /// Makes the first requests of iterations of these steps.
    pub(crate) fn of_first(steps: &[Step], pick: Pick, spoken: Spoken<'_>) -> Maker {
        let makers: Vec<(usize, Maker)> = pick
            .first_steps()
            .filter_map(|first| Some((first, Maker::new(steps.get(first)?, spoken))))
            .collect();
        let first = Maker::new(&steps[0], spoken);
        match makers.len() {
            0 | 1 => first,
            _ => Maker { chosen: Some(Arc::new(Chosen { pick, makers })), ..first },
        }
    }

    /// The maker of the `index`-th request.
    fn maker_of(&self, index: u64) -> &Maker {
        let Some(Chosen { pick, makers }) = self.chosen.as_deref() else { return self };
        let step = pick.first_step(index);
        makers.iter().find(|(first, _)| *first == step).map_or(self, |(_, maker)| maker)
    }

    /// The number of requests that the Documents make; `None` if there is no end.
    pub(crate) fn count(&self) -> Option<u64> {
        if let Some(Chosen { makers, .. }) = self.chosen.as_deref() {
            return makers.iter().filter_map(|(_, maker)| maker.count()).min();
        }
        match &*self.work {
            Work::Post(post) => {
                let documents = post.documents.as_ref()?.count()?;
                Some(documents.div_ceil(post.request_size as u64))
            }
            Work::Mutate { .. } | Work::Http(_) => None,
        }
    }

    /// An entry of a data set that this Flow's Documents cannot hold.
    fn two_contents(&self) -> Option<&TwoContents> {
        if let Some(Chosen { makers, .. }) = self.chosen.as_deref() {
            return makers.iter().find_map(|(_, maker)| maker.two_contents());
        }
        match &*self.work {
            Work::Post(post) if self.form.family() == Family::V1 => {
                post.documents.as_ref()?.two_contents()
            }
            _ => None,
        }
    }

    /// Looks for Documents that do not fit the schema that the Flow reports for its endpoint.
    /// `requests`: how many are sent, if that is known.
    ///
    /// # Errors
    /// The first one that does not fit.
    pub(crate) fn fits(&self, requests: Option<u64>) -> Result<(), FeedError> {
        let (Work::Post(post), Some(schema)) = (&*self.work, &self.schema) else { return Ok(()) };
        let Some(documents) = &post.documents else { return Ok(()) };
        let sent = requests.map(|requests| requests.saturating_mul(post.request_size as u64));
        match documents.first_unfit(schema, sent) {
            None => Ok(()),
            Some(unfit) => {
                Err(FeedError::Unfit { endpoint: post.on.clone(), unfit: Box::new(unfit) })
            }
        }
    }

    /// Whether all requests are the same.
    pub(crate) fn is_constant(&self) -> bool {
        if self.chosen.is_some() || self.traced.is_some() {
            return false;
        }
        if self.headers.as_ref().is_some_and(|headers| !headers.is_constant()) {
            return false;
        }
        match &*self.work {
            Work::Post(post) => {
                post.parameters.is_constant()
                    && post.documents.as_ref().is_none_or(|documents| {
                        // Documents that each get an id are not the same.
                        let get_ids = || {
                            let first = documents.get(0, None);
                            self.form.wants_ids()
                                && first.is_ok_and(|document| {
                                    document.id.is_empty() || document.has_own_schema()
                                })
                        };
                        documents.is_constant() && !get_ids()
                    })
            }
            Work::Mutate { variables, .. } => variables.is_constant(),
            Work::Http(http) => http.parts.is_constant(),
        }
    }

    /// The part's share of the first `limit` requests, divided among its `workers` workers; without
    /// a limit they never end.
    ///
    /// # Errors
    /// When one of the first requests cannot be made: an error in all of them shows before anything
    /// is sent.
    pub(crate) fn feeds(
        &self,
        workers: usize,
        limit: Option<u64>,
        part: Part,
    ) -> Result<Vec<Feed>, FeedError> {
        if let Some(two) = self.two_contents() {
            return Err(FeedError::TwoContents(two.clone()));
        }
        let end = limit.map_or(u64::MAX, |limit| part.share(limit));
        // No Documents make no request.
        if end == 0 || self.count() == Some(0) {
            return Ok(self.nothing(workers));
        }
        if self.is_constant() {
            let first = self.make(0, &Map::new())?;
            // The Documents may end within the last request.
            let last = limit.map(|limit| self.make(limit - 1, &Map::new())).transpose()?;
            return Ok(same(Same { batch: first, last, budget: Budget::new(end), part }, workers));
        }
        // An initial stock, so that a load does not begin by waiting.
        let first = self.make(part.nth(0), &Map::new())?;
        let stock = self.make_all(part, 1..end.min(chunk(length(&first))).max(1));
        let stock = [Ok(first)].into_iter().chain(stock).collect::<Result<Vec<_>, _>>()?;
        let (senders, feeds) = (0..workers)
            .map(|_| {
                let (sender, queue) = mpsc::channel(QUEUED_MAX);
                (sender, Feed::Queue(queue))
            })
            .unzip();
        let maker = self.clone();
        std::thread::Builder::new()
            .name("documents".into())
            .spawn(move || maker.run(senders, stock, end, part))
            .map_err(|error| failed(0, error))?;
        Ok(feeds)
    }

    /// Empty feeds.
    pub(crate) fn nothing(&self, workers: usize) -> Vec<Feed> {
        let request = Request::Mutate { body: Bytes::new() };
        let batch = Batch { request, documents: 0, index: 0, traits: Traits::default() };
        let budget = Budget::new(0);
        same(Same { batch, last: None, budget, part: Part::WHOLE }, workers)
    }

    /// Fills the queues until the requests end or no worker takes them any more.
    fn run(
        &self,
        mut queues: Vec<mpsc::Sender<Result<Option<Queued>, FeedError>>>,
        stock: Vec<Batch>,
        end: u64,
        part: Part,
    ) {
        let room = Room::here(QUEUED_BYTES_MAX);
        let mut next = stock.len() as u64;
        let mut made: Vec<_> = stock.into_iter().map(Ok).collect();
        loop {
            let mut longest = 0;
            for made in made {
                let queued = match made {
                    Ok(batch) => {
                        let bytes = length(&batch);
                        longest = bytes.max(longest);
                        let gone = || queues.iter().all(mpsc::Sender::is_closed);
                        let Some(queued) = room.put(batch, bytes, gone) else { return };
                        Ok(Some(queued))
                    }
                    Err(error) => Err(error),
                };
                let broken = queued.is_err();
                if !send(&mut queues, queued) || broken {
                    return;
                }
            }
            if next >= end {
                break;
            }
            let chunk = next..end.min(next.saturating_add(chunk(longest)));
            next = chunk.end;
            made = self.make_all(part, chunk);
        }
        for queue in queues {
            // Fails if the worker ended first, and then it needs no end.
            let _ = queue.blocking_send(Ok(None));
        }
    }

    /// Requests of this part, by their positions in it.
    fn make_all(&self, part: Part, places: Range<u64>) -> Vec<Result<Batch, FeedError>> {
        let none = Map::new();
        places.into_par_iter().map(|n| self.make(part.nth(n), &none)).collect()
    }

    /// The `index`-th request, with what earlier steps of its iteration kept. After the last
    /// Document they start again.
    ///
    /// # Errors
    /// A Document or a parameter without a value, or one that the form cannot hold.
    pub(crate) fn make(&self, index: u64, captured: &Map) -> Result<Batch, FeedError> {
        let maker = self.maker_of(index);
        if maker.chosen.is_none() && !std::ptr::eq(maker, self) {
            return maker.make(index, captured);
        }
        let mut batch = self.make_bare(index, captured)?;
        let mut headers = match &self.headers {
            None => RequestHeaders::default(),
            Some(headers) => {
                let given =
                    headers.evaluate(index, captured).map_err(|error| failed(index, error))?;
                plan::headers(&given).map_err(|error| failed(index, HttpError::from(error)))?
            }
        };
        let parent = self.traced.and_then(TraceParent::of_share);
        if let Some(parent) = parent {
            let set = headers.set(TraceParent::HEADER, &parent.to_string());
            let set = set.map_err(HttpRequestError::from).map_err(HttpError::from);
            set.map_err(|error| failed(index, error))?;
            batch.traits.trace = Some(parent.trace);
        }
        if headers.is_empty() {
            return Ok(batch);
        }
        let request = Request::WithHeaders(Arc::new((headers, batch.request)));
        Ok(Batch { request, ..batch })
    }

    fn make_bare(&self, index: u64, captured: &Map) -> Result<Batch, FeedError> {
        let place = self.count().map_or(index, |count| index % count.max(1));
        match &*self.work {
            Work::Post(post) => {
                let data = documents(post, place, self.form, self.schema.as_ref(), captured)
                    .map_err(|error| failed(index, error))?;
                let parameters = post
                    .parameters
                    .evaluate(index, captured)
                    .map_err(|error| failed(index, error))?;
                let target = Some(post.target_executor.clone()).filter(|name| !name.is_empty());
                let header = Header {
                    exec_endpoint: Some(post.on.clone()),
                    target_executor: target,
                    ..Header::default()
                };
                let count = data.as_ref().map_or(0, Vec::len) as u64;
                let request = DataRequest { header, parameters, routes: Vec::new(), data };
                let traits = traits(&request);
                let streamed = request.data.as_deref().and_then(<[_]>::first);
                let request = match streamed.filter(|_| post.stream) {
                    Some(document) => {
                        encode_single(&request, document).map(|message| Request::Stream { message })
                    }
                    None => self.form.encode_request(&request).map(|message| Request::Post {
                        message,
                        endpoint: Arc::from(post.on.as_str()),
                    }),
                };
                let request = request.map_err(|error| failed(index, error))?;
                Ok(Batch { request, documents: count, index, traits }.measured())
            }
            Work::Mutate { mutation, variables } => {
                let variables =
                    variables.evaluate(index, captured).map_err(|error| failed(index, error))?;
                let body = serde_json::json!({"query": mutation, "variables": variables});
                let body = Bytes::from(body.to_string());
                let (request, traits) = (Request::Mutate { body }, Traits::default());
                Ok(Batch { request, documents: 0, index, traits }.measured())
            }
            Work::Http(http) => {
                let request = http.request(index, captured);
                let request = Arc::new(request.map_err(|error| failed(index, error))?);
                let (request, traits) = (Request::Http(request), Traits::default());
                Ok(Batch { request, documents: 0, index, traits }.measured())
            }
        }
    }
}

fn failed(index: u64, error: impl Into<MakeError>) -> FeedError {
    FeedError::Make { index, source: Arc::new(error.into()) }
}

/// How many requests to make at a time, if the longest so far has this many bytes.
fn chunk(longest: usize) -> u64 {
    ((CHUNK_BYTES / longest.max(1)) as u64).clamp(1, CHUNK)
}

fn length(batch: &Batch) -> usize {
    let headers = match &batch.request {
        Request::WithHeaders(both) => both.0.bytes(),
        _ => 0,
    };
    headers
        + match batch.request.bare() {
            Request::Post { message, .. } | Request::Stream { message } => message.len(),
            Request::Mutate { body } => body.len(),
            Request::Http(request) => request.len(),
            Request::WithHeaders(_) => 0,
        }
}

impl Batch {
    /// The same with its length.
    fn measured(mut self) -> Batch {
        self.traits.bytes = length(&self) as u64;
        self
    }
}

/// What is known about a request from its Documents and parameters.
fn traits(request: &DataRequest) -> Traits {
    /// Limits of values per request, and of characters per value: an endless text is not a tag's
    /// value.
    const VALUES_MAX: usize = 8;
    const CHARS_MAX: usize = 40;
    let documents = request.data.as_deref().unwrap_or_default();
    let length = documents.iter().map(|document| match (&document.text, &document.blob) {
        (Some(text), _) => text.len() as u64,
        (None, Some(blob)) => blob.len() as u64,
        (None, None) => 0,
    });
    let tags = documents.first().into_iter().flat_map(|document| &document.tags);
    let single = |(name, value): (&String, &serde_json::Value)| {
        let value = match value {
            serde_json::Value::String(text) if text.len() <= CHARS_MAX => text.clone(),
            serde_json::Value::Bool(value) => value.to_string(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some((name.chars().take(CHARS_MAX).collect(), value))
    };
    let values = tags.chain(&request.parameters).filter_map(single).take(VALUES_MAX);
    let values: Vec<(String, String)> = values.collect();
    Traits {
        bytes: 0,
        trace: None,
        length: length.max().unwrap_or(0),
        values: (!values.is_empty()).then(|| values.into()),
    }
}

fn same(same: Same, workers: usize) -> Vec<Feed> {
    (0..workers).map(|_| Feed::Same(Box::new(same.clone()))).collect()
}

/// The Documents of the `index`-th request; `None` for a request with parameters only.
fn documents(
    post: &Post,
    index: u64,
    form: Form,
    schema: Option<&Schema>,
    captured: &Map,
) -> Result<Option<Vec<crate::wire::Document>>, MakeError> {
    let Some(documents) = &post.documents else { return Ok(None) };
    let first = index * post.request_size as u64;
    let end = first + post.request_size as u64;
    let end = Documents::count(documents).map_or(end, |count| end.min(count));
    (first..end)
        .map(|i| {
            let mut document = documents.get(i, Some(captured))?;
            if let Some(schema) = schema {
                schema.fit(&mut document)?;
            }
            if form.wants_ids() {
                let mut ids = documents.ids(i);
                document.give_ids(&mut ids);
            }
            Ok(document)
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Gives a batch to the worker with the most room; false if no worker is left.
fn send(
    queues: &mut Vec<mpsc::Sender<Result<Option<Queued>, FeedError>>>,
    made: Result<Option<Queued>, FeedError>,
) -> bool {
    let mut made = made;
    loop {
        let Some(roomiest) = (0..queues.len()).max_by_key(|i| queues[*i].capacity()) else {
            return false;
        };
        match queues[roomiest].blocking_send(made) {
            Ok(()) => return true,
            // This worker ended, with its load or the run.
            Err(mpsc::error::SendError(back)) => {
                queues.swap_remove(roomiest);
                made = back;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan;
    use crate::scenario::{self, Options};
    use crate::wire::{Family, RequestId};

    /// The makers of the scenarios of a suite.
    fn makers(text: &str) -> Vec<Maker> {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let plan = scenario::load_text("suite", text.to_owned(), &base, &Options::default())
            .and_then(|suite| plan::resolve(&suite))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let form = Form::Protobuf(Family::V1);
        let works = plan.scenarios.into_iter().map(|mut scenario| scenario.steps.remove(0));
        works.map(|step| Maker::new(&step, (form, &Schemas::default()))).collect()
    }

    fn bytes(batch: &Batch) -> Vec<u8> {
        match &batch.request {
            Request::Post { message, .. } | Request::Stream { message } => {
                message.with_id(RequestId { sender: 0, number: 0 }).to_vec()
            }
            Request::Mutate { body } => body.to_vec(),
            Request::Http(_) | Request::WithHeaders(_) => panic!("no plain request"),
        }
    }

    fn on_threads(count: usize, maker: &Maker) -> Vec<Vec<u8>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("threads");
        let made = pool.install(|| maker.make_all(Part::WHOLE, 0..200));
        made.iter().map(|batch| bytes(batch.as_ref().expect("a request"))).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
        let suite = include_str!("../../scenarios/documents.yaml");
        for maker in makers(suite) {
            assert_eq!(on_threads(1, &maker), on_threads(4, &maker), "{maker:?}");
        }
        let other = suite.replace("seed: 6", "seed: 7");
        let (one, other) = (&makers(suite)[0], &makers(&other)[0]);
        assert_ne!(on_threads(1, one), on_threads(1, other), "another seed, other bytes");
    }

    /// Takes what is ready until the feed ends; returns `index` and length of each request.
    async fn drain(mut feed: Feed) -> Vec<(u64, usize)> {
        let mut taken = Vec::new();
        while let Some(batch) =
            std::future::poll_fn(|cx| feed.poll_next(cx)).await.expect("a request")
        {
            taken.push((batch.index, length(&batch)));
        }
        taken
    }

    #[tokio::test]
    async fn workers_share_the_requests_and_each_comes_once() {
        let makers = makers(
            "scenarios: [{name: a, request_size: 3, documents: {count: 1000, id: '${{ i }}'}}]",
        );
        let feeds = makers[0].feeds(3, makers[0].count(), Part::WHOLE).expect("feeds");
        let all = futures_util::future::join_all(feeds.into_iter().map(drain)).await;
        let mut indices: Vec<u64> = all.iter().flatten().map(|(index, _)| *index).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..334).collect::<Vec<u64>>());
    }

    #[tokio::test]
    async fn parts_share_the_requests_and_each_comes_once() {
        let suite =
            "scenarios: [{name: a, request_size: 3, documents: {count: 100, id: '${{ i }}'}},
                     {name: b, request_size: 3, documents: {count: 100, text: same}},
                     {name: c, load: {clients: 1, requests: 34}}]";
        for maker in makers(suite) {
            let limit = Some(maker.count().unwrap_or(34));
            let mut whole =
                drain(maker.feeds(1, limit, Part::WHOLE).expect("feeds").remove(0)).await;
            whole.sort_unstable();
            assert_eq!(whole.len(), 34);
            for parts in [2, 5, 40] {
                let mut all = Vec::new();
                for number in 1..=parts {
                    let part = Part::new(number, parts).expect("there is one");
                    let feeds = maker.feeds(2, limit, part).expect("feeds");
                    let taken = futures_util::future::join_all(feeds.into_iter().map(drain)).await;
                    all.extend(taken.into_iter().flatten());
                }
                all.sort_unstable();
                assert_eq!(all, whole, "{parts}: {maker:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_waits_takes_no_more_memory_when_requests_become_larger() {
        // Every request is larger than all before, so the size of the first ones says nothing.
        let makers = makers(
            "scenarios: [{name: a, request_size: 1, load: {clients: 1, requests: 400}, \
             documents: {text: \"${{ 'x' * (i * 3000) }}\"}}]",
        );
        let mut feed = makers[0].feeds(1, Some(400), Part::WHOLE).expect("feeds").remove(0);
        let Feed::Queue(queue) = &mut feed else { panic!("a queue") };
        // It fills up as far as it may.
        let mut before = 0;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            match queue.len() {
                waiting if waiting == before && waiting > 0 => break,
                waiting => before = waiting,
            }
        }
        let waiting = before;
        let taken = drain(feed).await;
        let held: usize = taken[..waiting].iter().map(|(_, length)| length).sum();
        let largest = taken.iter().map(|(_, length)| *length).max().expect("some");
        assert!(held <= QUEUED_BYTES_MAX + largest, "{held} bytes in {waiting} requests");
        assert!(waiting < 400 && taken.len() == 400, "{waiting}");
    }
}
