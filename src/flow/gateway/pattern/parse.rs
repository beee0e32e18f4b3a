//! From text to a tree, as `re._parser` reads it.

mod set;

use std::collections::HashMap;

use super::PatternError;

/// How deep groups may nest; Python ends with a `RecursionError` somewhat later.
const DEPTH_MAX: usize = 100;

/// What Python counts as no limit of a repetition.
const REPEAT_MAX: u64 = u32::MAX as u64;

/// A pattern.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Node,
    /// How many groups capture, the whole pattern among them.
    pub(super) groups: usize,
    pub(super) flags: Flags,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Char(char),
    Any,
    Set { items: Vec<Item>, negated: bool },
    Start,
    End,
    AbsoluteStart,
    AbsoluteEnd,
    WordBoundary(bool),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Group { number: Option<usize>, on: Flags, off: Flags, body: Box<Node> },
    Atomic(Box<Node>),
    Reference(usize),
    If { group: usize, yes: Box<Node>, no: Box<Node> },
    Look { ahead: bool, negated: bool, body: Box<Node> },
    Repeat { min: u64, max: Option<u64>, way: Way, body: Box<Node> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Greedy,
    Lazy,
    Possessive,
}

/// A part of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Range(char, char),
    Class(Class),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Digit(bool),
    Space(bool),
    Word(bool),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multiline: bool,
    pub(super) dot_all: bool,
    pub(super) verbose: bool,
    pub(super) ascii: bool,
}

pub(super) fn parse(text: &str) -> Result<Tree, PatternError> {
    let text: Vec<char> = text.chars().collect();
    let mut parser = Parser {
        text: &text,
        index: 0,
        next: None,
        groups: 1,
        open: Vec::new(),
        names: HashMap::new(),
        references: Vec::new(),
        flags: Flags::default(),
    };
    parser.advance()?;
    let root = parser.alternation(false, 0)?;
    if parser.next.is_some() {
        return Err(parser.error("unbalanced parenthesis", 0));
    }
    for (group, position) in &parser.references {
        if *group >= parser.groups {
            let message = format!("invalid group reference {group}");
            return Err(PatternError::at(&text, message, *position));
        }
    }
    Ok(Tree { root, groups: parser.groups, flags: parser.flags })
}

struct Parser<'a> {
    text: &'a [char],
    /// Behind `next`.
    index: usize,
    /// The next character, or two when the first is a backslash.
    next: Option<&'a [char]>,
    groups: usize,
    open: Vec<usize>,
    names: HashMap<String, usize>,
    /// Groups that conditions refer to before they are there, and where.
    references: Vec<(usize, usize)>,
    flags: Flags,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(), PatternError> {
        let start = self.index;
        let length = match self.text.get(start) {
            None => {
                self.next = None;
                return Ok(());
            }
            Some('\\') if start + 1 == self.text.len() => {
                let message = "bad escape (end of pattern)".to_owned();
                return Err(PatternError::at(self.text, message, start));
            }
            Some('\\') => 2,
            Some(_) => 1,
        };
        self.index = start + length;
        self.next = Some(&self.text[start..self.index]);
        Ok(())
    }

    fn get(&mut self) -> Result<Option<&'a [char]>, PatternError> {
        let this = self.next;
        self.advance()?;
        Ok(this)
    }

    fn is_next(&self, c: char) -> bool {
        self.next == Some(&[c])
    }

    fn take(&mut self, c: char) -> Result<bool, PatternError> {
        let found = self.is_next(c);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn tell(&self) -> usize {
        self.index - self.next.map_or(0, <[char]>::len)
    }

    fn error(&self, message: impl Into<String>, offset: usize) -> PatternError {
        PatternError::at(self.text, message.into(), self.tell().saturating_sub(offset))
    }

    /// Up to so many characters of a kind.
    fn while_is(&mut self, most: usize, is: impl Fn(char) -> bool) -> Result<String, PatternError> {
        let mut found = String::new();
        while found.len() < most {
            match self.next {
                Some([c]) if is(*c) => found.push(*c),
                _ => break,
            }
            self.advance()?;
        }
        Ok(found)
    }

    fn until(&mut self, end: char, what: &str) -> Result<String, PatternError> {
        let mut found = String::new();
        loop {
            let Some(c) = self.get()? else {
                return Err(match found.is_empty() {
                    true => self.error(format!("missing {what}"), 0),
                    false => {
                        let message = format!("missing {end}, unterminated name");
                        self.error(message, found.chars().count())
                    }
                });
            };
            if c == [end] {
                if found.is_empty() {
                    return Err(self.error(format!("missing {what}"), 1));
                }
                return Ok(found);
            }
            found.extend(c);
        }
    }

    fn alternation(&mut self, verbose: bool, depth: usize) -> Result<Node, PatternError> {
        if depth > DEPTH_MAX {
            return Err(PatternError::plain("RecursionError", "maximum recursion depth exceeded"));
        }
        let mut items = Vec::new();
        loop {
            let first = depth == 0 && items.is_empty();
            items.push(self.sequence(verbose || self.flags.verbose, depth, first)?);
            if !self.take('|')? {
                break;
            }
        }
        Ok(match items.len() {
            1 => items.remove(0),
            _ => Node::Either(items),
        })
    }

    fn sequence(
        &mut self,
        mut verbose: bool,
        depth: usize,
        first: bool,
    ) -> Result<Node, PatternError> {
        let mut nodes: Vec<Node> = Vec::new();
        while let Some(this) = self.next {
            if matches!(this, ['|' | ')']) {
                break;
            }
            self.advance()?;
            let node = match this {
                [' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'] if verbose => continue,
                ['#'] if verbose => {
                    while self.get()?.is_some_and(|c| c != ['\n']) {}
                    continue;
                }
                ['\\', c] => self.escape(*c)?,
                ['['] => self.set()?,
                ['.'] => Node::Any,
                ['^'] => Node::Start,
                ['$'] => Node::End,
                ['('] => match self.group(&mut verbose, depth, first && nodes.is_empty())? {
                    Some(node) => node,
                    None => continue,
                },
                [c @ ('*' | '+' | '?' | '{')] => match self.repeat(*c, &mut nodes)? {
                    Some(node) => node,
                    None => continue,
                },
                [c] => Node::Char(*c),
                _ => continue, // there are no others
            };
            nodes.push(node);
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        })
    }

    /// Repeats the last node. A brace that begins no repetition is a character.
    fn repeat(&mut self, c: char, nodes: &mut Vec<Node>) -> Result<Option<Node>, PatternError> {
        let here = self.tell();
        let (min, max) = match c {
            '?' => (0, Some(1)),
            '*' => (0, None),
            '+' => (1, None),
            _ => {
                if self.is_next('}') {
                    return Ok(Some(Node::Char(c)));
                }
                let digits =
                    |parser: &mut Parser<'a>| parser.while_is(usize::MAX, |c| c.is_ascii_digit());
                let low = digits(self)?;
                let high = match self.take(',')? {
                    true => digits(self)?,
                    false => low.clone(),
                };
                if !self.take('}')? {
                    self.index = here;
                    self.advance()?;
                    return Ok(Some(Node::Char(c)));
                }
                let number = |digits: &str| match digits.parse::<u64>() {
                    _ if digits.is_empty() => Ok(None),
                    Ok(n) if n < REPEAT_MAX => Ok(Some(n)),
                    _ => {
                        let message = "the repetition number is too large";
                        Err(PatternError::plain("OverflowError", message))
                    }
                };
                let (min, max) = (number(&low)?.unwrap_or(0), number(&high)?);
                if max.is_some_and(|max| max < min) {
                    let offset = self.tell() - here;
                    return Err(self.error("min repeat greater than max repeat", offset));
                }
                (min, max)
            }
        };
        let offset = self.tell() - here + 1;
        let body = match nodes.pop() {
            None
            | Some(
                Node::Start
                | Node::End
                | Node::AbsoluteStart
                | Node::AbsoluteEnd
                | Node::WordBoundary(_),
            ) => return Err(self.error("nothing to repeat", offset)),
            Some(Node::Repeat { .. }) => return Err(self.error("multiple repeat", offset)),
            Some(node) => Box::new(node),
        };
        let way = if self.take('?')? {
            Way::Lazy
        } else if self.take('+')? {
            Way::Possessive
        } else {
            Way::Greedy
        };
        nodes.push(Node::Repeat { min, max, way, body });
        Ok(None)
    }

    /// What follows an opening parenthesis; nothing for flags and comments.
    fn group(
        &mut self,
        verbose: &mut bool,
        depth: usize,
        first: bool,
    ) -> Result<Option<Node>, PatternError> {
        let start = self.tell() - 1;
        let (mut on, mut off) = (Flags::default(), Flags::default());
        let (mut capture, mut atomic, mut name) = (true, false, None);
        if self.take('?')? {
            let Some(c) = self.get()? else {
                return Err(self.error("unexpected end of pattern", 0));
            };
            match c {
                ['P'] => {
                    if self.take('<')? {
                        name = Some(self.name('>')?);
                    } else if self.take('=')? {
                        let name = self.name(')')?;
                        return self.named_reference(&name).map(Some);
                    } else {
                        let Some(c) = self.get()? else {
                            return Err(self.error("unexpected end of pattern", 0));
                        };
                        let message = format!("unknown extension ?P{}", text(c));
                        return Err(self.error(message, c.len() + 2));
                    }
                }
                [':'] => capture = false,
                ['#'] => loop {
                    match self.get()? {
                        Some([')']) => return Ok(None),
                        Some(_) => (),
                        None => {
                            let offset = self.tell() - start;
                            return Err(self.error("missing ), unterminated comment", offset));
                        }
                    }
                },
                ['=' | '!' | '<'] => {
                    let mut c = c;
                    let ahead = c != ['<'];
                    if !ahead {
                        match self.get()? {
                            None => return Err(self.error("unexpected end of pattern", 0)),
                            Some(next @ ['=' | '!']) => c = next,
                            Some(next) => {
                                let message = format!("unknown extension ?<{}", text(next));
                                return Err(self.error(message, next.len() + 2));
                            }
                        }
                    }
                    let body = Box::new(self.alternation(*verbose, depth + 1)?);
                    self.close(start)?;
                    return Ok(Some(Node::Look { ahead, negated: c == ['!'], body }));
                }
                ['('] => return self.condition(*verbose, depth, start).map(Some),
                ['>'] => (capture, atomic) = (false, true),
                [c] if *c == '-' || flag(*c).is_some() => {
                    match self.flags(*c)? {
                        None => {
                            if !first {
                                let message = "global flags not at the start of the expression";
                                return Err(self.error(message, self.tell() - start));
                            }
                            *verbose = self.flags.verbose;
                            return Ok(None);
                        }
                        Some(flags) => (on, off) = flags,
                    }
                    capture = false;
                }
                c => {
                    let message = format!("unknown extension ?{}", text(c));
                    return Err(self.error(message, c.len() + 1));
                }
            }
        }
        let number = capture.then_some(self.groups);
        if let Some(number) = number {
            self.groups += 1;
            self.open.push(number);
            if let Some(name) = name
                && let Some(before) = self.names.insert(name.clone(), number)
            {
                let message = format!(
                    "redefinition of group name '{name}' as group {number}; was group {before}"
                );
                return Err(self.error(message, name.chars().count() + 1));
            }
        }
        let verbose = (*verbose || on.verbose) && !off.verbose;
        let body = Box::new(self.alternation(verbose, depth + 1)?);
        self.close(start)?;
        if let Some(number) = number {
            self.open.retain(|open| *open != number);
        }
        Ok(Some(match atomic {
            true => Node::Atomic(body),
            false => Node::Group { number, on, off, body },
        }))
    }

    fn close(&mut self, start: usize) -> Result<(), PatternError> {
        match self.take(')')? {
            true => Ok(()),
            false => {
                let offset = self.tell() - start;
                Err(self.error("missing ), unterminated subpattern", offset))
            }
        }
    }

    fn name(&mut self, end: char) -> Result<String, PatternError> {
        let name = self.until(end, "group name")?;
        self.check_name(&name)?;
        Ok(name)
    }

    fn check_name(&self, name: &str) -> Result<(), PatternError> {
        if is_identifier(name) {
            return Ok(());
        }
        let message = format!("bad character in group name '{name}'");
        Err(self.error(message, name.chars().count() + 1))
    }

    fn named_reference(&self, name: &str) -> Result<Node, PatternError> {
        let offset = name.chars().count() + 1;
        match self.names.get(name) {
            None => Err(self.error(format!("unknown group name '{name}'"), offset)),
            Some(group) if self.open.contains(group) => {
                Err(self.error("cannot refer to an open group", offset))
            }
            Some(group) => Ok(Node::Reference(*group)),
        }
    }

    fn condition(
        &mut self,
        verbose: bool,
        depth: usize,
        start: usize,
    ) -> Result<Node, PatternError> {
        let name = self.until(')', "group name")?;
        let offset = name.chars().count() + 1;
        let group = if is_identifier(&name) {
            let known = self.names.get(&name).copied();
            known.ok_or_else(|| self.error(format!("unknown group name '{name}'"), offset))?
        } else {
            let group = name
                .parse::<usize>()
                .map_err(|_| self.error(format!("bad character in group name '{name}'"), offset))?;
            if group == 0 {
                return Err(self.error("bad group number", offset));
            }
            self.references.push((group, self.tell() - offset));
            group
        };
        if depth >= DEPTH_MAX {
            return Err(PatternError::plain("RecursionError", "maximum recursion depth exceeded"));
        }
        let yes = Box::new(self.sequence(verbose, depth + 1, false)?);
        let mut no = Box::new(Node::Sequence(Vec::new()));
        if self.take('|')? {
            *no = self.sequence(verbose, depth + 1, false)?;
            if self.is_next('|') {
                return Err(self.error("conditional backref with more than two branches", 0));
            }
        }
        self.close(start)?;
        Ok(Node::If { group, yes, no })
    }

    /// Flags of a group; `None` for those of the whole pattern.
    fn flags(&mut self, mut c: char) -> Result<Option<(Flags, Flags)>, PatternError> {
        let (mut on, mut off) = (Flags::default(), Flags::default());
        let mut kinds = (false, false);
        if c != '-' {
            loop {
                match c {
                    'L' => {
                        let message = "bad inline flags: cannot use 'L' flag with a str pattern";
                        return Err(self.error(message, 0));
                    }
                    'a' => kinds.0 = true,
                    'u' => kinds.1 = true,
                    _ => (),
                }
                if kinds == (true, true) {
                    let message = "bad inline flags: flags 'a', 'u' and 'L' are incompatible";
                    return Err(self.error(message, 0));
                }
                if let Some(set) = flag(c) {
                    set(&mut on);
                }
                c = match self.get()? {
                    None => return Err(self.error("missing -, : or )", 0)),
                    Some([next @ (')' | '-' | ':')]) => {
                        c = *next;
                        break;
                    }
                    Some([next]) if flag(*next).is_some() => *next,
                    Some(next) => {
                        let alphabetic = next[0].is_alphabetic();
                        let message = if alphabetic { "unknown flag" } else { "missing -, : or )" };
                        return Err(self.error(message, next.len()));
                    }
                };
            }
        }
        if c == ')' {
            self.flags = self.flags.with(on);
            return Ok(None);
        }
        if c == '-' {
            let mut next = self.get()?;
            let mut missing = "missing flag";
            loop {
                match next {
                    None => return Err(self.error(missing, 0)),
                    Some([':']) if missing == "missing :" => break,
                    Some(['a' | 'u' | 'L']) => {
                        let message = "bad inline flags: cannot turn off flags 'a', 'u' and 'L'";
                        return Err(self.error(message, 0));
                    }
                    Some([c]) if flag(*c).is_some() => {
                        if let Some(set) = flag(*c) {
                            set(&mut off);
                        }
                    }
                    Some(c) => {
                        let message = if c[0].is_alphabetic() { "unknown flag" } else { missing };
                        return Err(self.error(message, c.len()));
                    }
                }
                missing = "missing :";
                next = self.get()?;
            }
        }
        if on.shares(off) {
            return Err(self.error("bad inline flags: flag turned on and off", 1));
        }
        Ok(Some((on, off)))
    }
}

impl Flags {
    /// These and others.
    pub(super) fn with(self, other: Flags) -> Flags {
        Flags {
            ignore_case: self.ignore_case || other.ignore_case,
            multiline: self.multiline || other.multiline,
            dot_all: self.dot_all || other.dot_all,
            verbose: self.verbose || other.verbose,
            ascii: self.ascii || other.ascii,
        }
    }

    /// These but for others.
    pub(super) fn without(self, other: Flags) -> Flags {
        Flags {
            ignore_case: self.ignore_case && !other.ignore_case,
            multiline: self.multiline && !other.multiline,
            dot_all: self.dot_all && !other.dot_all,
            verbose: self.verbose && !other.verbose,
            ascii: self.ascii && !other.ascii,
        }
    }

    fn shares(self, other: Flags) -> bool {
        self.without(other) != self
    }
}

/// What sets the flag that a letter stands for.
fn flag(c: char) -> Option<fn(&mut Flags)> {
    Some(match c {
        'i' => |flags| flags.ignore_case = true,
        'm' => |flags| flags.multiline = true,
        's' => |flags| flags.dot_all = true,
        'x' => |flags| flags.verbose = true,
        'a' => |flags| flags.ascii = true,
        'u' | 'L' => |_| (),
        _ => return None,
    })
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
}

fn text(chars: &[char]) -> String {
    chars.iter().collect()
}
