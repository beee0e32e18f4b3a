//! `Rate`, `Percentage`, `Quantile`, `ByteSize`, `Span` (a duration) and `Range`: parse, range,
//! display. Everyone may import it.
//!
//! Each type has one door in (`FromStr`, which its serde visitor uses too) and one way out
//! (`Display`), and the two agree.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A request rate, in requests per second. Finite and above zero, at most [`Rate::MAX`].
///
/// Written `50/s`, `3000/min` or `100/h` in scenario files; `Display` writes the first form.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// A share of a whole, from 0 to 100 percent. Written `0.1%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Percentage {
    // Percent and not the fraction, so that what is shown is what was written.
    percent: f64,
}

/// A quantile: above 0, at most 1 in code; written `p99` or `p99.9` in text.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Quantile {
    // Percent and not the fraction, so that what is shown is what was written.
    percent: f64,
}

/// A number of bytes. Written `512`, `512B`, `10KiB`, `1.5MiB` or `10MB` (a million times ten).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// A length of time as a file gives it; code goes on with [`Span::get`]. At most [`Span::MAX`].
///
/// Written `30s`, `500ms`, `1.5s`, `1m 30s`, `2h`, `1d`; a bare `0` is allowed, other numbers need
/// a unit. Exact to the nanosecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// From `low` to `high`, both included. Written `5..30`, or `5` for a range of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<T> {
    low: T,
    high: T,
}

/// Why a text is no value of a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not have the form.
    #[error("expected {expected}, found `{found}`")]
    Form {
        /// What would have done, with an example.
        expected: &'static str,
        /// What there was.
        found: String,
    },
    /// It has the form, and a value that makes no sense.
    #[error("{what} must be {limit}, found `{found}`")]
    Limit {
        /// For example "a rate".
        what: &'static str,
        /// For example "above zero".
        limit: &'static str,
        /// What there was.
        found: String,
    },
    /// A number that needs a unit.
    #[error("expected {expected}, found `{found}`, which has no unit")]
    NoUnit {
        /// What would have done, with an example.
        expected: &'static str,
        /// What there was.
        found: String,
    },
    /// A range that ends before it begins.
    #[error("a range goes from the lower to the higher value, found `{found}`")]
    Backwards {
        /// What there was.
        found: String,
    },
}

/// A value that is written as one word with a unit.
pub trait Unit: FromStr<Err = UnitError> + fmt::Display + Copy + PartialOrd {
    /// What an error asks for: "a rate such as `50/s` or `3000/min`".
    const EXPECTED: &'static str;
    /// The same for a range of such values.
    const EXPECTED_RANGE: &'static str;
    /// Its name in JSON schemas.
    const NAME: &'static str;
    /// What it looks like.
    const EXAMPLES: &'static [&'static str];
}

impl Rate {
    /// No schedule is finer than a nanosecond.
    pub const MAX: Rate = Rate(1e9);

    /// A rate of so many requests a second; `None` when it is not above zero, or above
    /// [`Rate::MAX`].
    pub fn new(per_second: f64) -> Option<Rate> {
        (per_second > 0.0 && per_second <= Rate::MAX.0).then_some(Rate(per_second))
    }

    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl Percentage {
    /// Nothing of it.
    pub const ZERO: Percentage = Percentage { percent: 0.0 };
    /// All of it.
    pub const ALL: Percentage = Percentage { percent: 100.0 };

    /// So many percent; `None` when it is not from 0 to 100.
    pub fn new(percent: f64) -> Option<Percentage> {
        // Adding zero turns `-0` into `0`.
        (0.0..=100.0).contains(&percent).then_some(Percentage { percent: percent + 0.0 })
    }

    /// From 0 to 1.
    pub fn fraction(self) -> f64 {
        self.percent / 100.0
    }
}

impl Quantile {
    /// The quantile of a percentile; `None` when it is not above 0 and at most 100.
    pub fn from_percent(percent: f64) -> Option<Quantile> {
        (percent > 0.0 && percent <= 100.0).then_some(Quantile { percent })
    }

    /// Above 0, at most 1.
    pub fn get(self) -> f64 {
        self.percent / 100.0
    }
}

impl ByteSize {
    /// So many bytes.
    pub const fn new(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Span {
    /// A year: more than any run, and little enough that no sum of instants overflows.
    pub const MAX: Duration = Duration::from_secs(365 * 86_400);

    /// A duration; `None` when it is longer than [`Span::MAX`].
    pub fn new(duration: Duration) -> Option<Span> {
        (duration <= Span::MAX).then_some(Span(duration))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<T: Copy + PartialOrd> Range<T> {
    /// From `low` to `high`; `None` when `low` is the higher.
    pub fn new(low: T, high: T) -> Option<Range<T>> {
        (low <= high).then_some(Range { low, high })
    }

    /// A range of one value.
    pub fn one(value: T) -> Range<T> {
        Range { low: value, high: value }
    }

    /// The lowest value.
    pub fn low(self) -> T {
        self.low
    }

    /// The highest value, included.
    pub fn high(self) -> T {
        self.high
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

/// Reads a number as people write it: no exponent, no sign but a minus, no `inf`.
fn number(text: &str) -> Option<f64> {
    let plain = |b: u8| b.is_ascii_digit() || b == b'.';
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.bytes().all(plain) {
        return None;
    }
    text.parse().ok()
}

/// Multiplies a decimal number by a whole one exactly; what is smaller than one is cut off.
fn scaled(text: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (text.contains('.') && !digits(fraction)) {
        return None;
    }
    let mut sum = whole.parse::<u128>().ok()?.checked_mul(u128::from(scale))?;
    // Eighteen digits after the point are more than the nanoseconds of a day or the bytes of an
    // EiB have, so what is cut off is below one.
    let fraction = &fraction[..fraction.len().min(18)];
    if !fraction.is_empty() {
        let part = fraction.parse::<u128>().ok()? * u128::from(scale);
        sum = sum.checked_add(part / 10u128.pow(fraction.len() as u32))?;
    }
    Some(sum)
}

fn form<T: Unit>(text: &str) -> UnitError {
    UnitError::Form { expected: T::EXPECTED, found: text.into() }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Rate, UnitError> {
        if number(text).is_some() {
            return Err(UnitError::NoUnit { expected: Rate::EXPECTED, found: text.into() });
        }
        let (count, per) = text.split_once('/').ok_or_else(|| form::<Rate>(text))?;
        let seconds = match per.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            _ => return Err(form::<Rate>(text)),
        };
        let count = number(count.trim()).ok_or_else(|| form::<Rate>(text))?;
        let limit = |limit| UnitError::Limit { what: "a rate", limit, found: text.into() };
        Rate::new(count / seconds)
            .ok_or_else(|| limit(if count > 0.0 { "at most 1000000000/s" } else { "above zero" }))
    }
}

impl FromStr for Percentage {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Percentage, UnitError> {
        if number(text).is_some() {
            return Err(UnitError::NoUnit { expected: Percentage::EXPECTED, found: text.into() });
        }
        let percent = text
            .strip_suffix('%')
            .and_then(|count| number(count.trim_end()))
            .ok_or_else(|| form::<Percentage>(text))?;
        Percentage::new(percent).ok_or_else(|| UnitError::Limit {
            what: "a percentage",
            limit: "from 0% to 100%",
            found: text.into(),
        })
    }
}

impl FromStr for Quantile {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Quantile, UnitError> {
        let percent =
            text.strip_prefix('p').and_then(number).ok_or_else(|| form::<Quantile>(text))?;
        Quantile::from_percent(percent).ok_or_else(|| UnitError::Limit {
            what: "a percentile",
            limit: "above p0 and at most p100",
            found: text.into(),
        })
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<ByteSize, UnitError> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (count, unit) = text.split_at(unit_at);
        let scale = match unit.trim_start() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(form::<ByteSize>(text)),
        };
        let bytes = scaled(count, scale).ok_or_else(|| form::<ByteSize>(text))?;
        u64::try_from(bytes).map(ByteSize).map_err(|_| UnitError::Limit {
            what: "a size",
            limit: "at most 16777215TiB",
            found: text.into(),
        })
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Span, UnitError> {
        if text == "0" {
            return Ok(Span::default());
        }
        if number(text).is_some() {
            return Err(UnitError::NoUnit { expected: Span::EXPECTED, found: text.into() });
        }
        let mut rest = text.trim();
        let mut nanos = 0u128;
        // Each unit must be smaller than the one before, which also ends the loop.
        let mut last = u64::MAX;
        while !rest.is_empty() {
            let unit_at = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(|| form::<Span>(text))?;
            let (count, tail) = rest.split_at(unit_at);
            let tail = tail.trim_start();
            let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let scale = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" | "sec" => 1_000_000_000,
                "m" | "min" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "d" => 86_400_000_000_000,
                _ => return Err(form::<Span>(text)),
            };
            if scale >= last {
                return Err(form::<Span>(text));
            }
            last = scale;
            nanos = scaled(count, scale)
                .and_then(|part| nanos.checked_add(part))
                .ok_or_else(|| form::<Span>(text))?;
            rest = tail.trim_start();
        }
        if last == u64::MAX {
            return Err(form::<Span>(text));
        }
        u64::try_from(nanos)
            .ok()
            .and_then(|nanos| Span::new(Duration::from_nanos(nanos)))
            .ok_or_else(|| UnitError::Limit {
                what: "a duration",
                limit: "at most 365d",
                found: text.into(),
            })
    }
}

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Count, UnitError> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Count).ok_or_else(|| form::<Count>(text))
    }
}

impl FromStr for Real {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Real, UnitError> {
        number(text).map(|value| Real(value + 0.0)).ok_or_else(|| form::<Real>(text))
    }
}

impl<T: Unit> FromStr for Range<T> {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Range<T>, UnitError> {
        let end = |part: &str| {
            part.trim().parse::<T>().map_err(|error| match error {
                UnitError::Limit { .. } => error,
                _ => UnitError::Form { expected: T::EXPECTED_RANGE, found: text.into() },
            })
        };
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (end(low)?, end(high)?),
            None => {
                let one = end(text)?;
                (one, one)
            }
        };
        Range::new(low, high).ok_or_else(|| UnitError::Backwards { found: text.into() })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.percent)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(scale, _)| self.0 >= *scale && self.0.is_multiple_of(*scale)) {
            Some((scale, unit)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if secs == 0 {
            let (whole, part, width, unit) = match nanos {
                0 => return f.write_str("0s"),
                1..1_000 => (nanos, 0, 0, "ns"),
                1_000..1_000_000 => (nanos / 1_000, nanos % 1_000, 3, "µs"),
                _ => (nanos / 1_000_000, nanos % 1_000_000, 6, "ms"),
            };
            return write!(f, "{whole}{}{unit}", decimals(part, width));
        }
        let mut space = "";
        for (count, unit) in [(secs / 3600, "h"), (secs / 60 % 60, "m")] {
            if count > 0 {
                write!(f, "{space}{count}{unit}")?;
                space = " ";
            }
        }
        if secs % 60 > 0 || nanos > 0 {
            write!(f, "{space}{}{}s", secs % 60, decimals(nanos, 9))?;
        }
        Ok(())
    }
}

/// `.5` for 500 of width 3; nothing for 0.
fn decimals(part: u32, width: usize) -> String {
    if part == 0 {
        return String::new();
    }
    format!(".{part:0width$}").trim_end_matches('0').to_owned()
}

impl<T: Unit> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}..{}", self.low, self.high)
        }
    }
}

/// The name that was probably meant by `found`, if one is near enough.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong, at least one: `rte` is `rate`, `xy` is not `on`.
    let allowed = (found.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A whole number, for ranges of counts (`5..30`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u64);

/// A finite number, for ranges of numbers (`0.5..1.5`).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Real(pub f64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! unit {
    ($type:ident, $expected:literal, $range:literal, [$($example:literal),+]) => {
        impl Unit for $type {
            const EXPECTED: &'static str = $expected;
            const EXPECTED_RANGE: &'static str = $range;
            const NAME: &'static str = stringify!($type);
            const EXAMPLES: &'static [&'static str] = &[$($example),+];
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                deserializer.deserialize_any(WordVisitor::<$type>($type::EXPECTED, PhantomData))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $type::NAME.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": ["string", "number"],
                    "title": $expected,
                    "examples": $type::EXAMPLES,
                })
            }
        }
    };
}

unit!(
    Rate,
    "a rate such as `50/s` or `3000/min`",
    "a range of rates such as `50/s..500/s`",
    ["50/s", "3000/min"]
);
unit!(
    Percentage,
    "a percentage such as `0.1%`",
    "a range of percentages such as `1%..5%`",
    ["0.1%", "5%"]
);
unit!(
    Quantile,
    "a percentile such as `p99` or `p99.9`",
    "a range of percentiles such as `p50..p99`",
    ["p99", "p99.9"]
);
unit!(
    ByteSize,
    "a size such as `512B` or `10KiB`",
    "a size such as `10KiB` or a range such as `10KiB..1MiB`",
    ["10KiB", "1MiB"]
);
unit!(
    Span,
    "a duration such as `30s` or `500ms`",
    "a range of durations such as `5ms..1s`",
    ["30s", "500ms", "1m 30s"]
);
unit!(Count, "a whole number", "a whole number such as `5` or a range such as `5..30`", ["5"]);
unit!(Real, "a number", "a number such as `1.5` or a range such as `0.5..1.5`", ["1.5"]);

impl<'de, T: Unit> Deserialize<'de> for Range<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Range<T>, D::Error> {
        deserializer.deserialize_any(WordVisitor::<Range<T>>(T::EXPECTED_RANGE, PhantomData))
    }
}

impl<T: Unit> Serialize for Range<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<T: Unit> JsonSchema for Range<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("RangeOf{}", T::NAME).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number"], "title": T::EXPECTED_RANGE})
    }
}

/// Reads a scalar as its text. Numbers come here too: whether they need a unit, their type says.
struct WordVisitor<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err = UnitError>> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        // Raised inside the visitor, so that line and column are exact.
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads<T: Unit + fmt::Debug + PartialEq>(text: &str, shown: &str) {
        let value: T = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(value.to_string(), shown, "{text} is shown otherwise");
        assert_eq!(shown.parse::<T>().as_ref(), Ok(&value), "{shown} reads otherwise");
    }

    fn refuses<T: Unit + fmt::Debug>(text: &str, message: &str) {
        assert_eq!(text.parse::<T>().expect_err(text).to_string(), message);
    }

    #[test]
    fn rates_are_per_second_minute_or_hour() {
        reads::<Rate>("50/s", "50/s");
        reads::<Rate>("3000/min", "50/s");
        reads::<Rate>("36/h", "0.01/s");
        reads::<Rate>("0.5 / s", "0.5/s");
        refuses::<Rate>("fast", "expected a rate such as `50/s` or `3000/min`, found `fast`");
        refuses::<Rate>(
            "500",
            "expected a rate such as `50/s` or `3000/min`, found `500`, which has no unit",
        );
        refuses::<Rate>("0/s", "a rate must be above zero, found `0/s`");
        refuses::<Rate>("-5/s", "a rate must be above zero, found `-5/s`");
        refuses::<Rate>(
            "9999999999/s",
            "a rate must be at most 1000000000/s, found `9999999999/s`",
        );
        refuses::<Rate>("inf/s", "expected a rate such as `50/s` or `3000/min`, found `inf/s`");
        refuses::<Rate>("1e3/s", "expected a rate such as `50/s` or `3000/min`, found `1e3/s`");
    }

    #[test]
    fn percentages_and_percentiles_show_as_written() {
        reads::<Percentage>("0.1%", "0.1%");
        reads::<Percentage>("100 %", "100%");
        assert_eq!("0.1%".parse::<Percentage>().map(Percentage::fraction), Ok(0.001));
        refuses::<Percentage>("101%", "a percentage must be from 0% to 100%, found `101%`");
        refuses::<Percentage>(
            "0.1",
            "expected a percentage such as `0.1%`, found `0.1`, which has no unit",
        );
        reads::<Quantile>("p99.9", "p99.9");
        assert_eq!("p99".parse::<Quantile>().map(Quantile::get), Ok(0.99));
        refuses::<Quantile>("p0", "a percentile must be above p0 and at most p100, found `p0`");
        refuses::<Quantile>("99", "expected a percentile such as `p99` or `p99.9`, found `99`");
    }

    #[test]
    fn sizes_are_binary_or_decimal() {
        reads::<ByteSize>("10KiB", "10KiB");
        reads::<ByteSize>("1.5 MiB", "1536KiB");
        reads::<ByteSize>("10MB", "10000000B");
        reads::<ByteSize>("0", "0B");
        refuses::<ByteSize>("10Kib", "expected a size such as `512B` or `10KiB`, found `10Kib`");
        refuses::<ByteSize>(
            "99999999TiB",
            "a size must be at most 16777215TiB, found `99999999TiB`",
        );
    }

    #[test]
    fn durations_are_exact_and_need_a_unit() {
        reads::<Span>("30s", "30s");
        reads::<Span>("500ms", "500ms");
        reads::<Span>("1m 30s", "1m 30s");
        reads::<Span>("1m30s", "1m 30s");
        reads::<Span>("90s", "1m 30s");
        reads::<Span>("1.5s", "1.5s");
        reads::<Span>("2.5us", "2.5µs");
        reads::<Span>("1d", "24h");
        reads::<Span>("0", "0s");
        assert_eq!("0.1s".parse::<Span>().map(Span::get), Ok(Duration::from_millis(100)));
        refuses::<Span>(
            "30",
            "expected a duration such as `30s` or `500ms`, found `30`, which has no unit",
        );
        for wrong in ["", "s", "1 fortnight", "-1s", "1s 1m", "1.s", ".5s", "1s1s", "1..2s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        refuses::<Span>("366d", "a duration must be at most 365d, found `366d`");
    }

    #[test]
    fn ranges_have_both_ends_or_one_value() {
        let range: Range<Count> = "5..30".parse().expect("a range");
        assert_eq!((range.low().0, range.high().0), (5, 30));
        assert_eq!("7".parse::<Range<Count>>().map(|r| r.to_string()), Ok("7".into()));
        let sizes: Range<ByteSize> = "10KiB..1MiB".parse().expect("a range");
        assert_eq!(sizes.to_string(), "10KiB..1MiB");
        let message = |text: &str| text.parse::<Range<Count>>().expect_err(text).to_string();
        assert_eq!(
            message("30..5"),
            "a range goes from the lower to the higher value, found `30..5`"
        );
        assert_eq!(
            message("many"),
            "expected a whole number such as `5` or a range such as `5..30`, found `many`"
        );
    }

    #[test]
    fn serde_reads_words_and_numbers() {
        assert_eq!(serde_json::from_str::<Rate>("\"50/s\"").ok(), Rate::new(50.0));
        assert_eq!(serde_json::from_str::<ByteSize>("512").ok(), Some(ByteSize(512)));
        assert_eq!(serde_json::from_str::<Range<Count>>("5").ok(), Some(Range::one(Count(5))));
        let error = serde_json::from_str::<Span>("30").expect_err("no unit").to_string();
        assert!(error.contains("has no unit"), "{error}");
        let error = serde_json::from_str::<Span>("[]").expect_err("a list").to_string();
        assert!(error.contains("expected a duration such as `30s` or `500ms`"), "{error}");
    }

    proptest! {
        #[test]
        fn parse_and_display_agree(
            rate in 1e-6f64..1e9,
            percent in 0f64..=100.0,
            bytes: u64,
            nanos in 0..Span::MAX.as_nanos() as u64,
            low in 0u64..1000,
            more in 0u64..1000,
        ) {
            let rate = Rate(rate);
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            let percentage = Percentage { percent };
            prop_assert_eq!(percentage.to_string().parse::<Percentage>(), Ok(percentage));
            if let Some(quantile) = Quantile::from_percent(percent) {
                prop_assert_eq!(quantile.to_string().parse::<Quantile>(), Ok(quantile));
            }
            let size = ByteSize(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
            let span = Span(Duration::from_nanos(nanos));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            let range = Range { low: Count(low), high: Count(low + more) };
            prop_assert_eq!(range.to_string().parse::<Range<Count>>(), Ok(range));
        }

        #[test]
        fn no_text_makes_a_unit_panic(text in "[ -~µ]{0,24}") {
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Percentage>();
            let _ = text.parse::<Quantile>();
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<Span>();
            let _ = text.parse::<Range<ByteSize>>();
            let _ = text.parse::<Range<Real>>();
        }
    }
}
