//! What a server may send, split at every possible place, in memory.

use std::io::Write;

use flate2::Compression;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::client::ResponseMemory;

const LIMIT: usize = 1000;

fn head() -> RequestHead {
    RequestHead::new("POST", "/post", "host: h\r\n")
}

/// A connection to a server that sent `said` before it was asked, and the server's end to send
/// more.
fn connection(said: &[u8]) -> (Connection<DuplexStream>, DuplexStream) {
    let (ours, mut theirs) = duplex(1 << 20);
    let write = pin!(theirs.write_all(said)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(write, Poll::Ready(Ok(()))), "the pipe takes it at once");
    (Connection::new(ours), theirs)
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
) -> Result<Response, Broken> {
    let body: [&[u8]; 3] = [b"{", b"\"a\"", b": 1}"];
    connection.exchange(&head(), Some(body), &Bounds::small(LIMIT), &mut Marks::default()).await
}

/// The outcome for a server that sends `pieces` one after the other and hangs up: the status and
/// body, or a short text on the failure; and whether the connection could be used again.
async fn outcome(pieces: &[&[u8]]) -> (Result<(u16, Bytes), String>, bool) {
    let (ours, mut theirs) = duplex(1 << 20);
    let mut connection = Connection::new(ours);
    let answer = async {
        for piece in pieces {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.shutdown().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(ask(&mut connection), answer);
    let outcome = outcome.map(|r| (r.status, r.body)).map_err(|broken| match broken {
        Broken::Ended(error) => format!("ended: {error}"),
        Broken::NotHttp(_) => "not HTTP".into(),
        Broken::Malformed(reason) => format!("malformed: {reason}"),
        Broken::Headers(reason) => reason,
        Broken::TooLarge => "too large".into(),
        Broken::NoRoom(_) => "no room".into(),
    });
    (outcome, connection.reusable)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn compressed(coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {length}");
    [head.as_bytes(), b"\r\n\r\n", body].concat()
}

#[tokio::test]
async fn a_request_goes_out_as_it_is() {
    let (mut connection, mut server) =
        connection(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let mut marks = Marks::default();
    let long = vec![b'x'; COPY_BYTES_MAX];
    let body: [&[u8]; 3] = [b"{", b"id", &long];
    let response =
        connection.exchange(&head(), Some(body), &Bounds::small(LIMIT), &mut marks).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
    assert!(marks.written <= marks.first && marks.first.is_some());
    let mut seen = vec![0; 4096 + COPY_BYTES_MAX];
    let mut length = 0;
    while length < COPY_BYTES_MAX + 3 {
        length += server.read(&mut seen[length..]).await.unwrap();
    }
    let start = b"POST /post HTTP/1.1\r\nhost: h\r\ncontent-length: 16387\r\n\r\n{idxx";
    assert_eq!(&seen[..start.len()], start);
    assert!(seen[..length].ends_with(&long));
}

#[tokio::test]
async fn a_response_is_the_same_however_it_is_cut() {
    let plain = b"hello, hello, hello";
    let responses: [(&[u8], u16, &[u8], bool); 10] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", true),
        (b"HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi", false),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi", false),
        (
            b"HTTP/1.0 200 OK\r\nconnection: a, keep-alive\r\ncontent-length: 2\r\n\r\nhi",
            200,
            b"hi",
            true,
        ),
        (b"HTTP/1.1 500 Oops\r\n\r\nuntil the end", 500, b"until the end", false),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", true),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
            200,
            b"1",
            true,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
              5;a=b\r\nhello\r\n00c\r\n, hello, hel\r\n2\r\nlo\r\n0\r\nx-t: 1\r\n\r\n",
            200,
            plain,
            true,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n0\r\n\r\n",
            200,
            b"",
            false,
        ),
        (&compressed("gzip", &gzip(plain)), 200, plain, true),
    ];
    for (response, status, body, again) in responses {
        let text = String::from_utf8_lossy(response);
        let expected = (Ok((status, Bytes::copy_from_slice(body))), again);
        for cut in 0..response.len() {
            let (start, end) = response.split_at(cut);
            assert_eq!(outcome(&[start, end]).await, expected, "{text} cut at {cut}");
        }
        let bytes: Vec<&[u8]> = response.chunks(1).collect();
        assert_eq!(outcome(&bytes).await, expected, "{text}, byte by byte");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error_wherever_it_does() {
    let responses: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
        &compressed("deflate", &zlib(b"hello")),
    ];
    for response in responses {
        for cut in 0..response.len() {
            let (outcome, again) = outcome(&[&response[..cut]]).await;
            assert_eq!(outcome.unwrap_err(), "ended: closed by the server", "at {cut}");
            assert!(!again);
        }
    }
}

#[tokio::test]
async fn what_is_not_a_response_is_told_apart() {
    let line = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n").into_bytes();
    let long = "b".repeat(HEAD_BYTES_MAX);
    let cases: [(Vec<u8>, &str); 18] = [
        (b"".into(), "ended: closed by the server"),
        (b"\0\0\x18\x04\0\0\0\0\0".into(), "not HTTP"),
        (b"HTTP/2 200\r\n\r\n".into(), "not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".into(), "not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n".into(), "malformed: invalid response status"),
        (line("content-length: +5"), "malformed: `content-length: +5`"),
        (line("content-length: 99999999999999999999"), "malformed: `content-length: 9"),
        (line("content-length: 5\r\ncontent-length: 6"), "malformed: `content-length: 6`"),
        (line("content-length: 1001"), "too large"),
        (line("content-length: 18446744073709551615"), "too large"),
        (line("transfer-encoding: gzip, chunked"), "malformed: `transfer-encoding: gzip, ch"),
        (line("content-encoding: br"), "malformed: `content-encoding: br`"),
        (line("a b: c"), "malformed: invalid header name"),
        (line(&"a: b\r\n".repeat(101)), "more than 100 response headers"),
        (format!("HTTP/1.1 200 OK\r\na: {long}").into(), "response headers over 64 KiB"),
        (b"HTTP/1.1 100 Continue\r\n\r\n".repeat(16), "malformed: too many interim responses"),
        (compressed("gzip", b"no gzip at all"), "malformed: compressed body: "),
        (compressed("gzip", &gzip(&[0; LIMIT + 1])), "too large"),
    ];
    for (said, expected) in cases {
        let (outcome, again) = outcome(&[&said]).await;
        let outcome = outcome.unwrap_err();
        assert!(outcome.starts_with(expected), "{outcome:?}, expected {expected:?}");
        assert!(!again);
    }
}

#[tokio::test]
async fn chunks_must_be_what_they_say() {
    let cases: [(&[u8], &str); 8] = [
        (b"\r\n", "malformed: a chunk without a size"),
        (b"x\r\n", "malformed: a chunk without a size"),
        (b"11111111111111111\r\n", "malformed: a chunk without a size"),
        (b"3\r\nhello\r\n", "malformed: a chunk longer than its stated size"),
        (b"fffffffffffffff0\r\n", "too large"),
        (b"0\r\na b\r\n\r\n", "malformed: bad trailers: invalid header name"),
        (&[&b"1;"[..], &[b'x'; 5000]].concat(), "malformed: a chunk without a size"),
        (&[&b"0\r\n"[..], &b"a: b\r\n".repeat(1500)].concat(), "malformed: bad trailers: "),
    ];
    for (chunks, expected) in cases {
        let said = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunks].concat();
        let outcome = outcome(&[&said]).await.0.unwrap_err();
        assert!(outcome.starts_with(expected), "{outcome:?}, expected {expected:?}");
    }
}

#[tokio::test]
async fn endless_bodies_end_at_the_limit() {
    for head in ["transfer-encoding: chunked\r\n", ""] {
        let said = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
        let (mut connection, mut server) = connection(said.as_bytes());
        let pour = async { while server.write_all(b"4\r\nabcd\r\n").await.is_ok() {} };
        tokio::select! {
            outcome = ask(&mut connection) => {
                assert!(matches!(outcome, Err(Broken::TooLarge)));
            }
            () = pour => panic!("the reader hung up"),
        }
        assert!(connection.input.capacity() < 4 * READ_BYTES);
    }
}

#[tokio::test]
async fn an_announced_length_claims_no_memory() {
    let (mut connection, _server) =
        connection(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nhello");
    let mut marks = Marks::default();
    let request = head();
    let bounds = Bounds::small(usize::MAX);
    let exchange = connection.exchange(&request, None, &bounds, &mut marks);
    let poll = pin!(exchange).poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending());
    assert!(marks.first.is_some());
    assert!(connection.input.capacity() <= 2 * READ_BYTES);
    assert!(!connection.is_open(), "an exchange was given up on it");
}

#[tokio::test]
async fn both_forms_of_deflate_are_read() {
    let plain = vec![b'a'; LIMIT];
    let zlib = zlib(&plain);
    let raw = &zlib[2..zlib.len() - 4];
    for body in [&zlib[..], raw] {
        let (outcome, _) = outcome(&[&compressed("deflate", body)]).await;
        assert_eq!(outcome.unwrap().1, plain);
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_read() {
    let (ours, mut server) = duplex(64);
    let mut connection = Connection::new(ours);
    let said = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
    server.write_all(said).await.unwrap();
    // The server never reads, and the pipe is full long before the body is sent.
    let long = vec![b'x'; 100_000];
    let mut marks = Marks::default();
    let body: [&[u8]; 3] = [b"", b"", &long];
    let response =
        connection.exchange(&head(), Some(body), &Bounds::small(LIMIT), &mut marks).await.unwrap();
    assert_eq!(response.status, 413);
    assert!(!connection.is_open(), "the rest of the request is still to come");
}

#[tokio::test]
async fn a_server_that_hangs_up_while_it_is_written_to_ends_the_exchange() {
    let (ours, server) = duplex(64);
    let mut connection = Connection::new(ours);
    drop(server);
    let long = vec![b'x'; 100_000];
    let mut marks = Marks::default();
    let body: [&[u8]; 3] = [b"", b"", &long];
    let outcome = connection.exchange(&head(), Some(body), &Bounds::small(LIMIT), &mut marks).await;
    assert!(matches!(outcome, Err(Broken::Ended(_))));
    assert_eq!(marks.first, None);
}

#[tokio::test]
async fn an_idle_connection_is_open_as_long_as_the_server_is_silent() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (mut kept, mut server) = connection(answer);
    ask(&mut kept).await.unwrap();
    assert!(kept.is_open());
    assert!(kept.is_open());
    server.write_all(b"HTTP/1.1 408 Timeout\r\n\r\n").await.unwrap();
    assert!(!kept.is_open());

    let (mut closed, server) = connection(answer);
    ask(&mut closed).await.unwrap();
    drop(server);
    assert!(!closed.is_open());

    let (mut more, _server) = connection(&[&answer[..], b"HTTP/1.1 200 OK\r\n"].concat());
    ask(&mut more).await.unwrap();
    assert!(!more.is_open(), "what follows a response was not asked for");
}

#[tokio::test]
async fn headers_are_found_in_any_case() {
    let said = b"HTTP/1.1 301 Moved\r\nLOCATION:  /there \r\ncontent-length: 0\r\n\r\n";
    let (mut connection, _server) = connection(said);
    let response = ask(&mut connection).await.unwrap();
    assert_eq!(response.header("location"), Some("/there"));
    assert_eq!(response.header("content-type"), None);
}

#[test]
fn arbitrary_bytes_end_in_an_answer_or_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let start = proptest::sample::select(vec![
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
    ]);
    proptest::proptest!(|(start in start, bytes: Vec<u8>, cut in 0..100usize)| {
        let (one, two) = bytes.split_at(cut.min(bytes.len()));
        let _ = runtime.block_on(outcome(&[start.as_bytes(), one, two]));
    });
}

#[test]
fn a_head_does_not_show_its_secrets() {
    let head = RequestHead::new("GET", "/", "authorization: Basic c2VjcmV0\r\n");
    assert_eq!(format!("{head:?}"), "RequestHead(…)");
}

#[tokio::test]
async fn a_body_for_which_there_is_no_room_is_refused_and_gives_its_room_back() {
    let kib = 1 << 10;
    let chunks = |count: usize| {
        let chunk = [b"400\r\n".as_slice(), &[b'x'; 1 << 10], b"\r\n"].concat();
        [&b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"[..], &chunk.repeat(count)]
            .concat()
    };
    let sized = [&b"HTTP/1.1 200 OK\r\ncontent-length: 204800\r\n\r\n"[..], &[b'x'; 200 << 10]];
    let closed = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 200 << 10]].concat();
    let bomb = {
        let gzip = gzip(&vec![b'x'; 2 << 20]);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            gzip.len()
        );
        [head.into_bytes(), gzip].concat()
    };
    let bounds = Bounds { message_bytes_max: 1 << 30, memory: ResponseMemory::new(150 * kib) };
    for said in [chunks(200), sized.concat(), closed, bomb] {
        let (mut connection, server) = connection(&said);
        drop(server);
        let mut marks = Marks::default();
        let outcome =
            connection.exchange(&head(), Some([b"", b"", b""]), &bounds, &mut marks).await;
        assert!(matches!(outcome, Err(Broken::NoRoom(_))), "{:.60}", said.escape_ascii());
        bounds.memory.claim().cover(150 * kib).expect("all of it is given back");
    }
    // One that fits keeps its room as long as it is held.
    let (mut connection, _server) = connection(&[chunks(65), b"0\r\n\r\n".to_vec()].concat());
    let mut marks = Marks::default();
    let response =
        connection.exchange(&head(), Some([b"", b"", b""]), &bounds, &mut marks).await.unwrap();
    assert_eq!(response.body.len(), 65 * kib);
    bounds.memory.claim().cover(100 * kib).expect_err("the response is not done with");
    drop(response);
    bounds.memory.claim().cover(150 * kib).expect("it is now");
}
