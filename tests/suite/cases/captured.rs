//! Names that a step captures are known wherever later steps can use them.

use crate::run::{Place, counts_are_conserved};

const SUITE: &str = r#"
flows: {local: {embedded: {executors: [{name: encoder, uses: encoder}, {name: indexer, uses: memory_index}]}}}
documents:
  one: {id: "document-${{ i }}", text: {words: 8}}
  kept: {id: "${{ captured.id }}", tags: {of: "${{ captured.words }}"}, chunks: {count: 2, text: "${{ captured.id }}"}}
scenarios:
  - name: index, search, delete
    matrix: {protocol: [grpc, http, websocket]}
    request_size: 1
    load: {clients: 1, requests: 5}
    steps:
      - name: index
        on: /index
        documents: one
        capture: {id: "response.docs[0].id", words: "response.docs[0].text | length"}
      - name: search
        on: /search
        documents: {text: "looking for ${{ captured.id }}"}
        capture: {found: "response.docs[0].matches[0].id", known: "captured.id == response.docs[0].matches[0].id"}
        assert: ["response.docs[0].matches | length == 1"]
      - name: delete
        on: /delete
        documents: kept
        assert:
          - request.docs[0].id == captured.id and captured.id == captured.found and captured.known
          - request.docs[0].tags.of == captured.words
          - request.docs[0].chunks[1].text == captured.id
        on_done: [{check: captured.words > 0}]
      - name: search again
        on: /search
        documents: {text: "looking for ${{ captured.id }}"}
        assert: ["response.docs[0].matches | length == 0"]
"#;

#[test]
fn later_steps_send_and_assert_what_was_kept() {
    let place = Place::new(SUITE);
    place.run(&["--out", "out"]).ends(0);
    for scenario in place.report()["scenarios"].as_array().expect("a list") {
        counts_are_conserved(scenario);
        assert_eq!(scenario["requests"]["ok"], 5, "{scenario}");
        for assertion in scenario["assertions"].as_array().expect("a list") {
            assert_eq!((&assertion["passed"], &assertion["failed"]), (&5.into(), &0.into()));
        }
    }
}

#[test]
fn what_was_not_kept_fails_the_assertion_or_ends_the_iteration() {
    // Documents have no tag of that name, so the request cannot be made.
    let place = Place::new(
        &SUITE.replace("of: \"${{ captured.words }}\"", "of: \"${{ captured.words.x }}\""),
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(1);
    assert!(ran.out.contains("captured.words.x"), "{}", ran.out);
    let place = Place::new(
        &SUITE.replace("captured.id == captured.found", "captured.id != captured.found"),
    );
    place.run(&["--out", "out"]).ends(1);
    assert_eq!(place.report()["scenarios"][0]["assertions"][1]["failed"], 5);
}
