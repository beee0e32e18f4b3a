//! `flowbench init`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::print;
use super::problem::Problem;
use crate::client::{Client, ClientConfig};
use crate::scenario::{FlowFacts, starter, starter_of};
use crate::text;
use crate::wire::Target;

/// Writes a commented suite to begin with.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench init
  flowbench init --flow flow.yml search.yaml
  flowbench init --flow index.yml --flow query.yml suite.yaml
  flowbench init grpc://localhost:1234 suite.yaml")]
pub(super) struct Args {
    /// The file to write, `suite.yaml` unless given; `-` is stdout. Before it, the address of a running Flow,
    /// which is asked for its endpoints and Documents
    #[arg(value_name = "[ADDRESS] [FILE]", num_args = 0..=2)]
    places: Vec<String>,
    /// Take protocols, ports, TLS, Executors and their endpoints from a Jina Flow's or Deployment's YAML
    /// and the files it names: what its Python says of Documents as well. Several follow one another, as
    /// the Flow that indexes and the one that searches
    #[arg(long, value_name = "FILE")]
    flow: Vec<PathBuf>,
}

pub(super) async fn main(args: Args) -> Exit {
    write(&args).await.map_or_else(|problem| problem.print(), |()| Exit::Passed)
}

impl Args {
    /// The address of a Flow, if there is one, and the file to write.
    fn places(&self) -> Result<(Option<&str>, PathBuf), Problem> {
        let file = |file: Option<&String>| PathBuf::from(file.map_or("suite.yaml", String::as_str));
        match self.places.as_slice() {
            [address, rest @ ..] if address.contains("://") => {
                Ok((Some(address), file(rest.first())))
            }
            [_, second, ..] => Err(Problem::usage(format_args!(
                "expected one file, or before it the address of a Flow such as `grpc://localhost:1234`; \
                 found `{second}` too"
            ))),
            other => Ok((None, file(other.first()))),
        }
    }
}

/// A suite for the Flow at an address.
async fn of_running(address: &str) -> Result<String, Problem> {
    let target: Target = address.parse().map_err(|error| {
        Problem::usage(format_args!("`{address}` is not an address of a Flow: {error}"))
    })?;
    let session = Client::new(ClientConfig::new(target)).open().await;
    let session = session.map_err(|error| {
        Problem::new(Exit::Unreachable, format!("error: {address} could not be queried: {error}"))
    })?;
    let info = session.info();
    if info.jina.is_none() && info.docarray.is_none() && session.schemas().is_empty() {
        let message = format!(
            "error: {address} does not respond like a Flow: it reports neither its version nor its \
             endpoints\n\
             help: check the address and the port; for an HTTP server that is not a Flow, write a suite \
             with `request: {{path: /…}}`"
        );
        return Err(Problem::new(Exit::Unreachable, message));
    }
    Ok(starter_of(address, session.schemas()))
}

/// What a Flow's file reveals, for a suite at this path.
fn of_file(path: &Path, suite: &Path) -> Result<FlowFacts, Problem> {
    let text = text::read(path, text::CONFIG_BYTES_MAX).map_err(|error| {
        Problem::usage(format_args!("could not read `{}`: {error}", path.display()))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    // Files that cannot be read are skipped; the suite then has guesses.
    let files = |file: &Path| text::read(&folder.join(file), text::CONFIG_BYTES_MAX).ok();
    let env = |name: &str| std::env::var(name).ok();
    let facts = FlowFacts::read_with(&path.display().to_string(), text, &env, &files);
    let facts = facts.map_err(|problems| Problem::from(&problems))?;
    // Paths in a suite are relative to its folder.
    let beside = suite.parent().unwrap_or(Path::new(""));
    let file = match path.strip_prefix(beside) {
        Ok(file) => file.to_owned(),
        Err(_) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    };
    Ok(FlowFacts { file: file.display().to_string(), ..facts })
}

async fn write(args: &Args) -> Result<(), Problem> {
    let (address, path) = args.places()?;
    if address.is_some() && !args.flow.is_empty() {
        return Err(Problem::usage(
            "a suite is for the Flow at an address or for those of `--flow`, not for both",
        ));
    }
    let flows = args.flow.iter().map(|flow| of_file(flow, &path)).collect::<Result<Vec<_>, _>>()?;
    let text = match address {
        Some(address) => of_running(address).await?,
        None => starter(&flows),
    };
    if path.as_os_str() == "-" {
        return print::text_out(text);
    }
    let name = path.display();
    // An existing file may be someone's work.
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| match error
            .kind()
        {
            std::io::ErrorKind::AlreadyExists => {
                Problem::usage(format_args!("`{name}` exists already; name another file"))
            }
            _ => Problem::usage(format_args!("could not write `{name}`: {error}")),
        })?;
    file.write_all(text.as_bytes()).map_err(|error| {
        Problem::new(Exit::NotWritten, format!("error: could not write `{name}`: {error}"))
    })?;
    print::line(name)
}
