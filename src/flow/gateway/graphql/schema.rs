//! The schema, read from `schema.graphql` and held as introspection tells it: every type is a JSON
//! object with the fields of `__Type`, and refers to others by their names.

use std::sync::LazyLock;

use apollo_parser::Parser;
use apollo_parser::cst::{self, CstNode, Definition};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};

/// All types, and what `__schema` answers.
pub(super) struct Schema {
    types: IndexMap<String, Json>,
    /// `__Schema`.
    pub(super) whole: Json,
    /// `__schema` and `__type`, which `Query` has in addition to its own fields.
    meta: Json,
    typename: Json,
}

/// The schema of Jina's gateway.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let tree = Parser::new(include_str!("schema.graphql")).parse();
    let definitions: Vec<Definition> = tree.document().definitions().collect();
    let mut types: IndexMap<String, Json> = definitions
        .iter()
        .filter_map(type_def)
        .map(|of| (of["name"].as_str().unwrap_or_default().to_owned(), of))
        .collect();
    let implements = |of: &Json, interface: &str| {
        of["interfaces"].as_array().is_some_and(|all| all.iter().any(|name| name == interface))
    };
    let possible: Vec<(String, Json)> = types
        .values()
        .filter(|of| of["kind"] == "INTERFACE")
        .map(|of| {
            let name = of["name"].as_str().unwrap_or_default();
            let all = types.iter().filter(|(_, other)| implements(other, name));
            (name.to_owned(), all.map(|(name, _)| Json::from(name.as_str())).collect())
        })
        .collect();
    for (name, all) in possible {
        types[&name]["possibleTypes"] = all;
    }
    let directives: Vec<Json> = definitions.iter().filter_map(directive).collect();
    let non_null = |name: &str| json!({"kind": "NON_NULL", "ofType": name});
    let name = json!({"name": "name", "type": non_null("String")});
    Schema {
        whole: json!({
            "types": types.keys().collect::<Vec<_>>(),
            "queryType": "Query",
            "mutationType": "Mutation",
            "directives": directives,
        }),
        types,
        meta: json!([
            {"name": "__schema", "args": [], "type": non_null("__Schema")},
            {"name": "__type", "args": [name], "type": "__Type"},
        ]),
        typename: json!({"name": "__typename", "args": [], "type": non_null("String")}),
    }
});

impl Schema {
    pub(super) fn named(&self, name: &str) -> Option<&Json> {
        self.types.get(name)
    }

    /// The named type inside lists and non-nulls.
    pub(super) fn inner(&self, mut kind: &Json) -> Option<&Json> {
        while let Some(of) = kind.get("ofType") {
            kind = of;
        }
        self.named(kind.as_str()?)
    }

    /// A field of a type, those of introspection included.
    pub(super) fn field<'a>(&'a self, of: &'a Json, name: &str) -> Option<&'a Json> {
        let meta = if of["name"] == "Query" { items(&self.meta) } else { &[] };
        let fields = items(&of["fields"]).iter().chain(meta).chain([&self.typename]);
        fields.into_iter().find(|field| field["name"] == name)
    }

    /// The arguments of a directive.
    pub(super) fn directive(&self, name: &str) -> Option<&[Json]> {
        let all = items(&self.whole["directives"]).iter();
        all.into_iter().find(|known| known["name"] == name).map(|known| items(&known["args"]))
    }
}

/// The items of a list; empty for anything else.
pub(super) fn items(list: &Json) -> &[Json] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// A type where it is used, as it is written: `[String!]!`.
pub(super) fn shown(kind: &Json) -> String {
    match (kind.get("kind").and_then(Json::as_str), kind.get("ofType")) {
        (Some("LIST"), Some(of)) => format!("[{}]", shown(of)),
        (_, Some(of)) => format!("{}!", shown(of)),
        _ => kind.as_str().unwrap_or_default().to_owned(),
    }
}

/// A reference to a type: a name, or a list or non-null of another reference.
pub(super) fn type_ref(kind: Option<cst::Type>) -> Json {
    let list = |list: Option<cst::ListType>| json!({"kind": "LIST", "ofType": type_ref(list.and_then(|list| list.ty()))});
    match kind {
        None => Json::Null,
        Some(cst::Type::NamedType(named)) => text(named.name()).into(),
        Some(cst::Type::ListType(of)) => list(Some(of)),
        Some(cst::Type::NonNullType(of)) => {
            let of = match of.named_type() {
                Some(named) => text(named.name()).into(),
                None => list(of.list_type()),
            };
            json!({"kind": "NON_NULL", "ofType": of})
        }
    }
}

/// A name; empty where a faulty query has none.
pub(super) fn text(name: Option<cst::Name>) -> String {
    name.map(|name| name.text().to_string()).unwrap_or_default()
}

/// A value as it is written.
pub(super) fn source(value: &cst::Value) -> String {
    value.syntax().text().to_string()
}

fn words(description: Option<cst::Description>) -> Json {
    description.and_then(|words| words.string_value()).map(String::from).into()
}

fn type_def(definition: &Definition) -> Option<Json> {
    let of = |kind: &str, name, description| json!({"kind": kind, "name": text(name), "description": words(description)});
    Some(match definition {
        Definition::ScalarTypeDefinition(it) => of("SCALAR", it.name(), it.description()),
        Definition::ObjectTypeDefinition(it) => {
            let mut of = of("OBJECT", it.name(), it.description());
            of["fields"] = fields(it.fields_definition());
            of["interfaces"] = interfaces(it.implements_interfaces());
            of
        }
        Definition::InterfaceTypeDefinition(it) => {
            let mut of = of("INTERFACE", it.name(), it.description());
            of["fields"] = fields(it.fields_definition());
            of["interfaces"] = interfaces(it.implements_interfaces());
            of
        }
        Definition::EnumTypeDefinition(it) => {
            let mut of = of("ENUM", it.name(), it.description());
            let values = it.enum_values_definition().into_iter();
            let values = values.flat_map(|all| all.enum_value_definitions()).map(|value| {
                json!({
                    "name": text(value.enum_value().and_then(|value| value.name())),
                    "description": words(value.description()),
                    "isDeprecated": false,
                })
            });
            of["enumValues"] = values.collect();
            of
        }
        Definition::InputObjectTypeDefinition(it) => {
            let mut of = of("INPUT_OBJECT", it.name(), it.description());
            let all = it.input_fields_definition().into_iter();
            of["inputFields"] = inputs(all.flat_map(|all| all.input_value_definitions()));
            of["isOneOf"] = false.into();
            of
        }
        _ => return None,
    })
}

fn directive(definition: &Definition) -> Option<Json> {
    let Definition::DirectiveDefinition(it) = definition else { return None };
    let locations = it.directive_locations().into_iter();
    let locations = locations.flat_map(|all| all.directive_locations());
    Some(json!({
        "name": text(it.name()),
        "description": words(it.description()),
        "args": arguments(it.arguments_definition()),
        "locations": locations.filter_map(|at| Some(at.text()?.to_string())).collect::<Vec<_>>(),
        "isRepeatable": false,
        "isDeprecated": false,
    }))
}

fn fields(all: Option<cst::FieldsDefinition>) -> Json {
    let all = all.into_iter().flat_map(|all| all.field_definitions());
    let field = |field: cst::FieldDefinition| {
        json!({
            "name": text(field.name()),
            "description": words(field.description()),
            "args": arguments(field.arguments_definition()),
            "type": type_ref(field.ty()),
            "isDeprecated": false,
        })
    };
    all.map(field).collect()
}

fn arguments(all: Option<cst::ArgumentsDefinition>) -> Json {
    inputs(all.into_iter().flat_map(|all| all.input_value_definitions()))
}

fn inputs(all: impl Iterator<Item = cst::InputValueDefinition>) -> Json {
    let input = |input: cst::InputValueDefinition| {
        let default = input.default_value().and_then(|default| default.value());
        json!({
            "name": text(input.name()),
            "description": words(input.description()),
            "type": type_ref(input.ty()),
            "defaultValue": default.as_ref().map(source),
            "isDeprecated": false,
        })
    };
    all.map(input).collect()
}

fn interfaces(all: Option<cst::ImplementsInterfaces>) -> Json {
    let all = all.into_iter().flat_map(|all| all.named_types());
    all.map(|of| Json::from(text(of.name()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_whole() {
        let tree = Parser::new(include_str!("schema.graphql")).parse();
        assert_eq!(tree.errors().count(), 0);
        for of in SCHEMA.types.values() {
            let fields = items(&of["fields"]).iter().chain(items(&of["inputFields"]));
            for field in fields.flat_map(|field| [field].into_iter().chain(items(&field["args"]))) {
                let kind = &field["type"];
                assert!(SCHEMA.inner(kind).is_some(), "{}: {}", of["name"], shown(kind));
            }
        }
        assert_eq!(items(&SCHEMA.whole["directives"]).len(), 5);
        let docs = SCHEMA.field(SCHEMA.named("Query").unwrap(), "docs").unwrap();
        assert_eq!(shown(&docs["type"]), "[StrawberryDocument!]!");
        assert_eq!(docs["args"][3]["defaultValue"], "\"/search\"");
    }
}
