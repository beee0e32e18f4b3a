//! Plain HTTP requests, to a Python server that knows nothing of Jina.

mod http2;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::run::{Place, Ran, counts_are_conserved};

/// The server; stopped when it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Server {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/plain/server.py");
        let mut child = Command::new("python3")
            .arg(script)
            .stdout(Stdio::piped())
            // It logs every client that hung up.
            .stderr(Stdio::null())
            .spawn()
            .expect("Python starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it tells its port");
        Server { child, port: line.trim().parse().expect("a port") }
    }

    /// A suite with one scenario.
    fn suite(&self, scenario: &str) -> Place {
        Place::new(&format!(
            "flows: {{s: {{host: 'http://127.0.0.1:{}', headers: {{x-of-all: a, x-replaced: a}}}}}}
scenarios:
  - name: s
{scenario}",
            self.port
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_sent_is_what_the_suite_says() {
    let server = Server::start();
    let place = server.suite(
        "    load: {clients: 2, requests: 20}
    request:
      method: put
      path: '/a b/${{ i }}?q=ü'
      headers: {X-Replaced: 'b', x-own: '${{ i }}', x-none: '${{ none }}', content-type: application/vnd.a+json}
      json: {i: '${{ i }}', list: [1, 'two']}
    assert:
      - response.status_code == 200
      - response.headers['Content-Type'] == 'application/json'
      - response.json.method == 'PUT'
      - response.json.path == '/a%20b/' ~ request.json.i ~ '?q=%C3%BC'
      - response.json.body is startingwith '{\"i\":' ~ request.json.i
      - response.json.headers['x-own'] == request.json.i | string
      - response.json.headers['x-of-all'] == 'a'
      - response.json.headers['x-replaced'] == 'b'
      - response.json.headers['content-type'] == 'application/vnd.a+json'
      - response.json.headers['x-none'] is undefined
      - response.latency_ms > 0
    on_done: [{count: done}]
    thresholds: [count.done == 20]",
    );
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    let scenario = &report["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["assertions"].as_array().map(Vec::len), Some(11));
    assert_eq!(scenario["target"]["family"], serde_json::Value::Null);
    assert_eq!(scenario["documents"]["sent"], 0);
}

#[test]
fn every_method_goes_out_with_the_body_it_has() {
    let server = Server::start();
    for (request, method, body) in [
        ("{path: /}", "GET", ""),
        ("{path: /, json: 1}", "POST", "1"),
        ("{path: /, body: 'a b'}", "POST", "a b"),
        ("{path: /, method: POST}", "POST", ""),
        ("{path: /, method: PATCH, json: {}}", "PATCH", "{}"),
        ("{path: /, method: DELETE}", "DELETE", ""),
        ("{path: /, method: GET, json: {a: 1}}", "GET", "{\"a\":1}"),
    ] {
        let place = server.suite(&format!(
            "    load: {{clients: 1, requests: 3}}
    request: {request}
    assert:
      - response.json.method == '{method}'
      - response.json.body == '{body}'"
        ));
        place.run(&["--out", "out"]).ends(0);
    }
}

#[test]
fn steps_hand_on_what_plain_responses_say() {
    let server = Server::start();
    let place = server.suite(
        "    load: {clients: 1, requests: 20}
    thresholds: [second.p50 < 5s]
    steps:
      - name: first
        request: {path: '/text'}
        assert:
          - response.body == 'größe'
          - response.json is undefined
          - response.headers['x-one'] == 'a, b'
        capture: {size: response.body, one: \"response.headers['x-one']\"}
      - name: second
        request: {path: '/items/${{ captured.size }}', headers: {x-one: '${{ captured.one }}'}, json: {size: '${{ captured.size }}'}}
        assert:
          - response.json.path == '/items/gr%C3%B6%C3%9Fe'
          - response.json.headers['x-one'] == 'a, b'
          - request.json.size == captured.size",
    );
    place.run(&["--out", "out"]).ends(0);
    let steps = place.report()["scenarios"][0]["steps"].clone();
    assert_eq!(
        (&steps[0]["requests"]["ok"], &steps[1]["requests"]["ok"]),
        (&20.into(), &20.into())
    );
}

#[test]
fn a_status_is_a_success_or_a_failure_as_the_suite_says() {
    let server = Server::start();
    let place =
        server.suite("    load: {clients: 1, requests: 5}\n    request: {path: /status/404}");
    place.run(&["--out", "out"]).ends(1);
    let report = place.report();
    let error = &report["scenarios"][0]["errors"][0];
    assert_eq!(error["count"], 5);
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains("404") && message.contains("no such thing"), "{message}");

    let place = server.suite(
        "    load: {clients: 1, requests: 5}
    request: {path: /status/404, status: [404, 410]}
    assert: [response.status_code == 404, response.json.detail == 'no such thing']",
    );
    place.run(&["--out", "out"]).ends(0);

    let place =
        server.suite("    load: {clients: 1, requests: 5}\n    request: {path: /, status: [201]}");
    place.run(&["--out", "out"]).ends(1);
}

#[test]
fn redirects_and_compression_are_followed_as_browsers_do() {
    let server = Server::start();
    for (status, method, body) in [
        (301, "GET", ""),
        (302, "GET", ""),
        (303, "GET", ""),
        (307, "POST", "1"),
        (308, "POST", "1"),
    ] {
        let place = server.suite(&format!(
            "    load: {{clients: 1, requests: 2}}
    request: {{path: /moved/{status}, json: 1}}
    assert:
      - response.json.path is startingwith '/landed'
      - response.json.method == '{method}'
      - response.json.body == '{body}'"
        ));
        place.run(&["--out", "out"]).ends(0);
    }
    // A redirect that is listed as success is one, and headers are not sent to another host.
    let place = server.suite(
        "    load: {clients: 1, requests: 2}
    request: {path: /moved/302, status: [302]}
    assert: [\"response.headers.location is startingwith '/landed'\"]",
    );
    place.run(&["--out", "out"]).ends(0);
    for path in ["/away", "/around"] {
        let place = server.suite(&format!(
            "    load: {{clients: 1, requests: 2}}\n    request: {{path: {path}}}"
        ));
        place.run(&["--out", "out"]).ends(1);
        let error = place.report()["scenarios"][0]["errors"][0]["message"].to_string();
        assert!(error.contains("moved to"), "{error}");
    }
    let place = server.suite(
        "    load: {clients: 1, requests: 2}
    request: {path: /gzip}
    assert: [response.json.path == '/gzip']",
    );
    place.run(&["--out", "out"]).ends(0);
    let place = server.suite(
        "    load: {clients: 1, requests: 2}
    request: {path: /nothing}
    assert: [response.status_code == 204, response.body == '']",
    );
    place.run(&["--out", "out"]).ends(0);
}

#[test]
fn plain_requests_time_out_and_are_searched_for_capacity_like_others() {
    let server = Server::start();
    let place = server.suite(
        "    load: {clients: 1, requests: 2}
    timeout: 100ms
    request: {path: /slow}",
    );
    place.run(&["--out", "out"]).ends(1);
    assert_eq!(place.report()["scenarios"][0]["requests"]["timeouts"], 2);

    let place = server.suite("    load: {rate: 5/s, duration: 1s}\n    request: {path: /}");
    let arguments = [
        "capacity",
        "suite.yaml",
        "--rate",
        "20/s..40/s",
        "--objective",
        "p50 < 2s",
        "--trial",
        "2s",
        "--precision",
        "50%",
        "--skip-overload",
        "--out",
        "out",
    ];
    Ran::new(place.any(&arguments).output().expect("it was built")).ends(0);
    assert!(place.path("out/capacity.json").exists());
}

#[test]
fn where_nobody_speaks_http_is_told_before_the_load() {
    let place = Place::new(
        "flows: {s: {host: 'http://127.0.0.1:1'}}
scenarios: [{name: s, request: {path: /}, load: {clients: 1, requests: 1}}]",
    );
    place.run(&["--out", "out"]).ends(3);
}

#[test]
fn each_request_to_a_flow_has_headers_of_its_own() {
    let server = Server::start();
    let place = Place::new(&format!(
        "flows: {{s: {{host: 'http://127.0.0.1:{}', family: v1, headers: {{x-of-all: a, x-replaced: a}}}}}}
scenarios:
  - name: s
    load: {{clients: 2, requests: 40}}
    documents: {{id: 'd${{{{ i }}}}', text: a}}
    request_size: 1
    headers: {{x-request-id: '${{{{ i }}}}', X-Replaced: b}}
    assert: [\"response.parameters.headers['x-of-all'] == 'a'\"]
    steps:
      - name: first
        assert:
          - response.parameters.headers['x-replaced'] == 'b'
          - request.docs[0].id == 'd' ~ response.parameters.headers['x-request-id']
        capture: {{token: \"response.parameters.headers['x-request-id']\"}}
      - name: second
        headers: {{authorization: 'Bearer ${{{{ captured.token }}}}'}}
        assert:
          - response.parameters.headers.authorization is startingwith 'Bearer '
          - response.parameters.headers.authorization == 'Bearer ' ~ captured.token
          - response.parameters.headers['x-replaced'] == 'a'
          - response.parameters.headers['x-request-id'] is undefined",
        server.port
    ));
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    let assertions = report["scenarios"][0]["assertions"].as_array().expect("a list");
    assert!(assertions.iter().all(|assertion| assertion["passed"] == 40), "{assertions:?}");
}

#[test]
fn headers_of_a_scenario_go_with_its_plain_requests_too() {
    let server = Server::start();
    let place = server.suite(
        "    load: {clients: 1, requests: 5}
    headers: {x-tenant: '${{ i }}', x-own: outer}
    request: {path: /, headers: {x-own: inner}}
    assert:
      - response.json.headers['x-tenant'] is not undefined
      - response.json.headers['x-own'] == 'inner'
      - response.json.headers['x-of-all'] == 'a'",
    );
    place.run(&["--out", "out"]).ends(0);
}

#[test]
fn nothing_but_the_requests_of_the_suite_is_sent() {
    let server = Server::start();
    let count = |path: &str| {
        let place = server.suite(&format!(
            "    load: {{clients: 1, requests: 1}}
    request: {{path: {path}}}
    on_done: [{{log: 'served ${{{{ response.json.served }}}}'}}]"
        ));
        let ran = place.run(&["--out", "out"]);
        ran.ends(0);
        let served = ran.out.lines().find_map(|line| line.strip_prefix("served "));
        served.expect("it was logged").parse::<u64>().expect("a number")
    };
    let before = count("/served");
    assert_eq!(count("/served"), before + 1);
}

#[test]
fn a_flow_and_what_replaces_it_can_be_compared() {
    let server = Server::start();
    let suite = |flow: &str| {
        format!(
            "flows: {{s: {flow}}}
scenarios:
  - {{name: s, load: {{clients: 1, requests: 30}}, request: {{path: /post, json: {{data: []}}}}}}"
        )
    };
    let flow = Place::new(&suite("{embedded: {protocols: [http]}}"));
    flow.run(&["--out", "out"]).ends(0);
    let other = Place::new(&suite(&format!("{{host: 'http://127.0.0.1:{}'}}", server.port)));
    other.run(&["--out", "out"]).ends(0);
    let (ours, theirs) = (flow.path("out/report.json"), other.path("out/report.json"));
    // On a busy machine the runs are invalid, which this test is not about.
    let arguments =
        ["compare", &ours.to_string_lossy(), "--", &theirs.to_string_lossy(), "--force"];
    let arguments = arguments.map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ran::new(other.any(&arguments).output().expect("it was built")).ends(0);
}

#[test]
fn secrets_are_masked_in_whatever_form_a_server_tells_them() {
    let server = Server::start();
    let secret = "p@ss w/\u{f6}\"q\nsecond line-secret";
    let place = server.suite(
        "    load: {clients: 1, requests: 2}
    request: {path: '/echo401?p=${{ env.SECRET }}', json: {k: '${{ env.SECRET }}'}}",
    );
    let output = place
        .any(&["run", "suite.yaml", "--out", "out"])
        .env("SECRET", secret)
        .output()
        .expect("it was built");
    let ran = Ran::new(output);
    ran.ends(1);
    let report = std::fs::read_to_string(place.path("out/report.json")).expect("it was written");
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    for part in ["line-secret", "p@ss%20w", "%C3%B6", "p@ss w"] {
        for (what, text) in
            [("report", &report), ("page", &page), ("output", &ran.out), ("errors", &ran.err)]
        {
            assert!(!text.contains(part), "{part} in {what}: {text}");
        }
    }
}
