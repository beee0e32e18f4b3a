//! The endpoints of a Flow's Executors, as far as its files tell them.

use std::path::Path;

use crate::source::{Node, Sources, Value};

/// Reads a file beside the Flow's, by its path as the Flow's file or an Executor's has it; `None` where
/// it cannot be read.
pub type Files<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// Files of Executors that are read for one Flow.
const FILES_MAX: usize = 100;

/// Finds the endpoints of Executors.
pub(super) struct Endpoints<'a> {
    files: Files<'a>,
    left: usize,
    /// In the order they were found.
    pub(super) found: Vec<String>,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(files: Files<'a>) -> Endpoints<'a> {
        Endpoints { files, left: FILES_MAX, found: Vec::new() }
    }

    /// Those of an Executor, by its part of a Flow's file: `uses_requests`, or the file that it `uses`, or
    /// the Python files of its `py_modules`.
    pub(super) fn executor(&mut self, executor: &Node) {
        if self.requests(executor.get("uses_requests")) {
            return;
        }
        let modules = texts(executor.get("py_modules"));
        match executor.get("uses").and_then(Node::text) {
            Some(uses) if uses.ends_with(".yml") || uses.ends_with(".yaml") => {
                self.config(Path::new(uses));
            }
            _ => modules.iter().for_each(|file| self.python(Path::new(file))),
        }
    }

    /// Those of a map of endpoints to methods; tells whether there is one.
    fn requests(&mut self, node: Option<&Node>) -> bool {
        let Some(Value::Map(entries)) = node.map(|node| &node.value) else { return false };
        entries.iter().for_each(|entry| self.add(&entry.key));
        true
    }

    /// Those of an Executor's own YAML.
    fn config(&mut self, path: &Path) {
        let Some(text) = self.read(path) else { return };
        let name = path.display().to_string();
        let Some(node) = Sources::new().parse(&name, text, None, &mut Vec::new()) else { return };
        if self.requests(node.get("requests")) {
            return;
        }
        // Paths in it are relative to it.
        let base = path.parent().unwrap_or(Path::new(""));
        let metas = node.get("metas").and_then(|metas| metas.get("py_modules"));
        for module in texts(node.get("py_modules").or(metas)) {
            self.python(&base.join(module));
        }
    }

    /// Those that methods of a Python file are bound to: `@requests(on='/index')`, or a list of them.
    fn python(&mut self, path: &Path) {
        let Some(text) = self.read(path) else { return };
        let code: String =
            text.lines().map(|line| format!("{}\n", without_comment(line))).collect();
        for (at, _) in code.match_indices("@requests") {
            let Some(rest) = code[at + "@requests".len()..].trim_start().strip_prefix('(') else {
                continue;
            };
            let Some(rest) = rest.trim_start().strip_prefix("on") else { continue };
            let Some(rest) = rest.trim_start().strip_prefix('=') else { continue };
            let value = rest.trim_start();
            // One text, or a list of them; anything else is known to Python alone.
            let end = match value.chars().next() {
                Some('[') => value.find(']'),
                Some('(') => value.find(')'),
                Some('\'' | '"') => value.find([',', ')']),
                _ => None,
            };
            quoted(&value[..end.unwrap_or(0)]).iter().for_each(|on| self.add(on));
        }
    }

    fn add(&mut self, endpoint: &str) {
        let plain = endpoint.len() <= 200 && !endpoint.chars().any(char::is_control);
        let is_new = !self.found.iter().any(|known| known == endpoint);
        // `/default` is what is done at any other endpoint.
        if plain && is_new && !endpoint.is_empty() && endpoint != "/default" {
            self.found.push(endpoint.to_owned());
        }
    }

    fn read(&mut self, path: &Path) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        (self.files)(path)
    }
}

/// A text, or a list of them.
fn texts(node: Option<&Node>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let texts = node.items().iter().chain([node]).filter_map(Node::text);
    texts.map(str::to_owned).collect()
}

/// A line of Python without what comes after a `#` outside of a text.
fn without_comment(line: &str) -> &str {
    let mut open = None;
    for (at, c) in line.char_indices() {
        match (open, c) {
            (None, '#') => return &line[..at],
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if c == quote => open = None,
            _ => (),
        }
    }
    line
}

/// The texts in quotes.
fn quoted(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['\'', '"']) {
        let quote = &rest[at..=at];
        let Some(end) = rest[at + 1..].find(quote) else { break };
        found.push(&rest[at + 1..at + 1 + end]);
        rest = &rest[at + 2 + end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(executor: &str, files: &[(&str, &str)]) -> Vec<String> {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let node = Sources::new().parse("flow.yml", executor.into(), None, &mut Vec::new());
        let mut endpoints = Endpoints::new(&read);
        endpoints.executor(&node.expect("it is YAML"));
        endpoints.found
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
        assert_eq!(of(given, &files), ["/foo"]);
        let own = [("c.yml", "jtype: A\nrequests: {/bar: index}\npy_modules: [a.py]\n")];
        assert_eq!(of("uses: c.yml\n", &own), ["/bar"]);
        assert!(of("uses: jinaai://jina-ai/X\n", &[]).is_empty());
        assert!(of("uses: c.yml\n", &[("c.yml", "a: [")]).is_empty());
        assert!(of("py_modules: a.py\n", &[("a.py", "@requests(on='/x")]).is_empty());
    }
}
