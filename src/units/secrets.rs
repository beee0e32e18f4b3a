//! Values that must not be shown anywhere.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::escape::escape_path_and_query;

/// Secret values from the environment. Each is registered when it is first used, for all clones, and
/// [`Secrets::mask`] removes it from all output of the process.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    all: BTreeSet<String>,
    /// Those computed by expressions, oldest first.
    made: VecDeque<[String; FORMS]>,
}

/// The number of forms in which a value may appear.
const FORMS: usize = 8;

/// The text shown instead of a secret.
pub const MASK: &str = "***";

/// Shorter values, and numbers with fewer digits than the second, occur in many texts by chance.
const CHARS_MIN: usize = 4;
const DIGITS_MIN: usize = 8;

/// Maximum number of remembered values from expressions: there may be as many as Documents and requests.
const MADE_MAX: usize = 1000;

/// The sign that marks where a text was cut.
const CUT: char = '…';

/// Keys under which saved results have histograms in base64.
const HISTOGRAMS: [&str; 3] = ["buckets", "histogram", "service_histogram"];

/// Keys under which saved results have fixed words, which programs read.
const OWN_WORDS: [&str; 11] = [
    "arch",
    "code",
    "family",
    "kind",
    "os",
    "protocol",
    "reason",
    "schema",
    "started_at",
    "unit",
    "verdict",
];

impl Secrets {
    /// Adds a value.
    pub fn add(&self, value: &str) {
        if is_worth_hiding(value) {
            self.lock().all.extend(forms(value));
        }
    }

    /// Adds the value of a header or an environment variable if its name suggests credentials.
    pub fn add_credential(&self, name: &str, value: &str) {
        const WORDS: [&str; 8] =
            ["auth", "token", "secret", "password", "key", "cookie", "credential", "session"];
        let name = name.to_lowercase();
        if WORDS.iter().any(|word| name.contains(word)) {
            self.add(value);
            // `Bearer` and the like are not secret, and the rest may appear without them.
            if let Some((_, rest)) = value.split_once(' ') {
                self.add(rest.trim());
            }
        }
    }

    /// Adds a value that an expression computed from a secret. Only the last 1000 are remembered; a value
    /// that consists almost entirely of a known secret is not added.
    pub fn add_made(&self, value: &str) {
        let rest = self.mask(value);
        let rest: usize = rest.split(MASK).map(|part| part.chars().count()).sum();
        if !is_worth_hiding(value) || rest < CHARS_MIN {
            return;
        }
        let mut known = self.lock();
        if known.all.contains(value) {
            return;
        }
        let forms = forms(value);
        known.all.extend(forms.clone());
        known.made.push_back(forms);
        if known.made.len() > MADE_MAX
            && let Some(oldest) = known.made.pop_front()
        {
            known.all.retain(|form| !oldest.contains(form));
        }
    }

    /// The text with secrets masked, including parts of them left where it was cut.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let all = &self.lock().all;
        let mut found: Vec<&String> =
            all.iter().filter(|secret| text.contains(secret.as_str())).collect();
        // A secret may be part of another.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let whole = |text: Cow<'a, str>, secret: &String| text.replace(secret, MASK).into();
        let text = found.into_iter().fold(Cow::Borrowed(text), whole);
        match text.contains(CUT).then(|| mask_cuts(&text, all)) {
            Some(masked) if masked != text => masked.into(),
            _ => text,
        }
    }

    /// Plain data with secrets masked in its texts and names, but not in numbers, encoded figures and fixed
    /// words.
    pub fn mask_data<T: Serialize + DeserializeOwned>(&self, data: T) -> T {
        if self.lock().all.is_empty() {
            return data;
        }
        let masked = serde_json::to_value(&data).ok().and_then(|mut value| {
            self.mask_value(&mut value);
            serde_json::from_value(value).ok()
        });
        masked.unwrap_or(data)
    }

    /// Does the same for a line of JSON.
    pub fn mask_line(&self, line: Vec<u8>) -> Vec<u8> {
        let text = String::from_utf8_lossy(&line);
        if let Cow::Borrowed(_) = self.mask(&text) {
            return line;
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&line) else { return line };
        self.mask_value(&mut value);
        value.to_string().into_bytes()
    }

    fn mask_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.mask(text).into_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_value(item)),
            Value::Object(entries) => {
                let own = |key: &str, value: &Value| {
                    let word = |c: char| c.is_ascii_alphanumeric() || "_./:-".contains(c);
                    OWN_WORDS.contains(&key)
                        && value.as_str().is_some_and(|text| text.chars().all(word))
                };
                let masked = std::mem::take(entries).into_iter().map(|(key, mut value)| {
                    if !own(&key, &value) && !is_histogram(&key, &value) {
                        self.mask_value(&mut value);
                    }
                    (self.mask(&key).into_owned(), value)
                });
                *entries = masked.collect();
            }
            _ => (),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two secrets are equal, in a time that does not reveal where they differ.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other));
    one.len() == other.len() && differ == 0
}

fn is_worth_hiding(value: &str) -> bool {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit() || b".,:-_".contains(&byte));
    let least = if digits { DIGITS_MIN } else { CHARS_MIN };
    value.trim().chars().count() >= least
}

/// The forms in which a value may appear in a text.
fn forms(value: &str) -> [String; FORMS] {
    let quoted = escaped(value);
    let twice = escaped(&quoted);
    [
        value.to_owned(),
        value.trim().to_owned(),
        quoted.clone(),
        // From a server that reports the JSON it was sent within JSON, and one that writes it in ASCII, as
        // Python does.
        in_ascii(&quoted),
        in_ascii(&twice),
        twice,
        // On a single line of an error.
        value.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        // In a path.
        escape_path_and_query(value),
    ]
}

/// Replaces non-ASCII characters by JSON escapes: `\u00f6`.
fn in_ascii(quoted: &str) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(quoted.len());
    for c in quoted.chars() {
        if c.is_ascii() {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(text, "\\u{unit:04x}").expect("a string takes all");
        }
    }
    text
}

/// Masks the remains of secrets before and after each cut of a text.
fn mask_cuts(text: &str, secrets: &BTreeSet<String>) -> String {
    let parts: Vec<&str> = text.split(CUT).collect();
    let last = parts.len() - 1;
    let masked = parts.iter().enumerate().map(|(index, part)| {
        let mut part = *part;
        let (mut before, mut after) = ("", "");
        if index > 0 {
            let length = secrets.iter().map(|secret| rest_of(part, secret)).max();
            if let Some(length @ 1..) = length {
                (before, part) = (MASK, &part[length..]);
            }
        }
        if index < last {
            let length = secrets.iter().map(|secret| beginning_of(part, secret)).max();
            if let Some(length @ 1..) = length {
                (part, after) = (&part[..part.len() - length], MASK);
            }
        }
        [before, part, after].concat()
    });
    masked.collect::<Vec<_>>().join(&CUT.to_string())
}

/// The number of bytes at the end of a text that begin a secret; 0 if there are few.
fn beginning_of(text: &str, secret: &str) -> usize {
    let ends = secret.char_indices().map(|(at, _)| at).skip(CHARS_MIN);
    ends.filter(|end| text.ends_with(&secret[..*end])).max().unwrap_or(0)
}

/// The number of bytes at the beginning of a text that end a secret; 0 if there are few.
fn rest_of(text: &str, secret: &str) -> usize {
    let starts = secret.char_indices().rev().skip(CHARS_MIN - 1).map(|(at, _)| at);
    let rest = starts.map(|start| &secret[start..]).filter(|rest| text.starts_with(*rest));
    rest.map(str::len).max().unwrap_or(0)
}

/// The text as escaped within a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Whether a value is a histogram: under a histogram's key, and in base64 characters only.
fn is_histogram(key: &str, value: &Value) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    HISTOGRAMS.contains(&key) && value.as_str().is_some_and(|text| text.bytes().all(base64))
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_taken_out_of_texts_and_names_wherever_it_stands() {
        let secrets = Secrets::default();
        secrets.add("abc123\"secret");
        secrets.add("abc1");
        assert_eq!(secrets.mask("Bearer abc123\"secret, abc1"), "Bearer ***, ***");
        assert_eq!(secrets.mask(r#"{"a": "abc123\"secret"}"#), r#"{"a": "***"}"#);
        let data = json!({"verdict": "abc1", "abc1": ["an abc1", 1.5], "message": "abc1"});
        let expected = json!({"verdict": "abc1", "***": ["an ***", 1.5], "message": "***"});
        assert_eq!(secrets.mask_data(data), expected);
    }

    #[test]
    fn what_a_cut_leaves_of_a_secret_is_masked() {
        let secrets = Secrets::default();
        secrets.add("sécret-token-123");
        for (text, masked) in [
            ("AAAsécret-tok… (9 more bytes cut off)", "AAA***… (9 more bytes cut off)"),
            ("AAAsécr…", "AAA***…"),
            ("AAAséc…", "AAAséc…"),
            ("…n-123 and more", "…*** and more"),
            ("…123", "…123"),
            ("…oken-123…", "…***…"),
            ("sécret-token-123…", "***…"),
            ("no secr … here", "no secr … here"),
            ("ends in sécret-tok", "ends in sécret-tok"),
        ] {
            assert_eq!(secrets.mask(text), masked, "{text}");
        }
        let cut = json!({"message": format!("{}sécret-tok…", "A".repeat(90))});
        let expected = json!({"message": format!("{}***…", "A".repeat(90))});
        assert_eq!(secrets.mask_data(cut), expected);
    }

    #[test]
    fn secrets_are_the_same_if_all_of_them_is() {
        for (one, other, same) in [
            ("secret", "secret", true),
            ("secret", "secreT", false),
            ("secret", "secre", false),
            ("", "s", false),
        ] {
            assert_eq!(same_secret(one.as_bytes(), other.as_bytes()), same, "{one} {other}");
        }
    }

    #[test]
    fn a_long_text_is_no_histogram_because_it_looks_like_one() {
        let secrets = Secrets::default();
        secrets.add("secrettoken");
        let long = format!("{}secrettoken{}", "A".repeat(50), "B".repeat(50));
        let masked = secrets.mask_data(json!({"on": long, "histogram": long}));
        assert_eq!(masked["on"], format!("{}***{}", "A".repeat(50), "B".repeat(50)));
        assert_eq!(masked["histogram"], json!(long));
    }

    #[test]
    fn of_what_expressions_made_the_last_is_known() {
        let secrets = Secrets::default();
        secrets.add("token-of-mine");
        for i in 0..2 * MADE_MAX {
            secrets.add_made(&format!("made-{i}-of-it"));
            secrets.add_made(&format!("{i}token-of-mine"));
        }
        assert_eq!(secrets.mask("made-1999-of-it token-of-mine"), "*** ***");
        assert_eq!(secrets.mask("made-0-of-it"), "made-0-of-it");
        assert_eq!(secrets.lock().made.len(), MADE_MAX);
    }

    #[test]
    fn what_is_in_every_text_by_chance_is_no_secret() {
        let secrets = Secrets::default();
        for value in ["", "1", "abc", "50000", "  "] {
            secrets.add(value);
        }
        assert_eq!(secrets.mask("1 abc 50000"), "1 abc 50000");
    }
}
