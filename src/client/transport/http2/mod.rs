//! One HTTP/2 connection (RFC 9113) as a client sees it, without its socket: bytes come in through
//! [`Connection::next`] and go out from [`Connection::out`].
//!
//! Reduced to what method calls need. The server may not push, and has no dynamic table for its
//! headers, so every header block is read by itself, and equal ones are equal bytes. Frames are
//! built in place at the end of the output: many calls are one write, and messages of one stream
//! share a frame.
//!
//! Bounded: the output by [`OUT_MAX`], a header block by [`BLOCK_MAX`]; of all other frames no more
//! is held than what has arrived.

pub(super) mod hpack;
pub(super) mod socket;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use bytes::{Buf, Bytes, BytesMut};

use self::hpack::Block;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a frame, in bytes.
const HEAD: usize = 9;
/// The window of Jina's gateway and client, in bytes: large enough that a large message is not sent
/// in pieces with a round trip each.
const WINDOW: u32 = 4 << 20;
/// The initial window of both sides.
const WINDOW_AT_FIRST: u32 = 65_535;
const WINDOW_MAX: i64 = 0x7fff_ffff;
/// The longest frame that we accept. Data is handed on as it arrives, so a long frame takes no
/// memory.
const FRAME_MAX: usize = 1 << 20;
/// The longest frame that we make, whatever the server accepts: the first message in a frame should
/// not wait for the bytes of the last one.
const FRAME_MADE_MAX: usize = 32 << 10;
/// No data is added to output of this many bytes: the socket takes no more then, and what waits
/// should wait where it can still be abandoned.
const OUT_MAX: usize = 256 << 10;
/// Limit of answers to pings and the like that the server does not read.
const CONTROL_MAX: usize = 1 << 20;
/// A buffer up to this size is always kept.
const OUT_KEPT: usize = 1 << 10;
/// The longest header block, as received; a longer one is skipped.
const BLOCK_MAX: usize = 128 << 10;
/// Limit of frames per header block: empty ones could go on forever.
const BLOCK_FRAMES_MAX: usize = 256;
/// Streams have odd numbers below 2³¹.
const STREAM_MAX: u32 = 0x7fff_ffff;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// An error code of the standard, with which a side ends a stream or a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

impl Code {
    pub(super) const NO_ERROR: Code = Code(0);
    pub(super) const PROTOCOL_ERROR: Code = Code(1);
    pub(super) const FLOW_CONTROL_ERROR: Code = Code(3);
    pub(super) const STREAM_CLOSED: Code = Code(5);
    pub(super) const FRAME_SIZE_ERROR: Code = Code(6);
    pub(super) const REFUSED_STREAM: Code = Code(7);
    pub(super) const CANCEL: Code = Code(8);
    pub(super) const COMPRESSION_ERROR: Code = Code(9);
    pub(super) const ENHANCE_YOUR_CALM: Code = Code(11);
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// Something that arrived. Whatever concerns only the connection is handled here.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// A complete header block.
    Headers { stream: u32, block: Bytes, ends: bool },
    /// A header block that is too long to read.
    HeadersTooLong { stream: u32 },
    /// Data, or as much of a frame as has arrived. Its bytes must be given back with
    /// [`Connection::release`].
    Data { stream: u32, data: Bytes, ends: bool },
    /// The server ended a stream, which no longer exists.
    Reset { stream: u32, code: Code },
    /// The server takes no more streams, and has not processed those beyond `last`.
    GoAway { last: u32, code: Code },
    /// The server accepts more data, or more streams, than before.
    Room,
    /// The answer to a ping.
    Pong([u8; 8]),
}

/// A message to send, which may go out in several frames.
pub(super) trait Message {
    /// Its length.
    fn len(&self) -> usize;
    /// Appends a part of it.
    fn copy(&self, from: usize, to: usize, out: &mut Vec<u8>);
}

/// A connection whose streams carry a `T` each.
pub(super) struct Connection<T> {
    out: Vec<u8>,
    /// How much of `out` the socket has taken.
    at: usize,
    /// Its recent length.
    used: usize,
    /// The position of the start of `out` in all output so far.
    base: u64,
    /// A data frame at the end of `out` that may grow: its stream and its start.
    tail: Option<(u32, usize)>,
    /// What the server allows.
    frame_max: usize,
    window: i64,
    window_of_streams: i64,
    streams_max: usize,
    /// Bytes of the server's dynamic table that our lines may take.
    table: usize,
    /// The table size has changed, and is sent with the next header block.
    table_is_new: bool,
    /// Whether the block that is kept there has been sent.
    block_is_known: bool,
    /// Whether the server's settings have arrived.
    greeted: bool,
    /// What we allow: data of all streams, and the part of it that is not yet given back.
    room: i64,
    owed: u32,
    next: u32,
    streams: HashMap<u32, Stream<T>, BuildHasherDefault<ByNumber>>,
    block: Option<Gathered>,
    /// The data frame that is arriving.
    data: Option<Incoming>,
    goodbye: bool,
}

/// A stream that is open on at least one side.
pub(super) struct Stream<T> {
    pub(super) user: T,
    window: i64,
    room: i64,
    owed: u32,
    /// Whether we have ended our side.
    pub(super) done: bool,
}

/// A header block whose end has not arrived.
struct Gathered {
    stream: u32,
    ends: bool,
    bytes: BytesMut,
    frames: usize,
    too_long: bool,
}

#[derive(Clone, Copy)]
struct Incoming {
    stream: u32,
    left: usize,
    padding: usize,
    ends: bool,
}

struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn parse(input: &[u8]) -> Option<Frame> {
        let [a, b, c, kind, flags, w, x, y, z, ..] = *input else { return None };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([w, x, y, z]) & STREAM_MAX;
        Some(Frame { length, kind, flags, stream })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl<T> Connection<T> {
    /// A connection that has its greeting to send.
    pub(super) fn new() -> Connection<T> {
        let mut out = PREFACE.to_vec();
        let settings: [(u16, u32); 4] = [(1, 0), (2, 0), (4, WINDOW), (5, FRAME_MAX as u32)];
        head(&mut out, settings.len() * 6, SETTINGS, 0, 0);
        for (name, value) in settings {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        head(&mut out, 4, WINDOW_UPDATE, 0, 0);
        out.extend_from_slice(&(WINDOW - WINDOW_AT_FIRST).to_be_bytes());
        Connection {
            out,
            at: 0,
            used: 0,
            base: 0,
            tail: None,
            frame_max: 16_384,
            window: WINDOW_AT_FIRST.into(),
            window_of_streams: WINDOW_AT_FIRST.into(),
            streams_max: usize::MAX,
            table: 4096,
            table_is_new: false,
            block_is_known: false,
            greeted: false,
            room: WINDOW.into(),
            owed: 0,
            next: 1,
            streams: HashMap::default(),
            block: None,
            data: None,
            goodbye: false,
        }
    }

    /// The output that the socket is to take next.
    pub(super) fn out(&self) -> &[u8] {
        &self.out[self.at..]
    }

    /// The socket has taken this many bytes of it; returns the position of the next byte.
    pub(super) fn taken(&mut self, bytes: usize) -> u64 {
        self.at += bytes;
        let until = self.base + self.at as u64;
        // A frame that is partly sent does not grow.
        if self.tail.is_some_and(|(_, start)| start < self.at) {
            self.tail = None;
        }
        if self.at == self.out.len() {
            // A buffer much longer than was needed recently is released.
            self.used = self.out.len().max(self.used - self.used / 8);
            self.out.clear();
            if self.out.capacity() > 4 * self.used.max(OUT_KEPT) {
                self.out.shrink_to(self.used.max(OUT_KEPT));
            }
            (self.base, self.at) = (until, 0);
        } else if self.at >= OUT_MAX {
            self.out.drain(..self.at);
            self.tail = None;
            (self.base, self.at) = (until, 0);
        }
        until
    }

    /// Whether more data may be added to the output.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() - self.at < OUT_MAX
    }

    /// How many streams may be opened now.
    pub(super) fn streams_free(&self) -> usize {
        if self.goodbye || self.next > STREAM_MAX - 2 {
            return 0;
        }
        self.streams_max.saturating_sub(self.streams.len())
    }

    /// How many streams the server allows at a time.
    pub(super) fn streams_max(&self) -> usize {
        self.streams_max
    }

    /// Whether no stream can ever be opened on it again.
    pub(super) fn is_used_up(&self) -> bool {
        self.goodbye || self.next > STREAM_MAX - 2
    }

    /// An open stream.
    pub(super) fn stream(&mut self, stream: u32) -> Option<&mut Stream<T>> {
        self.streams.get_mut(&stream)
    }

    /// All open streams.
    pub(super) fn streams(&mut self) -> impl Iterator<Item = (u32, &mut Stream<T>)> {
        self.streams.iter_mut().map(|(number, stream)| (*number, stream))
    }

    /// Whether no stream is open.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// The position of the next byte put into `out`.
    pub(super) fn position(&self) -> u64 {
        self.base + self.out.len() as u64
    }

    /// The same for a request without a body: our side of the stream ends with its headers.
    pub(super) fn open_without_body(&mut self, block: &Block, user: T) -> u32 {
        let start = self.out.len();
        let stream = self.open(block, false, user);
        self.out[start + 4] |= END_STREAM;
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.done = true;
        }
        stream
    }

    /// Opens a stream with a header block. `shared`: it is the block that the server may keep.
    pub(super) fn open(&mut self, block: &Block, shared: bool, user: T) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.tail = None;
        let table = if shared { self.table } else { 0 };
        let start = self.out.len();
        head(&mut self.out, 0, HEADERS, END_HEADERS, stream);
        if std::mem::take(&mut self.table_is_new) {
            hpack::write_table_size(&mut self.out, self.table);
        }
        self.out.extend_from_slice(block.of_connection(table, &mut self.block_is_known));
        self.cut(start, stream);
        let (window, room) = (self.window_of_streams, WINDOW.into());
        self.streams.insert(stream, Stream { user, window, room, owed: 0, done: false });
        stream
    }

    /// Sets the length of a headers frame, or splits it into several.
    fn cut(&mut self, start: usize, stream: u32) {
        let length = self.out.len() - start - HEAD;
        if length <= self.frame_max {
            return self.out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        }
        let block = self.out.split_off(start + HEAD);
        self.out.truncate(start);
        let mut pieces = block.chunks(self.frame_max).enumerate().peekable();
        while let Some((index, piece)) = pieces.next() {
            let kind = if index == 0 { HEADERS } else { CONTINUATION };
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            head(&mut self.out, piece.len(), kind, flags, stream);
            self.out.extend_from_slice(piece);
        }
    }

    /// Sends as much of a message as there is room for, from where it was left off. `ends`: our
    /// side of the stream ends with it. Returns how far it got, and the position of its first byte
    /// if that was sent now.
    pub(super) fn send(
        &mut self,
        stream: u32,
        message: &impl Message,
        from: usize,
        ends: bool,
    ) -> (usize, Option<u64>) {
        let Some(entry) = self.streams.get_mut(&stream) else { return (from, None) };
        let (length, mut at, mut first) = (message.len(), from, None);
        let frame_max = self.frame_max.min(FRAME_MADE_MAX);
        while at < length && self.out.len() - self.at < OUT_MAX {
            let window = self.window.min(entry.window).max(0) as usize;
            let (start, room) = match self.tail {
                Some((owner, start)) if owner == stream => {
                    (start, frame_max.saturating_sub(self.out.len() - start - HEAD))
                }
                _ => (usize::MAX, 0),
            };
            let wanted = (length - at).min(window);
            if wanted == 0 {
                break;
            }
            let (start, room) = if room > 0 {
                (start, room)
            } else {
                let start = self.out.len();
                head(&mut self.out, 0, DATA, 0, stream);
                self.tail = Some((stream, start));
                (start, frame_max)
            };
            let count = wanted.min(room);
            if at == 0 {
                first = Some(self.base + self.out.len() as u64);
            }
            message.copy(at, at + count, &mut self.out);
            at += count;
            self.window -= count as i64;
            entry.window -= count as i64;
            let payload = (self.out.len() - start - HEAD) as u32;
            self.out[start..start + 3].copy_from_slice(&payload.to_be_bytes()[1..]);
            if at == length && ends {
                self.out[start + 4] |= END_STREAM;
                entry.done = true;
                self.tail = None;
            }
        }
        (at, first)
    }

    /// Ends our side of a stream without data.
    pub(super) fn end(&mut self, stream: u32) {
        let Some(entry) = self.streams.get_mut(&stream).filter(|entry| !entry.done) else { return };
        entry.done = true;
        self.tail = None;
        head(&mut self.out, 0, DATA, END_STREAM, stream);
    }

    /// Cancels a stream.
    pub(super) fn reset(&mut self, stream: u32, code: Code) -> Option<T> {
        let entry = self.streams.remove(&stream)?;
        self.write_reset(stream, code);
        Some(entry.user)
    }

    fn write_reset(&mut self, stream: u32, code: Code) {
        self.tail = None;
        head(&mut self.out, 4, RST_STREAM, 0, stream);
        self.out.extend_from_slice(&code.0.to_be_bytes());
    }

    /// Forgets a stream that the server has reset, or will never process.
    pub(super) fn forget(&mut self, stream: u32) -> Option<T> {
        self.streams.remove(&stream).map(|entry| entry.user)
    }

    /// Forgets a stream that both sides have ended, or that the server has ended and we no longer
    /// need.
    pub(super) fn close(&mut self, stream: u32) -> Option<T> {
        let entry = self.streams.remove(&stream)?;
        if !entry.done {
            // As the standard says for a server that answers before it has read everything.
            self.write_reset(stream, Code::NO_ERROR);
        }
        Some(entry.user)
    }

    /// Bytes of a stream were processed, so that as many may follow.
    pub(super) fn release(&mut self, stream: u32, bytes: usize) {
        let Some(entry) = self.streams.get_mut(&stream) else { return };
        entry.owed += bytes as u32;
        if entry.owed >= WINDOW / 2 {
            let owed = std::mem::take(&mut entry.owed);
            entry.room += i64::from(owed);
            self.write_window(stream, owed);
        }
    }

    fn write_window(&mut self, stream: u32, bytes: u32) {
        self.tail = None;
        head(&mut self.out, 4, WINDOW_UPDATE, 0, stream);
        self.out.extend_from_slice(&bytes.to_be_bytes());
    }

    /// Sends a ping.
    pub(super) fn ping(&mut self, payload: [u8; 8]) {
        self.tail = None;
        head(&mut self.out, 8, PING, 0, 0);
        self.out.extend_from_slice(&payload);
    }

    /// Announces that we end the connection, and why.
    pub(super) fn go_away(&mut self, code: Code) {
        self.tail = None;
        head(&mut self.out, 8, GOAWAY, 0, 0);
        self.out.extend_from_slice(&0u32.to_be_bytes());
        self.out.extend_from_slice(&code.0.to_be_bytes());
    }

    /// The next event; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The error code for what the server did wrong. Nothing after that can be read.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Code> {
        loop {
            if self.data.is_some() {
                match self.data(input) {
                    Some(event) => return Ok(Some(event)),
                    None if self.data.is_some() => return Ok(None),
                    None => continue,
                }
            }
            let Some(frame) = Frame::parse(input) else { return Ok(None) };
            self.check(&frame)?;
            if frame.kind == DATA {
                if self.begin_data(&frame, input)? {
                    continue;
                }
                return Ok(None);
            }
            if input.len() < HEAD + frame.length {
                return Ok(None);
            }
            input.advance(HEAD);
            let payload = input.split_to(frame.length);
            if let Some(event) = self.frame(&frame, payload)? {
                return Ok(Some(event));
            }
            if self.out.len() - self.at > CONTROL_MAX {
                return Err(Code::ENHANCE_YOUR_CALM);
            }
        }
    }

    /// Rejects a frame that is invalid whatever it contains.
    fn check(&self, frame: &Frame) -> Result<(), Code> {
        let Frame { length, kind, stream, .. } = *frame;
        if length > FRAME_MAX {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        if !self.greeted && kind != SETTINGS {
            return Err(Code::PROTOCOL_ERROR);
        }
        let gathers = self.block.as_ref().map(|block| block.stream);
        if gathers.is_some() != (kind == CONTINUATION) || gathers.is_some_and(|of| of != stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let of_connection = matches!(kind, SETTINGS | PING | GOAWAY);
        let of_stream = matches!(kind, DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION);
        if of_connection && stream != 0 || of_stream && stream == 0 {
            return Err(Code::PROTOCOL_ERROR);
        }
        // For streams that nobody has opened yet, only PRIORITY is allowed.
        let is_idle = stream != 0 && (stream % 2 == 0 || stream >= self.next);
        if is_idle && (of_stream || kind == WINDOW_UPDATE) && kind != PRIORITY {
            return Err(Code::PROTOCOL_ERROR);
        }
        Ok(())
    }

    /// Takes the head of a data frame; false if more bytes are needed.
    fn begin_data(&mut self, frame: &Frame, input: &mut BytesMut) -> Result<bool, Code> {
        let mut left = frame.length;
        let mut padding = 0;
        if frame.has(PADDED) {
            let Some(&length) = input.get(HEAD) else {
                return if left == 0 { Err(Code::FRAME_SIZE_ERROR) } else { Ok(false) };
            };
            padding = usize::from(length);
            left = left.checked_sub(1 + padding).ok_or(Code::PROTOCOL_ERROR)?;
            input.advance(1);
        }
        input.advance(HEAD);
        self.room -= frame.length as i64;
        if self.room < 0 {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        // The connection's window is given back at once: what a stream holds is limited by its own
        // window.
        self.owed += frame.length as u32;
        if self.owed >= WINDOW / 2 {
            let owed = std::mem::take(&mut self.owed);
            self.room += i64::from(owed);
            self.write_window(0, owed);
        }
        match self.streams.get_mut(&frame.stream) {
            Some(entry) => {
                entry.room -= frame.length as i64;
                if entry.room < 0 {
                    return Err(Code::FLOW_CONTROL_ERROR);
                }
                self.release(frame.stream, frame.length - left);
            }
            // We may have cancelled it a moment ago.
            None => self.write_reset(frame.stream, Code::STREAM_CLOSED),
        }
        let ends = frame.has(END_STREAM);
        self.data = Some(Incoming { stream: frame.stream, left, padding, ends });
        Ok(true)
    }

    /// As much of the arriving data frame as is there.
    fn data(&mut self, input: &mut BytesMut) -> Option<Event> {
        let data = self.data.as_mut()?;
        let bytes = input.split_to(data.left.min(input.len()));
        data.left -= bytes.len();
        let (stream, mut ends) = (data.stream, false);
        if data.left == 0 {
            ends = std::mem::take(&mut data.ends);
            let padding = data.padding.min(input.len());
            input.advance(padding);
            data.padding -= padding;
            if data.padding == 0 {
                self.data = None;
            }
        }
        let wanted = (!bytes.is_empty() || ends) && self.streams.contains_key(&stream);
        wanted.then(|| Event::Data { stream, data: bytes.freeze(), ends })
    }

    fn frame(&mut self, frame: &Frame, payload: BytesMut) -> Result<Option<Event>, Code> {
        match frame.kind {
            HEADERS => {
                let (mut from, mut until) = (0, payload.len());
                if frame.has(PADDED) {
                    let padding = *payload.first().ok_or(Code::FRAME_SIZE_ERROR)?;
                    from += 1;
                    until = until.checked_sub(padding.into()).ok_or(Code::PROTOCOL_ERROR)?;
                }
                if frame.has(WITH_PRIORITY) {
                    from += 5;
                }
                if from > until {
                    return Err(Code::PROTOCOL_ERROR);
                }
                let mut bytes = payload;
                bytes.truncate(until);
                bytes.advance(from);
                let (stream, ends) = (frame.stream, frame.has(END_STREAM));
                let block = Gathered { stream, ends, bytes, frames: 0, too_long: false };
                self.gathered(block, frame.has(END_HEADERS))
            }
            CONTINUATION => {
                let Some(mut block) = self.block.take() else { return Err(Code::PROTOCOL_ERROR) };
                block.frames += 1;
                if block.frames > BLOCK_FRAMES_MAX {
                    return Err(Code::ENHANCE_YOUR_CALM);
                }
                block.bytes.extend_from_slice(&payload);
                self.gathered(block, frame.has(END_HEADERS))
            }
            PRIORITY if payload.len() == 5 => Ok(None),
            RST_STREAM => {
                let code = Code(number(&payload).ok_or(Code::FRAME_SIZE_ERROR)?);
                let stream = frame.stream;
                // The receiver of the event removes the stream.
                Ok(self.streams.contains_key(&stream).then_some(Event::Reset { stream, code }))
            }
            SETTINGS => self.settings(frame, &payload),
            PUSH_PROMISE => Err(Code::PROTOCOL_ERROR),
            PING => {
                let payload = payload[..].try_into().map_err(|_| Code::FRAME_SIZE_ERROR)?;
                if frame.has(ACK) {
                    return Ok(Some(Event::Pong(payload)));
                }
                self.tail = None;
                head(&mut self.out, 8, PING, ACK, 0);
                self.out.extend_from_slice(&payload);
                Ok(None)
            }
            GOAWAY => {
                let last = payload.get(..4).and_then(number).ok_or(Code::FRAME_SIZE_ERROR)?;
                let code = payload.get(4..8).and_then(number).ok_or(Code::FRAME_SIZE_ERROR)?;
                self.goodbye = true;
                Ok(Some(Event::GoAway { last: last & STREAM_MAX, code: Code(code) }))
            }
            WINDOW_UPDATE => {
                let more = number(&payload).ok_or(Code::FRAME_SIZE_ERROR)? & STREAM_MAX;
                if more == 0 {
                    return Err(Code::PROTOCOL_ERROR);
                }
                let window = if frame.stream == 0 {
                    &mut self.window
                } else {
                    match self.streams.get_mut(&frame.stream) {
                        Some(entry) => &mut entry.window,
                        None => return Ok(None),
                    }
                };
                *window += i64::from(more);
                if *window > WINDOW_MAX {
                    return Err(Code::FLOW_CONTROL_ERROR);
                }
                Ok(Some(Event::Room))
            }
            PRIORITY => Err(Code::FRAME_SIZE_ERROR),
            // Frames of extensions that we did not ask for.
            _ => Ok(None),
        }
    }

    fn gathered(&mut self, mut block: Gathered, whole: bool) -> Result<Option<Event>, Code> {
        if block.bytes.len() > BLOCK_MAX {
            // Without a dynamic table, nothing after it depends on it.
            block.too_long = true;
            block.bytes = BytesMut::new();
        }
        if !whole {
            self.block = Some(block);
            return Ok(None);
        }
        let Gathered { stream, ends, bytes, too_long, .. } = block;
        if !self.streams.contains_key(&stream) {
            self.write_reset(stream, Code::STREAM_CLOSED);
            return Ok(None);
        }
        Ok(Some(match too_long {
            true => Event::HeadersTooLong { stream },
            false => Event::Headers { stream, block: bytes.freeze(), ends },
        }))
    }

    fn settings(&mut self, frame: &Frame, payload: &[u8]) -> Result<Option<Event>, Code> {
        if frame.has(ACK) {
            return if payload.is_empty() && self.greeted {
                Ok(None)
            } else {
                Err(Code::FRAME_SIZE_ERROR)
            };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        for setting in payload.chunks_exact(6) {
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            let value = number(&setting[2..]).unwrap_or_default();
            match name {
                1 => {
                    let table = (value as usize).min(4096);
                    if table < self.table {
                        // Its contents may be gone, so nothing is put there any more.
                        (self.table, self.table_is_new) = (0, true);
                    }
                }
                2 if value > 1 => return Err(Code::PROTOCOL_ERROR),
                3 => self.streams_max = value as usize,
                4 => {
                    if i64::from(value) > WINDOW_MAX {
                        return Err(Code::FLOW_CONTROL_ERROR);
                    }
                    let change = i64::from(value) - self.window_of_streams;
                    self.window_of_streams += change;
                    for entry in self.streams.values_mut() {
                        entry.window += change;
                        if entry.window > WINDOW_MAX {
                            return Err(Code::FLOW_CONTROL_ERROR);
                        }
                    }
                }
                5 => {
                    if !(16_384..=0xff_ffff).contains(&value) {
                        return Err(Code::PROTOCOL_ERROR);
                    }
                    self.frame_max = value as usize;
                }
                _ => (),
            }
        }
        self.greeted = true;
        self.tail = None;
        head(&mut self.out, 0, SETTINGS, ACK, 0);
        Ok(Some(Event::Room))
    }
}

fn number(bytes: impl AsRef<[u8]>) -> Option<u32> {
    bytes.as_ref().try_into().ok().map(u32::from_be_bytes)
}

fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// We choose the numbers of streams, so nobody can make them collide.
#[derive(Default)]
struct ByNumber(u64);

impl Hasher for ByNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32((self.0 as u32) << 8 | u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests;
