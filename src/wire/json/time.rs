//! Reads and writes the times of routes as text.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The reader that a time is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Python's `isoformat`, as over HTTP: microseconds and `+00:00`.
    Python,
    /// Protobuf's JSON mapping, as over WebSocket: 0, 3, 6 or 9 decimals and `Z`.
    Protobuf,
}

/// `None` if the year has too many digits for the format.
pub(super) fn write(time: SystemTime, style: Style) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    let nanos = time.subsec_nanosecond();
    let whole = time.strftime("%Y-%m-%dT%H:%M:%S");
    // Python leaves out a fraction of zero; protobuf writes groups of three digits.
    let decimals = match style {
        Style::Python if nanos / 1_000 == 0 => 0,
        Style::Python => 6,
        Style::Protobuf if nanos == 0 => 0,
        Style::Protobuf if nanos % 1_000_000 == 0 => 3,
        Style::Protobuf if nanos % 1_000 == 0 => 6,
        Style::Protobuf => 9,
    };
    let zone = match style {
        Style::Python => "+00:00",
        Style::Protobuf => "Z",
    };
    let digits = format!("{nanos:09}");
    Some(match decimals {
        0 => format!("{whole}{zone}"),
        n => format!("{whole}.{}{zone}", &digits[..n]),
    })
}

/// Reads both styles and any other RFC 3339 time.
pub(super) fn read(text: &str) -> Result<SystemTime, jiff::Error> {
    match read_utc(text.as_bytes()) {
        Some(time) => Ok(time),
        None => text.parse::<Timestamp>().map(SystemTime::from),
    }
}

/// Reads a UTC time in its usual form, digit by digit: every response over HTTP has several.
fn read_utc(text: &[u8]) -> Option<SystemTime> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let (whole, rest) = text.split_at_checked(SHAPE.len())?;
    let fits = whole.iter().zip(SHAPE).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        shape => byte == shape,
    });
    let number = |from: usize, to: usize| {
        whole[from..to].iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    if !fits {
        return None;
    }
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let (nanos, zone) = match rest.split_first() {
        Some((b'.', rest)) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            let fraction =
                rest[..digits].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
            (fraction * 10u32.pow(9 - digits as u32), &rest[digits..])
        }
        _ => (0, rest),
    };
    if !matches!(zone, b"Z" | b"+00:00") {
        return None;
    }
    let days =
        days_before(year) + (1..month).map(|month| days_of(year, month)).sum::<u32>() + day - 1;
    let seconds = u64::from(days) * 86_400 + u64::from(hour * 3600 + minute * 60 + second);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the beginning of a year.
fn days_before(year: u32) -> u32 {
    let leaps = |until: u32| until / 4 - until / 100 + until / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_that_are_none_are_left_to_who_says_so() {
        for text in ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", ""] {
            assert_eq!(read_utc(text.as_bytes()), None, "{text}");
            assert!(read(text).is_err(), "{text}");
        }
        for text in ["2026-01-01T00:00:00+01:00", "1969-12-31T00:00:00Z", "2026-01-01 00:00:00Z"] {
            assert_eq!(read_utc(text.as_bytes()), None, "{text}");
            assert!(read(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_are_read_as_by_the_crate(seconds in 0i64..250_000_000_000, nanos in 0i32..1_000_000_000) {
            let time = SystemTime::from(Timestamp::new(seconds, nanos).unwrap());
            for style in [Style::Python, Style::Protobuf] {
                let text = write(time, style).unwrap();
                let read = read_utc(text.as_bytes());
                prop_assert_eq!(read, text.parse::<Timestamp>().ok().map(SystemTime::from));
            }
        }
    }
}
