//! The JSON forms of messages: HTTP of both families, WebSocket of v1.
