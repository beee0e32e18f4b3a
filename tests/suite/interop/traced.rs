//! The trace that we begin reaches the Executor of a real Flow.

use std::collections::BTreeSet;

use flowbench::wire::Protocol;
use serde_json::Value;

use super::flow::Setup;
use super::python::Release;
use crate::run::Place;

#[test]
fn an_executor_is_in_the_trace_of_its_request() {
    let unary = "protocol: grpc, call: unary";
    for (release, protocols, how) in [
        (Release::V1, &[Protocol::Http][..], "protocol: http"),
        (Release::V2, &[Protocol::Http], "protocol: http"),
        (Release::V2, &[Protocol::Grpc], unary),
    ] {
        let setup = Setup::new(release, protocols).with(&["--executors", "tracer", "--tracing"]);
        let Some(flow) = setup.start() else { return };
        let place = Place::new(&format!(
            "flows: {{f: {{host: {}}}}}
scenarios:
  - {{name: s, documents: {{text: a}}, request_size: 1, {how}, load: {{clients: 2, requests: 40}}, trace: {{sample: 100%}}, on_done: [{{save: docs.jsonl}}]}}",
            flow.target(protocols[0])
        ));
        place.run(&["--out", "out"]).ends(0);
        let saved = std::fs::read_to_string(place.path("docs.jsonl")).expect("it was saved");
        let seen: BTreeSet<String> = saved
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .map(|doc| doc["tags"]["trace"].as_str().expect("an id").to_owned())
            .collect();
        assert_eq!(seen.len(), 40, "{release:?} {how}: {seen:?}");
        let report = place.report();
        let traces = report["scenarios"][0]["traces"]["slowest"].as_array().expect("a list");
        let told: Vec<&str> = traces.iter().filter_map(|one| one["id"].as_str()).collect();
        assert_eq!(told.len(), 10, "{release:?} {how}");
        assert!(told.iter().all(|id| seen.contains(*id)), "{release:?} {how}: {told:?} {seen:?}");
    }
}
