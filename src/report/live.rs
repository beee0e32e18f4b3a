//! Views of ongoing runs: the pages of reports, which update themselves, and metrics for Prometheus.

use std::io;

use super::compare::CompareFormat;
pub(crate) use super::prometheus::Exposition;
use super::{compare, escape, html, prometheus};
use crate::run::{Found, Shown};

/// The script that updates the page. It only contacts the server that the page came from.
const SCRIPT: &str = include_str!("live.js");

/// The style of the bar at the top of the page.
const STYLE: &str = "<style>.live{position:sticky;top:0;z-index:2;display:flex;flex-wrap:wrap;gap:4px 12px;\
     align-items:center;padding:8px max(16px,calc((100vw - 1180px)/2));background:var(--raised);\
     border-bottom:1px solid var(--rule)}.live button{margin-left:auto;font:inherit;padding:4px 12px}</style>";

/// The path of the page of the current run, if there are several.
pub(crate) const RUN: &str = "/run";

/// Writes the page of all runs, or of the only one: with a bar at the top, and the script that updates it until
/// everything is over.
///
/// # Errors
/// Errors of the writer.
pub(crate) fn page(shown: &Shown, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Vec::new();
    match &shown.found {
        Some(Found::Capacity(capacity)) if shown.over => html::write_capacity(capacity, &mut page)?,
        Some(Found::Capacity(capacity)) => html::write_capacity_so_far(capacity, &mut page)?,
        Some(Found::Comparison(comparison)) => {
            compare::write(comparison, CompareFormat::Html, &mut page)?;
        }
        None => write_run(shown, &mut page)?,
    }
    let link = shown.found.is_some().then_some((RUN, "this run"));
    kept_up_to_date(shown, page, link, out)
}

/// Writes the page of the current run.
///
/// # Errors
/// Errors of the writer.
pub(crate) fn run_page(shown: &Shown, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Vec::new();
    write_run(shown, &mut page)?;
    let link = shown.found.is_some().then_some(("/", "all runs"));
    kept_up_to_date(shown, page, link, out)
}

fn write_run(shown: &Shown, page: &mut Vec<u8>) -> io::Result<()> {
    match shown.over {
        true => html::write(&shown.summary, page),
        false => html::write_so_far(&shown.summary, page),
    }
}

fn kept_up_to_date(
    shown: &Shown,
    page: Vec<u8>,
    link: Option<(&str, &str)>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    if shown.over {
        return out.write_all(&page);
    }
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    let which = match shown.which.as_str() {
        "" => String::new(),
        which => format!(": {}", escape::xml(which)),
    };
    let link = link.map_or(String::new(), |(path, name)| format!("<a href=\"{path}\">{name}</a>"));
    let bar = format!(
        "<body>\n<div class=\"live\" role=\"status\"><b>running{which}</b> {link} <span></span><button type=\"button\">End \
         gracefully</button></div>\n{STYLE}"
    );
    // The page in a file may not contact anyone; this one may contact its own server.
    let page = page.replacen("default-src 'none';", "default-src 'none'; connect-src 'self';", 1);
    let page = page.replacen("<body>", &bar, 1);
    let page = page.replacen("</body>", &format!("<script>\n{SCRIPT}</script>\n</body>"), 1);
    out.write_all(page.as_bytes())
}

/// Writes metrics: those for a textfile collector, plus response times as histograms and the findings of a
/// search.
///
/// # Errors
/// Errors of the writer.
pub(crate) fn metrics(
    shown: &Shown,
    exposition: Exposition,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let capacity = match &shown.found {
        Some(Found::Capacity(capacity)) => Some(&**capacity),
        _ => None,
    };
    prometheus::expose(&shown.summary, capacity, exposition, out)
}
