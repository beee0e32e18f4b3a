//! One post: inputs in, requests out, responses back, with a limited number in flight.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{FuturesOrdered, FuturesUnordered, Stream};

use super::input::{Batch, Batches};
use super::{Call, CallError, PostError, Reply, Request, Response};
use crate::wire::{DataRequest, Document, EndpointSchema, Family, Form, Header, Map};

/// What the requests of one post have in common.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) on: String,
    pub(super) target_executor: String,
    pub(super) parameters: Map,
}

impl Envelope {
    /// A request without data.
    pub(super) fn blank_request(self, family: Family) -> DataRequest {
        let Envelope { on, target_executor, parameters } = self;
        // An empty endpoint means none in the v1 family.
        let nowhere = on.is_empty() && family == Family::V1;
        let header = Header {
            exec_endpoint: (!nowhere).then_some(on),
            target_executor: Some(target_executor).filter(|pattern| !pattern.is_empty()),
            ..Header::default()
        };
        DataRequest { header, parameters, ..DataRequest::default() }
    }
}

/// Options of a post.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Maximum number of requests in flight, including responses not yet handed out; 0 means no
    /// limit.
    pub(super) prefetch: usize,
    /// Whether responses are handed out in the order of their requests.
    pub(super) results_in_order: bool,
    /// Whether to take further inputs after a request got no response.
    pub(super) continue_on_error: bool,
    /// Whether to fit Documents to the schema that the Flow reports for the endpoint.
    pub(super) fit_schema: bool,
}

/// A post in progress: a stream of the outcomes of its requests.
///
/// Holds only the batch being filled and at most `prefetch` requests with their responses. Inputs
/// are taken only while responses are being read, so a slow reader slows the post down instead of
/// filling memory. Dropping it abandons the requests in flight.
pub(super) struct Exchange<'a, C> {
    session: C,
    form: Form,
    endpoint: Arc<str>,
    /// A request without its data.
    blank: DataRequest,
    batches: Option<Batches<'a>>,
    in_flight: InFlight,
    manner: Manner,
    /// The schema that Documents are fitted to.
    schema: Option<EndpointSchema>,
    /// Number of Documents taken so far.
    taken: u64,
    /// Returned once everything that was sent has been answered.
    input_error: Option<PostError>,
    /// The limit of requests in flight was reached, and there is not yet room for several more.
    full: bool,
}

enum InFlight {
    AnyOrder(FuturesUnordered<BoxFuture<'static, Result<Reply, CallError>>>),
    InOrder(FuturesOrdered<BoxFuture<'static, Result<Reply, CallError>>>),
}

impl<'a, C: Call> Exchange<'a, C> {
    pub(super) fn new(
        session: C,
        form: Form,
        envelope: Envelope,
        manner: Manner,
        batches: Batches<'a>,
    ) -> Exchange<'a, C> {
        Exchange {
            session,
            form,
            endpoint: envelope.on.as_str().into(),
            blank: envelope.blank_request(form.family()),
            batches: Some(batches),
            in_flight: if manner.results_in_order {
                InFlight::InOrder(FuturesOrdered::new())
            } else {
                InFlight::AnyOrder(FuturesUnordered::new())
            },
            manner,
            schema: None,
            taken: 0,
            input_error: None,
            full: false,
        }
    }

    /// The same, with Documents fitted to this schema.
    pub(super) fn of_schema(self, schema: Option<EndpointSchema>) -> Exchange<'a, C> {
        Exchange { schema, ..self }
    }

    /// Fits Documents to the schema.
    fn fit(&mut self, documents: &mut [Document]) -> Result<(), PostError> {
        let first = self.taken;
        self.taken += documents.len() as u64;
        let Some(schema) = &self.schema else { return Ok(()) };
        for (index, document) in (first..).zip(documents) {
            schema.input.fit(document).map_err(|misfit| PostError::Unfit {
                index,
                endpoint: self.endpoint.to_string(),
                misfit: Box::new(misfit),
            })?;
        }
        Ok(())
    }

    /// Whether to make another request now.
    ///
    /// At the limit of requests in flight, new ones wait until an eighth of the limit is free, and
    /// then go out in one write instead of one each. The Flow has enough to do in the meantime.
    fn has_room(&mut self) -> bool {
        let Manner { prefetch, .. } = self.manner;
        let in_flight = self.in_flight.len();
        if prefetch == 0 {
            return true;
        }
        if in_flight >= prefetch {
            self.full = true;
        } else if in_flight + prefetch.div_ceil(8) <= prefetch {
            self.full = false;
        }
        !self.full
    }

    fn send(&mut self, mut data: Option<Vec<Document>>) {
        if let Err(unfit) = self.fit(data.as_deref_mut().unwrap_or_default()) {
            self.input_error = Some(unfit);
            self.batches = None;
            return;
        }
        if self.form.wants_ids() {
            data.iter_mut().flatten().for_each(|document| document.give_ids(rand::random));
        }
        self.blank.data = data;
        let encoded = self.form.encode_request(&self.blank);
        self.blank.data = None; // what is in flight is in memory once, encoded
        self.in_flight.push(match encoded {
            Ok(message) => {
                let session = self.session.clone();
                let request = Request::Post { message, endpoint: self.endpoint.clone() };
                async move { session.call(request).await.map_err(|failure| failure.error) }.boxed()
            }
            Err(error) => ready(Err(CallError::Encode(Arc::new(error)))).boxed(),
        });
    }

    fn settle(&mut self, outcome: Result<Reply, CallError>) -> Result<Response, PostError> {
        let output = self.schema.as_ref().map(|schema| schema.output.clone());
        let output = output.filter(|_| self.form == Form::Json(Family::V2));
        outcome.map(|reply| Response::new(reply).with_bytes(output)).map_err(|error| {
            if !self.manner.continue_on_error || error.is_final() {
                self.batches = None;
            }
            error.into()
        })
    }
}

impl<C: Call + Unpin> Stream for Exchange<'_, C> {
    type Item = Result<Response, PostError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        /// Requests begun before the connections on this thread get their turn.
        const AT_ONCE: usize = 32;
        let this = self.get_mut();
        for _ in 0..AT_ONCE {
            // Responses come first: each makes room for a request, and a failure ends the inputs
            // before another one is taken.
            if let Poll::Ready(Some(outcome)) = this.in_flight.poll_next(cx) {
                return Poll::Ready(Some(this.settle(outcome)));
            }
            let has_room = this.has_room();
            let Some(batches) = &mut this.batches else {
                if this.in_flight.len() > 0 {
                    return Poll::Pending;
                }
                let error = this.input_error.take();
                return Poll::Ready(error.map(Err));
            };
            if !has_room {
                return Poll::Pending;
            }
            match batches.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Batch::Data(data))) => this.send(data),
                Poll::Ready(Some(Batch::Failed(error))) => {
                    this.input_error = Some(PostError::Input(error));
                    this.batches = None;
                }
                Poll::Ready(None) => this.batches = None,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl InFlight {
    /// Requests in flight, including responses not yet handed out.
    fn len(&self) -> usize {
        match self {
            InFlight::AnyOrder(calls) => calls.len(),
            InFlight::InOrder(calls) => calls.len(),
        }
    }

    fn push(&mut self, call: BoxFuture<'static, Result<Reply, CallError>>) {
        match self {
            InFlight::AnyOrder(calls) => calls.push(call),
            InFlight::InOrder(calls) => calls.push_back(call),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply, CallError>>> {
        match self {
            InFlight::AnyOrder(calls) => Pin::new(calls).poll_next(cx),
            InFlight::InOrder(calls) => Pin::new(calls).poll_next(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use futures_util::StreamExt;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep};
    use tokio_stream::wrappers::ReceiverStream;

    use super::super::scripted::{FORM, Scripted, Setting, documents};
    use super::super::{Failure, Inputs, IntoInputs, PostError, Timing};
    use super::*;

    /// The outcomes as text: the texts of a response, with `!` before those of an error response;
    /// the kind of an error.
    async fn outcomes(
        post: impl Stream<Item = Result<Response, PostError>> + Unpin,
    ) -> Vec<String> {
        post.map(|outcome| match outcome {
            Ok(response) => {
                let mark = if response.is_ok() { "" } else { "!" };
                format!("{mark}{}", response.texts().expect("decodes").join(" "))
            }
            Err(PostError::Call(error)) => error.kind().into(),
            Err(error) => error.to_string(),
        })
        .collect()
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn inputs_are_cut_into_requests() {
        let abcde = || documents(["a", "b", "c", "d", "e"]);
        for (name, size, inputs, expected) in [
            ("the last one is short", 2, abcde().into_inputs(), vec![Some(2), Some(2), Some(1)]),
            ("the last one is full", 5, abcde().into_inputs(), vec![Some(5)]),
            ("all in one", usize::MAX, abcde().into_inputs(), vec![Some(5)]),
            ("one Document", 2, Document::from_text("a").into_inputs(), vec![Some(1)]),
            ("nothing is a request without data", 2, Inputs::default(), vec![None]),
            ("an empty list is an empty request", 2, documents([]).into_inputs(), vec![Some(0)]),
            (
                "an iterator that turns out empty is no request",
                2,
                abcde().into_iter().filter(|_| false).into_inputs(),
                vec![],
            ),
            ("a stream", 2, stream_of(abcde()).into_inputs(), vec![Some(2), Some(2), Some(1)]),
            ("borrowed Documents", 3, (&abcde()).into_inputs(), vec![Some(3), Some(2)]),
        ] {
            let flow = Scripted::default();
            let responses = outcomes(flow.post_inputs(Setting::of(size), inputs)).await;
            assert_eq!(flow.sent_data(), expected, "{name}");
            assert_eq!(responses.len(), expected.len(), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn responses_come_as_they_finish_or_in_order() {
        let inputs = || documents(["sleep:30", "sleep:10", "sleep:20"]);
        let flow = Scripted::default();
        let as_they_finish = outcomes(flow.post(Setting::of(1), inputs())).await;
        assert_eq!(as_they_finish, ["sleep:10", "sleep:20", "sleep:30"]);
        let in_order = outcomes(flow.post(Setting::of(1).in_order(), inputs())).await;
        assert_eq!(in_order, ["sleep:30", "sleep:10", "sleep:20"]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_prefetch_requests_are_in_flight() {
        for (prefetch, at_once, takes_ms) in [(1, 1, 100), (3, 3, 40), (0, 10, 10), (1000, 10, 10)]
        {
            for in_order in [false, true] {
                let mut setting = Setting::of(1).prefetch(prefetch);
                setting.manner.results_in_order = in_order;
                let flow = Scripted::default();
                let begun = Instant::now();
                let responses = outcomes(flow.post(setting, documents(["sleep:10"; 10]))).await;
                assert_eq!(responses.len(), 10);
                assert_eq!(flow.most_in_flight(), at_once, "prefetch {prefetch}");
                assert_eq!(begun.elapsed().as_millis(), takes_ms, "prefetch {prefetch}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_many_are_in_flight_they_are_followed_by_several_at_once() {
        let taken = AtomicUsize::new(0);
        // They finish one after the other.
        let inputs = (0..100).map(|n| {
            taken.fetch_add(1, Relaxed);
            Document::from_text(format!("sleep:{}", n + 1))
        });
        let flow = Scripted::default();
        let mut post = flow.post(Setting::of(1).prefetch(16), inputs);
        let mut taken_by = Vec::new();
        for _ in 0..7 {
            post.next().await.expect("there is one").expect("it is a response");
            taken_by.push(taken.load(Relaxed));
        }
        assert_eq!(taken_by, [16, 16, 18, 18, 20, 20, 22]);
    }

    #[tokio::test(start_paused = true)]
    async fn inputs_are_taken_when_there_is_room_for_them() {
        let taken = AtomicUsize::new(0);
        let inputs = std::iter::repeat_with(|| Document::from_text("sleep:10"))
            .inspect(|_| _ = taken.fetch_add(1, Relaxed));
        let flow = Scripted::default();
        let mut post = flow.post(Setting::of(3).prefetch(1), inputs);
        assert_eq!(taken.load(Relaxed), 0, "before anybody reads");
        for answered in 0..5 {
            post.next().await.expect("it is endless").expect("it is a response");
            assert_eq!(taken.load(Relaxed), 3 * (1 + answered));
            sleep(Duration::from_secs(1)).await; // a slow reader does not pull further inputs in
        }
    }

    #[tokio::test(start_paused = true)]
    async fn responses_come_while_inputs_are_still_being_produced() {
        let (inputs, receiver) = mpsc::channel(2);
        let flow = Scripted::default();
        let mut post = flow.post(Setting::of(2), ReceiverStream::new(receiver));
        for text in ["a", "b", "c"] {
            for document in documents([text, "x"]) {
                inputs.send(document).await.expect("it is being read");
            }
            let response = post.next().await.expect("there is one").expect("it is a response");
            assert_eq!(response.texts().expect("decodes"), [text, "x"]);
        }
        drop(inputs);
        assert!(post.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_documents_pass_in_the_memory_of_a_few() {
        /// Holds each request for a millisecond and counts those that are alive.
        #[derive(Clone, Default)]
        struct Counting(Arc<(AtomicUsize, AtomicUsize)>);
        impl Call for Counting {
            async fn call(&self, request: Request) -> Result<Reply, Failure> {
                let (alive, most) = &*self.0;
                most.fetch_max(alive.fetch_add(1, Relaxed) + 1, Relaxed);
                sleep(Duration::from_millis(1)).await;
                drop(request);
                alive.fetch_sub(1, Relaxed);
                let timing = Timing::unsent(Instant::now());
                Ok(Reply { head: Default::default(), body: super::super::Body::Empty, timing })
            }
        }
        let flow = Counting::default();
        let answered = AtomicUsize::new(0);
        let most_ahead = AtomicUsize::new(0);
        let inputs = (1..=1_000_000).map(|taken| {
            most_ahead.fetch_max(taken - 1000 * answered.load(Relaxed), Relaxed);
            Document::default()
        });
        let envelope =
            Envelope { on: "/".into(), target_executor: String::new(), parameters: Map::new() };
        let manner = Setting::default().prefetch(8).manner;
        let batches = Batches::new(inputs.into_inputs(), 1000);
        let mut post = Exchange::new(flow.clone(), FORM, envelope, manner, batches);
        while let Some(response) = post.next().await {
            response.expect("it is a response");
            answered.fetch_add(1, Relaxed);
        }
        assert_eq!(answered.load(Relaxed), 1000);
        assert_eq!(flow.0.1.load(Relaxed), 8, "requests alive");
        assert_eq!(most_ahead.load(Relaxed), 8 * 1000, "Documents taken and not answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_ends_the_inputs_and_every_request_gets_its_outcome() {
        let scripts = ["a:1", "b:5", "lost:2", "lost:3", "c:9", "d", "e"];
        let flow = Scripted::default();
        let setting = || Setting::of(1).prefetch(4);
        let post = flow.post(setting(), documents(scripts));
        // `a` makes room for `c`; the first loss ends the inputs.
        assert_eq!(outcomes(post).await, ["a:1", "lost", "lost", "b:5", "c:9"]);
        assert_eq!(flow.sent().len(), 5);
        let post = flow.post(setting().continue_on_error(), documents(scripts));
        assert_eq!(outcomes(post).await, ["a:1", "lost", "d", "e", "lost", "b:5", "c:9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_to_connect_to_ends_the_inputs_even_when_errors_do_not() {
        let flow = Scripted::default();
        let setting = Setting::of(1).prefetch(1).continue_on_error();
        let post = flow.post(setting, documents(["a", "refused", "never sent"]));
        assert_eq!(outcomes(post).await, ["a", "connect"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exception_in_an_executor_is_a_response_and_the_post_goes_on() {
        let flow = Scripted::default();
        let post = flow.post(Setting::of(1), documents(["a", "fail", "b"]));
        assert_eq!(outcomes(post).await, ["a", "!fail", "b"]);
        let mut post = flow.post(Setting::of(1), documents(["fail"]));
        let response = post.next().await.expect("one").expect("it is a response");
        let failure = response.failure().expect("it failed");
        assert_eq!(failure.to_string(), "Executor failed: ValueError('as told')");
        assert!(matches!(
            failure,
            CallError::Executor { executor: Some(name), exception: Some(_), .. } if name == "scripted"
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_an_error_of_the_inputs_is_sent_and_answered() {
        let inputs = ["sleep:5", "b", "c"].map(|text| Ok(Document::from_text(text)));
        let inputs = inputs.into_iter().chain([Err("the disk is gone")]);
        let flow = Scripted::default();
        let post = flow.post(Setting::of(2), inputs);
        assert_eq!(
            outcomes(post).await,
            ["c", "sleep:5 b", "the inputs ended with an error: the disk is gone"]
        );
        let only_error = flow.post(Setting::of(2), [Err::<Document, _>("gone")]);
        assert_eq!(outcomes(only_error).await, ["the inputs ended with an error: gone"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_cannot_be_sent_is_told_of_and_sends_nothing() {
        let two = Document { blob: Some("b".into()), ..Document::from_text("a") };
        let flow = Scripted::default();
        let post = flow.post(Setting::of(1).prefetch(1), [two, Document::from_text("never sent")]);
        assert_eq!(outcomes(post).await, ["encode"]);
        assert!(flow.sent().is_empty());
    }

    fn stream_of(documents: Vec<Document>) -> impl Stream<Item = Document> + Send {
        futures_util::stream::iter(documents)
    }
}
