//! What the link to a store and the accounts that use it have in common: the connection while there is one, the store's
//! clock, who is told of news, counts. Makes no connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::RedisSettings;
use super::scripts::ends_connection;
use crate::store::{PublishError, Published};

/// Commands of accounts on their way at one moment. The time of each begins when it is sent: the last of a thousand that
/// start together is as much in time as the first.
const AT_ONCE: usize = 64;
/// Renewals of locks on their way at one moment, besides: a lock must not run out because hundreds of accounts ask a slow
/// store at once.
const RENEWALS_AT_ONCE: usize = 64;
/// A start waits so long for the first connection.
const FIRST_CONNECTION: Duration = Duration::from_secs(2);

/// What is done in the store, for metrics.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Connect,
    Load,
    Lease,
    Publish,
    Notify,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Ok,
    Failed,
    Held,
    Superseded,
    Foreign,
}

/// Clocks that are further apart than this are worth a warning.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// When a command was sent, and what the store said; without a connection `Err(None)`.
type Asked<T> = (Instant, Result<T, Option<RedisError>>);

impl Outcome {
    pub(super) fn of(published: &Result<Published, PublishError>) -> Self {
        match published {
            Ok(Published::Stored) => Self::Ok,
            Ok(Published::Superseded(_)) => Self::Superseded,
            Err(_) => Self::Failed,
        }
    }
}

const OPERATIONS: [&str; 5] = ["connect", "load", "lease", "publish", "notify"];
const OUTCOMES: [&str; 5] = ["ok", "failed", "held", "superseded", "foreign"];

/// What links and stores share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: RedisSettings,
    /// The connection for commands while there is one.
    pub(super) connection: watch::Sender<Option<MultiplexedConnection>>,
    at_once: Semaphore,
    renewals_at_once: Semaphore,
    /// The first attempt is over.
    pub(super) tried: AtomicBool,
    /// A command found the connection useless.
    pub(super) broken: Notify,
    /// Each account's key, and whom to tell of news under it, for as long as anybody listens.
    listeners: Mutex<HashMap<String, Weak<Notify>>>,
    /// The store's clock at a moment of ours.
    clock: Mutex<Option<(SystemTime, Instant)>>,
    /// That it differs from this machine's has been said.
    clock_differs: AtomicBool,
    /// Accounts whose keys hold what is not theirs.
    foreign: AtomicUsize,
    counts: [[AtomicU64; OUTCOMES.len()]; OPERATIONS.len()],
}

impl Shared {
    pub(super) fn new(settings: RedisSettings) -> Self {
        Self {
            settings,
            connection: watch::Sender::new(None),
            at_once: Semaphore::const_new(AT_ONCE),
            renewals_at_once: Semaphore::const_new(RENEWALS_AT_ONCE),
            tried: AtomicBool::new(false),
            broken: Notify::new(),
            listeners: Mutex::default(),
            clock: Mutex::default(),
            clock_differs: AtomicBool::new(false),
            foreign: AtomicUsize::new(0),
            counts: Default::default(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Changes with each new connection, and with the loss of one.
    pub(super) fn connections(&self) -> watch::Receiver<Option<MultiplexedConnection>> {
        self.connection.subscribe()
    }

    /// Waits until the first attempt to connect is over, so long at most as a start may.
    pub(super) async fn first_attempt(&self) {
        let mut changes = self.connections();
        let over = async {
            while !self.tried.load(Ordering::SeqCst) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(FIRST_CONNECTION, over).await;
    }

    /// What is told of news under this key, until it is dropped.
    pub(super) fn listen(&self, key: &str) -> Arc<Notify> {
        let mut listeners = self.listeners();
        if let Some(listener) = listeners.get(key).and_then(Weak::upgrade) {
            return listener;
        }
        // Accounts that a reload took away.
        listeners.retain(|_, listener| listener.strong_count() > 0);
        let listener = Arc::default();
        listeners.insert(key.to_owned(), Arc::downgrade(&listener));
        listener
    }

    /// There is news under this key.
    pub(super) fn tell(&self, key: &str) {
        let listener = self.listeners().get(key).and_then(Weak::upgrade);
        listener.inspect(|listener| listener.notify_one());
    }

    /// There may be news under each key.
    pub(super) fn tell_all(&self) {
        self.listeners().values().filter_map(Weak::upgrade).for_each(|listener| listener.notify_one());
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<String, Weak<Notify>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel of all news.
    pub(super) fn channel(&self) -> String {
        format!("{}news", self.settings.key_prefix)
    }

    /// Now, by the store's clock; by this machine's where it has not been heard.
    pub(super) fn time(&self) -> SystemTime {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.map_or_else(SystemTime::now, |(at, heard)| at + heard.elapsed())
    }

    /// The store said this time; the answer is of that moment here.
    pub(super) fn heard_time(&self, time: SystemTime, at: Instant) {
        let here = SystemTime::now().checked_sub(at.elapsed()).unwrap_or(time);
        let (apart, which) = match time.duration_since(here) {
            Ok(behind) => (behind, "behind"),
            Err(ahead) => (ahead.duration(), "ahead of"),
        };
        let differs = apart > CLOCKS_DIFFER;
        if differs && !self.clock_differs.swap(differs, Ordering::Relaxed) {
            warn!(
                "the clock of this machine is {} s {which} that of the store {}: tokens and limits go by the store's. Set \
                 the clock of the machine that is wrong",
                apart.as_secs(),
                self.settings.shown()
            );
        }
        self.clock_differs.store(differs, Ordering::Relaxed);
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, at));
    }

    /// Whether the store can be used, for all accounts.
    pub(super) fn is_up(&self) -> bool {
        self.is_connected() && self.foreign.load(Ordering::Relaxed) == 0
    }

    /// Operation, outcome and how often, since the start.
    pub(super) fn operations(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = Vec::new();
        for (operation, counts) in OPERATIONS.iter().zip(&self.counts) {
            for (outcome, count) in OUTCOMES.iter().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 || matches!(*outcome, "ok" | "failed") {
                    all.push((*operation, *outcome, count));
                }
            }
        }
        all
    }

    pub(super) fn count(&self, operation: Operation, outcome: Outcome) {
        self.counts[operation as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An account's keys hold what is not theirs, or do so no more.
    pub(super) fn foreign(&self, is: bool) {
        let change = |n: usize| Some(if is { n + 1 } else { n.saturating_sub(1) });
        let _ = self.foreign.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Asks the store.
    ///
    /// # Errors
    /// What it said; without a connection `None`.
    pub(super) async fn ask<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, Option<RedisError>> {
        self.ask_at(cmd).await.1
    }

    /// As [`Self::ask`], with when it was sent: it waits for room before that.
    pub(super) async fn ask_at<T: FromRedisValue>(&self, cmd: &Cmd) -> Asked<T> {
        self.ask_within(&self.at_once, cmd).await
    }

    /// As [`Self::ask_at`], for a lock that is held: it waits behind other renewals alone.
    pub(super) async fn renew_at<T: FromRedisValue>(&self, cmd: &Cmd) -> Asked<T> {
        self.ask_within(&self.renewals_at_once, cmd).await
    }

    async fn ask_within<T: FromRedisValue>(&self, room: &Semaphore, cmd: &Cmd) -> Asked<T> {
        // Never closed. The connection is looked at once there is room, since it may be lost meanwhile.
        let _room = room.acquire().await;
        let sent = Instant::now();
        let connection = self.connection.borrow().clone();
        let Some(mut connection) = connection else { return (sent, Err(None)) };
        let said = cmd.query_async(&mut connection).await;
        let said = said.map_err(|e| {
            if ends_connection(&e) {
                self.broken.notify_one();
            }
            Some(e)
        });
        (sent, said)
    }
}

#[cfg(test)]
mod tests {
    use super::super::StoreUrl;
    use super::*;

    fn shared() -> Shared {
        Shared::new(RedisSettings {
            url: StoreUrl::parse("redis://127.0.0.1").unwrap(),
            user: None,
            password: None,
            ca: None,
            identity: None,
            key_prefix: String::new(),
            timeout: Duration::from_millis(300),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn news_is_told_to_all_who_listen_and_nothing_is_kept_of_the_others() {
        let shared = shared();
        let (before, after) = (shared.listen("a"), shared.listen("a"));
        drop(before);
        let other = shared.listen("b");
        shared.tell("a");
        shared.tell("c");
        assert!(timeout(Duration::ZERO, after.notified()).await.is_ok());
        assert!(timeout(Duration::ZERO, other.notified()).await.is_err());
        shared.tell_all();
        assert!(timeout(Duration::ZERO, other.notified()).await.is_ok());
        for n in 0..100 {
            drop(shared.listen(&format!("of reload {n}")));
        }
        assert!(shared.listeners().len() <= 3, "{}", shared.listeners().len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_does_not_wait_behind_other_commands() {
        let shared = shared();
        let _others = shared.at_once.acquire_many(AT_ONCE as u32).await.unwrap();
        let soon = Duration::from_secs(1);
        let cmd = redis::cmd("TIME");
        let other = timeout(soon, shared.ask_at::<i64>(&cmd)).await;
        assert!(other.is_err(), "it waits for room");
        let renewal = timeout(soon, shared.renew_at::<i64>(&cmd)).await;
        assert!(matches!(renewal, Ok((_, Err(None)))), "it finds that there is no connection");
    }
}
