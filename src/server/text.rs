//! Prometheus' text format, as exported by the pods of a Flow.
//!
//! The format is small, but labels are tricky: their values may contain commas, braces and quotes, as endpoints do.
//! Invalid lines are skipped, as Prometheus' own clients only ever extend the format.

use std::borrow::Cow;

/// A line with content.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// Declares the type of a metric: name and type.
    Type(&'a str, &'a str),
    /// A value.
    Sample(Sample<'a>),
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl Sample<'_> {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }
}

/// The valid lines of a page.
pub(super) fn lines(page: &str) -> impl Iterator<Item = Line<'_>> {
    page.lines().filter_map(|line| line_of(line.trim()))
}

fn line_of(line: &str) -> Option<Line<'_>> {
    if let Some(comment) = line.strip_prefix('#') {
        let mut words = comment.split_whitespace();
        let is_type = words.next() == Some("TYPE");
        let (name, kind) = (words.next()?, words.next()?);
        return is_type.then_some(Line::Type(name, kind));
    }
    sample(line).map(Line::Sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !in_name(c))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // A timestamp may follow, and in OpenMetrics an exemplar.
    let value = number(rest.split_whitespace().next()?)?;
    Some(Sample { name, labels, value })
}

/// The labels up to the closing brace, and the rest after it.
#[expect(clippy::type_complexity, reason = "it is a list and a rest")]
fn labels(mut rest: &str) -> Option<(Vec<(&str, Cow<'_, str>)>, &str)> {
    const LABELS_MAX: usize = 64;
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start().trim_start_matches(',').trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start().strip_prefix('"')?;
        let end = closing_quote(after)?;
        if labels.len() < LABELS_MAX {
            labels.push((name.trim(), unescaped(&after[..end])));
        }
        rest = &after[end + 1..];
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            (c, false) => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// A number as Go and Python write it: `1e+06`, `+Inf`, `NaN`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, labels and value of each.
    type Shown = (String, Vec<(String, String)>, String);

    fn samples(page: &str) -> Vec<Shown> {
        let each = lines(page).filter_map(|line| match line {
            Line::Sample(sample) => Some(sample),
            Line::Type(..) => None,
        });
        each.map(|sample| {
            let labels = sample.labels.iter().map(|(k, v)| ((*k).to_owned(), v.to_string()));
            (sample.name.to_owned(), labels.collect(), sample.value.to_string())
        })
        .collect()
    }

    #[test]
    fn values_have_names_and_labels_of_any_text() {
        let page = "# HELP a What: {it=\"is\"} 5\n# TYPE a counter\na 1\n\
                    b{x=\"1\",y = \"a,b}=\\\"c\\\"\\\\\\n\"} 2.5e+3 1700000000000\n\
                    c:d{} +Inf\ne{ executor_endpoint=\"/a=b\", } NaN\nf -0.5 # {id=\"7\"} 3\r\n";
        let found = samples(page);
        let names: Vec<&str> = found.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c:d", "e", "f"]);
        let values: Vec<&str> = found.iter().map(|(_, _, value)| value.as_str()).collect();
        assert_eq!(values, ["1", "2500", "inf", "NaN", "-0.5"]);
        assert_eq!(found[1].1[1], ("y".to_owned(), "a,b}=\"c\"\\\n".to_owned()));
        assert_eq!(found[3].1[0].1, "/a=b");
        assert_eq!(lines(page).next(), Some(Line::Type("a", "counter")));
    }

    #[test]
    fn what_is_no_line_of_the_format_is_passed_over() {
        for line in [
            "",
            "<html>",
            "a",
            "a{x=\"1\" 2",
            "a{x=\"1} 2",
            "a{x} 2",
            "5a 2",
            "a{x=\"1\"}",
            "a{x=\"\\",
            "a b",
            "# TYPE a",
            "#",
            "ä 1",
        ] {
            assert_eq!(lines(line).next(), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", hard in "[a{}=\",\\\\ 1\n#]{0,40}") {
            proptest::prop_assert!(lines(&text).count() <= text.len());
            proptest::prop_assert!(lines(&hard).count() <= hard.len());
        }
    }
}
