//! All parts but the first: each looks for part 1, identifies itself, and learns what to do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::offset::Offset;
use super::proto::{self, FromPart, ToPart, from_part, to_part};
use super::pulse::Pulse;
use super::{
    GREETING_MAX, Gathering, Identity, MESSAGE_MAX, MeetError, PIECE_MAX, PROBE_EVERY, Place,
    SILENCE_MAX, Start, Tls, cut, grace_after,
};
use crate::client::{self, CallError, Channel, ClientConfig, TlsOptions};
use crate::units::Part;
use crate::wire::{Protocol, Target};

/// Limit of unsent messages to part 1: seconds of pieces. A part that cannot report its
/// measurements is lost.
const UNSENT_MAX: usize = 1024;

/// Limit of events from part 1 that are not processed yet.
const EVENTS_MAX: usize = 256;

/// Exchanges at the start, one after the other, to measure the offset of the clocks.
const FIRST_PROBES: usize = 10;

/// Limit of messages that arrive in between.
const EARLY_MAX: usize = 8;

/// How long to wait before trying to reach part 1 again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A part that was accepted.
#[derive(Debug)]
pub struct Guest {
    host: HostLine,
    /// Each run in turn listens to them.
    events: Arc<AsyncMutex<mpsc::Receiver<FromHost>>>,
    /// A run that begins and that nobody has taken yet; or that there are no more runs.
    next: Mutex<Option<Option<Start>>>,
    fate: Arc<Mutex<Fate>>,
    /// Part 1 sends nothing more.
    over: CancellationToken,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// How the load ends, as far as that is known.
#[derive(Debug, Default)]
struct Fate {
    /// Part 1 said that there are no more runs.
    done: bool,
    /// A part was lost, so all end.
    halted: Option<String>,
    /// Part 1 was lost, or went on without this part.
    alone: Option<String>,
}

/// What part 1 sent, or what happened to it. Times are on our own clock.
#[derive(Debug)]
pub(crate) enum FromHost {
    /// A run begins.
    Start(Start),
    /// A trial of a scenario.
    Trial { scenario: usize, conduct: Bytes },
    /// A scenario that trials need.
    Alone { scenario: usize },
    /// There are no more trials in this run.
    Rest,
    /// There are no more runs.
    Done,
    /// A scenario begins.
    Begin { scenario: usize, at: Instant },
    /// A scenario does not begin.
    Skip { scenario: usize, reason: String },
    /// A scenario ends before its time.
    End { scenario: usize, reason: String },
    /// Somebody interrupted one part, and so all of them.
    Stop { abort: bool },
    /// All parts end, because one was lost.
    Halt { reason: String, grace: Duration },
    /// Part 1 was lost.
    Gone { reason: String, grace: Duration },
}

/// Sends messages to part 1. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub(crate) struct HostLine {
    out: mpsc::Sender<FromPart>,
    clock: Arc<Clock>,
}

/// Our own time, and what is known about part 1's.
#[derive(Debug)]
struct Clock {
    start: Instant,
    offset: Mutex<Offset>,
}

impl Guest {
    /// Tries to reach part 1 until it answers.
    pub(super) async fn join(
        place: &Place,
        own: &Identity,
        told: &(dyn Fn(&Gathering) + Sync),
    ) -> Result<Guest, MeetError> {
        let deadline = Instant::now() + place.wait;
        let config = config(place);
        config.check()?;
        let address = place.address();
        let mut is_told = false;
        loop {
            let reason = match attempt(place, &config, own).await {
                Ok(guest) => return Ok(guest),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Again(reason)) => reason,
            };
            if Instant::now() + AGAIN_AFTER >= deadline {
                return Err(MeetError::NoAnswer { address, wait: place.wait, reason });
            }
            if !std::mem::replace(&mut is_told, true) {
                told(&Gathering::Calling { address: address.clone() });
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// The line for messages to part 1.
    pub(crate) fn host(&self) -> HostLine {
        self.host.clone()
    }

    /// The events from part 1.
    pub(crate) fn events(&self) -> Arc<AsyncMutex<mpsc::Receiver<FromHost>>> {
        self.events.clone()
    }

    /// Keeps what follows a run that continues here, until it is asked for: the next run, or
    /// `None` if there are no more.
    pub(crate) fn keep(&self, next: Option<Start>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }

    /// What was kept.
    pub(crate) fn kept(&self) -> Option<Option<Start>> {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run that was waited for, and has not begun here.
    pub(crate) fn started(&self) -> Option<Start> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*next)?;
        if start.is_some() {
            *next = None;
        }
        start
    }

    /// Why all end, where a part was lost.
    pub(crate) fn halted(&self) -> Option<String> {
        let fate = lock(&self.fate);
        fate.halted.clone().or_else(|| fate.alone.clone())
    }

    /// Whether part 1 has no result for this part any more.
    pub(super) fn has_lost_part_1(&self) -> bool {
        lock(&self.fate).alone.is_some()
    }

    /// Reports that everything was sent, and waits until part 1 has received it.
    pub(super) async fn close(&self) {
        const FAREWELL: Duration = Duration::from_secs(3);
        let heard = async {
            let done = from_part::Kind::Done(proto::Done {});
            if self.host.out.send(done.into()).await.is_ok() {
                // Part 1 answers by ending its side.
                self.over.cancelled().await;
            }
        };
        let _ = timeout(FAREWELL, heard).await;
    }
}

fn lock(fate: &Mutex<Fate>) -> MutexGuard<'_, Fate> {
    fate.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client settings to reach part 1.
fn config(place: &Place) -> ClientConfig {
    let target = Target {
        protocol: Protocol::Grpc,
        host: place.host.clone(),
        port: place.port,
        tls: place.tls.is_some(),
        user_info: None,
    };
    let Tls { ca, cert, .. } = place.tls.clone().unwrap_or_default();
    // A self-signed certificate is trusted as such.
    let tls = TlsOptions { ca: ca.or(cert), ..TlsOptions::default() };
    ClientConfig { tls, connect_timeout: GREETING_MAX, ..ClientConfig::new(target) }
}

/// Why part 1 was not reached.
enum Attempt {
    /// It may not be there yet.
    Again(String),
    /// Another attempt would not help.
    Final(MeetError),
}

async fn attempt(place: &Place, config: &ClientConfig, own: &Identity) -> Result<Guest, Attempt> {
    let socket = client::connect(config).await.map_err(|error| match error {
        CallError::Tls { .. } => Attempt::Final(MeetError::NotTrusted(error)),
        CallError::Config(error) => Attempt::Final(error.into()),
        error => Attempt::Again(error.to_string()),
    })?;
    let greeting = greet(place, own, socket);
    let greeted = timeout(GREETING_MAX, greeting).await;
    let greeted = greeted
        .unwrap_or_else(|_| Err(Attempt::Again(format!("it sent nothing for {GREETING_MAX:?}"))));
    match greeted {
        Err(Attempt::Again(_)) if place.tls.is_none() && wants_tls(config).await => {
            Err(Attempt::Final(MeetError::WantsTls { address: place.address() }))
        }
        greeted => greeted,
    }
}

/// Whether what listens there answers with TLS to what is none.
async fn wants_tls(config: &ClientConfig) -> bool {
    /// Of an alert, which is what TLS answers then, and its version.
    const ALERT: [u8; 2] = [0x15, 0x03];
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let asked = async {
        let mut socket = client::connect(config).await.ok()?;
        socket.write_all(PREFACE).await.ok()?;
        let mut start = [0; ALERT.len()];
        socket.read_exact(&mut start).await.ok()?;
        Some(start == ALERT)
    };
    timeout(AGAIN_AFTER, asked).await.ok().flatten().unwrap_or(false)
}

/// Introduces this part, and learns part 1's time.
async fn greet(
    place: &Place,
    own: &Identity,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Guest, Attempt> {
    let again = |error: &dyn std::error::Error| Attempt::Again(crate::error::chain(error));
    let (channel, connection) = Channel::over(socket).await.map_err(|error| again(&error))?;
    let (out, messages) = mpsc::channel(UNSENT_MAX);
    let say = |kind: from_part::Kind| out.try_send(kind.into()).map_err(|error| again(&error));
    say(from_part::Kind::Hello(own.hello()))?;
    let mut request = Request::new(ReceiverStream::new(messages));
    let token =
        HeaderValue::try_from(place.token.header()).expect("a token has what headers may have");
    let token = token.to_str().ok().and_then(|token| token.parse().ok());
    request.metadata_mut().insert("authorization", token.expect("a token is ASCII"));
    let origin = http::Uri::from_static("http://meeting.invalid");
    let mut grpc = Grpc::with_origin(channel, origin).max_decoding_message_size(MESSAGE_MAX);
    grpc.ready().await.map_err(|error| again(&error))?;
    let codec = ProstCodec::<FromPart, ToPart>::default();
    let path = http::uri::PathAndQuery::from_static(proto::JOIN);
    let answer = grpc.streaming(request, path, codec).await.map_err(|status| refused(&status))?;
    let mut input = answer.into_inner();
    let clock = Clock { start: Instant::now(), offset: Mutex::default() };
    let mut early = Vec::new();
    for _ in 0..FIRST_PROBES {
        say(from_part::Kind::Probe(proto::Probe { sent_ns: clock.now() }))?;
        loop {
            match input.message().await.map_err(|status| refused(&status))? {
                None => return Err(Attempt::Again("it ended the connection".into())),
                Some(ToPart { kind: Some(to_part::Kind::Echo(echo)) }) => break clock.learn(echo),
                Some(ToPart { kind: Some(to_part::Kind::Welcome(_)) }) => (),
                // All parts were there with this one: to be processed later.
                Some(message) if early.len() < EARLY_MAX => early.push(message),
                Some(_) => return Err(Attempt::Again("it did not wait for an answer".into())),
            }
        }
    }
    let clock = Arc::new(clock);
    let (events_in, events) = mpsc::channel(EVENTS_MAX);
    let part = own.part;
    let host = HostLine { out, clock: clock.clone() };
    let line = host.clone();
    let over = CancellationToken::new();
    let is_over = over.clone();
    let fate: Arc<Mutex<Fate>> = Arc::default();
    let known = fate.clone();
    let hears = tokio::spawn(async move {
        let (probes, pulse) = (line.probe(), Pulse::new());
        tokio::pin!(probes);
        let hear = hear(early, input, &clock, (&events_in, &known));
        let gone = tokio::select! {
            gone = hear => gone,
            gone = &mut probes => gone,
            never = pulse.beat() => match never {},
        };
        let (reason, grace) = (gone.told(part, pulse.stood_still()), grace_after(gone.silent));
        {
            let mut fate = lock(&known);
            if !fate.done {
                fate.alone = Some(reason.clone());
            }
        }
        is_over.cancel();
        let _ = events_in.send(FromHost::Gone { reason, grace }).await;
    });
    let events = Arc::new(AsyncMutex::new(events));
    Ok(Guest {
        host,
        events,
        next: Mutex::default(),
        fate,
        over,
        _tasks: [connection, AbortOnDropHandle::new(hears)],
    })
}

fn refused(status: &Status) -> Attempt {
    match status.code() {
        Code::Unauthenticated | Code::FailedPrecondition | Code::InvalidArgument => {
            Attempt::Final(MeetError::Refused(cut(status.message())))
        }
        Code::Unimplemented => {
            Attempt::Final(MeetError::Refused("the server there is not a part of a load".into()))
        }
        _ => Attempt::Again(cut(status.message())),
    }
}

/// How part 1 was lost, and how long it had been silent.
struct Gone {
    reason: String,
    silent: Duration,
}

impl Gone {
    /// What is told of it in this part, which stood still itself for so long, if it did.
    fn told(&self, part: Part, stood_still: Option<Duration>) -> String {
        let (number, of) = (part.number(), part.of());
        match stood_still {
            None => format!("part 1 of {of} was lost: {}", self.reason),
            Some(time) => {
                let time = time.as_secs_f64();
                format!(
                    "part {number} of {of} stood still for {time:.1} s, and part 1 did not wait for it"
                )
            }
        }
    }
}

/// Passes on what part 1 sends until it sends nothing more.
async fn hear(
    early: Vec<ToPart>,
    mut input: Streaming<ToPart>,
    clock: &Clock,
    (events, fate): (&mpsc::Sender<FromHost>, &Mutex<Fate>),
) -> Gone {
    let lost = |reason: String| Gone { reason, silent: Duration::ZERO };
    let index = |scenario: u64| usize::try_from(scenario).unwrap_or(usize::MAX);
    let mut early = early.into_iter();
    loop {
        let next = async {
            match early.next() {
                Some(message) => Ok(Some(message)),
                None => input.message().await,
            }
        };
        let message = match timeout(SILENCE_MAX, next).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return lost("its connection ended".into()),
            Ok(Err(status)) => {
                return lost(format!("its connection broke: {}", cut(status.message())));
            }
            Err(_) => {
                let reason = format!("it sent nothing for {SILENCE_MAX:?}");
                return Gone { reason, silent: SILENCE_MAX };
            }
        };
        let event = match message.kind {
            Some(to_part::Kind::Echo(echo)) => {
                clock.learn(echo);
                continue;
            }
            Some(to_part::Kind::Start(start)) => FromHost::Start(Start {
                at: start.at_ns.map(|at| clock.instant(at)),
                plan: index(start.plan),
                trials: start.trials,
            }),
            Some(to_part::Kind::Trial(trial)) => {
                FromHost::Trial { scenario: index(trial.scenario), conduct: trial.conduct }
            }
            Some(to_part::Kind::Alone(alone)) => {
                FromHost::Alone { scenario: index(alone.scenario) }
            }
            Some(to_part::Kind::Rest(_)) => FromHost::Rest,
            Some(to_part::Kind::Done(_)) => {
                lock(fate).done = true;
                FromHost::Done
            }
            Some(to_part::Kind::Begin(begin)) => {
                FromHost::Begin { scenario: index(begin.scenario), at: clock.instant(begin.at_ns) }
            }
            Some(to_part::Kind::Skip(skip)) => {
                FromHost::Skip { scenario: index(skip.scenario), reason: cut(&skip.reason) }
            }
            Some(to_part::Kind::End(end)) => {
                FromHost::End { scenario: index(end.scenario), reason: cut(&end.reason) }
            }
            Some(to_part::Kind::Stop(stop)) => FromHost::Stop { abort: stop.abort },
            Some(to_part::Kind::Halt(halt)) => {
                let reason = cut(&halt.reason);
                lock(fate).halted.get_or_insert_with(|| reason.clone());
                FromHost::Halt { reason, grace: Duration::from_millis(halt.grace_ms) }
            }
            Some(to_part::Kind::Welcome(_)) | None => {
                return lost("it sent an unexpected message".into());
            }
        };
        if events.send(event).await.is_err() {
            return lost("the run has already ended".into());
        }
    }
}

impl HostLine {
    /// This part is ready to begin a scenario.
    pub(crate) fn ready(&self, scenario: usize) {
        let round_trip = self.clock.offset().round_trip().as_nanos();
        self.say(from_part::Kind::Ready(proto::Ready {
            scenario: scenario as u64,
            round_trip_ns: u64::try_from(round_trip).unwrap_or(u64::MAX),
        }));
    }

    /// Somebody interrupted this part.
    pub(crate) fn stop(&self, abort: bool) {
        self.say(from_part::Kind::Stop(proto::Stop { abort }));
    }

    /// Sends a line of the journal; returns whether there was room for it.
    pub(crate) fn line(&self, line: Vec<u8>) -> bool {
        let line = Bytes::from(line);
        let count = line.len().div_ceil(PIECE_MAX).max(1);
        (0..count).all(|n| {
            let piece = line.slice(n * PIECE_MAX..line.len().min((n + 1) * PIECE_MAX));
            self.say(from_part::Kind::Piece(proto::Piece { bytes: piece, last: n + 1 == count }))
        })
    }

    fn say(&self, kind: from_part::Kind) -> bool {
        self.out.try_send(kind.into()).is_ok()
    }

    /// Asks for the time at intervals, which also shows that we are there.
    async fn probe(&self) -> Gone {
        let mut tick = interval(PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let probe = from_part::Kind::Probe(proto::Probe { sent_ns: self.clock.now() });
            if self.out.send(probe.into()).await.is_err() {
                return Gone { reason: "its connection ended".into(), silent: Duration::ZERO };
            }
        }
    }
}

impl Clock {
    fn offset(&self) -> MutexGuard<'_, Offset> {
        self.offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our own time, in ns.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn learn(&self, echo: proto::Echo) {
        let proto::Echo { sent_ns, received_ns, answered_ns } = echo;
        self.offset().learn(sent_ns, received_ns, answered_ns, self.now());
    }

    /// The instant at which part 1's clock shows this; now, if that is before our own start.
    fn instant(&self, theirs: u64) -> Instant {
        let own = Duration::from_nanos(self.offset().own_ns(theirs));
        self.start.checked_add(own).unwrap_or_else(Instant::now)
    }
}
