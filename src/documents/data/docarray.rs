//! DocumentArrays as saved by Jina, in protobuf or JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use rayon::prelude::*;

use super::{Entries, EntryError, open_file, read_at, unreadable};
use crate::error::chain;
use crate::source::{Problem, Spot};
use crate::text::{other_encoding, without_bom};
use crate::units::ByteSize;
use crate::wire::{Document, Family, files};

pub(super) fn open_docarray(
    path: &Path,
    max: ByteSize,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(Entries, u64)> {
    let file = open_file(path, at, problems)?;
    match read_docarray(file, max) {
        Ok((entries, count)) => Some((entries, count)),
        Err(DocarrayError::Io(error)) => {
            unreadable(path, &error, at, problems);
            None
        }
        Err(error) => {
            at.problem(problems, format!("`{}` {error}", path.display()), |problem| problem);
            None
        }
    }
}

/// Why a file is not a DocumentArray. All messages but the first are shown after the file's name.
#[derive(Debug, thiserror::Error)]
enum DocarrayError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("could not be read: {0}")]
    Encoding(&'static str),
    #[error("is {}", chain(.0))]
    Format(#[from] files::ReadError),
    #[error("is not an array of Documents")]
    NotAnArray,
    #[error("ends in the middle of its JSON array")]
    JsonCutOff,
    #[error("ends in the middle of a Document")]
    CutOff,
    #[error("Document {number}: {error}")]
    Entry { number: usize, error: EntryError },
}

fn read_docarray(file: File, max: ByteSize) -> Result<(Entries, u64), DocarrayError> {
    let mut reader = BufReader::with_capacity(1 << 20, file.try_clone()?);
    let mut start = reader.fill_buf()?.to_vec();
    if let Some(what) = other_encoding(&start) {
        return Err(DocarrayError::Encoding(what));
    }
    let (rest, mark) = without_bom(&start);
    start = rest.to_vec();
    reader.consume(mark);
    let text = start.trim_ascii_start();
    match (text.first(), start.first()) {
        (Some(b'['), _) => {
            let places = elements_of(&mut reader, mark as u64, max)?;
            let check = |(number, place): (usize, &(u64, u32))| {
                let bytes = read_at(&file, place.0, place.1).map_err(EntryError::Read);
                let bad = bytes.and_then(|bytes| one_of_json(&bytes)).err()?;
                Some((number, bad))
            };
            first_bad(&places, check)?;
            let count = places.len() as u64;
            Ok((Entries::Json { file, places }, count))
        }
        (_, Some(0x0a | 0x01 | 0x02)) => {
            let (family, places) = messages_of(&mut reader, &start, max)?;
            let check = |(number, place): (usize, &(u64, u32))| {
                let bytes = read_at(&file, place.0, place.1).map_err(EntryError::Read);
                let bad = bytes.and_then(|bytes| one_of_protobuf(family, &bytes)).err()?;
                Some((number, bad))
            };
            first_bad(&places, check)?;
            let count = places.len() as u64;
            Ok((Entries::Protobuf { file, family, places }, count))
        }
        _ => {
            // Compressed; or an unknown format, for which `files::read` returns a specific error.
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            let documents = files::read(bytes.into())?;
            let count = documents.len() as u64;
            Ok((Entries::Memory(documents), count))
        }
    }
}

fn first_bad<T: Sync>(
    places: &[T],
    check: impl Fn((usize, &T)) -> Option<(usize, EntryError)> + Sync + Send,
) -> Result<(), DocarrayError> {
    match places.par_iter().enumerate().find_map_first(check) {
        None => Ok(()),
        Some((index, error)) => Err(DocarrayError::Entry { number: index + 1, error }),
    }
}

/// One protobuf Document, without its tag and length.
pub(super) fn one_of_protobuf(family: Family, bytes: &[u8]) -> Result<Document, EntryError> {
    // An array of one: tag, length, message.
    let mut array = Vec::with_capacity(bytes.len() + 6);
    array.push(0x0a);
    prost::encoding::encode_varint(bytes.len() as u64, &mut array);
    array.extend_from_slice(bytes);
    family.decode_docs(array.into())?.into_iter().next().ok_or(EntryError::Nothing)
}

/// One Document of a JSON array.
pub(super) fn one_of_json(bytes: &[u8]) -> Result<Document, EntryError> {
    let array: Bytes = [b"[", bytes, b"]"].concat().into();
    files::read(array)?.into_iter().next().ok_or(EntryError::Nothing)
}

/// The length of an entry that comes after `before` others, if it is within `max`.
fn fits(before: usize, length: u64, max: ByteSize) -> Result<u32, DocarrayError> {
    let fitting = u32::try_from(length).ok().filter(|_| length <= max.bytes());
    let error = EntryError::TooLarge(max);
    fitting.ok_or(DocarrayError::Entry { number: before + 1, error })
}

/// The offset and length of each element of a JSON array that starts at `begin`, in bytes.
fn elements_of(
    reader: &mut impl BufRead,
    begin: u64,
    max: ByteSize,
) -> Result<Vec<(u64, u32)>, DocarrayError> {
    let mut places = Vec::new();
    let (mut depth, mut in_text, mut escaped) = (0u32, false, false);
    let mut start: Option<u64> = None;
    let mut offset = begin;
    let mut push = |from: Option<u64>, to: u64| {
        let Some(from) = from else { return Ok::<_, DocarrayError>(()) };
        places.push((from, fits(places.len(), to - from, max)?));
        Ok(())
    };
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        for (at, byte) in buffer.iter().enumerate() {
            let here = offset + at as u64;
            if in_text {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_text = false,
                    _ => (),
                }
                continue;
            }
            match byte {
                b'[' | b'{' => {
                    if depth == 1 && start.is_none() {
                        start = Some(here);
                    }
                    depth += 1;
                    continue;
                }
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        push(start.take(), here)?;
                    }
                    continue;
                }
                b',' if depth == 1 => {
                    push(start.take(), here)?;
                    continue;
                }
                b'"' => in_text = true,
                _ => (),
            }
            if depth == 1 && start.is_none() && !byte.is_ascii_whitespace() {
                start = Some(here);
            }
        }
        let length = buffer.len();
        offset += length as u64;
        reader.consume(length);
    }
    if depth > 0 || in_text {
        return Err(DocarrayError::JsonCutOff);
    }
    Ok(places)
}

/// The family of a protobuf file in either format, and the offset and length of each message, in bytes.
fn messages_of(
    reader: &mut impl BufRead,
    start: &[u8],
    max: ByteSize,
) -> Result<(Family, Vec<(u64, u32)>), DocarrayError> {
    let mut places = Vec::new();
    let mut offset = 0u64;
    let skip = |reader: &mut dyn BufRead, length: u64| {
        let skipped = io::copy(&mut reader.take(length), &mut io::sink())?;
        if skipped < length { Err(DocarrayError::CutOff) } else { Ok(()) }
    };
    let family = match start.first() {
        Some(0x0a) => {
            loop {
                let mut tag = [0];
                if reader.read(&mut tag)? == 0 {
                    break;
                }
                if tag != [0x0a] {
                    return Err(DocarrayError::NotAnArray);
                }
                offset += 1;
                let (mut length, mut shift) = (0u64, 0u32);
                loop {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).map_err(|_| DocarrayError::CutOff)?;
                    offset += 1;
                    length |= u64::from(byte[0] & 0x7f) << shift;
                    shift += 7;
                    if byte[0] < 0x80 {
                        break;
                    }
                    if shift > 28 {
                        return Err(DocarrayError::NotAnArray);
                    }
                }
                places.push((offset, fits(places.len(), length, max)?));
                skip(reader, length)?;
                offset += length;
            }
            files::family_of_array(start)
        }
        first => {
            let mut head = [0; 9];
            reader.read_exact(&mut head).map_err(|_| DocarrayError::CutOff)?;
            let count = u64::from_be_bytes(head[1..].try_into().unwrap_or_default());
            offset += 9;
            for _ in 0..count {
                let mut length = [0; 4];
                reader.read_exact(&mut length).map_err(|_| DocarrayError::CutOff)?;
                let length = u64::from(u32::from_be_bytes(length));
                offset += 4;
                // A pickle begins the same way, but its Documents begin with this byte.
                if places.is_empty() && reader.fill_buf()?.first() == Some(&0x80) {
                    return Err(files::ReadError::Pickle.into());
                }
                places.push((offset, fits(places.len(), length, max)?));
                skip(reader, length)?;
                offset += length;
            }
            if first == Some(&0x02) { Family::V2 } else { Family::V1 }
        }
    };
    Ok((family, places))
}
