//! `flowbench ready`.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::connection::Connection;
use super::exit::Exit;
use super::print;
use super::problem::Problem;
use crate::client::{CallError, Client, FlowInfo};
use crate::units::Span;
use crate::wire::Protocol;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  flowbench ready grpc://localhost:1234 --wait 60s && flowbench run scenarios/index.yaml

Exit codes: 0 the Flow and all its Executors respond; 2 the command line is wrong; 3 they do not.")]
pub(super) struct Args {
    /// Where the Flow is: grpc://localhost:1234, https://my.flow, my.flow:1234
    /// [default: 0.0.0.0, a Flow on this machine]
    address: Option<String>,
    /// How long to wait for it, such as 60s or 2m; without it, ask once
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,

    #[command(flatten)]
    connection: Connection,
}

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn main(args: Args) -> Exit {
    match run(args).await {
        Ok(said) => print::line(said).map_or_else(|problem| problem.print(), |()| Exit::Passed),
        Err(problem) => problem.print(),
    }
}

async fn run(args: Args) -> Result<String, Problem> {
    let config = args.connection.config(args.address.as_deref(), Protocol::Grpc)?;
    let target = config.target.clone();
    let begun = Instant::now();
    let end = args.wait.map(|wait| begun + wait.get());
    let mut why: Option<CallError> = None;
    loop {
        // A new client each time: knowledge about one Flow may not apply to its successor.
        let asking = ask(Client::new(config.clone()));
        // `--timeout` applies to one attempt, which may send several requests.
        let own = config.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let all = end.zip(args.wait.map(Span::get));
        let answer = match own.into_iter().chain(all).min() {
            None => asking.await,
            Some((limit, time)) => match timeout_at(limit, asking).await {
                Ok(answer) => answer,
                // The last attempt got no response; the response before it says more.
                Err(_) => Err(why.take().unwrap_or(CallError::Timeout(time))),
            },
        };
        match answer {
            Ok(info) => return Ok(format!("{target} is ready: {}", words(&info))),
            // Waiting does not help here.
            Err(error @ CallError::Config(_)) => return Err((&error).into()),
            Err(error) => match end {
                Some(end) if Instant::now() + PAUSE < end => why = Some(error),
                _ => {
                    let waited = match args.wait {
                        Some(wait) => format!(" after {wait}"),
                        None => String::new(),
                    };
                    return Err(Problem::new(
                        Exit::Unreachable,
                        format!("error: {target} is not ready{waited}: {error}"),
                    ));
                }
            },
        }
        sleep(PAUSE).await;
    }
}

async fn ask(client: Client) -> Result<FlowInfo, CallError> {
    let session = client.open().await?;
    session.dry_run().await?;
    Ok(session.info().clone())
}

fn words(info: &FlowInfo) -> String {
    let family = info.family.name();
    let jina = info.jina.as_deref().unwrap_or("of unknown version");
    let docarray = match &info.docarray {
        Some(version) => format!(" with docarray {version}"),
        None => String::new(),
    };
    format!("{}, family {family}, Jina {jina}{docarray}", info.protocol)
}
