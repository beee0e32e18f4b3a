//! Checks `docs/embedded-flow.md`: its configurations and programs run, and it documents every key.

use std::collections::BTreeSet;
use std::process::Command;

use flowbench::client::Client;
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::{Document, Protocol};
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/embedded-flow.md");

/// The code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    let block = |rest: &'static str| rest.split("```").next().expect("there is a first part");
    PAGE.split(&*begin).skip(1).map(block).collect()
}

#[tokio::test]
async fn its_configurations_start_and_answer() {
    let flows: Vec<_> =
        blocks("yaml").into_iter().filter(|yaml| !yaml.contains("flows:")).collect();
    assert!(flows.len() >= 6, "the page has lost its examples");
    for yaml in flows {
        let config: FlowConfig =
            serde_yaml::from_str(yaml).unwrap_or_else(|error| panic!("{error}:\n{yaml}"));
        let endpoints: BTreeSet<String> = config
            .executors
            .iter()
            .flat_map(|executor| executor.endpoints.iter())
            .filter(|(_, behaviour)| behaviour.stream.is_none())
            .map(|(endpoint, _)| endpoint.clone())
            .chain(["/".to_owned()])
            .collect();
        let flow = Flow::start(config).await.unwrap_or_else(|error| panic!("{error}:\n{yaml}"));
        let address = flow.target(Protocol::Grpc).expect("all speak it").to_string();
        for endpoint in endpoints {
            let client = Client::at(&address).expect("an address");
            // An encoder adds an embedding where the index expects one; some calls are made to fail.
            let doc = Document { id: "d".into(), ..Document::from_text("a good text") };
            let responses = client.post(&endpoint).inputs(doc).responses().await;
            assert_eq!(responses.map_or(0, |found| found.len()), 1, "{endpoint} of\n{yaml}");
        }
        flow.stop().await;
    }
}

#[test]
fn its_scenario_runs() {
    let suites: Vec<_> =
        blocks("yaml").into_iter().filter(|yaml| yaml.contains("flows:")).collect();
    for suite in &suites {
        let folder = tempfile::tempdir().expect("there is room");
        std::fs::write(folder.path().join("suite.yaml"), suite).expect("there is room");
        let output = Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .current_dir(&folder)
            .args(["run", "suite.yaml"])
            .output()
            .expect("the binary was built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}\n{suite}");
    }
    assert_eq!(suites.len(), 1);
}

#[tokio::test]
async fn its_program_runs() -> Result<(), Box<dyn std::error::Error>> {
    let flow = Flow::start(FlowConfig::default()).await?;
    let address = flow.target(Protocol::Grpc).expect("it speaks all three").to_string();
    let results =
        Client::at(&address)?.post("/").inputs(Document::from_text("hello")).send().await?;
    assert_eq!(results.texts(), ["hello"]);
    flow.stop().await;

    let words = |text: &str| text.split_whitespace().collect::<String>();
    let here = words(include_str!("embedded.rs"));
    let program = blocks("rust").remove(0).split_once("\n\n").expect("imports, then calls").1;
    assert!(here.contains(&words(program)), "this is not run:\n{program}");
    Ok(())
}

#[test]
fn every_key_stands_in_it() {
    let schema = serde_json::to_value(schemars::schema_for!(FlowConfig)).expect("JSON");
    let mut keys = BTreeSet::new();
    properties(&schema, &mut keys);
    assert!(keys.len() > 60, "{keys:?}");
    let told = |key: &&String| {
        // In a table, in an example, or inside a table's entry.
        [format!("`{key}`"), format!("{key}: "), format!("`{key}:")]
            .iter()
            .any(|form| PAGE.contains(form))
    };
    let missing: Vec<_> = keys.iter().filter(|key| !told(key)).collect();
    assert!(missing.is_empty(), "not a word about {missing:?}");
}

/// The names of all properties of a schema.
fn properties(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "properties"
                    && let Value::Object(named) = value
                {
                    keys.extend(named.keys().cloned());
                }
                properties(value, keys);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| properties(item, keys)),
        _ => (),
    }
}

/// Its links point to files in the same folder.
#[test]
fn its_links_lead_to_files() {
    for link in PAGE.split("](").skip(1) {
        let link = link.split(')').next().unwrap_or_default();
        let file = link.split('#').next().unwrap_or_default();
        assert!(file.is_empty() || std::path::Path::new("docs").join(file).is_file(), "{link}");
        if let Some(("", anchor)) = link.split_once('#') {
            let title = anchor.replace('-', " ");
            let there = PAGE.lines().any(|line| {
                line.strip_prefix("## ").is_some_and(|line| line.to_lowercase() == title)
            });
            assert!(there, "{link}");
        }
    }
}
