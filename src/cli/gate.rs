//! `flowbench gate`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::comparison::{Judging, OutputArgs, exit};
use super::exit::Exit;
use super::folder::{self, refuse_saves};
use super::meet::Parts;
use super::print;
use super::problem::Problem;
use super::rounds::{UNUSED, keep, once, unusable};
use super::signals::watch_signals;
use super::suite::Changes;
use super::views::ViewArgs;
use crate::compare::looks::{self, CONFIRMATION, Looks, candidate_first, keep_decided};
use crate::compare::noise::Noise;
use crate::compare::{ALPHA, Comparison, Saved, Verdict};
use crate::engine::Stop;
use crate::meet::Meeting;
use crate::plan::Plan;
use crate::run::{Board, Found};
use crate::units::Span;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench gate load.yaml --base-flow main --candidate-flow pr --gate 'p99 +10% +2ms'
  flowbench gate load.yaml --base-flow main --candidate-flow pr --gate 'p99 +10%' --budget 10m \
  -o gate.md -o gate.xml

Runs the suite on both Flows in turns (A B B A …), each time with the same requests at the same times, \
until all gates are decided, and confirms apparent regressions with fresh runs. Both sides run on the same \
machine at the same time: no baseline can be outdated or from another machine.

Exit codes: 0 all gates passed; 1 one regressed; 2 the file or the command line is wrong; 3 a target \
could not be reached or started; 4 inconclusive; 5 a report could not be written; 130 interrupted.")]
pub(super) struct Args {
    /// The suite: a YAML file that has both Flows
    file: PathBuf,
    /// The Flow to compare with, by its name in the file
    #[arg(long, value_name = "NAME")]
    base_flow: String,
    /// The Flow to judge, by its name in the file
    #[arg(long, value_name = "NAME")]
    candidate_flow: String,
    /// Maximum number of runs per side
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    runs: u16,
    /// Time limit, including the confirmation of a regression [default: none]
    #[arg(long, value_name = "TIME")]
    budget: Option<Span>,
    /// Keep each run's result in this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    judging: Judging,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    views: ViewArgs,
    /// Show nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

pub(super) async fn main(args: Args) -> Exit {
    run(&args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: &Args) -> Result<Exit, Problem> {
    if args.judging.gates.is_empty() {
        return Err(Problem::usage(
            "--gate is missing: set the allowed change, such as --gate 'p99 +10%'",
        ));
    }
    let part = args.parts.connected()?;
    let flows = [args.base_flow.as_str(), args.candidate_flow.as_str()];
    let plans = args.changes.plans_onto(&args.file, flows, part)?;
    let files = args.output.files()?;
    if let Some(folder) = &args.out {
        folder::create(folder)?;
        refuse_saves(&plans[0], folder)?;
    }
    let noise = args.judging.noise(args.out.as_deref())?;
    let most = usize::from(args.runs);
    refuse_tight(args, &plans[0], noise.as_ref(), most)?;
    let stop = Stop::default();
    watch_signals(stop.clone(), args.quiet);
    let views = args.views.open(&stop)?;
    let meeting = args.parts.meeting("gate", &plans[0], &stop, args.quiet).await?;
    if let Some(Meeting::Guest(_)) = &meeting {
        let followed = Parts::follow(&plans, meeting.as_ref(), &stop, Some(&views)).await;
        views.close().await;
        return followed.map(|_| Exit::Passed);
    }
    let mut rounds = Rounds {
        args,
        plans: &plans,
        stop,
        meeting,
        sides: [Vec::new(), Vec::new()],
        round: 0,
        bad: 0,
        unused: [None, None],
        started: Instant::now(),
        longest: Duration::ZERO,
        board: views.board(),
    };
    let decided = rounds.decide(noise.as_ref(), most).await;
    if let Some(meeting) = &rounds.meeting {
        meeting.close().await;
    }
    let decided = decided.map(|mut comparison| {
        if args.base_flow == args.candidate_flow {
            comparison.notes.push("Both sides are the same Flow: any difference is noise.".into());
        }
        rounds.show(&comparison);
        comparison
    });
    views.close().await;
    let comparison = decided?;
    args.output.write_comparison(&comparison, &files)?;
    Ok(exit(&comparison))
}

/// Gates that this many runs cannot decide are rejected before the runs.
fn refuse_tight(
    args: &Args,
    plan: &Plan,
    noise: Option<&Noise>,
    most: usize,
) -> Result<(), Problem> {
    let Some(noise) = noise.filter(|_| !args.judging.force) else { return Ok(()) };
    let tight = plan.scenarios.iter().find_map(|scenario| {
        let mut gates = args.judging.gates.iter();
        gates.find_map(|gate| noise.tighter(&scenario.name, gate, &[], [most; 2], ALPHA))
    });
    tight.map_or(Ok(()), |tight| {
        Err(Problem::usage(format_args!(
            "{tight}\n  = help: such a gate would be decided by chance; --force evaluates it anyway"
        )))
    })
}

/// Runs of both sides, alternating.
struct Rounds<'a> {
    args: &'a Args,
    plans: &'a [Plan; 2],
    stop: Stop,
    meeting: Option<Meeting>,
    sides: [Vec<Saved>; 2],
    round: usize,
    /// Number of unusable rounds, and the last of them.
    bad: usize,
    unused: [Option<Saved>; 2],
    started: Instant,
    /// Duration of the longest round so far.
    longest: Duration,
    /// Shows each run, and the result so far, in live views.
    board: Option<Arc<Board>>,
}

impl Rounds<'_> {
    /// Makes rounds until the verdict is known, or runs or time are used up.
    async fn decide(&mut self, noise: Option<&Noise>, most: usize) -> Result<Comparison, Problem> {
        let mut looks = Looks::new(most);
        let mut known = Vec::new();
        loop {
            if !self.round().await? {
                return self.give_up(noise);
            }
            let runs = self.sides[0].len();
            // Time for confirming a regression is reserved.
            let last = runs >= most || !self.has_time_for(1 + CONFIRMATION);
            if !last && !looks.is_due(runs) {
                continue;
            }
            let level = looks.spend(runs, last);
            let [base, candidate] = &self.sides;
            let mut found = self.args.judging.compare(base, candidate, noise, level)?;
            keep_decided(&mut found.scenarios, &known);
            found.settle();
            if found.verdict == Some(Verdict::Regressed) {
                self.confirm(&mut found).await?;
            }
            let over = self.sides[0].len() < most && !self.has_time_for(1 + CONFIRMATION);
            if found.verdict != Some(Verdict::Inconclusive) || last || over {
                found.notes.push(self.told(&found, runs, over));
                found.notes.extend(self.told_bad());
                return Ok(found);
            }
            self.show(&found);
            known = found.scenarios;
        }
    }

    /// The comparison after too many unusable rounds. It includes the last of them, so that every
    /// gate is inconclusive.
    fn give_up(&mut self, noise: Option<&Noise>) -> Result<Comparison, Problem> {
        for (side, unused) in self.sides.iter_mut().zip(&mut self.unused) {
            side.extend(unused.take());
        }
        let [base, candidate] = &self.sides;
        let mut found = self.args.judging.compare(base, candidate, noise, ALPHA)?;
        found.notes.extend(self.told_bad());
        Ok(found)
    }

    /// Shows the result so far.
    fn show(&self, found: &Comparison) {
        if let Some(board) = &self.board {
            board.found(Found::Comparison(Arc::new(found.clone())));
        }
    }

    fn told_bad(&self) -> Option<String> {
        let rounds = if self.bad == 1 { "round" } else { "rounds" };
        (self.bad > 0).then(|| format!("{} {rounds} could not be used", self.bad))
    }

    fn has_time_for(&self, rounds: usize) -> bool {
        let Some(budget) = self.args.budget else { return true };
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        self.started.elapsed() + self.longest * rounds <= budget.get()
    }

    /// Makes one run of each side. A round with an unusable run is repeated, at most as often as
    /// there are rounds to make. Returns whether it succeeded.
    async fn round(&mut self) -> Result<bool, Problem> {
        loop {
            let began = Instant::now();
            let order = if candidate_first(self.round) { [1, 0] } else { [0, 1] };
            let mut pair = [None, None];
            for side in order {
                let name = ["base", "candidate"][side];
                let label = format!("{name} {}", self.sides[side].len() + 1);
                let saved = once(
                    &self.plans[side],
                    label,
                    &self.stop,
                    self.args.quiet,
                    (self.meeting.as_ref(), side),
                    self.board.clone(),
                )
                .await?;
                pair[side] = Some(saved);
            }
            self.longest = self.longest.max(began.elapsed());
            let reason = pair.iter().flatten().find_map(|saved| {
                unusable(saved).map(|reason| format!("{}: {reason}", saved.label))
            });
            match reason {
                Some(reason) if !self.args.judging.force => {
                    self.bad += 1;
                    for saved in pair.iter().flatten() {
                        self.keep(saved, Some(self.bad))?;
                    }
                    let most = usize::from(self.args.runs);
                    if self.bad > most || !self.has_time_for(1) {
                        print::tell(format_args!(
                            "too many runs cannot be used; the last: {reason}"
                        ));
                        self.unused = pair;
                        return Ok(false);
                    }
                    if !self.args.quiet {
                        print::tell(format_args!("repeated: {reason}"));
                    }
                }
                _ => {
                    for (side, saved) in pair.into_iter().enumerate() {
                        self.sides[side].extend(saved);
                    }
                    self.round += 1;
                    let newest = self.sides.iter().filter_map(|side| side.last());
                    newest.into_iter().try_for_each(|saved| self.keep(saved, None))?;
                    return Ok(true);
                }
            }
        }
    }

    /// Saves a result, if results are kept. An unusable one goes into the folder of unusable ones,
    /// with the number of its round among those.
    fn keep(&self, saved: &Saved, unused: Option<usize>) -> Result<(), Problem> {
        let Some(folder) = &self.args.out else { return Ok(()) };
        let name = saved.label.replace(' ', "-");
        match unused {
            None => keep(folder, &name, saved),
            Some(number) => keep(&folder.join(UNUSED), &format!("{name}-{number}"), saved),
        }
    }

    /// Confirms a regression with fresh runs. If they do not confirm it, they are added to the
    /// other runs.
    async fn confirm(&mut self, found: &mut Comparison) -> Result<(), Problem> {
        if !self.has_time_for(CONFIRMATION) {
            looks::leave_unconfirmed(&mut found.scenarios);
            found.settle();
            return Ok(());
        }
        if !self.args.quiet {
            print::tell(format_args!(
                "this looks like a regression: {CONFIRMATION} fresh runs per side must repeat it"
            ));
        }
        let used = self.sides[0].len();
        for _ in 0..CONFIRMATION {
            if !self.round().await? {
                looks::leave_unconfirmed(&mut found.scenarios);
                found.settle();
                return Ok(());
            }
        }
        let [base, candidate] = [0, 1].map(|side| &self.sides[side][used..]);
        let fresh = self.args.judging.compare(base, candidate, None, ALPHA)?;
        looks::confirm(&mut found.scenarios, &fresh.scenarios);
        found.settle();
        Ok(())
    }

    fn told(&self, found: &Comparison, runs: usize, over: bool) -> String {
        let made = if runs == 1 { "1 run".into() } else { format!("{runs} runs") };
        let fresh = match self.sides[0].len() - runs {
            0 => String::new(),
            more => format!("; {more} confirmation runs each"),
        };
        match found.verdict {
            Some(Verdict::Inconclusive) if over => {
                format!("ended after {made} per side: the budget was used")
            }
            Some(Verdict::Inconclusive) => {
                format!("ended after {made} per side: all runs were made")
            }
            _ if runs < usize::from(self.args.runs) => {
                format!("stopped early after {made} per side{fresh}")
            }
            _ => format!("ended after {made} per side{fresh}"),
        }
    }
}
