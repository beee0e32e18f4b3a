//! `flowbench schema`.

use super::Exit;

/// Prints the JSON schema of a suite, with which editors complete and check.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench schema > suite.schema.json

Then begin a suite with this line, which editors with a YAML language server understand:
  # yaml-language-server: $schema=suite.schema.json")]
pub(super) struct Args {}

pub(super) fn main(_: Args) -> Exit {
    println!("{:#}", crate::scenario::schema());
    Exit::Held
}
