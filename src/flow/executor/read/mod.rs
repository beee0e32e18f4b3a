//! Decodes Documents as docarray of either family does, which changes some of them.

mod tensor;
mod v1;
mod v2;

use bytes::Bytes;
use prost::Message as _;

pub(in crate::flow) use self::v1::complete_v1;
use self::v1::read_v1;
use self::v2::read_v2;
use super::exception::Exception;
use crate::flow::message::Docs;
use crate::flow::plain::{self, Look};
use crate::wire::proto::v2::DocListProto;
use crate::wire::{DecodeError, Document, Family};

/// Why Documents cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// They are not messages of this family: the whole call fails.
    Decode(DecodeError),
    /// The Executor raises an exception.
    Exception(Exception),
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> ReadError {
        ReadError::Decode(error)
    }
}

impl From<Exception> for ReadError {
    fn from(exception: Exception) -> ReadError {
        ReadError::Exception(exception)
    }
}

/// Reads Documents for an Executor that does not look at them. If reading would not change them, they stay
/// encoded.
pub(super) fn pass(docs: &mut Docs, family: Family, any_field: bool) -> Result<(), ReadError> {
    match docs {
        Docs::Encoded(bytes) if plain::look(bytes, family) == Look::Plain => Ok(()),
        // Fields of a custom schema are not checked, but they must be Documents.
        Docs::Encoded(bytes) if any_field => {
            family.decode_docs(bytes.clone())?;
            Ok(())
        }
        _ => read(docs, family, any_field).map(|_| ()),
    }
}

/// Reads Documents as an Executor does.
pub(super) fn read(
    docs: &mut Docs,
    family: Family,
    any_field: bool,
) -> Result<&mut Vec<Document>, ReadError> {
    let mut read = match std::mem::take(docs) {
        Docs::Read(docs) => docs,
        Docs::Encoded(bytes) => match decode(&bytes, family, any_field) {
            Ok(read) => read,
            Err(error) => {
                // The answer has them as the Executor got them.
                *docs = Docs::Encoded(bytes);
                return Err(error);
            }
        },
        Docs::Packed(bytes) => match unpack(&bytes, family, any_field) {
            Ok(read) => read,
            Err(error) => {
                *docs = Docs::Packed(bytes);
                return Err(error);
            }
        },
    };
    for doc in &mut read {
        doc.settle(family, &mut || crate::flow::message::new_uuid().as_u128());
    }
    *docs = Docs::Read(read);
    match docs {
        Docs::Read(docs) => Ok(docs),
        Docs::Encoded(_) | Docs::Packed(_) => unreachable!("it was set just above"),
    }
}

fn unpack(bytes: &Bytes, family: Family, any_field: bool) -> Result<Vec<Document>, ReadError> {
    match family {
        Family::V1 => Err(Exception::new("UnpicklingError")
            .text("docs_bytes holds a Python pickle, which is not read")
            .into()),
        Family::V2 => decode(bytes, family, any_field).map_err(|error| match error {
            ReadError::Decode(_) => {
                Exception::new("DecodeError").text("Error parsing message").into()
            }
            error => error,
        }),
    }
}

fn decode(bytes: &Bytes, family: Family, any_field: bool) -> Result<Vec<Document>, ReadError> {
    match family {
        Family::V1 => {
            let mut docs = family.decode_docs(bytes.clone())?;
            docs.iter_mut().try_for_each(read_v1)?;
            docs.iter_mut().for_each(complete_v1);
            Ok(docs)
        }
        Family::V2 if any_field => Ok(family.decode_docs(bytes.clone())?),
        Family::V2 => {
            let mut list = DocListProto::decode(bytes.clone()).map_err(DecodeError::from)?;
            list.docs.iter_mut().try_for_each(read_v2)?;
            Ok(family.decode_docs(list.encode_to_vec().into())?)
        }
    }
}
