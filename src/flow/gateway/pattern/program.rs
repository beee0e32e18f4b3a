//! A backtracking machine: from a tree to instructions, and over a name.

use super::PatternError;
use super::parse::{Class, Flags, Item, Node, Tree, Way};

/// Instructions of a program; counted repetitions are written out.
const PROGRAM_MAX: usize = 20_000;

/// Steps of a match. Who needs more does not match: this is about names.
const STEPS_MAX: usize = 200_000;

/// How deep lookarounds and atomic groups may nest while matching.
const NESTING_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct Program {
    code: Vec<Op>,
    /// Places to remember: two for each group, and one for each loop.
    slots: usize,
}

#[derive(Clone, Debug)]
enum Op {
    Char(char, Flags),
    Any(Flags),
    Set {
        items: Vec<Item>,
        negated: bool,
        flags: Flags,
    },
    Start(Flags),
    End(Flags),
    AbsoluteStart,
    AbsoluteEnd,
    WordBoundary(bool, Flags),
    Reference(usize, Flags),
    /// Goes on at the first, and at the second when that leads nowhere.
    Split(usize, usize),
    Jump(usize),
    /// Goes on when the group took part, else at the given place.
    IfGroup(usize, usize),
    /// Remembers the place in the name.
    Save(usize),
    /// Leads nowhere when nothing was consumed since the slot was saved.
    Progress(usize),
    /// Looks at what follows up to `end`, then goes on there, where it stood.
    Look {
        behind: Option<usize>,
        negated: bool,
        end: usize,
    },
    /// What follows up to `end` is not tried in other ways once it matched.
    Atomic {
        end: usize,
    },
    Match,
}

impl Program {
    pub(super) fn compile(tree: &Tree) -> Result<Program, PatternError> {
        let mut program = Program { code: Vec::new(), slots: tree.groups * 2 };
        program.node(&tree.root, tree.flags)?;
        program.push(Op::Match)?;
        Ok(program)
    }

    fn push(&mut self, op: Op) -> Result<usize, PatternError> {
        if self.code.len() >= PROGRAM_MAX {
            return Err(PatternError::plain(
                "OverflowError",
                "regular expression code size limit exceeded",
            ));
        }
        self.code.push(op);
        Ok(self.code.len() - 1)
    }

    fn node(&mut self, node: &Node, flags: Flags) -> Result<(), PatternError> {
        match node {
            Node::Char(c) => self.push(Op::Char(*c, flags)).map(drop),
            Node::Any => self.push(Op::Any(flags)).map(drop),
            Node::Set { items, negated } => {
                self.push(Op::Set { items: items.clone(), negated: *negated, flags }).map(drop)
            }
            Node::Start => self.push(Op::Start(flags)).map(drop),
            Node::End => self.push(Op::End(flags)).map(drop),
            Node::AbsoluteStart => self.push(Op::AbsoluteStart).map(drop),
            Node::AbsoluteEnd => self.push(Op::AbsoluteEnd).map(drop),
            Node::WordBoundary(at) => self.push(Op::WordBoundary(*at, flags)).map(drop),
            Node::Reference(group) => self.push(Op::Reference(*group, flags)).map(drop),
            Node::Sequence(nodes) => nodes.iter().try_for_each(|node| self.node(node, flags)),
            Node::Either(nodes) => {
                let mut ends = Vec::new();
                for (i, node) in nodes.iter().enumerate() {
                    if i + 1 == nodes.len() {
                        self.node(node, flags)?;
                        break;
                    }
                    let split = self.push(Op::Match)?;
                    self.node(node, flags)?;
                    ends.push(self.push(Op::Match)?);
                    self.code[split] = Op::Split(split + 1, self.code.len());
                }
                for end in ends {
                    self.code[end] = Op::Jump(self.code.len());
                }
                Ok(())
            }
            Node::Group { number, on, off, body } => {
                let flags = flags.with(*on).without(*off);
                if let Some(number) = number {
                    self.push(Op::Save(number * 2))?;
                }
                self.node(body, flags)?;
                if let Some(number) = number {
                    self.push(Op::Save(number * 2 + 1))?;
                }
                Ok(())
            }
            Node::Atomic(body) => self.within(body, flags, |end| Op::Atomic { end }),
            Node::Look { ahead, negated, body } => {
                let behind = match ahead {
                    true => None,
                    false => Some(width(body).ok_or_else(|| {
                        PatternError::plain("re.error", "look-behind requires fixed-width pattern")
                    })?),
                };
                let negated = *negated;
                self.within(body, flags, |end| Op::Look { behind, negated, end })
            }
            Node::If { group, yes, no } => {
                let branch = self.push(Op::Match)?;
                self.node(yes, flags)?;
                let jump = self.push(Op::Match)?;
                self.code[branch] = Op::IfGroup(*group, self.code.len());
                self.node(no, flags)?;
                self.code[jump] = Op::Jump(self.code.len());
                Ok(())
            }
            Node::Repeat { min, max, way: Way::Possessive, body } => {
                let greedy =
                    Node::Repeat { min: *min, max: *max, way: Way::Greedy, body: body.clone() };
                self.within(&greedy, flags, |end| Op::Atomic { end })
            }
            Node::Repeat { min, max, way, body } => {
                for _ in 0..*min {
                    self.node(body, flags)?;
                    if width(body) == Some(0) {
                        break; // once more changes nothing
                    }
                }
                match max {
                    None => self.repeat(body, flags, *way),
                    Some(max) => {
                        let mut splits = Vec::new();
                        for _ in *min..*max {
                            splits.push(self.push(Op::Match)?);
                            self.node(body, flags)?;
                        }
                        let end = self.code.len();
                        for split in splits {
                            self.code[split] = either(*way, split + 1, end);
                        }
                        Ok(())
                    }
                }
            }
        }
    }

    /// As often as can be, or as seldom.
    fn repeat(&mut self, body: &Node, flags: Flags, way: Way) -> Result<(), PatternError> {
        let slot = self.slots;
        self.slots += 1;
        let split = self.push(Op::Match)?;
        self.push(Op::Save(slot))?;
        self.node(body, flags)?;
        self.push(Op::Progress(slot))?;
        self.push(Op::Jump(split))?;
        self.code[split] = either(way, split + 1, self.code.len());
        Ok(())
    }

    /// A part that is matched on its own.
    fn within(
        &mut self,
        body: &Node,
        flags: Flags,
        op: impl FnOnce(usize) -> Op,
    ) -> Result<(), PatternError> {
        let at = self.push(Op::Match)?;
        self.node(body, flags)?;
        self.push(Op::Match)?;
        self.code[at] = op(self.code.len());
        Ok(())
    }

    pub(super) fn is_match(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let mut run = Run { program: self, name: &name, steps: STEPS_MAX };
        run.from(0, 0, vec![None; self.slots], 0).is_some()
    }
}

fn either(way: Way, more: usize, end: usize) -> Op {
    match way {
        Way::Lazy => Op::Split(end, more),
        Way::Greedy | Way::Possessive => Op::Split(more, end),
    }
}

/// How many characters a node takes, when that is certain.
fn width(node: &Node) -> Option<usize> {
    match node {
        Node::Char(_) | Node::Any | Node::Set { .. } => Some(1),
        Node::Start
        | Node::End
        | Node::AbsoluteStart
        | Node::AbsoluteEnd
        | Node::WordBoundary(_)
        | Node::Look { .. } => Some(0),
        Node::Sequence(nodes) => nodes.iter().map(width).sum(),
        Node::Either(nodes) => {
            let mut widths = nodes.iter().map(width);
            let first = widths.next()??;
            widths.all(|width| width == Some(first)).then_some(first)
        }
        Node::Group { body, .. } | Node::Atomic(body) => width(body),
        Node::If { yes, no, .. } => width(yes).filter(|yes| width(no) == Some(*yes)),
        Node::Reference(_) => None,
        Node::Repeat { min, max, body, .. } => {
            let times = usize::try_from(*min).ok().filter(|_| *max == Some(*min))?;
            width(body)?.checked_mul(times)
        }
    }
}

struct Run<'a> {
    program: &'a Program,
    name: &'a [char],
    steps: usize,
}

type Slots = Vec<Option<usize>>;

impl Run<'_> {
    /// Where a match from here ends, and what it remembers.
    fn from(
        &mut self,
        pc: usize,
        at: usize,
        slots: Slots,
        nesting: usize,
    ) -> Option<(usize, Slots)> {
        if nesting > NESTING_MAX {
            return None;
        }
        // Ways not tried yet; each step adds one at most.
        let mut others = vec![(pc, at, slots)];
        while let Some((mut pc, mut at, mut slots)) = others.pop() {
            loop {
                self.steps = self.steps.checked_sub(1)?;
                let c = self.name.get(at).copied();
                match &self.program.code[pc] {
                    Op::Match => return Some((at, slots)),
                    Op::Char(expected, flags) => {
                        if !c.is_some_and(|c| equal(c, *expected, *flags)) {
                            break;
                        }
                        at += 1;
                    }
                    Op::Any(flags) => {
                        if !c.is_some_and(|c| c != '\n' || flags.dot_all) {
                            break;
                        }
                        at += 1;
                    }
                    Op::Set { items, negated, flags } => {
                        if c.is_none_or(|c| contains(items, c, *flags) == *negated) {
                            break;
                        }
                        at += 1;
                    }
                    Op::Start(flags) => {
                        let line = flags.multiline && at > 0 && self.name[at - 1] == '\n';
                        if at != 0 && !line {
                            break;
                        }
                    }
                    Op::End(flags) => {
                        let last = c == Some('\n') && at + 1 == self.name.len();
                        if c.is_some() && !last && !(flags.multiline && c == Some('\n')) {
                            break;
                        }
                    }
                    Op::AbsoluteStart => {
                        if at != 0 {
                            break;
                        }
                    }
                    Op::AbsoluteEnd => {
                        if c.is_some() {
                            break;
                        }
                    }
                    Op::WordBoundary(expected, flags) => {
                        let before = at > 0 && is_word(self.name[at - 1], *flags);
                        let after = c.is_some_and(|c| is_word(c, *flags));
                        if (before != after) != *expected {
                            break;
                        }
                    }
                    Op::Reference(group, flags) => {
                        let (Some(from), Some(to)) = (slots[group * 2], slots[group * 2 + 1])
                        else {
                            break;
                        };
                        let (group, rest) = (&self.name[from..to], &self.name[at..]);
                        let same = group.len() <= rest.len()
                            && group.iter().zip(rest).all(|(a, b)| equal(*a, *b, *flags));
                        if !same {
                            break;
                        }
                        at += group.len();
                    }
                    Op::Split(first, second) => {
                        others.push((*second, at, slots.clone()));
                        pc = *first;
                        continue;
                    }
                    Op::Jump(to) => {
                        pc = *to;
                        continue;
                    }
                    Op::IfGroup(group, otherwise) => {
                        if slots[group * 2 + 1].is_none() {
                            pc = *otherwise;
                            continue;
                        }
                    }
                    Op::Save(slot) => slots[*slot] = Some(at),
                    Op::Progress(slot) => {
                        if slots[*slot] == Some(at) {
                            break;
                        }
                    }
                    Op::Look { behind, negated, end } => {
                        let from = match behind {
                            None => Some(at),
                            Some(width) => at.checked_sub(*width),
                        };
                        let inner = (pc + 1, *end);
                        let found = from
                            .and_then(|from| self.from(inner.0, from, slots.clone(), nesting + 1));
                        match (found, negated) {
                            (Some((_, found)), false) => slots = found,
                            (None, true) => (),
                            _ => break,
                        }
                        pc = inner.1;
                        continue;
                    }
                    Op::Atomic { end } => {
                        let end = *end;
                        match self.from(pc + 1, at, slots, nesting + 1) {
                            Some(found) => (at, slots) = found,
                            None => break,
                        }
                        pc = end;
                        continue;
                    }
                }
                pc += 1;
            }
        }
        None
    }
}

fn equal(a: char, b: char, flags: Flags) -> bool {
    a == b || flags.ignore_case && a.to_lowercase().eq(b.to_lowercase())
}

fn contains(items: &[Item], c: char, flags: Flags) -> bool {
    let within = |c: char| {
        items.iter().any(|item| match item {
            Item::Range(low, high) => (*low..=*high).contains(&c),
            Item::Class(Class::Digit(is)) => is_digit(c, flags) == *is,
            Item::Class(Class::Space(is)) => is_space(c, flags) == *is,
            Item::Class(Class::Word(is)) => is_word(c, flags) == *is,
        })
    };
    within(c) || flags.ignore_case && c.to_lowercase().chain(c.to_uppercase()).any(within)
}

fn is_digit(c: char, flags: Flags) -> bool {
    // Decimal digits of all scripts: numeric, and nothing but a digit.
    c.is_ascii_digit() || !flags.ascii && c.is_numeric() && is_decimal(c)
}

/// The first digits of the scripts whose digits stand in a row of ten.
fn is_decimal(c: char) -> bool {
    const ZEROS: [u32; 20] = [
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50,
        0xed0, 0xf20, 0x1040, 0x17e0, 0x1810, 0xa620, 0xff10,
    ];
    ZEROS.iter().any(|zero| (*zero..*zero + 10).contains(&u32::from(c)))
}

fn is_space(c: char, flags: Flags) -> bool {
    match flags.ascii {
        true => matches!(c, ' ' | '\t'..='\r'),
        false => c.is_whitespace() || matches!(c, '\x1c'..='\x1f'),
    }
}

fn is_word(c: char, flags: Flags) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !flags.ascii && c.is_alphanumeric()
}
