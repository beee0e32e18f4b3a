//! Files with one JSON Document per line.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rayon::prelude::*;

use super::{
    BAD_MAX, Entries, EntryError, INDEX_STEP, Indexed, Opened, TwoContents, is_blank, open_file,
    tell_bad, unreadable,
};
use crate::source::{Problem, Spot};
use crate::text::{other_encoding, without_bom};
use crate::units::ByteSize;
use crate::wire::Document;

/// The number of entries that are checked together, on all cores.
const CHUNK: usize = 4096;

/// The maximum size of a chunk in bytes, so that long entries do not add up in memory.
const CHUNK_BYTES: usize = 32 << 20;

/// The result of checking an entry.
enum Found {
    Bad(EntryError),
    TwoContents(String),
}

pub(super) fn open_lines(
    path: &Path,
    max: ByteSize,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Opened> {
    let file = open_file(path, at, problems)?;
    let mut reader = BufReader::with_capacity(1 << 20, file.try_clone().ok()?);
    let (mut places, mut count, mut offset, mut number) = (Vec::new(), 0u64, 0u64, 0u64);
    let mut bad: Vec<(u64, EntryError)> = Vec::new();
    let mut two_contents: Option<TwoContents> = None;
    let mut chunk: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut chunk_bytes = 0;
    // Includes the line break.
    let line_max = max.bytes() + 2;
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(line_max + 1).read_until(b'\n', &mut line);
        let mut length = match read {
            Ok(length) => length as u64,
            Err(error) => {
                unreadable(path, &error, at, problems);
                return None;
            }
        };
        number += 1;
        let read_none = length == 0;
        if number == 1 {
            if let Some(what) = other_encoding(&line) {
                let message = format!("could not read `{}`: {what}", path.display());
                at.problem(problems, message, |problem| problem);
                return None;
            }
            let (rest, skipped) = without_bom(&line);
            line = rest.to_vec();
            offset += skipped as u64;
            length -= skipped as u64;
        }
        if length > line_max {
            bad.push((number, EntryError::TooLarge(max)));
            break;
        }
        if length > 0 && !is_blank(&line) {
            if count.is_multiple_of(INDEX_STEP) {
                places.push(offset);
            }
            count += 1;
            chunk_bytes += line.len();
            chunk.push((number, line));
        }
        offset += length;
        if read_none || chunk.len() == CHUNK || chunk_bytes > CHUNK_BYTES {
            let check = |(number, line): &(u64, Vec<u8>)| match read_line(line) {
                Err(error) => Some((*number, Found::Bad(error))),
                Ok(document) => Some((*number, Found::TwoContents(document.two_contents()?))),
            };
            let found: Vec<(u64, Found)> = chunk.par_iter().filter_map(check).collect();
            for (line, found) in found {
                match found {
                    Found::Bad(error) => bad.push((line, error)),
                    Found::TwoContents(found) => {
                        let path = path.to_owned();
                        two_contents.get_or_insert(TwoContents { path, line, found });
                    }
                }
            }
            chunk.clear();
            chunk_bytes = 0;
            if read_none || bad.len() >= BAD_MAX {
                break;
            }
        }
    }
    places.push(offset);
    tell_bad(path, &bad, at, problems);
    Some(Opened { entries: Entries::Lines(Indexed { file, places }), count, two_contents })
}

pub(super) fn read_line(line: &[u8]) -> Result<Document, EntryError> {
    let text = std::str::from_utf8(line).map_err(|_| EntryError::LineEncoding)?;
    Document::read_json(text.trim()).map_err(|error| match Document::has_keys(text.trim()) {
        true => EntryError::Value(error),
        false => EntryError::Line(error),
    })
}
