//! A request on its way through the Flow.
//!
//! Parameters and Documents that are not needed are never decoded: they stay slices of the received message,
//! and the answer is built around those slices.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::Value;

use crate::wire::{
    DataRequest, DecodeError, Document, EncodeError, Family, Header, Map, RawDocs, RawRequest,
    Route, decode_struct, encode_struct,
};

/// The key under which Executors leave what they return.
pub(super) const RESULTS: &str = "__results__";

/// A request on its way in, and its answer on the way out.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) parameters: Parameters,
    pub(super) docs: Docs,
    pub(super) routes: Vec<Route>,
    /// Deliberate faults of the answer.
    pub(super) faults: Faults,
}

/// Deliberate faults of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) drop: bool,
    pub(super) twice: bool,
    pub(super) out_of_order: bool,
    pub(super) wrong_id: bool,
    pub(super) garbage: bool,
    pub(super) late: Duration,
}

/// Parameters, decoded when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// An encoded `google.protobuf.Struct`, unless they came in another form.
    encoded: Option<Bytes>,
    read: OnceLock<Map>,
}

/// Documents, decoded when an Executor needs them.
#[derive(Clone, Debug)]
pub(super) enum Docs {
    /// An encoded `DocumentArrayProto` (v1) or `DocListProto` (v2).
    Encoded(Bytes),
    /// What Jina calls `docs_bytes`: a Python pickle in v1, a `DocListProto` in v2.
    Packed(Bytes),
    /// What Executors work on.
    Read(Vec<Document>),
}

impl Default for Docs {
    fn default() -> Docs {
        Docs::Encoded(Bytes::new())
    }
}

impl Parameters {
    /// The parameters.
    pub(super) fn read(&self) -> Result<&Map, DecodeError> {
        if let Some(map) = self.read.get() {
            return Ok(map);
        }
        let map = match &self.encoded {
            // What the Python client sends if it is given none.
            Some(bytes) if **bytes == *NO_RESULTS => {
                Map::from_iter([(RESULTS.to_owned(), Map::new().into())])
            }
            Some(bytes) => decode_struct(bytes.clone())?,
            None => Map::new(),
        };
        Ok(self.read.get_or_init(|| map))
    }

    /// A parameter. Also `None` if the parameters are not decoded yet, as when a client gave none.
    pub(super) fn known(&self, key: &str) -> Option<&Value> {
        self.read.get().and_then(|map| map.get(key))
    }

    /// The parameters as one Executor gets them: `{"indexer": {"k": 3}}` and `{"indexer__k": 3}` reach
    /// `indexer` as `k`, and those for other Executors are left out.
    pub(super) fn of(&self, executor: &str) -> Result<Cow<'_, Map>, DecodeError> {
        let all = self.read()?;
        let specific =
            |key: &str| key.contains("__") && !key.starts_with("__") && !key.ends_with("__");
        let own = all.get(executor).and_then(Value::as_object).filter(|own| !own.is_empty());
        if own.is_none() && !all.keys().any(|key| specific(key)) {
            return Ok(Cow::Borrowed(all));
        }
        let mut parameters = all.clone();
        for (key, value) in all.iter().filter(|(key, _)| specific(key)) {
            // Jina removes all separators from the part before the last one.
            let (name, rest) = key.rsplit_once("__").unwrap_or_default();
            if name.replace("__", "") == executor {
                parameters.insert(rest.to_owned(), value.clone());
            }
            parameters.shift_remove(key);
        }
        parameters.extend(own.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        Ok(Cow::Owned(parameters))
    }

    /// Adds what Executors returned.
    pub(super) fn set_results(&mut self, results: Map) -> Result<(), DecodeError> {
        let mut map = self.read()?.clone();
        map.insert(RESULTS.to_owned(), results.into());
        *self = map.into();
        Ok(())
    }

    fn into_encoded(self) -> Result<Bytes, EncodeError> {
        match (self.encoded, self.read.into_inner()) {
            (Some(bytes), _) => Ok(bytes),
            (None, Some(map)) => encode_struct(&map),
            (None, None) => Ok(Bytes::new()),
        }
    }
}

/// `{"__results__": {}}`, encoded.
const NO_RESULTS: &[u8] = b"\x0a\x11\x0a\x0b__results__\x12\x02*\0";

impl From<Map> for Parameters {
    fn from(map: Map) -> Parameters {
        Parameters { encoded: None, read: map.into() }
    }
}

impl Message {
    /// Reads a `DataRequestProto`.
    pub(super) fn decode(bytes: Bytes) -> Result<Message, DecodeError> {
        let raw = RawRequest::decode(bytes)?;
        let parameters = Parameters { encoded: Some(raw.parameters), read: OnceLock::new() };
        if parameters.encoded.as_ref().is_some_and(|bytes| **bytes != *NO_RESULTS) {
            // A real gateway rejects invalid ones immediately.
            parameters.read()?;
        }
        Ok(Message {
            header: raw.header,
            parameters,
            docs: match raw.docs {
                Some(RawDocs::Docs(bytes)) => Docs::Encoded(bytes),
                Some(RawDocs::Bytes(bytes)) => Docs::Packed(bytes),
                None => Docs::default(),
            },
            ..Message::default()
        })
    }

    /// Writes a `DataRequestProto`.
    pub(super) fn encode(self, family: Family) -> Result<Bytes, EncodeError> {
        let raw = RawRequest {
            header: self.header,
            parameters: self.parameters.into_encoded()?,
            routes: self.routes,
            docs: Some(match self.docs {
                Docs::Encoded(bytes) => RawDocs::Docs(bytes),
                Docs::Packed(bytes) => RawDocs::Bytes(bytes),
                Docs::Read(docs) => RawDocs::Docs(family.encode_docs(&docs)?),
            }),
        };
        raw.encode()
    }

    /// Converts it to data from which any form of message can be written.
    pub(super) fn into_request(self, family: Family) -> Result<DataRequest, DecodeError> {
        let parameters = match self.parameters.read.into_inner() {
            Some(map) => map,
            None => decode_struct(self.parameters.encoded.unwrap_or_default())?,
        };
        Ok(DataRequest {
            header: self.header,
            parameters,
            routes: self.routes,
            data: Some(match self.docs {
                Docs::Read(docs) => docs,
                Docs::Encoded(bytes) => family.decode_docs(bytes)?,
                Docs::Packed(_) => Vec::new(),
            }),
        })
    }
}

impl Docs {
    /// The number of Documents, without decoding them.
    pub(super) fn count(&self) -> usize {
        match self {
            Docs::Read(docs) => docs.len(),
            Docs::Packed(_) => 0,
            Docs::Encoded(bytes) => super::plain::count(bytes),
        }
    }
}

/// A route that begins now.
pub(super) fn started(name: &str) -> Route {
    Route { executor: name.into(), start_time: Some(now()), end_time: None, status: None }
}

/// The time of day in whole microseconds, the unit of Python's clock.
pub(super) fn now() -> SystemTime {
    let now = SystemTime::now();
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    now - Duration::from_nanos(u64::from(nanos % 1000))
}

/// A random id. It guards nothing, so no system call is spent on it.
pub(super) fn new_uuid() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(executor: &str, parameters: Value) -> Value {
        let map = parameters.as_object().cloned().expect("a map");
        Parameters::from(map).of(executor).expect("they are read").into_owned().into()
    }

    #[test]
    fn parameters_for_one_executor_reach_it_alone() {
        let all = json!({"k": 1, "indexer": {"k": 2}, "encoder__size": 3, "__results__": {}});
        let indexer = json!({"k": 2, "indexer": {"k": 2}, "__results__": {}});
        assert_eq!(of("indexer", all.clone()), indexer);
        let encoder = json!({"k": 1, "indexer": {"k": 2}, "__results__": {}, "size": 3});
        assert_eq!(of("encoder", all), encoder);
    }

    #[test]
    fn the_empty_results_of_a_client_are_known_by_their_bytes() {
        let map = Map::from_iter([(RESULTS.to_owned(), Map::new().into())]);
        assert_eq!(encode_struct(&map).expect("it is valid"), NO_RESULTS);
    }
}
