//! Recognizes, without decoding, Documents that an Executor returns byte for byte as they came.
//!
//! An Executor decodes Documents and encodes them again, which changes some of them: one without an id
//! gets one, for example. Most Documents stay the same, so the bytes that came can be sent back. When in
//! doubt, Documents are decoded.

use std::str;

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::wire::Family;

/// The result of looking at encoded Documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::flow) enum Look {
    /// They come out unchanged.
    Plain,
    /// They must be decoded to find out.
    Unknown,
}

/// A field: its number and, where it has a length, its bytes.
struct Field<'a> {
    number: u32,
    wire: WireType,
    bytes: &'a [u8],
}

/// The fields of a message. An item is `None` where the message is not valid.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Option<Field<'a>>> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[]; // what follows cannot be told
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<Field<'a>> {
        let (number, wire) = decode_key(&mut self.0).ok()?;
        let length = match wire {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                0
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut self.0).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Field { number, wire, bytes })
    }
}

impl Field<'_> {
    fn text(&self) -> Option<&str> {
        (self.wire == WireType::LengthDelimited).then_some(())?;
        str::from_utf8(self.bytes).ok()
    }

    fn message(&self) -> Option<Fields<'_>> {
        (self.wire == WireType::LengthDelimited).then_some(Fields(self.bytes))
    }
}

/// Looks at a `DocumentArrayProto` (v1) or `DocListProto` (v2).
pub(in crate::flow) fn look(docs: &[u8], family: Family) -> Look {
    let plain = |docs: &[u8]| -> Option<()> {
        for field in Fields(docs) {
            let doc = field.filter(|field| field.number == 1)?;
            match family {
                Family::V1 => plain_v1(doc.message()?)?,
                Family::V2 => plain_v2(doc.message()?)?,
            }
        }
        Some(())
    };
    if plain(docs).is_some() { Look::Plain } else { Look::Unknown }
}

/// The number of Documents, as far as the bytes are valid.
pub(in crate::flow) fn count(docs: &[u8]) -> usize {
    Fields(docs).map_while(|field| field).filter(|field| field.number == 1).count()
}

/// Whether a v1 Document comes out unchanged; `None` when it may not.
fn plain_v1(doc: Fields<'_>) -> Option<()> {
    let (mut id, mut content, mut uri, mut mime_type) = (false, false, false, false);
    for field in doc {
        let field = field?;
        match (field.number, field.wire) {
            (1, _) if !id => id = !field.text()?.is_empty(),
            // Empty content does not count, and of two contents the last does.
            (2..=4, WireType::LengthDelimited) if !content && !field.bytes.is_empty() => {
                match field.number {
                    3 => plain_array(field.message()?, true)?,
                    4 => drop(field.text()?),
                    _ => (),
                }
                content = true;
            }
            (5 | 6, WireType::Varint) => (),
            (8 | 12, WireType::ThirtyTwoBit) if field.bytes != [0; 4] => (),
            (7 | 9 | 10 | 11, _) if !field.text()?.is_empty() => match field.number {
                9 => uri = true,
                11 => mime_type = true,
                _ => (),
            },
            (16, _) => plain_array(field.message()?, true)?,
            (17, _) => plain_struct(field.message()?, 0)?,
            _ => return None,
        }
    }
    // A Document with a uri and no mime type gets one.
    (id && (!uri || mime_type)).then_some(())
}

/// The ten fields that every v2 Document has.
const FIELDS_V2: [&str; 10] =
    ["id", "text", "url", "blob", "tensor", "embedding", "tags", "chunks", "matches", "scores"];

/// Whether a v2 Document comes out unchanged; `None` when it may not.
fn plain_v2(doc: Fields<'_>) -> Option<()> {
    let mut seen = 0_u32;
    for entry in doc {
        let (mut key, mut node) = (None, None);
        let entry = entry.filter(|entry| entry.number == 1)?;
        for field in entry.message()? {
            let field = field?;
            match field.number {
                1 => key = Some(field.text().map(|key| FIELDS_V2.iter().position(|f| *f == key))??),
                2 if field.wire == WireType::LengthDelimited => node = Some(field.bytes),
                _ => return None,
            }
        }
        let key = key?;
        plain_node(FIELDS_V2[key], node?)?;
        seen |= 1 << key;
    }
    (seen == (1 << FIELDS_V2.len()) - 1).then_some(())
}

fn plain_node(key: &str, node: &[u8]) -> Option<()> {
    let mut fields = Fields(node);
    let Some(content) = fields.next() else {
        return matches!(
            key,
            "text" | "url" | "blob" | "tensor" | "embedding" | "chunks" | "matches" | "scores"
        )
        .then_some(());
    };
    let content = content?;
    let kind = match fields.next() {
        None => None,
        Some(kind) => Some(kind.filter(|kind| kind.number == 13)?),
    };
    if fields.next().is_some() {
        return None;
    }
    let kind = match &kind {
        None => "",
        Some(kind) => kind.text()?,
    };
    match (key, content.number, kind) {
        ("id", 1, "id") | ("text" | "url", 1, "") => drop(content.text()?),
        ("blob", 5, "") if content.wire == WireType::LengthDelimited => (),
        ("tensor", 6, "ndarray") | ("embedding", 6, "ndarray_embedding") => {
            for field in content.message()? {
                plain_array(field.filter(|dense| dense.number == 1)?.message()?, false)?;
            }
        }
        ("tags", 12, "") if content.bytes.is_empty() => (),
        _ => return None,
    }
    Some(())
}

/// An array that numpy reads and writes again unchanged: `NdArrayProto` of v1 with its class, or
/// the `DenseNdArrayProto` that both families have.
fn plain_array(array: Fields<'_>, with_class: bool) -> Option<()> {
    if !with_class {
        return plain_dense(array);
    }
    let mut numpy = false;
    for field in array {
        let field = field?;
        match field.number {
            1 => plain_dense(field.message()?)?,
            3 => numpy = field.bytes == b"numpy",
            _ => return None,
        }
    }
    numpy.then_some(())
}

fn plain_dense(dense: Fields<'_>) -> Option<()> {
    let (mut length, mut values, mut size) = (0, 1_u64, None);
    for field in dense {
        let field = field?;
        match (field.number, field.wire) {
            (1, WireType::LengthDelimited) => length = field.bytes.len() as u64,
            (2, WireType::LengthDelimited) => {
                let mut axes = field.bytes;
                while !axes.is_empty() {
                    values = values.checked_mul(decode_varint(&mut axes).ok()?)?;
                }
            }
            (3, WireType::LengthDelimited) => {
                size = Some(match field.bytes {
                    b"|b1" | b"|u1" | b"|i1" => 1,
                    b"<f2" | b"<i2" | b"<u2" | b">f2" | b">i2" | b">u2" => 2,
                    b"<f4" | b"<i4" | b"<u4" | b">f4" | b">i4" | b">u4" => 4,
                    b"<f8" | b"<i8" | b"<u8" | b">f8" | b">i8" | b">u8" => 8,
                    _ => return None,
                });
            }
            _ => return None,
        }
    }
    (length > 0 && values.checked_mul(size?)? == length).then_some(())
}

/// Whether tags are valid and are encoded the same way again.
fn plain_struct(map: Fields<'_>, depth: u32) -> Option<()> {
    const DEPTH_MAX: u32 = 32;
    if depth > DEPTH_MAX {
        return None;
    }
    for entry in map {
        let entry = entry.filter(|entry| entry.number == 1)?;
        for field in entry.message()? {
            let field = field?;
            match field.number {
                1 => drop(field.text()?),
                2 => plain_value(field.message()?, depth)?,
                _ => return None,
            }
        }
    }
    Some(())
}

fn plain_value(mut value: Fields<'_>, depth: u32) -> Option<()> {
    let kind = value.next()??;
    match (kind.number, kind.wire) {
        (1 | 4, WireType::Varint) => (),
        (2, WireType::SixtyFourBit) => {
            // Python refuses to encode infinite numbers and NaN.
            let bytes: [u8; 8] = kind.bytes.try_into().ok()?;
            f64::from_le_bytes(bytes).is_finite().then_some(())?;
        }
        (3, _) => drop(kind.text()?),
        (5, _) => plain_struct(kind.message()?, depth + 1)?,
        (6, _) => {
            for item in kind.message()? {
                plain_value(item.filter(|item| item.number == 1)?.message()?, depth + 1)?;
            }
        }
        _ => return None,
    }
    value.next().is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::{Document, NdArray, Tensor};

    fn look_at(doc: Document, family: Family) -> Look {
        look(&family.encode_docs(&[doc]).expect("it is valid"), family)
    }

    fn full() -> Document {
        Document {
            id: "d".into(),
            embedding: Some(NdArray::Dense(Tensor::from_f32(&[1.0, 2.0]))),
            ..Document::from_text("héllo")
        }
    }

    #[test]
    fn ordinary_documents_are_plain_in_both_families() {
        assert_eq!(look_at(full(), Family::V1), Look::Plain);
        assert_eq!(look_at(full(), Family::V2), Look::Plain);
        let tags = json!({"a": 1.5, "b": [true, null, {"c": "d"}]});
        let tagged = Document { tags: tags.as_object().cloned().unwrap_or_default(), ..full() };
        assert_eq!(look_at(tagged, Family::V1), Look::Plain);
    }

    #[test]
    fn documents_that_may_change_are_told_apart() {
        let without_id = Document { id: String::new(), ..full() };
        let chunks = Document { chunks: vec![full()], ..full() };
        let mut wrong = Tensor::from_f32(&[1.0]);
        wrong.shape = vec![7];
        let array = Document { embedding: Some(NdArray::Dense(wrong)), ..full() };
        for family in [Family::V1, Family::V2] {
            assert_eq!(look_at(without_id.clone(), family), Look::Unknown);
            assert_eq!(look_at(chunks.clone(), family), Look::Unknown);
            assert_eq!(look_at(array.clone(), family), Look::Unknown);
        }
        let uri = Document { uri: "x.png".into(), ..full() };
        assert_eq!(look_at(uri, Family::V1), Look::Unknown, "it will have a mime type");
        assert_eq!(look(b"\x0a\x03\x0a\x01\xff", Family::V1), Look::Unknown, "no UTF-8");
        assert_eq!(look(b"\xff", Family::V1), Look::Unknown);
    }

    #[test]
    fn the_documents_of_the_other_family_are_not_plain() {
        let v1 = Family::V1.encode_docs(&[full()]).expect("it is valid");
        let v2 = Family::V2.encode_docs(&[full()]).expect("it is valid");
        assert_eq!(look(&v1, Family::V2), Look::Unknown);
        assert_eq!(look(&v2, Family::V1), Look::Unknown);
        assert_eq!((count(&v1), count(&v2)), (1, 1));
    }
}
