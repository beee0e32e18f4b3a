//! `--part`: which part of a load this process sends.

use std::str::FromStr;

use super::problem::Problem;
use crate::units::Part;

/// The requested part.
#[derive(Clone, Copy, Debug)]
pub(super) enum PartWord {
    /// As written.
    Given(Part),
    /// Determined by the engine that started this process.
    Auto,
}

impl FromStr for PartWord {
    type Err = <Part as FromStr>::Err;

    fn from_str(text: &str) -> Result<PartWord, Self::Err> {
        match text {
            "auto" => Ok(PartWord::Auto),
            text => text.parse().map(PartWord::Given),
        }
    }
}

impl PartWord {
    /// The part; for an engine, from the variables that it sets.
    pub(super) fn part(self) -> Result<Part, Problem> {
        let part = match self {
            PartWord::Given(part) => return Ok(part),
            // What is no text is there all the same, and no number.
            PartWord::Auto => found(&|name| {
                std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
            }),
        };
        part.map_err(|error| Problem::usage(format_args!("--part auto: {error}")))
    }
}

/// Why no part was found.
#[derive(Debug, thiserror::Error, PartialEq)]
enum NoPart {
    #[error(
        "no engine is recognised: none of Open MPI, PMI, PMIx, Slurm, Kubernetes (an Indexed Job), GitLab and AWS \
         Batch has set its variables\n  = help: say which part it is, as in `--part 2/4`"
    )]
    Unknown,
    #[error(
        "this is a Slurm batch script outside `srun`, so there is one process and not {tasks}\n  = help: \
         start it by `srun flowbench …`"
    )]
    OutsideSrun { tasks: String },
    #[error("{engine}: `{index}` is set, but not `{size}`, the number of parts\n  = help: {help}")]
    NoSize { engine: &'static str, index: &'static str, size: &'static str, help: &'static str },
    #[error("{engine}: `{size}` is set, but not `{index}`, which part it is\n  = help: {help}")]
    NoIndex { engine: &'static str, index: &'static str, size: &'static str, help: &'static str },
    #[error("{engine}: `{variable}` is not set, which it is in an array job")]
    NotSet { engine: &'static str, variable: &'static str },
    #[error("{engine}: `{variable}` is `{found}`, expected a number from {least} to {most}")]
    Wrong { engine: &'static str, variable: &'static str, found: String, least: u64, most: u64 },
    #[error(
        "{engine}: `{variable}` is `{found}`, expected {least} to {most}, because `{size}` is `{of}`"
    )]
    Beyond {
        engine: &'static str,
        variable: &'static str,
        found: u64,
        least: u64,
        most: u64,
        size: &'static str,
        of: u64,
    },
    #[error(
        "Slurm: task {id} of an array of {count} from {least} to {greatest}: expected tasks that are evenly apart, as of \
         `--array=1-4` or `--array=10-40:10`, because no other array says which place a task has"
    )]
    Uneven { id: u64, count: u64, least: u64, greatest: u64 },
    #[error(
        "{engine}: there are {of} parts by its variables, but `{PARTS}` is `{found}`\n  = help: unset `{PARTS}`, or say \
         which part it is, as in `--part 2/4`"
    )]
    Otherwise { engine: &'static str, of: u64, found: String },
}

/// How an engine numbers its tasks.
struct Engine {
    name: &'static str,
    index: &'static str,
    size: &'static str,
    /// The index of the first task.
    first: u64,
    /// Advice if there is an index but no size.
    help: &'static str,
}

/// Launchers that start the processes of a job themselves and therefore come first: in a Slurm job, `mpirun`
/// numbers the processes, not Slurm.
const LAUNCHERS: [Engine; 2] = [
    Engine {
        name: "Open MPI",
        index: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        first: 0,
        help: "start it by `mpirun`",
    },
    Engine {
        name: "PMI",
        index: "PMI_RANK",
        size: "PMI_SIZE",
        first: 0,
        help: "start it by `mpiexec`",
    },
];

/// Engines that are checked after the launchers.
const ENGINES: [Engine; 6] = [
    Engine {
        name: "Slurm",
        index: "SLURM_PROCID",
        size: "SLURM_NTASKS",
        first: 0,
        help: "start it by `srun`",
    },
    Engine {
        name: "PMIx",
        index: "PMIX_RANK",
        size: PARTS,
        first: 0,
        help: "set it, as PMIx has no variable for it",
    },
    Engine {
        name: "Kubernetes",
        index: "JOB_COMPLETION_INDEX",
        size: PARTS,
        first: 0,
        help: "set it to the `completions` of the Job, as Kubernetes has no variable for them",
    },
    Engine {
        name: "GitLab",
        index: "CI_NODE_INDEX",
        size: "CI_NODE_TOTAL",
        first: 1,
        help: "give the job `parallel`",
    },
    Engine {
        name: "AWS Batch",
        index: "AWS_BATCH_JOB_ARRAY_INDEX",
        size: "AWS_BATCH_JOB_ARRAY_SIZE",
        first: 0,
        help: "submit it as an array job",
    },
    Engine {
        name: "AWS Batch",
        index: "AWS_BATCH_JOB_NODE_INDEX",
        size: "AWS_BATCH_JOB_NUM_NODES",
        first: 0,
        help: "submit it as a job of several nodes",
    },
];

/// The number of parts, if an engine does not provide it.
const PARTS: &str = "FLOWBENCH_PARTS";

type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

fn found(variable: Variables<'_>) -> Result<Part, NoPart> {
    let is_set = |engine: &&Engine| variable(engine.index).is_some();
    let is_half_set = |engine: &&Engine| engine.size != PARTS && variable(engine.size).is_some();
    if let Some(engine) = LAUNCHERS.iter().find(is_set) {
        return engine.part(variable);
    }
    if let Some(engine) = LAUNCHERS.iter().find(is_half_set) {
        return Err(engine.without_index());
    }
    if variable("SLURM_ARRAY_TASK_ID").is_some() {
        return as_said("Slurm", of_array(variable)?, variable);
    }
    // Slurm also sets both for a batch script, which runs only once.
    if variable("SLURM_PROCID").is_some() && !is_step(variable) {
        let tasks = variable("SLURM_NTASKS").unwrap_or_else(|| "1".into());
        return Err(NoPart::OutsideSrun { tasks });
    }
    if let Some(engine) = ENGINES.iter().find(is_set) {
        return engine.part(variable);
    }
    let half = ENGINES.iter().find(is_half_set);
    Err(half.map_or(NoPart::Unknown, Engine::without_index))
}

/// Whether `srun` started this process. Slurm also gives numbers to what is no step of tasks: the batch script, the
/// shell of `salloc`, what adopts processes from outside (`slurm/slurm.h`).
fn is_step(variable: Variables<'_>) -> bool {
    const SPECIAL: u64 = 0xffff_fff0;
    let number = variable("SLURM_STEP_ID").and_then(|id| id.trim().parse::<u64>().ok());
    number.is_some_and(|number| number < SPECIAL)
}

/// The same part, unless somebody says that there are as many others.
fn as_said(engine: &'static str, part: Part, variable: Variables<'_>) -> Result<Part, NoPart> {
    match variable(PARTS) {
        Some(found) if found.trim().parse() != Ok(part.of()) => {
            Err(NoPart::Otherwise { engine, of: part.of(), found })
        }
        _ => Ok(part),
    }
}

impl Engine {
    fn part(&self, variable: Variables<'_>) -> Result<Part, NoPart> {
        let Engine { name: engine, index, size, help, .. } = *self;
        if variable(size).is_none() {
            return Err(NoPart::NoSize { engine, index, size, help });
        }
        let range = (self.first, self.first + Part::MAX - 1);
        let place = number(engine, index, variable, range)?;
        let of = number(engine, size, variable, (1, Part::MAX))?;
        let number = place.checked_sub(self.first).and_then(|place| place.checked_add(1));
        let part = number.and_then(|number| Part::new(number, of)).ok_or(NoPart::Beyond {
            engine,
            variable: index,
            found: place,
            least: self.first,
            most: self.first + of - 1,
            size,
            of,
        })?;
        as_said(engine, part, variable)
    }

    fn without_index(&self) -> NoPart {
        let Engine { name: engine, index, size, help, .. } = *self;
        NoPart::NoIndex { engine, index, size, help }
    }
}

/// The part of a task in a Slurm array job: task ids need not start at 0 or be consecutive. Each array task may
/// run several processes.
fn of_array(variable: Variables<'_>) -> Result<Part, NoPart> {
    const ENGINE: &str = "Slurm";
    let of = |name| number(ENGINE, name, variable, (0, u64::from(u32::MAX)));
    let (id, least) = (of("SLURM_ARRAY_TASK_ID")?, of("SLURM_ARRAY_TASK_MIN")?);
    let (greatest, count) = (of("SLURM_ARRAY_TASK_MAX")?, of("SLURM_ARRAY_TASK_COUNT")?);
    let uneven = NoPart::Uneven { id, count, least, greatest };
    let step = match (greatest.checked_sub(least), count) {
        (Some(span), 2..) if span % (count - 1) == 0 => span / (count - 1),
        (Some(0), 1) => 1,
        // With `--array=1,3,7`, no variable gives the position of a task.
        _ => return Err(uneven),
    };
    let place = id.checked_sub(least).filter(|span| span % step.max(1) == 0);
    let Some(place) = place.map(|span| span / step.max(1)) else { return Err(uneven) };
    let (mut rank, mut ranks) = (0, 1);
    if is_step(variable) {
        (rank, ranks) = (of("SLURM_PROCID")?, of("SLURM_NTASKS")?);
    }
    let part = Part::new((place * ranks).saturating_add(rank + 1), count.saturating_mul(ranks));
    part.filter(|_| rank < ranks).ok_or(uneven)
}

fn number(
    engine: &'static str,
    name: &'static str,
    variable: Variables<'_>,
    (least, most): (u64, u64),
) -> Result<u64, NoPart> {
    let Some(found) = variable(name) else {
        return Err(NoPart::NotSet { engine, variable: name });
    };
    let number = found.trim().parse::<u64>().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or(NoPart::Wrong { engine, variable: name, found, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(variables: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        found(&variable).map(|part| part.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_engine_says_which_part_it_is() {
        for (variables, expected) in [
            (&[("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4")][..], "3/4"),
            (&[("PMI_RANK", "0"), ("PMI_SIZE", "4")], "1/4"),
            (&[("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "3"), ("SLURM_NTASKS", "4")], "4/4"),
            (&[("PMIX_RANK", "1"), ("FLOWBENCH_PARTS", "2")], "2/2"),
            (&[("JOB_COMPLETION_INDEX", "7"), ("FLOWBENCH_PARTS", "8")], "8/8"),
            (&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "3")], "1/3"),
            (&[("AWS_BATCH_JOB_ARRAY_INDEX", "1"), ("AWS_BATCH_JOB_ARRAY_SIZE", "3")], "2/3"),
            (&[("AWS_BATCH_JOB_NODE_INDEX", "0"), ("AWS_BATCH_JOB_NUM_NODES", "3")], "1/3"),
            // `mpirun` in a Slurm batch script.
            (
                &[
                    ("SLURM_PROCID", "0"),
                    ("SLURM_NTASKS", "8"),
                    ("OMPI_COMM_WORLD_RANK", "5"),
                    ("OMPI_COMM_WORLD_SIZE", "8"),
                ],
                "6/8",
            ),
            // `--array=10-40:10`
            (
                &[
                    ("SLURM_ARRAY_TASK_ID", "30"),
                    ("SLURM_ARRAY_TASK_MIN", "10"),
                    ("SLURM_ARRAY_TASK_MAX", "40"),
                    ("SLURM_ARRAY_TASK_COUNT", "4"),
                    ("SLURM_PROCID", "0"),
                    ("SLURM_NTASKS", "1"),
                ],
                "3/4",
            ),
            // `--array=0-1` with `srun -n 2` in each.
            (
                &[
                    ("SLURM_ARRAY_TASK_ID", "1"),
                    ("SLURM_ARRAY_TASK_MIN", "0"),
                    ("SLURM_ARRAY_TASK_MAX", "1"),
                    ("SLURM_ARRAY_TASK_COUNT", "2"),
                    ("SLURM_STEP_ID", "0"),
                    ("SLURM_PROCID", "1"),
                    ("SLURM_NTASKS", "2"),
                ],
                "4/4",
            ),
        ] {
            assert_eq!(part(variables), Ok(expected.into()), "{variables:?}");
        }
    }

    #[test]
    fn what_is_not_certain_is_an_error_and_never_a_whole_load() {
        for (variables, expected) in [
            (&[][..], "no engine is recognised"),
            (&[("FLOWBENCH_PARTS", "4")], "no engine is recognised"),
            (&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")], "outside `srun`"),
            (&[("JOB_COMPLETION_INDEX", "1")], "but not `FLOWBENCH_PARTS`"),
            (&[("CI_NODE_INDEX", "1")], "but not `CI_NODE_TOTAL`"),
            (
                &[("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "3")],
                "GitLab: `CI_NODE_INDEX` is `0`, expected a number from 1 to ",
            ),
            (
                &[("CI_NODE_INDEX", "4"), ("CI_NODE_TOTAL", "3")],
                "GitLab: `CI_NODE_INDEX` is `4`, expected 1 to 3, because `CI_NODE_TOTAL` is `3`",
            ),
            (
                &[("PMI_RANK", "4"), ("PMI_SIZE", "4")],
                "PMI: `PMI_RANK` is `4`, expected 0 to 3, because `PMI_SIZE` is `4`",
            ),
            (
                &[("PMI_RANK", "x"), ("PMI_SIZE", "4")],
                "`PMI_RANK` is `x`, expected a number from 0 to ",
            ),
            (&[("PMI_RANK", "0"), ("PMI_SIZE", "")], "`PMI_SIZE` is ``, expected a number from 1"),
            (&[("PMI_RANK", "0"), ("PMI_SIZE", "99999999999999999999")], "`PMI_SIZE` is `9"),
            (
                &[("PMI_RANK", "0"), ("PMI_SIZE", "0")],
                "`PMI_SIZE` is `0`, expected a number from 1",
            ),
            // Half of it.
            (
                &[("OMPI_COMM_WORLD_SIZE", "4")],
                "Open MPI: `OMPI_COMM_WORLD_SIZE` is set, but not `OMPI_COMM_WORLD_RANK`",
            ),
            (
                &[
                    ("OMPI_COMM_WORLD_SIZE", "4"),
                    ("SLURM_STEP_ID", "0"),
                    ("SLURM_PROCID", "0"),
                    ("SLURM_NTASKS", "4"),
                ],
                "but not `OMPI_COMM_WORLD_RANK`",
            ),
            (&[("CI_NODE_TOTAL", "1")], "but not `CI_NODE_INDEX`, which part it is"),
            (
                &[("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_MAX", "4")],
                "Slurm: `SLURM_ARRAY_TASK_MIN` is not set",
            ),
            // Two that say something else.
            (
                &[
                    ("OMPI_COMM_WORLD_RANK", "1"),
                    ("OMPI_COMM_WORLD_SIZE", "4"),
                    ("FLOWBENCH_PARTS", "8"),
                ],
                "Open MPI: there are 4 parts by its variables, but `FLOWBENCH_PARTS` is `8`",
            ),
            // The batch script itself, the shell of `salloc`, and what is nobody's.
            (
                &[("SLURM_STEP_ID", "4294967291"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
                "outside `srun`",
            ),
            (
                &[("SLURM_STEP_ID", "4294967290"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
                "outside `srun`",
            ),
            (
                &[("SLURM_STEP_ID", "4294967294"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
                "outside `srun`",
            ),
            // `--array=1,3,7`
            (
                &[
                    ("SLURM_ARRAY_TASK_ID", "3"),
                    ("SLURM_ARRAY_TASK_MIN", "1"),
                    ("SLURM_ARRAY_TASK_MAX", "8"),
                    ("SLURM_ARRAY_TASK_COUNT", "3"),
                ],
                "Slurm: task 3 of an array of 3 from 1 to 8: expected tasks that are evenly apart",
            ),
        ] {
            let told = part(variables).expect_err("it is not certain");
            assert!(told.contains(expected), "{variables:?}: {told}");
        }
    }
}
