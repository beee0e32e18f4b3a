//! Documents and the schemas of Flows: a mismatch is reported with its position before anything is sent.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;

use crate::run::{Place, Ran};

const FLOW: &str = "{family: v2, schema: {title: Note, type: object, required: [title], properties: \
     {title: {type: string}, text: {type: integer, default: 7}, uri: {type: string, default: here}, \
      data: {anyOf: [{type: string, format: binary}, {type: 'null'}], default: null}}}}";

fn place(scenarios: &str) -> Place {
    Place::new(&format!("flows: {{f: {{embedded: {FLOW}}}}}\nscenarios:\n{scenarios}"))
}

#[test]
fn what_does_not_fit_an_embedded_flow_is_told_by_check_alone() {
    let place = place("  - {name: a, documents: {count: 2, fields: {titel: hi}}}\n");
    let told = Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
    told.ends(2);
    for part in
        ["suite.yaml:3:46", "endpoint `/`: `Note` has no field `titel`", "did you mean `title`?"]
    {
        assert!(told.err.contains(part), "{}", told.err);
    }
}

#[test]
fn an_entry_far_into_a_data_set_is_told_with_its_line_before_anything_is_sent() {
    // Blank lines count for line numbers, and so do those inside a quoted cell.
    let mut lines = String::from("\n");
    let mut rows = String::from("fields.title,fields.text\n");
    for i in 0..3000 {
        let text = if i == 1500 { "\"abc\"".into() } else { i.to_string() };
        let _ = writeln!(lines, r#"{{"title": "a", "fields": {{"text": {text}}}}}"#);
        let _ = writeln!(rows, "\"a\nb\",{text}");
    }
    for (key, told) in [
        ("jsonl: late.jsonl", "late.jsonl` line 1502: field `text` requires a whole number"),
        ("csv: late.csv", "late.csv` line 3002: field `text` requires a whole number"),
        (
            "count: 3000, fields: {title: a, text: \"${{ 'abc' if i == 1500 else i }}\"}",
            "Document 1500: field `text` requires a whole number, found the text `abc`",
        ),
    ] {
        for protocol in ["grpc", "http"] {
            let place = place(&format!(
                "  - {{name: a, protocol: {protocol}, request_size: 10, documents: {{{key}}}}}\n"
            ));
            std::fs::write(place.path("late.jsonl"), &lines).expect("it can be written");
            std::fs::write(place.path("late.csv"), &rows).expect("it can be written");
            let checked =
                Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
            assert!(checked.ends(2).err.contains(told), "{}", checked.err);
            let ran = place.run(&["--out", "out"]);
            ran.ends(2);
            let report = place.report();
            assert!(report.to_string().contains(told), "{key}: {report}");
            assert_eq!(report["scenarios"][0]["requests"]["sent"], 0, "{key}");
        }
    }
}

/// Posts and prints like the command line.
async fn post(address: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.args(["post", address, "/"]).args(arguments);
    let posted = tokio::task::spawn_blocking(move || command.output().expect("it was built"));
    Ran::new(posted.await.expect("it ends"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_made_to_fit_as_a_scenario_is() {
    let config: FlowConfig = serde_yaml::from_str(FLOW).expect("a configuration");
    let flow = Flow::start(config).await.expect("it starts");
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let address = flow.target(protocol).expect("it speaks it").to_string();
        // Unset fields are not sent, so they get the schema's defaults.
        let titled = post(&address, &["--doc", r#"{"fields": {"title": 5}}"#]).await;
        let told = &titled.ends(0).out;
        for part in [r#""title":"5""#, r#""text":7"#, r#""uri":"here""#] {
            assert!(told.contains(part), "{protocol}: {told}");
        }
        // A field is addressed by its own name, and bytes that are not text come back unchanged.
        let doc = r#"{"title": "a", "uri": "there", "data": "hello"}"#;
        let told = post(&address, &["--doc", doc]).await;
        assert!(told.ends(0).out.contains(r#""uri":"there""#), "{protocol}: {}", told.out);
        let unfit =
            post(&address, &["--doc", doc, "--doc", r#"{"title": "a", "text": "x", "b": 1}"#])
                .await;
        let told = &unfit.ends(2).err;
        assert!(told.contains("Document 1, for endpoint `/`: "), "{protocol}: {told}");
    }
    flow.stop().await;
}

#[test]
fn init_writes_no_suite_for_a_server_that_is_no_flow() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().take(8).flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
            );
        }
    });
    let place = Place::new("");
    let ran = Ran::new(place.any(&["init", &address, "new.yaml"]).output().expect("it was built"));
    let told = &ran.ends(3).err;
    assert!(told.contains("does not respond like a Flow"), "{told}");
    assert!(!place.path("new.yaml").exists());
}

#[test]
fn a_line_of_json_with_a_key_twice_is_refused() {
    let place = place("  - {name: a, documents: {jsonl: two.jsonl}}\n");
    std::fs::write(
        place.path("two.jsonl"),
        "{\"title\": \"a\", \"title\": \"b\"}\n{\"tags\": [\"a\"]}\n",
    )
    .expect("it can be written");
    let told = Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
    for part in ["line 1: column 22: `title` is given twice\n", "line 2: ", "belong under `fields`"]
    {
        assert!(told.ends(2).err.contains(part), "{}", told.err);
    }
}

#[test]
fn what_init_writes_for_limits_fits_them() {
    let schema = "{title: Limited, type: object, required: [stars, share, code, tags, at], properties: \
         {stars: {type: integer, minimum: 10, maximum: 12}, share: {type: number, exclusiveMinimum: 2, maximum: 3}, \
          code: {type: string, minLength: 12, maxLength: 14}, \
          tags: {type: array, items: {type: string}, minItems: 3}, at: {type: string, format: date-time}}}";
    let place = Place::new("");
    std::fs::write(
        place.path("flow.yml"),
        format!("family: v2\nexecutors: [{{name: echo}}]\nschema: {schema}\n"),
    )
    .expect("it can be written");
    let mut serve =
        place.any(&["serve", "--config", "flow.yml", "--protocol", "grpc", "--port", "0"]);
    let mut serve = serve.spawn().expect("it was built");
    let mut lines = std::io::BufReader::new(serve.stdout.take().expect("it is piped"));
    let mut address = String::new();
    std::io::BufRead::read_line(&mut lines, &mut address).expect("it says its address");
    let of = |arguments: &[&str]| Ran::new(place.any(arguments).output().expect("it was built"));
    of(&["init", address.trim(), "new.yaml"]).ends(0);
    of(&["check", "new.yaml", "--flow"]).ends(0);
    of(&["run", "new.yaml", "--out", "out"]).ends(0);
    // A real Flow would reject values outside these constraints.
    let doc = r#"{"fields": {"stars": 9, "share": 2.5, "code": "abcdefghijkl", "tags": ["a", "b", "c"], "at": "x"}}"#;
    let told = of(&["post", address.trim(), "/", "--family", "v2", "--doc", doc]).err;
    assert!(
        told.contains("Input should be greater than or equal to 10 [type=greater_than_equal"),
        "{told}"
    );
    serve.kill().expect("it runs");
    serve.wait().expect("it ends");
}

#[test]
fn what_a_post_and_a_plain_request_share_is_told_in_words_that_help() {
    let place = place(
        "  - {name: a, documents: {title: a}}\n  - {name: b, path: /x, weight: 3, capture: {a: b}, repeat: {until: a}}\n  \
         - {name: c, documents: {count: 1, fields: {title: a}}, thresholds: [http_req_duration < 1s]}\ncapacity: {scenario: c, vus: 10, objective: [p99 < 1s]}\n",
    );
    let told = Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built")).err;
    for part in [
        "write `fields: {title: …}`",
        "write `request: {method: POST",
        "write `choose: [{name: a, weight: 3",
        "capture: {id: …}}]`: it is a key of a step",
        "repeat: {until: …}}]`: it is a key of a step",
        "use `mean`, `max` or a percentile such as `p95`",
        "for `vus` of k6, write `clients: 1..50`",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_suite_that_reads_secrets_is_a_suite_again_when_it_is_resolved() {
    let place = Place::new(
        "vars: {lst: {env: LST, type: list, secret: true}, m: {type: map, default: {key: hidden-value}, secret: true}, \
         b: {env: ON, type: boolean, secret: true}, n: 2}\n\
         flows: {s: {embedded: {protocols: [http]}}}\n\
         scenarios:\n  - name: a\n    flow: s\n    load: {clients: 1, requests: 2}\n    \
         request: {path: /status, headers: {x-pick: \"${{ vars.lst[i % 2] }}\", x-m: \"${{ vars.m.key }}\"}}\n    \
         assert: [response.status_code == vars.n * 100, vars.b]\n    on_done: [{log: \"${{ vars.lst[0] }} ${{ vars.n }}\"}]\n",
    );
    let with = |arguments: &[&str]| {
        let mut command = place.any(arguments);
        command.env("LST", "[first-secret, second-secret]").env("ON", "true");
        Ran::new(command.output().expect("it was built"))
    };
    let resolved = with(&["check", "suite.yaml", "--resolved"]);
    let text = &resolved.ends(0).out;
    assert!(!text.contains("secret") && !text.contains("hidden-value"), "{text}");
    std::fs::write(place.path("again.yaml"), text).expect("it can be written");
    with(&["check", "again.yaml"]).ends(0);
    with(&["run", "again.yaml", "--out", "out"]).ends(0);
}
