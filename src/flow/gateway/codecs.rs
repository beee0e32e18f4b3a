//! Decodes base64 and UTF-8 as Python does.

/// Why bytes cannot be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    /// The wording of a real gateway, which Jina's client shows.
    #[error("Incorrect padding")]
    NotBase64,
    #[error("invalid UTF-8")]
    NotUtf8,
}

/// Bytes from base64. Characters outside its alphabet, and everything after the padding, are ignored.
///
/// # Errors
/// When characters or padding are missing.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, CodecError> {
    if !text.is_ascii() {
        return Err(CodecError::NotBase64);
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
        _ => Err(CodecError::NotBase64),
    }
}

/// Text from UTF-8.
///
/// # Errors
/// When the bytes are not UTF-8.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<String, CodecError> {
    String::from_utf8(bytes).map_err(|_| CodecError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_leniently_as_by_python() {
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
            ("YWI", Err(CodecError::NotBase64)),
            ("YQ=", Err(CodecError::NotBase64)),
            ("Y", Err(CodecError::NotBase64)),
            ("YWJjY", Err(CodecError::NotBase64)),
            ("YWé", Err(CodecError::NotBase64)),
        ] {
            assert_eq!(base64(text), read.map(|text| text.as_bytes().to_vec()), "{text}");
        }
    }
}
