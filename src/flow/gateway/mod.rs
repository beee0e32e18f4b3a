//! The gateway over its three protocols.
//!
//! `listen` opens ports and hands each connection to `grpc`, `http` or `websocket`. These read requests,
//! have `handle` pass them through the Executors, and write the answers. `handle` knows none of them.

mod about;
mod body;
mod codecs;
mod failure;
mod graphql;
mod grpc;
mod handle;
mod http;
mod listen;
mod openapi;
mod outbox;
mod post;
mod reflection;
mod reply;
mod side;
mod sse;
mod websocket;

pub(super) use self::listen::Server;
pub(crate) use self::listen::acceptor;
