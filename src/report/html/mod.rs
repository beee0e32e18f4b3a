//! HTML pages. Each is a single file that works from disk, without a network.
//!
//! `frame.html` is common to all pages, and `parts.html` has the parts they are made of; each kind
//! of page fills the frame. All text is escaped by the templates, wherever it comes from. Only
//! charts, which escape their own text, are inserted as they are.

mod capacity;
mod chart;
mod figures;
mod matrix;
mod page;
pub(super) mod parts;
mod server;
mod stretches;
mod tested;
mod traces;
mod why;

use std::io;

use minijinja::value::{Serde, Value};
use minijinja::{Environment, context, escape_formatter};
use serde::Serialize;

use super::words::{capital, is_command, whole_numbers};
use crate::record::summary::Summary;

pub(super) use capacity::{write as write_capacity, write_so_far as write_capacity_so_far};

/// All templates. The extension of their names turns escaping on.
const TEMPLATES: [(&str, &str); 6] = [
    ("frame.html", include_str!("frame.html")),
    ("parts.html", include_str!("parts.html")),
    ("report.html", include_str!("report.html")),
    ("capacity.html", include_str!("capacity.html")),
    ("compare.html", include_str!("compare.html")),
    ("trend.html", include_str!("trend.html")),
];

/// Renders a kind of page.
///
/// # Errors
///
/// Errors of the writer.
pub(super) fn render(
    template: &str,
    page: &impl Serialize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut environment = Environment::new();
    for (name, source) in TEMPLATES {
        environment.add_template(name, source).map_err(io::Error::other)?;
    }
    // The `capitalize` filter of minijinja makes all other letters lower case.
    environment.add_filter("capital", |text: String| capital(&text));
    environment.add_filter("whole", |text: String| whole_numbers(&text));
    // Escaping protects the browser. Control characters are replaced as well, because they can make one text
    // look like another to the reader.
    let command = |c| is_command(c) && !['\n', '\t'].contains(&c);
    environment.set_formatter(move |out, state, value| match value.as_str() {
        Some(text) if text.contains(command) => {
            let shown = Value::from(text.replace(command, "\u{fffd}"));
            escape_formatter(out, state, &shown)
        }
        _ => escape_formatter(out, state, value),
    });
    let template = environment.get_template(template).map_err(io::Error::other)?;
    let style = include_str!("report.css");
    let script = include_str!("report.js");
    let context = context! { page => Serde(page), style, script };
    template.render_captured_to(context, out).map_err(io::Error::other)?;
    Ok(())
}

/// Writes the page of a summary.
///
/// # Errors
///
/// Errors of the writer, or if the histograms of the summary were modified.
pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let page = page::Page::new(summary).map_err(io::Error::other)?;
    render("report.html", &page, out)
}

/// Writes the page of a run that is still going on.
///
/// # Errors
///
/// As [`write`].
pub(super) fn write_so_far(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let page = page::Page::new(summary).map_err(io::Error::other)?;
    render("report.html", &page.so_far(), out)
}
