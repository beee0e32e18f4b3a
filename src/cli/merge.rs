//! `flowbench merge`.

use std::path::{Path, PathBuf};

use super::exit::{Exit, of_run};
use super::folder::{self, Folder, REPORTS};
use super::print;
use super::problem::{Problem, not_written};
use crate::record::saved;
use crate::record::summary::Summary;
use crate::report;
use crate::run::merge::merge;

/// Merges the parts of a load into one result and judges it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench merge results/
  flowbench merge part-1.log part-2.log --out merged/
  kubectl logs --tail=-1 -l batch.kubernetes.io/job-completion-index=0 > 0.log; flowbench merge *.log

A path is the journal of a part (what `run --part 2/4` leaves in its folder, or prints with `--json`), the \
folder it is in, or a folder of such folders. Other lines in a file of printed journals are left out.

Exit codes: as those of `run`; 2 also when a journal is damaged, or is none of the same load; 4 also when a part \
is missing or was lost, so that nothing can be said of the whole.")]
pub(super) struct Args {
    /// Journals of parts, or folders with them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write the reports into this folder [default: reports/<suite>-<UTC time>]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the result to stdout as JSON, and nothing else
    #[arg(long)]
    json: bool,
    /// Print only the verdict
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn main(args: Args) -> Exit {
    run(&args).unwrap_or_else(|problem| problem.print())
}

fn run(args: &Args) -> Result<Exit, Problem> {
    let mut journals = Vec::new();
    for path in &args.paths {
        journals.extend(found(path)?);
    }
    let summary = merge(&journals).map_err(|error| Problem::caused(Exit::Usage, &error))?;
    if let Some(out) = &args.out {
        refuse_folder_of_part(out)?;
    }
    let out = Folder::claim(args.out.as_deref(), &summary.suite)?.path;
    folder::create(&out)?;
    let paths = folder::write(&out, &summary).map_err(not_written)?;
    let format = print::format(args.json, args.quiet);
    print::written(|out| report::write(&summary, format, out))?;
    if !args.json {
        paths.iter().try_for_each(|path| print::line(path.display()))?;
    }
    Ok(of_run(&summary))
}

/// Refuses to put the result in the place of that of a part.
fn refuse_folder_of_part(out: &Path) -> Result<(), Problem> {
    let [(report, _), _] = REPORTS;
    match saved::read(&out.join(report)) {
        Ok(Summary { part: Some(part), .. }) => Err(Problem::usage(format_args!(
            "--out: `{}` has the report of part {} of {}, which that of all would replace\n  = help: name another folder",
            out.display(),
            part.number,
            part.of
        ))),
        _ => Ok(()),
    }
}

/// The journals at a path.
fn found(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |error: std::io::Error| {
        Problem::usage(format_args!("cannot read `{}`: {error}", path.display()))
    };
    if !path.metadata().map_err(problem)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = journals(path).map_err(problem)?;
    if found.is_empty() {
        let entries = std::fs::read_dir(path).map_err(problem)?;
        let entries: Result<Vec<_>, _> = entries.collect();
        for entry in entries.map_err(problem)? {
            if entry.path().is_dir() {
                found.extend(journals(&entry.path()).map_err(problem)?);
            }
        }
    }
    found.sort();
    match found.is_empty() {
        false => Ok(found),
        true => Err(Problem::usage(format_args!(
            "`{}` has no journal of a part\n  = help: `flowbench run --part 1/4` leaves `journal.jsonl` in \
             its folder",
            path.display()
        ))),
    }
}

fn journals(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder)?.collect();
    let paths = entries?.into_iter().map(|entry| entry.path());
    let is_journal = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("journal") && name.ends_with(".jsonl") && path.is_file()
    };
    Ok(paths.filter(is_journal).collect())
}
