//! The endpoints of a Flow's Executors, as far as its files reveal them.

use std::path::Path as FilePath;

use super::python::{Method, Python, Route};
use crate::source::{Entry, Node, Sources, Value};
use crate::wire::Schema;

/// Reads a file next to the Flow's, by its path as written in the Flow's or an Executor's file; `None` if it
/// cannot be read.
pub type Files<'a> = &'a dyn Fn(&FilePath) -> Option<String>;

/// The most files of Executors that are read for one Flow.
const FILES_MAX: usize = 100;

/// Jina's name of the endpoint that handles requests to all endpoints not bound by name.
const DEFAULT: &str = "/default";

/// How many levels of imports are followed.
const IMPORTS_DEEP: usize = 4;

/// An endpoint, as far as files reveal it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its name, such as `/search`; `/` for the one that handles all others.
    pub on: String,
    /// The schema of the Documents that it takes; `None` if no file says, as for a v1 Flow.
    pub input: Option<Schema>,
    /// The schema of the Documents that it returns.
    pub output: Option<Schema>,
    /// Whether it answers each Document with many.
    pub streams: bool,
}

/// A path of a custom gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// `POST`.
    pub method: String,
    /// `/api/v1/search`.
    pub path: String,
    /// The schema of the body that it takes.
    pub body: Option<Schema>,
}

/// Finds the endpoints of Executors.
pub(super) struct Endpoints<'a> {
    files: Files<'a>,
    left: usize,
    /// In the order in which they were found.
    pub(super) found: Vec<Asked>,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(files: Files<'a>) -> Endpoints<'a> {
        Endpoints { files, left: FILES_MAX, found: Vec::new() }
    }

    /// Adds the endpoints of an Executor, from its part of a Flow's file: `uses_requests`, the file that it
    /// `uses`, and the Python files of its `py_modules`.
    pub(super) fn executor(&mut self, executor: &Node) {
        let Code { python, class, requests } = self.code(executor);
        let requests = executor.get("uses_requests").or(requests.as_ref());
        let requests = requests.map(Node::entries).unwrap_or_default();
        let given = |entry: &Entry| {
            let method = python.method(class.as_deref(), entry.value.text()?).cloned();
            Some((entry.key.clone(), method))
        };
        let given: Vec<_> = requests.iter().filter_map(given).collect();
        let names = |method: &Method| match method.on.is_empty() {
            true => vec![DEFAULT.to_owned()],
            false => method.on.clone(),
        };
        // As in Jina, a method that `requests` binds loses its own endpoint, or the last one if it has several.
        // Other methods keep theirs.
        let is_moved = |method: &Method| {
            requests.iter().any(|entry| entry.value.text() == Some(method.name.as_str()))
        };
        let of_class = python.methods(class.as_deref()).into_iter().flat_map(|method| {
            let mut names = names(&method);
            if is_moved(&method) {
                names.pop();
            }
            names.into_iter().map(move |on| (on, Some(method.clone())))
        });
        let mut bound: Vec<(String, Option<Method>)> =
            of_class.filter(|(on, _)| given.iter().all(|(other, _)| other != on)).collect();
        bound.extend(given);
        let floats = executor
            .get("floating")
            .is_some_and(|floats| matches!(floats.value, Value::Bool(true)));
        // An endpoint that an Executor does not bind is handled by its default method.
        let default = self.found.iter().find(|known| known.on == "/").cloned();
        let before = self.found.len();
        let gives =
            bound.iter().find(|(on, _)| on == DEFAULT).and_then(|(_, method)| method.as_ref());
        if let Some(output) = gives.and_then(|method| python.output(method)).filter(|_| !floats) {
            let others =
                self.found.iter_mut().filter(|known| bound.iter().all(|(on, _)| *on != known.on));
            others.for_each(|known| known.output = Some(output.clone()));
        }
        for (on, method) in &bound {
            self.add(on, method.as_ref().map(|method| (&python, method)), floats);
        }
        if let Some(default) = default {
            let new = self.found[before..].iter_mut();
            new.for_each(|asked| asked.input.clone_from(&default.input));
        }
    }

    /// The paths of a custom gateway, from its part of a Flow's file; `None` if the gateway is one of Jina's.
    pub(super) fn gateway(&mut self, gateway: &Node) -> Option<Vec<Path>> {
        const OWN: [&str; 5] =
            ["GRPCGateway", "HTTPGateway", "WebSocketGateway", "CompositeGateway", "Gateway"];
        let uses = gateway.get("uses").and_then(Node::text)?;
        if OWN.contains(&uses) {
            return None;
        }
        let Code { python, .. } = self.code(gateway);
        let path = |route: &Route| Path {
            method: route.method.clone(),
            path: route.path.clone(),
            body: python.body(route),
        };
        Some(python.routes.iter().map(path).collect())
    }

    /// The Python files of an Executor or a gateway.
    fn code(&mut self, part: &Node) -> Code {
        let mut code = Code { python: Python::new(), class: None, requests: None };
        let uses = part.get("uses").and_then(Node::text);
        match uses {
            Some(uses) if uses.ends_with(".yml") || uses.ends_with(".yaml") => {
                self.config(FilePath::new(uses), &mut code);
            }
            _ => {
                code.class = uses.map(|uses| uses.rsplit('.').next().unwrap_or(uses).to_owned());
                for module in texts(part.get("py_modules")) {
                    self.python(FilePath::new(&module), &mut code.python, 0);
                }
            }
        }
        code
    }

    /// Reads what an Executor's own YAML names.
    fn config(&mut self, path: &FilePath, code: &mut Code) {
        let Some(text) = self.read(path) else { return };
        let name = path.display().to_string();
        let Some(node) = Sources::new().parse(&name, text, None, &mut Vec::new()) else { return };
        code.class = node.get("jtype").and_then(Node::text).map(str::to_owned);
        // Its paths are relative to the file itself.
        let base = path.parent().unwrap_or(FilePath::new(""));
        let metas = node.get("metas").and_then(|metas| metas.get("py_modules"));
        for module in texts(node.get("py_modules").or(metas)) {
            self.python(&base.join(module), &mut code.python, 0);
        }
        code.requests = node.get("requests").cloned();
    }

    /// Reads a Python file, and those next to it that it imports names from.
    fn python(&mut self, path: &FilePath, python: &mut Python, depth: usize) {
        let Some(text) = self.read(path) else { return };
        let base = path.parent().unwrap_or(FilePath::new(""));
        for module in python.read(&text) {
            let is_plain = !module.is_empty()
                && module.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
            if depth < IMPORTS_DEEP && is_plain {
                let file = format!("{}.py", module.replace('.', "/"));
                self.python(&base.join(file), python, depth + 1);
            }
        }
    }

    /// Adds an endpoint that a method handles. The endpoint takes what its first Executor takes, and returns
    /// what the last one returns.
    fn add(&mut self, endpoint: &str, method: Option<(&Python, &Method)>, floats: bool) {
        let plain = endpoint.len() <= 200 && !endpoint.chars().any(char::is_control);
        if !plain || endpoint.is_empty() {
            return;
        }
        let on = if endpoint == DEFAULT { "/" } else { endpoint };
        let (input, output, streams) = match method {
            Some((python, method)) => (python.input(method), python.output(method), method.streams),
            None => (None, None, false),
        };
        match self.found.iter_mut().find(|known| known.on == on) {
            None => self.found.push(Asked { on: on.to_owned(), input, output, streams }),
            Some(known) => {
                known.streams |= streams;
                if !floats {
                    known.output = output.or(known.output.take());
                }
            }
        }
    }

    fn read(&mut self, path: &FilePath) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        (self.files)(path)
    }
}

/// What the files of one Executor reveal.
struct Code {
    python: Python,
    /// The name of its class.
    class: Option<String>,
    /// Its endpoints as bound in its YAML.
    requests: Option<Node>,
}

/// A text, or a list of texts.
fn texts(node: Option<&Node>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let texts = node.items().iter().chain([node]).filter_map(Node::text);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(executor: &str, files: &[(&str, &str)]) -> Vec<String> {
        let read = |path: &FilePath| {
            let found = files.iter().find(|(name, _)| FilePath::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let node = Sources::new().parse("flow.yml", executor.into(), None, &mut Vec::new());
        let mut endpoints = Endpoints::new(&read);
        endpoints.executor(&node.expect("it is YAML"));
        let names = endpoints.found.into_iter().map(|asked| asked.on);
        names.filter(|on| on != "/").collect()
    }

    #[test]
    fn endpoints_are_those_of_the_flow_the_executors_yaml_or_its_python() {
        let python = "class A(Executor):\n  @requests(on='/index')\n  def i(self): ...\n  \
                      @requests( on = [\"/search\",\n    '/find'] )  # @requests(on='/no')\n  def s(self): ...\n  \
                      @requests\n  def any(self): ...\n  @requests(on=NAMES)\n  def n(self): ...\n  \
                      @requests(on='/index')\n  async def again(self): ...\n";
        let all = ["/index", "/search", "/find"];
        assert_eq!(of("uses: A\npy_modules: a.py\n", &[("a.py", python)]), all);
        assert_eq!(of("uses: A\npy_modules: [b.py, a.py]\n", &[("a.py", python)]), all);
        let files = [("enc/config.yml", "jtype: A\npy_modules: [a.py]\n"), ("enc/a.py", python)];
        assert_eq!(of("uses: enc/config.yml\n", &files), all);
        let metas = [("c.yaml", "jtype: A\nmetas: {py_modules: [a.py]}\n"), ("a.py", python)];
        assert_eq!(of("uses: c.yaml\n", &metas), all);
        let given = "uses: enc/config.yml\nuses_requests: {/foo: index, /default: any}\n";
        assert_eq!(of(given, &files), ["/index", "/search", "/find", "/foo"]);
        let moved = "uses: enc/config.yml\nuses_requests: {/foo: s}\n";
        assert_eq!(of(moved, &files), ["/index", "/search", "/foo"]);
        let own = [("c.yml", "jtype: A\nrequests: {/bar: index}\npy_modules: [a.py]\n")];
        assert_eq!(of("uses: c.yml\n", &own), ["/bar"]);
        assert!(of("uses: jinaai://jina-ai/X\n", &[]).is_empty());
        assert!(of("uses: c.yml\n", &[("c.yml", "a: [")]).is_empty());
        assert!(of("py_modules: a.py\n", &[("a.py", "@requests(on='/x")]).is_empty());
    }
}
