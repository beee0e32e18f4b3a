//! Recorded arrivals.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::text;
use crate::units::Span;

/// The largest trace file: as many arrivals as a trace may have, at 40 bytes each.
const TRACE_BYTES_MAX: u64 = 40 * TRACE_MAX as u64;

/// The most arrivals of a trace, 16 bytes each in memory.
const TRACE_MAX: usize = 20_000_000;

/// Larger values are dates in seconds since 1970 (1973 or later), not offsets into a load.
const EPOCH_MIN_S: f64 = 1e8;

/// Why a file is not a valid trace.
#[derive(Debug, thiserror::Error)]
#[error("{fault}", fault = shown(path, fault))]
pub(super) struct TraceError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error("{0}")]
    Encoding(&'static str),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error("line {line}: expected seconds of at least 0, found `{found}`")]
    NotSeconds { line: u64, found: String },
    #[error(
        "line {line}: `{found}` is an absolute time; expected seconds since the first arrival: subtract \
         {first_s} from each"
    )]
    Absolute { line: u64, found: String, first_s: f64 },
    #[error("line {line}: a load takes at most 365d")]
    TooLong { line: u64 },
    #[error("line {line}: arrivals must be in ascending order")]
    Order { line: u64 },
    #[error("has more than {TRACE_MAX} arrivals")]
    TooMany,
    #[error("has no arrivals")]
    Empty,
}

fn shown(path: &Path, fault: &Fault) -> String {
    match fault {
        Fault::Read(_) | Fault::Encoding(_) | Fault::Csv(_) => {
            format!("could not read `{}`: {fault}", path.display())
        }
        _ => format!("`{}` {fault}", path.display()),
    }
}

/// Reads the first column of a CSV file: seconds since the start of a load, ascending, played back `speed`
/// times as fast. A first line that is not a number is a header.
pub(super) fn read_trace(path: &Path, speed: f64) -> Result<Vec<Duration>, TraceError> {
    read(path, speed).map_err(|fault| TraceError { path: path.to_owned(), fault })
}

fn read(path: &Path, speed: f64) -> Result<Vec<Duration>, Fault> {
    // A device or a pipe may never end.
    let file = std::fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true if metadata.len() > TRACE_BYTES_MAX => Err(text::too_large(TRACE_BYTES_MAX)),
        true => std::fs::File::open(path),
        false => Err(std::io::Error::other("it is not a file")),
    });
    // Read in pieces: a long file is many times as large as what is kept of it.
    let mut file = BufReader::new(file?);
    if let Some(what) = text::other_encoding(file.fill_buf()?) {
        return Err(Fault::Encoding(what));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(file);
    let mut due: Vec<Duration> = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let text = record.get(0).unwrap_or("");
        let found = || text.to_owned();
        let seconds: Option<f64> = text.parse().ok().filter(|seconds: &f64| *seconds >= 0.0);
        let Some(arrival) = seconds.and_then(|s| Duration::try_from_secs_f64(s / speed).ok())
        else {
            if index == 0 && text.parse::<f64>().is_err() {
                continue;
            }
            return Err(Fault::NotSeconds { line, found: found() });
        };
        if arrival > Span::MAX {
            let first_s = due.first().copied().unwrap_or(arrival).mul_f64(speed).as_secs_f64();
            return Err(match first_s >= EPOCH_MIN_S {
                true => Fault::Absolute { line, found: found(), first_s },
                false => Fault::TooLong { line },
            });
        }
        if due.last().is_some_and(|last| arrival < *last) {
            return Err(Fault::Order { line });
        }
        if due.len() == TRACE_MAX {
            return Err(Fault::TooMany);
        }
        due.push(arrival);
    }
    if due.is_empty() { Err(Fault::Empty) } else { Ok(due) }
}
