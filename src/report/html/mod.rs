//! `report.html`: one file that works from disk, without a network.
//!
//! All text goes through the template's escaping, whatever sent it; only charts, which escape by
//! themselves, go in as they are.

mod capacity;
mod chart;
mod figures;
mod matrix;
mod page;

use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, context};

use crate::record::summary::Summary;

pub(super) use capacity::write as write_capacity;

pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let page = page::Page::new(summary).map_err(io::Error::other)?;
    let mut environment = Environment::new();
    // The name's ending switches escaping on.
    environment
        .add_template("report.html", include_str!("report.html"))
        .map_err(io::Error::other)?;
    let template = environment.get_template("report.html").map_err(io::Error::other)?;
    let page = Serde(page);
    let style = include_str!("report.css");
    let script = include_str!("report.js");
    let page = context! { page, style, script };
    template.render_captured_to(page, out).map_err(io::Error::other)?;
    Ok(())
}
