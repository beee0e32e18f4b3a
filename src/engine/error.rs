//! Why requests are not made, and iterations do not go on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::documents::{DocumentError, TwoContents, Unfit};
use crate::plan::HttpError;
use crate::template::TemplateError;
use crate::units::Span;
use crate::wire::{DecodeError, EncodeError, Misfit};

/// Why a request could not be made. Ends the scenario: the next would fail as well.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FeedError {
    /// It could not be generated or encoded.
    #[error("request {index}")]
    Make {
        /// Which request, from 0.
        index: u64,
        /// What went wrong. Shared, because a feed hands its error on to every worker.
        #[source]
        source: Arc<MakeError>,
    },
    /// The data set has an entry that this Flow's Documents have no place for.
    #[error(transparent)]
    TwoContents(TwoContents),
    /// A Document does not fit the schema that the Flow told of the endpoint. Found before the load.
    #[error("endpoint `{endpoint}`: {unfit}")]
    Unfit {
        /// The endpoint.
        endpoint: String,
        /// Which Document, and what does not fit.
        unfit: Box<Unfit>,
    },
    /// The thread that makes them is gone.
    #[error("the thread that makes the requests ended in the middle")]
    Gone,
}

/// What kept a request from being made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A Document could not be generated or read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A Document does not fit the schema that the Flow told of the endpoint.
    #[error(transparent)]
    Fit(#[from] Misfit),
    /// A parameter or a variable of a mutation has no value.
    #[error(transparent)]
    Parameters(#[from] TemplateError),
    /// A plain HTTP request has a part without a value, or one that HTTP does not allow.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A Document or a parameter that has no place in the protocol's messages.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread that makes requests did not start.
    #[error(transparent)]
    Thread(#[from] io::Error),
}

/// Why an iteration could not go on to its next step.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    /// Something was to be kept of a response that is not what it should be.
    #[error("the response cannot be decoded: {0}")]
    Decode(DecodeError),
    /// The response does not have what was to be kept.
    #[error("`{name}` could not be kept")]
    Capture {
        /// Its key under `captured`.
        name: String,
        /// Why the expression has no value.
        #[source]
        source: TemplateError,
    },
    /// The request cannot be made of what was kept.
    #[error(transparent)]
    Make(#[from] FeedError),
    /// A step was repeated for as long as it may be.
    #[error("`{until}` did not hold within {}", Span::new(*.at_most).unwrap_or_default())]
    Repeat {
        /// What was to hold.
        until: String,
        /// For how long it was asked.
        at_most: Duration,
        /// Why it had no value the last time.
        #[source]
        source: Option<TemplateError>,
    },
    /// Making the request panicked.
    #[error("the request could not be made")]
    Gone,
}

impl NextError {
    /// The kind of error it is counted as.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            NextError::Repeat { .. } => "repeat",
            NextError::Decode(_)
            | NextError::Capture { .. }
            | NextError::Make(_)
            | NextError::Gone => "capture",
        }
    }
}
