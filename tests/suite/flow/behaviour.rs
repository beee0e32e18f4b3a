//! Configurable behaviour of Executors, and configurable faults.

use std::time::Duration;

use bytes::Bytes;
use flowbench::flow::Flow;
use flowbench::wire::{Family, Form, Protocol};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;

use super::grpc::{CALL, Call, Called};
use super::{address, ask, ask_as, decode, encode, request, start, texts, texts_of, way};

/// Sends requests with one Document each in one call; texts are ids too.
async fn call(flow: &Flow, names: &[&str]) -> Called {
    let message = |name: &&str| {
        let mut request = request("/", texts(&[name]));
        request.header.request_id = (*name).into();
        encode(Family::V1, &request)
    };
    Call::new(CALL).send(flow, names.iter().map(message).collect()).await
}

/// The ids in responses, in order of arrival.
fn ids(called: &Called) -> Vec<String> {
    let answers = called.answers.iter();
    answers.map(|answer| decode(Family::V1, answer).header.request_id).collect()
}

#[tokio::test]
async fn documents_are_changed_as_told() {
    for (name, family) in [("v1", Family::V1), ("v2", Family::V2)] {
        let flow = start(&format!(
            "
            family: {name}
            executors:
              - name: e
                default: {{}}
                endpoints:
                  /set: {{set: {{text: new, tags: {{n: 1.5}}, embedding: 8}}}}
                  /filter: {{filter: {{text: {{$regex: a}}}}}}
                  /append: {{append: {{count: 2, text: more}}}}
                  /matches: {{matches: {{k: 3, score: euclid}}}}
                  /results: {{results: {{a: [1.5, x]}}}}
                  /large: {{response_size: 10 KB}}
            "
        ))
        .await;
        let ask = async |on: &str| ask_as(family, &flow, request(on, texts(&["a", "b"]))).await;
        ask("/").await;

        let (once, again) = (ask("/set").await, ask("/set").await);
        assert_eq!(texts_of(once.docs()), ["new", "new"]);
        assert_eq!(once.docs()[0].tags["n"], json!(1.5));
        assert!(once.docs()[0].embedding.is_some());
        assert_eq!(once.docs(), again.docs(), "embeddings depend on the Document alone");

        assert_eq!(texts_of(ask("/filter").await.docs()), ["a"]);
        assert_eq!(texts_of(ask("/append").await.docs()), ["a", "b", "more", "more"]);

        let found = ask("/matches").await;
        let matches = &found.docs()[1].matches;
        assert_eq!(matches.len(), 3, "{name}");
        if family == Family::V1 {
            let values: Vec<_> = matches.iter().map(|doc| doc.scores["euclid"].value).collect();
            assert!(values.is_sorted_by(|a, b| a > b), "{values:?}");
        }

        assert_eq!(
            ask("/results").await.parameters["__results__"],
            json!({"e/rep-0": {"a": [1.5, "x"]}})
        );

        let large = ask("/large").await;
        let size = encode(family, &large).len();
        assert!((10_000..10_500).contains(&size), "{name}: {size}");
        flow.stop().await;
    }
}

#[tokio::test]
async fn exceptions_are_those_of_python() {
    let flow = start(
        "
        executors:
          - name: image-encoder
            fail:
              documents: {text: {$eq: bad}}
              exception: {name: KeyError, args: [\"it's\", b]}
            endpoints: {/other: {fail: 100%}, /never: {fail: 0%}}
            default: {}
          - {name: next}
        ",
    )
    .await;
    ask(&flow, request("/", Vec::new())).await;
    let answer = ask(&flow, request("/", texts(&["good", "bad"]))).await;
    let status = answer.header.status.as_ref().expect("it fails");
    assert_eq!(status.description, "KeyError(\"it's\", 'b')");
    let exception = status.exception.as_ref().expect("there is one");
    assert_eq!((&*exception.name, &*exception.executor), ("KeyError", "ImageEncoder"));
    assert_eq!(exception.args, ["it's", "b"]);
    assert!(!exception.stacks.is_empty());
    assert_eq!(way(&answer), ["gateway", "!image-encoder"], "the rest is passed");
    assert_eq!(texts_of(answer.docs()), ["good", "bad"], "as it got them");
    assert!(ask(&flow, request("/", texts(&["good"]))).await.header.status.is_none());
    assert!(ask(&flow, request("/never", texts(&["bad"]))).await.header.status.is_none());
    let answer = ask(&flow, request("/other", texts(&["good"]))).await;
    let status = answer.header.status.expect("it fails always");
    assert_eq!(status.description, "RuntimeError('the Executor was told to fail')");
    flow.stop().await;
}

#[tokio::test]
async fn chance_comes_from_the_seed() {
    let outcomes = async |seed: u32| {
        let flow = start(&format!("{{seed: {seed}, executors: [{{name: e, fail: 30%}}]}}")).await;
        let called = call(&flow, &["x"; 200]).await;
        flow.stop().await;
        let failed = |answer| decode(Family::V1, answer).header.status.is_some();
        called.answers.iter().map(failed).collect::<Vec<bool>>()
    };
    let (first, again, other) = (outcomes(1).await, outcomes(1).await, outcomes(2).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    let failed = first.iter().filter(|failed| **failed).count();
    assert!((40..80).contains(&failed), "{failed} of 200");
}

/// How long a request takes, and how it ends.
async fn timed(flow: &Flow, docs: &[&str]) -> (Duration, Option<String>) {
    let start = Instant::now();
    let answer = ask(flow, request("/", texts(docs))).await;
    (start.elapsed(), answer.header.status.map(|status| status.description))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(start_paused = true)]
async fn service_takes_its_time() {
    for (time, documents, expected) in [
        ("5ms", 1, ms(5)),
        ("{constant: 5ms}", 3, ms(5)),
        ("{per_document: 5ms}", 3, ms(15)),
        ("{per_document: 5ms}", 0, ms(0)),
        ("{uniform: {min: 7ms, max: 7ms}}", 1, ms(7)),
        ("{lognormal: {median: 4ms, p99: 4ms}}", 1, ms(4)),
        ("{knee: {time: 5ms, at: 4, growth: 50%}}", 1, ms(5)),
        ("{knee: {time: 5ms, at: 0, growth: 100%}}", 1, ms(10)),
    ] {
        let flow = start(&format!("executors: [{{name: e, service_time: {time}}}]")).await;
        let (elapsed, _) = timed(&flow, &vec!["x"; documents]).await;
        // Tokio's clock counts in milliseconds, and rounds up.
        assert!(elapsed >= expected && elapsed <= expected + ms(2), "{time}: {elapsed:?}");
        flow.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_have_times_of_their_own() {
    let flow = start(
        "executors: [{name: e, service_time: 50ms, default: {}, endpoints: {/fast: {service_time: 1ms}}}]",
    )
    .await;
    let start = Instant::now();
    ask(&flow, request("/fast", texts(&["x"]))).await;
    assert!(start.elapsed() < ms(10), "{:?}", start.elapsed());
    ask(&flow, request("/slow", texts(&["x"]))).await;
    assert!(start.elapsed() > ms(50), "{:?}", start.elapsed());
    flow.stop().await;
}

#[tokio::test(start_paused = true)]
async fn those_who_find_it_busy_wait_in_line_until_the_line_is_full() {
    let flow = start("executors: [{name: e, service_time: 10ms, concurrency: 1, queue: 2}]").await;
    let start = Instant::now();
    let called = call(&flow, &["a", "b", "c", "d"]).await;
    assert_eq!(ids(&called), ["d", "a", "b", "c"], "`d` is refused at once");
    let refused = decode(Family::V1, &called.answers[0]).header.status.expect("an exception");
    assert_eq!(refused.description, "RuntimeError('the queue of e/rep-0 is full')");
    let elapsed = start.elapsed();
    assert!(elapsed >= ms(30) && elapsed < ms(35), "{elapsed:?}");
    flow.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_standstill_holds_all_and_passes() {
    let flow = start("executors: [{name: e, stall: {every: 1s, for: 200ms}}]").await;
    let began = Instant::now();
    assert!(timed(&flow, &["x"]).await.0 < ms(5));
    tokio::time::sleep_until(began + ms(850)).await;
    let (elapsed, _) = timed(&flow, &["x"]).await;
    assert!(elapsed >= ms(140) && elapsed <= ms(155), "{elapsed:?}");
    assert!(timed(&flow, &["x"]).await.0 < ms(5));
    flow.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_gets_faster() {
    let flow =
        start("executors: [{name: e, service_time: 10ms, slow_start: {for: 10s, factor: 5}}]")
            .await;
    let began = Instant::now();
    for (at, expected) in [(0, 50), (5_000, 30), (10_000, 10), (20_000, 10)] {
        tokio::time::sleep_until(began + ms(at)).await;
        let (elapsed, _) = timed(&flow, &["x"]).await;
        assert!(elapsed + ms(2) >= ms(expected) && elapsed <= ms(expected + 2), "{elapsed:?}");
    }
    flow.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_executor_can_be_down_for_a_while() {
    let flow = start("executors: [{name: e, down: {after: 10s, for: 5s}}]").await;
    let began = Instant::now();
    for (at, code) in [(0, Code::Ok), (11_000, Code::Unavailable), (16_000, Code::Ok)] {
        tokio::time::sleep_until(began + ms(at)).await;
        assert_eq!(call(&flow, &["x"]).await.status.code(), code, "at {at} ms");
        let dry_run = Call::new("/jina.JinaGatewayDryRunRPC/dry_run");
        let answer = &dry_run.send(&flow, vec![Bytes::new()]).await.answers[0];
        assert_eq!(answer.is_empty(), code == Code::Ok, "at {at} ms");
    }
    flow.stop().await;
}

#[tokio::test(start_paused = true)]
async fn answers_go_wrong_as_told() {
    let flow = async |faults: &str| {
        start(&format!("executors: [{{name: e, faults: {{{faults}}}}}]")).await
    };
    let twice = flow("twice: 100%").await;
    assert_eq!(ids(&call(&twice, &["a", "b"]).await), ["a", "a", "b", "b"]);
    let swapped = flow("out_of_order: 100%").await;
    assert_eq!(ids(&call(&swapped, &["a", "b", "c"]).await), ["b", "a", "c"]);
    let wrong = flow("wrong_id: 100%").await;
    let found = ids(&call(&wrong, &["a"]).await);
    assert!(found[0].len() == 32, "{found:?}");
    let garbage = flow("garbage: 100%").await;
    let called = call(&garbage, &["a"]).await;
    assert!(Form::Protobuf(Family::V1).decode(called.answers[0].clone()).is_err());
    let dropped = flow("drop: 100%").await;
    let called = call(&dropped, &["a"]).await;
    assert!(called.answers.is_empty());
    assert_ne!(called.status.code(), Code::Ok);
    let late = flow("late: {share: 100%, by: 30s}").await;
    let (elapsed, failure) = timed(&late, &["a"]).await;
    assert!(elapsed >= Duration::from_secs(30) && failure.is_none(), "{elapsed:?}");
}

/// One request over HTTP; `None` if the connection ends without a response.
async fn post(flow: &Flow) -> Option<Bytes> {
    let socket = TcpStream::connect(address(flow, Protocol::Http)).await.expect("it listens");
    let io = hyper_util::rt::TokioIo::new(socket);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.expect("a connection");
    tokio::spawn(connection);
    let request = hyper::Request::post("/post")
        .header("host", "flow")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(r#"{"data": [{"text": "x"}], "execEndpoint": "/"}"#)));
    let answer = sender.send_request(request.expect("a request")).await.ok()?;
    Some(answer.into_body().collect().await.ok()?.to_bytes())
}

#[tokio::test]
async fn answers_go_wrong_over_http_too() {
    let flow = async |faults: &str| {
        start(&format!("executors: [{{name: e, faults: {{{faults}}}}}]")).await
    };
    let fine = flow("drop: 0%").await;
    assert!(post(&fine).await.is_some_and(|body| body.starts_with(b"{")));
    assert_eq!(post(&flow("drop: 100%").await).await, None);
    let garbage = post(&flow("garbage: 100%").await).await.expect("an answer");
    assert!(serde_json::from_slice::<serde_json::Value>(&garbage).is_err());
}

#[tokio::test(start_paused = true)]
async fn half_of_what_a_client_says_first_times_out_on_every_protocol() {
    let flow = start("executors: [{name: e}]").await;
    for (protocol, half) in [
        (Protocol::Grpc, "PRI * HTTP/2.0\r\n"),
        (Protocol::Http, "POST /post HTTP/1.1\r\nhos"),
        (Protocol::WebSocket, "GET / HTTP/1.1\r\nhos"),
    ] {
        let target = flow.target(protocol).expect("it listens for all three");
        let mut stream = TcpStream::connect(target.authority()).await.expect("it listens");
        stream.write_all(half.as_bytes()).await.expect("it is taken");
        let began = Instant::now();
        // Its greeting may arrive before the end; a reset also counts as an end.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let took = began.elapsed();
        assert!((29..70).contains(&took.as_secs()), "{protocol}: {took:?}");
    }
}
