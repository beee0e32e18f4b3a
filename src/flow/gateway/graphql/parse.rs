//! GraphQL's language: queries, and the definitions our own schema is written in. Mistakes are told
//! in the words of graphql-core, which a real gateway uses.

use std::fmt;

/// How deep selections, values and types may nest.
const DEPTH_MAX: usize = 100;

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

#[derive(Clone, Debug, PartialEq)]
enum Token {
    End,
    Punct(&'static str),
    Name(String),
    Int(String),
    Float(String),
    String(String),
}

pub(super) fn parse(text: &str) -> Result<Document, SyntaxError> {
    let chars: Vec<char> = text.chars().collect();
    let breaks = chars.iter().enumerate().filter(|(_, c)| **c == '\n');
    let lines = std::iter::once(0).chain(breaks.map(|(i, _)| i + 1)).collect();
    let mut parser =
        Parser { chars, lines, next: 0, token: Token::End, at: Pos::default(), depth: 0 };
    parser.advance()?;
    let mut document = Document::default();
    loop {
        parser.definition(&mut document)?;
        if parser.token == Token::End {
            return Ok(document);
        }
    }
}

struct Parser {
    chars: Vec<char>,
    /// Where lines start.
    lines: Vec<usize>,
    next: usize,
    token: Token,
    at: Pos,
    depth: usize,
}

type Parsed<T> = Result<T, SyntaxError>;

impl Parser {
    fn pos(&self, index: usize) -> Pos {
        let line = self.lines.partition_point(|start| *start <= index);
        let column = index - self.lines[line - 1] + 1;
        Pos { line, column }
    }

    fn error_at<T>(&self, index: usize, message: String) -> Parsed<T> {
        Err(SyntaxError { message: format!("Syntax Error: {message}"), at: self.pos(index) })
    }

    fn error<T>(&self, message: String) -> Parsed<T> {
        Err(SyntaxError { message: format!("Syntax Error: {message}"), at: self.at })
    }

    fn peek(&self, offset: usize) -> Option<char> {
        self.chars.get(self.next + offset).copied()
    }

    fn advance(&mut self) -> Parsed<()> {
        loop {
            match self.peek(0) {
                Some(' ' | '\t' | '\n' | '\r' | ',' | '\u{feff}') => self.next += 1,
                Some('#') => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.next += 1;
                    }
                }
                _ => break,
            }
        }
        let start = self.next;
        self.at = self.pos(start);
        self.token = match self.peek(0) {
            None => Token::End,
            Some('.') if self.peek(1) == Some('.') && self.peek(2) == Some('.') => {
                self.next += 3;
                Token::Punct("...")
            }
            Some(c) if punctuator(c).is_some() => {
                self.next += 1;
                Token::Punct(punctuator(c).unwrap_or_default())
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                while self.peek(0).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                    self.next += 1;
                }
                Token::Name(self.chars[start..self.next].iter().collect())
            }
            Some(c) if c.is_ascii_digit() || c == '-' => self.number()?,
            Some('"') => self.string()?,
            Some('\'') => {
                let message = "Unexpected single quote character ('), did you mean to use a double quote (\")?";
                return self.error(message.into());
            }
            Some(c) => return self.error(format!("Unexpected character: {}.", shown(c))),
        };
        Ok(())
    }

    fn number(&mut self) -> Parsed<Token> {
        let start = self.next;
        let mut float = false;
        self.next += usize::from(self.peek(0) == Some('-'));
        if self.peek(0) == Some('0') {
            self.next += 1;
            if let Some(c) = self.peek(0).filter(char::is_ascii_digit) {
                return self.error_at(
                    self.next,
                    format!("Invalid number, unexpected digit after 0: {}.", shown(c)),
                );
            }
        } else {
            self.digits()?;
        }
        if self.peek(0) == Some('.') {
            float = true;
            self.next += 1;
            self.digits()?;
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            float = true;
            self.next += 1;
            self.next += usize::from(matches!(self.peek(0), Some('+' | '-')));
            self.digits()?;
        }
        if let Some(c) = self.peek(0).filter(|c| *c == '.' || *c == '_' || c.is_ascii_alphabetic())
        {
            return self.error_at(
                self.next,
                format!("Invalid number, expected digit but got: {}.", shown(c)),
            );
        }
        let text = self.chars[start..self.next].iter().collect();
        Ok(if float { Token::Float(text) } else { Token::Int(text) })
    }

    fn digits(&mut self) -> Parsed<()> {
        if !self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            let got = self.peek(0).map_or("<EOF>".to_owned(), shown);
            return self
                .error_at(self.next, format!("Invalid number, expected digit but got: {got}."));
        }
        while self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            self.next += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Parsed<Token> {
        if self.peek(1) == Some('"') && self.peek(2) == Some('"') {
            return self.block_string();
        }
        self.next += 1;
        let mut text = String::new();
        loop {
            match self.peek(0) {
                None | Some('\n' | '\r') => {
                    return self.error_at(self.next, "Unterminated string.".into());
                }
                Some('"') => {
                    self.next += 1;
                    return Ok(Token::String(text));
                }
                Some('\\') => {
                    let escape = self.peek(1);
                    let c = match escape {
                        Some(c @ ('"' | '\\' | '/')) => c,
                        Some('b') => '\u{8}',
                        Some('f') => '\u{c}',
                        Some('n') => '\n',
                        Some('r') => '\r',
                        Some('t') => '\t',
                        Some('u') => {
                            text.push(self.unicode()?);
                            continue;
                        }
                        _ => {
                            let escape = escape.map(String::from).unwrap_or_default();
                            let message =
                                format!("Invalid character escape sequence: '\\{escape}'.");
                            return self.error_at(self.next, message);
                        }
                    };
                    text.push(c);
                    self.next += 2;
                }
                Some(c) => {
                    text.push(c);
                    self.next += 1;
                }
            }
        }
    }

    /// `\u00e9` or `\u{1f600}`; two escapes of four digits may make one character.
    fn unicode(&mut self) -> Parsed<char> {
        let start = self.next;
        let hex = |chars: &[char]| {
            let digits: String = chars.iter().collect();
            let all = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
            all.then(|| u32::from_str_radix(&digits, 16).ok()).flatten()
        };
        let four = |parser: &Parser, from: usize| parser.chars.get(from..from + 4).and_then(hex);
        let found = if self.peek(2) == Some('{') {
            let length = self.chars[start..].iter().take(12).position(|c| *c == '}');
            length.and_then(|length| {
                self.next = start + length + 1;
                hex(&self.chars[start + 3..start + length]).and_then(char::from_u32)
            })
        } else {
            self.next = start + 6;
            match four(self, start + 2) {
                Some(high @ 0xd800..0xdc00)
                    if self.chars.get(start + 6..start + 8) == Some(&['\\', 'u']) =>
                {
                    self.next = start + 12;
                    four(self, start + 8).filter(|low| (0xdc00..0xe000).contains(low)).and_then(
                        |low| char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
                    )
                }
                code => code.and_then(char::from_u32),
            }
        };
        match found {
            Some(c) => Ok(c),
            None => {
                let end = (start + 6).min(self.chars.len());
                let escape: String = self.chars[start..end].iter().collect();
                self.error_at(start, format!("Invalid Unicode escape sequence: '{escape}'."))
            }
        }
    }

    /// Without the indentation that its lines share, and without empty lines at both ends.
    fn block_string(&mut self) -> Parsed<Token> {
        self.next += 3;
        let mut raw = String::new();
        loop {
            let three = |parser: &Parser, from: usize| {
                (from..from + 3).all(|offset| parser.peek(offset) == Some('"'))
            };
            match self.peek(0) {
                None => return self.error_at(self.next, "Unterminated string.".into()),
                Some('"') if three(self, 0) => {
                    self.next += 3;
                    break;
                }
                Some('\\') if three(self, 1) => {
                    raw.push_str("\"\"\"");
                    self.next += 4;
                }
                Some(c) => {
                    raw.push(c);
                    self.next += 1;
                }
            }
        }
        let raw = raw.replace("\r\n", "\n");
        let lines: Vec<&str> = raw.split('\n').collect();
        let blank = |line: &&str| line.trim_start_matches([' ', '\t']).is_empty();
        let indent = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
        let common =
            lines.iter().skip(1).filter(|line| !blank(line)).map(indent).min().unwrap_or(0);
        let lines: Vec<&str> = lines
            .iter()
            .enumerate()
            .map(|(i, line)| if i == 0 { line } else { line.get(common..).unwrap_or("") })
            .collect();
        let first = lines.iter().position(|line| !blank(line)).unwrap_or(lines.len());
        let last = lines.iter().rposition(|line| !blank(line)).map_or(first, |last| last + 1);
        Ok(Token::String(lines[first..last].join("\n")))
    }

    fn is(&self, punct: &str) -> bool {
        matches!(&self.token, Token::Punct(found) if *found == punct)
    }

    fn take(&mut self, punct: &str) -> Parsed<bool> {
        let found = self.is(punct);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, punct: &str) -> Parsed<()> {
        match self.take(punct)? {
            true => Ok(()),
            false => self.error(format!("Expected '{punct}', found {}.", self.token)),
        }
    }

    fn keyword(&mut self, word: &str) -> Parsed<bool> {
        let found = matches!(&self.token, Token::Name(name) if name == word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn name(&mut self) -> Parsed<String> {
        match std::mem::replace(&mut self.token, Token::End) {
            Token::Name(name) => {
                self.advance()?;
                Ok(name)
            }
            token => {
                let message = format!("Expected Name, found {token}.");
                self.token = token;
                self.error(message)
            }
        }
    }

    fn unexpected<T>(&self) -> Parsed<T> {
        self.error(format!("Unexpected {}.", self.token))
    }

    /// At least one item between two marks.
    fn many<T>(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Parser) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(open)?;
        let mut items = vec![item(self)?];
        while !self.take(close)? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn optional<T>(
        &mut self,
        open: &str,
        close: &str,
        item: impl FnMut(&mut Parser) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        match self.is(open) {
            true => self.many(open, close, item),
            false => Ok(Vec::new()),
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return self.error(format!("Nested more than {DEPTH_MAX} levels deep."));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn definition(&mut self, document: &mut Document) -> Parsed<()> {
        let at = self.at;
        if self.is("{") {
            document.operations.push(Operation {
                kind: OperationKind::Query,
                name: None,
                at,
                variables: Vec::new(),
                directives: Vec::new(),
                selections: self.selections()?,
            });
            return Ok(());
        }
        let description = match &self.token {
            Token::String(text) => Some(text.clone()),
            _ => None,
        };
        if description.is_some() {
            self.advance()?;
        }
        let Token::Name(word) = &self.token else { return self.unexpected() };
        match word.clone().as_str() {
            word @ ("query" | "mutation" | "subscription") if description.is_none() => {
                let kind = match word {
                    "query" => OperationKind::Query,
                    "mutation" => OperationKind::Mutation,
                    _ => OperationKind::Subscription,
                };
                self.advance()?;
                let name = match &self.token {
                    Token::Name(_) => Some(self.name()?),
                    _ => None,
                };
                let variables = self.optional("(", ")", Parser::variable)?;
                let directives = self.directives()?;
                let selections = self.selections()?;
                document.operations.push(Operation {
                    kind,
                    name,
                    at,
                    variables,
                    directives,
                    selections,
                });
            }
            "fragment" if description.is_none() => {
                self.advance()?;
                if matches!(&self.token, Token::Name(name) if name == "on") {
                    return self.unexpected();
                }
                let name = self.name()?;
                if !self.keyword("on")? {
                    return self.error(format!("Expected 'on', found {}.", self.token));
                }
                let on_at = self.at;
                let on = (self.name()?, on_at);
                self.directives()?;
                let selections = self.selections()?;
                document.fragments.push(Fragment { name, at, on, selections });
            }
            "scalar" => {
                self.advance()?;
                document.types.push(self.type_def(TypeKind::Scalar, description)?);
            }
            "type" => {
                self.advance()?;
                document.types.push(self.type_def(TypeKind::Object, description)?);
            }
            "interface" => {
                self.advance()?;
                document.types.push(self.type_def(TypeKind::Interface, description)?);
            }
            "input" => {
                self.advance()?;
                document.types.push(self.type_def(TypeKind::InputObject, description)?);
            }
            "enum" => {
                self.advance()?;
                document.types.push(self.type_def(TypeKind::Enum, description)?);
            }
            "directive" => {
                self.advance()?;
                self.expect("@")?;
                let name = self.name()?;
                let arguments = self.optional("(", ")", Parser::input_def)?;
                if !self.keyword("on")? {
                    return self.error(format!("Expected 'on', found {}.", self.token));
                }
                let mut locations = vec![self.name()?];
                while self.take("|")? {
                    locations.push(self.name()?);
                }
                document.directives.push(DirectiveDef { name, description, arguments, locations });
            }
            _ => return self.unexpected(),
        }
        Ok(())
    }

    fn variable(&mut self) -> Parsed<Variable> {
        let at = self.at;
        self.expect("$")?;
        let name = self.name()?;
        self.expect(":")?;
        let kind_at = self.at;
        let kind = self.type_ref()?;
        let default = match self.take("=")? {
            true => Some(self.value(true)?),
            false => None,
        };
        self.directives()?;
        Ok(Variable { name, at, kind, kind_at, default })
    }

    fn type_ref(&mut self) -> Parsed<TypeRef> {
        let inner = match self.take("[")? {
            true => {
                let item = self.deeper(Parser::type_ref)?;
                self.expect("]")?;
                TypeRef::List(Box::new(item))
            }
            false => TypeRef::Named(self.name()?),
        };
        Ok(match self.take("!")? {
            true => TypeRef::NonNull(Box::new(inner)),
            false => inner,
        })
    }

    fn selections(&mut self) -> Parsed<Vec<Selection>> {
        self.deeper(|parser| parser.many("{", "}", Parser::selection))
    }

    fn selection(&mut self) -> Parsed<Selection> {
        let at = self.at;
        if !self.take("...")? {
            return self.field().map(Selection::Field);
        }
        match &self.token {
            Token::Name(name) if name != "on" => {
                let name_at = self.at;
                let name = self.name()?;
                Ok(Selection::Spread { name, name_at, at, directives: self.directives()? })
            }
            _ => {
                let on = match self.keyword("on")? {
                    true => {
                        let on_at = self.at;
                        Some((self.name()?, on_at))
                    }
                    false => None,
                };
                let directives = self.directives()?;
                Ok(Selection::Inline { on, at, directives, selections: self.selections()? })
            }
        }
    }

    fn field(&mut self) -> Parsed<Field> {
        let at = self.at;
        let mut name = self.name()?;
        let mut alias = None;
        if self.take(":")? {
            alias = Some(std::mem::replace(&mut name, self.name()?));
        }
        let arguments = self.optional("(", ")", Parser::argument)?;
        let directives = self.directives()?;
        let selections_at = self.at;
        let selections = if self.is("{") { self.selections()? } else { Vec::new() };
        Ok(Field { alias, name, at, arguments, directives, selections, selections_at })
    }

    fn argument(&mut self) -> Parsed<Argument> {
        let at = self.at;
        let name = self.name()?;
        self.expect(":")?;
        Ok(Argument { name, at, value: self.value(false)? })
    }

    fn directives(&mut self) -> Parsed<Vec<Directive>> {
        let mut directives = Vec::new();
        while self.is("@") {
            let at = self.at;
            self.advance()?;
            let name = self.name()?;
            let arguments = self.optional("(", ")", Parser::argument)?;
            directives.push(Directive { name, at, arguments });
        }
        Ok(directives)
    }

    /// A value; a constant one has no variables in it.
    fn value(&mut self, constant: bool) -> Parsed<Value> {
        let at = self.at;
        if self.is("$") && constant {
            return self.unexpected();
        }
        if self.take("$")? {
            return Ok(Value { at, kind: ValueKind::Variable(self.name()?) });
        }
        if self.take("[")? {
            let mut items = Vec::new();
            while !self.take("]")? {
                items.push(self.deeper(|parser| parser.value(constant))?);
            }
            return Ok(Value { at, kind: ValueKind::List(items) });
        }
        if self.take("{")? {
            let mut fields = Vec::new();
            while !self.take("}")? {
                let at = self.at;
                let name = self.name()?;
                self.expect(":")?;
                fields.push((name, at, self.deeper(|parser| parser.value(constant))?));
            }
            return Ok(Value { at, kind: ValueKind::Object(fields) });
        }
        let kind = match self.token.clone() {
            Token::Int(text) => ValueKind::Int(text),
            Token::Float(text) => ValueKind::Float(text),
            Token::String(text) => ValueKind::String(text),
            Token::Name(name) => match name.as_str() {
                "true" => ValueKind::Bool(true),
                "false" => ValueKind::Bool(false),
                "null" => ValueKind::Null,
                _ => ValueKind::Enum(name),
            },
            Token::End | Token::Punct(_) => return self.unexpected(),
        };
        self.advance()?;
        Ok(Value { at, kind })
    }

    fn description(&mut self) -> Parsed<Option<String>> {
        match self.token.clone() {
            Token::String(text) => {
                self.advance()?;
                Ok(Some(text))
            }
            _ => Ok(None),
        }
    }

    fn type_def(&mut self, kind: TypeKind, description: Option<String>) -> Parsed<TypeDef> {
        let name = self.name()?;
        let mut interfaces = Vec::new();
        if self.keyword("implements")? {
            interfaces.push(self.name()?);
            while self.take("&")? {
                interfaces.push(self.name()?);
            }
        }
        let (mut fields, mut inputs, mut values) = (Vec::new(), Vec::new(), Vec::new());
        match kind {
            TypeKind::Scalar => (),
            TypeKind::Object | TypeKind::Interface => {
                fields = self.optional("{", "}", |parser| {
                    let description = parser.description()?;
                    let name = parser.name()?;
                    let arguments = parser.optional("(", ")", Parser::input_def)?;
                    parser.expect(":")?;
                    Ok(FieldDef { name, description, arguments, kind: parser.type_ref()? })
                })?;
            }
            TypeKind::InputObject => inputs = self.optional("{", "}", Parser::input_def)?,
            TypeKind::Enum => {
                values = self.optional("{", "}", |parser| {
                    let description = parser.description()?;
                    Ok((parser.name()?, description))
                })?;
            }
        }
        Ok(TypeDef { kind, name, description, interfaces, fields, inputs, values })
    }

    fn input_def(&mut self) -> Parsed<InputDef> {
        let description = self.description()?;
        let name = self.name()?;
        self.expect(":")?;
        let kind = self.type_ref()?;
        let default = match self.take("=")? {
            true => Some(self.value(true)?),
            false => None,
        };
        Ok(InputDef { name, description, kind, default })
    }
}

fn punctuator(c: char) -> Option<&'static str> {
    const ALL: [&str; 14] = ["!", "$", "&", "(", ")", ":", "=", "@", "[", "]", "{", "|", "}", "?"];
    ALL.into_iter().find(|punct| punct.starts_with(c) && c != '?')
}

/// A character as graphql-core shows it.
fn shown(c: char) -> String {
    match c {
        '"' => "'\"'".into(),
        c => format!("'{c}'"),
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::End => f.write_str("<EOF>"),
            Token::Punct(punct) => write!(f, "'{punct}'"),
            Token::Name(name) => write!(f, "Name '{name}'"),
            Token::Int(text) => write!(f, "Int '{text}'"),
            Token::Float(text) => write!(f, "Float '{text}'"),
            Token::String(text) => write!(f, "String {text:?}"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_the_words_of_graphql_core() {
        for (text, message, line, column) in [
            ("mutation { docs(data: {text: \"t\" }", "Expected Name, found <EOF>.", 1, 35),
            ("   ", "Unexpected <EOF>.", 1, 4),
            ("{ }", "Expected Name, found '}'.", 1, 3),
            ("{ docs(", "Expected Name, found <EOF>.", 1, 8),
            (
                "{ docs(data: {id: 'd'}) { id } }",
                "Unexpected single quote character ('), did you mean to use a double quote (\")?",
                1,
                19,
            ),
            ("{ a(b: \"d\\q\") }", "Invalid character escape sequence: '\\q'.", 1, 10),
            ("{ a(b: \"x\ny\") }", "Unterminated string.", 1, 10),
            ("{ a }\n ?", "Unexpected character: '?'.", 2, 2),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.message, format!("Syntax Error: {message}"), "{text}");
            assert_eq!(error.at, Pos { line, column }, "{text}");
        }
        let deep = "{a".repeat(1000);
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn strings_are_read_in_both_forms() {
        let document = parse(
            r#"{ a(b: "\u00e9\ud83d\ude00\n", c: """
            block
              text
        """) }"#,
        )
        .expect("it is valid");
        let Selection::Field(field) = &document.operations[0].selections[0] else { panic!() };
        assert_eq!(field.arguments[0].value.to_string(), "\"é😀\\n\"");
        assert_eq!(field.arguments[1].value.to_string(), "\"block\\n  text\"");
    }
}
