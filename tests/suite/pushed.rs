//! `--otlp`: metrics pushed to OpenTelemetry receivers that accept them, refuse them, hang, or do not exist.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::interop::python::{files, otlp};
use crate::interop::tls;
use crate::meet::free_address;
use crate::run::{Place, Ran};
use crate::watched::Served;

/// A receiver that uses the official messages.
struct Collector {
    child: Child,
    grpc: u16,
    http: u16,
    file: std::path::PathBuf,
}

impl Collector {
    /// `None` if there is no Python for it. `status`: its response over HTTP.
    fn start(place: &Place, status: u16) -> Option<Collector> {
        Collector::with(place, status, &[])
    }

    /// `tls`: its certificate and key, if it is encrypted.
    fn with(place: &Place, status: u16, tls: &[&std::path::Path]) -> Option<Collector> {
        let file = place.path("pushed.jsonl");
        let mut child = Command::new(otlp()?)
            .arg(files().join("collector.py"))
            .arg(&file)
            .arg(status.to_string())
            .args(tls)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("it prints its ports");
        let ports: Vec<u16> = line.split_whitespace().map(|p| p.parse().expect("a port")).collect();
        Some(Collector { child, grpc: ports[0], http: ports[1], file })
    }

    /// The pushes received so far.
    fn pushes(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The points of a metric in a push, with their attributes as `name=value`.
fn points(push: &Value, name: &str) -> Vec<(Vec<String>, Value)> {
    let metrics = push["request"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array();
    let metric = metrics.into_iter().flatten().find(|metric| metric["name"] == name);
    let kinds = ["exponentialHistogram", "sum", "gauge"];
    let data = metric.and_then(|metric| kinds.into_iter().find_map(|kind| metric.get(kind)));
    let points = data.and_then(|data| data["dataPoints"].as_array()).cloned().unwrap_or_default();
    points.into_iter().map(|point| (attributes(&point["attributes"]), point)).collect()
}

fn attributes(list: &Value) -> Vec<String> {
    let each = list.as_array().into_iter().flatten();
    each.map(|one| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{}={}", text(&one["key"]), text(&one["value"]["stringValue"]))
    })
    .collect()
}

/// The value of the point with this attribute.
fn count(push: &Value, name: &str, attribute: &str) -> u64 {
    let found = points(push, name).into_iter().find(|(own, _)| own.iter().any(|a| a == attribute));
    let (_, point) = found.unwrap_or_else(|| panic!("no {name} with {attribute}: {push}"));
    whole(&point["asInt"])
}

/// Protobuf's JSON writes large integers as text.
fn whole(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or(value.as_u64()).unwrap_or_default()
}

/// The bounds, in seconds, of the bucket that contains a quantile.
fn bounds(point: &Value, quantile: f64) -> (f64, f64) {
    let scale = point["scale"].as_f64().unwrap_or_default();
    let offset = point["positive"]["offset"].as_f64().unwrap_or_default();
    let counts = point["positive"]["bucketCounts"].as_array().expect("buckets");
    let rank = (quantile * whole(&point["count"]) as f64).ceil() as u64;
    let mut seen = whole(&point["zeroCount"]);
    let at = counts.iter().position(|count| {
        seen += whole(count);
        seen >= rank
    });
    let bound = |index: f64| ((index + offset) / scale.exp2()).exp2();
    let at = at.expect("all are counted") as f64;
    (bound(at), bound(at + 1.0))
}

const FLOW: &str = "{embedded: {family: v2, executors: [{name: e, service_time: {exponential: {mean: 4ms}}, concurrency: 50, fail: 10%}]}}";

const SUITE: &str = "name: pushed
scenarios:
  - name: search
    steps:
      - {name: first, documents: {text: {words: 3}}, request_size: 1}
      - {name: second, documents: {text: {words: 3}}, request_size: 1}
    protocol: grpc
    load: {rate: 40/s, duration: 3s}
    call: unary
    trace: {sample: 20%}
    thresholds: [error_rate < 90%]";

/// A suite with this Flow.
fn place(flow: &str, duration: &str) -> Place {
    let suite = SUITE.replace("duration: 3s", &format!("duration: {duration}"));
    Place::new(&format!("{suite}\nflows: {{mine: {flow}}}"))
}

#[test]
fn what_is_pushed_is_what_the_report_says() {
    let place = place(FLOW, "3s");
    let Some(collector) = Collector::start(&place, 200) else { return };
    for (how, url) in [
        ("grpc", format!("grpc://127.0.0.1:{}", collector.grpc)),
        ("http", format!("http://127.0.0.1:{}", collector.http)),
    ] {
        let mut command = place.command(&["--otlp", &url, "--out", "out", "--quiet"]);
        command.args(["--otlp-header", "authorization=Bearer sesame-open"]);
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=some%20one");
        let ran = Ran::new(command.output().expect("it was built"));
        assert_eq!(ran.ends(0).err, "", "{how}");
        let report = place.report();
        let scenario = &report["scenarios"][0];
        let pushes = collector.pushes();
        let pushes: Vec<&Value> = pushes.iter().filter(|push| push["how"] == how).collect();
        assert!(pushes.len() >= 3, "{how}: {}", pushes.len());
        let last = pushes[pushes.len() - 1];
        assert_eq!(last["headers"]["authorization"], "Bearer sesame-open");
        assert_eq!(last["headers"]["x-tenant"], "some one");
        let resource = attributes(&last["request"]["resourceMetrics"][0]["resource"]["attributes"]);
        assert!(resource.contains(&"service.name=flowbench".into()), "{resource:?}");
        assert!(!resource.iter().any(|one| one.starts_with("flowbench.part")), "{resource:?}");
        for (outcome, name) in [("ok", "ok"), ("response_error", "response_errors")] {
            let told = count(last, "flowbench.requests", &format!("outcome={outcome}"));
            assert_eq!(told, scenario["requests"][name], "{how} {name}");
        }
        let steps = scenario["steps"].as_array().expect("steps");
        for (name, attribute, figures) in [
            ("flowbench.response.duration", "scenario=search", &scenario["response_time_ms"]),
            ("flowbench.service.duration", "flow=mine", &scenario["service_time_ms"]),
            ("flowbench.step.duration", "step=first", &steps[0]["response_time_ms"]),
            ("flowbench.step.duration", "step=second", &steps[1]["response_time_ms"]),
        ] {
            let found = points(last, name);
            let found = found.iter().find(|(own, _)| own.iter().any(|one| one == attribute));
            let (_, point) = found.unwrap_or_else(|| panic!("{name} {attribute}"));
            let figure = |name: &str| figures[name].as_f64().expect("a figure") / 1e3;
            assert_eq!(whole(&point["count"]), figures["count"], "{name}");
            let sum = figure("mean") * figures["count"].as_f64().expect("a number");
            assert!((point["sum"].as_f64().expect("a sum") - sum).abs() < 1e-6, "{name}");
            assert_eq!(point["max"].as_f64(), Some(figure("max")), "{name}");
            for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
                let (low, high) = bounds(point, quantile);
                assert!(high / low < 1.023, "{low} {high}");
                let told = figure(name);
                assert!(told >= low * 0.999 && told <= high * 1.001, "{name}: {low} {told} {high}");
            }
        }
        let response = &points(last, "flowbench.response.duration")[0].1;
        let slowest = &scenario["traces"]["slowest"][0]["response_ms"];
        let exemplar = response["exemplars"][0]["asDouble"].as_f64().map(|seconds| seconds * 1e3);
        assert!((exemplar.unwrap_or_default() - slowest.as_f64().expect("ms")).abs() < 1e-6);
        // Totals only grow, and keep the same start time.
        let mut before = 0;
        for push in pushes {
            let point = &points(push, "flowbench.response.duration")[0].1;
            assert_eq!(point["startTimeUnixNano"], response["startTimeUnixNano"], "{how}");
            assert!(whole(&point["count"]) >= before);
            before = whole(&point["count"]);
        }
    }
}

#[test]
fn parts_say_which_they_are() {
    let flow = Served::with("family: v2\nexecutors: [{name: e, service_time: 4ms}]");
    let place = place(&format!("{{host: '{}'}}", flow.address()), "3s");
    let Some(collector) = Collector::start(&place, 200) else { return };
    let url = format!("grpc://127.0.0.1:{}", collector.grpc);
    place.run(&["--otlp", &url, "--out", "out", "--quiet", "--part", "2/3"]).ends(0);
    let pushes = collector.pushes();
    let resource = &pushes.last().expect("a push")["request"]["resourceMetrics"][0]["resource"];
    let resource = attributes(&resource["attributes"]);
    assert!(resource.contains(&"flowbench.part=2/3".into()), "{resource:?}");
}

#[test]
fn a_receiver_that_is_no_help_ends_no_load() {
    let place = place(FLOW, "1500ms");
    let told = |url: &str, expected: &str| {
        let ran = place.run(&["--otlp", url, "--out", "out", "--quiet"]);
        assert!(ran.ends(0).err.contains(expected), "{url}: {}", ran.err);
        assert!(ran.err.contains("of metrics failed"), "{url}: {}", ran.err);
        assert_eq!(place.report()["scenarios"][0]["end"]["reason"], "time", "{url}");
    };
    for scheme in ["http", "grpc"] {
        told(&format!("{scheme}://{}", free_address()), "could not be reached");
        // A receiver that accepts connections but never responds.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in silent.incoming().map_while(Result::ok) {
                let copy = stream.try_clone();
                std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
                kept.push(copy);
            }
        });
        told(&format!("{scheme}://127.0.0.1:{port}"), "does not answer within");
    }
    let Some(collector) = Collector::start(&place, 401) else { return };
    told(&format!("http://127.0.0.1:{}", collector.http), "answers with status 401");
    told(&format!("grpc://127.0.0.1:{}", collector.http), "could not be reached");
}

#[test]
fn an_address_or_header_that_is_none_is_refused_before_the_run() {
    let place = place(FLOW, "3s");
    for (arguments, expected) in [
        (&["--otlp", "localhost:4317"][..], "expected an address such as `http://127.0.0.1:4318`"),
        (&["--otlp", "http://me:secret@host"], "an address has no password in it"),
        (&["--otlp", "grpc://host:1/v1/metrics"], "gRPC has no paths"),
        (&["--otlp", "http://a", "--otlp-header", "x"], "expected a name and a value"),
        (&["--otlp-header", "x=y"], "--otlp <URL>"),
    ] {
        let ran = place.run(arguments);
        assert!(ran.ends(2).err.contains(expected), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn receivers_behind_tls_are_verified() {
    let place = place(FLOW, "1500ms");
    let tls = tls::files();
    let collector = Collector::with(&place, 200, &[&tls.server_cert, &tls.server_key]);
    let Some(collector) = collector else { return };
    let urls = [
        format!("grpcs://localhost:{}", collector.grpc),
        format!("https://localhost:{}", collector.http),
    ];
    for (number, url) in urls.iter().enumerate() {
        let pushed = |ca: Option<&std::path::Path>| {
            let mut command = place.command(&["--otlp", url, "--out", "out", "--quiet"]);
            ca.map(|ca| command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca));
            Ran::new(command.output().expect("it was built"))
        };
        assert!(pushed(Some(&tls.other_ca)).ends(0).err.contains("of metrics failed"), "{url}");
        assert_eq!(collector.pushes().len(), 0, "{url}");
        assert_eq!(pushed(Some(&tls.ca)).ends(0).err, "", "{url}");
        let pushes = collector.pushes();
        assert!(!pushes.is_empty(), "{url}");
        assert_eq!(pushes[0]["how"], ["grpc", "http"][number]);
        std::fs::write(&collector.file, "").expect("it can be written");
    }
}

#[test]
fn connected_parts_push_the_whole_and_what_each_of_the_others_sent() {
    let flow = Served::with("family: v2\nexecutors: [{name: e, service_time: 4ms}]");
    let place = place(&format!("{{host: '{}'}}", flow.address()), "3s");
    let Some(collector) = Collector::start(&place, 200) else { return };
    let (url, meet) = (format!("grpc://127.0.0.1:{}", collector.grpc), free_address());
    let parts = ["1/2", "2/2"].map(|part| {
        let mut command =
            place.command(&["--otlp", &url, "--out", "out", "--quiet", "--part", part]);
        command.args(["--meet", &meet]).env("FLOWBENCH_MEET_TOKEN", "0123456789abcdef0123");
        command.spawn().expect("the binary was built")
    });
    for part in parts {
        let ran = Ran::new(part.wait_with_output().expect("it ends"));
        assert_eq!(ran.ends(0).err, "");
    }
    let requests = &place.report()["scenarios"][0]["requests"];
    let mut last = std::collections::BTreeMap::new();
    for push in collector.pushes() {
        let resource = attributes(&push["request"]["resourceMetrics"][0]["resource"]["attributes"]);
        let part = resource.iter().find_map(|one| one.strip_prefix("flowbench.part="));
        last.insert(part.unwrap_or_default().to_owned(), push);
    }
    let parts: Vec<&str> = last.keys().map(String::as_str).collect();
    assert_eq!(parts, ["", "2/2"]);
    let ok = |part: &str| count(&last[part], "flowbench.requests", "outcome=ok");
    assert_eq!(ok(""), requests["ok"]);
    assert!(ok("2/2") > 0 && ok("2/2") < ok(""), "{} of {}", ok("2/2"), ok(""));
}

#[test]
fn a_search_and_a_gate_push_what_they_do() {
    let place = Place::new(
        "flows:
  a: {embedded: {executors: [{name: e, service_time: 5ms}]}}
  b: {embedded: {executors: [{name: e, service_time: 5ms}]}}
scenarios:
  - name: search
    flow: a
    documents: {text: {words: 3}}
    request_size: 1
    load: {rate: 20/s, duration: 2s}",
    );
    let Some(collector) = Collector::start(&place, 200) else { return };
    let url = format!("grpc://127.0.0.1:{}", collector.grpc);
    let ran = |arguments: &[&str]| {
        let more = [arguments, &["--otlp", &url, "--quiet"]].concat();
        Ran::new(place.any(&more).output().expect("it was built"))
    };
    let searched = ran(&[
        "capacity",
        "suite.yaml",
        "--objective",
        "mean < 10s",
        "--rate",
        "60/s..120/s",
        "--trial",
        "2s",
        "--skip-overload",
        "--precision",
        "50%",
        "--confidence",
        "80%",
        "--out",
        "out",
    ]);
    assert_eq!(searched.err, "", "{}", searched.out);
    let last = collector.pushes().pop().expect("a push");
    let capacity =
        std::fs::read_to_string(place.path("out/capacity.json")).expect("it was written");
    let capacity: Value = serde_json::from_str(&capacity).expect("JSON");
    let trials = capacity["trials"].as_array().expect("a list").len();
    let told = points(&last, "flowbench.capacity.trials");
    assert_eq!(told[0].1["asDouble"].as_f64(), Some(trials as f64), "{last}");
    std::fs::write(&collector.file, "").expect("it can be written");
    let gate = [
        "gate",
        "suite.yaml",
        "--base-flow",
        "a",
        "--candidate-flow",
        "b",
        "--gate",
        "p50 +900%",
        "--runs",
        "1",
        "--force",
    ];
    ran(&gate);
    let pushes = collector.pushes();
    let flows: std::collections::BTreeSet<String> = pushes
        .iter()
        .flat_map(|push| points(push, "flowbench.arrivals"))
        .flat_map(|(attributes, _)| attributes)
        .filter(|one| one.starts_with("flow="))
        .collect();
    assert_eq!(flows.into_iter().collect::<Vec<_>>(), ["flow=a", "flow=b"]);
}
