//! The least work that a client can do: prebuilt bytes out, responses counted by their lengths. It records
//! nothing and would not notice a wrong response.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Error, IN_FLIGHT, Path, clock, http2};

/// Sends this many requests with these bytes.
pub(crate) fn run(path: Path, port: u16, message: &[u8], requests: u64) -> Result<(), Error> {
    match path {
        Path::Stream | Path::Unary => one_socket(path, port, message, requests),
        Path::Http | Path::WebSocket => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(many_sockets(path, port, message, requests))
        }
    }
}

/// One blocking socket; each write has as many requests as the previous read had responses.
fn one_socket(path: Path, port: u16, message: &[u8], requests: u64) -> Result<(), Error> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let mut out = http2::PREFACE.to_vec();
    out.extend_from_slice(&http2::greeting());
    // The server ignores headers.
    let head = b"\x83\x86";
    if path == Path::Stream {
        http2::frame(http2::HEADERS, 4, 1, head, &mut out);
    }
    let grpc = prefixed(message);
    let mut stream = 1;
    let mut request = |out: &mut Vec<u8>| match path {
        Path::Stream => http2::frame(http2::DATA, 0, 1, &grpc, out),
        _ => {
            http2::frame(http2::HEADERS, 4, stream, head, out);
            http2::frame(http2::DATA, 1, stream, &grpc, out);
            stream += 2;
        }
    };
    let (mut sent, mut answered) = (requests.min(IN_FLIGHT as u64), 0);
    for _ in 0..sent {
        request(&mut out);
    }
    let (mut input, mut filled) = (vec![0; 1 << 20], 0);
    while answered < requests {
        socket.write_all(&out)?;
        out.clear();
        let read = socket.read(&mut input[filled..])?;
        if read == 0 {
            return Err("the server hung up".into());
        }
        filled += read;
        let (mut at, mut room) = (0, 0);
        while let Some(frame) = http2::Frame::parse(&input[at..filled]) {
            at += frame.whole;
            let over = match path {
                Path::Stream => frame.kind == http2::DATA,
                _ => frame.kind == http2::HEADERS && frame.flags & 1 == 1,
            };
            room += u64::from(over);
        }
        input.copy_within(at..filled, 0);
        filled -= at;
        answered += room;
        for _ in 0..room.min(requests - sent) {
            sent += 1;
            request(&mut out);
        }
    }
    Ok(())
}

/// Writes requests on one stream at equal intervals, and ignores responses. Returns the instant at which the
/// first was due, in ns of the monotonic clock.
pub(crate) fn paced(
    port: u16,
    message: &[u8],
    every: Duration,
    requests: u64,
) -> Result<u64, Error> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let mut reading = socket.try_clone()?;
    std::thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
    let mut hello = http2::PREFACE.to_vec();
    hello.extend_from_slice(&http2::greeting());
    http2::frame(http2::HEADERS, 4, 1, b"\x83\x86", &mut hello);
    socket.write_all(&hello)?;
    let mut request = Vec::new();
    http2::frame(http2::DATA, 0, 1, &prefixed(message), &mut request);
    let start = clock::read(ClockId::Monotonic) + Duration::from_millis(10);
    for n in 0..requests {
        let due = start + every * u32::try_from(n)?;
        let due = Timespec { tv_sec: due.as_secs() as i64, tv_nsec: due.subsec_nanos().into() };
        clock_nanosleep_absolute(ClockId::Monotonic, &due)?;
        socket.write_all(&request)?;
    }
    Ok(start.as_nanos() as u64)
}

/// A message with its gRPC prefix.
fn prefixed(message: &[u8]) -> Vec<u8> {
    let mut grpc = vec![0];
    grpc.extend_from_slice(&(message.len() as u32).to_be_bytes());
    grpc.extend_from_slice(message);
    grpc
}

/// A tokio socket for each request in flight.
async fn many_sockets(path: Path, port: u16, message: &[u8], requests: u64) -> Result<(), Error> {
    let mut request = Vec::new();
    if path == Path::Http {
        let length = message.len();
        request.extend_from_slice(
            format!(
                "POST /post HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n"
            )
            .as_bytes(),
        );
    } else {
        // Masked with zeros.
        request.extend_from_slice(&[0x82, 0x80 | 126]);
        request.extend_from_slice(&(message.len() as u16).to_be_bytes());
        request.extend_from_slice(&[0; 4]);
    }
    request.extend_from_slice(message);
    let request = std::sync::Arc::new(request);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (request, share) = (request.clone(), requests / IN_FLIGHT as u64);
        clients.spawn(async move {
            let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            socket.set_nodelay(true)?;
            let mut input = vec![0; 1 << 14];
            if path == Path::WebSocket {
                socket.write_all(b"GET / HTTP/1.1\r\nsec-websocket-key: AAAA\r\n\r\n").await?;
                let mut filled = 0;
                while !input[..filled].ends_with(b"\r\n\r\n") {
                    filled += socket.read(&mut input[filled..]).await?;
                }
            }
            // All responses are alike, so the first gives the length of the others.
            let mut whole = None;
            for _ in 0..share {
                socket.write_all(&request).await?;
                let mut filled = 0;
                while whole.is_none_or(|whole| filled < whole) {
                    let read = socket.read(&mut input[filled..]).await?;
                    if read == 0 {
                        return Err("the server hung up".into());
                    }
                    filled += read;
                    whole = whole.or_else(|| length(path, &input[..filled]));
                }
            }
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended?.map_err(|error| error as Error)?;
    }
    Ok(())
}

fn length(path: Path, input: &[u8]) -> Option<usize> {
    if path == Path::WebSocket {
        return Some(4 + usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?])));
    }
    let end = input.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&input[..end]).ok()?;
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?;
    Some(end + 4 + length.parse::<usize>().ok()?)
}
