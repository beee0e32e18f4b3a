//! `flowbench mutate`.

use super::connection::Connection;
use super::exit::Exit;
use super::print;
use super::problem::{Problem, json};
use crate::client::Client;
use crate::text;
use crate::wire::{Map, Protocol, Target};

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "flowbench mutate [OPTIONS] [ADDRESS] <MUTATION|@FILE>",
    after_help = "\
A Flow of the v1 family offers GraphQL on its HTTP port when it was started with \
expose_graphql_endpoint=True. The response is printed as JSON.

Example:
  flowbench mutate http://localhost:1234 'mutation { docs(data: {text: \"a\"}) { id text } }'

Exit codes: 0 all went well; 1 the response lists errors, or there was none; 2 the command line is \
wrong, or the Flow offers no GraphQL; 3 the Flow could not be reached."
)]
pub(super) struct Args {
    /// Where the Flow is over HTTP: http://localhost:1234, my.flow:1234
    /// [default: 0.0.0.0, a Flow on this machine]
    address: Option<String>,
    /// The mutation, GraphQL; or @FILE
    #[arg(value_name = "MUTATION|@FILE")]
    mutation: Option<String>,
    /// Values of the mutation's variables, a JSON object
    #[arg(long, value_name = "JSON|@FILE")]
    variables: Option<String>,
    /// Address of the Flow over HTTP, when the address above is another protocol's
    #[arg(long, value_name = "ADDRESS")]
    http: Option<Target>,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn main(args: Args) -> Exit {
    run(args).await.map_or_else(|problem| problem.print(), |()| Exit::Passed)
}

async fn run(args: Args) -> Result<(), Problem> {
    // A mutation contains braces and an address does not, so a single argument is unambiguous.
    let is_mutation = |word: &str| word.starts_with('@') || word.contains('{');
    let (address, mutation) = match (args.address, args.mutation) {
        (Some(mutation), None) if is_mutation(&mutation) => (None, mutation),
        (address, Some(mutation)) => (address, mutation),
        (_, None) => {
            return Err(Problem::usage(
                "there is no mutation; expected `mutation { … }` or `@FILE` as the last argument",
            ));
        }
    };
    let mut config = args.connection.config(address.as_deref(), Protocol::Http)?;
    config.http_target = args.http;
    let mutation = match mutation.strip_prefix('@') {
        None => mutation,
        Some(path) => text::read(path.as_ref(), text::CONFIG_BYTES_MAX)
            .map_err(|error| Problem::usage(format_args!("cannot read `{path}`: {error}")))?,
    };
    let mut mutate = Client::new(config).mutate(mutation);
    if let Some(given) = &args.variables {
        mutate = mutate.variables(json::<Map>("--variables", "a JSON object", given)?);
    }
    let response = mutate.send().await.map_err(|error| Problem::from(&error))?;
    print::line(format_args!("{response:#}"))
}
