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
use super::fields::Fields;
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
pub(super) fn pass(docs: &mut Docs, family: Family, fields: &Fields) -> Result<(), ReadError> {
    match docs {
        _ if fields.own().is_some() => read(docs, family, fields).map(|_| ()),
        Docs::Encoded(bytes) if plain::look(bytes, family) == Look::Plain => Ok(()),
        // The fields are not checked, but the bytes must be Documents.
        Docs::Encoded(bytes) if matches!(fields, Fields::Any) => {
            family.decode_docs(bytes.clone())?;
            Ok(())
        }
        _ => read(docs, family, fields).map(|_| ()),
    }
}

/// Reads Documents as an Executor does.
pub(super) fn read<'a>(
    docs: &'a mut Docs,
    family: Family,
    fields: &Fields,
) -> Result<&'a mut Vec<Document>, ReadError> {
    let mut read = match std::mem::take(docs) {
        Docs::Read(docs) => docs,
        Docs::Encoded(bytes) => match decode(&bytes, family, fields) {
            Ok(read) => read,
            Err(error) => {
                // The answer has them as the Executor received them.
                *docs = Docs::Encoded(bytes);
                return Err(error);
            }
        },
        Docs::Packed(bytes) => match unpack(&bytes, family, fields) {
            Ok(read) => read,
            Err(error) => {
                *docs = Docs::Packed(bytes);
                return Err(error);
            }
        },
    };
    for doc in &mut read {
        if let Err(exception) = fields.check(doc) {
            *docs = Docs::Read(read);
            return Err(exception.into());
        }
        doc.settle(family, &mut || crate::flow::message::new_uuid().as_u128());
    }
    *docs = Docs::Read(read);
    match docs {
        Docs::Read(docs) => Ok(docs),
        Docs::Encoded(_) | Docs::Packed(_) => unreachable!("it was set just above"),
    }
}

fn unpack(bytes: &Bytes, family: Family, fields: &Fields) -> Result<Vec<Document>, ReadError> {
    match family {
        Family::V1 => Err(Exception::new("UnpicklingError")
            .text("docs_bytes contains a Python pickle, which is not read")
            .into()),
        Family::V2 => decode(bytes, family, fields).map_err(|error| match error {
            ReadError::Decode(_) => {
                Exception::new("DecodeError").text("Error parsing message").into()
            }
            error => error,
        }),
    }
}

fn decode(bytes: &Bytes, family: Family, fields: &Fields) -> Result<Vec<Document>, ReadError> {
    match family {
        Family::V1 => {
            let mut docs = family.decode_docs(bytes.clone())?;
            docs.iter_mut().try_for_each(read_v1)?;
            docs.iter_mut().for_each(complete_v1);
            Ok(docs)
        }
        Family::V2 if !matches!(fields, Fields::Legacy) => Ok(family.decode_docs(bytes.clone())?),
        Family::V2 => {
            let mut list = DocListProto::decode(bytes.clone()).map_err(DecodeError::from)?;
            list.docs.iter_mut().try_for_each(read_v2)?;
            Ok(family.decode_docs(list.encode_to_vec().into())?)
        }
    }
}
