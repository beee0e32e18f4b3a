//! JSON, and what Python says of a text that is none.

use serde_json::{Value, json};

use super::Refusal;
use crate::wire::Family;

/// How deep the search for a mistake goes; Python's parser ends with a `RecursionError`.
const DEPTH_MAX: usize = 500;

/// Reads a body as the gateway of a family does. `None` for one that counts as not there.
pub(in crate::flow::gateway) fn parse(
    body: &[u8],
    content_type: Option<&str>,
    family: Family,
) -> Result<Option<Value>, Refusal> {
    if body.is_empty() {
        return Ok(None);
    }
    if !is_json(content_type) {
        // FastAPI hands on the bytes, and they are no object.
        return Ok(Some(Value::String(String::from_utf8_lossy(body).into_owned())));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(refusal(&String::from_utf8_lossy(body), family)),
    }
}

/// Reads JSON from a text; else what Python says is wrong with it.
pub(in crate::flow::gateway) fn parse_text(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| match refusal(text, Family::V1) {
        Refusal::Invalid(problems) => problems[0]["msg"].as_str().unwrap_or_default().to_owned(),
        Refusal::TooDeep | Refusal::Internal => error.to_string(),
    })
}

/// `application/json`, or anything of the form `application/…+json`.
fn is_json(content_type: Option<&str>) -> bool {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let Some((main, sub)) = kind.split_once('/') else { return false };
    main.eq_ignore_ascii_case("application")
        && (sub.eq_ignore_ascii_case("json") || sub.to_ascii_lowercase().ends_with("+json"))
}

fn refusal(text: &str, family: Family) -> Refusal {
    let chars: Vec<char> = text.chars().collect();
    let (message, position) = match (Scanner { chars: &chars }).document() {
        Err(Stop::Mistake(message, position)) => (message, position),
        Err(Stop::TooDeep) => return Refusal::TooDeep,
        // Python reads it, and we do not: NaN and the like.
        Ok(()) => return Refusal::Internal,
    };
    Refusal::Invalid(vec![match family {
        Family::V1 => {
            let before = &chars[..position.min(chars.len())];
            let line = before.iter().filter(|c| **c == '\n').count() + 1;
            let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
            json!({
                "loc": ["body", position],
                "msg": format!("{message}: line {line} column {column} (char {position})"),
                "type": "value_error.jsondecode",
                "ctx": {"msg": message, "doc": text, "pos": position, "lineno": line, "colno": column},
            })
        }
        Family::V2 => json!({
            "type": "json_invalid",
            "loc": ["body", position],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": message},
        }),
    }])
}

/// Follows a text as Python's `json` does, to where it stops.
struct Scanner<'a> {
    chars: &'a [char],
}

enum Stop {
    /// Python's words, and the place.
    Mistake(&'static str, usize),
    TooDeep,
}

impl Scanner<'_> {
    fn document(&self) -> Result<(), Stop> {
        let start = self.space(0);
        let end = self.space(self.value(start, 0)?);
        match end == self.chars.len() {
            true => Ok(()),
            false => Err(Stop::Mistake("Extra data", end)),
        }
    }

    fn at(&self, i: usize) -> Option<char> {
        self.chars.get(i).copied()
    }

    fn space(&self, mut i: usize) -> usize {
        while matches!(self.at(i), Some(' ' | '\t' | '\n' | '\r')) {
            i += 1;
        }
        i
    }

    /// Where the value that begins here ends.
    fn value(&self, i: usize, depth: usize) -> Result<usize, Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::TooDeep);
        }
        match self.at(i) {
            Some('"') => self.string(i),
            Some('{') => self.object(i + 1, depth),
            Some('[') => self.array(i + 1, depth),
            _ => {
                for word in ["null", "true", "false", "NaN", "Infinity", "-Infinity"] {
                    let length = word.chars().count();
                    if self.chars[i.min(self.chars.len())..]
                        .iter()
                        .copied()
                        .take(length)
                        .eq(word.chars())
                    {
                        return Ok(i + length);
                    }
                }
                self.number(i).ok_or(Stop::Mistake("Expecting value", i))
            }
        }
    }

    fn number(&self, start: usize) -> Option<usize> {
        let digits = |mut i: usize| {
            while self.at(i).is_some_and(|c| c.is_ascii_digit()) {
                i += 1;
            }
            i
        };
        let mut i = start + usize::from(self.at(start) == Some('-'));
        let whole = i;
        i = if self.at(i) == Some('0') { i + 1 } else { digits(i) };
        if i == whole {
            return None;
        }
        if self.at(i) == Some('.') && digits(i + 1) > i + 1 {
            i = digits(i + 1);
        }
        if matches!(self.at(i), Some('e' | 'E')) {
            let from = i + 1 + usize::from(matches!(self.at(i + 1), Some('+' | '-')));
            if digits(from) > from {
                i = digits(from);
            }
        }
        Some(i)
    }

    fn string(&self, start: usize) -> Result<usize, Stop> {
        let unterminated = Stop::Mistake("Unterminated string starting at", start);
        let mut i = start + 1;
        loop {
            match self.at(i) {
                None => return Err(unterminated),
                Some('"') => return Ok(i + 1),
                Some('\\') => match self.at(i + 1) {
                    None => return Err(unterminated),
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => i += 2,
                    Some('u') => {
                        let hex = (i + 2..i + 6)
                            .all(|i| self.at(i).is_some_and(|c| c.is_ascii_hexdigit()));
                        if !hex {
                            return Err(Stop::Mistake("Invalid \\uXXXX escape", i + 1));
                        }
                        i += 6;
                    }
                    Some(_) => return Err(Stop::Mistake("Invalid \\escape", i)),
                },
                Some(c) if c < ' ' => {
                    return Err(Stop::Mistake("Invalid control character at", i));
                }
                Some(_) => i += 1,
            }
        }
    }

    fn object(&self, start: usize, depth: usize) -> Result<usize, Stop> {
        let mut i = self.space(start);
        if self.at(i) == Some('}') {
            return Ok(i + 1);
        }
        loop {
            if self.at(i) != Some('"') {
                let message = "Expecting property name enclosed in double quotes";
                return Err(Stop::Mistake(message, i));
            }
            i = self.space(self.string(i)?);
            if self.at(i) != Some(':') {
                return Err(Stop::Mistake("Expecting ':' delimiter", i));
            }
            i = self.space(self.value(self.space(i + 1), depth + 1)?);
            match self.at(i) {
                Some('}') => return Ok(i + 1),
                Some(',') => i = self.space(i + 1),
                _ => return Err(Stop::Mistake("Expecting ',' delimiter", i)),
            }
        }
    }

    fn array(&self, start: usize, depth: usize) -> Result<usize, Stop> {
        let mut i = self.space(start);
        if self.at(i) == Some(']') {
            return Ok(i + 1);
        }
        loop {
            i = self.space(self.value(i, depth + 1)?);
            match self.at(i) {
                Some(']') => return Ok(i + 1),
                Some(',') => i = self.space(i + 1),
                _ => return Err(Stop::Mistake("Expecting ',' delimiter", i)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_pythons_words_and_at_its_places() {
        for (text, message, position) in [
            ("not json", "Expecting value", 0),
            ("{\"data\":[]", "Expecting ',' delimiter", 10),
            ("{\"data\":[1,}", "Expecting value", 11),
            ("{\"data\" []}", "Expecting ':' delimiter", 8),
            ("{data:[]}", "Expecting property name enclosed in double quotes", 1),
            ("{\"a\":1,}", "Expecting property name enclosed in double quotes", 7),
            ("[1] x", "Extra data", 4),
            ("\"abc", "Unterminated string starting at", 0),
            ("\"a\\", "Unterminated string starting at", 0),
            ("{\"a\": \"\u{1}\"}", "Invalid control character at", 7),
            ("{\"a\":\"\\q\"}", "Invalid \\escape", 6),
            ("{\"a\":\"\\u12\"}", "Invalid \\uXXXX escape", 7),
            ("{\"a\":\n\n  tru}", "Expecting value", 9),
            ("[", "Expecting value", 1),
            ("[1", "Expecting ',' delimiter", 2),
            ("-", "Expecting value", 0),
            ("01", "Extra data", 1),
            ("1.", "Extra data", 1),
            (" ", "Expecting value", 1),
        ] {
            let Refusal::Invalid(problems) = refusal(text, Family::V2) else {
                panic!("{text} is a mistake")
            };
            assert_eq!(problems[0]["ctx"]["error"], message, "{text}");
            assert_eq!(problems[0]["loc"][1], position, "{text}");
        }
        let Refusal::Invalid(problems) = refusal("{\"a\":\n\n  tru}", Family::V1) else {
            panic!("it is a mistake")
        };
        assert_eq!(problems[0]["msg"], "Expecting value: line 3 column 3 (char 9)");
        assert_eq!(refusal("{\"a\":NaN}", Family::V1), Refusal::Internal);
        assert_eq!(refusal(&"[".repeat(10_000), Family::V1), Refusal::TooDeep);
    }
}
