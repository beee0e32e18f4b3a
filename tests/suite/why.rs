//! What sets slow requests apart is found, and nothing else.

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
        "flows: {f: {embedded: {executors: [{name: a}, {name: e, service_time: 2ms, replicas: 10, slow_replica: {replica: 3, factor: 10}}]}}}
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

/// Passes bytes on, but of the connection number 1 what comes back only every so often.
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
