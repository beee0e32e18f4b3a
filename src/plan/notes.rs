//! What is not wrong in a plan, and is seldom meant.

use super::{Origin, Plan, Post, Scenario, Work};
use crate::client::FamilyChoice;
use crate::wire::{Family, Protocol};

/// Documents a request beyond which the HTTP gateways of v2 Flows lose some: a fault of Jina's own.
const HTTP_V2_MAX: usize = 100;

impl Plan {
    /// What is not wrong, and is seldom meant: a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for scenario in &self.scenarios {
            for step in &scenario.steps {
                let Work::Post(post) = &step.work else { continue };
                if let Some(note) = no_slash(&post.on) {
                    notes.push(format!("scenario `{}`: {note}", scenario.name));
                }
                notes.extend(self.loses_documents(scenario, post));
            }
        }
        notes
    }

    fn loses_documents(&self, scenario: &Scenario, post: &Post) -> Option<String> {
        let v2 = match &self.flows[scenario.flow].origin {
            // Ours loses none.
            Origin::Embedded(_) => false,
            Origin::Remote(clients) | Origin::Command { clients, .. } => {
                clients.iter().any(|client| client.family != FamilyChoice::Is(Family::V1))
            }
        };
        let family = (!v2).then_some(Family::V1);
        post.may_lose(scenario.protocol, family).then(|| {
            format!(
                "scenario `{}`: HTTP gateways of v2 Flows lose Documents of requests with more than \
                 {HTTP_V2_MAX}, and these have {}; `request_size: {HTTP_V2_MAX}` loses none",
                scenario.name, post.request_size
            )
        })
    }
}

impl Post {
    /// Whether a gateway may lose Documents of it. `family`: of the Flow, where it is known.
    pub(super) fn may_lose(&self, protocol: Protocol, family: Option<Family>) -> bool {
        protocol == Protocol::Http
            && family != Some(Family::V1)
            && self.documents.is_some()
            && self.request_size > HTTP_V2_MAX
    }
}

/// What to say of an endpoint that no Executor of Jina's binds by that name.
pub(crate) fn no_slash(on: &str) -> Option<String> {
    (!on.is_empty() && !on.starts_with('/')).then(|| {
        format!("endpoint `{on}` is sent as it is, and Executors bind `/{on}`: did you mean that?")
    })
}
