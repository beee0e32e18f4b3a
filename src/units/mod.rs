//! `Rate`, `Percentage`, `Quantile`, `ByteSize`, `Span` (a duration) and `Range`: parsing, limits and
//! display. Any module may import this one.
//!
//! Each type is parsed in one place (`FromStr`, which its serde visitor uses too) and shown in one
//! (`Display`), and the two agree.

mod escape;
mod one_key;
mod part;
mod secrets;
mod serde;
mod text;
pub(crate) mod times;

pub(crate) use escape::{escape_path, escape_path_and_query};
pub(crate) use one_key::{alternatives, one_key};
pub use part::Part;
pub use secrets::{MASK, Secrets, same_secret};

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A request rate, in requests per second. Finite and above zero, at most [`Rate::MAX`].
///
/// Written `50/s`, `3000/min` or `100/h` in scenario files; `Display` writes the first form.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// A share of a whole, from 0 to 100 percent. Written `0.1%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Percentage {
    // Percent rather than the fraction, so that the value is shown as it was written.
    percent: f64,
}

/// A quantile: above 0, at most 1 in code; written `p99` or `p99.9` in text.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Quantile {
    // Percent rather than the fraction, so that the value is shown as it was written.
    percent: f64,
}

/// A number of bytes. Written `512`, `512B`, `10KiB`, `1.5MiB` or `10MB` (ten million).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// A duration as written in a file; code uses [`Span::get`]. At most [`Span::MAX`].
///
/// Written `30s`, `500ms`, `1.5s`, `1m 30s`, `2h`, `1d`; a bare `0` is allowed, other numbers need
/// a unit. Exact to the nanosecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// A range from `low` to `high`, both included. Written `5..30`, or `5` for a single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<T> {
    low: T,
    high: T,
}

/// Why a text is not a valid value of a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text has the wrong form.
    #[error("expected {expected}, found `{found}`")]
    Form {
        /// What was expected, with an example.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// The text has the right form but a value that makes no sense.
    #[error("{what} must be {limit}, found `{found}`")]
    Limit {
        /// For example "a rate".
        what: &'static str,
        /// For example "above zero".
        limit: &'static str,
        /// What was found.
        found: String,
    },
    /// A number without the required unit.
    #[error("expected {expected}, found `{found}`, which has no unit")]
    NoUnit {
        /// What was expected, with an example.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A range whose end is below its beginning.
    #[error("expected a range from the lower to the higher value, found `{found}`")]
    Backwards {
        /// What was found.
        found: String,
    },
}

/// A value written as one word with a unit.
pub trait Unit: FromStr<Err = UnitError> + fmt::Display + Copy + PartialOrd {
    /// What an error says was expected: "a rate such as `50/s` or `3000/min`".
    const EXPECTED: &'static str;
    /// The same for a range of such values.
    const EXPECTED_RANGE: &'static str;
    /// Its name in JSON schemas.
    const NAME: &'static str;
    /// A regular expression for its form, for JSON schemas.
    const PATTERN: &'static str;
    /// Examples of values.
    const EXAMPLES: &'static [&'static str];
}

impl Rate {
    /// The highest rate: schedules are not finer than a nanosecond.
    pub const MAX: Rate = Rate(1e9);

    /// A rate in requests per second; `None` if it is not above zero, or above [`Rate::MAX`].
    pub fn new(per_second: f64) -> Option<Rate> {
        (per_second > 0.0 && per_second <= Rate::MAX.0).then_some(Rate(per_second))
    }

    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl Percentage {
    /// 0 %.
    pub const ZERO: Percentage = Percentage { percent: 0.0 };
    /// 100 %.
    pub const ALL: Percentage = Percentage { percent: 100.0 };

    /// A percentage; `None` if it is not from 0 to 100.
    pub fn new(percent: f64) -> Option<Percentage> {
        // Adding zero turns `-0` into `0`.
        (0.0..=100.0).contains(&percent).then_some(Percentage { percent: percent + 0.0 })
    }

    /// The share as a fraction, from 0 to 1.
    pub fn fraction(self) -> f64 {
        self.percent / 100.0
    }
}

impl Quantile {
    /// The quantile of a percentile; `None` if that is not above 0 and at most 100.
    pub fn from_percent(percent: f64) -> Option<Quantile> {
        (percent > 0.0 && percent <= 100.0).then_some(Quantile { percent })
    }

    /// The quantile as a number, above 0 and at most 1.
    pub fn get(self) -> f64 {
        self.percent / 100.0
    }
}

impl ByteSize {
    /// A size in bytes.
    pub const fn new(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size for people, rounded in a suitable unit: `1.5 GiB`, `175 KiB`.
    pub fn approximate(self) -> String {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let power = self.0.checked_ilog2().unwrap_or(0) as usize / 10;
        let value = self.0 as f64 / 1024f64.powi(power as i32);
        let parts = if value >= 99.95 { 1.0 } else { 10.0 };
        let rounded = (value * parts).round() / parts;
        // A value that rounds to 1024 is 1 of the next unit.
        let (rounded, power) = if rounded >= 1024.0 { (1.0, power + 1) } else { (rounded, power) };
        format!("{rounded} {}", UNITS[power])
    }
}

impl Span {
    /// A year: longer than any run, and short enough that no sum of instants overflows.
    pub const MAX: Duration = Duration::from_secs(365 * 86_400);

    /// A duration; `None` if it is longer than [`Span::MAX`].
    pub fn new(duration: Duration) -> Option<Span> {
        (duration <= Span::MAX).then_some(Span(duration))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<T: Copy + PartialOrd> Range<T> {
    /// A range from `low` to `high`; `None` if `low` is higher.
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

/// The name that `found` probably means, if one is close enough.
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

/// The cost of something while it runs. Not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Price(f64);

impl Price {
    /// The cost per hour, in any currency.
    pub fn per_hour(self) -> f64 {
        self.0
    }
}

/// A whole number, for ranges of counts (`5..30`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u64);

/// A finite number, for ranges of numbers (`0.5..1.5`).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Real(pub f64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads<T: Unit + fmt::Debug + PartialEq>(text: &str, shown: &str) {
        let value: T = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(value.to_string(), shown, "{text} is shown otherwise");
        assert_eq!(shown.parse::<T>().as_ref(), Ok(&value), "{shown} reads otherwise");
        let pattern = regex::Regex::new(&format!("^({})$", T::PATTERN)).expect("a pattern");
        assert!(pattern.is_match(text.trim()) && pattern.is_match(shown), "{text} {shown}");
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
        let shown = [0, 90, 1 << 10, 179_500, 64 << 20, (1 << 30) - 1, u64::MAX]
            .map(|bytes| ByteSize::new(bytes).approximate());
        assert_eq!(shown, ["0 B", "90 B", "1 KiB", "175 KiB", "64 MiB", "1 GiB", "16 EiB"]);
        let sizes: Range<ByteSize> = "10KiB..1MiB".parse().expect("a range");
        assert_eq!(sizes.to_string(), "10KiB..1MiB");
        let message = |text: &str| text.parse::<Range<Count>>().expect_err(text).to_string();
        assert_eq!(
            message("30..5"),
            "expected a range from the lower to the higher value, found `30..5`"
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
