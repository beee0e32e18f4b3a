//! Searches over settings of a Flow: one per combination, with a table of all in every format.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::{Place, Ran};

const SUITE: &str = "
flows:
  shop:
    embedded:
      executors:
        - {name: encoder, service_time: 20ms, concurrency: 1, replicas: \"${{ matrix.replicas }}\"}
        - {name: indexer}
scenarios:
  - {name: index, flow: shop, on: /index, load: {clients: 1, requests: 1}, matrix: {replicas: [1, 4]}}
  - name: search
    flow: shop
    needs: [index]
    documents: {text: a}
    request_size: 1
    load: {rate: 1/s, duration: 1s}
    matrix: {replicas: [1, 4]}
capacity:
  scenario: search
  objective: [p90 < 150ms]
  rate: 20/s..400/s
  precision: 25%
  confidence: 90%
  trial: 3s
  cost: {encoder: 0.80/h, indexer: 0.20/h}
";

fn capacity(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.current_dir(place.path("")).arg("capacity").args(arguments).stdin(Stdio::null());
    Ran::new(command.output().expect("it was built"))
}

#[test]
fn each_combination_is_searched_and_the_best_is_told_with_what_it_costs() {
    let place = Place::new(SUITE);
    let planned = place.any(&["plan", "suite.yaml"]).output().expect("it was built");
    let planned = Ran::new(planned);
    assert!(planned.ends(0).out.contains(", for each of 2 combinations"), "{}", planned.out);
    let ran = capacity(&place, &["suite.yaml", "--skip-overload", "--out", "out"]);
    ran.ends(0);
    let read = |file: &str| -> Value {
        let text = std::fs::read_to_string(place.path(file)).expect("it was written");
        serde_json::from_str(&text).expect("it is JSON")
    };
    let whole = read("out/capacity.json");
    let all = &whole["combinations"];
    assert_eq!(whole["scenario"], "search [replicas=4]");
    assert_eq!((&all["most"], all["rows"].as_array().map(Vec::len)), (&1.into(), Some(2)), "{all}");
    let of = |row: usize, key: &str| all["rows"][row][key].as_f64().expect("a number");
    assert!(
        (of(0, "cost_per_hour") - 1.0).abs() < 1e-9 && (of(1, "cost_per_hour") - 3.4).abs() < 1e-9
    );
    assert_eq!((of(0, "replicas"), of(1, "replicas")), (2.0, 5.0));
    // One at a time for 20 ms: 50/s per replica.
    assert!((35.0..55.0).contains(&of(0, "held_per_s")), "{all}");
    assert!((140.0..220.0).contains(&of(1, "held_per_s")), "{all}");
    let per_million = 3.4 / (of(1, "held_per_s") * 3600.0) * 1e6;
    assert!((of(1, "cost_per_million") - per_million).abs() < 1e-6);
    let cheaper = of(1, "cost_per_million") < of(0, "cost_per_million");
    assert_eq!(all["cheapest"], u64::from(cheaper));
    for (folder, scenario) in
        [("replicas-1", "search [replicas=1]"), ("replicas-4", "search [replicas=4]")]
    {
        assert_eq!(read(&format!("out/{folder}/capacity.json"))["scenario"], scenario);
        assert!(place.path(&format!("out/{folder}/capacity.html")).exists());
    }
    assert!(ran.out.contains("replicas 4 sustains the most"), "{}", ran.out);
    for (format, part) in [
        ("terminal", "  replicas 1  "),
        (
            "markdown",
            "| Combination | Sustains | p99 | Replicas | Cost per hour | Per million requests |  |",
        ),
        (
            "csv",
            "scenario,replicas,answer,held_per_s,p99_ms,replicas_in_all,cost_per_hour,cost_per_million,most,cheapest,error\nsearch [replicas=1],1,edge,",
        ),
        ("html", "What each combination sustains"),
    ] {
        let mut report = place.any(&["report", "out/capacity.json", "-f", format, "-o", "told"]);
        Ran::new(report.output().expect("it was built")).ends(0);
        let told = std::fs::read_to_string(place.path("told")).expect("it was written");
        assert!(told.contains(part), "{format}: {told}");
        std::fs::remove_file(place.path("told")).expect("it is there");
    }
}

#[test]
fn a_combination_that_does_not_start_is_told_and_keeps_no_other_from_its_search() {
    let suite = SUITE
        .replace(
            "flows:\n",
            "flows:\n  broken: {host: 'grpc://127.0.0.1:1', connect_timeout: 1s}\n",
        )
        .replace("    flow: shop\n    needs: [index]\n", "    flow: \"${{ matrix.flow }}\"\n")
        .replace(
            "    matrix: {replicas: [1, 4]}\ncapacity",
            "    matrix: {flow: [broken, shop], replicas: [4]}\ncapacity",
        )
        .replace("  cost: {encoder: 0.80/h, indexer: 0.20/h}\n", "");
    let place = Place::new(&suite);
    let ran = capacity(&place, &["suite.yaml", "--skip-overload", "--out", "out", "--quiet"]);
    ran.ends(3);
    let text = std::fs::read_to_string(place.path("out/capacity.json")).expect("it was written");
    let whole: Value = serde_json::from_str(&text).expect("it is JSON");
    let all = &whole["combinations"];
    assert_eq!(all["most"], 1, "{all}");
    let error = all["rows"][0]["error"].as_str().expect("a reason");
    assert!(error.contains("could not connect to grpc://127.0.0.1:1"), "{error}");
}

#[test]
fn what_cannot_be_compared_is_refused_before() {
    let refused = |suite: &str, arguments: &[&str], words: &str| {
        let place = Place::new(suite);
        let mut all = vec!["suite.yaml", "--out", "out"];
        all.extend(arguments);
        let ran = capacity(&place, &all);
        ran.ends(2);
        assert!(ran.err.contains(words), "{}", ran.err);
        assert!(!place.path("out").exists());
    };
    let price = SUITE.replace("{encoder: 0.80/h, ", "{encodr: 0.80/h, ");
    refused(&price, &[], "error: no Executor of this Flow is named `encodr`");
    refused(&price, &[], "did you mean `encoder`?");
    let no_unit = SUITE.replace("0.80/h", "0.80");
    refused(
        &no_unit,
        &[],
        "expected a price such as `1.20/h`, by h, day or month, found `0.8`, which has no unit",
    );
    let remote = SUITE.replace("    embedded:\n", "    port: 1\n  own:\n    embedded:\n");
    refused(&remote, &[], "the cost of this Flow is unknown");
    let many = SUITE.replace(
        "replicas: [1, 4]}\ncapacity",
        &format!("replicas: {:?}}}\ncapacity", (1..=60).collect::<Vec<_>>()),
    );
    let many = many.replace("    needs: [index]\n", "");
    refused(
        &many,
        &[],
        "the matrix of `search` has 60 combinations, and each is a separate search: at most 50",
    );
    refused(
        SUITE,
        &["--request-size", "1,10"],
        "are for a single search, and a matrix has one for each combination",
    );
}
