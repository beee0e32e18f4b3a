//! Escapes data from Flows and suites for the formats of reports.

use super::words::{is_command, plain};

/// Text for an attribute or an element. XML 1.0 cannot represent most control characters.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if is_command(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Text for Markdown: it contains no markup, no links and no mentions.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // A zero-width space prevents mentions, issue references and automatic links.
            '@' | '#' => out.extend([c, '\u{200b}']),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => out.extend(['\\', c]),
            ':' => out.push_str("&#58;"),
            c => out.push(c),
        }
    }
    out
}

/// Maximum number of characters of a comment on a pull request or of a job summary. GitHub shows nothing of a
/// longer one (limits: 65,536 characters, in a summary 1 MiB).
pub(super) const MARKDOWN_MAX: usize = 65_000;

/// Cuts Markdown to the maximum size at the end of a paragraph, with a note.
pub(super) fn markdown_cut(text: String) -> String {
    const NOTE: &str = "\n> **Note:** the report is larger than a comment can be, so the rest is \
                        omitted here. The page and the JSON have all of it.\n";
    const CLOSE: &str = "\n</details>\n";
    let Some((end, _)) = text.char_indices().nth(MARKDOWN_MAX) else { return text };
    let room = MARKDOWN_MAX - NOTE.chars().count() - CLOSE.chars().count();
    let fits = text.char_indices().nth(room).map_or(end, |(at, _)| at);
    let whole = text[..fits].rfind("\n\n").or_else(|| text[..fits].rfind('\n')).unwrap_or(fits);
    let mut cut = text[..whole].to_owned();
    cut.push('\n');
    if cut.matches("<details>").count() > cut.matches("</details>").count() {
        cut.push_str(CLOSE);
    }
    cut + NOTE
}

/// Code in Markdown, in a `<code>` element, so that backticks need no special care.
pub(super) fn markdown_code(text: &str) -> String {
    let mut out = String::from("<code>");
    for c in plain(text).chars() {
        match c {
            c if c.is_alphanumeric() || " .=".contains(c) || !c.is_ascii() => out.push(c),
            c => out.push_str(&format!("&#{};", u32::from(c))),
        }
    }
    out + "</code>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(xml("<a b=\"1\">&\n\t\x1b"), "&lt;a b=&quot;1&quot;&gt;&amp;&#10;&#9;\u{fffd}");
        assert_eq!(markdown("a|b\n<b> @me"), "a\\|b &lt;b&gt; @\u{200b}me");
        assert_eq!(markdown_code("`p99` | x"), "<code>&#96;p99&#96; &#124; x</code>");
    }
}
