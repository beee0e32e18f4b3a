//! What a request costs: CPU of our client and of Jina's own, against the same real Flow.
//!
//! `cargo bench --bench client` starts a Flow of one echo Executor for each family and has clients
//! take turns on it, each in a process of its own, for several rounds; the table has the medians.
//! The Flow is slower than either client, so requests per second say more about it than about us:
//! what a client does shows in its CPU time. Connecting and a short first post are not counted.
//!
//! Jina's client is measured by `client.py`, ours in two ways: `post`, which makes and encodes
//! Documents and has responses as a program would, and `load`, the way of a load run, whose body is
//! encoded once and whose replies are decoded down to their header.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/suite/interop/flow.rs"]
mod flow;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/suite/interop/python.rs"]
mod python;
#[path = "../tests/suite/interop/tls.rs"]
mod tls;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use flowbench::client::{Call, Client, ClientConfig, Request};
use flowbench::wire::{DataRequest, Document, Header, Protocol, Target};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use flow::{RealFlow, Setup};
use python::Release;

const ROUNDS: usize = 5;
const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];

/// Requests in flight of `load`; Jina's client and `post` have their own bounds.
const IN_FLIGHT: usize = 100;

/// What a client process prints.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Jina,
    Post,
    Load,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--measure", who, address, size, requests] => {
            let cost = measure(who, address.parse()?, size.parse()?, requests.parse()?)?;
            println!("{}", serde_json::to_string(&cost)?);
            Ok(())
        }
        _ => compare(),
    }
}

/// Has everybody measured in turns, and prints the table.
fn compare() -> Result<(), Box<dyn Error>> {
    println!(
        "| Flow | protocol | request size | Jina's client: CPU s per 10⁶ requests | ours, `post` | ours, `load` \
         | times less, `post` | times less, `load` | Jina's: requests/s | ours, `post` | ours, `load` |"
    );
    println!("|{}", " --- |".repeat(11));
    for release in [Release::V1, Release::V2] {
        let setup = Setup::new(release, &PROTOCOLS).with(&["--executors", "echo"]);
        let Some(flow) = setup.start() else { continue };
        for protocol in PROTOCOLS {
            for size in [1, 100] {
                let mut costs: [Vec<Cost>; 3] = Default::default();
                // What these Flows answer in two to ten seconds.
                let requests = match (size, protocol) {
                    (1, _) => 2000,
                    (_, Protocol::Http) => 50,
                    (_, _) => 200,
                };
                for _ in 0..ROUNDS {
                    for (who, costs) in
                        [Who::Jina, Who::Post, Who::Load].into_iter().zip(&mut costs)
                    {
                        costs.push(run(who, &flow, release, protocol, size, requests)?);
                    }
                }
                let [jina, post, load] = costs.map(|costs| {
                    let per_request = |seconds: f64| seconds / requests as f64;
                    let median = |of: fn(&Cost) -> f64| {
                        let mut values: Vec<_> = costs.iter().map(of).collect();
                        values.sort_by(f64::total_cmp);
                        per_request(values[values.len() / 2])
                    };
                    (median(|cost| cost.cpu_s) * 1e6, 1.0 / median(|cost| cost.wall_s))
                });
                println!(
                    "| {} | {protocol:?} | {size} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                    release.name(),
                    jina.0,
                    post.0,
                    load.0,
                    jina.0 / post.0,
                    jina.0 / load.0,
                    jina.1,
                    post.1,
                    load.1,
                );
            }
        }
    }
    Ok(())
}

/// One turn, in a process of its own.
fn run(
    who: Who,
    flow: &RealFlow,
    release: Release,
    protocol: Protocol,
    size: usize,
    requests: usize,
) -> Result<Cost, Box<dyn Error>> {
    let target = flow.target(protocol);
    let mut command = match who {
        Who::Jina => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/client.py");
            let name = ["grpc", "http", "websocket"][protocol as usize];
            let mut command = Command::new(release.python().ok_or("no Python")?);
            command.arg(script).args([name, &target.port.to_string()]);
            command
        }
        Who::Post | Who::Load => {
            let mut command = Command::new(std::env::current_exe()?);
            let name = if who == Who::Post { "post" } else { "load" };
            command.args(["--measure", name, &target.to_string()]);
            command
        }
    };
    let output = command.args([size.to_string(), requests.to_string()]).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Jina prints warnings too.
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
}

/// Our client, in this process.
fn measure(who: &str, target: Target, size: usize, requests: u64) -> Result<Cost, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new(ClientConfig::new(target));
        let first = (requests / 20).max(1);
        if who == "post" {
            post(&client, size, first).await?;
            let started = (Instant::now(), cpu_time());
            post(&client, size, requests).await?;
            Ok(since(started))
        } else {
            let session = client.open().await?;
            let request = Request::Post {
                message: session.form().encode_request(&DataRequest {
                    header: Header { exec_endpoint: Some("/".into()), ..Header::default() },
                    data: Some(vec![document(); size]),
                    ..DataRequest::default()
                })?,
                endpoint: "/".into(),
            };
            load(&session, &request, first).await?;
            let started = (Instant::now(), cpu_time());
            load(&session, &request, requests).await?;
            Ok(since(started))
        }
    })
}

/// Posts Documents, made as they are asked for, and looks at no response.
async fn post(client: &Client, size: usize, requests: u64) -> Result<(), Box<dyn Error>> {
    let mut answered = 0;
    let documents = (0..requests * size as u64).map(|_| document());
    client.post("/").inputs(documents).request_size(size).on_done(|_| answered += 1).run().await?;
    if answered == requests { Ok(()) } else { Err("not all requests were answered".into()) }
}

/// Sends the same body again and again, as a closed load of [`IN_FLIGHT`] clients does.
async fn load(session: &impl Call, request: &Request, requests: u64) -> Result<(), Box<dyn Error>> {
    let left = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(requests as i64));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (session, request, left) = (session.clone(), request.clone(), left.clone());
        clients.spawn(async move {
            while left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) > 0 {
                let reply = session.call(request.clone()).await?;
                if let Some(error) = reply.failure() {
                    return Err(Box::<dyn Error + Send + Sync>::from(error));
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended?.map_err(|error| error as Box<dyn Error>)?;
    }
    Ok(())
}

fn document() -> Document {
    Document::from_text("x".repeat(96))
}

/// CPU time of this process, of all its threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn since((wall, cpu): (Instant, Duration)) -> Cost {
    Cost { cpu_s: (cpu_time() - cpu).as_secs_f64(), wall_s: wall.elapsed().as_secs_f64() }
}
