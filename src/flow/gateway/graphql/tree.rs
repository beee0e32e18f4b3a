//! What a text in GraphQL's language says: queries, and the definitions of a schema.

use std::fmt;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pos {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Why a text is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) at: Pos,
}

/// What a text holds.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) operations: Vec<Operation>,
    pub(super) fragments: Vec<Fragment>,
    pub(super) types: Vec<TypeDef>,
    pub(super) directives: Vec<DirectiveDef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperationKind {
    Query,
    Mutation,
    Subscription,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: OperationKind,
    pub(super) name: Option<String>,
    pub(super) at: Pos,
    pub(super) variables: Vec<Variable>,
    pub(super) directives: Vec<Directive>,
    pub(super) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) at: Pos,
    pub(super) kind: TypeRef,
    pub(super) kind_at: Pos,
    pub(super) default: Option<Value>,
}

#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) name: String,
    pub(super) at: Pos,
    pub(super) on: (String, Pos),
    pub(super) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(super) enum Selection {
    Field(Field),
    Spread {
        name: String,
        name_at: Pos,
        at: Pos,
        directives: Vec<Directive>,
    },
    Inline {
        on: Option<(String, Pos)>,
        at: Pos,
        directives: Vec<Directive>,
        selections: Vec<Selection>,
    },
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) alias: Option<String>,
    pub(super) name: String,
    pub(super) at: Pos,
    pub(super) arguments: Vec<Argument>,
    pub(super) directives: Vec<Directive>,
    pub(super) selections: Vec<Selection>,
    /// Where the selections begin.
    pub(super) selections_at: Pos,
}

#[derive(Debug)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) at: Pos,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) at: Pos,
    pub(super) arguments: Vec<Argument>,
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) at: Pos,
    pub(super) kind: ValueKind,
}

#[derive(Clone, Debug)]
pub(super) enum ValueKind {
    Variable(String),
    Int(String),
    Float(String),
    String(String),
    Bool(bool),
    Null,
    Enum(String),
    List(Vec<Value>),
    Object(Vec<(String, Pos, Value)>),
}

/// A type where it is used: `[String!]!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TypeRef {
    Named(String),
    List(Box<TypeRef>),
    NonNull(Box<TypeRef>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeKind {
    Scalar,
    Object,
    Interface,
    Enum,
    InputObject,
}

#[derive(Debug)]
pub(super) struct TypeDef {
    pub(super) kind: TypeKind,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) interfaces: Vec<String>,
    pub(super) fields: Vec<FieldDef>,
    pub(super) inputs: Vec<InputDef>,
    pub(super) values: Vec<(String, Option<String>)>,
}

#[derive(Debug)]
pub(super) struct FieldDef {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) arguments: Vec<InputDef>,
    pub(super) kind: TypeRef,
}

#[derive(Debug)]
pub(super) struct InputDef {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) kind: TypeRef,
    pub(super) default: Option<Value>,
}

#[derive(Debug)]
pub(super) struct DirectiveDef {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) arguments: Vec<InputDef>,
    pub(super) locations: Vec<String>,
}

impl fmt::Display for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeRef::Named(name) => f.write_str(name),
            TypeRef::List(item) => write!(f, "[{item}]"),
            TypeRef::NonNull(inner) => write!(f, "{inner}!"),
        }
    }
}

/// As it would be written.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ValueKind::Variable(name) => write!(f, "${name}"),
            ValueKind::Int(text) | ValueKind::Float(text) | ValueKind::Enum(text) => {
                f.write_str(text)
            }
            ValueKind::String(text) => write!(f, "{}", serde_json::Value::from(text.as_str())),
            ValueKind::Bool(value) => write!(f, "{value}"),
            ValueKind::Null => f.write_str("null"),
            ValueKind::List(items) => {
                let items: Vec<_> = items.iter().map(Value::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            ValueKind::Object(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|(name, _, value)| format!("{name}: {value}")).collect();
                write!(f, "{{{}}}", fields.join(", "))
            }
        }
    }
}
