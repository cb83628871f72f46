//! What keeps refusals from burning the upstream's quota: a bucket (`token`) or a daily count (`stable_token`).
//!
//! Callers choose paths, so those without an accepted call in the last hour have a share of their own in both:
//! whoever makes up paths cannot empty them. A path that is accepted after all gives back what it took of the share.
//! All runs on the monotonic clock; the wall clock is only in what is stored. A wall clock that was set back never hands
//! out more than there is, one that was set forward at most fills the bucket. No fetch in here.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Now;
use super::log_event::Limiting;
use super::waiters::Cause;
use crate::credential::policy::Limit;
use crate::store::{StoredBucket, StoredForced, StoredLimits};

/// "Any 24 hours".
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// The normal mode handed back the refused one: asking again before then is no use.
const NOTHING_NEW: Duration = Duration::from_secs(5);

/// The limit on forced refreshes of one credential.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: Limit,
    bucket: Option<Bucket>,
    unknown_paths: Option<Bucket>,
    forced: ForcedLog,
    /// The paths that have taken of the share and were not accepted since; the last few.
    takers: Vec<Box<str>>,
    /// The unknown path that asked last, until its fetch is spent.
    asking: Option<Box<str>>,
    /// The normal mode handed out this refused generation: until then asking again is no use.
    handed_back: Option<(u64, Instant)>,
}

impl Limiter {
    /// Before [`Limiter::restore`].
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            bucket: None,
            unknown_paths: None,
            forced: ForcedLog::default(),
            takers: Vec::new(),
            asking: None,
            handed_back: None,
        }
    }

    /// As stored, plus what came in since; what is not stored is full.
    pub(super) fn restore(&mut self, stored: &StoredLimits, now: Now) {
        if let Limit::Bucket { size, refill, unknown_paths } = self.limit {
            // A share refills by its share, or it would take all that comes in.
            let slower = refill * size / unknown_paths.max(1);
            let full = Bucket::full(size, refill, now.mono);
            self.bucket = Some(match stored.bucket {
                Some(stored) => full.restored(stored, now),
                None => full,
            });
            let full = Bucket::full(unknown_paths, slower, now.mono);
            self.unknown_paths = Some(match stored.unknown_paths {
                Some(stored) => full.restored(stored, now),
                None => full,
            });
        }
        self.forced = ForcedLog::restore(&stored.forced, now);
    }

    /// Another replica has spent of the same limits; whether it does not know yet what was spent here.
    pub(super) fn merge(&mut self, stored: &StoredLimits, now: Now) -> bool {
        let mut more = false;
        if let Some(bucket) = &mut self.bucket {
            more |= match stored.bucket {
                Some(theirs) => bucket.merge(theirs, now),
                None => bucket.level < bucket.size,
            };
        }
        if let (Some(share), Some(theirs)) = (&mut self.unknown_paths, stored.unknown_paths) {
            // What is spent of the share is spent of the bucket, too, which says whether to tell the others.
            share.merge(theirs, now);
        }
        self.forced.merge(&stored.forced, now);
        let day_ago = now.wall.checked_sub(DAY).unwrap_or(now.wall);
        let known = |forced: &StoredForced| stored.forced.contains(forced) || forced.at <= day_ago;
        more | !self.forced.sent.iter().all(|(_, forced)| known(forced))
    }

    /// Whether somebody may cause a fetch in normal mode.
    pub(super) fn allows(&mut self, cause: Cause, path: Option<&str>, generation: u64, now: Instant) -> bool {
        self.asking = path.filter(|_| cause == Cause::UnknownPath).map(Into::into);
        match self.limit {
            Limit::Bucket { .. } => {
                let unknown = (cause == Cause::UnknownPath).then_some(&mut self.unknown_paths);
                let Some(bucket) = &mut self.bucket else { return false };
                bucket.has(now) && unknown.is_none_or(|share| share.as_mut().is_some_and(|b| b.has(now)))
            }
            // The normal mode is free, but there is nothing to gain from it in a spin, unless a forced one may follow.
            Limit::Daily { .. } => {
                let in_vain =
                    self.handed_back.is_some_and(|(handed, until)| handed == generation && now < until);
                !in_vain || self.allows_forced(cause, now)
            }
        }
    }

    /// A fetch in normal mode that was allowed is being sent.
    pub(super) fn spend(&mut self, cause: Cause, now: Instant) {
        let Some(bucket) = &mut self.bucket else { return };
        bucket.take(now);
        if cause == Cause::UnknownPath
            && let Some(share) = &mut self.unknown_paths
        {
            share.take(now);
            self.note_taker();
        }
    }

    /// Whether a fetch in forced mode may follow now, the normal mode having handed back the refused one.
    pub(super) fn allows_forced(&mut self, cause: Cause, now: Instant) -> bool {
        match self.limit {
            Limit::Bucket { .. } => false,
            Limit::Daily { count, apart, unknown_paths } => {
                let share = (cause == Cause::UnknownPath).then_some(unknown_paths);
                self.forced.allowed_at(count, share, apart, now) <= now
            }
        }
    }

    /// Which limit it is that does not allow this cause a forced refresh now.
    pub(super) fn limiting(&mut self, cause: Cause, now: Instant) -> Limiting {
        match self.limit {
            Limit::Bucket { .. } => match self.bucket.as_mut().is_some_and(|bucket| bucket.has(now)) {
                true => Limiting::Share,
                false => Limiting::Whole,
            },
            Limit::Daily { count, unknown_paths, .. } => {
                let share = (cause == Cause::UnknownPath).then_some(unknown_paths);
                // As if they need not be apart.
                let mut forced = ForcedLog { apart: None, ..self.forced.clone() };
                if forced.allowed_at(count, None, Duration::ZERO, now) > now {
                    Limiting::Whole
                } else if forced.allowed_at(count, share, Duration::ZERO, now) > now {
                    Limiting::Share
                } else {
                    Limiting::Apart
                }
            }
        }
    }

    /// The normal mode handed back this generation, and no forced one may follow.
    pub(super) fn handed_back(&mut self, generation: u64, now: Instant) {
        self.handed_back = Some((generation, now + NOTHING_NEW));
    }

    /// There is another credential, or none.
    pub(super) fn forget_handed_back(&mut self) {
        self.handed_back = None;
    }

    /// A fetch in forced mode is being sent.
    pub(super) fn spend_forced(&mut self, cause: Cause, now: Now) {
        if let Limit::Daily { apart, .. } = self.limit {
            let unknown = cause == Cause::UnknownPath;
            self.forced.spend(unknown, apart, now);
            if unknown {
                self.note_taker();
            }
        }
    }

    fn note_taker(&mut self) {
        const MOST: usize = 8;
        self.takers.extend(self.asking.take());
        if self.takers.len() > MOST {
            self.takers.remove(0);
        }
    }

    /// A call of this path has been accepted: it is a path like any other.
    pub(super) fn accepted(&mut self, path: &str) {
        let Some(at) = self.takers.iter().position(|taker| **taker == *path) else { return };
        self.takers.swap_remove(at);
        match (&mut self.unknown_paths, self.limit) {
            (Some(share), Limit::Bucket { unknown_paths, .. }) => {
                share.level = unknown_paths.min(share.level + 1);
            }
            _ => {
                if let Some((_, last)) = self.forced.sent.iter_mut().rfind(|(_, sent)| sent.unknown_path) {
                    last.unknown_path = false;
                }
            }
        }
    }

    /// It was not sent after all. The next one still waits its time.
    pub(super) fn take_back_forced(&mut self) {
        self.forced.sent.pop_back();
    }

    /// For the store.
    pub(super) fn stored(&mut self, now: Now) -> StoredLimits {
        StoredLimits {
            bucket: self.bucket.as_mut().map(|bucket| bucket.stored(now)),
            unknown_paths: self.unknown_paths.as_mut().map(|share| share.stored(now)),
            forced: self.forced.stored(),
            blame: Vec::new(),
        }
    }
}

/// So many at once, then one after each `refill`.
#[derive(Debug, Clone)]
struct Bucket {
    size: u32,
    refill: Duration,
    level: u32,
    next: Instant,
}

impl Bucket {
    fn full(size: u32, refill: Duration, now: Instant) -> Self {
        Self { size, refill, level: size, next: now + refill }
    }

    fn restored(self, stored: StoredBucket, now: Now) -> Self {
        let (size, refill) = (self.size, self.refill);
        let passed = now.wall.duration_since(stored.at).unwrap_or_default();
        let mut next_in = stored.next_in.min(refill);
        let mut level = stored.level.min(size);
        if passed < next_in {
            next_in -= passed;
        } else {
            let beyond = (passed - next_in).as_secs();
            let more = 1 + beyond / refill.as_secs();
            level = size.min(level.saturating_add(u32::try_from(more).unwrap_or(size)));
            next_in = refill - Duration::from_secs(beyond % refill.as_secs());
        }
        Self { size, refill, level, next: now.mono + next_in }
    }

    /// Takes the emptier of the two; whether that was this one.
    fn merge(&mut self, stored: StoredBucket, now: Now) -> bool {
        self.advance(now.mono);
        let theirs = self.clone().restored(stored, now);
        // What has come in since is a matter of clocks, which may differ: replicas would tell each other without end.
        let emptier = self.level < stored.level;
        if theirs.level < self.level {
            *self = theirs;
        }
        emptier
    }

    fn stored(&mut self, now: Now) -> StoredBucket {
        self.advance(now.mono);
        StoredBucket {
            level: self.level,
            next_in: self.next.saturating_duration_since(now.mono).min(self.refill),
            at: now.wall,
        }
    }

    fn has(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.level > 0
    }

    /// Takes one if there is one.
    fn take(&mut self, now: Instant) {
        self.advance(now);
        if self.level == self.size {
            self.next = now + self.refill;
        }
        self.level = self.level.saturating_sub(1);
    }

    fn advance(&mut self, now: Instant) {
        while self.level < self.size && self.next <= now {
            self.level += 1;
            self.next += self.refill;
        }
    }
}

/// The fetches in forced mode of the last 24 hours, oldest first.
#[derive(Debug, Clone, Default)]
struct ForcedLog {
    /// When each leaves the 24 hours, and what is stored of it.
    sent: VecDeque<(Instant, StoredForced)>,
    /// The earliest instant for the next one, also when the last one was not sent after all.
    apart: Option<Instant>,
}

impl ForcedLog {
    /// From the stored times. One in the future (the clock was set back) counts as sent just now.
    fn restore(stored: &[StoredForced], now: Now) -> Self {
        let mut log = Self::default();
        log.merge(stored, now);
        log
    }

    fn merge(&mut self, stored: &[StoredForced], now: Now) {
        for &forced in stored {
            let age = now.wall.duration_since(forced.at).unwrap_or_default();
            if age < DAY && !self.sent.iter().any(|(_, known)| *known == forced) {
                self.sent.push_back((now.mono + (DAY - age), forced));
            }
        }
        self.sent.make_contiguous().sort_unstable_by_key(|(leaves, _)| *leaves);
    }

    /// The earliest instant, now or later, for one more.
    fn allowed_at(&mut self, count: usize, share: Option<usize>, apart: Duration, now: Instant) -> Instant {
        while self.sent.front().is_some_and(|&(leaves, _)| leaves <= now) {
            self.sent.pop_front();
        }
        let mut at = self.apart.unwrap_or(now).max(now);
        if let Some((leaves, _)) = self.sent.back() {
            at = at.max(now + leaves.saturating_duration_since(now).saturating_sub(DAY - apart));
        }
        let all = self.sent.iter().map(|(leaves, _)| *leaves);
        let unknown = self.sent.iter().filter(|(_, forced)| forced.unknown_path).map(|(leaves, _)| *leaves);
        at = at.max(room(all, self.sent.len(), count, now));
        if let Some(share) = share {
            let there = unknown.clone().count();
            at = at.max(room(unknown, there, share, now));
        }
        at
    }

    fn spend(&mut self, unknown_path: bool, apart: Duration, now: Now) {
        self.sent.push_back((now.mono + DAY, StoredForced { at: now.wall, unknown_path }));
        self.apart = Some(now.mono + apart);
    }

    fn stored(&self) -> Vec<StoredForced> {
        self.sent.iter().map(|&(_, forced)| forced).collect()
    }
}

/// When there is room for one more among `most`, given when those that are `there` leave.
fn room(mut leaving: impl Iterator<Item = Instant>, there: usize, most: usize, now: Instant) -> Instant {
    match there.checked_sub(most) {
        Some(excess) => leaving.nth(excess).unwrap_or(now),
        None => now,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::credential::policy::{STABLE_TOKEN, TOKEN};

    fn now() -> Now {
        Now { mono: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
    }

    fn later(now: Now, secs: u64) -> Now {
        let by = Duration::from_secs(secs);
        Now { mono: now.mono + by, wall: now.wall + by }
    }

    fn bucket(stored: &StoredLimits, now: Now) -> Limiter {
        let mut limiter = Limiter::new(TOKEN.limit);
        limiter.restore(stored, now);
        limiter
    }

    fn daily(stored: &StoredLimits, now: Now) -> Limiter {
        let mut limiter = Limiter::new(STABLE_TOKEN.limit);
        limiter.restore(stored, now);
        limiter
    }

    /// Whether somebody may cause a fetch, which is then sent.
    fn causes(
        limiter: &mut Limiter,
        cause: Cause,
        path: Option<&str>,
        generation: u64,
        now: Instant,
    ) -> bool {
        let allowed = limiter.allows(cause, path, generation, now);
        if allowed {
            limiter.spend(cause, now);
        }
        allowed
    }

    /// How many of 20 fetches are allowed at this moment.
    fn allowed(limiter: &mut Limiter, cause: Cause, now: Now) -> usize {
        (0..20).filter(|_| causes(limiter, cause, None, 1, now.mono)).count()
    }

    #[test]
    fn ten_at_once_then_one_a_minute() {
        let start = now();
        let mut limiter = bucket(&StoredLimits::default(), start);
        assert_eq!(allowed(&mut limiter, Cause::KnownPath, start), 10);
        for (secs, right) in [(59, 0), (60, 1), (119, 0), (120, 1), (86_400, 10)] {
            assert_eq!(allowed(&mut limiter, Cause::KnownPath, later(start, secs)), right, "{secs}");
        }
    }

    #[test]
    fn unknown_paths_take_three_of_the_ten_and_come_back_in_the_same_measure() {
        let start = now();
        let mut limiter = bucket(&StoredLimits::default(), start);
        assert_eq!(allowed(&mut limiter, Cause::UnknownPath, start), 3);
        assert_eq!(allowed(&mut limiter, Cause::KnownPath, start), 7, "the rest is the others'");
        // An hour of trying: 18 of the 60 that come in.
        let mut taken = 0;
        for secs in 1..=3600 {
            taken += allowed(&mut limiter, Cause::UnknownPath, later(start, secs));
        }
        assert_eq!(taken, 18);
        assert!(
            allowed(&mut limiter, Cause::KnownPath, later(start, 3600)) >= 9,
            "it has filled up meanwhile"
        );
    }

    #[test]
    fn a_path_that_is_accepted_after_all_gives_back_what_it_took_of_the_share() {
        let start = now();
        let mut limiter = bucket(&StoredLimits::default(), start);
        for n in 0..8 {
            let path = format!("/new/{n}");
            assert!(causes(&mut limiter, Cause::UnknownPath, Some(&path), n, start.mono), "{n}");
            limiter.accepted(&path);
            limiter.accepted(&path);
        }
        assert_eq!(allowed(&mut limiter, Cause::KnownPath, start), 2, "the whole is spent all the same");
        let mut limiter = daily(&StoredLimits::default(), start);
        for n in 0..8 {
            let (path, at) = (format!("/new/{n}"), later(start, 60 * n));
            assert!(causes(&mut limiter, Cause::UnknownPath, Some(&path), n, at.mono));
            assert!(limiter.allows_forced(Cause::UnknownPath, at.mono), "{n}");
            limiter.spend_forced(Cause::UnknownPath, at);
            limiter.accepted(&path);
        }
        assert!(limiter.forced.stored().iter().all(|forced| !forced.unknown_path));
    }

    #[test]
    fn a_restart_neither_fills_nor_empties_the_bucket() {
        let start = now();
        let mut limiter = bucket(&StoredLimits::default(), start);
        allowed(&mut limiter, Cause::UnknownPath, start);
        allowed(&mut limiter, Cause::KnownPath, start);
        let stored = limiter.stored(later(start, 30));
        for (away, left) in [(0, 0), (29, 0), (30, 1), (89, 1), (90, 2), (100_000, 10)] {
            let back = later(start, 30 + away);
            assert_eq!(
                allowed(&mut bucket(&stored, back), Cause::KnownPath, back),
                left,
                "away for {away} s"
            );
        }
        // The next one comes when it would have come.
        for (away, next) in [(10, 20), (29, 1), (40, 50), (90, 60)] {
            let back = later(start, 30 + away);
            let mut limiter = bucket(&stored, back);
            allowed(&mut limiter, Cause::KnownPath, back);
            assert_eq!(allowed(&mut limiter, Cause::KnownPath, later(back, next - 1)), 0, "{away} s");
            assert_eq!(allowed(&mut limiter, Cause::KnownPath, later(back, next)), 1, "{away} s");
        }
        for (away, left) in [(0, 0), (100_000, 3)] {
            let back = later(start, 30 + away);
            let unknown = allowed(&mut bucket(&stored, back), Cause::UnknownPath, back);
            assert_eq!(unknown, left, "away for {away} s");
        }
        let mut limiter = bucket(&StoredLimits::default(), start);
        assert_eq!(allowed(&mut limiter, Cause::UnknownPath, start), 3);
        let mut again = bucket(&limiter.stored(start), start);
        assert_eq!(allowed(&mut again, Cause::UnknownPath, start), 0, "the share is kept");
        assert_eq!(allowed(&mut again, Cause::KnownPath, start), 7);
        let set_back = Now { wall: start.wall - DAY, ..start };
        assert_eq!(allowed(&mut bucket(&stored, set_back), Cause::KnownPath, start), 0);
    }

    #[test]
    fn what_another_replica_spent_is_spent_here_too() {
        let start = now();
        let mut other = bucket(&StoredLimits::default(), start);
        allowed(&mut other, Cause::UnknownPath, start);
        let mut limiter = bucket(&StoredLimits::default(), start);
        limiter.merge(&other.stored(start), start);
        assert_eq!(allowed(&mut limiter, Cause::UnknownPath, start), 0, "the share is common");
        assert_eq!(allowed(&mut limiter, Cause::KnownPath, start), 7);
        limiter.merge(&other.stored(start), start);
        assert_eq!(allowed(&mut limiter, Cause::KnownPath, start), 0, "a merge gives nothing back");
    }

    #[test]
    fn a_replica_that_does_not_know_what_was_spent_here_is_told() {
        let start = now();
        let nothing = StoredLimits::default();
        let mut limiter = bucket(&nothing, start);
        assert!(!limiter.merge(&nothing, start), "nothing was spent");
        let before = limiter.stored(start);
        assert!(causes(&mut limiter, Cause::KnownPath, None, 1, start.mono));
        assert!(limiter.merge(&before, start) && limiter.merge(&nothing, start));
        let known = limiter.stored(start);
        assert!(!limiter.merge(&known, start));
        let mut limiter = daily(&nothing, start);
        assert!(!limiter.merge(&nothing, start));
        limiter.spend_forced(Cause::KnownPath, start);
        let known = limiter.stored(start);
        for (secs, right) in [(0, true), (86_399, true), (86_400, false)] {
            assert_eq!(limiter.merge(&nothing, later(start, secs)), right, "{secs}");
        }
        assert!(!limiter.merge(&known, start));
        // What another kind of token left behind counts beside the bucket, and hides nothing of it.
        let mut limiter = bucket(&known, start);
        assert!(causes(&mut limiter, Cause::KnownPath, None, 1, start.mono));
        assert!(limiter.merge(&nothing, start));
    }

    #[test]
    fn the_last_eight_paths_that_took_of_the_share_can_give_it_back() {
        let start = now();
        let mut limiter = bucket(&StoredLimits::default(), start);
        let take = |limiter: &mut Limiter, n: u64| {
            let (path, at) = (format!("/new/{n}"), later(start, 200 * n));
            assert!(causes(limiter, Cause::UnknownPath, Some(&path), n, at.mono), "{n}");
            at
        };
        for n in 0..8 {
            take(&mut limiter, n);
        }
        let at = take(&mut limiter, 8);
        // The share refills as fast as it was taken of: it is as good as full, but for the last.
        while causes(&mut limiter, Cause::UnknownPath, None, 9, at.mono) {}
        limiter.accepted("/new/0");
        assert!(!causes(&mut limiter, Cause::UnknownPath, None, 9, at.mono), "long ago");
        for n in 1..4 {
            limiter.accepted(&format!("/new/{n}"));
            assert!(causes(&mut limiter, Cause::UnknownPath, None, 9, at.mono), "{n}");
        }
    }

    /// When the next one is allowed, in seconds from `start`.
    fn next(limiter: &mut Limiter, cause: Cause, start: Now, from: u64) -> u64 {
        (from..from + 200_000)
            .find(|secs| limiter.allows_forced(cause, later(start, *secs).mono))
            .expect("within two days")
    }

    #[test]
    fn eighteen_in_any_24_hours_and_30_s_apart() {
        let start = now();
        let mut limiter = daily(&StoredLimits::default(), start);
        for n in 0..18 {
            let at = later(start, 30 * n);
            assert!(limiter.allows_forced(Cause::KnownPath, at.mono));
            limiter.spend_forced(Cause::KnownPath, at);
            let right = if n < 17 { 30 * n + 30 } else { 86_400 };
            assert_eq!(next(&mut limiter, Cause::KnownPath, start, 30 * n), right);
        }
        let mut limiter = daily(&StoredLimits::default(), start);
        (0..18).for_each(|n| limiter.spend_forced(Cause::KnownPath, later(start, 30 * n)));
        let restored = later(start, 2_000);
        let mut again = daily(&limiter.stored(restored), restored);
        assert_eq!(next(&mut again, Cause::KnownPath, start, 2_000), 86_400);
    }

    #[test]
    fn what_another_replica_forced_counts_here_too_and_once() {
        let start = now();
        let mut other = daily(&StoredLimits::default(), start);
        (0..17).for_each(|n| other.spend_forced(Cause::KnownPath, later(start, 30 * n)));
        let mut limiter = daily(&StoredLimits::default(), start);
        limiter.spend_forced(Cause::KnownPath, later(start, 500));
        for _ in 0..2 {
            let at = later(start, 600);
            limiter.merge(&other.stored(at), at);
            assert_eq!(limiter.stored(at).forced.len(), 18);
            assert_eq!(next(&mut limiter, Cause::KnownPath, start, 600), 86_400);
        }
        // The newest of them keeps the next one apart, whoever sent it.
        let mut limiter = daily(&StoredLimits::default(), start);
        limiter.spend_forced(Cause::KnownPath, start);
        limiter.merge(&other.stored(start), later(start, 490));
        assert_eq!(next(&mut limiter, Cause::KnownPath, start, 490), 510);
    }

    #[test]
    fn unknown_paths_cause_six_of_the_eighteen() {
        let start = now();
        let mut limiter = daily(&StoredLimits::default(), start);
        for n in 0..6 {
            limiter.spend_forced(Cause::UnknownPath, later(start, 60 * n));
        }
        let stored = limiter.stored(later(start, 400));
        let mut again = daily(&stored, later(start, 400));
        for limiter in [&mut limiter, &mut again] {
            assert_eq!(next(limiter, Cause::KnownPath, start, 400), 400);
            assert_eq!(next(limiter, Cause::UnknownPath, start, 400), 86_400);
        }
    }

    #[test]
    fn the_limit_that_is_in_the_way_is_named() {
        let start = now();
        let mut limiter = daily(&StoredLimits::default(), start);
        limiter.spend_forced(Cause::UnknownPath, start);
        for cause in [Cause::UnknownPath, Cause::KnownPath] {
            assert_eq!(limiter.limiting(cause, later(start, 29).mono), Limiting::Apart);
        }
        (1..6).for_each(|n| limiter.spend_forced(Cause::UnknownPath, later(start, 60 * n)));
        let at = later(start, 400);
        assert_eq!(limiter.limiting(Cause::UnknownPath, at.mono), Limiting::Share);
        (7..19).for_each(|n| limiter.spend_forced(Cause::KnownPath, later(start, 60 * n)));
        for cause in [Cause::UnknownPath, Cause::KnownPath] {
            assert_eq!(limiter.limiting(cause, later(start, 2000).mono), Limiting::Whole);
        }
        let mut limiter = bucket(&StoredLimits::default(), start);
        assert_eq!(allowed(&mut limiter, Cause::UnknownPath, start), 3);
        assert_eq!(limiter.limiting(Cause::UnknownPath, start.mono), Limiting::Share);
        assert_eq!(allowed(&mut limiter, Cause::KnownPath, start), 7);
        assert_eq!(limiter.limiting(Cause::UnknownPath, start.mono), Limiting::Whole);
    }

    #[test]
    fn a_handed_back_token_is_not_asked_for_in_a_spin_by_those_who_may_not_force() {
        let start = now();
        let mut limiter = daily(&StoredLimits::default(), start);
        for n in 0..6 {
            limiter.spend_forced(Cause::UnknownPath, later(start, 60 * n));
        }
        let at = later(start, 400).mono;
        limiter.handed_back(1, at);
        assert!(!causes(&mut limiter, Cause::UnknownPath, None, 1, at));
        assert!(causes(&mut limiter, Cause::KnownPath, None, 1, at), "the others are not held up by it");
        assert!(causes(&mut limiter, Cause::UnknownPath, None, 2, at), "another token is another matter");
        let soon = |ms| at + Duration::from_millis(ms);
        assert!(!causes(&mut limiter, Cause::UnknownPath, None, 1, soon(4_999)));
        assert!(causes(&mut limiter, Cause::UnknownPath, None, 1, soon(5_000)));
    }

    #[test]
    fn forced_times_in_the_future_count_as_just_sent() {
        let start = now();
        let forced = vec![StoredForced { at: start.wall + DAY * 300, unknown_path: false }];
        let mut limiter = daily(&StoredLimits { forced, ..StoredLimits::default() }, start);
        assert_eq!(next(&mut limiter, Cause::KnownPath, start, 0), 30);
    }
}
