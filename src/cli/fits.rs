//! Whether the Documents of a suite fit the schemas that its Flows tell.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::print;
use crate::client::Client;
use crate::plan::{Origin, Plan, Post, Scenario, Work};
use crate::scenario::LoadedSuite;
use crate::source::{Problem, Problems, Spot};
use crate::wire::{Misfit, Protocol, Schemas};

/// Documents of each generator that are looked at.
const DOCUMENTS_MAX: u64 = 200;

/// Asks the Flows that are running for their schemas, and tells of the first Document of each scenario that
/// does not fit. A Flow that cannot be reached or tells no schemas is said to be so.
///
/// # Errors
/// What does not fit, at its place in the file.
pub(super) async fn check(suite: &LoadedSuite, plan: &Plan) -> Result<(), Problems> {
    let mut told: HashMap<(usize, Protocol), Arc<Schemas>> = HashMap::new();
    let mut problems: Vec<Problem> = Vec::new();
    for (unit, scenario) in suite.scenarios.iter().zip(&plan.scenarios) {
        let key = (scenario.flow, scenario.protocol);
        let schemas = match told.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(ask(plan, scenario).await),
        };
        let at = Spot::of(&unit.node);
        for (index, step) in scenario.steps.iter().enumerate() {
            let Work::Post(post) = &step.work else { continue };
            if let Some(misfit) = first_misfit(post, schemas) {
                let place = place(suite, at, scenario.step_at(at, index), post);
                tell(&misfit, place, post, &mut problems);
            }
        }
    }
    Problems::new(&suite.sources, problems).map_or(Ok(()), Err)
}

async fn ask(plan: &Plan, scenario: &Scenario) -> Arc<Schemas> {
    let flow = &plan.flows[scenario.flow];
    let clients = match &flow.origin {
        Origin::Embedded(_) => return Arc::default(),
        Origin::Remote(clients) | Origin::Command { clients, .. } => clients,
    };
    let protocol = scenario.protocol;
    let Some(config) = clients.iter().find(|config| config.target.protocol == protocol) else {
        return Arc::default();
    };
    match Client::new(config.clone()).open().await {
        Ok(session) => {
            if session.schemas().is_empty() {
                print::tell(format_args!("note: {} tells no schemas", config.target));
            }
            session.schemas().clone()
        }
        Err(error) => {
            print::tell(format_args!("note: {} was not asked: {error}", config.target));
            Arc::default()
        }
    }
}

fn first_misfit(post: &Post, schemas: &Schemas) -> Option<Misfit> {
    let (schema, documents) = (&schemas.endpoint(&post.on)?.input, post.documents.as_ref()?);
    let count = documents.count().unwrap_or(DOCUMENTS_MAX).min(DOCUMENTS_MAX);
    let looked_at = if documents.is_constant() { count.min(1) } else { count };
    // What only a captured value or a broken file tells is not told here.
    let mut made = (0..looked_at).map_while(|i| documents.get(i, None).ok());
    made.find_map(|mut document| schema.fit(&mut document).err())
}

/// Where the generator stands that a step takes its Documents from.
fn place<'a>(suite: &'a LoadedSuite, at: Spot<'a>, of_step: Spot<'a>, post: &Post) -> Spot<'a> {
    let own = of_step.key("documents");
    let given = if own.node().is_some() { own } else { at.key("documents") };
    let name = post.documents.as_ref().and_then(|documents| documents.name());
    let name = name.or_else(|| given.node().and_then(|node| node.text()));
    let named = name.and_then(|name| suite.documents.iter().find(|named| named.name == name));
    named.map_or(given, |named| Spot::of(&named.node))
}

fn tell(misfit: &Misfit, at: Spot<'_>, post: &Post, problems: &mut Vec<Problem>) {
    // Down to the field, as far as the suite says it.
    let missing = matches!(misfit, Misfit::Missing { .. });
    let mut place = at;
    let mut key = None;
    for name in misfit.field().unwrap_or_default().split('.') {
        let name = name.split('[').next().unwrap_or(name);
        let beneath = [place, place.key("fields")];
        match beneath
            .into_iter()
            .find(|spot| spot.node().is_some_and(|node| node.get(name).is_some()))
        {
            Some(spot) => {
                key = Some((spot, name));
                place = spot.key(name);
            }
            None => break,
        }
    }
    if let (Misfit::Unknown { .. }, Some((spot, name))) = (misfit, key) {
        place = spot.name(name);
    }
    if missing && key.is_none() && at.key("fields").node().is_some() {
        place = at.name("fields");
    }
    place.problem(problems, format!("endpoint `{}`: {misfit}", post.on), |problem| {
        match misfit.known() {
            Some((name, known)) => problem.suggest(name, known.iter().map(String::as_str)),
            None => problem,
        }
    });
}
