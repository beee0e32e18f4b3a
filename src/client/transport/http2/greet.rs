//! Opening a connection: the greeting that proves that the other side speaks HTTP/2.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use super::{Code, Connection, Event};

/// What a connection stands on.
pub(in super::super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that has greeted.
pub(in super::super) struct Greeted<T> {
    pub(in super::super) io: Box<dyn Io>,
    pub(in super::super) http2: Connection<T>,
    pub(in super::super) input: BytesMut,
}

/// Why a connection did not come to that.
#[derive(Debug)]
pub(in super::super) enum Ungreeted {
    /// The other side closed it.
    Silent,
    Socket(io::Error),
    /// It said goodbye.
    Goodbye(Code),
    /// What it sends is no HTTP/2.
    NotHttp2(Code),
    /// It said nothing within this time.
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
        loop {
            while !self.http2.out().is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, self.http2.out()) {
                    Poll::Ready(Ok(0)) => return ended(Ungreeted::Silent),
                    Poll::Ready(Ok(count)) => drop(self.http2.taken(count)),
                    Poll::Ready(Err(error)) => return ended(Ungreeted::Socket(error)),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.io).poll_flush(cx) {
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
