//! Sets of characters, and what a backslash means.

use super::{Class, Item, Node, Parser, text};
use crate::flow::gateway::pattern::PatternError;

impl<'a> Parser<'a> {
    pub(super) fn set(&mut self) -> Result<Node, PatternError> {
        let here = self.tell() - 1;
        let mut items = Vec::new();
        let negated = self.take('^')?;
        let unterminated =
            |parser: &Parser<'a>| parser.error("unterminated character set", parser.tell() - here);
        loop {
            let Some(this) = self.get()? else { return Err(unterminated(self)) };
            if this == [']'] && !items.is_empty() {
                return Ok(Node::Set { items, negated });
            }
            let from = self.set_item(this)?;
            if !self.take('-')? {
                items.push(from);
                continue;
            }
            let Some(that) = self.get()? else { return Err(unterminated(self)) };
            if that == [']'] {
                items.extend([from, Item::Range('-', '-')]);
                return Ok(Node::Set { items, negated });
            }
            let to = self.set_item(that)?;
            match (from, to) {
                (Item::Range(low, _), Item::Range(high, _)) if low <= high => {
                    items.push(Item::Range(low, high));
                }
                _ => {
                    let message = format!("bad character range {}-{}", text(this), text(that));
                    return Err(self.error(message, this.len() + 1 + that.len()));
                }
            }
        }
    }

    fn set_item(&mut self, this: &[char]) -> Result<Item, PatternError> {
        let c = match *this {
            [c] => c,
            ['\\', 'b'] => '\x08',
            ['\\', c] => match class(c) {
                Some(class) => return Ok(Item::Class(class)),
                None => match c {
                    '0'..='7' => self.octal(c)?,
                    '8' | '9' => return Err(self.error(format!("bad escape \\{c}"), 2)),
                    c => self.literal(c)?,
                },
            },
            _ => return Err(self.error("unterminated character set", 0)),
        };
        Ok(Item::Range(c, c))
    }

    /// An escape outside of a set, its letter or digit taken already.
    pub(super) fn escape(&mut self, c: char) -> Result<Node, PatternError> {
        if let Some(class) = class(c) {
            return Ok(Node::Set { items: vec![Item::Class(class)], negated: false });
        }
        match c {
            'A' => Ok(Node::AbsoluteStart),
            'Z' => Ok(Node::AbsoluteEnd),
            'b' => Ok(Node::WordBoundary(true)),
            'B' => Ok(Node::WordBoundary(false)),
            '0' => {
                let digits = self.while_is(2, is_octal)?;
                Ok(Node::Char(octal(&digits)))
            }
            '1'..='9' => self.numbered(c),
            c => Ok(Node::Char(self.literal(c)?)),
        }
    }

    /// A reference to a group, or a character in octal: three octal digits are one.
    fn numbered(&mut self, c: char) -> Result<Node, PatternError> {
        let mut digits = c.to_string();
        if let Some([next]) = self.next.filter(|next| next[0].is_ascii_digit()) {
            digits.push(*next);
            self.advance()?;
            if let Some([third]) = self.next
                && digits.chars().chain([*third]).all(is_octal)
            {
                digits.push(*third);
                self.advance()?;
                return self.in_range(&digits).map(Node::Char);
            }
        }
        let group = digits.parse::<usize>().unwrap_or(usize::MAX);
        if group >= self.groups {
            let message = format!("invalid group reference {group}");
            return Err(self.error(message, digits.len()));
        }
        if self.open.contains(&group) {
            return Err(self.error("cannot refer to an open group", digits.len() + 1));
        }
        Ok(Node::Reference(group))
    }

    /// An octal escape within a set.
    fn octal(&mut self, c: char) -> Result<char, PatternError> {
        let mut digits = c.to_string();
        digits.push_str(&self.while_is(2, is_octal)?);
        self.in_range(&digits)
    }

    fn in_range(&self, digits: &str) -> Result<char, PatternError> {
        if u32::from_str_radix(digits, 8).is_ok_and(|value| value > 0o377) {
            let message = format!("octal escape value \\{digits} outside of range 0-0o377");
            return Err(self.error(message, digits.len() + 1));
        }
        Ok(octal(digits))
    }

    /// An escape that stands for one character wherever it is.
    fn literal(&mut self, c: char) -> Result<char, PatternError> {
        let length = match c {
            'a' => return Ok('\x07'),
            'f' => return Ok('\x0c'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\x0b'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c if c.is_ascii_alphabetic() => {
                return Err(self.error(format!("bad escape \\{c}"), 2));
            }
            c => return Ok(c),
        };
        let digits = self.while_is(length, |c| c.is_ascii_hexdigit())?;
        let escape = format!("\\{c}{digits}");
        if digits.len() < length {
            let message = format!("incomplete escape {escape}");
            return Err(self.error(message, escape.len()));
        }
        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| self.error(format!("bad escape {escape}"), escape.len()))
    }
}

fn class(c: char) -> Option<Class> {
    Some(match c {
        'd' => Class::Digit(true),
        'D' => Class::Digit(false),
        's' => Class::Space(true),
        'S' => Class::Space(false),
        'w' => Class::Word(true),
        'W' => Class::Word(false),
        _ => return None,
    })
}

fn is_octal(c: char) -> bool {
    c.is_digit(8)
}

fn octal(digits: &str) -> char {
    u32::from_str_radix(digits, 8).ok().and_then(char::from_u32).unwrap_or('\0')
}
