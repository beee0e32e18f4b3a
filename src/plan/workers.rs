//! How many threads send a load, over how many connections.

use super::forecast::peak;
use super::{Load, Scenario};
use crate::units::Part;
use crate::wire::Protocol;

/// The number of connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// As many as the load needs.
    AsNeeded,
    /// Exactly this many.
    Exactly(usize),
}

/// The threads that send a load, and their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workers {
    /// Threads, each with its own connections. At least 1.
    pub threads: usize,
    /// Connections that all threads together open before the load. At least one per thread.
    pub connections: usize,
}

/// The arrivals per second above which more than one thread sends. One thread can do several times as many, and
/// a single thread keeps the schedule better.
const BUSY_RATE: f64 = 5_000.0;

/// The number of clients above which more than one thread sends.
const BUSY_CLIENTS: usize = 32;

impl Scenario {
    /// Whether each request in flight occupies a connection, as over HTTP/1.1.
    pub(crate) fn has_a_connection_each(&self) -> bool {
        self.protocol == Protocol::Http && !self.client.http_2
    }

    /// The threads that send one part of the load on a machine with this many processors.
    pub(crate) fn workers(&self, cores: usize, part: Part) -> Workers {
        let share = |total: usize| part.share(total as u64) as usize;
        let clients = match &self.load {
            Load::Closed { .. } => Some(share(peak(&self.load) as usize)),
            Load::Once | Load::Open { .. } => None,
        };
        // A thread without a client would have nothing to do.
        let threads = self.client.workers.unwrap_or(cores);
        let most = threads.min(clients.unwrap_or(usize::MAX)).max(1);
        match self.client.connections {
            Connections::Exactly(connections) => {
                // If connections are few, a part's share may be zero.
                let connections = share(connections).max(1);
                let given = self.client.workers.unwrap_or(connections);
                Workers { threads: given.min(connections).clamp(1, most), connections }
            }
            Connections::AsNeeded => {
                let busy = match clients {
                    Some(clients) => clients >= BUSY_CLIENTS,
                    None => peak(&self.load) / part.of() as f64 >= BUSY_RATE,
                };
                let threads = match self.client.workers {
                    Some(given) => given.min(most),
                    None if busy => most,
                    None => 1,
                };
                // Over HTTP each client has its own connection; opening it in advance keeps that time out of
                // the first request.
                let connections = match clients {
                    Some(clients) if self.has_a_connection_each() => clients.max(threads),
                    _ => threads,
                };
                Workers { threads, connections }
            }
        }
    }
}
