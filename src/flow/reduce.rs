//! Joins Documents that went through several branches, as docarray reduces them.

use indexmap::IndexMap;

use super::message::Docs;
use crate::wire::{DecodeError, Document, Family};

/// Joins Documents by their ids. In v1 the first value of a field wins, in v2 the last.
pub(super) fn join(
    parts: impl Iterator<Item = Docs>,
    family: Family,
) -> Result<Vec<Document>, DecodeError> {
    let mut joined = IndexMap::new();
    for docs in parts {
        for doc in decoded(docs, family)? {
            add(&mut joined, doc, family);
        }
    }
    Ok(joined.into_values().collect())
}

/// The ids of Documents, in order.
pub(super) fn ids(docs: &Docs, family: Family) -> Result<Vec<String>, DecodeError> {
    match docs {
        Docs::Read(docs) => Ok(docs.iter().map(|doc| doc.id.clone()).collect()),
        docs => Ok(decoded(docs.clone(), family)?.into_iter().map(|doc| doc.id).collect()),
    }
}

/// Puts Documents into the order of these ids; those with other ids come last.
pub(super) fn sort(docs: &mut Docs, order: &[String], family: Family) -> Result<(), DecodeError> {
    let places: IndexMap<&String, ()> = order.iter().map(|id| (id, ())).collect();
    let mut sorted = decoded(std::mem::take(docs), family)?;
    sorted.sort_by_key(|doc| places.get_index_of(&doc.id).unwrap_or(places.len()));
    *docs = Docs::Read(sorted);
    Ok(())
}

fn decoded(docs: Docs, family: Family) -> Result<Vec<Document>, DecodeError> {
    match docs {
        Docs::Read(docs) => Ok(docs),
        Docs::Encoded(bytes) => family.decode_docs(bytes),
        Docs::Packed(_) => Ok(Vec::new()),
    }
}

fn add(joined: &mut IndexMap<String, Document>, doc: Document, family: Family) {
    match joined.get_mut(&doc.id) {
        None => {
            joined.insert(doc.id.clone(), doc);
        }
        Some(first) => match family {
            Family::V1 => complete(first, doc),
            Family::V2 => {
                let first = std::mem::replace(first, doc);
                if let Some(doc) = joined.get_mut(&first.id) {
                    complete(doc, first);
                }
            }
        },
    }
}

/// Fills what is unset in `doc` from `other`.
fn complete(doc: &mut Document, other: Document) {
    fn fill<T: Default + PartialEq>(field: &mut T, other: T) {
        if *field == T::default() {
            *field = other;
        }
    }
    if doc.text.is_none() && doc.blob.is_none() && doc.tensor.is_none() {
        doc.text = other.text;
        doc.blob = other.blob;
        doc.tensor = other.tensor;
    }
    fill(&mut doc.embedding, other.embedding);
    fill(&mut doc.uri, other.uri);
    fill(&mut doc.mime_type, other.mime_type);
    fill(&mut doc.modality, other.modality);
    fill(&mut doc.granularity, other.granularity);
    fill(&mut doc.adjacency, other.adjacency);
    fill(&mut doc.weight, other.weight);
    fill(&mut doc.offset, other.offset);
    fill(&mut doc.location, other.location);
    fill(&mut doc.tags, other.tags);
    fill(&mut doc.scores, other.scores);
    fill(&mut doc.evaluations, other.evaluations);
    fill(&mut doc.metadata, other.metadata);
    for (ours, theirs) in [(&mut doc.chunks, other.chunks), (&mut doc.matches, other.matches)] {
        let mut joined = IndexMap::new();
        for doc in std::mem::take(ours).into_iter().chain(theirs) {
            add(&mut joined, doc, Family::V1);
        }
        *ours = joined.into_values().collect();
    }
    for (name, node) in other.extra {
        doc.extra.entry(name).or_insert(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(family: Family) -> Vec<Document> {
        let left = vec![Document { id: "a".into(), weight: 1.0, ..Document::from_text("left") }];
        let right = vec![
            Document { id: "a".into(), uri: "u".into(), ..Document::from_text("right") },
            Document { id: "b".into(), ..Document::default() },
        ];
        join([Docs::Read(left), Docs::Read(right)].into_iter(), family).expect("they are decoded")
    }

    #[test]
    fn documents_of_one_id_become_one() {
        for (family, text) in [(Family::V1, "left"), (Family::V2, "right")] {
            let docs = joined(family);
            assert_eq!(docs.len(), 2);
            assert_eq!(docs[0].text.as_deref(), Some(text));
            assert_eq!((docs[0].weight, docs[0].uri.as_str()), (1.0, "u"));
        }
    }

    #[test]
    fn documents_go_back_to_the_order_they_came_in() {
        let doc = |id: &str| Document { id: id.into(), ..Document::default() };
        let mut docs = Docs::Read(vec![doc("new"), doc("b"), doc("a")]);
        sort(&mut docs, &["a".into(), "b".into()], Family::V1).expect("they are decoded");
        assert_eq!(ids(&docs, Family::V1).ok(), Some(vec!["a".into(), "b".into(), "new".into()]));
    }
}
