//! The settings of a client, needed before it connects.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::transport::check_tls;
use super::{ConfigError, ResponseMemory};
use crate::wire::{Family, Protocol, Target};

/// All settings of one client. `ClientConfig::new(target)` has Jina's defaults.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where the Flow is.
    pub target: Target,
    /// Where the same Flow speaks HTTP, which GraphQL needs. `None`: at `target`, which is right
    /// for an HTTP target and for a proxy that detects the protocol; a gateway itself has a port
    /// for each.
    pub http_target: Option<Target>,
    /// The family that the Flow speaks.
    pub family: FamilyChoice,
    /// How TLS certificates are verified; no effect on a target without TLS.
    pub tls: TlsOptions,
    /// HTTP and WebSocket headers, gRPC metadata. Values are secret and never shown.
    pub headers: Vec<(String, String)>,
    /// The version of HTTP for plain requests. Flows themselves speak HTTP/1.1.
    pub http_version: HttpVersion,
    /// Compression of gRPC requests; HTTP and WebSocket ignore it, as in Jina.
    pub compression: Compression,
    /// Timeout of one attempt of a request, from when it is handed to an open connection (where it
    /// may wait for the Flow to read) to the end of its response.
    pub timeout: Option<Duration>,
    /// Timeout of connecting, including the TLS handshake.
    pub connect_timeout: Duration,
    /// Which failures are retried, and how often.
    pub retry: Retry,
    /// Connections of a session; requests are spread over them. Over HTTP, where a connection
    /// carries one request at a time, these are opened first, and more if more requests are in
    /// flight.
    pub connections: usize,
    /// Over HTTP: the maximum number of open connections per session; further requests wait. 0
    /// means no limit.
    pub connections_max: usize,
    /// Maximum number of requests in flight on one session; 0 means no limit. Jina's default is
    /// 1000.
    pub prefetch: usize,
    /// Whether responses are returned in the order of their requests.
    pub results_in_order: bool,
    /// Over gRPC: whether requests are sent over one long-lived stream per connection, Jina's
    /// default. If not, each is a separate call (`process_single_data`, which Flows of the v2
    /// family serve).
    pub stream: bool,
    /// Limits on the memory that a server can make us use.
    pub limits: Limits,
    /// Limit on the memory of all responses that are arriving or still held, over all sessions that
    /// share it. `None`: no limit, for a program that collects responses.
    pub response_memory: Option<ResponseMemory>,
}

/// The family of a Flow, or how to find it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyChoice {
    /// Ask `_status` (gRPC) or `GET /status` (HTTP, WebSocket) when the session opens.
    #[default]
    Auto,
    /// This family, without asking.
    Is(Family),
    /// Not a Flow: it is asked nothing and takes only plain HTTP requests.
    NoFlow,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    One,
    /// HTTP/2: by ALPN with TLS, by prior knowledge without. For plain requests only, so it needs
    /// [`FamilyChoice::NoFlow`].
    Two,
}

/// Compression of gRPC requests. A gateway never compresses its responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// The gzip format.
    Gzip,
    /// The zlib format, which gRPC calls deflate.
    Deflate,
}

/// TLS settings. Certificates are verified unless `insecure` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates trusted in addition to the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain, PEM; requires `key`.
    pub cert: Option<PathBuf>,
    /// The client's private key, PEM; requires `cert`.
    pub key: Option<PathBuf>,
    /// The name to verify instead of the host's.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// Jina's retries: `max_attempts=1` means none. Before attempt `n + 1` we wait for a uniformly
/// random time between zero and `min(initial_backoff · backoff_multiplier^(n-1), max_backoff)`; the
/// first wait is exactly `initial_backoff`, as in Jina's later client.
///
/// Retried are requests that did not reach the Flow (could not connect, lost before sending) and
/// those that its gateway could not serve at the time (gRPC's UNAVAILABLE, DEADLINE_EXCEEDED and
/// INTERNAL, HTTP 429, 502, 503 and 504, a WebSocket closed with 1011). A server that answers with
/// `Retry-After` is given that time, up to a minute. Our own timeout, or a connection lost after
/// the request was sent, is not retried: the request may have been served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Maximum number of attempts, including the first; at least 1.
    pub max_attempts: u32,
    /// The first wait.
    pub initial_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// Factor by which the upper limit grows from one wait to the next.
    pub backoff_multiplier: f64,
}

/// Limits on the memory that responses can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of one response after decompression, in bytes.
    pub message_bytes_max: usize,
}

impl ClientConfig {
    /// Jina's default for `prefetch`.
    pub const PREFETCH: usize = 1000;

    /// Jina's defaults: the Flow is asked for its family, no TLS options, no retries, 1000 requests
    /// in flight.
    pub fn new(target: Target) -> ClientConfig {
        ClientConfig {
            target,
            http_target: None,
            family: FamilyChoice::Auto,
            tls: TlsOptions::default(),
            headers: Vec::new(),
            http_version: HttpVersion::One,
            compression: Compression::None,
            timeout: None,
            connect_timeout: Duration::from_secs(10),
            retry: Retry::default(),
            connections: 1,
            connections_max: 0,
            prefetch: ClientConfig::PREFETCH,
            results_in_order: false,
            stream: true,
            limits: Limits::default(),
            response_memory: None,
        }
    }

    /// Checks everything that can be checked before anything is sent: headers and, if the target
    /// has TLS, the files and names of the TLS options.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.header_map()?;
        check_tls(self)
    }

    /// The headers of every request: the user's, plus basic authorization if the address has user
    /// info and the user's headers include no `authorization`.
    ///
    /// # Errors
    /// A header that HTTP does not allow, or that would contradict what we send.
    pub(super) fn header_map(&self) -> Result<HeaderMap, ConfigError> {
        let mut map = HeaderMap::with_capacity(self.headers.len() + 1);
        for (name, value) in &self.headers {
            let (key, value) = header(name, value)?;
            if key == CONTENT_TYPE && self.target.protocol == Protocol::Grpc {
                let reason = "is reserved by gRPC and cannot be set";
                return Err(ConfigError::Header { name: name.clone(), reason });
            }
            map.append(key, value);
        }
        if let Some(user_info) = self.target.user_info.as_ref()
            && !map.contains_key(AUTHORIZATION)
        {
            let encoded = base64::engine::general_purpose::STANDARD.encode(user_info);
            let mut value =
                HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is visible ASCII");
            value.set_sensitive(true);
            map.insert(AUTHORIZATION, value);
        }
        Ok(map)
    }
}

/// Parses a header to send. Its value may be a secret.
///
/// # Errors
/// A header that HTTP does not allow, or that would contradict what we send.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let bad = |reason| ConfigError::Header { name: name.to_owned(), reason };
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        bad("the name cannot be sent; expected letters, digits and dashes such as `x-token`")
    })?;
    let ours = OURS.contains(&key.as_str());
    if ours || OUR_PREFIXES.iter().any(|prefix| key.as_str().starts_with(prefix)) {
        return Err(bad("is reserved by the protocol and cannot be set"));
    }
    let mut value = HeaderValue::from_str(value)
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or_else(|| bad("the value cannot be sent; expected visible ASCII and spaces"))?;
    value.set_sensitive(true);
    Ok((key, value))
}

/// Headers about the framing of messages: setting them would break the connection.
const OURS: [&str; 7] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];
const OUR_PREFIXES: [&str; 2] = ["grpc-", "sec-websocket-"];

/// Shows the names of headers, but not their values.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ClientConfig")
            .field("target", &self.target)
            .field("http_target", &self.http_target)
            .field("family", &self.family)
            .field("tls", &self.tls)
            .field("headers", &names)
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("retry", &self.retry)
            .field("connections", &self.connections)
            .field("connections_max", &self.connections_max)
            .field("prefetch", &self.prefetch)
            .field("results_in_order", &self.results_in_order)
            .field("stream", &self.stream)
            .field("limits", &self.limits)
            .field("response_memory", &self.response_memory)
            .finish()
    }
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            max_attempts: 1,
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(2),
            backoff_multiplier: 1.5,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        // Twice the size that a gateway is known to pass in one message, and small enough that a
        // thousand misbehaving replies, one at a time, cannot bring a machine down.
        Limits { message_bytes_max: 256 << 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ClientConfig {
        ClientConfig::new(Target {
            protocol: Protocol::Grpc,
            host: "h".into(),
            port: 1,
            tls: false,
            user_info: Some("me:pass word".into()),
        })
    }

    #[test]
    fn user_info_becomes_basic_authorization_unless_a_header_says_otherwise() {
        let mut config = config();
        assert_eq!(config.header_map().unwrap()["authorization"], "Basic bWU6cGFzcyB3b3Jk");
        config.headers.push(("Authorization".into(), "Bearer x".into()));
        assert_eq!(config.header_map().unwrap()["authorization"], "Bearer x");
    }

    #[test]
    fn headers_that_cannot_be_sent_are_named_without_their_values() {
        for (name, value, message) in [
            (
                "x token",
                "v",
                "header `x token`: the name cannot be sent; expected letters, digits and dashes such as `x-token`",
            ),
            (
                "x-token",
                "secret\n",
                "header `x-token`: the value cannot be sent; expected visible ASCII and spaces",
            ),
            (
                "Grpc-Timeout",
                "1S",
                "header `Grpc-Timeout`: is reserved by the protocol and cannot be set",
            ),
            ("TE", "x", "header `TE`: is reserved by the protocol and cannot be set"),
            ("content-type", "x", "header `content-type`: is reserved by gRPC and cannot be set"),
        ] {
            let config = ClientConfig { headers: vec![(name.into(), value.into())], ..config() };
            assert_eq!(config.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut config = config();
        config.headers.push(("x-token".into(), "hush".into()));
        let shown = format!("{config:?}");
        assert!(shown.contains("x-token") && !shown.contains("hush"), "{shown}");
        assert!(!shown.contains("pass word"), "{shown}");
    }
}
