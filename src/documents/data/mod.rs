//! Data sets: files whose entries become Documents; they may be larger than memory.
//!
//! A data set is read once when it is opened. That finds every bad entry before a load begins, and builds an
//! index so that any entry can be fetched with one read.

mod docarray;
mod lines;
mod table;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::error::Category;

use super::files::matching_files;
use super::fitting::{EntryAt, EntryPlace};
use super::own::files_of;
use super::spec::{BlobSpec, DocumentsSpec, Order};
use crate::error::{chain, json_words};
use crate::random::{Key, Permutation};
use crate::source::{Problem, Spot};
use crate::units::ByteSize;
use crate::wire::{DecodeError, Document, Family, ONE_CONTENT, files};
use docarray::{one_of_json, one_of_protobuf, open_docarray};
use lines::{open_lines, read_line};
use table::{Column, csv_reader, line_of_record, open_csv, read_record};

/// The number of entries between two index positions: a larger step takes less memory, but each read includes
/// more bytes of other entries.
const INDEX_STEP: u64 = 16;

/// The maximum size of one entry, whatever `max_size` allows: no message can hold a larger Document.
const ENTRY_BYTES_MAX: ByteSize = ByteSize::new(1 << 30);

/// The maximum number of bad entries that are reported.
const BAD_MAX: usize = 10;

/// Entries in files, and the order in which they are taken.
#[derive(Debug)]
pub(super) struct DataSet {
    path: PathBuf,
    entries: Entries,
    count: u64,
    two_contents: Option<TwoContents>,
    order: Order,
    exponent: f64,
    key: Key,
}

/// What was found in the files of a data set.
struct Opened {
    entries: Entries,
    count: u64,
    two_contents: Option<TwoContents>,
}

impl Opened {
    fn new((entries, count): (Entries, u64)) -> Opened {
        Opened { entries, count, two_contents: None }
    }
}

#[derive(Debug)]
enum Entries {
    Lines(Indexed),
    Csv { file: Indexed, columns: Vec<Column> },
    // Protobuf Documents: the offset and length of each.
    Protobuf { file: File, family: Family, places: Vec<(u64, u32)> },
    // A JSON array: the offset and length of each element.
    Json { file: File, places: Vec<(u64, u32)> },
    // A compressed file, which cannot be read in parts.
    Memory(Vec<Document>),
    Files(Vec<PathBuf>),
}

/// A file of entries, with the offset of every [`INDEX_STEP`]th.
#[derive(Debug)]
struct Indexed {
    file: File,
    // The offsets of entries 0, 16, 32 …, and the end of the last.
    places: Vec<u64>,
}

/// The first entry of a data set with several kinds of content, of which a v1 Document can hold only one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{}` line {line}: {found}; {}", path.display(), ONE_CONTENT)]
pub struct TwoContents {
    /// The file.
    pub path: PathBuf,
    /// The line on which the entry begins, from 1.
    pub line: u64,
    /// The kinds of content, for example "text and blob".
    pub found: String,
}

/// Why an entry of a data set cannot be read during a load. All could be read when it was opened.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's message.
        #[source]
        source: io::Error,
    },
    /// The entry is not a Document.
    #[error("`{}` Document {number}: {source}; it was valid before the load began", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which entry, from 1.
        number: u64,
        /// What was found and expected.
        source: EntryError,
    },
}

/// Why an entry of a data set is not a Document.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Larger than `max_size`.
    #[error("larger than the limit of {0} (`max_size`)")]
    TooLarge(ByteSize),
    /// A line of JSON that is not UTF-8.
    #[error("the line is not UTF-8 text")]
    LineEncoding,
    /// A line that is not a JSON Document.
    #[error("column {}: {}", .0.column(), of_line(.0))]
    Line(serde_json::Error),
    /// A line with the keys of a v1 Document, but a value of the wrong type.
    #[error("column {}: {}; fields of a custom schema belong under `fields`", .0.column(), json_words(.0))]
    Value(serde_json::Error),
    /// A record that is not valid CSV.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// A quoted cell without a closing quote.
    #[error("the quote that is opened here is never closed")]
    OpenQuote,
    /// A record with more or fewer cells than the header has.
    #[error("expected {expected} columns, found {found}")]
    Columns {
        /// The number of columns of the header.
        expected: usize,
        /// The number of cells of the record.
        found: usize,
    },
    /// A cell that is not UTF-8.
    #[error("it is not UTF-8 text")]
    CellEncoding,
    /// A cell that must be a number.
    #[error("expected a number, found `{0}`")]
    Number(String),
    /// A cell that must be an array.
    #[error("expected a list of numbers such as `[1, 2.5]`, found `{0}`")]
    Numbers(String),
    /// A cell of `granularity` or `adjacency`.
    #[error("expected a whole number of at least 0, found `{0}`")]
    Depth(String),
    /// A cell of `blob`.
    #[error("expected base64")]
    Base64,
    /// Columns such as `tags.a` and `tags.a.b`: the tag would have to be both a value and a map.
    #[error(
        "tag `{0}` has a column for its value and one for a nested value; leave one of the two columns out"
    )]
    Tag(String),
    /// Columns such as `fields.a` and `fields.a.b`.
    #[error(
        "field `{0}` has a column for its value and one for a nested value; leave one of the two \
         columns out"
    )]
    Field(String),
    /// An entry of a DocumentArray that cannot be read from the file.
    #[error(transparent)]
    Read(io::Error),
    /// An entry of a JSON DocumentArray that is not a Document.
    #[error("{}", chain(.0))]
    Json(#[from] files::ReadError),
    /// An entry of a protobuf DocumentArray that is not a Document.
    #[error("{}", chain(.0))]
    Protobuf(#[from] DecodeError),
    /// An empty entry of a DocumentArray.
    #[error("there is none")]
    Nothing,
}

/// What is wrong with a line of JSON.
fn of_line(error: &serde_json::Error) -> String {
    match (error.classify(), json_words(error)) {
        (Category::Eof, _) => "the line ends in the middle of its JSON".into(),
        // serde_json says this about any word that begins like `null`, such as `nothing`, and has no error type
        // for it.
        (Category::Syntax, words) if words == "expected ident" => "not valid JSON".into(),
        (Category::Syntax, words) => format!("not valid JSON: {words}"),
        (_, words) => words,
    }
}

impl DataSet {
    /// Opens the data set of a generator, if it has one. Each entry may take at most `max`. Problems are added
    /// to `problems`.
    pub(super) fn open(
        spec: &DocumentsSpec,
        at: Spot<'_>,
        base: &Path,
        key: Key,
        max: ByteSize,
        problems: &mut Vec<Problem>,
    ) -> Option<DataSet> {
        let mut all_own = spec.fields.iter().flat_map(files_of);
        let own = all_own.next();
        if let (Some((first, pattern)), Some((second, _))) = (&own, all_own.next()) {
            let other = at.key("fields").key(first).find(pattern).place();
            at.key("fields").name(second).problem(
                problems,
                "only one field can have the bytes of files",
                |problem| problem.see(other, "the other one"),
            );
            return None;
        }
        let files = match (&spec.blob, &own) {
            (Some(BlobSpec::Files(pattern)), _) => Some(pattern),
            (_, Some((_, pattern))) => Some(pattern),
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
                let message = format!("`{key}` has no effect without {of}");
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
        let columns_at = at.key("columns");
        let at = match (kind, &own) {
            ("blob", Some((name, pattern))) => at.key("fields").key(name).find(pattern),
            ("blob", None) => at.key("blob").key("files"),
            _ => at.key(kind),
        };
        let before = problems.len();
        let max = max.min(ENTRY_BYTES_MAX);
        let (path, opened) = if let Some(path) = &spec.jsonl {
            let path = base.join(path);
            (path.clone(), open_lines(&path, max, at, problems))
        } else if let Some(path) = &spec.csv {
            let path = base.join(path);
            (path.clone(), open_csv(&path, max, spec.columns.as_ref(), at, columns_at, problems))
        } else if let Some(path) = &spec.docarray {
            let path = base.join(path);
            (path.clone(), open_docarray(&path, max, at, problems).map(Opened::new))
        } else {
            let pattern = files.map(String::as_str).unwrap_or_default();
            let found = matching_files(base, pattern);
            match found {
                Ok(found) => (base.join(pattern), {
                    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
                    for path in found.iter().filter(|path| size(path) > max.bytes()).take(BAD_MAX) {
                        let message =
                            format!("`{}`: {}", path.display(), EntryError::TooLarge(max));
                        at.problem(problems, message, |problem| problem);
                    }
                    let count = found.len() as u64;
                    Some(Opened::new((Entries::Files(found), count)))
                }),
                Err(error) => {
                    let message = format!("could not read the files of `{pattern}`: {error}");
                    at.problem(problems, message, |problem| problem);
                    return None;
                }
            }
        };
        let Opened { entries, count, two_contents } = opened?;
        if problems.len() > before {
            return None;
        }
        if count == 0 {
            let what = if kind == "blob" { "no file matches" } else { "there are no Documents in" };
            at.problem(problems, format!("{what} `{}`", path.display()), |problem| problem);
            return None;
        }
        let order = spec.order.unwrap_or_default();
        let key = key.part("order");
        Some(DataSet { path, entries, count, two_contents, order, exponent, key })
    }

    /// The first entry that no v1 Document can hold.
    pub(super) fn two_contents(&self) -> Option<&TwoContents> {
        self.two_contents.as_ref()
    }

    /// The files it reads.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let files = match &self.entries {
            Entries::Files(files) => files.as_slice(),
            _ => std::slice::from_ref(&self.path),
        };
        files.iter().map(PathBuf::as_path)
    }

    /// The number of entries.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Whether all Documents of a stream are equal.
    pub(super) fn is_constant(&self) -> bool {
        self.count == 1
    }

    /// Whether an entry may occur more than once in a round.
    pub(super) fn draws(&self) -> bool {
        matches!(self.order, Order::Random | Order::Zipf)
    }

    /// The entry that the `i`-th Document is made from, in rounds of `round` Documents.
    pub(super) fn get(&self, i: u64, round: u64) -> Result<Document, DataError> {
        self.entry(self.which(i, round))
    }

    /// The position of that entry. Reads the file from the beginning, so it is only for messages.
    pub(super) fn place(&self, i: u64, round: u64) -> EntryPlace {
        let entry = self.which(i, round);
        let line = match &self.entries {
            Entries::Lines(indexed) => indexed.line(entry).ok(),
            Entries::Csv { .. } => line_of_record(&self.path, entry),
            Entries::Files(paths) => {
                let path = paths[entry as usize].clone();
                return EntryPlace { path, at: EntryAt::Whole };
            }
            Entries::Protobuf { .. } | Entries::Json { .. } | Entries::Memory(_) => None,
        };
        let at = line.map_or(EntryAt::Number(entry + 1), EntryAt::Line);
        EntryPlace { path: self.path.clone(), at }
    }

    /// The index of that entry in the file, from 0.
    fn which(&self, i: u64, round: u64) -> u64 {
        let n = self.count;
        match self.order {
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
        }
    }

    fn entry(&self, entry: u64) -> Result<Document, DataError> {
        let unreadable = |source| DataError::Read { path: self.path.clone(), source };
        let bad = |source| DataError::Entry { path: self.path.clone(), number: entry + 1, source };
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
                    records.read_byte_record(&mut record).map_err(|error| bad(error.into()))?;
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

    /// The line number of an entry in a file with one per line, from 1.
    fn line(&self, entry: u64) -> io::Result<u64> {
        let breaks = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let block = self.block(entry)?;
        let start = self.places[(entry / INDEX_STEP) as usize];
        let (mut before, mut at, mut buffer) = (0, 0, vec![0; 1 << 16]);
        while at < start {
            let length = (start - at).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..length], at)?;
            before += breaks(&buffer[..length]);
            at += length as u64;
        }
        let lines = block.split(|byte| *byte == b'\n').enumerate();
        let mut entries = lines.filter(|(_, line)| !is_blank(line));
        let within = entries.nth((entry % INDEX_STEP) as usize).map_or(0, |(line, _)| line as u64);
        Ok(before + within + 1)
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
    // Opening a pipe would block until it has a writer.
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

/// Reports the first bad entries of a data set, with their line numbers. Each problem is placed at the key that
/// names the file.
fn tell_bad(path: &Path, bad: &[(u64, EntryError)], at: Spot<'_>, problems: &mut Vec<Problem>) {
    for (line, error) in bad.iter().take(BAD_MAX) {
        at.problem(problems, format!("`{}` line {line}: {error}", path.display()), |p| p);
    }
}
