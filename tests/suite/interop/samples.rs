//! Documents that use everything that a family's Documents can hold, generated from a seed.

use bytes::Bytes;
use flowbench::wire::{
    ByteOrder, DType, Document, Family, Map, NamedScore, NdArray, ScalarKind, Tensor,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

/// `count` Documents with all fields that the default schema of this family keeps, each of them present or not;
/// values that docarray would correct (levels of chunks and matches) are already correct.
pub(super) fn documents(family: Family, seed: u64, count: usize) -> Vec<Document> {
    let mut draw = Draw { rng: Pcg64::seed_from_u64(seed), family, made: 0 };
    (0..count).map(|_| draw.document(3)).collect()
}

/// One Document for each type and byte order of arrays, and for each number of axes.
pub(super) fn arrays() -> Vec<Document> {
    let mut rng = Pcg64::seed_from_u64(0);
    let mut docs = Vec::new();
    for (n, kind) in ScalarKind::ALL.into_iter().enumerate() {
        // A single byte has no order, and is read with the usual one.
        let orders = if kind.size() == 1 { 1 } else { 2 };
        for order in [ByteOrder::Little, ByteOrder::Big].into_iter().take(orders) {
            let shape = [&[][..], &[3], &[2, 3], &[1, 2, 3, 4]][n % 4];
            let (tensor, embedding) = (tensor(&mut rng, kind, order, shape), vector(&mut rng));
            docs.push(Document {
                id: DType::Scalar { kind, order }.to_string(),
                tensor: Some(NdArray::Dense(tensor)),
                embedding: Some(NdArray::Dense(embedding)),
                ..Document::default()
            });
        }
    }
    docs
}

struct Draw {
    rng: Pcg64,
    family: Family,
    made: usize,
}

impl Draw {
    fn document(&mut self, levels: u32) -> Document {
        self.made += 1;
        let mut doc = Document { id: format!("document-{}", self.made), ..Document::default() };
        self.content(&mut doc);
        doc.uri = self.maybe(|draw| format!("http://example.invalid/{}", draw.text()));
        doc.embedding = self.maybe(|draw| Some(NdArray::Dense(vector(&mut draw.rng))));
        doc.tags = self.maybe(|draw| draw.map(2));
        doc.scores = self.maybe(|draw| [("cosine", draw.score())].map(own_key).into());
        if self.family == Family::V1 {
            doc.mime_type = self.maybe(|_| "image/jpeg".into());
            doc.modality = self.maybe(|_| "text".into());
            doc.weight = self.maybe(|draw| draw.rng.random_range(0.5..2.0));
            doc.offset = self.maybe(|draw| draw.rng.random_range(0.5..2.0));
            doc.location = self.maybe(|draw| vec![draw.rng.random(), 0.0, -1.5]);
            doc.evaluations = self.maybe(|draw| [("recall", draw.score())].map(own_key).into());
        }
        if levels > 0 {
            let parts = self.rng.random_range(0..3);
            doc.chunks = (0..parts).map(|_| self.document(levels - 1)).collect();
            let found = self.rng.random_range(0..3);
            doc.matches = (0..found).map(|_| self.document(levels - 1)).collect();
        }
        if self.family == Family::V1 {
            set_levels(&mut doc);
        }
        doc
    }

    fn content(&mut self, doc: &mut Document) {
        let kind = ScalarKind::ALL[self.rng.random_range(0..ScalarKind::ALL.len())];
        let array = tensor(&mut self.rng, kind, ByteOrder::Little, &[2, 2]);
        let mut blob = vec![0; self.rng.random_range(1..50)];
        self.rng.fill_bytes(&mut blob);
        // v1 has at most one of the three.
        let which = match self.family {
            Family::V1 => 1 << self.rng.random_range(0..4),
            Family::V2 => self.rng.random_range(0..8),
        };
        doc.text = (which & 1 > 0).then(|| self.text());
        doc.blob = (which & 2 > 0).then(|| Bytes::from(blob));
        doc.tensor = (which & 4 > 0).then_some(NdArray::Dense(array));
    }

    fn maybe<T: Default>(&mut self, make: impl FnOnce(&mut Draw) -> T) -> T {
        if self.rng.random() { make(self) } else { T::default() }
    }

    fn text(&mut self) -> String {
        let letters: Vec<_> = "abc \"\\\n\u{0}äß→漢字🎉".chars().collect();
        let length = self.rng.random_range(1..30);
        (0..length).map(|_| letters[self.rng.random_range(0..letters.len())]).collect()
    }

    fn score(&mut self) -> NamedScore {
        NamedScore {
            // A value that 32 bits can represent: v1 has no more precision.
            value: self.rng.random_range(1..1000) as f64 / 8.0,
            op_name: self.maybe(|_| "cosine".into()),
            description: self.maybe(Draw::text),
            ref_id: self.maybe(|_| "other".into()),
        }
    }

    fn map(&mut self, levels: u32) -> Map {
        let size = self.rng.random_range(1..5);
        (0..size).map(|n| (format!("{n} {}", self.text()), self.value(levels))).collect()
    }

    fn value(&mut self, levels: u32) -> Value {
        match self.rng.random_range(0..if levels > 0 { 7 } else { 5 }) {
            0 => Value::Null,
            1 => json!(self.rng.random::<bool>()),
            2 => json!(self.text()),
            3 => json!(self.rng.random_range(-1e9..1e9)),
            // v1 has no integers, v2 has those of 32 bits.
            4 if self.family == Family::V1 => json!(f64::from(self.rng.random::<i32>())),
            4 => json!(self.rng.random::<i32>()),
            5 => Value::Object(self.map(levels - 1)),
            _ => (0..3).map(|_| self.value(levels - 1)).collect(),
        }
    }
}

/// Random values without NaN.
fn tensor(rng: &mut Pcg64, kind: ScalarKind, order: ByteOrder, shape: &[u32]) -> Tensor {
    let count = shape.iter().product::<u32>() as usize;
    let mut data = Vec::new();
    for _ in 0..count {
        let whole: u64 = rng.random();
        let part: f64 = rng.random_range(-100.0..100.0);
        let halves = |bytes: &[u8]| bytes.repeat(2);
        let little = match kind {
            ScalarKind::Bool => vec![(whole & 1) as u8],
            ScalarKind::I8 | ScalarKind::U8 => vec![whole as u8],
            ScalarKind::I16 | ScalarKind::U16 => (whole as u16).to_le_bytes().into(),
            ScalarKind::I32 | ScalarKind::U32 => (whole as u32).to_le_bytes().into(),
            ScalarKind::I64 | ScalarKind::U64 => whole.to_le_bytes().into(),
            ScalarKind::F16 => half::f16::from_f64(part).to_le_bytes().into(),
            ScalarKind::F32 => (part as f32).to_le_bytes().into(),
            ScalarKind::F64 => part.to_le_bytes().into(),
            ScalarKind::C64 => halves(&(part as f32).to_le_bytes()),
            ScalarKind::C128 => halves(&part.to_le_bytes()),
        };
        // A complex number is two numbers, each in this order.
        let parts = if matches!(kind, ScalarKind::C64 | ScalarKind::C128) { 2 } else { 1 };
        for one in little.chunks(little.len() / parts) {
            match order {
                ByteOrder::Little => data.extend_from_slice(one),
                ByteOrder::Big => data.extend(one.iter().rev()),
            }
        }
    }
    Tensor {
        dtype: DType::Scalar { kind, order },
        shape: shape.to_vec(),
        data: data.into(),
        class: "numpy".into(),
        parameters: Map::new(),
    }
}

fn vector(rng: &mut Pcg64) -> Tensor {
    let values: Vec<f32> = (0..8).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_f32(&values)
}

/// Levels as docarray of v1 numbers them: chunks one deeper and with their parent, matches one further.
fn set_levels(doc: &mut Document) {
    for chunk in &mut doc.chunks {
        chunk.granularity = doc.granularity + 1;
        chunk.parent_id.clone_from(&doc.id);
        set_levels(chunk);
    }
    for found in &mut doc.matches {
        found.adjacency = doc.adjacency + 1;
        set_levels(found);
    }
}

fn own_key((key, score): (&str, NamedScore)) -> (String, NamedScore) {
    (key.to_owned(), score)
}
