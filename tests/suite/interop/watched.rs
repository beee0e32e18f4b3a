//! The server metrics of real Flows in a report equal the difference of their own metrics before and after.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use flowbench::wire::Protocol;
use serde_json::Value;

use super::flow::Setup;
use super::python::Release;
use crate::run::Place;

/// Count and sum of seconds of each pod, from their own metrics.
type Totals = BTreeMap<String, (f64, f64)>;

/// Parses the pages like Prometheus would, with none of our code.
fn totals(ports: &[u64]) -> Totals {
    let mut totals = Totals::new();
    for port in ports {
        let mut page = String::new();
        let mut stream =
            TcpStream::connect(("127.0.0.1", *port as u16)).expect("it offers metrics");
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").expect("it listens");
        stream.read_to_string(&mut page).expect("it is text");
        for line in page.lines().filter(|line| line.starts_with("jina_receiving_request_seconds_"))
        {
            let (_, rest) = line.split_once("runtime_name=\"").expect("a pod has a name");
            let (name, _) = rest.split_once('"').expect("it ends");
            let (_, value) = line.rsplit_once(' ').expect("it has a value");
            let value: f64 = value.parse().expect("it is a number");
            let total = totals.entry(name.to_owned()).or_default();
            if line.starts_with("jina_receiving_request_seconds_count") {
                total.0 += value;
            } else if line.starts_with("jina_receiving_request_seconds_sum") {
                total.1 += value;
            }
        }
    }
    totals
}

#[test]
fn what_a_flow_says_of_itself_is_in_the_report() {
    for (release, protocol) in [
        (Release::V1, Protocol::Grpc),
        (Release::V2, Protocol::Http),
        (Release::V1Old, Protocol::Grpc),
    ] {
        // 3.6.5 does not support a list of ports.
        let replicas = if release == Release::V1Old { "1" } else { "2" };
        let arguments = ["--executors", "echo,sleeper", "--replicas", replicas, "--monitoring"];
        let setup = Setup::new(release, &[protocol]).with(&arguments);
        let Some(flow) = setup.start() else { return };
        let ports: Vec<u64> = flow.info["metrics"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        assert_eq!(ports.len(), if replicas == "2" { 5 } else { 3 }, "{ports:?}");
        let addresses: Vec<String> =
            ports.iter().map(|port| format!("\"http://127.0.0.1:{port}\"")).collect();
        // The clock of 3.6.5 cannot separate overlapping requests.
        let thresholds = match release {
            Release::V1Old => "thresholds: [server.sleeper.rate > 20/s]",
            _ => {
                "thresholds: [server.sleeper.mean > 25ms, server.sleeper.rate > 20/s, server.gateway.pending < 30, \
                 server.sleeper.pending.max < 1000]"
            }
        };
        let place = Place::new(&format!(
            "flows: {{f: {{host: {}, metrics: [{}]}}}}
scenarios:
  - name: s
    documents: {{text: hello}}
    request_size: 1
    parameters: {{sleep_ms: 30}}
    load: {{rate: 40/s, duration: 8s}}
    {thresholds}",
            flow.target(protocol),
            addresses.join(", ")
        ));
        let before = totals(&ports);
        place.run(&["--out", "out"]).ends(0);
        let after = totals(&ports);
        let report = place.report();
        let scenario = &report["scenarios"][0];
        let server = &scenario["server"];
        for source in server["sources"].as_array().expect("a list") {
            assert_eq!(source["failed"], 0, "{release:?}: {source}");
            assert!(source["scrapes"].as_u64() >= Some(8), "{release:?}: {source}");
        }
        let places = server["places"].as_array().expect("a list");
        let value = |name: &str, replica: Option<&str>, figure: &str| {
            let of = |place: &&Value| place["name"] == name && place["replica"].as_str() == replica;
            let found =
                places.iter().find(of).unwrap_or_else(|| panic!("{name} {replica:?}: {server}"));
            found["figures"][figure]["value"]
                .as_f64()
                .unwrap_or_else(|| panic!("{figure}: {found}"))
        };
        let near = |found: f64, expected: f64, what: &str| {
            let is_near = (found - expected).abs() <= 0.02 * expected;
            assert!(is_near, "{release:?}: {what} is {found}, the Flow says {expected}");
        };
        // From the first reading to the last, which follows directly after the last response.
        let seconds = scenario["duration_s"].as_f64().expect("a number") + 0.03;
        let mut whole: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (pod, (count, sum)) in &after {
            let (count, sum) = before.get(pod).map_or((*count, *sum), |b| (count - b.0, sum - b.1));
            let (name, replica) =
                pod.split_once('/').map_or((pod.as_str(), None), |(n, r)| (n, Some(r)));
            let total = whole.entry(name).or_default();
            (total.0, total.1) = (total.0 + count, total.1 + sum);
            if name != "gateway" && replicas == "2" {
                near(value(name, replica, "rate"), count / seconds, &format!("rate of {pod}"));
                near(value(name, replica, "mean"), sum / count * 1e3, &format!("mean of {pod}"));
            }
        }
        for (name, (count, sum)) in whole {
            assert!(count >= 320.0, "{name}: {count}");
            near(value(name, None, "rate"), count / seconds, &format!("rate of {name}"));
            near(value(name, None, "mean"), sum / count * 1e3, &format!("mean of {name}"));
        }
        if release != Release::V1Old {
            // Jina calls Executors in the order of the Flow, so both times are the same as in routes.
            assert!(value("gateway", None, "sending") > 12.0);
            assert!(value("sleeper", None, "process") > 25.0);
            assert!(value("sleeper", None, "documents") > 35.0);
            assert!(value("gateway", None, "received") > 100.0);
        }
    }
}

#[test]
fn the_processes_of_a_started_flow_are_watched_without_any_setup() {
    let Some(python) = Release::V1.python() else { return };
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = held.local_addr().expect("it is bound").port();
    drop(held);
    let server = super::python::files().join("flow_server.py");
    let place = Place::new(&format!(
        "flows:
  f:
    command: ['{}', '{}', --executors, echo, --port, {port}]
    host: grpc://127.0.0.1:{port}
scenarios:
  - name: s
    documents: {{text: hello}}
    load: {{clients: 4, duration: 4s}}
    thresholds: [server.processes.cpu > 0.01, server.processes.memory > 50MiB, server.processes.threads > 3]",
        python.display(),
        server.display()
    ));
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    let server = &report["scenarios"][0]["server"];
    let figures = &server["places"][0]["figures"];
    assert_eq!(server["places"][0]["kind"], "processes");
    let value =
        |figure: &str| figures[figure]["value"].as_f64().unwrap_or_else(|| panic!("{figures}"));
    assert!(value("busiest") <= value("cpu") + 0.2, "{figures}");
    let html = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    assert!(
        html.contains("Processors in use") && html.contains("<th scope=\"row\">processes</th>")
    );
}
