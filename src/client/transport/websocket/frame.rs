//! WebSocket frames as a client writes and reads them (RFC 6455, section 5).
//!
//! Not tungstenite's, because this is the load path: a request is copied once, from its pieces into
//! the buffer for the socket, a reply is a slice of what was read, and several of either share one
//! system call.

use bytes::{Buf, Bytes, BytesMut};

use tokio::time::Instant;

use super::super::{PASS_OVER_TIME, pass_over_max};
use crate::client::memory::{Bounds, Claim, NoRoom};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
/// A DataRequest, or the end of requests.
pub(super) const BINARY: u8 = 2;
/// The last frame of either side.
pub(super) const CLOSE: u8 = 8;
const PING: u8 = 9;
/// The answer to a ping, with its payload.
pub(super) const PONG: u8 = 10;

/// The close code for a peer that breaks the protocol.
pub(super) const PROTOCOL_ERROR: u16 = 1002;
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// The longest payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: u64 = 125;

/// Bytes kept of a message over the limit, to learn whose reply it is: the request id is at the
/// beginning.
const BEGINNING: usize = 4 << 10;

/// Extracts frames from a stream of bytes and assembles messages.
#[derive(Debug)]
pub(super) struct Reader {
    /// Bytes received and not yet consumed. The reader of the socket appends to it.
    pub(super) input: BytesMut,
    unfinished: Unfinished,
    /// Bytes still to come of a skipped frame.
    skip: u64,
    /// Since when bytes have been skipped.
    skipped_since: Instant,
    message_bytes_max: usize,
    /// The memory claim of the message that is arriving.
    claim: Claim,
}

/// A message in several frames, so far.
#[derive(Debug)]
enum Unfinished {
    /// No message has begun.
    None,
    /// Its parts, at most the limit.
    Parts(BytesMut),
    /// It is skipped, and was reported.
    Passed,
}

/// Why a message is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It is over the limit.
    TooLarge,
    /// There is no room for it.
    NoRoom(NoRoom),
}

/// An event from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A complete binary message.
    Message(Bytes),
    /// The beginning of a message whose rest is skipped, and why.
    Passed(Bytes, Passed),
    /// A message that is too long to skip. Nothing after it can be read.
    TooLong,
    /// To be answered with a pong.
    Ping(Bytes),
    /// The server closes. A close frame without a code is what RFC 6455 calls 1005.
    Close { code: Option<u16>, reason: String },
}

/// Why a stream cannot be read any further: it is not WebSocket, or not in the mode we asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

struct FrameHeader {
    /// Its own length.
    bytes: usize,
    is_final: bool,
    opcode: u8,
    /// Length of the payload.
    payload: u64,
}

impl Reader {
    /// `input` is what was read beyond the handshake.
    pub(super) fn new(input: BytesMut, bounds: &Bounds) -> Reader {
        Reader {
            input,
            unfinished: Unfinished::None,
            skip: 0,
            skipped_since: Instant::now(),
            message_bytes_max: bounds.message_bytes_max,
            claim: bounds.memory.claim(),
        }
    }

    /// Whether a message has begun that is not complete.
    pub(super) fn is_amid_message(&self) -> bool {
        !self.input.is_empty() || matches!(self.unfinished, Unfinished::Parts(_))
    }

    /// The next event; `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            let passed = self.skip.min(self.input.len() as u64);
            self.skip -= passed;
            self.input.advance(passed as usize);
            if self.skip > 0 {
                let too_many = self.skip > pass_over_max(self.message_bytes_max) as u64;
                if too_many || self.skipped_since.elapsed() > PASS_OVER_TIME {
                    return Ok(Some(Event::TooLong));
                }
                return Ok(None);
            }
            let Some(header) = FrameHeader::parse(&self.input)? else { return Ok(None) };
            if header.opcode == CONTINUATION && matches!(self.unfinished, Unfinished::Passed) {
                self.input.advance(header.bytes);
                self.skip(header.payload);
                if header.is_final {
                    self.unfinished = Unfinished::None;
                }
                continue;
            }
            let so_far = match &self.unfinished {
                Unfinished::Parts(parts) => parts.len(),
                Unfinished::None | Unfinished::Passed => 0,
            };
            let length = usize::try_from(header.payload)
                .ok()
                .filter(|&length| header.is_control() || length <= self.message_bytes_max - so_far);
            let length = length.ok_or(Passed::TooLarge).and_then(|length| {
                self.room(&header, length).map_err(Passed::NoRoom)?;
                Ok(length)
            });
            let event = match length {
                Ok(length) => {
                    if self.input.len() < header.bytes + length {
                        return Ok(None);
                    }
                    self.input.advance(header.bytes);
                    let payload = self.input.split_to(length);
                    self.frame(&header, payload)?
                }
                Err(why) => {
                    let beginning = header.payload.min(BEGINNING as u64) as usize;
                    if self.input.len() < header.bytes + beginning {
                        return Ok(None);
                    }
                    self.input.advance(header.bytes);
                    self.skip(header.payload);
                    let beginning = Bytes::copy_from_slice(&self.input[..beginning]);
                    self.pass_over(&header, beginning, why)?
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: BytesMut,
    ) -> Result<Option<Event>, Violation> {
        match header.opcode {
            // Control frames may come between the parts of a message.
            CLOSE => return close(&payload).map(Some),
            PING => return Ok(Some(Event::Ping(payload.freeze()))),
            PONG => return Ok(None),
            _ => {}
        }
        let message = match (header.opcode, self.take_unfinished()) {
            (BINARY, Unfinished::None) => payload,
            (CONTINUATION, Unfinished::Parts(mut parts)) => {
                parts.extend_from_slice(&payload);
                parts
            }
            (opcode, unfinished) => return Err(out_of_place(opcode, &unfinished)),
        };
        if header.is_final {
            return Ok(Some(Event::Message(self.claim.hold(message.freeze()))));
        }
        self.unfinished = Unfinished::Parts(message);
        Ok(None)
    }

    /// Skips a data frame that makes its message longer than allowed, or than there is room for.
    fn pass_over(
        &mut self,
        header: &FrameHeader,
        beginning: Bytes,
        why: Passed,
    ) -> Result<Option<Event>, Violation> {
        let event = match (header.opcode, self.take_unfinished()) {
            (BINARY, Unfinished::None) => Event::Passed(beginning, why),
            (CONTINUATION, Unfinished::Parts(parts)) => {
                let beginning = &parts[..parts.len().min(BEGINNING)];
                Event::Passed(Bytes::copy_from_slice(beginning), why)
            }
            (opcode, unfinished) => return Err(out_of_place(opcode, &unfinished)),
        };
        if !header.is_final {
            self.unfinished = Unfinished::Passed;
        }
        self.claim.give_back();
        Ok(Some(event))
    }

    fn skip(&mut self, bytes: u64) {
        self.skip = bytes;
        self.skipped_since = Instant::now();
    }

    fn take_unfinished(&mut self) -> Unfinished {
        std::mem::replace(&mut self.unfinished, Unfinished::None)
    }

    /// Makes room for a frame that has not arrived yet: `input` grows to at most twice what has
    /// arrived, so that a header alone claims no memory.
    fn room(&mut self, header: &FrameHeader, length: usize) -> Result<(), NoRoom> {
        let (bytes, here) = (header.bytes + length, self.input.len());
        if here < bytes && self.input.capacity() == here {
            self.input.reserve((bytes - here).min(here));
        }
        if header.is_control() {
            return Ok(());
        }
        let parts = match &self.unfinished {
            Unfinished::Parts(parts) => parts.capacity(),
            Unfinished::None | Unfinished::Passed => 0,
        };
        self.claim.cover(parts + length.min(2 * here))
    }
}

impl FrameHeader {
    /// `None` if more bytes are needed.
    fn parse(input: &[u8]) -> Result<Option<FrameHeader>, Violation> {
        let [first, second, rest @ ..] = input else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(Violation("a frame of an extension that was not negotiated"));
        }
        if second & MASKED != 0 {
            return Err(Violation("a masked frame, which only clients may send"));
        }
        let (bytes, payload) = match (second, rest) {
            (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
            }
            (126 | 127, _) => return Ok(None),
            (length, _) => (2, u64::from(*length)),
        };
        let header =
            FrameHeader { bytes, is_final: first & FINAL != 0, opcode: first & 15, payload };
        if header.is_control() && (!header.is_final || payload > CONTROL_BYTES_MAX) {
            return Err(Violation("a control frame that is too long or fragmented"));
        }
        Ok(Some(header))
    }

    fn is_control(&self) -> bool {
        self.opcode & 8 != 0
    }
}

fn out_of_place(opcode: u8, unfinished: &Unfinished) -> Violation {
    Violation(match (opcode, unfinished) {
        (TEXT, _) => "a text frame; expected protobuf in binary frames",
        (CONTINUATION, _) => "a continuation frame without a message",
        (BINARY, _) => "a new message before the last one was complete",
        _ => "a frame of an unknown kind",
    })
}

fn close(payload: &[u8]) -> Result<Event, Violation> {
    match payload {
        [] => Ok(Event::Close { code: None, reason: String::new() }),
        [a, b, reason @ ..] => Ok(Event::Close {
            code: Some(u16::from_be_bytes([*a, *b])),
            reason: String::from_utf8_lossy(reason).into_owned(),
        }),
        [_] => Err(Violation("a truncated close code")),
    }
}

/// Appends a frame to `out`: its payload is `pieces` in order, masked with `mask` as every client
/// frame must be.
pub(super) fn write(out: &mut Vec<u8>, opcode: u8, pieces: &[&[u8]], mask: [u8; 4]) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    out.reserve(length + 14);
    out.push(FINAL | opcode);
    match length {
        0..=125 => out.push(MASKED | length as u8),
        126..=0xffff => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    apply(mask, &mut out[start..]);
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    // The compiler turns sixteen bytes at a time into one instruction.
    let wide = u128::from_ne_bytes(std::array::from_fn(|i| mask[i % 4]));
    let mut chunks = payload.chunks_exact_mut(16);
    for chunk in &mut chunks {
        let bytes: [u8; 16] = (&*chunk).try_into().expect("chunks of sixteen");
        chunk.copy_from_slice(&(u128::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
    use tokio_tungstenite::tungstenite::{self, Message};

    use super::*;
    use crate::client::ResponseMemory;

    const LIMIT: usize = 10_000;

    /// A frame as servers send it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len();
        let header = match length {
            0..=125 => vec![first, length as u8],
            126..=0xffff => [&[first, 126], &(length as u16).to_be_bytes()[..]].concat(),
            _ => [&[first, 127], &(length as u64).to_be_bytes()[..]].concat(),
        };
        [header, payload.to_vec()].concat()
    }

    fn message(payload: &[u8]) -> Event {
        Event::Message(Bytes::copy_from_slice(payload))
    }

    #[test]
    fn a_message_without_room_is_passed_over_and_the_next_one_read() {
        let memory = ResponseMemory::new(200 << 10);
        let bounds = Bounds { message_bytes_max: 1 << 30, memory };
        let long = vec![b'x'; 300 << 10];
        let whole = frame(0x82, &long);
        let parts = [
            frame(2, &long[..1000]),
            frame(0, &long[..100_000]),
            frame(0, &long),
            frame(0x80, b"end"),
        ];
        for long in [whole, parts.concat()] {
            for piece in [1000, 1 << 20] {
                let mut reader = Reader::new(BytesMut::new(), &bounds);
                let mut events = Vec::new();
                for piece in [&long[..], &frame(0x82, b"next")].concat().chunks(piece) {
                    reader.input.extend_from_slice(piece);
                    while let Some(event) = reader.next().unwrap() {
                        events.push(match event {
                            Event::Passed(beginning, Passed::NoRoom(_)) => beginning.slice(..1000),
                            Event::Message(message) => message,
                            other => panic!("{other:?}"),
                        });
                    }
                }
                assert_eq!(events, [&b"x".repeat(1000)[..], b"next"], "in pieces of {piece}");
                bounds.memory.claim().cover(200 << 10).expect("all of it is given back");
            }
        }
    }

    /// All events of a stream that arrives in `pieces`, and the violation that ends it, if any.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Option<&'static str>) {
        let mut reader = Reader::new(BytesMut::new(), &Bounds::small(LIMIT));
        let mut events = Vec::new();
        for piece in pieces {
            reader.input.extend_from_slice(piece);
            loop {
                match reader.next() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(Violation(what)) => return (events, Some(what)),
                }
            }
        }
        (events, None)
    }

    #[test]
    fn tungstenite_reads_what_we_write() {
        for length in [0, 1, 15, 16, 17, 125, 126, 127, 0xffff, 0x10000, 100_001] {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut out = Vec::new();
            let (start, rest) = payload.split_at(length / 3);
            let (middle, end) = rest.split_at(rest.len() / 2);
            write(&mut out, BINARY, &[start, middle, end], [1, 2, 3, 250]);
            write(&mut out, CLOSE, &[&1000u16.to_be_bytes()], [9, 8, 7, 6]);
            let socket = Cursor::new(out);
            let mut server = WebSocket::from_raw_socket(socket, Role::Server, None);
            assert_eq!(server.read().unwrap(), Message::Binary(payload.into()));
            assert!(matches!(server.read().unwrap(), Message::Close(Some(_))));
        }
    }

    #[test]
    fn messages_are_put_together_however_they_are_cut() {
        let long = vec![7; 300];
        let stream = [
            frame(0x82, b"one"),
            frame(0x02, b"t"),
            frame(0x89, b"ping"),
            frame(0x00, b"w"),
            frame(0x8a, b"a pong, to be ignored"),
            frame(0x80, b"o"),
            frame(0x82, &long),
            frame(0x82, b""),
            frame(0x88, b"\x03\xf3it broke"),
        ]
        .concat();
        let close = Event::Close { code: Some(1011), reason: "it broke".into() };
        let expected = vec![
            message(b"one"),
            Event::Ping(Bytes::from_static(b"ping")),
            message(b"two"),
            message(&long),
            message(b""),
            close,
        ];
        assert_eq!(read(stream.chunks(1)), (expected.clone(), None));
        for cut in 0..stream.len() {
            let (start, end) = stream.split_at(cut);
            assert_eq!(read([start, end]), (expected.clone(), None), "cut at {cut}");
        }
    }

    #[test]
    fn a_message_over_the_limit_is_passed_over() {
        let long = [vec![5; BEGINNING], vec![6; LIMIT]].concat();
        let whole = [frame(0x82, &long), frame(0x82, b"next")].concat();
        let in_parts = [
            frame(0x02, &long[..LIMIT]),
            frame(0x00, b"!"),
            frame(0x89, b""),
            frame(0x00, b"more"),
            frame(0x80, &long),
            frame(0x82, b"next"),
        ]
        .concat();
        let beginning = Bytes::copy_from_slice(&long[..BEGINNING]);
        let told = Event::Passed(beginning, Passed::TooLarge);
        let ping = Event::Ping(Bytes::new());
        for size in [1, 1000, 100_000] {
            let events = read(whole.chunks(size)).0;
            assert_eq!(events, [told.clone(), message(b"next")]);
            let events = read(in_parts.chunks(size)).0;
            assert_eq!(events, [told.clone(), ping.clone(), message(b"next")]);
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_told_apart() {
        let long_control = frame(0x89, &[0; 126]);
        let cases: [(&[u8], &str); 11] = [
            (b"\xc2\x00", "a frame of an extension that was not negotiated"),
            (b"\x82\x81\0\0\0\0a", "a masked frame, which only clients may send"),
            (b"\x81\x02hi", "a text frame; expected protobuf in binary frames"),
            (b"\x01\x02hi", "a text frame; expected protobuf in binary frames"),
            (b"\x80\x02hi", "a continuation frame without a message"),
            (b"\x02\x02hi\x82\x02hi", "a new message before the last one was complete"),
            (b"\x83\x00", "a frame of an unknown kind"),
            (b"\x8b\x00", "a frame of an unknown kind"),
            (b"\x09\x00", "a control frame that is too long or fragmented"),
            (&long_control, "a control frame that is too long or fragmented"),
            (b"\x88\x01\x03", "a truncated close code"),
        ];
        for (stream, expected) in cases {
            assert_eq!(read([stream]).1, Some(expected), "{stream:x?}");
        }
    }

    #[test]
    fn an_announced_length_claims_no_memory() {
        for length in [9_999_999u64, u64::MAX] {
            let mut reader = Reader::new(BytesMut::new(), &Bounds::small(10_000_000));
            let header = [&b"\x82\x7f"[..], &length.to_be_bytes()].concat();
            for byte in header.into_iter().chain([0; 100]) {
                reader.input.extend_from_slice(&[byte]);
                assert_eq!(reader.next(), Ok(None));
            }
            assert!(reader.input.capacity() < 1000);
        }
    }

    #[test]
    fn arbitrary_bytes_are_frames_or_an_error() {
        proptest::proptest!(|(bytes: Vec<u8>)| { read(bytes.chunks(7)); });
    }

    #[test]
    fn we_read_what_tungstenite_writes() {
        proptest::proptest!(|(messages: Vec<Vec<u8>>, chunk in 1..50usize)| {
            let socket = Cursor::new(Vec::new());
            let mut server = WebSocket::from_raw_socket(socket, Role::Server, None);
            for message in &messages {
                server.send(Message::Binary(message.clone().into())).unwrap();
            }
            assert!(matches!(
                server.send(Message::Close(None)),
                Ok(()) | Err(tungstenite::Error::ConnectionClosed)
            ));
            let stream = server.get_ref().get_ref().clone();
            let mut expected: Vec<_> = messages.iter().map(|m| message(m)).collect();
            expected.push(Event::Close { code: None, reason: String::new() });
            proptest::prop_assert_eq!(read(stream.chunks(chunk)), (expected, None));
        });
    }
}
