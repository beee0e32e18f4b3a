//! Jina over HTTP: which request goes to which path, and what the answers mean.
//!
//! v1 has one path for everything, `POST /post`. v2 has one for each endpoint that an Executor binds
//! by name and `POST /default` for the rest; which there are is asked once, from `/openapi.json`, as
//! Jina's client does.

mod answer;
mod pool;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout};

use self::answer::Site;
use self::pool::Pool;
use super::connect::Connector;
use super::http1::{Broken, Marks, RequestHead, Response, header_lines};
use super::probe;
use crate::client::memory::Bounds;
use crate::client::{
    Body, CallError, ClientConfig, Failure, FamilyChoice, HttpRequest, Mark, Reply, Request,
    RequestHeaders, Timing, Unmatched,
};
use crate::units::escape_path;
use crate::wire::{Encoded, Family, Head, RequestId, Schemas};

/// `application/json` both ways; compressed answers are for proxies, no gateway makes them.
const JSON: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
];
/// Of requests that say no more themselves.
const PLAIN: [(&str, &str); 2] = [("accept", "*/*"), ("accept-encoding", "gzip, deflate")];
/// As Jina's `mutate` has it.
const GRAPHQL: [(&str, &str); 3] = [
    ("content-type", "application/json; charset=utf-8"),
    ("accept", "application/json; charset=utf-8"),
    ("accept-encoding", "gzip, deflate"),
];

/// As aiohttp has it, on which Jina's client stands.
const REDIRECTS_MAX: usize = 10;

/// Connections to an HTTP gateway.
#[derive(Clone, Debug)]
pub(super) struct Http(Arc<Inner>);

struct Inner {
    pool: Pool,
    site: Site,
    /// Header lines of requests with a path that is not known beforehand.
    json: String,
    /// Header lines of plain requests, as far as they have none of their own.
    plain: String,
    /// Heads of requests to endpoints with a path of their own, by endpoint without its slashes.
    own_paths: HashMap<String, Path>,
    /// The path of all other endpoints.
    default_path: Path,
    graphql: Path,
    /// Header lines of mutations.
    of_graphql: String,
    bounds: Bounds,
    timeout: Option<Duration>,
    /// Names this session in request ids; v2 gives them back, v1 makes its own.
    sender: u64,
    requests: AtomicU64,
    /// Whether this port has ever given an answer: before, a hang-up is a hint at what it is.
    answered: AtomicBool,
}

struct Path {
    path: String,
    head: RequestHead,
}

/// The head of a request that has headers of its own, and its lines.
struct Own {
    head: RequestHead,
    lines: String,
}

impl Own {
    fn new(path: &str, lines: String) -> Own {
        Own { head: RequestHead::new("POST", path, &lines), lines }
    }
}

/// Without the heads, which hold secrets.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.site.target.to_string();
        f.debug_struct("Http").field("target", &target).finish_non_exhaustive()
    }
}

impl Http {
    /// Opens `config.connections` connections, and asks a v2 Flow for its endpoints.
    ///
    /// # Errors
    /// `Connect`, `Tls`, a header that HTTP does not allow, and what can befall the question.
    pub(super) async fn open(
        config: &ClientConfig,
        connector: Connector,
        family: Family,
    ) -> Result<(Http, Schemas), CallError> {
        let json = header_lines(config, &JSON)?;
        let graphql = header_lines(config, &GRAPHQL)?;
        let post =
            |path: &str| Path { head: RequestHead::new("POST", path, &json), path: path.into() };
        let (listed, schemas) = match family {
            Family::V1 => Default::default(),
            Family::V2 => listed_paths(config, &connector).await?,
        };
        let has_default = listed.iter().any(|path| path == "/default");
        let own_path =
            |path: &String| (path.trim_matches('/').to_owned(), post(&escape_path(path)));
        let inner = Inner {
            site: Site {
                target: connector.target().clone(),
                family,
                family_is_given: config.family != FamilyChoice::Auto,
                listed: listed.clone(),
            },
            plain: header_lines(config, &PLAIN)?,
            json: json.clone(),
            pool: Pool::new(connector),
            own_paths: listed.iter().map(own_path).collect(),
            default_path: post(if has_default { "/default" } else { "/post" }),
            graphql: Path {
                head: RequestHead::new("POST", "/graphql", &graphql),
                path: "/graphql".into(),
            },
            of_graphql: graphql,
            bounds: Bounds::of(config),
            timeout: config.timeout,
            sender: rand::random(),
            requests: AtomicU64::new(0),
            answered: AtomicBool::new(false),
        };
        inner.pool.fill(config.connections).await?;
        Ok((Http(Arc::new(inner)), schemas))
    }

    /// Answers that came beyond those to our requests, so far.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.0.pool.unmatched()
    }

    /// Sends `request` and reads its answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(super) async fn call(&self, request: Request, mark: &Mark) -> Result<Reply, Failure> {
        let mut marks = Marks::default();
        let outcome = match self.0.timeout {
            None => self.0.attempt(&request, &mut marks, mark).await,
            Some(limit) => timeout(limit, self.0.attempt(&request, &mut marks, mark))
                .await
                .unwrap_or(Err(CallError::Timeout(limit))),
        };
        let timing = Timing {
            written: marks.written,
            first: marks.first,
            done: marks.done.unwrap_or_else(Instant::now),
            attempts: 1,
        };
        match outcome {
            Ok((head, body)) => Ok(Reply { head, body, timing }),
            Err(error) => Err(Failure { error, timing }),
        }
    }
}

impl Inner {
    async fn attempt(
        &self,
        request: &Request,
        marks: &mut Marks,
        mark: &Mark,
    ) -> Result<(Head, Body), CallError> {
        match request {
            Request::Post { message, endpoint } => {
                let path = self.path(endpoint);
                let id = self.next_id();
                let response = self.post(path, None, message, id, marks, mark).await?;
                self.site.reply(&path.path, id, endpoint, || is_targeted(message), response)
            }
            Request::Mutate { body } => {
                let pieces = Some([&body[..], &[], &[]]);
                let response = self.exchange(&self.graphql.head, pieces, marks, mark).await?;
                self.site.mutation_reply(response)
            }
            // In places of their own, so that other requests do not pay for their size.
            Request::Http(request) => Box::pin(self.plain(request, None, marks, mark)).await,
            Request::WithHeaders(both) => Box::pin(self.headed(both, marks, mark)).await,
            Request::Stream { .. } => Err(no_streams()),
        }
    }

    /// A request with headers of its own.
    async fn headed(
        &self,
        (headers, request): &(RequestHeaders, Request),
        marks: &mut Marks,
        mark: &Mark,
    ) -> Result<(Head, Body), CallError> {
        match request.bare() {
            Request::Post { message, endpoint } => {
                let path = self.path(endpoint);
                let id = self.next_id();
                let own = Own::new(&path.path, headers.lines(&self.json));
                let response = self.post(path, Some(&own), message, id, marks, mark).await?;
                self.site.reply(&path.path, id, endpoint, || is_targeted(message), response)
            }
            Request::Mutate { body } => {
                let own = Own::new(&self.graphql.path, headers.lines(&self.of_graphql));
                let pieces = Some([&body[..], &[], &[]]);
                let response = self.exchange(&own.head, pieces, marks, mark).await?;
                self.site.mutation_reply(response)
            }
            Request::Http(request) => self.plain(request, Some(headers), marks, mark).await,
            Request::WithHeaders(_) => unreachable!("it is bare"),
            Request::Stream { .. } => Err(no_streams()),
        }
    }

    async fn post(
        &self,
        path: &Path,
        own: Option<&Own>,
        message: &Encoded,
        id: RequestId,
        marks: &mut Marks,
        mark: &Mark,
    ) -> Result<Response, CallError> {
        let (head, id, tail) = (message.head(), id.digits(), message.tail());
        let body = Some([&head[..], &id, &tail]);
        let first = own.map_or(&path.head, |own| &own.head);
        let mut response = self.exchange(first, body, marks, mark).await?;
        for _ in 0..REDIRECTS_MAX {
            let Some(path) = self.site.redirect(&response) else { break };
            // It takes as long as it takes to be led there.
            let written = marks.written;
            let lines = own.map_or(&self.json, |own| &own.lines);
            let head = RequestHead::new("POST", &path, lines);
            response = Box::pin(self.exchange(&head, body, marks, mark)).await?;
            marks.written = written;
        }
        Ok(response)
    }

    /// A plain request. Redirects are followed as browsers do: 303, and 301 and 302 of a `POST`, by a
    /// `GET` without the body.
    async fn plain(
        &self,
        request: &HttpRequest,
        headers: Option<&RequestHeaders>,
        marks: &mut Marks,
        mark: &Mark,
    ) -> Result<(Head, Body), CallError> {
        let lines = match headers {
            Some(headers) => request.lines(&headers.lines(&self.plain)),
            None => request.lines(&self.plain),
        };
        let mut head = RequestHead::new(request.method(), request.path(), &lines);
        let mut body = request.content().map(|body| [&body[..], &[], &[]]);
        if body.is_none() && matches!(request.method(), "POST" | "PUT" | "PATCH") {
            body = Some([&[]; 3]);
        }
        let mut response = self.exchange(&head, body, marks, mark).await?;
        for _ in 0..REDIRECTS_MAX {
            if request.expects(response.status) {
                break;
            }
            let Some(path) = self.site.redirect_of_plain(&response) else { break };
            let changes = response.status == 303
                || matches!(response.status, 301 | 302) && request.method() == "POST";
            let method = if changes { "GET" } else { request.method() };
            body = body.filter(|_| !changes);
            let written = marks.written;
            head = RequestHead::new(method, &path, &lines);
            response = Box::pin(self.exchange(&head, body, marks, mark)).await?;
            marks.written = written;
        }
        self.site.plain_reply(request, response)
    }

    /// One request and its response, on a connection of the pool.
    ///
    /// A server closes connections that lie idle for long, and may do so in the moment a request goes
    /// out on one. Then there is not a byte of an answer, and the request is sent once more on a new
    /// connection; that is no attempt in the sense of retries. When the new connection cannot be
    /// made, the server was not just tidying up, and the first failure stands. A connection that was
    /// just in use is not tidied up: its end is a failure of the Flow, and not ours to hide.
    async fn exchange(
        &self,
        head: &RequestHead,
        body: Option<[&[u8]; 3]>,
        marks: &mut Marks,
        mark: &Mark,
    ) -> Result<Response, CallError> {
        let mut lease = self.pool.lease().await?;
        mark.set(Instant::now());
        let bounds = &self.bounds;
        let mut outcome = lease.connection().exchange(head, body, bounds, marks).await;
        if let Err(Broken::Ended(_)) = outcome
            && lease.was_idle_long()
            && marks.first.is_none()
            && lease.renew().await.is_ok()
        {
            outcome = lease.connection().exchange(head, body, bounds, marks).await;
        }
        match outcome {
            Ok(response) => {
                lease.give_back();
                self.answered.store(true, Ordering::Relaxed);
                Ok(response)
            }
            Err(broken) => {
                let seen = marks.first.is_some() || self.answered.load(Ordering::Relaxed);
                let limit = bounds.message_bytes_max;
                Err(broken.into_error(&self.site.target, "HTTP", limit, seen))
            }
        }
    }

    fn path(&self, endpoint: &str) -> &Path {
        self.own_paths.get(endpoint.trim_matches('/')).unwrap_or(&self.default_path)
    }

    fn next_id(&self) -> RequestId {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        RequestId { sender: self.sender, number }
    }
}

fn no_streams() -> CallError {
    CallError::Unsupported("streaming endpoints are offered over gRPC only, not over HTTP".into())
}

/// Whether a request names a `target_executor`, which stands in its header, right behind its id.
fn is_targeted(message: &Encoded) -> bool {
    const NAME: &[u8] = b"\"target_executor\"";
    let tail = message.tail();
    let header = tail.split(|byte| *byte == b'}').next().unwrap_or_default();
    header.windows(NAME.len()).any(|window| window == NAME)
}

/// The paths that a v2 gateway takes requests on; none when it does not tell.
async fn listed_paths(
    config: &ClientConfig,
    connector: &Connector,
) -> Result<(Vec<String>, Schemas), CallError> {
    #[derive(Deserialize)]
    struct OpenApi {
        paths: HashMap<String, Methods>,
    }
    #[derive(Deserialize)]
    struct Methods {
        post: Option<IgnoredAny>,
    }
    let (_, body) = probe::get(config, connector, "/openapi.json").await?;
    let Ok(OpenApi { paths }) = serde_json::from_slice(&body) else {
        return Ok(Default::default());
    };
    let schemas = serde_json::from_slice(&body).map(|api| Schemas::of_openapi(&api));
    let posts = paths.into_iter().filter(|(_, methods)| methods.post.is_some());
    let mut posts: Vec<String> = posts.map(|(path, _)| path).collect();
    posts.sort_unstable();
    Ok((posts, schemas.unwrap_or_default()))
}
