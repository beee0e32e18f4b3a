//! The parts of plain HTTP requests, and the headers of all requests.

use serde_json::Value;

use super::Parameters;
use crate::client::{HttpRequest, HttpRequestError, RequestHeaders};
use crate::source::{Entry, Node, Problem, Spot};
use crate::template::TemplateError;
use crate::wire::Map;

/// Plain HTTP requests, which are not specific to Jina.
#[derive(Clone, Debug)]
pub struct Http {
    /// `GET`, `POST` …
    pub method: String,
    /// For each request: `path`, `headers` (a map), and `json` (any value) or `body` (text).
    pub parts: Parameters,
    /// The statuses that count as success; empty means all below 400.
    pub success: Vec<u16>,
}

/// Why a plain HTTP request could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// An expression has no value.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A part is not valid in HTTP.
    #[error(transparent)]
    Request(#[from] HttpRequestError),
    /// A part has a value of the wrong type.
    #[error("`{part}` is {expected}, found `{found}`")]
    Type {
        /// `path`, `headers` or `body`.
        part: &'static str,
        /// The expected type.
        expected: &'static str,
        /// The value, as JSON.
        found: String,
    },
}

/// Headers from a map of names and values. A value that its expression omits is left out.
///
/// # Errors
/// A header that HTTP does not allow.
pub(crate) fn headers(given: &Map) -> Result<RequestHeaders, HttpRequestError> {
    let mut headers = RequestHeaders::default();
    for (name, value) in given {
        let set = match value {
            Value::String(value) => headers.set(name, value),
            Value::Null => Ok(()),
            other => headers.set(name, &other.to_string()),
        };
        set?;
    }
    Ok(headers)
}

/// Reports two headers of the same name: names ignore case, and the second would silently replace the first.
pub(super) fn same_header_twice(headers: Spot<'_>, problems: &mut Vec<Problem>) {
    let entries = headers.node().map(Node::entries).unwrap_or_default();
    for (index, entry) in entries.iter().enumerate() {
        let is_same = |other: &&Entry| other.key.eq_ignore_ascii_case(&entry.key);
        if let Some(other) = entries[..index].iter().find(is_same) {
            let message = format!("header `{}` is given twice", entry.key);
            let other = other.key_place;
            headers.name(&entry.key).problem(problems, message, |problem| {
                problem.see(other, "the other one").help("the case of letters makes no difference")
            });
        }
    }
}

impl Http {
    /// Method and path, as written.
    pub(crate) fn shown(&self) -> String {
        let parts = self.parts.template.to_json();
        format!("{} {}", self.method, parts["path"].as_str().unwrap_or_default())
    }

    /// The `index`-th request. `captured` has what earlier steps of the iteration captured.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn request(&self, index: u64, captured: &Map) -> Result<HttpRequest, HttpError> {
        let parts = self.parts.evaluate(index, captured)?;
        let text = |part, expected| match &parts[part] {
            Value::String(text) => Ok(text.as_str()),
            found => Err(HttpError::Type { part, expected, found: found.to_string() }),
        };
        let path = text("path", "a path such as `/api/v1/search`")?;
        let mut request = HttpRequest::new(&self.method, path)?.success(&self.success);
        match parts.get("headers") {
            None => (),
            Some(Value::Object(given)) => request = request.headers(headers(given)?),
            Some(found) => {
                let (part, expected) = ("headers", "a map of names and values");
                return Err(HttpError::Type { part, expected, found: found.to_string() });
            }
        }
        if let Some(json) = parts.get("json") {
            request = request.body(json.to_string());
        } else if parts.contains_key("body") {
            request = request.body(text("body", "a text")?.to_owned());
        }
        Ok(request)
    }
}
