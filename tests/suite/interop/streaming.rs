//! Streaming endpoints: one Document in, many out, one by one. Only v2 over gRPC has them.

use flowbench::client::{Body, Call, CallError, Reply, Request};
use flowbench::wire::{DataRequest, Document, Header, Protocol, decode_single, encode_single};
use serde_json::{Value, json};

use super::flow::Setup;
use super::python::Release;
use super::{PROTOCOLS, client, runtime};

#[test]
fn one_document_is_answered_with_many() {
    let request = stream("/stream", json!({"count": 4}));
    let Some(reply) = reply_to(request) else { return };
    let reply = reply.expect("it is answered");
    assert_eq!(reply.failure().map(|failure| failure.to_string()), None);
    assert_eq!(texts(&reply), ["a 0", "a 1", "a 2", "a 3"]);
    let (first, done) = (reply.timing.first.expect("it was answered"), reply.timing.done);
    assert!(reply.timing.written.is_some_and(|written| written <= first && first <= done));
}

#[test]
fn none_is_an_answer_too() {
    let Some(reply) = reply_to(stream("/stream", json!({"count": 0}))) else { return };
    assert_eq!(texts(&reply.expect("it is answered")), [""; 0]);
}

#[test]
fn an_exception_on_the_way_is_hidden_by_the_gateway() {
    let request = stream("/stream", json!({"count": 4, "fail_at": 2}));
    let Some(reply) = reply_to(request) else { return };
    // It retries the Executor, each time passes on what comes before the exception, and then ends the stream
    // successfully. We cannot detect that.
    let reply = reply.expect("it is answered");
    assert_eq!(reply.failure().map(|failure| failure.to_string()), None);
    let texts = texts(&reply);
    assert!(texts.len() > 2 && texts.chunks(2).all(|two| two == ["a 0", "a 1"]), "{texts:?}");
}

fn stream(on: &str, tags: Value) -> Request {
    let request = DataRequest {
        header: Header { exec_endpoint: Some(on.into()), ..Header::default() },
        ..DataRequest::default()
    };
    let tags = tags.as_object().expect("it is one").clone();
    let document = Document { tags, ..Document::from_text("a") };
    Request::Stream { message: encode_single(&request, &document).expect("it can be encoded") }
}

#[test]
fn another_endpoint_is_none_that_streams() {
    let setup = Setup::new(Release::V2, &PROTOCOLS);
    let Some(reply) = reply_of(setup, stream("/", json!({}))) else { return };
    let failure = reply.expect("it is answered").failure().expect("it tells of one");
    assert!(failure.to_string().contains("endpoint must be generator"), "{failure}");
}

#[test]
fn replies_come_one_by_one() {
    let setup = Setup::new(Release::V2, &[Protocol::Grpc]).with(&["--executors", "streamer"]);
    let Some(flow) = setup.shared() else { return };
    runtime().block_on(async {
        let session = client(&flow, Protocol::Grpc).open().await.expect("it is up");
        let request = stream("/stream", json!({"count": 3}));
        let mut replies = session.stream(request).await.expect("it can be sent");
        let mut found = Vec::new();
        while let Some(reply) = replies.next().await.expect("it does not break") {
            found.push(texts(&reply));
        }
        assert_eq!(found, [["a 0"], ["a 1"], ["a 2"]]);
    });
}

fn reply_to(request: Request) -> Option<Result<Reply, CallError>> {
    let setup = Setup::new(Release::V2, &[Protocol::Grpc]).with(&["--executors", "streamer"]);
    reply_of(setup, request)
}

fn reply_of(setup: Setup, request: Request) -> Option<Result<Reply, CallError>> {
    let flow = setup.shared()?;
    Some(runtime().block_on(async {
        let session = client(&flow, Protocol::Grpc).open().await?;
        session.call(request).await.map_err(|failure| failure.error)
    }))
}

fn texts(reply: &Reply) -> Vec<String> {
    let Body::Stream(messages) = &reply.body else { panic!("{:?}", reply.body) };
    let decoded = messages.iter().map(|message| decode_single(message.clone()));
    let docs = decoded.flat_map(|message| message.expect("it decodes").data.unwrap_or_default());
    docs.map(|doc| doc.text.unwrap_or_default()).collect()
}
