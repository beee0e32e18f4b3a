//! Streaming endpoints over HTTP, in the v2 family: one Document in, one server-sent event per Document
//! out.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::body::{PostV2, Refusal};
use super::failure::CallFailure;
use super::handle::Gateway;
use super::reply::{self, Reply};
use crate::flow::config::StreamOf;
use crate::flow::executor::streamed;
use crate::wire::{DataRequest, Document, Family, Form, Map};

/// Answers a request whose Document is in the body, or else in the query string.
pub(super) fn serve(
    gateway: &Arc<Gateway>,
    (endpoint, of): (&str, StreamOf),
    body: Option<Value>,
    query: Option<&str>,
) -> Reply {
    let fields = gateway.topology.fields(endpoint);
    let doc = match body.filter(|body| !body.is_null()) {
        Some(body) => PostV2::document(&body, fields),
        None => {
            let given = reply::query(query.unwrap_or_default()).into_iter();
            let given: Map = given.map(|(name, value)| (name, value.into())).collect();
            // Here a real gateway does not catch pydantic's exception.
            PostV2::document(&given.into(), fields).map_err(|_| Refusal::Internal)
        }
    };
    let doc = match doc {
        Ok(doc) => doc,
        Err(refusal) => return reply::refuse(refusal),
    };
    let Some(mut doc) = fields.document(doc) else { return reply::internal_error() };
    doc.settle(Family::V2, &mut || crate::flow::message::new_uuid().as_u128());
    events(gateway.clone(), of, doc)
}

fn events(gateway: Arc<Gateway>, of: StreamOf, doc: Document) -> Reply {
    let working = gateway.working();
    let updates = stream::iter(0..of.count).then(move |number| {
        let _until_the_last = &working;
        let gateway = gateway.clone();
        let event = update(&streamed(&doc, number));
        async move {
            gateway.sleep(of.every.get()).await;
            event
        }
    });
    // A failure ends the stream normally.
    let updates = updates.take_while(|event| std::future::ready(event.is_ok()));
    let updates = updates.filter_map(|event| std::future::ready(event.ok()));
    let end = stream::iter([Bytes::from_static(b"event: end\r\n\r\n")]);
    let frames = updates.chain(end).map(|event| Ok::<_, Infallible>(Frame::data(event)));
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    *reply.status_mut() = StatusCode::OK;
    for (name, value) in [
        (CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// The event of a Document.
fn update(doc: &Document) -> Result<Bytes, CallFailure> {
    let answer = DataRequest { data: Some(vec![doc.clone()]), ..DataRequest::default() };
    let answer = Form::Json(Family::V2).encode_response(&answer)?;
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    Ok(format!("event: update\r\ndata: {}\r\n\r\n", answer["data"][0]).into())
}
