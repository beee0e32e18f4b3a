//! Messages and Documents in JSON: HTTP of both families, WebSocket's JSON mode and GraphQL of v1, and the
//! plain form for files and people.
//!
//! | dialect | keys of Documents | unset | blob | unknown keys |
//! |---|---|---|---|---|
//! | v1 | the 19 of `PydanticDocument`, snake_case | `null` | base64 | skipped |
//! | v2 | those of the schema, snake_case | `null`, tags `{}` | UTF-8 text | kept as `extra` |
//! | GraphQL | as v1, camelCase; scores are lists | `null` | base64 | skipped |
//! | plain | as v1 | left out | base64 | kept as `extra` |
//!
//! Arrays are nested lists everywhere. A list does not distinguish `<f4` from `<f8`: values are read as
//! `<i8`, `<f8` or `|b1`. [`Document`] explains how the plain form keeps more than that.
//!
//! NaN and infinity are not JSON. In the plain form they are protobuf's strings (`NaN`, `Infinity`,
//! `-Infinity`), elsewhere an error. Python's names for them can be read, as can null in arrays of v2, whose
//! gateways write NaN that way.

mod envelope;
mod parts;
mod read;
mod scan;
mod time;
mod write;

use std::cell::RefCell;
use std::io;

pub(crate) use envelope::quote_non_finite;
pub(super) use read::{DocumentsSeed, is_array_of_v2};

pub(super) use envelope::{
    decode, decode_head, encode_request, encode_response, encode_websocket_response,
};

use serde::Serialize;
use serde_json::Value;

use super::error::WriteError;
use super::{DecodeError, Document, EncodeError, Family};

/// Maximum depth of Documents within one another. Reading takes more stack than in protobuf, and serde_json's
/// own limit of 128 levels is meant for smaller values.
const NESTING_MAX: usize = 32;

/// How a Document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// What a v1 client sends.
    V1Request,
    /// What a v1 gateway answers: numbers in tags are floats.
    V1Response,
    /// Both directions of v2.
    V2,
    /// The same, but arrays and lists of Documents may be anything.
    V2Any,
    /// GraphQL of v1, as answered.
    GraphQl,
    /// For files and people.
    Plain,
}

/// Documents to be written in a dialect.
///
/// A serializer's errors are text, so our typed error is kept beside it.
pub(super) struct Context {
    pub(super) dialect: Dialect,
    /// Whether arrays without axes can be sent.
    takes_scalars: bool,
    failure: RefCell<Option<EncodeError>>,
}

impl Context {
    pub(super) fn new(dialect: Dialect) -> Context {
        Context { dialect, takes_scalars: true, failure: RefCell::new(None) }
    }

    /// For a request to a v2 gateway, which turns an array without axes into uninitialized memory.
    fn without_scalars(self) -> Context {
        Context { takes_scalars: false, ..self }
    }

    /// Ends serialization with one of our errors.
    fn fail<T, E: serde::ser::Error>(&self, error: EncodeError) -> Result<T, E> {
        let text = E::custom(&error);
        self.note(error);
        Err(text)
    }

    /// Remembers an error.
    fn note(&self, error: EncodeError) {
        *self.failure.borrow_mut() = Some(error);
    }

    /// The error behind a serializer's.
    fn error(&self, error: serde_json::Error) -> EncodeError {
        self.failure.take().unwrap_or(EncodeError::Json(error))
    }

    /// Writes JSON.
    fn to_vec(&self, value: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
        serde_json::to_vec(value).map_err(|error| self.error(error))
    }
}

/// Writes a JSON array as DocArray saves it: `save_json` of v1, `to_json` of v2.
pub(super) fn write_array(
    docs: &[Document],
    family: Family,
    out: &mut dyn io::Write,
) -> Result<(), WriteError> {
    let context = Context::new(match family {
        Family::V1 => Dialect::V1Request,
        Family::V2 => Dialect::V2,
    });
    serde_json::to_writer(out, &write::AsJson::new(docs, &context)).map_err(|error| {
        match error.is_io() {
            true => WriteError::Io(error.into()),
            false => WriteError::Encode(context.error(error)),
        }
    })
}

/// Documents of a request's `data`.
pub(super) fn read_documents(family: Family, docs: &Value) -> Result<Vec<Document>, DecodeError> {
    use serde::de::DeserializeSeed;
    let dialect = match family {
        Family::V1 => Dialect::V1Request,
        Family::V2 => Dialect::V2,
    };
    Ok(DocumentsSeed::new(dialect).deserialize(docs)?)
}

/// Documents as GraphQL returns them, `StrawberryDocument`.
pub mod graphql {
    use super::*;

    /// A Document with every field of the schema, unset ones null, keys in camelCase.
    pub fn from_document(doc: &Document) -> Result<Value, EncodeError> {
        let context = Context::new(Dialect::GraphQl);
        let value = serde_json::to_value(write::AsJson::new(doc, &context));
        value.map_err(|error| context.error(error))
    }

    /// A Document from a `StrawberryDocumentInput`. Tags are JSON text in a string.
    pub fn to_document(input: &Value) -> Result<Document, DecodeError> {
        use serde::de::DeserializeSeed;
        Ok(read::DocumentSeed::new(Dialect::GraphQl).deserialize(input)?)
    }
}
