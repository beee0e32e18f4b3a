//! `flowbench check`.

use super::Exit;
use super::suite::{Changes, Files};

/// Reads suites as `run` would and tells all that is wrong with them. Nothing is sent.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    changes: Changes,
}

pub(super) fn main(args: Args) -> Exit {
    let mut exit = Exit::Held;
    for path in &args.files.files {
        match args.changes.plan(path) {
            Ok(plan) => {
                let count = |count: usize, word: &str| match count {
                    1 => format!("1 {word}"),
                    count => format!("{count} {word}s"),
                };
                println!(
                    "{}: {} on {}",
                    path.display(),
                    count(plan.scenarios.len(), "scenario"),
                    count(plan.flows.len(), "flow"),
                );
            }
            Err(problem) => {
                if exit != Exit::Held {
                    eprintln!();
                }
                exit = problem.print();
            }
        }
    }
    exit
}
