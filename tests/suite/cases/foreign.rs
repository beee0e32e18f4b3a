//! Apparent successes from other servers: JSON with status 200 that no Flow has sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use crate::run::{Place, Ran};

/// Responds to every HTTP request with this status and this JSON, until the test ends.
pub(super) fn answering(status: u16, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let host = format!("http://{}", listener.local_addr().expect("it listens"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, status, body));
        }
    });
    host
}

fn answer(stream: TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        write!(
            stream,
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}

fn run(host: &str, work: &str) -> (Place, Ran) {
    let place = Place::new(&format!(
        "flows: {{f: {{host: \"{host}\", family: v1}}}}
scenarios: [{{name: s, flow: f, {work}, load: {{clients: 1, requests: 3}}}}]"
    ));
    let ran = place.run(&["--out", "out"]);
    (place, ran)
}

#[test]
fn json_that_is_no_response_is_a_failure() {
    for body in [
        r#"{"error":"unauthorized"}"#,
        "{}",
        r#"{"status":"ok"}"#,
        r#"{"data":null}"#,
        r#"{"data":"ok","status":1}"#,
        r#"{"header":null,"routes":null,"parameters":null,"data":null}"#,
    ] {
        let host = answering(200, body);
        let works = ["documents: {text: hi}, request_size: 1", "mutate: \"mutation { a }\""];
        for (work, what) in works.into_iter().zip(["Jina", "GraphQL"]) {
            if what == "GraphQL" && body.contains("\"ok\",") {
                continue;
            }
            let (place, ran) = run(&host, work);
            ran.ends(1);
            let scenario = &place.report()["scenarios"][0];
            assert_eq!(scenario["requests"]["ok"], 0, "{body}: {}", scenario["requests"]);
            let error = &scenario["errors"][0];
            let says = format!("answered 200 with JSON that is not a {what} response: {body}");
            assert_eq!((&error["kind"], &error["count"]), (&"decode".into(), &Value::from(3)));
            let message = error["message"].as_str().expect("a text");
            assert!(message.contains(&says), "{message}");
        }
    }
}

#[test]
fn what_has_anything_of_a_response_is_one() {
    for body in [
        r#"{"data":[]}"#,
        r#"{"data":{"docs":[]}}"#,
        r#"{"parameters":{}}"#,
        r#"{"header":{"requestId":"1"},"data":null}"#,
        r#"{"routes":[]}"#,
    ] {
        let (_, ran) = run(&answering(200, body), "documents: {text: hi}, request_size: 1");
        ran.ends(0);
    }
    for (body, code) in [(r#"{"data":{"a":1}}"#, 0), (r#"{"errors":[{"message":"no"}]}"#, 1)] {
        let (place, ran) = run(&answering(200, body), "mutate: \"mutation { a }\"");
        ran.ends(code);
        if code == 1 {
            assert_eq!(place.report()["scenarios"][0]["errors"][0]["kind"], "graphql");
        }
    }
}
