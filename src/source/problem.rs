//! Problems in a file, and how they are shown.

use std::collections::HashSet;
use std::fmt;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::{Place, Sources};
use crate::units::nearest;

/// Maximum number of problems shown; a file with more has some fundamental mistake.
pub(super) const PROBLEMS_MAX: usize = 100;

/// Longer lines are named, not shown.
const LINE_BYTES_MAX: usize = 2000;

/// A mistake in the user's input: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    pub(super) message: String,
    pub(super) place: Option<Place>,
    // The part of the place that is meant.
    part: Option<String>,
    label: Option<String>,
    related: Vec<(Place, String)>,
    pub(super) help: Option<String>,
}

/// All problems of a suite. `Display` gives what the user sees.
#[derive(Clone, Debug)]
pub struct Problems {
    sources: Sources,
    problems: Vec<Problem>,
}

impl Problem {
    /// A problem without a place, such as one of the command line.
    pub fn new(message: impl Into<String>) -> Problem {
        Problem {
            message: message.into(),
            place: None,
            part: None,
            label: None,
            related: vec![],
            help: None,
        }
    }

    /// A problem at a place.
    pub fn at(place: Place, message: impl Into<String>) -> Problem {
        Problem { place: Some(place), ..Problem::new(message) }
    }

    /// Marks only this part of the place, if it is found there.
    pub fn narrow(mut self, part: impl Into<String>) -> Problem {
        self.part = Some(part.into());
        self
    }

    /// Adds text under the mark.
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = Some(label.into());
        self
    }

    /// Adds a related place.
    pub fn see(mut self, place: Place, label: impl Into<String>) -> Problem {
        self.related.push((place, label.into()));
        self
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Adds "did you mean `x`? (known here: x, y)" for a name that is not among `known`.
    pub fn suggest<'a>(self, found: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        match suggestion(found, known) {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The help for an unknown name; `None` if no names are known here.
pub(super) fn suggestion<'a>(
    found: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if known.is_empty() {
        return None;
    }
    let list = match known.len() {
        0..=30 => known.join(", "),
        more => format!("{} and {} more", known[..30].join(", "), more - 30),
    };
    Some(match nearest(found, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? (known here: {list})"),
        None => format!("known here: {list}"),
    })
}

impl Problems {
    /// The problems of these sources, sorted by place. `None` if there are none.
    pub fn new(sources: &Sources, mut problems: Vec<Problem>) -> Option<Problems> {
        if problems.is_empty() {
            return None;
        }
        problems.sort_by_key(|a| a.place);
        // A mistake in an anchor or in `defaults` is found at every use; reporting it once is enough.
        let mut told = HashSet::new();
        problems.retain(|problem| told.insert(problem.clone()));
        Some(Problems { sources: sources.clone(), problems })
    }

    /// The number of problems.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Never: there is at least one problem.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// What the user sees, with colours for a terminal.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let shown = self.problems.iter().take(PROBLEMS_MAX);
        let mut text = shown
            .map(|problem| self.sources.render(problem, &renderer))
            .collect::<Vec<_>>()
            .join("\n\n");
        // The search stops after this many, so their total is unknown.
        if self.problems.len() > PROBLEMS_MAX {
            text.push_str(&format!("\n\nerror: only the first {PROBLEMS_MAX} problems are shown"));
        }
        text
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

impl Sources {
    fn render(&self, problem: &Problem, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(problem.message.as_str());
        let mut group = match problem.place {
            None => Group::with_title(title),
            Some(place) => {
                let place = self.narrowed(place, problem.part.as_deref());
                let snippet =
                    self.snippet(place, AnnotationKind::Primary, problem.label.as_deref());
                let mut group = title.elements(snippet);
                for (place, label) in &problem.related {
                    let snippet = self.snippet(*place, AnnotationKind::Context, Some(label));
                    group = group.elements(snippet);
                }
                group
            }
        };
        let mut included = problem.place.and_then(|place| self.included(place));
        while let Some(place) = included {
            let note = format!("included at {}", self.position(place));
            group = group.element(Level::NOTE.message(note));
            included = self.included(place);
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// The part of a place that is meant.
    fn narrowed(&self, place: Place, part: Option<&str>) -> Place {
        let text = self.files.get(place.file as usize).map(|file| file.text.as_str());
        let text = text.and_then(|text| text.get(place.start as usize..place.end as usize));
        let found =
            part.filter(|part| !part.is_empty()).and_then(|part| Some((text?.find(part)?, part)));
        let Some((at, part)) = found else { return place };
        let start = place.start + at as u32;
        Place { start, end: start + part.len() as u32, ..place }
    }

    fn included(&self, place: Place) -> Option<Place> {
        self.files.get(place.file as usize)?.included
    }

    /// A line of a file with a mark in it.
    fn snippet<'a>(
        &'a self,
        place: Place,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Option<Element<'a>> {
        let file = self.files.get(place.file as usize)?;
        let line = file.line_of(place.start);
        let start = file.lines[line] as usize;
        let text = file.text.get(start..)?;
        let text = text.split('\n').next().unwrap_or(text);
        let from = (place.start as usize - start).min(text.len());
        // A block spans several lines; the first one is enough to find it.
        let to =
            (place.end as usize).saturating_sub(start).clamp(from, text.trim_end().len().max(from));
        if text.len() > LINE_BYTES_MAX {
            let column = text[..from].chars().count() + 1;
            let origin = Origin::path(file.name.as_str()).line(line + 1).char_column(column);
            return Some(origin.into());
        }
        let snippet = Snippet::source(file.shown(text, start))
            .line_start(line + 1)
            .path(file.name.as_str())
            .annotation(kind.span(from..to).label(label));
        Some(snippet.into())
    }
}
