//! The handshake that opens a WebSocket.

use bytes::BytesMut;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::super::connect::{Connection, Connector};
use super::super::http1::{self, Marks, RequestHead, Response};
use crate::client::memory::Bounds;
use crate::client::{CallError, GatewayCode};
use crate::wire::Form;

/// What all links of a session have in common.
pub(super) struct Opening {
    pub(super) connector: Connector,
    /// Header lines of the handshake, except WebSocket's own.
    pub(super) headers: String,
    pub(super) form: Form,
    pub(super) bounds: Bounds,
}

impl Opening {
    /// Connects and does the handshake; returns the bytes read beyond it.
    ///
    /// # Errors
    /// `Connect`, `Tls`, `Lost`, and `Protocol` or `Gateway` when the handshake is refused.
    pub(super) async fn open(&self) -> Result<(Connection, BytesMut), CallError> {
        let io = self.connector.connect().await?;
        let limit = self.connector.limit();
        timeout(limit, self.shake_hands(io))
            .await
            .map_err(|_| self.protocol(format!("no answer to the handshake within {limit:?}")))?
    }

    async fn shake_hands(&self, io: Connection) -> Result<(Connection, BytesMut), CallError> {
        let key = generate_key();
        let headers = format!(
            "{}connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: bytes\r\nsec-websocket-key: {key}\r\n",
            self.headers
        );
        let head = RequestHead::new("GET", "/", &headers);
        let mut connection = http1::Connection::new(io);
        let mut marks = Marks::default();
        let limit = self.bounds.message_bytes_max;
        let exchange = connection.exchange(&head, None, &self.bounds, &mut marks).await;
        let response = exchange.map_err(|b| {
            b.into_error(self.connector.target(), "WebSocket", limit, marks.first.is_some())
        })?;
        match response.status {
            101 => {
                self.check(&response, &key)?;
                Ok(connection.into_parts())
            }
            // From a proxy, or from a gateway that cannot serve at the moment.
            status @ (401 | 407 | 408 | 429 | 500..) => Err(CallError::Gateway {
                code: GatewayCode::Http(status),
                message: response.words(),
                retry_after: response.retry_after(),
            }),
            status => {
                let words = match response.header("location") {
                    Some(location) => format!("it has moved to `{location}`"),
                    None => response.words(),
                };
                let reason = format!("it responds to the handshake with status {status}: {words}");
                Err(self.protocol(reason))
            }
        }
    }

    /// A gateway names no subprotocol, whatever was asked for.
    fn check(&self, response: &Response, key: &str) -> Result<(), CallError> {
        if response.header("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
            return Err(self
                .protocol("its handshake response lacks the right `sec-websocket-accept`".into()));
        }
        if response.header("sec-websocket-extensions").is_some_and(|e| !e.is_empty()) {
            return Err(self.protocol("it uses an extension that was not requested".into()));
        }
        match response.header("sec-websocket-protocol") {
            None | Some("bytes") => Ok(()),
            Some(other) => Err(self.protocol(format!("it speaks the subprotocol `{other}`"))),
        }
    }

    fn protocol(&self, reason: String) -> CallError {
        let target = self.connector.target().clone();
        CallError::Protocol { target, expected: "WebSocket", reason, named: false }
    }
}
