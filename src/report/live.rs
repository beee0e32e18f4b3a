//! A run while it goes on: the report's own page, which keeps itself up to date, and metrics for Prometheus.

use std::io;

use super::{html, prometheus};
use crate::record::summary::Summary;

/// What keeps the page up to date. It asks nobody but the server it came from.
const SCRIPT: &str = include_str!("live.js");

/// What stands above the page.
const BAR: &str = r#"<div class="live" role="status"><b>running</b> <span></span><button type="button">End gracefully</button></div>
<style>.live{position:sticky;top:0;z-index:2;display:flex;gap:12px;align-items:center;padding:8px max(16px,calc((100vw - 1180px)/2));background:var(--raised);border-bottom:1px solid var(--rule)}.live button{margin-left:auto;font:inherit;padding:4px 12px}</style>
"#;

/// Writes the page: with a bar above it, and what keeps it up to date, until the run is over.
///
/// # Errors
/// Errors of the writer.
pub(crate) fn page(summary: &Summary, over: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Vec::new();
    html::write(summary, &mut page)?;
    if over {
        return out.write_all(&page);
    }
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // The page of a file may ask nobody; this one may ask the server it came from.
    let page = page.replacen("default-src 'none';", "default-src 'none'; connect-src 'self';", 1);
    let page = page.replacen("<body>", &format!("<body>\n{BAR}"), 1);
    let page = page.replacen("</body>", &format!("<script>\n{SCRIPT}</script>\n</body>"), 1);
    out.write_all(page.as_bytes())
}

/// Writes metrics: as for a textfile collector, and response times as histograms. `open`: as OpenMetrics, which has
/// exemplars.
///
/// # Errors
/// Errors of the writer.
pub(crate) fn metrics(summary: &Summary, open: bool, out: &mut dyn io::Write) -> io::Result<()> {
    prometheus::write(summary, out)?;
    prometheus::histograms(summary, open, out)?;
    if open { writeln!(out, "# EOF") } else { Ok(()) }
}
