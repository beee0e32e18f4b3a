//! `Client::stream_doc`: one Document in, Documents out one by one.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use serde_json::Value;

use super::exchange::Envelope;
use super::{CallError, Client, PostError, Request, Response, Responses, map};
use crate::wire::{Document, Map, encode_single};

/// A builder of a request to a streaming endpoint. Nothing is sent before [`StreamDoc::stream`].
///
/// Flows of the v2 family have such endpoints (Executor methods that yield), over gRPC only.
#[derive(Debug)]
#[must_use = "nothing is sent before `stream`"]
pub struct StreamDoc {
    client: Client,
    envelope: Envelope,
    document: Document,
    fit_schema: bool,
}

impl StreamDoc {
    pub(super) fn new(client: Client, on: String, document: Document) -> StreamDoc {
        let envelope = Envelope { on, target_executor: String::new(), parameters: Map::new() };
        StreamDoc { client, envelope, document, fit_schema: false }
    }

    /// Parameters for the Executors: a [`Map`], or names and values as in `[("k", 3)]`.
    pub fn parameters<K: Into<String>, V: Into<Value>>(
        mut self,
        parameters: impl IntoIterator<Item = (K, V)>,
    ) -> StreamDoc {
        self.envelope.parameters = map(parameters);
        self
    }

    /// Only Executors whose name matches this regular expression process the request.
    pub fn target_executor(mut self, pattern: impl Into<String>) -> StreamDoc {
        self.envelope.target_executor = pattern.into();
        self
    }

    /// Fit the Document to the schema that the Flow reports for the endpoint, see
    /// [`super::Post::fit_schema`].
    pub fn fit_schema(mut self, fit: bool) -> StreamDoc {
        self.fit_schema = fit;
        self
    }

    /// Sends the Document and returns responses of one Document each, as they arrive. Dropping the
    /// stream abandons the rest.
    ///
    /// Over any protocol but gRPC, the stream ends with [`CallError::Unsupported`]. An endpoint that does
    /// not stream answers with a response that reports a failure.
    pub fn stream(self) -> Responses<'static> {
        let StreamDoc { client, envelope, mut document, fit_schema } = self;
        let replies = async move {
            let session = client.session(None).await?;
            if let Some(schema) = session.schemas().endpoint(&envelope.on).filter(|_| fit_schema) {
                schema.input.fit(&mut document).map_err(|misfit| PostError::Unfit {
                    index: 0,
                    endpoint: envelope.on.clone(),
                    misfit: Box::new(misfit),
                })?;
            }
            let message = encode_single(&envelope.blank_request(session.family()), &document)
                .map_err(|error| CallError::Encode(Arc::new(error)))?;
            let replies = session.stream(Request::Stream { message }).await;
            let replies = replies.map_err(|failure| failure.error)?;
            Ok::<_, PostError>(stream::try_unfold(replies, async |mut replies| {
                let reply = replies.next().await.map_err(|failure| failure.error)?;
                Ok(reply.map(|reply| (Response::new(reply), replies)))
            }))
        };
        Responses::new(stream::once(replies).try_flatten().boxed())
    }
}
