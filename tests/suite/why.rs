//! The factors of slow requests are found, and no others.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::run::Place;

fn why(place: &Place) -> Value {
    place.run(&["--out", "out"]).ends(0);
    place.report()["scenarios"][0]["why"].clone()
}

#[track_caller]
fn first(why: &Value) -> (String, String) {
    let first = &why["slow"]["factors"][0];
    let text = |key: &str| first[key].as_str().unwrap_or_else(|| panic!("{why}")).to_owned();
    assert!(first["low"].as_f64() > first["share_of_all"].as_f64(), "{why}");
    (text("about"), text("value"))
}

#[test]
fn a_replica_that_is_ten_times_slower_is_found_first() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: a}, {name: e, service_time: 20ms, replicas: 10, slow_replica: {replica: 3, factor: 10}}]}}}
scenarios:
  - name: s
    documents: {count: 3000, text: {words: 1..40}, tags: {lang: \"${{ choice(['de', 'en', 'fr']) }}\"}}
    request_size: 1
    load: {rate: 600/s, arrivals: poisson}
    thresholds: [executor.e.p50 < 1s]",
    );
    assert_eq!(first(&why(&place)), ("replica".into(), "e/rep-3".into()));
}

#[test]
fn a_tag_that_costs_more_is_found_first() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: a}, {name: costly, when: {tags__lang: {$eq: de}}, service_time: {per_document: 30ms}}]}}}
scenarios:
  - name: s
    documents: {count: 3000, text: {words: 1..40}, tags: {lang: \"${{ choice(['de', 'en', 'fr', 'it', 'es']) }}\", other: \"${{ choice([1, 2]) }}\"}}
    request_size: 1
    load: {rate: 600/s}
    grace: 10s",
    );
    assert_eq!(first(&why(&place)), ("value".into(), "lang=de".into()));
    let html = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    assert!(html.contains("Why is it slow?") && html.contains("<th scope=\"row\">lang=de</th>"));
}

/// Passes bytes on, but delays the responses on the first connection.
async fn stalling(target: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&target).await else { continue };
            let stalls = count == 2;
            count += 1;
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                let mut last = std::time::Instant::now();
                while let Ok(read) = from_server.read(&mut buffer).await {
                    if stalls && last.elapsed() > Duration::from_millis(700) {
                        tokio::time::sleep(Duration::from_millis(250)).await;
                        last = std::time::Instant::now();
                    }
                    if read == 0 || to_client.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn a_connection_that_stalls_is_found_first() {
    use flowbench::flow::{Flow, FlowConfig};
    use flowbench::wire::Protocol;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let config: FlowConfig =
        serde_yaml::from_str("executors: [{name: e, service_time: 3ms}]").expect("it is valid");
    let flow = runtime.block_on(Flow::start(config)).expect("it starts");
    let target = flow.target(Protocol::WebSocket).expect("it speaks it").authority();
    let port = runtime.block_on(stalling(target));
    let place = Place::new(&format!(
        "flows: {{f: {{host: 'ws://127.0.0.1:{port}', family: v1}}}}
scenarios:
  - name: s
    documents: {{text: {{words: 1..40}}}}
    request_size: 1
    connections: 6
    workers: 1
    load: {{rate: 700/s, duration: 6s, max_in_flight: 5000}}"
    ));
    let why = why(&place);
    let (about, value) = first(&why);
    assert!(about == "stall" || about == "connection", "{about} {value}: {why}");
    let factors = why["slow"]["factors"].as_array().expect("a list");
    assert!(factors.iter().any(|factor| factor["about"] == "connection"), "{why}");
}

#[test]
fn with_none_of_them_nothing_is_claimed() {
    for service in ["{lognormal: {median: 2ms, p99: 20ms}}", "{exponential: {mean: 3ms}}", "2ms"] {
        let place = Place::new(&format!(
            "flows: {{f: {{embedded: {{executors: [{{name: a}}, {{name: e, service_time: {service}}}]}}}}}}
scenarios:
  - name: s
    documents: {{count: 2500, text: {{words: 1..40}}, tags: {{lang: \"${{{{ choice(['de', 'en', 'fr']) }}}}\"}}}}
    request_size: 1
    load: {{rate: 600/s, arrivals: poisson}}"
        ));
        let why = why(&place);
        assert_eq!(why["slow"]["factors"], serde_json::json!([]), "{service}: {why}");
        let html = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
        assert!(html.contains("nothing that is known of them sets them apart"));
    }
}

/// Requests of which one in five is slow, depending on its tag.
const COSTLY: &str = "
    documents: {text: {words: 1..40}, tags: {lang: \"${{ choice(['de', 'en', 'fr', 'it', 'es']) }}\"}}
    request_size: 1
    grace: 20s
    thresholds: [p50 < 10s]";

const COSTLY_FLOW: &str = "executors: [{name: a}, {name: costly, concurrency: 512, when: {tags__lang: {$eq: de}}, \
     service_time: {per_document: 1500ms}}]";

#[test]
fn a_run_that_was_killed_says_what_was_slow_and_what_its_flow_told() {
    let flow = crate::watched::Served::with(COSTLY_FLOW);
    let (address, metrics) = (flow.address(), crate::watched::counting());
    let place = Place::new(&format!(
        "flows: {{f: {{host: '{address}', metrics: ['http://127.0.0.1:{metrics}']}}}}\nscenarios:\n  \
         - name: s{COSTLY}\n    load: {{rate: 400/s, duration: 60s}}"
    ));
    let running = crate::run::Running::start(&mut place.command(&["--out", "out", "-q"]));
    let begun = std::time::Instant::now();
    let journal = place.path("out/journal.jsonl");
    // The sample must be large enough for findings.
    while std::fs::metadata(&journal).map_or(0, |file| file.len()) < 1_000_000 {
        assert!(begun.elapsed() < Duration::from_secs(55), "so much is told");
        std::thread::sleep(Duration::from_millis(200));
    }
    running.signal(rustix::process::Signal::KILL);
    running.end();
    let again = ["report", "out/journal.jsonl", "-o", "out/report.json"];
    place.any(&again).output().expect("it was built");
    let report = place.report();
    let scenario = &report["scenarios"][0];
    assert_eq!(first(&scenario["why"]), ("value".into(), "lang=de".into()));
    let of = scenario["why"]["of"].as_u64().expect("a number");
    assert!(of <= scenario["requests"]["ok"].as_u64().expect("a number"), "{}", scenario["why"]);
    let server = &scenario["server"];
    let names = server["places"].as_array().expect("a list").iter();
    let names: Vec<&str> = names.filter_map(|place| place["name"].as_str()).collect();
    assert_eq!(names, ["enc"], "{server}");
    assert!(server["t_s"].as_array().is_some_and(|t_s| t_s.len() >= 3), "{server}");
    assert!(server["sources"][0]["scrapes"].as_u64() >= Some(4), "{server}");
}

#[test]
fn parts_that_are_merged_say_what_was_slow() {
    let flow = crate::watched::Served::with(COSTLY_FLOW);
    let place = Place::new(&format!(
        "flows: {{f: {{host: '{}'}}}}\nscenarios:\n  - name: s{COSTLY}\n    load: {{rate: 800/s, requests: 6000}}",
        flow.address()
    ));
    for part in ["1/2", "2/2"] {
        place.run(&["--out", "out", "-q", "--part", part]);
    }
    let merge = ["merge", "out", "--out", "out", "-q"];
    place.any(&merge).output().expect("it was built");
    let scenario = &place.report()["scenarios"][0];
    let why = &scenario["why"];
    assert_eq!(first(why), ("value".into(), "lang=de".into()));
    // Each part samples 2000 of its 3000 requests, like two workers. Abandoned requests never ended.
    let count = |name: &str| scenario["requests"][name].as_u64().expect("a number");
    let ended = count("sent") - count("abandoned");
    assert_eq!(why["of"].as_u64(), Some(ended), "{scenario}");
    assert!((3900..=4000).contains(&why["sampled"].as_u64().expect("a number")), "{why}");
}
