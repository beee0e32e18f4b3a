//! Checks `docs/scenarios.md`: it has all keys and no others, and its examples run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use flowbench::plan::{self, Load, Origin, Plan};
use flowbench::run;
use flowbench::scenario::{self, Options};
use flowbench::schedule::{Profile, Schedule, Stage};
use regex::Regex;
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/scenarios.md");

/// The keys of each table of the page whose first column is `key`.
fn tables() -> Vec<BTreeSet<String>> {
    let mut tables = Vec::new();
    let mut lines = PAGE.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with("| key |") {
            continue;
        }
        lines.next();
        let mut keys = BTreeSet::new();
        while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 4, "a key, a type, a default and a meaning: {row}");
            let key = cells[0].trim_matches('`');
            assert!(keys.insert(key.to_owned()), "{key} is there twice");
        }
        tables.push(keys);
    }
    tables
}

/// The keys of each map in the schema. Alternatives count as one map.
fn maps() -> BTreeMap<String, BTreeSet<String>> {
    let schema = scenario::schema();
    let keys = |part: &Value| -> BTreeSet<String> {
        let own = part["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone());
        let one_of = part["oneOf"].as_array().into_iter().flatten().flat_map(|one| {
            let properties = one["properties"].as_object().into_iter().flatten();
            properties.map(|(key, _)| key.clone()).chain(one["const"].as_str().map(str::to_owned))
        });
        // Alternatives that are only words are not maps.
        let has_maps = part["oneOf"]
            .as_array()
            .is_some_and(|list| list.iter().any(|one| one["properties"].is_object()));
        own.chain(one_of.filter(|_| has_maps)).collect()
    };
    let definitions = schema["$defs"].as_object().expect("definitions");
    let all = definitions.iter().map(|(name, part)| (name.clone(), keys(part)));
    let suite = ("Suite".to_owned(), keys(&schema));
    all.chain([suite]).filter(|(_, keys)| !keys.is_empty()).collect()
}

/// The first column of the tables in `docs/report.md` that begin with `code`.
fn documented_codes() -> BTreeSet<String> {
    let name = Regex::new("`([a-z_]+)`").expect("it is valid");
    let mut lines = include_str!("../../docs/report.md").lines();
    let mut codes = BTreeSet::new();
    while lines.any(|line| line.starts_with("| `code` |")) {
        for row in lines.by_ref().skip(1).take_while(|line| line.starts_with('|')) {
            let first = row.trim_start_matches('|').split('|').next().unwrap_or_default();
            for found in name.captures_iter(first) {
                assert!(codes.insert(found[1].to_owned()), "{} is there twice", &found[1]);
            }
        }
    }
    codes
}

#[test]
fn every_code_of_a_reason_is_documented_and_no_other() {
    let schema = flowbench::record::summary::schema();
    let known = schema["$defs"]["Code"]["oneOf"].as_array().expect("one a code");
    let known = known.iter().map(|code| code["const"].as_str().expect("a name").to_owned());
    assert_eq!(known.collect::<BTreeSet<_>>(), documented_codes());
}

#[test]
fn every_reason_and_every_kind_of_error_has_an_entry_in_troubleshooting() {
    let entry = Regex::new(r"(?m)^### `([a-z_]+)`$").expect("it is valid");
    let page = include_str!("../../docs/how-to/troubleshooting.md");
    let entries: BTreeSet<String> = entry.captures_iter(page).map(|at| at[1].to_owned()).collect();
    let report = include_str!("../../docs/report.md");
    let (_, kinds) = report.split_once("The kinds of errors are").expect("it lists them");
    let (kinds, _) = kinds.split_once("\n\n").expect("the paragraph ends");
    let name = Regex::new("`([a-z_]+)`").expect("it is valid");
    let kinds = name.captures_iter(kinds).map(|at| at[1].to_owned());
    // The paragraph also mentions a limit, and one kind only ends commands.
    let known: BTreeSet<String> =
        documented_codes().into_iter().chain(kinds).chain(["config".to_owned()]).collect();
    let known = known.into_iter().filter(|name| name != "max_response_memory").collect();
    assert_eq!(entries, known);
}

#[test]
fn it_has_every_key_of_the_schema_and_no_other() {
    let tables = tables();
    let maps = maps();
    assert!(maps.len() >= 30, "{}", maps.len());
    for (name, keys) in &maps {
        assert!(tables.contains(keys), "no table has just the keys of `{name}`: {keys:?}");
    }
    for table in &tables {
        assert!(maps.values().any(|keys| keys == table), "nothing has these keys: {table:?}");
    }
}

#[test]
fn it_names_every_metric() {
    for metric in [
        "min",
        "mean",
        "max",
        "error_rate",
        "errors",
        "dropped",
        "assertion_failures",
        "throughput",
        "documents_per_second",
        "requests",
    ] {
        assert!(PAGE.contains(&format!("`{metric}`")), "{metric}");
    }
}

#[test]
fn its_links_lead_to_its_headings() {
    let heading = Regex::new(r"(?m)^#+ (.+)$").expect("it is valid");
    let anchors: BTreeSet<String> = heading
        .captures_iter(PAGE)
        .map(|found| found[1].to_lowercase().replace(' ', "-"))
        .collect();
    for link in Regex::new(r"\]\(#([^)]+)\)").expect("it is valid").captures_iter(PAGE) {
        assert!(anchors.contains(&link[1]), "{}", &link[1]);
    }
}

/// The examples of the page that are suites, and those with mistakes.
fn examples(fence: &str) -> Vec<&'static str> {
    examples_of(PAGE, fence)
}

fn examples_of(page: &'static str, fence: &str) -> Vec<&'static str> {
    let parts = page.split(fence).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default()).collect()
}

/// A folder with the files that the examples use.
fn folder(suite: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = rcgen::generate_simple_self_signed(["flow.internal".into()]).expect("one");
    for (name, content) in [
        ("suite.yaml", suite),
        ("parts/flows.yaml", "flows: {shared: {embedded: {}}}\n"),
        ("ca.pem", &certificate.cert.pem()),
        ("queries.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n"),
        ("data.csv", "title,price\na,1\nb,2\n"),
        ("photos/a.jpg", "jpg"),
        ("saved.json", "[{\"id\": \"a\", \"text\": \"saved\"}]"),
        ("arrivals.csv", "0\n0.01\n0.02\n"),
        ("flow.yml", include_str!("../flows/tuned.yml")),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("written");
    }
    folder
}

fn read(folder: &Path) -> Result<Plan, String> {
    let options = Options { env: vec![("TOKEN".into(), "t".into())], ..Options::default() };
    scenario::load(&folder.join("suite.yaml"), &options)
        .and_then(|suite| plan::resolve(&suite))
        .map_err(|problems| problems.to_string())
}

/// Shortens loads, which are long enough to watch, too long for tests.
fn shorten(plan: &mut Plan) {
    for scenario in &mut plan.scenarios {
        let short = |time: &mut Option<Duration>| {
            *time = time.map(|time| time.min(Duration::from_millis(200)));
        };
        let shorten = |profile: &mut Profile| {
            *profile = Profile::new(profile.stages().map(|stage| {
                let mut stage: Stage = *stage;
                short(&mut stage.length);
                stage
            }));
        };
        match &mut scenario.load {
            Load::Once => (),
            Load::Closed { clients, until, .. } => {
                short(&mut until.duration);
                shorten(clients);
            }
            Load::Open { schedule, until, .. } => {
                short(&mut until.duration);
                if let Schedule::Rate { profile, .. } = schedule {
                    shorten(profile);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_examples_run() {
    let examples = examples("```yaml\n");
    assert!(examples.len() >= 14, "{}", examples.len());
    let of_other_tools = examples_of(include_str!("../../docs/coming-from.md"), "```yaml\n");
    assert_eq!(of_other_tools.len(), 3);
    for example in examples.into_iter().chain(of_other_tools) {
        let folder = folder(example);
        let mut plan = read(folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
        // A Flow elsewhere cannot be reached here, so the suite is only read.
        let far = plan
            .scenarios
            .iter()
            .any(|scenario| !matches!(plan.flows[scenario.flow].origin, Origin::Embedded(_)));
        assert!(!far, "{example}");
        shorten(&mut plan);
        let summary = run::run(plan, run::Options::default()).await.expect("a run");
        for scenario in &summary.scenarios {
            assert!(
                scenario.requests.ok > 0,
                "{}: {:?}\n{example}",
                scenario.name,
                scenario.errors
            );
            let failed = scenario.assertions.iter().any(|assertion| assertion.failed > 0);
            assert!(!failed, "{}: {:?}", scenario.name, scenario.assertions);
            let errors = scenario.requests.response_errors + scenario.requests.transport_errors;
            let allowed = example.contains("error_rate < ") && example.contains("fail: ");
            assert!(errors == 0 || allowed, "{}: {:?}", scenario.name, scenario.errors);
        }
    }
}

#[test]
fn its_mistakes_are_told_as_it_says() {
    let (suite, said) = (examples("```yaml mistakes\n")[0], examples("```text\n")[0]);
    let folder = folder(suite);
    let problems = read(folder.path()).expect_err("there are mistakes");
    let problems = problems.replace(&format!("{}/", folder.path().display()), "");
    assert_eq!(problems.trim_end(), said.trim_end());
}
