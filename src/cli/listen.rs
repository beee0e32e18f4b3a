//! `--listen`: a page and metrics about a run while it goes on.
//!
//! They are served on a separate thread, only to this machine unless requested otherwise: then every client
//! needs a token. No other page may read the data or end the run: requests with a foreign `Host` or `Origin`
//! are refused.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::problem::Problem;
use crate::report::live::Exposition;
use crate::report::{self, live};
use crate::run::{Board, member};
use crate::units::same_secret;

/// Maximum number of connections: a browser opens six, a Prometheus server one.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection is kept that does not send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For so long after a request that was let in, its connection does not give way to others that ask for nothing: its
/// answer may be on the way.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ListenArgs {
    /// Show the run as it goes, as a page and as metrics (`/metrics`) for Prometheus: at this address of this
    /// machine, as 127.0.0.1:9095; port 0 is any free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Let `--listen` have an address that other machines reach. Who asks needs the token that is printed, or
    /// that of FLOWBENCH_LISTEN_TOKEN
    #[arg(long, requires = "listen")]
    listen_anywhere: bool,
}

/// Serves a board.
struct Service {
    board: Arc<Board>,
    port: u16,
    /// Required from every client, if other machines have access.
    token: Option<String>,
}

impl ListenArgs {
    /// Serves a board, if requested; returns its address.
    pub(super) fn serve(&self, board: &Arc<Board>) -> Result<Option<String>, Problem> {
        let Some(address) = self.listen else { return Ok(None) };
        if !address.ip().is_loopback() && !self.listen_anywhere {
            return Err(Problem::usage(format_args!(
                "`--listen {address}` is reached from other machines: use 127.0.0.1, or say \
                 `--listen-anywhere` too, which asks everybody for a token"
            )));
        }
        let failed = |error: std::io::Error| {
            Problem::new(Exit::Usage, format!("error: could not listen at {address}: {error}"))
        };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let token = self.listen_anywhere.then(|| {
            let given =
                std::env::var("FLOWBENCH_LISTEN_TOKEN").ok().filter(|token| !token.is_empty());
            given.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string())
        });
        let query = token.as_ref().map_or(String::new(), |token| {
            format!("?token={}", utf8_percent_encode(token, NON_ALPHANUMERIC))
        });
        // Nobody reaches 0.0.0.0.
        let name = member().host.filter(|_| address.ip().is_unspecified());
        let shown = match name {
            Some(name) => format!("{name}:{port}"),
            None => SocketAddr::new(address.ip(), port).to_string(),
        };
        let service = Arc::new(Service { board: board.clone(), port, token });
        std::thread::Builder::new()
            .name("listen".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                if let Ok(runtime) = runtime {
                    runtime.block_on(accept(listener, service));
                }
            })
            .map_err(failed)?;
        Ok(Some(format!("http://{shown}/{query}")))
    }
}

/// Gives open pages time to fetch the result after the end of a run.
pub(super) async fn last_look(board: &Board) {
    const TIME: std::time::Duration = std::time::Duration::from_millis(1500);
    if board.is_looked_at() {
        tokio::time::sleep(TIME).await;
    }
}

async fn accept(listener: std::net::TcpListener, service: Arc<Service>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let connections = Arc::new(Connections::default());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (service, connection) = (service.clone(), Arc::new(connections.open()));
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let (service, connection) = (service.clone(), connection.clone());
                async move { Ok::<_, Infallible>(service.answer(&request, &connection).await) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server
                .max_buf_size(64 << 10)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT);
            let serving = server.serve_connection(TokioIo::new(stream), answer);
            tokio::select! {
                _ = serving => (),
                () = connection.gives_way.cancelled() => (),
            }
        });
    }
}

/// The connections that there are.
#[derive(Debug, Default)]
struct Connections {
    all: Mutex<Vec<Known>>,
}

/// What is known of a connection.
#[derive(Debug)]
struct Known {
    /// Its last request that was let in, or its beginning.
    since: Instant,
    /// Whether any request of it was.
    admitted: bool,
    /// Events that it listens to.
    listens: bool,
    gives_way: CancellationToken,
}

/// A connection, until it is over.
struct Connection {
    of: Arc<Connections>,
    gives_way: CancellationToken,
}

impl Connections {
    /// One more. Where there is no room, another gives way: one that asks for nothing before one that is answered, and
    /// of these the oldest.
    fn open(self: &Arc<Connections>) -> Connection {
        let gives_way = CancellationToken::new();
        let now = Instant::now();
        let mut all = self.all();
        if all.len() >= CONNECTIONS_MAX {
            let key = |(_, known): &(usize, &Known)| {
                let recent = known.admitted && now.duration_since(known.since) < ANSWERED_WITHIN;
                (known.listens || recent, known.since)
            };
            if let Some((first, _)) = all.iter().enumerate().min_by_key(key) {
                all.remove(first).gives_way.cancel();
            }
        }
        let known =
            Known { since: now, admitted: false, listens: false, gives_way: gives_way.clone() };
        all.push(known);
        drop(all);
        Connection { of: self.clone(), gives_way }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Known>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// A request of it was let in.
    fn asks(&self, listens: bool) {
        let mut all = self.of.all();
        // One that gave way is not there any more.
        let own = all.iter_mut().find(|known| known.gives_way == self.gives_way);
        if let Some(known) = own {
            (known.since, known.admitted, known.listens) = (Instant::now(), true, listens);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.of.all().retain(|known| known.gives_way != self.gives_way);
    }
}

type Body = BoxBody<Bytes, Infallible>;

impl Service {
    async fn answer(&self, request: &Request<Incoming>, connection: &Connection) -> Response<Body> {
        if let Err((status, why)) = self.admit(request) {
            return plain(status, why);
        }
        connection.asks(request.uri().path() == "/events");
        if matches!(request.uri().path(), "/" | live::RUN | "/metrics" | "/report.json") {
            self.board.catch_up().await;
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => {
                let mut page = Vec::new();
                let written = live::page(&self.board.look(), &mut page);
                written_as("text/html; charset=utf-8", written, page)
            }
            (&Method::GET, live::RUN) => {
                let mut page = Vec::new();
                let written = live::run_page(&self.board.look(), &mut page);
                written_as("text/html; charset=utf-8", written, page)
            }
            (&Method::GET, "/metrics") => {
                let accepts = request.headers().get(header::ACCEPT);
                let accepts = accepts.and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
                let (exposition, kind) = wanted(accepts);
                let mut metrics = Vec::new();
                let written = live::metrics(&self.board.figures(), exposition, &mut metrics);
                written_as(kind, written, metrics)
            }
            (&Method::GET, "/report.json") => {
                let mut text = Vec::new();
                let summary = self.board.look().summary;
                let written = report::write(&summary, report::Format::Json, &mut text);
                written_as("application/json", written, text)
            }
            (&Method::GET, "/events") => self.events(),
            (&Method::POST, "/end") => {
                self.board.end_gracefully();
                plain(StatusCode::ACCEPTED, "nothing more is sent")
            }
            (_, "/" | live::RUN | "/metrics" | "/report.json" | "/events" | "/end") => {
                plain(StatusCode::METHOD_NOT_ALLOWED, "not this way")
            }
            _ => plain(StatusCode::NOT_FOUND, "there are /, /metrics, /report.json and /events"),
        }
    }

    /// Rejects unauthorized requests.
    fn admit(&self, request: &Request<Incoming>) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(token) = &self.token {
            let query = request.uri().query().unwrap_or_default();
            let asked = query.split('&').find_map(|pair| pair.strip_prefix("token="));
            let asked = asked.map(|asked| percent_decode_str(asked).collect::<Vec<u8>>());
            let bearer =
                text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
            let is_known = asked
                .into_iter()
                .chain(bearer.map(|bearer| bearer.as_bytes().to_vec()))
                .any(|given| same_secret(&given, token.as_bytes()));
            return if is_known {
                Ok(())
            } else {
                Err((StatusCode::UNAUTHORIZED, "the token is missing"))
            };
        }
        // A foreign page may point its own host name to us (DNS rebinding), or submit a form.
        let host = text(header::HOST).unwrap_or_default();
        if !self.is_here(host) {
            return Err((StatusCode::FORBIDDEN, "ask at 127.0.0.1 or localhost"));
        }
        let origin = text(header::ORIGIN);
        if origin.is_some_and(|origin| {
            !origin.strip_prefix("http://").is_some_and(|host| self.is_here(host))
        }) {
            return Err((StatusCode::FORBIDDEN, "other pages may not ask"));
        }
        Ok(())
    }

    /// Whether a host and port refer to this server.
    fn is_here(&self, host: &str) -> bool {
        let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback =
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        is_loopback && port.parse() == Ok(self.port)
    }

    /// One event per change, and a last one when the run is over.
    fn events(&self) -> Response<Body> {
        self.board.look();
        let board = self.board.clone();
        let news =
            stream::unfold((self.board.changes(), true), |(mut changes, first)| async move {
                if !first {
                    changes.changed().await.ok()?;
                }
                let shown = changes.borrow_and_update().clone();
                Some((shown, (changes, false)))
            });
        let changes = news.map(move |shown| {
            // An open event stream counts as looking.
            if !shown.over {
                board.touch();
            }
            let word = if shown.over { "over" } else { "changed" };
            Ok::<_, Infallible>(Frame::data(Bytes::from(format!(
                "event: {word}\ndata: {word}\n\n"
            ))))
        });
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(changes)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        response
    }
}

/// The metrics format for a client that accepts these types, and its media type.
fn wanted(accepts: &str) -> (Exposition, &'static str) {
    const FAMILY: &str = "proto=io.prometheus.client.metricfamily";
    let mut types = accepts.split(',').map(|one| one.to_ascii_lowercase().replace([' ', '"'], ""));
    let is_protobuf =
        |one: String| one.starts_with("application/vnd.google.protobuf") && one.contains(FAMILY);
    // Prometheus asks for protobuf only if native histograms are enabled.
    if types.any(is_protobuf) {
        let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        return (Exposition::Protobuf, kind);
    }
    if accepts.contains("application/openmetrics-text") {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return (Exposition::OpenMetrics, kind);
    }
    (Exposition::Text, "text/plain; version=0.0.4; charset=utf-8")
}

fn written_as(kind: &'static str, written: std::io::Result<()>, body: Vec<u8>) -> Response<Body> {
    match written {
        Ok(()) => typed(kind, body),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "it could not be written"),
    }
}

fn typed(kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", format!("{text}\n").into_bytes());
    *response.status_mut() = status;
    response
}
