//! Files of Documents, as DocArray's `save_binary`, `save_json` and `to_json` write them.
//!
//! The format is recognized from the content. Python pickles, DocArray's default before 0.30, are refused:
//! reading one means executing it.

use std::io::{self, Read, Write};
use std::path::Path;

use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use prost::Message;
use prost::encoding::decode_varint;
use serde::de::DeserializeSeed;

pub use super::error::WriteError;
use super::json::{self, Dialect, DocumentsSeed};
use super::proto::{v1::DocumentProto, v2::DocProto};
use super::writer::Writer;
use super::{DecodeError, Document, Family, v1, v2};

/// Maximum uncompressed size of a compressed file: protobuf itself is limited to 2 GiB per message.
const UNPACKED_MAX: u64 = 2 << 30;

/// How Documents are laid out in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// A JSON array, `save_json` of v1 and `json-array` of v2.
    Json,
    /// One `DocumentArrayProto` or `DocListProto`, `protobuf-array`. Concatenating two such files gives
    /// another.
    ProtobufArray,
    /// A count, then each Document preceded by its length, `protobuf`.
    ProtobufStream,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A pickle, as `save_binary` of v1 writes it if no protocol is given.
    #[error(
        "a Python pickle, which can run code and is therefore not read; save with protocol='protobuf-array'"
    )]
    Pickle,
    /// Compressed, but not with gzip.
    #[error("compressed with {0}; only gzip is supported")]
    Compression(&'static str),
    /// The content does not match its beginning.
    #[error("{0}")]
    Format(String),
    /// An invalid Document.
    #[error("Document {number} is not valid")]
    Document {
        /// Its number, from 1.
        number: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The file as a whole is not a list of Documents.
    #[error("not a file of Documents")]
    Decode(#[from] DecodeError),
    /// The gzip data cannot be decompressed.
    #[error("cannot be decompressed")]
    Unpack(#[source] io::Error),
}

impl FileFormat {
    /// The format that a file name implies, and whether it implies gzip: `docs.json`, `docs.protobuf.gzip`,
    /// `docs.protobuf-array`, `docs.bin`. `None` for other names.
    pub fn of_name(path: &Path) -> Option<(FileFormat, bool)> {
        let name = path.file_name()?.to_str()?;
        let packed = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".gzip"));
        let format = match packed.unwrap_or(name).rsplit_once('.')?.1 {
            "json" | "json-array" => FileFormat::Json,
            "protobuf-array" | "bin" => FileFormat::ProtobufArray,
            "protobuf" | "protobuf-stream" => FileFormat::ProtobufStream,
            _ => return None,
        };
        Some((format, packed.is_some()))
    }
}

/// Reads a file of any format: JSON of either family, protobuf's own JSON, lines of plain JSON, and protobuf,
/// each also compressed with gzip.
///
/// The JSON of the two families differs only in blobs (base64 in v1, text in v2); if the keys are ambiguous,
/// v1 is assumed.
///
/// # Errors
/// For other content, including pickles and other compression formats, and for uncompressed content beyond 2
/// GiB.
pub fn read(file: Bytes) -> Result<Vec<Document>, ReadError> {
    match file[..] {
        [0x1f, 0x8b, ..] => read_unpacked(unpack(&file)?),
        [b'B', b'Z', b'h', ..] => Err(ReadError::Compression("bz2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(ReadError::Compression("lzma")),
        [0x04, 0x22, 0x4d, 0x18, ..] => Err(ReadError::Compression("lz4")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(ReadError::Compression("zstd")),
        _ => read_unpacked(file),
    }
}

fn unpack(file: &[u8]) -> Result<Bytes, ReadError> {
    let mut unpacked = Vec::new();
    let mut reader = MultiGzDecoder::new(file).take(UNPACKED_MAX + 1);
    reader.read_to_end(&mut unpacked).map_err(ReadError::Unpack)?;
    if unpacked.len() as u64 > UNPACKED_MAX {
        return Err(ReadError::Format("more than 2 GiB when decompressed".into()));
    }
    Ok(unpacked.into())
}

fn read_unpacked(file: Bytes) -> Result<Vec<Document>, ReadError> {
    let text = file.trim_ascii_start();
    match (text.first(), file.first()) {
        (Some(b'['), _) => read_json(text),
        (Some(b'{'), _) => read_lines(text),
        // An empty array has no bytes.
        (_, None) => Ok(Vec::new()),
        (_, Some(0x0a)) => Ok(family_of_array(&file).decode_docs(file)?),
        (_, Some(0x01)) => read_stream(file, Family::V1),
        (_, Some(0x02)) => read_stream(file, Family::V2),
        (_, Some(0x80)) => Err(ReadError::Pickle),
        _ => Err(ReadError::Format("neither JSON nor protobuf with Documents".into())),
    }
}

/// The family of a `protobuf-array` file, recognized from its beginning, which has to include part of the
/// first non-empty Document.
pub fn family_of_array(file: &[u8]) -> Family {
    if begins_with_map(file) { Family::V2 } else { Family::V1 }
}

/// Whether the first Document of an array is v2's: a map, so its field 1 is a message that begins with a key
/// or a value. In v1, field 1 is an id, and no id begins with a line feed.
fn begins_with_map(file: &[u8]) -> bool {
    let mut bytes = file;
    let mut length_of_field_1 = || {
        bytes = bytes.strip_prefix(&[0x0a])?;
        decode_varint(&mut bytes).ok()
    };
    loop {
        match length_of_field_1() {
            None => return false,
            Some(0) => {} // an empty Document, it tells nothing
            Some(_) => break,
        }
    }
    length_of_field_1().is_some() && matches!(bytes.first(), Some(0x0a | 0x12))
}

fn read_stream(mut file: Bytes, family: Family) -> Result<Vec<Document>, ReadError> {
    let cut_off = || ReadError::Format("ends in the middle of a Document".into());
    file.advance(1);
    let count = file.try_get_u64().map_err(|_| cut_off())?;
    let mut docs = Vec::new(); // as many as there are, not as many as are claimed
    for number in 1..=count {
        let length = file.try_get_u32().map_err(|_| cut_off())? as usize;
        if file.len() < length {
            return Err(cut_off());
        }
        let doc = file.split_to(length);
        // A pickle begins the same way.
        if family == Family::V1 && doc.first() == Some(&0x80) {
            return Err(ReadError::Pickle);
        }
        let doc = match family {
            Family::V1 => DocumentProto::decode(doc).map(v1::read_doc),
            Family::V2 => DocProto::decode(doc).map(v2::read_doc),
        };
        let source =
            |error: prost::DecodeError| ReadError::Document { number, source: error.into() };
        docs.push(doc.map_err(source)?);
    }
    if !file.is_empty() {
        let what = format!("{} bytes remain after the {count} Documents it announces", file.len());
        return Err(ReadError::Format(what));
    }
    Ok(docs)
}

fn read_json(text: &[u8]) -> Result<Vec<Document>, ReadError> {
    let dialect = match json::is_array_of_v2(text) {
        true => Dialect::V2,
        false => Dialect::Plain,
    };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let docs = DocumentsSeed::new(dialect).deserialize(&mut reader).and_then(|docs| {
        reader.end()?;
        Ok(docs)
    });
    Ok(docs.map_err(DecodeError::from)?)
}

fn read_lines(text: &[u8]) -> Result<Vec<Document>, ReadError> {
    let lines = serde_json::Deserializer::from_slice(text).into_iter::<Document>();
    (1..)
        .zip(lines)
        .map(|(number, doc)| {
            doc.map_err(|error| ReadError::Document { number, source: error.into() })
        })
        .collect()
}

/// Writes a file of Documents, optionally compressed with gzip.
///
/// # Errors
/// When a Document has something that the format or the family cannot represent, or when `out` fails. The
/// output until then is not a readable file.
pub fn write(
    docs: &[Document],
    family: Family,
    format: FileFormat,
    gzip: bool,
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    if gzip {
        let mut packed = GzEncoder::new(out, Compression::default());
        write_unpacked(docs, family, format, &mut packed)?;
        packed.finish()?;
        return Ok(());
    }
    write_unpacked(docs, family, format, out)
}

fn write_unpacked(
    docs: &[Document],
    family: Family,
    format: FileFormat,
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    match format {
        FileFormat::Json => json::write_array(docs, family, out),
        FileFormat::ProtobufArray => Ok(out.write_all(&family.encode_docs(docs)?)?),
        FileFormat::ProtobufStream => {
            let version = match family {
                Family::V1 => 1,
                Family::V2 => 2,
            };
            out.write_all(&[version])?;
            out.write_all(&(docs.len() as u64).to_be_bytes())?;
            for doc in docs {
                let mut w = Writer::with_capacity(0);
                match family {
                    Family::V1 => v1::write_doc(&mut w, doc)?,
                    Family::V2 => v2::write_doc(&mut w, doc)?,
                }
                let doc = w.finish();
                let too_long = || io::Error::other("a Document of more than 4 GiB");
                let length = u32::try_from(doc.len()).map_err(|_| too_long())?;
                out.write_all(&length.to_be_bytes())?;
                out.write_all(&doc)?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docs() -> Vec<Document> {
        let part = Document { id: "part".into(), ..Document::from_text("of it") };
        vec![
            Document::default(),
            Document { id: "a".into(), chunks: vec![part], ..Document::from_text("first") },
            Document { id: "b".into(), blob: Some("blob".into()), ..Document::default() },
        ]
    }

    #[test]
    fn what_is_written_reads_the_same_in_every_format() {
        use FileFormat::{Json, ProtobufArray, ProtobufStream};
        for family in [Family::V1, Family::V2] {
            for format in [Json, ProtobufArray, ProtobufStream] {
                for gzip in [false, true] {
                    let mut file = Vec::new();
                    write(&docs(), family, format, gzip, &mut file).expect("memory takes all");
                    let read = read(file.into()).expect("it was just written");
                    assert_eq!(read, docs(), "{family:?} {format:?} {gzip}");
                }
            }
        }
    }

    #[test]
    fn lines_of_plain_json_are_read() {
        let read = read("{\"text\": \"a\"}\n {\"text\": \"b\"}\n".into()).expect("valid");
        assert_eq!(read, [Document::from_text("a"), Document::from_text("b")]);
    }

    #[test]
    fn an_empty_file_has_no_documents() {
        assert_eq!(read(Bytes::new()).expect("valid"), []);
    }

    #[test]
    fn names_tell_the_format() {
        let check = |name: &str, expected| {
            assert_eq!(FileFormat::of_name(Path::new(name)), expected, "{name}");
        };
        check("a/docs.json", Some((FileFormat::Json, false)));
        check("docs.protobuf.gzip", Some((FileFormat::ProtobufStream, true)));
        check("docs.protobuf-array", Some((FileFormat::ProtobufArray, false)));
        check("docs.bin.gz", Some((FileFormat::ProtobufArray, true)));
        check("docs.txt", None);
        check("json", None);
    }

    #[test]
    fn other_content_is_refused_by_name() {
        let check = |file: &[u8], expected: &str| {
            let error = read(Bytes::copy_from_slice(file)).expect_err("not readable");
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                text += &format!(": {error}");
                source = error.source();
            }
            assert!(text.contains(expected), "{text}");
        };
        check(b"\x80\x04\x95", "a Python pickle, which can run code");
        check(b"\x01\0\0\0\0\0\0\0\x01\0\0\0\x02\x80\x04", "a Python pickle");
        check(b"BZh91AY", "compressed with bz2; only gzip is supported");
        check(b"\xfd7zXZ\0", "compressed with lzma");
        check(b"\x04\x22\x4d\x18", "compressed with lz4");
        check(b"\x1f\x8b\x08 and no more", "cannot be decompressed");
        check(b"\x01\xff\xff\xff\xff\xff\xff\xff\xff", "ends in the middle of a Document");
        check(b"\x01\0\0\0\0\0\0\0\x01\xff\xff\xff\xff", "ends in the middle of a Document");
        check(b"\x01\0\0\0\0\0\0\0\0more", "4 bytes remain after the 0 Documents");
        check(b"\x02\0\0\0\0\0\0\0\x01\0\0\0\x01\x09", "Document 1 is not valid");
        check(b"\x0a\x09", "not a valid protobuf message");
        check(b"hello", "neither JSON nor protobuf");
        check(b"[{\"text\": 1}]", "not the expected structure");
        check(b"[] []", "trailing characters");
        check(b"{\"id\": \"a\"} {\"id\": 5}", "Document 2 is not valid");
    }
}
