//! Hostile clients of every kind: the Flow keeps serving all others, in bounded memory.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flowbench::client::Client;
use flowbench::random::Key;
use flowbench::wire::{Document, Protocol, Target};
use futures_util::future::poll_fn;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// The Flow as a separate process, so that its memory can be measured.
struct Served {
    child: Child,
    targets: Vec<Target>,
}

impl Served {
    async fn start() -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .args(["serve", "--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut targets = Vec::new();
        for _ in 0..3 {
            let line = lines.next_line().await.expect("it writes text").expect("an address");
            targets.push(line.parse().expect("an address"));
        }
        Served { child, targets }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).expect("a process has a small number")
    }

    /// Its peak memory so far, in MiB.
    fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).expect("this is Linux");
        kib.trim().parse::<u64>().expect("a number") >> 10
    }

    /// Checks that other clients are served.
    async fn answers(&self, what: &str) {
        for target in &self.targets {
            let client = Client::at(&target.to_string()).expect("an address");
            let post = client.post("/").inputs(Document::from_text("a")).send();
            let found = tokio::time::timeout(Duration::from_secs(60), post).await;
            let found = found.unwrap_or_else(|_| panic!("{target}, {what}: no answer in sight"));
            assert_eq!(found.expect("it answers").texts(), ["a"], "{target}, {what}");
        }
    }

    /// Ends it, and checks its exit code and that nothing panicked.
    async fn end(self) {
        let pid = Pid::from_raw(self.pid()).expect("a process");
        kill_process(pid, Signal::TERM).expect("it runs");
        let output = self.child.wait_with_output().await.expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""));
    }
}

async fn connect(target: &Target) -> TcpStream {
    TcpStream::connect((target.host.as_str(), target.port)).await.expect("it listens")
}

/// The first bytes of a connection.
fn opening(protocol: Protocol) -> &'static [u8] {
    match protocol {
        // The preface, and empty settings.
        Protocol::Grpc => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        Protocol::Http => {
            b"POST /post HTTP/1.1\r\nhost: flow\r\ncontent-type: application/json\r\n\
              content-length: 1000000000\r\n\r\n{\"data\": ["
        }
        Protocol::WebSocket => {
            b"GET / HTTP/1.1\r\nhost: flow\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
              sec-websocket-protocol: bytes\r\n\r\n"
        }
    }
}

/// Tests open more files here than most processes may have by default.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Far less than these connections could take if each had full buffers.
const MEMORY_MIB: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_cost_little() {
    raise_file_limit();
    let served = Served::start().await;
    let mut idle = Vec::new();
    for target in &served.targets {
        for i in 0..1000 {
            let mut socket = connect(target).await;
            // Some send nothing; some start a message and stop; some close one side.
            let said = opening(target.protocol);
            match i % 4 {
                0 => (),
                1 => socket.write_all(&said[..said.len() / 2]).await.expect("it reads"),
                2 => socket.write_all(said).await.expect("it reads"),
                _ => {
                    socket.write_all(said).await.expect("it reads");
                    socket.shutdown().await.expect("it is open");
                }
            }
            idle.push(socket);
        }
        served.answers("with idle connections").await;
    }
    assert!(served.peak_mib() < MEMORY_MIB, "{} MiB", served.peak_mib());
    // They do not prevent it from ending either.
    served.end().await;
    drop(idle);
}

/// Real requests: messages, or for HTTP complete requests.
fn golden(protocol: Protocol) -> Vec<Vec<u8>> {
    if protocol == Protocol::Http {
        let body = r#"{"data": [{"text": "a", "tensor": [[1, 2], [3, 4]]}], "execEndpoint": "/"}"#;
        let post = |path: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: flow\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        return ["/post", "/search", "/graphql"].map(|path| post(path).into_bytes()).into();
    }
    let mut paths: Vec<_> = fs::read_dir("tests/golden/v1/grpc")
        .expect("it is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(".req"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

/// Invalid bytes of various kinds.
fn garbage(rng: &mut Pcg64Mcg, golden: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match golden {
        [] => Vec::new(),
        golden => golden[rng.random_range(0..golden.len())].clone(),
    };
    if bytes.len() < 4 || rng.random_range(0..4) == 0 {
        bytes = (0..rng.random_range(0..2000)).map(|_| rng.random()).collect();
    }
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..bytes.len().max(1));
        match rng.random_range(0..3) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 => bytes.truncate(at),
            _ => bytes.insert(at.min(bytes.len()), rng.random()),
        }
    }
    bytes
}

/// Sends bytes to a port, closes the sending side, and reads the response.
async fn say(target: &Target, bytes: Vec<u8>) {
    let mut socket = connect(target).await;
    // A gateway may well hang up before it has read all of it.
    let _ = socket.write_all(&bytes).await;
    let _ = socket.shutdown().await;
    let mut answer = vec![0; 1 << 14];
    while matches!(socket.read(&mut answer).await, Ok(n) if n > 0) {}
}

/// Posts garbage in otherwise valid calls.
async fn call(target: &Target, messages: Vec<Vec<u8>>) {
    let socket = connect(target).await;
    let Ok((sender, connection)) = h2::client::handshake(socket).await else { return };
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://flow/jina.JinaRPC/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    if let Ok(mut sender) = sender.ready().await
        && let Ok((response, mut body)) = sender.send_request(request, false)
    {
        for message in messages {
            let _ = body.send_data(framed(&message), false);
        }
        let _ = body.send_data(Bytes::new(), true);
        if let Ok(response) = response.await {
            let mut body = response.into_body();
            while let Some(Ok(bytes)) = body.data().await {
                let _ = body.flow_control().release_capacity(bytes.len());
            }
        }
    }
    connection.abort();
}

/// A message with its gRPC prefix.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// A WebSocket frame from a client, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).expect("it is short").to_be_bytes();
    [&[0x80 | opcode, 0x80 | 127], &length[..], &[0; 4], payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_harms_nobody_else() {
    const SEEDS: u64 = 300;
    const AT_ONCE: usize = 16;
    let served = Served::start().await;
    for target in &served.targets {
        let golden = Arc::new(golden(target.protocol));
        let mut tasks = JoinSet::new();
        for seed in 0..SEEDS {
            let (target, golden) = (target.clone(), golden.clone());
            while tasks.len() >= AT_ONCE {
                tasks.join_next().await.expect("there are some").expect("no panic");
            }
            tasks.spawn(async move {
                let mut rng = Key::new(seed).part(&target.protocol.to_string()).rng();
                let garbage = garbage(&mut rng, &golden);
                let opening = opening(target.protocol);
                let talk = async {
                    match (seed % 3, target.protocol) {
                        // Invalid from the first byte.
                        (0, _) => say(&target, garbage).await,
                        (1, Protocol::Grpc) => {
                            let good = golden[0].clone();
                            call(&target, vec![good.clone(), garbage, good]).await;
                        }
                        (1, Protocol::WebSocket) => {
                            let opcode = [1, 2, 2, 2, 8, 9][rng.random_range(0..6)];
                            say(&target, [opening, &frame(opcode, &garbage)].concat()).await;
                        }
                        // Invalid after a valid beginning.
                        _ => say(&target, [opening, &garbage].concat()).await,
                    }
                };
                let ended = tokio::time::timeout(Duration::from_secs(60), talk).await;
                assert!(ended.is_ok(), "{target}, seed {seed}: no end in sight");
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
        served.answers("after garbage").await;
    }
    assert!(served.peak_mib() < MEMORY_MIB, "{} MiB", served.peak_mib());
    served.end().await;
}

/// If a client sends requests but never reads responses, its requests are no longer read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_not_piled_up() {
    /// Size of a message, and the most messages sent: 1 GiB in all.
    const MESSAGE: usize = 64 << 10;
    const MESSAGES: usize = 16 << 10;
    let served = Served::start().await;
    // A v1 Document with a long text, built from field numbers.
    let text = field(4, &vec![b'x'; MESSAGE]);
    let docs = field(1, &text);
    let message = field(4, &field(1, &docs));
    for target in &served.targets {
        let sent = Arc::new(AtomicUsize::new(0));
        let (counted, message) = (sent.clone(), message.clone());
        let mut socket = connect(target).await;
        let sending = match target.protocol {
            Protocol::Grpc => tokio::spawn(async move {
                let (sender, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
                let connection = tokio::spawn(connection);
                let mut sender = sender.ready().await.expect("it is up");
                let request = http::Request::post("http://flow/jina.JinaRPC/Call")
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(())
                    .expect("a request");
                let (_response, mut body) = sender.send_request(request, false).expect("it is up");
                for _ in 0..MESSAGES {
                    let mut message = framed(&message);
                    while !message.is_empty() {
                        body.reserve_capacity(message.len());
                        let room = poll_fn(|cx| body.poll_capacity(cx)).await;
                        let room = room.expect("it goes on").expect("it goes on");
                        let part = message.split_to(room.min(message.len()));
                        body.send_data(part, false).expect("it goes on");
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                connection.abort();
            }),
            Protocol::Http => tokio::spawn(async move {
                let body = format!(r#"{{"data": [{{"text": "{}"}}]}}"#, "x".repeat(MESSAGE));
                let request = format!(
                    "POST /post HTTP/1.1\r\nhost: flow\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                for _ in 0..MESSAGES {
                    socket.write_all(request.as_bytes()).await.expect("it goes on");
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }),
            Protocol::WebSocket => tokio::spawn(async move {
                let opening = opening(Protocol::WebSocket);
                socket.write_all(opening).await.expect("it reads");
                let frame = frame(2, &message);
                for _ in 0..MESSAGES {
                    socket.write_all(&frame).await.expect("it goes on");
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }),
        };
        // It has stalled if nothing was accepted for a while. A busy machine could only mimic that by not running
        // at all for so long.
        let mut before = usize::MAX;
        while before != sent.load(Ordering::Relaxed) && !sending.is_finished() {
            before = sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        assert!(!sending.is_finished(), "{target} took all there was");
        served.answers("with a client that does not read").await;
        sending.abort();
    }
    assert!(served.peak_mib() < MEMORY_MIB, "{} MiB", served.peak_mib());
    served.end().await;
}

/// A length-delimited protobuf field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut bytes).expect("a vector grows");
    bytes.extend_from_slice(content);
    bytes
}
