//! What a Flow tells of itself while it is under load: the metrics that its pods offer, queries to a
//! Prometheus server that scrapes it, and the processes that a command started.
//!
//! All of it is read on a thread of its own, which shares nothing with those that send. Whatever an address
//! answers, or does not, is told and ends no load.

mod address;
mod figures;
mod jina;
mod processes;
mod readings;
mod replay;
mod scrape;
mod summary;
mod text;
mod watcher;

pub use address::{Address, AddressError};
pub(crate) use replay::{Reading, Replay};
pub(crate) use summary::Seen;
pub use summary::{FigureSummary, PlaceKind, PlaceSummary, ServerSummary, SourceSummary};
pub(crate) use watcher::Watcher;

use crate::client::TlsOptions;

/// What is read of a Flow while it is under load.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Addresses of metrics.
    pub addresses: Vec<Address>,
    /// Further metrics of these, by their names.
    pub also: Vec<String>,
    /// A server that scrapes already.
    pub prometheus: Option<Prometheus>,
    /// How the certificates of all these are verified.
    pub tls: TlsOptions,
}

/// Queries to a Prometheus server.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// Where it is.
    pub url: Address,
    /// By the names of what they give.
    pub queries: Vec<(String, String)>,
}

impl Watch {
    /// The metrics and queries that have a name of their own.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        let queries = self.prometheus.iter().flat_map(|prometheus| &prometheus.queries);
        self.also.iter().map(String::as_str).chain(queries.map(|(name, _)| name.as_str()))
    }

    /// Whether it is told to read anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.prometheus.is_none()
    }
}
