//! `target_executor` as Python's `re.match` takes it: anchored at the start only.
//!
//! Python's patterns have look-around and references, and say in words of their own what is wrong
//! with one, so this is Python's syntax (3.11) on a small backtracking machine. It matches names of
//! Executors, which are short, and gives up after a bounded number of steps. Not there are
//! characters by name, `\N{…}`.

mod parse;
mod program;

use std::sync::Arc;

use self::program::Program;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(in crate::flow) struct Pattern(Arc<Program>);

/// What Python raises for a text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    class: &'static str,
    message: String,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What Python raises, in its words.
    pub(in crate::flow) fn new(text: &str) -> Result<Pattern, PatternError> {
        Ok(Pattern(Arc::new(Program::compile(&parse::parse(text)?)?)))
    }

    /// Whether a name begins with it.
    pub(in crate::flow) fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl PatternError {
    /// An `re.error` at a place of the pattern, counted in characters.
    fn at(pattern: &[char], message: String, position: usize) -> PatternError {
        let mut message = format!("{message} at position {position}");
        if pattern.contains(&'\n') {
            let before = &pattern[..position.min(pattern.len())];
            let line = before.iter().filter(|c| **c == '\n').count() + 1;
            let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
            message.push_str(&format!(" (line {line}, column {column})"));
        }
        PatternError { class: "re.error", message }
    }

    /// An exception that names no place.
    fn plain(class: &'static str, message: &str) -> PatternError {
        PatternError { class, message: message.to_owned() }
    }

    /// The class of the exception.
    pub(super) fn class(&self) -> &'static str {
        self.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_python() {
        for (pattern, name, expected) in [
            ("", "anything", true),
            ("bar*", "barExecutor", true),
            ("bar*", "ba", true),
            ("Executor", "fooExecutor", false),
            (".*Executor", "fooExecutor", true),
            ("^echo$", "echo", true),
            ("echo$", "echo2", false),
            ("a|b", "b", true),
            ("(?i)ECHO", "echo", true),
            ("(?i:E)cho", "echo", true),
            ("(?i:E)CHO", "echo", false),
            ("(?=e)echo", "echo", true),
            ("(?!e).*", "echo", false),
            (".*(?<=er)$", "sleeper", true),
            (".*(?<!er)$", "sleeper", false),
            ("(a)\\1", "aa", true),
            ("(?P<x>ab)(?P=x)", "abab", true),
            ("(a)?(?(1)b|c)", "ab", true),
            ("(a)?(?(1)b|c)$", "c", true),
            ("[a-c]+$", "abcabc", true),
            ("[^a-c]", "a", false),
            ("[]a]", "]", true),
            ("[\\w-]+$", "a-b_c", true),
            ("a{2", "a{2", true),
            ("a{,2}$", "aa", true),
            ("a{2,}?$", "aaa", true),
            ("a{3}", "aa", false),
            ("a++a", "aaa", false),
            ("(?>a+)a", "aaa", false),
            ("\\Aecho\\Z", "echo", true),
            ("\\be\\w+\\b$", "echo", true),
            ("\\x65cho", "echo", true),
            ("(?x) e c # comment\n h o", "echo", true),
            ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("(?:)*x", "x", true),
            ("(?#comment)echo", "echo", true),
            ("é", "é", true),
            ("\\d", "٣", true),
            ("(?a)\\d", "٣", false),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(compiled.is_match(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_in_pythons_words() {
        for (pattern, expected) in [
            ("(", "missing ), unterminated subpattern at position 0"),
            ("x)", "unbalanced parenthesis at position 1"),
            ("*", "nothing to repeat at position 0"),
            ("^*", "nothing to repeat at position 1"),
            ("a**", "multiple repeat at position 2"),
            ("a*+?", "multiple repeat at position 3"),
            ("[", "unterminated character set at position 0"),
            ("[z-a]", "bad character range z-a at position 1"),
            ("[\\w-z]", "bad character range \\w-z at position 1"),
            ("a{2,1}", "min repeat greater than max repeat at position 2"),
            ("\\", "bad escape (end of pattern) at position 0"),
            ("\\q", "bad escape \\q at position 0"),
            ("\\1", "invalid group reference 1 at position 1"),
            ("(\\1)", "cannot refer to an open group at position 1"),
            ("(?P<n", "missing >, unterminated name at position 4"),
            ("(?P<1>a)", "bad character in group name '1' at position 4"),
            (
                "(?P<a>x)(?P<a>y)",
                "redefinition of group name 'a' as group 2; was group 1 at position 12",
            ),
            ("(?P=b)", "unknown group name 'b' at position 4"),
            ("(?z)a", "unknown extension ?z at position 1"),
            ("(?<a)", "unknown extension ?<a at position 1"),
            ("a(?i)b", "global flags not at the start of the expression at position 1"),
            ("(?iz)", "unknown flag at position 3"),
            ("(?<=a*)b", "look-behind requires fixed-width pattern"),
            ("\\x1", "incomplete escape \\x1 at position 0"),
            ("a\n(", "missing ), unterminated subpattern at position 2 (line 2, column 1)"),
        ] {
            let error = Pattern::new(pattern).expect_err(pattern);
            assert_eq!(error.to_string(), expected, "{pattern}");
            assert_eq!(error.class(), "re.error");
        }
        let error = Pattern::new("a{99999999999}").expect_err("too large");
        assert_eq!(error.class(), "OverflowError");
        assert_eq!(error.to_string(), "the repetition number is too large");
    }
}
