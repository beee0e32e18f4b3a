//! What the head of a response says about its body: how long it is, how it is compressed, and
//! whether another response may follow it.

use std::io::Read;
use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};

use super::{Broken, HEADERS_MAX};
use crate::client::memory::{Bounds, Claim};

/// Bytes of a body decompressed in one turn.
const TURN_BYTES: u64 = 1 << 20;

/// What a head says about the rest of its response.
#[derive(Clone, Copy)]
pub(super) struct ParsedHead {
    /// The length of the head, in bytes.
    pub(super) bytes: usize,
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) coding: Coding,
    pub(super) keep_alive: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl ParsedHead {
    /// `None` if more bytes are needed.
    pub(super) fn parse(input: &[u8]) -> Result<Option<ParsedHead>, Broken> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            input,
            &mut headers,
        );
        let bytes = match parsed.map_err(|error| match error {
            httparse::Error::TooManyHeaders => {
                Broken::Headers(format!("more than {HEADERS_MAX} response headers"))
            }
            error => Broken::Malformed(error.to_string()),
        })? {
            httparse::Status::Complete(bytes) => bytes,
            httparse::Status::Partial => return Ok(None),
        };
        let status = response.code.unwrap_or_default();
        let mut length = None;
        let mut chunked = false;
        let mut coding = Coding::Identity;
        let mut keep_alive = response.version == Some(1);
        for header in response.headers {
            let value = header.value.trim_ascii();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let bad = || {
                let value = String::from_utf8_lossy(value);
                Broken::Malformed(format!("`{}: {value:.60}`", header.name.to_ascii_lowercase()))
            };
            if is("content-length") {
                // With two different lengths, two readers could see two different responses.
                let found = parse_length(value).ok_or_else(bad)?;
                if length.is_some_and(|length| length != found) {
                    return Err(bad());
                }
                length = Some(found);
            } else if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") || chunked {
                    return Err(bad());
                }
                chunked = true;
            } else if is("content-encoding") {
                coding = match value.to_ascii_lowercase().as_slice() {
                    b"gzip" | b"x-gzip" => Coding::Gzip,
                    b"deflate" => Coding::Deflate,
                    b"identity" | b"" => Coding::Identity,
                    _ => return Err(bad()),
                };
            } else if is("connection") {
                for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    if token.eq_ignore_ascii_case(b"close") {
                        keep_alive = false;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        keep_alive = true;
                    }
                }
            }
        }
        let framing = if status < 200 || status == 204 || status == 304 {
            Framing::Length(0)
        } else if chunked {
            // A length beside chunks does not count, but a sender of both is not to be trusted with
            // where the next response begins (RFC 9112, 6.3).
            keep_alive &= length.is_none();
            Framing::Chunked
        } else if let Some(length) = length {
            Framing::Length(length)
        } else {
            keep_alive = false;
            Framing::UntilClose
        };
        Ok(Some(ParsedHead { bytes, status, framing, coding, keep_alive }))
    }
}

/// Digits only; `parse` alone would accept a sign.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Whether a head, or trailers, may end in these bytes.
pub(super) fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|w| w == b"\n\n") || bytes.windows(3).any(|w| w == b"\n\r\n")
}

/// A `content-encoding` that is being decoded, within the limits.
pub(super) struct Unpacking {
    decoder: Box<dyn Read + Send>,
    plain: Vec<u8>,
    claim: Claim,
}

impl Unpacking {
    pub(super) fn new(coding: Coding, body: Bytes, bounds: &Bounds) -> Unpacking {
        let zlib = is_zlib(&body);
        let body = body.reader();
        let decoder: Box<dyn Read + Send> = match coding {
            Coding::Identity => Box::new(body),
            Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
            // The standard means the zlib format; some servers leave out its header and checksum.
            Coding::Deflate if zlib => Box::new(flate2::read::ZlibDecoder::new(body)),
            Coding::Deflate => Box::new(flate2::read::DeflateDecoder::new(body)),
        };
        Unpacking { decoder, plain: Vec::new(), claim: bounds.memory.claim() }
    }

    /// Continues for one turn; `None` if there is more to do.
    pub(super) fn step(&mut self, bounds: &Bounds) -> Result<Option<Bytes>, Broken> {
        loop {
            let taken = (&mut self.decoder)
                .take(TURN_BYTES)
                .read_to_end(&mut self.plain)
                .map_err(|error| Broken::Malformed(format!("compressed body: {error}")))?;
            if self.plain.len() > bounds.message_bytes_max {
                return Err(Broken::TooLarge);
            }
            if taken == 0 {
                return Ok(Some(self.claim.hold(std::mem::take(&mut self.plain).into())));
            }
            self.claim.cover(self.plain.capacity())?;
            if taken as u64 == TURN_BYTES {
                return Ok(None);
            }
        }
    }
}

/// Whether bytes begin with zlib's header: method 8, and a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flags, ..]
        if cmf & 15 == 8 && u16::from_be_bytes([*cmf, *flags]) % 31 == 0)
}
