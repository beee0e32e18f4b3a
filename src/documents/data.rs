//! Data sets: files whose entries become Documents, larger than memory if need be.
//!
//! A data set is read once when it is opened, which finds every bad entry before a load begins, and
//! leaves an index of where entries stand: then any entry is one read away, in whatever order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use indexmap::IndexMap;
use rayon::prelude::*;
use serde_json::Value;

use super::files::matching_files;
use super::spec::{BlobSpec, DocumentsSpec, Order};
use crate::random::{Key, Permutation};
use crate::source::{Problem, Spot};
use crate::units::nearest;
use crate::wire::{Document, Family, Map, NamedScore, NdArray, Tensor, files};

/// Entries between two places of the index: memory against the bytes that a read takes too many.
const INDEX_STEP: u64 = 16;

/// One entry. Longer ones are no Documents that any message can hold.
const ENTRY_BYTES_MAX: u64 = 1 << 30;

/// Bad entries that are told of at once.
const BAD_MAX: usize = 10;

/// Entries that are looked at together, on all cores.
const CHUNK: usize = 4096;

/// Bytes of a chunk, so that long entries do not add up in memory.
const CHUNK_BYTES: usize = 32 << 20;

/// Entries in files, and the order they are taken in.
#[derive(Debug)]
pub(super) struct DataSet {
    path: PathBuf,
    entries: Entries,
    count: u64,
    order: Order,
    exponent: f64,
    key: Key,
}

#[derive(Debug)]
enum Entries {
    Lines(Indexed),
    Csv { file: Indexed, columns: Vec<Column> },
    // Documents of protobuf, the bytes of each at its place.
    Protobuf { file: File, family: Family, places: Vec<(u64, u32)> },
    // A JSON array, the bytes of each element at its place.
    Json { file: File, places: Vec<(u64, u32)> },
    // What is packed cannot be read in parts.
    Memory(Vec<Document>),
    Files(Vec<PathBuf>),
}

/// A file of entries, with the place of every so many-th.
#[derive(Debug)]
struct Indexed {
    file: File,
    // Of entries 0, 16, 32 …, and the end of the last.
    places: Vec<u64>,
}

/// What a column of a CSV file is.
#[derive(Clone, Debug)]
struct Column {
    index: usize,
    field: Field,
}

/// A field of a Document that a text can be put into.
#[derive(Clone, Debug)]
enum Field {
    Text(fn(&mut Document) -> &mut String),
    Content,
    Number(fn(&mut Document) -> &mut f32),
    Depth(fn(&mut Document) -> &mut u32),
    Blob,
    Tensor,
    Embedding,
    Location,
    // The names below `tags`.
    Tag(Vec<String>),
    Score(String),
    Evaluation(String),
}

/// Why an entry of a data set is no Document.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file that could be read before, and cannot now.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
    /// An entry that is no Document.
    #[error("`{}` {place}: {reason}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// For example "line 7".
        place: String,
        /// What was found and expected.
        reason: String,
    },
}

impl DataSet {
    /// Opens the data set of a generator, if it has one; its problems go to `problems`.
    pub(super) fn open(
        spec: &DocumentsSpec,
        at: Spot<'_>,
        base: &Path,
        key: Key,
        problems: &mut Vec<Problem>,
    ) -> Option<DataSet> {
        let files = match &spec.blob {
            Some(BlobSpec::Files(pattern)) => Some(pattern),
            _ => None,
        };
        let kinds = [
            ("jsonl", spec.jsonl.is_some()),
            ("csv", spec.csv.is_some()),
            ("docarray", spec.docarray.is_some()),
            ("blob", files.is_some()),
        ];
        let given: Vec<&str> =
            kinds.into_iter().filter_map(|(key, given)| given.then_some(key)).collect();
        let has_data = !given.is_empty();
        for (key, given, fits, of) in [
            ("order", spec.order.is_some(), has_data, "a data set"),
            ("exponent", spec.exponent.is_some(), spec.order == Some(Order::Zipf), "`order: zipf`"),
            ("columns", spec.columns.is_some(), spec.csv.is_some(), "`csv`"),
            ("repeat", spec.repeat == Some(true), has_data || spec.count.is_some(), "an end"),
        ] {
            if given && !fits {
                let message = format!("`{key}` has no meaning without {of}");
                at.name(key).problem(problems, message, |problem| problem);
            }
        }
        let exponent = spec.exponent.unwrap_or(1.0);
        if exponent.is_nan() || exponent < 0.0 {
            let message = format!("`exponent` must be 0 or above, found `{exponent}`");
            at.key("exponent").problem(problems, message, |problem| problem);
        }
        if let [first, second, ..] = given.as_slice() {
            let other = at.name(first).place();
            at.name(second).problem(problems, "documents come from one data set", |problem| {
                problem.see(other, "the other one")
            });
            return None;
        }
        let kind = *given.first()?;
        let at = if kind == "blob" { at.key("blob").key("files") } else { at.key(kind) };
        let before = problems.len();
        let (path, opened) = if let Some(path) = &spec.jsonl {
            let path = base.join(path);
            (path.clone(), open_lines(&path, at, problems))
        } else if let Some(path) = &spec.csv {
            let path = base.join(path);
            (path.clone(), open_csv(&path, spec.columns.as_ref(), at, problems))
        } else if let Some(path) = &spec.docarray {
            let path = base.join(path);
            (path.clone(), open_docarray(&path, at, problems))
        } else {
            let pattern = files.map(String::as_str).unwrap_or_default();
            let found = matching_files(base, pattern);
            match found {
                Ok(found) => (base.join(pattern), {
                    let count = found.len() as u64;
                    Some((Entries::Files(found), count))
                }),
                Err(error) => {
                    let message = format!("could not read the files of `{pattern}`: {error}");
                    at.problem(problems, message, |problem| problem);
                    return None;
                }
            }
        };
        let (entries, count) = opened?;
        if problems.len() > before {
            return None;
        }
        if count == 0 {
            let what =
                if kind == "blob" { "no file is named like" } else { "there are no Documents in" };
            at.problem(problems, format!("{what} `{}`", path.display()), |problem| problem);
            return None;
        }
        let order = spec.order.unwrap_or_default();
        Some(DataSet { path, entries, count, order, exponent, key: key.part("order") })
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Whether every Document of a stream is the same.
    pub(super) fn is_constant(&self) -> bool {
        self.count == 1
    }

    /// Whether an entry may come more than once in a round.
    pub(super) fn draws(&self) -> bool {
        matches!(self.order, Order::Random | Order::Zipf)
    }

    /// The entry that the `i`-th Document is made from, in rounds of `round` Documents.
    pub(super) fn get(&self, i: u64, round: u64) -> Result<Document, DataError> {
        let n = self.count;
        let entry = match self.order {
            Order::Sequential => i % round % n,
            Order::Shuffle => Permutation::new(n, self.key.index(i / round)).at(i % round % n),
            Order::Random => self.key.index(i).below(n),
            Order::Zipf => {
                use rand_distr::{Distribution, Zipf};
                // Both arguments were checked when the data set was opened.
                let rank = Zipf::new(n as f64, self.exponent)
                    .map_or(1.0, |zipf| zipf.sample(&mut self.key.index(i).rng()));
                (rank as u64).clamp(1, n) - 1
            }
        };
        self.entry(entry)
    }

    fn entry(&self, entry: u64) -> Result<Document, DataError> {
        let unreadable = |source| DataError::Read { path: self.path.clone(), source };
        let bad = |reason| self.bad(entry, reason);
        match &self.entries {
            Entries::Lines(indexed) => {
                let block = indexed.block(entry).map_err(unreadable)?;
                let lines = block.split(|byte| *byte == b'\n').filter(|line| !is_blank(line));
                let line = lines.into_iter().nth((entry % INDEX_STEP) as usize);
                read_line(line.unwrap_or_default()).map_err(bad)
            }
            Entries::Csv { file, columns } => {
                let block = file.block(entry).map_err(unreadable)?;
                let mut records = csv_reader(&self.path).from_reader(block.as_slice());
                let mut record = csv::ByteRecord::new();
                for _ in 0..=entry % INDEX_STEP {
                    records
                        .read_byte_record(&mut record)
                        .map_err(|error| bad(error.to_string()))?;
                }
                read_record(&record, columns).map_err(bad)
            }
            Entries::Protobuf { file, family, places } => {
                let (start, length) = places[entry as usize];
                let bytes = read_at(file, start, length).map_err(unreadable)?;
                one_of_protobuf(*family, &bytes).map_err(bad)
            }
            Entries::Json { file, places } => {
                let (start, length) = places[entry as usize];
                let bytes = read_at(file, start, length).map_err(unreadable)?;
                one_of_json(&bytes).map_err(bad)
            }
            Entries::Memory(documents) => Ok(documents[entry as usize].clone()),
            Entries::Files(paths) => {
                let path = &paths[entry as usize];
                let bytes = std::fs::read(path)
                    .map_err(|source| DataError::Read { path: path.clone(), source })?;
                let uri = path.display().to_string();
                Ok(Document { blob: Some(bytes.into()), uri, ..Document::default() })
            }
        }
    }

    fn bad(&self, entry: u64, reason: String) -> DataError {
        DataError::Entry {
            path: self.path.clone(),
            place: format!("Document {}", entry + 1),
            reason: format!("{reason}; it was valid before the load began"),
        }
    }
}

impl Indexed {
    /// The bytes from the indexed entry before `entry` to the next one.
    fn block(&self, entry: u64) -> io::Result<Vec<u8>> {
        let at = (entry / INDEX_STEP) as usize;
        let changed = || io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than before");
        let start = *self.places.get(at).ok_or_else(changed)?;
        let end = *self.places.get(at + 1).ok_or_else(changed)?;
        let mut block = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut block, start)?;
        Ok(block)
    }
}

fn read_at(file: &File, start: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

fn open_file(path: &Path, at: Spot<'_>, problems: &mut Vec<Problem>) -> Option<File> {
    // Opening a pipe would wait for who writes to it.
    let opened = std::fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("it is not a file")),
    });
    opened.map_err(|error| unreadable(path, &error, at, problems)).ok()
}

fn unreadable(path: &Path, error: &io::Error, at: Spot<'_>, problems: &mut Vec<Problem>) {
    let message = format!("could not read `{}`: {error}", path.display());
    at.problem(problems, message, |problem| problem);
}

/// Tells of the first bad entries of a data set. Each stands at the key that names the file.
fn tell_bad(path: &Path, bad: &[(String, String)], at: Spot<'_>, problems: &mut Vec<Problem>) {
    for (place, reason) in bad.iter().take(BAD_MAX) {
        at.problem(problems, format!("`{}` {place}: {reason}", path.display()), |p| p);
    }
}

fn open_lines(path: &Path, at: Spot<'_>, problems: &mut Vec<Problem>) -> Option<(Entries, u64)> {
    let file = open_file(path, at, problems)?;
    let mut reader = BufReader::with_capacity(1 << 20, file.try_clone().ok()?);
    let (mut places, mut count, mut offset, mut number) = (Vec::new(), 0u64, 0u64, 0u64);
    let mut bad: Vec<(String, String)> = Vec::new();
    let mut chunk: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut chunk_bytes = 0;
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(ENTRY_BYTES_MAX + 1).read_until(b'\n', &mut line);
        let length = match read {
            Ok(length) => length as u64,
            Err(error) => {
                unreadable(path, &error, at, problems);
                return None;
            }
        };
        number += 1;
        if length > ENTRY_BYTES_MAX {
            bad.push((format!("line {number}"), "the line is longer than 1GiB".into()));
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
        if length == 0 || chunk.len() == CHUNK || chunk_bytes > CHUNK_BYTES {
            let check = |(number, line): &(u64, Vec<u8>)| {
                read_line(line).err().map(|reason| (format!("line {number}"), reason))
            };
            bad.par_extend(chunk.par_iter().filter_map(check));
            chunk.clear();
            chunk_bytes = 0;
            if length == 0 || bad.len() >= BAD_MAX {
                break;
            }
        }
    }
    places.push(offset);
    tell_bad(path, &bad, at, problems);
    Some((Entries::Lines(Indexed { file, places }), count))
}

fn read_line(line: &[u8]) -> Result<Document, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8 text".to_owned())?;
    serde_json::from_str(text.trim()).map_err(|error| {
        let words = error.to_string();
        let what = words.split(" at line ").next().unwrap_or(&words);
        format!("column {}: {what}", error.column())
    })
}

fn csv_reader(path: &Path) -> csv::ReaderBuilder {
    let mut builder = csv::ReaderBuilder::new();
    let tabs = path.extension().is_some_and(|extension| extension == "tsv");
    builder.has_headers(false).flexible(true).delimiter(if tabs { b'\t' } else { b',' });
    builder
}

fn open_csv(
    path: &Path,
    columns: Option<&IndexMap<String, String>>,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(Entries, u64)> {
    let file = open_file(path, at, problems)?;
    let mut reader = csv_reader(path).from_reader(BufReader::new(file.try_clone().ok()?));
    let mut record = csv::ByteRecord::new();
    let mut fail = |error: &dyn std::fmt::Display| {
        at.problem(problems, format!("could not read `{}`: {error}", path.display()), |p| p);
    };
    match reader.read_byte_record(&mut record) {
        Ok(true) => (),
        Ok(false) => {
            fail(&"it has no header line");
            return None;
        }
        Err(error) => {
            fail(&error);
            return None;
        }
    }
    let header: Vec<String> = record
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    let columns = columns_of(&header, columns, path, at, problems)?;
    let mut places = Vec::new();
    let mut count = 0u64;
    let mut bad = Vec::new();
    loop {
        let place = reader.position().clone();
        match reader.read_byte_record(&mut record) {
            Ok(true) => (),
            Ok(false) => break,
            Err(error) => {
                bad.push((format!("line {}", place.line()), error.to_string()));
                break;
            }
        }
        if count.is_multiple_of(INDEX_STEP) {
            places.push(place.byte());
        }
        count += 1;
        let reason = if record.len() == header.len() {
            read_record(&record, &columns).err()
        } else {
            Some(format!("expected {} columns, found {}", header.len(), record.len()))
        };
        if let Some(reason) = reason {
            let line = record.position().map_or(place.line(), csv::Position::line);
            bad.push((format!("line {line}"), reason));
            if bad.len() >= BAD_MAX {
                break;
            }
        }
    }
    places.push(reader.position().byte());
    tell_bad(path, &bad, at, problems);
    Some((Entries::Csv { file: Indexed { file, places }, columns }, count))
}

/// Which column goes where; `None` when something is unknown.
fn columns_of(
    header: &[String],
    columns: Option<&IndexMap<String, String>>,
    path: &Path,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Column>> {
    let before = problems.len();
    let mut found = Vec::new();
    match columns {
        Some(columns) => {
            // The map stands beside the key that names the file.
            for (name, column) in columns {
                let field = Field::of(name);
                if field.is_none() {
                    let message = format!("`{name}` is no field that a column can be put into");
                    at.problem(problems, message, |problem| problem.suggest(name, FIELDS));
                }
                let index = header.iter().position(|known| known == column);
                if index.is_none() {
                    let message = format!("`{}` has no column `{column}`", path.display());
                    let known = header.iter().map(String::as_str);
                    at.problem(problems, message, |problem| problem.suggest(column, known));
                }
                found.extend(index.zip(field).map(|(index, field)| Column { index, field }));
            }
        }
        None => {
            for (index, name) in header.iter().enumerate() {
                match Field::of(name) {
                    Some(field) => found.push(Column { index, field }),
                    None => {
                        let message = format!(
                            "column `{name}` of `{}` is named like no field",
                            path.display()
                        );
                        at.problem(problems, message, |problem| match nearest(name, FIELDS) {
                            Some(near) => problem.help(format!("did you mean `{near}`?")),
                            None => problem.help(format!(
                                "say where it goes, as in `columns: {{text: {name}}}`"
                            )),
                        });
                    }
                }
            }
        }
    }
    (problems.len() == before).then_some(found)
}

/// The fields that a column can be put into, for suggestions.
const FIELDS: [&str; 18] = [
    "id",
    "text",
    "content",
    "uri",
    "mime_type",
    "modality",
    "parent_id",
    "weight",
    "offset",
    "granularity",
    "adjacency",
    "blob",
    "tensor",
    "embedding",
    "location",
    "tags.…",
    "scores.…",
    "evaluations.…",
];

impl Field {
    fn of(name: &str) -> Option<Field> {
        Some(match name {
            "id" => Field::Text(|document| &mut document.id),
            "text" | "content" => Field::Content,
            "uri" => Field::Text(|document| &mut document.uri),
            "mime_type" => Field::Text(|document| &mut document.mime_type),
            "modality" => Field::Text(|document| &mut document.modality),
            "parent_id" => Field::Text(|document| &mut document.parent_id),
            "weight" => Field::Number(|document| &mut document.weight),
            "offset" => Field::Number(|document| &mut document.offset),
            "granularity" => Field::Depth(|document| &mut document.granularity),
            "adjacency" => Field::Depth(|document| &mut document.adjacency),
            "blob" => Field::Blob,
            "tensor" => Field::Tensor,
            "embedding" => Field::Embedding,
            "location" => Field::Location,
            _ => {
                let (root, rest) = name.split_once('.')?;
                if rest.split('.').any(str::is_empty) {
                    return None;
                }
                match root {
                    "tags" => Field::Tag(rest.split('.').map(str::to_owned).collect()),
                    "scores" => Field::Score(rest.to_owned()),
                    "evaluations" => Field::Evaluation(rest.to_owned()),
                    _ => return None,
                }
            }
        })
    }
}

fn read_record(record: &csv::ByteRecord, columns: &[Column]) -> Result<Document, String> {
    let mut document = Document::default();
    for column in columns {
        let bytes = record.get(column.index).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
        // A cell without anything in it sets nothing.
        if !text.is_empty() {
            put(&mut document, &column.field, text)?;
        }
    }
    Ok(document)
}

/// Puts the text of a cell into a field.
fn put(document: &mut Document, field: &Field, text: &str) -> Result<(), String> {
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("expected a number, found `{text}`"))
    };
    let numbers = |text: &str| {
        let list: Vec<f32> = serde_json::from_str(text).map_err(|_| {
            format!("expected a list of numbers such as `[1, 2.5]`, found `{text}`")
        })?;
        Ok::<_, String>(list)
    };
    let score = |value| NamedScore { value, ..NamedScore::default() };
    match field {
        Field::Text(to) => *to(document) = text.to_owned(),
        Field::Content => document.text = Some(text.to_owned()),
        Field::Number(to) => *to(document) = number(text)? as f32,
        Field::Depth(to) => {
            *to(document) = text
                .trim()
                .parse()
                .map_err(|_| format!("expected a whole number from 0 on, found `{text}`"))?;
        }
        Field::Blob => {
            let bytes = STANDARD.decode(text.trim()).map_err(|_| "expected base64".to_owned())?;
            document.blob = Some(bytes.into());
        }
        Field::Tensor => document.tensor = Some(NdArray::Dense(Tensor::from_f32(&numbers(text)?))),
        Field::Embedding => {
            document.embedding = Some(NdArray::Dense(Tensor::from_f32(&numbers(text)?)));
        }
        Field::Location => document.location = numbers(text)?,
        Field::Tag(path) => {
            let mut map: &mut Map = &mut document.tags;
            let Some((last, above)) = path.split_last() else { return Ok(()) };
            for name in above {
                let below = map.entry(name.clone()).or_insert_with(|| Map::new().into());
                map = below.as_object_mut().ok_or_else(|| format!("tag `{name}` has a value"))?;
            }
            map.insert(last.clone(), typed(text));
        }
        Field::Score(name) => {
            document.scores.insert(name.clone(), score(number(text)?));
        }
        Field::Evaluation(name) => {
            document.evaluations.insert(name.clone(), score(number(text)?));
        }
    }
    Ok(())
}

/// A cell that is a number, `true` or `false` becomes one; all else is text.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text.trim()) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => text.into(),
    }
}

fn open_docarray(path: &Path, at: Spot<'_>, problems: &mut Vec<Problem>) -> Option<(Entries, u64)> {
    let file = open_file(path, at, problems)?;
    match read_docarray(file) {
        Ok((entries, count)) => Some((entries, count)),
        Err(DocarrayError::Io(error)) => {
            unreadable(path, &error, at, problems);
            None
        }
        Err(DocarrayError::Bad(reason)) => {
            at.problem(problems, format!("`{}` {reason}", path.display()), |problem| problem);
            None
        }
    }
}

enum DocarrayError {
    Io(io::Error),
    Bad(String),
}

impl From<io::Error> for DocarrayError {
    fn from(error: io::Error) -> DocarrayError {
        DocarrayError::Io(error)
    }
}

fn read_docarray(file: File) -> Result<(Entries, u64), DocarrayError> {
    let mut reader = BufReader::with_capacity(1 << 20, file.try_clone()?);
    let start = reader.fill_buf()?.to_vec();
    let text = start.trim_ascii_start();
    match (text.first(), start.first()) {
        (Some(b'['), _) => {
            let places = elements_of(&mut reader)?;
            let check = |(number, place): (usize, &(u64, u32))| {
                let bytes = read_at(&file, place.0, place.1).map_err(|error| error.to_string());
                let bad = bytes.and_then(|bytes| one_of_json(&bytes)).err()?;
                Some((number, bad))
            };
            first_bad(&places, check)?;
            let count = places.len() as u64;
            Ok((Entries::Json { file, places }, count))
        }
        (_, Some(0x0a | 0x01 | 0x02)) => {
            let (family, places) = messages_of(&mut reader, &start)?;
            let check = |(number, place): (usize, &(u64, u32))| {
                let bytes = read_at(&file, place.0, place.1).map_err(|error| error.to_string());
                let bad = bytes.and_then(|bytes| one_of_protobuf(family, &bytes)).err()?;
                Some((number, bad))
            };
            first_bad(&places, check)?;
            let count = places.len() as u64;
            Ok((Entries::Protobuf { file, family, places }, count))
        }
        _ => {
            // Packed, or nothing we know, which is told in words of its own.
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            let documents = files::read(bytes.into())
                .map_err(|error| DocarrayError::Bad(format!("is {}", chain(&error))))?;
            let count = documents.len() as u64;
            Ok((Entries::Memory(documents), count))
        }
    }
}

fn first_bad<T: Sync>(
    places: &[T],
    check: impl Fn((usize, &T)) -> Option<(usize, String)> + Sync + Send,
) -> Result<(), DocarrayError> {
    match places.par_iter().enumerate().find_map_first(check) {
        None => Ok(()),
        Some((number, reason)) => {
            Err(DocarrayError::Bad(format!("Document {}: {reason}", number + 1)))
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// One Document of protobuf, without its tag and length.
fn one_of_protobuf(family: Family, bytes: &[u8]) -> Result<Document, String> {
    // An array of one: tag, length, message.
    let mut array = Vec::with_capacity(bytes.len() + 6);
    array.push(0x0a);
    prost::encoding::encode_varint(bytes.len() as u64, &mut array);
    array.extend_from_slice(bytes);
    let documents = family.decode_docs(array.into()).map_err(|error| chain(&error))?;
    documents.into_iter().next().ok_or_else(|| "there is none".to_owned())
}

/// One Document of a JSON array.
fn one_of_json(bytes: &[u8]) -> Result<Document, String> {
    let array: Bytes = [b"[", bytes, b"]"].concat().into();
    let documents = files::read(array).map_err(|error| chain(&error))?;
    documents.into_iter().next().ok_or_else(|| "there is none".to_owned())
}

/// Where the elements of a JSON array stand.
fn elements_of(reader: &mut impl BufRead) -> Result<Vec<(u64, u32)>, DocarrayError> {
    let mut places = Vec::new();
    let (mut depth, mut in_text, mut escaped) = (0u32, false, false);
    let mut start: Option<u64> = None;
    let mut offset = 0u64;
    let mut push = |from: Option<u64>, to: u64| {
        let Some(from) = from else { return Ok::<_, DocarrayError>(()) };
        let length = u32::try_from(to - from)
            .ok()
            .filter(|length| u64::from(*length) <= ENTRY_BYTES_MAX)
            .ok_or_else(|| DocarrayError::Bad("has a Document larger than 1GiB".into()))?;
        places.push((from, length));
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
        return Err(DocarrayError::Bad("ends within its JSON array".into()));
    }
    Ok(places)
}

/// Where the messages of a protobuf file stand, in either of its formats, and their family.
fn messages_of(
    reader: &mut impl BufRead,
    start: &[u8],
) -> Result<(Family, Vec<(u64, u32)>), DocarrayError> {
    let cut_off = || DocarrayError::Bad("ends within a Document".into());
    let mut places = Vec::new();
    let mut offset = 0u64;
    let skip = |reader: &mut dyn BufRead, length: u64| {
        let skipped = io::copy(&mut reader.take(length), &mut io::sink())?;
        if skipped < length { Err(cut_off()) } else { Ok(()) }
    };
    let fits = |length: u64| {
        u32::try_from(length)
            .ok()
            .filter(|_| length <= ENTRY_BYTES_MAX)
            .ok_or_else(|| DocarrayError::Bad("has a Document larger than 1GiB".into()))
    };
    let family = match start.first() {
        Some(0x0a) => {
            loop {
                let mut tag = [0];
                if reader.read(&mut tag)? == 0 {
                    break;
                }
                if tag != [0x0a] {
                    return Err(DocarrayError::Bad("is no array of Documents".into()));
                }
                offset += 1;
                let (mut length, mut shift) = (0u64, 0u32);
                loop {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).map_err(|_| cut_off())?;
                    offset += 1;
                    length |= u64::from(byte[0] & 0x7f) << shift;
                    shift += 7;
                    if byte[0] < 0x80 {
                        break;
                    }
                    if shift > 28 {
                        return Err(DocarrayError::Bad("is no array of Documents".into()));
                    }
                }
                places.push((offset, fits(length)?));
                skip(reader, length)?;
                offset += length;
            }
            files::family_of_array(start)
        }
        first => {
            let mut head = [0; 9];
            reader.read_exact(&mut head).map_err(|_| cut_off())?;
            let count = u64::from_be_bytes(head[1..].try_into().unwrap_or_default());
            offset += 9;
            for _ in 0..count {
                let mut length = [0; 4];
                reader.read_exact(&mut length).map_err(|_| cut_off())?;
                let length = u64::from(u32::from_be_bytes(length));
                offset += 4;
                // A pickle begins the same way; its Documents begin with this.
                if places.is_empty() && reader.fill_buf()?.first() == Some(&0x80) {
                    return Err(DocarrayError::Bad(format!("is {}", files::ReadError::Pickle)));
                }
                places.push((offset, fits(length)?));
                skip(reader, length)?;
                offset += length;
            }
            if first == Some(&0x02) { Family::V2 } else { Family::V1 }
        }
    };
    Ok((family, places))
}
