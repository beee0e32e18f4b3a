//! Generators and data sets: what requests carry.

mod array;
mod generator;
pub mod spec;

use std::path::Path;
use std::sync::Arc;

pub use spec::DocumentsSpec;

use crate::random::Key;
use crate::source::{Problem, Spot};
use crate::template::{Context, TemplateError};
use crate::wire::Document;
use generator::Fields;

/// A stream of Documents of which the `i`-th depends on the seed and `i` alone, so that any number
/// of threads or machines can make any part of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Documents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    key: Key,
    fields: Fields,
    // Entries of one round.
    count: Option<u64>,
    repeat: bool,
}

/// Why a Document could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// An expression has no value for this Document.
    #[error("Document {i}: {source}")]
    Template {
        /// Which Document.
        i: u64,
        /// Which expression, and why.
        source: TemplateError,
    },
}

impl Documents {
    /// Makes a generator ready. `at` is where it stands in the file, `base` what paths are relative
    /// to; problems go to `problems`, and `None` comes back when there were any.
    pub fn compile(
        spec: &DocumentsSpec,
        at: Spot<'_>,
        context: &Context,
        key: Key,
        _base: &Path,
        problems: &mut Vec<Problem>,
    ) -> Option<Documents> {
        let before = problems.len();
        let fields = Fields::compile(spec, at, context, problems);
        let count = spec.count.map(|count| {
            if count.low() != count.high() {
                at.key("count").problem(
                    problems,
                    format!("expected one number, found the range `{count}`"),
                    |problem| problem.help("a range is for `chunks` and `matches`"),
                );
            }
            count.high().0
        });
        if count == Some(0) {
            at.key("count").problem(problems, "expected a count from 1 on, found `0`", |p| p);
        }
        let inner = Inner { key, fields, count, repeat: spec.repeat.unwrap_or(false) };
        let documents = Documents { inner: Arc::new(inner) };
        if problems.len() > before {
            return None;
        }
        // What is wrong with the first Document would stop the run at once.
        match documents.get(0) {
            Ok(_) => Some(documents),
            Err(DocumentError::Template { source, .. }) => {
                source.tell(at, problems);
                None
            }
        }
    }

    /// How many there are; `None`: as many as the load asks for.
    pub fn count(&self) -> Option<u64> {
        self.inner.count.filter(|_| !self.inner.repeat)
    }

    /// Whether all are equal, so that one encoding can serve for all.
    pub fn is_constant(&self) -> bool {
        self.inner.fields.is_constant()
    }

    /// The `i`-th, counted from 0. Asking for one past [`Documents::count`] is the caller's mistake;
    /// it gets what the generator would make of that `i`.
    ///
    /// # Errors
    /// An expression that fails, a data set that changed since it was opened.
    pub fn get(&self, i: u64) -> Result<Document, DocumentError> {
        let inner = &*self.inner;
        let i = match inner.count {
            Some(count) if inner.repeat => i % count.max(1),
            _ => i,
        };
        let mut document = Document::default();
        match inner.fields.fill(&mut document, i, inner.key.index(i)) {
            Ok(()) => Ok(document),
            Err(source) => Err(DocumentError::Template { i, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::source::{Problems, Sources};
    use crate::wire::{NdArray, Tensor};

    fn compile(text: &str) -> Result<Documents, String> {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        let documents =
            sources.parse("d.yaml", text.into(), None, &mut problems).and_then(|mut node| {
                let spec = Sources::read(&mut node, "the generator", &mut problems)?;
                let key = Key::new(1).part("d");
                let context = Context::new(
                    json!({"lang": "en"}).as_object().cloned().unwrap_or_default(),
                    Default::default(),
                    Default::default(),
                );
                Documents::compile(
                    &spec,
                    Spot::of(&node),
                    &context,
                    key,
                    Path::new(""),
                    &mut problems,
                )
            });
        match Problems::new(&sources, problems) {
            None => Ok(documents.expect("documents")),
            Some(problems) => {
                Err(problems.iter().map(Problem::message).collect::<Vec<_>>().join("; "))
            }
        }
    }

    fn get(text: &str, i: u64) -> Document {
        compile(text).unwrap_or_else(|error| panic!("{text}: {error}")).get(i).expect(text)
    }

    fn tensor(array: Option<NdArray>) -> Tensor {
        match array {
            Some(NdArray::Dense(tensor)) => tensor,
            other => panic!("expected a dense array, found {other:?}"),
        }
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        tensor.data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
    }

    #[test]
    fn every_field_can_be_made() {
        let text = r#"
count: 10
id: article-${{ i }}
text: {words: 5..30}
tags: {lang: "${{ vars.lang }}", price: "${{ uniform(1, 100) }}", deep: {list: [1, "${{ i }}"]}}
embedding: {shape: [512], dtype: float32, distribution: normal, normalize: l2}
uri: https://example.com/${{ i }}
mime_type: text/plain
modality: text
weight: 0.5
location: [1, "${{ i }}"]
offset: ${{ i * 2 }}
granularity: 1
adjacency: 0
parent_id: p
scores: {cosine: 0.25, other: {value: "${{ i }}", op_name: op, description: d, ref_id: "r${{ i }}"}}
evaluations: {recall: 1}
chunks: {count: 3, text: {words: 5}, id: "c${{ i }}"}
matches: {count: 1..2, embedding: [1, 2], matches: {count: 1, text: deep}}
"#;
        let document = get(text, 7);
        assert_eq!(document.id, "article-7");
        let words = document.text.as_deref().expect("text").split(' ').count();
        assert!((5..=30).contains(&words));
        assert_eq!(document.tags["lang"], json!("en"));
        assert_eq!(document.tags["deep"], json!({"list": [1, 7]}));
        let embedding = tensor(document.embedding.clone());
        assert_eq!(embedding.shape, [512]);
        let length: f32 = floats(&embedding).iter().map(|n| n * n).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
        assert_eq!(document.uri, "https://example.com/7");
        assert_eq!((document.weight, document.offset), (0.5, 14.0));
        assert_eq!(document.location, [1.0, 7.0]);
        assert_eq!((document.granularity, document.adjacency), (1, 0));
        assert_eq!(document.scores["cosine"].value, 0.25);
        assert_eq!(document.scores["other"].ref_id, "r7");
        assert_eq!(document.evaluations["recall"].value, 1.0);
        assert_eq!(document.chunks.len(), 3);
        let chunk = &document.chunks[2];
        assert_eq!((chunk.id.as_str(), chunk.parent_id.as_str()), ("c2", "article-7"));
        assert_eq!((chunk.granularity, chunk.adjacency), (2, 0));
        assert_ne!(document.chunks[0].text, document.chunks[1].text);
        assert!((1..=2).contains(&document.matches.len()));
        assert_eq!(floats(&tensor(document.matches[0].embedding.clone())), [1.0, 2.0]);
        assert_eq!(document.matches[0].matches[0].adjacency, 2);
        assert_eq!(get(text, 7), document, "the same seed and index give the same Document");
        assert_ne!(get(text, 8), document);
    }

    #[test]
    fn a_field_that_is_added_does_not_change_the_others() {
        let one = get("text: {words: 8}", 3);
        let two = get("{text: {words: 8}, embedding: {shape: [4]}, id: \"${{ uuid() }}\"}", 3);
        assert_eq!(one.text, two.text);
    }

    #[test]
    fn arrays_have_every_type_and_distribution() {
        let array = |text: &str| tensor(get(&format!("tensor: {text}"), 1).tensor);
        for (dtype, size) in [
            ("bool", 1),
            ("int8", 1),
            ("int16", 2),
            ("int32", 4),
            ("int64", 8),
            ("uint8", 1),
            ("uint16", 2),
            ("uint32", 4),
            ("uint64", 8),
            ("float16", 2),
            ("float32", 4),
            ("float64", 8),
            ("complex64", 8),
            ("complex128", 16),
        ] {
            let made = array(&format!("{{shape: [3, 5], dtype: {dtype}}}"));
            assert_eq!(made.data.len(), 15 * size, "{dtype}");
            let made = array(&format!("{{shape: [2], dtype: {dtype}, distribution: ones}}"));
            assert_eq!(made.data.len(), 2 * size, "{dtype}");
        }
        let made = array("{shape: [1000], dtype: uint8, distribution: {uniform: 3..5}}");
        assert!(
            (3..=5).all(|n| made.data.contains(&n))
                && made.data.iter().all(|n| (3..=5).contains(n))
        );
        let made = array("{shape: [4], dtype: int8, distribution: {constant: 300}}");
        assert_eq!(made.data, Bytes::from_static(&[127; 4]));
        let made = floats(&array("{shape: [2000], distribution: {exponential: 2}}"));
        let mean = made.iter().sum::<f32>() / 2000.0;
        assert!((1.8..2.2).contains(&mean) && made.iter().all(|n| *n >= 0.0), "{mean}");
        let made =
            floats(&array("{shape: [2000], distribution: {normal: {mean: 5, deviation: 2}}}"));
        let mean = made.iter().sum::<f32>() / 2000.0;
        assert!((4.8..5.2).contains(&mean), "{mean}");
        assert_eq!(array("[[1, 2], [3, 4], [5, 6]]").shape, [3, 2]);
        assert_eq!(floats(&array("{values: [3, 4], normalize: l2}")), [0.6, 0.8]);
        assert_eq!(array("{values: [1, 2, 3, 4], shape: [2, 2]}").shape, [2, 2]);
    }

    #[test]
    fn blobs_are_random_or_given() {
        let blob = |text: &str, i| get(text, i).blob.expect("a blob");
        for i in 0..20 {
            assert!((10..=2048).contains(&blob("blob: {bytes: 10B..2KiB}", i).len()));
        }
        assert_ne!(blob("blob: {bytes: 16}", 0), blob("blob: {bytes: 16}", 1));
        assert_eq!(blob("blob: {base64: aGVsbG8=}", 0), "hello");
    }

    #[test]
    fn documents_that_never_change_are_known_as_such() {
        for (text, constant) in [
            ("text: hello", true),
            ("{text: \"${{ vars.lang }}\", embedding: [1, 2], chunks: {count: 2, text: a}}", true),
            ("{tensor: {shape: [3], distribution: zeros}}", true),
            ("text: hello ${{ i }}", false),
            ("text: {words: 5}", false),
            ("embedding: {shape: [2]}", false),
            ("{chunks: {count: 1..2, text: a}}", false),
            ("scores: {a: \"${{ i }}\"}", false),
        ] {
            assert_eq!(compile(text).expect(text).is_constant(), constant, "{text}");
        }
    }

    #[test]
    fn a_count_bounds_the_stream_unless_it_repeats() {
        assert_eq!(compile("{count: 3, id: \"${{ i }}\"}").expect("documents").count(), Some(3));
        let endless = compile("{count: 3, id: \"${{ i }}\", repeat: true}").expect("documents");
        assert_eq!(endless.count(), None);
        assert_eq!(endless.get(5).expect("a Document").id, "2");
        assert_eq!(compile("text: a").expect("documents").count(), None);
    }

    #[test]
    fn what_cannot_be_made_is_said_before_the_load() {
        for (text, message) in [
            (
                "{text: a, blob: {bytes: 1}}",
                "a Document has at most one of `text`, `blob` and `tensor`",
            ),
            ("{text: a, content: b}", "`content` is short for `text`; leave one out"),
            ("text: ${{ vars.lng }}", "`vars.lng` is not defined"),
            ("text: ${{ i.x }}", "`i.x` is not defined"),
            ("embedding: {dtype: float32}", "an array needs its `shape`, such as `shape: [512]`"),
            (
                "embedding: {shape: [4], dtype: int8, normalize: l2}",
                "only an array of a floating-point type can be scaled to length 1",
            ),
            ("embedding: [[1], [2, 3]]", "the lists in it are not of the same length"),
            ("embedding: [1, a]", "expected numbers, found `\"a\"`"),
            ("tensor: {shape: [65536, 65536]}", "an array has at most 2147483648 values"),
            ("embedding: {values: [1, 2, 3], shape: [2]}", "3 values do not fill the shape [2]"),
            ("blob: {bytes: 3GiB}", "a blob has at most 2GiB"),
            ("blob: {base64: \"*\"}", "not valid base64: Invalid symbol 42, offset 0."),
            ("count: 1..5", "expected one number, found the range `1..5`"),
            ("count: 0", "expected a count from 1 on, found `0`"),
            ("weight: heavy", "expected a number, found `heavy`"),
            (
                "chunks: {jsonl: a.jsonl}",
                "`jsonl` is for Documents, not for their chunks or matches",
            ),
            (
                "embedding: {shape: [2], distribution: gauss}",
                "expected `normal`, `uniform`, `exponential`, `zeros` or `ones`, found `gauss`",
            ),
            (
                "embedding: {shape: [2], distribution: {normal: {deviation: -1}}}",
                "`deviation` must be 0 or above, found `-1`",
            ),
        ] {
            assert_eq!(compile(text).map(|_| ()), Err(message.into()), "{text}");
        }
    }
}
