//! A log of when each request arrived and when its answer left, to check a load generator against.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::wire::Protocol;

/// A file with one line of JSON per request.
///
/// Times are nanoseconds of the system's monotonic clock, which all processes of a machine share, so they can
/// be compared with a load generator's times.
#[derive(Debug)]
pub(super) struct Log {
    /// Written through a buffer of fixed size, which is flushed when the Flow stops.
    file: Mutex<BufWriter<File>>,
}

/// The moment at which a request had been read completely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp(u64);

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    protocol: &'static str,
    arrival_ns: u64,
    /// Null for a request that got no answer.
    departure_ns: Option<u64>,
}

impl Log {
    pub(super) fn create(path: &Path) -> io::Result<Log> {
        Ok(Log { file: Mutex::new(BufWriter::with_capacity(64 << 10, File::create(path)?)) })
    }

    /// Writes that the answer leaves now, or that there is none.
    pub(super) fn departure(
        &self,
        id: &str,
        protocol: Protocol,
        Stamp(arrival_ns): Stamp,
        answered: bool,
    ) {
        let protocol = protocol.name();
        let departure_ns = answered.then(|| Stamp::now().0);
        let line = Line { id, protocol, arrival_ns, departure_ns };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop the Flow; the file ends early, which its reader sees.
        let _ = serde_json::to_writer(&mut *file, &line);
        let _ = file.write_all(b"\n");
    }

    /// Writes what is still in the buffer.
    pub(super) fn flush(&self) {
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

impl Stamp {
    pub(super) fn now() -> Stamp {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Stamp(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0))
    }
}
