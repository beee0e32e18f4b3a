//! Files as other programs write them, and settings as people write them.

use std::path::Path;

use super::input;
use crate::run::{Place, Ran};

/// A folder with all files of a case, its suite among them as `suite.yaml`.
fn place(case: &str, suite: &str) -> Place {
    let place = Place::new(&input(case, suite));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(case);
    for file in std::fs::read_dir(folder).expect("a case") {
        let file = file.expect("it can be listed");
        std::fs::copy(file.path(), place.path(&file.file_name().to_string_lossy()))
            .expect("copied");
    }
    place
}

fn any(place: &Place, arguments: &[&str]) -> Ran {
    Ran::new(place.any(arguments).output().expect("the binary was built"))
}

#[test]
fn a_byte_order_mark_before_json_lines_is_skipped() {
    let place = place("jsonl-bom", "bomj.yaml");
    place.run(&["--out", "out"]).ends(0);
    assert_eq!(place.report()["scenarios"][0]["documents"]["sent"], 2);
}

#[test]
fn text_in_another_encoding_is_named() {
    let place =
        Place::new("documents: {d: {jsonl: d.jsonl}}\nscenarios: [{name: s, documents: d}]\n");
    let utf_16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(place.path("d.jsonl"), &utf_16).expect("written");
    let ran = place.run(&[]);
    let why = "could not read `d.jsonl`: it is UTF-16 text; save it as UTF-8";
    assert!(ran.ends(2).err.contains(why), "{}", ran.err);
    std::fs::write(place.path("utf_16.yaml"), &utf_16).expect("written");
    let ran = any(&place, &["check", "utf_16.yaml"]);
    assert!(ran.ends(2).err.contains("it is UTF-16 text; save it as UTF-8"), "{}", ran.err);
    std::fs::write(place.path("d.csv"), &utf_16).expect("written");
    std::fs::write(
        place.path("csv.yaml"),
        "documents: {d: {csv: d.csv}}\nscenarios: [{name: s, documents: d}]\n",
    )
    .expect("written");
    let ran = any(&place, &["check", "csv.yaml"]);
    assert!(ran.ends(2).err.contains("it is UTF-16 text; save it as UTF-8"), "{}", ran.err);
}

#[test]
fn a_quote_that_is_never_closed_is_told_with_its_line() {
    let ran = place("csv-open-quote", "suite.yaml").run(&[]);
    let why = "`data.csv` line 2: the quote that is opened here is never closed";
    assert!(ran.ends(2).err.contains(why), "{}", ran.err);
    // A quote inside a cell is part of it, and a closed one may span lines.
    let place = place("csv-open-quote", "suite.yaml");
    std::fs::write(
        place.path("data.csv"),
        "id,text\n1,\"red\nshoes\"\n2,5\" disk\n3,\"a \"\"b\"\"\"",
    )
    .expect("written");
    place.run(&["--out", "out"]).ends(0);
    assert_eq!(place.report()["scenarios"][0]["documents"]["sent"], 3);
}

#[test]
fn two_columns_for_one_field_are_told() {
    let ran = place("csv-same-header-twice", "suite.yaml").run(&[]);
    let why = "two columns of `data.csv` are mapped to `text`";
    assert!(ran.ends(2).err.contains(why), "{}", ran.err);
}

#[test]
fn a_document_of_two_contents_is_refused_before_anything_is_sent() {
    let place = Place::new(
        "flows: {e: {embedded: {family: v1}}}
documents: {d: {jsonl: d.jsonl}}
scenarios: [{name: s, flow: e, documents: d, request_size: 1}]\n",
    );
    let good = "{\"text\": \"a\"}\n".repeat(5000);
    let lines = format!("{good}{{\"text\": \"a\", \"blob\": \"aGk=\"}}\n");
    std::fs::write(place.path("d.jsonl"), lines).expect("written");
    let ran = place.run(&["--out", "out"]);
    ran.ends(2);
    let why = "`d.jsonl` line 5001: text and blob; a Document of the v1 family has one of";
    assert!(ran.err.contains(why), "{}", ran.err);
    assert!(!place.path("out").exists(), "the family is known before the run");
}

#[test]
fn absolute_times_in_a_trace_are_told_as_such() {
    let ran = place("epoch-trace", "suite.yaml").run(&[]);
    let why = "`1700000000.1` is an absolute time; expected seconds since the first arrival: subtract \
               1700000000.1 from each";
    assert!(ran.ends(2).err.contains(why), "{}", ran.err);
}

#[test]
fn a_plan_shows_low_rates_as_they_are() {
    let ran = any(&place("plan-rounds-rates", "suite.yaml"), &["plan", "suite.yaml"]);
    for rate in ["up to 0.25/s", "up to 0.0278/s", "up to 1.5/s"] {
        assert!(ran.ends(0).out.contains(rate), "{rate}: {}", ran.out);
    }
}

#[test]
fn an_error_rate_has_a_unit() {
    let ran = any(&place("error-rate-bare-number", "suite.yaml"), &["check", "suite.yaml"]);
    let why = "`error_rate` is compared with a percentage such as `0.1%`, found `1`";
    assert!(ran.ends(2).err.contains(why), "{}", ran.err);
}

#[test]
fn a_slash_behind_the_port_means_nothing() {
    for host in ["http://localhost:15002/", "grpc://localhost:15002/", "ws://[::1]:15002/"] {
        let target: flowbench::wire::Target = host.parse().expect(host);
        assert_eq!(target.port, 15002, "{host}");
    }
    assert!("http://localhost:15002/x".parse::<flowbench::wire::Target>().is_err());
}

#[test]
fn a_document_without_measure_is_refused_at_its_place_before_it_is_made() {
    let suite = |documents: &str| {
        format!(
            "flows: {{l: {{embedded: {{}}}}}}\nscenarios: [{{name: s, flow: l, documents: {documents}}}]\n"
        )
    };
    for (documents, why) in [
        (
            "{tensor: {shape: [1000000000]}}",
            "a Document may take up to 3.7 GiB, more than the limit of 64MiB",
        ),
        ("{text: {words: 90000000}}", "a Document may take up to 687 MiB"),
        ("{max_size: 1KiB, blob: {bytes: 1KiB..2KiB}}", "more than the limit of 1KiB"),
    ] {
        let ran = any(&Place::new(&suite(documents)), &["check", "suite.yaml"]);
        assert!(ran.ends(2).err.contains(why), "{}", ran.err);
    }
    let ran = any(&place("nested-chunks", "suite.yaml"), &["check", "suite.yaml"]);
    assert!(ran.ends(2).err.contains("a Document may take up to 477 GiB"), "{}", ran.err);
    assert!(ran.err.contains("suite.yaml:7:"), "{}", ran.err);
    let more = suite("{max_size: 256MiB, count: 1, blob: {bytes: 70MiB}}");
    any(&Place::new(&more), &["check", "suite.yaml"]).ends(0);
}

#[test]
fn a_suite_is_written_for_a_deployment_and_checks_whatever_jina_alone_knows() {
    let place = place("init-jina-yaml", "context.yml");
    let ran = any(&place, &["init", "--flow", "deployment.yml", "-"]);
    for line in ["grpc: grpc://localhost:12345", "http: http://localhost:12346"] {
        assert!(ran.ends(0).out.contains(line), "{}", ran.out);
    }
    any(&place, &["init", "--flow", "context.yml", "s.yaml"]).ends(0);
    any(&place, &["check", "s.yaml"]).ends(0);
    let written = std::fs::read_to_string(place.path("s.yaml")).expect("it was written");
    assert!(written.contains("# A guess: the host localhost"), "{written}");
    assert!(written.contains("# A guess: the endpoints /index and /search"), "{written}");
}

#[test]
fn a_suite_that_is_written_for_a_flow_has_the_endpoints_of_its_executors_files() {
    let place = place("init-jina-yaml", "deployment.yml");
    let write = |name: &str, text: &str| {
        std::fs::write(place.path(name), text).expect("there is room");
    };
    std::fs::create_dir_all(place.path("flows/encoder")).expect("there is room");
    write(
        "flows/flow.yml",
        "jtype: Flow\nwith: {port: $OURS}\nexecutors: [{uses: encoder/config.yml}]\n",
    );
    write("flows/encoder/config.yml", "jtype: Encoder\npy_modules: [encoder.py]\n");
    write(
        "flows/encoder/encoder.py",
        "class Encoder:\n    @requests(on='/encode')\n    def f(self): ...\n",
    );
    let mut command = place.any(&["init", "--flow", "flows/flow.yml", "s.yaml"]);
    Ran::new(command.env("OURS", "4711").output().expect("it was built")).ends(0);
    any(&place, &["check", "s.yaml"]).ends(0);
    let written = std::fs::read_to_string(place.path("s.yaml")).expect("it was written");
    assert!(written.contains("- name: encode\n    on: /encode\n"), "{written}");
    assert!(written.contains("host: grpc://localhost:4711\n"), "{written}");
    assert!(!written.contains("A guess") && !written.contains("/index"), "{written}");
}

#[test]
fn a_variable_that_the_suite_has_not_is_told_though_one_begins_like_it() {
    let place = Place::new(
        "vars: {k: 1}
scenarios: [{name: s, documents: {text: a, count: 1}, parameters: {k: \"${{ vars.rate | default(1) }}\"}}]\n",
    );
    let ran = place.run(&["--set", "rat=3"]);
    assert!(ran.ends(2).err.contains("--set rat: the suite has no variable `rat`"), "{}", ran.err);
    place.run(&["--set", "rate=3"]).ends(0);
}

#[test]
fn check_refuses_what_plan_refuses() {
    let place = Place::new(
        "scenarios: [{name: s, documents: {text: a}, load: {rate: 10/s, duration: 2s}, \
         thresholds: [throughput > 100/s]}]\n",
    );
    for command in ["plan", "check"] {
        let ran = any(&place, &[command, "suite.yaml"]);
        assert!(ran.ends(2).err.contains("`throughput > 100/s` cannot be met"), "{}", ran.err);
    }
}

#[test]
fn what_is_seldom_meant_is_noted() {
    let place = Place::new(
        "flows: {v2: {host: \"http://127.0.0.1:9\", family: v2}}
scenarios:
  - {name: index, flow: v2, on: index, documents: {text: a, count: 500}, request_size: 101}\n",
    );
    let ran = any(&place, &["check", "suite.yaml"]);
    assert!(
        ran.ends(0).err.contains("endpoint `index` is sent as it is, but Executors bind `/index`")
    );
    assert!(ran.err.contains("lose Documents of requests with more than 100, and these have 101"));
}
