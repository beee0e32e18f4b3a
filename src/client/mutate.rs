//! `Client::mutate`: GraphQL, over HTTP whatever the client's protocol.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{Body, Call, CallError, Client, ClientConfig, FamilyChoice, Request, Session, map};
use crate::wire::{DecodeError, Family, Map, Protocol, Target};

/// A builder of a GraphQL mutation. Nothing is sent before [`Mutate::send`].
///
/// Flows of the v1 family serve it on their HTTP port if they were started with
/// `expose_graphql_endpoint`. `docs` takes the arguments `data`, `targetExecutor`, `parameters`
/// (JSON in a string) and `execEndpoint` (default `/search`) and returns the Documents with any
/// selection of their fields.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Mutate {
    client: Client,
    /// The client's settings, with this mutation's overrides.
    config: Option<Box<ClientConfig>>,
    mutation: String,
    variables: Option<Map>,
}

impl Mutate {
    pub(super) fn new(client: Client, mutation: String) -> Mutate {
        Mutate { client, config: None, mutation, variables: None }
    }

    /// The values of the mutation's variables: a [`Map`], or names and values.
    pub fn variables<K: Into<String>, V: Into<Value>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Mutate {
        self.variables = Some(map(variables));
        self
    }

    /// Timeout from sending the mutation to the end of its response.
    pub fn timeout(self, timeout: Duration) -> Mutate {
        self.configured(|config| config.timeout = Some(timeout))
    }

    /// Adds a header.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Mutate {
        self.configured(|config| config.headers.push((name.into(), value.into())))
    }

    fn configured(mut self, change: impl FnOnce(&mut ClientConfig)) -> Mutate {
        change(self.config.get_or_insert_with(|| Box::new(self.client.config().clone())));
        self
    }

    /// Sends the mutation and returns the response: `{"data": {"docs": [...]}}`.
    ///
    /// An exception in an Executor is not visible: gateways answer with the Documents unchanged.
    ///
    /// # Errors
    /// [`CallError::GraphQl`] when the response lists errors, [`CallError::Unsupported`] when the
    /// Flow offers no GraphQL, or none on the client's port, and every error of a request.
    pub async fn send(self) -> Result<Value, CallError> {
        #[derive(Serialize)]
        struct Query<'a> {
            query: &'a str,
            variables: Option<&'a Map>,
        }
        let query = Query { query: &self.mutation, variables: self.variables.as_ref() };
        let body = serde_json::to_vec(&query).expect("strings and JSON values are JSON").into();
        let target = &self.client.config.target;
        let guessed = target.protocol != Protocol::Http && self.client.config.http_target.is_none();
        let outcome = match self.session().await {
            Ok(session) => {
                session.call(Request::Mutate { body }).await.map_err(|failure| failure.error)
            }
            Err(error) => Err(error),
        };
        let reply = outcome.map_err(|error| match error {
            CallError::Protocol { .. } | CallError::Lost { .. } if guessed => {
                elsewhere(format!("GraphQL requires HTTP, which {target} does not seem to speak"))
            }
            CallError::Unsupported(why) if guessed => elsewhere(why),
            error => error,
        })?;
        if let Some(failure) = reply.failure() {
            return Err(failure);
        }
        let Body::GraphQl(body) = reply.body else {
            return Err(CallError::Unsupported("the response is not a GraphQL response".into()));
        };
        serde_json::from_slice(&body)
            .map_err(|error| CallError::Decode(Arc::new(DecodeError::from(error))))
    }

    async fn session(&self) -> Result<Session, CallError> {
        let client = &self.client;
        let config = self.config.as_deref().unwrap_or(client.config());
        let target = match &config.http_target {
            Some(target) => target.clone(),
            None => Target { protocol: Protocol::Http, ..config.target.clone() },
        };
        if target == config.target {
            return client.session(self.config.as_deref().cloned()).await;
        }
        let mut http = ClientConfig { target, ..config.clone() };
        // Only the v1 family has GraphQL, and only on its HTTP port.
        http.family = FamilyChoice::Is(Family::V1);
        match &self.config {
            None => client.http_session.get(&Arc::new(http)).await,
            Some(_) => Session::open(Arc::new(http)).await,
        }
    }
}

fn elsewhere(why: String) -> CallError {
    CallError::Unsupported(format!(
        "{why}; if the Flow has an HTTP port, set its address too (`http_target`, on the command \
         line `--http`)"
    ))
}
