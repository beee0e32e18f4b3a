//! Which fields Documents of an endpoint may have, in the v2 family.

use std::sync::Arc;

use serde_json::Value;

use super::exception::Exception;
use crate::flow::config::SchemaSpec;
use crate::wire::{Document, Map, Schema, told};

/// Which fields Documents may have.
#[derive(Clone, Debug)]
pub(in crate::flow) enum Fields {
    /// The fields of the default schema; others are dropped.
    Legacy,
    /// Any fields of any type.
    Any,
    /// The fields of a custom schema.
    Own(Arc<OwnSchema>),
}

/// A schema as written and as parsed.
#[derive(Debug)]
pub(in crate::flow) struct OwnSchema {
    pub(in crate::flow) json: Value,
    pub(in crate::flow) schema: Schema,
}

impl Fields {
    pub(in crate::flow) fn of(spec: &SchemaSpec) -> Fields {
        match spec {
            SchemaSpec::Legacy => Fields::Legacy,
            SchemaSpec::Any => Fields::Any,
            SchemaSpec::Own(json) => match Schema::read(json, None) {
                Some(schema) => Fields::Own(Arc::new(OwnSchema { json: json.clone(), schema })),
                // Validation of the configuration has already rejected it.
                None => Fields::Any,
            },
        }
    }

    /// The custom schema, if there is one.
    pub(in crate::flow) fn own(&self) -> Option<&OwnSchema> {
        match self {
            Fields::Own(own) => Some(own),
            Fields::Legacy | Fields::Any => None,
        }
    }

    /// Converts a Document to the custom schema, as an Executor does when it reads one.
    ///
    /// # Errors
    /// pydantic's exception.
    pub(in crate::flow) fn check(&self, doc: &mut Document) -> Result<(), Exception> {
        let Some(own) = self.own() else { return Ok(()) };
        own.schema.check(doc).map_err(|invalid| Exception::validation(told(&own.schema, &invalid)))
    }

    /// The Document in a validated body; `None` if the default schema cannot represent it.
    pub(in crate::flow) fn document(&self, doc: Map) -> Option<Document> {
        use crate::wire::Family::V2;
        let of_json = |doc: &Map| {
            let docs = Value::Array(vec![doc.clone().into()]);
            V2.docs_from_json(&docs).ok().and_then(|mut docs| docs.pop())
        };
        match self {
            Fields::Legacy => of_json(&doc),
            // Fields named as in v1 are read as v1's where they fit; otherwise all fields stay as they came.
            Fields::Any => of_json(&doc).or_else(|| {
                let bytes = V2.encode_docs(&[Document::of_fields(doc)]).ok()?;
                V2.decode_docs(bytes).ok()?.pop()
            }),
            Fields::Own(own) => {
                let mut document = Document::of_fields(doc);
                own.schema.check(&mut document).ok().map(|()| document)
            }
        }
    }
}
