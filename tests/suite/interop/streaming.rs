//! Streaming endpoints: one Document goes in, many come out, one by one. v2 over gRPC has them.

use flowbench::client::{Body, Call, CallError, Reply, Request};
use flowbench::wire::{DataRequest, Document, Header, Protocol, decode_single, encode_single};
use serde_json::{Value, json};

use super::flow::Setup;
use super::python::Release;
use super::{client, runtime};

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
fn an_exception_on_the_way_is_a_failure_of_the_reply() {
    let request = stream("/stream", json!({"count": 4, "fail_at": 2}));
    let Some(reply) = reply_to(request) else { return };
    let failure = match reply {
        Ok(reply) => reply.failure().expect("it tells of one"),
        Err(error) => error,
    };
    assert!(failure.to_string().contains("streamer was asked to fail"), "{failure}");
}

fn stream(on: &str, parameters: Value) -> Request {
    let request = DataRequest {
        header: Header { exec_endpoint: Some(on.into()), ..Header::default() },
        parameters: parameters.as_object().expect("it is one").clone(),
        ..DataRequest::default()
    };
    let message = encode_single(&request, &Document::from_text("a")).expect("it can be encoded");
    Request::Stream { message }
}

fn reply_to(request: Request) -> Option<Result<Reply, CallError>> {
    let setup = Setup::new(Release::V2, &[Protocol::Grpc]).with(&["--executors", "streamer"]);
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
