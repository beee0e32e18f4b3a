//! What a request costs the embedded Flow, and how many requests one core serves.
//!
//! `cargo bench --bench flow` starts a Flow with one echo Executor on its own thread. Our client, on another
//! thread, sends Documents of 1 KB to it, one per request, as fast as it can. The Flow's thread counts its own
//! CPU time: the capacity of a core is one request per CPU time of a request, however busy the machine is
//! otherwise. The rate reached is shown next to it; it is limited by Flow or client, whichever is slower.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "measure/clock.rs"]
mod clock;
#[path = "measure/closed.rs"]
mod closed;

use std::error::Error;
use std::time::{Duration, Instant};

use flowbench::client::{Client, ClientConfig, Request};
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::{DataRequest, Document, Header, Protocol, Target};
use rustix::time::ClockId;
use tokio::sync::mpsc;

const ROUNDS: usize = 5;

/// Requests per round; a second or two of CPU time on one core.
const REQUESTS: u64 = 50_000;

/// Requests in flight: over HTTP each takes a connection.
const IN_FLIGHT: usize = 200;

const DOCUMENT_BYTES: usize = 1024;

/// One round.
struct Round {
    cpu: Duration,
    wall: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "| Flow | protocol | CPU per request | requests/s on one core | measured requests/s |"
    );
    println!("|{}", " --- |".repeat(5));
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for family in ["v1", "v2"] {
        let server = Server::start(family)?;
        for protocol in [Protocol::Grpc, Protocol::Http, Protocol::WebSocket] {
            let target = server.targets.iter().find(|target| target.protocol == protocol);
            let target = target.ok_or("it speaks all three")?.clone();
            let mut rounds = client.block_on(rounds(target, &server))?;
            rounds.sort_by_key(|round| round.cpu);
            let each = |time: Duration| time.as_secs_f64() / REQUESTS as f64;
            let cpu = each(rounds[ROUNDS / 2].cpu);
            rounds.sort_by_key(|round| round.wall);
            let wall = each(rounds[ROUNDS / 2].wall);
            println!(
                "| {family} | {protocol} | {:.1} µs | {:.0} | {:.0} |",
                cpu * 1e6,
                1.0 / cpu,
                1.0 / wall
            );
        }
    }
    Ok(())
}

/// A Flow on its own thread, which reports the CPU time it used.
struct Server {
    targets: Vec<Target>,
    ask: mpsc::UnboundedSender<std::sync::mpsc::Sender<Duration>>,
}

impl Server {
    fn start(family: &str) -> Result<Server, Box<dyn Error>> {
        let yaml = format!("{{family: {family}, executors: [{{name: echo}}]}}");
        let config: FlowConfig = serde_yaml::from_str(&yaml)?;
        let (ask, mut asked) = mpsc::unbounded_channel::<std::sync::mpsc::Sender<Duration>>();
        let (up, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async move {
                let flow = Flow::start(config).await.expect("it starts on free ports");
                let protocols = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];
                let targets = protocols.map(|protocol| flow.target(protocol).cloned());
                let _ = up.send(targets.into_iter().flatten().collect());
                while let Some(answer) = asked.recv().await {
                    let _ = answer.send(clock::read(ClockId::ThreadCPUTime));
                }
            });
        });
        Ok(Server { targets: started.recv()?, ask })
    }

    fn cpu_time(&self) -> Result<Duration, Box<dyn Error>> {
        let (answer, time) = std::sync::mpsc::channel();
        self.ask.send(answer)?;
        Ok(time.recv()?)
    }
}

async fn rounds(target: Target, server: &Server) -> Result<Vec<Round>, Box<dyn Error>> {
    let session = Client::new(ClientConfig::new(target)).open().await?;
    let message = session.form().encode_request(&DataRequest {
        header: Header { exec_endpoint: Some("/".into()), ..Header::default() },
        data: Some(vec![Document {
            id: "0123456789abcdef0123456789abcdef".into(),
            ..Document::from_text("x".repeat(DOCUMENT_BYTES))
        }]),
        ..DataRequest::default()
    })?;
    let request = Request::Post { message, endpoint: "/".into() };
    closed::load(&session, &request, REQUESTS / 20, IN_FLIGHT).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (wall, cpu) = (Instant::now(), server.cpu_time()?);
        closed::load(&session, &request, REQUESTS, IN_FLIGHT).await?;
        rounds.push(Round { cpu: server.cpu_time()? - cpu, wall: wall.elapsed() });
    }
    Ok(rounds)
}
