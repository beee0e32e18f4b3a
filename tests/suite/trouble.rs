//! Flows that misbehave while a load goes on: each ends in counted outcomes and a full report, over
//! each protocol, and never in a hang.
//!
//! What a gateway itself does wrong the embedded Flow does; what befalls connections is done by a
//! relay between it and the client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowbench::engine::Stop;
use flowbench::flow::{Flow, FlowConfig};
use flowbench::record::summary::{EndReason, ScenarioSummary, Summary, Verdict};
use flowbench::selftest::law;
use flowbench::wire::Protocol;
use flowbench::{plan, run, scenario};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];

/// So many arrivals has each scenario.
const ARRIVALS: u64 = 60;

/// No test here takes longer, whatever the machine does.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs scenarios over all protocols at once, with these keys and flows.
async fn summary(flows: &str, keys: &str) -> Summary {
    let scenarios = PROTOCOLS.map(|protocol| {
        let name = name(protocol);
        format!(
            "  - {{name: {name}, protocol: {name}, load: {{rate: 100/s, duration: 600ms}}, {keys}}}\n"
        )
    });
    let suite = format!("flows: {{f: {flows}}}\nscenarios:\n{}", scenarios.concat());
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("suite.yaml");
    std::fs::write(&path, &suite).expect("it can be written");
    let loaded = scenario::load(&path, &scenario::Options::default());
    let plan = loaded.and_then(|suite| plan::resolve(&suite));
    let plan = plan.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let output = Arc::new(std::sync::Mutex::new(std::io::sink()));
    let options = run::Options {
        output,
        stop: Stop::default(),
        live: watch::channel(Vec::new()).0,
        journal: None,
    };
    let ran = tokio::time::timeout(PATIENCE, run::run(plan, options)).await;
    ran.expect("it ends").expect("it can be begun")
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "grpc",
        Protocol::Http => "http",
        Protocol::WebSocket => "websocket",
    }
}

/// What holds of every scenario, whatever happened to it.
#[track_caller]
fn is_whole(scenario: &ScenarioSummary) {
    let requests = scenario.requests;
    assert_eq!(law::unaccounted(&requests), None, "{}: {requests:?}", scenario.name);
    assert_eq!(requests.arrivals, ARRIVALS, "{}: {requests:?}", scenario.name);
    assert_eq!(scenario.end.reason, EndReason::Time, "{}: {:?}", scenario.name, scenario.end);
    let told: u64 = scenario.errors.iter().map(|error| error.count).sum();
    assert_eq!(told, requests.errors(), "{}: every error has its words", scenario.name);
    let failed = requests.failed() > 0;
    assert_eq!(scenario.verdict == Verdict::Failed, failed, "{}: {requests:?}", scenario.name);
}

/// Some requests were answered, and some lost their connection.
#[track_caller]
fn fails_in_part(scenario: &ScenarioSummary) {
    let requests = scenario.requests;
    assert!(requests.ok > 0 && requests.transport_errors > 0, "{}: {requests:?}", scenario.name);
}

/// The summaries of a Flow with a fault, by protocol.
async fn with_faults(faults: &str) -> Vec<ScenarioSummary> {
    let flow = format!("{{embedded: {{executors: [{{name: e, faults: {{{faults}}}}}]}}}}");
    let summary = summary(&flow, "timeout: 700ms").await;
    summary.scenarios.iter().for_each(is_whole);
    summary.scenarios
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_garbage_are_failures() {
    for scenario in with_faults("garbage: 20%").await {
        let requests = scenario.requests;
        assert!(requests.ok > 0 && requests.errors() > 0, "{}: {requests:?}", scenario.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_twice_count_once() {
    for scenario in with_faults("twice: 50%").await {
        assert_eq!(scenario.requests.ok, ARRIVALS, "{}", scenario.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_a_wrong_id_answer_nobody() {
    for scenario in with_faults("wrong_id: 20%").await {
        let requests = scenario.requests;
        match scenario.name.as_str() {
            // A connection has one request at a time, so what comes answers it.
            "http" => assert_eq!(requests.ok, ARRIVALS),
            name => assert!(requests.timeouts > 0 && requests.ok > 0, "{name}: {requests:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_the_gateway_ends_are_opened_again() {
    for scenario in with_faults("drop: 10%").await {
        fails_in_part(&scenario);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_never_answered_are_abandoned_after_the_grace_period() {
    let flow = "{embedded: {executors: [{name: e, service_time: 1h}]}}";
    for scenario in summary(flow, "grace: 1s").await.scenarios {
        is_whole(&scenario);
        assert_eq!(scenario.requests.abandoned, ARRIVALS, "{}", scenario.name);
    }
}

/// What a relay does to the connections that go through it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mischief {
    /// Closes a connection each time that so much has come over all of them.
    Closes(usize),
    /// The same, by a reset.
    Resets(usize),
    /// Closes all when so much has come over all of them, and lets nobody in any more.
    Dies(usize),
    /// Passes nothing on any more, and leaves connections open.
    Hangs(usize),
    /// Takes connections and never says anything.
    Silent,
}

/// Relays connections to a gateway until it does not.
struct Relay {
    mischief: Mischief,
    gateway: SocketAddr,
    /// Bytes from the gateway, over all connections.
    passed: AtomicUsize,
    /// Ends all connections.
    dead: CancellationToken,
}

impl Relay {
    /// Where it listens.
    async fn start(mischief: Mischief, gateway: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let (passed, dead) = (AtomicUsize::new(0), CancellationToken::new());
        let relay = Arc::new(Relay { mischief, gateway, passed, dead });
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = relay.dead.cancelled() => return,
                };
                let Ok((client, _)) = accepted else { continue };
                let relay = relay.clone();
                tokio::spawn(async move {
                    let dead = relay.dead.clone();
                    tokio::select! {
                        _ = relay.relay(client) => (),
                        () = dead.cancelled() => (),
                    }
                });
            }
        });
        address
    }

    async fn relay(&self, mut client: TcpStream) -> std::io::Result<()> {
        if self.mischief == Mischief::Silent {
            std::future::pending::<()>().await;
        }
        let mut gateway = TcpStream::connect(self.gateway).await?;
        let (mut up, mut down) = (vec![0; 1 << 14], vec![0; 1 << 14]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => match read? {
                    0 => return Ok(()),
                    read => gateway.write_all(&up[..read]).await?,
                },
                read = gateway.read(&mut down) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    let before = self.passed.fetch_add(read, Ordering::Relaxed);
                    let all = before + read;
                    match self.mischief {
                        Mischief::Closes(each) if all / each > before / each => return Ok(()),
                        Mischief::Resets(each) if all / each > before / each => {
                            return client.set_zero_linger();
                        }
                        Mischief::Dies(limit) if all > limit => {
                            self.dead.cancel();
                            return Ok(());
                        }
                        Mischief::Hangs(limit) if all > limit => std::future::pending().await,
                        _ => client.write_all(&down[..read]).await?,
                    }
                }
            }
        }
    }
}

/// The summaries of a Flow behind such relays, by protocol.
async fn behind(mischief: Mischief) -> Vec<ScenarioSummary> {
    let flow = Flow::start(FlowConfig::default()).await.expect("it starts");
    let mut hosts = Vec::new();
    for protocol in PROTOCOLS {
        let port = flow.target(protocol).expect("it offers all").port;
        let relay = Relay::start(mischief, ([127, 0, 0, 1], port).into()).await;
        let scheme = if protocol == Protocol::WebSocket { "ws" } else { name(protocol) };
        hosts.push(format!("{}: '{scheme}://{relay}'", name(protocol)));
    }
    // Named, so that a session asks nothing before it is open.
    let flows = format!("{{family: v1, hosts: {{{}}}}}", hosts.join(", "));
    summary(&flows, "timeout: 700ms").await.scenarios
}

/// Some replies of each protocol have this size together, and the greeting has not.
const SOME: usize = 4000;

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_closed_are_opened_again() {
    for scenario in behind(Mischief::Closes(SOME)).await {
        is_whole(&scenario);
        fails_in_part(&scenario);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_reset_are_opened_again() {
    for scenario in behind(Mischief::Resets(SOME)).await {
        is_whole(&scenario);
        fails_in_part(&scenario);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_dies_fails_what_comes_after() {
    for scenario in behind(Mischief::Dies(SOME)).await {
        is_whole(&scenario);
        fails_in_part(&scenario);
        let kinds: Vec<&str> = scenario.errors.iter().map(|error| error.kind.as_str()).collect();
        assert!(kinds.contains(&"connect"), "{}: {kinds:?}", scenario.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_hangs_times_requests_out() {
    for scenario in behind(Mischief::Hangs(SOME)).await {
        is_whole(&scenario);
        let requests = scenario.requests;
        assert!(requests.ok > 0 && requests.timeouts > 0, "{}: {requests:?}", scenario.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_never_answers_is_not_reached_or_times_out() {
    for scenario in behind(Mischief::Silent).await {
        match scenario.name.as_str() {
            // Nothing is said before the first request.
            "http" => {
                is_whole(&scenario);
                assert_eq!(scenario.requests.timeouts, ARRIVALS);
            }
            name => {
                assert_eq!(scenario.end.reason, EndReason::Unreachable, "{name}");
                let message = scenario.end.message.as_deref().unwrap_or_default();
                assert!(message.contains("within 10s"), "{name}: {message}");
            }
        }
    }
}
