//! What a scenario does with responses: callbacks, steps, streams.

use serde_json::Value;

use crate::run::{Place, counts_are_conserved, suite};

#[test]
fn callbacks_are_counted_and_save_what_came_back() {
    let place = suite(
        "documents: {id: 'd${{ i }}', text: hello, count: 3}
request_size: 1
load: {clients: 1}
on_done: [{save: docs.jsonl}, {count: done}, {check: \"response.docs[0].id != 'd1'\"}]
on_always: [{count: always}]",
    );
    place.run(&["--out", "out"]).ends(0);
    let scenario = &place.report()["scenarios"][0];
    assert_eq!(scenario["callbacks"]["on_done"]["fired"], 3);
    assert_eq!(scenario["callbacks"]["on_done"]["failed"], 1);
    assert_eq!(scenario["callbacks"]["on_error"]["fired"], 0);
    assert_eq!(scenario["counters"]["done"], 3);
    assert_eq!(scenario["counters"]["always"], 3);
    let saved = std::fs::read_to_string(place.path("docs.jsonl")).expect("it was saved");
    let ids: Vec<Value> =
        saved.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(ids.iter().map(|doc| &doc["id"]).collect::<Vec<_>>(), ["d0", "d1", "d2"]);
}

#[test]
fn steps_hand_on_what_they_keep_and_thresholds_may_name_them() {
    let place = Place::new(
        "scenarios:
  - name: s
    load: {clients: 2, requests: 12}
    thresholds: [second.requests == 12, second.error_rate == 0]
    steps:
      - {name: first, documents: {id: 'd${{ i }}', text: one}, request_size: 1,
         capture: {id: 'response.docs[0].id'}}
      - name: second
        parameters: {id: '${{ captured.id }}'}
        assert: [response.parameters.id is startingwith 'd']",
    );
    place.run(&["--out", "out"]).ends(0);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["requests"]["ok"], 12);
    assert_eq!(scenario["documents"]["sent"], 12);
    assert_eq!(scenario["assertions"][0]["passed"], 12);
    let steps = scenario["steps"].as_array().expect("a list");
    assert_eq!(steps.iter().map(|s| &s["name"]).collect::<Vec<_>>(), ["first", "second"]);
    assert!(steps.iter().all(|step| step["requests"]["ok"] == 12));
    let ms = |of: &Value| of["mean"].as_f64().expect("a number");
    let both = steps.iter().map(|step| ms(&step["response_time_ms"])).sum::<f64>();
    assert!(ms(&scenario["response_time_ms"]) >= both * 0.999, "an iteration is all its steps");
}

#[test]
fn a_response_that_has_not_what_the_next_step_needs_fails_its_iteration() {
    let place = Place::new(
        "scenarios:
  - name: s
    load: {clients: 1, requests: 3}
    steps:
      - {name: first, capture: {id: 'response.docs[7].id'}}
      - {name: second, parameters: {id: '${{ captured.id }}'}}",
    );
    place.run(&["--out", "out"]).ends(1);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["requests"]["response_errors"], 3);
    assert_eq!(scenario["errors"][0]["kind"], "capture");
    assert_eq!(scenario["steps"][1]["requests"]["sent"], 0);
}

#[test]
fn a_streaming_endpoint_answers_each_document_with_many() {
    let place = Place::new(
        "flows: {f: {embedded: {family: v2, executors: [{name: e, endpoints: {/stream: {stream: {count: 3, every: 20ms}}}}]}}}
scenarios:
  - name: s
    on: /stream
    stream: true
    documents: {count: 5, text: \"tell ${{ i }}\"}
    assert: [response.docs | length == 3, 'request.docs[0].text is startingwith \"tell\"']",
    );
    place.run(&["--out", "out"]).ends(0);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["documents"], serde_json::json!({"sent": 5, "received": 15, "missing": 0}));
    assert_eq!(scenario["first_response_ms"]["count"], 5);
    let first = scenario["first_response_ms"]["max"].as_f64().expect("a time");
    let last = scenario["response_time_ms"]["min"].as_f64().expect("a time");
    assert!(first >= 20.0 && last >= 60.0, "{first} {last}");
}

#[test]
fn an_abort_action_ends_the_scenario_and_no_other() {
    let place = Place::new(
        "documents: {d: {text: hi}}
scenarios:
  - {name: ends, documents: d, load: {clients: 1, duration: 1h}, on_done: [abort]}
  - {name: goes on, documents: d, load: {clients: 1, requests: 20}}",
    );
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    assert_eq!(report["interrupted"], false);
    assert_eq!(report["scenarios"][0]["end"]["reason"], "aborted");
    assert_eq!(report["scenarios"][1]["requests"]["ok"], 20);
}

#[test]
fn responses_are_taken_in_the_order_of_their_requests_where_that_is_asked_for() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, service_time: {uniform: {min: 0s, max: 30ms}}}]}}}
scenarios:
  - name: s
    documents: {count: 60, id: 'd${{ i }}', text: a}
    request_size: 1
    results_in_order: true
    on_done: [{save: docs.jsonl}]",
    );
    place.run(&["--out", "out"]).ends(0);
    let saved = std::fs::read_to_string(place.path("docs.jsonl")).expect("it was saved");
    let docs = saved.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let ids: Vec<String> = docs.map(|doc| doc["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids, (0..60).map(|n| format!("d{n}")).collect::<Vec<_>>());
}

#[test]
fn a_step_is_polled_over_every_protocol_and_every_poll_is_counted() {
    let place = Place::new(
        "flows: {default: {embedded: {executors: [{name: e, service_time: {uniform: {min: 1ms, max: 21ms}}}]}}}
scenarios:
  - name: s
    matrix: {protocol: [grpc, http, websocket]}
    documents: {id: 'd${{ i }}', text: one}
    request_size: 1
    load: {clients: 3, requests: 24, think_time: 1ms..5ms}
    thresholds: [poll.requests > 24, create.requests == 24, error_rate == 0]
    steps:
      - {name: create, capture: {id: 'response.docs[0].id'}, think_time: {exponential: 2ms}}
      - name: poll
        repeat: {until: 'response.docs[0].id == captured.id and response.latency_ms > 12', every: 5ms}
        assert: [response.latency_ms > 12]
        on_done: [{count: polls}]
  - name: never
    needs: [s]
    documents: {text: one}
    request_size: 1
    load: {rate: 100/s, requests: 10}
    thresholds: [errors == 10, poll.errors == 0]
    steps:
      - {name: poll, repeat: {until: 'response.docs[0].tags.done', every: 50ms, at_most: 120ms}}",
    );
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    let scenarios = report["scenarios"].as_array().expect("a list");
    for scenario in &scenarios[..3] {
        counts_are_conserved(scenario);
        assert_eq!(scenario["requests"]["ok"], 24);
        let polls = &scenario["steps"][1]["requests"]["ok"];
        assert_eq!(&scenario["counters"]["polls"], polls, "callbacks see each");
        assert_eq!(scenario["assertions"][0]["passed"], 24, "assertions see the last");
        assert_eq!(scenario["assertions"][0]["failed"], 0);
        let sent = 24 + polls.as_u64().expect("a number");
        assert_eq!(scenario["documents"]["sent"], sent);
    }
    let never = &scenarios[3];
    counts_are_conserved(never);
    assert_eq!(never["requests"]["response_errors"], 10);
    assert_eq!(
        (&never["errors"][0]["kind"], &never["errors"][0]["count"]),
        (&"repeat".into(), &10.into())
    );
    let polls = never["steps"][0]["requests"]["ok"].as_u64().expect("a number");
    assert!((20..=30).contains(&polls), "{polls}");
}

#[test]
fn each_iteration_runs_one_list_of_steps_the_same_ones_however_it_is_sent() {
    let place = Place::new(
        "flows: {default: {embedded: {}}}
scenarios:
  - name: s
    matrix: {protocol: [grpc, http, websocket]}
    documents: {id: 'd${{ i }}', text: one}
    request_size: 1
    load: {clients: 5, requests: 80}
    thresholds: [add.requests > 5, open.requests > 30]
    choose:
      - name: browse
        weight: 3
        steps:
          - {name: open, capture: {id: 'response.docs[0].id'}, think_time: 1ms..2ms}
          - {name: read, parameters: {id: '${{ captured.id }}'}, on_done: [{count: read}],
             assert: ['response.parameters.id == response.docs[0].id']}
      - name: add
        steps: [{name: add, on: /index, repeat: {until: response.latency_ms > 0}}]
  - name: alone
    needs: [s]
    documents: {id: 'd${{ i }}', text: one}
    request_size: 1
    load: {rate: 400/s, requests: 80}
    choose:
      - {name: browse, weight: 3, steps: [{name: open}, {name: read}]}
      - {name: add, steps: [{name: add}]}",
    );
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    let scenarios = report["scenarios"].as_array().expect("a list");
    for scenario in scenarios {
        counts_are_conserved(scenario);
        assert_eq!(scenario["requests"]["ok"], 80);
        let chosen = |n: usize| scenario["choices"][n]["iterations"].as_u64().expect("a number");
        assert_eq!(chosen(0) + chosen(1), 80);
        assert!((45..=75).contains(&chosen(0)), "{}", chosen(0));
        assert_eq!(scenario["choices"][0]["share"], 0.75);
        let ok = |n: usize| scenario["steps"][n]["requests"]["ok"].as_u64().expect("a number");
        assert_eq!([ok(0), ok(1), ok(2)], [chosen(0), chosen(0), chosen(1)]);
        assert_eq!(scenario["documents"]["sent"], 2 * chosen(0) + chosen(1));
    }
    // The seed and the name of a scenario determine the choices; scenarios of a matrix have different names.
    assert_eq!(scenarios[0]["counters"]["read"], scenarios[0]["choices"][0]["iterations"]);
    let again = Place::new(&std::fs::read_to_string(place.path("suite.yaml")).expect("a suite"));
    again.run(&["--out", "out"]).ends(0);
    let again = again.report();
    for (one, other) in scenarios.iter().zip(again["scenarios"].as_array().expect("a list")) {
        assert_eq!(one["choices"], other["choices"]);
    }
}
