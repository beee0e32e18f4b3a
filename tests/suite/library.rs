//! Every suite in `scenarios/` runs, with short loads, and all its thresholds pass.

use std::path::Path;

use flowbench::plan;
use flowbench::record::summary::Summary;
use flowbench::run;
use flowbench::scenario::{self, Options};

/// Runs a suite with these variables. Files that it saves go into a temporary folder.
async fn run(name: &str, set: &[(&str, &str)]) -> Summary {
    let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let path = Path::new("scenarios").join(name).with_extension("yaml");
    let plan = scenario::load(&path, &Options { set, ..Options::default() })
        .and_then(|suite| plan::resolve(&suite));
    let mut plan = plan.unwrap_or_else(|problems| panic!("{problems}"));
    let folder = tempfile::tempdir().expect("a folder");
    for scenario in &mut plan.scenarios {
        // The quickstart's searches are long enough to watch, too long for tests.
        if let plan::Load::Closed { until, .. } = &mut scenario.load {
            until.duration = until.duration.map(|_| std::time::Duration::from_millis(300));
        }
        for action in scenario.steps.iter_mut().flat_map(|step| &mut step.callbacks.on_always) {
            if let plan::Action::Save(path) = action {
                *path = folder.path().join(path.file_name().expect("it is a file"));
            }
        }
    }
    run::run(plan, run::Options::default()).await.expect("a run")
}

/// Checks that all thresholds passed, and every scenario got responses.
#[track_caller]
fn held(summary: &Summary) {
    for scenario in &summary.scenarios {
        let failed: Vec<&str> = scenario
            .thresholds
            .iter()
            .filter(|threshold| !threshold.passed)
            .map(|threshold| threshold.that.as_str())
            .collect();
        assert!(
            failed.is_empty() && scenario.requests.ok > 0,
            "{}: {failed:?} {:?} {:?} {:?}",
            scenario.name,
            scenario.requests,
            scenario.errors,
            scenario.assertions
        );
    }
}

#[test]
fn every_suite_of_the_library_is_run_here() {
    let tests = include_str!("library.rs");
    for entry in std::fs::read_dir("scenarios").expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            assert!(tests.contains(&format!("run(\"{name}\"")), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_whose_capacity_is_asked_for() {
    // Without the `capacity` command, it is a suite like any other.
    held(&run("capacity", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart() {
    let summary = run("index", &[]).await;
    held(&summary);
    assert_eq!(summary.scenarios.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn search_under_open_load() {
    held(&run("search", &[("rate", "20/s"), ("duration", "500ms")]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_and_request_sizes() {
    let summary = run("matrix", &[("clients", "2"), ("duration", "100ms")]).await;
    held(&summary);
    assert_eq!(summary.scenarios.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn index_and_search_together() {
    held(&run("together", &[("stage", "300ms")]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn chained_steps() {
    let summary = run("steps", &[("iterations", "20")]).await;
    held(&summary);
    assert!(summary.scenarios[0].assertions.iter().all(|assertion| assertion.passed > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_generator() {
    let summary = run("documents", &[]).await;
    held(&summary);
    assert_eq!(summary.scenarios.len(), 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_connections() {
    let summary = run("tls", &[]).await;
    held(&summary);
    assert!(summary.scenarios.iter().all(|scenario| scenario.target.tls));
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_mutations() {
    held(&run("graphql", &[("requests", "10")]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks() {
    held(&run("callbacks", &[("requests", "50")]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_started_by_a_command() {
    // The port is free now, and is unlikely to be taken within the second.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a free port").port().to_string();
    let program = env!("CARGO_BIN_EXE_flowbench");
    held(&run("command", &[("program", program), ("port", &port)]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation() {
    held(&run("jina", &[]).await);
}
