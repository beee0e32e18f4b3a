//! Embeddings computed from a Document's content: equal content gives equal embeddings on every machine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;

use crate::random::Key;
use crate::wire::{Document, NdArray, Tensor};

/// The length of an embedding.
const DIMENSIONS: usize = 64;

/// Adds an embedding to every Document that has none.
pub(super) fn embed_missing(docs: &mut [Document]) {
    for doc in docs {
        if doc.embedding.is_none() {
            doc.embedding = Some(NdArray::Dense(Tensor::from_f32(&embedding(doc, DIMENSIONS))));
        }
    }
}

/// A vector of length 1. Each word adds its own direction, so texts that share words are close together.
/// Other content counts as one word.
pub(super) fn embedding(doc: &Document, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimensions];
    let mut add = |word: &str| {
        let mut rng = Key::new(0).part(word).rng();
        for slot in &mut sum {
            *slot += rng.random_range(-1.0..1.0);
        }
    };
    match (&doc.text, &doc.blob, &doc.tensor) {
        (Some(text), _, _) if text.split_whitespace().next().is_some() => {
            for word in text.split_whitespace() {
                add(&word.to_lowercase());
            }
        }
        (_, Some(blob), _) => add(&STANDARD.encode(blob)),
        (_, _, Some(NdArray::Dense(tensor))) => add(&STANDARD.encode(&tensor.data)),
        (_, _, Some(NdArray::Sparse(tensor))) => add(&STANDARD.encode(&tensor.values.data)),
        _ => add(&doc.uri),
    }
    let norm = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        sum.iter_mut().for_each(|x| *x /= norm);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        let embed = |text: &str| embedding(&Document::from_text(text), DIMENSIONS);
        embed(a).iter().zip(embed(b)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn texts_that_share_words_are_near() {
        assert!((cosine("a b c", "c b A") - 1.0).abs() < 1e-5);
        assert!(cosine("a red apple", "a green apple") > cosine("a red apple", "blue sky") + 0.2);
    }
}
