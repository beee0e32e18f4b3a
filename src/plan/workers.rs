//! How many threads send a load, over how many connections.

use super::forecast::peak;
use super::{Load, Scenario};
use crate::units::Part;
use crate::wire::Protocol;

/// Connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// As many as the load needs.
    AsNeeded,
    /// So many.
    Exactly(usize),
}

/// The threads that send a load, and their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workers {
    /// Threads, each with connections of its own. At least 1.
    pub threads: usize,
    /// Connections that are opened before the load, by all of them together. At least as many.
    pub connections: usize,
}

/// Arrivals per second from which on more than one thread sends. One can do several times as many,
/// and keeps time better when there is only one of them.
const BUSY_RATE: f64 = 5_000.0;

/// Clients from which on more than one thread sends.
const BUSY_CLIENTS: usize = 32;

impl Scenario {
    /// Whether each request has a connection of its own while it is in flight, as over HTTP/1.1.
    pub(crate) fn has_a_connection_each(&self) -> bool {
        self.protocol == Protocol::Http && !self.client.http_2
    }

    /// The threads that send a part of it on a machine of so many processors.
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
                // A part of few connections may have none left for it.
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
                // Over HTTP each client has a connection of its own; opened before, it costs no
                // request its time.
                let connections = match clients {
                    Some(clients) if self.has_a_connection_each() => clients.max(threads),
                    _ => threads,
                };
                Workers { threads, connections }
            }
        }
    }
}
