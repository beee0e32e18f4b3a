//! `flowbench deploy`.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Map, json};

use super::exit::Exit;
use super::meet::{self, MeetWord};
use super::print;
use super::problem::Problem;
use super::suite::{Changes, cache};
use super::values::timestamp;
use crate::plan::Plan;
use crate::scenario::LoadedSuite;
use crate::source::to_yaml;
use crate::text;
use crate::units::{ByteSize, Part};

/// Prints what an engine needs to send a load in parts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench deploy kubernetes suite.yaml --parts 8 | kubectl apply -f -
  flowbench deploy slurm suite.yaml --parts 8 > load.sh; sbatch load.sh

For Kubernetes, the suite and its data sets go into a ConfigMap, which holds 1 MiB: larger ones have to be in the \
image or on a volume. The first pod prints the result of the whole.")]
pub(super) struct Args {
    /// The engine
    #[arg(value_enum)]
    engine: Engine,
    /// The suite: a YAML file
    file: PathBuf,
    /// How many parts send it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=Part::MAX))]
    parts: u64,
    /// Begin at this time, and not as soon as all are there
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    at: Option<Timestamp>,
    /// Where the parts meet, if not at the first host or pod
    #[arg(long, value_name = "HOST:PORT", default_value = "auto", value_parser = MeetWord::from_str)]
    meet: MeetWord,
    /// The image of flowbench, for Kubernetes
    #[arg(long, value_name = "IMAGE", default_value = concat!("flowbench:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// Processors of each part
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    cpus: u16,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    /// An Indexed Job with its ConfigMap
    Kubernetes,
    /// A batch script
    Slurm,
}

/// The most bytes in a ConfigMap: Kubernetes' limit of 1 MiB minus room for the rest of the object.
const CONFIG_MAP_BYTES_MAX: u64 = 1_000_000;

pub(super) fn main(args: Args) -> Exit {
    tell(&args).map_or_else(|problem| problem.print(), |()| Exit::Passed)
}

fn tell(args: &Args) -> Result<(), Problem> {
    if args.file == Path::new("-") {
        return Err(Problem::usage(
            "a suite from stdin is no file that the parts could read\n  = help: write it to a file, and name that",
        ));
    }
    let (suite, plan) = args.changes.suite(&args.file)?;
    plan.check_parts(&suite, args.parts, |_| true).map_err(|problems| Problem::from(&problems))?;
    print::text_out(match args.engine {
        Engine::Kubernetes => kubernetes(args, &suite, &plan),
        Engine::Slurm => slurm(args, &plan),
    })
}

/// A text for a comment, which ends with its line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || "\u{2028}\u{2029}".contains(c) { ' ' } else { c })
        .collect()
}

/// A valid Kubernetes name: letters, digits and hyphens, here at most 40.
fn name_of(plan: &Plan) -> String {
    let name = plan.secrets.mask(&plan.name).to_lowercase();
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(safe).take(40).collect();
    match name.trim_matches('-') {
        "" => "load".into(),
        name => name.into(),
    }
}

/// The options of each part after the suite, one per word.
fn words(args: &Args) -> Vec<String> {
    let sets = args.changes.sets();
    let sets = sets.flat_map(|(key, value)| ["--set".into(), format!("{key}={value}")]);
    let meets = ["--part".into(), "auto".into(), "--meet".into(), args.meet.to_string()];
    let at = args.at.iter().flat_map(|at| ["--at".into(), at.to_string()]);
    sets.chain(meets).chain(at).collect()
}

/// A file of a suite, by the suite's folder.
struct Below {
    /// How many folders above it begins.
    up: usize,
    /// Where it is from there.
    path: PathBuf,
}

/// Where a file is by the folder of its suite, if it is named from there.
fn below(path: &Path, base: &Path) -> Option<Below> {
    let mut found = Below { up: 0, path: PathBuf::new() };
    for component in path.strip_prefix(base).ok()?.components() {
        match component {
            Component::Normal(name) => found.path.push(name),
            Component::CurDir => (),
            Component::ParentDir if !found.path.pop() => found.up += 1,
            Component::ParentDir => (),
            // It has a place of its own.
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(found)
}

/// The last so many folders of a path, which may be named in any way.
fn last_folders(base: &Path, count: usize) -> Option<PathBuf> {
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    let whole = base.canonicalize().ok()?;
    let names: Vec<_> = whole.iter().skip(1).collect();
    let from = names.len().checked_sub(count)?;
    Some(names[from..].iter().collect())
}

fn kubernetes(args: &Args, suite: &LoadedSuite, plan: &Plan) -> String {
    let name = format!("flowbench-{}", name_of(plan));
    let base = args.file.parent().unwrap_or(Path::new(""));
    let (mut data, mut items, mut elsewhere) = (Map::new(), Vec::new(), Vec::new());
    let mut room = CONFIG_MAP_BYTES_MAX;
    // Each part downloads these files itself.
    let cache = cache();
    let files = plan.files_read(suite).into_iter().filter(|path| !path.starts_with(&cache));
    let files = files.map(|path| {
        let below = below(&path, base);
        (path, below)
    });
    let files: Vec<(PathBuf, Option<Below>)> = files.collect();
    // A path of the volume has no `..`, so the suite is as deep in it as its files want it to be.
    let depth = files.iter().filter_map(|(_, below)| below.as_ref()).map(|below| below.up).max();
    let folder = last_folders(base, depth.unwrap_or(0)).unwrap_or_default();
    for (path, below) in files {
        let place = below.and_then(|Below { up, path }| {
            let kept = folder.iter().count().checked_sub(up)?;
            Some(folder.iter().take(kept).collect::<PathBuf>().join(path))
        });
        let place = place.as_deref().and_then(Path::to_str);
        let text = text::read(&path, room).ok();
        let (Some(place), Some(text)) = (place, text) else {
            elsewhere.push(path);
            continue;
        };
        room -= text.len() as u64;
        // Keys of a ConfigMap cannot contain folders; the volume restores them.
        let key = format!("file-{}", data.len());
        items.push(json!({"key": key, "path": place}));
        data.insert(key, text.into());
    }
    let file = args.file.file_name().and_then(|name| name.to_str()).unwrap_or("suite.yaml");
    let mut command = vec!["run".to_owned(), file.to_owned()];
    command.extend(words(args));
    command.extend(["--json", "--quiet", "--out", "/results"].map(str::to_owned));
    let labels = json!({"app.kubernetes.io/name": "flowbench", "app.kubernetes.io/instance": name});
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": data,
    });
    // Publishes a name for each pod before it is ready, because it only becomes ready after meeting the others.
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": labels,
            "ports": [{"name": "meet", "port": meet::PORT}],
        },
    });
    let mut container = json!({
        "name": "flowbench",
        "image": args.image,
        "args": command,
        "workingDir": Path::new("/suite").components().chain(folder.components()).collect::<PathBuf>(),
        "env": [
            {"name": "FLOWBENCH_PARTS", "value": args.parts.to_string()},
            {
                "name": meet::TOKEN,
                "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}},
            },
        ],
        "resources": {
            "requests": {"cpu": args.cpus.to_string(), "memory": "1Gi"},
            "limits": {"memory": "4Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "suite", "mountPath": "/suite", "readOnly": true},
            {"name": "results", "mountPath": "/results"},
        ],
    });
    let variables = format!("{name}-env");
    let env_files: Vec<String> =
        args.changes.env_files().map(|file| quoted(&file.display().to_string())).collect();
    if !env_files.is_empty() {
        container["envFrom"] = json!([{"secretRef": {"name": variables}}]);
    }
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": args.parts,
            "parallelism": args.parts,
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "flowbench", "operator": "NotIn", "values": [0]},
                },
            ]},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "subdomain": name,
                    "automountServiceAccountToken": false,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": labels},
                    }],
                    "containers": [container],
                    "volumes": [
                        {"name": "suite", "configMap": {"name": name, "items": items}},
                        {"name": "results", "emptyDir": {}},
                    ],
                },
            },
        },
    });
    let mut head = format!(
        "# {} parts of {}, which begin together once all pods are there. Their secret, before it is applied:\n\
         #   kubectl create secret generic {name} --from-literal=token=$(openssl rand -hex 16)\n\
         # A pod that is replaced would send its part twice, so the first that fails ends the Job.\n",
        args.parts,
        one_line(&plan.secrets.mask(&plan.name)),
    );
    if !env_files.is_empty() {
        let files: String =
            env_files.iter().map(|file| format!(" --from-env-file={}", one_line(file))).collect();
        head.push_str(&format!(
            "# And the variables of --env-file, of which nothing is printed here:\n\
             #   kubectl create secret generic {variables}{files}\n"
        ));
    }
    for path in elsewhere {
        let size = path.metadata().map_or(String::new(), |file| {
            format!(" ({})", ByteSize::new(file.len()).approximate())
        });
        head.push_str(&format!(
            "# {}{size} is not in the ConfigMap, because it is no text, too large or has a place of its own: put it \
             there by the image or a volume.\n",
            one_line(&path.display().to_string())
        ));
    }
    let [config, service, job] = [config, service, job].map(|object| to_yaml(&object));
    format!("{head}{config}---\n{service}---\n{job}")
}

fn slurm(args: &Args, plan: &Plan) -> String {
    let name = name_of(plan);
    let words: String = words(args).iter().map(|word| format!(" {}", quoted(word))).collect();
    let file = quoted(&args.file.display().to_string());
    let env_files = args.changes.env_files();
    let env_files =
        env_files.map(|file| format!(" --env-file {}", quoted(&file.display().to_string())));
    let words = format!("{}{words}", env_files.collect::<String>());
    let Args { parts, cpus, .. } = args;
    format!(
        "#!/bin/bash\n\
         #SBATCH --job-name=flowbench-{name}\n\
         #SBATCH --ntasks={parts}\n\
         #SBATCH --ntasks-per-node=1\n\
         #SBATCH --cpus-per-task={cpus}\n\
         #SBATCH --output=flowbench-{name}-%j.log\n\
         set -euo pipefail\n\
         # Part 1 is on the first node. It waits for the others, has all begin together, and writes the report.\n\
         {TOKEN}=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')\n\
         export {TOKEN}\n\
         srun --cpus-per-task={cpus} --kill-on-bad-exit=0 flowbench run {file}{words} --quiet \
         --out \"flowbench-{name}-$SLURM_JOB_ID\"\n",
        TOKEN = meet::TOKEN,
    )
}

/// A word quoted for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
