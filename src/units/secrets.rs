//! Values that are shown nowhere.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Values that came from the environment. Each is known from the moment it is looked at, to all that
/// share this, and [`Secrets::mask`] takes it out of whatever leaves the process.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<BTreeSet<String>>>);

/// What stands for a secret.
pub const MASK: &str = "***";

/// Shorter values, and numbers shorter than the second, are in half of all texts by chance.
const CHARS_MIN: usize = 4;
const DIGITS_MIN: usize = 8;

/// Keys under which saved results have words of our own, which programs read.
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
        let digits = value.bytes().all(|byte| byte.is_ascii_digit() || b".,:-_".contains(&byte));
        let least = if digits { DIGITS_MIN } else { CHARS_MIN };
        if value.trim().chars().count() < least {
            return;
        }
        let mut all = self.lock();
        for form in [value.to_owned(), value.trim().to_owned(), escaped(value)] {
            all.insert(form);
        }
    }

    /// A text without them.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let all = self.lock();
        let mut found: Vec<&String> =
            all.iter().filter(|secret| text.contains(secret.as_str())).collect();
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        // One may be a part of another.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        found.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK)).into()
    }

    /// Plain data without them: in its texts and names, not in numbers, encoded figures and words of our
    /// own.
    pub fn mask_data<T: Serialize + DeserializeOwned>(&self, data: T) -> T {
        let masked = serde_json::to_value(&data).ok().filter(|_| !self.lock().is_empty());
        let masked = masked.and_then(|mut value| {
            self.mask_value(&mut value);
            serde_json::from_value(value).ok()
        });
        masked.unwrap_or(data)
    }

    /// The same for a line of JSON.
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
            Value::String(text) if !is_encoded(text) => *text = self.mask(text).into_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_value(item)),
            Value::Object(entries) => {
                let own = |key: &str, value: &Value| {
                    let word = |c: char| c.is_ascii_alphanumeric() || "_./:-".contains(c);
                    OWN_WORDS.contains(&key)
                        && value.as_str().is_some_and(|text| text.chars().all(word))
                };
                let masked = std::mem::take(entries).into_iter().map(|(key, mut value)| {
                    if !own(&key, &value) {
                        self.mask_value(&mut value);
                    }
                    (self.mask(&key).into_owned(), value)
                });
                *entries = masked.collect();
            }
            _ => (),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As it stands within a text of JSON.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Whether a text is a histogram: long, and of no characters but those of base64.
fn is_encoded(text: &str) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    text.len() > 80 && text.bytes().all(base64)
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
    fn what_is_in_every_text_by_chance_is_no_secret() {
        let secrets = Secrets::default();
        for value in ["", "1", "abc", "50000", "  "] {
            secrets.add(value);
        }
        assert_eq!(secrets.mask("1 abc 50000"), "1 abc 50000");
    }
}
