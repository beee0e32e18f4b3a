//! Server metrics of a Flow, from servers that report them well, badly, or not at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::run::Place;

/// A server that answers each GET with the output of `answer` for the path and the number of the request. It
/// ends with the process.
fn server(answer: impl Fn(&str, u64, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let answer = Arc::new(answer);
    let count = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (answer, count) = (answer.clone(), count.clone());
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let Ok(read) = stream.read(&mut head) else { return };
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                answer(&path, count.fetch_add(1, Ordering::Relaxed), &mut stream);
            });
        }
    });
    port
}

/// Sends a complete response.
fn page(stream: &mut TcpStream, status: u16, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

/// A running Flow, for a suite that only knows its address.
pub(crate) struct Served {
    flow: Flow,
    _runtime: Runtime,
}

impl Served {
    fn start() -> Served {
        Served::with("{}")
    }

    /// Starts one with this configuration.
    pub(crate) fn with(config: &str) -> Served {
        let config: FlowConfig = serde_yaml::from_str(config).expect("it is valid");
        let runtime = Runtime::new().expect("a runtime can be made");
        let flow = runtime.block_on(Flow::start(config)).expect("it starts");
        Served { flow, _runtime: runtime }
    }

    pub(crate) fn address(&self) -> String {
        self.flow.target(Protocol::Grpc).expect("it speaks gRPC").to_string()
    }
}

/// A suite on such a Flow, with these keys.
fn place(keys: &str, load: &str) -> (Place, Served) {
    let served = Served::start();
    let suite = format!(
        "flows: {{f: {{host: {}, {keys}}}}}
scenarios:
  - name: s
    documents: {{text: hello}}
    load: {{rate: 20/s, duration: 3s}}
    {load}",
        served.address()
    );
    (Place::new(&suite), served)
}

fn server_of(place: &Place) -> Value {
    place.report()["scenarios"][0]["server"].clone()
}

/// The metrics of a pod that has completed this many requests of 20 ms.
fn pod(name: &str, done: u64) -> String {
    format!(
        "# TYPE jina_receiving_request_seconds summary\n\
         jina_receiving_request_seconds_count{{runtime_name=\"{name}\"}} {done}\n\
         jina_receiving_request_seconds_sum{{runtime_name=\"{name}\"}} {}\n\
         jina_number_of_pending_requests{{runtime_name=\"{name}\"}} 3\n",
        done as f64 * 0.02
    )
}

/// A pod whose counts grow with each request for metrics.
pub(crate) fn counting() -> u16 {
    server(|_, nth, stream| page(stream, 200, &pod("enc/rep-0", nth * 50)))
}

#[test]
fn metrics_are_read_beside_the_load_and_may_be_thresholds() {
    let metrics = server(|_, nth, stream| {
        page(
            stream,
            200,
            &format!("{}queue 7\nseen_total {}\n", pod("enc/rep-0", nth * 50), nth * 4),
        );
    });
    let prometheus = server(|path, _, stream| {
        assert!(path.starts_with("/api/v1/query?query="), "{path}");
        page(
            stream,
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"42.5"]}]}}"#,
        );
    });
    let (place, _served) = place(
        &format!(
            "metrics: {{from: [\"http://127.0.0.1:{metrics}\"], also: [queue, seen_total]}}, \
             prometheus: {{url: \"http://127.0.0.1:{prometheus}\", queries: {{gpu: avg(gpu)}}}}"
        ),
        "thresholds: [server.enc.pending < 4, server.enc.mean < 21ms, server.enc.mean > 19ms, server.enc/rep-0.rate > 1/s, \
         server.queue == 7, server.gpu.max > 42, server.seen_total > 0, server.enc.pending.max < 2]",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(1);
    assert!(ran.out.contains("server.enc.pending.max < 2 – actual: 3.00"), "{}", ran.out);
    let report = place.report();
    let thresholds = report["scenarios"][0]["thresholds"].as_array().expect("a list");
    let failed = thresholds.iter().filter(|judged| judged["verdict"] != "held").count();
    assert_eq!(failed, 1, "{thresholds:?}");
    let server = server_of(&place);
    let names: Vec<&str> = server["places"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert_eq!(names, ["enc", "gpu", "queue", "seen_total"], "{server}");
    // Judged again with other thresholds, and cut to a part without any metrics.
    let again = |arguments: &[&str]| {
        let all = [&["report", "out/report.json"], arguments].concat();
        crate::run::Ran::new(place.any(&all).output().expect("it was built"))
    };
    again(&["--threshold", "server.enc.pending < 4"]).ends(0);
    again(&["--threshold", "server.nobody.pending < 4"]).ends(4);
    again(&["--threshold", "server.enc.pending < 4", "--from", "1s"]).ends(4);
    let html = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    for words in
        ["Requests pending, by the Flow’s own metrics", "The Flow’s own metrics", "Other metrics"]
    {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn whatever_an_address_answers_is_told_and_ends_no_load() {
    let html = server(|_, _, stream| page(stream, 200, "<html>no metrics here</html>"));
    let broken = server(|_, _, stream| page(stream, 500, "internal error"));
    let hangs = server(|_, _, _| std::thread::sleep(Duration::from_secs(60)));
    let huge = server(|_, _, stream| {
        let _ = write!(stream, "HTTP/1.1 200 X\r\n\r\n");
        let line = "a_metric{label=\"value\"} 1\n".repeat(40_000);
        for _ in 0..100 {
            if stream.write_all(line.as_bytes()).is_err() {
                return;
            }
        }
    });
    let bytes = server(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\n\xff\xfe\x00\x01");
    });
    let noise = server(|_, _, stream| {
        let _ = stream.write_all(b"\x00\x01\x02 not HTTP at all\r\n\r\n");
    });
    let renamed = server(|_, nth, stream| {
        let name = if nth < 2 { "old/rep-0" } else { "new/rep-0" };
        page(stream, 200, &pod(name, 1000 + nth * 10));
    });
    let again = server(|_, nth, stream| {
        page(stream, 200, &pod("again", if nth == 3 { 1 } else { nth * 10 }))
    });
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|taken| taken.local_addr())
        .expect("a port")
        .port();
    let refused = server(|_, _, stream| {
        page(stream, 400, r#"{"status":"error","errorType":"bad_data","error":"parse error: no"}"#);
    });
    let all = [html, broken, hangs, huge, bytes, noise, renamed, again, nobody];
    let addresses: Vec<String> =
        all.iter().map(|port| format!("\"http://127.0.0.1:{port}/m\"")).collect();
    let (place, _served) = place(
        &format!(
            "metrics: [{}], prometheus: {{url: \"http://127.0.0.1:{refused}\", queries: {{q: \"((\"}}}}",
            addresses.join(", ")
        ),
        "thresholds: [error_rate == 0]",
    );
    let began = std::time::Instant::now();
    let ran = place.run(&["--out", "out"]);
    // Less than the hanging server would take.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    ran.ends(0);
    let report = place.report();
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["requests"]["ok"], 60);
    let sources = server_of(&place)["sources"].clone();
    let problem = |port: u16| {
        let address = format!("http://127.0.0.1:{port}/m");
        let source = sources.as_array().expect("a list").iter().find(|s| s["address"] == *address);
        source.expect("it was read")["problem"].as_str().map(str::to_owned).unwrap_or_default()
    };
    assert!(problem(html).contains("without a single metric"), "{}", problem(html));
    assert_eq!(problem(broken), "answers with status 500");
    assert!(problem(hangs).starts_with("does not answer within"), "{}", problem(hangs));
    assert_eq!(problem(huge), "answers more than 4 MiB");
    assert_eq!(problem(bytes), "answers something that is not text");
    assert!(problem(noise).starts_with("could not be read: "), "{}", problem(noise));
    assert!(problem(nobody).contains("onnection refused"), "{}", problem(nobody));
    assert_eq!((problem(renamed), problem(again)), (String::new(), String::new()));
    // Under its new name it counts on from where it was.
    let places = server_of(&place)["places"].clone();
    let new = places.as_array().expect("a list").iter().find(|place| place["name"] == "new");
    let most = new.expect("it was read")["figures"]["rate"]["max"].as_f64().expect("a rate");
    assert!(most < 100.0, "{places}");
    for told in [
        "answers more than 4 MiB",
        "old has no metrics any more after",
        "the counters of again began again at zero once",
        "query `q` is refused: parse error: no",
    ] {
        let flat = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(told), "{told}: {flat}");
    }
}

/// A pod that is done with 100 a second, whatever we send, and takes its time to say so.
fn slow_to_tell(before: Duration, after: Duration) -> u16 {
    let began = std::time::Instant::now();
    server(move |_, _, stream| {
        std::thread::sleep(before);
        let done = 1000.0 + 100.0 * began.elapsed().as_secs_f64();
        std::thread::sleep(after);
        let name = "jina_receiving_request_seconds_count{runtime_name=\"enc/rep-0\"}";
        page(stream, 200, &format!("{name} {done}\n"));
    })
}

#[test]
fn a_rate_is_right_however_long_metrics_take() {
    const PAUSE: Duration = Duration::from_millis(400);
    for (before, after) in [(PAUSE, Duration::ZERO), (Duration::ZERO, PAUSE)] {
        let metrics = slow_to_tell(before, after);
        let (place, _served) = place(&format!("metrics: ['http://127.0.0.1:{metrics}']"), "");
        place.run(&["--out", "out"]).ends(0);
        let server = server_of(&place);
        let rate = server["places"][0]["figures"]["rate"].clone();
        // A machine that is busy wakes us late; what was wrong was wrong by 20 %.
        let value = rate["value"].as_f64().expect("a rate");
        assert!((value - 100.0).abs() < 8.0, "{server}");
    }
}

#[test]
fn a_flow_that_is_read_twice_counts_once() {
    let metrics = counting();
    let addresses =
        format!("metrics: ['http://127.0.0.1:{metrics}', 'http://localhost:{metrics}/metrics']");
    let (place, _served) = place(&addresses, "");
    let ran = place.run(&["--out", "out"]);
    let server = server_of(&place);
    assert_eq!(server["places"].as_array().map(Vec::len), Some(1), "{server}");
    assert_eq!(server["places"][0]["replicas"], serde_json::json!(["rep-0"]));
    let same: Vec<bool> =
        [0, 1].map(|n: usize| server["sources"][n]["same_as"].is_string()).to_vec();
    assert!(same[0] != same[1], "{server}");
    let flat = ran.ends(0).out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("on the same machine; they are counted once"), "{flat}");
}

#[test]
fn what_gives_no_number_is_no_figure_and_told() {
    let metrics = server(|_, nth, stream| {
        let pods: String =
            (0..1000).map(|n| pod(&format!("many/rep-{n}"), nth * 2)).collect::<String>();
        let own = pod("enc/rep-0", nth * 50);
        let own = format!("{}+Inf\n", own.strip_suffix("3\n").expect("it ends with `pending`"));
        page(stream, 200, &format!("{own}infinite +Inf\n{pods}"));
    });
    let prometheus = server(|_, _, stream| {
        let nothing = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        page(stream, 200, nothing);
    });
    let (place, _served) = place(
        &format!(
            "metrics: {{from: ['http://127.0.0.1:{metrics}'], also: [infinite, no_such]}}, \
             prometheus: {{url: 'http://127.0.0.1:{prometheus}', queries: {{none: sum(none)}}}}"
        ),
        "thresholds: [server.enc.pending < 50, server.infinite < 5, server.enc.rate > 1/s]",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(4);
    let report = place.report();
    let verdicts: Vec<&str> = report["scenarios"][0]["thresholds"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|judged| judged["verdict"].as_str())
        .collect();
    assert_eq!(verdicts[..3], ["not_judged", "not_judged", "held"]);
    let server = server_of(&place);
    assert_eq!(server["missing"], serde_json::json!(["infinite", "no_such", "none"]));
    // With the one of `enc`, 128 were read.
    assert_eq!((&server["unread"], &server["unshown"]), (&873.into(), &127.into()), "{server}");
    let flat = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in [
        "no address has a metric `no_such` with a value",
        "query `none` never gave a value",
        "873 more places are in no figure",
        "127 more places are not shown",
    ] {
        assert!(flat.contains(told), "{told}: {flat}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_beforehand() {
    let check = |keys: &str, threshold: &str| {
        let place = Place::new(&format!(
            "flows: {{f: {{host: 'grpc://127.0.0.1:1', {keys}}}}}
scenarios: [{{name: s, documents: {{count: 1, text: a}}, thresholds: [\"{threshold}\"]}}]"
        ));
        let ran = crate::run::Ran::new(
            place.any(&["check", "suite.yaml"]).output().expect("it was built"),
        );
        ran.ends(2);
        ran.err
    };
    let metrics = "metrics: ['http://127.0.0.1:9090']";
    for (keys, threshold, said) in [
        (
            "metrics: [localhost:9090]",
            "p99 < 1s",
            "expected an address such as `http://127.0.0.1:9090/metrics`, found `localhost:9090`",
        ),
        ("metrics: ['http://a:1', 'http://a:1']", "p99 < 1s", "`http://a:1` is there twice"),
        (
            "metrics: ['http://a:1', 'http://A:1/metrics']",
            "p99 < 1s",
            "`http://A:1/metrics` is the same address as `http://a:1`",
        ),
        ("metrics: 5", "p99 < 1s", "a list of addresses, or a map"),
        (
            "metrics: {from: ['http://a:1'], also: ['a b']}",
            "p99 < 1s",
            "expected the name of a metric",
        ),
        ("prometheus: {url: 'http://a:1', queries: {}}", "p99 < 1s", "`queries` needs a query"),
        (
            "prometheus: {url: 'http://a:1', queries: {a.b: up}}",
            "p99 < 1s",
            "expected a query name of letters",
        ),
        (
            "tls: false",
            "server.a.pending < 5",
            "there is no `server.a.pending`, because the flow has no `metrics`",
        ),
        (metrics, "server.a.pendign < 5", "did you mean `pending`?"),
        (
            metrics,
            "server.gpu < 5",
            "neither `also` of `metrics` nor `queries` of `prometheus` has `gpu`",
        ),
        (metrics, "server.a.pending < 5ms", "is compared with a number such as `50` or `0.8`"),
        (metrics, "server.a.memory < 5x", "is compared with a size such as `2GiB`"),
        (metrics, "server.a.mean < 5", "is compared with a duration"),
    ] {
        let told = check(keys, threshold);
        assert!(told.contains(said), "{keys} {threshold}: {told}");
    }
    let place = Place::new(
        "flows: {f: {embedded: {}, metrics: ['http://a:1']}}\nscenarios: [{name: s, flow: f, documents: {text: a}}]",
    );
    let ran =
        crate::run::Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
    assert!(
        ran.ends(2).err.contains("`metrics` does not apply to an `embedded` Flow"),
        "{}",
        ran.err
    );
}

#[test]
fn init_takes_the_addresses_from_the_yaml_of_a_flow() {
    let place = Place::new("");
    let yaml = "jtype: Flow\nwith: {port: 5000, monitoring: true, port_monitoring: 9090}\nexecutors:\n  \
                - {name: enc, uses: A, port_monitoring: [9091, 9092], replicas: 2}\n  - {name: idx, uses: B}\n";
    std::fs::write(place.path("flow.yml"), yaml).expect("it can be written");
    let output =
        place.any(&["init", "new.yaml", "--flow", "flow.yml"]).output().expect("it was built");
    crate::run::Ran::new(output).ends(0);
    let suite = std::fs::read_to_string(place.path("new.yaml")).expect("it was written");
    let metrics = "metrics: [\"http://localhost:9090/metrics\", \"http://localhost:9091/metrics\", \
                   \"http://localhost:9092/metrics\"]";
    let plain = suite.replace('\'', "\"");
    assert!(plain.contains(metrics) || plain.contains(&metrics.replace('"', "")), "{suite}");
    assert!(suite.contains("the addresses of these metrics are unknown: idx."), "{suite}");
    let checked = place.any(&["check", "new.yaml"]).output().expect("it was built");
    crate::run::Ran::new(checked).ends(0);
}
