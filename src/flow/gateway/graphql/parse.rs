//! Reads GraphQL's language. Mistakes are told in the words of graphql-core, which a real gateway
//! uses.

mod lex;

use self::lex::Token;
use super::tree::*;

/// How deep selections, values and types may nest.
const DEPTH_MAX: usize = 100;

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
