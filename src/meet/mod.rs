//! Where the parts of a load meet: part 1 listens, the others connect to it. It carries who is there, when all
//! begin, what each measured, and who is gone; what that means for a run, `run/` knows.
//!
//! A part has one call of the service in `proto/meet.proto` for the whole run. Twice a second it asks part 1 for
//! its time, which keeps the call alive as well: a side that hears nothing for [`SILENCE_MAX`] takes the other
//! for lost. Nothing here is on the path of a request, and nothing waits without a bound: a side that cannot
//! take what comes is lost, too.

mod guest;
mod host;
mod offset;
mod proto;
mod refusal;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub use guest::Guest;
pub(crate) use guest::{FromHost, HostLine};
pub use host::Host;
pub(crate) use host::{FromGuest, Guests};

use crate::client::{CallError, ConfigError};
use crate::flow::TlsError;
use crate::plan::{Plan, without_folders};
use crate::random::Key;
use crate::units::{Part, same_secret};
use refusal::Refusal;

/// A part that says nothing for so long is lost. More than a machine stands still now and then, and little
/// enough for all to end within five seconds.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);

/// How long all may take to end once a part is lost, that silence included.
const END_MAX: Duration = Duration::from_millis(4500);

/// How long what is in flight may take at least when all end.
const GRACE_MIN: Duration = Duration::from_millis(500);

/// How often a part asks for the time.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How long a peer may take for TLS, its greeting, and its farewell.
const GREETING_MAX: Duration = Duration::from_secs(10);

/// The largest message, with room for what surrounds a piece.
const MESSAGE_MAX: usize = PIECE_MAX + (64 << 10);

/// The largest piece of a line.
const PIECE_MAX: usize = 64 << 10;

/// The longest line of a journal that a part may tell: a second of all its threads.
const LINE_MAX: usize = 16 << 20;

/// The longest text in a message, in bytes.
const TEXT_MAX: usize = 4 << 10;

/// Where and how to meet.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name or address of part 1's machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What all parts know and nobody else.
    pub token: Token,
    /// Encrypts what is said, where there is any.
    pub tls: Option<Tls>,
    /// How long to wait until all are there.
    pub wait: Duration,
    /// What to do when a part is lost.
    pub lost: Lost,
}

/// What all parts of a load know. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The PEM files of the meeting point, as those of a Flow.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// What the others trust besides the system's certificates.
    pub ca: Option<PathBuf>,
    /// The certificate of part 1.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// What to do when a part is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lost {
    /// All others end.
    #[default]
    Abort,
    /// They go on, and the result says so.
    Note,
}

/// Neither of the two words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `abort` or `note`, found `{0}`")]
pub struct NoLost(String);

impl FromStr for Lost {
    type Err = NoLost;

    fn from_str(text: &str) -> Result<Lost, NoLost> {
        match text {
            "abort" => Ok(Lost::Abort),
            "note" => Ok(Lost::Note),
            text => Err(NoLost(text.to_owned())),
        }
    }
}

/// Who a part is, and what it is about to do. All but the machine must be the same in all parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which part.
    pub part: Part,
    /// The command, such as `run`.
    pub command: &'static str,
    /// Name of the suite.
    pub suite: String,
    /// Its seed.
    pub seed: u64,
    /// Of everything that the plan says.
    pub digest: u64,
    /// Its machine.
    pub member: Member,
}

/// The machine of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name, where it has one.
    pub host: Option<String>,
    /// Its processors.
    pub cores: usize,
    /// When the part was started, by its own clock.
    pub started_at: Timestamp,
    /// The state of that clock, where it is known.
    pub clock: Option<SystemClock>,
}

/// What a system says of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock {
    /// Whether it is kept in step with others.
    pub synchronised: bool,
    /// How wrong it may be at most.
    pub error: Duration,
}

/// How far those who gather are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// Part 1 waits for these.
    Waiting {
        /// Their numbers.
        missing: Vec<u64>,
        /// How many parts there are.
        of: u64,
    },
    /// Part 1 has not answered yet.
    Calling {
        /// Where it is looked for.
        address: String,
    },
}

/// A meeting where all are, for one run or several. Cheap to clone; ends with the last clone.
#[derive(Clone, Debug)]
pub enum Meeting {
    /// This is part 1.
    Host(Arc<Host>),
    /// This is another one.
    Guest(Arc<Guest>),
}

impl Meeting {
    /// Takes leave of the others, once everything was told.
    pub async fn close(&self) {
        match self {
            Meeting::Host(host) => host.close().await,
            Meeting::Guest(guest) => guest.close().await,
        }
    }
}

/// A run of all parts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    /// When its load begins, if a time is set.
    pub(crate) at: Option<Instant>,
    /// Which of the plans of the command it carries out.
    pub(crate) plan: usize,
    /// Part 1 says which scenario runs when, and under which load.
    pub(crate) trials: bool,
}

/// Why there is no meeting.
#[derive(Debug, thiserror::Error)]
pub enum MeetError {
    /// Part 1 cannot listen there.
    #[error("could not listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// TLS of part 1 cannot be set up.
    #[error("the meeting point cannot use TLS")]
    Tls(#[from] TlsError),
    /// TLS is asked for, and part 1 has no certificate or no key.
    #[error("part 1 needs a certificate and its key for TLS")]
    NoCertificate,
    /// An option of the others cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Some did not come.
    #[error("{} of {of} did not come within {wait:?}", parts(missing))]
    Missing {
        /// Their numbers.
        missing: Vec<u64>,
        /// How many parts there are.
        of: u64,
        /// How long they were waited for.
        wait: Duration,
    },
    /// Part 1 did not answer.
    #[error("part 1 did not answer at {address} within {wait:?}: {reason}")]
    NoAnswer {
        /// Where it was looked for.
        address: String,
        /// How long.
        wait: Duration,
        /// What came of the last attempt.
        reason: String,
    },
    /// What listens there shows another certificate, or speaks no TLS.
    #[error(transparent)]
    NotTrusted(CallError),
    /// Part 1 does not take this one.
    #[error("part 1 refused this part: {0}")]
    Refused(String),
    /// All were there, or not, and then it did not begin.
    #[error("the load did not begin: {0}")]
    Ended(String),
}

impl Token {
    /// The fewest characters of a token: whoever guesses it sends what is taken for a part's figures.
    pub const LENGTH_MIN: usize = 16;

    /// A token; `None` when it is too short, or has characters that no header may have.
    pub fn new(text: String) -> Option<Token> {
        let fits = (Token::LENGTH_MIN..=1024).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(Token(text))
    }

    fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header has it.
    fn is_in(&self, header: &[u8]) -> bool {
        same_secret(header, self.header().as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl fmt::Display for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gathering::Waiting { missing, of } => {
                write!(f, "waiting for {} of {of}", parts(missing))
            }
            Gathering::Calling { address } => write!(f, "waiting for part 1 at {address}"),
        }
    }
}

/// `part 2`, `parts 2 and 3`, `parts 2, 3, 4 and 60 others`.
fn parts(numbers: &[u64]) -> String {
    const SHOWN: usize = 8;
    let (shown, rest) = numbers.split_at(numbers.len().min(SHOWN));
    let mut words: Vec<String> = shown.iter().map(u64::to_string).collect();
    if !rest.is_empty() {
        words.push(format!("{} others", rest.len()));
    }
    let last = words.pop().unwrap_or_default();
    match words.is_empty() {
        true => format!("part {last}"),
        false => format!("parts {} and {last}", words.join(", ")),
    }
}

impl Place {
    /// `host:port`, as it is written in an address.
    fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Meets the other parts, and waits until all are there. `told` hears of whom it waits for.
    ///
    /// # Errors
    /// When they do not come in time, or this part is not one of them.
    pub async fn meet(
        &self,
        own: Identity,
        told: &(dyn Fn(&Gathering) + Sync),
    ) -> Result<Meeting, MeetError> {
        match own.part.number() {
            1 => {
                let host = Host::open(self, own).await?.gather(told).await?;
                Ok(Meeting::Host(Arc::new(host)))
            }
            _ => Guest::join(self, &own, told).await.map(|guest| Meeting::Guest(Arc::new(guest))),
        }
    }
}

impl Identity {
    /// Who a process is that carries out a plan.
    pub fn new(command: &'static str, plan: &Plan, member: Member) -> Identity {
        let names = plan.scenarios.iter().map(|scenario| scenario.name.as_str());
        let mut resolved = plan.resolved();
        without_folders(&mut resolved);
        // Each machine may have secrets of its own.
        let resolved = resolved.to_string();
        let key = Key::new(plan.seed).part(&plan.secrets.mask(&resolved));
        let key = names.fold(key, Key::part);
        Identity {
            part: plan.part,
            command,
            suite: plan.secrets.mask(&plan.name).into_owned(),
            seed: plan.seed,
            // Against mistakes, not against people: those have the token.
            digest: key.below(u64::MAX),
            member,
        }
    }

    /// Refuses a part that is of another load.
    fn admit(&self, other: &proto::Hello) -> Result<(), Refusal> {
        let own = env!("CARGO_PKG_VERSION");
        if other.version != own {
            return Err(Refusal::Version { found: cut(&other.version), own });
        }
        if other.command != self.command {
            return Err(Refusal::Command { found: cut(&other.command), own: self.command });
        }
        if other.of != self.part.of() {
            return Err(Refusal::Parts { found: other.of, own: self.part.of() });
        }
        if other.suite != self.suite {
            return Err(Refusal::Suite { found: cut(&other.suite), own: self.suite.clone() });
        }
        if other.seed != self.seed {
            return Err(Refusal::Seed { found: other.seed, own: self.seed });
        }
        match other.digest == self.digest {
            true => Ok(()),
            false => Err(Refusal::Plan),
        }
    }

    fn hello(&self) -> proto::Hello {
        proto::Hello {
            version: env!("CARGO_PKG_VERSION").into(),
            command: self.command.into(),
            number: self.part.number(),
            of: self.part.of(),
            suite: self.suite.clone(),
            seed: self.seed,
            digest: self.digest,
            host: self.member.host.clone().unwrap_or_default(),
            cores: self.member.cores as u64,
            started_at: self.member.started_at.to_string(),
            clock: self.member.clock.map(|clock| proto::Clock {
                synchronised: clock.synchronised,
                error_us: u64::try_from(clock.error.as_micros()).unwrap_or(u64::MAX),
            }),
        }
    }
}

impl From<&proto::Hello> for Member {
    fn from(hello: &proto::Hello) -> Member {
        Member {
            host: Some(cut(&hello.host)).filter(|host| !host.is_empty()),
            cores: usize::try_from(hello.cores).unwrap_or(usize::MAX),
            started_at: hello.started_at.parse().unwrap_or_default(),
            clock: hello.clock.as_ref().map(|clock| SystemClock {
                synchronised: clock.synchronised,
                error: Duration::from_micros(clock.error_us),
            }),
        }
    }
}

/// How long what is in flight may take when all end because of a part that was silent for so long.
fn grace_after(silent: Duration) -> Duration {
    END_MAX.saturating_sub(silent).max(GRACE_MIN)
}

/// A text that fits into a message.
fn cut(text: &str) -> String {
    let end =
        text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= TEXT_MAX);
    text[..end.last().unwrap_or(0)].to_owned()
}
