//! Opening a connection: the greeting that proves that the other side speaks HTTP/2.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use super::super::super::http2::{self, Event};
use super::super::setup::Setup;
use super::conn::of_socket;
use super::{Call, Io};
use crate::client::CallError;

/// A connection that has greeted.
pub(super) struct Greeted {
    pub(super) io: Box<dyn Io>,
    pub(super) http2: http2::Connection<Call>,
    pub(super) input: BytesMut,
}

/// Connects, and waits until the other side has proven that it speaks HTTP/2.
pub(super) async fn connect(setup: Arc<Setup>) -> Result<Greeted, CallError> {
    let io = setup.connector.connect().await?;
    greet(Box::new(io), &setup).await
}

/// Greets on an open connection, and waits for settings and the answer to a ping.
pub(super) async fn greet(io: Box<dyn Io>, setup: &Setup) -> Result<Greeted, CallError> {
    let limit = setup.connector.limit();
    let mut greeted = Greeted { io, http2: http2::Connection::new(), input: BytesMut::new() };
    greeted.http2.ping(*b"flowbnch");
    match timeout(limit, std::future::poll_fn(|cx| greeted.poll(setup, cx))).await {
        Ok(outcome) => outcome.map(|()| greeted),
        Err(_) => Err(setup.protocol(format!("no HTTP/2 greeting within {limit:?}"))),
    }
}

impl Greeted {
    pub(super) fn poll(
        &mut self,
        setup: &Setup,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CallError>> {
        loop {
            while !self.http2.out().is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, self.http2.out()) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(setup.silent())),
                    Poll::Ready(Ok(count)) => drop(self.http2.taken(count)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(of_socket(setup, &error))),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.io).poll_flush(cx) {
                return Poll::Ready(Err(of_socket(setup, &error)));
            }
            self.input.reserve(1024);
            match pin!(self.io.read_buf(&mut self.input)).poll(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(setup.silent())),
                Poll::Ready(Ok(_)) => (),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(of_socket(setup, &error))),
                Poll::Pending => return Poll::Pending,
            }
            loop {
                match self.http2.next(&mut self.input) {
                    Ok(Some(Event::Pong(_))) => return Poll::Ready(Ok(())),
                    Ok(Some(Event::GoAway { code, .. })) => {
                        return Poll::Ready(Err(setup.goodbye(code)));
                    }
                    Ok(Some(_)) => (),
                    Ok(None) => break,
                    Err(code) => return Poll::Ready(Err(setup.no_http2(code))),
                }
            }
        }
    }
}
