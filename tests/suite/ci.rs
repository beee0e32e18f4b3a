//! The jobs of docs/ci.md and the composite action: parsed as CI would, with their steps run as written in a
//! separate repository, with stand-ins for installers. `.ci/release` runs them with the real wheel.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flowbench::compare::Gate;
use serde_json::Value;
use tempfile::TempDir;

const PAGE: &str = include_str!("../../docs/ci.md");

/// Code blocks of the page in a language, by the word after the language.
fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("{kind}\n");
    let fence =
        if kind == "jenkins" { format!("```groovy {fence}") } else { format!("```yaml {fence}") };
    PAGE.split(&*fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn action() -> Value {
    yaml(include_str!("../../action.yml"))
}

/// The step of a workflow that uses our action, with its inputs.
fn ours(workflow: &Value) -> &Value {
    let steps = workflow["jobs"]["gate"]["steps"].as_array().expect("it has steps");
    let ours = |step: &&Value| {
        step["uses"].as_str().is_some_and(|uses| uses.starts_with("OWNER/flowbench@"))
    };
    steps.iter().find(ours).expect("it uses our action")
}

/// A repository like that of the page's readers: a Flow and a suite, on `main` and on a branch.
struct Repository(TempDir);

impl Repository {
    fn new() -> Repository {
        let place = Repository(tempfile::tempdir().expect("a folder for the test"));
        place.write("origin/perf/suite.yaml", blocks("suite")[0]);
        place.write("origin/flow.yml", "jtype: Flow\nwith: {port: 54321}\n");
        place.write("origin/requirements.txt", "jina\n");
        place.write("ours/.ci/gate", include_str!("../../.ci/gate"));
        for (name, branch) in [("origin", "main"), ("ours", "main")] {
            let script = format!(
                "cd {name} && git init -q -b {branch} && git add -A && \
                 git -c user.name=t -c user.email=t@example.org commit -qm first"
            );
            place.shell(&script, &[]).ok("git");
        }
        // Stand-ins record how they were called. `pip install flowbench` installs stand-ins too, of which
        // flowbench also creates the files it was asked for.
        let say = "echo \"$(basename \"$0\") $*\" >>\"$CALLS\"\n";
        place.program(
            "stand-ins/flowbench",
            &format!(
                "{say}while [ $# -gt 0 ]; do case $1 in -o) echo \"told by $0\" >\"$2\" ;; \
                 --out) mkdir -p \"$2\" && echo '{{}}' >\"$2/noise.json\" ;; esac; shift; done\n"
            ),
        );
        let ours = place.path("stand-ins/flowbench").display().to_string();
        let programs = place.path("programs").display().to_string();
        place.program(
            "programs/pip",
            &format!("{say}case \"$*\" in *jina-flowbench*) cp {ours} {programs} ;; esac\n"),
        );
        place.program(
            "programs/python3",
            &format!(
                "{say}while [ $# -gt 0 ]; do case $1 in --target) mkdir -p \"$2/bin\" && cp {ours} \"$2/bin\" ;; \
                 venv) mkdir -p .venv/bin && echo 'VENV=1' >.venv/bin/activate ;; esac; shift; done\n"
            ),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder"))
            .expect("there is room");
        std::fs::write(path, text).expect("there is room");
    }

    fn program(&self, name: &str, script: &str) {
        self.write(name, &format!("#!/usr/bin/env bash\nset -eu\n{script}"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path(name), mode).expect("it is ours");
    }

    fn shell(&self, script: &str, settings: &[(&str, &str)]) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut path = format!("{}:{path}", self.path("programs").display());
        // Folders that earlier steps added to the path.
        for added in std::fs::read_to_string(self.path("path.txt")).unwrap_or_default().lines() {
            path = format!("{added}:{path}");
        }
        Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", script])
            .current_dir(self.0.path())
            .env("PATH", path)
            .env("GITHUB_PATH", self.path("path.txt"))
            .env("RUNNER_TEMP", self.path("temp"))
            .env("CALLS", self.path("calls.txt"))
            .envs(settings.iter().copied())
            .output()
            .expect("there is a shell")
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.path("calls.txt")).unwrap_or_default()
    }
}

trait Succeeds {
    fn ok(&self, what: &str);
}

impl Succeeds for Output {
    #[track_caller]
    fn ok(&self, what: &str) {
        let said = String::from_utf8_lossy(&self.stderr);
        assert!(self.status.success(), "{what}: {:?}\n{said}", self.status);
    }
}

#[test]
fn the_jobs_of_the_documentation_are_ones_that_ci_reads() {
    let action = action();
    let inputs = action["inputs"].as_object().expect("it has inputs");
    assert_eq!(action["runs"]["using"], "composite");
    for step in action["runs"]["steps"].as_array().expect("it has steps") {
        assert!(step["run"].is_string() && step["shell"] == "bash", "{step}");
    }
    let workflows = blocks("github");
    assert_eq!(workflows.len(), 2);
    for workflow in workflows {
        let workflow = yaml(workflow);
        assert!(!workflow["on"].is_null(), "{workflow}");
        let given = ours(&workflow)["with"].as_object().expect("it is told what to do");
        for name in given.keys() {
            assert!(inputs.contains_key(name), "the action has no input `{name}`");
        }
        for (name, input) in inputs {
            let required = input["required"] == true;
            assert!(!required || given.contains_key(name), "`{name}` is required");
        }
        for gate in given["gates"].as_str().expect("it has gates").lines() {
            gate.parse::<Gate>().unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let place = Repository::new();
    let flowbench = env!("CARGO_BIN_EXE_flowbench");
    let ran = place.shell(&format!("cd origin && {flowbench} check perf/suite.yaml"), &[]);
    ran.ok("check");
}

/// Runs the steps of a workflow like its runner would, in a fresh checkout.
fn github(place: &Repository, workflow: &Value) {
    place.shell("rm -rf work && git clone -q origin work", &[]).ok("checkout");
    let steps = workflow["jobs"]["gate"]["steps"].as_array().expect("it has steps");
    let summary = place.path("summary.md").display().to_string();
    let ours = place.path("ours").display().to_string();
    for step in steps {
        let uses = step["uses"].as_str().unwrap_or_default();
        if uses.starts_with("actions/checkout@") && step["with"]["path"] == "base" {
            place.shell("git clone -q origin work/base", &[]).ok("checkout of the base");
        } else if let Some(run) = step["run"].as_str() {
            place.shell(&format!("cd work\n{run}"), &[]).ok(run);
        } else if uses.starts_with("OWNER/flowbench@") {
            let action = action();
            for inner in action["runs"]["steps"].as_array().expect("it has steps") {
                let mut settings = vec![
                    ("GITHUB_ACTION_PATH".to_owned(), ours.clone()),
                    ("GITHUB_STEP_SUMMARY".to_owned(), summary.clone()),
                ];
                for (name, value) in inner["env"].as_object().into_iter().flatten() {
                    // Only `${{ inputs.NAME }}` is used.
                    let input = value.as_str().expect("it is text");
                    let input =
                        input.strip_prefix("${{ inputs.").and_then(|i| i.strip_suffix(" }}"));
                    let input = input.expect("it is an input");
                    let given = step["with"].get(input);
                    let value = given.unwrap_or(&action["inputs"][input]["default"]);
                    settings.push((name.clone(), value.as_str().unwrap_or_default().to_owned()));
                }
                let settings: Vec<(&str, &str)> =
                    settings.iter().map(|(name, value)| (&**name, &**value)).collect();
                let run = inner["run"].as_str().expect("it runs something");
                place.shell(&format!("cd work\n{run}"), &settings).ok(run);
            }
        }
    }
}

#[test]
fn the_github_workflow_with_both_versions_works_as_written() {
    let place = Repository::new();
    github(&place, &yaml(blocks("github")[0]));
    let calls = place.calls().replace(&place.path("temp").display().to_string(), "TEMP");
    assert_eq!(
        calls,
        "pip install -r requirements.txt\n\
         python3 -m pip install --quiet --disable-pip-version-check --target TEMP/flowbench \
         jina-flowbench==0.2.0\n\
         flowbench gate perf/suite.yaml --base-flow base --candidate-flow candidate --runs 10 \
         --out flowbench-results/runs --inconclusive warn --gate p99 +10% +2ms --gate throughput -5% \
         --gate error_rate +0.1% --budget 15m -o flowbench-results/gate.md -o \
         flowbench-results/gate.xml -o flowbench-results/gate.html -o flowbench-results/gate.json\n"
    );
    // Both Flows of the suite are where the job should put them.
    assert!(place.path("work/base/flow.yml").is_file() && place.path("work/flow.yml").is_file());
    assert!(place.path("work/flowbench-results/gate.html").is_file());
    let summary = std::fs::read_to_string(place.path("summary.md")).expect("it has a summary");
    assert!(summary.contains("told by"), "{summary}");
}

#[test]
fn the_github_workflow_with_a_baseline_makes_one_and_compares_with_it() {
    let place = Repository::new();
    let workflow = yaml(blocks("github")[1]);
    github(&place, &workflow);
    let installed = format!(
        "python3 -m pip install --quiet --disable-pip-version-check --target {}/flowbench jina-flowbench\n",
        place.path("temp").display()
    );
    let first = format!(
        "{installed}flowbench noise perf/suite.yaml --runs 10 --out flowbench-baseline --inconclusive \
         fail\n"
    );
    assert_eq!(place.calls(), first);
    let summary = std::fs::read_to_string(place.path("summary.md")).expect("it has a summary");
    assert_eq!(summary, "There was no baseline: `flowbench-baseline` is one now.\n");
    // The next job finds the baseline in the cache.
    let steps = workflow["jobs"]["gate"]["steps"].as_array().expect("it has steps");
    for step in ["restore", "save"] {
        let uses = format!("actions/cache/{step}@v4");
        let step = steps.iter().find(|s| s["uses"] == uses.as_str()).expect("it uses the cache");
        assert_eq!(step["with"]["path"], "flowbench-baseline");
    }
    place.shell("mv work/flowbench-baseline origin/", &[]).ok("cache");
    let keep = "cd origin && git add -A && git -c user.name=t -c user.email=t@e.org commit -qm b";
    place.shell(keep, &[]).ok("cache");
    github(&place, &workflow);
    let calls = place.calls();
    assert_eq!(
        calls.strip_prefix(&first),
        Some(
            "flowbench noise perf/suite.yaml --runs 10 --out flowbench-results/runs\n\
             flowbench compare --inconclusive fail --gate p99 +10% +2ms --gate throughput -5% -o \
             flowbench-results/gate.md -o flowbench-results/gate.xml -o flowbench-results/gate.html -o \
             flowbench-results/gate.json flowbench-baseline -- flowbench-results/runs\n"
        )
    );
}

/// Runs a job twice in the same checkout, like runners that keep their folders.
fn twice(script: &str, settings: &[(&str, &str)]) {
    let place = Repository::new();
    place.shell("git clone -q origin work", &[]).ok("checkout");
    for _ in 0..2 {
        place.shell(&format!("cd work\n{script}"), settings).ok("the job");
        assert!(place.path("work/base/flow.yml").is_file());
        assert!(place.path("work/flowbench-results/gate.xml").is_file());
        assert!(place.path("work/flowbench-results/gate.html").is_file());
        // Runners do this before the next job.
        place.shell("cd work && git clean -ffdxq", &[]).ok("clean");
    }
    let calls = place.calls();
    for said in [
        "pip install --quiet jina-flowbench==0.2.0 -r requirements.txt\n",
        "flowbench gate perf/suite.yaml --base-flow base --candidate-flow candidate --budget 15m --gate \
         p99 +10% +2ms --gate throughput -5% ",
        " --out flowbench-results/runs -o flowbench-results/gate.html -o flowbench-results/gate.xml\n",
    ] {
        assert!(calls.contains(said), "`{said}` is not in:\n{calls}");
    }
}

#[test]
fn the_gitlab_job_works_as_written_and_twice_in_the_same_folder() {
    let page = yaml(blocks("gitlab")[0]);
    let job = &page["performance"];
    assert_eq!(job["artifacts"]["reports"]["junit"], "flowbench-results/gate.xml");
    let steps = |key: &str| -> Vec<String> {
        let steps = job[key].as_array().expect("it has steps").iter();
        steps.map(|step| step.as_str().expect("it is a command").to_owned()).collect()
    };
    // One shell for both, as in GitLab.
    let script = [steps("before_script"), steps("script")].concat().join("\n");
    twice(&script, &[("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main")]);
}

#[test]
fn the_jenkins_pipeline_works_as_written() {
    let pipeline = blocks("jenkins")[0];
    let script = pipeline.split("'''").nth(1).expect("it has a script");
    twice(script, &[("CHANGE_TARGET", "main")]);
}

#[test]
fn the_azure_pipeline_works_as_written() {
    let pipeline = yaml(blocks("azure")[0]);
    let steps = pipeline["steps"].as_array().expect("it has steps");
    let scripts: Vec<&str> = steps.iter().filter_map(|step| step["script"].as_str()).collect();
    assert_eq!(scripts.len(), 2);
    twice(&scripts.join("\n"), &[("SYSTEM_PULLREQUEST_TARGETBRANCHNAME", "main")]);
}

#[test]
fn the_hooks_for_pre_commit_check_suites() {
    let ours = yaml(include_str!("../../.pre-commit-hooks.yaml"));
    let page = yaml(blocks("pre-commit")[0]);
    for hook in [&ours[0], &page["repos"][0]["hooks"][0]] {
        assert_eq!(hook["id"], "flowbench-check");
        assert_eq!(hook["entry"], "flowbench check");
    }
}

const SUITE: &str = "
flows:
  base: {embedded: {executors: [{name: e, service_time: 2ms}]}}
  slow: {embedded: {executors: [{name: e, service_time: 40ms}]}}
scenarios:
  - {name: search, flow: base, documents: {text: hello}, request_size: 1, load: {rate: 20/s, duration: 1s}}
";

#[test]
fn the_script_of_the_jobs_makes_a_baseline_and_judges_in_turns() {
    let place = tempfile::tempdir().expect("a folder for the test");
    let at = |name: &str| place.path().join(name);
    let read = |name: &str| std::fs::read_to_string(at(name)).expect("it was written");
    std::fs::write(at("suite.yaml"), SUITE).expect("there is room");
    let binary = Path::new(env!("CARGO_BIN_EXE_flowbench"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binary.parent().expect("it is in a folder").display());
    let gate = |settings: &[(&str, &str)]| {
        Command::new("bash")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/gate"))
            .current_dir(place.path())
            .env("PATH", &path)
            .env("SUITE", "suite.yaml")
            .env("GITHUB_STEP_SUMMARY", at("summary.md"))
            .envs(settings.iter().copied())
            .output()
            .expect("there is a shell")
    };
    let turns = [
        ("BASE_FLOW", "base"),
        ("CANDIDATE_FLOW", "slow"),
        ("GATES", "p50 +100%\n\nerror_rate +50%\n"),
        ("RUNS", "4"),
    ];
    let ran = gate(&turns);
    // If this machine is too busy for valid runs, that is not the script's fault.
    if ran.status.code() != Some(4) {
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(read("summary.md").contains("regressed"));
        assert!(read("flowbench-results/gate.xml").contains("<failure"));
    }
    let missing = gate(&[("BASE_FLOW", "base")]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("the Flow to judge"));
    let stored =
        [("BASELINE", "stored"), ("RUNS", "5"), ("GATES", "p50 +10s"), ("OUT", "of-stored")];
    let ran = gate(&stored);
    if ran.status.success() {
        assert!(at("stored/noise.json").is_file());
        assert!(read("summary.md").contains("There was no baseline"));
        let ran = gate(&stored);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(matches!(ran.status.code(), Some(0 | 4)), "{said}");
    }
}
