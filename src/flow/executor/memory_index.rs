//! A small index in memory, so that searches find what was indexed.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use indexmap::IndexMap;
use serde_json::Value;

use super::exception::Exception;
use crate::units::ByteSize;
use crate::wire::{Document, Family, Map, NamedScore, NdArray};

/// Matches per Document if the parameters do not set it.
const LIMIT: usize = 10;

/// Maximum number of Documents, to bound memory.
const CAPACITY: usize = 1_000_000;

/// Maximum total size of the encoded Documents, in bytes.
const CAPACITY_BYTES: usize = 4 << 30;

/// Documents that can be searched by embedding.
#[derive(Debug, Default)]
pub(super) struct MemoryIndex {
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Entries by id, oldest first.
    entries: IndexMap<String, Entry>,
    /// The total size of the entries, in bytes.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Of length 1, so that a dot product is a cosine.
    unit: Vec<f32>,
    document: Document,
    bytes: usize,
}

/// The requested number of matches: `limit`, `top_k` or `k`.
pub(super) fn limit(parameters: &Map) -> usize {
    ["limit", "top_k", "k"]
        .iter()
        .find_map(|key| parameters.get(*key).and_then(Value::as_f64))
        .map_or(LIMIT, |limit| limit.max(0.0) as usize)
}

impl MemoryIndex {
    /// Adds Documents. One with a known id replaces the old one.
    pub(super) fn index(&self, docs: &[Document], family: Family) -> Result<(), Exception> {
        let read = |document: &Document| {
            let encoded = family.encode_docs(std::slice::from_ref(document));
            let bytes = encoded.map_or(0, |encoded| encoded.len());
            Ok(Entry { unit: unit(document)?, document: document.clone(), bytes })
        };
        let entries = docs.iter().map(read).collect::<Result<Vec<_>, Exception>>()?;
        let mut kept = self.write();
        entries.into_iter().try_for_each(|entry| kept.put(entry, CAPACITY_BYTES))
    }

    /// Gives every Document the nearest ones as matches, with their cosine as score.
    pub(super) async fn search(
        index: &Arc<MemoryIndex>,
        docs: &mut Vec<Document>,
        limit: usize,
    ) -> Result<(), Exception> {
        let queries = docs.iter().map(unit).collect::<Result<Vec<_>, _>>()?;
        // A long search would block the connections of this thread.
        const LONG: usize = 2_000_000;
        let products = queries.iter().map(Vec::len).sum::<usize>() * index.len();
        if products < LONG {
            index.find(&queries, docs, limit);
            return Ok(());
        }
        let (index, mut moved) = (index.clone(), std::mem::take(docs));
        let found = tokio::task::spawn_blocking(move || {
            index.find(&queries, &mut moved, limit);
            moved
        });
        // It fails only when the runtime shuts down, when nobody waits for the answer anymore.
        *docs = found.await.unwrap_or_default();
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.read().entries.len()
    }

    fn find(&self, queries: &[Vec<f32>], docs: &mut [Document], limit: usize) {
        let entries = &self.read().entries;
        for (query, doc) in queries.iter().zip(docs) {
            let mut scored: Vec<(f32, usize)> = entries
                .values()
                .enumerate()
                .filter(|(_, entry)| entry.unit.len() == query.len())
                .map(|(at, entry)| (dot(&entry.unit, query), at))
                .collect();
            // Best first; among equals, the oldest.
            let order =
                |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            let limit = limit.min(scored.len());
            if limit > 0 && limit < scored.len() {
                scored.select_nth_unstable_by(limit - 1, order);
            }
            scored.truncate(limit);
            scored.sort_by(order);
            let found = scored.into_iter().map(|(score, at)| {
                let mut found = entries[at].document.clone();
                found.adjacency = doc.adjacency.saturating_add(1);
                let score = NamedScore {
                    // For equal vectors, rounding may give a little more than 1.
                    value: f64::from(score).clamp(-1.0, 1.0),
                    op_name: "cosine".into(),
                    ref_id: doc.id.clone(),
                    ..NamedScore::default()
                };
                found.scores.insert("cosine".into(), score);
                found
            });
            doc.matches = found.collect();
        }
    }

    /// Removes the Documents with these ids.
    pub(super) fn delete(&self, docs: &[Document]) {
        let gone: HashSet<&str> = docs.iter().map(|doc| doc.id.as_str()).collect();
        let mut kept = self.write();
        kept.entries.retain(|id, _| !gone.contains(id.as_str()));
        kept.bytes = kept.entries.values().map(|entry| entry.bytes).sum();
    }

    /// The result of `/status`.
    pub(super) fn status(&self) -> Map {
        let entries = &self.read().entries;
        let dimensions = entries.first().map(|(_, entry)| entry.unit.len());
        Map::from_iter([
            ("count".to_owned(), Value::from(entries.len())),
            ("dimensions".to_owned(), dimensions.map_or(Value::Null, Value::from)),
        ])
    }
}

impl Kept {
    /// Adds an entry if it fits into this many bytes.
    fn put(&mut self, entry: Entry, capacity: usize) -> Result<(), Exception> {
        let before = self.entries.get(&entry.document.id).map(|before| before.bytes);
        let bytes = self.bytes - before.unwrap_or(0) + entry.bytes;
        let full = if before.is_none() && self.entries.len() >= CAPACITY {
            format!("the index keeps no more than {CAPACITY} Documents")
        } else if bytes > capacity {
            format!("the index keeps no more than {}", ByteSize::new(capacity as u64))
        } else {
            self.bytes = bytes;
            self.entries.insert(entry.document.id.clone(), entry);
            return Ok(());
        };
        Err(Exception::new("MemoryError").text(full))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn unit(doc: &Document) -> Result<Vec<f32>, Exception> {
    let missing =
        |what: &str| Exception::new("ValueError").text(format!("Document {} has {what}", doc.id));
    let mut values = match &doc.embedding {
        Some(NdArray::Dense(tensor)) => {
            let values = tensor.values_f64();
            let values =
                values.map_err(|_| missing("an embedding that is not a vector of numbers"))?;
            values.map(|value| value as f32).collect::<Vec<f32>>()
        }
        Some(NdArray::Sparse(_)) => return Err(missing("a sparse embedding")),
        None => return Err(missing("no embedding")),
    };
    let norm = dot(&values, &values).sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|x| *x /= norm);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Tensor;

    fn doc(id: &str, embedding: &[f32]) -> Document {
        Document {
            id: id.into(),
            embedding: Some(NdArray::Dense(Tensor::from_f32(embedding))),
            ..Document::default()
        }
    }

    async fn found(
        index: &Arc<MemoryIndex>,
        embedding: &[f32],
        limit: usize,
    ) -> Vec<(String, f64)> {
        let mut queries = vec![doc("q", embedding)];
        MemoryIndex::search(index, &mut queries, limit).await.expect("the query has an embedding");
        let matches = &queries[0].matches;
        matches.iter().map(|m| (m.id.clone(), m.scores["cosine"].value)).collect()
    }

    #[tokio::test]
    async fn the_nearest_by_cosine_come_first() {
        let index = Arc::new(MemoryIndex::default());
        let docs = [doc("x", &[2.0, 0.0]), doc("y", &[0.0, 1.0]), doc("z", &[3.0, 3.0])];
        index.index(&docs, Family::V1).expect("there is room");
        let matches = found(&index, &[1.0, 0.1], 2).await;
        assert_eq!(matches[0].0, "x");
        assert_eq!(matches[1].0, "z");
        assert!((matches[0].1 - 0.995).abs() < 1e-3);
        index.delete(&[doc("x", &[])]);
        assert_eq!(found(&index, &[1.0, 0.1], 1).await[0].0, "z");
        assert_eq!(index.status()["count"], 2);
    }

    #[test]
    fn a_document_without_embedding_is_refused_whole() {
        let index = Arc::new(MemoryIndex::default());
        let docs = [doc("x", &[1.0]), Document::from_text("no vector")];
        let failed = index.index(&docs, Family::V1);
        assert!(failed.is_err());
        assert_eq!(index.status()["count"], 0);
    }
    #[test]
    fn what_there_is_no_room_for_is_refused() {
        let entry = |id: &str, bytes| Entry { unit: Vec::new(), document: doc(id, &[]), bytes };
        let mut kept = Kept::default();
        kept.put(entry("x", 600), 1024).expect("there is room");
        let refused = kept.put(entry("y", 600), 1024).expect_err("there is none");
        assert!(format!("{refused:?}").contains("no more than 1KiB"), "{refused:?}");
        kept.put(entry("x", 100), 1024).expect("it takes the place of the other");
        kept.put(entry("y", 600), 1024).expect("there is room now");
        assert_eq!(kept.bytes, 700);
    }
}
