//! A request on its way through the Flow.
//!
//! What nobody looks at stays as it came: parameters and Documents are slices of the message that
//! brought them, and an answer is put together around those slices.

use bytes::Bytes;

use crate::wire::{
    DataRequest, DecodeError, Document, EncodeError, Family, Header, Map, RawDocs, RawRequest,
    Route, decode_struct, encode_struct,
};

/// A request, and in the end its answer.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) header: Header,
    parameters: Parameters,
    docs: Docs,
    pub(super) routes: Vec<Route>,
}

/// Parameters, decoded when somebody asks for them.
#[derive(Debug)]
enum Parameters {
    /// An encoded `google.protobuf.Struct`.
    Encoded(Bytes),
    /// What Executors read.
    Read(Map),
}

/// Documents, decoded when an Executor looks at them.
#[derive(Debug)]
enum Docs {
    /// An encoded `DocumentArrayProto` (v1) or `DocListProto` (v2).
    Encoded(Bytes),
    /// What Executors work on.
    Read(Vec<Document>),
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters::Encoded(Bytes::new())
    }
}

impl Default for Docs {
    fn default() -> Docs {
        Docs::Encoded(Bytes::new())
    }
}

impl Message {
    /// Reads a `DataRequestProto`.
    pub(super) fn decode(bytes: Bytes) -> Result<Message, DecodeError> {
        let raw = RawRequest::decode(bytes)?;
        let docs = match raw.docs {
            Some(RawDocs::Docs(docs)) => docs,
            Some(RawDocs::Bytes(_)) => {
                return Err(DecodeError::Content(
                    "`docs_bytes` can hold a Python pickle and is not read".into(),
                ));
            }
            None => Bytes::new(),
        };
        Ok(Message {
            header: Header { status: None, ..raw.header },
            parameters: Parameters::Encoded(raw.parameters),
            docs: Docs::Encoded(docs),
            routes: Vec::new(),
        })
    }

    /// Writes a `DataRequestProto`.
    pub(super) fn encode(self, family: Family) -> Result<Bytes, EncodeError> {
        let raw = RawRequest {
            header: self.header,
            parameters: match self.parameters {
                Parameters::Encoded(bytes) => bytes,
                Parameters::Read(map) => encode_struct(&map)?,
            },
            routes: self.routes,
            docs: Some(RawDocs::Docs(match self.docs {
                Docs::Encoded(bytes) => bytes,
                Docs::Read(docs) => family.encode_docs(&docs)?,
            })),
        };
        raw.encode()
    }

    /// Takes over what another form of message held.
    pub(super) fn from_request(request: DataRequest) -> Message {
        Message {
            header: Header { status: None, ..request.header },
            parameters: Parameters::Read(request.parameters),
            docs: Docs::Read(request.data.unwrap_or_default()),
            routes: Vec::new(),
        }
    }

    /// Hands over to another form of message.
    pub(super) fn into_request(self, family: Family) -> Result<DataRequest, DecodeError> {
        Ok(DataRequest {
            header: self.header,
            parameters: match self.parameters {
                Parameters::Read(map) => map,
                Parameters::Encoded(bytes) => decode_struct(bytes)?,
            },
            routes: self.routes,
            data: Some(match self.docs {
                Docs::Read(docs) => docs,
                Docs::Encoded(bytes) => family.decode_docs(bytes)?,
            }),
        })
    }

    /// The parameters, decoded if they are not yet.
    pub(super) fn parameters(&mut self) -> Result<&mut Map, DecodeError> {
        if let Parameters::Encoded(bytes) = &mut self.parameters {
            self.parameters = Parameters::Read(decode_struct(std::mem::take(bytes))?);
        }
        match &mut self.parameters {
            Parameters::Read(map) => Ok(map),
            Parameters::Encoded(_) => unreachable!("they were read just above"),
        }
    }

    /// The Documents, decoded if they are not yet.
    pub(super) fn docs(&mut self, family: Family) -> Result<&mut Vec<Document>, DecodeError> {
        if let Docs::Encoded(bytes) = &mut self.docs {
            self.docs = Docs::Read(family.decode_docs(std::mem::take(bytes))?);
        }
        match &mut self.docs {
            Docs::Read(docs) => Ok(docs),
            Docs::Encoded(_) => unreachable!("they were read just above"),
        }
    }
}
