//! Reads header and routes of a response from its text and counts its Documents, in one pass and without
//! building values for the rest: a load does this for every reply, and the Documents of most are never
//! needed.
//!
//! Text in any form that gateways do not write gives `None` here and is left to the parser.

use super::time;
use crate::wire::{Head, Header, Route, Status};

/// Reads a status, which only failures have.
type ReadStatus = fn(&[u8]) -> Option<Status>;

/// The head of a response. `None` if it is not an object, or not as simple as usual, and must be parsed.
pub(super) fn head(text: &[u8], status: ReadStatus) -> Option<Head> {
    let mut head = Head { documents: Some(0), ..Head::default() };
    let (mut seen, mut is_response) = (Seen::default(), false);
    let end = members(text, space(text, 0), |name, at| match name {
        b"header" => {
            seen.once(0)?;
            if let Some(end) = null(text, at) {
                return Some(end);
            }
            is_response = true;
            header(text, at, status, &mut head.header)
        }
        b"routes" => {
            seen.once(1)?;
            if let Some(end) = null(text, at) {
                return Some(end);
            }
            is_response = true;
            let routes = head.routes.insert(Vec::new());
            elements(text, at, |at| route(text, at, status, routes))
        }
        b"parameters" => {
            seen.once(2)?;
            is_response |= null(text, at).is_none();
            skip(text, at)
        }
        b"data" => {
            seen.once(3)?;
            let (count, end) = documents(text, at)?;
            head.documents = Some(count);
            Some(end)
        }
        _ => skip(text, at),
    })?;
    (is_response && space(text, end) == text.len()).then_some(head)
}

/// Which members of an object have occurred: duplicates are left to the parser.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn once(&mut self, member: u8) -> Option<()> {
        let bit = 1 << member;
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new.then_some(())
    }
}

fn header(text: &[u8], at: usize, status: ReadStatus, into: &mut Header) -> Option<usize> {
    let mut seen = Seen::default();
    members(text, at, |name, at| match name {
        b"requestId" | b"request_id" => {
            seen.once(0)?;
            let (id, end) = optional(text, at)?;
            into.request_id = id.unwrap_or_default().to_owned();
            Some(end)
        }
        b"execEndpoint" | b"exec_endpoint" => {
            seen.once(1)?;
            owned(text, at, &mut into.exec_endpoint)
        }
        b"targetExecutor" | b"target_executor" => {
            seen.once(2)?;
            owned(text, at, &mut into.target_executor)
        }
        b"status" => {
            seen.once(3)?;
            failure(text, at, status, &mut into.status)
        }
        _ => skip(text, at),
    })
}

fn route(text: &[u8], at: usize, status: ReadStatus, routes: &mut Vec<Route>) -> Option<usize> {
    let (mut route, mut seen) = (Route::default(), Seen::default());
    let end = members(text, at, |name, at| {
        let instant = match name {
            b"executor" => {
                seen.once(0)?;
                let (name, end) = optional(text, at)?;
                route.executor = name.unwrap_or_default().into();
                return Some(end);
            }
            b"status" => {
                seen.once(1)?;
                return failure(text, at, status, &mut route.status);
            }
            b"startTime" | b"start_time" => {
                seen.once(2)?;
                &mut route.start_time
            }
            b"endTime" | b"end_time" => {
                seen.once(3)?;
                &mut route.end_time
            }
            _ => return skip(text, at),
        };
        let (written, end) = optional(text, at)?;
        *instant = match written {
            Some(written) => Some(time::read(written).ok()?),
            None => None,
        };
        Some(end)
    })?;
    routes.push(route);
    Some(end)
}

fn failure(
    text: &[u8],
    at: usize,
    read: ReadStatus,
    into: &mut Option<Box<Status>>,
) -> Option<usize> {
    if let Some(end) = null(text, at) {
        return Some(end);
    }
    let end = skip(text, at)?;
    *into = Some(Box::new(read(&text[at..end])?));
    Some(end)
}

/// The number of Documents in the list at `at`, or in v1's object with a list under `docs`.
fn documents(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut count = 0;
    let mut list = |at| {
        count = 0;
        elements(text, at, |at| {
            count += 1;
            skip(text, at)
        })
    };
    let end = match text.get(at)? {
        b'[' => list(at)?,
        b'{' => {
            let mut found = false;
            let end = members(text, at, |name, at| match name {
                b"docs" => {
                    found = true;
                    list(at)
                }
                _ => skip(text, at),
            })?;
            found.then_some(end)?
        }
        _ => null(text, at)?,
    };
    Some((count, end))
}

/// A text or null, and where it ends.
fn optional(text: &[u8], at: usize) -> Option<(Option<&str>, usize)> {
    if let Some(end) = null(text, at) {
        return Some((None, end));
    }
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let end = string(text, at)?;
    let inner = &text[at + 1..end - 1];
    if inner.iter().any(|byte| *byte == b'\\' || *byte < b' ') {
        return None;
    }
    Some((Some(str::from_utf8(inner).ok()?), end))
}

fn owned(text: &[u8], at: usize, into: &mut Option<String>) -> Option<usize> {
    let (found, end) = optional(text, at)?;
    *into = found.map(str::to_owned);
    Some(end)
}

fn null(text: &[u8], at: usize) -> Option<usize> {
    text.get(at..)?.starts_with(b"null").then_some(at + 4)
}

/// Walks through the list that begins at `at`. `each` gets the start of an element and returns its end.
fn elements(text: &[u8], at: usize, mut each: impl FnMut(usize) -> Option<usize>) -> Option<usize> {
    if text.get(at) != Some(&b'[') {
        return None;
    }
    let mut at = space(text, at + 1);
    if text.get(at) == Some(&b']') {
        return Some(at + 1);
    }
    loop {
        at = space(text, each(at)?);
        match text.get(at)? {
            b',' => at = space(text, at + 1),
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Walks through the object that begins at `at`. `each` gets a name and the start of its value, and returns
/// the value's end.
fn members(
    text: &[u8],
    at: usize,
    mut each: impl FnMut(&[u8], usize) -> Option<usize>,
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
        at = space(text, each(name, space(text, at + 1))?);
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
            // Whether brackets match is checked only when their content is read.
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
    /// Names are shorter than this, and checking each byte is faster for them.
    const SHORT: usize = 20;
    let mut at = at + 1;
    for (ahead, byte) in text.get(at..)?.iter().take(SHORT).enumerate() {
        match byte {
            b'"' => return Some(at + ahead + 1),
            b'\\' => break,
            _ => (),
        }
    }
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
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;

    /// No status can be read.
    fn scan(text: &str) -> Option<Head> {
        head(text.as_bytes(), |_| None)
    }

    #[test]
    fn a_head_is_read_wherever_its_parts_stand() {
        let text = r#" {"data": [{"text":"a]\"}"}, 3 ,"x"], "other":{"header":1},
            "routes":[ {"executor":"a", "startTime":"1970-01-01T00:00:01+00:00", "x":[{}]} , {} ],
            "header" : {"request_id":"1", "execEndpoint":null, "target_executor":"é"},
            "parameters":null } "#;
        let found = scan(text).unwrap();
        assert_eq!(found.documents, Some(3));
        let Header { request_id, exec_endpoint, target_executor, status } = found.header;
        assert_eq!((request_id.as_str(), target_executor.as_deref()), ("1", Some("é")));
        assert_eq!((exec_endpoint, status), (None, None));
        let routes = found.routes.unwrap();
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!((routes.len(), routes[0].start_time), (2, Some(second)));
        assert_eq!(routes[0].executor, "a");
        for (data, count) in [
            (r#"{"a":[1],"docs":[{},[]]}"#, Some(2)),
            ("[]", Some(0)),
            ("null", Some(0)),
            ("{}", None),
            ("7", None),
        ] {
            let found = scan(&format!(r#"{{"header":{{}},"data":{data}}}"#));
            assert_eq!(found.map(|head| head.documents), count.map(Some), "{data}");
        }
    }

    #[test]
    fn what_is_not_simple_is_left_to_the_parser() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"data":[]}"#,
            r#"{"header":{}"#,
            r#"{"header":{},"header":{}}"#,
            r#"{"he\u0061der":{}}"#,
            r#"{"header" {}}"#,
            r#"{"header":}"#,
            r#"{"header":{}} x"#,
            r#"{"header":"a}"#,
            r#"{"header":7}"#,
            r#"{"header":null,"routes":null,"parameters":null,"data":null}"#,
            r#"{"header":{"requestId":7}}"#,
            r#"{"header":{"requestId":"\u0061"}}"#,
            "{\"header\":{\"requestId\":\"a\nb\"}}",
            r#"{"header":{"requestId":"1","request_id":"1"}}"#,
            r#"{"header":{"status":{}}}"#,
            r#"{"routes":{}}"#,
            r#"{"routes":[{"startTime":"yesterday"}]}"#,
            r#"{a:1}"#,
        ] {
            assert_eq!(scan(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[\\[\\]{}\",:\\\\a1 ]{0,60}") {
            scan(&text);
            scan(&format!("{{\"header\":{{\"requestId\":{text}"));
        }
    }
}
