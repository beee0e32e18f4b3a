//! HTTP/2 on a socket: the greeting, what is sent and when, and lanes: places for connections.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::super::rows::Key;
use super::{Code, Connection, Event};
use crate::client::CallError;

/// The socket under a connection.
pub(in super::super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection whose greeting is complete.
pub(in super::super) struct Greeted<T> {
    pub(in super::super) io: Box<dyn Io>,
    pub(in super::super) http2: Connection<T>,
    /// Bytes that arrived after the greeting.
    pub(in super::super) input: BytesMut,
}

/// Why a greeting failed.
#[derive(Debug)]
pub(in super::super) enum Ungreeted {
    /// The peer closed the connection.
    Silent,
    Socket(io::Error),
    /// The peer said goodbye.
    Goodbye(Code),
    /// The peer does not send HTTP/2.
    NotHttp2(Code),
    /// The peer sent nothing within this time.
    Late(Duration),
}

/// Greets on an open connection, and waits for settings and the answer to a ping.
pub(in super::super) async fn greet<T>(
    io: Box<dyn Io>,
    limit: Duration,
) -> Result<Greeted<T>, Ungreeted> {
    let mut greeted = Greeted { io, http2: Connection::new(), input: BytesMut::new() };
    greeted.http2.ping(*b"flowbnch");
    match timeout(limit, std::future::poll_fn(|cx| greeted.poll(cx))).await {
        Ok(outcome) => outcome.map(|()| greeted),
        Err(_) => Err(Ungreeted::Late(limit)),
    }
}

impl<T> Greeted<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ungreeted>> {
        let ended = |ended| Poll::Ready(Err(ended));
        let mut positions = Positions::default();
        loop {
            if let Poll::Ready(Err(error)) =
                write_out(&mut *self.io, &mut self.http2, &mut positions, cx, |_, _| ())
            {
                return ended(Ungreeted::Socket(error));
            }
            self.input.reserve(1024);
            match pin!(self.io.read_buf(&mut self.input)).poll(cx) {
                Poll::Ready(Ok(0)) => return ended(Ungreeted::Silent),
                Poll::Ready(Ok(_)) => (),
                Poll::Ready(Err(error)) => return ended(Ungreeted::Socket(error)),
                Poll::Pending => return Poll::Pending,
            }
            loop {
                match self.http2.next(&mut self.input) {
                    Ok(Some(Event::Pong(_))) => return Poll::Ready(Ok(())),
                    Ok(Some(Event::GoAway { code, .. })) => return ended(Ungreeted::Goodbye(code)),
                    Ok(Some(_)) => (),
                    Ok(None) => break,
                    Err(code) => return ended(Ungreeted::NotHttp2(code)),
                }
            }
        }
    }
}

/// Positions of the first bytes of requests in what the socket has not taken yet.
#[derive(Debug, Default)]
pub(in super::super) struct Positions(VecDeque<(u64, Key)>);

impl Positions {
    /// A request begins at this position of the output.
    pub(in super::super) fn put(&mut self, position: u64, key: Key) {
        self.0.push_back((position, key));
    }
}

/// Hands the output to the socket, and reports of each request whose first byte was among it when
/// it was handed over.
///
/// Pending: the socket takes no more for now.
pub(in super::super) fn write_out<T>(
    io: &mut dyn Io,
    http2: &mut Connection<T>,
    positions: &mut Positions,
    cx: &mut Context<'_>,
    mut written: impl FnMut(Key, Instant),
) -> Poll<io::Result<()>> {
    while !http2.out().is_empty() {
        // Taken before the write, because the kernel may send at once.
        let now = Instant::now();
        let count = match Pin::new(&mut *io).poll_write(cx, http2.out()) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let until = http2.taken(count);
        while let Some((_, key)) = positions.0.front().filter(|(at, _)| *at < until) {
            written(*key, now);
            positions.0.pop_front();
        }
    }
    Pin::new(io).poll_flush(cx)
}

/// A place for a connection. Requests are spread over lanes in turn.
pub(in super::super) struct Lane<T> {
    /// The number of the connection that takes new requests.
    pub(in super::super) conn: Option<usize>,
    opening: Option<BoxFuture<'static, Result<Greeted<T>, CallError>>>,
    waiting: VecDeque<Key>,
}

impl<T> Default for Lane<T> {
    fn default() -> Lane<T> {
        Lane { conn: None, opening: None, waiting: VecDeque::new() }
    }
}

impl<T> Lane<T> {
    /// Makes a request wait for the next connection, which `connect` opens if none is being opened.
    pub(in super::super) fn wait(
        &mut self,
        key: Key,
        connect: impl FnOnce() -> BoxFuture<'static, Result<Greeted<T>, CallError>>,
    ) {
        self.waiting.push_back(key);
        self.opening.get_or_insert_with(connect);
    }

    /// A connection that was opened, or why it could not be, and the requests that waited for it.
    #[expect(clippy::type_complexity, reason = "what came of it, and for whom")]
    pub(in super::super) fn opened(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Result<Greeted<T>, CallError>, VecDeque<Key>)> {
        let Poll::Ready(opened) = self.opening.as_mut()?.as_mut().poll(cx) else { return None };
        self.opening = None;
        Some((opened, std::mem::take(&mut self.waiting)))
    }

    /// A connection takes no new requests from now on.
    pub(in super::super) fn left(&mut self, at: usize) {
        if self.conn == Some(at) {
            self.conn = None;
        }
    }
}
