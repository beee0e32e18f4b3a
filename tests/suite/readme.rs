//! `README.md` keeps its word.

use std::fs;
use std::process::Command;

const README: &str = include_str!("../../README.md");

#[test]
fn its_scenario_is_one_and_a_mistake_in_it_is_shown_as_it_says() {
    let (_, rest) = README.split_once("```yaml\n").expect("it has an example");
    let (example, _) = rest.split_once("```").expect("which ends");
    let (_, rest) = README.split_once("\n    error: ").expect("it shows an error");
    let (error, _) = rest.split_once("\n\n").expect("which ends");
    let error: String = format!("    error: {error}")
        .lines()
        .flat_map(|line| [line.strip_prefix("    ").expect("it is indented"), "\n"])
        .collect();

    let folder = tempfile::tempdir().expect("there is room");
    let check = |text: &str| {
        fs::write(folder.path().join("search.yaml"), text).expect("there is room");
        Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .current_dir(&folder)
            .args(["check", "search.yaml"])
            .env("TOKEN", "of the example")
            .output()
            .expect("the binary was built")
    };
    let said = check(example);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let line = example.lines().find(|line| line.contains("load:")).expect("it has a load");
    let said = check(&example.replace(line, "    load: {concurency: 8, duration: 60s}"));
    assert_eq!(said.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&said.stderr).trim_end(), error.trim_end());
}

#[test]
fn its_links_lead_to_files() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for link in README.split("](").skip(1) {
        let path = link.split(')').next().unwrap_or_default();
        assert!(root.join(path).is_file(), "{path}");
    }
}
