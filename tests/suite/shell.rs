//! Around the command line: completions, pages, suites on stdin, and missing sides.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Runs the program in a folder with this stdin.
pub(crate) fn flowbench(stdin: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowbench"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut input = child.stdin.take().expect("it is piped");
    // A program that ends early does not read all of its stdin.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it writes text")
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = flowbench("", &["--help"], Path::new("."));
    let lines = text(&help.stdout).lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty());
    names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = TempDir::new().expect("a folder");
    let script = flowbench("", &["completions", "bash"], folder.path());
    assert!(script.status.success());
    std::fs::write(folder.path().join("flowbench.bash"), &script.stdout).expect("it is written");
    for (typed, expected) in [
        (&["ru"][..], "run"),
        (&["run", "--onl"], "--only"),
        (&["completions", "zs"], "zsh"),
        (&["post", "--proto"], "--protocol"),
    ] {
        let words = typed.join(" ");
        let last = typed.last().expect("a word");
        let count = typed.len();
        let complete = format!(
            "source ./flowbench.bash; COMP_WORDS=(flowbench {words}); COMP_CWORD={count}; \
             _flowbench flowbench {last} x; echo ${{COMPREPLY[@]}}"
        );
        let output = Command::new("bash")
            .args(["-c", &complete])
            .current_dir(folder.path())
            .output()
            .expect("bash is there");
        assert_eq!(text(&output.stderr), "", "{words}");
        assert_eq!(text(&output.stdout).trim(), expected, "{words}");
    }
}

#[test]
fn every_shell_has_completions_that_name_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = flowbench("", &["completions", shell], Path::new("."));
        assert!(script.status.success(), "{shell}");
        for command in commands() {
            assert!(text(&script.stdout).contains(&command), "{shell}: {command}");
        }
    }
}

#[test]
fn every_command_has_a_page_with_all_its_options() {
    let folder = TempDir::new().expect("a folder");
    for (form, end) in [("man", "1"), ("markdown", "md")] {
        let written = flowbench("", &["pages", form, form], folder.path());
        assert_eq!(text(&written.stderr), "");
        let page = |name: &str| {
            let path = folder.path().join(form).join(format!("{name}.{end}"));
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
        };
        let shown: Vec<String> =
            commands().into_iter().filter(|command| command != "help").collect();
        assert!(shown.len() > 15, "{shown:?}");
        assert!(page("flowbench").contains(&shown[0]));
        for command in shown {
            let help = flowbench("", &[&command, "--help"], Path::new("."));
            // Hyphens are escaped in manual pages.
            let page = page(&format!("flowbench-{command}")).replace('\\', "");
            let options = text(&help.stdout).lines().filter_map(|line| {
                let option = line.trim_start().strip_prefix("-")?;
                option.split([' ', ',', '=', '[']).find(|word| word.starts_with('-'))
            });
            for option in options {
                assert!(page.contains(option), "{form}: {command}: -{option}");
            }
        }
    }
    let entries = std::fs::read_dir(folder.path().join("man")).expect("the folder");
    assert_eq!(entries.count(), commands().len(), "nothing but pages");
}

#[test]
fn pages_are_not_written_into_what_is_no_folder() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("it is written");
    let output = flowbench("", &["pages", "man", "file"], folder.path());
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("`file`"), "{}", text(&output.stderr));
}

#[test]
fn a_suite_on_stdin_runs_and_its_mistakes_have_a_place() {
    let folder = TempDir::new().expect("a folder");
    let suite = "\
flows: {f: {embedded: {executors: [{name: e}]}}}
documents: {queries: {jsonl: queries.jsonl}}
scenarios: [{name: few, documents: queries, load: {clients: 1, requests: 3}}]
";
    std::fs::write(folder.path().join("queries.jsonl"), "{\"text\": \"a\"}\n").expect("written");
    let output = flowbench(suite, &["run", "-", "--out", "out"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(folder.path().join("out/report.json").exists());
    for command in ["check", "plan", "run"] {
        let bad = suite.replace("clients", "cleints");
        let output = flowbench(&bad, &[command, "-"], folder.path());
        assert_eq!(output.status.code(), Some(2), "{command}");
        let told = text(&output.stderr);
        assert!(told.contains("--> stdin:3:52"), "{command}: {told}");
    }
    let output = flowbench("\u{feff}", &["check", "-"], folder.path());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn options_of_other_load_testers_lead_to_the_suite() {
    let told = |arguments: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_flowbench")).args(arguments).output();
        let ran = ran.expect("it was built");
        assert_eq!(ran.status.code(), Some(2));
        text(&ran.stderr).to_owned()
    };
    for option in ["--rate", "--vus", "--duration"] {
        let said = told(&["run", "suite.yaml", option, "5"]);
        assert!(said.contains("belongs in the suite") && !said.contains("--gate'"), "{said}");
    }
    assert!(!told(&["post", "--rate", "5"]).contains("suite"), "it reads none");
}

#[test]
fn a_comparison_that_lacks_a_side_says_which_and_what_to_write() {
    for (arguments, message) in [
        (
            &["compare"][..],
            "error: `compare` needs two sides\n  = help: `flowbench compare before.json -- \
             after.json`\n",
        ),
        (
            &["compare", "a.json", "b.json"],
            "error: `compare` needs `--` before the results of the candidate\n  = help: \
             `flowbench compare a.json -- b.json`\n",
        ),
        (
            &["compare", "a.json"],
            "error: `compare` needs `--` and results of the candidate\n  = help: `flowbench \
             compare a.json -- after.json`\n",
        ),
        (
            &["compare", "--", "b.json"],
            "error: `compare` needs results of the base before `--`\n  = help: `flowbench \
             compare before.json -- after.json`\n",
        ),
    ] {
        let output = flowbench("", arguments, Path::new("."));
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stderr), message);
    }
}

#[test]
fn the_pages_of_the_site_are_those_of_the_program() {
    let folder = TempDir::new().expect("a folder");
    let written = flowbench("", &["pages", "markdown", "cli"], folder.path());
    assert!(written.status.success());
    let pages = |folder: &Path| -> std::collections::BTreeMap<String, String> {
        let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file"));
        files
            .map(|file| {
                let text = std::fs::read_to_string(file.path()).expect("it is text");
                (file.file_name().to_string_lossy().into_owned(), text)
            })
            .collect()
    };
    let kept = pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli"));
    let now = pages(&folder.path().join("cli"));
    assert!(kept == now, "write them again: flowbench pages markdown docs/cli");
}
