//! Text files written elsewhere: read completely up to a bound, without the byte order mark that some editors
//! put before UTF-8, and with a hint for files in another encoding.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::units::ByteSize;

/// The byte order mark that Notepad, PowerShell and Excel write before UTF-8 text.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Maximum size of a configuration or another file written by hand: larger ones are something else.
pub(crate) const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// Reads a text file of at most `max` bytes.
///
/// # Errors
/// When it cannot be read, is larger, or is not UTF-8 text ([`io::ErrorKind::InvalidData`]).
pub(crate) fn read(path: &Path, max: u64) -> io::Result<String> {
    decode(read_bytes(File::open(path)?, max)?)
}

/// Reads the rest of a file, at most `max` bytes.
///
/// # Errors
/// When it cannot be read, or is larger.
pub(crate) fn read_bytes(file: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(too_large(max));
    }
    Ok(bytes)
}

/// The error for a file of more than `max` bytes.
pub(crate) fn too_large(max: u64) -> io::Error {
    let max = ByteSize::new(max);
    io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {max}"))
}

/// The text of a file's bytes.
///
/// # Errors
/// When it is not UTF-8 text.
pub(crate) fn decode(mut bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if let Some(what) = other_encoding(&bytes) {
        return Err(invalid(what));
    }
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text"))
}

/// The message for a text with this beginning, if that is the byte order mark of another encoding.
pub(crate) fn other_encoding(start: &[u8]) -> Option<&'static str> {
    let marked = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
    marked.then_some("it is UTF-16 text; save it as UTF-8")
}

/// The first line of a file without its byte order mark, and the length of the mark in bytes.
pub(crate) fn without_bom(line: &[u8]) -> (&[u8], usize) {
    line.strip_prefix(BOM).map_or((line, 0), |rest| (rest, BOM.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<String, String> {
        decode(bytes.to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mark_before_utf_8_is_no_text_and_other_encodings_are_named() {
        assert_eq!(decoded(b"\xef\xbb\xbfa: 1"), Ok("a: 1".into()));
        assert_eq!(decoded(b"a: 1"), Ok("a: 1".into()));
        let utf_16 = Err("it is UTF-16 text; save it as UTF-8".into());
        assert_eq!(decoded(b"\xff\xfea\0:\0"), utf_16);
        assert_eq!(decoded(b"\xfe\xff\0a\0:"), utf_16);
        assert_eq!(decoded(b"\xe9t\xe9"), Err("it is not UTF-8 text".into()));
    }

    #[test]
    fn no_more_of_a_large_file_is_read_than_shows_that_it_is_too_large() {
        assert_eq!(read_bytes(&b"1234"[..], 4).expect("not larger"), b"1234");
        let error = read_bytes(io::repeat(b'a'), 1 << 20).expect_err("it never ends");
        assert_eq!(error.to_string(), "larger than 1MiB");
    }
}
