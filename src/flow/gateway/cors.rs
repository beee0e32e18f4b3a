//! Pages of other websites: what browsers ask before they let one call the gateway (CORS).

use bytes::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, COOKIE, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method, StatusCode};

use super::http::{self, Reply};

/// What a page may do, as Python's gateway allows it.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// The answer to a browser that asks whether a page may ask; `None` for other requests.
pub(super) fn preflight(method: &Method, request: &HeaderMap) -> Option<Reply> {
    let origin = request.get(ORIGIN)?;
    let asked = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if *method != Method::OPTIONS {
        return None;
    }
    let (status, text) = match METHODS.split(", ").any(|known| known.as_bytes() == asked) {
        true => (StatusCode::OK, "OK"),
        false => (StatusCode::BAD_REQUEST, "Disallowed CORS method"),
    };
    let text = Bytes::from_static(text.as_bytes());
    let mut reply = http::reply(status, "text/plain; charset=utf-8", text);
    let headers = reply.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    Some(reply)
}

/// What an answer tells a browser about the page that asked.
#[derive(Debug)]
pub(super) struct Page {
    origin: HeaderValue,
    has_cookie: bool,
}

impl Page {
    /// The page a request comes from, if it comes from one.
    pub(super) fn of(request: &HeaderMap) -> Option<Page> {
        let origin = request.get(ORIGIN)?.clone();
        Some(Page { origin, has_cookie: request.contains_key(COOKIE) })
    }

    /// Lets it read an answer.
    pub(super) fn allow(self, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        // Browsers refuse `*` in the answer to a request that carries cookies.
        if self.has_cookie {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
            answer.insert(VARY, HeaderValue::from_static("Origin"));
        } else {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
    }
}
