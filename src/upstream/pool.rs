//! The idle connections of one worker.
//!
//! One pool per worker and worker per thread: no lock. The most recently used connection is taken first, so
//! that surplus ones grow old and are dropped before the upstream drops them.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// An idle connection is not used after this long. WeChat's own limit is not documented; nginx's default of
/// 75 s and the 60 s of common load balancers are above it.
const IDLE_LIMIT: Duration = Duration::from_secs(50);

/// After a shorter rest than this nobody looks at a connection before it is used. Whatever the upstream has done
/// to it comes to light with the first poll of the exchange, before anything of a request is written; the look
/// only saves that request a new connection where another idle one is good.
const SHORT_REST: Duration = Duration::from_secs(1);

/// The idle connections of one worker, oldest first.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl Pool {
    /// A connection that nobody has seen closed, if there is one.
    pub(super) fn take(&self) -> Option<Box<Connection>> {
        loop {
            // The borrow ends before the connection is polled.
            let mut idle = self.idle.borrow_mut().pop()?;
            let rested = idle.since.elapsed();
            if rested < SHORT_REST || (rested < IDLE_LIMIT && idle.connection.is_usable()) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection whose exchange is over, unless it has ended or has unread bytes.
    pub(super) fn give_back(&self, mut connection: Box<Connection>) {
        if connection.is_idle() || connection.is_usable() {
            self.idle.borrow_mut().push(Idle { connection, since: Instant::now() });
        }
    }

    /// Drops what is too old or has been closed by the upstream; how many are left.
    pub(super) fn sweep(&self) -> usize {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| idle.since.elapsed() < IDLE_LIMIT && idle.connection.is_usable());
        idle.len()
    }
}
