//! Checks whether the Documents of a suite fit the schemas of its Flows: those of embedded Flows are known,
//! others are asked for theirs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::print;
use crate::client::Client;
use crate::documents::Unfit;
use crate::flow;
use crate::plan::{Origin, Plan, Post, Scenario, Step, Work};
use crate::scenario::LoadedSuite;
use crate::source::{Problem, Problems, Spot};
use crate::units::nearest;
use crate::wire::{Misfit, Protocol, Schemas};

/// Reports the first Document of each step that does not fit the schema of its endpoint. With `ask`, running
/// Flows are asked for their schemas; it is noted if one cannot be reached or has none.
///
/// # Errors
/// Documents that do not fit, at their place in the file.
pub(super) async fn check(suite: &LoadedSuite, plan: &Plan, ask: bool) -> Result<(), Problems> {
    let mut told: HashMap<(usize, Protocol), Arc<Schemas>> = HashMap::new();
    let mut problems: Vec<Problem> = Vec::new();
    for (unit, scenario) in suite.scenarios.iter().zip(&plan.scenarios) {
        let documents = |step: &Step| match &step.work {
            Work::Post(post) => post.documents.is_some(),
            Work::Mutate { .. } | Work::Http(_) => false,
        };
        if !scenario.steps.iter().any(documents) {
            continue;
        }
        let key = (scenario.flow, scenario.protocol);
        let schemas = match told.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(schemas(plan, scenario, ask).await),
        };
        let at = Spot::of(&unit.node);
        for (index, step) in scenario.steps.iter().enumerate() {
            let Work::Post(post) = &step.work else { continue };
            let schema = schemas.endpoint(&post.on).map(|endpoint| &endpoint.input);
            let unfit = post.documents.as_ref().zip(schema);
            if let Some(unfit) = unfit.and_then(|(docs, schema)| docs.first_unfit(schema, None)) {
                let place = place(suite, at, scenario.step_at(at, index), post);
                tell(&unfit, place, post, &mut problems);
            }
        }
    }
    Problems::new(&suite.sources, problems).map_or(Ok(()), Err)
}

async fn schemas(plan: &Plan, scenario: &Scenario, ask: bool) -> Arc<Schemas> {
    let flow = &plan.flows[scenario.flow];
    let clients = match &flow.origin {
        Origin::Embedded(config) => return Arc::new(flow::schemas(config, scenario.protocol)),
        _ if !ask => return Arc::default(),
        Origin::Remote(clients) | Origin::Command { clients, .. } => clients,
    };
    let protocol = scenario.protocol;
    let Some(config) = clients.iter().find(|config| config.target.protocol == protocol) else {
        return Arc::default();
    };
    match Client::new(config.clone()).open().await {
        Ok(session) => {
            if session.schemas().is_empty() {
                print::tell(format_args!("note: {} reports no schemas", config.target));
            }
            session.schemas().clone()
        }
        Err(error) => {
            print::tell(format_args!("note: {} was not queried: {error}", config.target));
            Arc::default()
        }
    }
}

/// The position of the generator that a step takes its Documents from.
fn place<'a>(suite: &'a LoadedSuite, at: Spot<'a>, of_step: Spot<'a>, post: &Post) -> Spot<'a> {
    let own = of_step.key("documents");
    let given = if own.node().is_some() { own } else { at.key("documents") };
    let name = post.documents.as_ref().and_then(|documents| documents.name());
    let name = name.or_else(|| given.node().and_then(|node| node.text()));
    let named = name.and_then(|name| suite.documents.iter().find(|named| named.name == name));
    named.map_or(given, |named| Spot::of(&named.node))
}

fn tell(unfit: &Unfit, at: Spot<'_>, post: &Post, problems: &mut Vec<Problem>) {
    let misfit = &unfit.misfit;
    // Narrow the position down to the field, as far as the suite has it.
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
    if key.is_none() && unfit.entry.is_some() {
        let files = ["jsonl", "csv", "docarray"].into_iter();
        place = files.map(|key| at.key(key)).find(|spot| spot.node().is_some()).unwrap_or(place);
    }
    place.problem(problems, format!("endpoint `{}`: {unfit}", post.on), |problem| {
        match misfit.known() {
            // The message already lists the known fields.
            Some((name, known)) => match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem,
            },
            None => problem,
        }
    });
}
