//! The building blocks of v1 fields and of custom schema fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::{Rng, RngExt};

use super::spec::BlobSpec;
use crate::random::{self, Key};
use crate::source::{Problem, Spot};
use crate::template::{Context, Scope, Template, TemplateError};
use crate::units::{ByteSize, Count, Range};

/// The size of a Document without its contents, in bytes.
pub(super) const DOCUMENT_BYTES: f64 = 512.0;

/// The length of a random word with its space, in bytes.
pub(super) const WORD_BYTES: f64 = 8.0;

/// The most random bytes in one blob: more than any message can hold.
pub(super) const BLOB_BYTES_MAX: u64 = 2 << 30;

/// The most random words in one text.
pub(super) const WORDS_MAX: u64 = 100_000_000;

/// The most chunks, or matches, of one Document.
pub(super) const CHILDREN_MAX: u64 = 1_000_000;

/// Compiled binary content.
#[derive(Clone, Debug)]
pub(super) enum Blob {
    Random(Range<ByteSize>),
    Given(Bytes),
    // Base64, different for each Document.
    Template(Template),
}

impl Blob {
    /// How large it can become, in bytes; 0 if that depends on its expression.
    pub(super) fn largest(&self) -> f64 {
        match self {
            Blob::Random(range) => range.high().bytes() as f64,
            Blob::Given(bytes) => bytes.len() as f64,
            Blob::Template(_) => 0.0,
        }
    }

    pub(super) fn is_constant(&self) -> bool {
        match self {
            Blob::Random(_) => false,
            Blob::Given(_) => true,
            Blob::Template(template) => template.is_constant(),
        }
    }

    pub(super) fn template(&self) -> Option<&Template> {
        match self {
            Blob::Template(template) => Some(template),
            Blob::Random(_) | Blob::Given(_) => None,
        }
    }

    pub(super) fn make(&self, scope: &Scope<'_>) -> Result<Bytes, TemplateError> {
        match self {
            Blob::Given(bytes) => Ok(bytes.clone()),
            Blob::Template(template) => {
                let text = template.evaluate_text(scope)?;
                let decoded = STANDARD.decode(text.trim());
                let bytes = decoded
                    .map_err(|error| mistake("base64", format!("not valid base64: {error}")))?;
                Ok(bytes.into())
            }
            Blob::Random(range) => {
                let mut rng = scope.key.rng();
                let length = pick(&mut rng, range.low().bytes(), range.high().bytes());
                let mut bytes = vec![0; length as usize];
                rng.fill_bytes(&mut bytes);
                Ok(bytes.into())
            }
        }
    }
}

/// This many random words.
pub(super) fn make_words(range: Range<Count>, key: Key) -> String {
    let mut rng = key.rng();
    let count = pick(&mut rng, range.low().0, range.high().0);
    random::words(&mut rng, count)
}

/// A random number in a range, both ends included.
pub(super) fn pick(rng: &mut impl Rng, low: u64, high: u64) -> u64 {
    if low == high { low } else { rng.random_range(low..=high) }
}

pub(super) fn bind(
    template: &Template,
    at: Spot<'_>,
    context: &Context,
    problems: &mut Vec<Problem>,
) -> Option<Template> {
    // The missing value has been reported elsewhere.
    if context.lacks_one_of(template.paths().into_iter()) {
        return None;
    }
    match template.bind(context) {
        Ok(bound) => Some(bound),
        Err(errors) => {
            errors.iter().for_each(|error| error.tell(at, problems));
            None
        }
    }
}

pub(super) fn compile_blob(
    spec: &BlobSpec,
    at: Spot<'_>,
    context: &Context,
    problems: &mut Vec<Problem>,
) -> Option<Blob> {
    match spec {
        BlobSpec::Bytes(range) if range.high().bytes() > BLOB_BYTES_MAX => {
            at.key("bytes").problem(problems, "a blob has at most 2GiB", |problem| problem);
            None
        }
        BlobSpec::Bytes(range) => Some(Blob::Random(*range)),
        // Files are read by the data set.
        BlobSpec::Files(_) => None,
        BlobSpec::Base64(template) => {
            let template = bind(template, at.key("base64"), context, problems)?;
            let Some(value) = template.as_constant() else { return Some(Blob::Template(template)) };
            match value.as_str().map(|text| STANDARD.decode(text.trim())) {
                Some(Ok(bytes)) => Some(Blob::Given(bytes.into())),
                Some(Err(error)) => {
                    let message = format!("not valid base64: {error}");
                    at.key("base64").problem(problems, message, |problem| problem);
                    None
                }
                None => {
                    let message = format!("expected base64 text, found `{value}`");
                    at.key("base64").problem(problems, message, |problem| problem);
                    None
                }
            }
        }
    }
}

pub(super) fn mistake(field: &str, reason: String) -> TemplateError {
    TemplateError { expression: field.into(), reason, help: None }
}
