//! A server with prebuilt responses: it decodes only lengths and request ids, so that the client is what is
//! measured.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Error, Path, http2, monotonic_ns};

/// The responses of the server, and how it sends them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) path: Path,
    pub(crate) answer: Vec<u8>,
    /// The position of the request id in a request and in the response; `None` over HTTP.
    pub(crate) id_at: Option<(usize, usize)>,
    pub(crate) manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Manner {
    Answer,
    /// Pauses for the last second of every five.
    Stall,
    /// Reads but never responds.
    Mute,
}

/// What all connections share.
pub(crate) struct Server {
    script: Script,
    started: Instant,
    arrivals: Mutex<Vec<u64>>,
}

const ID: usize = 32;

impl Server {
    /// Serves until the process ends. Prints its port first; for each line on stdin it prints the instants at
    /// which requests have arrived since the previous line.
    pub(crate) fn run(script: Script) -> Result<(), Error> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?.port());
        let server =
            Arc::new(Server { script, started: Instant::now(), arrivals: Mutex::default() });
        let accepting = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                // Clients may close connections at any time.
                std::thread::spawn(move || drop(server.serve(stream)));
            }
        });
        for line in std::io::stdin().lines() {
            line?;
            let arrivals = std::mem::take(&mut *server.arrivals.lock().expect("no panic"));
            println!("{}", serde_json::to_string(&arrivals)?);
        }
        Ok(())
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        match self.script.path {
            Path::Stream | Path::Unary => self.http2(stream),
            Path::Http => self.http1(stream),
            Path::WebSocket => self.websocket(stream),
        }
    }

    /// Reads available bytes; the end of the stream is an error.
    fn fill(&self, stream: &mut TcpStream, input: &mut Vec<u8>) -> std::io::Result<()> {
        let mut chunk = [0; 1 << 16];
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if self.script.manner == Manner::Stall {
            let (period, work) = (Duration::from_secs(5), Duration::from_secs(4));
            let into = Duration::from_nanos(
                (self.started.elapsed().as_nanos() % period.as_nanos()) as u64,
            );
            if into > work {
                std::thread::sleep(period - into);
            }
        }
        input.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    /// Writes the response to a request to `output`, after the frame header that `frame` writes.
    fn answer(&self, request: &[u8], output: &mut Vec<u8>) {
        let Script { answer, id_at, .. } = &self.script;
        let from = output.len();
        output.extend_from_slice(answer);
        if let Some((asked, told)) = *id_at {
            output[from + told..from + told + ID].copy_from_slice(&request[asked..asked + ID]);
        }
    }

    fn came(&self, requests: usize) {
        let now = monotonic_ns();
        self.arrivals.lock().expect("no panic").extend(std::iter::repeat_n(now, requests));
    }

    fn send(&self, stream: &mut TcpStream, output: &[u8]) -> std::io::Result<()> {
        if self.script.manner == Manner::Mute { Ok(()) } else { stream.write_all(output) }
    }

    fn http1(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut input = Vec::new();
        loop {
            let end = input.windows(4).position(|four| four == b"\r\n\r\n");
            let whole = end.map(|end| {
                let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
                let length = head
                    .split("content-length:")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next()?.trim().parse::<usize>().ok());
                end + 4 + length.unwrap_or(0)
            });
            match whole.filter(|whole| input.len() >= *whole) {
                Some(whole) => {
                    self.came(1);
                    input.drain(..whole);
                    let mut output = Vec::new();
                    self.answer(&[], &mut output);
                    self.send(&mut stream, &output)?;
                }
                None => self.fill(&mut stream, &mut input)?,
            }
        }
    }

    fn websocket(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut input = Vec::new();
        while !input.ends_with(b"\r\n\r\n") {
            self.fill(&mut stream, &mut input)?;
        }
        let head = String::from_utf8_lossy(&input).into_owned();
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
        });
        let key = key.unwrap_or_default().as_bytes();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key);
        let hello = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        stream.write_all(hello.as_bytes())?;
        input.clear();
        loop {
            let mut output = Vec::new();
            let mut at = 0;
            let mut requests = 0;
            while let Some((kind, payload, whole)) = masked_frame(&input[at..]) {
                at += whole;
                // Before a client leaves, it announces that: by a message of one byte, as Jina's client does,
                // or by a frame of another kind.
                if kind != BINARY || payload.len() == 1 {
                    continue;
                }
                requests += 1;
                output.extend_from_slice(&[0x82, 126]);
                output.extend_from_slice(&(self.script.answer.len() as u16).to_be_bytes());
                self.answer(&payload, &mut output);
            }
            input.drain(..at);
            if requests > 0 {
                self.came(requests);
                self.send(&mut stream, &output)?;
            }
            self.fill(&mut stream, &mut input)?;
        }
    }

    fn http2(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut input = Vec::new();
        while input.len() < http2::PREFACE.len() {
            self.fill(&mut stream, &mut input)?;
        }
        input.drain(..http2::PREFACE.len());
        stream.write_all(&http2::greeting())?;
        // The incomplete message of each stream. Few streams are open at a time.
        let mut parts: Vec<(u32, Vec<u8>)> = Vec::new();
        loop {
            let mut output = Vec::new();
            let mut at = 0;
            let mut requests = 0;
            while let Some(frame) = http2::Frame::parse(&input[at..]) {
                at += frame.whole;
                match (frame.kind, frame.flags & 1) {
                    (http2::SETTINGS, 0) => http2::frame(http2::SETTINGS, 1, 0, &[], &mut output),
                    (http2::PING, 0) => {
                        http2::frame(http2::PING, 1, 0, frame.payload, &mut output);
                    }
                    (http2::HEADERS, _) => {
                        parts.push((frame.stream, Vec::new()));
                        let head = b"\x88\x0f\x10\x10application/grpc";
                        http2::frame(http2::HEADERS, 4, frame.stream, head, &mut output);
                    }
                    (http2::DATA, ends) => {
                        let Some(index) = parts.iter().position(|part| part.0 == frame.stream)
                        else {
                            continue;
                        };
                        let part = &mut parts[index].1;
                        part.extend_from_slice(frame.payload);
                        let mut read = 0;
                        while let Some(message) = http2::message(&part[read..]) {
                            requests += 1;
                            read += 5 + message.len();
                            let length = self.script.answer.len();
                            http2::head(http2::DATA, 0, frame.stream, 5 + length, &mut output);
                            output.push(0);
                            output.extend_from_slice(&(length as u32).to_be_bytes());
                            self.answer(message, &mut output);
                        }
                        part.drain(..read);
                        if ends == 1 {
                            parts.swap_remove(index);
                            let trailers = b"\x00\x0bgrpc-status\x010";
                            http2::frame(http2::HEADERS, 5, frame.stream, trailers, &mut output);
                        }
                    }
                    _ => {}
                }
            }
            input.drain(..at);
            if requests > 0 {
                self.came(requests);
            }
            // Greetings are always answered.
            if requests == 0 {
                stream.write_all(&output)?;
            } else {
                self.send(&mut stream, &output)?;
            }
            self.fill(&mut stream, &mut input)?;
        }
    }
}

const BINARY: u8 = 2;

/// The kind of a client's frame, its payload and the total length, if the frame is complete.
fn masked_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (head, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => return None,
        short => (2, usize::from(short)),
    };
    let mask = bytes.get(head..head + 4)?;
    let masked = bytes.get(head + 4..head + 4 + length)?;
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Some((bytes[0] & 0xf, payload.collect(), head + 4 + length))
}
