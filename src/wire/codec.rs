//! Encodes values to bytes and back, for every form a message takes on the wire.

use bytes::{Bytes, BytesMut};

use super::{
    DataRequest, DecodeError, Document, EncodeError, Family, Head, envelope, envelope::NO_ID, json,
};

/// The shape of a message on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `DataRequestProto`: gRPC and WebSocket's binary mode.
    Protobuf(Family),
    /// The JSON bodies of a gateway's HTTP (v1: `POST /post`; v2: `POST /<endpoint>`).
    Json(Family),
    /// The text frames of a v1 gateway's WebSocket in JSON mode. Requests are those of HTTP.
    WebSocketJson,
}

/// A message encoded except for its request id, so that an unchanging body is encoded only once.
///
/// The id takes 32 bytes in every form, at a fixed position near the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: Bytes,
    id_at: usize,
}

/// 32 lower-case hex digits: 16 identify the sender, 16 count its requests.
///
/// The count can be read back from a response without a lookup table of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Chosen at random for each stream.
    pub sender: u64,
    /// Counts within the stream.
    pub number: u64,
}

impl Encoded {
    /// A message with a placeholder for the id near its beginning.
    pub(super) fn new(bytes: Bytes, id_at: usize) -> Encoded {
        debug_assert_eq!(&bytes[id_at..id_at + RequestId::LEN], NO_ID.as_bytes());
        Encoded { bytes, id_at }
    }

    /// The whole message with this id. Copies the bytes; `head` and `tail` do not.
    pub fn with_id(&self, id: RequestId) -> Bytes {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        bytes[self.id_at..self.id_at + RequestId::LEN].copy_from_slice(&id.digits());
        bytes.freeze()
    }

    /// The bytes before the request id.
    pub fn head(&self) -> Bytes {
        self.bytes.slice(..self.id_at)
    }

    /// The bytes after the request id.
    pub fn tail(&self) -> Bytes {
        self.bytes.slice(self.id_at + RequestId::LEN..)
    }

    /// The bytes before and after the request id.
    pub(crate) fn pieces(&self) -> (&[u8], &[u8]) {
        (&self.bytes[..self.id_at], &self.bytes[self.id_at + RequestId::LEN..])
    }

    /// Length of the whole message, id included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a message contains at least an id.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl RequestId {
    /// Length as text, in bytes.
    pub const LEN: usize = 32;

    /// The digits.
    pub fn digits(self) -> [u8; RequestId::LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let value = (u128::from(self.sender) << 64) | u128::from(self.number);
        std::array::from_fn(|i| DIGITS[(value >> (124 - 4 * i)) as usize & 15])
    }

    /// Parses the output of `digits`; `None` for any other id.
    pub fn parse(text: &str) -> Option<RequestId> {
        let lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != RequestId::LEN || !text.bytes().all(lower_hex) {
            return None;
        }
        let value = u128::from_str_radix(text, 16).ok()?;
        Some(RequestId { sender: (value >> 64) as u64, number: value as u64 })
    }
}

impl Form {
    /// Whether a client has to give Documents an id: over HTTP, a v2 gateway forwards Documents without one,
    /// and Jina's client always creates one.
    pub fn wants_ids(self) -> bool {
        self == Form::Json(Family::V2)
    }

    /// The family of the messages.
    pub fn family(self) -> Family {
        match self {
            Form::Protobuf(family) | Form::Json(family) => family,
            Form::WebSocketJson => Family::V1,
        }
    }

    /// Encodes a request; the id in its header is ignored, see [`Encoded`].
    ///
    /// Produces what a Python client would send: empty parameters become `{"__results__": {}}`, and in v2 all
    /// fields of the default schema are present, unset ones empty, unless the Document has fields of another
    /// schema.
    ///
    /// # Errors
    /// When a Document has something that the form cannot represent, or is nested too deeply.
    pub fn encode_request(self, request: &DataRequest) -> Result<Encoded, EncodeError> {
        match self {
            Form::Protobuf(family) => envelope::encode_request(family, request),
            Form::Json(family) => json::encode_request(family, request),
            Form::WebSocketJson => json::encode_request(Family::V1, request),
        }
    }

    /// Encodes a response as this family's gateway does: camelCase or snake_case, nulls included.
    ///
    /// # Errors
    /// As for requests.
    pub fn encode_response(self, response: &DataRequest) -> Result<Bytes, EncodeError> {
        match self {
            Form::Protobuf(family) => envelope::encode_response(family, response),
            Form::Json(family) => json::encode_response(family, response),
            Form::WebSocketJson => json::encode_websocket_response(response),
        }
    }

    /// Decodes a whole request or response. Strings are copied; blobs and buffers in protobuf are slices of
    /// the message.
    ///
    /// # Errors
    /// When it is not a message of this form, or contains a Python pickle.
    pub fn decode(self, message: Bytes) -> Result<DataRequest, DecodeError> {
        match self {
            Form::Protobuf(family) => envelope::decode(family, message),
            Form::Json(family) => json::decode(family, &message),
            Form::WebSocketJson => json::decode(Family::V1, &message),
        }
    }

    /// Decodes only header and routes, without looking at parameters and Documents.
    ///
    /// # Errors
    /// When these are not valid; errors elsewhere go unnoticed.
    pub fn decode_head(self, message: &Bytes) -> Result<Head, DecodeError> {
        match self {
            Form::Protobuf(_) => envelope::decode_head(message),
            Form::Json(_) | Form::WebSocketJson => json::decode_head(message),
        }
    }
}

impl Family {
    /// Encodes a `DocumentArrayProto` (v1) or `DocListProto` (v2).
    ///
    /// # Errors
    /// When a Document has something that the family cannot represent, or is nested too deeply.
    pub fn encode_docs(self, docs: &[Document]) -> Result<Bytes, EncodeError> {
        envelope::encode_docs(self, docs)
    }

    /// Reads Documents in the form that this family's HTTP gateway accepts: a JSON array.
    ///
    /// # Errors
    /// When a value cannot be converted to its field's type.
    pub fn docs_from_json(self, docs: &serde_json::Value) -> Result<Vec<Document>, DecodeError> {
        json::read_documents(self, docs)
    }

    /// Reads a `DocumentArrayProto` (v1) or `DocListProto` (v2).
    ///
    /// Fields that no v1 release has are skipped; v2 fields that we do not know are kept in
    /// [`Document::extra`].
    ///
    /// # Errors
    /// When it is not such a message.
    pub fn decode_docs(self, docs: Bytes) -> Result<Vec<Document>, DecodeError> {
        envelope::decode_docs(self, docs)
    }
}
