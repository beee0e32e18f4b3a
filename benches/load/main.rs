//! What a load costs and how precise it is, against a server with prebuilt responses.
//!
//! `cargo bench --bench load` lets clients take turns, each in its own process, with client and server on
//! separate processors; tables have the medians. Only compare figures within one table: another machine, or
//! this one at another time, gives other figures.
//!
//! `ours` is the engine with everything it records. `least` is the lower bound for any client: prebuilt bytes
//! out, responses counted by their lengths. The others are the usual crates for this purpose.
#![expect(clippy::print_stdout, reason = "a benchmark prints its tables")]

#[path = "../measure/clock.rs"]
mod clock;
mod crates;
mod http2;
mod least;
mod sample;
mod server;
mod tools;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use flowbench::client::{Body, Call, Client, ClientConfig, FamilyChoice, Request, Session};
use flowbench::clock::PreciseClock;
use flowbench::flow::{Flow, FlowConfig};
use flowbench::record::Recording;
use flowbench::schedule::ArrivalProcess;
use flowbench::selftest::rig::Rig;
use flowbench::wire::{DataRequest, Document, Family, Header, Protocol, RequestId, Target};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use server::{Manner, Script, Server};

type Error = Box<dyn std::error::Error>;

const ROUNDS: usize = 5;
const IN_FLIGHT: usize = 64;

/// How requests reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Path {
    /// gRPC, one bidirectional stream.
    Stream,
    /// gRPC, one call per request, on one connection.
    Unary,
    /// One connection per request in flight.
    Http,
    /// One connection per request in flight.
    WebSocket,
}

const PATHS: [Path; 4] = [Path::Stream, Path::Unary, Path::Http, Path::WebSocket];

/// What a child process is to do. It prints its result as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
enum Task {
    Serve(Script),
    /// CPU seconds of this many requests.
    Least {
        path: Path,
        port: u16,
        message: Vec<u8>,
        requests: u64,
    },
    /// The same with the usual crates; `decoded`: with prost.
    Crates {
        path: Path,
        port: u16,
        message: Vec<u8>,
        requests: u64,
        decoded: bool,
    },
    Ours {
        path: Path,
        port: u16,
        requests: u64,
    },
    /// The same with another program.
    Tool {
        name: String,
        path: Path,
        port: u16,
        message: Vec<u8>,
        requests: u64,
    },
    /// An open load: returns its start on the monotonic clock, and quantiles of the response time.
    Rate {
        path: Path,
        port: u16,
        per_s: f64,
        seconds: u64,
    },
    /// The same from a thread that only waits and writes, over [`Path::Stream`].
    Paced {
        port: u16,
        message: Vec<u8>,
        per_s: f64,
        seconds: u64,
    },
    /// Bytes per connection, and bytes per request in flight, with this many of each.
    Memory {
        path: Path,
        port: u16,
        count: usize,
    },
}

/// Creates the task of an open load: path, port, rate and seconds.
type Paced = fn(&Prepared, u16, f64, u64) -> Task;

impl Task {
    fn rated(prepared: &Prepared, port: u16, per_s: f64, seconds: u64) -> Task {
        Task::Rate { path: prepared.path, port, per_s, seconds }
    }

    fn paced(prepared: &Prepared, port: u16, per_s: f64, seconds: u64) -> Task {
        Task::Paced { port, message: prepared.message.clone(), per_s, seconds }
    }
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--child", file] => child(serde_json::from_slice(&std::fs::read(file)?)?),
        // Cargo adds `--bench`.
        ref words => {
            tables(&words.iter().copied().filter(|word| *word != "--bench").collect::<Vec<_>>())
        }
    }
}

/// Prints the tables with one of these names, or all if there are none.
fn tables(names: &[&str]) -> Result<(), Error> {
    type Table = fn(&[Prepared]) -> Result<(), Error>;
    const TABLES: [(&str, Table); 7] = [
        ("cost", cost),
        ("workers", workers),
        ("arrivals", arrivals),
        ("stall", stall),
        ("memory", memory),
        ("start-up", starting),
        ("sample", sample::table),
    ];
    if let Some(unknown) = names.iter().find(|name| TABLES.iter().all(|(known, _)| known != *name))
    {
        let known = TABLES.map(|(name, _)| name).join(", ");
        return Err(format!("there is no table `{unknown}`; there are {known}").into());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let prepared: Vec<Prepared> =
        PATHS.into_iter().map(|path| runtime.block_on(prepare(path))).collect::<Result<_, _>>()?;
    for (name, table) in TABLES {
        if names.is_empty() || names.contains(&name) {
            table(&prepared)?;
            println!();
        }
    }
    Ok(())
}

fn cost(prepared: &[Prepared]) -> Result<(), Error> {
    println!("CPU seconds of the client for a million requests of 1 KB, {IN_FLIGHT} in flight\n");
    println!(
        "| way | `least` | `ours` | `ours` / `least` | crate | crate / `least` | with prost | others, and as a \
         ratio |\n|{}",
        " --- |".repeat(8)
    );
    for prepared in prepared {
        let server = Running::start(&prepared.script(Manner::Answer))?;
        let (path, port, message) = (prepared.path, server.port, prepared.message.clone());
        let requests: u64 = if path == Path::Stream { 192_000 } else { 64_000 };
        let decodes = protocol(path) == Protocol::Grpc;
        let mut tasks = vec![
            Task::Least { path, port, message: message.clone(), requests },
            Task::Ours { path, port, requests },
        ];
        for decoded in [false, true].into_iter().take(if decodes { 2 } else { 1 }) {
            let message = message.clone();
            tasks.push(Task::Crates { path, port, message, requests, decoded });
        }
        let of_ours = tasks.len();
        let present: Vec<&str> = tools::present(path).collect();
        for name in &present {
            let (name, message) = ((*name).to_owned(), message.clone());
            tasks.push(Task::Tool { name, path, port, message, requests });
        }
        let mut costs = vec![Vec::new(); tasks.len()];
        for _ in 0..ROUNDS {
            for (task, costs) in tasks.iter().zip(&mut costs) {
                match (task, run::<f64>(task)) {
                    (_, Ok(cost)) => costs.push(cost),
                    // A tool that does not work with the server says nothing about us.
                    (Task::Tool { .. }, Err(_)) => costs.push(f64::NAN),
                    (_, Err(error)) => return Err(error),
                }
            }
        }
        let costs: Vec<f64> =
            costs.into_iter().map(|all| median(all) * 1e6 / requests as f64).collect();
        let [least, ours, of_crate, ..] = costs[..] else { return Err("all were run".into()) };
        let prost = if decodes { costs.get(3) } else { None };
        let with_prost = prost.map_or("".into(), |cost| format!("{cost:.2}"));
        let others = present.iter().zip(&costs[of_ours..]);
        let others = others.map(|(name, cost)| match cost.is_nan() {
            true => format!("{name} failed"),
            false => format!("{name} {cost:.2} ({:.1})", cost / least),
        });
        let others = others.collect::<Vec<_>>().join(", ");
        println!(
            "| {} | {least:.2} | {ours:.2} | {:.1} | {} {of_crate:.2} | {:.1} | {with_prost} | {others} |",
            name(path),
            ours / least,
            crate_of(path),
            of_crate / least,
        );
    }
    Ok(())
}

/// The program itself with one worker and with two; processors are not assigned.
fn workers(prepared: &[Prepared]) -> Result<(), Error> {
    println!("Requests per second, and CPU seconds of the client for a million of them\n");
    println!(
        "| way | one worker | two workers | rate, two / one | CPU, two / one |\n|{}",
        " --- |".repeat(5)
    );
    for prepared in prepared {
        let server = Running::start(&prepared.script(Manner::Answer))?;
        let requests = if prepared.path == Path::Stream { 2_000_000 } else { 400_000 };
        let mut figures = [const { [Vec::new(), Vec::new()] }; 2];
        for _ in 0..ROUNDS {
            for (of, [rates, costs]) in [1, 2].into_iter().zip(&mut figures) {
                let (rate, cost) = with_workers(prepared.path, server.port, of, requests)?;
                rates.push(rate);
                costs.push(cost);
            }
        }
        let [[rate, cost], [rate_of_two, cost_of_two]] = figures.map(|both| both.map(median));
        println!(
            "| {} | {rate:.0}/s, {cost:.2} s | {rate_of_two:.0}/s, {cost_of_two:.2} s | {:.2} | {:.2} |",
            name(prepared.path),
            rate_of_two / rate,
            cost_of_two / cost
        );
    }
    Ok(())
}

/// Requests per second, and CPU seconds per million, of `flowbench run` with this many workers.
fn with_workers(path: Path, port: u16, workers: usize, requests: u64) -> Result<(f64, f64), Error> {
    let (scheme, more) = match path {
        Path::Stream => ("grpc", "connections: 2"),
        Path::Unary => ("grpc", "connections: 2, call: unary"),
        Path::Http => ("http", "connections: 64"),
        Path::WebSocket => ("ws", "connections: 64"),
    };
    let text = "x".repeat(1000);
    let suite = format!(
        "flows: {{f: {{host: '{scheme}://127.0.0.1:{port}', family: v1}}}}
scenarios: [{{name: s, documents: {{text: {text}}}, request_size: 1, {more},
  load: {{clients: {IN_FLIGHT}, requests: {requests}}}}}]"
    );
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("suite.yaml"), suite)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.args(["run", "suite.yaml", "--json", "--workers", &workers.to_string()]);
    let output = command.current_dir(folder.path()).output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let scenario = &report["scenarios"][0];
    let figure = |value: &serde_json::Value| value.as_f64().ok_or("the report has it");
    if figure(&scenario["requests"]["ok"])? != requests as f64 {
        return Err(format!("not all were answered: {}", scenario["requests"]).into());
    }
    let cost = figure(&scenario["client"]["cpu_s"])? * 1e6 / requests as f64;
    Ok((figure(&scenario["throughput"]["requests_per_s"])?, cost))
}

fn arrivals(prepared: &[Prepared]) -> Result<(), Error> {
    println!("|arrival − schedule| at the server in µs, p50 / p99\n");
    println!("| way | 1000/s | 5000/s | 20000/s |\n|{}", " --- |".repeat(4));
    for prepared in prepared {
        for (who, tells) in [("`least`", Task::paced as Paced), ("`ours`", Task::rated)] {
            // `least` only paces requests on a single stream.
            if who == "`least`" && prepared.path != Path::Stream {
                continue;
            }
            let mut server = Running::start(&prepared.script(Manner::Answer))?;
            let mut cells = Vec::new();
            for per_s in [1000.0, 5000.0, 20_000.0] {
                let (mut p50, mut p99) = (Vec::new(), Vec::new());
                for _ in 0..ROUNDS {
                    server.arrivals()?;
                    let rated: Rated = run(&tells(prepared, server.port, per_s, 4))?;
                    let off = since_due(&server.arrivals()?, &rated, per_s);
                    let off = off.into_iter().map(f64::abs).collect();
                    let at = quantiles(off, [0.5, 0.99]);
                    p50.push(at[0] / 1e3);
                    p99.push(at[1] / 1e3);
                }
                cells.push(format!("{:.0} / {:.0}", median(p50), median(p99)));
            }
            println!("| {}, {who} | {} |", name(prepared.path), cells.join(" | "));
        }
    }
    Ok(())
}

fn stall(prepared: &[Prepared]) -> Result<(), Error> {
    println!(
        "Response time in ms when the server stands still for 1 s in every 5 s, 1000/s: from due to \
         answered, as the server saw it / as we report it\n"
    );
    println!("| way | p90 | p99 |\n|{}", " --- |".repeat(3));
    for prepared in prepared {
        let mut server = Running::start(&prepared.script(Manner::Stall))?;
        let port = server.port;
        let rated: Rated = run(&Task::rated(prepared, port, 1000.0, 20))?;
        let mut answered = server.arrivals()?;
        answered.sort_unstable();
        let seen = quantiles(since_due(&answered, &rated, 1000.0), [0.9, 0.99]);
        println!(
            "| {} | {:.1} / {:.1} | {:.1} / {:.1} |",
            name(prepared.path),
            seen[0] / 1e6,
            rated.p90_ms,
            seen[1] / 1e6,
            rated.p99_ms
        );
    }
    Ok(())
}

/// How long after they were due requests arrived, in ns.
fn since_due(came: &[u64], rated: &Rated, per_s: f64) -> Vec<f64> {
    let due = |n: usize| rated.start_ns as f64 + n as f64 * 1e9 / per_s;
    came.iter().enumerate().map(|(n, at)| *at as f64 - due(n)).collect()
}

fn quantiles<const N: usize>(mut values: Vec<f64>, shares: [f64; N]) -> [f64; N] {
    values.sort_by(f64::total_cmp);
    shares.map(|share| values[((values.len() as f64 * share) as usize).min(values.len() - 1)])
}

fn memory(prepared: &[Prepared]) -> Result<(), Error> {
    println!("Memory at as many connections and requests in flight, in KB each\n");
    println!(
        "| way | number of each | per connection | per request in flight |\n|{}",
        " --- |".repeat(4)
    );
    for prepared in prepared {
        for count in [1000, 10_000] {
            let server = Running::start(&prepared.script(Manner::Mute))?;
            let (path, port) = (prepared.path, server.port);
            let [connection, request]: [f64; 2] = run(&Task::Memory { path, port, count })?;
            let (connection, request) = (connection / 1e3, request / 1e3);
            println!("| {} | {count} | {connection:.1} | {request:.1} |", name(path));
        }
    }
    Ok(())
}

fn starting(prepared: &[Prepared]) -> Result<(), Error> {
    println!("From the start of the program to the first request at the server, in ms\n");
    let stream = &prepared[0];
    let mut server = Running::start(&stream.script(Manner::Answer))?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(start_up(&mut server)?);
    }
    println!("{:.1}", median(times));
    Ok(())
}

fn name(path: Path) -> &'static str {
    match path {
        Path::Stream => "gRPC, one stream",
        Path::Unary => "gRPC, unary, one connection",
        Path::Http => "HTTP, 64 connections",
        Path::WebSocket => "WebSocket, 64 connections",
    }
}

fn crate_of(path: Path) -> &'static str {
    match path {
        Path::Stream | Path::Unary => "tonic",
        Path::Http => "reqwest",
        Path::WebSocket => "tokio-tungstenite",
    }
}

fn median(values: Vec<f64>) -> f64 {
    quantiles(values, [0.5])[0]
}

/// A request, and a real gateway's response as our own Flow gives it.
struct Prepared {
    path: Path,
    /// A request that contains an id.
    message: Vec<u8>,
    answer: Vec<u8>,
    id_at: Option<(usize, usize)>,
}

impl Prepared {
    fn script(&self, manner: Manner) -> Script {
        let Prepared { path, answer, id_at, .. } = self;
        Script { path: *path, answer: answer.clone(), id_at: *id_at, manner }
    }
}

async fn prepare(path: Path) -> Result<Prepared, Error> {
    let mut config = FlowConfig::default();
    config.executors.truncate(1);
    let flow = Flow::start(config).await?;
    let protocol = protocol(path);
    let target = flow.target(protocol).ok_or("the Flow offers all protocols")?.clone();
    let session = Client::new(ClientConfig::new(target)).open().await?;
    let request = request(&session)?;
    let Request::Post { message, .. } = &request else { return Err("it is a post".into()) };
    let id_at = message.head().len();
    let message = message.with_id(RequestId { sender: 1, number: 1 }).to_vec();
    let reply = session.call(request).await?;
    let Body::Message { bytes, .. } = &reply.body else { return Err("it has Documents".into()) };
    if protocol == Protocol::Http {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        let answer = [head.as_bytes(), bytes].concat();
        return Ok(Prepared { path, message, answer, id_at: None });
    }
    let id = reply.head.header.request_id.as_bytes();
    let at = bytes.windows(id.len()).position(|window| window == id);
    let at = at.ok_or("the answer has the id of its request")?;
    Ok(Prepared { path, message, answer: bytes.to_vec(), id_at: Some((id_at, at)) })
}

fn protocol(path: Path) -> Protocol {
    match path {
        Path::Stream | Path::Unary => Protocol::Grpc,
        Path::Http => Protocol::Http,
        Path::WebSocket => Protocol::WebSocket,
    }
}

fn request(session: &Session) -> Result<Request, Error> {
    let endpoint: Arc<str> = "/".into();
    let message = session.form().encode_request(&DataRequest {
        header: Header { exec_endpoint: Some(endpoint.to_string()), ..Header::default() },
        data: Some(vec![Document::from_text("x".repeat(1000))]),
        ..DataRequest::default()
    })?;
    Ok(Request::Post { message, endpoint })
}

/// A server in its own process, which is killed when this is dropped.
struct Running {
    child: Child,
    port: u16,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _task: tempfile::NamedTempFile,
}

impl Running {
    fn start(script: &Script) -> Result<Running, Error> {
        let (mut command, task) = child_of(&Task::Serve(script.clone()))?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("it is piped")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("it is piped")?);
        let mut port = String::new();
        output.read_line(&mut port)?;
        Ok(Running { child, port: port.trim().parse()?, input, output, _task: task })
    }

    /// The instants at which requests arrived since the last call.
    fn arrivals(&mut self) -> Result<Vec<u64>, Error> {
        writeln!(self.input)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn child_of(task: &Task) -> Result<(Command, tempfile::NamedTempFile), Error> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&serde_json::to_vec(task)?)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(file.path());
    Ok((command, file))
}

fn run<T: serde::de::DeserializeOwned>(task: &Task) -> Result<T, Error> {
    let (mut command, _file) = child_of(task)?;
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{task:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The result of an open load.
#[derive(Debug, Serialize, Deserialize)]
struct Rated {
    start_ns: u64,
    p90_ms: f64,
    p99_ms: f64,
}

fn child(task: Task) -> Result<(), Error> {
    // Server and client have a processor each.
    pin(usize::from(!matches!(task, Task::Serve(_))));
    match task {
        Task::Serve(script) => Server::run(script),
        Task::Least { path, port, message, requests } => {
            least::run(path, port, &message, requests / 20)?;
            let began = cpu_s();
            least::run(path, port, &message, requests)?;
            tell(&(cpu_s() - began))
        }
        Task::Crates { path, port, message, requests, decoded } => on_one_thread(async {
            crates::run(path, port, &message, requests / 20, decoded).await?;
            let began = cpu_s();
            crates::run(path, port, &message, requests, decoded).await?;
            tell(&(cpu_s() - began))
        }),
        Task::Ours { path, port, requests } => on_one_thread(async {
            let connections = if protocol(path) == Protocol::Grpc { 1 } else { IN_FLIGHT };
            let session = open(path, port, connections).await?;
            let request = request(&session)?;
            let mut lanes = session.lanes().await?;
            let mut load = async |requests| -> Result<Recording, Error> {
                let hour = Duration::from_secs(3600);
                let rig = Rig::open(1.0, ArrivalProcess::Uniform, hour);
                let rig = Rig { clients: Some(IN_FLIGHT), requests, ..rig };
                Ok(rig.run(PreciseClock::new()?, &mut lanes, request.clone()).await)
            };
            load(requests / 20).await?;
            let began = cpu_s();
            let recording = load(requests).await?;
            let cost = cpu_s() - began;
            if recording.totals.ok().count() != requests {
                return Err(format!("{:?}", recording.totals.errors).into());
            }
            tell(&cost)
        }),
        Task::Tool { name, path, port, message, requests } => {
            tell(&(tools::run(&name, path, port, &message, requests)? * requests as f64))
        }
        Task::Rate { path, port, per_s, seconds } => on_one_thread(async {
            let connections = if protocol(path) == Protocol::Grpc { 1 } else { IN_FLIGHT };
            let session = open(path, port, connections).await?;
            let request = request(&session)?;
            let lanes = session.lanes().await?;
            let rig = Rig::open(per_s, ArrivalProcess::Uniform, Duration::from_secs(seconds));
            let clock = PreciseClock::new()?;
            let start_ns = monotonic_ns();
            let recording = rig.run(clock, lanes, request).await;
            let at = |share| {
                let time = recording.totals.ok().quantile(share).unwrap_or_default();
                time.as_secs_f64() * 1e3
            };
            tell(&Rated { start_ns, p90_ms: at(0.9), p99_ms: at(0.99) })
        }),
        Task::Paced { port, message, per_s, seconds } => {
            let requests = (per_s * seconds as f64) as u64;
            let start_ns =
                least::paced(port, &message, Duration::from_secs_f64(1.0 / per_s), requests)?;
            tell(&Rated { start_ns, p90_ms: 0.0, p99_ms: 0.0 })
        }
        Task::Memory { path, port, count } => on_one_thread(async {
            // One-time costs of each kind are paid here.
            drop(open(path, port, 1).await?);
            let before = resident("VmRSS")?;
            let session = open(path, port, count).await?;
            let request = request(&session)?;
            let lanes = session.lanes().await?;
            let opened = resident("VmRSS")?;
            let rig = Rig::open(1.0, ArrivalProcess::Uniform, Duration::from_secs(1));
            let rig = Rig { clients: Some(count), grace: Duration::ZERO, ..rig };
            rig.run(PreciseClock::new()?, lanes, request).await;
            let flying = resident("VmHWM")?;
            tell(&[opened - before, flying - opened].map(|bytes| bytes / count as f64))
        }),
    }
}

fn on_one_thread(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn open(path: Path, port: u16, connections: usize) -> Result<Session, Error> {
    let target = Target {
        protocol: protocol(path),
        host: "127.0.0.1".into(),
        port,
        tls: false,
        user_info: None,
    };
    let mut config = ClientConfig::new(target);
    config.family = FamilyChoice::Is(Family::V1);
    config.connections = connections;
    config.prefetch = 0;
    config.stream = path != Path::Unary;
    Ok(Client::new(config).open().await?)
}

fn tell(result: &impl Serialize) -> Result<(), Error> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}

/// Runs `flowbench run` on a suite of one scenario; returns the ms until its first request arrives.
fn start_up(server: &mut Running) -> Result<f64, Error> {
    let folder = tempfile::tempdir()?;
    let suite = format!(
        "flows: {{f: {{host: 'grpc://127.0.0.1:{}', family: v1}}}}
scenarios: [{{name: s, documents: {{text: a}}, request_size: 1, load: {{clients: 1, requests: 1}}}}]",
        server.port
    );
    std::fs::write(folder.path().join("suite.yaml"), suite)?;
    server.arrivals()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.args(["run", "suite.yaml", "--quiet", "--out", "out"]).current_dir(folder.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began = monotonic_ns();
    command.status()?;
    let first = server.arrivals()?.first().copied().ok_or("no request came")?;
    Ok((first - began) as f64 / 1e6)
}

/// A size in bytes from `/proc/self/status`.
fn resident(what: &str) -> Result<f64, Error> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(what)).ok_or("the system tells")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("it has a number")?.parse()?;
    Ok(kib * 1024.0)
}

fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    // On a machine with one processor they share it.
    let _ = sched_setaffinity(None, &set);
}

fn cpu_s() -> f64 {
    clock::read(ClockId::ProcessCPUTime).as_secs_f64()
}

fn monotonic_ns() -> u64 {
    clock::read(ClockId::Monotonic).as_nanos() as u64
}
