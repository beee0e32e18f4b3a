//! `flowbench check`.

use std::path::Path;

use super::exit::Exit;
use super::machine::limits;
use super::problem::Problem;
use super::suite::{Changes, Files};
use super::{fits, print};
use crate::plan::{Plan, forecast};
use crate::scenario::LoadedSuite;
use crate::source;

/// Reads suites as `run` would and reports all problems. Nothing is sent.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    changes: Changes,
    /// Print the resolved configuration: every default filled in, matrices and includes expanded,
    /// secrets masked. The output is a suite again.
    #[arg(long)]
    resolved: bool,
    /// Also query running Flows for their schemas, and report what does not fit.
    #[arg(long)]
    flow: bool,
}

pub(super) async fn main(args: Args) -> Exit {
    let mut exit = Exit::Passed;
    for path in &args.files.files {
        match args.plan(path).await {
            Ok((suite, plan)) => {
                for note in plan.notes() {
                    print::tell(format_args!("note: {}: {note}", path.display()));
                }
                if let Err(problem) = print::text_out(args.told(path, &suite, &plan)) {
                    return problem.print();
                }
            }
            Err(problem) => {
                if exit != Exit::Passed {
                    print::tell("");
                }
                exit = problem.print();
            }
        }
    }
    exit
}

/// `check` also rejects what `plan` would reject.
fn refused((suite, plan): (LoadedSuite, Plan)) -> Result<(LoadedSuite, Plan), Problem> {
    let limits = limits();
    let forecasts = plan.forecast(limits.cores);
    forecast::check(&suite, &plan, &forecasts, &limits)
        .map_err(|problems| Problem::from(&problems))?;
    Ok((suite, plan))
}

impl Args {
    async fn plan(&self, path: &Path) -> Result<(LoadedSuite, Plan), Problem> {
        let (suite, plan) = refused(self.changes.suite(path)?)?;
        let fits = fits::check(&suite, &plan, self.flow).await;
        fits.map_err(|problems| Problem::from(&problems))?;
        Ok((suite, plan))
    }

    /// The output for a suite without mistakes.
    fn told(&self, path: &Path, suite: &LoadedSuite, plan: &Plan) -> String {
        let path = path.display();
        if self.resolved {
            let resolved = source::to_yaml(&plan.secrets.mask_data(plan.resolved()));
            return match self.files.files.len() {
                1 => resolved,
                _ => format!("# {path}\n{resolved}"),
            };
        }
        let count = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        };
        let scenarios = count(plan.scenarios.len(), "scenario");
        let mut text = format!("{path}: {scenarios} on {}\n", count(plan.flows.len(), "flow"));
        text.push_str(&variables(suite));
        text
    }
}

/// One line per variable: its name, type and value, and where the value comes from.
fn variables(suite: &LoadedSuite) -> String {
    /// Longer values are truncated, so that each stays on its line.
    const CHARS_MAX: usize = 60;
    let shown = |text: &str| {
        let text = print::hide().mask(text).replace(char::is_control, " ");
        match text.char_indices().nth(CHARS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    };
    let rows = suite.variables().iter().map(|variable| {
        [
            variable.name.clone(),
            variable.kind.to_owned(),
            variable.shown(),
            variable.origin.to_string(),
        ]
        .map(|cell| shown(&cell))
    });
    let rows: Vec<[String; 4]> = rows.collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let [name, kind, value] = [0, 1, 2].map(width);
    let line = |row: &[String; 4]| {
        format!("  {:name$}  {:kind$}  {:value$}  from {}\n", row[0], row[1], row[2], row[3])
    };
    rows.iter().map(line).collect()
}
