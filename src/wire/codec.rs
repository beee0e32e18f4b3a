//! From values to bytes and back, for every form a message takes on the wire.

use bytes::{Bytes, BytesMut};

use super::{
    DataRequest, Document, Family, Head, ONE_CONTENT, TensorError, envelope, envelope::NO_ID, json,
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

/// A message encoded but for its request id, so that a body that does not change is made once.
///
/// The id has 32 bytes in every form and stands at a fixed place near the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: Bytes,
    id_at: usize,
}

/// 32 lower-case hex digits: 16 that name the sender, 16 that count its requests.
///
/// The count is read back from a response without a look-up table of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Chosen at random for each stream.
    pub sender: u64,
    /// Counts within the stream.
    pub number: u64,
}

/// What a message calls a Document by.
fn named(id: &str) -> String {
    if id.is_empty() { "a Document without an id".into() } else { format!("Document `{id}`") }
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// v1 has one content.
    #[error("{} has {found}, {}", named(id), ONE_CONTENT)]
    TwoContents {
        /// Which Document.
        id: String,
        /// For example "text and blob".
        found: String,
    },
    /// An array that cannot be written in this form.
    #[error("array of {} cannot be sent", named(id))]
    Array {
        /// Which Document.
        id: String,
        /// What is wrong with it.
        #[source]
        source: TensorError,
    },
    /// A value the form has no place for, in words (an integer beyond 32 bits in v2 …).
    #[error("{}: {what}", named(id))]
    Value {
        /// Which Document.
        id: String,
        /// What cannot be written, and why.
        what: String,
    },
    /// A value that JSON has no way to write.
    #[error("cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// Chunks, matches, tags or parameters within one another beyond all measure.
    #[error("nested deeper than {limit} levels, which no gateway would read")]
    Depth {
        /// The most levels a message may have.
        limit: usize,
    },
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A Document that the format has no place for.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The file takes no more.
    #[error("cannot be written")]
    Io(#[from] std::io::Error),
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the protobuf message it should be.
    #[error("not a valid protobuf message")]
    Protobuf(#[from] prost::DecodeError),
    /// Not the JSON it should be.
    #[error("{}", json_words(path, source))]
    Json {
        /// The field that is wrong, such as `data[0].weight`; empty where it is not known, or where it is
        /// no JSON at all.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Documents of the other family, a pickle in `docs_bytes`, an array that is none.
    #[error("{0}")]
    Content(String),
    /// JSON without anything that a response has.
    #[error("JSON that is no Jina response")]
    NoResponse,
}

impl From<serde_json::Error> for DecodeError {
    fn from(source: serde_json::Error) -> DecodeError {
        DecodeError::Json { path: String::new(), source }
    }
}

fn json_words(path: &str, source: &serde_json::Error) -> String {
    match source.is_data() {
        false => "not valid JSON".into(),
        true if path.is_empty() => "not as it should be".into(),
        true => format!("`{path}` is not as it should be"),
    }
}

impl Encoded {
    /// A message with the placeholder for an id in it, near its beginning.
    pub(super) fn new(bytes: Bytes, id_at: usize) -> Encoded {
        debug_assert_eq!(&bytes[id_at..id_at + RequestId::LEN], NO_ID.as_bytes());
        Encoded { bytes, id_at }
    }

    /// The whole message, with this id in its place. Copies; `head` and `tail` do not.
    pub fn with_id(&self, id: RequestId) -> Bytes {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        bytes[self.id_at..self.id_at + RequestId::LEN].copy_from_slice(&id.digits());
        bytes.freeze()
    }

    /// What comes before the request id.
    pub fn head(&self) -> Bytes {
        self.bytes.slice(..self.id_at)
    }

    /// What comes after the request id.
    pub fn tail(&self) -> Bytes {
        self.bytes.slice(self.id_at + RequestId::LEN..)
    }

    /// What comes before the request id, and what comes after it.
    pub(crate) fn pieces(&self) -> (&[u8], &[u8]) {
        (&self.bytes[..self.id_at], &self.bytes[self.id_at + RequestId::LEN..])
    }

    /// Length of the whole message, id included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A message holds an id at least.
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

    /// Reads what `digits` wrote; `None` for an id that is not one of ours.
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
    /// Whether a client has to give Documents an id: a gateway of v2 hands on what has none over HTTP, where
    /// Jina's client always makes one.
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
    /// What a Python client would send: empty parameters become `{"__results__": {}}`, and in v2 all
    /// fields of the default schema are there, unset ones empty, unless the Document has fields of
    /// another schema.
    ///
    /// # Errors
    /// When a Document has what the form has no place for, or nests too deep.
    pub fn encode_request(self, request: &DataRequest) -> Result<Encoded, EncodeError> {
        match self {
            Form::Protobuf(family) => envelope::encode_request(family, request),
            Form::Json(family) => json::encode_request(family, request),
            Form::WebSocketJson => json::encode_request(Family::V1, request),
        }
    }

    /// Encodes a response as this family's gateway would: camelCase or snake_case, nulls included.
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

    /// Decodes a request or a response as a whole. Strings are copied, blobs and buffers of protobuf
    /// are slices of the message.
    ///
    /// # Errors
    /// When it is no message of this form, or holds a Python pickle.
    pub fn decode(self, message: Bytes) -> Result<DataRequest, DecodeError> {
        match self {
            Form::Protobuf(family) => envelope::decode(family, message),
            Form::Json(family) => json::decode(family, &message),
            Form::WebSocketJson => json::decode(Family::V1, &message),
        }
    }

    /// Decodes header and routes alone, without looking at parameters and Documents.
    ///
    /// # Errors
    /// When these are not valid; what is wrong elsewhere does not show.
    pub fn decode_head(self, message: &Bytes) -> Result<Head, DecodeError> {
        match self {
            Form::Protobuf(_) => envelope::decode_head(message),
            Form::Json(_) | Form::WebSocketJson => json::decode_head(message),
        }
    }
}

impl Family {
    /// A `DocumentArrayProto` (v1) or `DocListProto` (v2).
    ///
    /// # Errors
    /// When a Document has what the family has no place for, or nests too deep.
    pub fn encode_docs(self, docs: &[Document]) -> Result<Bytes, EncodeError> {
        envelope::encode_docs(self, docs)
    }

    /// Reads Documents as the HTTP gateway of this family takes them, a JSON array.
    ///
    /// # Errors
    /// When a value cannot become what its field holds.
    pub fn docs_from_json(self, docs: &serde_json::Value) -> Result<Vec<Document>, DecodeError> {
        json::read_documents(self, docs)
    }

    /// Reads a `DocumentArrayProto` (v1) or `DocListProto` (v2).
    ///
    /// Fields of v1's messages that no release of it has are skipped; names of v2's schemas that are
    /// not ours are kept in [`Document::extra`].
    ///
    /// # Errors
    /// When it is no such message.
    pub fn decode_docs(self, docs: Bytes) -> Result<Vec<Document>, DecodeError> {
        envelope::decode_docs(self, docs)
    }
}
