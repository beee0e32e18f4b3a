//! Part 1: it listens, accepts the parts that belong to its load, and receives what they send.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::proto::{self, FromPart, ToPart, from_part, to_part};
use super::pulse::Pulse;
use super::refusal::Refusal;
use super::{
    GREETING_MAX, Gathering, Identity, LINE_MAX, Lost, MESSAGE_MAX, MeetError, Member, Place,
    SILENCE_MAX, Start, Token, cut, grace_after,
};
use crate::flow::{TlsFiles, acceptor};
use crate::wire::Protocol;

/// Limit of messages to one part that it has not read yet. Each is a few bytes, and there are two a
/// second.
const UNREAD_MAX: usize = 256;

/// Limit of events from parts that are not processed yet. Beyond it, parts are not read.
const EVENTS_MAX: usize = 1024;

/// Part 1 while it listens.
#[derive(Debug)]
pub struct Host {
    guests: Guests,
    /// Each run in turn listens to them.
    events: Arc<AsyncMutex<mpsc::Receiver<(u64, FromGuest)>>>,
    tasks: TaskTracker,
    place: Place,
    /// No part is accepted any more.
    closed: CancellationToken,
    /// Ends everything that is left.
    _abort: DropGuard,
}

/// What another part sent, or what happened to it.
#[derive(Debug)]
pub(crate) enum FromGuest {
    /// It is ready to begin a scenario.
    Ready {
        scenario: usize,
        /// Its fastest exchange with us.
        round_trip: Duration,
    },
    /// A line of its journal.
    Line(Vec<u8>),
    /// Somebody interrupted it.
    Stop { abort: bool },
    /// It has sent everything.
    Done,
    /// It was lost.
    Gone {
        reason: String,
        /// We ourselves stood still for so long, so it left.
        stood_still: Option<Duration>,
        /// How long requests in flight may still take, if all parts end because of it.
        grace: Duration,
    },
}

/// The parts that are there: part 1 sends them what to do. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Guests(Arc<Door>);

#[derive(Debug)]
struct Door {
    own: Identity,
    token: Token,
    /// The instant from which part 1 counts its times.
    start: Instant,
    book: Mutex<Book>,
    /// A part came or went.
    changed: watch::Sender<()>,
    events: mpsc::Sender<(u64, FromGuest)>,
    pulse: Pulse,
}

/// How a part was lost.
struct Left {
    reason: String,
    /// How long it had been silent.
    silent: Duration,
    /// It said something that no part says.
    strange: bool,
}

#[derive(Debug, Default)]
struct Book {
    seats: BTreeMap<u64, Seat>,
    /// No part is accepted any more.
    begun: bool,
}

#[derive(Debug)]
struct Seat {
    member: Member,
    /// `None` once it is gone.
    out: Option<Outbox>,
}

/// What ends listening and all connections.
struct Ends {
    closed: CancellationToken,
    abort: CancellationToken,
}

type Outbox = mpsc::Sender<Result<ToPart, Status>>;

impl Host {
    /// Starts listening.
    pub(super) async fn open(place: &Place, own: Identity) -> Result<Host, MeetError> {
        let tls = place.tls.as_ref().map(|tls| {
            let (Some(cert), Some(key)) = (tls.cert.clone(), tls.key.clone()) else {
                return Err(MeetError::NoCertificate);
            };
            Ok(acceptor(&TlsFiles { cert, key, client_ca: None }, Protocol::Grpc)?)
        });
        let tls = tls.transpose()?;
        let listener = listen(place)
            .await
            .map_err(|source| MeetError::Listen { address: place.address(), source })?;
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let places = 2 * own.part.of() as usize + 64;
        let door = Arc::new(Door {
            own,
            token: place.token.clone(),
            start: Instant::now(),
            book: Mutex::default(),
            changed: watch::Sender::new(()),
            events: events_in,
            pulse: Pulse::new(),
        });
        let (tasks, abort) = (TaskTracker::new(), CancellationToken::new());
        let closed = abort.child_token();
        let ends = Ends { closed: closed.clone(), abort: abort.clone() };
        let (beating, until) = (door.clone(), closed.clone());
        tasks.spawn(async move {
            tokio::select! {
                never = beating.pulse.beat() => match never {},
                () = until.cancelled() => (),
            }
        });
        tasks.spawn(door.clone().open(listener, tls, tasks.clone(), ends, places));
        let (guests, place) = (Guests(door), place.clone());
        Ok(Host {
            guests,
            events: Arc::new(AsyncMutex::new(events)),
            tasks,
            place,
            closed,
            _abort: abort.drop_guard(),
        })
    }

    /// Waits until all parts are there; from then on no other is accepted. Parts that may be
    /// missing are reported as lost.
    pub(super) async fn gather(
        self,
        told: &(dyn Fn(&Gathering) + Sync),
    ) -> Result<Host, MeetError> {
        let deadline = Instant::now() + self.place.wait;
        let of = self.guests.0.own.part.of();
        let mut changed = self.guests.0.changed.subscribe();
        loop {
            let late = Instant::now() >= deadline;
            let missing = self.guests.begin_with(late && self.place.lost == Lost::Note);
            match (missing.is_empty(), late, self.place.lost) {
                (true, ..) => return Ok(self),
                (false, true, Lost::Note) => return Ok(self),
                (false, true, Lost::Abort) => {
                    let wait = self.place.wait;
                    let error = MeetError::Missing { missing, of, wait };
                    // The parts that are there need not wait any longer.
                    self.guests.halt(&error.to_string(), grace_after(Duration::ZERO));
                    self.close().await;
                    return Err(error);
                }
                (false, false, _) => told(&Gathering::Waiting { missing, of }),
            }
            let _ = timeout_at(deadline, changed.changed()).await;
        }
    }

    /// The line for messages to the other parts.
    pub(crate) fn guests(&self) -> Guests {
        self.guests.clone()
    }

    /// The events from the other parts.
    pub(crate) fn events(&self) -> Arc<AsyncMutex<mpsc::Receiver<(u64, FromGuest)>>> {
        self.events.clone()
    }

    /// What to do when a part is lost.
    pub(crate) fn lost(&self) -> Lost {
        self.place.lost
    }

    /// Lets the parts that are still there go, and stops listening.
    pub(super) async fn close(&self) {
        const FAREWELL: Duration = Duration::from_secs(1);
        self.guests.all(to_part::Kind::Done(proto::Done {}));
        self.guests.0.book().seats.values_mut().for_each(|seat| seat.out = None);
        self.closed.cancel();
        self.tasks.close();
        // The last messages are on their way. Parts that have not gone by then are disconnected.
        let _ = timeout(FAREWELL, self.tasks.wait()).await;
    }
}

/// Listens where the others look for us: on that address if it is one of ours, and otherwise on
/// all, because a name may stand for an address that only others use for us.
async fn listen(place: &Place) -> io::Result<TcpListener> {
    let literal: Option<IpAddr> = place.host.parse().ok();
    let found: Vec<SocketAddr> = match tokio::net::lookup_host((&*place.host, place.port)).await {
        Ok(found) => found.collect(),
        // A name that only others know, or that is not known yet.
        Err(_) => Vec::new(),
    };
    let here = found.first().filter(|found| literal.is_some() || found.ip().is_loopback());
    if let Some(here) = here {
        match TcpListener::bind(here).await {
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => (),
            bound => return bound,
        }
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, place.port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, place.port)).await,
    }
}

impl Guests {
    /// Begins if all are there, or without the missing ones if that is `enough`; returns who is
    /// missing.
    fn begin_with(&self, enough: bool) -> Vec<u64> {
        let mut book = self.0.book();
        let missing = |part: &u64| !book.seats.contains_key(part);
        let missing: Vec<u64> = (2..=self.0.own.part.of()).filter(missing).collect();
        book.begun |= missing.is_empty() || enough;
        missing
    }

    /// The number of parts.
    pub(crate) fn of(&self) -> u64 {
        self.0.own.part.of()
    }

    /// The machines of all parts, by their numbers.
    pub(crate) fn members(&self) -> Vec<(u64, Member)> {
        let book = self.0.book();
        let others = book.seats.iter().map(|(part, seat)| (*part, seat.member.clone()));
        std::iter::once((1, self.0.own.member.clone())).chain(others).collect()
    }

    /// A run begins.
    pub(crate) fn start(&self, start: Start) {
        let Start { at, plan, trials } = start;
        let at_ns = at.map(|at| self.0.ns(at));
        self.all(to_part::Kind::Start(proto::Start { at_ns, plan: plan as u64, trials }));
    }

    /// A trial of a scenario.
    pub(crate) fn trial(&self, scenario: usize, conduct: Vec<u8>) {
        let conduct = conduct.into();
        self.all(to_part::Kind::Trial(proto::Trial { scenario: scenario as u64, conduct }));
    }

    /// A scenario that trials need.
    pub(crate) fn alone(&self, scenario: usize) {
        self.all(to_part::Kind::Alone(proto::Alone { scenario: scenario as u64 }));
    }

    /// There are no more trials in this run.
    pub(crate) fn rest(&self) {
        self.all(to_part::Kind::Rest(proto::Rest {}));
    }

    /// The missing parts, and why they are missing.
    pub(crate) fn gone(&self) -> Vec<(u64, &'static str)> {
        let book = self.0.book();
        let why = |part: u64| match book.seats.get(&part) {
            Some(Seat { out: Some(_), .. }) => None,
            Some(_) => Some((part, "it left after the previous run")),
            None => Some((part, "it did not join in time")),
        };
        (2..=self.of()).filter_map(why).collect()
    }

    /// A scenario begins.
    pub(crate) fn begin(&self, scenario: usize, at: Instant) {
        let at_ns = self.0.ns(at);
        self.all(to_part::Kind::Begin(proto::Begin { scenario: scenario as u64, at_ns }));
    }

    /// A scenario does not begin.
    pub(crate) fn skip(&self, scenario: usize, reason: &str) {
        let (scenario, reason) = (scenario as u64, cut(reason));
        self.all(to_part::Kind::Skip(proto::Skip { scenario, reason }));
    }

    /// A scenario ends before its time.
    pub(crate) fn end(&self, scenario: usize, reason: &str) {
        let (scenario, reason) = (scenario as u64, cut(reason));
        self.all(to_part::Kind::End(proto::End { scenario, reason }));
    }

    /// Somebody interrupted one part, and so all of them.
    pub(crate) fn stop(&self, abort: bool) {
        self.all(to_part::Kind::Stop(proto::Stop { abort }));
    }

    /// All parts end, because one was lost.
    pub(crate) fn halt(&self, reason: &str, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.all(to_part::Kind::Halt(proto::Halt { reason: cut(reason), grace_ms }));
    }

    fn all(&self, kind: to_part::Kind) {
        let message = ToPart::from(kind);
        for seat in self.0.book().seats.values_mut() {
            // A part that reads nothing is detected by the silence that follows.
            let told =
                seat.out.as_ref().is_none_or(|out| out.try_send(Ok(message.clone())).is_ok());
            if !told {
                seat.out = None;
            }
        }
    }
}

impl Door {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ns(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    async fn open(
        self: Arc<Door>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        tasks: TaskTracker,
        ends: Ends,
        places: usize,
    ) {
        let places = Arc::new(Semaphore::new(places));
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await.expect("it is never closed");
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = ends.closed.cancelled() => return,
                next = next => next,
            };
            // No file descriptors left, or the peer is gone already: the next one may work.
            let Ok((socket, _)) = accepted else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (door, tls, abort) = (self.clone(), tls.clone(), ends.abort.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = abort.cancelled() => (),
                    () = door.welcome(socket, tls) => (),
                }
                drop(place);
            });
        }
    }

    async fn welcome(self: Arc<Door>, socket: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = socket.set_nodelay(true); // a socket that refuses is slower, and no worse
        match tls {
            None => self.serve(socket).await,
            Some(tls) => {
                if let Ok(Ok(socket)) = timeout(GREETING_MAX, tls.accept(socket)).await {
                    self.serve(socket).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Door>, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let known = Arc::new(AtomicBool::new(false));
        let is_known = known.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (door, known) = (self.clone(), known.clone());
            async move { Ok::<_, Infallible>(door.answer(request, known).await) }
        });
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(4).max_header_list_size(16 << 10);
        let stranger = async {
            sleep(GREETING_MAX).await;
            if is_known.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = builder.serve_connection(TokioIo::new(io), service) => (),
            () = stranger => (),
        }
    }

    async fn answer(
        self: Arc<Door>,
        request: hyper::Request<Incoming>,
        known: Arc<AtomicBool>,
    ) -> hyper::Response<Body> {
        if request.uri().path() != proto::JOIN {
            return Status::unimplemented("this is the meeting point of a flowbench load")
                .into_http();
        }
        let codec = ProstCodec::<ToPart, FromPart>::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(MESSAGE_MAX);
        grpc.streaming(Join { door: self, known }, request).await
    }

    /// Accepts a part, or returns why not.
    async fn join(
        self: Arc<Door>,
        request: Request<Streaming<FromPart>>,
        known: Arc<AtomicBool>,
    ) -> Result<Response<ReceiverStream<Result<ToPart, Status>>>, Status> {
        let header = request.metadata().get("authorization").map(|value| value.as_bytes());
        if !header.is_some_and(|header| self.token.is_in(header)) {
            return Err(Refusal::Token.into());
        }
        let mut input = request.into_inner();
        let hello = match timeout(GREETING_MAX, input.message()).await {
            Ok(Ok(Some(FromPart { kind: Some(from_part::Kind::Hello(hello)) }))) => hello,
            _ => return Err(Refusal::NoHello.into()),
        };
        let (out, messages) = mpsc::channel(UNREAD_MAX);
        self.seat(&hello, out.clone())?;
        known.store(true, Ordering::Relaxed);
        self.changed.send_replace(());
        tokio::spawn(self.hear(hello.number, input, out));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    /// Gives a part its seat, or returns a reason.
    fn seat(&self, hello: &proto::Hello, out: Outbox) -> Result<(), Refusal> {
        self.own.admit(hello)?;
        let (number, of) = (hello.number, self.own.part.of());
        if !(2..=of).contains(&number) {
            return Err(match number {
                1 => Refusal::Taken(1),
                _ => Refusal::NoSuchPart { number, of },
            });
        }
        let mut book = self.book();
        match book.seats.get(&number).map(|seat| seat.out.is_some()) {
            Some(true) => return Err(Refusal::Taken(number)),
            Some(false) => return Err(Refusal::Gone(number)),
            None if book.begun => return Err(Refusal::Begun),
            None => (),
        }
        // There is room, because it is the first message.
        let _ = out.try_send(Ok(to_part::Kind::Welcome(proto::Welcome {}).into()));
        book.seats.insert(number, Seat { member: hello.into(), out: Some(out) });
        Ok(())
    }

    /// Receives what a part sends until it is gone.
    async fn hear(self: Arc<Door>, part: u64, input: Streaming<FromPart>, out: Outbox) {
        let heard = self.listen_to(part, input, out).await;
        {
            let mut book = self.book();
            match book.begun {
                // It may come again.
                false => drop(book.seats.remove(&part)),
                true => {
                    if let Some(seat) = book.seats.get_mut(&part) {
                        seat.out = None;
                    }
                }
            }
            if !book.begun {
                self.changed.send_replace(());
                return;
            }
        }
        let last = match heard {
            Ok(()) => FromGuest::Done,
            Err(Left { reason, silent, strange }) => FromGuest::Gone {
                reason,
                stood_still: self.pulse.stood_still().filter(|_| !strange),
                grace: grace_after(silent),
            },
        };
        let _ = self.events.send((part, last)).await;
        self.changed.send_replace(());
    }

    /// Passes on what a part sends; if it was lost, returns how long it had been silent.
    async fn listen_to(
        &self,
        part: u64,
        mut input: Streaming<FromPart>,
        out: Outbox,
    ) -> Result<(), Left> {
        let left = |reason: String, silent| Err(Left { reason, silent, strange: false });
        let lost = |reason: &str| {
            Err(Left { reason: reason.to_owned(), silent: Duration::ZERO, strange: true })
        };
        let mut line = Vec::new();
        loop {
            let message = match timeout(SILENCE_MAX, input.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return left("its connection ended".into(), Duration::ZERO),
                Ok(Err(status)) => {
                    let reason = format!("its connection broke: {}", cut(status.message()));
                    return left(reason, Duration::ZERO);
                }
                Err(_) => return left(format!("it sent nothing for {SILENCE_MAX:?}"), SILENCE_MAX),
            };
            let event = match message.kind {
                Some(from_part::Kind::Probe(proto::Probe { sent_ns })) => {
                    let now = self.ns(Instant::now());
                    let echo = proto::Echo { sent_ns, received_ns: now, answered_ns: now };
                    if out.try_send(Ok(to_part::Kind::Echo(echo).into())).is_err() {
                        return lost("it does not read its messages");
                    }
                    continue;
                }
                Some(from_part::Kind::Piece(piece)) => {
                    if line.len() + piece.bytes.len() > LINE_MAX {
                        return lost("it told a line that is longer than any");
                    }
                    line.extend_from_slice(&piece.bytes);
                    if !piece.last {
                        continue;
                    }
                    FromGuest::Line(std::mem::take(&mut line))
                }
                Some(from_part::Kind::Ready(proto::Ready { scenario, round_trip_ns })) => {
                    FromGuest::Ready {
                        scenario: usize::try_from(scenario).unwrap_or(usize::MAX),
                        round_trip: Duration::from_nanos(round_trip_ns),
                    }
                }
                Some(from_part::Kind::Stop(proto::Stop { abort })) => FromGuest::Stop { abort },
                Some(from_part::Kind::Done(_)) => return Ok(()),
                Some(from_part::Kind::Hello(_)) | None => {
                    return lost("it sent an unexpected message");
                }
            };
            if self.events.send((part, event)).await.is_err() {
                return lost("the run has already ended");
            }
        }
    }
}

/// The service's only method.
struct Join {
    door: Arc<Door>,
    known: Arc<AtomicBool>,
}

impl StreamingService<FromPart> for Join {
    type Response = ToPart;
    type ResponseStream = ReceiverStream<Result<ToPart, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<FromPart>>) -> Self::Future {
        Box::pin(self.door.clone().join(request, self.known.clone()))
    }
}
