//! Traces of requests, with links to where they are shown.

use serde::Serialize;

use crate::record::summary::{ScenarioSummary, TraceOf};
use crate::report::words::{count, latency, time};

/// A table of traces.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    about: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// Only an http or https address: anything else could run code in the browser.
    link: Option<String>,
    what: &'static str,
    due: String,
    response: String,
}

/// The table; `None` without traces.
pub(super) fn section(scenario: &ScenarioSummary) -> Option<Section> {
    let traces = scenario.traces.as_ref()?;
    let link = |id: &str| {
        let link = traces.link.as_ref()?.replace("{id}", id);
        (link.starts_with("http://") || link.starts_with("https://")).then_some(link)
    };
    let row = |what| {
        move |of: &TraceOf| Row {
            id: of.id.clone(),
            link: link(&of.id),
            what,
            due: time(of.due_s),
            response: latency(Some(of.response_ms)),
        }
    };
    let mut rows: Vec<Row> = traces.slowest.iter().map(row("slowest")).collect();
    rows.extend(traces.failed.iter().map(row("failed")));
    let shared = traces.connections.iter().map(|id| Row {
        id: id.clone(),
        link: link(id),
        what: "shared by a thread",
        due: "–".into(),
        response: "–".into(),
    });
    rows.extend(shared);
    let about = match traces.connections.len() {
        0 => format!("{} requests had a separate trace", count(traces.requests)),
        _ => "Over this protocol only connections have headers, so each sending thread has one \
              trace"
            .into(),
    };
    Some(Section { about, rows })
}
