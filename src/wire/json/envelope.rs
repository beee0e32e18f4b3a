//! The JSON around Documents: requests and responses of HTTP and WebSocket.

use std::fmt;
use std::marker::PhantomData;
use std::time::SystemTime;

use bytes::Bytes;
use serde::de::{
    self, Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::parts::Coerced;
use super::read::{DocumentSeed, DocumentsSeed};
use super::scan;
use super::time::{self, Style};
use super::write::{AsJson, Doubles};
use super::{Context, Dialect};
use crate::wire::envelope::{NO_ID, request_parameters};
use crate::wire::{
    DataRequest, DecodeError, Document, EncodeError, Encoded, ExceptionInfo, Family, Head, Header,
    Map, Route, Status,
};

/// The text before a request's id.
const BEFORE_ID: &str = r#"{"header":{"request_id":""#;

/// Encodes a request, the same for HTTP and for WebSocket in JSON mode.
pub(crate) fn encode_request(
    family: Family,
    request: &DataRequest,
) -> Result<Encoded, EncodeError> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        header: Head<'a>,
        parameters: &'a Map,
        data: AsJson<'a, [Document]>,
        #[serde(flatten)]
        way: Way<'a>,
    }
    #[derive(serde::Serialize)]
    struct Head<'a> {
        request_id: &'a str,
        #[serde(flatten)]
        way: Way<'a>,
    }
    #[derive(Clone, Copy, serde::Serialize)]
    struct Way<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        exec_endpoint: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        target_executor: Option<&'a str>,
    }

    let parameters = request_parameters(&request.parameters);
    let context = match family {
        Family::V1 => Context::new(Dialect::V1Request),
        Family::V2 => Context::new(Dialect::V2).without_scalars(),
    };
    // Gateways read endpoint and target from different places, so Python's client puts them into both.
    let way = Way {
        exec_endpoint: request.header.exec_endpoint.as_deref(),
        target_executor: request.header.target_executor.as_deref().filter(|text| !text.is_empty()),
    };
    let body = Body {
        header: Head { request_id: NO_ID, way },
        parameters: parameters.as_ref().unwrap_or(&request.parameters),
        data: AsJson::new(request.docs(), &context),
        way,
    };
    let bytes = context.to_vec(&body)?;
    Ok(Encoded::new(bytes.into(), BEFORE_ID.len()))
}

/// Encodes the answer of an HTTP gateway.
pub(crate) fn encode_response(
    family: Family,
    response: &DataRequest,
) -> Result<Bytes, EncodeError> {
    match family {
        Family::V1 => write(response, V1Style::Http),
        Family::V2 => {
            #[derive(serde::Serialize)]
            struct Body<'a> {
                data: AsJson<'a, [Document]>,
                parameters: Doubles<'a, Map>,
                header: Head<'a>,
            }
            #[derive(serde::Serialize)]
            struct Head<'a> {
                request_id: &'a str,
                target_executor: &'a str,
            }
            let context = Context::new(Dialect::V2);
            let header = &response.header;
            let body = Body {
                data: AsJson::new(response.docs(), &context),
                parameters: Doubles(&response.parameters),
                header: Head {
                    request_id: &header.request_id,
                    target_executor: header.target_executor.as_deref().unwrap_or_default(),
                },
            };
            Ok(context.to_vec(&body)?.into())
        }
    }
}

/// Encodes the answer of a v1 WebSocket gateway in JSON mode.
pub(crate) fn encode_websocket_response(response: &DataRequest) -> Result<Bytes, EncodeError> {
    write(response, V1Style::WebSocket)
}

fn write(response: &DataRequest, answer: V1Style) -> Result<Bytes, EncodeError> {
    let context = Context::new(Dialect::V1Response);
    let body = Answered(&AnsweredDocs { response, context: &context }, answer);
    Ok(context.to_vec(&body)?.into())
}

/// Plain JSON: snake_case, unset keys left out, Documents in their plain form.
impl Serialize for DataRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            header: Answered<'a, Header>,
            parameters: &'a Map,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            routes: Vec<Answered<'a, Route>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a [Document]>,
        }
        let answer = V1Style::WebSocket;
        let body = Body {
            header: Answered(&self.header, answer),
            parameters: &self.parameters,
            routes: self.routes.iter().map(|route| Answered(route, answer)).collect(),
            data: self.data.as_deref(),
        };
        body.serialize(serializer)
    }
}

/// The two ways in which v1 gateways write header and routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum V1Style {
    /// camelCase, unset keys null.
    Http,
    /// snake_case, unset keys left out.
    WebSocket,
}

impl V1Style {
    fn key(self, http: &'static str, websocket: &'static str) -> &'static str {
        match self {
            V1Style::Http => http,
            V1Style::WebSocket => websocket,
        }
    }

    fn put<M: SerializeMap>(
        self,
        map: &mut M,
        key: &'static str,
        value: Option<impl Serialize>,
    ) -> Result<(), M::Error> {
        match (value, self) {
            (Some(value), _) => map.serialize_entry(key, &value),
            (None, V1Style::Http) => map.serialize_entry(key, &()),
            (None, V1Style::WebSocket) => Ok(()),
        }
    }

    /// An optional text: unset ones are empty in HTTP answers.
    fn text(self, text: Option<&str>) -> Option<&str> {
        match self {
            V1Style::Http => Some(text.unwrap_or_default()),
            V1Style::WebSocket => text,
        }
    }

    /// A text or list of a status: HTTP writes empty ones, WebSocket leaves them out.
    fn filled<T>(self, value: T, empty: bool) -> Option<T> {
        (self == V1Style::Http || !empty).then_some(value)
    }
}

/// A part of a response to be written as JSON.
struct Answered<'a, T>(&'a T, V1Style);

/// A whole response.
struct AnsweredDocs<'a> {
    response: &'a DataRequest,
    context: &'a Context,
}

impl Serialize for Answered<'_, AnsweredDocs<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answered(AnsweredDocs { response, context }, answer) = *self;
        let routes: Vec<_> = response.routes.iter().map(|route| Answered(route, answer)).collect();
        let docs = response.data.as_ref().map(|docs| AsJson::new(&docs[..], context));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("header", &Answered(&response.header, answer))?;
        map.serialize_entry("parameters", &Doubles(&response.parameters))?;
        answer.put(&mut map, "routes", Some(routes).filter(|routes| !routes.is_empty()))?;
        answer.put(&mut map, "data", docs)?;
        map.end()
    }
}

impl Serialize for Answered<'_, Header> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answered(header, answer) = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(answer.key("requestId", "request_id"), &header.request_id)?;
        let status = header.status.as_deref().map(|status| Answered(status, answer));
        answer.put(&mut map, "status", status)?;
        let endpoint = answer.text(header.exec_endpoint.as_deref());
        answer.put(&mut map, answer.key("execEndpoint", "exec_endpoint"), endpoint)?;
        let target = answer.text(header.target_executor.as_deref());
        answer.put(&mut map, answer.key("targetExecutor", "target_executor"), target)?;
        map.end()
    }
}

impl Serialize for Answered<'_, Route> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answered(route, answer) = *self;
        let style = match answer {
            V1Style::Http => Style::Python,
            V1Style::WebSocket => Style::Protobuf,
        };
        let text = |time: Option<SystemTime>| time.and_then(|time| time::write(time, style));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("executor", route.executor.as_str())?;
        answer.put(&mut map, answer.key("startTime", "start_time"), text(route.start_time))?;
        answer.put(&mut map, answer.key("endTime", "end_time"), text(route.end_time))?;
        let status = route.status.as_deref().map(|status| Answered(status, answer));
        answer.put(&mut map, "status", status)?;
        map.end()
    }
}

impl Serialize for Answered<'_, Status> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answered(status, answer) = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &status.code)?;
        let description = &status.description;
        if let Some(text) = answer.filled(description, description.is_empty()) {
            map.serialize_entry("description", text)?;
        }
        let exception = status.exception.as_ref().map(|exception| Answered(exception, answer));
        answer.put(&mut map, "exception", exception)?;
        map.end()
    }
}

impl Serialize for Answered<'_, ExceptionInfo> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answered(ExceptionInfo { name, args, stacks, executor }, answer) = *self;
        let mut map = serializer.serialize_map(None)?;
        for (key, text) in [("name", name), ("executor", executor)] {
            if let Some(text) = answer.filled(text, text.is_empty()) {
                map.serialize_entry(key, text)?;
            }
        }
        for (key, list) in [("args", args), ("stacks", stacks)] {
            if let Some(list) = answer.filled(list, list.is_empty()) {
                map.serialize_entry(key, list)?;
            }
        }
        map.end()
    }
}

/// Decodes a request or a response, in camelCase or snake_case. Nothing is required.
///
/// The endpoint and the target Executor of a v1 request are beside its header, where the gateway looks first;
/// v2's gateway only looks at the header.
pub(crate) fn decode(family: Family, message: &[u8]) -> Result<DataRequest, DecodeError> {
    match family {
        Family::V1 => {
            let body: Body<V1> = from_slice(message)?;
            let (endpoint, target) = (body.exec_endpoint, body.target_executor);
            let mut header = body.header.map(Header::from).unwrap_or_default();
            header.exec_endpoint = endpoint.map(|Coerced(text)| text).or(header.exec_endpoint);
            header.target_executor = target.map(|Coerced(text)| text).or(header.target_executor);
            Ok(finish(header, body.parameters, body.routes, body.data))
        }
        Family::V2 => {
            let body: Body<V2> = match from_slice(message) {
                Ok(body) => body,
                // In a custom schema, the known names may have values of any type.
                Err(error @ DecodeError::Json { .. }) => match from_slice::<Body<V2Any>>(message) {
                    Ok(body) => return Ok(finish_v2(body)),
                    Err(_) => return Err(error),
                },
                Err(error) => return Err(error),
            };
            Ok(finish_v2(body))
        }
    }
}

fn finish_v2<D>(body: Body<D>) -> DataRequest {
    let header = match (body.header, &body.data) {
        (Some(header), _) => header.into(),
        // A single Document without a header makes the request id the Document's id.
        (None, Some(Data { docs, alone: true, .. })) => Header {
            request_id: docs.first().map(|doc| doc.id.clone()).unwrap_or_default(),
            ..Header::default()
        },
        (None, _) => Header::default(),
    };
    finish(header, body.parameters, body.routes, body.data)
}

fn finish<D>(
    header: Header,
    parameters: Option<Map>,
    routes: Option<Vec<RouteJson>>,
    data: Option<Data<D>>,
) -> DataRequest {
    DataRequest {
        header,
        parameters: parameters.unwrap_or_default(),
        routes: routes.unwrap_or_default().into_iter().map(Route::from).collect(),
        data: data.map(|data| data.docs),
    }
}

/// Decodes header and routes and counts the Documents; the rest is skipped.
///
/// No field is required, but there must be at least one: gateways of both families send at least a header and
/// parameters, and a proxy's `{"error": …}` is not an answer to a request.
pub(crate) fn decode_head(message: &[u8]) -> Result<Head, DecodeError> {
    #[derive(serde::Deserialize)]
    struct Body {
        header: Option<HeaderJson>,
        parameters: Option<IgnoredAny>,
        routes: Option<Vec<RouteJson>>,
        data: Option<Counted>,
    }
    let status = |text: &[u8]| serde_json::from_slice::<StatusJson>(text).ok().map(Status::from);
    if let Some(head) = scan::head(message, status) {
        return Ok(head);
    }
    let Body { header, parameters, routes, data } = from_slice(message)?;
    let has_data = !matches!(data, None | Some(Counted::Scalar));
    if !has_data && header.is_none() && parameters.is_none() && routes.is_none() {
        return Err(DecodeError::NoResponse);
    }
    let documents = match data {
        None => Some(0),
        Some(Counted::Documents(count)) => Some(count),
        Some(Counted::Map | Counted::Scalar) => None,
    };
    Ok(Head {
        header: header.map(Header::from).unwrap_or_default(),
        routes: routes.map(|routes| routes.into_iter().map(Route::from).collect()),
        documents,
    })
}

/// Reads JSON as Python writes it, including NaN and Infinity, which JSON lacks.
///
/// Rare cases do not slow down common ones: such numbers, and the name of the wrong field, are only searched
/// for when the text cannot be read.
pub(super) fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, DecodeError> {
    let error = match serde_json::from_slice(text) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let quoted = if error.is_syntax() { quote_non_finite(text) } else { None };
    let text = quoted.as_deref().unwrap_or(text);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        DecodeError::Json { path, source: error.into_inner() }
    })?;
    reader.end()?;
    Ok(read)
}

/// The text with numbers that JSON lacks quoted as strings, which are read as those numbers; `None` if it has
/// none.
pub(crate) fn quote_non_finite(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += 1;
                while at < text.len() && text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'N' | b'I' | b'-' => {
                let names: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
                match names.into_iter().find(|name| text[at..].starts_with(name)) {
                    Some(name) => {
                        out.extend_from_slice(&text[copied..at]);
                        out.push(b'"');
                        out.extend_from_slice(name);
                        out.push(b'"');
                        at += name.len();
                        copied = at;
                    }
                    None => at += 1,
                }
            }
            _ => at += 1,
        }
    }
    (copied > 0).then(|| {
        out.extend_from_slice(&text[copied..]);
        out
    })
}

/// The number of Documents under `data`: a list, or v1's object with a list under `docs`. Anything else is
/// reported only when the Documents are needed.
enum Counted {
    Documents(u64),
    /// An object without such a list.
    Map,
    Scalar,
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<T: Deserializer<'de>>(deserializer: T) -> Result<Counted, T::Error> {
        deserializer.deserialize_any(Count)
    }
}

struct Count;

impl<'de> Visitor<'de> for Count {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Counted, A::Error> {
        let mut count = 0;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Counted::Documents(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counted, A::Error> {
        let mut counted = Counted::Map;
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match &*key {
                "docs" => counted = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(counted)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Counted, E> {
        Ok(Counted::Documents(0))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Counted, E> {
        Ok(Counted::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Counted, E> {
        Ok(Counted::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Counted, E> {
        Ok(Counted::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Counted, E> {
        Ok(Counted::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Counted, E> {
        Ok(Counted::Scalar)
    }
}

/// Represents a dialect as a type.
trait Reads {
    const DIALECT: Dialect;
}

struct V1;
struct V2;
struct V2Any;

impl Reads for V1 {
    const DIALECT: Dialect = Dialect::V1Request;
}

impl Reads for V2 {
    const DIALECT: Dialect = Dialect::V2;
}

impl Reads for V2Any {
    const DIALECT: Dialect = Dialect::V2Any;
}

#[derive(serde::Deserialize)]
#[serde(bound = "D: Reads", expecting = "a request or a response as an object")]
struct Body<D> {
    header: Option<HeaderJson>,
    parameters: Option<Map>,
    routes: Option<Vec<RouteJson>>,
    data: Option<Data<D>>,
    #[serde(alias = "execEndpoint")]
    exec_endpoint: Option<Coerced>,
    #[serde(alias = "targetExecutor")]
    target_executor: Option<Coerced>,
}

#[derive(serde::Deserialize)]
struct HeaderJson {
    #[serde(alias = "requestId")]
    request_id: Option<String>,
    status: Option<StatusJson>,
    #[serde(alias = "execEndpoint")]
    exec_endpoint: Option<String>,
    #[serde(alias = "targetExecutor")]
    target_executor: Option<String>,
}

#[derive(serde::Deserialize)]
struct StatusJson {
    code: Option<Code>,
    description: Option<String>,
    exception: Option<ExceptionJson>,
}

/// A status code by number or by name.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Code {
    Number(i32),
    Name(String),
}

#[derive(serde::Deserialize)]
struct ExceptionJson {
    name: Option<String>,
    args: Option<Vec<String>>,
    stacks: Option<Vec<String>>,
    executor: Option<String>,
}

#[derive(serde::Deserialize)]
struct RouteJson {
    executor: Option<String>,
    #[serde(alias = "startTime")]
    start_time: Option<Time>,
    #[serde(alias = "endTime")]
    end_time: Option<Time>,
    status: Option<StatusJson>,
}

struct Time(SystemTime);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        time::read(&text).map(Time).map_err(|_| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a time in RFC 3339 format")
        })
    }
}

impl From<HeaderJson> for Header {
    fn from(header: HeaderJson) -> Header {
        Header {
            request_id: header.request_id.unwrap_or_default(),
            exec_endpoint: header.exec_endpoint,
            target_executor: header.target_executor,
            status: header.status.map(|status| Box::new(status.into())),
        }
    }
}

impl From<StatusJson> for Status {
    fn from(status: StatusJson) -> Status {
        let exception = |exception: ExceptionJson| ExceptionInfo {
            name: exception.name.unwrap_or_default(),
            args: exception.args.unwrap_or_default(),
            stacks: exception.stacks.unwrap_or_default(),
            executor: exception.executor.unwrap_or_default(),
        };
        Status {
            code: match status.code {
                None => 0,
                Some(Code::Number(code)) => code,
                // Names differ between releases, but only one of them means success.
                Some(Code::Name(name)) => i32::from(name != "SUCCESS"),
            },
            description: status.description.unwrap_or_default(),
            exception: status.exception.map(exception),
        }
    }
}

impl From<RouteJson> for Route {
    fn from(route: RouteJson) -> Route {
        Route {
            executor: route.executor.unwrap_or_default().into(),
            start_time: route.start_time.map(|Time(time)| time),
            end_time: route.end_time.map(|Time(time)| time),
            status: route.status.map(|status| Box::new(status.into())),
        }
    }
}

/// `data`: a list of Documents; for v1 also `{"docs": [...]}`, for v2 also a single Document.
struct Data<D> {
    docs: Vec<Document>,
    alone: bool,
    dialect: PhantomData<D>,
}

impl<'de, D: Reads> Deserialize<'de> for Data<D> {
    fn deserialize<T: Deserializer<'de>>(deserializer: T) -> Result<Self, T::Error> {
        deserializer.deserialize_any(DataVisitor(PhantomData))
    }
}

struct DataVisitor<D>(PhantomData<D>);

impl<'de, D: Reads> Visitor<'de> for DataVisitor<D> {
    type Value = Data<D>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Data<D>, A::Error> {
        let docs = DocumentsSeed::new(D::DIALECT).visit_seq(seq)?;
        Ok(Data { docs, alone: false, dialect: PhantomData })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data<D>, A::Error> {
        if D::DIALECT != Dialect::V1Request {
            let doc = DocumentSeed::new(D::DIALECT).visit_map(map)?;
            return Ok(Data { docs: vec![doc], alone: true, dialect: PhantomData });
        }
        let mut docs = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key != "docs" {
                return Err(de::Error::unknown_field(&key, &["docs"]));
            }
            docs = map.next_value_seed(DocumentsSeed::new(D::DIALECT))?;
        }
        Ok(Data { docs, alone: false, dialect: PhantomData })
    }
}
