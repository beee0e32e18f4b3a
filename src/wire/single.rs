//! `SingleDocumentRequestProto`: requests and responses of a streaming endpoint, one Document per message.
//! Only the v2 family has it; all but its fourth field is as in a `DataRequestProto`.

use bytes::Bytes;
use prost::Message;

use super::envelope::{finish_request, read_header, read_routes, write_header};
use super::proto::jina::SingleDocumentRequestProto;
use super::proto::v2::DocProto;
use super::value::{read_struct, write_struct};
use super::writer::Writer;
use super::{DataRequest, DecodeError, Document, EncodeError, Encoded, v2};

/// Encodes a request to a streaming endpoint, with `document` as its data; the request's own data
/// and the id in its header are ignored.
///
/// # Errors
/// When the Document or the parameters cannot be sent.
pub fn encode_single(request: &DataRequest, document: &Document) -> Result<Encoded, EncodeError> {
    let mut w = Writer::with_capacity(0);
    w.message(4, |w| v2::write_doc(w, document))?;
    finish_request(w, request)
}

/// Encodes one message of a streaming endpoint's answer: the header and parameters of `response`, and a
/// Document.
///
/// # Errors
/// When the Document or the parameters cannot be sent.
pub fn encode_single_response(
    response: &DataRequest,
    document: &Document,
) -> Result<Bytes, EncodeError> {
    let mut w = Writer::with_capacity(0);
    w.message(4, |w| v2::write_doc(w, document))?;
    w.message(2, |w| write_struct(w, &response.parameters))?;
    w.message(1, |w| write_header(w, &response.header, &response.header.request_id))?;
    Ok(w.finish())
}

/// Decodes a message of a streaming endpoint; the result has its single Document.
///
/// # Errors
/// When it is not a valid message.
pub fn decode_single(message: Bytes) -> Result<DataRequest, DecodeError> {
    let message = SingleDocumentRequestProto::decode(message)?;
    Ok(DataRequest {
        header: message.header.map(read_header).unwrap_or_default(),
        parameters: message.parameters.map(read_struct).unwrap_or_default(),
        routes: read_routes(message.routes)?,
        data: Some(vec![v2::read_doc(DocProto::decode(message.document)?)]),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Header, RequestId};
    use super::*;

    #[test]
    fn what_is_sent_to_a_streaming_endpoint_is_read_there() {
        let request = DataRequest {
            header: Header { exec_endpoint: Some("/stream".into()), ..Header::default() },
            parameters: json!({"k": 3.5}).as_object().expect("an object").clone(),
            ..DataRequest::default()
        };
        let document = Document { id: "a".into(), ..Document::from_text("hello") };
        let id = RequestId { sender: 7, number: 9 };
        let sent = encode_single(&request, &document).expect("can be sent").with_id(id);
        let read = decode_single(sent).expect("can be read");
        assert_eq!(RequestId::parse(&read.header.request_id), Some(id));
        assert_eq!(read.header.exec_endpoint, request.header.exec_endpoint);
        assert_eq!(read.parameters, request.parameters);
        assert_eq!(read.data, Some(vec![document]));
    }

    #[test]
    fn arbitrary_bytes_are_refused() {
        assert!(decode_single(Bytes::from_static(b"\x22\x05abc")).is_err());
        assert!(decode_single(Bytes::from_static(b"\x22\x02\x0a\x09")).is_err());
    }
}
