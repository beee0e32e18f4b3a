//! The values of `parts.html`, the parts used by all pages.

use std::borrow::Cow;

use serde::Serialize;

/// A chart and its table. The rows of the table are the points of the chart, in the same order.
#[derive(Debug, Default, Serialize)]
pub(in crate::report) struct Figure {
    pub(in crate::report) title: Cow<'static, str>,
    /// What it shows and how to read it, in one or two sentences.
    pub(in crate::report) note: Cow<'static, str>,
    pub(in crate::report) svg: String,
    pub(in crate::report) legend: Vec<Key>,
    /// Whether the legend starts with shades, from few to many.
    pub(in crate::report) shades: bool,
    /// Whether it stands alone instead of in a grid with others.
    pub(in crate::report) wide: bool,
    /// Horizontal positions of the points, for values on hover; empty if there are none.
    pub(in crate::report) across: Vec<f64>,
    pub(in crate::report) head: Vec<Cow<'static, str>>,
    pub(in crate::report) rows: Vec<Vec<String>>,
}

/// An entry of a legend; its position determines its colour.
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
    /// A legend for series that are all drawn in the same way.
    pub(in crate::report) fn legend<N: Into<Cow<'static, str>>>(
        self,
        names: impl IntoIterator<Item = N>,
    ) -> Vec<Key> {
        names.into_iter().map(|name| Key { name: name.into(), mark: self }).collect()
    }
}

/// A fact worth knowing: a name and a value.
#[derive(Debug, Serialize)]
pub(in crate::report) struct Fact {
    pub(in crate::report) name: &'static str,
    pub(in crate::report) value: String,
}
