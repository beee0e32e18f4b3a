//! Where the parts of a load meet: part 1 listens, the others connect to it. Messages say who is
//! there, when all begin, what each measured, and who is gone; `run/` knows what that means for a
//! run.
//!
//! A part makes one call to the service in `proto/meet.proto` for the whole run. Twice a second it
//! asks part 1 for its time, which also keeps the call alive: a side that receives nothing for
//! [`SILENCE_MAX`] considers the other lost. Nothing here is on the path of a request, and nothing
//! waits without a limit: a side that cannot keep up with what it receives is lost, too.

mod guest;
mod host;
mod offset;
mod proto;
mod pulse;
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

/// A part that is silent for this long is lost. Longer than machines stall now and then, and short
/// enough for all to end within five seconds.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);

/// How long all parts may take to end once one is lost, including that silence.
const END_MAX: Duration = Duration::from_millis(4500);

/// How long requests in flight may take at least when all parts end.
const GRACE_MIN: Duration = Duration::from_millis(500);

/// How often a part asks for the time.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How long a peer may take for TLS, its greeting, and its farewell.
const GREETING_MAX: Duration = Duration::from_secs(10);

/// The largest message: a piece and what surrounds it.
const MESSAGE_MAX: usize = PIECE_MAX + (64 << 10);

/// The largest piece of a line.
const PIECE_MAX: usize = 64 << 10;

/// The longest line of a journal that a part may send: a second of all its threads.
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
    /// The secret that all parts know and nobody else.
    pub token: Token,
    /// Encrypts the connections, if it is set.
    pub tls: Option<Tls>,
    /// How long to wait until all parts are there.
    pub wait: Duration,
    /// What to do when a part is lost.
    pub lost: Lost,
}

/// The secret of all parts of a load. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The PEM files of the meeting point, like those of a Flow.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates that the others trust in addition to the system's.
    pub ca: Option<PathBuf>,
    /// The certificate of part 1.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// What to do when a part is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lost {
    /// All other parts end.
    #[default]
    Abort,
    /// They continue, and the result says so.
    Note,
}

/// Neither `abort` nor `note`.
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

/// Who a part is, and what it is about to do. Everything but the machine must be the same in all
/// parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number, and the number of parts.
    pub part: Part,
    /// The command, such as `run`.
    pub command: &'static str,
    /// Name of the suite.
    pub suite: String,
    /// Its seed.
    pub seed: u64,
    /// Digest of everything in the plan.
    pub digest: u64,
    /// Its machine.
    pub member: Member,
}

/// The machine of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name, if it has one.
    pub host: Option<String>,
    /// Number of its processors.
    pub cores: usize,
    /// When the part was started, by its own clock.
    pub started_at: Timestamp,
    /// The state of that clock, if it is known.
    pub clock: Option<SystemClock>,
}

/// What a system reports about its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock {
    /// Whether it is synchronized with other clocks.
    pub synchronised: bool,
    /// Its maximum error.
    pub error: Duration,
}

/// The progress of gathering the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// Part 1 waits for these parts.
    Waiting {
        /// Their numbers.
        missing: Vec<u64>,
        /// Number of parts.
        of: u64,
    },
    /// Part 1 has not answered yet.
    Calling {
        /// The address at which it is expected.
        address: String,
    },
}

/// A meeting with all parts present, for one run or several. Cheap to clone; ends with the last
/// clone.
#[derive(Clone, Debug)]
pub enum Meeting {
    /// This is part 1.
    Host(Arc<Host>),
    /// This is another part.
    Guest(Arc<Guest>),
}

impl Meeting {
    /// Says goodbye to the others, once everything was sent.
    pub async fn close(&self) {
        match self {
            Meeting::Host(host) => host.close().await,
            Meeting::Guest(guest) => guest.close().await,
        }
    }

    /// Whether part 1 has the result of all: not where it was lost, or went on without this part.
    pub fn part_1_has_it(&self) -> bool {
        match self {
            Meeting::Host(_) => true,
            Meeting::Guest(guest) => !guest.has_lost_part_1(),
        }
    }
}

/// A run of all parts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    /// When its load begins, if a time is set.
    pub(crate) at: Option<Instant>,
    /// Which of the command's plans it runs.
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
        /// The address.
        address: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// TLS of part 1 cannot be set up.
    #[error("the meeting point cannot use TLS")]
    Tls(#[from] TlsError),
    /// TLS is required, but part 1 has no certificate or no key.
    #[error("part 1 needs a certificate and its key for TLS")]
    NoCertificate,
    /// A TLS option of the other parts is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Some parts did not come.
    #[error("{} of {of} did not join within {wait:?}", parts(missing))]
    Missing {
        /// Their numbers.
        missing: Vec<u64>,
        /// Number of parts.
        of: u64,
        /// How long part 1 waited for them.
        wait: Duration,
    },
    /// Part 1 did not answer.
    #[error("part 1 did not answer at {address} within {wait:?}: {reason}")]
    NoAnswer {
        /// The address at which it was expected.
        address: String,
        /// How long it was tried.
        wait: Duration,
        /// The result of the last attempt.
        reason: String,
    },
    /// What listens there shows another certificate, or speaks no TLS.
    #[error(
        "{0}\n  = help: for the meeting point, `ca` is `--meet-ca`; part 1 speaks TLS with `--meet-cert` and `--meet-key`"
    )]
    NotTrusted(CallError),
    /// What listens there speaks TLS, and this part does not.
    #[error(
        "part 1 at {address} speaks TLS, and this part does not\n  = help: give all parts the same options, or this one \
         `--meet-ca` with a certificate that it trusts"
    )]
    WantsTls {
        /// Where it listens.
        address: String,
    },
    /// Part 1 does not take this one.
    #[error("part 1 refused this part: {0}")]
    Refused(String),
    /// The load did not begin, whether or not all parts were there.
    #[error("the load did not begin: {0}")]
    Ended(String),
    /// It began, and then a part was lost.
    #[error("{0}")]
    Lost(String),
}

impl Token {
    /// Minimum length of a token: whoever guesses it can send figures as if it were a part.
    pub const LENGTH_MIN: usize = 16;

    /// A token; `None` if it is too short, or has characters that a header may not have.
    pub fn new(text: String) -> Option<Token> {
        let fits = (Token::LENGTH_MIN..=1024).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(Token(text))
    }

    fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header contains it.
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
    /// `host:port`, as in an address.
    fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Meets the other parts, and waits until all are there. `told` is called with the parts it
    /// waits for.
    ///
    /// # Errors
    /// When they do not come in time, or this part does not belong to them.
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
    /// The identity of a process that runs a plan.
    pub fn new(command: &'static str, plan: &Plan, member: Member) -> Identity {
        let names = plan.scenarios.iter().map(|scenario| scenario.name.as_str());
        let mut resolved = plan.resolved();
        without_folders(&mut resolved);
        // Secrets may differ between machines.
        let resolved = resolved.to_string();
        let key = Key::new(plan.seed).part(&plan.secrets.mask(&resolved));
        let key = names.fold(key, Key::part);
        Identity {
            part: plan.part,
            command,
            suite: plan.secrets.mask(&plan.name).into_owned(),
            seed: plan.seed,
            // Protects against mistakes, not against attackers: the token does that.
            digest: key.below(u64::MAX),
            member,
        }
    }

    /// Refuses a part of another load.
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

/// How long requests in flight may take when all parts end because one was silent for this long.
fn grace_after(silent: Duration) -> Duration {
    END_MAX.saturating_sub(silent).max(GRACE_MIN)
}

/// A text cut to fit into a message.
fn cut(text: &str) -> String {
    let end =
        text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= TEXT_MAX);
    text[..end.last().unwrap_or(0)].to_owned()
}
