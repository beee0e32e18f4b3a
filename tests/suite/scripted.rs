//! Servers that are scripted by tests, byte by byte, each on its own port.

use std::future::Future;

use flowbench::client::{
    Call, CallError, Client, ClientConfig, Failure, FamilyChoice, Reply, Request, Session,
};
use flowbench::wire::{DataRequest, Document, Family, Header, Protocol, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves each connection with `serve`, and returns the port. Ends with the test's runtime.
pub(crate) async fn listen<F, Served>(serve: F) -> u16
where
    F: Fn(TcpStream) -> Served + Send + 'static,
    Served: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(connection));
        }
    });
    port
}

/// The client configuration for such a server; the family is set, so the server is not asked for it.
pub(crate) fn config(protocol: Protocol, port: u16, family: Family) -> ClientConfig {
    let target = Target { protocol, host: "127.0.0.1".into(), port, tls: false, user_info: None };
    ClientConfig { family: FamilyChoice::Is(family), ..ClientConfig::new(target) }
}

/// A session with such a server.
pub(crate) async fn open(config: ClientConfig) -> Session {
    Client::new(config).open().await.unwrap()
}

/// Sends a request in the encoding of the session.
pub(crate) async fn send(session: &Session, request: &DataRequest) -> Result<Reply, Failure> {
    let message = session.form().encode_request(request).unwrap();
    let endpoint = request.header.exec_endpoint.clone().unwrap_or_default();
    session.call(Request::Post { message, endpoint: endpoint.into() }).await
}

/// Sends one Document to `/`.
pub(crate) async fn ask(session: &Session) -> Result<Reply, Failure> {
    send(session, &question()).await
}

/// One Document for `/`.
pub(crate) fn question() -> DataRequest {
    let document = Document { id: "d".into(), ..Document::from_text("hi") };
    DataRequest {
        header: Header { exec_endpoint: Some("/".into()), ..Header::default() },
        data: Some(vec![document]),
        ..DataRequest::default()
    }
}

/// The outcome of a call, in one line.
pub(crate) fn told(outcome: &Result<Reply, Failure>) -> String {
    let error = |error: &CallError| format!("{}: {error}", error.kind());
    match outcome {
        Ok(reply) => match (reply.failure(), reply.decode()) {
            (Some(failure), _) => format!("reply with {}", error(&failure)),
            (None, Ok(message)) => {
                let routes = reply.head.routes.as_ref().map(Vec::len);
                format!("reply with {} Documents, routes {routes:?}", message.docs().len())
            }
            (None, Err(_)) => "reply".into(),
        },
        Err(failure) => error(&failure.error),
    }
}

/// An HTTP request as a server sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Method, path, version.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The value of a header that occurs once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} occurs twice");
        value
    }
}

/// Reads one request; `None` at the end of the connection.
pub(crate) async fn read_request(connection: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut seen = Seen { line, headers, body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    seen.body = vec![0; length];
    connection.read_exact(&mut seen.body).await.ok()?;
    Some(seen)
}

/// An HTTP response with a body of known length.
pub(crate) fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Words\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads requests and sends each the same response, until the client hangs up.
pub(crate) async fn answer_all(mut connection: TcpStream, answer: Vec<u8>) {
    while read_request(&mut connection).await.is_some() {
        // The client may have hung up by now.
        let _ = connection.write_all(&answer).await;
    }
}
