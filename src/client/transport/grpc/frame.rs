//! How gRPC splits a stream of bytes into messages: one byte that says whether the message is
//! compressed, four with its length, then the message.
//!
//! tonic has this too. Here, however, a reply over the limit fails its own request and not the
//! stream, a message that lies within one frame is not copied, and no memory is allocated for a
//! length that is only announced.

use std::borrow::Borrow;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::Compression as Level;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderMap;
use tokio::time::Instant;

use super::super::http2::Message;
use super::super::pending::Received;
use super::super::{PASS_OVER_TIME, pass_over_max};
use crate::client::memory::{Bounds, Claim};
use crate::client::{CallError, Compression};
use crate::wire::{Encoded, RequestId};

/// The flag and length before each message.
pub(super) const PREFIX: usize = 5;

/// Bytes decompressed before checking again whether there is room for more.
const DECOMPRESSED_AT_ONCE: u64 = 1 << 20;

/// Bytes kept of a message over the limit, to learn whose reply it is: the request id is at the
/// beginning.
const BEGINNING: usize = 4096;

/// A message to send. If it goes out in one piece, it is copied only once.
#[derive(Clone, Debug)]
pub(super) enum Outgoing<E = Encoded> {
    /// A request with its id.
    Request {
        /// The message without its id.
        message: E,
        /// The digits of the id.
        id: [u8; RequestId::LEN],
    },
    /// A compressed message, with flag and length.
    Packed(Bytes),
    /// `google.protobuf.Empty`.
    Empty,
}

impl<E: Borrow<Encoded>> Message for Outgoing<E> {
    fn len(&self) -> usize {
        match self {
            Outgoing::Request { message, .. } => PREFIX + message.borrow().len(),
            Outgoing::Packed(bytes) => bytes.len(),
            Outgoing::Empty => PREFIX,
        }
    }

    fn copy(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        let prefix;
        let pieces: [&[u8]; 4] = match self {
            Outgoing::Request { message, id } => {
                let message = message.borrow();
                let (head, tail) = message.pieces();
                // A message of 4 GiB is rejected before it is queued.
                prefix = framed(0, message.len() as u32);
                [&prefix, head, id, tail]
            }
            Outgoing::Packed(bytes) => [bytes, &[], &[], &[]],
            Outgoing::Empty => [&[0; PREFIX], &[], &[], &[]],
        };
        let mut start = 0;
        for piece in pieces {
            let end = start + piece.len();
            let (first, last) = (from.clamp(start, end), to.clamp(start, end));
            out.extend_from_slice(&piece[first - start..last - start]);
            start = end;
        }
    }
}

/// The flag and length of a message.
fn framed(flag: u8, length: u32) -> [u8; PREFIX] {
    let [a, b, c, d] = length.to_be_bytes();
    [flag, a, b, c, d]
}

/// A message compressed for sending; `None` if it is not compressed.
pub(super) fn packed(message: &Encoded, id: RequestId, compression: Compression) -> Option<Bytes> {
    let (head, tail) = message.pieces();
    let digits = id.digits();
    let parts = [head, &digits, tail];
    let mut out = vec![0; PREFIX];
    let written = match compression {
        Compression::None => return None,
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(&mut out, Level::default());
            parts
                .iter()
                .try_for_each(|part| encoder.write_all(part))
                .and_then(|()| encoder.try_finish())
        }
        Compression::Deflate => {
            let mut encoder = ZlibEncoder::new(&mut out, Level::default());
            parts
                .iter()
                .try_for_each(|part| encoder.write_all(part))
                .and_then(|()| encoder.try_finish())
        }
    };
    written.expect("writing to memory does not fail");
    let length = (out.len() - PREFIX) as u32;
    out[..PREFIX].copy_from_slice(&framed(1, length));
    Some(out.into())
}

/// A complete message that arrived.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message, uncompressed.
    Message(Received),
    /// A skipped message: its beginning, and why it was skipped.
    Skipped(Bytes, CallError),
}

/// Why bytes are not gRPC messages.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("a message with the compression flag {0}, expected 0 or 1")]
    Flag(u8),
    #[error("a compressed message without a supported `grpc-encoding` (gzip, deflate)")]
    Encoding,
    #[error("a message that cannot be decompressed: {0}")]
    Decompress(io::Error),
    #[error("a truncated message")]
    Half,
    /// Messages behind it would wait too long, or forever if the length is wrong.
    #[error("the gateway sent a response of {0} bytes, too large to skip")]
    TooLong(usize),
}

/// The compression of a response's compressed messages.
pub(super) fn encoding(headers: &HeaderMap) -> Compression {
    match headers.get("grpc-encoding").map(|value| value.as_bytes()) {
        Some(b"gzip") => Compression::Gzip,
        Some(b"deflate") => Compression::Deflate,
        _ => Compression::None,
    }
}

/// Splits incoming bytes into messages.
#[derive(Debug)]
pub(super) struct Messages {
    /// How messages with the flag 1 are compressed.
    encoding: Compression,
    /// The limit of a message, decompressed.
    bounds: Bounds,
    /// The memory claim of the message that is arriving.
    claim: Claim,
    /// The unread rest of the newest frame.
    frame: Bytes,
    /// When `frame` arrived.
    came: Instant,
    /// A message that began in an earlier frame, prefix included. Grows only with the bytes
    /// received.
    partial: BytesMut,
    /// When the first byte of `partial` arrived.
    began: Instant,
    /// Bytes still to skip of a message over the limit.
    skip: usize,
    /// The length of that message, and since when it has been skipped.
    skipped: (usize, Instant),
}

impl Messages {
    /// A reader of a response that begins now and whose compressed messages have this encoding.
    pub(super) fn new(encoding: Compression, bounds: &Bounds, now: Instant) -> Messages {
        Messages {
            encoding,
            bounds: bounds.clone(),
            claim: bounds.memory.claim(),
            frame: Bytes::new(),
            came: now,
            partial: BytesMut::new(),
            began: now,
            skip: 0,
            skipped: (0, now),
        }
    }

    /// Takes a frame that arrived at this instant. Call `next` until it returns nothing before the
    /// next frame.
    pub(super) fn push(&mut self, frame: Bytes, came: Instant) {
        debug_assert!(self.frame.is_empty());
        self.frame = frame;
        self.came = came;
    }

    /// The next complete message; `None` if more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are not messages; nothing after that can be read.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Broken> {
        if self.skip > 0 {
            let skipped = self.skip.min(self.frame.len());
            self.frame.advance(skipped);
            self.skip -= skipped;
            let (length, since) = self.skipped;
            if self.skip > pass_over_max(self.bounds.message_bytes_max)
                || self.skip > 0 && since.elapsed() > PASS_OVER_TIME
            {
                return Err(Broken::TooLong(length));
            }
        }
        if self.frame.is_empty() {
            return Ok(None);
        }
        if self.partial.is_empty() {
            self.began = self.came;
            // Usually the message lies within the frame.
            if self.frame.len() >= PREFIX {
                let (flag, length) = prefix(&self.frame);
                if length <= self.bounds.message_bytes_max && self.frame.len() - PREFIX >= length {
                    self.frame.advance(PREFIX);
                    let message = self.frame.split_to(length);
                    return self.complete(flag, message).map(Some);
                }
            }
        }
        self.take(PREFIX);
        if self.partial.len() < PREFIX {
            return Ok(None);
        }
        let (flag, length) = prefix(&self.partial);
        let refused = if length > self.bounds.message_bytes_max {
            Some(self.too_large())
        } else {
            let grown = self.partial.len() + self.frame.len();
            self.claim.cover(length.min(2 * grown)).err().map(CallError::from)
        };
        let wanted = if refused.is_some() { length.min(BEGINNING) } else { length };
        self.take(PREFIX + wanted);
        if self.partial.len() < PREFIX + wanted {
            return Ok(None);
        }
        let message = std::mem::take(&mut self.partial).freeze().slice(PREFIX..);
        if let Some(refused) = refused {
            self.skip = length - message.len();
            self.skipped = (length, Instant::now());
            return Ok(Some(self.skipped(&message, refused)));
        }
        self.complete(flag, message).map(Some)
    }

    /// To be called at the end of the response.
    ///
    /// # Errors
    /// When the response ends in the middle of a message.
    pub(super) fn end(&self) -> Result<(), Broken> {
        if self.partial.is_empty() && self.skip == 0 { Ok(()) } else { Err(Broken::Half) }
    }

    /// Moves bytes from the frame until `partial` has `length` of them.
    fn take(&mut self, length: usize) {
        let missing = length.saturating_sub(self.partial.len()).min(self.frame.len());
        self.partial.extend_from_slice(&self.frame.split_to(missing));
    }

    fn complete(&mut self, flag: u8, message: Bytes) -> Result<Incoming, Broken> {
        let message = match (flag, self.encoding) {
            (0, _) => message,
            (1, Compression::Gzip) => self.decompress(GzDecoder::new(&message[..]))?,
            (1, Compression::Deflate) => self.decompress(ZlibDecoder::new(&message[..]))?,
            (1, Compression::None) => return Err(Broken::Encoding),
            (flag, _) => return Err(Broken::Flag(flag)),
        };
        if message.len() > self.bounds.message_bytes_max {
            return Ok(self.skipped(&message, self.too_large()));
        }
        if let Err(full) = self.claim.cover(message.len()) {
            return Ok(self.skipped(&message, full.into()));
        }
        let message = self.claim.hold(message);
        Ok(Incoming::Message(Received { message, first: self.began, done: self.came }))
    }

    /// Decompresses up to one byte over the limit, or as far as there is room, so that a small
    /// decompression bomb stays small.
    fn decompress(&mut self, decoder: impl Read) -> Result<Bytes, Broken> {
        let mut bytes = Vec::new();
        let most = u64::try_from(self.bounds.message_bytes_max).unwrap_or(u64::MAX);
        let mut decoder = decoder.take(most.saturating_add(1));
        // A message without enough room is rejected by its length.
        while self.claim.cover(bytes.len()).is_ok()
            && (&mut decoder)
                .take(DECOMPRESSED_AT_ONCE)
                .read_to_end(&mut bytes)
                .map_err(Broken::Decompress)?
                > 0
        {}
        Ok(bytes.into())
    }

    fn too_large(&self) -> CallError {
        CallError::TooLarge { limit: self.bounds.message_bytes_max }
    }

    /// A message of which only the beginning is kept.
    fn skipped(&mut self, message: &[u8], why: CallError) -> Incoming {
        self.claim.give_back();
        let beginning = &message[..BEGINNING.min(message.len())];
        Incoming::Skipped(Bytes::copy_from_slice(beginning), why)
    }
}

fn prefix(bytes: &[u8]) -> (u8, usize) {
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    (bytes[0], length as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::ResponseMemory;
    use crate::wire::{DataRequest, Document, Family, Form};

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        bytes
    }

    fn reader(encoding: &'static str, limit: usize) -> Messages {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-encoding", encoding.parse().unwrap());
        Messages::new(super::encoding(&headers), &Bounds::small(limit), Instant::now())
    }

    /// The result when `bytes` arrive in pieces of this size: messages as they are, `!` and the
    /// beginning for those over the limit.
    fn read(reader: &mut Messages, bytes: &[u8], piece: usize) -> Result<Vec<String>, Broken> {
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.push(Bytes::copy_from_slice(piece), Instant::now());
            while let Some(incoming) = reader.next()? {
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                out.push(match incoming {
                    Incoming::Message(arrival) => text(&arrival.message),
                    Incoming::Skipped(beginning, _) => format!("!{}", text(&beginning)),
                });
            }
        }
        reader.end()?;
        Ok(out)
    }

    #[test]
    fn messages_are_cut_the_same_however_they_come_in() {
        let bytes = [framed(0, b"one"), framed(0, b""), framed(0, &[b'x'; 100])].concat();
        for piece in 1..=bytes.len() {
            let found = read(&mut reader("identity", 100), &bytes, piece).unwrap();
            assert_eq!(found, ["one", "", &"x".repeat(100)], "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_over_the_limit_is_skipped_and_the_next_one_read() {
        let bytes = [framed(0, b"0123456789"), framed(0, b"next")].concat();
        for piece in 1..=bytes.len() {
            let found = read(&mut reader("identity", 4), &bytes, piece).unwrap();
            assert_eq!(found, ["!0123456789", "next"], "in pieces of {piece}");
        }
        let bytes = [framed(0, &[b'x'; 3 * BEGINNING]), framed(0, b"next")].concat();
        let found = read(&mut reader("identity", 4), &bytes, 1000).unwrap();
        assert_eq!(found, [format!("!{}", "x".repeat(BEGINNING)), "next".into()]);
    }

    #[test]
    fn a_message_without_room_is_skipped_and_the_next_one_read() {
        let memory = ResponseMemory::new(200 << 10);
        let bounds = Bounds { message_bytes_max: 1 << 30, memory };
        let long = vec![b'x'; 300 << 10];
        let mut gzip = GzEncoder::new(Vec::new(), Level::default());
        gzip.write_all(&long).unwrap();
        let packed = framed(1, &gzip.finish().unwrap());
        for long in [framed(0, &long), packed] {
            for piece in [1000, 100_000, long.len()] {
                let mut headers = HeaderMap::new();
                headers.insert("grpc-encoding", "gzip".parse().unwrap());
                let mut reader = Messages::new(super::encoding(&headers), &bounds, Instant::now());
                let bytes = [&long[..], &framed(0, b"next")].concat();
                let found = read(&mut reader, &bytes, piece).unwrap();
                let refused = format!("!{}", "x".repeat(BEGINNING));
                assert_eq!(found, [refused, "next".into()], "in pieces of {piece}");
                bounds.memory.claim().cover(200 << 10).expect("all of it is given back");
            }
        }
    }

    #[test]
    fn an_announced_length_claims_no_memory() {
        let mut reader = reader("identity", usize::MAX);
        reader.push(Bytes::from_static(b"\x00\xff\xff\xff\xffhello"), Instant::now());
        assert!(reader.next().unwrap().is_none());
        assert!(reader.partial.capacity() < 100, "{}", reader.partial.capacity());
    }

    #[test]
    fn compressed_messages_are_read_and_bombs_are_not() {
        let mut gzip = GzEncoder::new(Vec::new(), Level::default());
        gzip.write_all(&[b'z'; 10_000]).unwrap();
        let gzip = framed(1, &gzip.finish().unwrap());
        let found = read(&mut reader("gzip", 10_000), &gzip, 7).unwrap();
        assert_eq!(found, ["z".repeat(10_000)]);
        let found = read(&mut reader("gzip", 9_999), &gzip, 7).unwrap();
        assert_eq!(found, [format!("!{}", "z".repeat(BEGINNING))]);
        let mut zlib = ZlibEncoder::new(Vec::new(), Level::default());
        zlib.write_all(b"zlib").unwrap();
        let zlib = framed(1, &zlib.finish().unwrap());
        assert_eq!(read(&mut reader("deflate", 100), &zlib, 7).unwrap(), ["zlib"]);
        let plain = framed(0, b"plain");
        assert_eq!(read(&mut reader("deflate", 100), &plain, 7).unwrap(), ["plain"]);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for (encoding, bytes, message) in [
            ("identity", framed(7, b"x"), "a message with the compression flag 7, expected 0 or 1"),
            (
                "identity",
                framed(1, b"x"),
                "a compressed message without a supported `grpc-encoding` (gzip, deflate)",
            ),
            (
                "gzip",
                framed(1, b"not gzip at all"),
                "a message that cannot be decompressed: invalid gzip header",
            ),
            ("gzip", framed(0, b"half")[..7].to_vec(), "a truncated message"),
            ("gzip", b"\0".to_vec(), "a truncated message"),
        ] {
            let error = read(&mut reader(encoding, 100), &bytes, 100).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn what_we_write_is_what_is_read() {
        let id = RequestId { sender: 1, number: 2 };
        for text in ["short".to_owned(), "long ".repeat(10_000)] {
            let request = DataRequest {
                data: Some(vec![Document::from_text(text)]),
                ..DataRequest::default()
            };
            let message = Form::Protobuf(Family::V1).encode_request(&request).unwrap();
            let expected = message.with_id(id);
            for (compression, encoding) in [
                (Compression::None, "identity"),
                (Compression::Gzip, "gzip"),
                (Compression::Deflate, "deflate"),
            ] {
                let request = match packed(&message, id, compression) {
                    Some(bytes) => Outgoing::Packed(bytes),
                    None => Outgoing::Request { message: message.clone(), id: id.digits() },
                };
                let mut reader = reader(encoding, 1 << 20);
                let mut out = Vec::new();
                // In pieces, as flow control splits it.
                for from in (0..request.len()).step_by(31) {
                    request.copy(from, (from + 31).min(request.len()), &mut out);
                }
                Outgoing::<Encoded>::Empty.copy(0, PREFIX, &mut out);
                reader.push(out.into(), Instant::now());
                let Incoming::Message(arrival) = reader.next().unwrap().unwrap() else { panic!() };
                assert_eq!(arrival.message, expected);
                let Incoming::Message(arrival) = reader.next().unwrap().unwrap() else { panic!() };
                assert!(arrival.message.is_empty());
                assert!(reader.next().unwrap().is_none());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_messages_or_an_error(bytes: Vec<u8>, piece in 1..50usize) {
            for encoding in ["identity", "gzip", "deflate"] {
                let _ = read(&mut reader(encoding, 64), &bytes, piece);
            }
        }
    }
}
