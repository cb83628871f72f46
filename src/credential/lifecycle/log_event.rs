//! What the machine wants logged; the words are in `events.rs`.

use std::time::Duration;

use crate::credential::types::{FetchMode, Outcome, Reason};

/// Which of the limits on forced refreshes does not allow one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::credential) enum Limiting {
    /// All of it is used up.
    Whole,
    /// The share of paths without an accepted call is used up.
    Share,
    /// The last one was sent just before.
    Apart,
}

/// One log message. No token, no secret.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::credential) enum LogEvent {
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
        /// Its calls were refused although others show that the token is good; else with a token just fetched for it.
        though_good: bool,
    },
    /// A forced refresh was not allowed; logged at most every ten minutes for each reason.
    Limited {
        /// What stands in its way.
        why: Limiting,
    },
    /// Three forced refreshes within ten minutes; logged at most every ten minutes.
    SecondFetcher,
    /// Another replica published this generation, and it is used.
    PeerPublished {
        /// The new one.
        generation: u64,
    },
    /// Another replica has the lease to fetch.
    HeldByPeer,
}
