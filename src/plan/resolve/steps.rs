//! What the steps of a scenario send, and what is checked in their responses.

use std::path::Path;
use std::sync::Arc;

use super::{REQUEST_SIZE_MAX, Resolver};
use crate::assertion::{
    Assertion, Capture, DOCUMENT_FIELDS, Message, foreign_part, unknown_fields,
};
use crate::client::{HttpRequest, HttpRequestError};
use crate::documents::{Documents, DocumentsSpec};
use crate::flow::check_target_executor;
use crate::plan::http::same_header_twice;
use crate::plan::range::in_range;
use crate::plan::{
    self, Action, Callbacks, Choice, Http, HttpError, Parameters, Post, Repeat, Step, Work,
};
use crate::random::Key;
use crate::scenario::{self, DocumentsRef, Named, Unit};
use crate::schedule::Pause;
use crate::source::{Node, Sources, Spot};
use crate::template::{Context, Expression, Template, TemplateError};
use crate::units::{Percentage, Span, nearest};
use crate::wire::{Family, Map};

/// The assertions for one kind of outcome, with the callback for it.
type Judges<'a> = (Option<&'a [scenario::Assertion]>, &'a Option<Vec<scenario::Action>>);

/// The largest weight of one of several lists of steps.
const WEIGHT_MAX: f64 = 1_000_000.0;

/// What the expressions of a step can refer to.
struct Seen<'a> {
    // Names that earlier steps capture.
    captured: &'a [String],
    // Whether Documents have the fields of v1.
    fields: bool,
    // That of the Flow, if known in advance.
    family: Option<Family>,
    // Whether responses are to plain HTTP requests; `None` if there are both kinds.
    http: Option<bool>,
}

impl Seen<'_> {
    /// What a step can refer to that may follow others; `mutates`: whether its responses are GraphQL.
    fn new(
        captured: &[String],
        mutates: bool,
        http: Option<bool>,
        family: Option<Family>,
    ) -> Seen<'_> {
        let fields = !mutates && http != Some(true) && family != Some(Family::V2);
        Seen { captured, fields, family, http }
    }
}

/// Whether Documents have a schema with their own fields.
fn has_own_fields(suite: &scenario::LoadedSuite, given: &DocumentsRef) -> bool {
    match given {
        DocumentsRef::Inline(spec) => spec.fields.is_some(),
        DocumentsRef::Name(name) => {
            suite.documents.iter().any(|named| named.name == *name && named.has("fields"))
        }
    }
}

/// The keys of a step, or of a scenario that is its only step.
struct StepParts<'a> {
    on: Option<&'a str>,
    documents: Option<&'a DocumentsRef>,
    request_size: Option<u64>,
    parameters: Option<&'a Template>,
    target_executor: Option<&'a str>,
    stream: Option<bool>,
    mutate: Option<&'a str>,
    variables: Option<&'a Template>,
    request: Option<&'a scenario::HttpSpec>,
    headers: Option<&'a Template>,
    at: Spot<'a>,
    // For a step: its scenario, for keys that the step does not set.
    outer: Option<&'a StepParts<'a>>,
}

impl<'a> Resolver<'a> {
    /// The steps of a scenario, or the single step that it is itself.
    pub(super) fn steps(
        &mut self,
        unit: &'a Unit,
        given: &scenario::Scenario,
        flow: usize,
        at: Spot<'_>,
    ) -> (Vec<Step>, Vec<Choice>) {
        let own = StepParts {
            on: given.on.as_deref(),
            documents: given.documents.as_ref(),
            request_size: given.request_size,
            parameters: given.parameters.as_ref(),
            target_executor: given.target_executor.as_deref(),
            stream: given.stream,
            mutate: given.mutate.as_deref(),
            variables: given.variables.as_ref(),
            request: given.request.as_ref(),
            headers: given.headers.as_ref(),
            at,
            outer: None,
        };
        // Documents with their own fields are v2, whatever the Flow reports.
        let of_documents =
            |suite: &scenario::LoadedSuite, given: Option<&DocumentsRef>, family| match given {
                Some(given) if has_own_fields(suite, given) => Some(Family::V2),
                _ => family,
            };
        let family = of_documents(self.suite, own.documents, self.flows.family(flow));
        let mutates = given.mutate.is_some() || given.all_steps().any(|step| step.mutate.is_some());
        // Expressions of the scenario apply to the responses of all steps.
        let of_steps: Vec<bool> = given.all_steps().map(|step| step.request.is_some()).collect();
        let requests = match of_steps.split_first() {
            None => Some(given.request.is_some()),
            Some((first, rest)) => rest.iter().all(|other| other == first).then_some(*first),
        };
        let shared = self.judges(
            [
                (given.assert.as_deref(), &given.on_done),
                (None, &given.on_error),
                (None, &given.on_always),
            ],
            unit,
            at,
            &Seen::new(&[], mutates, requests, family),
        );
        if given.steps.is_none() && given.choose.is_none() {
            let work = self.work(unit, &own, &[]);
            let headers = self.headers(unit, &own, &[]);
            let (assertions, callbacks) = shared;
            let step = Step {
                name: String::new(),
                work,
                headers,
                traced: None,
                repeat: None,
                think_time: Pause::NONE,
                captures: vec![],
                assertions,
                callbacks,
            };
            return (vec![step], vec![]);
        }
        let (lists, mut choices) = self.lists(given, at);
        for key in ["mutate", "variables", "request"] {
            if at.key(key).node().is_some() {
                at.name(key).problem(
                    self.problems,
                    format!("`{key}` belongs in one of the `steps`"),
                    |problem| problem,
                );
            }
        }
        let mut captured: Vec<String> = Vec::new();
        let mut resolved: Vec<Step> = Vec::new();
        let all = lists.iter().enumerate().flat_map(|(list, (steps_at, steps))| {
            let steps = steps.iter().enumerate();
            steps.map(move |(index, step)| (list, steps_at.index(index), index, step))
        });
        for (list, at, index, step) in all {
            if index == 0 {
                captured.clear();
            }
            let name = step.name.clone().unwrap_or_default();
            if step.name.as_deref().is_none_or(str::is_empty) {
                at.problem(self.problems, "key `name` is missing in a step", |problem| problem);
            } else if name == "service" {
                let message = "a step cannot be named `service`: `service.p99` is service time";
                at.key("name").problem(self.problems, message, |problem| problem);
            } else if resolved.iter().any(|known| known.name == name) {
                let message = format!("step `{name}` is defined twice");
                at.key("name").problem(self.problems, message, |problem| problem);
            }
            let parts = StepParts {
                on: step.on.as_deref(),
                documents: step.documents.as_ref(),
                request_size: step.request_size,
                parameters: step.parameters.as_ref(),
                target_executor: step.target_executor.as_deref(),
                stream: step.stream,
                mutate: step.mutate.as_deref(),
                variables: step.variables.as_ref(),
                request: step.request.as_ref(),
                headers: step.headers.as_ref(),
                at,
                outer: Some(&own),
            };
            let work = self.work(unit, &parts, &captured);
            let headers = self.headers(unit, &parts, &captured);
            let http = Some(step.request.is_some());
            let family = of_documents(self.suite, parts.documents, family);
            let seen = Seen::new(&captured, step.mutate.is_some(), http, family);
            let (mut assertions, mut callbacks) = self.judges(
                [
                    (step.assert.as_deref(), &step.on_done),
                    (None, &step.on_error),
                    (None, &step.on_always),
                ],
                unit,
                at,
                &seen,
            );
            assertions.splice(0..0, shared.0.iter().cloned());
            callbacks.on_done.splice(0..0, shared.1.on_done.iter().cloned());
            callbacks.on_error.splice(0..0, shared.1.on_error.iter().cloned());
            callbacks.on_always.splice(0..0, shared.1.on_always.iter().cloned());
            let mut captures = Vec::new();
            for (name, that) in step.capture.iter().flatten() {
                let at = at.key("capture").key(name);
                match Capture::compile(name, that, &unit.context) {
                    Ok(capture) => {
                        self.looked_at(capture.expressions(), at, &seen);
                        captures.push(capture);
                    }
                    Err(error) => error.tell(at, self.problems),
                }
            }
            let repeat =
                step.repeat.as_ref().and_then(|repeat| self.repeat(unit, repeat, at, &seen));
            captured.extend(step.capture.iter().flatten().map(|(name, _)| name.clone()));
            let think_time = step.think_time.unwrap_or_default();
            if index + 1 == lists[list].1.len() && step.think_time.is_some() {
                let message =
                    "`think_time` is the pause before the next step, and this is the last";
                at.name("think_time").problem(self.problems, message, |problem| {
                    problem.help(
                        "the pause of a client after its last step is \
                         `load: {clients: 10, think_time: 1s}`",
                    )
                });
            }
            resolved.push(Step {
                name,
                work,
                headers,
                traced: None,
                repeat,
                think_time,
                captures,
                assertions,
                callbacks,
            });
        }
        let mut first = 0;
        for (choice, (_, steps)) in choices.iter_mut().zip(&lists) {
            choice.steps = first..first + steps.len();
            first += steps.len();
        }
        (resolved, choices)
    }

    /// The lists of steps, of which each iteration runs one, and the choices; the steps of a choice are not yet
    /// known.
    fn lists<'g>(
        &mut self,
        given: &'g scenario::Scenario,
        at: Spot<'g>,
    ) -> (Vec<(Spot<'g>, &'g [scenario::Step])>, Vec<Choice>) {
        let mut empty = |at: Spot<'_>, steps: &[scenario::Step]| {
            if steps.is_empty() {
                let message = "`steps` needs at least one step";
                at.problem(self.problems, message, |problem| problem);
            }
        };
        let Some(choose) = &given.choose else {
            let steps = given.steps.as_deref().unwrap_or_default();
            empty(at.key("steps"), steps);
            return (vec![(at.key("steps"), steps)], vec![]);
        };
        let mut lists = Vec::new();
        for (index, choice) in choose.iter().enumerate() {
            let at = at.key("choose").index(index);
            let steps = choice.steps.as_deref().unwrap_or_default();
            empty(if choice.steps.is_some() { at.key("steps") } else { at }, steps);
            lists.push((at.key("steps"), steps));
        }
        if given.steps.is_some() {
            let other = at.name("steps").place();
            let message = "a scenario has `steps` or `choose`, not both";
            at.name("choose")
                .problem(self.problems, message, |problem| problem.see(other, "the other one"));
        }
        if choose.is_empty() {
            let message = "`choose` needs at least one list of steps";
            at.key("choose").problem(self.problems, message, |problem| problem);
        }
        let mut choices: Vec<Choice> = Vec::new();
        for (index, choice) in choose.iter().enumerate() {
            let at = at.key("choose").index(index);
            let name = choice.name.clone().unwrap_or_default();
            if name.is_empty() {
                let message = "key `name` is missing in a choice";
                at.problem(self.problems, message, |problem| problem);
            } else if choices.iter().any(|known| known.name == name) {
                let message = format!("choice `{name}` is defined twice");
                at.key("name").problem(self.problems, message, |problem| problem);
            }
            let weight = choice.weight.unwrap_or(1.0);
            if !(weight > 0.0 && weight <= WEIGHT_MAX) {
                let message =
                    format!("`weight` must be above 0 and at most 1000000, found `{weight}`");
                at.key("weight").problem(self.problems, message, |problem| problem);
            }
            choices.push(Choice { name, weight, steps: 0..0 });
        }
        (lists, choices)
    }

    /// How a step is repeated.
    fn repeat(
        &mut self,
        unit: &Unit,
        given: &scenario::Repeat,
        at: Spot<'_>,
        seen: &Seen<'_>,
    ) -> Option<Repeat> {
        let at = at.key("repeat");
        let every = given.every.map_or(Repeat::EVERY, Span::get);
        let at_most = given.at_most.map_or(Repeat::AT_MOST, Span::get);
        let shown = |duration| Span::new(duration).unwrap_or_default();
        if every < Repeat::EVERY_MIN {
            let message = format!("`every` must be at least 1ms, found {}", shown(every));
            at.key("every").problem(self.problems, message, |problem| problem);
        }
        if at_most > Repeat::AT_MOST_MAX {
            let message = format!("`at_most` must be at most 1h, found {}", shown(at_most));
            at.key("at_most").problem(self.problems, message, |problem| {
                problem.help("it limits one iteration, not the load")
            });
        } else if at_most < every {
            let (every, at_most) = (shown(every), shown(at_most));
            let message = format!("`every` is {every}, so nothing is repeated within {at_most}");
            let key = if given.every.is_some() { "every" } else { "at_most" };
            at.key(key).problem(self.problems, message, |problem| problem);
        }
        match Assertion::compile(None, &given.until, Percentage::ALL, &unit.context) {
            Ok(until) => {
                self.looked_at(until.expressions(), at.key("until"), seen);
                Some(Repeat { until, every, at_most })
            }
            Err(error) => {
                error.tell(at.key("until"), self.problems);
                None
            }
        }
    }

    /// What one step sends. `captured` has the names that earlier steps capture.
    fn work(&mut self, unit: &'a Unit, step: &StepParts<'_>, captured: &[String]) -> Work {
        let at = step.at;
        if let Some(request) = step.request {
            return Work::Http(self.http(unit, request, at, captured));
        }
        if let Some(mutation) = step.mutate {
            let posts =
                ["on", "documents", "request_size", "parameters", "target_executor", "stream"];
            for key in posts {
                if at.key(key).node().is_some() {
                    at.name(key).problem(
                        self.problems,
                        format!("`{key}` does not apply to a mutation"),
                        |problem| problem.help("a mutation contains its own arguments"),
                    );
                }
            }
            if mutation.trim().is_empty() {
                at.key("mutate").problem(self.problems, "`mutate` is empty", |problem| problem);
            }
            let variables = self.parameters(unit, step.variables, at.key("variables"), captured);
            return Work::Mutate { mutation: mutation.to_owned(), variables };
        }
        if step.variables.is_some() {
            at.name("variables").problem(
                self.problems,
                "`variables` belong to a mutation, and there is no `mutate`",
                |problem| problem,
            );
        }
        let outer = step.outer;
        let stream = step.stream.or(outer.and_then(|outer| outer.stream)).unwrap_or(false);
        let (size, size_at) = match (step.request_size, outer.and_then(|outer| outer.request_size))
        {
            (Some(size), _) => (Some(size), at.key("request_size")),
            (None, Some(size)) => {
                (Some(size), outer.map_or(at, |outer| outer.at).key("request_size"))
            }
            (None, None) => (None, at),
        };
        let request_size = in_range(
            size.unwrap_or(100),
            "request_size",
            1,
            REQUEST_SIZE_MAX,
            size_at,
            self.problems,
        );
        if stream && size.is_some_and(|size| size != 1) {
            size_at.problem(
                self.problems,
                "a request to a streaming endpoint has one Document",
                |problem| problem.help("leave `request_size` out"),
            );
        }
        let (parameters, parameters_at) = match (step.parameters, outer) {
            (None, Some(outer)) => (outer.parameters, outer.at.key("parameters")),
            (parameters, _) => (parameters, at.key("parameters")),
        };
        let (documents, documents_at) = match (step.documents, outer) {
            (None, Some(outer)) => (outer.documents, outer.at.key("documents")),
            (documents, _) => (documents, at.key("documents")),
        };
        let documents =
            documents.and_then(|documents| self.documents(unit, documents, documents_at));
        if let Some(documents) = &documents {
            self.captured(documents.paths().into_iter(), documents_at, captured);
        }
        if stream && step.documents.is_none() && outer.is_none_or(|outer| outer.documents.is_none())
        {
            at.name("stream").problem(
                self.problems,
                "a request to a streaming endpoint needs `documents`",
                |problem| problem,
            );
        }
        let on = step.on.or(outer.and_then(|outer| outer.on)).unwrap_or("/");
        let target = step.target_executor.or(outer.and_then(|outer| outer.target_executor));
        if let Some(Err(error)) = target.map(check_target_executor) {
            let place = match (step.target_executor, outer) {
                (None, Some(outer)) => outer.at.key("target_executor"),
                _ => at.key("target_executor"),
            };
            let message = format!("`target_executor` is not a regular expression: {error}");
            place.problem(self.problems, message, |problem| problem);
        }
        Work::Post(Post {
            on: on.to_owned(),
            documents,
            request_size: if stream { 1 } else { request_size as usize },
            parameters: self.parameters(unit, parameters, parameters_at, captured),
            target_executor: target.unwrap_or_default().to_owned(),
            stream,
        })
    }

    /// The headers of each request of a step: its own, or else its scenario's.
    fn headers(
        &mut self,
        unit: &Unit,
        step: &StepParts<'_>,
        captured: &[String],
    ) -> Option<Parameters> {
        let (template, at) = match (step.headers, step.outer) {
            (None, Some(outer)) => (outer.headers?, outer.at.key("headers")),
            (headers, _) => (headers?, step.at.key("headers")),
        };
        let before = self.problems.len();
        same_header_twice(at, self.problems);
        let headers = self.parameters(unit, Some(template), at, captured);
        if self.problems.len() == before
            && !template.mentions("captured")
            && let Err(error) = headers
                .evaluate(0, &Map::new())
                .map_err(HttpError::from)
                .and_then(|given| Ok(plan::headers(&given)?))
        {
            at.problem(self.problems, error.to_string(), |problem| problem);
        }
        Some(headers)
    }

    /// A plain HTTP request.
    fn http(
        &mut self,
        unit: &Unit,
        request: &scenario::HttpSpec,
        at: Spot<'_>,
        captured: &[String],
    ) -> Http {
        const OTHERS: [&str; 8] = [
            "on",
            "documents",
            "request_size",
            "parameters",
            "target_executor",
            "stream",
            "mutate",
            "variables",
        ];
        for key in OTHERS {
            if at.key(key).node().is_some() {
                let message = format!("`{key}` does not apply to a plain HTTP `request`");
                at.name(key).problem(self.problems, message, |problem| problem);
            }
        }
        let at = at.key("request");
        if request.json.is_some() && request.body.is_some() {
            let other = at.name("json").place();
            at.name("body").problem(
                self.problems,
                "a request has `json` or `body`, not both",
                |p| p.see(other, "the other one"),
            );
        }
        if request.status.as_ref().is_some_and(Vec::is_empty) {
            let message = "expected at least one status, found an empty list";
            at.key("status").problem(self.problems, message, |problem| {
                problem.help("if omitted, all statuses below 400 count as success")
            });
        }
        same_header_twice(at.key("headers"), self.problems);
        for (index, status) in request.status.iter().flatten().enumerate() {
            if !(100..600).contains(status) {
                let message = format!("expected a status from 100 to 599, found `{status}`");
                at.key("status").index(index).problem(self.problems, message, |p| p);
            }
        }
        let has_body = request.json.is_some() || request.body.is_some();
        let method = match &request.method {
            // Keep the spelling in the file for the error message.
            Some(method) if HttpRequest::new(&method.to_ascii_uppercase(), "/").is_err() => {
                method.clone()
            }
            Some(method) => method.to_ascii_uppercase(),
            None if has_body => "POST".into(),
            None => "GET".into(),
        };
        if let Err(error) = HttpRequest::new(&method, "/") {
            at.key("method").problem(self.problems, error.to_string(), |problem| problem);
            return Http {
                method: "GET".into(),
                parts: Parameters::constant(Map::new()),
                success: Vec::new(),
            };
        }
        let parts = [
            ("path", Some(&request.path)),
            ("headers", request.headers.as_ref()),
            ("json", request.json.as_ref()),
            ("body", request.body.as_ref()),
        ];
        let parts = parts.into_iter().filter_map(|(key, part)| Some((key, part?)));
        let template = Template::map(parts);
        let before = self.problems.len();
        let parts = self.parameters(unit, Some(&template), at, captured);
        let http = Http { method, parts, success: request.status.clone().unwrap_or_default() };
        // If the first request is invalid, the run would stop at once.
        if self.problems.len() == before
            && !template.mentions("captured")
            && let Err(error) = http.request(0, &Map::new())
        {
            let part = match &error {
                HttpError::Type { part, .. } => part,
                HttpError::Request(HttpRequestError::Path(_)) => "path",
                _ => "headers",
            };
            at.key(part).problem(self.problems, error.to_string(), |problem| problem);
        }
        http
    }

    fn parameters(
        &mut self,
        unit: &Unit,
        template: Option<&Template>,
        at: Spot<'_>,
        captured: &[String],
    ) -> Parameters {
        let seed = Key::new(self.suite.seed).part("parameters").part(&unit.name);
        let Some(template) = template else { return Parameters::constant(Map::new()) };
        if !template.may_be_map() {
            let found = at.node().map_or("a value".into(), Node::found);
            at.problem(self.problems, format!("expected a map, found {found}"), |problem| problem);
            return Parameters::constant(Map::new());
        }
        if !self.captured(template.paths().into_iter(), at, captured) {
            return Parameters::constant(Map::new());
        }
        if unit.context.lacks_one_of(template.paths().into_iter()) {
            return Parameters::constant(Map::new());
        }
        match template.bind(&unit.context) {
            Ok(template) => {
                let depends = template.mentions("captured");
                let parameters = Parameters::new(template, seed);
                // If the first request is invalid, the run would stop at once.
                if !depends && let Err(error) = parameters.evaluate(0, &Map::new()) {
                    error.tell(at, self.problems);
                }
                parameters
            }
            Err(errors) => {
                errors.iter().for_each(|error| error.tell(at, self.problems));
                Parameters::constant(Map::new())
            }
        }
    }

    /// Checks that expressions only use names of `captured` that are `known`. `at` is the value that contains
    /// them.
    fn captured<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p str>,
        at: Spot<'_>,
        known: &[String],
    ) -> bool {
        for path in paths {
            let mut names = path.split('.');
            if names.next() != Some("captured") {
                continue;
            }
            let message = match names.next() {
                Some(name) if !known.iter().any(|known| known == name) => {
                    format!("no step before this one captures `{name}`")
                }
                None if known.is_empty() => "no step before this one captures anything".into(),
                _ => continue,
            };
            at.find(path).problem(self.problems, message, |problem| {
                let name = path.strip_prefix("captured.").unwrap_or_default();
                let known = known.iter().map(String::as_str);
                problem.narrow(path).suggest(name, known)
            });
            return false;
        }
        true
    }

    /// Reports expressions that refer to something that does not exist. `at` is the value that contains them.
    fn looked_at<'p>(
        &mut self,
        expressions: impl Iterator<Item = &'p Expression>,
        at: Spot<'_>,
        seen: &Seen<'_>,
    ) {
        for expression in expressions {
            self.captured(expression.paths(), at, seen.captured);
            if let Some(http) = seen.http
                && let Some((of, part)) = foreign_part(expression, http)
            {
                let (has, help) = match (of, http) {
                    ("request", true) => ("a plain HTTP request", "json"),
                    ("request", false) => {
                        ("a request to a Flow", "docs, parameters, header, variables")
                    }
                    (_, true) => (
                        "the response to a plain HTTP request",
                        "status_code, headers, json, body, latency_ms",
                    ),
                    (_, false) => (
                        "the response of a Flow",
                        "status, docs, parameters, routes, header, latency_ms",
                    ),
                };
                let message = format!("{has} has no `{part}`");
                at.find(part).problem(self.problems, message, |problem| {
                    problem.narrow(part).help(format!("it has {help}"))
                });
            }
            if !seen.fields {
                continue;
            }
            for name in unknown_fields(expression) {
                let near = nearest(&name, DOCUMENT_FIELDS.iter().copied());
                // A Flow that may be v2 may have Documents with their own fields.
                if near.is_none() && seen.family.is_none() {
                    continue;
                }
                at.find(&name).problem(
                    self.problems,
                    format!("a Document has no field `{name}`"),
                    |problem| {
                        let mut help = match near {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!("it has {}", DOCUMENT_FIELDS.join(", ")),
                        };
                        if seen.family.is_none() {
                            help +=
                                " (if Documents have custom fields, set `family: v2` on the flow)";
                        }
                        problem.narrow(&name).help(help)
                    },
                );
            }
        }
    }

    fn documents(
        &mut self,
        unit: &'a Unit,
        given: &DocumentsRef,
        at: Spot<'_>,
    ) -> Option<Arc<Documents>> {
        match given {
            DocumentsRef::Name(name) => {
                let suite = self.suite;
                let Some(named) = suite.documents.iter().find(|named| named.name == *name) else {
                    let known = suite.documents.iter().map(|named| named.name.as_str());
                    at.problem(
                        self.problems,
                        format!("no documents are named `{name}`"),
                        |problem| problem.suggest(name, known),
                    );
                    return None;
                };
                self.generator(named, &unit.matrix)
            }
            DocumentsRef::Inline(spec) => {
                let key = Key::new(self.suite.seed).part("inline").part(&unit.name);
                let base = &unit.base;
                Documents::compile(None, spec, at, &unit.context, key, base, self.problems)
                    .map(Arc::new)
            }
        }
    }

    /// A named generator. Scenarios share it, and each reads it from the beginning.
    pub(super) fn generator(&mut self, named: &Named, matrix: &Map) -> Option<Arc<Documents>> {
        let matrix = if named.mentions_matrix() { matrix.clone() } else { Map::new() };
        let id = (named.name.clone(), serde_json::Value::Object(matrix.clone()).to_string());
        if let Some(known) = self.documents.get(&id) {
            return known.clone();
        }
        let (mut node, context) = named.generator(&matrix, self.problems);
        let spec: Option<DocumentsSpec> =
            Sources::read(&mut node, "a generator of documents", self.problems);
        let key = Key::new(self.suite.seed).part("documents").part(&named.name);
        let documents = spec.and_then(|spec| {
            // A generator that depends on the matrix has a variant for each of its values.
            let name = matrix.is_empty().then_some(named.name.as_str());
            let (at, base) = (Spot::of(&node), &named.base);
            Documents::compile(name, &spec, at, &context, key, base, self.problems)
        });
        let documents = documents.map(Arc::new);
        self.documents.insert(id, documents.clone());
        documents
    }

    /// Assertions and callbacks of a scenario or a step. The three pairs are `assert` with `on_done`,
    /// then `on_error`, then `on_always`.
    fn judges(
        &mut self,
        given: [Judges<'_>; 3],
        unit: &Unit,
        at: Spot<'_>,
        seen: &Seen<'_>,
    ) -> (Vec<Assertion>, Callbacks) {
        let [(assert, on_done), (_, on_error), (_, on_always)] = given;
        let mut assertions = Vec::new();
        for (index, given) in assert.into_iter().flatten().enumerate() {
            let at = at.key("assert").index(index);
            let name = given.name.as_deref();
            match Assertion::compile(name, &given.that, given.sample, &unit.context) {
                Ok(assertion) => {
                    self.looked_at(assertion.expressions(), at.key("that"), seen);
                    assertions.push(assertion);
                }
                Err(error) => error.tell(at.key("that"), self.problems),
            }
            if given.sample == Percentage::ZERO {
                at.key("sample")
                    .problem(self.problems, "`sample` must be above 0%", |problem| problem);
            }
        }
        let mut actions = |given: &Option<Vec<scenario::Action>>, key: &str| {
            let actions = given.iter().flatten().enumerate();
            actions
                .filter_map(|(index, action)| {
                    let at = at.key(key).index(index);
                    match resolve_action(action, &unit.context, &unit.base) {
                        Ok(action) => {
                            if seen.http == Some(true)
                                && matches!(action, Action::Print | Action::Save(_))
                            {
                                let message = "the response to a plain HTTP request has no Documents to print or save";
                                at.problem(self.problems, message, |problem| {
                                    problem.help("`log` prints the value of an expression")
                                });
                            }
                            match &action {
                                Action::Log(message) => {
                                    self.looked_at(message.expressions(), at.key("log"), seen);
                                }
                                Action::Check(that) => {
                                    self.looked_at(that.expressions(), at.key("check"), seen);
                                }
                                _ => (),
                            }
                            Some(action)
                        }
                        Err((part, error)) => {
                            error.tell(at.key(part), self.problems);
                            None
                        }
                    }
                })
                .collect()
        };
        let callbacks = Callbacks {
            on_done: actions(on_done, "on_done"),
            on_error: actions(on_error, "on_error"),
            on_always: actions(on_always, "on_always"),
        };
        (assertions, callbacks)
    }
}

fn resolve_action(
    action: &scenario::Action,
    context: &Context,
    base: &Path,
) -> Result<Action, (&'static str, TemplateError)> {
    Ok(match action {
        scenario::Action::Print => Action::Print,
        scenario::Action::Log(text) => {
            Action::Log(Message::compile(text, context).map_err(|error| ("log", error))?)
        }
        scenario::Action::Beep => Action::Beep,
        scenario::Action::Count(name) => Action::Count(name.clone()),
        scenario::Action::Save(path) => {
            let path = base.join(path);
            Action::Save(std::path::absolute(&path).unwrap_or(path))
        }
        scenario::Action::Check(that) => Action::Check(
            Assertion::compile(None, that, Percentage::ALL, context)
                .map_err(|error| ("check", error))?,
        ),
        scenario::Action::Abort => Action::Abort,
    })
}
