//! Jina over HTTP: the path of each request, and the meaning of the answers.
//!
//! v1 has one path for everything, `POST /post`. v2 has one for each endpoint that an Executor
//! binds by name and `POST /default` for the rest; the list is requested once, from
//! `/openapi.json`, as Jina's client does.

mod answer;
mod one;
mod two;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use self::answer::Site;
use super::connect::Connector;
use super::handle::{Handle, Owned};
use super::http1::{RequestHead, header_lines};
use super::pending::UnmatchedCounts;
use super::probe;
use crate::client::lanes::{self, Landed};
use crate::client::memory::Bounds;
use crate::client::{
    CallError, ClientConfig, Failure, FamilyChoice, HttpRequest, HttpVersion, Reply, Request,
    RequestHeaders, Unmatched,
};
use crate::units::escape_path;
use crate::wire::{Encoded, Family, Schemas};

/// `application/json` both ways. Only proxies compress answers; gateways never do.
const JSON: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
];
/// Defaults of plain requests.
const PLAIN: [(&str, &str); 2] = [("accept", "*/*"), ("accept-encoding", "gzip, deflate")];
/// As in Jina's `mutate`.
const GRAPHQL: [(&str, &str); 3] = [
    ("content-type", "application/json; charset=utf-8"),
    ("accept", "application/json; charset=utf-8"),
    ("accept-encoding", "gzip, deflate"),
];

/// As in aiohttp, which Jina's client uses.
const REDIRECTS_MAX: usize = 10;

/// A handle on connections to an HTTP gateway.
#[derive(Debug)]
pub(super) struct Http {
    inner: Arc<Inner>,
    handle: Handle<Lanes>,
}

/// What all requests have in common.
struct Inner {
    connector: Connector,
    /// Answers that matched no request.
    unmatched: UnmatchedCounts,
    site: Site,
    /// Header lines of requests whose path is not known beforehand.
    json: String,
    /// Header lines of plain requests, unless they set their own.
    plain: String,
    /// Identifies these header lines in the copies that requests keep.
    session: u64,
    /// Heads of requests to endpoints with a separate path, by endpoint without its slashes.
    own_paths: HashMap<String, Path>,
    /// The path of all other endpoints.
    default_path: Path,
    graphql: Path,
    /// Header lines of mutations.
    of_graphql: String,
    bounds: Bounds,
    timeout: Option<Duration>,
    /// Whether this port has ever answered: before that, a hang-up hints at what it speaks.
    answered: AtomicBool,
}

struct Path {
    path: String,
    head: RequestHead,
}

/// Omits the heads, which hold secrets.
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
    /// `Connect`, `Tls`, a header that HTTP does not allow, and any error of the request for the
    /// endpoints.
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
            session: rand::random(),
            json: json.clone(),
            connector,
            unmatched: UnmatchedCounts::default(),
            own_paths: listed.iter().map(own_path).collect(),
            default_path: post(if has_default { "/default" } else { "/post" }),
            graphql: Path {
                head: RequestHead::new("POST", "/graphql", &graphql),
                path: "/graphql".into(),
            },
            of_graphql: graphql,
            bounds: Bounds::of(config),
            timeout: config.timeout,
            answered: AtomicBool::new(false),
        };
        let inner = Arc::new(inner);
        let (ahead, most) = (config.connections, config.connections_max);
        let lanes = match config.http_version {
            HttpVersion::One => {
                Lanes::One(Box::new(one::Lanes::open(inner.clone(), ahead, most).await?))
            }
            HttpVersion::Two => {
                // Connections opened as needed are one here: requests share it.
                let count = if most == 0 { 1 } else { ahead };
                Lanes::Two(Box::new(two::Lanes::open(inner.clone(), count).await?))
            }
        };
        Ok((Http { inner, handle: Handle::new(lanes) }, schemas))
    }

    /// Answers so far that matched no request.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.inner.unmatched.get()
    }

    /// Sends `request` and reads its answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(super) async fn call(&self, request: Request) -> Result<Reply, Failure> {
        self.handle.call(request, &self.inner.site.target).await
    }

    /// Takes the connections themselves. This handle can send nothing from then on.
    ///
    /// # Errors
    /// When they have been taken already.
    pub(super) async fn hand_over(&self) -> Result<Lanes, CallError> {
        self.handle.hand_over(&self.inner.site.target).await
    }
}

/// Connections to an HTTP gateway, and the requests in flight on them.
pub(super) enum Lanes {
    One(Box<one::Lanes>),
    Two(Box<two::Lanes>),
}

impl Lanes {
    /// Requests that the connection limit has held back so far.
    pub(super) fn waited(&self) -> u64 {
        match self {
            Lanes::One(lanes) => lanes.waited(),
            Lanes::Two(_) => 0,
        }
    }
}

impl lanes::Lanes for Lanes {
    fn offer(&mut self, row: u32, request: Request) {
        match self {
            Lanes::One(lanes) => lanes.offer(row, request),
            Lanes::Two(lanes) => lanes.offer(row, request),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        match self {
            Lanes::One(lanes) => lanes.poll(cx, landed),
            Lanes::Two(lanes) => lanes.poll(cx, landed),
        }
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        match self {
            Lanes::One(lanes) => lanes.give_up(row),
            Lanes::Two(lanes) => lanes.give_up(row),
        }
    }
}

impl Owned for Lanes {
    type Extra = ();

    fn close(&mut self) -> bool {
        match self {
            Lanes::One(lanes) => lanes.close(),
            Lanes::Two(lanes) => lanes.close(),
        }
    }
}

impl Inner {
    /// Header lines of a plain request.
    fn lines_of_plain<'a>(
        &'a self,
        request: &'a HttpRequest,
        headers: Option<&RequestHeaders>,
    ) -> Cow<'a, str> {
        match headers {
            Some(headers) => request.lines(&headers.lines(&self.plain)).into(),
            None => request.own_lines(self.session, &self.plain),
        }
    }

    fn path(&self, endpoint: &str) -> &Path {
        self.own_paths.get(endpoint.trim_matches('/')).unwrap_or(&self.default_path)
    }
}

/// The body of a plain request; `None` if it has none. Methods that should have one get an empty
/// one.
fn content(request: &HttpRequest) -> Option<Bytes> {
    let brings_one = matches!(request.method(), "POST" | "PUT" | "PATCH");
    request.content().cloned().or_else(|| brings_one.then(Bytes::new))
}

fn no_streams() -> CallError {
    CallError::Unsupported("streaming endpoints are offered over gRPC only, not over HTTP".into())
}

/// Whether a request names a `target_executor`, which is in its header right after its id.
fn is_targeted(message: &Encoded) -> bool {
    const NAME: &[u8] = b"\"target_executor\"";
    let tail = message.tail();
    let header = tail.split(|byte| *byte == b'}').next().unwrap_or_default();
    header.windows(NAME.len()).any(|window| window == NAME)
}

/// The paths on which a v2 gateway takes requests; none if it does not report them.
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
