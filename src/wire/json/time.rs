//! Times of routes as text.

use std::time::SystemTime;

use jiff::Timestamp;

/// Who is to read a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Python's `isoformat`, as HTTP has it: microseconds and `+00:00`.
    Python,
    /// Protobuf's JSON mapping, as WebSocket has it: 0, 3, 6 or 9 decimals and `Z`.
    Protobuf,
}

/// `None` beyond the years that text has digits for.
pub(super) fn write(time: SystemTime, style: Style) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    let nanos = time.subsec_nanosecond();
    let whole = time.strftime("%Y-%m-%dT%H:%M:%S");
    // Python leaves out a fraction of nothing; protobuf writes thousands at a time.
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

/// Reads both styles, and any other of RFC 3339.
pub(super) fn read(text: &str) -> Result<SystemTime, jiff::Error> {
    text.parse::<Timestamp>().map(SystemTime::from)
}
