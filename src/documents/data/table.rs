//! CSV files, whose columns become fields of Documents.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use serde_json::Value;

use super::{
    BAD_MAX, Entries, EntryError, INDEX_STEP, Indexed, Opened, TwoContents, open_file, tell_bad,
};
use crate::source::{Problem, Spot};
use crate::text::other_encoding;
use crate::units::{ByteSize, nearest};
use crate::wire::proto::v2::NodeProto;
use crate::wire::{Document, Map, NamedScore, NdArray, Tensor};

/// The use of a column of a CSV file.
#[derive(Clone, Debug)]
pub(super) struct Column {
    index: usize,
    field: Field,
}

/// A field of a Document that a text can be assigned to.
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
    // The path of names below `tags`.
    Tag(Vec<String>),
    Score(String),
    Evaluation(String),
    // The path of names below `fields`.
    Own(Vec<String>),
}

pub(super) fn csv_reader(path: &Path) -> csv::ReaderBuilder {
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(separator(path));
    builder
}

fn separator(path: &Path) -> u8 {
    let tabs = path.extension().is_some_and(|extension| extension == "tsv");
    if tabs { b'\t' } else { b',' }
}

pub(super) fn open_csv(
    path: &Path,
    max: ByteSize,
    columns: Option<&IndexMap<String, String>>,
    at: Spot<'_>,
    columns_at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Opened> {
    let file = open_file(path, at, problems)?;
    let mut start = [0; 2];
    if file.read_at(&mut start, 0).is_ok_and(|read| read == 2)
        && let Some(what) = other_encoding(&start)
    {
        let message = format!("could not read `{}`: {what}", path.display());
        at.problem(problems, message, |problem| problem);
        return None;
    }
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
    let columns = columns_of(&header, columns, path, at, columns_at, problems)?;
    let mut places = Vec::new();
    let mut count = 0u64;
    let length = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
    let mut bad = Vec::new();
    let mut two_contents: Option<TwoContents> = None;
    loop {
        let place = reader.position().clone();
        match reader.read_byte_record(&mut record) {
            Ok(true) => (),
            Ok(false) => break,
            Err(error) => {
                bad.push((place.line(), error.into()));
                break;
            }
        }
        if count.is_multiple_of(INDEX_STEP) {
            places.push(place.byte());
        }
        count += 1;
        let line = record.position().map_or(place.line(), csv::Position::line);
        let wrong = if reader.position().byte() >= length
            && let Some(after) = open_quote(&file, place.byte(), path)
        {
            let line = line + after;
            Some((line, EntryError::OpenQuote))
        } else if record.len() != header.len() {
            Some((line, EntryError::Columns { expected: header.len(), found: record.len() }))
        } else if record.as_slice().len() as u64 > max.bytes() {
            Some((line, EntryError::TooLarge(max)))
        } else {
            match read_record(&record, &columns) {
                Err(error) => Some((line, error)),
                Ok(document) => {
                    if let Some(found) = document.two_contents() {
                        let path = path.to_owned();
                        two_contents.get_or_insert(TwoContents { path, line, found });
                    }
                    None
                }
            }
        };
        if let Some(wrong) = wrong {
            bad.push(wrong);
            if bad.len() >= BAD_MAX {
                break;
            }
        }
    }
    places.push(reader.position().byte());
    tell_bad(path, &bad, at, problems);
    let entries = Entries::Csv { file: Indexed { file, places }, columns };
    Some(Opened { entries, count, two_contents })
}

/// The line number, from 1, on which a record begins; `record` is its index below the header, from 0.
pub(super) fn line_of_record(path: &Path, record: u64) -> Option<u64> {
    let mut reader = csv_reader(path).from_reader(BufReader::new(File::open(path).ok()?));
    let mut read = csv::ByteRecord::new();
    for _ in 0..=record + 1 {
        reader.read_byte_record(&mut read).ok().filter(|found| *found)?;
    }
    read.position().map(csv::Position::line)
}

/// Looks in a file's last record, which starts at `from`, for a quote that is never closed: returns how many
/// lines below the start it is, if there is one. The rest of the file is then a single cell.
fn open_quote(file: &File, from: u64, path: &Path) -> Option<u64> {
    let mut rest = vec![0; usize::try_from(file.metadata().ok()?.len().checked_sub(from)?).ok()?];
    file.read_exact_at(&mut rest, from).ok()?;
    let (mut line, mut opened, mut begins) = (0, None, true);
    let mut bytes = rest.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        line += u64::from(byte == b'\n');
        match (byte, opened) {
            (b'"', Some(_)) if bytes.peek() == Some(&b'"') => drop(bytes.next()),
            (b'"', Some(_)) => opened = None,
            (b'"', None) if begins => opened = Some(line),
            _ => (),
        }
        begins = opened.is_none() && (byte == separator(path) || matches!(byte, b'\n' | b'\r'));
    }
    // Blank lines before the record are not part of it.
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
    opened.map(|at| at - blank.filter(|byte| **byte == b'\n').count() as u64)
}

/// Maps columns to fields; `None` if something is unknown.
fn columns_of(
    header: &[String],
    columns: Option<&IndexMap<String, String>>,
    path: &Path,
    at: Spot<'_>,
    columns_at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Column>> {
    let before = problems.len();
    let mut found = Vec::new();
    // With two columns of the same name, one would silently replace the other.
    let wanted = |name: &str| match columns {
        Some(columns) => columns.values().any(|column| column == name),
        None => true,
    };
    for (index, name) in header.iter().enumerate() {
        let canonical =
            |name: &str| if name == "content" { "text".into() } else { name.to_owned() };
        let is_same = |other: &String| match columns {
            Some(_) => other == name,
            None => canonical(other) == canonical(name),
        };
        if wanted(name) && header[..index].iter().any(is_same) {
            let message =
                format!("two columns of `{}` are mapped to `{}`", path.display(), canonical(name));
            at.problem(problems, message, |problem| problem.help("name each column once"));
        }
    }
    match columns {
        Some(columns) => {
            for (name, column) in columns {
                let field = Field::of(name);
                if field.is_none() {
                    let message = format!("`{name}` is not a field that a column can be mapped to");
                    columns_at
                        .name(name)
                        .problem(problems, message, |problem| problem.suggest(name, FIELDS));
                }
                let index = header.iter().position(|known| known == column);
                if index.is_none() {
                    let message = format!("`{}` has no column `{column}`", path.display());
                    let known = header.iter().map(String::as_str);
                    columns_at
                        .key(name)
                        .problem(problems, message, |problem| problem.suggest(column, known));
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
                            "column `{name}` of `{}` matches no Document field",
                            path.display()
                        );
                        at.problem(problems, message, |problem| match nearest(name, FIELDS) {
                            Some(near) => problem.help(format!("did you mean `{near}`?")),
                            None => problem.help(format!(
                                "map it to a field, as in `columns: {{text: {name}}}`"
                            )),
                        });
                    }
                }
            }
        }
    }
    (problems.len() == before).then_some(found)
}

/// The fields that a column can be assigned to, for suggestions.
const FIELDS: [&str; 19] = [
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
    "fields.…",
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
                    "fields" => Field::Own(rest.split('.').map(str::to_owned).collect()),
                    _ => return None,
                }
            }
        })
    }
}

pub(super) fn read_record(
    record: &csv::ByteRecord,
    columns: &[Column],
) -> Result<Document, EntryError> {
    let mut document = Document::default();
    let mut own = Map::new();
    for column in columns {
        let bytes = record.get(column.index).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| EntryError::CellEncoding)?;
        // An empty cell sets nothing.
        if text.is_empty() {
            continue;
        }
        match &column.field {
            Field::Own(path) => {
                put_below(&mut own, path, of_any_type(text)).map_err(EntryError::Field)?;
            }
            field => put(&mut document, field, text)?,
        }
    }
    if columns.iter().any(|column| matches!(column.field, Field::Own(_))) {
        let nodes = own.into_iter().map(|(name, value)| (name, NodeProto::of_json(value)));
        document.extra.extend(nodes);
        document.set_own_schema();
    }
    Ok(document)
}

/// Assigns the text of a cell to a field.
fn put(document: &mut Document, field: &Field, text: &str) -> Result<(), EntryError> {
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| EntryError::Number(text.to_owned()))
    };
    let numbers = |text: &str| {
        let list: Result<Vec<f32>, _> = serde_json::from_str(text);
        list.map_err(|_| EntryError::Numbers(text.to_owned()))
    };
    let score = |value| NamedScore { value, ..NamedScore::default() };
    match field {
        Field::Text(to) => *to(document) = text.to_owned(),
        Field::Content => document.text = Some(text.to_owned()),
        Field::Number(to) => *to(document) = number(text)? as f32,
        Field::Depth(to) => {
            *to(document) = text.trim().parse().map_err(|_| EntryError::Depth(text.to_owned()))?;
        }
        Field::Blob => {
            let bytes = STANDARD.decode(text.trim()).map_err(|_| EntryError::Base64)?;
            document.blob = Some(bytes.into());
        }
        Field::Tensor => document.tensor = Some(NdArray::Dense(Tensor::from_f32(&numbers(text)?))),
        Field::Embedding => {
            document.embedding = Some(NdArray::Dense(Tensor::from_f32(&numbers(text)?)));
        }
        Field::Location => document.location = numbers(text)?,
        Field::Tag(path) => {
            put_below(&mut document.tags, path, typed(text)).map_err(EntryError::Tag)?;
        }
        // `read_record` assigns these once it has them all.
        Field::Own(_) => (),
        Field::Score(name) => {
            document.scores.insert(name.clone(), score(number(text)?));
        }
        Field::Evaluation(name) => {
            document.evaluations.insert(name.clone(), score(number(text)?));
        }
    }
    Ok(())
}

/// A cell that is a number, `true` or `false` becomes one; anything else is text.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text.trim()) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => text.into(),
    }
}

/// A cell of a custom schema: a number if it is written in the usual form, so that `007` and `1.50` stay text;
/// `true` and `false`; lists and maps in JSON.
fn of_any_type(text: &str) -> Value {
    let trimmed = text.trim();
    match serde_json::from_str(trimmed) {
        Ok(value @ (Value::Bool(_) | Value::Array(_) | Value::Object(_))) => value,
        Ok(Value::Number(number)) if number_as_written(&number, trimmed) => number.into(),
        _ => text.into(),
    }
}

/// Whether a number is written the way we would write it.
fn number_as_written(number: &serde_json::Number, text: &str) -> bool {
    let written = number.to_string();
    written == text
}

/// Inserts a value into nested maps at this path; the error is the name that already has another value.
fn put_below(map: &mut Map, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, above)) = path.split_last() else { return Ok(()) };
    let mut map = map;
    for name in above {
        let below = map.entry(name.clone()).or_insert_with(|| Map::new().into());
        map = below.as_object_mut().ok_or_else(|| name.clone())?;
    }
    map.insert(last.clone(), value);
    Ok(())
}
