//! The meaning of an HTTP gateway's answers.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::http1::{Response, shown};
use crate::client::{
    Body, CallError, Failure, GatewayCode, HttpRequest, HttpResponse, Reply, Timing,
};
use crate::wire::{
    DecodeError, ExceptionInfo, Family, Form, Head, Header, Protocol, RequestId, Status, Target,
    quote_non_finite,
};

/// How many of a Flow's paths are shown.
const SHOWN_PATHS: usize = 8;

/// How many of the problems of a request are shown.
const SHOWN_PROBLEMS: usize = 3;

/// The server that answers.
pub(super) struct Site {
    pub(super) target: Target,
    pub(super) family: Family,
    /// The family was set, so the Flow was not asked for it.
    pub(super) family_is_given: bool,
    /// The paths that a v2 gateway lists.
    pub(super) listed: Vec<String>,
}

/// The meaning of the response to a plain request.
pub(super) enum Plain {
    /// A redirect to another path on the same host.
    Led { path: String, with_body: bool },
    /// The outcome, and the response if its status is not a success.
    Outcome(Result<(Head, Body), CallError>, Option<Arc<HttpResponse>>),
}

/// The outcome of a request with its timestamps.
#[expect(clippy::result_large_err, reason = "it is moved into what has landed")]
pub(super) fn timed(
    outcome: Result<(Head, Body), CallError>,
    refused: Option<Arc<HttpResponse>>,
    timing: Timing,
) -> Result<Reply, Failure> {
    outcome.map(|(head, body)| Reply { head, body, timing }).map_err(|error| {
        let response = refused.map(|response| {
            let (head, body) = (Head::default(), Body::Http(response));
            Box::new(Reply { head, body, timing })
        });
        Failure { error, timing, response }
    })
}

/// The fields of JSON error bodies that we read.
#[derive(Deserialize)]
struct Told {
    /// In v1's 503 and 504: the request's own body comes back, with a status.
    header: Option<ToldHeader>,
    /// FastAPI's: a text, or a list of problems with the request.
    detail: Option<Value>,
}

#[derive(Deserialize)]
struct ToldHeader {
    status: Option<ToldStatus>,
}

#[derive(Deserialize)]
struct ToldStatus {
    description: String,
}

/// The response to a plain request.
fn answer(response: Response) -> HttpResponse {
    let (status, headers) = (response.status, response.headers());
    HttpResponse { status, headers, body: response.body }
}

impl Site {
    /// The answer to a DataRequest sent to `endpoint` at `path`.
    pub(super) fn reply(
        &self,
        path: &str,
        id: RequestId,
        endpoint: &str,
        targeted: impl FnOnce() -> bool,
        response: Response,
    ) -> Result<(Head, Body), CallError> {
        if (200..300).contains(&response.status) {
            let form = Form::Json(self.family);
            return match form.decode_head(&response.body) {
                Ok(head) => Ok((head, Body::Message { form, bytes: response.body })),
                Err(error @ DecodeError::NoResponse) => Err(unlike(&response, &error)),
                Err(error) if is_json(&response.body) => Err(CallError::Decode(error.into())),
                Err(_) => Err(self.not_a_gateway(&response)),
            };
        }
        let told: Option<Told> = serde_json::from_slice(&response.body).ok();
        // v2 reports an Executor's exception this way, v1 in the header of a 200.
        if let (500, Family::V2, Some(Told { detail: Some(Value::String(description)), .. })) =
            (response.status, self.family, &told)
        {
            let header = Header {
                request_id: String::from_utf8_lossy(&id.digits()).into_owned(),
                exec_endpoint: Some(endpoint.into()),
                target_executor: None,
                status: Some(Box::new(executor_status(description))),
            };
            return Ok((Head { header, ..Head::default() }, Body::Empty));
        }
        Err(self.refusal(path, targeted(), &response, told))
    }

    /// The answer to a GraphQL mutation.
    pub(super) fn mutation_reply(&self, mut response: Response) -> Result<(Head, Body), CallError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            errors: Option<Vec<AnswerError>>,
            data: Option<IgnoredAny>,
        }
        #[derive(Deserialize)]
        struct AnswerError {
            message: String,
        }
        match response.status {
            200 => {}
            404 => {
                return Err(CallError::Unsupported(format!(
                    "this Flow offers no GraphQL: there is no `{}` (v1 Flows offer it with \
                     `expose_graphql_endpoint`, v2 Flows never)",
                    self.url("/graphql")
                )));
            }
            _ => {
                let told = serde_json::from_slice(&response.body).ok();
                return Err(self.refusal("/graphql", false, &response, told));
            }
        }
        // Gateways write NaN as Python does.
        if let Some(quoted) = quote_non_finite(&response.body) {
            response.body = quoted.into();
        }
        let answer: Answer = match serde_json::from_slice(&response.body) {
            Ok(answer) => answer,
            Err(error) if is_json(&response.body) => {
                let error = DecodeError::from(error);
                return Err(CallError::Decode(error.into()));
            }
            Err(_) => return Err(self.not_a_gateway(&response)),
        };
        if answer.data.is_none() && answer.errors.as_ref().is_none_or(Vec::is_empty) {
            return Err(unlike(&response, &"JSON that is not a GraphQL response"));
        }
        let messages: Vec<String> =
            answer.errors.unwrap_or_default().into_iter().map(|error| error.message).collect();
        let failure = || Status { code: 1, description: messages.join("; "), exception: None };
        let status = (!messages.is_empty()).then(|| Box::new(failure()));
        let header = Header { status, ..Header::default() };
        Ok((Head { header, ..Head::default() }, Body::GraphQl(response.body)))
    }

    /// Interprets the response to a plain request, which had a body if `had_body`.
    pub(super) fn judge_plain(
        &self,
        request: &HttpRequest,
        response: Response,
        may_lead: bool,
        had_body: bool,
    ) -> Plain {
        let led = self.redirect_of_plain(&response);
        let Some(path) = led.filter(|_| may_lead && !request.expects(response.status)) else {
            let mut refused = None;
            let too_often = !may_lead && self.redirect_of_plain(&response).is_some();
            let outcome = self.plain_reply(request, response, too_often, &mut refused);
            return Plain::Outcome(outcome, refused);
        };
        // As in browsers: 303, and 301 and 302 after a `POST`, turn into a `GET` without the body.
        let changes = response.status == 303
            || matches!(response.status, 301 | 302) && request.method() == "POST";
        Plain::Led { path, with_body: had_body && !changes }
    }

    /// The answer to a plain request; `refused` gets one that is not a success. `too_often`: the
    /// redirect would have been followed if there had not been so many before it.
    fn plain_reply(
        &self,
        request: &HttpRequest,
        response: Response,
        too_often: bool,
        refused: &mut Option<Arc<HttpResponse>>,
    ) -> Result<(Head, Body), CallError> {
        // No server answered if a redirect leads to another host, nowhere, or in circles.
        let is_redirect = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        let led_astray = is_redirect && !request.expects(response.status);
        if led_astray || !request.succeeds(response.status) {
            let message = match response.header("location").filter(|_| led_astray) {
                Some(location) if too_often => {
                    format!(
                        "moved to `{}`, but the limit of redirects was reached",
                        shown(location)
                    )
                }
                Some(location) => {
                    format!("moved to `{}`, a redirect that is not followed", shown(location))
                }
                None => response.words(),
            };
            let retry_after = response.retry_after();
            let code = GatewayCode::Http(response.status);
            *refused = Some(Arc::new(answer(response)));
            return Err(CallError::Gateway { code, message, retry_after });
        }
        Ok((Head::default(), Body::Http(Arc::new(answer(response)))))
    }

    /// The path to which a response redirects the same request, if it is on the same host: a header
    /// may hold a token, which no other host may get.
    pub(super) fn redirect(&self, response: &Response) -> Option<String> {
        self.location(response).filter(|_| matches!(response.status, 307 | 308))
    }

    /// The same for a plain request, which may be redirected to a `GET` too.
    fn redirect_of_plain(&self, response: &Response) -> Option<String> {
        self.location(response).filter(|_| matches!(response.status, 301 | 302 | 303 | 307 | 308))
    }

    fn location(&self, response: &Response) -> Option<String> {
        let location = response.header("location")?;
        let scheme = Protocol::Http.scheme(self.target.tls);
        let path = match location.split_once("://") {
            None => location,
            Some((found, rest)) if found.eq_ignore_ascii_case(scheme) => {
                let (host, path) = rest.split_at(rest.find('/')?);
                let usual = if self.target.tls { ":443" } else { ":80" };
                let authority = self.target.authority();
                let same = host.eq_ignore_ascii_case(&authority)
                    || authority.strip_suffix(usual).is_some_and(|a| host.eq_ignore_ascii_case(a));
                same.then_some(path)?
            }
            Some(_) => return None,
        };
        let path = path.split('#').next().unwrap_or_default();
        let is_path = path.starts_with('/') && !path.starts_with("//");
        (is_path && path.bytes().all(|byte| byte.is_ascii_graphic())).then(|| path.to_owned())
    }

    /// A refusal by the gateway or a proxy in front of it. `targeted`: the request names a
    /// `target_executor`.
    fn refusal(
        &self,
        path: &str,
        targeted: bool,
        response: &Response,
        told: Option<Told>,
    ) -> CallError {
        let message = match response.status {
            // v2 has `/default` or a path per endpoint, v1 `/post`.
            404 => {
                let url = self.url(path);
                if !self.listed.is_empty() {
                    let shown: Vec<String> = self
                        .listed
                        .iter()
                        .take(SHOWN_PATHS)
                        .map(|path| format!("`{}`", shown(path)))
                        .collect();
                    format!("no such endpoint URL `{url}`; the Flow has {}", shown.join(", "))
                } else if self.family_is_given {
                    format!(
                        "no such endpoint URL `{url}`; is this the HTTP port of a Flow of family {}?",
                        self.family.name()
                    )
                } else {
                    format!("no such endpoint URL `{url}`")
                }
            }
            300..400 => match response.header("location") {
                Some(location) => {
                    format!("moved to `{}`; use that address", shown(location))
                }
                None => response.words(),
            },
            // Gateways say no more about their own failures, so the likely causes are listed.
            500 if &response.body[..] == b"Internal Server Error" => {
                let target = "is `target_executor` a valid regular expression?";
                let executor = "is an Executor down or over `timeout_send`";
                match (self.family, targeted) {
                    (Family::V1, true) => format!("Internal Server Error; {target}"),
                    (Family::V1, false) => "Internal Server Error; see the gateway's log".into(),
                    (Family::V2, true) => format!("Internal Server Error; {executor}, {target}"),
                    (Family::V2, false) => format!("Internal Server Error; {executor}?"),
                }
            }
            _ => told.and_then(Told::message).unwrap_or_else(|| response.words()),
        };
        let retry_after = response.retry_after();
        CallError::Gateway { code: GatewayCode::Http(response.status), message, retry_after }
    }

    /// A successful response that is not a Jina message.
    fn not_a_gateway(&self, response: &Response) -> CallError {
        let what = match response.header("content-type") {
            _ if response.body.is_empty() => "nothing".into(),
            Some(kind) if kind.starts_with("text/html") => {
                format!("a web page: {}", response.words())
            }
            Some(kind) => format!("`{}`: {}", shown(kind), response.words()),
            None => response.words(),
        };
        CallError::Protocol {
            target: self.target.clone(),
            expected: "Jina over HTTP",
            reason: format!("status {} with {what}", response.status),
            named: false,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target)
    }
}

impl Told {
    fn message(self) -> Option<String> {
        if let Some(ToldHeader { status: Some(status) }) = self.header {
            return Some(status.description);
        }
        match self.detail? {
            Value::String(detail) => Some(detail),
            Value::Array(problems) => {
                let mut parts: Vec<String> =
                    problems.iter().take(SHOWN_PROBLEMS).map(problem).collect();
                if problems.len() > SHOWN_PROBLEMS {
                    parts.push(format!("and {} more", problems.len() - SHOWN_PROBLEMS));
                }
                Some(parts.join("; "))
            }
            other => Some(shown(&other.to_string())),
        }
    }
}

/// A success of another server, such as a proxy's `{"error": "unauthorized"}`.
fn unlike(response: &Response, what: &dyn fmt::Display) -> CallError {
    let words = format!("answered {} with {what}: {}", response.status, response.words());
    CallError::Decode(DecodeError::Content(words).into())
}

/// One entry of FastAPI's list: `body.data.0.text: str type expected`.
fn problem(entry: &Value) -> String {
    let Some(message) = entry["msg"].as_str() else { return shown(&entry.to_string()) };
    let place: Vec<String> = entry["loc"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
        .collect();
    shown(&if place.is_empty() {
        message.to_owned()
    } else {
        format!("{}: {message}", place.join("."))
    })
}

/// A status made from the `repr` of an exception, `ValueError('no')`.
fn executor_status(description: &str) -> Status {
    let name = description.split_once('(').map(|(name, _)| name).filter(|name| {
        !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    });
    Status {
        code: 1,
        description: description.to_owned(),
        exception: name
            .map(|name| ExceptionInfo { name: name.to_owned(), ..ExceptionInfo::default() }),
    }
}

/// Whether a body looks like JSON by its first character; it may still be invalid.
fn is_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_exception_stands_before_its_arguments() {
        for (description, name) in [
            ("ValueError('no')", Some("ValueError")),
            ("KeyError()", Some("KeyError")),
            ("pkg.sub_1.Oops('(', 2)", Some("pkg.sub_1.Oops")),
            ("<Oops object at 0x7f>", None),
            ("something went wrong (again)", None),
            ("(nameless)", None),
            ("1(2)", None),
            ("no arguments", None),
            ("", None),
        ] {
            let status = executor_status(description);
            let found = status.exception.map(|exception| exception.name);
            assert_eq!(found.as_deref(), name, "{description}");
            assert_eq!((status.code, &*status.description), (1, description));
        }
    }
}
