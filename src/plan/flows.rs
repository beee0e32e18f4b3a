//! From `flows:` as written to the [`Flow`]s of a plan.

use std::path::Path;
use std::time::Duration;

use super::http::same_header_twice;
use super::names::of_embedded;
use super::{Flow, FlowFile, Launch, Origin, Ready, flow_file, tls, watch};
use crate::client::{ClientConfig, ConfigError, FamilyChoice, HttpVersion, Limits, ResponseMemory};
use crate::flow::{FlowConfig, PathStep};
use crate::scenario::{self, FamilyWord, HttpVersionWord, Metrics, Named, ProtocolWord, Tls};
use crate::server::Watch;
use crate::source::{Node, Problem, Sources, Spot};
use crate::units::{ByteSize, Span};
use crate::wire::{Address, Family, Map, Protocol, Target, TargetError};

/// How long a started Flow may take to answer, unless set.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The smallest response limit that admits the smallest responses.
const RESPONSE_BYTES_MIN: u64 = 1024;

/// Below this hardly any Flow could be measured.
const RESPONSE_MEMORY_MIN: u64 = 1 << 20;

/// The most Flows that commands may start for the combinations of a matrix; each takes at least some seconds.
const STARTS_MAX: usize = 100;

/// The Flows of a suite, with the protocols that its scenarios use for each.
pub(super) struct Flows<'a> {
    declared: Vec<Declared<'a>>,
    drafts: Vec<Draft<'a>>,
}

/// A Flow as the suite declares it.
struct Declared<'a> {
    // `None`: the embedded Flow of a suite that declares no Flow.
    named: Option<&'a Named>,
    // One entry per combination of a matrix: the flow's text as read, and the index of its draft. A Flow that
    // does not depend on a matrix has its entry from the start.
    drafts: Vec<(String, usize)>,
}

struct Draft<'a> {
    // With the matrix values that it depends on.
    name: String,
    matrix: Map,
    named: Option<&'a Named>,
    node: Option<Node>,
    // `None` if it has problems.
    given: Option<scenario::Flow>,
    // The file it uses.
    file: Option<FlowFile>,
    // The protocols that scenarios use, in the order they ask for them.
    protocols: Vec<Protocol>,
}

impl<'a> Flows<'a> {
    pub(super) fn read(flows: &'a [Named], problems: &mut Vec<Problem>) -> Flows<'a> {
        let mut read = Flows { declared: Vec::new(), drafts: Vec::new() };
        for named in flows {
            let mut drafts = Vec::new();
            if !named.mentions_matrix() {
                drafts.push((String::new(), read.drafts.len()));
                read.drafts.push(Draft::read(named, named.node.clone(), Map::new(), problems));
            }
            read.declared.push(Declared { named: Some(named), drafts });
        }
        if flows.is_empty() {
            read.declared.push(Declared { named: None, drafts: vec![(String::new(), 0)] });
            read.drafts.push(Draft {
                name: "default".into(),
                matrix: Map::new(),
                named: None,
                node: None,
                given: None,
                file: None,
                protocols: Vec::new(),
            });
        }
        read
    }

    /// The draft of a declared Flow for one combination of a matrix.
    fn draft(&mut self, declared: usize, matrix: &Map, problems: &mut Vec<Problem>) -> usize {
        let Declared { named, drafts } = &mut self.declared[declared];
        let named = match (named, drafts.as_slice()) {
            (Some(named), _) if named.mentions_matrix() => *named,
            (_, [(_, index), ..]) => return *index,
            (_, []) => return 0,
        };
        let (node, values) = named.flow(matrix, problems);
        let as_read = node.to_json().to_string();
        if let Some((_, index)) = drafts.iter().find(|(known, _)| *known == as_read) {
            return *index;
        }
        drafts.push((as_read, self.drafts.len()));
        self.drafts.push(Draft::read(named, node, values, problems));
        self.drafts.len() - 1
    }

    /// The Flows that differ for each combination of a matrix: their indices, in the order of use.
    pub(super) fn of_matrices(&self) -> impl Iterator<Item = Vec<usize>> {
        let several = self.declared.iter().filter(|declared| declared.drafts.len() > 1);
        several.map(|declared| declared.drafts.iter().map(|(_, index)| *index).collect())
    }

    /// The Flow of a scenario and the protocol used to reach it.
    pub(super) fn choose(
        &mut self,
        name: Option<&str>,
        matrix: &Map,
        protocol: Option<ProtocolWord>,
        at: Spot<'_>,
        problems: &mut Vec<Problem>,
    ) -> (usize, Protocol) {
        let known = |declared: &Declared<'a>, name: &str| declared.name() == name;
        let asked = protocol.map(Protocol::from);
        let found = match name {
            Some(name) => {
                let found = self.declared.iter().position(|flow| known(flow, name));
                if found.is_none() {
                    let names: Vec<&str> = self.declared.iter().map(Declared::name).collect();
                    at.key("flow").problem(
                        problems,
                        format!("no flow is named `{name}`"),
                        |problem| problem.suggest(name, names),
                    );
                }
                found
            }
            None if self.declared.len() == 1 => Some(0),
            None => {
                let found = self.declared.iter().position(|flow| known(flow, "default"));
                if found.is_none() {
                    let names: Vec<String> =
                        self.declared.iter().map(|flow| format!("`{}`", flow.name())).collect();
                    at.problem(problems, "key `flow` is missing in a scenario", |problem| {
                        problem.help(format!(
                            "the suite has {}, and none of them is named `default`",
                            names.join(", ")
                        ))
                    });
                }
                found
            }
        };
        let Some(declared) = found else { return (0, asked.unwrap_or(Protocol::Grpc)) };
        let index = self.draft(declared, matrix, problems);
        let draft = &mut self.drafts[index];
        let (default, offered) = draft.protocols();
        let protocol = asked.unwrap_or(default);
        if let Some(offered) = offered
            && !offered.contains(&protocol)
        {
            let message = format!("flow `{}` is not reached over {protocol}", draft.name());
            let over: Vec<String> = offered.iter().map(Protocol::to_string).collect();
            let help = match draft.given.as_ref().map(|given| given.host.is_some()) {
                Some(true) => format!(
                    "its `host` says {}; for more protocols, give it `hosts: {{grpc: …, http: …}}`",
                    over.join(", ")
                ),
                _ => format!("it is reached over {}", over.join(", ")),
            };
            at.key("protocol").problem(problems, message, |problem| problem.help(help));
            return (index, default);
        }
        if !draft.protocols.contains(&protocol) {
            draft.protocols.push(protocol);
        }
        (index, protocol)
    }

    /// The family of a Flow, if the suite states it.
    pub(super) fn family(&self, flow: usize) -> Option<Family> {
        let draft = &self.drafts[flow];
        let Some(given) = &draft.given else {
            return draft.named.is_none().then(|| FlowConfig::default().family.into());
        };
        match (&given.embedded, given.family) {
            (Some(config), _) => Some(config.family.into()),
            (None, Some(FamilyWord::V1)) => Some(Family::V1),
            (None, Some(FamilyWord::V2)) => Some(Family::V2),
            (None, _) => None,
        }
    }

    /// Whether a Flow is embedded and belongs to this family.
    pub(super) fn embeds(&self, flow: usize, family: Family) -> bool {
        let draft = &self.drafts[flow];
        match &draft.given {
            None => draft.named.is_none() && Family::from(FlowConfig::default().family) == family,
            Some(given) => {
                given.embedded.as_ref().is_some_and(|config| Family::from(config.family) == family)
            }
        }
    }

    /// The names of a Flow's Executors, if it is embedded.
    pub(super) fn executors(&self, flow: usize) -> Option<Vec<String>> {
        let draft = &self.drafts[flow];
        match &draft.given {
            None => draft.named.is_none().then(|| of_embedded(&FlowConfig::default())),
            Some(given) => given.embedded.as_ref().map(of_embedded),
        }
    }

    /// Like `executors`, plus those of a Flow whose file is known.
    pub(super) fn executors_or_those_of_its_file(&self, flow: usize) -> Option<Vec<String>> {
        let file = || self.drafts[flow].file.as_ref();
        let names = |file: &FlowFile| file.executors.iter().map(|(name, _)| name.clone()).collect();
        self.executors(flow).or_else(|| file().map(names))
    }

    /// The server metrics that will be collected for a Flow; `None` if none are.
    pub(super) fn watched(&self, flow: usize) -> Option<Vec<String>> {
        let given = self.drafts[flow].given.as_ref()?;
        let mut named: Vec<String> = Vec::new();
        if let Some(Metrics::Map(map)) = &given.metrics {
            named.extend(map.also.iter().flatten().cloned());
        }
        named.extend(
            given.prometheus.iter().flat_map(|prometheus| prometheus.queries.keys().cloned()),
        );
        let is_watched = given.metrics.is_some() || given.prometheus.is_some() || given.starts();
        is_watched.then_some(named)
    }

    pub(super) fn into_plan(self, problems: &mut Vec<Problem>) -> Vec<Flow> {
        for Declared { named, drafts } in &self.declared {
            let started = drafts.iter().filter_map(|(_, index)| self.drafts[*index].given.as_ref());
            let started = started.filter(|given| given.starts()).count();
            if let Some(named) = named.filter(|_| started > STARTS_MAX) {
                let message = format!(
                    "flow `{}` would be started {started} times, once for each combination of a matrix; at \
                     most {STARTS_MAX} are allowed",
                    named.name
                );
                problems.push(Problem::at(named.node.place(), message));
            }
        }
        self.drafts.into_iter().map(|draft| draft.flow(problems)).collect()
    }
}

/// Reports keys that exclude each other.
fn check(given: &scenario::Flow, at: Spot<'_>, problems: &mut Vec<Problem>) {
    let remote = [
        ("host", given.host.is_some()),
        ("hosts", given.hosts.is_some()),
        ("port", given.port.is_some()),
        ("tls", given.tls.is_some()),
        ("headers", given.headers.is_some()),
        ("family", given.family.is_some()),
        ("http_version", given.http_version.is_some()),
        ("connect_timeout", given.connect_timeout.is_some()),
        ("max_response_size", given.max_response_size.is_some()),
        ("max_response_memory", given.max_response_memory.is_some()),
        ("uses", given.uses.is_some()),
        ("set", given.set.is_some()),
        ("command", given.command.is_some()),
        ("metrics", given.metrics.is_some()),
        ("prometheus", given.prometheus.is_some()),
    ];
    let of_commands = [
        ("cwd", given.cwd.is_some()),
        ("env", given.env.is_some()),
        ("ready", given.ready.is_some()),
        ("ready_timeout", given.ready_timeout.is_some()),
        ("keep", given.keep.is_some()),
    ];
    if let Some(config) = &given.embedded {
        for problem in config.problems() {
            let at = problem.path.iter().fold(at.key("embedded"), |at, step| match step {
                PathStep::Key(key) => at.key(key),
                PathStep::Index(index) => at.index(*index),
            });
            at.problem(problems, problem.message, |problem| problem);
        }
        for (key, _) in remote.into_iter().chain(of_commands).filter(|(_, given)| *given) {
            at.name(key).problem(
                problems,
                format!("`{key}` does not apply to an `embedded` Flow"),
                |problem| match key {
                    "family" | "tls" => problem.help(format!("put `{key}` inside `embedded`")),
                    _ => problem,
                },
            );
        }
        return;
    }
    let address = given.host.is_some() || given.port.is_some() || given.hosts.is_some();
    if !address {
        at.problem(problems, "a flow needs `embedded`, or an address such as `host`", |problem| {
            match (&given.uses, &given.command) {
                (Some(_), _) => {
                    problem.help("the file that it `uses` does not determine its address")
                }
                (None, Some(_)) => {
                    problem.help("set the address of the Flow that the command starts")
                }
                (None, None) => problem,
            }
        });
    }
    if let Some(hosts) = &given.hosts {
        let alone = [
            ("host", given.host.is_some()),
            ("port", given.port.is_some()),
            ("protocol", given.protocol.is_some()),
        ];
        for (key, _) in alone.into_iter().filter(|(_, given)| *given) {
            at.name(key).problem(
                problems,
                format!("two sources of truth: `hosts` and `{key}`; leave one out"),
                |problem| problem,
            );
        }
        if hosts.grpc.is_none() && hosts.http.is_none() && hosts.websocket.is_none() {
            at.key("hosts").problem(problems, "`hosts` needs an address", |problem| {
                problem.help("for example `hosts: {grpc: my.flow:1234, http: my.flow:1235}`")
            });
        }
    }
    if given.command.as_ref().is_some_and(Vec::is_empty) {
        at.key("command").problem(problems, "`command` needs a program", |problem| problem);
    }
    if given.set.is_some() && given.uses.is_none() {
        at.name("set").problem(
            problems,
            "`set` needs `uses`, the file in which values are set",
            |p| p,
        );
    }
    if !given.starts() {
        for (key, _) in of_commands.into_iter().filter(|(_, given)| *given) {
            at.name(key).problem(
                problems,
                format!("`{key}` applies only to a Flow that a `command` starts"),
                |problem| problem,
            );
        }
    }
    for (key, span) in
        [("ready_timeout", given.ready_timeout), ("connect_timeout", given.connect_timeout)]
    {
        if span == Some(Span::default()) {
            at.key(key).problem(problems, format!("`{key}` must be above 0s"), |problem| problem);
        }
    }
    for (key, size, least) in [
        ("max_response_size", given.max_response_size, RESPONSE_BYTES_MIN),
        ("max_response_memory", given.max_response_memory, RESPONSE_MEMORY_MIN),
    ] {
        if size.is_some_and(|size| size.bytes() < least) {
            let least = ByteSize::new(least);
            at.key(key).problem(problems, format!("`{key}` must be at least {least}"), |p| p);
        }
    }
}

impl Declared<'_> {
    fn name(&self) -> &str {
        self.named.map_or("default", |named| &named.name)
    }
}

impl<'a> Draft<'a> {
    fn read(
        named: &'a Named,
        mut node: Node,
        matrix: Map,
        problems: &mut Vec<Problem>,
    ) -> Draft<'a> {
        let before = problems.len();
        let mut given: Option<scenario::Flow> = Sources::read(&mut node, "a flow", problems);
        let mut file = None;
        if let Some(given) = &mut given
            && problems.len() == before
        {
            if given.embedded.is_none() {
                file = flow_file::read(given, Spot::of(&node), named, problems);
            }
            if problems.len() == before {
                check(given, Spot::of(&node), problems);
            }
        }
        let whole = problems.len() == before;
        Draft {
            name: format!("{}{}", named.name, scenario::suffix(&matrix)),
            matrix,
            named: Some(named),
            node: Some(node),
            given: given.filter(|_| whole),
            file,
            protocols: Vec::new(),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// The default protocol, and all protocols that a scenario may ask for; `None` means any.
    fn protocols(&self) -> (Protocol, Option<Vec<Protocol>>) {
        let first = |offered: Vec<Protocol>| {
            let default = if offered.contains(&Protocol::Grpc) {
                Protocol::Grpc
            } else {
                offered.first().copied().unwrap_or(Protocol::Grpc)
            };
            (default, Some(offered))
        };
        let embedded = |config: &FlowConfig| {
            config.protocols.iter().map(|name| Protocol::from(*name)).collect::<Vec<_>>()
        };
        let Some(given) = &self.given else {
            return match self.named {
                None => first(embedded(&FlowConfig::default())),
                Some(_) => (Protocol::Grpc, None),
            };
        };
        let own = given.protocol.map(Protocol::from);
        if let Some(config) = &given.embedded {
            let (default, offered) = first(embedded(config));
            return (own.unwrap_or(default), offered);
        }
        if let Some(hosts) = &given.hosts {
            let all = [
                (Protocol::Grpc, &hosts.grpc),
                (Protocol::Http, &hosts.http),
                (Protocol::WebSocket, &hosts.websocket),
            ];
            let offered =
                all.into_iter().filter_map(|(protocol, host)| host.as_ref().map(|_| protocol));
            return first(offered.collect());
        }
        match &given.host {
            Some(host) if host.contains("://") => match host.parse::<Target>() {
                Ok(target) => (target.protocol, Some(vec![target.protocol])),
                // The error is reported when the host is resolved.
                Err(_) => (own.unwrap_or(Protocol::Grpc), None),
            },
            _ => (own.unwrap_or(Protocol::Grpc), None),
        }
    }

    fn flow(mut self, problems: &mut Vec<Problem>) -> Flow {
        let (name, matrix) = (self.name().to_owned(), std::mem::take(&mut self.matrix));
        let (default, _) = self.protocols();
        if self.protocols.is_empty() {
            self.protocols.push(default);
        }
        let (Some(named), Some(node), Some(mut given)) = (self.named, &self.node, self.given)
        else {
            let origin = Origin::Embedded(FlowConfig::default());
            return Flow { name, matrix, origin, watch: Watch::default() };
        };
        let at = Spot::of(node);
        if let Some(mut config) = given.embedded.take() {
            config.log = config.log.as_ref().map(|path| named.base.join(path));
            if let Some(tls) = &mut config.tls {
                tls.cert = named.base.join(&tls.cert);
                tls.key = named.base.join(&tls.key);
                tls.client_ca = tls.client_ca.as_ref().map(|path| named.base.join(path));
                let files = [
                    ("cert", Some(&tls.cert)),
                    ("key", Some(&tls.key)),
                    ("client_ca", tls.client_ca.as_ref()),
                ];
                for (key, path) in files {
                    let unreadable =
                        path.and_then(|path| Some((path, std::fs::File::open(path).err()?)));
                    if let Some((path, error)) = unreadable {
                        let message = format!("could not read `{}`: {error}", path.display());
                        at.key("embedded").key("tls").key(key).problem(problems, message, |p| p);
                    }
                }
            }
            let origin = Origin::Embedded(config);
            return Flow { name, matrix, origin, watch: Watch::default() };
        }
        let watch = watch::read(&given, at, &named.base, problems);
        // One limit for all its protocols.
        let memory = given.max_response_memory.map(|size| ResponseMemory::new(bytes(size)));
        let clients: Vec<ClientConfig> = self
            .protocols
            .iter()
            .filter_map(|protocol| client(&given, *protocol, at, &named.base, problems))
            .map(|client| ClientConfig { response_memory: memory.clone(), ..client })
            .collect();
        let command = given.command.take();
        let command = command.map(|command| command.into_iter().map(|word| word.0).collect());
        let command = command.or_else(|| self.file.as_ref().map(FlowFile::command));
        let origin = match command {
            None => Origin::Remote(clients),
            Some(command) => {
                let mut launch = launch(command, &given, at, &named.base, problems);
                launch.file = self.file;
                Origin::Command { launch, clients }
            }
        };
        Flow { name, matrix, origin, watch }
    }
}

/// How a command starts a Flow.
fn launch(
    command: Vec<String>,
    given: &scenario::Flow,
    at: Spot<'_>,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Launch {
    let cwd = given.cwd.as_ref().map(|folder| base.join(folder));
    if let Some(folder) = cwd.as_ref().filter(|folder| !folder.is_dir()) {
        let message = format!("`{}` is not a folder", folder.display());
        at.key("cwd").problem(problems, message, |problem| problem);
    }
    let words =
        command.iter().enumerate().map(|(index, word)| (at.key("command").index(index), word));
    let env = given.env.iter().flatten();
    let values = env.clone().map(|(name, value)| (at.key("env").key(name), &value.0));
    for (at, _) in words.chain(values).filter(|(_, word)| word.contains('\0')) {
        at.problem(problems, "text for a program cannot contain a NUL character", |p| p);
    }
    for (name, _) in env.clone().filter(|(name, _)| name.is_empty() || name.contains(['=', '\0'])) {
        let message = format!("`{name}` cannot be the name of a variable");
        at.key("env").name(name).problem(problems, message, |problem| {
            problem.help("a name must not be empty or contain `=`")
        });
    }
    let ready = match given.ready.as_ref().map(|given| ready(given, at, problems)) {
        None | Some(None) => Ready::Answers,
        Some(Some(ready)) => ready,
    };
    Launch {
        command,
        file: None,
        cwd,
        inherited: Vec::new(),
        env: env.map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        ready,
        ready_timeout: given.ready_timeout.map_or(READY_TIMEOUT, Span::get),
        keep: given.keep.unwrap_or(false),
    }
}

/// How to find out that a Flow is ready; `None` if there are problems.
fn ready(given: &scenario::Ready, at: Spot<'_>, problems: &mut Vec<Problem>) -> Option<Ready> {
    let at = at.key("ready");
    // A host and a port; the port is required.
    let authority = |text: &str| {
        let target = format!("grpc://{text}").parse::<Target>().ok()?;
        let port = text.rsplit_once(':')?.1;
        (port.parse() == Ok(target.port)).then_some((target.host, target.port))
    };
    match given {
        scenario::Ready::Address(address) => {
            let Some((host, port)) = authority(address) else {
                let message =
                    format!("expected an address such as `127.0.0.1:9090`, found `{address}`");
                at.key("address").problem(problems, message, |problem| problem);
                return None;
            };
            Some(Ready::Address(host, port))
        }
        scenario::Ready::Url(url) => {
            let rest = url.strip_prefix("http://").filter(|_| !url.contains(char::is_whitespace));
            let parts = rest.map(|rest| rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())));
            let found = parts.and_then(|(host, path)| {
                let (host, port) = authority(host).or_else(|| authority(&format!("{host}:80")))?;
                let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
                Some(Ready::Url { host, port, path })
            });
            if found.is_none() {
                let message =
                    format!("expected a URL such as `http://127.0.0.1:9090/ready`, found `{url}`");
                at.key("url").problem(problems, message, |problem| problem);
            }
            found
        }
        scenario::Ready::Log(text) => {
            if text.is_empty() {
                at.key("log").problem(problems, "`log` needs a text", |problem| problem);
                return None;
            }
            Some(Ready::Log(text.clone()))
        }
        scenario::Ready::LogMatches(pattern) => match regex::bytes::Regex::new(pattern) {
            Ok(pattern) => Some(Ready::LogMatches(pattern)),
            Err(error) => {
                // The last line has the error; those before it show its position.
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                let message = format!("`{pattern}` is not a regular expression: {reason}");
                at.key("log_matches").problem(problems, message, |problem| problem);
                None
            }
        },
    }
}

/// The client configuration for a Flow and one protocol.
fn client(
    given: &scenario::Flow,
    protocol: Protocol,
    at: Spot<'_>,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Option<ClientConfig> {
    let before = problems.len();
    let target = target(given, protocol, at, problems)?;
    let mut config = ClientConfig::new(target);
    if let Some(hosts) = &given.hosts
        && hosts.http.is_some()
        && protocol != Protocol::Http
    {
        config.http_target = self::target(given, Protocol::Http, at, problems);
    }
    config.family = match given.family {
        None | Some(FamilyWord::Auto) => FamilyChoice::Auto,
        Some(FamilyWord::V1) => FamilyChoice::Is(Family::V1),
        Some(FamilyWord::V2) => FamilyChoice::Is(Family::V2),
    };
    config.http_version = match given.http_version {
        None | Some(HttpVersionWord::One) => HttpVersion::One,
        Some(HttpVersionWord::Two) => HttpVersion::Two,
    };
    if let Some(Tls::Options(options)) = &given.tls {
        config.tls = tls::options(options, base);
    }
    same_header_twice(at.key("headers"), problems);
    config.headers = given.headers.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    if let Some(timeout) = given.connect_timeout {
        config.connect_timeout = timeout.get();
    }
    if let Some(size) = given.max_response_size {
        config.limits = Limits { message_bytes_max: bytes(size) };
    }
    if let Err(error) = config.check() {
        let tls = at.key("tls");
        let at = match &error {
            ConfigError::TlsUnreadable { option, .. } | ConfigError::TlsFile { option, .. } => {
                tls.key(option)
            }
            ConfigError::TlsHalf { given, .. } => tls.name(given),
            ConfigError::TlsServerName { .. } => tls.key("server_name"),
            ConfigError::Header { name, .. } => at.key("headers").name(name),
            _ => at,
        };
        at.problem(problems, error.to_string(), |problem| problem);
    }
    (problems.len() == before).then_some(config)
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

/// The address of a Flow for one protocol.
fn target(
    given: &scenario::Flow,
    protocol: Protocol,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Target> {
    let (host, host_at) = match &given.hosts {
        None => (given.host.as_ref(), at.key("host")),
        Some(hosts) => match protocol {
            Protocol::Grpc => (hosts.grpc.as_ref(), at.key("hosts").key("grpc")),
            Protocol::Http => (hosts.http.as_ref(), at.key("hosts").key("http")),
            Protocol::WebSocket => (hosts.websocket.as_ref(), at.key("hosts").key("websocket")),
        },
    };
    let has_scheme = host.is_some_and(|host| host.contains("://"));
    let in_hosts = given.hosts.is_some();
    let tls = match &given.tls {
        None => None,
        Some(Tls::Switch(tls)) => Some(*tls),
        // With a scheme, the options say how to verify, not whether to encrypt.
        Some(Tls::Options(_)) if has_scheme => None,
        Some(Tls::Options(_)) => Some(true),
    };
    let address = Address {
        host: host.cloned(),
        port: given.port,
        // A scheme implies the protocol; if the flow states it as well, the error names both sources.
        protocol: match (has_scheme, in_hosts) {
            (true, true) => None,
            (true, false) => given.protocol.map(Protocol::from),
            (false, _) => Some(protocol),
        },
        tls,
    };
    let target = match address.resolve() {
        Ok(target) => target,
        Err(error) => {
            let at = match &error {
                TargetError::TwoSources { what, .. } => at.key(what),
                _ => host_at,
            };
            at.problem(problems, error.to_string(), |problem| problem);
            return None;
        }
    };
    if target.protocol != protocol {
        let message =
            format!("expected an address of {protocol}, found one of {}", target.protocol);
        host_at.problem(problems, message, |problem| problem);
        return None;
    }
    if matches!(given.tls, Some(Tls::Options(_))) && !target.tls {
        at.key("tls").problem(
            problems,
            format!("the address `{target}` is not encrypted, so TLS options have no effect"),
            |problem| problem.help("encrypted addresses begin with grpcs://, https:// or wss://"),
        );
        return None;
    }
    Some(target)
}
