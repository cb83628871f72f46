//! "Not the token's fault": paths that are refused whatever the token is.
//!
//! Some calls answer 40001 whatever the token (an interface of another kind of account, say). A path that is
//! refused twice in a row with a token just fetched for it starts no fetch for ten minutes. Each further block
//! without a success in between lasts twice as long as the one before, up to a day: at ten minutes each, one such
//! path alone would spend all that `stable_token` allows in a day within three hours.
//!
//! But a refused token may be a dead one: while another system goes on fetching, every path is refused, and to
//! block them all would leave nobody to heal the account. So a refusal counts against its path in two cases:
//!
//! - the token was good: some request, of whatever path, was not refused with that generation (it is proven);
//! - or the path stands alone: no other path was refused with that generation. When another one follows, the count
//!   is taken back. A path that has been blocked before is no such company: it is refused in any case.
//!
//! A single bad path is thus blocked whether or not anybody else calls; several bad paths are once one good call
//! proves a token, and until then spend what the limits in `bucket.rs` allow.
//!
//! The records are bounded: callers choose paths. Which calls are refused, and what a refusal is, is not decided
//! here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Refusals in a row, each with a token fetched for the path, that stop its fetches.
const IN_A_ROW: u32 = 2;
/// How long such a path starts no fetch for the first time.
const FIRST_BLOCK: Duration = Duration::from_secs(600);
/// No block is longer.
const LONGEST_BLOCK: Duration = Duration::from_secs(86_400);
/// Records at one moment; the one untouched for longest makes room.
const MOST: usize = 1024;

#[derive(Debug, Clone)]
struct Record {
    /// The generation last fetched for this path.
    granted: u64,
    tally: Tally,
    touched: Instant,
}

/// What is held against a path.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The generation whose refusal was counted last: any number of requests that were refused with one
    /// generation say the same thing once.
    counted: u64,
    in_a_row: u32,
    /// Blocks so far.
    blocks: u32,
    blocked_until: Option<Instant>,
}

impl Tally {
    fn was_blocked(self) -> bool {
        self.blocks > 0
    }
}

/// Who was refused with the newest generation that anybody was refused with.
#[derive(Debug, Clone, Default)]
struct Refusals {
    generation: u64,
    /// The first path that was not blocked before.
    first: Option<Arc<str>>,
    /// What was held against the first path before this generation counted against it.
    before: Option<Tally>,
    /// Others were refused too.
    several: bool,
}

/// What a refusal means for its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Nothing,
    /// It counts against the path.
    Counted,
    /// It is the one that blocks the path for so long.
    Blocked(Duration),
    /// It shows that the generation is dead: what it counted against another path is taken back.
    TakenBack,
}

/// The records of one account.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    records: HashMap<Arc<str>, Record>,
    /// The newest generation with which a request was not refused.
    proven: u64,
    refusals: Refusals,
    changed: bool,
}

impl Paths {
    /// `generation` was fetched for a request of this path.
    pub(super) fn granted(&mut self, path: &str, generation: u64, now: Instant) {
        if let Some(record) = self.records.get_mut(path) {
            record.granted = generation;
            record.touched = now;
            return;
        }
        if self.records.len() >= MOST
            && let Some(oldest) = self.records.iter().min_by_key(|(_, r)| r.touched).map(|(p, _)| p.clone())
        {
            self.records.remove(&oldest);
        }
        let record = Record { granted: generation, tally: Tally::default(), touched: now };
        self.records.insert(path.into(), record);
        self.changed = true;
    }

    /// A request, of whatever path, was not refused with `generation`.
    pub(super) fn proved(&mut self, generation: u64) {
        self.proven = self.proven.max(generation);
    }

    /// A request of this path was refused with `generation`.
    pub(super) fn refused(&mut self, path: &str, generation: u64, now: Instant) -> Verdict {
        if generation != self.proven
            && let Some(verdict) = self.company(path, generation)
        {
            return verdict;
        }
        let Some(record) = self.records.get_mut(path) else { return Verdict::Nothing };
        if record.granted != generation || record.tally.counted >= generation {
            return Verdict::Nothing;
        }
        if self.refusals.generation == generation && self.refusals.first.as_deref() == Some(path) {
            self.refusals.before = Some(record.tally);
        }
        record.touched = now;
        let tally = &mut record.tally;
        tally.counted = generation;
        tally.in_a_row = tally.in_a_row.saturating_add(1);
        if tally.in_a_row < IN_A_ROW {
            return Verdict::Counted;
        }
        let block = block(tally.blocks);
        tally.blocks = tally.blocks.saturating_add(1);
        tally.blocked_until = Some(now + block);
        Verdict::Blocked(block)
    }

    /// Enters a refusal with a generation that nobody has proved; a verdict when it does not count because the
    /// path is not the only one.
    fn company(&mut self, path: &str, generation: u64) -> Option<Verdict> {
        let refusals = &mut self.refusals;
        if generation < refusals.generation {
            // Late news of a token that is gone: who else was refused with it is not known any more.
            return Some(Verdict::Nothing);
        }
        if generation > refusals.generation {
            *refusals = Refusals { generation, ..Refusals::default() };
        }
        let was_blocked = self.records.get(path).is_some_and(|record| record.tally.was_blocked());
        match &refusals.first {
            Some(first) if **first == *path => {}
            _ if was_blocked => {}
            None => refusals.first = Some(path.into()),
            Some(first) => {
                refusals.several = true;
                if let Some(before) = refusals.before.take()
                    && let Some(record) = self.records.get_mut(first)
                    && record.tally.counted == generation
                {
                    record.tally = before;
                    return Some(Verdict::TakenBack);
                }
            }
        }
        refusals.several.then_some(Verdict::Nothing)
    }

    /// A request of this path was not refused: nothing is held against it any more.
    pub(super) fn succeeded(&mut self, path: &str) {
        self.changed |= self.records.remove(path).is_some();
    }

    /// Whether this path may start no fetch.
    pub(super) fn blocked(&self, path: &str, now: Instant) -> bool {
        self.records.get(path).and_then(|record| record.tally.blocked_until).is_some_and(|until| now < until)
    }

    /// The paths whose success the task wants to hear of, if they changed since the last time.
    pub(super) fn take_changed(&mut self) -> Option<HashSet<Arc<str>>> {
        std::mem::take(&mut self.changed).then(|| self.records.keys().cloned().collect())
    }
}

/// How long a block lasts that `before` others came before.
fn block(before: u32) -> Duration {
    FIRST_BLOCK.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST_BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_generation_counts_once() {
        let now = Instant::now();
        let mut paths = Paths::default();
        paths.granted("/a", 2, now);
        assert!((0..500).all(|n| (paths.refused("/a", 2, now) == Verdict::Counted) == (n == 0)));
        assert!(!paths.blocked("/a", now));
        paths.granted("/a", 3, now);
        assert!(
            paths.refused("/a", 3, now) == Verdict::Blocked(FIRST_BLOCK),
            "the second generation in a row"
        );
        assert!(paths.blocked("/a", now) && !paths.blocked("/b", now));
    }

    #[test]
    fn only_a_token_fetched_for_the_path_counts() {
        let now = Instant::now();
        let mut paths = Paths::default();
        assert!([2, 3].iter().all(|&n| paths.refused("/a", n, now) == Verdict::Nothing));
        paths.granted("/a", 4, now);
        assert!([5, 6].iter().all(|&n| paths.refused("/a", n, now) == Verdict::Nothing));
        assert!(!paths.blocked("/a", now));
    }

    #[test]
    fn each_further_block_is_twice_as_long_up_to_a_day() {
        let mut now = Instant::now();
        let mut paths = Paths::default();
        let mut minutes = Vec::new();
        for generation in 2..13 {
            paths.granted("/a", generation, now);
            let Verdict::Blocked(block) = paths.refused("/a", generation, now) else { continue };
            minutes.push(block.as_secs() / 60);
            assert!(paths.blocked("/a", now + block - Duration::from_secs(1)));
            now += block;
            assert!(!paths.blocked("/a", now));
        }
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(block(u32::MAX), LONGEST_BLOCK);
        paths.succeeded("/a");
        for (generation, blocked) in [(20, Verdict::Counted), (21, Verdict::Blocked(FIRST_BLOCK))] {
            paths.granted("/a", generation, now);
            assert_eq!(paths.refused("/a", generation, now), blocked, "a success starts anew");
        }
    }

    /// Fetched for both paths, refused on both, and that so often.
    fn both_refused(paths: &mut Paths, generations: std::ops::Range<u64>, now: Instant) {
        for generation in generations {
            ["/a", "/b"].iter().for_each(|path| paths.granted(path, generation, now));
            for path in ["/a", "/b", "/a"] {
                paths.refused(path, generation, now);
            }
        }
    }

    #[test]
    fn a_dead_token_is_no_paths_fault() {
        let now = Instant::now();
        let mut paths = Paths::default();
        both_refused(&mut paths, 2..12, now);
        assert!(!paths.blocked("/a", now) && !paths.blocked("/b", now));
        // Blocked alone, and let go when the next path is refused with the same token.
        for generation in [12, 13] {
            paths.granted("/a", generation, now);
            paths.refused("/a", generation, now);
        }
        assert!(paths.blocked("/a", now));
        assert_eq!(paths.refused("/c", 13, now), Verdict::TakenBack);
        assert!(!paths.blocked("/a", now));
        assert_eq!(paths.refused("/a", 13, now), Verdict::Nothing);
    }

    #[test]
    fn a_proven_token_is_not_to_blame() {
        let now = Instant::now();
        let mut paths = Paths::default();
        both_refused(&mut paths, 2..4, now);
        for generation in [4, 5] {
            paths.proved(generation);
            both_refused(&mut paths, generation..generation + 1, now);
        }
        assert!(paths.blocked("/a", now) && paths.blocked("/b", now));
    }

    #[test]
    fn a_path_that_was_blocked_before_is_no_company() {
        let now = Instant::now();
        let mut paths = Paths::default();
        for (path, generation) in [("/a", 2), ("/a", 3), ("/b", 4), ("/b", 5)] {
            paths.granted(path, generation, now);
            paths.refused("/a", generation, now);
            paths.refused(path, generation, now);
        }
        assert!(paths.blocked("/a", now) && paths.blocked("/b", now));
    }

    #[test]
    fn the_records_are_bounded_and_the_oldest_goes() {
        let now = Instant::now();
        let mut paths = Paths::default();
        for n in 0..3000_u64 {
            paths.granted(&format!("/{n}"), n + 1, now + Duration::from_millis(n));
        }
        let kept = paths.take_changed().unwrap();
        assert_eq!(kept.len(), MOST);
        assert!(kept.contains("/2999") && !kept.contains("/0"));
        assert!(paths.take_changed().is_none());
        paths.succeeded("/2999");
        assert!(!paths.take_changed().unwrap().contains("/2999"));
    }
}
