//! One TCP connection to a Flow, with TLS if the target has it. All three protocols start here, so
//! that all report the same errors.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::{self, Alpn};
use crate::client::{CallError, ClientConfig, ConfigError, TlsOptions};
use crate::wire::Target;

/// Opens connections to one target. Certificates are read once; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    target: Target,
    tls: Option<Tls>,
    limit: Duration,
}

#[derive(Clone)]
struct Tls {
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
}

// Its settings hold keys, which must not be shown.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Connection {
    /// Without TLS.
    Plain(TcpStream),
    /// Encrypted. Boxed, because its state is a hundred times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connector {
    /// Reads the files that `config.tls` names; does not connect.
    ///
    /// # Errors
    /// An invalid TLS option.
    pub(super) fn new(config: &ClientConfig, alpn: Alpn) -> Result<Connector, ConfigError> {
        let target = config.target.clone();
        let limit = config.connect_timeout;
        if !target.tls {
            return Ok(Connector { target, tls: None, limit });
        }
        let name = tls::server_name(&target, &config.tls)?;
        let config = Arc::new(tls::client_config(&config.tls, alpn)?);
        Ok(Connector { target, tls: Some(Tls { config, name }), limit })
    }

    /// A connector to the same address without TLS.
    pub(super) fn plain(&self) -> Connector {
        Connector { tls: None, ..self.clone() }
    }

    /// A TLS connector that accepts any certificate: for finding out what a port speaks, never for
    /// sending anything that matters.
    pub(super) fn asking(target: &Target, alpn: Alpn) -> Option<Connector> {
        let tls = TlsOptions { insecure: true, ..TlsOptions::default() };
        let target = Target { tls: true, ..target.clone() };
        Connector::new(&ClientConfig { tls, ..ClientConfig::new(target) }, alpn).ok()
    }

    /// Whether connections are encrypted.
    pub(super) fn uses_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Limits the time that connecting may take.
    pub(super) fn within(self, limit: Duration) -> Connector {
        Connector { limit, ..self }
    }

    /// The address it connects to.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// How long a connection may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Connects, including the TLS handshake, with `TCP_NODELAY`.
    ///
    /// # Errors
    /// `Connect` and `Tls`, also when the peer is too slow.
    pub(super) async fn connect(&self) -> Result<Connection, CallError> {
        let deadline = Instant::now() + self.limit;
        let refused = |reason: String| CallError::Connect { target: self.target.clone(), reason };
        let address = (self.target.host.as_str(), self.target.port);
        let tcp = match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) if is_own_limit(&error) => {
                let (target, reason) = (self.target.clone(), error.to_string());
                return Err(CallError::OwnLimit { target, reason });
            }
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused(format!("no answer within {:?}", self.limit))),
        };
        // Fails only if the connection is already gone, which the next step reports.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok(Connection::Plain(tcp));
        };
        let failed = |reason: String| CallError::Tls { target: self.target.clone(), reason };
        let handshake = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), tcp);
        match timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => Ok(Connection::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(tls::failure_behind(&self.target, &error).unwrap_or_else(|| {
                failed(format!("the server ended the connection in the handshake ({error})"))
            })),
            Err(_) => Err(failed(format!("no handshake within {:?}", self.limit))),
        }
    }
}

/// Whether a connection was not opened because this process or machine reached a limit: files,
/// local ports, memory.
fn is_own_limit(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const LIMITS: [Errno; 5] =
        [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| LIMITS.contains(&errno))
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Connection::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Connection::Tls(stream) => {
                let written = Pin::new(&mut *stream).poll_write(cx, bytes);
                with_last_words(stream, cx, written)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Connection::Tls(stream) => {
                let written = Pin::new(&mut *stream).poll_write_vectored(cx, slices);
                with_last_words(stream, cx, written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Plain(stream) => stream.is_write_vectored(),
            Connection::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Connection::Tls(stream) => {
                let flushed = Pin::new(&mut *stream).poll_flush(cx);
                with_last_words(stream, cx, flushed)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The reason that a server gave before it hung up, read after a write failed; `None` if it gave
/// none.
///
/// In TLS 1.3 a server rejects a client's certificate, or a missing one, after the client has begun
/// to send. It hangs up at once, so the next write fails while the reason waits to be read.
/// Anything else that waits there is left unread.
fn with_last_words<T>(
    stream: &mut TlsStream<TcpStream>,
    cx: &mut Context<'_>,
    written: Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    match written {
        Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {
            let (tcp, session) = stream.get_mut();
            // A hang-up makes the socket readable, too. The next attempt to write leads here again.
            if tcp.poll_read_ready(cx).is_pending() {
                return Poll::Pending;
            }
            while session.wants_read() && session.read_tls(&mut Ready(tcp)).is_ok_and(|n| n > 0) {
                if let Err(said) = session.process_new_packets() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, said)));
                }
            }
            Poll::Ready(Err(error))
        }
        written => written,
    }
}

/// Reads the bytes that have already arrived.
struct Ready<'a>(&'a TcpStream);

impl io::Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

#[cfg(test)]
pub(super) mod tests;
