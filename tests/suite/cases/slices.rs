//! Expressions with slices refer to the sliced value.

use crate::run::Place;

const SUITE: &str = r#"
flows: {e: {embedded: {executors: [{name: a}]}}}
defaults: {flow: e, request_size: 3, load: {clients: 1, requests: 2}}
documents: {d: {id: "doc-${{ i }}", text: "hello ${{ i }}"}}
scenarios:
  - {name: assert, documents: d, assert: ["response.docs[0].text[:5] == 'hello'"]}
  - {name: list, documents: d, assert: ["response.docs[:2] | length == 2"]}
  - {name: request, documents: d, assert: ["request.docs[0].id[:3] == 'doc'"]}
  - {name: check, documents: d, on_done: [{check: "response.docs[0].id[:3] == 'doc'"}]}
  - {name: log, documents: d, on_done: [{log: "got ${{ response.docs[0].text[:5] }}"}]}
  - name: capture
    documents: d
    steps:
      - {name: one, capture: {c: "response.docs[0].id[:3]"}}
      - {name: two, on: /b, documents: {text: "${{ captured.c[:2] }}"}, assert: ["response.docs[0].text == 'do'"]}
"#;

#[test]
fn a_slice_of_a_response_is_known_in_every_place() {
    let place = Place::new(SUITE);
    let ran = place.run(&["--out", "out"]);
    ran.ends(0);
    assert_eq!(ran.out.matches("got hello\n").count(), 2, "{}", ran.out);
    for scenario in place.report()["scenarios"].as_array().expect("a list") {
        assert_eq!(
            scenario["callbacks"]["on_done"]["failed"].as_u64().unwrap_or(0),
            0,
            "{scenario}"
        );
    }
}
