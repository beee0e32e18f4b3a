//! `flowbench post`, `mutate` and `ready`: the program against an embedded Flow, and its messages about wrong
//! command lines.

use std::net::TcpListener;
use std::process::Stdio;

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];

/// The program's exit code and output.
#[derive(Debug, PartialEq)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_flowbench"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary was built")
}

async fn run_with(stdin: &str, arguments: &[&str]) -> Ran {
    let mut child = command(arguments);
    let mut input = child.stdin.take().expect("it is piped");
    // A program that ends early does not read all of its stdin.
    let _ = input.write_all(stdin.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("it writes text"),
        err: String::from_utf8(output.stderr).expect("it writes text"),
    }
}

async fn run(arguments: &[&str]) -> Ran {
    run_with("", arguments).await
}

async fn flow(config: Value) -> Flow {
    let config: FlowConfig = serde_json::from_value(config).expect("a Flow's settings");
    Flow::start(config).await.expect("it starts on free ports")
}

fn address(flow: &Flow, protocol: Protocol) -> String {
    flow.target(protocol).expect("it listens for all three").to_string()
}

fn ok(out: &str) -> Ran {
    Ran { code: Some(0), out: out.into(), err: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn post_prints_the_documents_of_the_responses() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    for protocol in PROTOCOLS {
        let address = address(&flow, protocol);
        let two = ["--text", "hello", "--id", "a", "--text", "world", "--id", "b"];
        assert_eq!(
            run(&[&["post", &address, "/echo"], &two[..]].concat()).await,
            ok("{\"id\":\"a\",\"text\":\"hello\"}\n{\"id\":\"b\",\"text\":\"world\"}\n"),
            "{protocol}"
        );
        let texts = [&["post", &address, "/echo", "--show", "texts"], &two[..]].concat();
        assert_eq!(run(&texts).await, ok("hello\nworld\n"), "{protocol}");
        let nothing = run(&["post", &address]).await;
        assert_eq!(nothing, ok(""), "{protocol}: a request without Documents");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn post_prints_whole_responses() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let address = address(&flow, Protocol::Grpc);
    let of_request = ["--request-size", "2", "--results-in-order", "--parameters", r#"{"k": 3}"#];
    let texts = ["--text", "a", "--text", "b", "--text", "c", "--show", "responses"];
    let ran = run(&[&["post", &address, "/here"], &of_request[..], &texts].concat()).await;
    assert_eq!((ran.code, &*ran.err), (Some(0), ""));
    let responses: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let sizes: Vec<usize> =
        responses.iter().map(|it| it["data"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(sizes, [2, 1]);
    for response in &responses {
        assert_eq!(response["header"]["exec_endpoint"], "/here");
        assert_eq!(response["parameters"]["k"], 3.0);
        assert_eq!(response["routes"][1]["executor"], "echo");
        let id = response["data"][0]["id"].as_str().unwrap_or_default();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "random id: {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_flow_needs_no_more_than_its_port() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let port = flow.target(Protocol::Grpc).expect("it listens").port.to_string();
    let ran = run(&["post", "--port", &port, "/echo", "--text", "a", "--show", "texts"]).await;
    assert_eq!(ran, ok("a\n"));
    let port = flow.target(Protocol::Http).expect("it listens").port.to_string();
    let over_http = ["post", "--port", &port, "--protocol", "http", "--text", "a"];
    assert_eq!(run(&[&over_http[..], &["--show", "texts"]].concat()).await, ok("a\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_told_on_stderr_and_by_the_exit_code() {
    let flow =
        flow(json!({"executors": [{"name": "echo"}, {"name": "failer", "fail": "100%"}]})).await;
    for protocol in PROTOCOLS {
        let ran = run(&["post", &address(&flow, protocol), "/", "--text", "a"]).await;
        assert_eq!(ran.code, Some(1), "{protocol}");
        let first = ran.err.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: Executor `failer` failed: "), "{protocol}: {first}");
        assert!(ran.err.contains("  exception `"), "{protocol}: {}", ran.err);
        assert!(ran.out.contains("\"text\":\"a\""), "its Documents are part of the result");
    }
    let many = "{\"text\": \"a\"}\n".repeat(15);
    let arguments =
        ["post", &address(&flow, Protocol::Grpc), "/", "--jsonl", "-", "--request-size", "1"];
    let ran = run_with(&many, &arguments).await;
    assert_eq!(ran.err.matches("error: Executor `failer` failed").count(), 10);
    assert!(ran.err.ends_with("error: 5 more failures like these\n"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_json_lines_are_sent_up_to_the_first_bad_one() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let address = address(&flow, Protocol::Grpc);
    let arguments = ["post", &address, "/", "--jsonl", "-", "--show", "texts"];
    let good = "{\"text\": \"a\", \"tags\": {\"x\": 1}}\n\n  {\"text\": \"b\"}";
    assert_eq!(run_with(good, &arguments).await, ok("a\nb\n"));
    for (bad, error) in [
        (
            "{\"text\": \"a\"}\n\n{\"text\": \"b\" 5}\n{\"text\": \"c\"}\n",
            r#"error: line is not JSON: expected `,` or `}`
 --> <stdin>:3:14
  |
3 | {"text": "b" 5}
  |              ^
"#,
        ),
        (
            "{\"text\": \"a\"}\n[1]\n",
            r#"error: line is not a Document: invalid type: sequence, expected a Document, an object with keys such as `id` and `text`
 --> <stdin>:2:1
  |
2 | [1]
  | ^
"#,
        ),
    ] {
        let ran = run_with(bad, &arguments).await;
        assert_eq!(ran, Ran { code: Some(2), out: "a\n".into(), err: error.into() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_come_while_stdin_is_open_and_a_closed_pipe_ends_it_quietly() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let address = address(&flow, Protocol::Grpc);
    let mut child =
        command(&["post", &address, "/", "--jsonl", "-", "--request-size", "1", "--show", "texts"]);
    let mut input = child.stdin.take().expect("it is piped");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    for text in ["a", "b"] {
        input.write_all(format!("{{\"text\": \"{text}\"}}\n").as_bytes()).await.expect("it reads");
        let line = output.next_line().await.expect("it writes");
        assert_eq!(line.as_deref(), Some(text));
    }
    drop(output);
    input.write_all(b"{\"text\": \"c\"}\n").await.expect("it reads");
    let ended = child.wait_with_output().await.expect("it ends, stdin still open");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    drop(input);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_says_what_a_flow_is_or_why_there_is_none() {
    for family in ["v1", "v2"] {
        let flow = flow(json!({"family": family, "executors": [{"name": "echo"}]})).await;
        for protocol in PROTOCOLS {
            let address = address(&flow, protocol);
            let ran = run(&["ready", &address, "--wait", "20s"]).await;
            let begin = format!("{address} is ready: {protocol}, family {family}, Jina 3.");
            assert!(ran.out.starts_with(&begin), "{ran:?}");
            assert_eq!((ran.code, &*ran.err), (Some(0), ""));
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("it is bound").port()
}

#[tokio::test]
async fn an_unreachable_flow_is_exit_code_3() {
    let address = format!("127.0.0.1:{}", free_port());
    let refused =
        format!("could not connect to grpc://{address}: Connection refused (os error 111)\n");
    let error = |text: String| Ran { code: Some(3), out: String::new(), err: text };
    let posted = run(&["post", &address, "/", "--text", "a"]).await;
    assert_eq!(posted, error(format!("error: {refused}")));
    let asked = run(&["ready", &address]).await;
    assert_eq!(asked, error(format!("error: grpc://{address} is not ready: {refused}")));
    let waited = run(&["ready", &address, "--wait", "300ms"]).await;
    let after = format!("error: grpc://{address} is not ready after 300ms: {refused}");
    assert_eq!(waited, error(after));
}

#[tokio::test]
async fn a_wrong_command_line_is_told_in_words_and_sends_nothing() {
    let known = "expected one of grpc, grpcs, http, https, ws, wss, websocket";
    let clap = |argument: &str, found: &str, why: &str| {
        format!(
            "invalid value '{found}' for '{argument}': {why}\n\nFor more information, try '--help'."
        )
    };
    for (arguments, error) in [
        (
            &["post", "http://h:1", "--port", "2"][..],
            "two sources of truth for `port`: host `http://h:1` gives `1`, argument `port` gives `2`; \
             expected it in one place, leave the other out"
                .into(),
        ),
        (
            &["ready", "https://h", "--tls"],
            "two sources of truth for `tls`: host `https://h` gives `true`, argument `tls` gives \
             `true`; expected it in one place, leave the other out"
                .into(),
        ),
        (
            &["mutate", "http://h", "{a}", "--protocol", "http"],
            "two sources of truth for `protocol`: host `http://h` gives `http`, argument `protocol` \
             gives `http`; expected it in one place, leave the other out"
                .into(),
        ),
        (
            &["ready", "htpp://h"],
            format!("unknown scheme `htpp` in host `htpp://h`, did you mean `http`?; {known}"),
        ),
        (
            &["post", "h:99999"],
            "port `99999` in host `h:99999` is not a port; expected a number from 1 to 65535, or 0 \
             for the default"
                .into(),
        ),
        (
            &["post", "h", "--port", "99999"],
            clap("--port <PORT>", "99999", "99999 is not in 0..=65535"),
        ),
        (
            &["post", "u:secret@h:1/search"],
            "host `***@h:1/search` has the path `/search`; expected the address to end with the \
             port; the endpoint is given separately (`on`)"
                .into(),
        ),
        (
            &["post", "h", "--request-size", "0"],
            clap(
                "--request-size <N|all>",
                "0",
                "expected a number of Documents that is at least 1, or `all`",
            ),
        ),
        (
            &["post", "h", "--target-executor", "(indexer"],
            clap(
                "--target-executor <REGEX>",
                "(indexer",
                "not a regular expression: opening parenthesis without closing parenthesis at \
                 position 8",
            ),
        ),
        (
            &["post", "h", "--timeout", "5"],
            clap(
                "--timeout <TIME>",
                "5",
                "expected a duration such as `30s` or `500ms`, found `5`, which has no unit",
            ),
        ),
        (
            &["post", "h", "--backoff-multiplier", "nan"],
            clap("--backoff-multiplier <FACTOR>", "nan", "expected a number that is at least 1"),
        ),
        (
            &["post", "h", "-H", "secret"],
            "`--header` is not a header; expected `name=value`".into(),
        ),
        (
            &["post", "h", "--ca", "ca.pem"],
            "`--ca` is given, and grpc://h:80 is without TLS; expected an address such as \
             `grpcs://my.flow`, or `--tls`"
                .into(),
        ),
        (
            &["post", "grpcs://h", "--ca", "no/ca.pem"],
            "TLS option `ca`: cannot read `no/ca.pem`: No such file or directory (os error 2)".into(),
        ),
        (
            &["post", "h", "--parameters", "{'k': 3}"],
            "`--parameters` is not JSON: key must be a string\n --> --parameters:1:2\n  |\n1 | \
             {'k': 3}\n  |  ^"
                .into(),
        ),
        (
            &["mutate", "h", "{a}", "--variables", "[1]"],
            "`--variables` is not a JSON object: invalid type: sequence, expected a map\n --> \
             --variables:1:1\n  |\n1 | [1]\n  | ^"
                .into(),
        ),
        (
            &["post", "h", "--doc", "{\"text\": 5}"],
            "`--doc` is not a Document: invalid type: integer `5`, expected a string; fields of \
             a custom schema belong under `fields`\n --> --doc:1:10\n  |\n1 | {\"text\": 5}\n  |          ^"
                .into(),
        ),
        (
            &["mutate", "http://h"],
            "there is no mutation; expected `mutation { … }` or `@FILE` as the last argument".into(),
        ),
        (
            &["post", "h", "--jsonl", "no/docs.jsonl"],
            "`--jsonl`: cannot read `no/docs.jsonl`: No such file or directory (os error 2)".into(),
        ),
        (
            &["post", "h", "--text", "a", "--id", "a", "--id", "b"],
            "`--id` is given 2 times and `--text` 1; expected no more ids than texts".into(),
        ),
        (
            &["post", "h", "--stream-doc", "--text", "a", "--text", "b"],
            "`--stream-doc` takes exactly one Document, by `--text` or `--doc`".into(),
        ),
    ] {
        let ran = run(arguments).await;
        let expected =
            Ran { code: Some(2), out: String::new(), err: format!("error: {error}\n") };
        assert_eq!(ran, expected, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_unless_it_is_switched_off_by_name() {
    let certified = rcgen::generate_simple_self_signed(["flow.internal".to_owned()])
        .expect("a certificate can be made");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = |name: &str, content: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        path.to_str().expect("a plain path").to_owned()
    };
    let ca = file("ca.pem", certified.cert.pem());
    let key = file("key.pem", certified.signing_key.serialize_pem());
    let flow =
        flow(json!({"executors": [{"name": "echo"}], "tls": {"cert": ca, "key": key}})).await;
    for protocol in PROTOCOLS {
        let address = address(&flow, protocol);
        let post = ["post", &address, "/", "--text", "a", "--show", "texts"];
        let with = async |options: &[&str]| run(&[&post[..], options].concat()).await;
        assert_eq!(with(&["--ca", &ca, "--server-name", "flow.internal"]).await, ok("a\n"));
        assert_eq!(with(&["--insecure"]).await, ok("a\n"));
        for distrusted in [&[][..], &["--ca", &ca], &["--server-name", "flow.internal"]] {
            let ran = with(distrusted).await;
            assert_eq!((ran.code, &*ran.out), (Some(3), ""), "{distrusted:?}");
            assert!(ran.err.starts_with(&format!("error: TLS with {address} failed: ")), "{ran:?}");
        }
        let plain = address.replacen("s://", "://", 1);
        let ran = run(&["post", &plain, "/", "--text", "a"]).await;
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.err.contains(&address), "it says what to try: {}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mutate_prints_the_response_or_tells_its_errors() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let http = address(&flow, Protocol::Http);
    let query = "mutation($t: String) { docs(data: {text: $t}) { text } }";
    let variables = ["--variables", r#"{"t": "abcd"}"#];
    let printed = ok(
        "{\n  \"data\": {\n    \"docs\": [\n      {\n        \"text\": \"abcd\"\n      }\n    ]\n  }\n}\n",
    );
    assert_eq!(run(&[&["mutate", &http, query], &variables[..]].concat()).await, printed);
    let without_scheme = http.trim_start_matches("http://");
    assert_eq!(run(&[&["mutate", without_scheme, query], &variables[..]].concat()).await, printed);
    let grpc = address(&flow, Protocol::Grpc);
    let elsewhere = ["mutate", &grpc, "--http", &http, query];
    assert_eq!(run(&[&elsewhere[..], &variables].concat()).await, printed);

    let ran = run(&["mutate", &http, "mutation { docs { nope } }"]).await;
    assert_eq!((ran.code, &*ran.out), (Some(1), ""));
    let begin = "error: GraphQL mutation returned the following errors: ";
    assert!(ran.err.starts_with(begin) && ran.err.contains("nope"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streaming_endpoint_answers_one_document_with_many() {
    let flow = flow(json!({
        "family": "v2",
        "executors": [{"name": "writer", "endpoints": {"/stream": {"stream": {"count": 3}}}}],
    }))
    .await;
    let post = |protocol| ["post".into(), address(&flow, protocol), "/stream".into()];
    let options = ["--stream-doc", "--text", "a", "--show", "docs"].map(str::to_owned);
    let over = async |protocol| {
        let arguments = [&post(protocol)[..], &options].concat();
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let ran = over(Protocol::Grpc).await;
    assert_eq!((ran.code, &*ran.err, ran.out.lines().count()), (Some(0), "", 3), "{ran:?}");
    let ran = over(Protocol::Http).await;
    assert_eq!(
        (ran.code, &*ran.err),
        (Some(2), "error: streaming endpoints are offered over gRPC only\n")
    );
}
