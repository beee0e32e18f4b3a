//! `--part`, `--meet` and related options: several processes send a load together.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::exit::Exit;
use super::part::PartWord;
use super::print;
use super::problem::Problem;
use super::views::Views;
use crate::engine::Stop;
use crate::meet::{Identity, Lost, MeetError, Meeting, Place, Tls, Token};
use crate::plan::Plan;
use crate::run::{self, RunError, member};
use crate::units::{Part, Span};

/// The variable with the token that all parts share.
pub(super) const TOKEN: &str = "FLOWBENCH_MEET_TOKEN";

/// The default port of the meeting point, for parts that have their own addresses.
pub(super) const PORT: u16 = 4747;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Parts of a load")]
pub(super) struct Parts {
    /// Send one part of the load, as `2/4`; several processes together send the whole. `auto`: as the engine
    /// that starts them (Slurm, MPI, an Indexed Job of Kubernetes, GitLab, AWS Batch) numbers them
    #[arg(long, value_name = "N/PARTS|auto", value_parser = PartWord::from_str)]
    part: Option<PartWord>,
    /// Connect the parts: part 1 listens there, and the others connect to it. All begin together, part 1 has the
    /// result, and all have the same secret in FLOWBENCH_MEET_TOKEN. `auto`: the first host of Slurm, or the
    /// first pod of an Indexed Job
    #[arg(long, value_name = "HOST:PORT|auto", value_parser = MeetWord::from_str, requires = "part")]
    meet: Option<MeetWord>,
    /// How long to wait until all parts are there
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "meet")]
    meet_wait: Span,
    /// When a part is lost: end all others, or go on without it and note that
    #[arg(long, value_name = "abort|note", default_value = "abort", value_parser = Lost::from_str, requires = "meet")]
    lost: Lost,
    /// Certificates that parts trust besides the system's, PEM; with TLS between parts
    #[arg(long, value_name = "FILE", requires = "meet")]
    meet_ca: Option<PathBuf>,
    /// The certificate of part 1, PEM; without --meet-ca it is what the others trust
    #[arg(long, value_name = "FILE", requires = "meet")]
    meet_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "meet")]
    meet_key: Option<PathBuf>,
}

/// Where parts meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MeetWord {
    /// At this host and port.
    Given(String, u16),
    /// On the first host that the engine reports.
    Auto,
}

#[derive(Debug, thiserror::Error)]
#[error("expected an address such as `node1:4747` or `10.0.0.1:4747`, found `{0}`")]
pub(super) struct NoAddress(String);

impl fmt::Display for MeetWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MeetWord::Given(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            MeetWord::Given(host, port) => write!(f, "{host}:{port}"),
            MeetWord::Auto => f.write_str("auto"),
        }
    }
}

impl FromStr for MeetWord {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<MeetWord, NoAddress> {
        if text == "auto" {
            return Ok(MeetWord::Auto);
        }
        let wrong = || NoAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').ok_or_else(wrong)?,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        let named = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
        let port = port.parse().ok().filter(|port| *port != 0 && named).ok_or_else(wrong)?;
        Ok(MeetWord::Given(host.to_owned(), port))
    }
}

impl Parts {
    /// The part that this process sends.
    pub(super) fn part(&self) -> Result<Part, Problem> {
        self.part.map_or(Ok(Part::WHOLE), PartWord::part)
    }

    /// Like `part`, for a command whose results cannot be merged afterwards.
    pub(super) fn connected(&self) -> Result<Part, Problem> {
        let part = self.part()?;
        if self.lost == Lost::Note {
            return Err(Problem::usage(
                "--lost note: this command compares runs of all parts, so when one is lost, all end\n  = help: leave it out, or \
                 write `--lost abort`",
            ));
        }
        match part.is_whole() || self.meet.is_some() {
            true => Ok(part),
            false => Err(Problem::usage(
                "--part: the parts of this command have to be connected\n  = help: say where they meet, as in `--meet \
                 node1:4747`",
            )),
        }
    }

    /// Follows part 1, if this is another part; returns whether it was.
    pub(super) async fn follow(
        plans: &[Plan],
        meeting: Option<&Meeting>,
        stop: &Stop,
        views: Option<&Views>,
    ) -> Result<bool, Problem> {
        let Some(meeting @ Meeting::Guest(_)) = meeting else { return Ok(false) };
        let board = views.and_then(Views::board);
        let followed = run::follow(plans, meeting, stop, &print::output(true), board).await;
        meeting.close().await;
        match followed {
            Ok(()) if stop.drain.is_cancelled() => {
                Err(Problem::new(Exit::Interrupted, "interrupted".into()))
            }
            Ok(()) => Ok(true),
            Err(RunError::Meet(error)) => Err(problem(&error, stop)),
            Err(error) => Err(Problem::caused(Exit::Usage, &error)),
        }
    }

    /// Whether this process has the result of the whole load.
    pub(super) fn has_the_whole(&self, part: Part) -> bool {
        part.is_whole() || self.meet.is_some() && part.number() == 1
    }

    /// Meets the other parts, if requested.
    pub(super) async fn meeting(
        &self,
        command: &'static str,
        plan: &Plan,
        stop: &Stop,
        quiet: bool,
    ) -> Result<Option<Meeting>, Problem> {
        let Some(meet) = &self.meet else { return Ok(None) };
        if plan.part.is_whole() {
            return Err(Problem::usage(
                "--meet: there is one part, so there are no others to meet",
            ));
        }
        let place = self.place(meet)?;
        let own = Identity::new(command, plan, member());
        let told = |gathering: &_| {
            if !quiet {
                print::tell(gathering);
            }
        };
        let meeting = tokio::select! {
            meeting = place.meet(own, &told) => meeting,
            () = stop.drain.cancelled() => {
                return Err(Problem::new(Exit::Interrupted, "interrupted before all parts were there".into()));
            }
        };
        meeting.map(Some).map_err(|error| problem(&error, stop))
    }

    fn place(&self, meet: &MeetWord) -> Result<Place, Problem> {
        let (host, port) = match meet {
            MeetWord::Given(host, port) => (host.clone(), *port),
            MeetWord::Auto => found(&|name| {
                std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
            })
            .map_err(|error| Problem::usage(format_args!("--meet auto: {error}")))?,
        };
        let token = std::env::var(TOKEN).map_err(|_| no_token("is not set"))?;
        let token = Token::new(token).ok_or_else(|| {
            no_token(&format!("is not {} letters and digits at least", Token::LENGTH_MIN))
        })?;
        let (ca, cert, key) = (self.meet_ca.clone(), self.meet_cert.clone(), self.meet_key.clone());
        let any = ca.is_some() || cert.is_some() || key.is_some();
        Ok(Place {
            host,
            port,
            token,
            tls: any.then_some(Tls { ca, cert, key }),
            wait: self.meet_wait.get(),
            lost: self.lost,
        })
    }
}

fn no_token(what: &str) -> Problem {
    Problem::usage(format_args!(
        "--meet: `{TOKEN}` {what}\n  = help: give all parts the same secret: export {TOKEN}=$(openssl rand -hex 16)"
    ))
}

/// The problem that the parts cannot meet or begin together.
pub(super) fn problem(error: &MeetError, stop: &Stop) -> Problem {
    let exit = match error {
        _ if stop.drain.is_cancelled() => Exit::Interrupted,
        MeetError::Tls(_)
        | MeetError::NoCertificate
        | MeetError::Config(_)
        | MeetError::Refused(_) => Exit::Usage,
        MeetError::Listen { .. }
        | MeetError::Missing { .. }
        | MeetError::NoAnswer { .. }
        | MeetError::NotTrusted(_)
        | MeetError::WantsTls { .. }
        | MeetError::Lost(_)
        | MeetError::Ended(_) => Exit::Unreachable,
    };
    let text = format!("error: --meet: {}", crate::error::chain(error));
    Problem::new(exit, text)
}

/// Why no meeting point was found.
#[derive(Debug, thiserror::Error, PartialEq)]
enum NoPlace {
    #[error(
        "neither Slurm nor an Indexed Job of Kubernetes has set its variables\n  = help: say where part 1 is, as \
         in `--meet node1:{PORT}`"
    )]
    Unknown,
    #[error(
        "tasks of an array job do not know each other's hosts\n  = help: say where part 1 is, as in `--meet \
         node1:{PORT}`"
    )]
    Array,
    #[error("`{variable}` is `{found}`, which is no list of hosts")]
    Hosts { variable: &'static str, found: String },
    #[error("`{variable}` is {}, expected the number of the job", shown(found))]
    Job { variable: &'static str, found: Option<String> },
    #[error(
        "`HOSTNAME` is {}, expected the name of the pod: that of the Job with `-{index}` after it\n  = help: say where \
         part 1 is, as in `--meet load-0.load:{PORT}`",
        shown(found)
    )]
    Pod { found: Option<String>, index: String },
}

/// A variable's value, which may be none.
fn shown(found: &Option<String>) -> String {
    found.as_ref().map_or_else(|| "not set".into(), |found| format!("`{found}`"))
}

/// The address of part 1, from the variables of engines.
fn found(variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, u16), NoPlace> {
    if variable("SLURM_ARRAY_TASK_ID").is_some() {
        return Err(NoPlace::Array);
    }
    for name in ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"] {
        let Some(list) = variable(name) else { continue };
        let host = first_host(&list);
        let host = host.ok_or_else(|| NoPlace::Hosts { variable: name, found: list.clone() })?;
        // Jobs that share a host have ports of their own, below those that the system gives to others.
        let found = variable("SLURM_JOB_ID");
        let job = found.as_deref().and_then(|id| id.trim().parse::<u64>().ok());
        let job = job.ok_or(NoPlace::Job { variable: "SLURM_JOB_ID", found })?;
        return Ok((host, 10_000 + (job % 20_000) as u16));
    }
    if let Some(index) = variable("JOB_COMPLETION_INDEX") {
        let pod = variable("HOSTNAME");
        let job = pod.as_deref().and_then(|pod| pod.strip_suffix(&format!("-{index}")));
        let job = job.filter(|job| !job.is_empty());
        let job = job.ok_or_else(|| NoPlace::Pod { found: pod.clone(), index: index.clone() })?;
        // The headless Service has the same name as the Job.
        return Ok((format!("{job}-0.{job}"), PORT));
    }
    Err(NoPlace::Unknown)
}

/// The first host of a list in Slurm's notation: `n1`, `n[1-4,7],m3`, `rack[1-2]n[01-16]`.
fn first_host(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list;
    while let Some(c) = rest.chars().next() {
        match c {
            ',' => break,
            '[' => {
                let (ranges, after) = rest[1..].split_once(']')?;
                let first = ranges.split([',', '-']).next()?;
                host.push_str(first);
                rest = after;
            }
            c if c.is_ascii_alphanumeric() || "-_.".contains(c) => {
                host.push(c);
                rest = &rest[1..];
            }
            _ => return None,
        }
    }
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let given = |host: &str, port| Some(MeetWord::Given(host.into(), port));
        for (text, expected) in [
            ("auto", Some(MeetWord::Auto)),
            ("node1:4747", given("node1", 4747)),
            ("10.0.0.1:80", given("10.0.0.1", 80)),
            ("[::1]:4747", given("::1", 4747)),
            ("::1:4747", None),
            ("node1", None),
            (":4747", None),
            ("node1:0", None),
            ("node1:99999", None),
            ("http://node1:4747", None),
            ("[::1:4747", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<MeetWord>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_first_host_of_an_engine_is_where_parts_meet() {
        let place = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            found(&variable).map_err(|error| error.to_string())
        };
        let slurm = |list: &str| place(&[("SLURM_JOB_ID", "20001"), ("SLURM_STEP_NODELIST", list)]);
        for (list, host) in [
            ("n1", "n1"),
            ("n1,n2", "n1"),
            ("n[1-4]", "n1"),
            ("n[07,09-12],m3", "n07"),
            ("rack[1-2]n[01-16].site", "rack1n01.site"),
        ] {
            assert_eq!(slurm(list), Ok((host.to_owned(), 10_001)), "{list}");
        }
        assert!(slurm("n[1-4").is_err_and(|told| told.contains("`n[1-4`, which is no list")));
        assert!(slurm("").is_err());
        let pod = |name| place(&[("JOB_COMPLETION_INDEX", "2"), ("HOSTNAME", name)]);
        assert_eq!(pod("load-2"), Ok(("load-0.load".into(), 4747)));
        let told = pod("load-7").expect_err("another pod");
        assert!(
            told.contains(
                "`HOSTNAME` is `load-7`, expected the name of the pod: that of the Job with `-2`"
            ),
            "{told}"
        );
        let told = place(&[("JOB_COMPLETION_INDEX", "1")]).expect_err("no name");
        assert!(
            told.contains(
                "`HOSTNAME` is not set, expected the name of the pod: that of the Job with `-1`"
            ),
            "{told}"
        );
        // No port that all jobs would have.
        for (id, found) in [(None, "not set"), (Some("x"), "`x`")] {
            let nodes = ("SLURM_STEP_NODELIST", "n1");
            let all: Vec<_> =
                id.map(|id| ("SLURM_JOB_ID", id)).into_iter().chain([nodes]).collect();
            let told = place(&all).expect_err("no job");
            assert_eq!(told, format!("`SLURM_JOB_ID` is {found}, expected the number of the job"));
        }
        assert!(
            place(&[("SLURM_ARRAY_TASK_ID", "1")]).is_err_and(|told| told.contains("array job"))
        );
        assert!(place(&[]).is_err_and(|told| told.contains("neither Slurm")));
    }
}
