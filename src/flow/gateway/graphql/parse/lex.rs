//! From characters to tokens.

use std::fmt;

use super::{Parsed, Parser};
use crate::flow::gateway::graphql::tree::{Pos, SyntaxError};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    End,
    Punct(&'static str),
    Name(String),
    Int(String),
    Float(String),
    String(String),
}

impl Parser {
    fn pos(&self, index: usize) -> Pos {
        let line = self.lines.partition_point(|start| *start <= index);
        let column = index - self.lines[line - 1] + 1;
        Pos { line, column }
    }

    pub(super) fn error_at<T>(&self, index: usize, message: String) -> Parsed<T> {
        Err(SyntaxError { message: format!("Syntax Error: {message}"), at: self.pos(index) })
    }

    pub(super) fn error<T>(&self, message: String) -> Parsed<T> {
        Err(SyntaxError { message: format!("Syntax Error: {message}"), at: self.at })
    }

    pub(super) fn peek(&self, offset: usize) -> Option<char> {
        self.chars.get(self.next + offset).copied()
    }

    pub(super) fn advance(&mut self) -> Parsed<()> {
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
