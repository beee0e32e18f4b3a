//! Keys of other tools, and what to write instead.

/// A key that users know from other tools.
struct Foreign {
    keys: &'static [&'static str],
    /// The tool that has it; empty if many do.
    tool: &'static str,
    /// What to write, by a key of the map: the first one known there counts.
    instead: &'static [(&'static str, &'static str)],
}

const CLIENTS: &[(&str, &str)] = &[
    // For a search.
    ("objective", "`clients: 1..50`"),
    ("clients", "`clients: 10`"),
    ("load", "`load: {clients: 10, duration: 30s}`"),
];
const RATE: &[(&str, &str)] = &[
    ("objective", "`rate: 50/s..5000/s`"),
    ("rate", "`rate: 100/s`"),
    ("load", "`load: {rate: 100/s, duration: 30s}`"),
];
const PAUSE: &[(&str, &str)] =
    &[("think_time", "`think_time: 1s`"), ("load", "`load: {clients: 10, think_time: 1s}`")];
const DURATION: &[(&str, &str)] = &[
    ("for", "`for: 30s`"),
    ("duration", "`duration: 30s`"),
    ("load", "`load: {clients: 10, duration: 30s}`"),
];
const STAGES: &[(&str, &str)] = &[
    ("stages", "`stages: [{ramp_to: 10, for: 30s}]`"),
    ("load", "`load: {stages: [{ramp_to: 10, for: 30s}]}`"),
];
const REQUESTS: &[(&str, &str)] =
    &[("requests", "`requests: 1000`"), ("load", "`load: {clients: 10, requests: 1000}`")];
const ENDPOINT: &[(&str, &str)] = &[("on", "`on: /search`")];
const ADDRESS: &[(&str, &str)] = &[
    ("uri", "`uri`"),
    ("host", "`host: grpc://my.flow:51000`"),
    ("flow", "`flow: NAME`, with `flows: {NAME: {host: grpc://my.flow:51000}}`"),
    ("flows", "`flows: {NAME: {host: grpc://my.flow:51000}}`"),
];
const REQUEST: &[(&str, &str)] = &[
    ("request", "`request: {method: POST, path: /api/search, json: {…}}`"),
    ("on", "`on: /search`"),
];
const DOCUMENTS: &[(&str, &str)] = &[("documents", "`documents: {text: hello}`")];

const FOREIGN: &[Foreign] = &[
    Foreign { keys: &["vus"], tool: "k6", instead: CLIENTS },
    Foreign {
        keys: &["maxVUs", "preAllocatedVUs"],
        tool: "k6",
        instead: &[("max_in_flight", "`max_in_flight: 1000`")],
    },
    Foreign { keys: &["users", "user_count"], tool: "Locust", instead: CLIENTS },
    Foreign {
        keys: &["num_clients", "concurrency", "clients_count", "threads", "workers"],
        tool: "",
        instead: CLIENTS,
    },
    Foreign { keys: &["spawn_rate", "hatch_rate"], tool: "Locust", instead: STAGES },
    Foreign { keys: &["startVUs", "startRate"], tool: "k6", instead: STAGES },
    Foreign { keys: &["iterations"], tool: "k6", instead: REQUESTS },
    Foreign { keys: &["num_requests", "total_requests"], tool: "", instead: REQUESTS },
    Foreign {
        keys: &["rps", "qps", "arrivalRate", "arrival_rate", "timeUnit", "throughput"],
        tool: "",
        instead: RATE,
    },
    Foreign { keys: &["constant_throughput"], tool: "Locust", instead: RATE },
    Foreign { keys: &["method", "path", "json", "body"], tool: "", instead: REQUEST },
    Foreign {
        keys: &["weight"],
        tool: "",
        instead: &[(
            "choose",
            "`choose: [{name: a, weight: 3, steps: […]}, {name: b, steps: […]}]`",
        )],
    },
    Foreign {
        keys: &["repeat"],
        tool: "",
        instead: &[("steps", "`steps: [{name: poll, repeat: {until: …}}]`: it is a key of a step")],
    },
    Foreign {
        keys: &["capture"],
        tool: "",
        instead: &[("steps", "`steps: [{name: create, capture: {id: …}}]`: it is a key of a step")],
    },
    Foreign {
        keys: &["target"],
        tool: "k6",
        instead: &[
            ("ramp_to", "`ramp_to: 10`"),
            ("stages", "`stages: [{ramp_to: 10, for: 30s}]`"),
            ("host", "`host: grpc://my.flow:51000`"),
        ],
    },
    Foreign { keys: &["duration", "execution_time", "run_time"], tool: "", instead: DURATION },
    Foreign { keys: &["wait_time"], tool: "Locust", instead: PAUSE },
    Foreign { keys: &["sleep", "pacing"], tool: "", instead: PAUSE },
    Foreign {
        keys: &["gracefulStop", "gracefulRampDown"],
        tool: "k6",
        instead: &[("grace", "`grace: 10s`"), ("clients", "`grace: 10s` beside `load`")],
    },
    Foreign { keys: &["stop_timeout"], tool: "Locust", instead: &[("grace", "`grace: 10s`")] },
    Foreign {
        keys: &["startTime"],
        tool: "k6",
        instead: &[("start", "`start: 10s`"), ("clients", "`start: 10s` beside `load`")],
    },
    Foreign {
        keys: &["abortOnFail"],
        tool: "k6",
        instead: &[
            ("abort", "`abort: true`"),
            ("thresholds", "`thresholds: [{that: error_rate < 1%, abort: true}]`"),
        ],
    },
    Foreign {
        keys: &["group"],
        tool: "k6",
        instead: &[("steps", "`steps: [{name: login, …}, {name: search, …}]`")],
    },
    Foreign {
        keys: &["index", "query"],
        tool: "Jina's stress test",
        instead: &[
            ("on", "`on: /index`, with `documents`"),
            ("scenarios", "`scenarios: [{name: index, on: /index, documents: {…}}]`"),
        ],
    },
    Foreign {
        keys: &["check", "checks", "expect", "asserts", "assertions"],
        tool: "",
        instead: &[("assert", "`assert: ['response.docs | length == 1']`")],
    },
    Foreign {
        keys: &["endpoint", "exec_endpoint", "execEndpoint", "route"],
        tool: "",
        instead: ENDPOINT,
    },
    Foreign {
        keys: &["url", "base_url", "baseURL", "address", "server", "hostname"],
        tool: "",
        instead: ADDRESS,
    },
    Foreign { keys: &["inputs", "docs", "data", "payload"], tool: "", instead: DOCUMENTS },
    Foreign {
        keys: &["batch_size", "batch"],
        tool: "",
        instead: &[("request_size", "`request_size: 100`")],
    },
    Foreign { keys: &["requests_per_second"], tool: "", instead: RATE },
    Foreign {
        keys: &["http_reqs", "slo", "slos", "criteria"],
        tool: "",
        instead: &[("thresholds", "`thresholds: [p95 < 200ms]`")],
    },
    Foreign { keys: &["depends_on", "after"], tool: "", instead: &[("needs", "`needs: [NAME]`")] },
    Foreign {
        keys: &["environment"],
        tool: "",
        instead: &[("vars", "`vars: {key: \"${{ env.NAME }}\"}`")],
    },
    Foreign {
        keys: &["flow_file", "flow_yaml", "start_flow"],
        tool: "Jina's stress test",
        instead: &[(
            "flows",
            "`flows: {f: {command: [jina, flow, --uses, flow.yml], host: grpc://127.0.0.1:51000}}`",
        )],
    },
];

/// What to write instead of an unknown key, if another tool has it and one of the known keys means the same.
pub(super) fn instead(key: &str, known: &[&'static str]) -> Option<String> {
    let of_key = |foreign: &&Foreign| foreign.keys.iter().any(|k| k.eq_ignore_ascii_case(key));
    FOREIGN.iter().filter(of_key).find_map(|foreign| {
        let (_, written) = foreign.instead.iter().find(|(ours, _)| known.contains(ours))?;
        Some(match foreign.tool {
            "" => format!("write {written}"),
            tool => format!("for `{key}` of {tool}, write {written}"),
        })
    })
}
