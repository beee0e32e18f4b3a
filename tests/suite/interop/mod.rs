//! Our client against real Jina Flows of three releases, started here.
//!
//! The first run creates a virtual environment for each release below `target/jina/` from the pins in
//! `tests/interop/`. If Python 3.11 or the packages are not available, these tests print `skipped: …` and pass,
//! unless `FLOWBENCH_REQUIRE_JINA=1` is set; nothing else skips.

mod commands;
mod decode;
mod failures;
mod flow;
mod flows;
mod graphql;
mod lifetime;
mod manner;
mod matrix;
mod outcomes;
mod own;
mod proxy;
pub(crate) mod python;
mod roundtrip;
mod samples;
mod streaming;
pub(crate) mod tls;
mod traced;
mod watched;

use flowbench::client::{Client, ClientConfig, TlsOptions};
use flowbench::wire::Protocol;

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];

/// A client of this Flow that trusts our CA.
fn client(flow: &flow::RealFlow, protocol: Protocol) -> Client {
    Client::new(config(flow, protocol))
}

/// Settings of such a client.
fn config(flow: &flow::RealFlow, protocol: Protocol) -> ClientConfig {
    let mut config = ClientConfig::new(flow.target(protocol));
    if config.target.tls {
        config.tls = TlsOptions { ca: Some(tls::files().ca.clone()), ..TlsOptions::default() };
    }
    config
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime can be made")
}
