//! Metrics of a Flow under load: those that its pods export, queries to a Prometheus server that scrapes it, and the
//! processes that a command started.
//!
//! All of it is read on a separate thread, which shares nothing with the sending threads. Failed readings are
//! reported and never end a load.

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

/// What to read about a Flow while it is under load.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Addresses of metrics pages.
    pub addresses: Vec<Address>,
    /// Names of further metrics on these pages.
    pub also: Vec<String>,
    /// A Prometheus server that already scrapes the Flow.
    pub prometheus: Option<Prometheus>,
    /// How the certificates of all of them are verified.
    pub tls: TlsOptions,
}

/// Queries to a Prometheus server.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// Its address.
    pub url: Address,
    /// Name and query of each.
    pub queries: Vec<(String, String)>,
}

impl Watch {
    /// Names of the additional metrics and queries.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        let queries = self.prometheus.iter().flat_map(|prometheus| &prometheus.queries);
        self.also.iter().map(String::as_str).chain(queries.map(|(name, _)| name.as_str()))
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.prometheus.is_none()
    }
}
