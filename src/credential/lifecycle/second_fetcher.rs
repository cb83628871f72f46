//! Whether something else fetches tokens for the same appid.
//!
//! Forced refreshes are rare in a healthy account: three in ten minutes that each brought a new token mean that the
//! token is being ended from outside.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Warnings look back this far and come no more often.
pub(super) const SPAN: Duration = Duration::from_secs(600);
/// So many forced refreshes within that time are suspicious.
const SUSPICIOUS: usize = 3;

/// At most one warning in a while.
#[derive(Debug, Default)]
pub(super) struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether it is time for another one; if so, it is taken.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        let due = self.0.is_none_or(|last| now >= last + SPAN);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// The forced refreshes of late.
#[derive(Debug, Default)]
pub(super) struct SecondFetcher {
    /// When refusals led to a new token, and to which generation.
    lately: VecDeque<(Instant, u64)>,
    warned: Seldom,
}

impl SecondFetcher {
    /// Refusals led to this generation; whether that is worth a warning.
    pub(super) fn forced(&mut self, generation: u64, now: Instant) -> bool {
        self.count(generation, now);
        while self.lately.front().is_some_and(|&(at, _)| now >= at + SPAN) {
            self.lately.pop_front();
        }
        self.lately.len() >= SUSPICIOUS && self.warned.due(now)
    }

    /// Counts a refresh that was thought to be a path's doing.
    pub(super) fn count(&mut self, generation: u64, now: Instant) {
        self.lately.push_back((now, generation));
    }

    /// The refresh that brought this generation was a path's doing, nobody else's.
    pub(super) fn forgive(&mut self, generation: u64) {
        self.lately.retain(|&(_, forced)| forced != generation);
    }
}
