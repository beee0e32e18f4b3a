//! Whatever bytes a server sends, the client never panics, hangs or allocates without bound.
//!
//! Three kinds of server: one that responds with noise; one that speaks the protocol and sends real responses
//! with some bytes changed; and one that announces, or sends, far more than it should.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compression, FlushCompress};
use flowbench::client::{Client, ClientConfig, FamilyChoice};
use flowbench::wire::{Document, Family, Protocol, Target};
use futures_util::stream::{self, StreamExt};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];
const FAMILIES: [Family; 2] = [Family::V1, Family::V2];

/// What a server does with a connection.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Random bytes as soon as anything arrives.
    Noise,
    /// Valid protocol with a changed message in it.
    Changed,
    /// The same, truncated.
    CutOff,
    /// Changes in the protocol itself, too: frames, headers.
    Mangled,
}

#[test]
fn no_bytes_make_the_client_panic_or_hang() {
    const SEEDS: u64 = 60;
    const AT_ONCE: usize = 16;
    let panics = count_panics_of("hostile");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("hostile")
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let mut cases = Vec::new();
    for protocol in PROTOCOLS {
        for family in FAMILIES {
            let golden = Arc::new(golden(protocol, family));
            for kind in [Kind::Noise, Kind::Changed, Kind::CutOff, Kind::Mangled] {
                for seed in 0..SEEDS {
                    cases.push((protocol, family, kind, seed, golden.clone()));
                }
            }
        }
    }
    runtime.block_on(async {
        let posts = cases.into_iter().map(|(protocol, family, kind, seed, golden)| async move {
            let what = format!("{protocol:?} of {family:?}, {kind:?}, seed {seed}");
            let post = tokio::spawn(post_to(protocol, family, kind, seed, golden));
            match tokio::time::timeout(Duration::from_secs(60), post).await {
                Ok(ended) => ended.unwrap_or_else(|panic| panic!("{what}: {panic}")),
                Err(_) => panic!("{what}: no end in sight"),
            }
        });
        stream::iter(posts).buffer_unordered(AT_ONCE).collect::<()>().await;
    });
    // A panic in one of the client's tasks would not show anywhere else.
    assert_eq!(panics.load(Ordering::Relaxed), 0);
}

/// Posts to such a server. Any outcome is fine, as long as there is one.
async fn post_to(
    protocol: Protocol,
    family: Family,
    kind: Kind,
    seed: u64,
    golden: Arc<Vec<Vec<u8>>>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connections += 1;
            // Different for each connection, but the same in the next run.
            let rng = Pcg64::seed_from_u64(seed << 16 | connections);
            tokio::spawn(serve(stream, protocol, kind, rng, golden.clone()));
        }
    });
    let mut config = ClientConfig::new(target(protocol, address));
    // Every third client has to ask for the family first, and gets a response of the same kind.
    config.family =
        if seed.is_multiple_of(3) { FamilyChoice::Auto } else { FamilyChoice::Is(family) };
    config.timeout = Some(Duration::from_millis(300));
    config.connect_timeout = Duration::from_millis(300);
    let docs = (0..3).map(|n| Document::from_text(n.to_string()));
    let post = Client::new(config).post("/").inputs(docs).request_size(1);
    if let Ok(responses) = post.responses().await {
        for response in responses {
            let _ = response.data_request();
        }
    }
    server.abort();
}

async fn serve(
    stream: TcpStream,
    protocol: Protocol,
    kind: Kind,
    mut rng: Pcg64,
    golden: Arc<Vec<Vec<u8>>>,
) -> std::io::Result<()> {
    match (kind, protocol) {
        (Kind::Noise, _) => noise(stream, rng).await,
        (Kind::Changed | Kind::CutOff, Protocol::Grpc) => {
            grpc(stream, kind, &mut rng, &golden).await;
            Ok(())
        }
        (Kind::Mangled, Protocol::Grpc) => frames(stream, &mut rng, &golden).await,
        (_, Protocol::Http) => http(stream, kind, &mut rng, &golden).await,
        (_, Protocol::WebSocket) => websocket(stream, kind, &mut rng, &golden).await,
    }
}

async fn noise(mut stream: TcpStream, mut rng: Pcg64) -> std::io::Result<()> {
    let mut request = [0; 4096];
    for _ in 0..rng.random_range(1..4) {
        if stream.read(&mut request).await? == 0 {
            return Ok(());
        }
        let mut answer = vec![0; rng.random_range(0..2000)];
        rng.fill_bytes(&mut answer);
        stream.write_all(&answer).await?;
    }
    // Half of them keep the connection open until the client gives up.
    if rng.random() {
        while stream.read(&mut request).await? > 0 {}
    }
    Ok(())
}

async fn http(
    mut stream: TcpStream,
    kind: Kind,
    rng: &mut Pcg64,
    golden: &[Vec<u8>],
) -> std::io::Result<()> {
    let mut request = vec![0; 1 << 16];
    while stream.read(&mut request).await? > 0 {
        let mut body = golden[rng.random_range(0..golden.len())].clone();
        change(rng, &mut body);
        let status = [200, 200, 200, 404, 422, 500, 503][rng.random_range(0..7)];
        let mut answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        match kind {
            Kind::Mangled => change(rng, &mut answer),
            Kind::CutOff => answer.truncate(rng.random_range(0..answer.len())),
            Kind::Changed | Kind::Noise => {}
        }
        stream.write_all(&answer).await?;
        if matches!(kind, Kind::CutOff) {
            return Ok(());
        }
    }
    Ok(())
}

async fn websocket(
    mut stream: TcpStream,
    kind: Kind,
    rng: &mut Pcg64,
    golden: &[Vec<u8>],
) -> std::io::Result<()> {
    let mut input = vec![0; 1 << 16];
    let read = stream.read(&mut input).await?;
    let Some(answer) = upgrade(&input[..read]) else { return Ok(()) };
    stream.write_all(&answer).await?;
    loop {
        let read = stream.read(&mut input).await?;
        if read == 0 {
            return Ok(());
        }
        let mut message = golden[rng.random_range(0..golden.len())].clone();
        change(rng, &mut message);
        adopt_id(&unmasked(&input[..read]), &mut message);
        let mut frame = vec![0x82];
        match message.len() {
            len @ 0..126 => frame.push(len as u8),
            len @ 126..=0xffff => {
                frame.push(126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(message);
        match kind {
            Kind::Mangled => change(rng, &mut frame),
            Kind::CutOff => frame.truncate(rng.random_range(0..frame.len())),
            Kind::Changed | Kind::Noise => {}
        }
        stream.write_all(&frame).await?;
        if matches!(kind, Kind::CutOff) {
            return Ok(());
        }
    }
}

/// The response to a WebSocket upgrade request; `None` if it is another request.
fn upgrade(request: &[u8]) -> Option<Vec<u8>> {
    let head = String::from_utf8_lossy(request);
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    })?;
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    Some(answer.into_bytes())
}

/// The payload of a client's first frame, if its length has the short form.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    let head = match frame.get(1) {
        Some(length) if length & 0x7f < 126 => 2,
        _ => 4,
    };
    let Some((mask, payload)) = frame.get(head..).and_then(|rest| rest.split_at_checked(4)) else {
        return Vec::new();
    };
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// Valid HTTP/2 that contains invalid messages.
async fn grpc(stream: TcpStream, kind: Kind, rng: &mut Pcg64, golden: &[Vec<u8>]) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((mut request, mut respond))) = connection.accept().await {
        let mut rng = Pcg64::seed_from_u64(rng.random());
        let golden = golden.to_vec();
        tokio::spawn(async move {
            let head = http::Response::builder().header("content-type", "application/grpc");
            let Ok(head) = head.body(()) else { return };
            let Ok(mut sending) = respond.send_response(head, false) else { return };
            while let Some(Ok(data)) = request.body_mut().data().await {
                let _ = request.body_mut().flow_control().release_capacity(data.len());
                let mut message = golden[rng.random_range(0..golden.len())].clone();
                change(&mut rng, &mut message);
                adopt_id(&data, &mut message);
                let mut framed = vec![u8::from(rng.random_ratio(1, 8))];
                framed.extend((message.len() as u32).to_be_bytes());
                framed.extend(message);
                if matches!(kind, Kind::CutOff) {
                    framed.truncate(rng.random_range(0..framed.len()));
                }
                let ends = matches!(kind, Kind::CutOff);
                if sending.send_data(Bytes::from(framed), ends).is_err() || ends {
                    return;
                }
            }
            let mut trailers = http::HeaderMap::new();
            let mut noise = vec![0; 8];
            rng.fill_bytes(&mut noise);
            for name in ["grpc-status", "grpc-message"] {
                if let Ok(value) = http::HeaderValue::from_bytes(&noise) {
                    trailers.insert(name, value);
                }
            }
            let _ = sending.send_trailers(trailers);
        });
    }
}

/// Modified HTTP/2 frames, valid enough to get past the greeting.
async fn frames(mut stream: TcpStream, rng: &mut Pcg64, golden: &[Vec<u8>]) -> std::io::Result<()> {
    const PREFACE: usize = 24;
    let mut input = Vec::new();
    let mut greeted = false;
    // Settings, empty.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..read]);
        if !greeted && input.len() >= PREFACE {
            input.drain(..PREFACE);
            greeted = true;
        }
        while greeted && input.len() >= 9 {
            let length =
                usize::from(input[0]) << 16 | usize::from(input[1]) << 8 | usize::from(input[2]);
            if input.len() < 9 + length {
                break;
            }
            let frame: Vec<u8> = input.drain(..9 + length).collect();
            let mut answer = match (frame[3], frame[4]) {
                (4, 0) => vec![0, 0, 0, 4, 1, 0, 0, 0, 0],
                (6, 0) => {
                    let mut pong = frame.clone();
                    pong[4] = 1;
                    pong
                }
                // Data: the head of a response (`:status 200` from the static table), and data.
                (0, _) => {
                    let id = &frame[5..9];
                    let message = &golden[rng.random_range(0..golden.len())];
                    let mut answer = vec![0, 0, 1, 1, 4];
                    answer.extend_from_slice(id);
                    answer.push(0x88);
                    let length = (message.len() + 5) as u32;
                    answer.extend_from_slice(&length.to_be_bytes()[1..]);
                    answer.extend_from_slice(&[0, 0]);
                    answer.extend_from_slice(id);
                    answer.push(0);
                    answer.extend((message.len() as u32).to_be_bytes());
                    answer.extend_from_slice(message);
                    answer
                }
                _ => continue,
            };
            // Mostly leave the frames before the data unchanged, or nothing would come after them.
            if frame[3] == 0 || rng.random_ratio(1, 10) {
                change(rng, &mut answer);
            }
            stream.write_all(&answer).await?;
        }
    }
}

/// Changes some bytes: replaces, inserts and removes them.
fn change(rng: &mut Pcg64, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(0..6) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.insert(at, rng.random()),
            3 => drop(bytes.drain(at..(at + rng.random_range(1..20)).min(bytes.len()))),
            _ => {
                let piece = bytes[at..(at + rng.random_range(1..200)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Copies the request's id into the response, so that a request is waiting for it.
fn adopt_id(request: &[u8], response: &mut [u8]) {
    let digits = |bytes: &[u8]| {
        let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        bytes.windows(32).position(|window| window.iter().all(is_digit))
    };
    if let (Some(from), Some(to)) = (digits(request), digits(response)) {
        response[to..to + 32].copy_from_slice(&request[from..from + 32]);
    }
}

/// Real responses: messages over gRPC, bodies over HTTP.
fn golden(protocol: Protocol, family: Family) -> Vec<Vec<u8>> {
    let name = if family == Family::V1 { "v1" } else { "v2" };
    let folder = if protocol == Protocol::Http { "http" } else { "grpc" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).join(folder);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("it is there").flatten().map(|e| e.path()).collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).expect("it can be read");
        let path = file.display().to_string();
        if path.ends_with(".bin") && path.contains(".resp") {
            found.push(bytes);
        } else if protocol == Protocol::Http {
            let case: serde_json::Value = serde_json::from_slice(&bytes).expect("it is JSON");
            for exchange in case["exchanges"].as_array().into_iter().flatten() {
                found.push(exchange["response"]["body"].to_string().into_bytes());
            }
        }
    }
    assert!(found.len() > 20, "{} responses", found.len());
    found
}

/// Counts panics on threads of this name from now on.
fn count_panics_of(thread: &'static str) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some(thread) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        before(info);
    }));
    count
}

fn target(protocol: Protocol, address: SocketAddr) -> Target {
    let (host, port) = (address.ip().to_string(), address.port());
    Target { protocol, host, port, tls: false, user_info: None }
}

/// A server that tries to exhaust our memory: its response, and the error expected for it.
struct Flood {
    name: &'static str,
    protocol: Protocol,
    /// `grpc-encoding`, for gRPC.
    encoding: &'static str,
    /// What is sent first, after the greetings of the protocol.
    begin: Vec<u8>,
    /// What is sent next, and how many times.
    again: (Vec<u8>, usize),
    /// Part of the client's message.
    says: &'static str,
}

const MIB: usize = 1 << 20;
const TOO_LARGE: &str = "larger than the limit of 16777216 bytes";

fn floods() -> Vec<Flood> {
    let http = |name, head: &str, again: Vec<u8>, times, says| Flood {
        name,
        protocol: Protocol::Http,
        encoding: "",
        begin: format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}").into_bytes(),
        again: (again, times),
        says,
    };
    let body = |name, body: Vec<u8>| {
        let head = format!("content-length: {}\r\n\r\n", body.len());
        http(name, &head, body, 1, "cannot be decoded")
    };
    let nested = |open: &str, close: &str| {
        let (open, close) = (open.repeat(200_000), close.repeat(200_000));
        format!(r#"{{"header": {{"requestId": "a"}}, "data": {open}{close}}}"#).into_bytes()
    };
    let websocket = |name, begin: &[u8], again: Vec<u8>, says| Flood {
        protocol: Protocol::WebSocket,
        begin: begin.to_vec(),
        ..http(name, "", again, 4000, says)
    };
    let grpc = |name, encoding, begin: &[u8], again: Vec<u8>, times, says| Flood {
        protocol: Protocol::Grpc,
        encoding,
        begin: begin.to_vec(),
        ..http(name, "", again, times, says)
    };
    let chunk = [b"100000\r\n".to_vec(), vec![b'x'; MIB], b"\r\n".to_vec()].concat();
    let fragment = [vec![0x00, 127, 0, 0, 0, 0, 0, 0x10, 0, 0], vec![b'x'; MIB]].concat();
    // Four gigabytes of zeros, compressed. After a flush nothing refers to earlier data, so one piece can be
    // repeated.
    let mut zeros = Vec::with_capacity(MIB);
    flate2::Compress::new(Compression::fast(), false)
        .compress_vec(&vec![0; MIB], &mut zeros, FlushCompress::Full)
        .expect("zeros can be compressed");
    let bomb = |head: &[u8]| {
        let packed = [head.to_vec(), zeros.repeat(4096)].concat();
        [vec![1], (packed.len() as u32).to_be_bytes().to_vec(), packed].concat()
    };
    let gzip = bomb(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    let deflate = bomb(&[0x78, 0x01]);
    vec![
        http(
            "a length that no memory holds",
            "content-length: 4611686018427387904\r\n\r\n",
            vec![b'x'; MIB],
            4000,
            TOO_LARGE,
        ),
        http(
            "a length that is no number of bytes",
            "content-length: 99999999999999999999\r\n\r\n",
            vec![b'x'; MIB],
            4000,
            "content-length",
        ),
        http("a body without end", "\r\n", vec![b'x'; MIB], 4000, TOO_LARGE),
        http(
            "a chunk without end",
            "transfer-encoding: chunked\r\n\r\nfffffffffffffff\r\n",
            vec![b'x'; MIB],
            4000,
            TOO_LARGE,
        ),
        http("chunks without end", "transfer-encoding: chunked\r\n\r\n", chunk, 4000, TOO_LARGE),
        http(
            "small chunks without end",
            "transfer-encoding: chunked\r\n\r\n",
            b"8\r\nxxxxxxxx\r\n".repeat(100_000),
            4000,
            TOO_LARGE,
        ),
        http("headers without end", "", b"name: value\r\n".repeat(10_000), 4000, "head"),
        http("a header without end", "name: ", vec![b'x'; MIB], 4000, "head"),
        body("Documents in Documents", nested(r#"[{"chunks": "#, "}]")),
        body("lists in lists", nested("[", "]")),
        body("lists in a tensor", nested(r#"[{"tensor": [["#, "]]}]")),
        body("objects in tags", nested(r#"[{"tags": {"a": "#, "}}]")),
        websocket(
            "a frame that no memory holds",
            &[0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0],
            vec![b'x'; MIB],
            TOO_LARGE,
        ),
        websocket("fragments without end", &[0x02, 1, b'x'], fragment, TOO_LARGE),
        grpc(
            "a message that no memory holds",
            "identity",
            &[0, 0xff, 0xff, 0xff, 0xff],
            vec![b'x'; MIB],
            4000,
            TOO_LARGE,
        ),
        grpc("a gzip bomb", "gzip", &[], gzip, 1, TOO_LARGE),
        grpc("a deflate bomb", "deflate", &[], deflate, 1, TOO_LARGE),
    ]
}

/// The whole command, with a memory limit set from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_makes_the_client_allocate_without_bound() {
    stream::iter(floods().into_iter().map(survives)).buffer_unordered(2).collect::<()>().await;
}

async fn survives(flood: Flood) {
    const MEMORY_KIB: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let target = target(flood.protocol, listener.local_addr().expect("it is bound"));
    let flood = Arc::new(flood);
    let server = tokio::spawn({
        let flood = flood.clone();
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(send(stream, flood.clone()));
            }
        }
    });
    let command = format!(
        "ulimit -v {MEMORY_KIB}; exec {} post {target} --text a --family v1 --timeout 60s \
         --max-response 16MiB",
        env!("CARGO_BIN_EXE_flowbench")
    );
    // Every arena of the allocator reserves addresses that it may never use.
    let output = Command::new("sh").args(["-c", &command]).env("MALLOC_ARENA_MAX", "2").output();
    let output = output.await.expect("there is a shell");
    server.abort();
    let said = String::from_utf8_lossy(&output.stderr);
    // If it is killed for lack of memory, there is no exit code.
    let told = matches!(output.status.code(), Some(1 | 3)) && said.contains(flood.says);
    assert!(told, "{}: {:?} {said}", flood.name, output.status);
}

async fn send(mut stream: TcpStream, flood: Arc<Flood>) -> std::io::Result<()> {
    if flood.protocol == Protocol::Grpc {
        send_over_grpc(stream, &flood).await;
        return Ok(());
    }
    let mut request = vec![0; 1 << 16];
    let read = stream.read(&mut request).await?;
    if flood.protocol == Protocol::WebSocket {
        let Some(answer) = upgrade(&request[..read]) else { return Ok(()) };
        stream.write_all(&answer).await?;
        if stream.read(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(&flood.begin).await?;
    for _ in 0..flood.again.1 {
        stream.write_all(&flood.again.0).await?;
    }
    // The client is the one to hang up.
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

async fn send_over_grpc(stream: TcpStream, flood: &Arc<Flood>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        let flood = flood.clone();
        tokio::spawn(async move {
            let head = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-encoding", flood.encoding);
            let head = head.body(()).expect("it is a response");
            let Ok(mut sending) = respond.send_response(head, false) else { return };
            let again = std::iter::repeat_n(&flood.again.0, flood.again.1);
            for bytes in std::iter::once(&flood.begin).chain(again) {
                let mut bytes = Bytes::from(bytes.clone());
                while !bytes.is_empty() {
                    sending.reserve_capacity(bytes.len());
                    match poll_fn(|cx| sending.poll_capacity(cx)).await {
                        Some(Ok(room)) => {
                            let part = bytes.split_to(room.min(bytes.len()));
                            if sending.send_data(part, false).is_err() {
                                return;
                            }
                        }
                        _ => return,
                    }
                }
            }
            let _ = poll_fn(|cx| sending.poll_reset(cx)).await;
        });
    }
}
