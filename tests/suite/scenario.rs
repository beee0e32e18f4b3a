//! Text in, plan or messages out.

use std::path::Path;

use flowbench::plan::forecast::{Amount, Limits};
use flowbench::plan::{self, Load, Plan, Work};
use flowbench::scenario::{self, Options};
use flowbench::schedule::Schedule;
use flowbench::source::Problems;

fn read(path: &Path, options: &Options) -> Result<Plan, Problems> {
    scenario::load(path, options).and_then(|suite| plan::resolve(&suite))
}

fn plan(path: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    read(&path, &Options::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_quickstart_indexes_and_then_searches_over_all_protocols_at_once() {
    let plan = plan("scenarios/index.yaml");
    assert_eq!((plan.name.as_str(), plan.seed), ("quickstart", 42));
    let [index, searches @ ..] = plan.scenarios.as_slice() else { panic!("no scenarios") };
    let Work::Post(post) = &index.first_step().work else { panic!("a post") };
    assert_eq!(post.documents.as_ref().and_then(|documents| documents.count()), Some(2000));
    assert_eq!(searches.len(), 3);
    for search in searches {
        assert_eq!(search.needs, [0]);
        assert!(matches!(search.load, Load::Closed { .. }));
        assert!(search.thresholds.iter().all(|threshold| !threshold.that.metric.is_latency()));
    }
    let protocols: Vec<String> =
        searches.iter().map(|search| search.protocol.to_string()).collect();
    assert_eq!(protocols, ["grpc", "http", "websocket"]);
}

#[test]
fn the_search_suite_is_an_open_load_whose_rate_can_be_set() {
    let options = Options { set: vec![("rate".into(), "5/s".into())], ..Options::default() };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/search.yaml");
    let plan = read(&path, &options).unwrap_or_else(|problems| panic!("{problems}"));
    let Load::Open { schedule: Schedule::Rate { profile, .. }, .. } = &plan.scenarios[1].load
    else {
        panic!("an open load")
    };
    assert_eq!(profile.as_constant(), Some(5.0));
}

/// Every file in a folder prints exactly the `.err` beside it. `BLESS=1` writes the actual output; read it
/// aloud before you commit it.
pub(crate) fn each_prints_its_err(folder: &str, least: usize, print: impl Fn(&Path) -> String) {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= least, "{} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let shown = print(&path);
        let expected = path.with_extension("err");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &shown).expect("written");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != shown {
            wrong.push(format!("--- {}\n{shown}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{} files print something else:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn bad_suites_are_told_what_is_wrong_in_the_exact_words() {
    let options =
        Options { env: vec![("HOME".into(), "/home/secret".into())], ..Options::default() };
    each_prints_its_err("tests/scenarios/bad", 80, |path| {
        let shown = match read(path, &options) {
            Ok(_) => "nothing is wrong".to_owned(),
            Err(problems) => format!("{problems}\n"),
        };
        assert!(!shown.contains("/home/secret"), "{shown}");
        shown
    });
}

#[test]
fn what_cannot_work_is_refused_before_the_load_at_its_place() {
    let limits = Limits { files: 1024, memory_bytes: 1 << 30, cores: 2 };
    each_prints_its_err("tests/scenarios/impossible", 7, |path| {
        let suite = scenario::load(path, &Options::default()).expect("a suite");
        let plan = plan::resolve(&suite).unwrap_or_else(|problems| panic!("{problems}"));
        match plan::forecast::check(&suite, &plan, &plan.forecast(limits.cores), &limits) {
            Ok(()) => "nothing is wrong".to_owned(),
            Err(problems) => format!("{problems}\n"),
        }
    });
}

#[test]
fn scenarios_that_begin_together_share_the_files_there_are() {
    let refused = |third: &str| {
        let scenario = |name: &str, rest: &str| {
            format!("  - {{name: {name}, load: {{clients: 400, duration: 1s}}{rest}}}\n")
        };
        let text = format!(
            "flows: {{there: {{host: 'http://my.flow:1'}}}}\nscenarios:\n{}{}{}",
            scenario("a", ""),
            scenario("b", ""),
            scenario("c", third)
        );
        let suite = scenario::load_text("s.yaml", text, Path::new(""), &Options::default());
        let suite = suite.unwrap_or_else(|problems| panic!("{problems}"));
        let plan = plan::resolve(&suite).unwrap_or_else(|problems| panic!("{problems}"));
        let limits = Limits { files: 1024, memory_bytes: 1 << 30, cores: 2 };
        let checked = plan::forecast::check_connections(&suite, &plan, &limits, |_| true);
        checked.err().map(|problems| problems.to_string())
    };
    let told = "\
error: this needs 400 connections in addition to scenarios that begin at the same time, but the process \
may open only 1024 files for all of them
 --> s.yaml:5:21
  |
5 |   - {name: c, load: {clients: 400, duration: 1s}}
  |                     ^
  |
  = help: raise the limit (`ulimit -n`), or make it wait for another with `needs`";
    assert_eq!(refused("").as_deref(), Some(told));
    assert_eq!(refused(", needs: [a]"), None);
    assert_eq!(refused(", start: 2s"), None);
}

#[test]
fn a_forecast_counts_what_the_load_will_do() {
    let forecasts = plan("scenarios/search.yaml").forecast(2);
    let [index, search] = forecasts.as_slice() else { panic!("two scenarios") };
    assert_eq!((index.requests, index.documents), (Amount::Exactly(10), Amount::Exactly(1000)));
    assert_eq!((search.requests, search.documents), (Amount::About(2000), Amount::About(2000)));
    assert_eq!(search.duration, Some(std::time::Duration::from_secs(10)));
    let certified: Vec<String> = search.certified.iter().map(ToString::to_string).collect();
    assert_eq!(certified, ["p50", "p90", "p95", "p99"]);
    assert_eq!(search.uncertified.map(|(_, samples)| samples), Some(6636));
    assert_eq!((index.connections, search.connections), (1, 1));
    assert!(search.request_bytes.is_some_and(|bytes| (50.0..200.0).contains(&bytes)));
}

/// The output of `check --resolved` is a suite that gives the same plan.
#[test]
fn a_resolved_plan_is_a_suite_again() {
    let everything = Path::new("tests/scenarios/everything.yaml");
    let options = Options { env: vec![("TOKEN".into(), "secret".into())], ..Options::default() };
    for path in [Path::new("scenarios/index.yaml"), Path::new("scenarios/search.yaml"), everything]
    {
        let plan = read(path, &options).unwrap_or_else(|problems| panic!("{problems}"));
        let resolved = flowbench::source::to_yaml(&plan.resolved());
        assert!(!resolved.contains("secret"), "{resolved}");
        let folder = tempfile::tempdir().expect("a folder");
        let again = folder.path().join("again.yaml");
        std::fs::write(&again, &resolved).expect("written");
        let plan =
            read(&again, &options).unwrap_or_else(|problems| panic!("{problems}\n{resolved}"));
        assert_eq!(flowbench::source::to_yaml(&plan.resolved()), resolved);
    }
}

#[test]
fn what_comes_from_the_environment_is_not_shown_wherever_it_went() {
    let text = "\
vars: {token: '${{ env.TOKEN }}', greeting: 'hi ${{ env.TOKEN }}', size: 3, deep: [~, {x: 1}]}
documents: {d: {count: 2, weight: '${{ i * vars[\"size\"] }}', tags: {a: '${{ env.TOKEN }}', b: '${{ vars.token | upper }} ${{ i }}'}}}
scenarios:
  - {name: a, documents: d, parameters: {t: '${{ vars.token }}', n: '${{ vars.size }}', g: '${{ vars.greeting }}'}}
";
    let options = Options { env: vec![("TOKEN".into(), "secret".into())], ..Options::default() };
    let read = |text: &str| {
        scenario::load_text("s", text.to_owned(), Path::new(""), &options)
            .and_then(|suite| plan::resolve(&suite))
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    };
    let plan = read(text);
    let Work::Post(post) = &plan.scenarios[0].first_step().work else { panic!("a post") };
    let sent = post.parameters.evaluate(0, &Default::default()).expect("parameters");
    assert_eq!(
        (&sent["t"], &sent["n"], &sent["g"]),
        (&"secret".into(), &3.into(), &"hi secret".into())
    );
    let document = post.documents.as_ref().expect("documents").get(1, None).expect("a Document");
    assert_eq!((&document.tags["a"], &document.tags["b"]), (&"secret".into(), &"SECRET 1".into()));
    let resolved = flowbench::source::to_yaml(&plan.resolved());
    assert!(!resolved.to_lowercase().contains("secret"), "{resolved}");
    assert!(
        resolved.contains(r#"\"deep\": [none, {\"x\": 1}]"#)
            || resolved.contains(r#""deep": [none, {"x": 1}]"#),
        "{resolved}"
    );
    assert!(resolved.contains("t: ${{ (env.TOKEN) }}"), "{resolved}");
    // Read again, it gives the same plan, except for masked values.
    let again = read(&resolved);
    let Work::Post(post) = &again.scenarios[0].first_step().work else { panic!("a post") };
    let documents = post.documents.as_ref().expect("documents");
    assert_eq!(documents.get(1, None).expect("a Document").weight, 3.0);
    let Work::Post(post) = &again.scenarios[0].first_step().work else { panic!("a post") };
    let again = post.parameters.evaluate(0, &Default::default()).expect("parameters");
    assert_eq!(
        (&again["t"], &again["n"], &again["g"]),
        (&"secret".into(), &3.into(), &"***".into())
    );
}

#[test]
fn variables_know_those_above_them_and_what_the_command_line_says() {
    let text = "vars: {rate: 5, double: '${{ vars.rate * 2 }}', deep: {a: 1, b: 2}}\n\
                scenarios: [{name: a, parameters: '${{ vars }}'}]\n";
    let parameters = |set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let options = Options { set, ..Options::default() };
        let plan = scenario::load_text("s", text.to_owned(), Path::new(""), &options)
            .and_then(|suite| plan::resolve(&suite))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let Work::Post(post) = &plan.scenarios[0].first_step().work else { panic!("a post") };
        serde_json::Value::from(post.parameters.evaluate(0, &Default::default()).expect("a map"))
    };
    let as_written = serde_json::json!({"rate": 5, "double": 10, "deep": {"a": 1, "b": 2}});
    assert_eq!(parameters(&[]), as_written);
    let set = parameters(&[("rate", "7"), ("deep.b", "x")]);
    assert_eq!(set, serde_json::json!({"rate": 7, "double": 14, "deep": {"a": 1, "b": "x"}}));
}

#[test]
fn includes_nest_sixteen_deep_and_no_deeper() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = |length: usize| {
        for n in 0..length {
            let text = format!("include: [f{}.yaml]\n", n + 1);
            std::fs::write(folder.path().join(format!("f{n}.yaml")), text).expect("written");
        }
        let last = folder.path().join(format!("f{length}.yaml"));
        std::fs::write(last, "scenarios: [{name: a}]\n").expect("written");
        read(&folder.path().join("f0.yaml"), &Options::default())
    };
    assert_eq!(chain(16).expect("a plan").scenarios.len(), 1);
    let problems = chain(17).expect_err("too deep").to_string();
    assert!(problems.contains("files include each other more than 16 levels deep"), "{problems}");
    assert_eq!(problems.matches("= note: included at").count(), 16, "{problems}");
}

#[test]
fn starter_suites_are_suites() {
    let flow = "jtype: Flow\nwith: {protocol: [grpc, http], port: [5000, 5001]}\nexecutors: [{name: enc}]\n";
    let encrypted = "jtype: Flow\nwith: {protocol: http, ssl_certfile: c.pem}\n";
    let facts =
        |text: &str| scenario::FlowFacts::read("flow.yml", text.into(), &|_| None).expect("a Flow");
    for facts in [None, Some(facts(flow)), Some(facts(encrypted))] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("suite.yaml");
        let text = scenario::starter(facts.as_slice());
        std::fs::write(&path, &text).expect("written");
        let plan = read(&path, &Options::default());
        let plan = plan.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(plan.scenarios.len(), 2);
    }
}
