//! An operation held against the schema: fragments spread, conditions decided, arguments with the
//! values of variables in them. Nothing of its text is left.

use std::collections::HashMap;

use apollo_parser::cst::{self, CstNode, Definition};
use apollo_parser::{Lexer, Parser, SyntaxNode, TokenKind};
use indexmap::IndexMap;
use indexmap::map::Entry;
use serde_json::{Map, Value as Json, json};

use super::schema::{SCHEMA, items, shown, text, type_ref};
use super::values::{self, Mistake, PathPart, ValueError};
use super::{Pos, Problem, Request, source};

/// How deep values may nest, and selections with their fragments spread.
const DEPTH_MAX: usize = 200;

/// How many words a text may have.
const TOKENS_MAX: usize = 2_000_000;

/// How many fields an operation may have with its fragments spread.
const FIELDS_MAX: usize = 100_000;

/// How many problems are told.
const PROBLEMS_MAX: usize = 100;

/// Fields by their names in the answer.
pub(super) type Selections = IndexMap<String, Selected>;

/// A field as it is asked for.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) name: String,
    pub(super) at: Pos,
    pub(super) arguments: Map<String, Json>,
    /// The type that its selections are of.
    pub(super) of: &'static str,
    pub(super) selections: Selections,
}

/// An operation that can be carried out.
#[derive(Debug)]
pub(super) struct Plan {
    /// `Query` or `Mutation`.
    pub(super) of: &'static str,
    pub(super) selections: Selections,
}

/// Why there is nothing to carry out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Mistakes that are answered.
    Problems(Vec<Problem>),
    /// No operation, or none of the name that is asked for, over which a real gateway trips.
    NoOperation,
    /// A mutation that came by GET.
    MutationByGet,
}

/// Reads a request and holds it against the schema.
pub(super) fn plan(request: &Request<'_>, by_get: bool) -> Result<Plan, Refusal> {
    let query = request.query;
    let tree = Parser::new(query).recursion_limit(DEPTH_MAX).token_limit(TOKENS_MAX).parse();
    if let Some(error) = tree.errors().next() {
        let what = match error.is_limit() {
            true => error.message().to_owned(),
            false => unexpected(query, error.index()),
        };
        let problem = Problem::new(format!("Syntax Error: {what}"), Pos::of(query, error.index()));
        return Err(Refusal::Problems(vec![problem]));
    }
    let (mut operations, mut fragments) = (Vec::new(), HashMap::new());
    for definition in tree.document().definitions() {
        match definition {
            Definition::OperationDefinition(operation) => operations.push(operation),
            Definition::FragmentDefinition(fragment) => {
                let name = text(fragment.fragment_name().and_then(|name| name.name()));
                fragments.insert(name, fragment);
            }
            _ => (),
        }
    }
    // Of several operations a real gateway takes the first.
    let named = |operation: &&cst::OperationDefinition| {
        request.operation.is_none_or(|name| text(operation.name()) == name)
    };
    let operation = operations.iter().find(named).ok_or(Refusal::NoOperation)?;
    let kind = operation.operation_type();
    let is = |token: fn(&cst::OperationType) -> Option<apollo_parser::SyntaxToken>| {
        kind.as_ref().and_then(token).is_some()
    };
    if is(cst::OperationType::subscription_token) {
        let message = "Schema is not configured to execute subscription operation.";
        let at = Pos::of_node(query, operation.syntax());
        return Err(Refusal::Problems(vec![Problem::new(message.into(), at)]));
    }
    let of = if is(cst::OperationType::mutation_token) { "Mutation" } else { "Query" };
    if by_get && of == "Mutation" {
        return Err(Refusal::MutationByGet);
    }
    let mut planner = Planner {
        query,
        fragments,
        within: Vec::new(),
        variables: HashMap::new(),
        fields: 0,
        depth: 0,
        problems: Vec::new(),
    };
    planner.declare(operation, &request.variables);
    let mut selections = Selections::new();
    if let (Some(set), Some(root)) = (operation.selection_set(), SCHEMA.named(of)) {
        planner.selections(&set, root, &mut selections);
    }
    match planner.problems.is_empty() {
        true => Ok(Plan { of, selections }),
        false => Err(Refusal::Problems(planner.problems)),
    }
}

/// What graphql-core says of a text that goes on here as it may not.
fn unexpected(query: &str, index: usize) -> String {
    let (tokens, _) = Lexer::new(query).lex();
    let silent =
        |kind| matches!(kind, TokenKind::Whitespace | TokenKind::Comment | TokenKind::Comma);
    let tokens = || tokens.iter().filter(|token| !silent(token.kind()));
    let found = match tokens().find(|token| token.index() >= index) {
        Some(token) if token.kind() != TokenKind::Eof => format!("'{}'", token.data()),
        _ => "<EOF>".to_owned(),
    };
    // What is open, and whether a value has to come.
    let (mut open, mut before) = (Vec::new(), TokenKind::Eof);
    for token in tokens().take_while(|token| token.index() < index) {
        before = token.kind();
        match before {
            TokenKind::LParen | TokenKind::LCurly | TokenKind::LBracket => open.push(before),
            TokenKind::RParen | TokenKind::RCurly | TokenKind::RBracket => drop(open.pop()),
            _ => (),
        }
    }
    match (before, open.last()) {
        (TokenKind::Colon | TokenKind::Eq, _) | (_, None | Some(TokenKind::LBracket)) => {
            format!("Unexpected {found}.")
        }
        _ => format!("Expected Name, found {found}."),
    }
}

struct Planner<'a> {
    query: &'a str,
    fragments: HashMap<String, cst::FragmentDefinition>,
    /// Fragments that are being spread.
    within: Vec<String>,
    /// Variables of the operation by their values; `None` for those that were not given.
    variables: HashMap<String, Option<Json>>,
    fields: usize,
    depth: usize,
    problems: Vec<Problem>,
}

impl Planner<'_> {
    fn add(&mut self, message: String, at: &impl CstNode) {
        self.add_at(message, at.syntax());
    }

    fn add_at(&mut self, message: String, at: &SyntaxNode) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::new(message, Pos::of_node(self.query, at)));
        }
    }

    /// Takes the values of all variables. Where they are used it is seen whether they fit.
    fn declare(&mut self, operation: &cst::OperationDefinition, given: &Map<String, Json>) {
        let all = operation.variable_definitions().into_iter();
        for definition in all.flat_map(|all| all.variable_definitions()) {
            let name = text(definition.variable().and_then(|variable| variable.name()));
            let kind = type_ref(definition.ty());
            if SCHEMA.inner(&kind).is_none() {
                self.add(format!("Unknown type '{}'.", shown(&kind)), &definition);
            }
            let default = definition.default_value().and_then(|default| default.value());
            let value = match (given.get(&name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => self.plain(&default),
                (None, None) => None,
            };
            if kind["kind"] == "NON_NULL" && value.as_ref().is_none_or(Json::is_null) {
                let kind = shown(&kind);
                let message =
                    format!("Variable '${name}' of required type '{kind}' was not provided.");
                self.add(message, &definition);
            }
            self.variables.insert(name, value);
        }
    }

    /// Adds the fields of a selection to those that were selected before.
    fn selections(&mut self, set: &cst::SelectionSet, of: &'static Json, into: &mut Selections) {
        if self.depth == DEPTH_MAX {
            return self.add(format!("Selections nest deeper than {DEPTH_MAX} levels."), set);
        }
        self.depth += 1;
        for selection in set.selections() {
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                if self.fields == FIELDS_MAX + 1 {
                    self.add(format!("More than {FIELDS_MAX} fields are selected."), &selection);
                }
                break;
            }
            match &selection {
                cst::Selection::Field(field) if self.includes(field.directives()) => {
                    self.field(field, of, into);
                }
                cst::Selection::InlineFragment(inline) if self.includes(inline.directives()) => {
                    if self.applies(inline.type_condition(), of)
                        && let Some(set) = inline.selection_set()
                    {
                        self.selections(&set, of, into);
                    }
                }
                cst::Selection::FragmentSpread(spread) if self.includes(spread.directives()) => {
                    self.spread(spread, of, into);
                }
                _ => (),
            }
        }
        self.depth -= 1;
    }

    fn spread(&mut self, spread: &cst::FragmentSpread, of: &'static Json, into: &mut Selections) {
        let name = text(spread.fragment_name().and_then(|name| name.name()));
        let Some(fragment) = self.fragments.get(&name).cloned() else {
            return self.add(format!("Unknown fragment '{name}'."), spread);
        };
        if self.within.contains(&name) {
            return self.add(format!("Cannot spread fragment '{name}' within itself."), spread);
        }
        if self.applies(fragment.type_condition(), of)
            && let Some(set) = fragment.selection_set()
        {
            self.within.push(name);
            self.selections(&set, of, into);
            self.within.pop();
        }
    }

    /// Whether a fragment is about a type; it has to be.
    fn applies(&mut self, on: Option<cst::TypeCondition>, of: &Json) -> bool {
        let Some(on) = on else { return true };
        let name = text(on.named_type().and_then(|on| on.name()));
        let applies = of["name"] == name || items(&of["interfaces"]).iter().any(|it| *it == name);
        if !applies {
            let message = match SCHEMA.named(&name) {
                None => format!("Unknown type '{name}'."),
                Some(_) => format!(
                    "Fragment cannot be spread here as objects of type '{}' can never be of type \
                     '{name}'.",
                    of["name"].as_str().unwrap_or_default()
                ),
            };
            self.add(message, &on);
        }
        applies
    }

    /// What `@skip` and `@include` say.
    fn includes(&mut self, directives: Option<cst::Directives>) -> bool {
        let mut includes = true;
        for directive in directives.into_iter().flat_map(|all| all.directives()) {
            let name = text(directive.name());
            let Some(known) = SCHEMA.directive(&name) else {
                self.add(format!("Unknown directive '@{name}'."), &directive);
                continue;
            };
            let of = format!("directive '@{name}'");
            let arguments = self.arguments(directive.arguments(), known, &of, &directive);
            let condition = arguments.get("if") == Some(&true.into());
            includes &= match name.as_str() {
                "skip" => !condition,
                "include" => condition,
                _ => true,
            };
        }
        includes
    }

    fn field(&mut self, field: &cst::Field, of: &'static Json, into: &mut Selections) {
        let name = text(field.name());
        let type_name = of["name"].as_str().unwrap_or_default();
        let Some(def) = SCHEMA.field(of, &name) else {
            return self.add(format!("Cannot query field '{name}' on type '{type_name}'."), field);
        };
        let on = format!("field '{type_name}.{name}'");
        let arguments = self.arguments(field.arguments(), items(&def["args"]), &on, field);
        let Some(inner) = SCHEMA.inner(&def["type"]) else { return };
        let composite = inner["fields"].is_array();
        let set = field.selection_set();
        if composite != set.is_some() {
            let kind = shown(&def["type"]);
            let message = match composite {
                true => {
                    format!("Field '{name}' of type '{kind}' must have a selection of subfields.")
                }
                false => format!(
                    "Field '{name}' must not have a selection since type '{kind}' has no subfields."
                ),
            };
            return self.add(message, field);
        }
        let key = match field.alias() {
            Some(alias) => text(alias.name()),
            None => name.clone(),
        };
        let selected = match into.entry(key) {
            Entry::Occupied(before)
                if before.get().name != name || before.get().arguments != arguments =>
            {
                let message = format!(
                    "Fields '{}' conflict. Use different aliases on the fields to fetch both if \
                     this was intentional.",
                    before.key()
                );
                return self.add(message, field);
            }
            Entry::Occupied(before) => before.into_mut(),
            Entry::Vacant(free) => free.insert(Selected {
                name,
                at: Pos::of_node(self.query, field.syntax()),
                arguments,
                of: inner["name"].as_str().unwrap_or_default(),
                selections: Selections::new(),
            }),
        };
        if let Some(set) = set {
            self.selections(&set, inner, &mut selected.selections);
        }
    }

    /// Values for what is known, defaults where nothing is given.
    fn arguments(
        &mut self,
        given: Option<cst::Arguments>,
        known: &[Json],
        on: &str,
        at: &impl CstNode,
    ) -> Map<String, Json> {
        let mut arguments = Map::new();
        for argument in given.into_iter().flat_map(|all| all.arguments()) {
            let name = text(argument.name());
            let Some(input) = known.iter().find(|input| input["name"] == name) else {
                self.add(format!("Unknown argument '{name}' on {on}."), &argument);
                continue;
            };
            let value = argument.value().and_then(|value| self.value(value, &input["type"]));
            if value.is_some_and(|value| arguments.insert(name.clone(), value).is_some()) {
                self.add(format!("There can be only one argument named '{name}'."), &argument);
            }
        }
        if let Some(missing) = values::complete(&mut arguments, known) {
            let (name, kind) = (&missing["name"], shown(&missing["type"]));
            let name = name.as_str().unwrap_or_default();
            let message = format!(
                "Argument '{name}' of {on} is of type '{kind}' and required, but it was not provided."
            );
            self.add(message, at);
        }
        arguments
    }

    /// A value of a type. `None` for a variable that was not given.
    fn value(&mut self, written: cst::Value, kind: &Json) -> Option<Json> {
        let plain = self.plain(&written)?;
        match values::coerce(&plain, kind) {
            Ok(value) => Some(value),
            Err(mistake) => {
                self.tell(written, &mistake);
                Some(Json::Null)
            }
        }
    }

    /// Tells a mistake where it was written.
    fn tell(&mut self, written: cst::Value, mistake: &Mistake) {
        let part = mistake.way().try_fold(written, |value, step| inner(&value, step).ok_or(value));
        let part = part.unwrap_or_else(|nearest| nearest);
        match (&part, &mistake.why) {
            (cst::Value::Variable(variable), why) => {
                let (name, value) = (text(variable.name()), &mistake.part);
                let why = why.told(&value.to_string());
                self.add(format!("Variable '${name}' got invalid value {value}; {why}"), variable);
            }
            (part, why @ ValueError::Unknown { .. }) => {
                let field = part.syntax().parent().unwrap_or_else(|| part.syntax().clone());
                self.add_at(why.told(""), &field);
            }
            (part, why) => self.add(why.told(&source(part)), part),
        }
    }

    /// A value as JSON, without a type to hold it against. `None` for a variable that was not given.
    fn plain(&mut self, value: &cst::Value) -> Option<Json> {
        Some(match value {
            cst::Value::Variable(variable) => {
                let name = text(variable.name());
                let Some(known) = self.variables.get(&name) else {
                    self.add(format!("Variable '${name}' is not defined."), variable);
                    return None;
                };
                return known.clone();
            }
            cst::Value::StringValue(value) => String::from(value).into(),
            // No type of the schema that is given to it has such values.
            cst::Value::EnumValue(value) => json!({"enum": text(value.name())}),
            cst::Value::ListValue(list) => {
                list.values().map(|item| self.plain(&item).unwrap_or_default()).collect()
            }
            cst::Value::ObjectValue(object) => {
                let mut fields = Map::new();
                for field in object.object_fields() {
                    let name = text(field.name());
                    let value = field.value().and_then(|value| self.plain(&value));
                    if value.is_some_and(|value| fields.insert(name.clone(), value).is_some()) {
                        let message = format!("There can be only one input field named '{name}'.");
                        self.add(message, &field);
                    }
                }
                fields.into()
            }
            // Numbers, booleans and null are written as in JSON.
            value => serde_json::from_str(&source(value)).unwrap_or_default(),
        })
    }
}

/// A part of a value where it is written.
fn inner(value: &cst::Value, step: &PathPart) -> Option<cst::Value> {
    match (value, step) {
        (cst::Value::ObjectValue(object), PathPart::Field(name)) => {
            object.object_fields().find(|field| text(field.name()) == *name)?.value()
        }
        (cst::Value::ListValue(list), PathPart::Item(index)) => list.values().nth(*index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str) -> (String, Pos) {
        let request = Request { query, variables: Map::new(), operation: None };
        match plan(&request, false) {
            Err(Refusal::Problems(problems)) => (problems[0].message.clone(), problems[0].at),
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn mistakes_are_told_as_by_graphql_core() {
        for (text, message, line, column) in [
            ("mutation { docs(data: {text: \"t\" }", "Expected Name, found <EOF>.", 1, 35),
            ("mutation { docs(data: ", "Unexpected <EOF>.", 1, 23),
            ("   ", "Unexpected <EOF>.", 1, 4),
            ("{ }", "Expected Name, found '}'.", 1, 3),
            ("{ docs(", "Expected Name, found <EOF>.", 1, 8),
        ] {
            assert_eq!(
                told(text),
                (format!("Syntax Error: {message}"), Pos { line, column }),
                "{text}"
            );
        }
        for text in ["{ docs(data: {id: 'd'}) { id } }", "{ a(b: \"x\ny\") }", "{ a }\n ?"] {
            assert!(told(text).0.starts_with("Syntax Error: "), "{text}");
        }
        assert!(told(&"{a".repeat(100_000)).0.contains("limit"));
        assert!(told(&format!("{{ docs(data: {}", "[".repeat(100_000))).0.contains("limit"));
    }

    #[test]
    fn what_the_schema_does_not_have_is_told() {
        for (text, expected) in [
            ("{ docs { colour } }", "Cannot query field 'colour' on type 'StrawberryDocument'."),
            ("{ docs(limit: 3) { id } }", "Unknown argument 'limit' on field 'Query.docs'."),
            (
                "{ docs(data: {colour: 3}) { id } }",
                "Field 'colour' is not defined by type 'StrawberryDocumentInput'.",
            ),
            ("{ docs(data: {text: 3}) { id } }", "String cannot represent 3."),
            ("{ docs(data: {text: red}) { id } }", "String cannot represent red."),
            ("{ docs(data: {weight: \"3\"}) { id } }", "Float cannot represent \"3\"."),
            ("{ docs(data: {id: $id}) { id } }", "Variable '$id' is not defined."),
            (
                "query ($id: Int = 3) { docs(data: {id: $id}) { id } }",
                "Variable '$id' got invalid value 3; String cannot represent 3.",
            ),
            (
                "query ($id: String!) { docs(data: {id: $id}) { id } }",
                "Variable '$id' of required type 'String!' was not provided.",
            ),
            ("query ($id: Text) { docs { id } }", "Unknown type 'Text'."),
            (
                "{ docs }",
                "Field 'docs' of type '[StrawberryDocument!]!' must have a selection of subfields.",
            ),
            (
                "{ docs { id { id } } }",
                "Field 'id' must not have a selection since type 'String' has no subfields.",
            ),
            ("{ docs { ...F } }", "Unknown fragment 'F'."),
            (
                "{ docs { ...F } } fragment F on StrawberryDocument { chunks { ...F } }",
                "Cannot spread fragment 'F' within itself.",
            ),
            (
                "{ docs { ... on Namedscore { value } } }",
                "Fragment cannot be spread here as objects of type 'StrawberryDocument' can never \
                 be of type 'Namedscore'.",
            ),
            (
                "{ docs { id: text id } }",
                "Fields 'id' conflict. Use different aliases on the fields to fetch both if this \
                 was intentional.",
            ),
            ("{ docs @often { id } }", "Unknown directive '@often'."),
            (
                "{ docs @skip { id } }",
                "Argument 'if' of directive '@skip' is of type 'Boolean!' and required, but it was \
                 not provided.",
            ),
            (
                "subscription { docs { id } }",
                "Schema is not configured to execute subscription operation.",
            ),
        ] {
            assert_eq!(told(text).0, expected, "{text}");
        }
        let mut bomb = "{ docs { ...F0 } }".to_owned();
        for i in 0..40 {
            let next = i + 1;
            bomb += &format!("fragment F{i} on StrawberryDocument {{ ...F{next} ...F{next} }}");
        }
        bomb += "fragment F40 on StrawberryDocument { id }";
        assert_eq!(told(&bomb).0, "More than 100000 fields are selected.");
        let mut chain = "{ docs { ...F0 } }".to_owned();
        for i in 0..10_000 {
            chain += &format!("fragment F{i} on StrawberryDocument {{ ...F{} }}", i + 1);
        }
        assert_eq!(told(&chain).0, "Selections nest deeper than 200 levels.");
    }

    #[test]
    fn strings_are_read_in_both_forms() {
        let query = r#"{ docs(data: [{id: "\u00e9\ud83d\ude00\n"}, {id: """
            block
              text
        """}]) { id } }"#;
        let request = Request { query, variables: Map::new(), operation: None };
        let plan = plan(&request, false).expect("it is valid");
        let data = &plan.selections["docs"].arguments["data"];
        assert_eq!(data[0]["id"], "é😀\n");
        assert_eq!(data[1]["id"], "block\n  text");
    }
}
