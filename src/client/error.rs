//! Errors of calls and of settings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::{DecodeError, EncodeError, ExceptionInfo, Target};

/// Why a call got no reply, or got one that reports a failure.
///
/// Clonable, because one broken connection fails every request on it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing listens there, the name does not resolve, or the network refuses.
    #[error("could not connect to {target}: {reason}")]
    Connect {
        /// The address that was called.
        target: Target,
        /// The message of the operating system or of the resolver.
        reason: String,
    },
    /// No connection could be opened because of a limit on our side: files, ports or memory. The
    /// Flow was not contacted.
    #[error(
        "could not open a connection to {target}: {reason}; this is a limit of this machine, not \
         of the Flow"
    )]
    OwnLimit {
        /// The address that was called.
        target: Target,
        /// The message of the operating system, which names the limit.
        reason: String,
    },
    /// The TLS handshake failed: certificate not trusted, wrong name, no TLS on that port.
    #[error("TLS with {target} failed: {reason}")]
    Tls {
        /// The address that was called.
        target: Target,
        /// What was wrong and, if we know it, what to do.
        reason: String,
    },
    /// No reply within the timeout.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    /// The connection ended after the request was sent, before its reply.
    #[error("connection to {target} lost: {reason}")]
    Lost {
        /// The address that was called.
        target: Target,
        /// How it ended.
        reason: String,
    },
    /// The gateway said that it did not process the request, because its connection is about to end
    /// or it is at its limit of requests; or the connection ended before the request was sent.
    #[error("{target} did not accept the request: {reason}")]
    NotTaken {
        /// The address that was called.
        target: Target,
        /// The reason it gave, or what we observed.
        reason: String,
    },
    /// The peer does not speak the protocol.
    #[error("{target} does not speak {expected}: {reason}")]
    Protocol {
        /// The address that was called.
        target: Target,
        /// What we speak, for example `gRPC`.
        expected: &'static str,
        /// What came instead, with a guess at its protocol.
        reason: String,
        /// Whether `reason` names the protocol that the port seems to speak.
        named: bool,
    },
    /// The gateway itself refused or failed: a gRPC status, an HTTP status, a WebSocket close code.
    #[error("gateway answered {code}: {message}")]
    Gateway {
        /// The status or code of the refusal.
        code: GatewayCode,
        /// Its message.
        message: String,
        /// How long to wait before trying again, if given (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// An exception in an Executor, reported in a response.
    #[error("Executor failed: {description}")]
    Executor {
        /// Usually the `repr` of the exception.
        description: String,
        /// The name of the Executor whose route carries the failure, if there are routes.
        executor: Option<String>,
        /// The exception: class, arguments and traceback.
        exception: Option<Arc<ExceptionInfo>>,
    },
    /// A GraphQL response with errors.
    #[error("GraphQL mutation returned the following errors: {0}")]
    GraphQl(String),
    /// A response over the size limit; it was not read to its end.
    #[error("response is larger than the limit of {limit} bytes")]
    TooLarge {
        /// `Limits::message_bytes_max`.
        limit: usize,
    },
    /// A response that did not fit into our own memory limit; it was not read to its end.
    #[error(
        "response memory limit reached: responses in flight may take {bytes_max} bytes together; \
         raise `max_response_memory`"
    )]
    NoRoom {
        /// The limit of all responses together, in bytes: [`super::ResponseMemory`].
        bytes_max: usize,
    },
    /// A response that cannot be decoded.
    #[error("response cannot be decoded: {}", decode_words(.0))]
    Decode(Arc<DecodeError>),
    /// A request that cannot be encoded; nothing was sent.
    #[error("request cannot be encoded: {0}")]
    Encode(Arc<EncodeError>),
    /// Something this Flow or protocol cannot do (GraphQL with v2, `stream_doc` over HTTP).
    #[error("{0}")]
    Unsupported(String),
    /// An invalid setting of the client; nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The code with which a gateway refuses a request or reports its own failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayCode {
    /// The name of a gRPC status: `UNAVAILABLE`.
    Grpc(&'static str),
    /// An HTTP status.
    Http(u16),
    /// The code of a WebSocket close frame.
    Close(u16),
    /// The class of the exception that Jina's dry run reports; `None` if it names none.
    DryRun(Option<String>),
}

impl fmt::Display for GatewayCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayCode::Grpc(name) => f.write_str(name),
            GatewayCode::Http(status) => write!(f, "HTTP {status}"),
            GatewayCode::Close(code) => write!(f, "close {code}"),
            GatewayCode::DryRun(exception) => f.write_str(exception.as_deref().unwrap_or("ERROR")),
        }
    }
}

/// An invalid setting, reported before anything is sent. Never contains values of headers or
/// contents of files.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("TLS option `{option}`: cannot read `{}`: {source}", path.display())]
    TlsUnreadable {
        /// `ca`, `cert` or `key`.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<std::io::Error>,
    },
    /// A file with the wrong contents.
    #[error("TLS option `{option}`: `{}` {reason}", path.display())]
    TlsFile {
        /// `ca`, `cert` or `key`.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("TLS option `{given}` requires `{missing}`; set both")]
    TlsHalf {
        /// `cert` or `key`.
        given: &'static str,
        /// The one of `cert` and `key` that is missing.
        missing: &'static str,
    },
    /// A name that no certificate can be issued for.
    #[error("`{name}` is not a valid server name; expected a DNS name or an IP address")]
    TlsServerName {
        /// As written.
        name: String,
    },
    /// No certificate authority is trusted: the system has none, and none was given.
    #[error(
        "this system trusts no certificates; set TLS option `ca` to the server's certificate or \
         its issuer's"
    )]
    TlsNothingTrusted,
    /// A header that HTTP does not allow.
    #[error("header `{name}`: {reason}")]
    Header {
        /// Its name, as written.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An error with its causes.
fn decode_words(error: &DecodeError) -> String {
    let mut words = error.to_string();
    let mut behind = std::error::Error::source(error);
    while let Some(error) = behind {
        words.push_str(&format!(": {error}"));
        behind = error.source();
    }
    words
}

impl CallError {
    /// The kind of [`CallError::OwnLimit`].
    pub const OWN_LIMIT: &str = "own_limit";

    /// A short, stable name under which errors are counted: `connect`, `own_limit`, `tls`,
    /// `timeout`, `lost`, `protocol`, `gateway`, `executor`, `graphql`, `too_large`, `no_room`,
    /// `decode`, `encode`, `unsupported`, `config`.
    pub fn kind(&self) -> &'static str {
        match self {
            CallError::Connect { .. } => "connect",
            CallError::OwnLimit { .. } => CallError::OWN_LIMIT,
            CallError::Tls { .. } => "tls",
            CallError::Timeout(_) => "timeout",
            CallError::Lost { .. } | CallError::NotTaken { .. } => "lost",
            CallError::Protocol { .. } => "protocol",
            CallError::Gateway { .. } => "gateway",
            CallError::Executor { .. } => "executor",
            CallError::GraphQl(_) => "graphql",
            CallError::TooLarge { .. } => "too_large",
            CallError::NoRoom { .. } => "no_room",
            CallError::Decode(_) => "decode",
            CallError::Encode(_) => "encode",
            CallError::Unsupported(_) => "unsupported",
            CallError::Config(_) => "config",
        }
    }

    /// Whether there is no connection to the Flow, or no longer: the next request will probably
    /// fail too.
    pub fn is_of_connection(&self) -> bool {
        matches!(
            self,
            CallError::Connect { .. }
                | CallError::OwnLimit { .. }
                | CallError::Tls { .. }
                | CallError::Lost { .. }
                | CallError::NotTaken { .. }
                | CallError::Protocol { .. }
        )
    }

    /// Whether a new session may help, with new connections and the family asked for again: a Flow
    /// that was restarted may be a different one.
    pub(super) fn may_be_of_session(&self) -> bool {
        self.is_of_connection() || matches!(self, CallError::Gateway { .. } | CallError::Decode(_))
    }

    /// Whether no other request to this Flow can succeed, even over new connections.
    pub(super) fn is_final(&self) -> bool {
        match self {
            CallError::Connect { .. }
            | CallError::Tls { .. }
            | CallError::Protocol { .. }
            | CallError::Unsupported(_)
            | CallError::Config(_) => true,
            CallError::OwnLimit { .. }
            | CallError::Timeout(_)
            | CallError::Lost { .. }
            | CallError::NotTaken { .. }
            | CallError::Gateway { .. }
            | CallError::Executor { .. }
            | CallError::GraphQl(_)
            | CallError::TooLarge { .. }
            | CallError::NoRoom { .. }
            | CallError::Decode(_)
            | CallError::Encode(_) => false,
        }
    }
}
