//! Limits the size of recorded texts from the network: only the beginning of a megabyte-long
//! message is useful, and reports would keep all of it.

use std::borrow::Cow;

/// Maximum size of a text in bytes: a Python traceback of fifty calls.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The text, or its beginning with a note on how much was cut off.
pub fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let mut end = TEXT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = &text[..end];
    let missing = text.len() - kept.len();
    Cow::Owned(format!("{kept}… ({missing} more bytes cut off)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_by_how_much() {
        assert_eq!(cut("short"), "short");
        let most = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(&most), most);
        let long = format!("{}ß and the rest", "x".repeat(TEXT_BYTES_MAX - 1));
        let kept = "x".repeat(TEXT_BYTES_MAX - 1);
        assert_eq!(cut(&long), format!("{kept}… (15 more bytes cut off)"));
        let twice = format!("{}", cut(&cut(&long)));
        assert!(twice.len() < TEXT_BYTES_MAX + 100);
    }
}
