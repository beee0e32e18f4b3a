//! All tests that look at the crate from outside, in one binary: it links once.

mod architecture;
mod book;
mod capacity;
mod client;
mod commands;
mod compare;
mod contract;
mod embedded;
mod flow;
mod golden;
mod hostile;
mod http;
mod interop;
mod library;
mod readme;
mod reference;
mod report;
mod run;
mod scenario;
mod schema;
mod scripted;
mod serve;
mod trouble;
mod truth;
mod websocket;
mod wire;
