//! A real Prometheus server that scrapes a run, and one that a suite queries. Without one these tests print
//! `skipped: …` and pass, unless `FLOWBENCH_REQUIRE_PROMETHEUS=1` is set.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{ask, served_with};
use crate::meet::free_address;
use crate::run::Place;
use crate::watched::Served;

struct Prometheus {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes an address each second.
    fn start(target: &str, features: &[&str]) -> Option<Prometheus> {
        let folder = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let target = if target.is_empty() { &address } else { target };
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: load\n    \
             static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("written");
        let started = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .args(features)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            let required = std::env::var("FLOWBENCH_REQUIRE_PROMETHEUS");
            assert_ne!(required.as_deref(), Ok("1"), "no Prometheus");
            // Bypasses the test harness, which would capture it.
            let _ = writeln!(std::io::stderr(), "skipped: no Prometheus to scrape a run");
            return None;
        };
        let server = Prometheus { child, address, _folder: folder };
        let began = Instant::now();
        while TcpStream::connect(&server.address).is_err()
            || ask(&format!("{}/", server.address), "GET", "/-/ready", "").0 != 200
        {
            assert!(began.elapsed() < Duration::from_secs(60), "Prometheus is not ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    /// The only value of a query, once it is as wanted.
    fn value(&self, query: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let began = Instant::now();
        loop {
            let path = format!("/api/v1/query?query={encoded}");
            let (_, body) = ask(&format!("{}/", self.address), "GET", &path, "");
            let json = body.find('{').zip(body.rfind('}')).map(|(from, to)| &body[from..=to]);
            let answer: Value = serde_json::from_str(json.unwrap_or_default()).unwrap_or_default();
            let value = answer["data"]["result"][0]["value"][1].as_str();
            let value = value.and_then(|value| value.parse().ok());
            if let Some(value) = value.filter(|value| wanted(*value)) {
                return value;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{query}: {body}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A load that is soon over, and another that keeps the run going.
const SUITE: &str = "flows: {mine: {embedded: {executors: [{name: e, service_time: {exponential: {mean: 5ms}}, concurrency: 50}]}}}
scenarios:
  - name: search
    documents: {text: {words: 3}}
    request_size: 1
    protocol: http
    load: {rate: 100/s, requests: 300}
  - name: more
    documents: {text: {words: 3}}
    request_size: 1
    protocol: http
    load: {rate: 20/s, duration: 120s}";

const OF: &str = r#"{scenario="search"}"#;

#[test]
fn prometheus_scrapes_a_run() {
    for native in [false, true] {
        let (_place, running, address) = served_with(SUITE, &[]);
        let host = address.trim_end_matches('/');
        let features = ["--enable-feature=native-histograms"];
        let features = if native { &features[..] } else { &[] };
        let Some(prometheus) = Prometheus::start(host, features) else {
            assert_eq!(ask(&address, "POST", "/end", "").0, 202);
            running.end();
            return;
        };
        prometheus.value("sum(up)", |value| value == 1.0);
        let ok = r#"flowbench_requests{scenario="search",outcome="ok"}"#;
        prometheus.value(ok, |n| n == 300.0);
        let report = ask(&address, "GET", "/report.json", "").1;
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let figures = &report["scenarios"][0]["response_time_ms"];
        let figure = |name: &str| figures[name].as_f64().expect(name) / 1e3;
        let within = |told: f64, expected: f64, share: f64| {
            assert!((told / expected - 1.0).abs() < share, "{native}: {told}, not {expected}");
        };
        if native {
            let name = format!("flowbench_response_seconds{OF}");
            prometheus.value(&format!("histogram_count({name})"), |count| count == 300.0);
            let sum = prometheus.value(&format!("histogram_sum({name})"), |_| true);
            within(sum, figure("mean") * 300.0, 1e-6);
            for (quantile, name_of) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
                let query = format!("histogram_quantile({quantile}, {name})");
                within(prometheus.value(&query, |_| true), figure(name_of), 0.023);
            }
            // The classic histogram is not exposed in addition.
            let classic = format!("absent(flowbench_response_seconds_bucket{OF})");
            prometheus.value(&classic, |_| true);
        } else {
            let name = format!("flowbench_response_seconds_count{OF}");
            prometheus.value(&name, |count| count == 300.0);
            let sum = format!("flowbench_response_seconds_sum{OF}");
            within(prometheus.value(&sum, |_| true), figure("mean") * 300.0, 1e-6);
            let up_to = r#"flowbench_response_seconds_bucket{scenario="search",le="0.5"}"#;
            prometheus.value(up_to, |count| count > 100.0);
        }
        // The run goes on: the other load's count grows from one scrape to the next.
        let sent = r#"flowbench_requests{scenario="more",outcome="sent"}"#;
        let first = prometheus.value(sent, |_| true);
        prometheus.value(sent, |now| now > first);
        assert_eq!(ask(&address, "POST", "/end", "").0, 202);
        assert_eq!(running.end().code, Some(130));
    }
}

#[test]
fn a_suite_asks_a_prometheus_server() {
    let Some(prometheus) = Prometheus::start("", &[]) else { return };
    prometheus.value("sum(up)", |value| value == 1.0);
    prometheus.value("count(prometheus_tsdb_head_series)", |value| value == 1.0);
    let flow = Served::with("{}");
    let place = Place::new(&format!(
        "flows: {{f: {{host: '{}', prometheus: {{url: 'http://{}', queries: {{up: sum(up), series: \
         'sum(prometheus_tsdb_head_series)', many: prometheus_http_requests_total, wrong: 'sum(', none: nothing}}}}}}}}
scenarios:
  - name: s
    documents: {{text: a}}
    load: {{rate: 20/s, duration: 3s}}
    thresholds: [server.up == 1, server.series > 10]",
        flow.address(),
        prometheus.address
    ));
    let ran = place.run(&["--out", "out"]);
    ran.ends(0);
    let server = &place.report()["scenarios"][0]["server"];
    let problem = |name: &str| {
        let sources = server["sources"].as_array().expect("a list");
        let address = format!("query `{name}`");
        let source = sources.iter().find(|source| source["address"] == address).expect("a source");
        source["problem"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!((problem("up"), problem("series"), problem("none")), Default::default());
    assert!(problem("many").contains("series, expected one"), "{}", problem("many"));
    assert!(problem("wrong").starts_with("is refused: "), "{}", problem("wrong"));
    assert_eq!(server["missing"].as_array().map(Vec::len), Some(3), "{server}");
}
