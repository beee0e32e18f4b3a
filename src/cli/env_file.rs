//! Files of `--env-file`: environment variables, one per line, in the format of Docker and dotenv.

use std::path::Path;

use super::problem::Problem;
use crate::text;

/// The variables of a file, in order.
///
/// # Errors
/// If the file cannot be read, or a line is invalid. The line is not shown: it may be a secret.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, Problem> {
    let shown = path.display();
    let text = text::read(path, text::CONFIG_BYTES_MAX).map_err(|error| {
        Problem::usage(format!("--env-file: could not read `{shown}`: {error}"))
    })?;
    variables(&text).map_err(|Wrong { line, reason }| {
        Problem::usage(format!("--env-file: {reason}\n --> {shown}:{line}"))
    })
}

/// An invalid line.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    reason: &'static str,
}

fn variables(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason| Wrong { line: index + 1, reason };
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err(wrong("expected `NAME=VALUE`"));
        };
        let name = name.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty()
            || !name.chars().all(is_name)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(wrong(
                "expected a name of letters, digits and `_` before the `=`, not beginning with a digit",
            ));
        }
        found.push((name.to_owned(), value_of(value.trim()).map_err(wrong)?));
    }
    Ok(found)
}

/// A value without its quotes and any comment after it.
fn value_of(text: &str) -> Result<String, &'static str> {
    let (quote, rest) = match text.chars().next() {
        Some(quote @ ('\'' | '"')) => (quote, &text[1..]),
        _ => {
            let comment = text.find(" #").or_else(|| text.find("\t#"));
            return Ok(text[..comment.unwrap_or(text.len())].trim_end().to_owned());
        }
    };
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => {
                let after = chars.as_str().trim_start();
                return match after.is_empty() || after.starts_with('#') {
                    true => Ok(value),
                    false => Err("expected the end of the line, or a comment, after the quotes"),
                };
            }
            '\\' if quote == '"' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the quotes are not closed on this line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables_as_docker_and_dotenv_have_them() {
        let text = "# a comment\n\nA=1\nexport B = two words # why\r\nC='a # b \\n'  # c\n\
                    D=\"a\\tb\\n\\\"\\\\ \\x\"\nE=\nF=a=b#c\nURL=http://x/#y\n";
        let found = variables(text).expect("all are right");
        let found: Vec<_> =
            found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            found,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "a # b \\n"),
                ("D", "a\tb\n\"\\ \\x"),
                ("E", ""),
                ("F", "a=b#c"),
                ("URL", "http://x/#y"),
            ]
        );
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number_alone() {
        for (text, line) in [
            ("A=1\nsecret words\n", 2),
            ("=x", 1),
            ("A B=x", 1),
            ("\n\n1A=x", 3),
            ("A='x", 1),
            ("A=\"x\\\"", 1),
            ("A='x' y", 1),
        ] {
            assert_eq!(variables(text).map_err(|wrong| wrong.line), Err(line), "{text}");
        }
    }
}
