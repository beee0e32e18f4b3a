//! What a document must fulfil before it is carried out, in the words of graphql-core.

use std::collections::HashSet;

use super::Problem;
use super::schema::{SCHEMA, did_you_mean, inner_name, scalar_from_value, suggest};
use super::tree::{
    Argument, Directive, Document, Field, Fragment, InputDef, Operation, Pos, Selection, TypeDef,
    TypeKind, TypeRef, Value, ValueKind,
};

/// How many problems are told.
const PROBLEMS_MAX: usize = 100;

/// All that is wrong with a document.
pub(super) fn problems(document: &Document) -> Vec<Problem> {
    let mut validator = Validator { document, problems: Vec::new(), spread: HashSet::new() };
    for operation in &document.operations {
        validator.operation(operation);
    }
    for fragment in &document.fragments {
        validator.fragment(fragment);
    }
    let Validator { mut problems, spread, .. } = validator;
    let unused = document.fragments.iter().filter(|f| !spread.contains(f.name.as_str()));
    problems.extend(
        unused.map(|f| Problem::new(format!("Fragment '{}' is never used.", f.name), f.at)),
    );
    problems.truncate(PROBLEMS_MAX);
    problems
}

struct Validator<'a> {
    document: &'a Document,
    problems: Vec<Problem>,
    /// Fragments that operations use.
    spread: HashSet<&'a str>,
}

impl<'a> Validator<'a> {
    fn add(&mut self, message: String, at: Pos) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::new(message, at));
        }
    }

    fn add_two(&mut self, message: String, first: Pos, second: Pos) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { message, locations: vec![first, second], path: None });
        }
    }

    fn operation(&mut self, operation: &'a Operation) {
        for variable in &operation.variables {
            if SCHEMA.inner(&variable.kind).is_none() {
                let message = format!("Unknown type '{}'.", inner_name(&variable.kind));
                self.add(message, variable.kind_at);
            }
        }
        // Who may not be carried out is told when it is tried.
        let Some(root) = SCHEMA.root(operation.kind) else { return };
        self.directives(&operation.directives);
        self.selections(&operation.selections, root);
        let mut uses = Vec::new();
        let mut seen = HashSet::new();
        self.uses(&operation.selections, Some(root), &mut seen, &mut uses);
        for Use { name, at, expected, has_default } in &uses {
            let Some(variable) = operation.variables.iter().find(|v| v.name == *name) else {
                let by = match &operation.name {
                    Some(operation) => format!(" by operation '{operation}'"),
                    None => String::new(),
                };
                self.add_two(format!("Variable '${name}' is not defined{by}."), *at, operation.at);
                continue;
            };
            if let Some(expected) = expected
                && SCHEMA.inner(&variable.kind).is_some()
                && !fits(variable.kind.clone(), variable.default.as_ref(), expected, *has_default)
            {
                let message = format!(
                    "Variable '${name}' of type '{}' used in position expecting type '{expected}'.",
                    variable.kind
                );
                self.add_two(message, variable.at, *at);
            }
        }
        for variable in &operation.variables {
            if !uses.iter().any(|used| used.name == variable.name) {
                let within = match &operation.name {
                    Some(operation) => format!(" in operation '{operation}'"),
                    None => String::new(),
                };
                let message = format!("Variable '${}' is never used{within}.", variable.name);
                self.add(message, variable.at);
            }
        }
    }

    fn fragment(&mut self, fragment: &'a Fragment) {
        match SCHEMA.named(&fragment.on.0) {
            None => self.add(format!("Unknown type '{}'.", fragment.on.0), fragment.on.1),
            Some(of) => self.selections(&fragment.selections, of),
        }
        let mut way = vec![fragment.name.as_str()];
        let mut seen = HashSet::new();
        let cycle = self.cycle(&fragment.selections, fragment, &mut way, &mut seen);
        if let Some((at, via)) = cycle {
            let via = match via.as_slice() {
                [] => String::new(),
                names => {
                    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
                    format!(" via {}", names.join(", "))
                }
            };
            self.add(format!("Cannot spread fragment '{}' within itself{via}.", fragment.name), at);
        }
    }

    /// Where a fragment comes back to itself, and by which others.
    fn cycle(
        &self,
        selections: &'a [Selection],
        start: &'a Fragment,
        way: &mut Vec<&'a str>,
        seen: &mut HashSet<&'a str>,
    ) -> Option<(Pos, Vec<&'a str>)> {
        selections.iter().find_map(|selection| match selection {
            Selection::Field(field) => self.cycle(&field.selections, start, way, seen),
            Selection::Inline { selections, .. } => self.cycle(selections, start, way, seen),
            Selection::Spread { name, at, .. } if *name == start.name => {
                Some((*at, way[1..].to_vec()))
            }
            Selection::Spread { name, at, .. } => {
                if !seen.insert(name) {
                    return None; // it led nowhere before, or is in a cycle of others
                }
                let fragment = self.document.fragments.iter().find(|f| f.name == *name)?;
                way.push(name);
                let found = self.cycle(&fragment.selections, start, way, seen);
                way.pop();
                found.map(|(_, via)| (*at, via))
            }
        })
    }

    fn selections(&mut self, selections: &'a [Selection], of: &'a TypeDef) {
        self.conflicts(selections);
        for selection in selections {
            match selection {
                Selection::Field(field) => self.field(field, of),
                Selection::Spread { name, name_at, at, directives } => {
                    self.spread.insert(name);
                    self.directives(directives);
                    match self.document.fragments.iter().find(|f| f.name == *name) {
                        None => self.add(format!("Unknown fragment '{name}'."), *name_at),
                        Some(fragment) => {
                            if let Some(on) = SCHEMA.named(&fragment.on.0)
                                && !overlap(of, on)
                            {
                                let message = format!(
                                    "Fragment '{name}' cannot be spread here as objects of type '{}' \
                                     can never be of type '{}'.",
                                    of.name, on.name
                                );
                                self.add(message, *at);
                            }
                        }
                    }
                }
                Selection::Inline { on, at, directives, selections } => {
                    self.directives(directives);
                    let on = match on {
                        None => Some(of),
                        Some((name, name_at)) => {
                            let found = SCHEMA.named(name);
                            if found.is_none() {
                                self.add(format!("Unknown type '{name}'."), *name_at);
                            }
                            found
                        }
                    };
                    let Some(on) = on else { continue };
                    if !overlap(of, on) {
                        let message = format!(
                            "Fragment cannot be spread here as objects of type '{}' can never be of \
                             type '{}'.",
                            of.name, on.name
                        );
                        self.add(message, *at);
                    }
                    self.selections(selections, on);
                }
            }
        }
    }

    /// Fields of one name in the answer must be the same field.
    fn conflicts(&mut self, selections: &'a [Selection]) {
        let fields: Vec<&Field> = selections
            .iter()
            .filter_map(|selection| match selection {
                Selection::Field(field) => Some(field),
                _ => None,
            })
            .collect();
        let mut first: std::collections::HashMap<&str, &Field> = std::collections::HashMap::new();
        for field in fields {
            let key = field.alias.as_deref().unwrap_or(&field.name);
            let Some(before) = first.get(key) else {
                first.insert(key, field);
                continue;
            };
            let shown = |arguments: &[Argument]| {
                let mut shown: Vec<_> =
                    arguments.iter().map(|a| format!("{}: {}", a.name, a.value)).collect();
                shown.sort();
                shown
            };
            let why = if before.name != field.name {
                format!("'{}' and '{}' are different fields", before.name, field.name)
            } else if shown(&before.arguments) != shown(&field.arguments) {
                "they have differing arguments".to_owned()
            } else {
                continue;
            };
            let message = format!(
                "Fields '{key}' conflict because {why}. Use different aliases on the fields to \
                 fetch both if this was intentional."
            );
            self.add_two(message, before.at, field.at);
        }
    }

    fn field(&mut self, field: &'a Field, of: &'a TypeDef) {
        self.directives(&field.directives);
        let Some(def) = SCHEMA.field(of, &field.name) else {
            let known = suggest(&field.name, of.fields.iter().map(|field| field.name.as_str()));
            let message = format!("Cannot query field '{}' on type '{}'.", field.name, of.name);
            self.add(message + &did_you_mean(&known), field.at);
            return;
        };
        let on = format!("field '{}.{}'", of.name, field.name);
        self.arguments(&field.arguments, &def.arguments, &on);
        for required in def.arguments.iter().filter(|input| is_required(input)) {
            if !field.arguments.iter().any(|argument| argument.name == required.name) {
                let message = format!(
                    "Field '{}' argument '{}' of type '{}' is required, but it was not provided.",
                    field.name, required.name, required.kind
                );
                self.add(message, field.at);
            }
        }
        let Some(inner) = SCHEMA.inner(&def.kind) else { return };
        let composite = matches!(inner.kind, TypeKind::Object | TypeKind::Interface);
        match (composite, field.selections.first()) {
            (true, None) => {
                let message = format!(
                    "Field '{0}' of type '{1}' must have a selection of subfields. Did you mean \
                     '{0} {{ ... }}'?",
                    field.name, def.kind
                );
                self.add(message, field.at);
            }
            (false, Some(_)) => {
                let message = format!(
                    "Field '{}' must not have a selection since type '{}' has no subfields.",
                    field.name, def.kind
                );
                self.add(message, field.selections_at);
            }
            (true, Some(_)) => self.selections(&field.selections, inner),
            (false, None) => (),
        }
    }

    fn arguments(&mut self, given: &'a [Argument], known: &'a [InputDef], on: &str) {
        for (i, argument) in given.iter().enumerate() {
            let mut before = given[..i].iter().filter(|other| other.name == argument.name);
            if let Some(before) = before.next() {
                let message = format!("There can be only one argument named '{}'.", argument.name);
                self.add_two(message, before.at, argument.at);
                continue;
            }
            match known.iter().find(|input| input.name == argument.name) {
                Some(input) => self.value(&argument.value, &input.kind),
                None => {
                    let names = known.iter().map(|input| input.name.as_str());
                    let suggestions = did_you_mean(&suggest(&argument.name, names));
                    let message = format!("Unknown argument '{}' on {on}.", argument.name);
                    self.add(message + &suggestions, argument.at);
                }
            }
        }
    }

    fn directives(&mut self, directives: &'a [Directive]) {
        for directive in directives {
            let name = &directive.name;
            let known = SCHEMA.directives().iter().find(|known| known.name == *name);
            let Some(known) = known else {
                self.add(format!("Unknown directive '@{name}'."), directive.at);
                continue;
            };
            self.arguments(&directive.arguments, &known.arguments, &format!("directive '@{name}'"));
            for required in known.arguments.iter().filter(|input| is_required(input)) {
                if !directive.arguments.iter().any(|argument| argument.name == required.name) {
                    let message = format!(
                        "Directive '@{name}' argument '{}' of type '{}' is required, but it was not \
                         provided.",
                        required.name, required.kind
                    );
                    self.add(message, directive.at);
                }
            }
        }
    }

    fn value(&mut self, value: &'a Value, kind: &'a TypeRef) {
        let expected =
            |shown: &TypeRef| format!("Expected value of type '{shown}', found {value}.");
        match (&value.kind, kind) {
            (ValueKind::Variable(_), _) => (),
            (ValueKind::Null, TypeRef::NonNull(_)) => self.add(expected(kind), value.at),
            (ValueKind::Null, _) => (),
            (ValueKind::List(items), TypeRef::List(item)) => {
                items.iter().for_each(|value| self.value(value, item));
            }
            (_, TypeRef::List(item)) => match is_input_object(item) {
                // One value stands for a list of one.
                true if !matches!(value.kind, ValueKind::Object(_)) => {
                    self.add(expected(kind), value.at);
                }
                _ => self.value(value, item),
            },
            (_, TypeRef::NonNull(inner)) => match is_input_object(inner) {
                true if !matches!(value.kind, ValueKind::Object(_)) => {
                    self.add(expected(kind), value.at);
                }
                _ => self.value(value, inner),
            },
            (ValueKind::Object(fields), TypeRef::Named(name)) if is_input_object(kind) => {
                self.object(value.at, fields, name);
            }
            (_, TypeRef::Named(name)) => match is_input_object(kind) {
                true => self.add(expected(kind), value.at),
                false => {
                    if let Err(message) = scalar_from_value(name, value) {
                        self.add(message, value.at);
                    }
                }
            },
        }
    }

    fn object(&mut self, at: Pos, given: &'a [(String, Pos, Value)], name: &str) {
        let Some(of) = SCHEMA.named(name) else { return };
        for (i, (key, key_at, value)) in given.iter().enumerate() {
            if let Some((_, before, _)) = given[..i].iter().find(|(other, _, _)| other == key) {
                let message = format!("There can be only one input field named '{key}'.");
                self.add_two(message, *before, *key_at);
                continue;
            }
            match of.inputs.iter().find(|input| input.name == *key) {
                Some(input) => self.value(value, &input.kind),
                None => {
                    let names = of.inputs.iter().map(|input| input.name.as_str());
                    let suggestions = did_you_mean(&suggest(key, names));
                    let message = format!("Field '{key}' is not defined by type '{name}'.");
                    self.add(message + &suggestions, *key_at);
                }
            }
        }
        for required in of.inputs.iter().filter(|input| is_required(input)) {
            if !given.iter().any(|(key, _, _)| *key == required.name) {
                let message = format!(
                    "Field '{name}.{}' of required type '{}' was not provided.",
                    required.name, required.kind
                );
                self.add(message, at);
            }
        }
    }

    /// Where an operation uses variables, in the fragments it spreads too.
    fn uses(
        &self,
        selections: &'a [Selection],
        of: Option<&'a TypeDef>,
        seen: &mut HashSet<&'a str>,
        uses: &mut Vec<Use<'a>>,
    ) {
        for selection in selections {
            match selection {
                Selection::Field(field) => {
                    let def = of.and_then(|of| SCHEMA.field(of, &field.name));
                    for argument in &field.arguments {
                        let input = def.and_then(|def| {
                            def.arguments.iter().find(|input| input.name == argument.name)
                        });
                        let has_default = input.is_some_and(|input| input.default.is_some());
                        collect(&argument.value, input.map(|input| &input.kind), has_default, uses);
                    }
                    of_directives(&field.directives, uses);
                    let inner = def.and_then(|def| SCHEMA.inner(&def.kind));
                    self.uses(&field.selections, inner, seen, uses);
                }
                Selection::Inline { on, directives, selections, .. } => {
                    of_directives(directives, uses);
                    let on = match on {
                        Some((name, _)) => SCHEMA.named(name),
                        None => of,
                    };
                    self.uses(selections, on, seen, uses);
                }
                Selection::Spread { name, directives, .. } => {
                    of_directives(directives, uses);
                    let fragment = self.document.fragments.iter().find(|f| f.name == *name);
                    if let Some(fragment) = fragment
                        && seen.insert(name)
                    {
                        let on = SCHEMA.named(&fragment.on.0);
                        self.uses(&fragment.selections, on, seen, uses);
                    }
                }
            }
        }
    }
}

/// A variable where it is used.
struct Use<'a> {
    name: &'a str,
    at: Pos,
    expected: Option<&'a TypeRef>,
    has_default: bool,
}

fn of_directives<'a>(directives: &'a [Directive], uses: &mut Vec<Use<'a>>) {
    for directive in directives {
        let known = SCHEMA.directives().iter().find(|known| known.name == directive.name);
        for argument in &directive.arguments {
            let input = known
                .and_then(|known| known.arguments.iter().find(|input| input.name == argument.name));
            collect(&argument.value, input.map(|input| &input.kind), false, uses);
        }
    }
}

fn collect<'a>(
    value: &'a Value,
    kind: Option<&'a TypeRef>,
    has_default: bool,
    uses: &mut Vec<Use<'a>>,
) {
    match &value.kind {
        ValueKind::Variable(name) => {
            uses.push(Use { name, at: value.at, expected: kind, has_default });
        }
        ValueKind::List(items) => {
            let item = kind.map(nullable).and_then(|kind| match kind {
                TypeRef::List(item) => Some(&**item),
                _ => None,
            });
            items.iter().for_each(|value| collect(value, item, false, uses));
        }
        ValueKind::Object(fields) => {
            let of = kind.and_then(|kind| SCHEMA.inner(kind));
            for (key, _, value) in fields {
                let input = of.and_then(|of| of.inputs.iter().find(|input| input.name == *key));
                let has_default = input.is_some_and(|input| input.default.is_some());
                collect(value, input.map(|input| &input.kind), has_default, uses);
            }
        }
        _ => (),
    }
}

/// Whether a variable of one type may stand where another is expected.
fn fits(kind: TypeRef, default: Option<&Value>, expected: &TypeRef, has_default: bool) -> bool {
    if let TypeRef::NonNull(inner) = expected
        && !matches!(kind, TypeRef::NonNull(_))
    {
        let given = default.is_some_and(|default| !matches!(default.kind, ValueKind::Null));
        return (given || has_default) && is_subtype(&kind, inner);
    }
    is_subtype(&kind, expected)
}

fn is_subtype(kind: &TypeRef, of: &TypeRef) -> bool {
    match (kind, of) {
        (TypeRef::NonNull(kind), TypeRef::NonNull(of)) => is_subtype(kind, of),
        (TypeRef::NonNull(kind), of) => is_subtype(kind, of),
        (_, TypeRef::NonNull(_)) => false,
        (TypeRef::List(kind), TypeRef::List(of)) => is_subtype(kind, of),
        (TypeRef::Named(kind), TypeRef::Named(of)) => kind == of,
        _ => false,
    }
}

fn nullable(kind: &TypeRef) -> &TypeRef {
    match kind {
        TypeRef::NonNull(inner) => inner,
        kind => kind,
    }
}

fn is_input_object(kind: &TypeRef) -> bool {
    match kind {
        TypeRef::NonNull(inner) => is_input_object(inner),
        TypeRef::Named(name) => {
            SCHEMA.named(name).is_some_and(|of| of.kind == TypeKind::InputObject)
        }
        TypeRef::List(_) => false,
    }
}

fn is_required(input: &InputDef) -> bool {
    matches!(input.kind, TypeRef::NonNull(_)) && input.default.is_none()
}

fn overlap(a: &TypeDef, b: &TypeDef) -> bool {
    a.name == b.name || a.interfaces.contains(&b.name) || b.interfaces.contains(&a.name)
}
