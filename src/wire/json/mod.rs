//! Messages and Documents in JSON: HTTP of both families, WebSocket's JSON mode and GraphQL of v1,
//! and the plain form that files and people get.
//!
//! | dialect | keys of Documents | unset | blob | unknown keys |
//! |---|---|---|---|---|
//! | v1 | the 19 of `PydanticDocument`, snake_case | `null` | base64 | skipped |
//! | v2 | those of the schema, snake_case | `null`, tags `{}` | UTF-8 text | kept as `extra` |
//! | GraphQL | as v1, camelCase; scores are lists | `null` | base64 | skipped |
//! | plain | as v1 | left out | base64 | kept as `extra` |
//!
//! Arrays are nested lists everywhere. A list does not tell `<f4` from `<f8`: what is read becomes
//! `<i8`, `<f8` or `|b1`. [`Document`] tells how the plain form keeps more than that.
//!
//! NaN and infinity are no JSON. In the plain form they are protobuf's strings (`NaN`,
//! `Infinity`, `-Infinity`), elsewhere an error. Read are Python's names for them, and null in arrays of
//! v2, whose gateways write NaN so.

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

use super::codec::WriteError;
use super::{DecodeError, Document, EncodeError, Family};

/// How many Documents within one another are read and written. Reading takes more of the stack than
/// in protobuf, and JSON's own limit of 128 levels is made for smaller values.
const NESTING_MAX: usize = 32;

/// How a Document is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// What a client of v1 sends.
    V1Request,
    /// What a gateway of v1 answers: numbers of tags are floats.
    V1Response,
    /// Both directions of v2.
    V2,
    /// The same, where arrays and lists of Documents may be anything.
    V2Any,
    /// GraphQL of v1, as answered.
    GraphQl,
    /// Files and people.
    Plain,
}

/// Documents to be written in a dialect.
///
/// A serializer's errors are text. What we have to say is kept beside it, with its type.
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

    /// Of a request to a gateway of v2, which makes uninitialized memory of an array without axes.
    fn without_scalars(self) -> Context {
        Context { takes_scalars: false, ..self }
    }

    /// Ends the serializing with an error of ours.
    fn fail<T, E: serde::ser::Error>(&self, error: EncodeError) -> Result<T, E> {
        let text = E::custom(&error);
        self.note(error);
        Err(text)
    }

    /// Remembers what went wrong.
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

/// Documents as GraphQL hands them out, `StrawberryDocument`.
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
