//! The subset of HTTP/2 that prebuilt frames need.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// A complete frame.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: &'a [u8],
    pub(crate) whole: usize,
}

impl Frame<'_> {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
        let [a, b, c, kind, flags, w, x, y, z, ..] = *bytes else { return None };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = bytes.get(9..9 + length)?;
        let stream = u32::from_be_bytes([w, x, y, z]) & 0x7fff_ffff;
        Some(Frame { kind, flags, stream, payload, whole: 9 + length })
    }
}

/// The client preface, with settings that allow as much as possible, and the largest window for the whole
/// connection.
pub(crate) fn greeting() -> Vec<u8> {
    let mut out = Vec::new();
    // Stream windows: 2 GiB; concurrent streams: 1000.
    let settings = [0, 4, 0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0, 3, 0xe8];
    frame(SETTINGS, 0, 0, &settings, &mut out);
    frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes(), &mut out);
    out
}

pub(crate) fn head(kind: u8, flags: u8, stream: u32, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    head(kind, flags, stream, payload.len(), out);
    out.extend_from_slice(payload);
}

/// The first gRPC message, if it is complete.
pub(crate) fn message(bytes: &[u8]) -> Option<&[u8]> {
    let [_, a, b, c, d, ..] = *bytes else { return None };
    bytes.get(5..5 + u32::from_be_bytes([a, b, c, d]) as usize)
}
