//! Carrying out an operation: Documents through the Flow, and introspection.

use serde_json::{Map, Value as Json, json};

use super::Problem;
use super::schema::{SCHEMA, coerce, coerce_json, python_class, untyped};
use super::tree::{
    Directive, DirectiveDef, Document, Field, FieldDef, InputDef, Operation, OperationKind,
    Selection, TypeDef, TypeKind, TypeRef,
};
use crate::flow::gateway::pydantic::{PostV1, python_repr};
use crate::flow::gateway::{Gateway, codecs, http};
use crate::wire::{Family, graphql};

/// How many values an answer has at most: selections can multiply what little is asked for.
const VALUES_MAX: usize = 1_000_000;

/// Variables of an operation by their values; those not given are not there.
pub(super) fn variables(
    operation: &Operation,
    given: &Map<String, Json>,
) -> Result<Map<String, Json>, Problem> {
    let mut variables = Map::new();
    for variable in &operation.variables {
        let name = &variable.name;
        let required = matches!(variable.kind, TypeRef::NonNull(_));
        let value = match (given.get(name), &variable.default) {
            (None, Some(default)) => untyped(default, &Map::new()),
            (None, None) if required => {
                let message = format!(
                    "Variable '${name}' of required type '{}' was not provided.",
                    variable.kind
                );
                return Err(Problem::new(message, variable.at));
            }
            (None, None) => continue,
            (Some(Json::Null), _) if required => {
                let message = format!(
                    "Variable '${name}' of non-null type '{}' must not be null.",
                    variable.kind
                );
                return Err(Problem::new(message, variable.at));
            }
            (Some(value), _) => {
                coerce_json(value, &variable.kind, name).map_err(|(path, value, why)| {
                    let at = if path == *name { String::new() } else { format!(" at '{path}'") };
                    let value = python_repr(&value);
                    let message =
                        format!("Variable '${name}' got invalid value {value}{at}; {why}");
                    Problem::new(message, variable.at)
                })?
            }
        };
        variables.insert(name.clone(), value);
    }
    Ok(variables)
}

/// What an operation is carried out with.
pub(super) struct Execution<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) document: &'a Document,
    pub(super) variables: Map<String, Json>,
    pub(super) values: usize,
}

/// Something of the schema that introspection shows.
#[derive(Clone, Copy)]
enum Meta<'a> {
    Schema,
    Type(&'a TypeRef),
    Named(&'a TypeDef),
    Field(&'a FieldDef),
    Input(&'a InputDef),
    Value(&'a (String, Option<String>)),
    Directive(&'a DirectiveDef),
}

/// What a field of introspection has for an answer.
enum Shown<'a> {
    Plain(Json),
    One(Meta<'a>),
    Many(Vec<Meta<'a>>),
}

impl<'a> Execution<'a> {
    pub(super) async fn run(&mut self, operation: &'a Operation) -> Result<Json, Problem> {
        let Some(root) = SCHEMA.root(operation.kind) else {
            let message = "Schema is not configured to execute subscription operation.";
            return Err(Problem::new(message.into(), operation.at));
        };
        let mut answer = Map::new();
        for (key, fields) in self.collect(&operation.selections, &root.name)? {
            let field = fields[0];
            let value = match field.name.as_str() {
                "docs" => self.docs(&fields, operation.kind).await.map_err(|error| Problem {
                    message: error,
                    locations: vec![field.at],
                    path: Some(key.clone()),
                })?,
                _ => self.meta_root(root, &fields)?,
            };
            answer.insert(key, value);
        }
        Ok(answer.into())
    }

    fn count(&mut self, at: super::tree::Pos) -> Result<(), Problem> {
        self.values += 1;
        match self.values > VALUES_MAX {
            true => Err(Problem::new(format!("The answer has more than {VALUES_MAX} values."), at)),
            false => Ok(()),
        }
    }

    /// The fields of a selection by their names in the answer, fragments resolved.
    fn collect(
        &mut self,
        selections: &'a [Selection],
        of: &str,
    ) -> Result<Vec<(String, Vec<&'a Field>)>, Problem> {
        let mut found: Vec<(String, Vec<&Field>)> = Vec::new();
        let mut seen = Vec::new();
        self.collect_into(selections, of, &mut found, &mut seen);
        for (_, fields) in &found {
            self.count(fields[0].at)?;
        }
        Ok(found)
    }

    fn collect_into(
        &self,
        selections: &'a [Selection],
        of: &str,
        found: &mut Vec<(String, Vec<&'a Field>)>,
        seen: &mut Vec<&'a str>,
    ) {
        for selection in selections {
            match selection {
                Selection::Field(field) if self.includes(&field.directives) => {
                    let key = field.alias.as_deref().unwrap_or(&field.name);
                    match found.iter_mut().find(|(name, _)| name == key) {
                        Some((_, fields)) => fields.push(field),
                        None => found.push((key.to_owned(), vec![field])),
                    }
                }
                Selection::Inline { on, directives, selections, .. }
                    if self.includes(directives) && applies(on.as_ref().map(|on| &*on.0), of) =>
                {
                    self.collect_into(selections, of, found, seen);
                }
                Selection::Spread { name, directives, .. }
                    if self.includes(directives) && !seen.contains(&name.as_str()) =>
                {
                    seen.push(name);
                    let fragment = self.document.fragments.iter().find(|f| f.name == *name);
                    if let Some(fragment) = fragment.filter(|f| applies(Some(&f.on.0), of)) {
                        self.collect_into(&fragment.selections, of, found, seen);
                    }
                }
                _ => (),
            }
        }
    }

    /// What `@skip` and `@include` say.
    fn includes(&self, directives: &[Directive]) -> bool {
        directives.iter().all(|directive| {
            let condition = directive.arguments.iter().find(|argument| argument.name == "if");
            let holds = condition
                .is_some_and(|argument| untyped(&argument.value, &self.variables) == json!(true));
            match directive.name.as_str() {
                "skip" => !holds,
                "include" => holds,
                _ => true,
            }
        })
    }

    /// Sends Documents through the Flow. An Executor's exception goes unnoticed, as it does with a
    /// real gateway.
    async fn docs(&mut self, fields: &[&'a Field], kind: OperationKind) -> Result<Json, String> {
        let field = fields[0];
        let def = SCHEMA.root(kind).and_then(|root| SCHEMA.field(root, "docs"));
        let mut arguments = Map::new();
        for input in def.iter().flat_map(|def| &def.arguments) {
            let given = field.arguments.iter().find(|argument| argument.name == input.name);
            let value = match given {
                Some(argument) => coerce(&argument.value, &input.kind, &self.variables)?,
                None => None,
            };
            let value = match (value, &input.default) {
                (Some(value), _) => value,
                (None, Some(default)) => untyped(default, &self.variables),
                (None, None) => Json::Null,
            };
            arguments.insert(input.name.clone(), value);
        }
        let Some(Json::Array(data)) = arguments.get("data") else {
            return Err("'NoneType' object is not iterable".into());
        };
        let data = data.iter().map(document).collect::<Result<Vec<_>, _>>()?;
        let parameters = match arguments.remove("parameters") {
            None | Some(Json::Null) => None,
            Some(Json::Object(map)) => Some(map),
            Some(other) => {
                let class = python_class(&other);
                return Err(format!("'{class}' object has no attribute 'items'"));
            }
        };
        let text = |key: &str| arguments.get(key).and_then(Json::as_str).map(str::to_owned);
        let post = PostV1 {
            data: Some(data),
            parameters,
            target_executor: text("targetExecutor"),
            exec_endpoint: text("execEndpoint").unwrap_or_default(),
        };
        let message = http::message_v1(post, None)?;
        let note = self.gateway.arrived(&message, crate::wire::Protocol::Http);
        let answer = self.gateway.handle(message).await;
        note.departs(answer.is_ok());
        let answer = answer.map_err(|failure| failure.message())?;
        let answer = answer.into_request(Family::V1).map_err(|error| error.to_string())?;
        let selections: Vec<&'a [Selection]> =
            fields.iter().map(|field| field.selections.as_slice()).collect();
        let mut docs = Vec::with_capacity(answer.docs().len());
        for doc in answer.docs() {
            let whole = graphql::from_document(doc).map_err(|error| error.to_string())?;
            docs.push(
                self.project(&whole, &selections, "StrawberryDocument")
                    .map_err(|problem| problem.message)?,
            );
        }
        Ok(docs.into())
    }

    /// The selected fields of a value.
    fn project(
        &mut self,
        value: &Json,
        selections: &[&'a [Selection]],
        of: &str,
    ) -> Result<Json, Problem> {
        let map = match value {
            Json::Array(items) => {
                let items = items.iter().map(|item| self.project(item, selections, of));
                return items.collect();
            }
            Json::Object(map) => map,
            other => return Ok(other.clone()),
        };
        let mut found = Map::new();
        for selections in selections {
            for (key, fields) in self.collect(selections, of)? {
                let field = fields[0];
                let value = match field.name.as_str() {
                    "__typename" => of.into(),
                    name => {
                        let value = map.get(name).unwrap_or(&Json::Null);
                        let kind = SCHEMA.named(of).and_then(|of| SCHEMA.field(of, name));
                        let inner = kind.and_then(|field| SCHEMA.inner(&field.kind));
                        match inner.filter(|inner| inner.kind == TypeKind::Object) {
                            None => value.clone(),
                            Some(inner) => {
                                let selections: Vec<&'a [Selection]> =
                                    fields.iter().map(|field| &*field.selections).collect();
                                self.project(value, &selections, &inner.name)?
                            }
                        }
                    }
                };
                found.insert(key, value);
            }
        }
        Ok(found.into())
    }

    fn meta_root(&mut self, root: &TypeDef, fields: &[&'a Field]) -> Result<Json, Problem> {
        let field = fields[0];
        match field.name.as_str() {
            "__typename" => Ok(root.name.clone().into()),
            "__schema" => self.meta(Meta::Schema, fields),
            _ => {
                let name = field.arguments.iter().find(|argument| argument.name == "name");
                let name = name.map(|argument| untyped(&argument.value, &self.variables));
                let of = name.as_ref().and_then(Json::as_str).and_then(|name| SCHEMA.named(name));
                match of {
                    Some(of) => self.meta(Meta::Named(of), fields),
                    None => Ok(Json::Null),
                }
            }
        }
    }

    fn meta(&mut self, meta: Meta<'_>, fields: &[&'a Field]) -> Result<Json, Problem> {
        let mut found = Map::new();
        for field in fields {
            for (key, fields) in self.collect(&field.selections, meta.type_name())? {
                let value = match meta.show(fields[0]) {
                    Shown::Plain(value) => value,
                    Shown::One(meta) => self.meta(meta, &fields)?,
                    Shown::Many(all) => {
                        let all = all.into_iter().map(|meta| self.meta(meta, &fields));
                        all.collect::<Result<_, _>>()?
                    }
                };
                found.insert(key, value);
            }
        }
        Ok(found.into())
    }
}

impl<'a> Meta<'a> {
    fn type_name(self) -> &'static str {
        match self {
            Meta::Schema => "__Schema",
            Meta::Type(_) | Meta::Named(_) => "__Type",
            Meta::Field(_) => "__Field",
            Meta::Input(_) => "__InputValue",
            Meta::Value(_) => "__EnumValue",
            Meta::Directive(_) => "__Directive",
        }
    }

    fn show(self, field: &Field) -> Shown<'a> {
        let plain = |value: &Option<String>| Shown::Plain(value.clone().into());
        let text = |value: &str| Shown::Plain(value.into());
        let null = Shown::Plain(Json::Null);
        let inputs = |inputs: &'a [InputDef]| Shown::Many(inputs.iter().map(Meta::Input).collect());
        let named = |name: &str| match SCHEMA.named(name) {
            Some(of) => Shown::One(Meta::Named(of)),
            None => Shown::Plain(Json::Null),
        };
        match (self, field.name.as_str()) {
            (_, "__typename") => text(self.type_name()),
            (Meta::Schema, "types") => {
                Shown::Many(SCHEMA.types().iter().map(Meta::Named).collect())
            }
            (Meta::Schema, "queryType") => named("Query"),
            (Meta::Schema, "mutationType") => named("Mutation"),
            (Meta::Schema, "directives") => {
                Shown::Many(SCHEMA.directives().iter().map(Meta::Directive).collect())
            }
            (Meta::Type(TypeRef::Named(name)), _) => match SCHEMA.named(name) {
                Some(of) => Meta::Named(of).show(field),
                None => null,
            },
            (Meta::Type(TypeRef::List(_)), "kind") => text("LIST"),
            (Meta::Type(TypeRef::NonNull(_)), "kind") => text("NON_NULL"),
            (Meta::Type(TypeRef::List(inner) | TypeRef::NonNull(inner)), "ofType") => {
                Shown::One(Meta::Type(inner))
            }
            (Meta::Named(of), "kind") => text(match of.kind {
                TypeKind::Scalar => "SCALAR",
                TypeKind::Object => "OBJECT",
                TypeKind::Interface => "INTERFACE",
                TypeKind::Enum => "ENUM",
                TypeKind::InputObject => "INPUT_OBJECT",
            }),
            (Meta::Named(of), "name") => text(&of.name),
            (Meta::Named(of), "description") => plain(&of.description),
            (Meta::Named(of), "fields")
                if matches!(of.kind, TypeKind::Object | TypeKind::Interface) =>
            {
                Shown::Many(of.fields.iter().map(Meta::Field).collect())
            }
            (Meta::Named(of), "interfaces")
                if matches!(of.kind, TypeKind::Object | TypeKind::Interface) =>
            {
                let all = of.interfaces.iter().filter_map(|name| SCHEMA.named(name));
                Shown::Many(all.map(Meta::Named).collect())
            }
            (Meta::Named(of), "possibleTypes") if of.kind == TypeKind::Interface => {
                let types = SCHEMA.types().iter();
                let all = types.filter(|other| other.interfaces.contains(&of.name));
                Shown::Many(all.map(Meta::Named).collect())
            }
            (Meta::Named(of), "enumValues") if of.kind == TypeKind::Enum => {
                Shown::Many(of.values.iter().map(Meta::Value).collect())
            }
            (Meta::Named(of), "inputFields") if of.kind == TypeKind::InputObject => {
                inputs(&of.inputs)
            }
            (Meta::Named(of), "isOneOf") if of.kind == TypeKind::InputObject => {
                Shown::Plain(false.into())
            }
            (Meta::Field(def), "name") => text(&def.name),
            (Meta::Field(def), "description") => plain(&def.description),
            (Meta::Field(def), "args") => inputs(&def.arguments),
            (Meta::Field(def), "type") => Shown::One(Meta::Type(&def.kind)),
            (Meta::Input(def), "name") => text(&def.name),
            (Meta::Input(def), "description") => plain(&def.description),
            (Meta::Input(def), "type") => Shown::One(Meta::Type(&def.kind)),
            (Meta::Input(def), "defaultValue") => {
                Shown::Plain(def.default.as_ref().map(|value| value.to_string()).into())
            }
            (Meta::Value((name, _)), "name") => text(name),
            (Meta::Value((_, description)), "description") => plain(description),
            (Meta::Directive(def), "name") => text(&def.name),
            (Meta::Directive(def), "description") => plain(&def.description),
            (Meta::Directive(def), "args") => inputs(&def.arguments),
            (Meta::Directive(def), "locations") => Shown::Plain(def.locations.clone().into()),
            (_, "isDeprecated" | "isRepeatable") => Shown::Plain(false.into()),
            _ => null,
        }
    }
}

/// Whether a fragment is about a type.
fn applies(on: Option<&str>, of: &str) -> bool {
    on.is_none_or(|on| {
        on == of || SCHEMA.named(of).is_some_and(|of| of.interfaces.iter().any(|i| i == on))
    })
}

/// A Document from a `StrawberryDocumentInput`, as pydantic takes it.
fn document(input: &Json) -> Result<Map<String, Json>, String> {
    let mut input = snake_case(input);
    unwrap_blobs(&mut input)?;
    PostV1::document(&input).map_err(|problems| {
        let errors = if problems.len() == 1 { "error" } else { "errors" };
        let mut message = format!("{} validation {errors} for PydanticDocument", problems.len());
        for problem in problems {
            let way = problem["loc"].as_array().into_iter().flatten();
            let way: Vec<_> = way
                .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                .collect();
            let (msg, kind) = (&problem["msg"], &problem["type"]);
            message.push_str(&format!(
                "\n{}\n  {} (type={})",
                way.join(" -> "),
                msg.as_str().unwrap_or_default(),
                kind.as_str().unwrap_or_default()
            ));
        }
        message
    })
}

/// Takes one layer of base64 off blobs. The gateway reads blobs that GraphQL has decoded already
/// as if they still were base64, which they are only where a client has encoded them twice.
fn unwrap_blobs(doc: &mut Json) -> Result<(), String> {
    if let Some(Json::String(blob)) = doc.get_mut("blob") {
        *blob = codecs::base64(blob).and_then(codecs::utf8).map_err(|why| {
            format!(
                "1 validation error for PydanticDocument\nblob\n  {why} \
                 (type=value_error.unicodedecode)"
            )
        })?;
    }
    for key in ["chunks", "matches"] {
        for doc in doc.get_mut(key).and_then(Json::as_array_mut).into_iter().flatten() {
            unwrap_blobs(doc)?;
        }
    }
    Ok(())
}

/// Keys as Python writes them. Of a list of scores Python makes a dict of the keys of the first.
fn snake_case(input: &Json) -> Json {
    let Json::Object(map) = input else { return input.clone() };
    let entry = |(key, value): (&String, &Json)| {
        let value = match (key.as_str(), value) {
            ("chunks" | "matches", Json::Array(docs)) => docs.iter().map(snake_case).collect(),
            ("scores" | "evaluations", Json::Array(scores)) => match scores.is_empty() {
                true => json!({}),
                false => json!({"name": "score"}),
            },
            _ => value.clone(),
        };
        let key = match key.as_str() {
            "parentId" => "parent_id",
            "mimeType" => "mime_type",
            key => key,
        };
        (key.to_owned(), value)
    };
    Json::Object(map.iter().map(entry).collect())
}
