//! `DataRequestProto`: the protobuf message around Documents.

use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;

use super::head;
use super::proto::jina::{
    DataRequestHeadProto, DataRequestProto, HeaderProto, RouteProto, StatusProto,
    data_request_proto::data_content_proto::Documents, status_proto::ExceptionProto,
};
use super::value::{read_struct, write_struct};
use super::writer::Writer;
use super::{
    DataRequest, DecodeError, Document, EncodeError, Encoded, ExceptionInfo, Family, Head, Header,
    Map, NdArray, Route, Status, v1, v2,
};

/// The key of `parameters` that holds what Executors return.
pub(super) const RESULTS: &str = "__results__";

/// The placeholder for the request id.
pub(super) const NO_ID: &str = "00000000000000000000000000000000";

/// The parameters that a request carries: never empty, with an object under `__results__`.
///
/// Python's client does the same. `None` if they can be sent unchanged.
pub(super) fn request_parameters(parameters: &Map) -> Option<Map> {
    let of_results = parameters.get(RESULTS);
    if parameters.is_empty() || of_results.is_some_and(|results| !results.is_object()) {
        let mut parameters = parameters.clone();
        parameters.insert(RESULTS.to_owned(), Map::new().into());
        return Some(parameters);
    }
    None
}

/// Encodes a request.
pub(super) fn encode_request(
    family: Family,
    request: &DataRequest,
) -> Result<Encoded, EncodeError> {
    let mut w = Writer::with_capacity(size_hint(family, request.docs()));
    write_data(&mut w, family, request.data.as_deref())?;
    finish_request(w, request)
}

/// Writes what precedes the data of a request: parameters, and the header with a placeholder for the id.
pub(super) fn finish_request(mut w: Writer, request: &DataRequest) -> Result<Encoded, EncodeError> {
    write_routes(&mut w, &request.routes)?;
    let parameters = request_parameters(&request.parameters);
    w.message(2, |w| write_struct(w, parameters.as_ref().unwrap_or(&request.parameters)))?;
    let mut id_from_end = 0;
    w.message(1, |w| {
        write_header(w, &request.header, NO_ID)?;
        id_from_end = w.len() - 2; // the id's tag and length stand before it
        Ok(())
    })?;
    let message = w.finish();
    let id_at = message.len() - id_from_end;
    Ok(Encoded::new(message, id_at))
}

/// Encodes a response.
///
/// `parameters` are always present, except in the stub that gateways send before they end a call with an
/// error: it has only a request id.
pub(super) fn encode_response(
    family: Family,
    response: &DataRequest,
) -> Result<Bytes, EncodeError> {
    let mut w = Writer::with_capacity(size_hint(family, response.docs()));
    write_data(&mut w, family, response.data.as_deref())?;
    write_routes(&mut w, &response.routes)?;
    let stub = response.data.is_none() && response.routes.is_empty();
    if !(stub && response.parameters.is_empty()) {
        w.message(2, |w| write_struct(w, &response.parameters))?;
    }
    w.message(1, |w| write_header(w, &response.header, &response.header.request_id))?;
    Ok(w.finish())
}

/// Encodes a `DocumentArrayProto` or a `DocListProto`.
pub(super) fn encode_docs(family: Family, docs: &[Document]) -> Result<Bytes, EncodeError> {
    let mut w = Writer::with_capacity(size_hint(family, docs));
    write_docs(&mut w, family, docs)?;
    Ok(w.finish())
}

fn write_docs(w: &mut Writer, family: Family, docs: &[Document]) -> Result<(), EncodeError> {
    match family {
        Family::V1 => v1::write_docs(w, docs),
        Family::V2 => v2::write_docs(w, docs),
    }
}

fn write_data(
    w: &mut Writer,
    family: Family,
    docs: Option<&[Document]>,
) -> Result<(), EncodeError> {
    let Some(docs) = docs else { return Ok(()) };
    w.message(4, |w| w.message(1, |w| write_docs(w, family, docs)))
}

pub(super) fn write_header(
    w: &mut Writer,
    header: &Header,
    request_id: &str,
) -> Result<(), EncodeError> {
    if let Some(target) = &header.target_executor {
        w.string(4, target);
    }
    if let Some(endpoint) = &header.exec_endpoint {
        w.string(3, endpoint);
    }
    if let Some(status) = &header.status {
        w.message(2, |w| write_status(w, status))?;
    }
    w.set_string(1, request_id);
    Ok(())
}

pub(super) fn write_routes(w: &mut Writer, routes: &[Route]) -> Result<(), EncodeError> {
    for route in routes.iter().rev() {
        w.message(3, |w| {
            if let Some(status) = &route.status {
                w.message(4, |w| write_status(w, status))?;
            }
            write_time(w, 3, route.end_time)?;
            write_time(w, 2, route.start_time)?;
            w.set_string(1, &route.executor);
            Ok(())
        })?;
    }
    Ok(())
}

fn write_time(w: &mut Writer, field: u32, time: Option<SystemTime>) -> Result<(), EncodeError> {
    let Some(time) = time else { return Ok(()) };
    let time = prost_types::Timestamp::from(time);
    w.message(field, |w| {
        if time.nanos != 0 {
            w.int32(2, time.nanos);
        }
        if time.seconds != 0 {
            w.uint(1, time.seconds as u64);
        }
        Ok(())
    })
}

/// Writes the fields of a `StatusProto`.
pub(super) fn write_status(w: &mut Writer, status: &Status) -> Result<(), EncodeError> {
    if let Some(exception) = &status.exception {
        w.message(3, |w| {
            w.set_string(4, &exception.executor);
            for stack in exception.stacks.iter().rev() {
                w.string(3, stack);
            }
            for arg in exception.args.iter().rev() {
                w.string(2, arg);
            }
            w.set_string(1, &exception.name);
            Ok(())
        })?;
    }
    w.set_string(2, &status.description);
    if status.code != 0 {
        w.int32(1, status.code);
    }
    Ok(())
}

/// The approximate size of Documents in bytes, from their largest parts.
fn size_hint(family: Family, docs: &[Document]) -> usize {
    const ENVELOPE: usize = 256;
    let names = match family {
        Family::V1 => 64,  // an id and a few tags of fields
        Family::V2 => 224, // an id and the names of all fields
    };
    let array = |array: &Option<NdArray>| match array {
        Some(NdArray::Dense(tensor)) => tensor.data.len(),
        _ => 0,
    };
    let doc = |doc: &Document| {
        names
            + doc.text.as_ref().map_or(0, String::len)
            + doc.blob.as_ref().map_or(0, Bytes::len)
            + array(&doc.tensor)
            + array(&doc.embedding)
    };
    ENVELOPE + docs.iter().map(doc).sum::<usize>()
}

/// Decodes a whole message.
pub(super) fn decode(family: Family, message: Bytes) -> Result<DataRequest, DecodeError> {
    let message = DataRequestProto::decode(message)?;
    let data = match message.data {
        None => None,
        // Data without any field: present, but without Documents.
        Some(content) => Some(match content.documents {
            None => Vec::new(),
            Some(Documents::Docs(docs)) => decode_docs(family, docs)?,
            Some(Documents::DocsBytes(docs)) => match family {
                Family::V1 => {
                    return Err(DecodeError::Content(
                        "Documents are a Python pickle (`docs_bytes`), which can run code and is \
                         therefore not read"
                            .into(),
                    ));
                }
                Family::V2 => decode_docs(family, docs)?,
            },
        }),
    };
    Ok(DataRequest {
        header: message.header.map(read_header).unwrap_or_default(),
        parameters: message.parameters.map(read_struct).unwrap_or_default(),
        routes: read_routes(message.routes)?,
        data,
    })
}

/// Decodes header and routes, skips parameters, and counts Documents.
pub(super) fn decode_head(message: &Bytes) -> Result<Head, DecodeError> {
    if let Some(head) = head::scan(message) {
        return Ok(head);
    }
    let message = DataRequestHeadProto::decode(message.clone())?;
    Ok(Head {
        header: message.header.map(read_header).unwrap_or_default(),
        routes: Some(read_routes(message.routes)?),
        documents: head::count_docs(&message.data),
    })
}

/// Decodes a `DocumentArrayProto` or a `DocListProto`.
pub(super) fn decode_docs(family: Family, docs: Bytes) -> Result<Vec<Document>, DecodeError> {
    match family {
        Family::V1 => v1::read_docs(docs),
        Family::V2 => v2::read_docs(docs),
    }
}

pub(super) fn read_header(header: HeaderProto) -> Header {
    Header {
        request_id: header.request_id,
        exec_endpoint: header.exec_endpoint,
        target_executor: header.target_executor,
        status: header.status.map(|status| Box::new(status.into())),
    }
}

pub(super) fn read_routes(routes: Vec<RouteProto>) -> Result<Vec<Route>, DecodeError> {
    let time = |time: Option<prost_types::Timestamp>| {
        time.map(SystemTime::try_from)
            .transpose()
            .map_err(|_| DecodeError::Content("a route has an invalid time".into()))
    };
    let read = |route: RouteProto| {
        Ok(Route {
            executor: route.executor.into(),
            start_time: time(route.start_time)?,
            end_time: time(route.end_time)?,
            status: route.status.map(|status| Box::new(status.into())),
        })
    };
    routes.into_iter().map(read).collect()
}

impl From<StatusProto> for Status {
    fn from(status: StatusProto) -> Status {
        let exception = |ExceptionProto { name, args, stacks, executor }| ExceptionInfo {
            name,
            args,
            stacks,
            executor,
        };
        Status {
            code: status.code,
            description: status.description,
            exception: status.exception.map(exception),
        }
    }
}
