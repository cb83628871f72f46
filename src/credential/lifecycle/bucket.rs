//! The two limits on forced refreshes: a bucket (`token`) and a daily count (`stable_token`).
//!
//! Both run on the monotonic clock; the wall clock is only in what is stored. A wall clock that was set back
//! never hands out more than there is, one that was set forward at most fills the bucket. No fetch in here.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Now;

/// Forced refreshes that may come at once with `token`.
pub(super) const BUCKET_SIZE: u32 = 10;
/// One more forced refresh each.
pub(super) const REFILL: Duration = Duration::from_secs(60);
/// Fetches with `force_refresh` in any 24 hours; WeChat allows 20.
pub(super) const FORCED_A_DAY: usize = 18;
/// WeChat refreshes nothing within this time of the last `force_refresh`.
pub(super) const FORCED_APART: Duration = Duration::from_secs(30);
/// "Any 24 hours".
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// What a restart must know of a [`Bucket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBucket {
    /// Forced refreshes left.
    pub level: u32,
    /// Until one more is added; meaningless in a full bucket.
    pub next_in: Duration,
    /// When these two were true.
    pub at: SystemTime,
}

/// Ten forced refreshes, one more a minute.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    level: u32,
    next: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(now: Instant) -> Self {
        Self { level: BUCKET_SIZE, next: now + REFILL }
    }

    /// As stored, plus what came in since.
    pub(super) fn restore(stored: StoredBucket, now: Now) -> Self {
        let passed = now.wall.duration_since(stored.at).unwrap_or_default();
        let mut next_in = stored.next_in.min(REFILL);
        let mut level = stored.level.min(BUCKET_SIZE);
        if passed < next_in {
            next_in -= passed;
        } else {
            let beyond = passed - next_in;
            let more = 1 + beyond.as_secs() / REFILL.as_secs();
            level = BUCKET_SIZE.min(level.saturating_add(u32::try_from(more).unwrap_or(BUCKET_SIZE)));
            next_in = REFILL - Duration::from_secs(beyond.as_secs() % REFILL.as_secs());
        }
        Self { level, next: now.mono + next_in }
    }

    /// For the file.
    pub(super) fn stored(&mut self, now: Now) -> StoredBucket {
        self.advance(now.mono);
        StoredBucket {
            level: self.level,
            next_in: self.next.saturating_duration_since(now.mono).min(REFILL),
            at: now.wall,
        }
    }

    /// Takes one if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.advance(now);
        if self.level == BUCKET_SIZE {
            self.next = now + REFILL;
        }
        let taken = self.level > 0;
        self.level = self.level.saturating_sub(1);
        taken
    }

    fn advance(&mut self, now: Instant) {
        while self.level < BUCKET_SIZE && self.next <= now {
            self.level += 1;
            self.next += REFILL;
        }
    }
}

/// When `force_refresh` was sent: at most 18 in any 24 hours, no two within 30 s.
#[derive(Debug, Clone, Default)]
pub(super) struct Forced {
    /// When each leaves the 24 hours, and when it was sent by the wall clock; oldest first.
    sent: VecDeque<(Instant, SystemTime)>,
    /// The earliest instant for the next one.
    apart: Option<Instant>,
}

impl Forced {
    /// From the stored times. One in the future (the clock was set back) counts as sent just now.
    pub(super) fn restore(times: &[SystemTime], now: Now) -> Self {
        let mut sent: VecDeque<_> = times
            .iter()
            .filter_map(|&at| {
                let age = now.wall.duration_since(at).unwrap_or_default();
                (age < DAY).then(|| (now.mono + (DAY - age), at))
            })
            .collect();
        sent.make_contiguous().sort_unstable();
        let apart = sent.back().map(|&(leaves, _)| {
            let left = leaves.saturating_duration_since(now.mono).saturating_sub(DAY - FORCED_APART);
            now.mono + left
        });
        Self { sent, apart }
    }

    /// The earliest instant, now or later, at which one may be sent.
    pub(super) fn allowed_at(&mut self, now: Instant) -> Instant {
        while self.sent.front().is_some_and(|&(leaves, _)| leaves <= now) {
            self.sent.pop_front();
        }
        let mut at = self.apart.unwrap_or(now).max(now);
        if let Some(excess) = self.sent.len().checked_sub(FORCED_A_DAY)
            && let Some(&(leaves, _)) = self.sent.get(excess)
        {
            at = at.max(leaves);
        }
        at
    }

    /// One is being sent.
    pub(super) fn spend(&mut self, now: Now) {
        self.sent.push_back((now.mono + DAY, now.wall));
        self.apart = Some(now.mono + FORCED_APART);
    }

    /// The last one was not sent after all. The next one still waits its 30 s.
    pub(super) fn take_back(&mut self) {
        self.sent.pop_back();
    }

    /// For the file.
    pub(super) fn stored(&self) -> Vec<SystemTime> {
        self.sent.iter().map(|&(_, at)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now { mono: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
    }

    fn later(now: Now, secs: u64) -> Now {
        let by = Duration::from_secs(secs);
        Now { mono: now.mono + by, wall: now.wall + by }
    }

    #[test]
    fn ten_at_once_then_one_a_minute() {
        let start = now();
        let mut bucket = Bucket::full(start.mono);
        assert_eq!((0..20).filter(|_| bucket.take(start.mono)).count(), 10);
        assert!(!bucket.take(later(start, 59).mono));
        assert!(bucket.take(later(start, 60).mono));
        assert!(!bucket.take(later(start, 119).mono));
        assert!(bucket.take(later(start, 120).mono));
        let rested = later(start, 86_400).mono;
        assert_eq!((0..20).filter(|_| bucket.take(rested)).count(), 10, "never more than it holds");
    }

    #[test]
    fn a_restart_neither_fills_nor_empties_the_bucket() {
        let start = now();
        let mut bucket = Bucket::full(start.mono);
        (0..10).for_each(|_| assert!(bucket.take(start.mono)));
        let stored = bucket.stored(later(start, 30));
        for (away, left) in [(0, 0), (29, 0), (30, 1), (89, 1), (90, 2), (100_000, 10)] {
            let back = later(start, 30 + away);
            let mut bucket = Bucket::restore(stored, back);
            assert_eq!((0..20).filter(|_| bucket.take(back.mono)).count(), left, "away for {away} s");
        }
        let set_back = Now { wall: start.wall - DAY, ..start };
        assert!(!Bucket::restore(stored, set_back).take(start.mono));
    }

    #[test]
    fn eighteen_in_any_24_hours_and_30_s_apart() {
        let start = now();
        let mut forced = Forced::default();
        for n in 0..18 {
            let at = later(start, 30 * n);
            assert_eq!(forced.allowed_at(at.mono), at.mono);
            forced.spend(at);
            assert_eq!(forced.allowed_at(at.mono), (later(at, if n < 17 { 30 } else { 86_400 - 510 })).mono);
        }
        let restored = later(start, 2_000);
        let mut again = Forced::restore(&forced.stored(), restored);
        assert_eq!(again.allowed_at(restored.mono), later(start, 86_400).mono);
        let next_day = later(start, 86_400);
        assert_eq!(again.allowed_at(next_day.mono), next_day.mono);
    }

    #[test]
    fn forced_times_in_the_future_count_as_just_sent() {
        let start = now();
        let mut forced = Forced::restore(&[start.wall + DAY * 300], start);
        assert_eq!(forced.allowed_at(start.mono), later(start, 30).mono);
    }
}
