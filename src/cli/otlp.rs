//! `--otlp`: metrics pushed to an OpenTelemetry receiver once a second.
//!
//! A separate thread reads the board and sends its figures. Failures of the receiver never end a load; they are
//! reported when the run is over.

use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic_prost::ProstCodec;

use super::print;
use super::problem::Problem;
use crate::client::{self, Channel, ClientConfig, ConfigError, TlsOptions};
use crate::error::chain;
use crate::report::otlp;
use crate::run::Board;
use crate::wire::{Protocol, Target};

/// The interval between pushes.
const EVERY: Duration = Duration::from_secs(1);

/// The timeout of a push.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of a push after the end of the run, when someone is waiting.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for the thread to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of a receiver's response in bytes.
const BYTES_MAX: usize = 64 << 10;

/// The variable from which all OpenTelemetry programs read headers: `name=value,name=value`, percent-encoded.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The variable with the CA certificate used to verify the receiver's.
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct OtlpArgs {
    /// Push metrics to an OpenTelemetry receiver once a second: by OTLP/HTTP to http://host:4318, by gRPC to
    /// grpc://host:4317; https and grpcs are encrypted
    #[arg(long, value_name = "URL")]
    otlp: Option<Receiver>,
    /// A header for the receiver, as 'authorization=Bearer TOKEN', besides those of OTEL_EXPORTER_OTLP_HEADERS; can be
    /// repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "otlp")]
    otlp_header: Vec<Header>,
}

/// Where metrics are pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Receiver {
    /// OTLP/HTTP, at this address.
    Http(Uri),
    /// OTLP/gRPC.
    Grpc(Target),
}

#[derive(Debug, thiserror::Error)]
enum NoReceiver {
    #[error(
        "expected an address such as `http://127.0.0.1:4318` (OTLP/HTTP) or `grpc://127.0.0.1:4317` (gRPC), found `{0}`"
    )]
    Address(String),
    #[error(
        "an address has no password in it: say it as a header, as in `--otlp-header 'authorization=Basic …'`"
    )]
    Password,
    #[error("gRPC has no paths: expected `grpc://host:4317`, found `{0}`")]
    Path(String),
}

impl FromStr for Receiver {
    type Err = NoReceiver;

    fn from_str(text: &str) -> Result<Receiver, NoReceiver> {
        let none = || NoReceiver::Address(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| none())?;
        let authority = uri.authority().ok_or_else(none)?.as_str();
        if authority.contains('@') {
            return Err(NoReceiver::Password);
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(none)?;
        // The `http` crate accepts `host:` and `host:port` as ports.
        if authority.len() > host.len() && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(none());
        }
        let has_path =
            !matches!(uri.path_and_query().map(PathAndQuery::as_str), None | Some("" | "/"));
        match uri.scheme_str() {
            Some("http" | "https") if has_path => Ok(Receiver::Http(uri)),
            Some(scheme @ ("http" | "https")) => {
                let whole = format!("{scheme}://{authority}/v1/metrics");
                whole.parse().map(Receiver::Http).map_err(|_| none())
            }
            Some("grpc" | "grpcs") if has_path => Err(NoReceiver::Path(text.to_owned())),
            Some(scheme @ ("grpc" | "grpcs")) => Ok(Receiver::Grpc(Target {
                protocol: Protocol::Grpc,
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port: uri.port_u16().unwrap_or(4317),
                tls: scheme == "grpcs",
                user_info: None,
            })),
            _ => Err(none()),
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receiver::Http(uri) => write!(f, "{uri}"),
            Receiver::Grpc(target) => write!(f, "{target}"),
        }
    }
}

/// Why a text is not a valid header.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoHeader {
    #[error("expected a name and a value, as in `authorization=Bearer TOKEN`")]
    Form,
    #[error("`{0}` is set by flowbench itself")]
    Ours(String),
    #[error("a header holds ASCII only")]
    Ascii,
}

/// A header of all pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header(HeaderName, HeaderValue);

impl FromStr for Header {
    type Err = NoHeader;

    fn from_str(text: &str) -> Result<Header, NoHeader> {
        let (name, value) = text.split_once('=').ok_or(NoHeader::Form)?;
        let name = name.trim().to_ascii_lowercase();
        let taken =
            ["content-type", "content-length", "te", "host", "connection", "transfer-encoding"];
        let is_ours =
            taken.contains(&name.as_str()) || name.starts_with("grpc-") || name.ends_with("-bin");
        let name: HeaderName = name.parse().map_err(|_| NoHeader::Form)?;
        if is_ours {
            return Err(NoHeader::Ours(name.to_string()));
        }
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| NoHeader::Form)?;
        if value.to_str().is_err() {
            return Err(NoHeader::Ascii);
        }
        value.set_sensitive(true);
        Ok(Header(name, value))
    }
}

impl OtlpArgs {
    /// Starts pushing the figures of a board, if requested.
    pub(super) fn start(&self, board: &Arc<Board>) -> Result<Option<Push>, Problem> {
        let Some(receiver) = self.otlp.clone() else { return Ok(None) };
        let mut headers = HeaderMap::new();
        for Header(name, value) in of_environment()?.iter().chain(&self.otlp_header) {
            let text = value.to_str().unwrap_or_default();
            // In `Bearer TOKEN`, the token is the secret.
            print::hide().add(text);
            text.split(' ').skip(1).for_each(|word| print::hide().add(word));
            headers.insert(name.clone(), value.clone());
        }
        let ca = std::env::var_os(CERTIFICATE).filter(|path| !path.is_empty()).map(Into::into);
        let tls = TlsOptions { ca, ..TlsOptions::default() };
        let wrong = |error: &dyn Error| Problem::usage(format_args!("--otlp: {}", chain(error)));
        let sender = Sender::new(&receiver, headers, tls).map_err(|error| wrong(&error))?;
        let stop = CancellationToken::new();
        let (done, is_done) = oneshot::channel();
        let (ended, board) = (stop.clone(), board.clone());
        let thread = std::thread::Builder::new().name("otlp".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let _ = done.send(runtime.block_on(push(&board, sender, &ended)));
            // Do not wait for a name that does not resolve.
            runtime.shutdown_background();
        });
        thread.map_err(|error| wrong(&NoSender::Thread(error)))?;
        Ok(Some(Push { receiver, stop, done: is_done }))
    }
}

/// Headers from the environment, which all OpenTelemetry programs share.
fn of_environment() -> Result<Vec<Header>, Problem> {
    let Ok(text) = std::env::var(HEADERS) else { return Ok(Vec::new()) };
    let header = |pair: &str| {
        let decoded = percent_encoding::percent_decode_str(pair).decode_utf8_lossy();
        let header = decoded.parse::<Header>();
        header.map_err(|error| Problem::usage(format_args!("`{HEADERS}`: {error}")))
    };
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(header).collect()
}

/// A running push to a receiver.
pub(super) struct Push {
    receiver: Receiver,
    stop: CancellationToken,
    done: oneshot::Receiver<Told>,
}

impl Push {
    /// Pushes once more, and reports failed pushes.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        let receiver = &self.receiver;
        match timeout(END_TIMEOUT, self.done).await {
            Ok(Ok(Told { pushes: 1, failed: 1, problem: Some(problem) })) => {
                print::tell(format_args!(
                    "warning: {receiver} {problem}: the only push of metrics failed"
                ));
            }
            Ok(Ok(Told { pushes, failed, problem: Some(problem) })) => print::tell(format_args!(
                "warning: {receiver} {problem}: {failed} of {pushes} pushes of metrics failed"
            )),
            Ok(Ok(_)) => (),
            _ => print::tell(format_args!("warning: {receiver} did not take the last metrics")),
        }
    }
}

/// The outcome of all pushes.
#[derive(Debug, Default)]
struct Told {
    pushes: u64,
    failed: u64,
    /// The first failure.
    problem: Option<String>,
}

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("could not be reached: {0}")]
    Unreachable(String),
    #[error("does not answer within {0:?}")]
    Slow(Duration),
    #[error("answers with status {0}")]
    Status(u16),
    #[error("refuses metrics: {0}")]
    Refused(String),
    #[error("answers something else than a receiver of metrics does")]
    NotOtlp,
    #[error("has taken only some of them: {0}")]
    Partly(String),
}

/// Pushes until it is stopped, and then once more.
async fn push(board: &Board, mut sender: Sender, stop: &CancellationToken) -> Told {
    let mut told = Told::default();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
        let request = otlp::request(&board.figures(), Timestamp::now());
        let metrics = request.as_ref().ok().and_then(|request| {
            let all = &request.resource_metrics.first()?.scope_metrics.first()?.metrics;
            (!all.is_empty()).then_some(())
        });
        if let (Ok(request), Some(())) = (request, metrics) {
            told.pushes += 1;
            let over = async {
                stop.cancelled().await;
                sleep(LAST_TIMEOUT).await;
            };
            let sent = tokio::select! {
                sent = timeout(TIMEOUT, sender.send(request)) => sent.unwrap_or(Err(PushError::Slow(TIMEOUT))),
                () = over => Err(PushError::Slow(LAST_TIMEOUT)),
            };
            if let Err(error) = sent {
                told.failed += 1;
                told.problem.get_or_insert_with(|| error.to_string());
                // After a failed push at the end, do not try again.
                if stop.is_cancelled() {
                    return told;
                }
            }
        }
        if last {
            return told;
        }
    }
}

/// Why no sender could be set up.
#[derive(Debug, thiserror::Error)]
enum NoSender {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("there is no thread for it")]
    Thread(#[source] io::Error),
}

/// Sends messages.
enum Sender {
    Http { client: reqwest::Client, url: String, headers: HeaderMap },
    Grpc { config: Box<ClientConfig>, headers: HeaderMap, open: Option<Open> },
}

/// An open connection, until it breaks.
struct Open(
    Grpc<Channel>,
    #[expect(dead_code, reason = "it ends when it is dropped")] AbortOnDropHandle<()>,
);

impl Sender {
    fn new(
        receiver: &Receiver,
        mut headers: HeaderMap,
        tls: TlsOptions,
    ) -> Result<Sender, NoSender> {
        match receiver {
            Receiver::Http(url) => {
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                headers.insert(header::CONTENT_TYPE, protobuf);
                let encrypted = url.scheme_str() == Some("https");
                let tls = client::tls_for(&tls, encrypted)?;
                let client = reqwest::Client::builder()
                    .tls_backend_preconfigured(tls)
                    .no_proxy()
                    .redirect(reqwest::redirect::Policy::none())
                    .pool_max_idle_per_host(1)
                    .user_agent(concat!("flowbench/", env!("CARGO_PKG_VERSION")))
                    .build()?;
                Ok(Sender::Http { client, url: url.to_string(), headers })
            }
            Receiver::Grpc(target) => {
                let config = ClientConfig {
                    tls,
                    connect_timeout: TIMEOUT,
                    ..ClientConfig::new(target.clone())
                };
                config.check()?;
                Ok(Sender::Grpc { config: Box::new(config), headers, open: None })
            }
        }
    }

    async fn send(&mut self, request: ExportMetricsServiceRequest) -> Result<(), PushError> {
        let answer = match self {
            Sender::Http { client, url, headers } => {
                let message = request.encode_to_vec();
                let request = client.post(&*url).headers(headers.clone()).body(message);
                answer_of(request).await?
            }
            Sender::Grpc { config, headers, open } => {
                let mut grpc = match open.take() {
                    Some(open) => open,
                    None => connected(config).await?,
                };
                let answer = export(&mut grpc.0, headers, request).await?;
                *open = Some(grpc);
                answer
            }
        };
        let partly = answer.partial_success.filter(|partly| partly.rejected_data_points > 0);
        partly.map_or(Ok(()), |partly| Err(PushError::Partly(short(&partly.error_message))))
    }
}

async fn answer_of(
    request: reqwest::RequestBuilder,
) -> Result<ExportMetricsServiceResponse, PushError> {
    let failed = |error: reqwest::Error| PushError::Unreachable(chain(&error.without_url()));
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(PushError::Status(status.as_u16()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if body.len() + part.len() > BYTES_MAX {
            return Err(PushError::NotOtlp);
        }
        body.extend_from_slice(&part);
    }
    ExportMetricsServiceResponse::decode(&*body).map_err(|_| PushError::NotOtlp)
}

async fn connected(config: &ClientConfig) -> Result<Open, PushError> {
    let socket = client::connect(config).await;
    let socket = socket.map_err(|error| PushError::Unreachable(chain(&error)))?;
    let channel = Channel::over(socket).await;
    let (channel, connection) = channel.map_err(|error| PushError::Unreachable(chain(&error)))?;
    let scheme = if config.target.tls { "https" } else { "http" };
    let origin = format!("{scheme}://{}:{}", config.target.host, config.target.port);
    let origin = origin.parse().unwrap_or_else(|_| Uri::from_static("http://receiver.invalid"));
    let grpc = Grpc::with_origin(channel, origin).max_decoding_message_size(BYTES_MAX);
    Ok(Open(grpc, connection))
}

async fn export(
    grpc: &mut Grpc<Channel>,
    headers: &HeaderMap,
    message: ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, PushError> {
    const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
    let codec = ProstCodec::<ExportMetricsServiceRequest, ExportMetricsServiceResponse>::default();
    grpc.ready().await.map_err(|error| PushError::Unreachable(chain(&error)))?;
    let answer = grpc.unary(request, PathAndQuery::from_static(EXPORT), codec).await;
    let answer = answer.map_err(|status| match std::error::Error::source(&status) {
        // The connection broke, or does not speak HTTP/2.
        Some(source) => PushError::Unreachable(chain(source)),
        None => PushError::Refused(format!("{:?}, {}", status.code(), short(status.message()))),
    })?;
    Ok(answer.into_inner())
}

/// Limits a text from the network to a readable length.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_how_metrics_are_pushed() {
        let shown = |text: &str| text.parse::<Receiver>().map(|one| one.to_string()).ok();
        for (text, expected) in [
            ("http://a:4318", Some("http://a:4318/v1/metrics")),
            ("http://a:4318/", Some("http://a:4318/v1/metrics")),
            ("https://a/otlp/v1/metrics?x=1", Some("https://a/otlp/v1/metrics?x=1")),
            ("grpc://a", Some("grpc://a:4317")),
            ("grpcs://[::1]:443/", Some("grpcs://[::1]:443")),
            ("grpc://a/v1/metrics", None),
            ("http://me:secret@a", None),
            ("http://a:", None),
            ("http://a:port", None),
            ("ftp://a", None),
            ("a:4317", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_header_has_a_name_and_a_value() {
        let named = |text: &str| text.parse::<Header>().map(|Header(name, _)| name.to_string());
        assert_eq!(named("Authorization=Bearer a=b").as_deref(), Ok("authorization"));
        for text in ["", "a", "=b", "a b=c", "te=x", "content-type=x", "grpc-timeout=1S", "a=ä"] {
            assert!(named(text).is_err(), "{text}");
        }
    }
}
