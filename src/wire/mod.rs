//! Jina's messages: Documents, requests and responses, in both wire families and their JSON forms.
//!
//! Nothing here knows about connections: bytes in, values out, and back. `client/` and `flow/` send and
//! receive them.

mod check;
mod codec;
mod document;
mod envelope;
mod error;
pub mod files;
mod fit;
mod head;
mod json;
mod limits;
mod message;
mod mistakes;
pub mod proto;
mod raw;
mod schema;
mod single;
mod target;
mod tensor;
mod v1;
mod v2;
mod value;
mod values;
mod writer;

pub(crate) use check::{Invalid, python_class, told};
pub use codec::{Encoded, Form, RequestId};
pub use document::{Document, NamedScore, ONE_CONTENT};
pub use error::{DecodeError, EncodeError};
pub use fit::Misfit;
pub use json::graphql;
pub(crate) use json::quote_non_finite;
pub use message::{DataRequest, ExceptionInfo, Head, Header, Route, Status};
pub(crate) use mistakes::{SchemaMistake, Step};
pub use raw::{RawDocs, RawRequest, decode_struct, encode_status, encode_struct};
pub use schema::{EndpointSchema, Schema, Schemas};
pub use single::{decode_single, encode_single, encode_single_response};
pub use target::{Address, Target, TargetError};
pub use tensor::{ByteOrder, DType, NdArray, ScalarKind, SparseTensor, Tensor, TensorError};
pub use values::{Number, Values};

/// A JSON object that keeps the order of its keys: tags, parameters, results.
pub type Map = serde_json::Map<String, serde_json::Value>;

/// The protocol of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// gRPC, `grpc://` and `grpcs://`.
    Grpc,
    /// HTTP with JSON bodies, `http://` and `https://`.
    Http,
    /// WebSocket with protobuf frames, `ws://` and `wss://`.
    WebSocket,
}

/// The family of DocArray a Flow was built with. The two do not mix on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// DocArray before 0.30: one message type with fixed fields.
    V1,
    /// DocArray from 0.30 on: a map of named, typed nodes.
    V2,
}

impl Family {
    /// Both families, the older first.
    pub const ALL: [Family; 2] = [Family::V1, Family::V2];

    /// Its name in scenario files and results.
    pub fn name(self) -> &'static str {
        match self {
            Family::V1 => "v1",
            Family::V2 => "v2",
        }
    }
}
