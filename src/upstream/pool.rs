//! The idle connections of one worker, and the calls that wait for one.
//!
//! One pool per worker and worker per thread: no lock. The most recently used connection is taken first, so
//! that surplus ones grow old and are dropped before the upstream drops them.
//!
//! A call that finds none has a new one made, and takes whichever comes first, that or one which another call gives
//! back: over a long way an answer is often here before a handshake is done.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::connection::Connection;
use super::connector::{ConnectError, Connector};

/// An idle connection is not used after this long. WeChat's own limit is not documented; nginx's default of
/// 75 s and the 60 s of common load balancers are above it.
const IDLE_LIMIT: Duration = Duration::from_secs(50);

/// After a shorter rest than this nobody looks at a connection before it is used. Whatever the upstream has done
/// to it comes to light with the first poll of the exchange, before anything of a request is written; the look
/// only saves that request a new connection where another idle one is good.
const SHORT_REST: Duration = Duration::from_secs(1);

/// The connections of one worker that are not in use.
#[derive(Default)]
pub(super) struct Pool {
    /// Oldest first.
    idle: RefCell<Vec<Idle>>,
    /// First come, first served. For each of them a connection is being made, so that none waits for ever.
    waiting: RefCell<VecDeque<oneshot::Sender<Made>>>,
}

type Made = Result<Box<Connection>, ConnectError>;

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

    /// The next connection that is given back or made; or why none could be made, for whomever it was meant.
    pub(super) async fn wait(self: &Rc<Self>, connector: &Connector) -> Made {
        let (waiting, made) = oneshot::channel();
        self.waiting.borrow_mut().push_back(waiting);
        let (pool, connector) = (Rc::clone(self), connector.clone());
        // Not part of this future: it may be another's that is ready first, and whom it serves it does not know.
        spawn_local(async move {
            // Whatever it is, it ends somebody's wait; what has become of a connection meanwhile, its exchange tells.
            if let Some(Ok(unwanted)) = pool.hand_over(connector.connect().await) {
                pool.give_back(unwanted);
            }
        });
        made.await.expect("the pool drops nobody who waits")
    }

    /// Keeps a connection whose exchange is over for the next one, unless it has ended or has unread bytes.
    pub(super) fn give_back(&self, mut connection: Box<Connection>) {
        if !(connection.is_idle() || connection.is_usable()) {
            return;
        }
        if let Some(Ok(connection)) = self.hand_over(Ok(connection)) {
            self.idle.borrow_mut().push(Idle { connection, since: Instant::now() });
        }
    }

    /// Gives it to who has waited longest; returns it when nobody waits any more.
    fn hand_over(&self, mut made: Made) -> Option<Made> {
        while let Some(waiting) = self.waiting.borrow_mut().pop_front() {
            match waiting.send(made) {
                Ok(()) => return None,
                Err(unwanted) => made = unwanted,
            }
        }
        Some(made)
    }

    /// Drops what is too old or has been closed by the upstream; how many are left.
    pub(super) fn sweep(&self) -> usize {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| idle.since.elapsed() < IDLE_LIMIT && idle.connection.is_usable());
        idle.len()
    }
}
