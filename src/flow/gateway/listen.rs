//! Sockets: who may connect, over which protocol, and how a connection ends.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handle::Gateway;
use super::{grpc, http, websocket};
use crate::flow::config::{FlowConfig, TlsFiles};
use crate::flow::error::{FlowError, TlsError};
use crate::wire::{Family, Protocol};

/// Maximum number of connections per port, to bound memory. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// How long a client may take for its TLS handshake, and for the header of a request.
const HELLO_MAX: Duration = Duration::from_secs(30);

/// How long a stopping Flow waits for connections to close once all requests are answered. A live client
/// needs less, and one that hangs would never close.
const QUIET: Duration = Duration::from_secs(3);

/// How long a rejected client may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// HTTP/2 settings of a real gateway.
const WINDOW: u32 = 4 << 20;
const FRAME_MAX: u32 = 4 << 20;
const HEADER_LIST_MAX: u32 = 16 << 10;
/// Maximum number of streams per connection. A real gateway has no limit; this one bounds memory, and further
/// streams wait at the client.
const STREAMS_MAX: u32 = 10_000;
/// How often a v2 gateway pings silent clients.
const PING_EVERY: Duration = Duration::from_secs(10);

/// All ports of a Flow, their connections, and the gateway behind them.
#[derive(Debug)]
pub(crate) struct Server {
    gateway: Arc<Gateway>,
    /// Asks connections to finish their requests and close.
    stop: CancellationToken,
    /// Closes them immediately.
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// A gateway with its Executors, on the caller's runtime. It has no ports yet.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(crate) fn new(config: &FlowConfig) -> io::Result<Server> {
        Ok(Server {
            gateway: Arc::new(Gateway::new(config)?),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Listens on an address (port 0 means any free port) and returns the port.
    pub(crate) async fn listen(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        tls: Option<&TlsFiles>,
    ) -> Result<u16, FlowError> {
        let tls = tls.map(|files| acceptor(files, protocol)).transpose()?;
        let listen = |source: io::Error| FlowError::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();
        let door = Door {
            gateway: self.gateway.clone(),
            protocol,
            tls,
            stop: self.stop.clone(),
            abort: self.abort.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(door.open(listener));
        Ok(port)
    }

    /// Takes no new connections and requests, waits up to `grace` for those in flight, then closes the rest.
    /// Idle connections get [`QUIET`] to close.
    pub(crate) async fn stop(&self, grace: Duration) {
        const TICK: Duration = Duration::from_millis(250);
        self.stop.cancel();
        self.tasks.close();
        let patience = async {
            let mut quiet = Duration::ZERO;
            while quiet < QUIET {
                tokio::time::sleep(TICK).await;
                quiet = if self.gateway.is_idle() { quiet + TICK } else { Duration::ZERO };
            }
        };
        tokio::select! {
            () = self.tasks.wait() => (),
            _ = tokio::time::timeout(grace, patience) => {
                self.abort.cancel();
                self.tasks.wait().await;
            }
        }
        self.gateway.close();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gateway.close();
        self.abort.cancel();
    }
}

/// One port.
#[derive(Clone)]
struct Door {
    gateway: Arc<Gateway>,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    async fn open(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await.expect("it is never closed");
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.abort.cancelled() => return,
                next = next => next,
            };
            match accepted {
                Ok((socket, _)) => {
                    let door = self.clone();
                    self.tasks.spawn(async move {
                        let abort = door.abort.clone();
                        tokio::select! {
                            () = abort.cancelled() => (),
                            () = door.welcome(socket) => (),
                        }
                        drop(place);
                    });
                }
                // No file descriptors left, or the client is gone already: the next one may work.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn welcome(self, socket: TcpStream) {
        let _ = socket.set_nodelay(true); // a socket that refuses is slower, and no worse
        if self.tls.is_none() && self.protocol == Protocol::Grpc {
            // With HTTP/2, the server sends first.
            return self.serve(socket).await;
        }
        let first = tokio::select! {
            first = first_words(&socket) => first,
            () = self.stop.cancelled() => return,
        };
        match (&self.tls, first) {
            (_, First::Nothing) => (),
            (None, First::Http2) => refuse(socket, WRONG_PORT).await,
            (None, First::Tls | First::Other) => self.serve(socket).await,
            (Some(tls), First::Tls) => {
                if let Ok(Ok(socket)) = tokio::time::timeout(HELLO_MAX, tls.accept(socket)).await {
                    self.serve(socket).await;
                }
            }
            // Without a TLS handshake a real gateway answers nothing, not even a TLS alert.
            (Some(_), _) => refuse(socket, b"").await,
        }
    }

    async fn serve(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let read = Arc::new(AtomicUsize::new(0));
        let io = TokioIo::new(Counted { io: socket, read: read.clone() });
        // Cancelled in order to drop this connection without an answer.
        let broken = CancellationToken::new();
        let gateway = self.gateway.clone();
        let stop = self.stop.clone();
        match self.protocol {
            Protocol::Grpc => {
                let line = broken.clone();
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let (gateway, stop, line) = (gateway.clone(), stop.clone(), line.clone());
                    async move { Ok::<_, Infallible>(grpc::serve(gateway, stop, line, request).await) }
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .max_frame_size(FRAME_MAX)
                    .max_header_list_size(HEADER_LIST_MAX)
                    .max_concurrent_streams(STREAMS_MAX)
                    .keep_alive_interval((self.gateway.family == Family::V2).then_some(PING_EVERY));
                let connection = builder.serve_connection(io, service);
                let greeted = async {
                    tokio::time::sleep(HELLO_MAX).await;
                    if read.load(Ordering::Relaxed) < PREFACE {
                        broken.cancel();
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = until_over(connection, |it| it.graceful_shutdown(), self.stop, broken.clone()) => (),
                    () = greeted => (),
                }
            }
            Protocol::Http | Protocol::WebSocket => {
                let line = broken.clone();
                let (protocol, tasks) = (self.protocol, self.tasks.clone());
                let abort = self.abort.clone();
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let (gateway, line) = (gateway.clone(), line.clone());
                    let ends = websocket::Ends { stop: stop.clone(), abort: abort.clone() };
                    let tasks = tasks.clone();
                    async move {
                        match protocol {
                            Protocol::WebSocket => {
                                websocket::serve(gateway, ends, &tasks, request).await
                            }
                            _ => http::serve(gateway, line, request).await,
                        }
                    }
                });
                let mut builder = hyper::server::conn::http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HELLO_MAX);
                let connection = builder.serve_connection(io, service).with_upgrades();
                until_over(connection, |it| it.graceful_shutdown(), self.stop, broken).await;
            }
        }
    }
}

/// Length in bytes of the preface with which an HTTP/2 client begins, without the settings after it.
const PREFACE: usize = 24;

/// Counts the bytes that are read from a connection.
struct Counted<T> {
    io: T,
    read: Arc<AtomicUsize>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.read.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Serves a connection until it ends. On `stop`, `goodbye` asks it to finish its requests; `broken` drops
/// it.
#[expect(
    clippy::manual_async_fn,
    reason = "the compiler cannot prove such an `async fn` to be `Send`"
)]
fn until_over<C: Future<Output = hyper::Result<()>> + Send>(
    connection: C,
    goodbye: fn(Pin<&mut C>),
    stop: CancellationToken,
    broken: CancellationToken,
) -> impl Future<Output = ()> + Send {
    async move {
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => (),
            () = broken.cancelled() => (),
            () = stop.cancelled() => {
                goodbye(connection.as_mut());
                tokio::select! {
                    _ = connection => (),
                    () = broken.cancelled() => (),
                }
            }
        }
    }
}

/// How a connection begins.
enum First {
    /// With HTTP/2, which belongs to the gRPC port.
    Http2,
    Tls,
    Other,
    /// Nothing came in time.
    Nothing,
}

/// Peeks at the first bytes of a connection.
async fn first_words(socket: &TcpStream) -> First {
    const TLS_HANDSHAKE: u8 = 22;
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
    let mut first = [0; HTTP2.len()];
    match tokio::time::timeout(HELLO_MAX, socket.peek(&mut first)).await {
        Ok(Ok(0) | Err(_)) | Err(_) => First::Nothing,
        Ok(Ok(_)) if first[0] == TLS_HANDSHAKE => First::Tls,
        // `PRI` is enough: no HTTP/1 method begins like this.
        Ok(Ok(n)) if n >= 3 && HTTP2.starts_with(&first[..n]) => First::Http2,
        Ok(Ok(_)) => First::Other,
    }
}

/// The answer of a real gateway to a gRPC client on the wrong port. Merely closing the connection would
/// look like a network failure.
const WRONG_PORT: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    connection: close\r\n\r\n\
    Invalid HTTP request received.";

/// Sends these bytes, then closes the connection.
async fn refuse(mut socket: TcpStream, words: &[u8]) {
    // Reads first: with unread bytes, closing would send a reset that overtakes the answer.
    let mut taken = [0; 4096];
    let _ = socket.try_read(&mut taken);
    if socket.write_all(words).await.is_ok() && socket.shutdown().await.is_ok() {
        let read = async { while matches!(socket.read(&mut taken).await, Ok(n) if n > 0) {} };
        let _ = tokio::time::timeout(LINGER, read).await;
    }
}

/// Accepts TLS with the certificate of these files.
///
/// # Errors
/// When they cannot be used.
pub(crate) fn acceptor(files: &TlsFiles, protocol: Protocol) -> Result<TlsAcceptor, TlsError> {
    let certificates = |path: &PathBuf| {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| TlsError::File { path: path.clone(), source })
    };
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::File { path: files.key.clone(), source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let config = match &files.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config.with_single_cert(chain, key)?;
    let alpn: &[u8] = if protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
