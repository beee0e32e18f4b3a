//! A commented suite to start from, tailored to a Flow if its YAML is available.

use std::fmt::Write as _;

use super::endpoints::{Asked, Endpoints, Files, Path};
use super::running::{self, Part, quoted, shown};
use crate::source::{Node, Place, Problem, Problems, Sources, Value};
use crate::wire::Protocol;

/// What a starter suite needs to know about a Flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFacts {
    /// Its file, as a suite should refer to it.
    pub file: String,
    /// Its protocols and ports, in the order of the file.
    pub gateways: Vec<(Protocol, u16)>,
    /// Whether its host and all its ports are known, not guessed.
    pub is_addressed: bool,
    /// The address it listens on; `None` for all addresses.
    pub host: Option<String>,
    /// Whether its connections are encrypted.
    pub tls: bool,
    /// Whether it is a Deployment: one Executor, served like a Flow.
    pub is_deployment: bool,
    /// Its Executors: their names, and the number of replicas over all shards.
    pub executors: Vec<(String, u32)>,
    /// Their endpoints, in the order of the files that define them; empty if none does.
    pub endpoints: Vec<Asked>,
    /// The HTTP paths of a custom gateway; `None` if the gateway is one of Jina's.
    pub paths: Option<Vec<Path>>,
    /// The ports at which its pods serve metrics, if monitoring is on.
    pub metrics: Vec<u16>,
    /// Pods that serve metrics at a port that Jina will choose.
    pub hidden_metrics: Vec<String>,
    /// Settings missing from the file, each with the assumed value.
    pub guesses: Vec<String>,
}

/// Looks up environment variables that a Flow's YAML may use.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Jina gives a gateway without a port a random one, so this is a placeholder to replace.
const PORT: u16 = 12345;

impl FlowFacts {
    /// Reads the YAML of a Jina Flow or Deployment: protocols, ports, TLS and Executors.
    ///
    /// # Errors
    /// If it is not YAML, or neither a Flow nor a Deployment.
    pub fn read(name: &str, text: String, env: Environment<'_>) -> Result<FlowFacts, Problems> {
        FlowFacts::read_with(name, text, env, &|_| None)
    }

    /// Like [`FlowFacts::read`], with the endpoints from its file or the files of its Executors, whose paths
    /// are as in the Flow's file.
    ///
    /// # Errors
    /// The same.
    pub fn read_with(
        name: &str,
        text: String,
        env: Environment<'_>,
        files: Files<'_>,
    ) -> Result<FlowFacts, Problems> {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        let facts = sources.parse(name, untagged(&text), None, &mut problems).and_then(|node| {
            let (problems, guesses) = (&mut problems, Vec::new());
            let facts = Reader { problems, guesses, env, files }.flow(&node)?;
            Some(FlowFacts { file: name.to_owned(), ..facts })
        });
        match Problems::new(&sources, problems) {
            Some(problems) => Err(problems),
            None => Ok(facts.unwrap_or_default()),
        }
    }
}

/// The text of a Flow's YAML without the tag that older Jina files begin with: blanks in its place keep every
/// position.
pub(crate) fn untagged(text: &str) -> String {
    text.replace("!Flow", "     ")
}

struct Reader<'a> {
    problems: &'a mut Vec<Problem>,
    guesses: Vec<String>,
    env: Environment<'a>,
    files: Files<'a>,
}

impl Reader<'_> {
    fn flow(&mut self, node: &Node) -> Option<FlowFacts> {
        let jtype = node.get("jtype");
        let kinds = [Some("Flow"), Some("Deployment")];
        if let Some(jtype) = jtype.filter(|jtype| !kinds.contains(&jtype.text())) {
            let message = format!("expected a Flow or a Deployment, found {}", jtype.found());
            self.tell(jtype.place(), message);
            return None;
        }
        let is_deployment = jtype.is_some_and(|jtype| jtype.text() == Some("Deployment"));
        let known = ["jtype", "with", "executors", "gateway", "pods"];
        if !known.iter().any(|key| node.get(key).is_some()) {
            self.tell(
                node.place(),
                "not a Flow: it has neither `jtype: Flow` nor `with` nor `executors`".into(),
            );
            return None;
        }
        // Settings of the gateway can be under `with`, under `gateway`, or under both.
        let settings = [node.get("gateway"), node.get("with")];
        let setting = |names: &[&str]| {
            settings
                .iter()
                .flatten()
                .find_map(|settings| names.iter().find_map(|name| settings.get(name)))
        };
        let protocols = self.protocols(setting(&["protocol", "protocols"]));
        let ports = self.ports(setting(&["port", "ports", "port_expose"]));
        let mut gateways = Vec::new();
        for (index, protocol) in protocols.into_iter().enumerate() {
            let port = ports.get(index).copied().unwrap_or_else(|| {
                let port = PORT + index as u16;
                self.guesses
                    .push(format!("the port {port}, because the file gives none for {protocol}"));
                port
            });
            gateways.push((protocol, port));
        }
        let host = setting(&["host"]).and_then(|host| self.host(host));
        let is_addressed = self.guesses.is_empty();
        let executors = ["executors", "pods"].iter().find_map(|key| node.get(key));
        let executors = executors.map(Node::items).unwrap_or_default();
        let replicas = |executor: &Node| {
            let count = |key: &str| match executor.get(key).map(|count| &count.value) {
                Some(Value::Number(count)) => {
                    count.as_u64().and_then(|count| u32::try_from(count).ok())
                }
                _ => None,
            };
            count("replicas").unwrap_or(1).saturating_mul(count("shards").unwrap_or(1))
        };
        let named = executors.iter().enumerate().map(|(index, executor)| {
            let name = executor.get("name").and_then(Node::text).map(str::to_owned);
            (name.unwrap_or_else(|| format!("executor{index}")), replicas(executor))
        });
        let mut named: Vec<(String, u32)> = named.collect();
        if is_deployment {
            // The single Executor, by the name that Jina gives it.
            let name = setting(&["name"]).and_then(Node::text).unwrap_or("executor");
            named = vec![(name.to_owned(), node.get("with").map_or(1, replicas))];
        }
        let mut endpoints = Endpoints::new(self.files);
        match node.get("with").filter(|_| is_deployment) {
            Some(executor) => endpoints.executor(executor),
            None => executors.iter().for_each(|executor| endpoints.executor(executor)),
        }
        let is_on = |settings: &Node| {
            settings.get("monitoring").is_some_and(|on| matches!(on.value, Value::Bool(true)))
        };
        let for_all = settings.iter().flatten().any(|settings| is_on(settings));
        let (mut metrics, mut hidden_metrics) = (Vec::new(), Vec::new());
        let of_flow = setting(&["port_monitoring"]);
        if for_all {
            let name = if is_deployment { named[0].0.as_str() } else { "gateway" };
            monitored(name, of_flow, &mut metrics, &mut hidden_metrics);
        }
        if !is_deployment {
            for (executor, (name, _)) in executors.iter().zip(&named) {
                if for_all || is_on(executor) {
                    monitored(
                        name,
                        executor.get("port_monitoring"),
                        &mut metrics,
                        &mut hidden_metrics,
                    );
                }
            }
        }
        let over_http = gateways.iter().any(|(protocol, _)| *protocol == Protocol::Http);
        let gateway = node.get("gateway").filter(|_| over_http);
        let paths = gateway.and_then(|gateway| endpoints.gateway(gateway));
        let endpoints = endpoints.found;
        if endpoints.is_empty() && paths.is_none() {
            let told = "the endpoints /index and /search, because no file here defines any";
            self.guesses.push(told.into());
        }
        Some(FlowFacts {
            file: String::new(),
            endpoints,
            paths,
            is_addressed,
            gateways,
            host,
            tls: setting(&["ssl_certfile"]).is_some(),
            is_deployment,
            executors: named,
            metrics,
            hidden_metrics,
            guesses: std::mem::take(&mut self.guesses),
        })
    }

    /// The address it listens on; `None` for all addresses, or if it is unknown.
    fn host(&mut self, node: &Node) -> Option<String> {
        let text = node.text()?;
        match self.value(text) {
            Some(host) => Some(host).filter(|host| host != "0.0.0.0"),
            None => {
                self.guesses.push(format!("the host localhost, because the file says `{text}`"));
                None
            }
        }
    }

    /// A text with `$NAME`, `${NAME}` and `${{ ENV.NAME }}` replaced by environment variables; `None` if one is
    /// not set, or for expressions that only Jina can evaluate.
    fn value(&self, text: &str) -> Option<String> {
        let Some(named) = text.trim().strip_prefix('$') else { return Some(text.to_owned()) };
        let named = named.trim_start_matches('{').trim_end_matches('}').trim();
        let named =
            named.strip_prefix("ENV.").or_else(|| named.strip_prefix("env.")).unwrap_or(named);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if named.is_empty() || !named.chars().all(is_name) { None } else { (self.env)(named) }
    }

    fn protocols(&mut self, node: Option<&Node>) -> Vec<Protocol> {
        let Some(node) = node else { return vec![Protocol::Grpc] };
        let words = match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut protocols = Vec::new();
        for word in words {
            let Some(text) = word.text() else {
                let message = format!("expected grpc, http or websocket, found {}", word.found());
                self.tell(word.place(), message);
                continue;
            };
            let Some(value) = self.value(text) else {
                self.guesses.push(format!("the protocol grpc, because the file says `{text}`"));
                protocols.push(Protocol::Grpc);
                continue;
            };
            match value.to_ascii_lowercase().parse::<Protocol>() {
                Ok(protocol) => protocols.push(protocol),
                Err(_) => {
                    let found = of_variable(text, &value);
                    let message = format!("expected grpc, http or websocket, found {found}");
                    self.tell(word.place(), message);
                }
            }
        }
        protocols
    }

    fn ports(&mut self, node: Option<&Node>) -> Vec<u16> {
        let Some(node) = node else { return Vec::new() };
        let numbers = match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut ports = Vec::new();
        for number in numbers {
            let mut found = number.found();
            let port = match &number.value {
                Value::Number(port) => port.as_u64().and_then(|port| u16::try_from(port).ok()),
                Value::Text(text) => match self.value(text) {
                    Some(port) => {
                        found = of_variable(text, &port);
                        port.trim().parse().ok()
                    }
                    None => {
                        let port = PORT + ports.len() as u16;
                        self.guesses
                            .push(format!("the port {port}, because the file says `{text}`"));
                        Some(port)
                    }
                },
                _ => None,
            };
            match port {
                Some(port) => ports.push(port),
                None => {
                    let message = format!("expected a port from 0 to 65535, found {found}");
                    self.tell(number.place(), message);
                }
            }
        }
        ports
    }

    fn tell(&mut self, place: Place, message: String) {
        self.problems.push(Problem::at(place, message));
    }
}

/// Describes a value, with the text that it comes from if that names a variable.
fn of_variable(text: &str, value: &str) -> String {
    if text == value { format!("`{value}`") } else { format!("`{value}` from `{text}`") }
}

/// The ports at which a pod, or each of its replicas, serves metrics.
fn monitored(name: &str, given: Option<&Node>, ports: &mut Vec<u16>, hidden: &mut Vec<String>) {
    let words: Vec<String> = match given.map(|given| &given.value) {
        Some(Value::List(items)) => items.iter().map(|item| item.to_json().to_string()).collect(),
        Some(Value::Text(text)) => text.split(',').map(str::to_owned).collect(),
        Some(Value::Number(number)) => vec![number.to_string()],
        _ => Vec::new(),
    };
    let found: Vec<u16> = words
        .iter()
        .filter_map(|word| word.trim().trim_matches(['"', '[', ']', ' ']).parse().ok())
        .collect();
    if found.is_empty() || found.len() < words.len() {
        hidden.push(name.to_owned());
    }
    ports.extend(found.into_iter().filter(|port| *port != 0));
}

impl FlowFacts {
    /// The addresses of its metrics.
    pub(crate) fn addresses_of_metrics(&self, otherwise: &str) -> Vec<String> {
        let host = self.host.as_deref().unwrap_or(otherwise);
        self.metrics.iter().map(|port| format!("http://{host}:{port}/metrics")).collect()
    }

    /// Whether only the names of its endpoints are known.
    fn is_plain(&self) -> bool {
        let is_plain = |asked: &Asked| {
            !asked.streams && asked.input.as_ref().is_none_or(|input| input.is_default())
        };
        self.paths.is_none() && self.endpoints.iter().all(is_plain)
    }

    /// Its name in a suite, taken from its file.
    fn name(&self) -> String {
        let file = std::path::Path::new(&self.file);
        let name = file.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or("flow");
        shown(name)
    }
}

const INTRODUCTION: &str = "\
# A suite for flowbench. Check it with `flowbench check FILE`, see what it will do with
# `flowbench plan FILE`, run it with `flowbench run FILE`.
#
# Every random choice derives from the seed: the same seed sends the same bytes.
seed: 42
";

/// A commented suite to start from: for an embedded Flow, or for the Flows described by the facts, one after
/// the other.
pub fn starter(all: &[FlowFacts]) -> String {
    let flow = match all {
        [] => None,
        [flow] if flow.is_plain() => Some(flow),
        all => return of_files(all),
    };
    let mut text = String::from(INTRODUCTION);
    text.push_str(
        "\n# Values to use as ${{ vars.rate }}, and to change with --set rate=100/s.\n\
         vars:\n  rate: 20/s\n  duration: 10s\n\n",
    );
    text.push_str(&flows(flow));
    text.push_str(
        "\n# What requests carry. `${{ … }}` is evaluated for each Document, `i` is its index.\n\
         documents:\n\
         \x20 articles:\n\
         \x20   count: 500\n\
         \x20   id: article-${{ i }}\n\
         \x20   text: {words: 5..30}\n\
         \x20   tags: {lang: \"${{ choice(['en', 'de']) }}\"}\n\
         \x20   # embedding: {shape: [128], normalize: l2}\n\
         \x20 queries:\n\
         \x20   text: {words: 2..6}\n\
         \x20   # From a file instead, a Document in JSON on each line:\n\
         \x20   # jsonl: queries.jsonl\n\
         \x20   # order: random\n\n\
         scenarios:\n",
    );
    let endpoints = flow.map(|flow| flow.endpoints.as_slice()).unwrap_or_default();
    let mut endpoints: Vec<&String> = endpoints.iter().map(|asked| &asked.on).collect();
    // Named endpoints say more than the one that handles all others.
    if endpoints.len() > 1 {
        endpoints.retain(|on| *on != "/");
    }
    let is_known = |on: &str| endpoints.is_empty() || endpoints.iter().any(|known| *known == on);
    let indexes = is_known("/index");
    if indexes {
        text.push_str(
            "\x20 # Without a load all Documents are sent once, as jina.Client's post does.\n\
             \x20 - name: index\n\
             \x20   on: /index\n\
             \x20   documents: articles\n\
             \x20   request_size: 50\n\n",
        );
    }
    // The endpoint to load: `/search`, or any other there is.
    let other = endpoints.iter().find(|on| **on != "/index").or(endpoints.first());
    let on =
        if is_known("/search") { "/search" } else { other.map_or("/search", |on| on.as_str()) };
    let name = match on.trim_matches('/') {
        "" => "all",
        // The scenario above already has that name.
        "index" => "index under load",
        name => name,
    };
    text.push_str(
        "\x20 # Requests are due by the clock, however long responses take (an open load).\n\
         \x20 # For clients that wait for their response: load: {clients: 8, duration: 30s}\n",
    );
    let _ = writeln!(text, "  - name: {}", quoted(name));
    if indexes {
        text.push_str("    needs: [index]\n");
    }
    let _ = writeln!(text, "    on: {}", quoted(on));
    let rest: Vec<String> = endpoints
        .iter()
        .filter(|known| known.as_str() != on && **known != "/index")
        .map(|known| format!("`{known}`"))
        .collect();
    if !rest.is_empty() {
        let are = if rest.len() == 1 { "is" } else { "are" };
        let _ = writeln!(text, "    # There {are} also {}.", rest.join(", "));
    }
    text.push_str("    documents: queries\n    request_size: 1\n");
    if on == "/search" {
        text.push_str("    parameters: {limit: 3}\n");
    }
    let executors = flow.map(|flow| flow.executors.as_slice()).unwrap_or_default();
    if let Some((first, _)) = executors.first() {
        let quoted: Vec<String> = executors.iter().map(|(name, _)| format!("`{name}`")).collect();
        let _ = write!(
            text,
            "    # Only Executors whose names match; there are {}.\n    # target_executor: {first}\n",
            quoted.join(", ")
        );
    }
    text.push_str(
        "    load: {rate: \"${{ vars.rate }}\", arrivals: poisson, duration: \"${{ vars.duration }}\"}\n\
         \x20   warmup: 1s\n\
         \x20   timeout: 10s\n\
         \x20   # What must be true of each response …\n\
         \x20   assert:\n\
         \x20     - response.status == \"SUCCESS\"\n\
         \x20     # - response.docs[0].matches | length > 0\n\
         \x20   # … and of the whole. Errors, failed assertions and dropped arrivals fail it anyway.\n\
         \x20   thresholds:\n\
         \x20     - error_rate < 1%\n\
         \x20     # - p99 < 100ms\n",
    );
    if flow.is_none_or(|flow| flow.gateways.len() > 1) {
        let protocols: Vec<String> = match flow {
            None => vec!["grpc".into(), "http".into(), "websocket".into()],
            Some(flow) => flow.gateways.iter().map(|(protocol, _)| protocol.to_string()).collect(),
        };
        let _ = write!(
            text,
            "    # One run for each protocol, one after the other:\n    # matrix: {{protocol: [{}]}}\n",
            protocols.join(", ")
        );
    }
    text
}

/// A suite for several Flows, or for Flows with more known about their endpoints than the names.
fn of_files(all: &[FlowFacts]) -> String {
    let mut text = format!("{INTRODUCTION}\nflows:\n");
    let mut names: Vec<String> = Vec::new();
    for facts in all {
        let name = if all.len() == 1 { "flow".to_owned() } else { facts.name() };
        let is_taken = names.contains(&name);
        names.push(if is_taken { format!("{name}-{}", names.len() + 1) } else { name });
    }
    // Two Flows at one port can only take turns.
    let shares = |index: usize| {
        let ports =
            |facts: &FlowFacts| facts.gateways.iter().map(|(_, port)| *port).collect::<Vec<_>>();
        let own = ports(&all[index]);
        let others = all.iter().enumerate().filter(|(other, _)| *other != index);
        others
            .map(|(_, facts)| ports(facts))
            .any(|other| other.iter().any(|port| own.contains(port)))
    };
    for (index, (facts, name)) in all.iter().zip(&names).enumerate() {
        text.push_str(&facts.write(&quoted(name), shares(index)));
    }
    let guessed = ["/index", "/search"].map(|on| Asked { on: on.into(), ..Asked::default() });
    let parts: Vec<Part<'_>> = all
        .iter()
        .zip(&names)
        .map(|(facts, name)| Part {
            flow: (all.len() > 1).then_some(name.as_str()),
            asked: if facts.endpoints.is_empty() { &guessed } else { &facts.endpoints },
            paths: facts.paths.as_deref(),
        })
        .collect();
    let scenarios = running::named(&parts);
    let mut documents = String::new();
    running::documents(&mut documents, &scenarios);
    if !documents.is_empty() {
        text.push_str(
            "\n# What requests carry. `${{ … }}` is evaluated for each Document, `i` is its index.\n\
             documents:\n",
        );
        text.push_str(&documents);
    }
    text.push_str("\nscenarios:\n");
    scenarios.iter().for_each(|scenario| scenario.write(&mut text));
    text
}

fn flows(flow: Option<&FlowFacts>) -> String {
    match flow {
        Some(flow) => format!("flows:\n{}", flow.write("flow", false)),
        None => "flows:\n\
                \x20 # A Flow started inside the process: no server is needed.\n\
                \x20 local:\n\
                \x20   embedded: {}\n\
                \x20 # One that is already running:\n\
                \x20 # staging:\n\
                \x20 #   host: grpcs://staging.example.com:443\n\
                \x20 #   headers: {authorization: \"Bearer ${{ env.TOKEN }}\"}\n"
            .into(),
    }
}

impl FlowFacts {
    /// Its part under `flows:`; `starts`: whether it is started for the run.
    fn write(&self, name: &str, starts: bool) -> String {
        let mut text = format!("  {name}:\n");
        let host = self.host.as_deref().unwrap_or("localhost");
        // Quoted if YAML requires it.
        let address = |(protocol, port): &(Protocol, u16)| {
            quoted(&format!("{}://{host}:{port}", protocol.scheme(self.tls)))
        };
        for guess in &self.guesses {
            // On one line, whatever the file says.
            let _ = writeln!(text, "    # A guess: {}.", shown(guess));
        }
        match self.gateways.as_slice() {
            [one] => {
                let _ = writeln!(text, "    host: {}", address(one));
            }
            gateways => {
                text.push_str("    hosts:\n");
                for gateway in gateways {
                    let _ = writeln!(text, "      {}: {}", gateway.0, address(gateway));
                }
            }
        }
        if self.tls {
            text.push_str(
                "    # Its certificate must be trusted; if the system does not trust it, set its CA:\n\
                 \x20   # tls: {ca: ca.pem}\n",
            );
        }
        let metrics = self.addresses_of_metrics("localhost");
        if !metrics.is_empty() {
            let metrics: Vec<String> = metrics.iter().map(|address| quoted(address)).collect();
            let _ = write!(
                text,
                "    # Its own metrics are read while it is under load, and appear in the \
                 report.\n    metrics: [{}]\n",
                metrics.join(", ")
            );
        }
        if !self.hidden_metrics.is_empty() {
            let names: Vec<String> = self.hidden_metrics.iter().map(|name| shown(name)).collect();
            let _ = writeln!(
                text,
                "    # Without `port_monitoring`, the addresses of these metrics are unknown: {}.",
                names.join(", ")
            );
        }
        let file = quoted(&shown(&self.file));
        let _ = match starts {
            true => writeln!(
                text,
                "    # Started for its scenarios and stopped after them.\n    uses: {file}"
            ),
            false => writeln!(
                text,
                "    # To start it for the run, and stop it after:\n    # uses: {file}"
            ),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "PORT").then(|| "4321".into())
    }

    const ENDPOINTS: &str = "the endpoints /index and /search, because no file here defines any";

    #[test]
    fn scenarios_are_for_the_endpoints_that_the_files_tell() {
        let python = "class A(Executor):\n  @requests(on='/encode')\n  def a(self): ...\n  \
                      @requests(on=['/rank: all', '/index'])\n  def b(self): ...\n";
        let files = |path: &std::path::Path| {
            (path == std::path::Path::new("a.py")).then(|| python.to_owned())
        };
        let flow = |text: &str| {
            let facts = FlowFacts::read_with("flow.yml", text.into(), &env, &files);
            facts.unwrap_or_else(|problems| panic!("{problems}"))
        };
        let facts = flow("jtype: Deployment\nwith: {port: 1, uses: A, py_modules: [a.py]}\n");
        let names: Vec<&str> = facts.endpoints.iter().map(|asked| asked.on.as_str()).collect();
        assert_eq!(names, ["/encode", "/rank: all", "/index"]);
        assert_eq!(facts.guesses, [""; 0]);
        let text = starter(&[facts]);
        for part in [
            "  - name: index\n    on: /index\n",
            "  - name: encode\n    needs: [index]\n    on: /encode\n    # There is also `/rank: all`.\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let facts = flow(
            "jtype: Flow\nwith: {port: 1}\nexecutors: [{uses: A, uses_requests: {'/rank: all': rank}}]\n",
        );
        let text = starter(&[facts]);
        let part = "  - name: 'rank: all'\n    on: '/rank: all'\n    documents: queries\n";
        let other = part.replace('\'', "\"");
        assert!(text.contains(part) || text.contains(&other), "{text}");
        assert!(!text.contains("/index") && !text.contains("limit"), "{text}");
    }

    fn facts(text: &str) -> FlowFacts {
        FlowFacts::read("flow.yml", text.into(), &env)
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn a_flow_tells_its_protocols_ports_tls_and_executors() {
        let flow = facts(
            "jtype: Flow\nversion: '1'\nwith:\n  protocol: [grpc, http]\n  port: [5000, 5001]\n  \
             ssl_certfile: c.pem\nexecutors:\n  - name: encoder\n    uses: jinahub://X\n    replicas: 3\n    shards: 2\n  - uses: Y\n",
        );
        assert_eq!(flow.gateways, [(Protocol::Grpc, 5000), (Protocol::Http, 5001)]);
        assert!(flow.tls);
        assert_eq!(flow.executors, [("encoder".to_owned(), 6), ("executor1".to_owned(), 1)]);
        let flow = facts("!Flow\nwith: {port_expose: 1234, protocol: WEBSOCKET, host: my.flow}\n");
        assert_eq!(flow.gateways, [(Protocol::WebSocket, 1234)]);
        assert_eq!(flow.host.as_deref(), Some("my.flow"));
        let flow = facts("jtype: Flow\nwith: {port: '5000'}\n");
        assert_eq!(flow.gateways, [(Protocol::Grpc, 5000)]);
        let deployment = facts(
            "jtype: Deployment\nwith: {port: [1, 2], protocol: [grpc, http], uses: A, name: mine}\n",
        );
        assert_eq!(deployment.gateways, [(Protocol::Grpc, 1), (Protocol::Http, 2)]);
        assert_eq!(deployment.executors, [("mine".to_owned(), 1)]);
    }

    #[test]
    fn what_jina_alone_knows_is_guessed_and_said_to_be() {
        for set in ["'${{ ENV.PORT }}'", "$PORT", "'${PORT}'", "'${{ env.PORT }}'"] {
            let flow = facts(&format!("jtype: Flow\ngateway: {{port: {set}}}\n"));
            assert_eq!(flow.gateways, [(Protocol::Grpc, 4321)], "{set}");
            assert_eq!(flow.guesses, [ENDPOINTS], "{set}");
        }
        let flow = facts("jtype: Flow\nwith: {port: $OTHER, host: '${{ CONTEXT.host }}'}\n");
        assert_eq!((&flow.gateways[..], &flow.host), (&[(Protocol::Grpc, PORT)][..], &None));
        let [port, host, _] = &flow.guesses[..] else { panic!("{flow:?}") };
        assert_eq!(port, "the port 12345, because the file says `$OTHER`");
        assert_eq!(host, "the host localhost, because the file says `${{ CONTEXT.host }}`");
        let text = starter(&[flow]);
        assert!(
            text.contains("    # A guess: the port 12345, because the file says `$OTHER`.\n"),
            "{text}"
        );
        let none = facts("jtype: Flow\n");
        assert_eq!(none.gateways, [(Protocol::Grpc, PORT)]);
        assert_eq!(
            none.guesses,
            ["the port 12345, because the file gives none for grpc", ENDPOINTS]
        );
    }

    #[test]
    fn what_is_no_flow_is_refused() {
        for (text, message) in [
            ("jtype: Executor\n", "expected a Flow or a Deployment, found `Executor`"),
            ("name: x\n", "not a Flow: it has neither `jtype: Flow` nor `with` nor `executors`"),
            (
                "jtype: Flow\nwith: {protocol: ftp}\n",
                "expected grpc, http or websocket, found `ftp`",
            ),
            (
                "jtype: Flow\nwith: {port: 70000}\n",
                "expected a port from 0 to 65535, found `70000`",
            ),
        ] {
            let problems = FlowFacts::read("flow.yml", text.into(), &env).expect_err(text);
            let messages: Vec<&str> = problems.iter().map(Problem::message).collect();
            assert_eq!(messages, [message], "{text}");
        }
    }
}
