//! Parses and prints units as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{
    ByteSize, Count, Percentage, Price, Quantile, Range, Rate, Real, Span, Unit, UnitError,
};

/// Reads a number as people write it: no exponent, no sign except a minus, no `inf`.
fn number(text: &str) -> Option<f64> {
    let plain = |b: u8| b.is_ascii_digit() || b == b'.';
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.bytes().all(plain) {
        return None;
    }
    text.parse().ok()
}

/// Multiplies a decimal number by a whole one exactly; the fraction of the result is cut off.
fn scaled(text: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (text.contains('.') && !digits(fraction)) {
        return None;
    }
    let mut sum = whole.parse::<u128>().ok()?.checked_mul(u128::from(scale))?;
    // Eighteen digits after the point are more than the nanoseconds of a day or the bytes of an EiB need, so
    // the part cut off is below one.
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

impl FromStr for Price {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Price, UnitError> {
        if number(text).is_some() {
            return Err(UnitError::NoUnit { expected: Price::EXPECTED, found: text.into() });
        }
        let (amount, per) = text.split_once('/').ok_or_else(|| form::<Price>(text))?;
        let hours = match per.trim() {
            "h" | "hour" => 1.0,
            "d" | "day" => 24.0,
            "month" => 730.0,
            _ => return Err(form::<Price>(text)),
        };
        let amount = number(amount.trim()).filter(|amount| *amount >= 0.0);
        amount.map(|amount| Price(amount / hours)).ok_or_else(|| form::<Price>(text))
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

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h", self.0)
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
