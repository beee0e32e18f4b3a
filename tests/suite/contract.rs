//! Every YAML block of the scenario format runs against embedded Flows, or is rejected exactly where the format
//! says so. The blocks are copies; a wrapper adds what they omit.

use std::path::{Path, PathBuf};

use flowbench::plan::{self, Plan};
use flowbench::record::summary::Summary;
use flowbench::run;
use flowbench::scenario::{self, Options};

/// A block with these texts replaced by others.
fn block(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new("tests/scenarios/contract").join(name).with_extension("yaml");
    let text = std::fs::read_to_string(path).expect("readable");
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name}: `{from}`");
        text.replace(from, to)
    })
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

/// A folder with a suite and the files that it names.
struct Suite {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Suite {
    fn new(text: &str) -> Suite {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("suite.yaml");
        std::fs::write(&path, text).expect("written");
        Suite { folder, path }
    }

    fn file(self, name: &str, content: &str) -> Suite {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("written");
        self
    }

    fn read(&self) -> Result<Plan, String> {
        let options = Options { env: vec![("TOKEN".into(), "t".into())], ..Options::default() };
        scenario::load(&self.path, &options)
            .and_then(|suite| plan::resolve(&suite))
            .map_err(|problems| problems.to_string())
    }

    async fn run(&self) -> Summary {
        let plan = self.read().unwrap_or_else(|problems| panic!("{problems}"));
        run::run(plan, run::Options::default()).await.expect("a run")
    }
}

/// All requests of all scenarios were answered.
fn answered(summary: &Summary) {
    assert!(!summary.scenarios.is_empty());
    for scenario in &summary.scenarios {
        let requests = &scenario.requests;
        assert!(requests.ok > 0, "{}: {requests:?} {:?}", scenario.name, scenario.errors);
        assert_eq!(requests.response_errors + requests.transport_errors, 0, "{}", scenario.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_every_kind_are_read_and_the_embedded_one_runs() {
    let certificate = rcgen::generate_simple_self_signed(["flow.internal".into()]).expect("one");
    let (pem, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let scenario = "scenarios: [{name: a, flow: local, documents: {text: a, count: 3}}]\n";
    let suite = Suite::new(&(block("flows", &[]) + scenario))
        .file("ca.pem", &pem)
        .file("me.pem", &pem)
        .file("me.key", &key);
    answered(&suite.run().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_with_a_behaviour_run() {
    let flow = indented(&block("embedded", &[]), 4);
    let text = format!(
        "flows:\n  local:\n{flow}scenarios:\n  - name: a\n    documents: {{text: a}}\n    \
         load: {{clients: 4, requests: 40}}\n    thresholds: [error_rate <= 100%]\n"
    );
    let summary = Suite::new(&text).run().await;
    assert!(summary.scenarios[0].requests.ok > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_run_but_for_the_two_contents_that_are_refused() {
    let files = |suite: Suite| {
        suite
            .file("photos/a.jpg", "jpg")
            .file("queries.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n")
            .file("data.csv", "title,price\na,1\nb,2\n")
    };
    let scenarios = "scenarios:\n\
        \x20 - {name: articles, documents: articles}\n\
        \x20 - {name: images, documents: images, request_size: 1, load: {clients: 1, requests: 2}}\n\
        \x20 - {name: photos, documents: photos}\n\
        \x20 - {name: queries, documents: queries, load: {clients: 1, requests: 3}}\n\
        \x20 - {name: table, documents: table}\n";
    let refused = files(Suite::new(&(block("documents", &[]) + scenarios))).read();
    let refused = refused.expect_err("two contents");
    assert_eq!(refused.matches("error:").count(), 1, "{refused}");
    assert!(
        refused.contains("a Document has at most one of `text`, `blob` and `tensor`"),
        "{refused}"
    );
    let mended =
        [("count: 10000 ", "count: 200 "), (", tensor: {shape: [224, 224, 3], dtype: uint8}", "")];
    answered(&files(Suite::new(&(block("documents", &mended) + scenarios))).run().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_run_over_their_matrix_and_mutate() {
    let changes = [
        ("[ … ]", "[]"),
        ("load: {clients: 16, duration: 30s}", "load: {clients: 2, duration: 100ms}"),
        ("warmup: 5s ", "warmup: 10ms "),
        ("start: 5s ", "start: 10ms "),
        ("request_size: 100 ", "request_size: 5 "),
        ("[1, 10, 100]", "[1, 5]"),
    ];
    let block = block("scenarios", &changes);
    let text = format!(
        "flows: {{local: {{embedded: {{}}}}}}\n\
         documents: {{articles: {{text: {{words: 5}}, embedding: {{shape: [4]}}}}}}\n\
         {block}  - {{name: other-scenario, documents: {{text: a, count: 1}}}}\n"
    );
    let summary = Suite::new(&text).run().await;
    answered(&summary);
    assert_eq!(summary.scenarios.len(), 8);
    assert_eq!(summary.scenarios[0].name, "index [protocol=grpc, request_size=1]");
}

#[tokio::test(flavor = "multi_thread")]
async fn assertions_hold_on_each_response() {
    let assert = indented(&block("assert", &[]), 4);
    let text = format!(
        "flows: {{local: {{embedded: {{}}}}}}\n\
         scenarios:\n\
         \x20 - {{name: index, on: /index, documents: {{count: 20, id: \"${{{{ i }}}}\", text: \"hello ${{{{ i }}}}\"}}}}\n\
         \x20 - name: search\n    needs: [index]\n    on: /search\n    parameters: {{limit: 10}}\n    \
         documents: {{text: \"hello ${{{{ i }}}}\"}}\n    request_size: 2\n    load: {{clients: 2, requests: 20}}\n{assert}"
    );
    let summary = Suite::new(&text).run().await;
    answered(&summary);
    let search = &summary.scenarios[1];
    assert_eq!(search.assertions.len(), 4);
    assert!(
        search.assertions.iter().all(|assertion| assertion.failed == 0),
        "{:?}",
        search.assertions
    );
    assert!(search.assertions[..3].iter().all(|assertion| assertion.passed == 20));
    assert!(summary.passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_are_judged_beside_the_implicit_ones() {
    let thresholds = indented(&block("thresholds", &[]), 4);
    let text = format!(
        "scenarios:\n  - name: a\n    documents: {{text: a}}\n    load: {{rate: 50/s, duration: 400ms}}\n{thresholds}"
    );
    let summary = Suite::new(&text).run().await;
    let judged: Vec<&str> =
        summary.scenarios[0].thresholds.iter().map(|threshold| threshold.that.as_str()).collect();
    assert_eq!(
        judged,
        [
            "p99 < 50ms",
            "service.p50 <= 5ms",
            "error_rate < 0.1%",
            "throughput > 900/s",
            "documents_per_second > 9000/s",
            "p99 < 500ms",
            "assertion_failures == 0",
            "dropped == 0",
        ]
    );
}

#[test]
fn a_capacity_search_is_planned() {
    let scenario = "scenarios: [{name: search, load: {rate: 50/s, duration: 1s}}]\n";
    let plan = Suite::new(&(block("capacity", &[]) + scenario)).read().expect("a plan");
    let capacity = plan.capacity.expect("a search");
    assert_eq!((&capacity.scenarios[..], capacity.objective.len()), (&[0][..], 2));
    let rates = "50/s..5000/s".parse().expect("a range of rates");
    assert_eq!(capacity.levels, flowbench::plan::Levels::Rate(rates));
}
