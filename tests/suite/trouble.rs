//! Flows that misbehave under load: over each protocol, each case ends in counted outcomes and a full report,
//! and never in a hang.
//!
//! Faults of a gateway come from the embedded Flow; faults of connections come from a relay between it and the
//! client.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowbench::flow::{Flow, FlowConfig};
use flowbench::record::summary::{EndReason, ScenarioSummary, Summary, Verdict};
use flowbench::selftest::law;
use flowbench::source::Sources;
use flowbench::wire::Protocol;
use flowbench::{plan, run, scenario};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Ways to send a request: the three protocols, and two more over gRPC: a call per request, and streaming
/// endpoints. Each has a flow of its name.
const WAYS: [&str; 5] = ["grpc", "http", "websocket", "unary", "streaming"];

/// Arrivals of each scenario.
const ARRIVALS: u64 = 60;

/// No test here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a scenario in each of these ways concurrently, with these keys and flows.
async fn summary(ways: &[&str], flows: &[String], keys: &str) -> Summary {
    let scenarios = ways.iter().map(|way| {
        let rest = match *way {
            "streaming" => "on: /stream, stream: true, documents: {text: a}, ",
            "unary" => "call: unary, ",
            _ => "",
        };
        let protocol = protocol(way);
        format!(
            "  - {{name: {way}, flow: {way}, protocol: {protocol}, {rest}\
             load: {{rate: 100/s, duration: 600ms}}, {keys}}}\n"
        )
    });
    let scenarios = scenarios.collect::<String>();
    let suite = format!("flows:\n  {}\nscenarios:\n{scenarios}", flows.join("\n  "));
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("suite.yaml");
    std::fs::write(&path, &suite).expect("it can be written");
    let loaded = scenario::load(&path, &scenario::Options::default());
    let plan = loaded.and_then(|suite| plan::resolve(&suite));
    let plan = plan.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let ran = tokio::time::timeout(PATIENCE, run::run(plan, run::Options::default())).await;
    ran.expect("it ends").expect("it can be begun")
}

fn protocol(way: &str) -> Protocol {
    match way {
        "http" => Protocol::Http,
        "websocket" => Protocol::WebSocket,
        _ => Protocol::Grpc,
    }
}

/// Starts a Flow for one of the ways, with an Executor that has these settings.
async fn flow(way: &str, executor: &str) -> Flow {
    let family = if ["unary", "streaming"].contains(&way) { "v2" } else { "v1" };
    let text = format!(
        "family: {family}\nprotocols: [{}]\nexecutors: [{{name: e, {executor}}}]",
        protocol(way)
    );
    let (mut sources, mut problems) = (Sources::new(), Vec::new());
    let mut node = sources.parse("a Flow", text, None, &mut problems).expect("it is YAML");
    let config: Option<FlowConfig> = Sources::read(&mut node, "the Flow", &mut problems);
    Flow::start(config.unwrap_or_else(|| panic!("{problems:?}"))).await.expect("it starts")
}

/// The entry of a flow in a suite.
fn entry(way: &str, address: impl Display) -> String {
    let family = if ["unary", "streaming"].contains(&way) { "v2" } else { "v1" };
    let scheme = protocol(way).scheme(false);
    // The family is given, so that a session need not ask before it is open.
    format!("{way}: {{family: {family}, host: '{scheme}://{address}'}}")
}

/// The summaries for Flows with an Executor that has these settings, by way.
async fn with_executor(ways: &[&str], executor: &str, keys: &str) -> Vec<ScenarioSummary> {
    let (mut flows, mut entries) = (Vec::new(), Vec::new());
    for way in ways {
        let flow = flow(way, executor).await;
        let target = flow.target(protocol(way)).expect("it offers it");
        entries.push(entry(way, target.authority()));
        flows.push(flow);
    }
    let summary = summary(ways, &entries, keys).await;
    summary.scenarios.iter().for_each(is_whole);
    summary.scenarios
}

/// Checks what holds for every scenario, whatever happened to it.
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

/// Checks that some requests were answered, and some lost their connection.
#[track_caller]
fn fails_in_part(scenario: &ScenarioSummary) {
    let requests = scenario.requests;
    assert!(requests.ok > 0 && requests.transport_errors > 0, "{}: {requests:?}", scenario.name);
}

/// The summaries for Flows with a fault, by way. Streaming endpoints have none.
async fn with_faults(faults: &str) -> Vec<ScenarioSummary> {
    with_executor(&WAYS[..4], &format!("faults: {{{faults}}}"), "timeout: 700ms").await
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
            // A connection, or a call, has one request at a time, so whatever arrives answers it.
            "http" | "unary" => assert_eq!(requests.ok, ARRIVALS),
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
    let silent = with_executor(&WAYS[..4], "service_time: 1h", "grace: 1s");
    let streaming = "endpoints: {/stream: {stream: {count: 1, every: 1h}}}";
    let (silent, streaming) =
        tokio::join!(silent, with_executor(&WAYS[4..], streaming, "grace: 1s"));
    for scenario in silent.into_iter().chain(streaming) {
        assert_eq!(scenario.requests.abandoned, ARRIVALS, "{}", scenario.name);
    }
}

/// What a relay does to the connections that go through it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mischief {
    /// Closes a connection whenever this many bytes have passed over all of them.
    Closes(usize),
    /// The same, by a reset.
    Resets(usize),
    /// Closes all connections when this many bytes have passed, and accepts no more.
    Dies(usize),
    /// Replaces data by garbage whenever this many bytes have passed over all connections.
    Garbles(usize),
    /// Stops passing data, and leaves connections open.
    Hangs(usize),
    /// Accepts connections and never sends anything.
    Silent,
}

/// Relays connections to a gateway until the mischief begins.
struct Relay {
    mischief: Mischief,
    gateway: SocketAddr,
    /// Bytes from the gateway, over all connections.
    passed: AtomicUsize,
    /// Ends all connections.
    dead: CancellationToken,
}

impl Relay {
    /// Starts it; returns its address.
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
                        Mischief::Garbles(each) if all / each > before / each => {
                            client.write_all(&vec![0xff; read]).await?;
                        }
                        Mischief::Hangs(limit) if all > limit => std::future::pending().await,
                        _ => client.write_all(&down[..read]).await?,
                    }
                }
            }
        }
    }
}

/// The summaries for Flows behind such relays, by way.
async fn behind(mischief: Mischief) -> Vec<ScenarioSummary> {
    let (mut flows, mut entries) = (Vec::new(), Vec::new());
    for way in WAYS {
        let executor = match way {
            "streaming" => "endpoints: {/stream: {stream: {count: 2}}}",
            _ => "service_time: 0s",
        };
        let flow = flow(way, executor).await;
        let port = flow.target(protocol(way)).expect("it offers it").port;
        entries.push(entry(way, Relay::start(mischief, ([127, 0, 0, 1], port).into()).await));
        flows.push(flow);
    }
    summary(&WAYS, &entries, "timeout: 700ms").await.scenarios
}

/// About the size of a few replies in each protocol, and more than a greeting.
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
async fn connections_on_which_rubbish_comes_are_opened_again() {
    for scenario in behind(Mischief::Garbles(SOME)).await {
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
async fn a_port_that_never_answers_is_not_reached() {
    for scenario in behind(Mischief::Silent).await {
        let name = &scenario.name;
        assert_eq!(scenario.end.reason, EndReason::Unreachable, "{name}");
        let message = scenario.end.message.as_deref().unwrap_or_default();
        assert!(message.contains("within 10s"), "{name}: {message}");
    }
}
