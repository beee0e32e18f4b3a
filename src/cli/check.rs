//! `flowbench check`.

use super::Exit;
use super::suite::{Changes, Files};
use crate::source;

/// Reads suites as `run` would and tells all that is wrong with them. Nothing is sent.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    changes: Changes,
    /// Print what the suite comes to: every default filled in, matrices and includes expanded,
    /// secrets masked. It is a suite again.
    #[arg(long)]
    resolved: bool,
}

pub(super) fn main(args: Args) -> Exit {
    let mut exit = Exit::Held;
    for path in &args.files.files {
        match args.changes.plan(path) {
            Ok(plan) if args.resolved => {
                if args.files.files.len() > 1 {
                    println!("# {}", path.display());
                }
                print!("{}", source::to_yaml(&plan.resolved()));
            }
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
