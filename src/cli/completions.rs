//! `flowbench completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::exit::Exit;
use super::{Cli, print};

/// Prints the completions of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench completions bash > ~/.local/share/bash-completion/completions/flowbench
  flowbench completions zsh > ~/.zfunc/_flowbench
  flowbench completions fish > ~/.config/fish/completions/flowbench.fish
  flowbench completions powershell >> $PROFILE

zsh needs `fpath+=~/.zfunc` before `compinit` in ~/.zshrc.")]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn main(args: Args) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "flowbench", &mut script);
    print::written(|out| out.write_all(&script))
        .map_or_else(|problem| problem.print(), |()| Exit::Passed)
}
