//! The status with which a gRPC call ends.

use http::HeaderMap;

use crate::client::{CallError, GatewayCode};

/// The names of the codes 0 to 16, as in gRPC's documentation.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The end of a call, if these headers or trailers report it.
pub(super) fn read(headers: &HeaderMap) -> Option<Result<(), CallError>> {
    let code = headers.get("grpc-status")?;
    let known = code.to_str().ok().and_then(|code| code.parse::<usize>().ok());
    let name = match known {
        Some(0) => return Some(Ok(())),
        // A code from a later gRPC, or an invalid one, counts as UNKNOWN.
        Some(code) => NAMES.get(code).copied().unwrap_or("UNKNOWN"),
        None => "UNKNOWN",
    };
    let message =
        headers.get("grpc-message").map_or_else(String::new, |message| decode(message.as_bytes()));
    Some(Err(CallError::Gateway { code: GatewayCode::Grpc(name), message, retry_after: None }))
}

/// Decodes the percent-encoding of `grpc-message`. Invalid UTF-8 and invalid escapes stay as
/// readable as possible.
fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(headers: &[(&'static str, &'static [u8])], expected: &str) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap()))
            .collect();
        let found = match read(&headers) {
            None => "no status".into(),
            Some(Ok(())) => "OK".into(),
            Some(Err(error)) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn statuses_are_read_by_name() {
        check(&[], "no status");
        check(&[("grpc-status", b"0"), ("grpc-message", b"")], "OK");
        check(
            &[("grpc-status", b"14"), ("grpc-message", b"Cancelling all calls")],
            "gateway answered UNAVAILABLE: Cancelling all calls",
        );
        check(&[("grpc-status", b"12")], "gateway answered UNIMPLEMENTED: ");
        check(&[("grpc-status", b"99")], "gateway answered UNKNOWN: ");
        check(&[("grpc-status", b"-1")], "gateway answered UNKNOWN: ");
        check(&[("grpc-status", b"\xff")], "gateway answered UNKNOWN: ");
    }

    #[test]
    fn messages_are_unescaped_as_far_as_they_can_be() {
        for (message, expected) in [
            (&b"50%25 caf%C3%A9 %0aline"[..], "50% café \nline"),
            (b"%", "%"),
            (b"%4", "%4"),
            (b"%zz%41", "%zzA"),
            (b"%ff", "\u{fffd}"),
            (b"\xff", "\u{fffd}"),
        ] {
            assert_eq!(decode(message), expected);
        }
    }
}
