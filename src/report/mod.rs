//! Reports of results for people and programs. One file per format.
//!
//! A report is a function of a [`Summary`] and a writer, so a saved result can be rendered again to
//! the same bytes.

mod best;
pub mod capacity;
pub mod compare;
mod csv;
mod escape;
mod exponential;
pub(crate) mod files;
mod hlog;
mod html;
mod json;
mod junit;
pub(crate) mod live;
mod markdown;
pub(crate) mod otlp;
pub(crate) mod progress;
mod prometheus;
mod terminal;
pub(crate) mod trials;
pub(crate) mod words;

use std::io;

use crate::record::summary::Summary;

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The whole result, for programs and for rendering it again.
    Json,
    /// A page for people: a single file without dependencies.
    Html,
    /// JUnit XML, for CI.
    Junit,
    /// Markdown for a comment on a pull request.
    Markdown,
    /// The timelines, one row per second.
    Csv,
    /// HdrHistogram interval log.
    Hlog,
    /// Prometheus text format.
    Prometheus,
    /// The verdict in one line.
    Verdict,
    /// A few lines at the end of a run.
    Terminal {
        /// Whether to use colours.
        color: bool,
        /// Width of the terminal; at least 80, which is also used if it is unknown.
        columns: usize,
    },
}

/// Writes a summary.
///
/// # Errors
/// Errors of the writer.
pub fn write(summary: &Summary, format: Format, out: &mut dyn io::Write) -> io::Result<()> {
    match format {
        Format::Json => json::write(summary, out),
        Format::Html => html::write(summary, out),
        Format::Junit => junit::write(summary, out),
        Format::Markdown => markdown::write(summary, out),
        Format::Csv => csv::write(summary, out),
        Format::Hlog => hlog::write(summary, out),
        Format::Prometheus => prometheus::write(summary, out),
        Format::Verdict => terminal::write_verdict(summary, false, out),
        Format::Terminal { color, columns } => terminal::write(summary, color, columns, out),
    }
}
