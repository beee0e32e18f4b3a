//! What a request costs: CPU time of our client and of Jina's, against the same Flow.
//!
//! `cargo bench --bench client` starts two Flows with one echo Executor for each family, a real one and an
//! embedded one. Clients take turns on each, each in its own process, for several rounds; the table has the
//! medians. A real Flow is slower than either client, so responses arrive one by one and cost a wake-up each;
//! the embedded one is as fast as our client, and so shows the clients' own cost. Connecting and a short first
//! post are not counted.
//!
//! Jina's client is measured by `client.py`, ours in two ways: `post`, which makes and encodes Documents and
//! takes responses as a program would, and `load`, the way of a load run, whose body is encoded once and whose
//! replies are decoded down to their header.
//!
//! `least` is the lower bound for a client on this machine that does not hold responses back: one blocking
//! socket to the WebSocket port that writes a ready frame for each one it reads and inspects nothing. Its cost
//! is the kernel's: a wake-up, a read and a write for each response.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "measure/clock.rs"]
mod clock;
#[path = "measure/closed.rs"]
mod closed;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/suite/interop/flow.rs"]
mod flow;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/suite/interop/python.rs"]
mod python;
#[path = "../tests/suite/interop/tls.rs"]
mod tls;

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flowbench::client::{Client, ClientConfig, Request};
use flowbench::wire::{DataRequest, Document, Header, Protocol, RequestId, Target};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use flow::{RealFlow, Setup};
use python::Release;

const ROUNDS: usize = 5;
const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];

/// Requests in flight of `load`; Jina's client and `post` have their own limits.
const IN_FLIGHT: usize = 100;

/// The output of a client process for all its requests, and the cost of one of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
}

/// The client that is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Jina,
    Post,
    Load,
    Least,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--measure", who, address, size, requests] => {
            let cost = measure(who, address.parse()?, size.parse()?, requests.parse()?)?;
            println!("{}", serde_json::to_string(&cost)?);
            Ok(())
        }
        ref words => compare(words),
    }
}

/// The Flow that serves it.
enum Served {
    Real(RealFlow),
    Embedded(Embedded),
}

/// `flowbench serve` with its defaults, an echo; ends when dropped.
struct Embedded {
    child: Child,
    targets: Vec<Target>,
}

impl Embedded {
    fn start(release: Release) -> Result<Embedded, Box<dyn Error>> {
        let family = match release {
            Release::V1 => "v1",
            _ => "v2",
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .args(["serve", "--family", family])
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let targets = lines.take(PROTOCOLS.len()).map(|line| Ok(line?.trim().parse()?));
        let targets: Result<_, Box<dyn Error>> = targets.collect();
        Ok(Embedded { child, targets: targets? })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn name(&self) -> &'static str {
        match self {
            Served::Real(_) => "real",
            Served::Embedded(_) => "embedded",
        }
    }

    fn target(&self, protocol: Protocol) -> Target {
        match self {
            Served::Real(flow) => flow.target(protocol),
            Served::Embedded(flow) => {
                let target = flow.targets.iter().find(|target| target.protocol == protocol);
                target.expect("it serves every protocol").clone()
            }
        }
    }

    /// A number of requests that is answered in one to ten seconds.
    fn requests(&self, who: Who, protocol: Protocol, size: usize) -> usize {
        match (self, who, size, protocol) {
            (Served::Embedded(_), Who::Post | Who::Load | Who::Least, 1, _) => 100_000,
            (Served::Embedded(_), Who::Post | Who::Load | Who::Least, _, _) => 4_000,
            (_, _, 1, _) => 2_000,
            (_, _, _, Protocol::Http) => 50,
            (_, _, _, _) => 200,
        }
    }
}

/// Measures all clients in turns, and prints the table: the rows that contain all these words.
fn compare(words: &[&str]) -> Result<(), Box<dyn Error>> {
    println!("CPU seconds for a million requests, and requests per second in brackets\n");
    println!(
        "| Flow | protocol | request size | Jina's client | `post` | `load` | `least` \
         | Jina's / `post` | Jina's / `load` |"
    );
    println!("|{}", " --- |".repeat(9));
    for release in [Release::V1, Release::V2] {
        let setup = Setup::new(release, &PROTOCOLS).with(&["--executors", "echo"]);
        let Some(real) = setup.start() else { continue };
        let embedded = Served::Embedded(Embedded::start(release)?);
        for (flow, protocol) in [Served::Real(real), embedded]
            .iter()
            .flat_map(|flow| PROTOCOLS.map(|protocol| (flow, protocol)))
        {
            for size in [1, 100] {
                let mut cells = vec![
                    format!("{}, {}", release.name(), flow.name()),
                    protocol.to_string(),
                    size.to_string(),
                ];
                let row = cells.join(" ");
                // cargo itself adds `--bench`.
                if words.iter().any(|word| *word != "--bench" && !row.contains(word)) {
                    continue;
                }
                let mut everybody = vec![Who::Jina, Who::Post, Who::Load];
                if protocol == Protocol::WebSocket {
                    everybody.push(Who::Least);
                }
                let mut costs = vec![Vec::new(); everybody.len()];
                for _ in 0..ROUNDS {
                    for (who, costs) in everybody.iter().zip(&mut costs) {
                        let target = flow.target(protocol);
                        let requests = flow.requests(*who, protocol, size);
                        costs.push(run(*who, &target, release, size, requests)?);
                    }
                }
                let cpu: Vec<_> =
                    costs.iter().map(|costs| median(costs, |cost| cost.cpu_s) * 1e6).collect();
                for (cpu, costs) in cpu.iter().zip(&costs) {
                    let rate = 1.0 / median(costs, |cost| cost.wall_s);
                    cells.push(format!("{cpu:.1} ({rate:.0}/s)"));
                }
                cells.resize(7, "–".into());
                cells.extend(cpu[1..3].iter().map(|ours| format!("{:.0}", cpu[0] / ours)));
                println!("| {} |", cells.join(" | "));
            }
        }
    }
    Ok(())
}

fn median(costs: &[Cost], of: fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<_> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One turn, in its own process.
fn run(
    who: Who,
    target: &Target,
    release: Release,
    size: usize,
    requests: usize,
) -> Result<Cost, Box<dyn Error>> {
    let mut command = match who {
        Who::Jina => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/client.py");
            let name = ["grpc", "http", "websocket"][target.protocol as usize];
            let mut command = Command::new(release.python().ok_or("no Python")?);
            command.arg(script).args([name, &target.port.to_string()]);
            command
        }
        Who::Post | Who::Load | Who::Least => {
            let mut command = Command::new(std::env::current_exe()?);
            let name = format!("{who:?}").to_lowercase();
            command.args(["--measure", &name, &target.to_string()]);
            command
        }
    };
    let output = command.args([size.to_string(), requests.to_string()]).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Jina prints warnings too, so take the last line.
    let text = String::from_utf8(output.stdout)?;
    let all: Cost = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let each = 1.0 / requests as f64;
    Ok(Cost { cpu_s: all.cpu_s * each, wall_s: all.wall_s * each })
}

/// Measures our client, in this process.
fn measure(who: &str, target: Target, size: usize, requests: u64) -> Result<Cost, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(ClientConfig::new(target.clone()));
    let session = runtime.block_on(client.open())?;
    let message = session.form().encode_request(&DataRequest {
        header: Header { exec_endpoint: Some("/".into()), ..Header::default() },
        data: Some(vec![document(); size]),
        ..DataRequest::default()
    })?;
    let first = (requests / 20).max(1);
    match who {
        "post" => runtime.block_on(async {
            post(&client, size, first).await?;
            let started = now();
            post(&client, size, requests).await?;
            Ok(since(started))
        }),
        "load" => runtime.block_on(async {
            let request = Request::Post { message, endpoint: "/".into() };
            closed::load(&session, &request, first, IN_FLIGHT).await?;
            let started = now();
            closed::load(&session, &request, requests, IN_FLIGHT).await?;
            Ok(since(started))
        }),
        _ => least(&target, &message.with_id(RequestId { sender: 1, number: 1 }), requests),
    }
}

/// Posts Documents, made on demand, and ignores the responses.
async fn post(client: &Client, size: usize, requests: u64) -> Result<(), Box<dyn Error>> {
    let mut answered = 0;
    let documents = (0..requests * size as u64).map(|_| document());
    client.post("/").inputs(documents).request_size(size).on_done(|_| answered += 1).run().await?;
    if answered == requests { Ok(()) } else { Err("not all requests were answered".into()) }
}

/// Writes a frame for each frame that it reads, with [`IN_FLIGHT`] of them in flight.
fn least(target: &Target, message: &[u8], requests: u64) -> Result<Cost, Box<dyn Error>> {
    let mut stream = TcpStream::connect((target.host.as_str(), target.port))?;
    stream.set_nodelay(true)?;
    stream.write_all(
        b"GET / HTTP/1.1\r\nhost: flow\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
          sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
          sec-websocket-protocol: bytes\r\n\r\n",
    )?;
    let mut input = vec![0; 1 << 20];
    let mut filled = 0;
    while !input[..filled].ends_with(b"\r\n\r\n") {
        filled += stream.read(&mut input[filled..])?;
    }
    // A binary frame, masked with zeros.
    let mut frame = match message.len() {
        short @ 0..126 => vec![0x82, 0x80 | short as u8],
        long => [&[0x82, 0x80 | 126][..], &u16::try_from(long)?.to_be_bytes()].concat(),
    };
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(message);

    let started = now();
    let (mut sent, mut answered) = (requests.min(IN_FLIGHT as u64), 0);
    for _ in 0..sent {
        stream.write_all(&frame)?;
    }
    filled = 0;
    while answered < requests {
        let read = stream.read(&mut input[filled..])?;
        if read == 0 {
            return Err("the gateway closed the connection".into());
        }
        filled += read;
        let (mut at, mut room) = (0, 0);
        while let Some(length) = frame_length(&input[at..filled]) {
            at += length;
            answered += 1;
            room += 1;
        }
        input.copy_within(at..filled, 0);
        filled -= at;
        room = room.min(requests - sent);
        sent += room;
        if room > 0 {
            stream.write_all(&frame.repeat(room as usize))?;
        }
    }
    Ok(since(started))
}

/// Length of the first frame of a server, if it is complete.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = match (*bytes.get(1)?, bytes) {
        (126, [_, _, a, b, ..]) => 4 + usize::from(u16::from_be_bytes([*a, *b])),
        (126, _) => return None,
        (127, [_, _, _, _, _, _, a, b, c, d, ..]) => {
            10 + usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?
        }
        (127, _) => return None,
        (short, _) => 2 + usize::from(short),
    };
    (bytes.len() >= length).then_some(length)
}

fn document() -> Document {
    Document::from_text("x".repeat(96))
}

fn now() -> (Instant, Duration) {
    (Instant::now(), clock::read(ClockId::ProcessCPUTime))
}

fn since((wall, cpu): (Instant, Duration)) -> Cost {
    Cost {
        cpu_s: (clock::read(ClockId::ProcessCPUTime) - cpu).as_secs_f64(),
        wall_s: wall.elapsed().as_secs_f64(),
    }
}
