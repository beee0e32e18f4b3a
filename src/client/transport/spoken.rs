//! What a port seems to speak, judging by the first bytes it sends, and how to describe it.

use crate::wire::{Protocol, Target};

/// Describes an answer that does not belong to our question: what it seems to be, with the address
/// to try; and whether that names a protocol.
pub(super) fn describe(bytes: &[u8], target: &Target) -> (String, bool) {
    match recognize(bytes) {
        Some(spoken) => (words(&spoken, target, target.tls), spoken.is_known()),
        None => ("it does not respond".into(), false),
    }
}

/// What a port seems to speak, judging by the first bytes it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/2, as gRPC does.
    Http2,
    /// HTTP/1.1 without WebSocket.
    Http,
    /// HTTP/1.1, and it agreed to a WebSocket.
    WebSocket,
    /// TLS.
    Tls,
    /// Something else: how it begins, made printable.
    Other(String),
    /// It accepts connections and sends nothing.
    Nothing,
}

/// The greeting of an SSH server (RFC 4253, 4.2).
const SSH: &str = "SSH-";

impl Spoken {
    /// Whether it is one of the protocols named here.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Spoken::Http2 | Spoken::Http | Spoken::WebSocket | Spoken::Tls => true,
            Spoken::Other(text) => text.starts_with(SSH),
            Spoken::Nothing => false,
        }
    }
}

pub(super) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "gRPC",
        Protocol::Http => "HTTP",
        Protocol::WebSocket => "WebSocket",
    }
}

pub(super) fn expected(target: &Target) -> Spoken {
    match target.protocol {
        Protocol::Grpc => Spoken::Http2,
        Protocol::Http => Spoken::Http,
        Protocol::WebSocket => Spoken::WebSocket,
    }
}

/// The guess, and the address to try.
pub(super) fn words(spoken: &Spoken, target: &Target, tls: bool) -> String {
    let instead = |protocol, tls| Target { protocol, tls, ..target.clone() };
    let (what, instead) = match spoken {
        Spoken::Http2 => ("gRPC (HTTP/2)", instead(Protocol::Grpc, tls)),
        Spoken::Http => ("HTTP/1.1", instead(Protocol::Http, tls)),
        Spoken::WebSocket => ("WebSocket", instead(Protocol::WebSocket, tls)),
        Spoken::Tls => ("TLS", instead(target.protocol, true)),
        Spoken::Other(text) if text.starts_with(SSH) => {
            return "the port seems to speak SSH".into();
        }
        Spoken::Other(text) => return format!("the port begins with `{text}`"),
        Spoken::Nothing => return "the port accepts connections but sends nothing".into(),
    };
    let plain = match (spoken, target.protocol) {
        (Spoken::Http2, Protocol::Http) => ", or `http_version: 2` for plain requests",
        _ => "",
    };
    format!("the port seems to speak {what}: try `{instead}`{plain}")
}

pub(super) fn recognize(bytes: &[u8]) -> Option<Spoken> {
    match bytes {
        [] => None,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', code @ ..] => {
            Some(if code.starts_with(b"101") { Spoken::WebSocket } else { Spoken::Http })
        }
        // A SETTINGS frame on stream 0, of a plausible length: a server's first.
        [0, 0, _, 4, 0, 0, 0, 0, 0, ..] => Some(Spoken::Http2),
        // A handshake message or an alert, of SSL 3.0 or any TLS.
        [0x15 | 0x16, 3, ..] => Some(Spoken::Tls),
        _ => {
            let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            Some(Spoken::Other(line[..line.len().min(40)].escape_ascii().to_string()))
        }
    }
}
