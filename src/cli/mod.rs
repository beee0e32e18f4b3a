//! Arguments, exit codes and printing; one file per subcommand. No other module prints or reads the
//! environment.

mod capacity;
mod check;
mod compare;
mod comparison;
mod completions;
mod connection;
mod deploy;
mod env_file;
mod exit;
mod fits;
mod folder;
mod gate;
mod init;
mod listen;
mod live;
mod machine;
mod meet;
mod merge;
mod mutate;
mod noise;
mod otlp;
mod pages;
mod part;
mod plan;
mod post;
mod print;
mod problem;
mod ready;
mod report;
mod results;
mod rounds;
mod run;
mod schema;
mod search;
mod selftest;
mod serve;
mod signals;
mod suite;
mod trend;
mod values;
mod views;

use std::io;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use self::exit::Exit;

/// Declarative scenario runner and load tester for Jina Flows.
#[derive(Debug, Parser)]
#[command(name = "flowbench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the scenarios of a suite and report.
    Run(run::Args),
    /// Merge the parts of a load that several processes sent.
    Merge(merge::Args),
    /// Print what an engine needs to send a load in parts: Kubernetes or Slurm.
    Deploy(deploy::Args),
    /// Compare results and check them against gates.
    Compare(compare::Args),
    /// Run a suite on two Flows in turns and compare one with the other.
    Gate(gate::Args),
    /// Measure run-to-run variation (A/A) on this machine.
    Noise(noise::Args),
    /// Find lasting changes in a series of results.
    Trend(trend::Args),
    /// Find the highest load that meets an objective, and plan for growth.
    Capacity(capacity::Args),
    /// Check suites without sending anything.
    Check(check::Args),
    /// Write a commented suite to start from.
    Init(init::Args),
    /// Show what a suite will do, without any load.
    Plan(plan::Args),
    /// Render a saved result again, in any format.
    Report(report::Args),
    /// Print the JSON schema of a suite, for editors, or of a result.
    Schema(schema::Args),
    /// Send Documents to a Flow: curl for Flows.
    Post(post::Args),
    /// Send a GraphQL mutation to a Flow.
    Mutate(mutate::Args),
    /// Wait until a Flow responds, and describe it.
    Ready(ready::Args),
    /// Start a Flow inside this process, for other clients.
    Serve(serve::Args),
    /// Check how precisely this machine can measure.
    Selftest(selftest::Args),
    /// Print the completions of a shell.
    Completions(completions::Args),
    /// Write a page for each command.
    #[command(hide = true)]
    Pages(pages::Args),
}

/// Reads the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    // One provider serves gRPC, HTTP and WebSocket. A second installation fails, which only means
    // that there already is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse_from(compare::with_sides(std::env::args_os())) {
        Ok(cli) => cli,
        Err(mut error) => {
            point_to_suite(&mut error);
            let printed = error.print();
            return ExitCode::from(match printed {
                _ if error.use_stderr() => Exit::Usage as u8,
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::NotWritten as u8,
                _ => Exit::Passed as u8,
            });
        }
    };
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::tell(format_args!("error: could not start the runtime: {error}"));
            return ExitCode::from(Exit::Unreachable as u8);
        }
    };
    let exit = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::main(args).await,
            Command::Merge(args) => merge::main(args),
            Command::Deploy(args) => deploy::main(args),
            Command::Compare(args) => compare::main(args),
            Command::Gate(args) => gate::main(args).await,
            Command::Noise(args) => noise::main(args).await,
            Command::Trend(args) => trend::main(args),
            Command::Capacity(args) => capacity::main(args).await,
            Command::Check(args) => check::main(args).await,
            Command::Init(args) => init::main(args).await,
            Command::Plan(args) => plan::main(args),
            Command::Report(args) => report::main(args),
            Command::Schema(args) => schema::main(args),
            Command::Post(args) => post::main(args).await,
            Command::Mutate(args) => mutate::main(args).await,
            Command::Ready(args) => ready::main(args).await,
            Command::Serve(args) => serve::main(args).await,
            Command::Selftest(args) => selftest::main(args).await,
            Command::Completions(args) => completions::main(args),
            Command::Pages(args) => pages::main(args),
        }
    });
    // Threads that still read or wait must not delay the exit.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

/// Options of other load testers that are keys of a suite here.
const KEYS: [&str; 10] = [
    "--rate",
    "--vus",
    "--users",
    "--duration",
    "--requests",
    "--clients",
    "--concurrency",
    "--iterations",
    "--stage",
    "--host",
];

/// Says where the load is written, to those who look for it among the options.
fn point_to_suite(error: &mut clap::Error) {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(unknown)) if error.kind() == ErrorKind::UnknownArgument => {
            unknown
        }
        _ => return,
    };
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let reads_suite = ["run", "plan", "gate", "noise", "capacity"]
        .iter()
        .any(|c| usage.contains(&format!("flowbench {c} ")));
    if reads_suite && KEYS.contains(&unknown.as_str()) {
        let key = unknown.trim_start_matches('-');
        let tip = format!(
            "`{key}` belongs in the suite; make it a variable there to set it here: `--set {key}=…`"
        );
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

/// Raises the soft limit of open files and connections to the hard limit. The usual default is too
/// low for load tests.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the limit cannot be raised, it stays, and loads are checked against it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
