//! WebSocket: requests and responses as frames of one connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CallFailure, Gateway, MESSAGE_MAX, http};
use crate::flow::message::Message;

/// The frame that ends the requests: Python's `bytes(True)`.
const END: &[u8] = &[0];

/// How a connection learns that it is to end.
pub(super) struct Ends {
    /// Finish what is in work.
    pub(super) stop: CancellationToken,
    /// At once.
    pub(super) abort: CancellationToken,
}

/// Answers one request of the port: as a rule the one that makes it a WebSocket.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    ends: Ends,
    tasks: &TaskTracker,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let upgrade = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let path = request.uri().path().to_owned();
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let (true, Some(key)) = (upgrade, key) else {
        let reply = http::side_route(&gateway, request.method(), &path);
        return Ok(reply.unwrap_or_else(|| {
            let mut reply = Response::new(Full::new(r#"{"detail":"Not Found"}"#.into()));
            *reply.status_mut() = StatusCode::NOT_FOUND;
            let json = HeaderValue::from_static("application/json");
            reply.headers_mut().insert(CONTENT_TYPE, json);
            reply
        }));
    };
    let dry_run = match path.as_str() {
        "/" => false,
        "/dry_run" => true,
        _ => {
            let mut reply = Response::new(Full::default());
            *reply.status_mut() = StatusCode::FORBIDDEN;
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(reply);
        }
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tasks.spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let abort = ends.abort.clone();
        tokio::select! {
            () = abort.cancelled() => (),
            () = converse(gateway, ends.stop, socket, dry_run) => (),
        }
    });
    // The gateway never answers with a subprotocol, whatever was asked.
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .expect("base64 makes a header value");
    reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(reply)
}

type Work = Pin<Box<dyn Future<Output = Result<Bytes, CallFailure>> + Send>>;

async fn converse<S>(
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    mut socket: WebSocketStream<S>,
    dry_run: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if dry_run {
        // At once, without waiting for a frame.
        let _ = socket.send(Frame::Binary(Bytes::new())).await;
        close(&mut socket, CloseCode::Normal, "").await;
        return;
    }
    // At most `prefetch` requests.
    let mut in_work: FuturesUnordered<Work> = FuturesUnordered::new();
    let mut open = true;
    while open || !in_work.is_empty() {
        tokio::select! {
            biased;
            () = stop.cancelled(), if open => open = false,
            Some(answer) = in_work.next() => match answer {
                // More answers may be ready: they go out together.
                Ok(bytes) => {
                    if socket.feed(Frame::Binary(bytes)).await.is_err() {
                        return;
                    }
                }
                // A real gateway drops the connection without a close frame.
                Err(_) => return,
            },
            frame = socket.next(), if open && in_work.len() < gateway.prefetch => match frame {
                Some(Ok(Frame::Binary(bytes))) if bytes == END => open = false,
                Some(Ok(Frame::Binary(bytes))) => {
                    in_work.push(Box::pin(answer(gateway.clone(), bytes)));
                    continue;
                }
                Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => (),
                Some(Ok(Frame::Close(_) | Frame::Text(_)) | Err(_)) | None => return,
            },
        }
        if in_work.is_empty() && socket.flush().await.is_err() {
            return;
        }
    }
    close(&mut socket, CloseCode::Normal, "").await;
}

async fn answer(gateway: Arc<Gateway>, bytes: Bytes) -> Result<Bytes, CallFailure> {
    if bytes.is_empty() {
        return Err(CallFailure::Empty);
    }
    let message = gateway.handle(Message::decode(bytes)?).await?;
    Ok(message.encode(gateway.family)?)
}

async fn close<S>(socket: &mut WebSocketStream<S>, code: CloseCode, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = CloseFrame { code, reason: reason.to_owned().into() };
    if socket.close(Some(frame)).await.is_ok() {
        // The other side's close ends the conversation.
        while let Some(Ok(_)) = socket.next().await {}
    }
}
