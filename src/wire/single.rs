//! `SingleDocumentRequestProto`: what goes to a streaming endpoint and what comes back, one Document
//! a message. Only the v2 family has it.
//!
//! But for its fourth field it is a `DataRequestProto`, so it is read and written as one.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::encode_varint;

use super::proto::jina::{
    DataRequestProto, SingleDocumentRequestProto,
    data_request_proto::{DataContentProto, data_content_proto::Documents},
};
use super::{DataRequest, DecodeError, Family, Form};

/// Tag of `DocListProto.docs`, field 1, length-delimited.
const DOCS: u8 = 0x0a;

/// Decodes a message of a streaming endpoint; its Document is the only one of the result.
///
/// # Errors
/// As for any message of the v2 family.
pub fn decode_single(message: Bytes) -> Result<DataRequest, DecodeError> {
    let single = SingleDocumentRequestProto::decode(message)?;
    let mut docs = BytesMut::with_capacity(single.document.len() + 11);
    docs.put_u8(DOCS);
    encode_varint(single.document.len() as u64, &mut docs);
    docs.put_slice(&single.document);
    let many = DataRequestProto {
        header: single.header,
        parameters: single.parameters,
        routes: single.routes,
        data: Some(DataContentProto { documents: Some(Documents::Docs(docs.freeze())) }),
    };
    Form::Protobuf(Family::V2).decode(many.encode_to_vec().into())
}
