//! `flowbench run`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::watch;

use super::comparison::{self, Baseline, COMPARISONS, Judging};
use super::exit::{Exit, of_run};
use super::folder::{self, Folder, REPORTS, saved_over};
use super::live::show;
use super::machine::limits;
use super::meet::{self, Parts};
use super::print;
use super::problem::{Problem, not_written};
use super::signals::watch_signals;
use super::suite::Changes;
use super::values::timestamp;
use super::views::ViewArgs;
use crate::compare::Comparison;
use crate::engine::Stop;
use crate::plan::{Plan, forecast, is_same_file};
use crate::record::summary::{EndReason, Summary, base_name};
use crate::report;
use crate::report::compare::CompareFormat;
use crate::report::files::Files;
use crate::run::journal::Journal;
use crate::run::{self, RunError};
use crate::units::nearest;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench run scenarios/index.yaml
  flowbench run load.yaml --set rate=500/s --set host=grpc://flow:1234 --out results/
  flowbench run load.yaml --only search --json | jq .scenarios[0].response_time_ms.p99
  flowbench run load.yaml --baseline baseline/ --gate 'p99 +10%' --out results/

A first Ctrl-C sends nothing new and waits for what is in flight, a second ends at once; both still
write the report.

Exit codes: 0 all thresholds and gates held; 1 one did not; 2 the file or the command line is wrong; 3 a \
target could not be reached or started; 4 the run is not valid, so that a threshold cannot be \
judged; 5 a report could not be written; 130 interrupted. When several are true, the first of 130, \
5, 2, 3, 1, 4 is given. A part of a load judges nothing: 0 when it ran to its end, 4 when it ended because another was lost.")]
pub(super) struct Args {
    /// The suite: a YAML file
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// Run this scenario, with all its matrix values, and those it needs; can be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Begin at this time, as 2026-12-01T12:00:00Z. Connections are opened and Documents made before
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    at: Option<Timestamp>,
    /// Number of sending threads, instead of what scenarios say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    workers: Option<u64>,
    /// Write the reports into this folder, those of a part into a folder in it [default:
    /// reports/<suite>-<UTC time>]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Compare with this result, or folder of them, and write comparison.json, .html, .md and .xml
    /// (JUnit) beside the reports; can be repeated
    #[arg(long, value_name = "RESULT", conflicts_with = "part")]
    baseline: Vec<PathBuf>,
    #[command(flatten)]
    judging: Judging,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    views: ViewArgs,
    /// Print the result to stdout as JSON, and nothing else
    #[arg(long)]
    json: bool,
    /// Show nothing while it runs, and only the verdict at the end
    #[arg(long, short)]
    quiet: bool,
}

pub(super) async fn main(args: Args) -> Exit {
    run(args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: Args) -> Result<Exit, Problem> {
    let (suite, mut whole) = args.changes.suite(&args.file)?;
    if let Some(workers) = args.workers {
        whole.send_with(workers as usize);
    }
    let part = args.parts.part()?;
    // Reports are those of the whole load, if this process has its result.
    let whole_here = args.parts.has_the_whole(part);
    whole.part = part;
    let plan = only(whole.clone(), &args.only)?;
    let named: HashSet<String> =
        plan.scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    let runs = |name: &str| named.contains(name);
    whole.check_parts(&suite, part.of(), runs).map_err(|problems| Problem::from(&problems))?;
    forecast::check_connections(&suite, &whole, &limits(), runs)
        .map_err(|problems| Problem::from(&problems))?;
    if !args.quiet {
        for note in plan.notes() {
            print::tell(format_args!("note: {note}"));
        }
    }
    let baseline = Baseline::read(&args.baseline, &args.judging)?;
    // Before the journal exists: a process that waits for it may stop the run at once.
    let stop = Stop::default();
    watch_signals(stop.clone(), args.quiet);
    let views = args.views.open(&stop)?;
    let Folder { path: out, made } =
        Folder::claim(args.out.as_deref(), &plan.secrets.mask(&plan.name))?;
    let mut folder = out.clone();
    if !part.is_whole() {
        folder.push(part.name());
    }
    let own = if part.is_whole() || !whole_here { &REPORTS[..] } else { &[] };
    let (mut files, journal) = Files::open(&folder, own, made).map_err(not_written)?;
    if !part.is_whole() {
        files.keep_journal();
    }
    let mut ours = COMPARISONS.map(|name| folder.join(name)).to_vec();
    ours.extend(files.paths().map(Path::to_owned));
    ours.extend(run::log_names(&plan).into_iter().map(|name| folder.join(name)));
    let saved = |ours: &PathBuf| plan.saves().find(|path| is_same_file(path, ours));
    if let Some(path) = ours.iter().find_map(saved) {
        files.discard();
        return Err(saved_over(path));
    }
    let meeting = match args.parts.meeting("run", &plan, &stop, args.quiet).await {
        Ok(meeting) => meeting,
        Err(problem) => {
            files.discard();
            return Err(problem);
        }
    };
    let printed = args.json && !whole_here;
    let (journal, notes) = match Journal::new(Printed { file: journal, printed }) {
        Ok((journal, notes)) => (Some(journal), Some(notes)),
        // A run also works without a journal.
        Err(_) => (None, None),
    };

    let (live, states) = watch::channel(Vec::new());
    let shown = (!args.quiet).then(|| tokio::spawn(show(states)));
    let options = run::Options {
        output: print::output(args.json),
        stop: stop.clone(),
        live,
        journal: notes,
        at: args.at,
        meeting: meeting.clone(),
        plan: 0,
        logs: Some(folder.clone()),
        board: views.board(),
    };
    let outcome = run::run(plan, options).await;
    let mut part_1_has_it = false;
    if let Some(meeting) = meeting {
        meeting.close().await;
        part_1_has_it = meeting.part_1_has_it();
    }
    if let Some(shown) = shown {
        // It ends with the run, which drops its end of the channel.
        let _ = shown.await;
    }
    let summary = match outcome {
        Ok(summary) => summary,
        Err(error) => {
            files.discard();
            return Err(match error {
                RunError::Meet(error) => meet::problem(&error, &stop),
                error => Problem::caused(Exit::Usage, &error),
            });
        }
    };
    views.close().await;
    // Only a complete journal is worth mentioning.
    let path = files.journal().to_owned();
    let journal = match journal.map(Journal::finish) {
        Some(Ok(())) => Some(path).filter(|path| path.is_file()),
        Some(Err(error)) => {
            print::tell(format_args!("warning: could not write {}: {error}", path.display()));
            None
        }
        None => None,
    };
    let written = match whole_here && !part.is_whole() {
        true => files.write(&summary).and_then(|_| folder::write(&out, &summary)),
        false => files.write(&summary),
    };
    // An interrupted run has no result to compare.
    let baseline = baseline.filter(|_| of_run(&summary) != Exit::Interrupted && written.is_ok());
    let judged = baseline.map(|base| base.judge(summary.clone(), &folder, !args.only.is_empty()));
    let comparison = judged.as_ref().and_then(|judged| judged.as_ref().ok());
    if judged.is_none() && written.is_ok() {
        // The comparison of an earlier run would stand next to figures that it is not about.
        for name in COMPARISONS {
            let _ = std::fs::remove_file(folder.join(name));
        }
    }
    // If stdout cannot be written, the files are still complete.
    let told = match printed {
        // Its journal has been printed already.
        true => Ok(()),
        false => tell(&args, &summary, comparison.map(|(comparison, _)| comparison)),
    };
    let paths = written.map_err(|error| {
        let mut problem = not_written(error);
        if let Some(journal) = &journal {
            let journal = journal.display();
            let text = format!("\n  what was measured is in {journal}: `flowbench report`");
            problem.text.push_str(&text);
        }
        problem
    })?;
    let named = || match args.json {
        true => Ok(()),
        false if whole_here => paths.iter().try_for_each(|path| print::line(path.display())),
        false => {
            let next = match part_1_has_it {
                true => "part 1 has the result of all".to_owned(),
                false => format!("merge it with the others: flowbench merge {}", out.display()),
            };
            let (number, of, folder) = (part.number(), part.of(), folder.display());
            print::line(format_args!("part {number} of {of}: {next}\n{folder}"))
        }
    };
    let told =
        told.and_then(|()| named()).map_or_else(|problem| problem.print(), |()| Exit::Passed);
    let exit = of_run(&summary).or(told);
    let Some(judged) = judged else { return Ok(exit) };
    let gated = judged.and_then(|(comparison, paths)| {
        tell_comparison(&args, &comparison, &paths).map(|()| comparison::exit(&comparison))
    });
    Ok(exit.or(gated.unwrap_or_else(|problem| problem.print())))
}

/// Prints the outcome of the comparison with the baseline. The last line is its verdict, unless the paths of
/// its files follow.
fn tell_comparison(args: &Args, comparison: &Comparison, paths: &[PathBuf]) -> Result<(), Problem> {
    let write = |format| move |out: &mut dyn Write| report::compare::write(comparison, format, out);
    if args.json {
        // With `--json`, the result on stdout includes it.
        let mut text = Vec::new();
        write(CompareFormat::Verdict)(&mut text).map_err(print::not_printed)?;
        print::tell(String::from_utf8_lossy(&text).trim_end());
        return Ok(());
    }
    if args.quiet {
        return print::written(write(CompareFormat::Verdict));
    }
    print::line("")?;
    print::written(write(CompareFormat::Terminal { color: print::colored() }))?;
    paths.iter().try_for_each(|path| print::line(path.display()))
}

/// Keeps the named scenarios and those they need.
fn only(mut plan: Plan, names: &[String]) -> Result<Plan, Problem> {
    if names.is_empty() {
        return Ok(plan);
    }
    // `search [protocol=grpc]` can be selected by that name, and by the name without the matrix
    // values.
    let mut keep = vec![false; plan.scenarios.len()];
    for name in names {
        let mut found = false;
        for (index, scenario) in plan.scenarios.iter().enumerate() {
            if scenario.name == *name || base_name(&scenario.name) == name.as_str() {
                (keep[index], found) = (true, true);
            }
        }
        if !found {
            let mut known: Vec<String> =
                plan.scenarios.iter().map(|s| base_name(&s.name).to_owned()).collect();
            // Scenarios of the same matrix are next to each other.
            known.dedup();
            let hint = match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            return Err(Problem::usage(format!("--only: no scenario `{name}`, {hint}")));
        }
    }
    // A needed scenario may need others.
    let mut waiting: Vec<usize> = (0..keep.len()).filter(|index| keep[*index]).collect();
    while let Some(index) = waiting.pop() {
        for &need in &plan.scenarios[index].needs {
            if !keep[need] {
                keep[need] = true;
                waiting.push(need);
            }
        }
    }
    let mut places = Vec::with_capacity(keep.len());
    let mut next = 0;
    for kept in &keep {
        places.push(next);
        next += usize::from(*kept);
    }
    let mut kept = keep.iter();
    plan.scenarios.retain(|_| kept.next().is_some_and(|kept| *kept));
    for scenario in &mut plan.scenarios {
        scenario.needs.iter_mut().for_each(|need| *need = places[*need]);
        scenario.after.retain(|other| keep[*other]);
        scenario.after.iter_mut().for_each(|other| *other = places[*other]);
    }
    Ok(plan)
}

/// Prints the result.
fn tell(args: &Args, summary: &Summary, comparison: Option<&Comparison>) -> Result<(), Problem> {
    if let (true, Some(comparison)) = (args.json, comparison) {
        return print::written(|out| report::compare::write_judged(summary, comparison, out));
    }
    let format = print::format(args.json, args.quiet);
    if args.quiet {
        // The verdict alone does not say why there is nothing to judge.
        for scenario in &summary.scenarios {
            if let (EndReason::Broken | EndReason::Unreachable, Some(message)) =
                (scenario.end.reason, &scenario.end.message)
            {
                print::tell(format_args!("error: scenario `{}`: {message}", scenario.name));
            }
        }
    }
    print::written(|out| report::write(summary, format, out))
}

/// Writes a journal to a file, and to stdout if requested.
struct Printed {
    file: File,
    printed: bool,
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        match self.printed {
            true => print::written(|out| out.write_all(bytes))
                .map_err(|problem| io::Error::other(problem.text)),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
