//! `target_executor` as Python's `re.match` takes it: anchored at the start only.

use std::sync::Arc;

use fancy_regex::{CompileError, Error, Regex, RegexBuilder};

/// Maximum number of backtracking steps per match. Patterns come from clients, and names are short.
const BACKTRACKS_MAX: usize = 100_000;

/// Maximum size of the compiled parts of a pattern that need no backtracking, in bytes.
const SIZE_MAX: usize = 1 << 20;

/// A compiled pattern. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Arc<Regex>);

/// Why a `target_executor` cannot be matched against names.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// It is not a regular expression, or uses a feature that is not supported here.
    #[error("{}", words(.0))]
    Invalid(Error),
    /// Matching a name takes too many backtracking steps.
    #[error("matching `{name}` takes more than {BACKTRACKS_MAX} backtracking steps")]
    TooSlow {
        /// The Executor's name.
        name: String,
    },
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is not a regular expression.
    pub(super) fn new(text: &str) -> Result<Pattern, PatternError> {
        let mut builder = RegexBuilder::new(text);
        builder.backtrack_limit(BACKTRACKS_MAX).delegate_size_limit(SIZE_MAX);
        Ok(Pattern(Arc::new(builder.build().map_err(PatternError::Invalid)?)))
    }

    /// Whether a name begins with it.
    ///
    /// # Errors
    /// When matching takes too many steps.
    pub(super) fn is_match(&self, name: &str) -> Result<bool, PatternError> {
        // `find` returns the leftmost match: if one begins at the start of the name, it is this one.
        match self.0.find(name) {
            Ok(found) => Ok(found.is_some_and(|found| found.start() == 0)),
            Err(_) => Err(PatternError::TooSlow { name: name.to_owned() }),
        }
    }
}

/// Checks a `target_executor`, a regular expression that is matched from the start of a name.
///
/// # Errors
/// Why it is not a regular expression.
pub fn check_target_executor(text: &str) -> Result<(), PatternError> {
    Pattern::new(text).map(drop)
}

/// What is wrong with a pattern, on one line.
fn words(error: &Error) -> String {
    match error {
        Error::ParseError(position, error) => {
            format!("{} at position {position}", lower(&error.to_string()))
        }
        Error::CompileError(error) => match &**error {
            // The underlying crate prints the pattern on several lines, and the reason on the last.
            CompileError::InnerError(error) => {
                let why = std::error::Error::source(error).map(ToString::to_string);
                let why = why.unwrap_or_else(|| error.to_string());
                let last = why.lines().last().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
            CompileError::VariableLookBehindRequiresFeature => {
                "look-behind requires fixed-width pattern".into()
            }
            error => lower(&error.to_string()),
        },
        error => lower(&error.to_string()),
    }
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
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
            ("b|ab", "ab", true),
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
            ("(?#comment)echo", "echo", true),
            ("é", "é", true),
            ("\\d", "٣", true),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(compiled.is_match(name).ok(), Some(expected), "{pattern} on {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_on_one_line() {
        for (pattern, expected) in [
            ("(", "opening parenthesis without closing parenthesis at position 1"),
            ("x)", "general parsing error: end of string not reached at position 1"),
            ("*", "target of repeat operator is invalid at position 0"),
            ("a**", "target of repeat operator is invalid at position 2"),
            ("[", "invalid character class at position 1"),
            ("[z-a]", "invalid character class range, the start must be <= the end"),
            ("\\", "backslash without following character at position 0"),
            ("\\q", "invalid escape: \\q at position 0"),
            ("\\1", "invalid back reference to group 1"),
            ("(?P<n", "could not parse group name at position 1"),
            ("(?z)a", "unknown group flag: (?z at position 2"),
            ("a\n(", "opening parenthesis without closing parenthesis at position 3"),
            ("(?<=a*)b", "look-behind requires fixed-width pattern"),
            ("a{99999999999}", "decimal literal invalid"),
            (
                "(((a{500}){500}){500})",
                "heap usage during NFA compilation exceeded limit of 1048576",
            ),
        ] {
            let error = Pattern::new(pattern).expect_err(pattern);
            assert_eq!(error.to_string(), expected, "{pattern}");
        }
    }

    #[test]
    fn a_match_that_would_take_ages_is_an_error() {
        let pattern = Pattern::new("(a|a|a|a)*\\1x").expect("it is one");
        let error = pattern.is_match(&"a".repeat(40)).expect_err("it takes too long");
        assert!(matches!(error, PatternError::TooSlow { .. }), "{error}");
    }
}
