//! `flowbench init`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::exit::Exit;
use super::print;
use super::problem::Problem;
use crate::scenario::{FlowFacts, starter};
use crate::text;

/// Writes a commented suite to begin with.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench init
  flowbench init --flow flow.yml search.yaml")]
pub(super) struct Args {
    /// The file to write; `-` is stdout
    #[arg(default_value = "suite.yaml")]
    file: PathBuf,
    /// Take protocols, ports, TLS and Executors from a Jina Flow's YAML
    #[arg(long, value_name = "FILE")]
    flow: Option<PathBuf>,
}

pub(super) fn main(args: Args) -> Exit {
    write(&args).map_or_else(|problem| problem.print(), |()| Exit::Passed)
}

fn write(args: &Args) -> Result<(), Problem> {
    let flow = match &args.flow {
        None => None,
        Some(path) => {
            let text = text::read(path, text::CONFIG_BYTES_MAX).map_err(|error| {
                Problem::usage(format_args!("could not read `{}`: {error}", path.display()))
            })?;
            let facts = FlowFacts::read(&path.display().to_string(), text, &|name| {
                std::env::var(name).ok()
            });
            Some(facts.map_err(|problems| Problem::from(&problems))?)
        }
    };
    let text = starter(flow.as_ref());
    if args.file.as_os_str() == "-" {
        return print::text_out(text);
    }
    let name = args.file.display();
    // The file may be somebody's work.
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&args.file).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Problem::usage(format_args!("`{name}` exists already; name another file"))
                }
                _ => Problem::usage(format_args!("could not write `{name}`: {error}")),
            }
        })?;
    file.write_all(text.as_bytes()).map_err(|error| {
        Problem::new(Exit::NotWritten, format!("error: could not write `{name}`: {error}"))
    })?;
    print::line(name)
}
