//! gRPC over one hyper connection, for traffic that is not measured: coordination of a distributed
//! load, and receivers of metrics.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;

/// A hyper connection in the form that tonic expects.
#[derive(Debug)]
pub(crate) struct Channel(SendRequest<Body>);

impl Channel {
    /// Does the HTTP/2 handshake over a socket. The connection ends with the handle.
    ///
    /// # Errors
    /// When the peer does not speak HTTP/2.
    pub(crate) async fn over(
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> hyper::Result<(Channel, AbortOnDropHandle<()>)> {
        let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        Ok((Channel(send), connection))
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
