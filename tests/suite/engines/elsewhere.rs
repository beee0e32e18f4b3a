//! Parts as Ray tasks, and as jobs of a GitHub workflow: runs the files in `deploy/`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{FLOWBENCH, are_there, path};
use crate::interop::python::{manifests, ray};
use crate::parts::{Place, report, text};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// Ray in its own network namespace: it listens on many ports.
#[test]
fn ray_sends_the_parts_as_tasks() {
    if !are_there(&["unshare", "ip"], "RAY") {
        return;
    }
    let Some(python) = ray() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let suite = "name: load\nseed: 7\nflows: {f: {host: 'grpc://127.0.0.1:7001'}}\nscenarios:\n  - {name: s, \
                 flow: f, request_size: 1, load: {rate: 100/s, arrivals: poisson, duration: 2s}}\n";
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("written");
    let script = format!(
        "ip link set lo up\n\
         {FLOWBENCH} serve --protocol grpc --port 7001 > serve.txt & flow=$!\n\
         ray start --head --node-ip-address 127.0.0.1 --num-cpus 8 --include-dashboard=false \
         --disable-usage-stats > ray.txt 2>&1\n\
         RAY_ADDRESS=127.0.0.1:6379 python {} suite.yaml 4; code=$?\n\
         ray stop --force > stop.txt 2>&1\n\
         kill $flow\n\
         exit $code\n",
        deploy("ray_load.py").display()
    );
    let tools = python.parent().expect("it is in a folder");
    let all = path();
    let all = [tools.to_owned()].into_iter().chain(std::env::split_paths(&all));
    let ran = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", &script])
        .env("PATH", std::env::join_paths(all).expect("a path"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("it is there");
    let told = text(&ran.stderr);
    if told.starts_with("unshare: ") {
        return super::skipped("RAY", told.trim());
    }
    assert_eq!(ran.status.code(), Some(0), "{told}{}", text(&ran.stdout));
    let whole = report(&folder.path().join("results"));
    assert_eq!(whole["parts"].as_array().map(Vec::len), Some(4));
    let scenario = &whole["scenarios"][0];
    assert!((0..4).all(|part| scenario["parts"][part]["state"] == "complete"), "{scenario:#}");
    assert_eq!(scenario["requests"]["ok"], scenario["requests"]["arrivals"]);
}

fn steps<'a>(workflow: &'a Value, job: &str) -> impl Iterator<Item = &'a Value> {
    workflow["jobs"][job]["steps"].as_array().expect("it has steps").iter()
}

/// The scripts of a job's steps, except those that install something: that is installed here.
fn scripts(workflow: &Value, job: &str) -> Vec<String> {
    let scripts = steps(workflow, job).filter_map(|step| step["run"].as_str());
    scripts.filter(|script| *script != "pip install flowbench").map(str::to_owned).collect()
}

/// The folder that a job uploads as its artifact.
fn uploaded<'a>(workflow: &'a Value, job: &str) -> &'a str {
    let upload = |step: &&Value| {
        step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/upload-artifact@"))
    };
    let upload = steps(workflow, job).find(upload).expect("it keeps something");
    upload["with"]["path"].as_str().expect("a path")
}

fn shell(script: &str, folder: &Path) -> Child {
    std::fs::create_dir_all(folder).expect("a folder");
    Command::new("bash")
        .args(["-e", "-c", script])
        .env("PATH", path())
        .env("GITHUB_OUTPUT", folder.join("output.txt"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash is there")
}

fn ended(script: Child) {
    let output = script.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn the_github_workflow_is_one_and_its_steps_send_and_merge_the_parts() {
    let file = deploy("github.yml");
    let workflow = std::fs::read_to_string(&file).expect("it is there");
    let workflow: Value = serde_yaml::from_str(&workflow).expect("YAML");
    let place = Place::new("load: {rate: 100/s, arrivals: poisson, duration: 2s}");
    // A test should not wait three minutes.
    let [soon] = &scripts(&workflow, "time")[..] else { panic!("one script") };
    assert!(soon.contains("'+3 minutes'"), "{soon}");
    ended(shell(&soon.replace("+3 minutes", "+9 seconds"), &place.path("time")));
    let output = std::fs::read_to_string(place.path("time/output.txt")).expect("it told something");
    let at = output.trim().strip_prefix("at=").expect("when all begin");
    let parts = workflow["jobs"]["part"]["strategy"]["matrix"]["part"].as_array().expect("parts");
    let runners = parts.iter().map(|part| {
        let folder = place.path(&format!("runner-{part}"));
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::copy(place.path("suite.yaml"), folder.join("suite.yaml")).expect("copied");
        let script = scripts(&workflow, "part").join("\n");
        let script = script.replace("${{ matrix.part }}", &part.to_string());
        let script = script.replace("${{ needs.time.outputs.at }}", at);
        assert!(!script.contains("${{"), "{script}");
        (folder.clone(), shell(&script, &folder))
    });
    let runners: Vec<(PathBuf, Child)> = runners.collect();
    let kept = uploaded(&workflow, "part");
    let download =
        steps(&workflow, "merge").find_map(|step| step["with"]["merge-multiple"].as_bool());
    assert_eq!(download, Some(true), "what the parts kept comes into one folder");
    let last = place.path("last");
    std::fs::create_dir_all(last.join("results")).expect("a folder");
    for (folder, runner) in runners {
        ended(runner);
        let copy = format!("cp -r {}/{kept}. results", folder.display());
        ended(shell(&copy, &last));
    }
    ended(shell(&scripts(&workflow, "merge").join("\n"), &last));
    let whole = report(&last.join(uploaded(&workflow, "merge")));
    assert_eq!(whole["parts"].as_array().map(Vec::len), Some(4));
    let scenario = &whole["scenarios"][0];
    assert!((0..4).all(|part| scenario["parts"][part]["state"] == "complete"), "{scenario:#}");
    assert_eq!(scenario["requests"]["ok"], scenario["requests"]["arrivals"]);

    let Some(python) = manifests() else { return };
    let checked = Command::new(python)
        .args(["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"])
        .arg(file)
        .output()
        .expect("it is there");
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
}
