//! A message whose parameters and Documents stay encoded: what a gateway handles.
//!
//! They are slices of the received message, so passing them on costs only one copy of their bytes.

use bytes::Bytes;
use prost::Message;

use super::envelope::{read_header, write_header, write_routes, write_status};
use super::proto::jina::{
    HeaderProto,
    data_request_proto::{DataContentProto, data_content_proto::Documents},
};
use super::value::{read_struct, write_struct};
use super::writer::Writer;
use super::{DecodeError, EncodeError, Header, Map, Route, Status};

/// A `DataRequestProto`, decoded except for its parameters and Documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawRequest {
    /// Id, endpoint, status.
    pub header: Header,
    /// An encoded `google.protobuf.Struct`; no bytes mean an empty one.
    pub parameters: Bytes,
    /// Not read from requests, which carry none.
    pub routes: Vec<Route>,
    /// The Documents; `None` if the message has no data at all.
    pub docs: Option<RawDocs>,
}

/// Encoded Documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawDocs {
    /// A `DocumentArrayProto` (v1) or `DocListProto` (v2).
    Docs(Bytes),
    /// What Jina calls `docs_bytes`: a Python pickle in v1, a `DocListProto` in v2.
    Bytes(Bytes),
}

/// The envelope as far as a gateway reads it; field numbers are those of `proto/jina.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    header: Option<HeaderProto>,
    #[prost(bytes = "bytes", tag = "2")]
    parameters: Bytes,
    #[prost(message, optional, tag = "4")]
    data: Option<DataContentProto>,
}

impl RawRequest {
    /// Decodes a `DataRequestProto`.
    ///
    /// # Errors
    /// When it is not a valid protobuf message. Errors within parameters or Documents show only when those
    /// are decoded.
    pub fn decode(message: Bytes) -> Result<RawRequest, DecodeError> {
        let envelope = Envelope::decode(message)?;
        Ok(RawRequest {
            header: envelope.header.map(read_header).unwrap_or_default(),
            parameters: envelope.parameters,
            routes: Vec::new(),
            docs: envelope.data.map(|data| match data.documents {
                Some(Documents::Docs(docs)) => RawDocs::Docs(docs),
                Some(Documents::DocsBytes(docs)) => RawDocs::Bytes(docs),
                None => RawDocs::Docs(Bytes::new()),
            }),
        })
    }

    /// Writes a `DataRequestProto`. Parameters are always present, even if empty.
    ///
    /// # Errors
    /// Never for values that the types above can hold.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        const FIXED: usize = 256; // header, names and times of a few routes
        let docs = match &self.docs {
            None => 0,
            Some(RawDocs::Docs(docs) | RawDocs::Bytes(docs)) => docs.len(),
        };
        let mut w =
            Writer::with_capacity(FIXED + 64 * self.routes.len() + self.parameters.len() + docs);
        match &self.docs {
            None => (),
            Some(RawDocs::Docs(docs)) => w.message(4, |w| {
                w.bytes(1, docs);
                Ok(())
            })?,
            Some(RawDocs::Bytes(docs)) => w.message(4, |w| {
                w.bytes(2, docs);
                Ok(())
            })?,
        }
        write_routes(&mut w, &self.routes)?;
        w.bytes(2, &self.parameters);
        w.message(1, |w| write_header(w, &self.header, &self.header.request_id))?;
        Ok(w.finish())
    }
}

/// Writes a `StatusProto`, the answer to a dry run.
pub fn encode_status(status: &Status) -> Bytes {
    let mut w = Writer::with_capacity(0);
    // It nests at most three messages, and excessive depth is the only possible error.
    match write_status(&mut w, status) {
        Ok(()) => w.finish(),
        Err(_) => Bytes::new(),
    }
}

/// Writes a `google.protobuf.Struct`.
///
/// # Errors
/// When it is nested deeper than protobuf libraries read.
pub fn encode_struct(map: &Map) -> Result<Bytes, EncodeError> {
    let mut w = Writer::with_capacity(0);
    write_struct(&mut w, map)?;
    Ok(w.finish())
}

/// Reads a `google.protobuf.Struct`.
///
/// # Errors
/// When the bytes are not a Struct.
pub fn decode_struct(bytes: Bytes) -> Result<Map, DecodeError> {
    Ok(read_struct(prost_types::Struct::decode(bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{DataRequest, Document, Family, Form};

    #[test]
    fn an_opened_message_closes_to_the_same_bytes() {
        let request = DataRequest {
            header: Header {
                request_id: "an id".into(),
                exec_endpoint: Some("/index".into()),
                ..Header::default()
            },
            parameters: Map::from_iter([("k".to_owned(), 3.0.into())]),
            data: Some(vec![Document::from_text("hello")]),
            ..DataRequest::default()
        };
        let bytes = Form::Protobuf(Family::V1).encode_response(&request).expect("it is valid");
        let raw = RawRequest::decode(bytes.clone()).expect("it was just written");
        assert_eq!(raw.header, request.header);
        assert_eq!(decode_struct(raw.parameters.clone()).ok(), Some(request.parameters));
        assert_eq!(raw.encode().ok(), Some(bytes));
    }
}
