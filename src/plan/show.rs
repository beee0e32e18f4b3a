//! Writes a plan as a suite: every default filled in, every name resolved, every matrix and include expanded,
//! secrets masked. The result is a valid suite.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Action, Callbacks, Capacity, ClientOverrides, Connections, Flow, FlowFile, Launch, Levels,
    Load, Origin, Parameters, Plan, Post, Ready, Scenario, Step, Until, Work, watch,
};
use crate::client::{ClientConfig, Compression, FamilyChoice, HttpVersion};
use crate::documents::Documents;
use crate::scenario::Cost;
use crate::schedule::{ArrivalProcess, GammaGaps, Pause, Profile, Schedule};
use crate::units::{ByteSize, MASK, Percentage, Rate, Span};
use crate::wire::Map;

/// Reduces paths in a suite from [`Plan::resolved`] to file names: the same suite may be in another folder on
/// another machine.
pub(crate) fn without_folders(value: &mut Value) {
    match value {
        Value::String(text) if Path::new(text).is_absolute() => {
            if let Some(name) = Path::new(text).file_name() {
                *text = name.to_string_lossy().into_owned();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_folders),
        Value::Object(map) => map.values_mut().for_each(without_folders),
        _ => (),
    }
}

impl Plan {
    /// Marks credentials in the suite as secrets: those in headers, and in the environment of commands.
    pub(super) fn hide_credentials(&self) {
        for flow in &self.flows {
            for (name, value) in flow.credentials() {
                self.secrets.add_credential(name, value);
            }
        }
        for step in self.scenarios.iter().flat_map(|scenario| &scenario.steps) {
            let own = step.headers.as_ref().map(|headers| headers.template.to_json());
            let request = match &step.work {
                Work::Http(http) => http.parts.template.to_json().get("headers").cloned(),
                _ => None,
            };
            for headers in own.iter().chain(&request).filter_map(Value::as_object) {
                for (name, value) in headers {
                    if let Some(text) = value.as_str().filter(|text| !text.contains("${{")) {
                        self.secrets.add_credential(name, text);
                    }
                }
            }
        }
    }
}

impl Flow {
    /// Headers and variables, by name.
    fn credentials(&self) -> impl Iterator<Item = (&str, &str)> {
        let (env, clients): (&[(String, String)], _) = match &self.origin {
            Origin::Embedded(_) => (&[], [].as_slice()),
            Origin::Remote(clients) => (&[], clients.as_slice()),
            Origin::Command { launch, clients } => (&launch.env, clients.as_slice()),
        };
        let headers = clients.iter().flat_map(|client| &client.headers);
        headers.chain(env).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Plan {
    /// The plan as a suite.
    pub fn resolved(&self) -> Value {
        let mut documents = Map::new();
        let steps = self.scenarios.iter().flat_map(|scenario| &scenario.steps);
        for step in steps {
            if let Work::Post(Post { documents: Some(used), .. }) = &step.work {
                // A generator that depends on the matrix has a variant for each of its values.
                if let Some(name) = used.name() {
                    documents.entry(name).or_insert_with(|| used.resolved().clone());
                }
            }
        }
        let flows: Map =
            self.flows.iter().map(|flow| (flow.name.clone(), show_flow(flow))).collect();
        let scenarios: Vec<Value> = self.scenarios.iter().map(|s| self.show_scenario(s)).collect();
        let mut suite = Map::new();
        suite.insert("name".into(), self.name.clone().into());
        suite.insert("seed".into(), self.seed.into());
        suite.insert("flows".into(), flows.into());
        if !documents.is_empty() {
            suite.insert("documents".into(), documents.into());
        }
        suite.insert("scenarios".into(), scenarios.into());
        if let Some(capacity) = &self.capacity {
            suite.insert("capacity".into(), self.show_capacity(capacity));
        }
        suite.into()
    }

    fn show_scenario(&self, scenario: &Scenario) -> Value {
        let mut map = Map::new();
        let mut set = |key: &str, value: Value| {
            map.insert(key.into(), value);
        };
        set("name", scenario.name.clone().into());
        set("flow", self.flows[scenario.flow].name.clone().into());
        set("protocol", scenario.protocol.name().into());
        match scenario.steps.as_slice() {
            [step] if step.name.is_empty() && scenario.choices.is_empty() => {
                for (key, value) in show_step(step) {
                    set(&key, value);
                }
            }
            steps if scenario.choices.is_empty() => set("steps", show_steps(steps)),
            steps => {
                let choices = scenario.choices.iter().map(|choice| {
                    json!({
                        "name": choice.name,
                        "weight": choice.weight,
                        "steps": show_steps(&steps[choice.steps.clone()]),
                    })
                });
                set("choose", choices.collect());
            }
        }
        for (key, value) in show_client(&scenario.client, &scenario.load) {
            set(&key, value);
        }
        if let Some(trace) = &scenario.trace {
            let sample = Percentage::new(trace.share * 100.0).map(|share| share.to_string());
            set("trace", json!({"sample": sample, "link": trace.link}));
        }
        if let Some(load) = show_load(&scenario.load) {
            set("load", load);
            set("warmup", span(scenario.warmup));
        }
        let needs = scenario.needs.iter().chain(&scenario.after);
        let needs = needs.map(|need| self.scenarios[*need].name.clone());
        set("needs", needs.collect::<Vec<_>>().into());
        if scenario.always {
            set("always", true.into());
        }
        set("start", span(scenario.start));
        set("grace", scenario.grace().map_or(Value::Null, span));
        let thresholds = scenario.thresholds.iter().map(|threshold| {
            json!({
                "that": threshold.that.to_string(),
                "abort": threshold.abort,
                "after": span(threshold.after),
            })
        });
        set("thresholds", thresholds.collect());
        map.into()
    }

    fn show_capacity(&self, capacity: &Capacity) -> Value {
        let cost = capacity.cost.as_ref().map(|cost| match cost {
            Cost::Each(price) => json!(price),
            Cost::By(prices) => json!(prices),
        });
        let (key, levels) = match capacity.levels {
            Levels::Rate(range) => ("rate", range.to_string()),
            Levels::Clients(range) => ("clients", range.to_string()),
        };
        let mut shown = json!({
            "scenario": match capacity.scenarios.as_slice() {
                [one] => self.scenarios[*one].name.clone(),
                // The name that all scenarios of a matrix share.
                all => all.first().map_or("", |first| self.scenarios[*first].base_name()).to_owned(),
            },
            "objective": capacity.objective.iter().map(ToString::to_string).collect::<Vec<_>>(),
            key: levels,
            "precision": capacity.precision,
            "confidence": capacity.confidence,
            "trial": span(capacity.trial),
        });
        if let Some(cost) = cost {
            shown["cost"] = cost;
        }
        shown
    }
}

fn span(duration: Duration) -> Value {
    // No duration of a plan exceeds the range.
    Span::new(duration).unwrap_or_default().to_string().into()
}

fn pause(pause: &Pause) -> Value {
    serde_json::to_value(pause).unwrap_or_default()
}

fn show_flow(flow: &Flow) -> Value {
    let mut map = match &flow.origin {
        Origin::Embedded(config) => return json!({"embedded": config}),
        Origin::Remote(clients) => show_clients(clients),
        Origin::Command { launch, clients } => {
            let mut map = show_launch(launch);
            map.extend(show_clients(clients));
            map
        }
    };
    map.extend(watch::show(&flow.watch));
    map.into()
}

fn show_launch(launch: &Launch) -> Map {
    let mut map = Map::new();
    map.insert("command".into(), launch.command.clone().into());
    map.extend(launch.file.iter().flat_map(FlowFile::show));
    if let Some(folder) = &launch.cwd {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        map.insert("cwd".into(), folder.display().to_string().into());
    }
    let env: Map = launch.env.iter().map(|(name, _)| (name.clone(), MASK.into())).collect();
    map.insert("env".into(), env.into());
    let ready = match &launch.ready {
        Ready::Answers => None,
        Ready::Address(host, port) => Some(json!({"address": format!("{host}:{port}")})),
        Ready::Url { host, port, path } => {
            Some(json!({"url": format!("http://{host}:{port}{path}")}))
        }
        Ready::Log(text) => Some(json!({"log": text})),
        Ready::LogMatches(pattern) => Some(json!({"log_matches": pattern.as_str()})),
    };
    map.extend(ready.map(|ready| ("ready".to_owned(), ready)));
    map.insert("ready_timeout".into(), span(launch.ready_timeout));
    map.insert("keep".into(), launch.keep.into());
    map
}

fn show_clients(clients: &[ClientConfig]) -> Map {
    let mut map = Map::new();
    let Some(first) = clients.first() else { return map };
    if let [client] = clients {
        map.insert("host".into(), client.target.to_string().into());
    } else {
        let hosts: Map = clients
            .iter()
            .map(|client| {
                (client.target.protocol.name().to_owned(), client.target.to_string().into())
            })
            .collect();
        map.insert("hosts".into(), hosts.into());
    }
    let tls = &first.tls;
    if first.target.tls {
        let mut options = Map::new();
        let path = |path: &std::path::PathBuf| path.display().to_string();
        for (key, value) in [
            ("ca", tls.ca.as_ref().map(path)),
            ("cert", tls.cert.as_ref().map(path)),
            ("key", tls.key.as_ref().map(path)),
            ("server_name", tls.server_name.clone()),
        ] {
            options.extend(value.map(|value| (key.to_owned(), value.into())));
        }
        options.insert("insecure".into(), tls.insecure.into());
        map.insert("tls".into(), options.into());
    }
    let headers: Map = first.headers.iter().map(|(name, _)| (name.clone(), MASK.into())).collect();
    map.insert("headers".into(), headers.into());
    let family = match first.family {
        // That there is no Flow follows from the scenarios.
        FamilyChoice::Auto | FamilyChoice::NoFlow => "auto",
        FamilyChoice::Is(family) => family.name(),
    };
    map.insert("family".into(), family.into());
    if first.http_version == HttpVersion::Two {
        map.insert("http_version".into(), 2.into());
    }
    map.insert("connect_timeout".into(), span(first.connect_timeout));
    let size = ByteSize::new(first.limits.message_bytes_max as u64);
    map.insert("max_response_size".into(), size.to_string().into());
    if let Some(memory) = &first.response_memory {
        let size = ByteSize::new(memory.bytes_max() as u64);
        map.insert("max_response_memory".into(), size.to_string().into());
    }
    map
}

fn show_client(client: &ClientOverrides, load: &Load) -> Map {
    let mut map = Map::new();
    let compression = match client.compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Deflate => "deflate",
    };
    map.insert("compression".into(), compression.into());
    if client.unary {
        map.insert("call".into(), "unary".into());
    }
    map.insert("timeout".into(), client.timeout.map_or(Value::Null, span));
    let retry = json!({
        "max_attempts": client.retry.max_attempts,
        "initial_backoff": span(client.retry.initial_backoff),
        "max_backoff": span(client.retry.max_backoff),
        "backoff_multiplier": client.retry.backoff_multiplier,
    });
    map.insert("retry".into(), retry);
    if let Connections::Exactly(connections) = client.connections {
        map.insert("connections".into(), connections.into());
    }
    if let Some(workers) = client.workers {
        map.insert("workers".into(), workers.into());
    }
    if *load == Load::Once {
        map.insert("prefetch".into(), client.prefetch.into());
        map.insert("results_in_order".into(), client.results_in_order.into());
    }
    map
}

fn show_steps(steps: &[Step]) -> Value {
    let show = |step: &Step| {
        let mut map = Map::new();
        map.insert("name".into(), step.name.clone().into());
        map.extend(show_step(step));
        Value::from(map)
    };
    steps.iter().map(show).collect()
}

fn show_step(step: &Step) -> Map {
    let mut map = Map::new();
    match &step.work {
        Work::Post(post) => {
            map.insert("on".into(), post.on.clone().into());
            if let Some(documents) = &post.documents {
                map.insert("documents".into(), show_documents(documents));
                map.insert("request_size".into(), post.request_size.into());
            }
            map.insert("parameters".into(), show_parameters(&post.parameters));
            map.insert("target_executor".into(), post.target_executor.clone().into());
            map.insert("stream".into(), post.stream.into());
        }
        Work::Mutate { mutation, variables } => {
            map.insert("mutate".into(), mutation.clone().into());
            map.insert("variables".into(), show_parameters(variables));
        }
        Work::Http(http) => {
            let mut request = Map::from_iter([("method".to_owned(), http.method.clone().into())]);
            if let Value::Object(mut parts) = show_parameters(&http.parts) {
                if let Some(headers) = parts.remove("headers") {
                    parts.insert("headers".into(), show_headers(headers));
                }
                request.extend(parts);
            }
            if !http.success.is_empty() {
                request.insert("status".into(), http.success.clone().into());
            }
            map.insert("request".into(), request.into());
        }
    }
    if let Some(headers) = &step.headers {
        map.insert("headers".into(), show_headers(headers.template.to_json()));
    }
    if let Some(repeat) = &step.repeat {
        let repeat = json!({
            "until": repeat.until.resolved(),
            "every": span(repeat.every),
            "at_most": span(repeat.at_most),
        });
        map.insert("repeat".into(), repeat);
    }
    if !step.think_time.is_none() {
        map.insert("think_time".into(), pause(&step.think_time));
    }
    if !step.captures.is_empty() {
        let captures = step.captures.iter();
        let captures: Map =
            captures.map(|capture| (capture.name().into(), capture.resolved().into())).collect();
        map.insert("capture".into(), captures.into());
    }
    let assertions = step.assertions.iter().map(|assertion| {
        json!({
            "name": assertion.name(),
            "that": assertion.resolved(),
            "sample": assertion.sample(),
        })
    });
    map.insert("assert".into(), assertions.collect());
    map.extend(show_callbacks(&step.callbacks));
    map
}

fn show_documents(documents: &Documents) -> Value {
    match documents.name() {
        Some(name) => name.into(),
        None => documents.resolved().clone(),
    }
}

fn show_parameters(parameters: &Parameters) -> Value {
    parameters.template.to_json()
}

/// Headers of requests without possible secrets: values are masked, and so is the text around expressions
/// unless it is short.
fn show_headers(mut headers: Value) -> Value {
    const SHORT: usize = 8;
    let is_open = |text: &str| text.contains("${{");
    for value in headers.as_object_mut().into_iter().flat_map(Map::values_mut) {
        *value = match value {
            Value::String(text) if is_open(text) => {
                let parts = text.split("${{").enumerate().map(|(n, part)| {
                    let (expression, beside) = match part.split_once("}}") {
                        Some((expression, beside)) if n > 0 => {
                            (format!("${{{{{expression}}}}}"), beside)
                        }
                        _ => (String::new(), part),
                    };
                    let beside = if beside.len() < SHORT { beside } else { MASK };
                    format!("{expression}{beside}")
                });
                parts.collect::<String>().into()
            }
            // A value that is not text may come from an expression as a whole.
            Value::Object(_) | Value::Array(_) | Value::Null => continue,
            _ => MASK.into(),
        };
    }
    headers
}

fn show_callbacks(callbacks: &Callbacks) -> Map {
    let actions = |actions: &[Action]| actions.iter().map(show_action).collect::<Value>();
    [
        ("on_done", &callbacks.on_done),
        ("on_error", &callbacks.on_error),
        ("on_always", &callbacks.on_always),
    ]
    .into_iter()
    .map(|(key, list)| (key.to_owned(), actions(list)))
    .collect()
}

fn show_action(action: &Action) -> Value {
    match action {
        Action::Print => "print".into(),
        Action::Beep => "beep".into(),
        Action::Abort => "abort".into(),
        Action::Log(message) => json!({"log": message.resolved()}),
        Action::Count(name) => json!({"count": name}),
        Action::Save(path) => json!({"save": path.display().to_string()}),
        Action::Check(assertion) => json!({"check": assertion.resolved()}),
    }
}

fn show_load(load: &Load) -> Option<Value> {
    let mut map = Map::new();
    let until = match load {
        Load::Once => return None,
        Load::Closed { clients, think_time, until } => {
            show_profile(clients, "clients", |clients| Value::from(clients as u64), &mut map);
            map.insert("think_time".into(), pause(think_time));
            until
        }
        Load::Open { schedule, until, max_in_flight } => {
            match schedule {
                Schedule::Rate { profile, process } => {
                    let level = |rate: f64| {
                        Rate::new(rate).map_or_else(|| "0/s".into(), |rate| rate.to_string()).into()
                    };
                    show_profile(profile, "rate", level, &mut map);
                    let arrivals = match process {
                        ArrivalProcess::Uniform => "uniform".into(),
                        ArrivalProcess::Poisson => "poisson".into(),
                        ArrivalProcess::PoissonExact => "poisson_exact".into(),
                        ArrivalProcess::Gamma(GammaGaps { burstiness }) => {
                            json!({"gamma": {"burstiness": burstiness}})
                        }
                    };
                    map.insert("arrivals".into(), arrivals);
                }
                Schedule::Trace { path, speed, .. } => {
                    let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                    map.insert("trace".into(), path.display().to_string().into());
                    map.insert("speed".into(), (*speed).into());
                }
            }
            map.insert("max_in_flight".into(), (*max_in_flight).into());
            until
        }
    };
    let Until { duration, requests } = until;
    map.extend(duration.map(|duration| ("duration".to_owned(), span(duration))));
    map.extend(requests.map(|requests| ("requests".to_owned(), requests.into())));
    Some(map.into())
}

/// Levels over time: a constant level, or stages.
fn show_profile(profile: &Profile, key: &str, level: impl Fn(f64) -> Value, map: &mut Map) {
    if let Some(constant) = profile.as_constant() {
        map.insert(key.into(), level(constant));
        return;
    }
    let stages = profile.stages().map(|stage| {
        let mut map = Map::new();
        let length = stage.length.map(span);
        if stage.peak() == 0.0 {
            map.extend(length.map(|length| ("pause".to_owned(), length)));
            return Value::from(map);
        }
        let key = if stage.from == stage.to { key } else { "ramp_to" };
        map.insert(key.into(), level(stage.to));
        map.extend(length.map(|length| ("for".to_owned(), length)));
        map.into()
    });
    map.insert("stages".into(), stages.collect());
}
