//! YAML with a position for every value, and problems shown in their source line.
//!
//! A file is parsed into one tree of `Node`s, each of which knows its position, through anchors and merges.
//! Typed models are read from the tree ([`Sources::read`] finds *all* their problems) and carry no positions;
//! code that finds a problem in a model later walks the tree along the same keys with a `Spot`.
//!
//! Only `yaml.rs` uses the YAML crate. It is serde-saphyr under the name serde_yaml: the crate of that name
//! is archived and only gave the positions of errors. serde-saphyr gives the position of every value, through
//! anchors and merges, bounds the expansion of aliases, and has no unsafe code.

mod foreign;
mod node;
mod problem;
mod read;
mod yaml;

use std::borrow::Cow;
use std::sync::Arc;

pub use node::Value;
pub(crate) use node::{Entry, Node, Spot};
pub use problem::{Problem, Problems};
pub(crate) use read::LIST_HELP;
pub(crate) use yaml::FILE_BYTES_MAX;
pub use yaml::to_yaml;

/// The texts read so far, in order. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Arc<File>>,
}

#[derive(Debug)]
struct File {
    name: String,
    text: String,
    // The start of each line, for line numbers.
    lines: Vec<u32>,
    // The place that included this file; `None` for the first one.
    included: Option<Place>,
    // Ranges that are not shown, ascending: values of headers, user info of addresses.
    secrets: Vec<(u32, u32)>,
}

/// A range of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    file: u32,
    // In bytes; files have at most 16 MiB.
    start: u32,
    end: u32,
}

impl Sources {
    /// No files yet.
    pub fn new() -> Sources {
        Sources::default()
    }

    /// Whether any of the texts contains this name, other than as the beginning of a longer one.
    pub fn contain(&self, text: &str) -> bool {
        let goes_on = |c: char| c.is_alphanumeric() || c == '_';
        let ends = |rest: &str| !rest.starts_with(goes_on);
        let found = |file: &Arc<File>| {
            let mut places = file.text.match_indices(text);
            places.any(|(at, _)| ends(&file.text[at + text.len()..]))
        };
        self.files.iter().any(found)
    }

    /// `suite.yaml:14:5`; lines and columns count from 1, columns in characters.
    pub fn position(&self, place: Place) -> String {
        let Some(file) = self.files.get(place.file as usize) else { return String::new() };
        let line = file.line_of(place.start);
        let start = file.lines[line] as usize;
        let column = file.text.get(start..place.start as usize).map_or(0, |s| s.chars().count());
        format!("{}:{}:{}", file.name, line + 1, column + 1)
    }

    /// The names of the files, as given.
    pub(crate) fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The name of the file that contains a place, as given.
    pub fn file_name(&self, place: Place) -> &str {
        self.files.get(place.file as usize).map_or("", |file| &file.name)
    }
}

impl Place {
    /// The range in its file in bytes, quotes included.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The beginning of the file it is in.
    pub(crate) fn start_of_file(self) -> Place {
        Place { start: 0, end: 0, ..self }
    }
}

impl File {
    /// A line with secrets replaced by stars, for output; `start` is its position.
    fn shown<'a>(&self, line: &'a str, start: usize) -> Cow<'a, str> {
        let inside = |at: usize| {
            let at = (start + at) as u32;
            let after = self.secrets.partition_point(|(from, _)| *from <= at);
            // Secrets do not overlap, except for user info in a header, which ends before the header does.
            self.secrets[after.saturating_sub(2)..after].iter().any(|(_, to)| at < *to)
        };
        if !line.char_indices().any(|(at, _)| inside(at)) {
            return Cow::Borrowed(line);
        }
        // The number of bytes stays the same, so that marks keep their position.
        let shown = line
            .char_indices()
            .map(|(at, c)| if inside(at) { "*".repeat(c.len_utf8()) } else { c.to_string() });
        Cow::Owned(shown.collect())
    }

    fn line_of(&self, at: u32) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::units::{Rate, Span};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters here")]
    struct Model {
        name: String,
        load: Load,
        #[serde(default)]
        list: Vec<Kind>,
        flag: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters here")]
    struct Load {
        rate: Rate,
        duration: Option<Span>,
        clients: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Uniform,
        #[expect(dead_code, reason = "only whether it can be read matters here")]
        Ramp(Load),
    }

    fn messages(text: &str) -> String {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        if let Some(mut node) = sources.parse("s.yaml", text.into(), None, &mut problems) {
            Sources::read::<Model>(&mut node, "the suite", &mut problems);
        }
        let problems = Problems::new(&sources, problems);
        let shown = problems.iter().flat_map(Problems::iter).map(|problem| {
            let position = problem.place.map_or("".into(), |place| sources.position(place));
            let help = problem.help.as_ref().map_or("".into(), |help| format!(" [{help}]"));
            format!("{position} {}{help}\n", problem.message)
        });
        shown.collect()
    }

    #[test]
    fn all_problems_are_told_at_once_each_at_its_place() {
        let text = "
name: 5
load:
  rate: fast
  concurency: 8
  clients: -1
list: [uniform, unifrom, {ramp: {rate: 1/s, x: 1}}, {ramp: {}}]
flag: yes
";
        assert_eq!(
            messages(text),
            "s.yaml:2:7 expected text, found `5` [put it in quotes: \"5\"]\n\
             s.yaml:4:9 expected a rate such as `50/s` or `3000/min`, found `fast`\n\
             s.yaml:5:3 unknown key `concurency` in `load` [known here: rate, duration, clients]\n\
             s.yaml:6:12 expected a whole number of at least 0, found `-1`\n\
             s.yaml:7:17 expected `uniform` or `ramp`, found `unifrom` [did you mean `uniform`?]\n\
             s.yaml:7:45 unknown key `x` in `ramp` [known here: rate, duration, clients]\n\
             s.yaml:7:54 key `rate` is missing in `ramp`\n\
             s.yaml:8:7 expected `true` or `false`, found `yes`\n"
        );
    }

    #[test]
    fn a_problem_is_shown_in_its_line() {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        let text = "name: ä\nload: {rate: schnell, ü: 1}\n";
        let mut node = sources.parse("a/s.yaml", text.into(), None, &mut problems).expect("YAML");
        Sources::read::<Model>(&mut node, "the suite", &mut problems);
        let problems = Problems::new(&sources, problems).expect("problems");
        let shown = "\
error: expected a rate such as `50/s` or `3000/min`, found `schnell`
 --> a/s.yaml:2:14
  |
2 | load: {rate: schnell, ü: 1}
  |              ^^^^^^^

error: unknown key `ü` in `load`
 --> a/s.yaml:2:23
  |
2 | load: {rate: schnell, ü: 1}
  |                       ^
  |
  = help: known here: rate, duration, clients";
        assert_eq!(problems.to_string(), shown);
    }

    #[test]
    fn keys_given_twice_are_refused_and_shown_with_the_first() {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        sources.parse("s.yaml", "a: 1\nb: 2\na: 3\n".into(), None, &mut problems);
        let problems = Problems::new(&sources, problems).expect("problems");
        let shown = "\
error: key `a` is given twice
 --> s.yaml:3:1
  |
3 | a: 3
  | ^
  |
 ::: s.yaml:1:1
  |
1 | a: 1
  | - first given here";
        assert_eq!(problems.to_string(), shown);
    }

    #[test]
    fn merged_and_aliased_values_keep_the_place_they_were_written_at() {
        let text = "
name: n
load: &base {rate: nope, clients: 1}
list:
  - ramp: *base
  - ramp: {<<: *base, rate: 5/s}
";
        // The anchor is reported once, however often it is used; the merge overrides the wrong value.
        assert_eq!(
            messages(text),
            "s.yaml:3:20 expected a rate such as `50/s` or `3000/min`, found `nope`\n"
        );
    }

    #[test]
    fn a_missing_key_is_told_unless_it_was_refused() {
        assert_eq!(
            messages("name: n\nload:\n  clients: 1\n"),
            "s.yaml:2:1 key `rate` is missing in `load`\n"
        );
        assert_eq!(messages("name: n\n"), "s.yaml:1:1 key `load` is missing in the suite\n");
        assert_eq!(
            messages("[1, 2]"),
            "s.yaml:1:1 expected a map with keys such as `name`, `load` or `list`, found a list\n"
        );
    }

    #[test]
    fn broken_yaml_is_one_clear_problem() {
        for (text, message) in [
            (
                "a: {x: ${{ vars.y }}}\n",
                "s.yaml:1:9 not valid YAML: while parsing a flow mapping, did not find expected \
                 ',' or '}' [put quotes around a value with `${{ … }}` that is inside `{…}` or \
                 `[…]`, or that contains `: ` or ` #`]\n",
            ),
            (
                "a: 1\n---\nb: 2\n",
                "s.yaml:3:1 a suite is one YAML document, found a second one after `---`\n",
            ),
            ("a: *nowhere\n", "s.yaml:1:4 this alias has no anchor before it\n"),
            ("a: !secret x\n", "s.yaml:1:12 unknown tag `!secret`\n"),
            ("[x]: 1\n", "s.yaml:1:1 expected a word as a key\n"),
        ] {
            assert_eq!(messages(text), message, "{text}");
        }
    }

    #[test]
    fn bombs_are_refused_in_little_time_and_memory() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(messages(&bomb).contains("expand to more values"), "{}", messages(&bomb));
        for deep in
            ["[".repeat(100_000), "a: ".to_owned() + &"{a: ".repeat(10_000), "- ".repeat(10_000)]
        {
            assert!(messages(&deep).contains("32 levels"), "{}", messages(&deep));
        }
        let mut block = String::new();
        for level in 0..500 {
            block.push_str(&format!("{:level$}a:\n", ""));
        }
        assert!(messages(&block).contains("32 levels"), "{}", messages(&block));
        assert_eq!(
            messages(&" ".repeat(FILE_BYTES_MAX + 1)),
            "s.yaml:1:1 file is larger than 16MiB\n"
        );
        let huge = "9".repeat(400) + "e999";
        assert!(
            messages(&format!("name: {huge}")).contains("number"),
            "{}",
            messages(&format!("name: {huge}"))
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        for text in [
            "load: {rate: x, headers: {authorization: Bearer abc, n: 5}, host: 'grpc://me:abc@host:1'}",
            "load: {headers: {authorization: 'Bearer abc'}, rate: [",
            "load:\n  headers:\n    authorization: Bearer abc: abc\n",
            "headers: {authorization: [abc]}\nname: 5",
            "load: {headers: {authorization: 5abc}, headers: {x: abc}}",
        ] {
            let (mut sources, mut problems) = (Sources::new(), Vec::new());
            if let Some(mut node) = sources.parse("s.yaml", text.into(), None, &mut problems) {
                Sources::read::<Model>(&mut node, "the suite", &mut problems);
            }
            let shown = Problems::new(&sources, problems).expect("problems").to_string();
            assert!(!shown.contains("abc"), "{shown}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in "[ -~\n\té]{0,120}", yaml in "([a-c:\\-\\[\\]{},&*!?|>'\"#% \n<0-9.]|\\$\\{\\{|\\}\\}){0,80}") {
            messages(&text);
            messages(&yaml);
        }
    }
}
