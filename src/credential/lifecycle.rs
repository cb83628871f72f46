//! The life of one account's token, as a pure state machine: state + event + now → state + actions.
//!
//! No async, no I/O, no log and no clock in here: the task in `refresher.rs` does what the actions say and
//! hands every event in with the time at which it happened. This file is the vocabulary; `machine.rs` decides
//! when to fetch, `schedule.rs` at what time, `outcome.rs` what a fetch's answer means, `bucket.rs` and `paths.rs`
//! who may cause one, `outside.rs` what is stored and shown.

mod bucket;
mod machine;
mod outcome;
mod outside;
mod paths;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::types::{Absent, Answer, Credential, FetchMode, Outcome, Reason, Renewal};
use crate::secret::Secret;

pub use bucket::StoredBucket;
pub(super) use machine::Machine;

/// One moment on both clocks. Everything runs on the monotonic one; the wall clock is for the file and the day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Never set back.
    pub mono: Instant,
    /// What people call the time.
    pub wall: SystemTime,
}

/// Names a reader that waits; the task keeps the channel.
pub(super) type WaiterId = u64;

/// What happens to the machine.
#[derive(Debug)]
pub(super) enum Event {
    /// The first one: what the file held, if it held anything.
    Started {
        /// `None` without a usable file.
        stored: Option<Record>,
    },
    /// The upstream refused this generation on this path.
    Reported {
        /// Of the refused token.
        generation: u64,
        /// Without query.
        path: Box<str>,
        /// `None` when nobody waits.
        waiter: Option<WaiterId>,
    },
    /// Somebody asks for a refresh by hand.
    AdminRefresh {
        /// Who waits for it.
        waiter: WaiterId,
    },
    /// A second sending was refused too.
    RefusedAgain {
        /// Without query.
        path: Box<str>,
        /// Of the token it was sent with.
        generation: u64,
    },
    /// A second sending, or the first one of a suspect path, was not refused.
    Succeeded {
        /// Without query.
        path: Box<str>,
    },
    /// A request of whatever path was not refused with this generation. Older ones change nothing.
    Proved {
        /// Of the token it was sent with.
        generation: u64,
    },
    /// The fetch that [`Action::Fetch`] asked for is over.
    Fetched {
        /// What came of it.
        answer: Answer,
        /// Between 0.8 and 1.2, for the next attempt's time.
        jitter: f64,
    },
    /// [`Machine::deadline`] has come; early and late ones do no harm.
    TimerDue,
}

/// What the task has to do.
#[derive(Debug)]
pub(super) enum Action {
    /// Send this fetch. There is never more than one without its [`Event::Fetched`].
    Fetch(FetchMode),
    /// Write the cell.
    Publish(Result<Arc<Credential>, Absent>),
    /// Put [`Machine::record`] into the file.
    Store,
    /// Tell a waiting reader.
    Answer(WaiterId, Renewal),
    /// Write a line into the log.
    Log(LogEvent),
}

/// A line for the log; the words are in `events.rs`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LogEvent {
    /// The stored token is used.
    StoredUsed {
        /// Its generation.
        generation: u64,
        /// What is left of its life.
        left: Duration,
    },
    /// The file held a token that is of no use any more; its counters are used.
    StoredIgnored {
        /// In words.
        why: &'static str,
    },
    /// One for each fetch.
    Fetched {
        /// Which call.
        mode: FetchMode,
        /// Why it was sent.
        reason: Reason,
        /// How it ended.
        outcome: Outcome,
        /// The current generation after it, 0 without one.
        generation: u64,
        /// The life of what was handed out.
        expires_in: Option<Duration>,
        /// Sent on this day of Beijing's, this one included.
        fetches_today: u32,
        /// The failure: errcode (-1 for a passing one) and words.
        failure: Option<(i64, String)>,
        /// Until the next attempt.
        next_in: Duration,
    },
    /// The upstream said no usable `expires_in`.
    OddExpiresIn {
        /// What it said.
        said: Option<i64>,
        /// What is used instead.
        used: Duration,
    },
    /// The token ended and there is no new one.
    Ended {
        /// Its generation.
        generation: u64,
        /// The upstream refuses to issue another.
        refused: bool,
    },
    /// This path starts no fetch for a while.
    PathBlocked {
        /// Without query.
        path: Box<str>,
        /// For how long.
        block: Duration,
    },
    /// A forced refresh was not allowed; said at most every ten minutes.
    Limited,
    /// Three forced refreshes within ten minutes; said at most every ten minutes.
    SomebodyElse,
}

/// What outlives the process.
#[derive(Debug, Clone)]
pub struct Record {
    /// The last generation issued.
    pub generation: u64,
    /// The token, if one was valid.
    pub token: Option<StoredToken>,
    /// The bucket of forced refreshes.
    pub bucket: Option<StoredBucket>,
    /// When `force_refresh` was sent, within the last day.
    pub forced: Vec<SystemTime>,
    /// Beijing's day that `fetches` counts.
    pub day: i64,
    /// Fetches sent on that day.
    pub fetches: u32,
}

/// A token in the file.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// The token itself.
    pub value: Secret,
    /// When it was issued.
    pub issued_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
    /// Its whole life as the upstream said it.
    pub expires_in: Duration,
}
