//! Errors that end a command, for the person who typed it.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::de::DeserializeOwned;

use super::exit::Exit;
use crate::client::{CallError, ConfigError, PostError};
use crate::error::json_words;
use crate::text;
use crate::wire::TargetError;

/// Why a command ends, and with which exit code.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) exit: Exit,
    /// The message, including `error: `, without a trailing line break.
    pub(super) text: String,
    /// Whether the text contains our colours, and is already free of terminal controls.
    pub(super) colored: bool,
}

impl Problem {
    /// A text from any source.
    pub(super) fn new(exit: Exit, text: String) -> Problem {
        Problem { exit, text, colored: false }
    }

    /// The command line is wrong.
    pub(super) fn usage(message: impl std::fmt::Display) -> Problem {
        Problem::new(Exit::Usage, format!("error: {message}"))
    }

    /// An error with its causes.
    pub(super) fn caused(exit: Exit, error: &dyn std::error::Error) -> Problem {
        Problem::new(exit, format!("error: {}", crate::error::chain(error)))
    }

    /// A text with our own colours and no other terminal controls.
    pub(super) fn colored(exit: Exit, text: String) -> Problem {
        Problem { exit, text, colored: true }
    }
}

/// The problem that a file cannot be written.
pub(super) fn not_written(error: impl std::error::Error) -> Problem {
    Problem::caused(Exit::NotWritten, &error)
}

impl From<TargetError> for Problem {
    fn from(error: TargetError) -> Problem {
        Problem::usage(error)
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Problem {
        Problem::usage(error)
    }
}

impl From<&CallError> for Problem {
    fn from(error: &CallError) -> Problem {
        let exit = match error {
            CallError::Connect { .. }
            | CallError::OwnLimit { .. }
            | CallError::Tls { .. }
            | CallError::Lost { .. }
            | CallError::NotTaken { .. }
            | CallError::Protocol { .. } => Exit::Unreachable,
            CallError::Encode(_) | CallError::Unsupported(_) | CallError::Config(_) => Exit::Usage,
            CallError::Timeout(_)
            | CallError::Gateway { .. }
            | CallError::Executor { .. }
            | CallError::GraphQl(_)
            | CallError::TooLarge { .. }
            | CallError::NoRoom { .. }
            | CallError::Decode(_) => Exit::Failed,
        };
        Problem::new(exit, describe(error))
    }
}

impl From<&PostError> for Problem {
    fn from(error: &PostError) -> Problem {
        match error {
            PostError::Call(error) => error.into(),
            // The error itself says which input is wrong, and where.
            PostError::Input(error) => Problem::new(Exit::Usage, error.to_string()),
            other => Problem::usage(other),
        }
    }
}

/// Describes the error of a call; for an exception in an Executor, with the end of its stack.
fn describe(error: &CallError) -> String {
    const STACK_LINES: usize = 6;
    let CallError::Executor { description, executor, exception } = error else {
        return format!("error: {error}");
    };
    let mut text = match executor {
        Some(name) => format!("error: Executor `{name}` failed: {description}"),
        None => format!("error: {error}"),
    };
    let Some(exception) = exception else { return text };
    if !exception.name.is_empty() {
        let _ = write!(text, "\n  exception `{}`", exception.name);
        if !exception.executor.is_empty() {
            let _ = write!(text, " in Executor class `{}`", exception.executor);
        }
    }
    let stack: Vec<&str> = exception.stacks.iter().flat_map(|entry| entry.lines()).collect();
    let shown = &stack[stack.len().saturating_sub(STACK_LINES)..];
    if !shown.is_empty() {
        text.push_str("\n  the end of its stack:");
    }
    for line in shown {
        let _ = write!(text, "\n    {}", line.trim_end());
    }
    text
}

/// Reads an argument that is JSON, or `@` and the name of a file with JSON. `what` describes the
/// expected value, for example "a JSON object".
pub(super) fn json<T: DeserializeOwned>(
    argument: &str,
    what: &str,
    given: &str,
) -> Result<T, Problem> {
    let (origin, text) = self::argument(argument, given)?;
    serde_json::from_str(&text).map_err(|error| {
        let title = format!("`{argument}` is not {}", not_json(&error, what));
        in_line(&title, origin, 1, &text, &error)
    })
}

/// The text of an argument, given directly or as `@` and the name of a file, and its source.
pub(super) fn argument<'a>(
    argument: &'a str,
    given: &'a str,
) -> Result<(&'a str, String), Problem> {
    let Some(path) = given.strip_prefix('@') else { return Ok((argument, given.to_owned())) };
    match text::read(path.as_ref(), text::CONFIG_BYTES_MAX) {
        Ok(text) => Ok((path, text)),
        Err(error) => {
            Err(Problem::usage(format_args!("`{argument}`: cannot read `{path}`: {error}")))
        }
    }
}

/// Why a text is not `what`, or not JSON at all, without the position.
pub(super) fn not_json(error: &serde_json::Error, what: &str) -> String {
    let what = if error.is_data() { what } else { "JSON" };
    format!("{what}: {}", json_words(error))
}

/// Shows a problem in its line; `line` is the number of the first line of `text`.
pub(super) fn in_line(
    title: &str,
    origin: &str,
    line: usize,
    text: &str,
    error: &serde_json::Error,
) -> Problem {
    let start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len);
    // The column is that of the last byte read, counted from 1. At the end of the text, that byte
    // is correct and the missing one comes after it.
    let column = error.column().saturating_sub(usize::from(!error.is_eof()));
    let at = (start.sum::<usize>() + column).min(text.len());
    let at = (0..=at).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
    let snippet = Snippet::source(text)
        .path(origin)
        .line_start(line)
        .annotation(AnnotationKind::Primary.span(at..end));
    let report = [Level::ERROR.primary_title(title).element(snippet)];
    Problem::new(Exit::Usage, Renderer::plain().term_width(100).render(&report))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::{ExceptionInfo, Map};

    #[test]
    fn malformed_json_is_shown_with_its_place() {
        for (given, expected) in [
            (
                r#"{"k": 3 "j": 4}"#,
                r#"error: `--parameters` is not JSON: expected `,` or `}`
 --> --parameters:1:9
  |
1 | {"k": 3 "j": 4}
  |         ^"#,
            ),
            (
                r#"{"k": "#,
                r#"error: `--parameters` is not JSON: EOF while parsing a value
 --> --parameters:1:7
  |
1 | {"k": 
  |       ^"#,
            ),
            (
                "{'k': 3}",
                r#"error: `--parameters` is not JSON: key must be a string
 --> --parameters:1:2
  |
1 | {'k': 3}
  |  ^"#,
            ),
            (
                "{\n  \"ä\": 1,\n  \"ö\": nix\n}",
                r#"error: `--parameters` is not JSON: expected ident
 --> --parameters:3:9
  |
3 |   "ö": nix
  |         ^"#,
            ),
            (
                "",
                r#"error: `--parameters` is not JSON: EOF while parsing a value
 --> --parameters:1:1
  |
1 |
  | ^"#,
            ),
            (
                "[1]",
                r#"error: `--parameters` is not a JSON object: invalid type: sequence, expected a map
 --> --parameters:1:1
  |
1 | [1]
  | ^"#,
            ),
            (
                "@no/such/file",
                "error: `--parameters`: cannot read `no/such/file`: No such file or directory (os error 2)",
            ),
        ] {
            let problem = json::<Map>("--parameters", "a JSON object", given).expect_err(given);
            assert_eq!(problem.text, expected, "{given}");
            assert_eq!(problem.exit, Exit::Usage);
        }
    }

    #[test]
    fn an_exception_is_told_with_the_end_of_its_stack() {
        let error = CallError::Executor {
            description: "ValueError('no')".into(),
            executor: Some("encoder".into()),
            exception: Some(Arc::new(ExceptionInfo {
                name: "ValueError".into(),
                args: vec!["no".into()],
                stacks: vec![
                    "Traceback (most recent call last):\n".into(),
                    "  File \"a.py\", line 1, in a\n    b()\n".into(),
                    "  File \"b.py\", line 2, in b\n    c()\n".into(),
                    "  File \"c.py\", line 3, in c\n    raise ValueError('no')\n".into(),
                    "ValueError: no\n".into(),
                ],
                executor: "Encoder".into(),
            })),
        };
        let problem = Problem::from(&error);
        assert_eq!(problem.exit, Exit::Failed);
        assert_eq!(
            problem.text,
            r#"error: Executor `encoder` failed: ValueError('no')
  exception `ValueError` in Executor class `Encoder`
  the end of its stack:
        b()
      File "b.py", line 2, in b
        c()
      File "c.py", line 3, in c
        raise ValueError('no')
    ValueError: no"#
        );
    }
}
