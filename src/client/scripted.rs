//! A Flow for tests: the text of a request's first Document says how the request is handled.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Instant, sleep};

use super::exchange::{Envelope, Exchange, Manner};
use super::input::Batches;
use super::{
    Body, Call, CallError, Failure, Inputs, IntoInputs, PostError, Reply, Request, Response, Timing,
};
use crate::wire::{
    DataRequest, Document, ExceptionInfo, Family, Form, Map, RequestId, Route, Status, Target,
};

pub(super) const FORM: Form = Form::Protobuf(Family::V1);

/// `fail` is answered with an exception, `lost` and `refused` get no reply, and everything else is
/// returned unchanged. A number after a colon is the time this takes, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripted(Arc<Seen>);

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every request, in the order of sending.
    pub(super) requests: Mutex<Vec<DataRequest>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// The options of a post that a test sets; the others have their defaults.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) request_size: usize,
    pub(super) manner: Manner,
}

impl Default for Setting {
    fn default() -> Setting {
        let manner = Manner {
            prefetch: 1000,
            results_in_order: false,
            continue_on_error: false,
            fit_schema: false,
        };
        Setting { request_size: 1, manner }
    }
}

impl Setting {
    pub(super) fn of(request_size: usize) -> Setting {
        Setting { request_size, ..Setting::default() }
    }

    pub(super) fn prefetch(mut self, prefetch: usize) -> Setting {
        self.manner.prefetch = prefetch;
        self
    }

    pub(super) fn in_order(mut self) -> Setting {
        self.manner.results_in_order = true;
        self
    }

    pub(super) fn continue_on_error(mut self) -> Setting {
        self.manner.continue_on_error = true;
        self
    }
}

impl Scripted {
    pub(super) fn post<'a, Kind>(
        &self,
        setting: Setting,
        inputs: impl IntoInputs<'a, Kind>,
    ) -> impl Stream<Item = Result<Response, PostError>> + Unpin + 'a {
        self.post_inputs(setting, inputs.into_inputs())
    }

    pub(super) fn post_inputs<'a>(
        &self,
        setting: Setting,
        inputs: Inputs<'a>,
    ) -> impl Stream<Item = Result<Response, PostError>> + Unpin + 'a {
        let Setting { request_size, manner } = setting;
        let envelope =
            Envelope { on: "/".into(), target_executor: String::new(), parameters: Map::new() };
        let batches = Batches::new(inputs, request_size);
        Exchange::new(self.clone(), FORM, envelope, manner, batches)
    }

    /// The highest number of requests in flight at the same time.
    pub(super) fn most_in_flight(&self) -> usize {
        self.0.most.load(Relaxed)
    }

    /// The texts of each request.
    pub(super) fn sent(&self) -> Vec<Vec<String>> {
        let requests = self.0.requests.lock().expect("no test panics while it holds this");
        requests.iter().map(|request| texts(request.docs())).collect()
    }

    /// The data of each request.
    pub(super) fn sent_data(&self) -> Vec<Option<usize>> {
        let requests = self.0.requests.lock().expect("no test panics while it holds this");
        requests.iter().map(|request| request.data.as_ref().map(Vec::len)).collect()
    }
}

impl Call for Scripted {
    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        let now = self.0.now.fetch_add(1, Relaxed) + 1;
        self.0.most.fetch_max(now, Relaxed);
        let Request::Post { message, endpoint: _ } = request else { panic!("not a post") };
        let message = message.with_id(RequestId { sender: 1, number: 1 });
        let mut request = FORM.decode(message).expect("what was encoded");
        self.0.requests.lock().expect("no test panics while it holds this").push(request.clone());
        let script = request.docs().first().and_then(|document| document.text.as_deref());
        let script = script.unwrap_or_default().to_owned();
        let (what, ms) = script.split_once(':').unwrap_or((&script, "0"));
        if ms != "0" {
            sleep(Duration::from_millis(ms.parse().expect("milliseconds"))).await;
        }
        self.0.now.fetch_sub(1, Relaxed);
        let done = Instant::now();
        let timing = Timing { written: Some(done), first: Some(done), ..Timing::unsent(done) };
        let target: Target = "scripted".parse().expect("an address");
        let error = match what {
            "lost" => CallError::Lost { target, reason: "as told".into() },
            "refused" => CallError::Connect { target, reason: "as told".into() },
            other => {
                request.routes = vec![Route {
                    executor: "scripted".into(),
                    start_time: None,
                    end_time: None,
                    status: (other == "fail").then(failed),
                }];
                request.header.status = (other == "fail").then(failed);
                let bytes = FORM.encode_response(&request).expect("what was decoded");
                let head = FORM.decode_head(&bytes).expect("what was encoded");
                return Ok(Reply { head, body: Body::Message { form: FORM, bytes }, timing });
            }
        };
        Err(Failure::new(error, timing))
    }
}

fn failed() -> Box<Status> {
    Box::new(Status {
        code: 1,
        description: "ValueError('as told')".into(),
        exception: Some(ExceptionInfo { name: "ValueError".into(), ..ExceptionInfo::default() }),
    })
}

/// Documents with these texts.
pub(super) fn documents<const N: usize>(texts: [&str; N]) -> Vec<Document> {
    texts.into_iter().map(Document::from_text).collect()
}

pub(super) fn texts(documents: &[Document]) -> Vec<String> {
    documents.iter().map(|document| document.text.clone().unwrap_or_default()).collect()
}
