//! Converts a body of the v1 family into the message that goes through the Flow, for HTTP, GraphQL and
//! WebSocket.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::body::PostV1;
use super::codecs::{self, CodecError};
use crate::flow::executor::complete_v1;
use crate::flow::message::{Docs, Message};
use crate::wire::{DecodeError, Family, Header, Map};

/// Why a body cannot become a message: a Document that a real gateway cannot handle either.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    /// Its blob is not base64.
    #[error(transparent)]
    Blob(#[from] CodecError),
    /// Another field of it cannot be read.
    #[error(transparent)]
    Document(#[from] DecodeError),
}

/// The message of a body.
///
/// # Errors
/// When a Document cannot be read.
pub(super) fn message_v1(post: PostV1, endpoint: Option<String>) -> Result<Message, MessageError> {
    let mut docs = Vec::new();
    for doc in post.data.into_iter().flatten() {
        docs.push(Value::Object(one_content(doc)?));
    }
    let mut docs = Family::V1.docs_from_json(&docs.into())?;
    docs.iter_mut().for_each(complete_v1);
    Ok(Message {
        header: Header {
            request_id: new_id(),
            exec_endpoint: Some(endpoint.unwrap_or(post.exec_endpoint)),
            target_executor: post.target_executor,
            status: None,
        },
        parameters: post.parameters.unwrap_or_default().into(),
        docs: Docs::Read(docs),
        ..Message::default()
    })
}

/// Keeps only one content of a Document: of several, the tensor if it has one, else the blob.
fn one_content(mut doc: Map) -> Result<Map, CodecError> {
    if let Some(Value::String(blob)) = doc.get("blob") {
        let blob = BASE64_STANDARD.encode(codecs::base64(blob)?);
        doc.insert("blob".into(), blob.into());
    }
    let empty = |doc: &Map, key: &str| doc.get(key).and_then(Value::as_str) == Some("");
    for key in ["text", "blob"] {
        if empty(&doc, key) {
            doc.shift_remove(key);
        }
    }
    if doc.contains_key("tensor") {
        doc.shift_remove("blob");
    }
    if doc.contains_key("tensor") || doc.contains_key("blob") {
        doc.shift_remove("text");
    }
    Ok(doc)
}

/// A new request id, as gateways make them.
pub(super) fn new_id() -> String {
    crate::flow::message::new_uuid().simple().to_string()
}
