//! What `deploy` prints for suites that are not as simple as the example.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{FLOWBENCH, flowbench, text};

const SCENARIO: &str =
    "scenarios: [{name: s, flow: f, request_size: 1, load: {rate: 9/s, duration: 1s}, documents: ";

/// The objects that were printed.
fn objects(printed: &str) -> Vec<Value> {
    printed.split("---\n").map(|text| serde_yaml::from_str(text).expect("YAML")).collect()
}

fn container(objects: &[Value]) -> &Value {
    &objects[2]["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn a_name_with_line_breaks_adds_nothing_to_what_is_applied() {
    let folder = TempDir::new().expect("a folder");
    let evil = "x\\n---\\napiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: evil}\\u2028---";
    let data = "data\nkind: Secret\n---\n.jsonl";
    let lines =
        "{\"text\": \"a line that is long enough for a ConfigMap to be full\"}\n".repeat(20_000);
    std::fs::write(folder.path().join(data), lines).expect("written");
    let suite = format!(
        "name: \"{evil}\"\nflows: {{f: {{host: 'grpc://flow:1'}}}}\n{SCENARIO}{{jsonl: \"data\\nkind: \
         Secret\\n---\\n.jsonl\", repeat: true}}}}]\n"
    );
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("written");
    let printed = flowbench(&["deploy", "kubernetes", "suite.yaml", "--parts", "2"], folder.path());
    let lines: Vec<&str> = printed.lines().collect();
    let head = lines.iter().take_while(|line| line.starts_with('#')).count();
    assert!(head >= 4, "the file that is too large is named: {printed}");
    assert_eq!(lines.iter().filter(|line| **line == "---").count(), 2);
    assert!(lines[head..].iter().all(|line| !line.starts_with('#')), "comments are at the start");
    let kinds: Vec<Value> = objects(&printed).iter().map(|object| object["kind"].clone()).collect();
    assert_eq!(kinds, ["ConfigMap", "Service", "Job"]);
    let script = flowbench(&["deploy", "slurm", "suite.yaml", "--parts", "2"], folder.path());
    assert!(!script.contains("evil\n") && !script.contains("kind: ConfigMap\n"), "{script}");
}

#[test]
fn files_above_the_suite_have_their_places_in_the_volume() {
    let folder = TempDir::new().expect("a folder");
    let suites = folder.path().join("tests/load");
    std::fs::create_dir_all(&suites).expect("folders");
    std::fs::write(folder.path().join("queries.jsonl"), "{\"text\": \"a\"}\n").expect("written");
    let suite = format!(
        "flows: {{f: {{host: 'grpc://flow:1'}}}}\n{SCENARIO}{{jsonl: ../../queries.jsonl, repeat: true}}}}]\n"
    );
    std::fs::write(suites.join("suite.yaml"), suite).expect("written");
    for (from, file) in [("", "tests/load/suite.yaml"), ("tests/load", "suite.yaml")] {
        let from = folder.path().join(from);
        let printed = flowbench(&["deploy", "kubernetes", file, "--parts", "2"], &from);
        let objects = objects(&printed);
        let volume = TempDir::new().expect("a folder");
        let items = &objects[2]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["items"];
        for item in items.as_array().expect("items") {
            let path = item["path"].as_str().expect("a path");
            assert!(!path.contains("..") && !path.starts_with('/'), "{path}");
            let data = objects[0]["data"][item["key"].as_str().expect("a key")].as_str();
            let path = volume.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::fs::write(path, data.expect("a text")).expect("written");
        }
        // It is a suite where each pod looks for it.
        let inside = container(&objects)["workingDir"].as_str().expect("a folder");
        assert_eq!(inside, "/suite/tests/load");
        let inside = Path::new(inside).strip_prefix("/suite").expect("below it");
        flowbench(&["check", "suite.yaml"], &volume.path().join(inside));
        assert!(!printed.contains("is not in the ConfigMap"), "{printed}");
    }
}

#[test]
fn variables_of_files_reach_the_parts_and_are_printed_nowhere() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("load.env"), "FLOW_OF_LOAD=grpc://secret-host:1\n")
        .expect("written");
    let suite = format!(
        "name: load\nflows: {{f: {{host: '${{{{ env.FLOW_OF_LOAD }}}}'}}}}\n{SCENARIO}{{text: a}}}}]\n"
    );
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("written");
    let deploy = |engine: &str| {
        let arguments = ["deploy", engine, "suite.yaml", "--parts", "2", "--env-file", "load.env"];
        flowbench(&arguments, folder.path())
    };
    let printed = deploy("kubernetes");
    let secret = "flowbench-load-env";
    let command = format!("kubectl create secret generic {secret} --from-env-file=load.env\n");
    assert!(printed.contains(&command), "{printed}");
    let objects = objects(&printed);
    let from = &container(&objects)["envFrom"];
    assert_eq!(*from, serde_json::json!([{"secretRef": {"name": secret}}]));
    assert!(!printed.contains("secret-host"), "{printed}");
    assert!(deploy("slurm").contains(" --env-file load.env "), "{}", deploy("slurm"));
}

#[test]
fn a_suite_that_parts_could_not_read_is_refused() {
    for engine in ["kubernetes", "slurm"] {
        let output = Command::new(FLOWBENCH)
            .args(["deploy", engine, "-", "--parts", "2"])
            .stdin(Stdio::null())
            .output()
            .expect("the binary was built");
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(told.contains("a suite from stdin is no file that the parts could read"), "{told}");
    }
}
