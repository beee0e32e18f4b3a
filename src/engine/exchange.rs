//! A request and its outcome, decoded as far as needed.

use std::sync::Arc;

use super::make::Spoken;
use crate::assertion::{Exchange, HttpAnswer, Reads};
use crate::client::{Body, HttpResponse, Reply, Request};
use crate::plan::{Step, Work};
use crate::wire::{
    DataRequest, DecodeError, EndpointSchema, Family, Form, Map, RequestId, Schema, decode_single,
};

/// A placeholder: nothing can ask for the id with which a request was sent.
const NOBODYS: RequestId = RequestId { sender: 0, number: 0 };

/// How messages of a step are read.
#[derive(Clone, Debug)]
pub(super) struct Told {
    form: Form,
    /// The Flow's schema of the endpoint, if it says more than messages do: JSON has no bytes.
    schema: Option<EndpointSchema>,
}

impl Told {
    pub(super) fn new(step: &Step, (form, schemas): Spoken<'_>) -> Told {
        let schema = match (&step.work, form) {
            (Work::Post(post), Form::Json(Family::V2)) => schemas.endpoint(&post.on).cloned(),
            _ => None,
        };
        Told { form, schema }
    }

    fn with_bytes(
        &self,
        mut message: DataRequest,
        of: impl Fn(&EndpointSchema) -> &Schema,
    ) -> DataRequest {
        if let (Some(schema), Some(docs)) = (&self.schema, &mut message.data) {
            docs.iter_mut().for_each(|doc| of(schema).give_bytes(doc));
        }
        message
    }
}

/// Decodes what is read, and reports the first body that cannot be decoded. The exchange has no
/// exception yet.
pub(super) fn exchange(
    sent: &Request,
    reply: Option<&Reply>,
    reads: Reads,
    told: &Told,
) -> (Exchange, Option<DecodeError>) {
    let (sent, form) = (sent.bare(), told.form);
    let mut undecoded = None;
    let mut decoded = |result: Result<_, DecodeError>| match result {
        Ok(message) => Some(Arc::new(message)),
        Err(error) => {
            undecoded.get_or_insert(error);
            None
        }
    };
    let request = match sent {
        Request::Post { message, .. } if reads.request => decoded(
            form.decode(message.with_id(NOBODYS))
                .map(|message| told.with_bytes(message, |s| &s.input)),
        ),
        Request::Stream { message } if reads.request => {
            decoded(decode_single(message.with_id(NOBODYS)))
        }
        _ => None,
    };
    let variables = match sent {
        Request::Mutate { body } if reads.request => {
            let sent: Option<serde_json::Value> = serde_json::from_slice(body).ok();
            sent.and_then(|mut sent| sent.get_mut("variables").map(|part| Arc::new(part.take())))
        }
        _ => None,
    };
    let graphql = reply.and_then(|reply| match &reply.body {
        Body::GraphQl(body) => serde_json::from_slice(body).ok().map(Arc::new),
        _ => None,
    });
    let http = reply.filter(|_| reads.response).and_then(|reply| match &reply.body {
        Body::Http(response) => Some(Arc::new(answer(response))),
        _ => None,
    });
    let sent_json = match sent {
        Request::Http(request) if reads.request => {
            let body = request.content().and_then(|body| serde_json::from_slice(body).ok());
            body.map(Arc::new)
        }
        _ => None,
    };
    let is_jinas = |reply: &&Reply| !matches!(reply.body, Body::Http(_));
    let reply_read = reply.filter(|_| reads.response && graphql.is_none()).filter(is_jinas);
    let response = reply_read.and_then(|reply| {
        decoded(reply.decode().map(|message| told.with_bytes(message, |s| &s.output)))
    });
    let head = reply.map(|reply| Arc::new(reply.head.clone()));
    let exchange = Exchange {
        request,
        variables,
        head,
        response,
        graphql,
        http,
        sent_json,
        ..Exchange::default()
    };
    (exchange, undecoded)
}

/// The response to a plain request as expressions see it.
fn answer(response: &HttpResponse) -> HttpAnswer {
    let mut headers = Map::new();
    for (name, value) in &response.headers {
        let joined = match headers.get(name).and_then(|known| known.as_str()) {
            Some(known) => format!("{known}, {value}"),
            None => value.clone(),
        };
        headers.insert(name.clone(), joined.into());
    }
    HttpAnswer {
        status: response.status,
        headers,
        json: serde_json::from_slice(&response.body).ok(),
        text: String::from_utf8_lossy(&response.body).into_owned(),
    }
}
