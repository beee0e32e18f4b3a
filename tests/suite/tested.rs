//! The page says what was tested, and the terminal distinguishes the rows of a matrix.

use crate::run::{Place, Ran};

#[test]
fn a_page_says_what_was_tested() {
    let place = Place::new(
        "flows: {mine: {embedded: {}}}
documents: {queries: {text: {words: 3}}}
scenarios:
  - name: search
    on: /search
    documents: queries
    request_size: 2
    load: {stages: [{clients: 2, for: 2s}, {ramp_to: 6, for: 2s}]}
  - {name: other, request: {path: /dry_run}, protocol: http, load: {clients: 1, requests: 20}}",
    );
    place.run(&["--out", "out"]).ends(0);
    let html = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    for words in [
        "mine, the built-in Flow, over grpc",
        "&#x2f;search, 2 Documents each",
        "<dd>queries</dd>",
        "GET &#x2f;dry_run",
        "<b>Clients</b>",
        "<dt>Mean</dt>",
        "<dt>p90</dt>",
        "Bytes per request",
    ] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("Jina 3."), "it is no Flow of Jina");
    let report = place.report();
    let search = &report["scenarios"][0];
    assert_eq!(search["work"][0]["request_size"], 2);
    assert_eq!(search["target"]["built_in"], true);
    let clients: Vec<f64> = search["timeline"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|second| second["clients"].as_f64())
        .collect();
    assert_eq!(clients[..4], [2.0, 2.0, 3.0, 5.0]);
    let (sent, ok) = (&search["bytes"]["sent"], search["requests"]["sent"].as_u64());
    assert!(sent.as_u64() > ok.map(|ok| ok * 20), "{sent}");
}

#[test]
fn rows_of_a_matrix_are_told_apart_at_80_columns() {
    let place = Place::new(
        "scenarios:
  - name: search for something
    documents: {count: 10, text: hello}
    matrix: {protocol: [grpc, websocket], request_size: [1, 10]}",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(0);
    for protocol in ["grpc", "websocket"] {
        for size in [1, 10] {
            let name = format!("search for something [protocol={protocol}, request_size={size}]");
            assert!(ran.out.contains(&name), "{name}: {}", ran.out);
        }
    }
    assert!(ran.out.lines().all(|line| line.chars().count() <= 80), "{}", ran.out);
}

#[test]
fn pages_of_comparisons_say_when_where_and_under_which_load() {
    let place = Place::new(
        "flows: {mine: {embedded: {}}}
scenarios: [{name: s, documents: {text: a}, load: {rate: 100/s, duration: 2s}}]",
    );
    for out in ["r/one", "r/two", "r/three"] {
        place.run(&["--out", out]).ends(0);
    }
    let page = |arguments: &[&str], file: &str| {
        Ran::new(place.any(arguments).output().expect("it was built"));
        std::fs::read_to_string(place.path(file)).expect("it was written")
    };
    let compared = page(&["compare", "r/one", "-o", "c.html", "--force", "--", "r/two"], "c.html");
    let trend = page(&["trend", "r", "-o", "t.html"], "t.html");
    for (page, words) in [
        (&compared, "100&#x2f;s for 2s"),
        (&compared, "<dt>Machine</dt>"),
        (&compared, "<dt>Measured</dt>"),
        (&compared, "mine over grpc"),
        (&trend, "<dt>Machine</dt>"),
    ] {
        assert!(page.contains(words), "{words}");
    }
}
