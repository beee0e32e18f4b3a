//! Limits that a schema sets on values: `minimum`, `maxLength`, `minItems` and the like.

use serde_json::{Number, Value, json};

/// Limits of one value. `None` means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    /// In characters.
    length: (Option<u64>, Option<u64>),
    items: (Option<u64>, Option<u64>),
    /// An ECMA regular expression, and below it a format: both are reported but not checked.
    pattern: Option<String>,
    format: Option<String>,
}

/// A bound of a number, and whether the bound itself is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    at: Number,
    included: bool,
}

/// A limit that a value violates, with pydantic's name and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl Limits {
    /// The limits that a schema sets; `None` when it sets none.
    pub(super) fn read(schema: &Value) -> Option<Limits> {
        // Endpoint discovery only has doubles.
        let whole = |number: &Number| {
            let value = number.as_f64().filter(|value| value.fract() == 0.0)?;
            (value.abs() < 1e15).then_some(value as i64)
        };
        let number = |key: &str| {
            let number = schema.get(key)?.as_number()?;
            Some(whole(number).map_or_else(|| number.clone(), Number::from))
        };
        let bound = |key: &str, excluding: &str| {
            let included = number(key).map(|at| Bound { at, included: true });
            included.or_else(|| Some(Bound { at: number(excluding)?, included: false }))
        };
        let count = |key: &str| u64::try_from(whole(schema.get(key)?.as_number()?)?).ok();
        let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
        let limits = Limits {
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            length: (count("minLength"), count("maxLength")),
            items: (count("minItems"), count("maxItems")),
            pattern: text("pattern"),
            format: text("format"),
        };
        (limits != Limits::default()).then_some(limits)
    }

    /// The first limit that a value violates.
    pub(super) fn broken(&self, value: &Value) -> Option<Broken> {
        let broken = |kind, message: String| Some(Broken { kind, message });
        match value {
            Value::Number(number) => {
                let number = number.as_f64()?;
                if let Some(Bound { at, included }) = &self.minimum {
                    let low = at.as_f64()?;
                    match included {
                        true if number < low => {
                            return broken(
                                "greater_than_equal",
                                format!("Input should be greater than or equal to {at}"),
                            );
                        }
                        false if number <= low => {
                            return broken(
                                "greater_than",
                                format!("Input should be greater than {at}"),
                            );
                        }
                        _ => (),
                    }
                }
                if let Some(Bound { at, included }) = &self.maximum {
                    let high = at.as_f64()?;
                    match included {
                        true if number > high => {
                            return broken(
                                "less_than_equal",
                                format!("Input should be less than or equal to {at}"),
                            );
                        }
                        false if number >= high => {
                            return broken("less_than", format!("Input should be less than {at}"));
                        }
                        _ => (),
                    }
                }
                None
            }
            Value::String(text) => {
                let count = text.chars().count() as u64;
                let s = |n: u64| if n == 1 { "" } else { "s" };
                match self.length {
                    (Some(least), _) if count < least => broken(
                        "string_too_short",
                        format!("String should have at least {least} character{}", s(least)),
                    ),
                    (_, Some(most)) if count > most => broken(
                        "string_too_long",
                        format!("String should have at most {most} character{}", s(most)),
                    ),
                    _ => None,
                }
            }
            Value::Array(items) => {
                let count = items.len() as u64;
                let s = |n: u64| if n == 1 { "" } else { "s" };
                match self.items {
                    (Some(least), _) if count < least => broken(
                        "too_short",
                        format!(
                            "List should have at least {least} item{} after validation, not {count}",
                            s(least)
                        ),
                    ),
                    (_, Some(most)) if count > most => broken(
                        "too_long",
                        format!(
                            "List should have at most {most} item{} after validation, not {count}",
                            s(most)
                        ),
                    ),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The limits in words, to follow those for the kind: ` from 1 to 5`, ` of at most 10 characters`.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        match (&self.minimum, &self.maximum) {
            (
                Some(Bound { at: least, included: true }),
                Some(Bound { at: most, included: true }),
            ) => words += &format!(" from {least} to {most}"),
            (least, most) => {
                if let Some(Bound { at, included }) = least {
                    words += &match included {
                        true => format!(" of at least {at}"),
                        false => format!(" above {at}"),
                    };
                }
                if let Some(Bound { at, included }) = most {
                    words += &match included {
                        true => format!(" up to {at}"),
                        false => format!(" below {at}"),
                    };
                }
            }
        }
        for ((least, most), what) in [(self.length, "characters"), (self.items, "items")] {
            words += &match (least, most) {
                (Some(least), Some(most)) if least == most => format!(" of {least} {what}"),
                (Some(least), Some(most)) => format!(" of {least} to {most} {what}"),
                (Some(least), None) => format!(" of at least {least} {what}"),
                (None, Some(most)) => format!(" of at most {most} {what}"),
                (None, None) => String::new(),
            };
        }
        words
    }

    /// A demand on values for which no example can be generated.
    pub(super) fn demand(&self) -> Option<String> {
        if let Some(pattern) = &self.pattern {
            return Some(format!("match the pattern `{pattern}`"));
        }
        let format = self.format.as_ref()?;
        self.of_format().is_none().then(|| format!("have the format `{format}`"))
    }

    fn of_format(&self) -> Option<&'static str> {
        Some(match self.format.as_deref()? {
            "date-time" => "2026-01-01T12:00:00Z",
            "date" => "2026-01-01",
            "time" => "12:00:00",
            "uuid" | "uuid4" => "${{ uuid() }}",
            "uri" | "url" | "uri-reference" => "https://example.com/${{ i }}",
            "email" => "user-${{ i }}@example.com",
            "ipv4" => "192.0.2.1",
            "ipv6" => "2001:db8::1",
            "hostname" => "example.com",
            // Formats of numbers and bytes.
            "int32" | "int64" | "float" | "double" | "binary" | "byte" | "base64" | "password" => {
                return None;
            }
            _ => return None,
        })
    }

    /// A text within the limits, as written in a suite.
    pub(super) fn text(&self) -> Value {
        if let Some(text) = self.of_format() {
            return text.into();
        }
        match self.length {
            (None, None) => json!({"words": 5}),
            // A word has at least two letters, and a space precedes the next.
            (least, most) => {
                let least = least.unwrap_or(0).min(10_000);
                let most = most.unwrap_or(least + 40).clamp(least, least + 40);
                let words = (least / 2).max(5);
                json!(format!("${{{{ words({words})[:{most}] }}}}"))
            }
        }
    }

    /// A whole number within the limits, as written in a suite.
    pub(super) fn whole(&self) -> Value {
        let low = self.minimum.as_ref().and_then(|bound| {
            let at = bound.at.as_f64()?;
            Some(if bound.included { at.ceil() as i64 } else { at.floor() as i64 + 1 })
        });
        let high = self.maximum.as_ref().and_then(|bound| {
            let at = bound.at.as_f64()?;
            Some(if bound.included { at.floor() as i64 } else { at.ceil() as i64 - 1 })
        });
        let (low, high) = match (low, high) {
            (Some(low), high) => (low, high.unwrap_or(low.saturating_add(8))),
            (None, Some(high)) => (high.min(1), high),
            (None, None) => (1, 9),
        };
        json!(format!("${{{{ randint({low}, {high}) }}}}"))
    }

    /// A number within the limits, as written in a suite.
    pub(super) fn number(&self) -> Value {
        let at = |bound: &Option<Bound>| bound.as_ref().and_then(|bound| bound.at.as_f64());
        let (low, high) = match (at(&self.minimum), at(&self.maximum)) {
            (Some(low), high) => (low, high.unwrap_or(low + 1.0)),
            (None, Some(high)) => (high - 1.0, high),
            (None, None) => (0.0, 1.0),
        };
        // `uniform` includes its lower end, which the limits may exclude.
        let is_excluded = self.minimum.as_ref().is_some_and(|bound| !bound.included);
        let low = if is_excluded { low + (high - low) / 1000.0 } else { low };
        match low < high {
            true => json!(format!("${{{{ uniform({low}, {high}) }}}}")),
            false => json!(low),
        }
    }

    /// A number of list items within the limits, preferably `usual`.
    pub(super) fn count(&self, usual: u64) -> u64 {
        let (least, most) = self.items;
        let most = most.unwrap_or(u64::MAX);
        usual.max(least.unwrap_or(0)).min(most).min(1000)
    }
}
