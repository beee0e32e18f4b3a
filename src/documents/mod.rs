//! Generators and data sets: what requests carry.

use crate::template::TemplateError;
use crate::wire::Document;

/// A stream of Documents of which the `i`-th depends on the seed and `i` alone, so that any number
/// of threads or machines can make any part of it.
#[derive(Clone, Debug)]
pub struct Documents {}

/// Why a Document could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// An expression has no value for this Document.
    #[error("Document {i}: {source}")]
    Template {
        /// Which Document.
        i: u64,
        /// Which expression, and why.
        source: TemplateError,
    },
}

impl Documents {
    /// How many there are; `None`: as many as the load asks for.
    pub fn count(&self) -> Option<u64> {
        unimplemented!()
    }

    /// Whether all are equal, so that one encoding can serve for all.
    pub fn is_constant(&self) -> bool {
        unimplemented!()
    }

    /// The `i`-th, counted from 0. Asking for one past [`Documents::count`] is the caller's mistake;
    /// it gets what the generator would make of that `i`.
    ///
    /// # Errors
    /// An expression that fails, a data set that changed since it was opened.
    pub fn get(&self, _i: u64) -> Result<Document, DocumentError> {
        unimplemented!()
    }
}
