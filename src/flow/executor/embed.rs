//! Embeddings made from a Document's content: the same for the same content, on every machine.

use crate::wire::{Document, NdArray, Tensor};

/// How many numbers an embedding has.
const DIMENSIONS: usize = 64;

/// Gives every Document that has none an embedding.
pub(super) fn embed_missing(docs: &mut [Document]) {
    for doc in docs {
        if doc.embedding.is_none() {
            doc.embedding = Some(NdArray::Dense(Tensor::from_f32(&embedding(doc, DIMENSIONS))));
        }
    }
}

/// A vector of length one. Texts that share words are near one another: each word adds a
/// direction of its own. Other content counts as one word.
pub(super) fn embedding(doc: &Document, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimensions];
    let mut add = |word: &[u8]| {
        let mut state = fnv1a(word);
        for slot in &mut sum {
            *slot += uniform(&mut state);
        }
    };
    match (&doc.text, &doc.blob, &doc.tensor) {
        (Some(text), _, _) if text.split_whitespace().next().is_some() => {
            for word in text.split_whitespace() {
                add(word.to_lowercase().as_bytes());
            }
        }
        (_, Some(blob), _) => add(blob),
        (_, _, Some(NdArray::Dense(tensor))) => add(&tensor.data),
        (_, _, Some(NdArray::Sparse(tensor))) => add(&tensor.values.data),
        _ => add(doc.uri.as_bytes()),
    }
    let norm = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        sum.iter_mut().for_each(|x| *x /= norm);
    }
    sum
}

/// The hash of Fowler, Noll and Vo: a few lines, and the same everywhere for ever.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The next number of a SplitMix64 sequence, between -1 and 1.
fn uniform(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
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
