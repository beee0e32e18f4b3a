//! A value of a file that may contain expressions anywhere.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::expression::Expression;
use super::functions::RANDOM;
use super::pieces::{Cut, Piece, Pieces, cut, has_expressions};
use super::{Context, EACH, Scope, TemplateError};
use crate::wire::Map;

#[derive(Clone, Debug)]
pub(super) enum Part {
    Constant(serde_json::Value),
    // Exactly one expression: keeps the type of its value.
    Expression(Expression),
    Text(Pieces),
    List(Vec<Part>),
    Map(Vec<(String, Part)>),
    // Constant, and computed from a secret: shown as the expression it came from.
    Hidden { value: serde_json::Value, shown: String },
    // Does not compile, which is reported at its place when the template is bound.
    Broken { text: String, error: TemplateError },
}

impl Part {
    pub(super) fn to_json(&self, context: &Context) -> serde_json::Value {
        match self {
            Part::Constant(value) => value.clone(),
            Part::Expression(expression) => {
                format!("${{{{ {} }}}}", expression.inlined(context)).into()
            }
            Part::Text(pieces) => pieces.inlined(context).into(),
            Part::List(items) => items.iter().map(|item| item.to_json(context)).collect(),
            Part::Map(entries) => {
                let json = |(key, part): &(String, Part)| (key.clone(), part.to_json(context));
                entries.iter().map(json).collect::<Map>().into()
            }
            Part::Broken { text, .. } | Part::Hidden { shown: text, .. } => text.as_str().into(),
        }
    }

    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Part, TemplateError> {
        if !has_expressions(text) {
            return Ok(Part::Constant(text.into()));
        }
        let cuts = cut(text)?;
        if let [Cut::Expression(text)] = cuts.as_slice() {
            return Ok(Part::Expression(Expression::compile(text, known)?));
        }
        Pieces::of(cuts, known).map(Part::Text)
    }

    /// Replaces expressions that depend only on the context by their values. Those without a value are added
    /// to `errors`.
    pub(super) fn bind(&self, context: &Context, errors: &mut Vec<TemplateError>) -> Part {
        let fixed = |expression: &Expression| {
            // A global that is not a random function (`range`) also always gives the same.
            let each = |name: &str| RANDOM.contains(&name) || name == "i" || name == "captured";
            !expression.names().any(each)
        };
        let mut value = |expression: &Expression| {
            context.evaluate(expression).unwrap_or_else(|error| {
                errors.push(error);
                serde_json::Value::Null
            })
        };
        match self {
            Part::Constant(_) | Part::Hidden { .. } => self.clone(),
            Part::Expression(expression) if fixed(expression) => {
                let value = value(expression);
                match context.is_secret(expression) {
                    true => Part::Hidden {
                        value,
                        shown: format!("${{{{ {} }}}}", expression.inlined(context)),
                    },
                    false => Part::Constant(value),
                }
            }
            Part::Expression(expression) => Part::Expression(expression.clone()),
            Part::Text(Pieces(pieces)) => {
                let mut bound: Vec<Piece> = Vec::with_capacity(pieces.len());
                let all_fixed = pieces.iter().all(|piece| match piece {
                    Piece::Text(_) => true,
                    Piece::Expression(expression) => fixed(expression),
                });
                for piece in pieces {
                    let text = match piece {
                        // A secret next to changing parts stays an expression, so that it is not shown.
                        Piece::Expression(expression)
                            if fixed(expression)
                                && (all_fixed || !context.is_secret(expression)) =>
                        {
                            match value(expression) {
                                serde_json::Value::String(text) => text,
                                value => value.to_string(),
                            }
                        }
                        Piece::Expression(expression) => {
                            bound.push(Piece::Expression(expression.clone()));
                            continue;
                        }
                        Piece::Text(text) => text.clone(),
                    };
                    match bound.last_mut() {
                        Some(Piece::Text(last)) => last.push_str(&text),
                        _ => bound.push(Piece::Text(text)),
                    }
                }
                match bound.as_mut_slice() {
                    [Piece::Text(text)] => {
                        let value = std::mem::take(text).into();
                        let pieces = Pieces(pieces.clone());
                        match pieces.expressions().any(|part| context.is_secret(part)) {
                            true => Part::Hidden { value, shown: pieces.inlined(context) },
                            false => Part::Constant(value),
                        }
                    }
                    _ => Part::Text(Pieces(bound)),
                }
            }
            Part::List(items) => {
                let items: Vec<Part> =
                    items.iter().map(|item| item.bind(context, errors)).collect();
                if items.iter().all(|item| matches!(item, Part::Constant(_))) {
                    Part::Constant(items.into_iter().filter_map(Part::into_constant).collect())
                } else {
                    Part::List(items)
                }
            }
            Part::Map(entries) => {
                let mut bind =
                    |(key, part): &(String, Part)| (key.clone(), part.bind(context, errors));
                let entries: Vec<(String, Part)> = entries.iter().map(&mut bind).collect();
                if entries.iter().all(|(_, part)| matches!(part, Part::Constant(_))) {
                    let constant = |(key, part): (String, Part)| Some((key, part.into_constant()?));
                    let map: Map = entries.into_iter().filter_map(constant).collect();
                    Part::Constant(map.into())
                } else {
                    Part::Map(entries)
                }
            }
            Part::Broken { error, .. } => {
                errors.push(error.clone());
                Part::Constant(serde_json::Value::Null)
            }
        }
    }

    /// Parses a text; compile errors are kept to be reported later.
    pub(super) fn read(text: &str) -> Part {
        Part::parse(text, &EACH)
            .unwrap_or_else(|error| Part::Broken { text: text.to_owned(), error })
    }

    /// Whether its value is always the same.
    pub(super) fn is_constant(&self) -> bool {
        match self {
            Part::Constant(_) | Part::Hidden { .. } => true,
            Part::Expression(_) | Part::Text(_) | Part::Broken { .. } => false,
            Part::List(items) => items.iter().all(Part::is_constant),
            Part::Map(entries) => entries.iter().all(|(_, part)| part.is_constant()),
        }
    }

    fn into_constant(self) -> Option<serde_json::Value> {
        match self {
            Part::Constant(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn paths<'a>(&'a self, paths: &mut Vec<&'a str>) {
        match self {
            Part::Constant(_) | Part::Hidden { .. } | Part::Broken { .. } => (),
            Part::Expression(expression) => paths.extend(expression.paths()),
            Part::Text(pieces) => paths.extend(pieces.expressions().flat_map(Expression::paths)),
            Part::List(items) => items.iter().for_each(|item| item.paths(paths)),
            Part::Map(entries) => entries.iter().for_each(|(_, part)| part.paths(paths)),
        }
    }

    pub(super) fn mentions(&self, name: &str) -> bool {
        match self {
            Part::Constant(_) | Part::Hidden { .. } | Part::Broken { .. } => false,
            Part::Expression(expression) => expression.mentions(name),
            Part::Text(pieces) => pieces.expressions().any(|expression| expression.mentions(name)),
            Part::List(items) => items.iter().any(|item| item.mentions(name)),
            Part::Map(entries) => entries.iter().any(|(_, part)| part.mentions(name)),
        }
    }

    pub(super) fn evaluate(
        &self,
        context: &Context,
        scope: &Scope<'_>,
    ) -> Result<serde_json::Value, TemplateError> {
        Ok(match self {
            Part::Constant(value) | Part::Hidden { value, .. } => value.clone(),
            Part::Expression(expression) => context.json(expression, context.root(Some(scope)))?,
            Part::Text(pieces) => pieces.render(context, context.root(Some(scope)))?.into(),
            Part::List(items) => {
                let item = |(n, item): (usize, &Part)| {
                    item.evaluate(context, &Scope { key: scope.key.index(n as u64), ..*scope })
                };
                items.iter().enumerate().map(item).collect::<Result<_, _>>()?
            }
            Part::Map(entries) => {
                let entry = |(key, part): &(String, Part)| {
                    let scope = Scope { key: scope.key.part(key), ..*scope };
                    Ok((key.clone(), part.evaluate(context, &scope)?))
                };
                let map = entries.iter().map(entry).collect::<Result<Map, TemplateError>>()?;
                map.into()
            }
            Part::Broken { error, .. } => return Err(error.clone()),
        })
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        struct PartVisitor;

        impl<'de> Visitor<'de> for PartVisitor {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Part, E> {
                Ok(Part::Constant(serde_json::Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Part, E> {
                Ok(Part::read(text))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Part, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Part::List(items))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Part::Map(entries))
            }
        }

        deserializer.deserialize_any(PartVisitor)
    }
}
