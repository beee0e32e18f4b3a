//! Kept-alive connections: as many as requests run at once, each for one exchange at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Duration, Instant};

use super::super::connect::{self, Connector};
use super::super::http1;
use super::super::pending::{UnmatchedCounts, Why};
use crate::client::{CallError, Unmatched};

type Connection = http1::Connection<connect::Connection>;

/// No address has more ports than this to connect from.
const CONNECTIONS_MAX: usize = 1 << 16;
/// Handshakes at a time when connections are opened ahead: below what a server's backlog holds (128
/// on old systems), so that none waits for a SYN that is sent again.
const OPENING_AT_ONCE: usize = 64;

/// No server tidies a connection up that was in use this short a time ago.
const IDLE_LONG: Duration = Duration::from_secs(1);

/// Connections to one target.
///
/// A new one is opened when a request finds none idle, so there are never more than there were
/// requests at once; how many that are is bounded by who sends them (`prefetch`, `max_in_flight`),
/// and a bound here would only hide that a request waits for its turn. The last one that became idle
/// is taken first; those below it grow old, and when one turns out to be closed by the server (Jina's
/// gateways do so after five seconds), its like go with it.
pub(super) struct Pool {
    connector: Connector,
    /// Each with the instant since which it lies idle.
    idle: Mutex<Vec<(Connection, Instant)>>,
    /// One permit for each connection in use.
    turns: Semaphore,
    unmatched: UnmatchedCounts,
}

/// A connection for one exchange.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: Connection,
    /// How long it lay idle before; `None`: it is new.
    idle: Option<Duration>,
    _turn: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Pool {
        Pool {
            connector,
            idle: Mutex::default(),
            turns: Semaphore::new(CONNECTIONS_MAX),
            unmatched: UnmatchedCounts::default(),
        }
    }

    /// Opens connections ahead of the first request.
    ///
    /// # Errors
    /// The first connection that cannot be made.
    pub(super) async fn fill(&self, connections: usize) -> Result<(), CallError> {
        let opened: Vec<_> = stream::iter(0..connections)
            .map(|_| self.connector.connect())
            .buffer_unordered(OPENING_AT_ONCE)
            .map_ok(http1::Connection::new)
            .try_collect()
            .await?;
        let now = Instant::now();
        self.idle().extend(opened.into_iter().map(|connection| (connection, now)));
        Ok(())
    }

    /// A connection that was idle, or else a new one.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, CallError> {
        let turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let (connection, idle) = match self.take_idle() {
            Some((connection, since)) => (connection, Some(since.elapsed())),
            // Rare and large: in a place of its own, it is no part of every request in flight.
            None => (Box::pin(self.open()).await?, None),
        };
        Ok(Lease { pool: self, connection, idle, _turn: turn })
    }

    fn take_idle(&self) -> Option<(Connection, Instant)> {
        let mut idle = self.idle();
        let (mut last, since) = idle.pop()?;
        if last.is_open() {
            return Some((last, since));
        }
        self.count_unasked(&last);
        idle.retain_mut(|(connection, _)| {
            let is_open = connection.is_open();
            if !is_open {
                self.count_unasked(connection);
            }
            is_open
        });
        idle.pop()
    }

    /// Answers beyond those to our requests, so far; a connection on which one comes is used no more.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.unmatched.get()
    }

    /// Something that came after an answer is a second one: nothing else was asked.
    fn count_unasked(&self, connection: &Connection) {
        if connection.has_more() {
            self.unmatched.add(Why::Duplicate);
        }
    }

    async fn open(&self) -> Result<Connection, CallError> {
        Ok(http1::Connection::new(self.connector.connect().await?))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        // Nothing that runs under the lock leaves the list half-changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    /// The connection itself.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether it lay idle for long before: if so, the server may have closed it in the very moment
    /// it was taken.
    pub(super) fn was_idle_long(&self) -> bool {
        self.idle.is_some_and(|idle| idle >= IDLE_LONG)
    }

    /// Puts a new connection in the place of this one.
    pub(super) async fn renew(&mut self) -> Result<(), CallError> {
        self.connection = Box::pin(self.pool.open()).await?;
        self.idle = None;
        Ok(())
    }

    /// Gives the connection back, if it can take another request.
    pub(super) fn give_back(self) {
        self.pool.count_unasked(&self.connection);
        if self.connection.is_reusable() {
            self.pool.idle().push((self.connection, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::super::super::tls::Alpn;
    use super::*;
    use crate::client::ClientConfig;
    use crate::wire::{Protocol, Target};

    /// A pool with so many idle connections, what takes more, and their other ends in order.
    async fn pool(idle: usize) -> (Pool, TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Target {
            protocol: Protocol::Http,
            host: "127.0.0.1".into(),
            port,
            tls: false,
            user_info: None,
        };
        let connector = Connector::new(&ClientConfig::new(target), Alpn::Http1).unwrap();
        let pool = Pool::new(connector);
        let mut ends = Vec::new();
        for _ in 0..idle {
            pool.fill(1).await.unwrap();
            ends.push(listener.accept().await.unwrap().0);
        }
        (pool, listener, ends)
    }

    /// Closes our peer's end, and waits until that has come to our side.
    async fn close(pool: &Pool, at: usize, end: TcpStream) {
        drop(end);
        while pool.idle()[at].0.is_open() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_last_idle_connection_is_taken_first() {
        let (pool, _listener, mut ends) = pool(3).await;
        let lease = pool.lease().await.unwrap();
        assert!(lease.idle.is_some());
        drop(lease);
        // Its end is the one that closes.
        let last = ends.pop().unwrap();
        last.readable().await.unwrap();
        assert_eq!(last.try_read(&mut [0]).unwrap(), 0);
        assert_eq!(pool.idle().len(), 2);
    }

    #[tokio::test]
    async fn closed_connections_are_swept_out_when_one_is_found() {
        let (pool, _listener, mut ends) = pool(4).await;
        for at in [3, 1, 0] {
            close(&pool, at, ends.remove(at)).await;
        }
        let lease = pool.lease().await.unwrap();
        assert!(lease.idle.is_some());
        assert_eq!(pool.idle().len(), 0);
        lease.give_back();
        assert_eq!(pool.idle().len(), 1);
    }

    #[tokio::test]
    async fn a_new_connection_is_made_when_all_are_closed_or_in_use() {
        let (pool, listener, mut ends) = pool(2).await;
        let first = pool.lease().await.unwrap();
        close(&pool, 0, ends.remove(0)).await;
        let second = pool.lease().await.unwrap();
        assert!(first.idle.is_some() && second.idle.is_none());
        listener.accept().await.unwrap();
    }
}
