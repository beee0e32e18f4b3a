//! Responses as people and programs see them.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::{CallError, PostError, Reply, Timing};
use crate::wire::{DataRequest, Document, Header, Map, Route, Schema, Status};

/// The response to one request: Jina's `DataRequest`.
///
/// Header and routes are available at once. Parameters and Documents are decoded when first asked
/// for, so that callers who do not need them do not pay for it; that is why asking can fail.
#[derive(Debug)]
pub struct Response {
    reply: Reply,
    decoded: OnceLock<Result<DataRequest, CallError>>,
    /// Distinguishes bytes from the texts that represent them in JSON.
    output: Option<Schema>,
}

/// The Documents of all responses of a post, in the order of the responses, and the failures that
/// some of them reported.
///
/// It dereferences to the list of Documents. As in Jina, the list includes the Documents of an
/// error response, as the failing Executor received them; [`Results::into_ok`] gives all or
/// nothing.
#[derive(Debug, Default)]
#[must_use = "some of the responses may report failures"]
pub struct Results {
    /// All Documents in one flat list.
    pub docs: Vec<Document>,
    /// Why requests failed, in the order of the responses; empty if all succeeded.
    pub failures: Vec<CallError>,
}

impl Response {
    pub(super) fn new(reply: Reply) -> Response {
        Response { reply, decoded: OnceLock::new(), output: None }
    }

    /// The same, with a schema that says which of the texts in its Documents are bytes.
    pub(super) fn with_bytes(self, output: Option<Schema>) -> Response {
        Response { output, ..self }
    }

    fn decode(&self) -> Result<DataRequest, CallError> {
        let mut decoded =
            self.reply.decode().map_err(|error| CallError::Decode(Arc::new(error)))?;
        if let Some(schema) = &self.output {
            decoded.data.iter_mut().flatten().for_each(|document| schema.give_bytes(document));
        }
        Ok(decoded)
    }

    /// Request id, endpoint, status.
    pub fn header(&self) -> &Header {
        &self.reply.head.header
    }

    /// The status; `None` means success.
    pub fn status(&self) -> Option<&Status> {
        self.header().status.as_deref()
    }

    /// Whether the status is success.
    pub fn is_ok(&self) -> bool {
        self.status().is_none_or(Status::is_ok)
    }

    /// The failure that this response reports: an exception in an Executor. `None` means success.
    pub fn failure(&self) -> Option<CallError> {
        self.reply.failure()
    }

    /// The gateway and every Executor that the request passed, in the order of the Flow. Empty over
    /// HTTP to a v2 Flow, which reports none.
    pub fn routes(&self) -> &[Route] {
        self.reply.head.routes.as_deref().unwrap_or_default()
    }

    /// When it was sent, and when its answer began and was complete.
    pub fn timing(&self) -> Timing {
        self.reply.timing
    }

    /// The whole response.
    ///
    /// # Errors
    /// [`CallError::Decode`] when parameters or Documents cannot be decoded.
    pub fn data_request(&self) -> Result<&DataRequest, CallError> {
        self.decoded.get_or_init(|| self.decode()).as_ref().map_err(Clone::clone)
    }

    /// The Documents; empty if there is no data.
    ///
    /// # Errors
    /// As [`Response::data_request`].
    pub fn docs(&self) -> Result<&[Document], CallError> {
        Ok(self.data_request()?.docs())
    }

    /// Parameters of the request, including what Executors returned under `__results__`.
    ///
    /// # Errors
    /// As [`Response::data_request`].
    pub fn parameters(&self) -> Result<&Map, CallError> {
        Ok(&self.data_request()?.parameters)
    }

    /// `parameters["__results__"]`: what Executors returned, by pod name (`indexer/rep-0`).
    ///
    /// # Errors
    /// As [`Response::data_request`].
    pub fn results(&self) -> Result<Option<&Map>, CallError> {
        Ok(self.data_request()?.results())
    }

    /// The text of each Document; empty for one without text.
    ///
    /// # Errors
    /// As [`Response::data_request`].
    pub fn texts(&self) -> Result<Vec<&str>, CallError> {
        Ok(texts(self.docs()?))
    }

    /// The whole response, by value.
    ///
    /// # Errors
    /// As [`Response::data_request`].
    pub fn into_data_request(self) -> Result<DataRequest, CallError> {
        let Response { reply, decoded, output } = self;
        let again = |reply: Reply| Response { reply, decoded: OnceLock::new(), output }.decode();
        decoded.into_inner().unwrap_or_else(|| again(reply))
    }

    /// The Documents, by value.
    ///
    /// # Errors
    /// As [`Response::data_request`].
    pub fn into_docs(self) -> Result<Vec<Document>, CallError> {
        Ok(self.into_data_request()?.data.unwrap_or_default())
    }
}

impl Results {
    /// The Documents, if no response reported a failure.
    ///
    /// # Errors
    /// The first failure.
    pub fn into_ok(self) -> Result<Vec<Document>, PostError> {
        match self.failures.into_iter().next() {
            None => Ok(self.docs),
            Some(failure) => Err(failure.into()),
        }
    }

    /// The text of each Document; empty for one without text.
    pub fn texts(&self) -> Vec<&str> {
        texts(&self.docs)
    }
}

impl Deref for Results {
    type Target = [Document];

    fn deref(&self) -> &[Document] {
        &self.docs
    }
}

impl IntoIterator for Results {
    type Item = Document;
    type IntoIter = std::vec::IntoIter<Document>;

    fn into_iter(self) -> Self::IntoIter {
        self.docs.into_iter()
    }
}

fn texts(docs: &[Document]) -> Vec<&str> {
    docs.iter().map(|document| document.text.as_deref().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::Instant;

    use super::super::Body;
    use super::super::scripted::{FORM, documents};
    use super::*;
    use crate::wire::{DecodeError, Head};

    fn response(head: Head, body: Body) -> Response {
        Response::new(Reply { head, body, timing: Timing::unsent(Instant::now()) })
    }

    #[tokio::test(start_paused = true)]
    async fn documents_are_decoded_when_asked_for() {
        let request = DataRequest {
            data: Some([documents(["a"]), vec![Document::default()]].concat()),
            ..DataRequest::default()
        };
        let bytes = FORM.encode_response(&request).expect("it can be written");
        let good = response(Head::default(), Body::Message { form: FORM, bytes });
        assert_eq!(good.texts().expect("it decodes"), ["a", ""]);
        assert_eq!(good.into_docs().expect("it decodes"), request.docs());

        let bytes = Bytes::from_static(b"\x22\x02\x0a\x05");
        let bad = response(Head::default(), Body::Message { form: FORM, bytes });
        assert!(bad.is_ok(), "nobody has looked yet");
        for _ in 0..2 {
            let error = bad.docs().expect_err("it does not decode");
            let CallError::Decode(error) = error else { panic!("{error}") };
            assert!(matches!(*error, DecodeError::Protobuf(_)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn texts_of_nothing_are_an_empty_list() {
        let nothing: [&str; 0] = [];
        assert_eq!(Results::default().texts(), nothing);
        let empty = response(Head::default(), Body::Empty);
        assert_eq!(empty.texts().expect("there is nothing to decode"), nothing);
        assert!(empty.results().expect("there is nothing to decode").is_none());
    }

    #[test]
    fn all_or_nothing_is_the_first_failure() {
        let docs = documents(["a"]);
        let good = Results { docs: docs.clone(), failures: Vec::new() };
        assert_eq!(good.into_ok().expect("no failures"), docs);
        let failures = ["first", "second"].map(|words| CallError::GraphQl(words.into())).into();
        let error = Results { docs, failures }.into_ok().expect_err("two failures");
        assert!(matches!(error, PostError::Call(CallError::GraphQl(words)) if words == "first"));
    }
}
