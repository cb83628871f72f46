//! The life of one credential, as a pure state machine: state + event + now → state + actions.
//!
//! No async, no I/O, no log and no clock in here: the task in `refresher.rs` does what the actions say and
//! hands every event in with the time at which it happened. This file is the vocabulary; `machine.rs` decides
//! what follows from an event. Each part of its state is a type of its own: `held.rs` (the credentials), `schedule.rs`
//! (when to fetch), `limiter.rs` and `path_blame.rs` (who may cause a fetch), `waiters.rs`, `second_fetcher.rs`, `ledger.rs`.

mod held;
mod ledger;
mod limiter;
mod log_event;
mod machine;
mod path_blame;
mod schedule;
mod second_fetcher;
#[cfg(test)]
mod tests;
mod waiters;

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::types::{CellContent, FetchAnswer, FetchMode, Renewal};
use crate::store::StoredState;

pub(super) use log_event::{Limiting, LogEvent};
pub(super) use machine::Machine;

/// One moment on both clocks. Everything runs on the monotonic one; the wall clock is for the file and the day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Never set back.
    pub mono: Instant,
    /// What people call the time.
    pub wall: SystemTime,
}

/// As it is stored: each replica must see the same order.
fn whole_millis(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH
        + Duration::from_secs(since.as_secs())
        + Duration::from_millis(since.subsec_millis().into())
}

/// Names a reader that waits; the task keeps the channel.
pub(super) type WaiterId = u64;

/// What happens to the machine.
#[derive(Debug)]
pub(super) enum Event {
    /// The first one: what the store held, if it held anything.
    Started {
        /// `None` without a usable state.
        stored: Option<Box<StoredState>>,
    },
    /// The upstream refused this generation on this path.
    Refused {
        /// Of the refused credential.
        generation: u64,
        /// Without query.
        path: Box<str>,
        /// It had an accepted call in the last hour.
        known: bool,
        /// `None` when nobody waits.
        waiter: Option<WaiterId>,
    },
    /// Somebody wants a credential that is asked for on demand.
    Wanted {
        /// `None` when nobody waits.
        waiter: Option<WaiterId>,
    },
    /// Somebody asks for a refresh by hand.
    AdminRefresh {
        /// Only if this is still the current one.
        generation: Option<u64>,
        /// Who waits for it.
        waiter: WaiterId,
    },
    /// The last sending was refused too, with the credential just fetched.
    RefusedAgain {
        /// Without query.
        path: Box<str>,
        /// Of the credential it was sent with.
        generation: u64,
    },
    /// All sendings were refused, although other calls show that the credential is good.
    RefusedThoughGood {
        /// Without query.
        path: Box<str>,
        /// When the first one was sent.
        began: Instant,
    },
    /// A repeated sending, or the first one of a suspect path, was not refused.
    Succeeded {
        /// Without query.
        path: Box<str>,
    },
    /// A request of whatever path was not refused with this generation. Older ones change nothing.
    KnownGood {
        /// Of the credential it was sent with.
        generation: u64,
    },
    /// No other replica fetches: what [`Action::Lease`] asked for is granted.
    Leased,
    /// The fetch that [`Action::Fetch`] asked for is over.
    Fetched {
        /// What came of it.
        answer: FetchAnswer,
        /// When it began, by the clock that all replicas share.
        began: SystemTime,
        /// Between 0.8 and 1.2, for the next attempt's time.
        jitter: f64,
    },
    /// [`Machine::deadline`] has come; early and late ones do no harm.
    TimerDue,
    /// Another replica published this state in the store, or the store has gone back to it.
    PeerPublished {
        /// Of whatever generation.
        stored: Box<StoredState>,
    },
    /// Another replica has the lease: the fetch that was asked for has not been sent.
    HeldByPeer {
        /// Between 0.8 and 1.2, for the next attempt's time.
        jitter: f64,
    },
}

/// What the task has to do.
#[derive(Debug)]
pub(super) enum Action {
    /// Ask for the lease to fetch. There is never more than one without its [`Event::Leased`] or [`Event::HeldByPeer`].
    Lease,
    /// Send this fetch. There is never more than one without its [`Event::Fetched`] or [`Event::HeldByPeer`].
    Fetch(FetchMode),
    /// Write the cell.
    Publish(CellContent),
    /// Publish [`Machine::state`] in the store.
    Store,
    /// Tell a waiting reader.
    Answer(WaiterId, Renewal),
    /// Log this.
    Log(LogEvent),
}
