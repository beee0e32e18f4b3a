//! Values that are fixed for a suite: `vars`, `env` and `matrix`.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value};

use super::expression::Expression;
use super::functions::Stream;
use super::pieces::{Cut, cut};
use super::{LOADED, Root, Scope, TemplateError};
use crate::units::Secrets;
use crate::wire::Map;

/// Values that are fixed for a suite: `vars`, `env` and `matrix`. Cheap to clone.
#[derive(Clone, Default)]
pub struct Context {
    vars: Arc<Names>,
    env: Arc<Names>,
    matrix: Arc<Names>,
    // Variables computed from `env`, with the expression to show instead of the value.
    secrets: Arc<HashMap<String, String>>,
    // Whether a value of `matrix` contains a secret.
    secret_matrix: bool,
    // Whether the values of `matrix` are unknown.
    lacks_matrix: bool,
    // Variables whose values are unknown because of an error.
    lacks_vars: Arc<HashSet<String>>,
}

/// Values by name, each converted to minijinja's type at its first use.
#[derive(Clone, Default)]
struct Names {
    map: Map,
    made: HashMap<String, OnceLock<Value>>,
    /// If set, values are registered here as secrets when used, and cannot be enumerated.
    secrets: Option<Secrets>,
}

impl Context {
    /// A context with these values.
    pub fn new(vars: Map, env: Map, matrix: Map) -> Context {
        Context {
            vars: Arc::new(Names::new(vars)),
            env: Arc::new(Names::new(env)),
            matrix: Arc::new(Names::new(matrix)),
            secrets: Arc::default(),
            secret_matrix: false,
            lacks_matrix: false,
            lacks_vars: Arc::default(),
        }
    }

    /// Marks the value of a variable as unknown.
    pub(crate) fn lack_var(&mut self, name: &str) {
        Arc::make_mut(&mut self.lacks_vars).insert(name.to_owned());
    }

    /// Marks the same variables as unknown as in another context.
    pub(crate) fn lack_vars_of(&mut self, other: &Context) {
        self.lacks_vars = other.lacks_vars.clone();
    }

    /// Whether one of these paths leads to an unknown value, which is reported elsewhere.
    pub(crate) fn lacks_one_of<'p>(&self, mut paths: impl Iterator<Item = &'p str>) -> bool {
        let knows_all = !self.lacks_matrix && self.lacks_vars.is_empty();
        !knows_all
            && paths.any(|path| match path.split('.').collect::<Vec<_>>()[..] {
                ["matrix", ..] => self.lacks_matrix,
                ["vars", name, ..] => self.lacks_vars.contains(name),
                ["vars"] => !self.lacks_vars.is_empty(),
                _ => false,
            })
    }

    /// Registers all values of `env` that are used from now on as secrets.
    pub(crate) fn hiding(mut self, secrets: Secrets) -> Context {
        Arc::make_mut(&mut self.env).secrets = Some(secrets);
        self
    }

    /// Registers the texts in the value of an expression that uses `env` as secrets.
    fn hide(&self, expression: &Expression, value: &serde_json::Value, add: fn(&Secrets, &str)) {
        if let Some(secrets) = &self.env.secrets
            && self.is_secret(expression)
        {
            hide_texts(secrets, value, add);
        }
    }

    /// The text with secrets masked.
    pub(super) fn mask(&self, text: &str) -> String {
        match &self.env.secrets {
            Some(secrets) => secrets.mask(text).into_owned(),
            None => text.to_owned(),
        }
    }

    /// The same context with other `matrix` values.
    pub(crate) fn with_matrix(&self, matrix: Map) -> Context {
        let has_secret = |secrets: &Secrets| {
            let text = serde_json::Value::Object(matrix.clone()).to_string();
            secrets.mask(&text) != text
        };
        let secret_matrix = self.env.secrets.as_ref().is_some_and(has_secret);
        let matrix = Arc::new(Names::new(matrix));
        Context { matrix, secret_matrix, lacks_matrix: false, ..self.clone() }
    }

    /// The same context without `matrix`, which has its own problems.
    pub(crate) fn without_matrix(&self) -> Context {
        Context { lacks_matrix: true, ..self.with_matrix(Map::new()) }
    }

    /// Whether a text has no value because an expression in it uses an unknown `matrix` or variable, which is
    /// reported elsewhere.
    pub fn lacks(&self, text: &str) -> bool {
        let is_lacking = |cut: &Cut<'_>| match cut {
            Cut::Text(_) => false,
            Cut::Expression(text) => Expression::compile(text, &LOADED)
                .is_ok_and(|expression| self.lacks_one_of(expression.paths())),
        };
        let knows_all = !self.lacks_matrix && self.lacks_vars.is_empty();
        !knows_all && cut(text).is_ok_and(|cuts| cuts.iter().any(is_lacking))
    }

    /// Adds or replaces a variable. `secret` is the expression to show instead of a value computed from
    /// `env`.
    pub(crate) fn set_var(&mut self, name: &str, value: serde_json::Value, secret: Option<String>) {
        Arc::make_mut(&mut self.vars).set(name, value);
        if let Some(shown) = secret {
            Arc::make_mut(&mut self.secrets).insert(name.to_owned(), shown);
        } else if self.secrets.contains_key(name) {
            Arc::make_mut(&mut self.secrets).remove(name);
        }
    }

    /// The variables.
    pub fn vars(&self) -> &Map {
        &self.vars.map
    }

    /// The expression to show instead of a variable's value, if that is secret.
    pub(crate) fn shown_instead(&self, name: &str) -> Option<&str> {
        self.secrets.get(name).map(String::as_str)
    }

    /// An environment variable. Callers must mask it in their output.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env.map.get(name).and_then(serde_json::Value::as_str)
    }

    /// The matrix values.
    pub fn matrix(&self) -> &Map {
        &self.matrix.map
    }

    /// Whether an expression uses `env`, or a variable or matrix value computed from it.
    pub(super) fn is_secret(&self, expression: &Expression) -> bool {
        expression.mentions("env")
            || (self.secret_matrix && expression.mentions("matrix"))
            || (!self.secrets.is_empty()
                && expression.paths().any(|path| match path.split('.').collect::<Vec<_>>()[..] {
                    ["vars", name, ..] => self.secrets.contains_key(name),
                    ["vars"] => true,
                    _ => false,
                }))
    }

    /// What replaces a path such as `vars.rate` in an expression. The values of `env` are not shown.
    pub(super) fn literal(&self, path: &str) -> Option<String> {
        let (root, rest) = path.split_once('.').unwrap_or((path, ""));
        let values = match root {
            "vars" => &self.vars,
            "matrix" => &self.matrix,
            _ => return None,
        };
        if rest.is_empty() {
            let entry = |(name, value): (&String, &serde_json::Value)| {
                let shown = self.secrets.get(name).filter(|_| root == "vars");
                let value = shown.map_or_else(|| literal(value), |shown| format!("({shown})"));
                format!("{}: {value}", serde_json::Value::from(name.as_str()))
            };
            let entries: Vec<String> = values.map.iter().map(entry).collect();
            return Some(format!("{{{}}}", entries.join(", ")));
        }
        let mut names = rest.split('.');
        let name = names.next()?;
        if root == "vars"
            && let Some(shown) = self.secrets.get(name)
        {
            return Some(format!("({shown}){}", &rest[name.len()..]));
        }
        let mut value = values.map.get(name)?;
        for name in names {
            value = value.get(name)?;
        }
        Some(literal(value))
    }

    /// The value of one of its names, for expressions on responses.
    pub fn get(&self, name: &str) -> Option<Value> {
        let names = match name {
            "vars" => &self.vars,
            "env" => &self.env,
            "matrix" => &self.matrix,
            _ => return None,
        };
        Some(Value::from_dyn_object(names.clone()))
    }

    /// The value of an expression at load time.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) fn evaluate(
        &self,
        expression: &Expression,
    ) -> Result<serde_json::Value, TemplateError> {
        let value = expression.json(self.root(None))?;
        self.hide(expression, &value, Secrets::add);
        Ok(value)
    }

    /// Its value for one Document, request or response, with `root` as the names.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) fn json(
        &self,
        expression: &Expression,
        root: Value,
    ) -> Result<serde_json::Value, TemplateError> {
        let value = expression.json(root)?;
        self.hide(expression, &value, Secrets::add_made);
        Ok(value)
    }

    pub(super) fn root(&self, scope: Option<&Scope<'_>>) -> Value {
        Value::from_object(Root {
            context: self.clone(),
            i: scope.map(|scope| scope.i),
            captured: scope.and_then(|scope| scope.captured).map(|map| Value::from(Serde(map))),
            stream: scope.map(|scope| Arc::new(Stream::new(scope.key))),
        })
    }
}

fn hide_texts(secrets: &Secrets, value: &serde_json::Value, add: fn(&Secrets, &str)) {
    /// Many shorter texts, such as `grpc`, are not secret.
    const BYTES_MIN: usize = 8;
    match value {
        serde_json::Value::String(text) if text.len() >= BYTES_MIN => add(secrets, text),
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| hide_texts(secrets, item, add))
        }
        serde_json::Value::Object(map) => {
            map.values().for_each(|value| hide_texts(secrets, value, add))
        }
        _ => (),
    }
}

/// A value as an expression.
fn literal(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "none".into(),
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Object(map) => {
            let entry = |(name, value): (&String, &serde_json::Value)| {
                format!("{}: {}", serde_json::Value::from(name.as_str()), literal(value))
            };
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of `env` are secrets, and variables may be computed from them.
        let vars: Vec<&str> = self.vars.map.keys().map(String::as_str).collect();
        f.debug_struct("Context")
            .field("vars", &vars)
            .field("matrix", &self.matrix.map)
            .finish_non_exhaustive()
    }
}

impl Names {
    fn new(map: Map) -> Names {
        let made = map.keys().map(|name| (name.clone(), OnceLock::new())).collect();
        Names { map, made, secrets: None }
    }

    fn set(&mut self, name: &str, value: serde_json::Value) {
        self.map.insert(name.to_owned(), value);
        self.made.insert(name.to_owned(), OnceLock::new());
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.map.keys()).finish()
    }
}

impl Object for Names {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let (value, made) = (self.map.get(key.as_str()?)?, self.made.get(key.as_str()?)?);
        if let (Some(secrets), Some(text)) = (&self.secrets, value.as_str()) {
            secrets.add(text);
        }
        Some(made.get_or_init(|| Value::from(Serde(value))).clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.secrets.is_some() {
            // Using the whole environment is never intended.
            return Enumerator::NonEnumerable;
        }
        Enumerator::Values(self.map.keys().map(|name| Value::from(name.as_str())).collect())
    }
}
