//! Where a Flow is: protocol, host, port, TLS, from a URI, separate arguments or a mix.

use std::fmt;

use super::Protocol;

/// An address as a user gives it: a host that may be a URI, and separate arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// `my.flow`, `my.flow:1234` or `grpcs://my.flow:1234`; `0.0.0.0` when left out.
    pub host: Option<String>,
    /// Given apart from `host`.
    pub port: Option<u16>,
    /// Given apart from `host`.
    pub protocol: Option<Protocol>,
    /// Given apart from `host`.
    pub tls: Option<bool>,
}

/// A resolved address, shown as `grpcs://my.flow:1234`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// How the gateway is spoken to.
    pub protocol: Protocol,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// `user:password` from the URI; sent as basic authorization, never shown.
    pub user_info: Option<String>,
}

/// Why an address is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The host gives something that a separate argument gives too.
    #[error(
        "two sources of truth for {what}: `{host}` gives one and the argument `{argument}` another; leave one out"
    )]
    TwoSources {
        /// `port`, `protocol` or `tls`.
        what: &'static str,
        /// The host as written.
        host: String,
        /// The argument as written.
        argument: String,
    },
}

impl Target {
    /// The URI scheme, `grpcs` for gRPC with TLS.
    pub fn scheme(&self) -> &'static str {
        match (self.protocol, self.tls) {
            (Protocol::Grpc, false) => "grpc",
            (Protocol::Grpc, true) => "grpcs",
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::WebSocket, false) => "ws",
            (Protocol::WebSocket, true) => "wss",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme(), self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme(), self.host, self.port)
        }
    }
}
