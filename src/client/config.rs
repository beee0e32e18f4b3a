//! What a client needs to know before it connects.

use std::path::PathBuf;
use std::time::Duration;

use crate::wire::{Family, Target};

/// Everything about one client. `ClientConfig::new(target)` has Jina's defaults.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the Flow is.
    pub target: Target,
    /// Which family it speaks.
    pub family: FamilyChoice,
    /// How TLS verifies; of no effect on a plain target.
    pub tls: TlsOptions,
    /// HTTP and WebSocket headers, gRPC metadata. Values are secrets: never shown.
    pub headers: Vec<(String, String)>,
    /// Of gRPC requests; HTTP and WebSocket ignore it, as in Jina.
    pub compression: Compression,
    /// For one request, from its being sent to the end of its response.
    pub timeout: Option<Duration>,
    /// For connecting, TLS handshake included.
    pub connect_timeout: Duration,
    /// What is tried again, and how often.
    pub retry: Retry,
    /// Connections of a session; requests are spread over them.
    pub connections: usize,
    /// Requests in flight on one session; 0 is no limit. Jina's default is 1000.
    pub prefetch: usize,
    /// Hand responses out in the order of their requests.
    pub results_in_order: bool,
    /// Bounds on what a server may make us hold.
    pub limits: Limits,
}

/// The family of a Flow, or the order to ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyChoice {
    /// Ask `_status` (gRPC) or `GET /status` (HTTP, WebSocket) when the session opens.
    #[default]
    Auto,
    /// As the user said.
    Is(Family),
}

/// Compression of gRPC requests. A gateway never compresses its responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// What gRPC calls deflate: the zlib format.
    Deflate,
}

/// Verification is on unless `insecure` switches it off by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Trusted besides the system's certificates: PEM.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain, PEM; goes with `key`.
    pub cert: Option<PathBuf>,
    /// Our own private key, PEM; goes with `cert`.
    pub key: Option<PathBuf>,
    /// The name to verify instead of the host's.
    pub server_name: Option<String>,
    /// Take any certificate.
    pub insecure: bool,
}

/// Jina's retries: `max_attempts=1` is none. Before attempt `n + 1` we wait a uniform time between
/// zero and `min(initial_backoff · backoff_multiplier^(n-1), max_backoff)`; the first wait is
/// `initial_backoff` itself, as in Jina's later client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// The first wait.
    pub initial_backoff: Duration,
    /// No wait is longer.
    pub max_backoff: Duration,
    /// Growth of the bound from wait to wait.
    pub backoff_multiplier: f64,
}

/// Bounds on memory that a server's bytes can claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one response after decompression, in bytes.
    pub message_bytes_max: usize,
}

impl ClientConfig {
    /// Jina's defaults: family asked for, no TLS options, no retries, 1000 requests in flight.
    pub fn new(target: Target) -> ClientConfig {
        ClientConfig {
            target,
            family: FamilyChoice::Auto,
            tls: TlsOptions::default(),
            headers: Vec::new(),
            compression: Compression::None,
            timeout: None,
            connect_timeout: Duration::from_secs(10),
            retry: Retry::default(),
            connections: 1,
            prefetch: 1000,
            results_in_order: false,
            limits: Limits::default(),
        }
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
        // Twice what a gateway is known to pass in one piece without complaint, and still a size
        // that a thousand misbehaving replies cannot turn into a dead machine one by one.
        Limits { message_bytes_max: 256 << 20 }
    }
}
