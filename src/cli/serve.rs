//! `flowbench serve`: the embedded Flow as a server.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::exit::Exit;
use super::print;
use super::problem::Problem;
use super::signals::Signals;
use crate::flow::{FamilyName, Flow, FlowConfig, PathStep, ProtocolName, Theory, TlsFiles};
use crate::source::{Problems, Sources, Spot};
use crate::text;
use crate::units::Rate;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A Flow in YAML, with the keys of `embedded` in a scenario file; options given with it take precedence
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The protocols, each on its own port [default: grpc,http,websocket]
    #[arg(long, value_enum, value_delimiter = ',')]
    protocol: Option<Vec<ProtocolArg>>,
    /// A port for each protocol, in the same order; 0, or none, for a free one
    #[arg(long, value_delimiter = ',')]
    port: Vec<u16>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long)]
    host: Option<IpAddr>,
    /// The family of DocArray [default: v1]
    #[arg(long, value_enum)]
    family: Option<FamilyArg>,
    /// A certificate in PEM: encrypts all protocols
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Accept only clients with a certificate of this CA
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Whether to serve `/graphql` [default: true in the v1 family, which alone has it]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    graphql: Option<bool>,
    /// Write arrival and departure of every request to this file, one line of JSON each
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print what queueing theory predicts for each Executor at this arrival rate
    #[arg(long, value_name = "RATE")]
    offered: Option<Rate>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolArg {
    Grpc,
    Http,
    Websocket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FamilyArg {
    V1,
    V2,
}

pub(super) async fn main(args: Args) -> Exit {
    run(args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: Args) -> Result<Exit, Problem> {
    let offered = args.offered;
    let config = config(args)?;
    let protocols = config.protocols.clone();
    let theory = offered.map(|rate| theory(&config, rate)).unwrap_or_default();
    let flow = Flow::start(config)
        .await
        .map_err(|error| Problem::new(Exit::Unreachable, not_started(&error)))?;
    // Before the address is printed, because its reader may stop the Flow at once.
    let mut signals = Signals::new();
    // In one write, for a parent that may close the pipe after a line.
    let targets = protocols.into_iter().filter_map(|protocol| flow.target(protocol.into()));
    let lines = targets.map(|target| target.to_string()).chain(theory);
    print::text_out(lines.map(|line| line + "\n").collect::<String>())?;
    signals.next().await;
    // A second signal aborts what the first one lets finish.
    tokio::select! {
        () = flow.stop() => Ok(Exit::Passed),
        () = signals.next() => Ok(Exit::Interrupted),
    }
}

/// An error and its causes, one per line.
fn not_started(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(format!("error: {error}"), |text, cause| format!("{text}\n  caused by: {cause}"))
}

/// The configuration, from the file and options.
fn config(args: Args) -> Result<FlowConfig, Problem> {
    let file = match &args.config {
        None => None,
        Some(path) => Some(File::read(path)?),
    };
    let mut config = file.as_ref().map(|file| file.config.clone()).unwrap_or_default();
    if let Some(protocols) = &args.protocol {
        config.protocols = protocols.iter().map(|protocol| (*protocol).into()).collect();
        config.ports.retain(|protocol, _| config.protocols.contains(protocol));
    }
    let (ports, protocols) = (args.port.len(), config.protocols.len());
    if ports != 0 && ports != protocols && args.port != [0] {
        return Err(Problem::usage(format_args!(
            "`--port` gives {ports} ports for {protocols} protocols; give one each, or 0 for free ones"
        )));
    }
    config.ports.extend(config.protocols.iter().copied().zip(args.port));
    config.host = args.host.unwrap_or(config.host);
    config.family = args.family.map_or(config.family, FamilyName::from);
    config.graphql = args.graphql.or(config.graphql);
    config.log = args.log.or(config.log);
    if let Some((cert, key)) = args.tls_cert.zip(args.tls_key) {
        config.tls = Some(TlsFiles { cert, key, client_ca: args.tls_client_ca });
    }
    let problems = config.problems();
    if problems.is_empty() {
        return Ok(config);
    }
    Err(match file {
        Some(file) => file.problems(problems),
        None => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Problem::usage(lines.join("\nerror: "))
        }
    })
}

/// A configuration and its text.
struct File {
    sources: Sources,
    node: crate::source::Node,
    config: FlowConfig,
}

impl File {
    fn read(path: &Path) -> Result<File, Problem> {
        let name = path.display().to_string();
        let text = text::read(path, text::CONFIG_BYTES_MAX)
            .map_err(|error| Problem::usage(format_args!("could not read {name}: {error}")))?;
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        let mut node = sources.parse(&name, text, None, &mut problems);
        let config: Option<FlowConfig> =
            node.as_mut().and_then(|node| Sources::read(node, "the Flow", &mut problems));
        match (node, config, Problems::new(&sources, problems)) {
            (Some(node), Some(config), None) => {
                let base = path.parent().unwrap_or(Path::new(""));
                Ok(File { sources, node, config: beside(config, base) })
            }
            (_, _, Some(problems)) => Err(Problem::from(&problems)),
            (_, _, None) => Err(Problem::usage(format_args!("{name} contains no Flow"))),
        }
    }

    /// The mistakes, each shown in its line.
    fn problems(&self, found: Vec<crate::flow::FlowProblem>) -> Problem {
        let mut problems = Vec::new();
        for problem in found {
            let spot = problem.path.iter().fold(Spot::of(&self.node), |spot, step| match step {
                PathStep::Key(key) => spot.key(key),
                PathStep::Index(index) => spot.index(*index),
            });
            spot.problem(&mut problems, problem.message, |problem| problem);
        }
        let problems = Problems::new(&self.sources, problems).expect("there is one at least");
        Problem::from(&problems)
    }
}

/// Resolves the paths in a configuration relative to its file.
fn beside(mut config: FlowConfig, base: &Path) -> FlowConfig {
    if let Some(tls) = &mut config.tls {
        tls.cert = base.join(&tls.cert);
        tls.key = base.join(&tls.key);
        tls.client_ca = tls.client_ca.as_ref().map(|path| base.join(path));
    }
    config.log = config.log.as_ref().map(|path| base.join(path));
    config
}

/// One line per Executor.
fn theory(config: &FlowConfig, rate: Rate) -> Vec<String> {
    let line = |executor: &crate::flow::ExecutorConfig| {
        let said = match Theory::of(executor, rate) {
            Ok(theory) => theory.to_string(),
            Err(error) => error.to_string(),
        };
        format!("{} at {rate}: {said}", executor.name)
    };
    config.executors.iter().map(line).collect()
}

impl From<ProtocolArg> for ProtocolName {
    fn from(protocol: ProtocolArg) -> ProtocolName {
        match protocol {
            ProtocolArg::Grpc => ProtocolName::Grpc,
            ProtocolArg::Http => ProtocolName::Http,
            ProtocolArg::Websocket => ProtocolName::Websocket,
        }
    }
}

impl From<FamilyArg> for FamilyName {
    fn from(family: FamilyArg) -> FamilyName {
        match family {
            FamilyArg::V1 => FamilyName::V1,
            FamilyArg::V2 => FamilyName::V2,
        }
    }
}
