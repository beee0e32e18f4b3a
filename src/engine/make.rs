//! Makes requests ahead of need: generates their Documents, encodes them, queues them.
//!
//! A request that never changes is made once. All others come from a thread of their own, which
//! spreads the work over rayon's pool and never waits on it, so that any number of scenarios share
//! the pool.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;
use tokio::sync::mpsc;

use super::feed::{Batch, Feed, FeedError, Same};
use super::source::Budget;
use crate::client::Request;
use crate::documents::Documents;
use crate::plan::{Post, Work};
use crate::wire::{DataRequest, Form, Header, Map};

/// What makes the requests of one step.
#[derive(Clone, Debug)]
pub struct Maker {
    work: Arc<Work>,
    form: Form,
}

/// Bound of the encoded requests that wait in a queue, in bytes: enough to bridge a hiccup of the
/// generator at a hundred thousand small requests a second, little enough for any machine.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Bound of their number.
const QUEUED_MAX: usize = 4096;

/// Requests made in one go on all cores, so that handing out the work costs little beside it.
const CHUNK: u64 = 32;

impl Maker {
    /// Makes requests of `work` in the form that the session speaks.
    pub fn new(work: Work, form: Form) -> Maker {
        Maker { work: Arc::new(work), form }
    }

    /// How many requests the Documents make; `None`: without end.
    pub fn count(&self) -> Option<u64> {
        match &*self.work {
            Work::Post(post) => {
                let documents = post.documents.as_ref()?.count()?;
                Some(documents.div_ceil(post.request_size as u64))
            }
            Work::Mutate { .. } => None,
        }
    }

    /// Whether all requests are the same.
    pub fn is_constant(&self) -> bool {
        match &*self.work {
            Work::Post(post) => {
                post.parameters.is_constant()
                    && post.documents.as_ref().is_none_or(|documents| documents.is_constant())
            }
            Work::Mutate { variables, .. } => variables.is_constant(),
        }
    }

    /// The first `limit` requests for `workers` workers, each of which gets what the others do not;
    /// without a limit they never end.
    ///
    /// # Errors
    /// When one of the first requests cannot be made: what is wrong with them all shows before
    /// anything was sent.
    pub fn feeds(&self, workers: usize, limit: Option<u64>) -> Result<Vec<Feed>, FeedError> {
        let end = limit.unwrap_or(u64::MAX);
        // Documents that are none make no request.
        if end == 0 || self.count() == Some(0) {
            return Ok(self.nothing(workers));
        }
        if self.is_constant() {
            let first = self.make(0, &Map::new())?;
            // The Documents may end within the last request.
            let last = limit.map(|limit| self.make(limit - 1, &Map::new())).transpose()?;
            return Ok(same(Same { batch: first, last, budget: Budget::new(end) }, workers));
        }
        // A first stock, so that a load does not begin by waiting.
        let stock = self.make_all(0..end.min(CHUNK));
        let stock = stock.into_iter().collect::<Result<Vec<_>, _>>()?;
        let longest = stock.iter().map(length).max().unwrap_or(1).max(1);
        let room = (QUEUED_BYTES_MAX / workers / longest).clamp(2, QUEUED_MAX);
        let (senders, feeds) = (0..workers)
            .map(|_| {
                let (sender, queue) = mpsc::channel(room);
                (sender, Feed::Queue(queue))
            })
            .unzip();
        let maker = self.clone();
        std::thread::Builder::new()
            .name("documents".into())
            .spawn(move || maker.run(senders, stock, end))
            .map_err(|error| FeedError::Make { index: 0, message: error.to_string() })?;
        Ok(feeds)
    }

    /// Feeds that have nothing.
    pub fn nothing(&self, workers: usize) -> Vec<Feed> {
        let request = Request::Mutate { body: Bytes::new() };
        let batch = Batch { request, documents: 0, index: 0 };
        same(Same { batch, last: None, budget: Budget::new(0) }, workers)
    }

    /// Fills the queues until the requests end or nobody takes them any more.
    fn run(
        &self,
        mut queues: Vec<mpsc::Sender<Result<Option<Batch>, FeedError>>>,
        stock: Vec<Batch>,
        end: u64,
    ) {
        let mut next = stock.len() as u64;
        let mut made: Vec<_> = stock.into_iter().map(Ok).collect();
        loop {
            for made in made {
                let broken = made.is_err();
                if !send(&mut queues, made.map(Some)) || broken {
                    return;
                }
            }
            if next >= end {
                break;
            }
            let chunk = next..end.min(next + CHUNK);
            next = chunk.end;
            made = self.make_all(chunk);
        }
        for queue in queues {
            // Fails when the worker ended first, and then it needs no end.
            let _ = queue.blocking_send(Ok(None));
        }
    }

    fn make_all(&self, indices: Range<u64>) -> Vec<Result<Batch, FeedError>> {
        let none = Map::new();
        indices.into_par_iter().map(|index| self.make(index, &none)).collect()
    }

    /// The `index`-th request, with what earlier steps of its iteration kept. Past the end of the
    /// Documents they start again.
    ///
    /// # Errors
    /// A Document or a parameter without a value, or one that the form has no place for.
    pub fn make(&self, index: u64, captured: &Map) -> Result<Batch, FeedError> {
        let place = self.count().map_or(index, |count| index % count.max(1));
        let failed = |message: String| FeedError::Make { index, message };
        match &*self.work {
            Work::Post(post) => {
                let data = documents(post, place).map_err(failed)?;
                let parameters = post
                    .parameters
                    .evaluate(index, captured)
                    .map_err(|error| failed(error.to_string()))?;
                let target = Some(post.target_executor.clone()).filter(|name| !name.is_empty());
                let header = Header {
                    exec_endpoint: Some(post.on.clone()),
                    target_executor: target,
                    ..Header::default()
                };
                let count = data.as_ref().map_or(0, Vec::len) as u64;
                let request = DataRequest { header, parameters, routes: Vec::new(), data };
                let message =
                    self.form.encode_request(&request).map_err(|error| failed(chain(&error)))?;
                let endpoint = Arc::from(post.on.as_str());
                Ok(Batch { request: Request::Post { message, endpoint }, documents: count, index })
            }
            Work::Mutate { mutation, variables } => {
                let variables = variables
                    .evaluate(index, captured)
                    .map_err(|error| failed(error.to_string()))?;
                let body = serde_json::json!({"query": mutation, "variables": variables});
                let body = Bytes::from(body.to_string());
                Ok(Batch { request: Request::Mutate { body }, documents: 0, index })
            }
        }
    }
}

fn length(batch: &Batch) -> usize {
    match &batch.request {
        Request::Post { message, .. } | Request::Stream { message } => message.len(),
        Request::Mutate { body } => body.len(),
    }
}

fn same(same: Same, workers: usize) -> Vec<Feed> {
    (0..workers).map(|_| Feed::Same(same.clone())).collect()
}

/// The Documents of the `index`-th request; `None` for a request of parameters alone.
fn documents(post: &Post, index: u64) -> Result<Option<Vec<crate::wire::Document>>, String> {
    let Some(documents) = &post.documents else { return Ok(None) };
    let first = index * post.request_size as u64;
    let end = first + post.request_size as u64;
    let end = Documents::count(documents).map_or(end, |count| end.min(count));
    (first..end)
        .map(|i| documents.get(i).map_err(|error| chain(&error)))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Gives a batch to the worker with the most room; false when no worker is left.
fn send(
    queues: &mut Vec<mpsc::Sender<Result<Option<Batch>, FeedError>>>,
    made: Result<Option<Batch>, FeedError>,
) -> bool {
    let mut made = made;
    loop {
        let Some(roomiest) = (0..queues.len()).max_by_key(|i| queues[*i].capacity()) else {
            return false;
        };
        match queues[roomiest].blocking_send(made) {
            Ok(()) => return true,
            // This worker ended, as its load or the run did.
            Err(mpsc::error::SendError(back)) => {
                queues.swap_remove(roomiest);
                made = back;
            }
        }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
