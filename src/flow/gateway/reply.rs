//! Answers over HTTP, for HTTP, GraphQL, server-sent events and the WebSocket port.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::body::Refusal;

/// A body, sent whole or as it is produced.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(super) type Reply = Response<Body>;

/// A body that is sent whole.
pub(super) fn whole(body: Bytes) -> Body {
    Full::new(body).boxed_unsync()
}

/// Reads and discards the body of a request, because hyper closes a connection whose request was not read.
/// A long body is not worth it.
pub(super) async fn skip(body: Incoming) {
    const WORTH: usize = 64 << 10;
    let _ = Limited::new(body, WORTH).collect().await;
}

pub(super) fn refuse(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Invalid(problems) => {
            self::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({"detail": problems}))
        }
        Refusal::Internal => internal_error(),
    }
}

pub(super) fn not_found() -> Reply {
    self::json(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"}))
}

pub(super) fn not_allowed(method: &Method) -> Reply {
    let mut reply =
        self::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"detail": "Method Not Allowed"}));
    if let Ok(allow) = HeaderValue::from_str(method.as_str()) {
        reply.headers_mut().insert(ALLOW, allow);
    }
    reply
}

pub(super) fn internal_error() -> Reply {
    text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Reply {
    reply(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    reply(status, "application/json", body.to_string().into())
}

pub(super) fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(whole(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// The names and values of a query string, decoded.
pub(super) fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_is_decoded() {
        let query = query("query=%7B__typename%7D&a=1+2&b=%zz&c");
        assert_eq!(query["query"], "{__typename}");
        assert_eq!((&*query["a"], &*query["b"], &*query["c"]), ("1 2", "%zz", ""));
    }
}
