//! What `parts.html` shows: the parts that all pages are made of.

use std::borrow::Cow;

use serde::Serialize;

/// A chart and its table. The table's rows are the chart's points, in their order.
#[derive(Debug, Default, Serialize)]
pub(in crate::report) struct Figure {
    pub(in crate::report) title: Cow<'static, str>,
    /// What it shows and how to read it, in a sentence or two.
    pub(in crate::report) note: Cow<'static, str>,
    pub(in crate::report) svg: String,
    pub(in crate::report) legend: Vec<Key>,
    /// Whether the legend begins with shades: few to many.
    pub(in crate::report) shades: bool,
    /// Whether it stands alone, and not in a grid with others.
    pub(in crate::report) wide: bool,
    /// Where the points lie across, for values on hover; empty where there is none.
    pub(in crate::report) across: Vec<f64>,
    pub(in crate::report) head: Vec<Cow<'static, str>>,
    pub(in crate::report) rows: Vec<Vec<String>>,
}

/// An entry of a legend; its place in the legend is its colour.
#[derive(Debug, Serialize)]
pub(in crate::report) struct Key {
    pub(in crate::report) name: Cow<'static, str>,
    pub(in crate::report) mark: Mark,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::report) enum Mark {
    Line,
    Dots,
    Bar,
}

impl Mark {
    /// A legend of series that are all drawn like this.
    pub(in crate::report) fn legend<N: Into<Cow<'static, str>>>(
        self,
        names: impl IntoIterator<Item = N>,
    ) -> Vec<Key> {
        names.into_iter().map(|name| Key { name: name.into(), mark: self }).collect()
    }
}

/// Something worth knowing: a name and a value.
#[derive(Debug, Serialize)]
pub(in crate::report) struct Fact {
    pub(in crate::report) name: &'static str,
    pub(in crate::report) value: String,
}
