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

use super::cell::{Absent, Renewal, Token};
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

/// Tokens longer than this, in bytes, are no tokens (WeChat asks for room for 512).
pub(crate) const LONGEST_TOKEN: usize = 2048;

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
    Fetch(How),
    /// Write the cell.
    Publish(Result<Arc<Token>, Absent>),
    /// Put [`Machine::record`] into the file.
    Store,
    /// Tell a waiting reader.
    Answer(WaiterId, Renewal),
    /// Write a line into the log.
    Say(Notice),
}

/// The three calls that issue a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `GET /cgi-bin/token`.
    Token,
    /// `POST /cgi-bin/stable_token` in its normal mode, which ends no one's token.
    StableNormal,
    /// The same with `force_refresh`.
    StableForced,
}

/// What came of one fetch.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A token.
    Issued {
        /// Not empty and not longer than [`LONGEST_TOKEN`].
        value: Secret,
        /// Seconds, as the upstream said; `None` when it said none, or no number.
        expires_in: Option<i64>,
    },
    /// It may go better next time: -1, 5xx, timeouts, an answer that makes no sense.
    Passing {
        /// In words, without secrets.
        what: String,
    },
    /// There was no connection, so nothing was sent. It may go better next time too.
    Unsent {
        /// In words, without secrets.
        what: String,
    },
    /// The upstream refuses.
    Refused {
        /// Any but 0 and -1.
        errcode: i64,
        /// Sanitised.
        errmsg: String,
    },
}

/// Why a fetch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is no token.
    Start,
    /// The token's end is near.
    Ahead,
    /// The upstream refused the current token.
    Forced,
    /// The last fetch failed.
    Retry,
    /// Somebody asked by hand.
    Admin,
}

impl Reason {
    /// For logs, metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Ahead => "ahead",
            Self::Forced => "forced",
            Self::Retry => "retry",
            Self::Admin => "admin",
        }
    }
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A new token.
    New,
    /// The current token once more.
    Same,
    /// A passing failure.
    Failed,
    /// The upstream refuses.
    Refused,
}

impl Outcome {
    /// For logs, metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "ok",
            Self::Same => "same",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// A line for the log; the words are in `notice.rs`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Notice {
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
        how: How,
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
