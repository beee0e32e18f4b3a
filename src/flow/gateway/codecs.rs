//! Decodes base64 and UTF-8 as Python does, with its error messages.

/// Why bytes cannot be decoded, with Python's messages.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("string argument should contain only ASCII characters")]
    NotAscii,
    #[error(
        "Invalid base64-encoded string: number of data characters ({0}) cannot be 1 more than a \
         multiple of 4"
    )]
    OneCharacterMore(usize),
    #[error("Incorrect padding")]
    Padding,
    #[error("'utf-8' codec can't decode {0}")]
    NotUtf8(String),
}

/// Bytes from base64. Characters outside its alphabet, and everything after the padding, are ignored.
///
/// # Errors
/// When characters or padding are missing.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, CodecError> {
    if !text.is_ascii() {
        return Err(CodecError::NotAscii);
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut left, mut digits, mut padding) = (0u8, 0, 0);
    for character in text.bytes() {
        let digit = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if digits >= 2 => {
                padding += 1;
                if digits + padding >= 4 {
                    return Ok(bytes);
                }
                continue;
            }
            _ => continue,
        };
        padding = 0;
        match digits {
            0 => left = digit << 2,
            1 => {
                bytes.push(left | digit >> 4);
                left = digit << 4;
            }
            2 => {
                bytes.push(left | digit >> 2);
                left = digit << 6;
            }
            _ => bytes.push(left | digit),
        }
        digits = (digits + 1) % 4;
    }
    match digits {
        0 => Ok(bytes),
        1 => Err(CodecError::OneCharacterMore(bytes.len() / 3 * 4 + 1)),
        _ => Err(CodecError::Padding),
    }
}

/// Text from UTF-8.
///
/// # Errors
/// When the bytes are not UTF-8.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<String, CodecError> {
    String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let length = error.utf8_error().error_len();
        let why = match (length, bytes[at]) {
            (None, _) => "unexpected end of data",
            (_, 0x80..=0xc1 | 0xf5..) => "invalid start byte",
            _ => "invalid continuation byte",
        };
        CodecError::NotUtf8(match at + length.unwrap_or(bytes.len() - at) - 1 {
            last if last == at => format!("byte 0x{:02x} in position {at}: {why}", bytes[at]),
            last => format!("bytes in position {at}-{last}: {why}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_leniently_as_by_python() {
        let one_more = |digits| Err(CodecError::OneCharacterMore(digits));
        for (text, read) in [
            ("", Ok("")),
            ("YWJj", Ok("abc")),
            ("YWJj\n", Ok("abc")),
            ("YW!Jj", Ok("abc")),
            ("***", Ok("")),
            ("YWI=", Ok("ab")),
            ("YQ=Jj", Ok("a\u{2}c")),
            ("YQ==", Ok("a")),
            ("Y Q = =", Ok("a")),
            ("YQ==YQ", Ok("a")),
            ("YWJj==", Ok("abc")),
            ("=YWJj", Ok("abc")),
            ("YWI", Err(CodecError::Padding)),
            ("YQ=", Err(CodecError::Padding)),
            ("Y", one_more(1)),
            ("YWJjY", one_more(5)),
            ("YWé", Err(CodecError::NotAscii)),
        ] {
            assert_eq!(base64(text), read.map(|text| text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_told_as_by_python() {
        for (bytes, expected) in [
            (&b"ok"[..], Ok("ok")),
            (b"\xff", Err("byte 0xff in position 0: invalid start byte")),
            (b"a\xc3(", Err("byte 0xc3 in position 1: invalid continuation byte")),
            (b"a\xe2\x82(", Err("bytes in position 1-2: invalid continuation byte")),
            (b"a\xe2\x82", Err("bytes in position 1-2: unexpected end of data")),
        ] {
            let expected = expected.map(str::to_owned).map_err(|why| why.to_owned());
            assert_eq!(
                utf8(bytes.to_vec()).map_err(|error| error.to_string()),
                expected.map_err(|why| format!("'utf-8' codec can't decode {why}"))
            );
        }
    }
}
