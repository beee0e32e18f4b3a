//! `flowbench schema`.

use clap::ValueEnum;

use super::exit::Exit;
use super::print;

/// Prints the JSON schema of a suite, for completion and checks in editors, or of a result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench schema > suite.schema.json
  flowbench schema report > report.schema.json

Then start a suite with this line, which editors with a YAML language server understand:
  # yaml-language-server: $schema=suite.schema.json")]
pub(super) struct Args {
    /// What the schema is of
    #[arg(value_enum, default_value = "suite")]
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// A scenario file
    Suite,
    /// A report.json
    Report,
    /// A capacity.json
    Capacity,
}

pub(super) fn main(args: Args) -> Exit {
    let schema = match args.of {
        Of::Suite => crate::scenario::schema(),
        Of::Report => crate::record::summary::schema(),
        Of::Capacity => crate::capacity::result::schema(),
    };
    print::line(format_args!("{schema:#}"))
        .map_or_else(|problem| problem.print(), |()| Exit::Passed)
}
