//! `flowbench pages`: the reference of the command line, for packages and the documentation.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory as _, ValueEnum};

use super::Cli;
use super::exit::Exit;
use super::folder;
use super::problem::{Problem, not_written};
use crate::report::files;

/// Writes a page for each command, with the contents of its `--help`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The form of the pages
    #[arg(value_enum)]
    form: Form,
    /// Where to write them; it is created if it does not exist
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Manual pages: flowbench.1, flowbench-run.1, …
    Man,
    /// Markdown: flowbench.md, flowbench-run.md, …
    Markdown,
}

pub(super) fn main(args: Args) -> Exit {
    write(&args).map_or_else(|problem| problem.print(), |()| Exit::Passed)
}

fn write(args: &Args) -> Result<(), Problem> {
    folder::create(&args.folder)?;
    let mut whole = Cli::command();
    whole.build();
    // `help` repeats the pages of all other commands.
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let commands: Vec<Command> = whole.get_subcommands().filter(shown).cloned().collect();
    for command in std::iter::once(&whole).chain(&commands) {
        // `flowbench-run` for `run`.
        let name = command.get_display_name().unwrap_or(command.get_name());
        let (end, text) = match args.form {
            Form::Man => ("1", man(command)),
            Form::Markdown => ("md", Ok(markdown(command).into_bytes())),
        };
        let path = args.folder.join(format!("{name}.{end}"));
        files::whole(&path, |out| out.write_all(&text?)).map_err(not_written)?;
    }
    Ok(())
}

fn man(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    clap_mangen::Man::new(command.clone().name(name)).render(&mut page)?;
    Ok(page)
}

fn markdown(command: &Command) -> String {
    let mut command = command.clone();
    let title = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let usage = command.render_usage();
    let usage = plain(&usage);
    let usage = usage.trim().trim_start_matches("Usage:").trim();
    let mut page = format!("# {title}\n\n");
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        let _ = writeln!(page, "{}\n", plain(about).trim());
    }
    let _ = writeln!(page, "```text\n{usage}\n```");
    let shown: Vec<&Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .collect();
    if !shown.is_empty() {
        page.push_str("\n## Commands\n\n| command | what it does |\n| --- | --- |\n");
        for command in shown {
            let name = command.get_name();
            let about = command.get_about().map(plain).unwrap_or_default();
            let _ = writeln!(page, "| [`{name}`]({}-{name}.md) | {} |", title, cell(&about));
        }
    }
    let visible = |arg: &&Arg| !arg.is_hide_set();
    let arguments: Vec<&Arg> = command.get_positionals().filter(visible).collect();
    table(&mut page, "Arguments", &arguments);
    let options: Vec<&Arg> =
        command.get_arguments().filter(visible).filter(|arg| !arg.is_positional()).collect();
    table(&mut page, "Options", &options);
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = writeln!(page, "\n```text\n{}\n```", plain(after).trim());
    }
    page
}

fn table(page: &mut String, title: &str, arguments: &[&Arg]) {
    if arguments.is_empty() {
        return;
    }
    let one = title.trim_end_matches('s').to_lowercase();
    let _ = write!(page, "\n## {title}\n\n| {one} | meaning | default |\n| --- | --- | --- |\n");
    for argument in arguments {
        let help = argument.get_long_help().or(argument.get_help()).map(plain).unwrap_or_default();
        let choices: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let takes = argument.get_action().takes_values() && !choices.is_empty();
        let choices =
            if takes { format!(" One of {}.", choices.join(", ")) } else { String::new() };
        let defaults = argument.get_default_values().iter();
        let defaults: Vec<String> = defaults
            .filter(|_| {
                argument.get_action().takes_values() && !argument.is_hide_default_value_set()
            })
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let help = help.trim();
        let stop = if takes && !help.ends_with('.') { "." } else { "" };
        let _ = writeln!(
            page,
            "| `{}{}` | {}{stop}{choices} | {} |",
            argument
                .get_short()
                .filter(|_| argument.get_long().is_some())
                .map_or_else(String::new, |short| format!("-{short}, ")),
            argument.to_string().replace('|', "\\|"),
            cell(help),
            defaults.join(" ")
        );
    }
}

/// Text without terminal codes.
fn plain(text: &StyledStr) -> String {
    text.to_string()
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    let text = text.trim().replace('|', "\\|").replace('\n', " ");
    // Text between backticks is code and needs no escaping.
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(at, part)| match at % 2 {
        0 => part.replace('<', "\\<"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}
