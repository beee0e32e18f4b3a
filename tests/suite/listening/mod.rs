//! `run --listen`: a page and metrics during the run, for those who are authorized.

mod prometheus;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::chromium::Browser;
use crate::interop::python::parsers;
use crate::run::{Place, Ran, Running};

const SUITE: &str = "flows: {mine: {embedded: {executors: [{name: e, service_time: 5ms}]}}}
scenarios:
  - name: search
    documents: {text: {words: 3}}
    request_size: 1
    protocol: http
    load: {rate: 100/s, duration: 60s}
    trace: {sample: 20%}
    thresholds: [p99 < 10s]";

/// A served run: its address, and the run.
fn served(arguments: &[&str]) -> (Place, Running, String) {
    served_with(SUITE, arguments)
}

fn served_with(suite: &str, arguments: &[&str]) -> (Place, Running, String) {
    let all =
        [&["run", "suite.yaml", "--listen", "127.0.0.1:0", "--out", "out"], arguments].concat();
    served_by(Place::new(suite), &all)
}

/// The same for any command.
fn served_by(place: Place, arguments: &[&str]) -> (Place, Running, String) {
    let mut command = place.any(arguments);
    command.env("FLOWBENCH_LISTEN_TOKEN", "sesame");
    let (running, address) = watched(&mut command);
    (place, running, address)
}

/// A command that is watched, and the address that it prints.
fn watched(command: &mut std::process::Command) -> (Running, String) {
    let mut running = Running::start(command);
    let address = std::cell::RefCell::new(String::new());
    running.says(|line| match line.split_once("the run as it goes: http://") {
        Some((_, rest)) => {
            *address.borrow_mut() = rest.to_owned();
            true
        }
        None => false,
    });
    (running, address.into_inner())
}

/// Status and body of a response.
fn ask(address: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    let (host, _) = address.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("it listens");
    let host = if headers.to_ascii_lowercase().contains("host:") {
        String::new()
    } else {
        format!("host: {host}\r\n")
    };
    write!(stream, "{method} {path} HTTP/1.1\r\n{host}connection: close\r\n{headers}\r\n")
        .expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// Repeats a request until the response is as wanted.
fn until(address: &str, path: &str, headers: &str, wanted: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let (status, body) = ask(address, "GET", path, headers);
        assert_eq!(status, 200, "{body}");
        if wanted(&body) {
            return body;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{body}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// What there is as JSON.
fn result(address: &str) -> serde_json::Value {
    let result = until(address, "/report.json", "", |_| true);
    serde_json::from_str(&result).expect("it is JSON")
}

/// The value of a metric of a scenario with a label.
fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    });
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
}

#[test]
fn what_is_not_over_has_no_verdict() {
    let scenario = |name: &str, rest: &str| {
        format!("\n  - {{name: {name}, flow: x, documents: {{text: a}}, request_size: 1, {rest}}}")
    };
    let suite = [
        "flows: {x: {embedded: {}}}\nscenarios:".to_owned(),
        scenario("quick", "load: {rate: 100/s, requests: 20}, thresholds: [max < 1us]"),
        scenario(
            "first",
            "load: {rate: 50/s, duration: 60s}, thresholds: [max < 1us, errors == 0]",
        ),
        scenario("second", "needs: [first], load: {rate: 50/s, duration: 2s}"),
        scenario("third", "start: 300s, load: {rate: 50/s, duration: 2s}"),
    ];
    let (_place, running, address) = served_with(&suite.concat(), &[]);
    let state = |text: &str, scenario: &str, state: &str| {
        let labels = [format!("scenario=\"{scenario}\""), format!("state=\"{state}\"")];
        metric(text, "flowbench_state", &[&labels[0], &labels[1]]) == Some(1.0)
    };
    let metrics = until(&address, "/metrics", "", |text| {
        state(text, "quick", "over") && state(text, "first", "running")
    });
    assert!(state(&metrics, "second", "waiting") && state(&metrics, "third", "waiting"));
    let verdicts: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("flowbench_verdict{")).collect();
    assert!(verdicts.iter().all(|line| line.contains("scenario=\"quick\"")), "{verdicts:?}");
    assert_eq!(metric(&metrics, "flowbench_verdict", &["verdict=\"failed\""]), Some(1.0));
    for name in ["flowbench_valid", "flowbench_threshold_passed"] {
        assert_eq!(metric(&metrics, name, &["scenario=\"first\""]), None, "{name}");
    }
    assert_eq!(metric(&metrics, "flowbench_run_passed", &[]), None);
    until(&address, "/metrics", "", |text| {
        let labels = ["scenario=\"first\"", "threshold=\"errors == 0\""];
        metric(text, "flowbench_threshold_actual", &labels) == Some(0.0)
    });
    let result = until(&address, "/report.json", "", |text| text.contains("not_over"));
    let result: serde_json::Value = serde_json::from_str(&result).expect("it is JSON");
    assert_eq!((&result["running"], &result["verdict"]), (&json!(true), &json!("failed")));
    let of = |index: usize| {
        let scenario = &result["scenarios"][index];
        (scenario["end"]["reason"].clone(), scenario["verdict"].clone())
    };
    assert_eq!(of(0), (json!("requests"), json!("failed")));
    assert_eq!(of(1), (json!("running"), json!("not_judged")));
    assert_eq!(of(2), (json!("waiting"), json!("not_judged")));
    assert_eq!(of(3), (json!("waiting"), json!("not_judged")));
    let judged = &result["scenarios"][1]["thresholds"][0];
    assert_eq!((&judged["verdict"], &judged["code"]), (&json!("not_judged"), &json!("not_over")));
    let page = until(&address, "/", "", |page| page.contains("Response time over time"));
    let badge = |class: &str| format!("<span class=\"badge {class}\">");
    let verdicts: Vec<&str> = page
        .split("<td class=\"word\">")
        .skip(1)
        .take(4)
        .map(|cell| cell.split_once("</td>").map_or("", |(cell, _)| cell))
        .collect();
    let expected = [("failed", "failed"), ("running", "running"), ("running", "waiting")];
    for (cell, (class, word)) in verdicts.iter().zip(expected.iter().chain([&expected[2]])) {
        let expected = format!("{}{word}</span>", badge(class));
        // One that is over may be too short to be valid.
        assert!(*cell == expected || *class == "failed" && cell.starts_with(&expected), "{cell}");
    }
    assert!(page.contains("So far: 1 of 4 scenarios failed"), "{page}");
    assert!(!page.contains("the run ended before"), "{page}");
    assert_eq!(ask(&address, "POST", "/end", "").0, 202);
    running.end();
}

#[test]
fn the_first_scrape_has_what_is_known() {
    let (_place, running, address) = served(&[]);
    // Nobody looks meanwhile.
    std::thread::sleep(Duration::from_secs(3));
    let (_, metrics) = ask(&address, "GET", "/metrics", "");
    let sent = metric(&metrics, "flowbench_requests", &["outcome=\"sent\""]);
    assert!(sent.is_some_and(|sent| sent > 20.0), "{metrics}");
    assert_eq!(ask(&address, "POST", "/end", "").0, 202);
    running.end();
}

/// Connections on which this was sent, and no more.
fn connected(address: &str, count: usize, text: &str) -> Vec<TcpStream> {
    let (host, _) = address.split_once('/').expect("a path");
    let connect = |_| {
        let mut stream = TcpStream::connect(host).expect("it listens");
        // One that gives way is closed.
        let _ = stream.write_all(text.as_bytes());
        stream
    };
    (0..count).map(connect).collect()
}

#[test]
fn whoever_asks_finds_room() {
    let (_place, running, address) = served(&["--listen-anywhere"]);
    let works = || {
        assert_eq!(ask(&address, "GET", "/metrics?token=sesame", "").0, 200);
        assert_eq!(ask(&address, "GET", "/?token=sesame", "").0, 200);
    };
    let listening = connected(&address, 1, "GET /events?token=sesame HTTP/1.1\r\nhost: a\r\n\r\n");
    works();
    // Somebody without a token sends half a request, many times, and whole ones.
    let half = connected(&address, 100, "GET /metrics HTTP/1.1\r\nhost: a\r\n");
    works();
    let refused = connected(&address, 100, "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
    works();
    // Who listened before still does.
    let mut first = &listening[0];
    first.set_nonblocking(true).expect("it can be");
    let mut answer = vec![0; 1 << 16];
    loop {
        match first.read(&mut answer) {
            Ok(read) => assert!(read > 0, "it was closed"),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    // Somebody with a token listens many times, or reads nothing.
    let listening =
        connected(&address, 100, "GET /events?token=sesame HTTP/1.1\r\nhost: a\r\n\r\n");
    works();
    let mute =
        connected(&address, 100, "GET /report.json?token=sesame HTTP/1.1\r\nhost: a\r\n\r\n");
    works();
    // What asks for nothing is closed in the end, without anybody in need of room.
    for mut stream in half.into_iter().chain(refused) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("it can be");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    drop((listening, mute));
    assert_eq!(ask(&address, "POST", "/end?token=sesame", "").0, 202);
    assert_eq!(running.end().code, Some(130));
}

#[test]
fn a_token_may_be_any_text() {
    let place = Place::new(SUITE);
    let mut command =
        place.any(&["run", "suite.yaml", "--listen", "0.0.0.0:0", "--listen-anywhere"]);
    command.env("FLOWBENCH_LISTEN_TOKEN", "a b&c");
    let (running, address) = watched(&mut command);
    assert!(!address.starts_with("0.0.0.0") && address.ends_with("/?token=a%20b%26c"), "{address}");
    let port = address.split(['/', ':']).nth(1).expect("a port");
    let here = format!("127.0.0.1:{port}/");
    assert_eq!(ask(&here, "GET", "/?token=a%20b%26c", "").0, 200);
    assert_eq!(ask(&here, "GET", "/metrics", "authorization: Bearer a b&c\r\n").0, 200);
    assert_eq!(ask(&here, "POST", "/end?token=a%20b%26c", "").0, 202);
    running.end();
}

#[test]
fn a_run_is_seen_as_it_goes_and_can_be_ended() {
    let (place, running, address) = served(&[]);
    let many = |body: &str| {
        let line = body.lines().find(|line| line.starts_with("flowbench_response_seconds_count"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) > 100.0
    };
    let metrics = until(&address, "/metrics", "", many);
    assert!(metrics.contains("flowbench_response_seconds_bucket{"), "{metrics}");
    assert!(!metrics.contains("trace_id"), "a plain text has no exemplars");
    let open = until(&address, "/metrics", "accept: application/openmetrics-text\r\n", many);
    assert!(open.contains(" # {trace_id=\"") && open.ends_with("# EOF\n"), "{open}");
    let page = until(&address, "/", "", |page| page.contains("Response time over time"));
    assert!(page.contains("End gracefully") && page.contains("connect-src 'self'"));
    assert!(page.contains("<h1>Running</h1>") && page.contains("Nothing is decided yet.</p>"));
    let result = result(&address);
    assert_eq!(result["scenarios"][0]["name"], "search");
    if let Some(python) = parsers() {
        for (module, text) in [("parser", &metrics), ("openmetrics.parser", &open)] {
            let program = format!(
                "import sys\nfrom prometheus_client.{module} import text_string_to_metric_families as read\n\
                 found = {{f.name: f for f in read(sys.stdin.read())}}\n\
                 print(found['flowbench_response_seconds'].type)"
            );
            let mut child = Command::new(python)
                .args(["-c", &program])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts");
            child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
            let output = child.wait_with_output().expect("it ends");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "histogram", "{module}");
        }
    }
    // Others can neither see nor end it.
    for (method, path, headers, status) in [
        ("GET", "/", "host: evil.example\r\n", 403),
        ("POST", "/end", "origin: http://evil.example\r\n", 403),
        ("POST", "/end", "origin: null\r\n", 403),
        ("GET", "/end", "", 405),
        ("GET", "/etc/passwd", "", 404),
    ] {
        assert_eq!(ask(&address, method, path, headers).0, status, "{method} {path} {headers}");
    }
    assert_eq!(ask(&address, "POST", "/end", "").0, 202);
    let ran = running.end();
    assert_eq!(ran.code, Some(130), "{}", ran.out);
    assert_eq!(place.report()["scenarios"][0]["end"]["reason"], "interrupted");
}

#[test]
fn other_machines_need_a_token() {
    let place = Place::new(SUITE);
    let refused = place.command(&["--listen", "0.0.0.0:0"]).output().expect("it was built");
    let refused = Ran::new(refused);
    assert!(refused.ends(2).err.contains("say `--listen-anywhere` too"), "{}", refused.err);
    let (_place, running, address) = served(&["--listen-anywhere"]);
    assert!(address.ends_with("/?token=sesame"), "{address}");
    let asked = |path: &str, headers: &str| ask(&address, "GET", path, headers).0;
    assert_eq!(asked("/", ""), 401);
    assert_eq!(asked("/?token=sesame2", ""), 401);
    assert_eq!(asked("/metrics?token=sesame", ""), 200);
    assert_eq!(asked("/metrics", "authorization: Bearer sesame\r\n"), 200);
    assert_eq!(ask(&address, "POST", "/end", "").0, 401);
    assert_eq!(ask(&address, "POST", "/end?token=sesame", "").0, 202);
    assert_eq!(running.end().code, Some(130));
}

#[test]
fn a_browser_shows_the_run_as_it_goes_and_the_report_after_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let Some(mut browser) = Browser::open().await else { return };
        let (_place, running, address) = served(&[]);
        browser.call("Page.navigate", json!({"url": format!("http://{address}")})).await;
        let requests = "Number((document.querySelector('table.scenarios tbody td:nth-child(3)') || {}).textContent) || 0";
        let value = async |browser: &mut Browser, expression: &str| {
            let asked = json!({"expression": expression, "returnByValue": true});
            browser.call("Runtime.evaluate", asked).await["result"]["value"].clone()
        };
        let wait = async |browser: &mut Browser, condition: &str| {
            let began = Instant::now();
            while value(browser, condition).await != json!(true) {
                assert!(began.elapsed() < Duration::from_secs(60), "{condition}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        wait(&mut browser, &format!("({requests}) > 50")).await;
        let first = value(&mut browser, requests).await.as_f64().expect("a number");
        wait(&mut browser, &format!("({requests}) > {first} + 100")).await;
        value(&mut browser, "document.querySelector('.live button').click()").await;
        wait(&mut browser, "document.querySelector('.live') === null").await;
        wait(&mut browser, "document.querySelector('h1').textContent === 'Interrupted'").await;
        assert_eq!(running.end().code, Some(130));
    });
}

#[test]
fn a_search_is_seen_as_it_goes() {
    let place = Place::new(
        "name: found
flows: {mine: {embedded: {executors: [{name: e, service_time: 10ms, concurrency: 1}]}}}
scenarios:
  - name: search
    documents: {text: {words: 3}}
    request_size: 1
    protocol: http
    load: {rate: 10/s, duration: 60s}",
    );
    let (place, running, address) = served_by(
        place,
        &[
            "capacity",
            "suite.yaml",
            "--objective",
            "p90 < 100ms",
            "--rate",
            "20/s..1000/s",
            "--trial",
            "3s",
            "--skip-overload",
            "--precision",
            "40%",
            "--confidence",
            "90%",
            "--listen",
            "127.0.0.1:0",
            "--out",
            "out",
        ],
    );
    // The first trial, then the findings of completed ones.
    until(&address, "/", "", |page| page.contains("running: ") && page.contains("/s</b>"));
    until(&address, "/metrics", "", |text| text.contains("flowbench_response_seconds_count{"));
    let page = until(&address, "/", "", |page| page.contains("href=\"/run\""));
    assert!(page.contains("Trials") && page.contains("connect-src 'self'"), "{page}");
    let run = until(&address, "/run", "", |page| page.contains("Response time over time"));
    assert!(run.contains("href=\"/\">all runs"), "{run}");
    assert!(run.contains("Nothing is decided yet") && !run.contains(">passed<"), "{run}");
    until(&address, "/metrics", "", |text| {
        let line = text.lines().find(|line| line.starts_with("flowbench_capacity_trials{"));
        line.is_some_and(|line| !line.ends_with(" 0"))
    });
    assert_eq!(ask(&address, "POST", "/end", "").0, 202);
    assert_eq!(running.end().code, Some(130));
    assert!(place.path("out/capacity.json").is_file());
}

#[test]
fn a_gate_is_seen_as_it_goes() {
    let place = Place::new(
        "flows:
  a: {embedded: {executors: [{name: e, service_time: 5ms}]}}
  b: {embedded: {executors: [{name: e, service_time: 5ms}]}}
scenarios:
  - name: search
    flow: a
    documents: {text: {words: 3}}
    request_size: 1
    load: {rate: 100/s, duration: 2s}",
    );
    let (_place, running, address) = served_by(
        place,
        &[
            "gate",
            "suite.yaml",
            "--base-flow",
            "a",
            "--candidate-flow",
            "b",
            "--gate",
            "p50 +1%",
            "--runs",
            "40",
            "--listen",
            "127.0.0.1:0",
        ],
    );
    until(&address, "/", "", |page| page.contains("running: base 1"));
    let flow = |name: &str| format!("flow=\"{name}\"");
    until(&address, "/metrics", "", |text| text.contains(&flow("a")));
    until(&address, "/metrics", "", |text| text.contains(&flow("b")));
    assert_eq!(ask(&address, "POST", "/end", "").0, 202);
    assert_eq!(running.end().code, Some(130));
}
