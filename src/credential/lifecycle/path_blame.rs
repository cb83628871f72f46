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
//! - the token is known good: some request, of whatever path, was not refused with that generation;
//! - or the path is the sole one: no other path was refused with that generation. When another one follows, the
//!   refusal is corroborated, and the count is taken back. A path that has been blocked before corroborates nothing:
//!   it is refused in any case.
//!
//! A single bad path is thus blocked whether or not anybody else calls; several bad paths are once one good call
//! shows that a token is good, and until then spend what the limits in `limiter.rs` allow.
//!
//! A call that is refused with each of its sendings while other calls show that the token is good causes no fetch at
//! all; two such calls in a row block their path just the same, since each of them was held up by its repetitions.
//!
//! The records are bounded: callers choose paths. Which calls are refused, and what a refusal is, is not decided
//! here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Now, whole_millis};
use crate::credential::types::Suspects;
use crate::store::StoredBlame;

/// Refusals in a row, each with a token fetched for the path, that stop its fetches.
const IN_A_ROW: u32 = 2;
/// How long such a path starts no fetch for the first time.
const FIRST_BLOCK: Duration = Duration::from_secs(600);
/// No block is longer.
const LONGEST_BLOCK: Duration = Duration::from_secs(86_400);
/// Records at one moment; the one untouched for longest makes room.
const MOST: usize = 1024;

/// Records that are stored for other replicas, the newest ones.
const MOST_STORED: usize = 32;
/// So long a record is stored that nothing has happened to.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The moment on the wall clock that `at` is.
fn moved(wall: SystemTime, mono: Instant, at: Instant) -> SystemTime {
    let (ahead, ago) = (at.saturating_duration_since(mono), mono.saturating_duration_since(at));
    (wall + ahead).checked_sub(ago).unwrap_or(wall)
}

#[derive(Debug, Clone)]
struct PathRecord {
    /// The generation last fetched for this path; 0 for none.
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
    /// When a call was counted last that was refused although the token is good: calls that began before say the
    /// same thing once.
    counted_at: Option<Instant>,
    in_a_row: u32,
    /// Blocks so far.
    blocks: u32,
    blocked_until: Option<Instant>,
}

impl Tally {
    fn was_blocked(self) -> bool {
        self.blocks > 0
    }

    /// One more refusal that is the path's fault.
    fn count(&mut self, now: Instant) -> Blame {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < IN_A_ROW {
            return Blame::Counted;
        }
        let block = block(self.blocks);
        self.blocks = self.blocks.saturating_add(1);
        self.blocked_until = Some(now + block);
        Blame::Blocked(block)
    }
}

/// The paths that were refused with the newest generation that any was refused with.
#[derive(Debug, Clone, Default)]
struct Refusals {
    generation: u64,
    /// The first path that was not blocked before.
    first: Option<Arc<str>>,
    /// What was held against the first path before this generation counted against it.
    before: Option<Tally>,
    /// Others were refused too.
    corroborated: bool,
}

/// What a refusal means for its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// Nothing new.
    Nothing,
    /// It counts against the path.
    Counted,
    /// It is the one that blocks the path for so long.
    Blocked(Duration),
    /// It shows that the generation is dead: what it counted against another path is taken back.
    TakenBack,
}

/// The records of one credential.
#[derive(Debug, Clone, Default)]
pub(super) struct PathBlame {
    records: HashMap<Arc<str>, PathRecord>,
    /// The newest generation with which a request was not refused.
    known_good: u64,
    refusals: Refusals,
    /// The paths of late that nothing is held against any more.
    cleared: Vec<(Arc<str>, Instant)>,
    changed: bool,
}

impl PathBlame {
    /// `generation` was fetched for a request of this path.
    pub(super) fn granted(&mut self, path: &str, generation: u64, now: Instant) {
        let record = self.record(path, now);
        record.granted = generation;
        record.touched = now;
    }

    /// A request, of whatever path, was not refused with `generation`.
    pub(super) fn known_good(&mut self, generation: u64) {
        self.known_good = self.known_good.max(generation);
    }

    /// A request of this path was refused with `generation`.
    pub(super) fn refused(&mut self, path: &str, generation: u64, now: Instant) -> Blame {
        if generation != self.known_good
            && let Some(blame) = self.corroborate(path, generation)
        {
            return blame;
        }
        let Some(record) = self.records.get_mut(path) else { return Blame::Nothing };
        if record.granted != generation || record.tally.counted >= generation {
            return Blame::Nothing;
        }
        if self.refusals.generation == generation && self.refusals.first.as_deref() == Some(path) {
            self.refusals.before = Some(record.tally);
        }
        record.touched = now;
        record.tally.counted = generation;
        self.changed = true;
        record.tally.count(now)
    }

    /// A call of this path, begun at this time, was refused with each of its sendings although others show that the
    /// token is good.
    pub(super) fn refused_though_good(&mut self, path: &str, began: Instant, now: Instant) -> Blame {
        let record = self.record(path, now);
        record.touched = now;
        if record.tally.counted_at.is_some_and(|counted| began <= counted) {
            return Blame::Nothing;
        }
        record.tally.counted_at = Some(now);
        let blame = record.tally.count(now);
        self.changed = true;
        blame
    }

    /// Enters a refusal with a generation that is not known good; a verdict when it does not count because the path
    /// is not the sole one.
    fn corroborate(&mut self, path: &str, generation: u64) -> Option<Blame> {
        let refusals = &mut self.refusals;
        if generation < refusals.generation {
            // Late news of a token that is gone: which others were refused with it is not known any more.
            return Some(Blame::Nothing);
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
                refusals.corroborated = true;
                if let Some(before) = refusals.before.take()
                    && let Some(record) = self.records.get_mut(first)
                    && record.tally.counted == generation
                {
                    record.tally = before;
                    self.changed = true;
                    return Some(Blame::TakenBack);
                }
            }
        }
        refusals.corroborated.then_some(Blame::Nothing)
    }

    /// A request of this path was not refused: nothing is held against it any more; whether something was.
    pub(super) fn succeeded(&mut self, path: &str, now: Instant) -> bool {
        let Some((path, record)) = self.records.remove_entry(path) else { return false };
        self.changed = true;
        // Other replicas learn that it is over.
        self.cleared.retain(|(other, at)| *other != path && now < *at + REMEMBERED);
        self.cleared.push((path, now));
        if self.cleared.len() > MOST_STORED {
            self.cleared.remove(0);
        }
        record.tally.in_a_row > 0
    }

    /// For other replicas: what was touched last.
    pub(super) fn stored(&self, now: Now) -> Vec<StoredBlame> {
        let wall = |at: Instant| whole_millis(moved(now.wall, now.mono, at));
        // What is held against a path again is later than that it was cleared.
        let only_cleared = self.cleared.iter().filter(|(path, _)| !self.records.contains_key(path));
        let cleared = only_cleared.map(|(path, at)| StoredBlame {
            path: path.to_string(),
            granted: 0,
            counted: 0,
            in_a_row: 0,
            blocks: 0,
            blocked_until: None,
            at: wall(*at),
        });
        let held = self.records.iter().map(|(path, record)| StoredBlame {
            path: path.to_string(),
            granted: record.granted,
            counted: record.tally.counted,
            in_a_row: record.tally.in_a_row,
            blocks: record.tally.blocks,
            blocked_until: record.tally.blocked_until.map(wall),
            at: wall(record.touched),
        });
        let mut all: Vec<_> = cleared.chain(held).filter(|blame| now.wall < blame.at + REMEMBERED).collect();
        all.sort_by(|one, other| (one.at, &one.path).cmp(&(other.at, &other.path)));
        all.split_off(all.len().saturating_sub(MOST_STORED))
    }

    /// What another replica holds against paths; of two records of a path the later one holds.
    pub(super) fn merge(&mut self, stored: &[StoredBlame], now: Now) {
        for theirs in stored {
            let mono = |at: SystemTime| match at.duration_since(now.wall) {
                Ok(ahead) => now.mono + ahead.min(LONGEST_BLOCK),
                Err(ago) => now.mono.checked_sub(ago.duration()).unwrap_or(now.mono),
            };
            let at = mono(theirs.at).min(now.mono);
            let path: Arc<str> = theirs.path.as_str().into();
            let ours = self.records.get(&path).map(|record| record.touched);
            let cleared = self.cleared.iter().find(|(cleared, _)| *cleared == path).map(|(_, at)| *at);
            // What is stored is a little less exact.
            if ours.max(cleared).is_some_and(|ours| at < ours + Duration::from_millis(2)) {
                continue;
            }
            self.changed = true;
            if theirs.granted == 0 && theirs.in_a_row == 0 {
                self.records.remove(&path);
                continue;
            }
            let record = self.record(&theirs.path, now.mono);
            record.granted = theirs.granted;
            record.touched = at;
            record.tally = Tally {
                counted: theirs.counted,
                counted_at: record.tally.counted_at,
                in_a_row: theirs.in_a_row,
                blocks: theirs.blocks,
                blocked_until: theirs.blocked_until.map(mono),
            };
        }
    }

    /// Whether this path may start no fetch.
    pub(super) fn blocked(&self, path: &str, now: Instant) -> bool {
        self.records.get(path).and_then(|record| record.tally.blocked_until).is_some_and(|until| now < until)
    }

    /// The paths whose success the task wants to hear of, and until when each is blocked, if they changed since the
    /// last time.
    pub(super) fn take_changed(&mut self) -> Option<Suspects> {
        let suspects =
            || self.records.iter().map(|(path, record)| (path.clone(), record.tally.blocked_until));
        std::mem::take(&mut self.changed).then(|| suspects().collect())
    }

    fn record(&mut self, path: &str, now: Instant) -> &mut PathRecord {
        if !self.records.contains_key(path) {
            if self.records.len() >= MOST
                && let Some(oldest) =
                    self.records.iter().min_by_key(|(_, r)| r.touched).map(|(p, _)| p.clone())
            {
                self.records.remove(&oldest);
            }
            self.changed = true;
        }
        let fresh = || PathRecord { granted: 0, tally: Tally::default(), touched: now };
        self.records.entry(path.into()).or_insert_with(fresh)
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
        let mut paths = PathBlame::default();
        paths.granted("/a", 2, now);
        assert!((0..500).all(|n| (paths.refused("/a", 2, now) == Blame::Counted) == (n == 0)));
        assert!(!paths.blocked("/a", now));
        paths.granted("/a", 3, now);
        assert!(paths.refused("/a", 3, now) == Blame::Blocked(FIRST_BLOCK), "the second generation in a row");
        assert!(paths.blocked("/a", now) && !paths.blocked("/b", now));
    }

    #[test]
    fn only_a_token_fetched_for_the_path_counts() {
        let now = Instant::now();
        let mut paths = PathBlame::default();
        assert!([2, 3].iter().all(|&n| paths.refused("/a", n, now) == Blame::Nothing));
        paths.granted("/a", 4, now);
        assert!([5, 6].iter().all(|&n| paths.refused("/a", n, now) == Blame::Nothing));
        assert!(!paths.blocked("/a", now));
    }

    #[test]
    fn each_further_block_is_twice_as_long_up_to_a_day() {
        let mut now = Instant::now();
        let mut paths = PathBlame::default();
        let mut minutes = Vec::new();
        for generation in 2..13 {
            paths.granted("/a", generation, now);
            let Blame::Blocked(block) = paths.refused("/a", generation, now) else { continue };
            minutes.push(block.as_secs() / 60);
            assert!(paths.blocked("/a", now + block - Duration::from_secs(1)));
            now += block;
            assert!(!paths.blocked("/a", now));
        }
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(block(u32::MAX), LONGEST_BLOCK);
        paths.succeeded("/a", now);
        for (generation, blocked) in [(20, Blame::Counted), (21, Blame::Blocked(FIRST_BLOCK))] {
            paths.granted("/a", generation, now);
            assert_eq!(paths.refused("/a", generation, now), blocked, "a success starts anew");
        }
    }

    /// Fetched for both paths, refused on both, and that so often.
    fn both_refused(paths: &mut PathBlame, generations: std::ops::Range<u64>, now: Instant) {
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
        let mut paths = PathBlame::default();
        both_refused(&mut paths, 2..12, now);
        assert!(!paths.blocked("/a", now) && !paths.blocked("/b", now));
        // Blocked alone, and let go when the next path is refused with the same token.
        for generation in [12, 13] {
            paths.granted("/a", generation, now);
            paths.refused("/a", generation, now);
        }
        assert!(paths.blocked("/a", now));
        assert_eq!(paths.refused("/c", 13, now), Blame::TakenBack);
        assert!(!paths.blocked("/a", now));
        assert_eq!(paths.refused("/a", 13, now), Blame::Nothing);
    }

    #[test]
    fn a_token_known_good_is_not_to_blame() {
        let now = Instant::now();
        let mut paths = PathBlame::default();
        both_refused(&mut paths, 2..4, now);
        for generation in [4, 5] {
            paths.known_good(generation);
            both_refused(&mut paths, generation..generation + 1, now);
        }
        assert!(paths.blocked("/a", now) && paths.blocked("/b", now));
    }

    #[test]
    fn a_path_that_was_blocked_before_corroborates_nothing() {
        let now = Instant::now();
        let mut paths = PathBlame::default();
        for (path, generation) in [("/a", 2), ("/a", 3), ("/b", 4), ("/b", 5)] {
            paths.granted(path, generation, now);
            paths.refused("/a", generation, now);
            paths.refused(path, generation, now);
        }
        assert!(paths.blocked("/a", now) && paths.blocked("/b", now));
    }

    #[test]
    fn calls_refused_though_the_token_is_good_block_their_path_after_two_in_a_row() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut paths = PathBlame::default();
        assert_eq!(paths.refused_though_good("/a", at(0), at(2)), Blame::Counted);
        // A hundred calls at once say the same thing once.
        assert!((0..100).all(|_| paths.refused_though_good("/a", at(1), at(3)) == Blame::Nothing));
        assert_eq!(paths.refused_though_good("/a", at(2), at(3)), Blame::Nothing, "sent at that moment");
        assert_eq!(paths.refused_though_good("/a", at(3), at(5)), Blame::Blocked(FIRST_BLOCK));
        assert!(paths.blocked("/a", at(6)) && paths.take_changed().unwrap()["/a"].is_some());
        paths.succeeded("/a", Instant::now());
        assert!(!paths.blocked("/a", at(6)));
        assert_eq!(paths.refused_though_good("/a", at(7), at(8)), Blame::Counted, "a success starts anew");
    }

    /// A moment so many seconds after the start.
    fn moment(start: Instant, secs: u64) -> Now {
        let by = Duration::from_secs(secs);
        Now { mono: start + by, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + by }
    }

    #[test]
    fn another_replica_holds_the_same_against_a_path_until_one_of_its_calls_is_accepted() {
        let start = Instant::now();
        let now = |secs| moment(start, secs);
        let mut ours = PathBlame::default();
        for generation in [2, 3] {
            ours.granted("/a", generation, start);
            ours.refused("/a", generation, start);
        }
        let stored = ours.stored(now(0));
        let right = StoredBlame {
            path: "/a".to_owned(),
            granted: 3,
            counted: 3,
            in_a_row: 2,
            blocks: 1,
            blocked_until: Some(now(600).wall),
            at: now(0).wall,
        };
        assert_eq!(stored, [right]);
        assert_eq!([3599, 3600].map(|secs| ours.stored(now(secs)).len()), [1, 0], "an hour");
        let mut theirs = PathBlame::default();
        theirs.merge(&stored, now(1));
        assert!(theirs.blocked("/a", now(599).mono) && !theirs.blocked("/a", now(600).mono));
        assert!(theirs.take_changed().unwrap()["/a"].is_some());
        theirs.merge(&stored, now(2));
        assert!(theirs.take_changed().is_none(), "it is known");
        assert!(theirs.succeeded("/a", now(5).mono));
        theirs.take_changed();
        // What was stored before comes again, and what is stored now tells the others.
        theirs.merge(&stored, now(6));
        assert!(theirs.take_changed().is_none() && !theirs.blocked("/a", now(6).mono));
        let cleared = theirs.stored(now(6));
        assert_eq!(cleared.len(), 1);
        assert_eq!((cleared[0].granted, cleared[0].in_a_row, cleared[0].at), (0, 0, now(5).wall));
        assert_eq!([3604, 3605].map(|secs| theirs.stored(now(secs)).len()), [1, 0], "an hour");
        ours.merge(&cleared, now(7));
        assert!(!ours.blocked("/a", now(7).mono) && ours.stored(now(7)).is_empty());
    }

    #[test]
    fn a_path_that_is_granted_a_token_is_told_of_and_none_that_nothing_is_held_against_any_more_twice() {
        let start = Instant::now();
        let now = |secs| moment(start, secs);
        let mut paths = PathBlame::default();
        assert!(!paths.succeeded("/a", start), "it is not known");
        for secs in [1, 2] {
            paths.granted("/a", 2, now(secs).mono);
            let mut theirs = PathBlame::default();
            theirs.merge(&paths.stored(now(secs)), now(secs));
            assert_eq!(theirs.refused("/a", 2, now(secs).mono), Blame::Counted, "a token fetched for it");
            assert!(!paths.succeeded("/a", now(secs).mono), "it was never refused");
        }
        assert_eq!(paths.stored(now(2)).len(), 1);
        paths.granted("/a", 3, now(3).mono);
        let told: Vec<_> =
            paths.stored(now(3)).into_iter().map(|blame| (blame.path, blame.granted)).collect();
        assert_eq!(told, [("/a".to_owned(), 3)], "cleared before, and granted again");
        let newest: Vec<_> = (8..40).map(|n| format!("/{n}")).collect();
        for every in [1, 2] {
            let mut paths = PathBlame::default();
            for n in 0..40 {
                paths.granted(&format!("/{n}"), 3, now(n).mono);
                if n % every == 0 {
                    paths.succeeded(&format!("/{n}"), now(n).mono);
                }
            }
            let told: Vec<_> = paths.stored(now(40)).into_iter().map(|blame| blame.path).collect();
            assert_eq!(told, newest, "the newest thirty-two");
        }
    }

    #[test]
    fn the_records_are_bounded_and_the_oldest_goes() {
        let now = Instant::now();
        let mut paths = PathBlame::default();
        for n in 0..3000_u64 {
            paths.granted(&format!("/{n}"), n + 1, now + Duration::from_millis(n));
        }
        let kept = paths.take_changed().unwrap();
        assert_eq!(kept.len(), MOST);
        assert!(kept.contains_key("/2999") && !kept.contains_key("/0"));
        assert!(paths.take_changed().is_none());
        paths.succeeded("/2999", Instant::now());
        assert!(!paths.take_changed().unwrap().contains_key("/2999"));
    }
}
