//! Finds the parts of a response in its text without making values of them: a load does this for every
//! reply, and of most of them nobody asks for the Documents.

use std::ops::Range;

/// Where the parts of a response stand in its text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) header: Option<Range<usize>>,
    pub(super) parameters: Option<Range<usize>>,
    pub(super) routes: Option<Range<usize>>,
    pub(super) data: Option<Range<usize>>,
}

/// Finds them. `None`: it is no object, or not as simple as usual, and is to be parsed.
pub(super) fn parts(text: &[u8]) -> Option<Parts> {
    let mut parts = Parts::default();
    let end = members(text, space(text, 0), |name, value| {
        let part = match name {
            b"header" => &mut parts.header,
            b"parameters" => &mut parts.parameters,
            b"routes" => &mut parts.routes,
            b"data" => &mut parts.data,
            _ => return Some(()),
        };
        // Two of a name are for others to judge.
        part.replace(value).is_none().then_some(())
    })?;
    (space(text, end) == text.len()).then_some(parts)
}

/// How many Documents stand in these parts of a text: a list, or v1's object with a list under `docs`.
/// `None`: something else, which is to be parsed.
pub(super) fn count(text: &[u8]) -> Option<u64> {
    match text.first()? {
        b'[' => elements(text),
        b'{' => {
            let mut count = None;
            members(text, 0, |name, value| {
                if name == b"docs" {
                    count = Some(elements(&text[value])?);
                }
                Some(())
            })?;
            count
        }
        _ => None,
    }
}

/// The elements of a list.
fn elements(text: &[u8]) -> Option<u64> {
    if text.first() != Some(&b'[') {
        return None;
    }
    let mut at = space(text, 1);
    if text.get(at) == Some(&b']') {
        return Some(0);
    }
    let mut count = 0;
    loop {
        at = space(text, skip(text, at)?);
        count += 1;
        match text.get(at)? {
            b',' => at = space(text, at + 1),
            b']' => return Some(count),
            _ => return None,
        }
    }
}

/// The members of the object that begins at `at`; gives where it ends.
fn members(
    text: &[u8],
    at: usize,
    mut each: impl FnMut(&[u8], Range<usize>) -> Option<()>,
) -> Option<usize> {
    if text.get(at) != Some(&b'{') {
        return None;
    }
    let mut at = space(text, at + 1);
    if text.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let end = string(text, at)?;
        let name = &text[at + 1..end - 1];
        if name.contains(&b'\\') {
            return None;
        }
        at = space(text, end);
        if text.get(at) != Some(&b':') {
            return None;
        }
        let from = space(text, at + 1);
        let until = skip(text, from)?;
        each(name, from..until)?;
        at = space(text, until);
        match text.get(at)? {
            b',' => at = space(text, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Where the value that begins at `at` ends.
fn skip(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string(text, at),
        b'{' | b'[' => {
            // Whether brackets fit one another is for those to judge who read what is in them.
            let (mut at, mut depth) = (at, 0usize);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = string(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => (),
                }
                at += 1;
            }
        }
        b',' | b':' | b'}' | b']' => None,
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || is_space(byte);
            let length = text[at..].iter().position(ends)?;
            Some(at + length)
        }
    }
}

/// Where the string that begins at `at` ends.
fn string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| is_space(byte)).count()
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_found_wherever_they_stand() {
        let text = br#" {"data": [{"text":"a]\"}"}, 3 ,"x"], "other":{"header":1},
            "routes":[ ], "header" : {"request_id":"1"}, "parameters":null } "#;
        let found = parts(text).unwrap();
        let part = |range: Option<Range<usize>>| str::from_utf8(&text[range.unwrap()]).unwrap();
        assert_eq!(part(found.header), r#"{"request_id":"1"}"#);
        assert_eq!((part(found.parameters), part(found.routes)), ("null", "[ ]"));
        assert_eq!(count(&text[found.data.unwrap()]), Some(3));
        assert_eq!(count(br#"{"a":[1],"docs":[{},[]]}"#), Some(2));
        assert_eq!((count(b"[]"), count(b"{}"), count(b"7")), (Some(0), None, None));
    }

    #[test]
    fn what_is_not_simple_is_left_to_the_parser() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"header":{}"#,
            r#"{"header":{},"header":{}}"#,
            r#"{"he\u0061der":{}}"#,
            r#"{"header" {}}"#,
            r#"{"header":}"#,
            r#"{"header":{}} x"#,
            r#"{"header":"a}"#,
            r#"{a:1}"#,
        ] {
            assert_eq!(parts(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[\\[\\]{}\",:\\\\a1 ]{0,60}") {
            parts(text.as_bytes());
            count(text.as_bytes());
        }
    }
}
