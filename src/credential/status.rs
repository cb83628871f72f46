//! What the admin pages may show of one account's token: never the token, never the secret.
//!
//! The task publishes a [`CredentialStatus`] after each event. What depends on the moment of looking (age, seconds left,
//! fetches of today) is computed when it is asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::types::{CredentialId, Outcome, Reason};
use crate::errcodes;

/// A snapshot of one account's token.
#[derive(Debug, Clone)]
pub struct CredentialStatus {
    /// Whose credential it is, and of which kind.
    pub id: CredentialId,
    /// How the token stands.
    pub state: CredentialState,
    /// The last generation issued, valid or not; 0 when there has never been one.
    pub generation: u64,
    /// The valid token's times; `None` without one.
    pub held: Option<HeldTimes>,
    /// Beijing's day (days since 1970 at UTC+8) that `fetches` counts.
    pub day: i64,
    /// Fetches sent on that day.
    pub fetches: u32,
    /// Fetches a day that WeChat allows with this call; `None` where the number means nothing in practice.
    pub quota: Option<u32>,
    /// The last fetch that was answered or failed.
    pub last_refresh: Option<Fetch>,
    /// The last failure, kept after later successes.
    pub last_error: Option<FetchError>,
    /// Fetches since this process started, for metrics.
    pub refreshes: BTreeMap<(Reason, Outcome), u64>,
    /// How often its task has been started anew after a fault in wxgate.
    pub task_restarts: u32,
}

impl CredentialStatus {
    /// Fetches sent on the day (Beijing time) that `now` falls in.
    pub fn fetches_today(&self, now: SystemTime) -> u32 {
        if beijing_day(now) == self.day { self.fetches } else { 0 }
    }

    /// What is left of the valid token's life.
    pub fn expires_in(&self, now: Instant) -> Option<Duration> {
        self.held.as_ref().map(|held| held.ends.saturating_duration_since(now))
    }

    /// How long ago the valid token was issued; zero when the clock has been set back since.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        self.held.as_ref().map(|held| now.duration_since(held.issued_at).unwrap_or_default())
    }
}

/// How an account's token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialState {
    /// No token so far.
    Empty,
    /// A valid token, and nothing is wrong.
    Fresh,
    /// A valid token that is being replaced, or whose replacement fails.
    Stale,
    /// The last token has ended and no new one is to be had for a passing reason.
    Expired,
    /// No valid token, and the upstream refuses to issue one.
    Refused,
}

/// The times of a valid token.
#[derive(Debug, Clone)]
pub struct HeldTimes {
    /// By the wall clock, when it was issued.
    pub issued_at: SystemTime,
    /// By the wall clock as it stood when the token was issued or loaded.
    pub expires_at: SystemTime,
    /// By the clock that the token really goes by.
    pub ends: Instant,
}

/// One fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// When its outcome was known.
    pub at: SystemTime,
    /// Why it was sent.
    pub reason: Reason,
    /// What came of it.
    pub outcome: Outcome,
}

impl Fetch {
    /// Whether it brought a token.
    pub fn worked(&self) -> bool {
        matches!(self.outcome, Outcome::New | Outcome::Same)
    }
}

/// The fetches of the last day, and what was refused, since the task was started.
#[derive(Debug, Clone, Default)]
pub struct FetchLog {
    /// Oldest first; no longer ago than a day, and no more than [`FetchLog::KEPT`].
    pub recent: VecDeque<Fetch>,
    /// Refused fetches by their errcode's place in [`errcodes::LABELS`].
    pub refused: BTreeMap<usize, u64>,
}

impl FetchLog {
    /// Fetches that are kept.
    pub const KEPT: usize = 512;

    /// Notes the fetch that the status tells of.
    pub(crate) fn note(&mut self, status: &CredentialStatus) {
        let Some(fetch) = &status.last_refresh else { return };
        let old = |kept: &Fetch| {
            fetch.at.duration_since(kept.at).is_ok_and(|ago| ago > Duration::from_secs(24 * 60 * 60))
        };
        while self.recent.len() >= Self::KEPT || self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
        self.recent.push_back(fetch.clone());
        if let Some(error) = status.last_error.as_ref().filter(|_| fetch.outcome == Outcome::Refused) {
            *self.refused.entry(errcodes::label_index(error.errcode)).or_default() += 1;
        }
    }
}

/// What came of the operations on the stores of all credentials, since the start of the process.
#[derive(Debug, Default)]
pub struct StoreCounts {
    /// Loads, of whatever outcome: what cannot be read is quarantined.
    pub loads: AtomicU64,
    /// Publications that were stored, or gave way to a newer state.
    pub published: AtomicU64,
    /// Publications that failed.
    pub failed: AtomicU64,
}

/// One failed fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    /// When it failed.
    pub at: SystemTime,
    /// The upstream's errcode, -1 for a passing failure.
    pub errcode: i64,
    /// The upstream's words, sanitised, or wxgate's own.
    pub errmsg: String,
}

/// Days since 1970 in Beijing (UTC+8), whose midnight ends WeChat's daily quotas.
pub(crate) fn beijing_day(now: SystemTime) -> i64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from((since + 8 * 3600) / 86_400).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_turns_at_midnight_in_beijing() {
        let at = |secs| beijing_day(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        // 2024-01-01T16:00:00Z is 2024-01-02 00:00 in Beijing.
        assert_eq!(at(1_704_124_800) - at(1_704_124_799), 1);
        assert_eq!(at(1_704_124_800), at(1_704_124_800 + 86_399));
    }
}
