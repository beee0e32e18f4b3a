//! Things in a plan that are not wrong but probably not intended.

use indexmap::IndexMap;

use super::{Origin, Plan, Post, Scenario, Work};
use crate::client::{Compression, FamilyChoice};
use crate::scenario;
use crate::wire::{Family, Map, Protocol};

/// Documents per request above which the HTTP gateways of v2 Flows lose some: a bug in Jina.
const HTTP_V2_MAX: usize = 100;

impl Plan {
    /// Things that are not wrong but probably not intended: one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.starts();
        for scenario in &self.scenarios {
            notes.extend(compresses_nothing(scenario));
            if scenario.always && scenario.needs.is_empty() && self.scenarios.len() > 1 {
                notes.push(format!(
                    "scenario `{}` has `always` and no `needs`, so it starts at once, alongside \
                     the others; to clean up after them, name them under `needs`",
                    scenario.name
                ));
            }
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

    /// Notes how often Flows are started for the combinations of a matrix.
    fn starts(&self) -> Vec<String> {
        let mut starts: IndexMap<&str, (usize, &Map)> = IndexMap::new();
        for flow in self.flows.iter().filter(|flow| !flow.matrix.is_empty()) {
            let suffix = scenario::suffix(&flow.matrix);
            let name = flow.name.strip_suffix(suffix.as_str()).unwrap_or(&flow.name);
            starts.entry(name).or_insert((0, &flow.matrix)).0 += 1;
        }
        let told = starts.into_iter().map(|(name, (count, matrix))| {
            let keys: Vec<String> = matrix.keys().map(|key| format!("`{key}`")).collect();
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
            format!(
                "flow `{name}` is started {times}, one after the other, for the values of {}",
                keys.join(" and ")
            )
        });
        told.collect()
    }

    fn loses_documents(&self, scenario: &Scenario, post: &Post) -> Option<String> {
        let v2 = match &self.flows[scenario.flow].origin {
            // The embedded Flow loses none.
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

/// `compression` only applies to gRPC; other protocols send requests uncompressed.
fn compresses_nothing(scenario: &Scenario) -> Option<String> {
    let is_lost =
        scenario.client.compression != Compression::None && scenario.protocol != Protocol::Grpc;
    is_lost.then(|| {
        format!(
            "scenario `{}`: `compression` applies to gRPC only; its requests go over {} uncompressed",
            scenario.name, scenario.protocol
        )
    })
}

impl Post {
    /// Whether a gateway may lose Documents. `family`: that of the Flow, if known.
    pub(super) fn may_lose(&self, protocol: Protocol, family: Option<Family>) -> bool {
        protocol == Protocol::Http
            && family != Some(Family::V1)
            && self.documents.is_some()
            && self.request_size > HTTP_V2_MAX
    }
}

/// A warning about an endpoint that no Jina Executor can bind by that name.
pub(crate) fn no_slash(on: &str) -> Option<String> {
    (!on.is_empty() && !on.starts_with('/')).then(|| {
        format!("endpoint `{on}` is sent as it is, but Executors bind `/{on}`; did you mean that?")
    })
}
