//! Which fields of Documents an expression reads, as far as its text shows.

use std::sync::LazyLock;

use regex::Regex;

use super::values::FIELDS;

/// `docs[0].text`, `matches[-1].scores`; not `docs[0].items()`.
static OF_ONE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(?:docs|chunks|matches)\s*\[[^\[\]]*\]\s*\.\s*([A-Za-z_]\w*)\s*(\()?")
        .expect("it is a regular expression")
});

/// `docs | map(attribute="text")`, `docs | selectattr('text', …)`.
static OF_ALL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"\b(?:docs|chunks|matches)\s*\|\s*(?:map\s*\(\s*attribute\s*=|(?:select|reject)attr\s*\()\s*["']([A-Za-z_]\w*)"#,
    )
    .expect("it is a regular expression")
});

/// Quoted strings, which may contain anything.
static QUOTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""[^"]*"|'[^']*'"#).expect("it is a regular expression"));

/// The names that an expression looks up in Documents but that are not Document fields.
pub(super) fn unknown(expression: &str) -> Vec<String> {
    let bare = QUOTED.replace_all(expression, "''");
    // One match's field may be the next match's list: `docs[0].chunks[1].text`.
    let mut from = 0;
    let of_one = std::iter::from_fn(|| {
        let found = OF_ONE.captures_at(&bare, from)?;
        from = found.get(1)?.start();
        Some(found)
    });
    let of_one = of_one.filter(|found| found.get(2).is_none()).map(|found| found[1].to_owned());
    let of_all = OF_ALL.captures_iter(expression).map(|found| found[1].to_owned());
    of_one.chain(of_all).filter(|name| !FIELDS.contains(&name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_field_is_told() {
        for (expression, names) in [
            ("response.docs[0].txt == 'x'", vec!["txt"]),
            ("response.docs[0].text == 'x'", vec![]),
            ("response.docs[0].matches[1].scor.cosine.value < 1", vec!["scor"]),
            ("response.docs[0].tags.txt == 1 and request.docs[i].embeding", vec!["embeding"]),
            ("response.docs | map(attribute='txt') | list | length == 2", vec!["txt"]),
            ("response.docs | selectattr(\"txt\", 'eq', 'a') | list", vec!["txt"]),
            ("response.docs[0].items() | length > 1", vec![]),
            ("response.docs[0].text == 'docs[0].txt'", vec![]),
            ("response.routes | map(attribute='executor') | list", vec![]),
            ("response.docs[0].text.startswith('x')", vec![]),
        ] {
            assert_eq!(unknown(expression), names, "{expression}");
        }
    }
}
