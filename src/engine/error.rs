//! Why requests cannot be made, and iterations do not continue.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::documents::{DocumentError, TwoContents, Unfit};
use crate::plan::HttpError;
use crate::template::TemplateError;
use crate::units::Span;
use crate::wire::{DecodeError, EncodeError, Misfit};

/// Why a request could not be made. Ends the scenario: the next one would fail too.
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
    /// The data set has an entry that this Flow's Documents cannot hold.
    #[error(transparent)]
    TwoContents(TwoContents),
    /// A Document does not fit the schema that the Flow reports for the endpoint. Found before the
    /// load.
    #[error("endpoint `{endpoint}`: {unfit}")]
    Unfit {
        /// The endpoint.
        endpoint: String,
        /// Which Document, and what does not fit.
        unfit: Box<Unfit>,
    },
    /// The thread that makes the requests has ended.
    #[error("the thread that builds the requests ended unexpectedly")]
    Gone,
}

/// What kept a request from being made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A Document could not be generated or read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A Document does not fit the schema that the Flow reports for the endpoint.
    #[error(transparent)]
    Fit(#[from] Misfit),
    /// A parameter or a variable of a mutation has no value.
    #[error(transparent)]
    Parameters(#[from] TemplateError),
    /// A plain HTTP request has a part without a value, or one that HTTP does not allow.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A Document or a parameter that the protocol's messages cannot hold.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The thread that makes requests did not start.
    #[error(transparent)]
    Thread(#[from] io::Error),
}

/// Why an iteration could not go on to its next step.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    /// A value was to be kept of a response that cannot be decoded.
    #[error("the response cannot be decoded: {0}")]
    Decode(DecodeError),
    /// The response lacks the value that was to be kept.
    #[error("`{name}` could not be captured")]
    Capture {
        /// Its key under `captured`.
        name: String,
        /// Why the expression has no value.
        #[source]
        source: TemplateError,
    },
    /// The request cannot be made from what was kept.
    #[error(transparent)]
    Make(#[from] FeedError),
    /// A step was repeated for the longest time allowed.
    #[error("`{until}` was still false after {}", Span::new(*.at_most).unwrap_or_default())]
    Repeat {
        /// The condition that was not met.
        until: String,
        /// How long the step was repeated.
        at_most: Duration,
        /// Why the condition had no value the last time.
        #[source]
        source: Option<TemplateError>,
    },
    /// Making the request panicked.
    #[error("the request could not be built")]
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
