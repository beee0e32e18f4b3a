//! Why messages and files of Documents cannot be written or read.

use super::{ONE_CONTENT, TensorError};

/// How messages refer to a Document.
fn named(id: &str) -> String {
    if id.is_empty() { "a Document without an id".into() } else { format!("Document `{id}`") }
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// v1 allows only one content.
    #[error("{} has {found}, {}", named(id), ONE_CONTENT)]
    TwoContents {
        /// The Document's id.
        id: String,
        /// For example "text and blob".
        found: String,
    },
    /// An array that cannot be written in this form.
    #[error("array of {} cannot be sent", named(id))]
    Array {
        /// The Document's id.
        id: String,
        /// What is wrong with it.
        #[source]
        source: TensorError,
    },
    /// A value that the form cannot represent (an integer beyond 32 bits in v2, for example).
    #[error("{}: {what}", named(id))]
    Value {
        /// The Document's id.
        id: String,
        /// What cannot be written, and why.
        what: String,
    },
    /// A value that JSON cannot represent.
    #[error("cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// Chunks, matches, tags or parameters nested too deeply.
    #[error("nested deeper than {limit} levels, which no gateway would read")]
    Depth {
        /// Maximum number of levels in a message.
        limit: usize,
    },
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A Document that the format cannot represent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The file cannot be written.
    #[error("cannot be written")]
    Io(#[from] std::io::Error),
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the expected protobuf message.
    #[error("not a valid protobuf message")]
    Protobuf(#[from] prost::DecodeError),
    /// Not the expected JSON.
    #[error("{}", json_words(path, source))]
    Json {
        /// The field that is wrong, such as `data[0].weight`; empty if it is unknown or if the text is not
        /// JSON at all.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Documents of the other family, a pickle in `docs_bytes`, or an invalid array.
    #[error("{0}")]
    Content(String),
    /// JSON without any field of a response.
    #[error("JSON that is not a Jina response")]
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
        true if path.is_empty() => "not the expected structure".into(),
        true => format!("`{path}` does not have the expected structure"),
    }
}
