//! Plain HTTP: requests to servers in front of a Flow, beside it or in its place, which do not
//! speak Jina's protocols.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::ConfigError;
use super::config::header as checked;
use crate::units::escape_path_and_query;

/// Maximum length of a path in bytes, as servers and proxies commonly limit it.
const PATH_BYTES_MAX: usize = 8 << 10;

/// An HTTP request ready to be sent: anything not allowed on the wire was rejected or escaped.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    method: Method,
    path: String,
    headers: RequestHeaders,
    body: Option<Bytes>,
    success: Vec<u16>,
    /// Its header lines together with those of the first session that sent it, kept for the next
    /// time it is sent there.
    made: OnceLock<(u64, Box<str>)>,
}

/// Headers of one request, which replace the client's own of the same names. Their values may be
/// secrets: `Debug` does not show them.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaders(HeaderMap);

/// The response to a plain HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// For example 200.
    pub status: u16,
    /// In the order received, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Decoded: without chunks and compression.
    pub body: Bytes,
}

/// Why a request cannot be sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HttpRequestError {
    /// The method has characters other than letters.
    #[error("`{0}` is not an HTTP method; expected one such as `GET` or `POST`")]
    Method(String),
    /// The path does not begin with `/`, or is too long.
    #[error("a path must begin with `/` and have at most {PATH_BYTES_MAX} bytes, found `{0}`")]
    Path(String),
    /// A header that HTTP does not allow, or that is set here.
    #[error(transparent)]
    Header(#[from] ConfigError),
}

impl HttpRequest {
    /// A request without headers and body, which succeeds with any status below 400. `path` may
    /// have a query; bytes not allowed in it are escaped.
    ///
    /// # Errors
    /// An invalid method or path.
    pub fn new(method: &str, path: &str) -> Result<HttpRequest, HttpRequestError> {
        let known = Method::from_bytes(method.as_bytes()).ok();
        let method = known
            .filter(|method| !matches!(*method, Method::CONNECT | Method::TRACE | Method::HEAD))
            .filter(|method| method.as_str().bytes().all(|byte| byte.is_ascii_alphabetic()))
            .ok_or_else(|| HttpRequestError::Method(method.to_owned()))?;
        let escaped = escape_path_and_query(path);
        if !escaped.starts_with('/') || escaped.len() > PATH_BYTES_MAX {
            let start: String = path.chars().take(100).collect();
            return Err(HttpRequestError::Path(start));
        }
        Ok(HttpRequest {
            method,
            path: escaped,
            headers: RequestHeaders::default(),
            body: None,
            success: Vec::new(),
            made: OnceLock::new(),
        })
    }

    /// Adds a header, which replaces the client's own of the same name.
    ///
    /// # Errors
    /// A name or value that HTTP does not allow, or a name that belongs to the connection.
    pub fn header(mut self, name: &str, value: &str) -> Result<HttpRequest, HttpRequestError> {
        self.headers.set(name, value)?;
        self.made = OnceLock::new();
        Ok(self)
    }

    /// Replaces all headers of the request.
    pub fn headers(self, headers: RequestHeaders) -> HttpRequest {
        HttpRequest { headers, made: OnceLock::new(), ..self }
    }

    /// The body; `application/json` unless a header `content-type` says something else.
    pub fn body(self, body: impl Into<Bytes>) -> HttpRequest {
        HttpRequest { body: Some(body.into()), made: OnceLock::new(), ..self }
    }

    /// The statuses that count as success; if empty, every status below 400.
    pub fn success(self, statuses: &[u16]) -> HttpRequest {
        HttpRequest { success: statuses.to_vec(), ..self }
    }

    /// The method, such as `GET` or `POST`.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Path and query, escaped.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The body to send.
    pub fn content(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Its header lines, plus those of the client that it does not override. `others` are whole
    /// lines.
    pub(super) fn lines(&self, others: &str) -> String {
        let mut lines = self.headers.lines(others);
        let content_type = header::CONTENT_TYPE.as_str();
        let of_body = |line: &str| {
            let name = line.split(':').next().unwrap_or_default();
            name.eq_ignore_ascii_case(content_type)
        };
        if self.body.is_some() && !lines.lines().any(of_body) {
            lines.push_str("content-type: application/json\r\n");
        }
        lines
    }

    /// The same, built once for all the times this request is sent on a session, which is
    /// identified by number.
    pub(super) fn own_lines(&self, session: u64, others: &str) -> Cow<'_, str> {
        let (made_for, lines) = self.made.get_or_init(|| (session, self.lines(others).into()));
        match *made_for == session {
            true => Cow::Borrowed(lines),
            false => Cow::Owned(self.lines(others)),
        }
    }

    /// Bytes to send, without the headers that all requests have in common.
    pub(crate) fn len(&self) -> usize {
        self.path.len() + self.headers.bytes() + self.body.as_ref().map_or(0, Bytes::len)
    }

    /// Whether a status is listed as a success.
    pub(super) fn expects(&self, status: u16) -> bool {
        self.success.contains(&status)
    }

    /// Whether a status is a success.
    pub(super) fn succeeds(&self, status: u16) -> bool {
        match self.success.as_slice() {
            [] => status < 400,
            statuses => statuses.contains(&status),
        }
    }
}

impl RequestHeaders {
    /// Sets a header, replacing one of the same name.
    ///
    /// # Errors
    /// A name or value that HTTP does not allow, or a name that belongs to the connection.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let (key, value) = checked(name, value)?;
        if key == header::HOST {
            let reason = "is reserved by the protocol and cannot be set";
            return Err(ConfigError::Header { name: name.to_owned(), reason });
        }
        self.0.insert(key, value);
        Ok(())
    }

    /// Whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whole lines, each with its `\r\n`, followed by the lines of `others` with other names.
    pub(super) fn lines(&self, others: &str) -> String {
        let mut lines = String::with_capacity(self.bytes() + others.len());
        for (name, value) in &self.0 {
            let value = value.to_str().expect("only visible ASCII is taken");
            lines.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        for line in others.split_inclusive("\r\n") {
            let name = line.split(':').next().unwrap_or_default();
            if !self.0.contains_key(name) {
                lines.push_str(line);
            }
        }
        lines
    }

    /// Puts them into `map`, replacing headers of the same names.
    pub(super) fn put_into(&self, map: &mut HeaderMap) {
        for (name, value) in &self.0 {
            map.insert(name, value.clone());
        }
    }

    /// Size of their lines in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_http_does_not_allow_is_refused_or_escaped() {
        let path = |path: &str| HttpRequest::new("POST", path).map(|request| request.path);
        let written = |text: &str| path(text).expect(text);
        assert_eq!(written("/a b?q=ü&x=%20"), "/a%20b?q=%C3%BC&x=%20");
        assert_eq!(written("/a\r\nx: y"), "/a%0D%0Ax:%20y");
        assert!(path("api").is_err() && path("http://x/").is_err() && path("").is_err());
        assert!(path(&format!("/{}", "a".repeat(9000))).is_err());
        for method in ["", "G T", "CONNECT", "a\r\n", "HEAD"] {
            assert!(HttpRequest::new(method, "/").is_err(), "{method}");
        }
        let request = || HttpRequest::new("GET", "/").expect("a request");
        for (name, value) in [
            ("Host", "x"),
            ("content-length", "3"),
            ("x y", "z"),
            ("x", "a\r\nb: c"),
            ("x", "ü"),
            ("grpc-timeout", "1S"),
        ] {
            assert!(request().header(name, value).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn a_requests_own_headers_come_before_the_clients() {
        let request = HttpRequest::new("GET", "/").expect("a request");
        let request = request.header("Accept", "text/plain").expect("a header");
        let lines = request.lines("host: a\r\naccept: application/json\r\nx-a: b\r\n");
        assert_eq!(lines, "accept: text/plain\r\nhost: a\r\nx-a: b\r\n");
    }

    #[test]
    fn statuses_below_400_are_successes_unless_others_are_named() {
        let request = HttpRequest::new("GET", "/").expect("a request");
        assert!(request.succeeds(204) && request.succeeds(302) && !request.succeeds(404));
        let request = request.success(&[404]);
        assert!(request.succeeds(404) && !request.succeeds(200));
    }
}
