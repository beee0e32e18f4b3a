//! Failures that end a whole call. An Executor's exception does not: it is part of the answer.

use crate::flow::pattern::PatternError;
use crate::flow::topology::NetworkError;
use crate::wire::{DecodeError, EncodeError};

/// Why a request ends its whole call instead of getting an answer. Shown as the message of the exception
/// that a real gateway raises.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallFailure {
    /// `target_executor` is not a regular expression.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The request cannot be read.
    #[error("Error parsing message")]
    Decode(#[from] DecodeError),
    /// The request has no bytes at all, which a real gateway cannot handle.
    #[error("the buffer is already decompressed")]
    Empty,
    /// There is a number under `__results__`, which a real gateway cannot handle either.
    #[error("'float' object is not iterable")]
    Results,
    /// The answer cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// An Executor was not reached, or did not answer in time.
    #[error("{}", error.details())]
    Network {
        /// Id of the request, which the client gets back.
        request_id: String,
        error: NetworkError,
    },
}

impl CallFailure {
    /// The Python class of the exception, where gRPC reports it.
    pub(super) fn class(&self) -> &'static str {
        match self {
            CallFailure::Pattern(_) => "re.error",
            CallFailure::Decode(_) => "google.protobuf.message.DecodeError",
            CallFailure::Empty | CallFailure::Encode(_) => "ValueError",
            CallFailure::Results => "TypeError",
            CallFailure::Network { .. } => "jina.excepts.InternalNetworkError",
        }
    }
}
