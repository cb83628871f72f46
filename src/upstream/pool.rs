//! The idle connections of one worker to one API host, and the requests that wait for one.
//!
//! One pool per worker and worker per thread: no lock. The most recently used connection is taken first, so
//! that surplus ones stay idle until they are dropped, before the upstream drops them.
//!
//! A request that finds none has a new one made, and takes whichever comes first, that or one which another request
//! gives back: over a long way an answer is often here before a handshake is done.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::connection::Connection;
use super::connector::Connector;
use super::wire::ConnectError;

/// An idle connection is not used after this long. WeChat's own limit is not documented; nginx's default of
/// 75 s and the 60 s of common load balancers are above it.
const IDLE_LIMIT: Duration = Duration::from_secs(50);

/// A connection that has been idle for less than this is not looked at before it is used. Whatever the upstream has
/// done to it comes to light with the first poll of the exchange, before anything of a request is written; the look
/// only saves that request a new connection where another idle one is good.
const SHORT_IDLE: Duration = Duration::from_secs(1);

/// The connections of one worker to one API host that are not in use.
pub(super) struct Pool {
    connector: Connector,
    /// Oldest first; [`Connection::heard`] tells since when each is idle.
    #[expect(clippy::vec_box, reason = "a connection is boxed for life: it is handed on with every request")]
    idle: RefCell<Vec<Box<Connection>>>,
    /// First come, first served. For each of them a connection is being made, so that none waits for ever.
    waiting: RefCell<VecDeque<oneshot::Sender<Made>>>,
}

type Made = Result<Box<Connection>, ConnectError>;

impl Pool {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, idle: RefCell::default(), waiting: RefCell::default() }
    }

    /// A connection that is not known to be closed, if there is one.
    pub(super) fn take(&self) -> Option<Box<Connection>> {
        loop {
            // The borrow ends before the connection is polled.
            let mut connection = self.idle.borrow_mut().pop()?;
            let now = Instant::now();
            if self.may_be_used(&connection, now)
                && (now - connection.heard < SHORT_IDLE || self.is_usable(&mut connection))
            {
                return Some(connection);
            }
        }
    }

    /// The next connection that is given back or made; or why none could be made, for whichever request it was meant.
    pub(super) async fn wait(self: &Rc<Self>) -> Made {
        let (waiting, made) = oneshot::channel();
        self.waiting.borrow_mut().push_back(waiting);
        let pool = Rc::clone(self);
        // Not part of this future: it may be another request's that is ready first, and which it serves it does not
        // know.
        spawn_local(async move {
            let made = match pool.connector.permit().await {
                Ok(_) if !pool.is_wanted() => return,
                Ok(permit) => pool.connector.connect_with(permit).await,
                Err(busy) => Err(busy),
            };
            // Whatever it is, it ends a wait; what has become of a connection meanwhile, its exchange tells.
            if let Some(Ok(unwanted)) = pool.hand_over(made) {
                pool.give_back(unwanted);
            }
        });
        made.await.expect("the pool drops no request that waits")
    }

    /// Keeps a connection whose exchange is over for the next one, unless it has ended, has unread bytes or is too
    /// old.
    pub(super) fn give_back(&self, mut connection: Box<Connection>) {
        if !(connection.is_idle() || connection.is_usable()) {
            return;
        }
        connection.heard = Instant::now();
        if connection.heard >= connection.retires {
            return;
        }
        // Another worker's request waits for one to end.
        if self.connector.host().is_full() && !self.is_wanted() {
            return;
        }
        if let Some(Ok(connection)) = self.hand_over(Ok(connection)) {
            self.idle.borrow_mut().push(connection);
        }
    }

    /// Gives it to the request that has waited longest; returns it when none waits any more.
    fn hand_over(&self, mut made: Made) -> Option<Made> {
        while let Some(waiting) = self.waiting.borrow_mut().pop_front() {
            match waiting.send(made) {
                Ok(()) => return None,
                Err(unwanted) => made = unwanted,
            }
        }
        Some(made)
    }

    /// Whether a request waits for a connection.
    fn is_wanted(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|waiting| !waiting.is_closed());
        !waiting.is_empty()
    }

    fn may_be_used(&self, connection: &Connection, now: Instant) -> bool {
        now - connection.heard < IDLE_LIMIT
            && now < connection.retires
            && !self.connector.host().may_be_dead(connection.heard)
    }

    fn is_usable(&self, connection: &mut Connection) -> bool {
        let usable = connection.is_usable();
        if connection.traffic.dead.get() {
            self.connector.host().connection_died(connection.heard);
        }
        usable
    }

    /// Drops what is too old, has been closed by the upstream or may have died, and all when connections are wanted
    /// elsewhere; how many are left.
    pub(super) fn sweep(&self) -> usize {
        let mut idle = self.idle.borrow_mut();
        let (now, full) = (Instant::now(), self.connector.host().is_full());
        idle.retain_mut(|connection| {
            !full && self.may_be_used(connection, now) && self.is_usable(connection)
        });
        idle.len()
    }
}
