//! `flowbench deploy`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use jiff::{Timestamp, ToSpan as _, Unit};
use serde_json::{Map, json};

use super::exit::Exit;
use super::print;
use super::problem::Problem;
use super::suite::Changes;
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
image or on a volume. Each pod prints what it measured; docs/distributed.md says how to merge that.")]
pub(super) struct Args {
    /// The engine
    #[arg(value_enum)]
    engine: Engine,
    /// The suite: a YAML file
    file: PathBuf,
    /// How many parts send it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=Part::MAX))]
    parts: u64,
    /// When all begin [default: for Kubernetes, in 3 minutes; for Slurm, 30 s after its tasks are there]
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    at: Option<Timestamp>,
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

/// What a ConfigMap holds, less than Kubernetes' limit of 1 MiB by what surrounds it.
const CONFIG_MAP_BYTES_MAX: u64 = 1_000_000;

pub(super) fn main(args: Args) -> Exit {
    tell(&args).map_or_else(|problem| problem.print(), |()| Exit::Passed)
}

fn tell(args: &Args) -> Result<(), Problem> {
    let (suite, plan) = args.changes.suite(&args.file)?;
    plan.check_parts(&suite, args.parts, |_| true).map_err(|problems| Problem::from(&problems))?;
    print::text_out(match args.engine {
        Engine::Kubernetes => kubernetes(args, &suite, &plan)?,
        Engine::Slurm => slurm(args, &plan),
    })
}

/// A name as Kubernetes wants it: letters, digits and hyphens, at most 40 here.
fn name_of(plan: &Plan) -> String {
    let name = plan.secrets.mask(&plan.name).to_lowercase();
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(safe).take(40).collect();
    match name.trim_matches('-') {
        "" => "load".into(),
        name => name.into(),
    }
}

/// The options that make the same plan of the suite, each a word.
fn sets(args: &Args) -> Vec<String> {
    args.changes
        .sets()
        .flat_map(|(key, value)| ["--set".into(), format!("{key}={value}")])
        .collect()
}

fn kubernetes(args: &Args, suite: &LoadedSuite, plan: &Plan) -> Result<String, Problem> {
    let in_minutes = || {
        let soon = Timestamp::now().checked_add(3.minutes()).ok()?;
        soon.round(Unit::Minute).ok()
    };
    let at = args.at.or_else(in_minutes).unwrap_or_default().to_string();
    let name = format!("flowbench-{}", name_of(plan));
    let base = args.file.parent().unwrap_or(Path::new(""));
    let (mut data, mut items, mut elsewhere) = (Map::new(), Vec::new(), Vec::new());
    let mut room = CONFIG_MAP_BYTES_MAX;
    for path in plan.files_read(suite) {
        let below = path.strip_prefix(base).ok().and_then(Path::to_str);
        let text = text::read(&path, room).ok();
        let (Some(below), Some(text)) = (below, text) else {
            elsewhere.push(path);
            continue;
        };
        room -= text.len() as u64;
        // Keys of a ConfigMap have no folders; the volume puts them back.
        let key = format!("file-{}", data.len());
        items.push(json!({"key": key, "path": below}));
        data.insert(key, text.into());
    }
    let file = args.file.file_name().and_then(|name| name.to_str()).unwrap_or("suite.yaml");
    let mut words = vec![
        "run".to_owned(),
        file.to_owned(),
        "--part".to_owned(),
        "auto".to_owned(),
        "--at".to_owned(),
        at.clone(),
        "--json".to_owned(),
        "--quiet".to_owned(),
        "--out".to_owned(),
        "/results".to_owned(),
    ];
    words.extend(sets(args));
    let labels = json!({"app.kubernetes.io/name": "flowbench", "app.kubernetes.io/instance": name});
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": data,
    });
    let container = json!({
        "name": "flowbench",
        "image": args.image,
        "args": words,
        "workingDir": "/suite",
        "env": [{"name": "FLOWBENCH_PARTS", "value": args.parts.to_string()}],
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
        "# {} parts of {}, which begin together at {at}: apply it before.\n\
         # A pod that is replaced would send its part twice, so the first that fails ends the Job.\n",
        args.parts,
        plan.secrets.mask(&plan.name),
    );
    for path in elsewhere {
        let size = path.metadata().map_or(String::new(), |file| {
            format!(" ({})", ByteSize::new(file.len()).approximate())
        });
        head.push_str(&format!(
            "# {}{size} is not in the ConfigMap, because it is no text, too large or not below the suite: put it \
             into /suite by the image or a volume.\n",
            path.display()
        ));
    }
    Ok(format!("{head}{}---\n{}", to_yaml(&config), to_yaml(&job)))
}

fn slurm(args: &Args, plan: &Plan) -> String {
    /// From the start of the script to that of the load: tasks connect and make their first requests.
    const BEFORE: Duration = Duration::from_secs(30);
    let name = name_of(plan);
    let at = match args.at {
        Some(at) => at.to_string(),
        None => format!("$(date -u -d '+{} seconds' +%Y-%m-%dT%H:%M:%SZ)", BEFORE.as_secs()),
    };
    let sets: String = sets(args).iter().map(|word| format!(" {}", quoted(word))).collect();
    let file = quoted(&args.file.display().to_string());
    format!(
        "#!/bin/bash\n\
         #SBATCH --job-name=flowbench-{name}\n\
         #SBATCH --ntasks={}\n\
         #SBATCH --ntasks-per-node=1\n\
         #SBATCH --cpus-per-task={}\n\
         #SBATCH --output=flowbench-{name}-%j.log\n\
         set -euo pipefail\n\
         results=flowbench-{name}-$SLURM_JOB_ID\n\
         # All tasks begin at the same time. One that fails does not end the others: `merge` tells of it.\n\
         at=\"{at}\"\n\
         srun --cpus-per-task={} --kill-on-bad-exit=0 flowbench run {file}{sets} --part auto --at \"$at\" --quiet \
         --out \"$results\" || true\n\
         flowbench merge \"$results\" --out \"$results\"\n",
        args.parts, args.cpus, args.cpus,
    )
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
