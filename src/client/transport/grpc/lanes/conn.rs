//! One connection: what it sends, what it reads, and how it ends.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::Instant;

use super::super::super::http2::socket::write_out;
use super::super::super::http2::{Code, Event, Message as _};
use super::super::super::rows::Key;
use super::super::super::tls;
use super::super::frame::{Broken, Messages, Outgoing, packed};
use super::super::setup::{Setup, Told};
use super::super::{CALL, SINGLE, STREAM_DOC};
use super::{
    Call, Conn, Core, End, Gathered, INTERIM_MAX, Kind, READ_BYTES, READS_AT_ONCE, STREAMS_MAX,
    State, Work,
};
use crate::client::{CallError, ClientConfig};
use crate::wire::Head;

impl Conn {
    /// Fills one buffer with as much as fits and writes it, until nothing is left or the socket
    /// takes no more.
    pub(super) fn send(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<(), End> {
        self.leaves |= self.http2.is_used_up();
        if self.leaves {
            self.leave(core);
        }
        loop {
            self.fill(core);
            if self.http2.out().is_empty() {
                let idle = self.leaves && self.http2.is_idle();
                return if idle { Err(End::Idle) } else { Ok(()) };
            }
            let written = |key, now| {
                if let Some(row) = core.rows.get(key) {
                    row.written = Some(now);
                }
            };
            match write_out(&mut *self.io, &mut self.http2, &mut self.positions, cx, written) {
                Poll::Ready(Ok(())) => (),
                Poll::Ready(Err(error)) => return Err(self.hang_up(core, cx, &error)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// The error for a failed write: the gateway's reason for hanging up, if it gave one.
    fn hang_up(&mut self, core: &mut Core, cx: &mut Context<'_>, error: &io::Error) -> End {
        for _ in 0..64 {
            match self.read(core, cx) {
                Ok(true) => (),
                Ok(false) => break,
                Err(end) => return end,
            }
        }
        End::Error(of_socket(&core.setup, error))
    }

    /// Makes as many frames as there is room for.
    fn fill(&mut self, core: &mut Core) {
        if !self.unsent.is_empty() {
            self.fill_rest();
        }
        while !self.posts.is_empty() && self.http2.has_room() {
            let Some(stream) = self.stream_for_posts(core) else { break };
            let Some(key) = self.posts.pop_front() else { break };
            let id = core.rows.id(key);
            let compression = core.setup.config.compression;
            let Some(row) = core.rows.get(key) else { continue };
            let Work::Post(message) = &row.work else { continue };
            let outgoing = match packed(message, id, compression) {
                Some(bytes) => Outgoing::Packed(bytes),
                None => Outgoing::Request { message, id: id.digits() },
            };
            let (sent, first) = self.http2.send(stream, &outgoing, 0, false);
            let Some(first) = first else {
                self.posts.push_front(key);
                break;
            };
            row.stream = stream;
            self.positions.put(first, key);
            let whole = outgoing.len();
            let Some(entry) = self.http2.stream(stream) else { break };
            if let Kind::Shared { count, .. } = &mut entry.user.kind {
                *count += 1;
            }
            if sent < whole {
                let rest = match outgoing {
                    Outgoing::Packed(bytes) => Outgoing::Packed(bytes),
                    _ => Outgoing::Request { message: message.clone(), id: id.digits() },
                };
                entry.user.rest = Some((rest, sent));
                self.unsent.push(stream);
            }
        }
        while !self.calls.is_empty()
            && self.http2.has_room()
            && !self.leaves
            && self.http2.streams_free() > 0
        {
            let Some(key) = self.calls.pop_front() else { break };
            self.call(core, key);
        }
    }

    /// Continues messages that are partly sent.
    fn fill_rest(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.retain(|stream| {
            let Some(entry) = self.http2.stream(*stream) else { return false };
            let ends = matches!(entry.user.kind, Kind::One { .. });
            let Some((message, from)) = entry.user.rest.take() else { return false };
            let (at, first) = self.http2.send(*stream, &message, from, ends);
            let Some(entry) = self.http2.stream(*stream) else { return false };
            if let Some(first) = first
                && let Some(key) = entry.user.unmarked.take()
            {
                self.positions.put(first, key);
            }
            let left = at < message.len();
            if left {
                entry.user.rest = Some((message, at));
            }
            left
        });
        self.unsent = unsent;
    }

    /// The stream for the next request on a shared stream: the first one with room. A v1 gateway
    /// reads no more than a thousand requests of one stream at a time. If we are to have no limit
    /// ([`ClientConfig::prefetch`] 0), another stream takes the requests beyond it, so that the
    /// gateway's limit does not become ours.
    fn stream_for_posts(&mut self, core: &mut Core) -> Option<u32> {
        if self.leaves {
            return None;
        }
        let boundless = core.setup.config.prefetch == 0;
        let mut first = None;
        for stream in &self.shared {
            let Some(entry) = self.http2.stream(*stream) else { continue };
            let Kind::Shared { count, .. } = &entry.user.kind else { continue };
            // A partly sent message goes first.
            let free = entry.user.rest.is_none().then_some(*stream);
            if !boundless || *count < ClientConfig::PREFETCH {
                return free;
            }
            first = first.or(free);
        }
        // One is left for queries; a stream beyond the allowed number would wait forever.
        let most = STREAMS_MAX.min(self.http2.streams_max().saturating_sub(1)).max(1);
        if self.shared.len() >= most || self.http2.streams_free() == 0 {
            return first;
        }
        let call = Call {
            kind: Kind::Shared { count: 0, held: None },
            state: State::Head,
            interim: 0,
            rest: None,
            unmarked: None,
        };
        let http2 = &mut self.http2;
        let stream =
            core.setup.headers(CALL, None, |block, shared| http2.open(block, shared, call));
        self.shared.push(stream);
        Some(stream)
    }

    /// Starts a separate call for a request.
    fn call(&mut self, core: &mut Core, key: Key) {
        let id = core.rows.id(key);
        let setup = core.setup.clone();
        let Some(row) = core.rows.get(key) else { return };
        let (path, message, parts) = match &row.work {
            Work::Post(message) => (SINGLE, Some(message.clone()), None),
            Work::Stream { message, parts } => (STREAM_DOC, Some(message.clone()), Some(*parts)),
            Work::Ask(path) => (*path, None, None),
        };
        let gathered = parts.map(|parts| {
            Box::new(Gathered {
                bodies: Vec::new(),
                bytes: 0,
                small: 0,
                claim: setup.bounds.memory.claim(),
                first: None,
                done: None,
                head: Head::default(),
                failed: false,
                parts,
            })
        });
        let call = Call {
            kind: Kind::One { key, only: None, gathered },
            state: State::Head,
            interim: 0,
            rest: None,
            unmarked: None,
        };
        let own = row.headers.as_deref().map(|both| &both.0);
        let http2 = &mut self.http2;
        let stream = setup.headers(path, own, |block, shared| http2.open(block, shared, call));
        row.stream = stream;
        let outgoing = match message {
            None => Outgoing::Empty,
            Some(message) => match packed(&message, id, setup.config.compression) {
                Some(bytes) => Outgoing::Packed(bytes),
                None => Outgoing::Request { message, id: id.digits() },
            },
        };
        let (sent, first) = self.http2.send(stream, &outgoing, 0, true);
        if let Some(first) = first {
            self.positions.put(first, key);
        }
        if sent < outgoing.len()
            && let Some(entry) = self.http2.stream(stream)
        {
            entry.user.unmarked = first.is_none().then_some(key);
            entry.user.rest = Some((outgoing, sent));
            self.unsent.push(stream);
        }
    }

    /// Sends nothing new on this connection. Shared streams are closed on our side, and requests
    /// that have not begun to be sent take another connection.
    fn leave(&mut self, core: &mut Core) {
        core.anew.extend(self.posts.drain(..).chain(self.calls.drain(..)));
        for stream in &self.shared {
            if self.http2.stream(*stream).is_some_and(|entry| entry.user.rest.is_none()) {
                self.http2.end(*stream);
            }
        }
    }

    /// Reads what has arrived. Returns whether there may be more; if not, the waker is registered.
    pub(super) fn read(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<bool, End> {
        for _ in 0..READS_AT_ONCE {
            let mut input = std::mem::take(&mut core.input);
            input.reserve(READ_BYTES);
            input.extend_from_slice(&self.input);
            self.input.clear();
            let read = pin!(self.io.read_buf(&mut input)).poll(cx);
            let taken = match read {
                Poll::Pending => Ok(false),
                Poll::Ready(Ok(0)) => Err(End::Error(core.setup.silent())),
                Poll::Ready(Ok(_)) => self.take(core, &mut input).map(|()| true),
                Poll::Ready(Err(error)) => Err(End::Error(of_socket(&core.setup, &error))),
            };
            if !input.is_empty() {
                self.input = BytesMut::from(&input[..]);
                input.clear();
            }
            core.input = input;
            if !taken? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Processes all complete frames.
    pub(super) fn take(&mut self, core: &mut Core, input: &mut BytesMut) -> Result<(), End> {
        let now = Instant::now();
        loop {
            match self.http2.next(input) {
                Ok(Some(event)) => self.on(core, event, now)?,
                Ok(None) => return Ok(()),
                Err(code) => return Err(self.violated(core, code)),
            }
        }
    }

    /// Tells the gateway which protocol error it made, as far as the socket takes it.
    fn violated(&mut self, core: &Core, code: Code) -> End {
        self.http2.go_away(code);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.io).poll_write(&mut cx, self.http2.out());
        End::Error(core.setup.no_http2(code))
    }
}

impl Conn {
    fn on(&mut self, core: &mut Core, event: Event, now: Instant) -> Result<(), End> {
        match event {
            Event::Data { stream, data, ends } => {
                self.on_data(core, stream, data, now);
                if ends {
                    let error = core.setup.lost("the stream ended without a status");
                    self.over(core, stream, Err(error), now);
                }
            }
            Event::Headers { stream, block, ends } => {
                let told = core.seen.read(&block).map_err(|code| self.violated(core, code))?;
                self.on_headers(core, stream, &told, ends, now);
            }
            Event::HeadersTooLong { stream } => {
                let error = core.setup.headers_too_large();
                self.broke(core, stream, error, now);
            }
            Event::Reset { stream, code } => {
                let begun = self
                    .http2
                    .stream(stream)
                    .is_some_and(|entry| matches!(entry.user.state, State::Body(_)));
                // A call that has its reply needs nothing more from the gateway.
                let error = core.setup.reset(code, begun);
                if let Some(call) = self.http2.forget(stream) {
                    self.failed(core, stream, call, error, now);
                }
            }
            Event::GoAway { last, code } => {
                self.leaves = true;
                let beyond: Vec<u32> = self
                    .http2
                    .streams()
                    .map(|(stream, _)| stream)
                    .filter(|stream| *stream > last)
                    .collect();
                for stream in beyond {
                    if let Some(call) = self.http2.forget(stream) {
                        let error = core.setup.goodbye(code);
                        self.failed(core, stream, call, error, now);
                    }
                }
            }
            Event::Room => (),
            Event::Pong(_) => self.pinged = None,
        }
        Ok(())
    }

    fn on_headers(&mut self, core: &mut Core, stream: u32, told: &Told, ends: bool, now: Instant) {
        let Some(entry) = self.http2.stream(stream) else { return };
        let call = &mut entry.user;
        let in_head = matches!(call.state, State::Head);
        let half = match &call.state {
            State::Head => Ok(()),
            State::Body(messages) => messages.end(),
        };
        if in_head && (100..200).contains(&told.status) && !ends {
            call.interim += 1;
            if call.interim == INTERIM_MAX {
                let error = core.setup.protocol("too many interim responses");
                self.broke(core, stream, error, now);
            }
            return;
        }
        if told.too_large {
            let error = core.setup.headers_too_large();
            return self.broke(core, stream, error, now);
        }
        if let Some(ended) = &told.ended
            && (ends || in_head)
        {
            let ended = match (ended, half) {
                (Err(error), _) => Err(error.clone()),
                (Ok(()), Err(broken)) => Err(malformed(&core.setup, &broken)),
                (Ok(()), Ok(())) => Ok(()),
            };
            return self.over(core, stream, ended, now);
        }
        if in_head {
            if let Err(error) = core.setup.judge(told) {
                return self.broke(core, stream, error, now);
            }
            call.state = State::Body(Messages::new(told.encoding, &core.setup.bounds, now));
        }
        if ends {
            let error = match half {
                Ok(()) => core.setup.lost("the stream ended without a status"),
                Err(broken) => malformed(&core.setup, &broken),
            };
            self.over(core, stream, Err(error), now);
        } else if !in_head {
            let error = core.setup.protocol("it sends headers in the middle of a response");
            self.broke(core, stream, error, now);
        }
    }

    fn on_data(&mut self, core: &mut Core, stream: u32, data: Bytes, now: Instant) {
        let bytes = data.len();
        let Some(entry) = self.http2.stream(stream) else { return };
        let State::Body(messages) = &mut entry.user.state else {
            let error = core.setup.protocol("it sends data before headers");
            return self.broke(core, stream, error, now);
        };
        messages.push(data, now);
        loop {
            let Some(entry) = self.http2.stream(stream) else { return };
            let call = &mut entry.user;
            let State::Body(messages) = &mut call.state else { return };
            let incoming = match messages.next() {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(broken) => {
                    let error = malformed(&core.setup, &broken);
                    return self.broke(core, stream, error, now);
                }
            };
            if let Err(error) = core.incoming(&mut call.kind, incoming, (self.at, stream)) {
                return self.broke(core, stream, error, now);
            }
        }
        let Some(entry) = self.http2.stream(stream) else { return };
        // Replies that are read one by one give their room back when they are read.
        let by_reader =
            matches!(&entry.user.kind, Kind::One { gathered: Some(all), .. } if all.parts);
        if !by_reader {
            // We hold at most one message beyond the window, so the gateway may send as many bytes
            // again at once.
            self.http2.release(stream, bytes);
        }
    }
}

impl Conn {
    /// The gateway has finished a stream.
    fn over(&mut self, core: &mut Core, stream: u32, ended: Result<(), CallError>, now: Instant) {
        let Some(mut call) = self.http2.close(stream) else { return };
        let error = match (ended, &mut call.kind) {
            (Err(error), _) => error,
            (Ok(()), Kind::Shared { .. }) => {
                core.release_held(&mut call.kind, (self.at, stream));
                core.setup.lost("the gateway ended the stream")
            }
            (Ok(()), Kind::One { key, gathered: Some(_), .. }) => {
                let key = *key;
                return core.land_gathered(key, call.kind, now);
            }
            (Ok(()), Kind::One { key, only, .. }) => match only.take() {
                Some(received) => return core.land(*key, received),
                None => core.setup.protocol("status OK without a message"),
            },
        };
        self.failed(core, stream, call, error, now);
    }

    /// Cancels a stream because of an error.
    fn broke(&mut self, core: &mut Core, stream: u32, error: CallError, now: Instant) {
        if let Some(call) = self.http2.reset(stream, Code::CANCEL) {
            self.failed(core, stream, call, error, now);
        }
    }

    /// Gives a stream's error to all requests that wait on it.
    fn failed(&mut self, core: &mut Core, stream: u32, call: Call, error: CallError, _: Instant) {
        match call.kind {
            Kind::One { key, gathered, .. } => {
                core.fail_with(key, error, gathered.and_then(|all| all.first));
            }
            Kind::Shared { .. } => {
                self.shared.retain(|shared| *shared != stream);
                let at = self.at;
                let hit: Vec<Key> = core
                    .rows
                    .iter()
                    .filter(|(_, row)| row.conn == Some(at) && row.stream == stream)
                    .map(|(key, _)| key)
                    .collect();
                hit.into_iter().for_each(|key| core.fail(key, error.clone()));
            }
        }
    }
}

pub(super) fn of_socket(setup: &Setup, error: &io::Error) -> CallError {
    tls::failure_behind(setup.target(), error).unwrap_or_else(|| setup.lost(error.to_string()))
}

pub(super) fn malformed(setup: &Setup, broken: &Broken) -> CallError {
    match broken {
        Broken::TooLong(_) => setup.lost(broken.to_string()),
        broken => setup.protocol(format!("it sends {broken}")),
    }
}
