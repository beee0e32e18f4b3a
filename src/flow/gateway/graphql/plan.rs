//! A query held against the schema: fragments spread, conditions decided, arguments complete.

use std::collections::HashMap;

use apollo_parser::cst::{self, CstNode, Definition};
use apollo_parser::{Lexer, Parser, TokenKind};
use indexmap::IndexMap;
use indexmap::map::Entry;
use serde_json::{Map, Value as Json, json};

use super::problem::{Pos, Problem};
use super::schema::{SCHEMA, items, shown, source, text, type_ref};
use super::values::{self, Mistake};

/// How deep values may nest, and selections with their fragments spread.
const DEPTH_MAX: usize = 200;

/// How many tokens a query may have.
const TOKENS_MAX: usize = 2_000_000;

/// How many fields an operation may have with its fragments spread.
const FIELDS_MAX: usize = 100_000;

/// A request in its parts.
pub(super) struct Request<'a> {
    pub(super) query: &'a str,
    pub(super) variables: Map<String, Json>,
    pub(super) operation: Option<&'a str>,
}

/// Fields by their names in the answer.
pub(super) type Selections = IndexMap<String, Selected>;

/// A selected field.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) name: String,
    pub(super) at: Pos,
    pub(super) arguments: Map<String, Json>,
    /// The type that its selections are of.
    pub(super) of: &'static str,
    pub(super) selections: Selections,
}

/// An operation that can be executed.
#[derive(Debug)]
pub(super) struct Plan {
    /// `Query` or `Mutation`.
    pub(super) of: &'static str,
    pub(super) selections: Selections,
}

/// Why there is nothing to execute.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The first mistake, which is the answer. A real gateway lists further ones.
    Problem(Problem),
    /// There is no operation, or none with the requested name, for which a real gateway answers 500.
    NoOperation,
    /// A mutation that came by GET.
    MutationByGet,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal::Problem(problem)
    }
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
        let message = format!("Syntax Error: {what}");
        return Err(Problem { message, at: Pos::of(query, error.index()), path: None }.into());
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
    let of =
        match operation.operation_type().map(|kind| kind.syntax().text().to_string()).as_deref() {
            None | Some("query") => "Query",
            Some("mutation") if by_get => return Err(Refusal::MutationByGet),
            Some("mutation") => "Mutation",
            Some(_) => {
                let message = "Schema is not configured to execute subscription operation.";
                return Err(Problem::new(message.into(), query, operation.syntax()).into());
            }
        };
    let mut planner = Planner {
        query,
        fragments,
        variables: HashMap::new(),
        within: Vec::new(),
        fields: 0,
        depth: 0,
    };
    planner.declare(operation, &request.variables)?;
    let mut selections = Selections::new();
    if let (Some(set), Some(root)) = (operation.selection_set(), SCHEMA.named(of)) {
        planner.selections(&set, root, &mut selections)?;
    }
    Ok(Plan { of, selections })
}

/// What is wrong with a query that cannot go on at this place, in the words of graphql-core, which Jina's
/// client shows.
fn unexpected(query: &str, index: usize) -> String {
    let (tokens, _) = Lexer::new(query).lex();
    let (mut before, mut found) = (TokenKind::Eof, "<EOF>".to_owned());
    for token in &tokens {
        match token.kind() {
            TokenKind::Whitespace | TokenKind::Comment | TokenKind::Comma => (),
            kind if token.index() < index => before = kind,
            TokenKind::Eof => break,
            _ => {
                found = format!("'{}'", token.data());
                break;
            }
        }
    }
    match before {
        // At the beginning, and where there has to be a value.
        TokenKind::Eof | TokenKind::Colon | TokenKind::Eq | TokenKind::LBracket => {
            format!("Unexpected {found}.")
        }
        _ => format!("Expected Name, found {found}."),
    }
}

struct Planner<'a> {
    query: &'a str,
    fragments: HashMap<String, cst::FragmentDefinition>,
    /// Variables of the operation by their names; `None` for those that were not given.
    variables: HashMap<String, Option<Json>>,
    /// Fragments that are being spread.
    within: Vec<String>,
    fields: usize,
    depth: usize,
}

impl Planner<'_> {
    fn problem<T>(&self, message: String, at: &impl CstNode) -> Result<T, Problem> {
        Err(Problem::new(message, self.query, at.syntax()))
    }

    /// Takes the values of all variables. Whether they have the right types is seen where they are used.
    fn declare(
        &mut self,
        operation: &cst::OperationDefinition,
        given: &Map<String, Json>,
    ) -> Result<(), Problem> {
        let all = operation.variable_definitions().into_iter();
        for definition in all.flat_map(|all| all.variable_definitions()) {
            let name = text(definition.variable().and_then(|variable| variable.name()));
            let kind = type_ref(definition.ty());
            if SCHEMA.inner(&kind).is_none() {
                return self.problem(format!("Unknown type '{}'.", shown(&kind)), &definition);
            }
            let default = definition.default_value().and_then(|default| default.value());
            let value = match (given.get(&name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => self.value(&default)?,
                (None, None) => None,
            };
            if kind["kind"] == "NON_NULL" && value.as_ref().is_none_or(Json::is_null) {
                let kind = shown(&kind);
                let message =
                    format!("Variable '${name}' of required type '{kind}' was not provided.");
                return self.problem(message, &definition);
            }
            self.variables.insert(name, value);
        }
        Ok(())
    }

    /// Adds the fields of a selection to those that were selected before.
    fn selections(
        &mut self,
        set: &cst::SelectionSet,
        of: &'static Json,
        into: &mut Selections,
    ) -> Result<(), Problem> {
        if self.depth == DEPTH_MAX {
            return self.problem(format!("Selections nest deeper than {DEPTH_MAX} levels."), set);
        }
        self.depth += 1;
        for selection in set.selections() {
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                let message = format!("More than {FIELDS_MAX} fields are selected.");
                return self.problem(message, &selection);
            }
            let directives = match &selection {
                cst::Selection::Field(field) => field.directives(),
                cst::Selection::InlineFragment(inline) => inline.directives(),
                cst::Selection::FragmentSpread(spread) => spread.directives(),
            };
            if !self.includes(directives)? {
                continue;
            }
            match &selection {
                cst::Selection::Field(field) => self.field(field, of, into)?,
                cst::Selection::InlineFragment(inline) => {
                    self.applies(inline.type_condition(), of)?;
                    if let Some(set) = inline.selection_set() {
                        self.selections(&set, of, into)?;
                    }
                }
                cst::Selection::FragmentSpread(spread) => self.spread(spread, of, into)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn spread(
        &mut self,
        spread: &cst::FragmentSpread,
        of: &'static Json,
        into: &mut Selections,
    ) -> Result<(), Problem> {
        let name = text(spread.fragment_name().and_then(|name| name.name()));
        let Some(fragment) = self.fragments.get(&name).cloned() else {
            return self.problem(format!("Unknown fragment '{name}'."), spread);
        };
        if self.within.contains(&name) {
            let message = format!("Cannot spread fragment '{name}' within itself.");
            return self.problem(message, spread);
        }
        self.applies(fragment.type_condition(), of)?;
        if let Some(set) = fragment.selection_set() {
            self.within.push(name);
            self.selections(&set, of, into)?;
            self.within.pop();
        }
        Ok(())
    }

    /// Refuses a fragment on another type.
    fn applies(&self, on: Option<cst::TypeCondition>, of: &Json) -> Result<(), Problem> {
        let Some(on) = on else { return Ok(()) };
        let name = text(on.named_type().and_then(|on| on.name()));
        match of["name"] == name || items(&of["interfaces"]).iter().any(|it| *it == name) {
            true => Ok(()),
            false => {
                let message =
                    format!("Fragment cannot be spread here: {} is no '{name}'.", of["name"]);
                self.problem(message, &on)
            }
        }
    }

    /// Whether `@skip` and `@include` let a selection stay.
    fn includes(&self, directives: Option<cst::Directives>) -> Result<bool, Problem> {
        let mut includes = true;
        for directive in directives.into_iter().flat_map(|all| all.directives()) {
            let name = text(directive.name());
            let Some(known) = SCHEMA.directive(&name) else {
                return self.problem(format!("Unknown directive '@{name}'."), &directive);
            };
            let on = format!("directive '@{name}'");
            let arguments = self.arguments(directive.arguments(), known, &on, &directive)?;
            let condition = arguments.get("if") == Some(&true.into());
            includes &= match name.as_str() {
                "skip" => !condition,
                "include" => condition,
                _ => true,
            };
        }
        Ok(includes)
    }

    fn field(
        &mut self,
        field: &cst::Field,
        of: &'static Json,
        into: &mut Selections,
    ) -> Result<(), Problem> {
        let name = text(field.name());
        let type_name = of["name"].as_str().unwrap_or_default();
        let Some(def) = SCHEMA.field(of, &name) else {
            let message = format!("Cannot query field '{name}' on type '{type_name}'.");
            return self.problem(message, field);
        };
        let on = format!("field '{type_name}.{name}'");
        let arguments = self.arguments(field.arguments(), items(&def["args"]), &on, field)?;
        let Some(inner) = SCHEMA.inner(&def["type"]) else { return Ok(()) };
        let set = field.selection_set();
        if inner["fields"].is_array() != set.is_some() {
            let must = if set.is_some() { "must not" } else { "must" };
            let kind = shown(&def["type"]);
            let message = format!("Field '{name}' of type '{kind}' {must} have a selection.");
            return self.problem(message, field);
        }
        let key = match field.alias() {
            Some(alias) => text(alias.name()),
            None => name.clone(),
        };
        let selected = match into.entry(key) {
            Entry::Occupied(before)
                if before.get().name != name || before.get().arguments != arguments =>
            {
                let message = format!("Fields '{}' conflict: use different aliases.", before.key());
                return self.problem(message, field);
            }
            Entry::Occupied(before) => before.into_mut(),
            Entry::Vacant(free) => free.insert(Selected {
                name,
                at: Pos::of(self.query, field.syntax().text_range().start().into()),
                arguments,
                of: inner["name"].as_str().unwrap_or_default(),
                selections: Selections::new(),
            }),
        };
        match set {
            Some(set) => self.selections(&set, inner, &mut selected.selections),
            None => Ok(()),
        }
    }

    /// Arguments with their values, and defaults for those that are not given.
    fn arguments(
        &self,
        given: Option<cst::Arguments>,
        known: &[Json],
        on: &str,
        at: &impl CstNode,
    ) -> Result<Map<String, Json>, Problem> {
        let given: Vec<_> = given.into_iter().flat_map(|all| all.arguments()).collect();
        let mut read = Map::new();
        for argument in &given {
            let name = text(argument.name());
            let value = argument.value().map(|value| self.value(&value)).transpose()?.flatten();
            if value.is_some_and(|value| read.insert(name.clone(), value).is_some()) {
                return self.problem(format!("Argument '{name}' is given twice."), argument);
            }
        }
        let mistake = match values::fields(&read, known, on) {
            Ok(values) => return Ok(values),
            Err(mistake) => mistake,
        };
        match mistake {
            Mistake::Unknown { name, of } => {
                let message = format!("'{name}' is not defined by {of}.");
                if let Some(argument) = given.iter().find(|it| of == on && text(it.name()) == name)
                {
                    return self.problem(format!("Argument {message}"), argument);
                }
                let message = format!("Field {message}");
                let mut fields = at.syntax().descendants().filter_map(cst::ObjectField::cast);
                match fields.find(|field| text(field.name()) == name) {
                    Some(field) => self.problem(message, &field),
                    // It is in a variable.
                    None => self.problem(message, at),
                }
            }
            Mistake::Missing { name, kind } => {
                let message = format!("'{name}' of required type '{kind}' was not provided.");
                self.problem(message, at)
            }
            Mistake::Value { value, kind, why } => {
                // As it is written, if it is all of an argument.
                let whole = given.iter().find(|it| read.get(&text(it.name())) == Some(&value));
                let whole = whole.and_then(|argument| argument.value());
                let written = whole.as_ref().map_or_else(|| value.to_string(), source);
                let why = why.map_or_else(|| ".".to_owned(), |why| format!("; {why}"));
                let message = format!("Expected value of type '{kind}', found {written}{why}");
                match whole {
                    Some(whole) => self.problem(message, &whole),
                    None => self.problem(message, at),
                }
            }
        }
    }

    /// A value as JSON, whatever its type has to be. `None` for a variable that was not given.
    fn value(&self, value: &cst::Value) -> Result<Option<Json>, Problem> {
        Ok(Some(match value {
            cst::Value::Variable(variable) => {
                let name = text(variable.name());
                return match self.variables.get(&name) {
                    Some(known) => Ok(known.clone()),
                    None => self.problem(format!("Variable '${name}' is not defined."), variable),
                };
            }
            cst::Value::StringValue(value) => String::from(value).into(),
            // No input of the schema has such values.
            cst::Value::EnumValue(value) => json!({"enum": text(value.name())}),
            cst::Value::ListValue(list) => {
                let items = list.values().map(|item| Ok(self.value(&item)?.unwrap_or_default()));
                Json::Array(items.collect::<Result<_, _>>()?)
            }
            cst::Value::ObjectValue(object) => {
                let mut fields = Map::new();
                for field in object.object_fields() {
                    let name = text(field.name());
                    let value =
                        field.value().map(|value| self.value(&value)).transpose()?.flatten();
                    if value.is_some_and(|value| fields.insert(name.clone(), value).is_some()) {
                        return self.problem(format!("Field '{name}' is given twice."), &field);
                    }
                }
                fields.into()
            }
            // Numbers, booleans and null are written as in JSON.
            value => serde_json::from_str(&source(value)).unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str) -> (String, Pos) {
        let request = Request { query, variables: Map::new(), operation: None };
        match plan(&request, false) {
            Err(Refusal::Problem(problem)) => (problem.message, problem.at),
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
            ("{ docs(limit: 3) { id } }", "Argument 'limit' is not defined by field 'Query.docs'."),
            (
                "{ docs(data: {colour: 3}) { id } }",
                "Field 'colour' is not defined by type 'StrawberryDocumentInput'.",
            ),
            ("{ docs(data: {text: 3}) { id } }", "Expected value of type 'String', found 3."),
            (
                "{ docs(data: {text: red}) { id } }",
                "Expected value of type 'String', found {\"enum\":\"red\"}.",
            ),
            (
                "{ docs(data: {weight: \"3\"}) { id } }",
                "Expected value of type 'Float', found \"3\".",
            ),
            ("{ docs(data: {id: $id}) { id } }", "Variable '$id' is not defined."),
            (
                "query ($id: Int = 3) { docs(data: {id: $id}) { id } }",
                "Expected value of type 'String', found 3.",
            ),
            (
                "query ($id: String!) { docs(data: {id: $id}) { id } }",
                "Variable '$id' of required type 'String!' was not provided.",
            ),
            ("query ($id: Text) { docs { id } }", "Unknown type 'Text'."),
            ("{ docs }", "Field 'docs' of type '[StrawberryDocument!]!' must have a selection."),
            ("{ docs { id { id } } }", "Field 'id' of type 'String' must not have a selection."),
            ("{ docs { ...F } }", "Unknown fragment 'F'."),
            (
                "{ docs { ...F } } fragment F on StrawberryDocument { chunks { ...F } }",
                "Cannot spread fragment 'F' within itself.",
            ),
            (
                "{ docs { ... on Namedscore { value } } }",
                "Fragment cannot be spread here: \"StrawberryDocument\" is no 'Namedscore'.",
            ),
            ("{ docs { id: text id } }", "Fields 'id' conflict: use different aliases."),
            ("{ docs @often { id } }", "Unknown directive '@often'."),
            ("{ docs @skip { id } }", "'if' of required type 'Boolean!' was not provided."),
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
