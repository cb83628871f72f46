//! "Not the token's fault": paths that are refused whatever the token is.
//!
//! Some calls answer 40001 whatever the token (an interface of another kind of account, say). A path that is
//! refused twice in a row with a token just fetched for it starts no fetch for ten minutes. Each further block
//! without a success in between lasts twice as long as the one before, up to a day: at ten minutes each, one such
//! path alone would spend all that `stable_token` allows in a day within three hours.
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
    /// The generation whose refusal was counted last: any number of requests that were refused with one
    /// generation say the same thing once.
    counted: u64,
    in_a_row: u32,
    /// Blocks so far.
    blocks: u32,
    blocked_until: Option<Instant>,
    touched: Instant,
}

/// The records of one account.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    records: HashMap<Arc<str>, Record>,
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
        let record = Record {
            granted: generation,
            counted: 0,
            in_a_row: 0,
            blocks: 0,
            blocked_until: None,
            touched: now,
        };
        self.records.insert(path.into(), record);
        self.changed = true;
    }

    /// A request of this path was refused with `generation`. For how long that blocks the path, if it does.
    pub(super) fn refused(&mut self, path: &str, generation: u64, now: Instant) -> Option<Duration> {
        let record = self.records.get_mut(path)?;
        if record.granted != generation || record.counted >= generation {
            return None;
        }
        record.counted = generation;
        record.in_a_row += 1;
        record.touched = now;
        if record.in_a_row < IN_A_ROW {
            return None;
        }
        let block = block(record.blocks);
        record.blocks = record.blocks.saturating_add(1);
        record.blocked_until = Some(now + block);
        Some(block)
    }

    /// A request of this path was not refused: nothing is held against it any more.
    pub(super) fn succeeded(&mut self, path: &str) {
        self.changed |= self.records.remove(path).is_some();
    }

    /// Whether this path may start no fetch.
    pub(super) fn blocked(&self, path: &str, now: Instant) -> bool {
        self.records.get(path).and_then(|record| record.blocked_until).is_some_and(|until| now < until)
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
        assert!((0..500).all(|_| paths.refused("/a", 2, now).is_none()));
        assert!(!paths.blocked("/a", now));
        paths.granted("/a", 3, now);
        assert!(paths.refused("/a", 3, now).is_some(), "the second generation in a row");
        assert!(paths.blocked("/a", now) && !paths.blocked("/b", now));
    }

    #[test]
    fn only_a_token_fetched_for_the_path_counts() {
        let now = Instant::now();
        let mut paths = Paths::default();
        assert_eq!((paths.refused("/a", 2, now), paths.refused("/a", 3, now)), (None, None));
        paths.granted("/a", 4, now);
        assert_eq!((paths.refused("/a", 5, now), paths.refused("/a", 6, now)), (None, None));
        assert!(!paths.blocked("/a", now));
    }

    #[test]
    fn each_further_block_is_twice_as_long_up_to_a_day() {
        let mut now = Instant::now();
        let mut paths = Paths::default();
        let mut minutes = Vec::new();
        for generation in 2..13 {
            paths.granted("/a", generation, now);
            let Some(block) = paths.refused("/a", generation, now) else { continue };
            minutes.push(block.as_secs() / 60);
            assert!(paths.blocked("/a", now + block - Duration::from_secs(1)));
            now += block;
            assert!(!paths.blocked("/a", now));
        }
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(block(u32::MAX), LONGEST_BLOCK);
        paths.succeeded("/a");
        for (generation, blocked) in [(20, None), (21, Some(FIRST_BLOCK))] {
            paths.granted("/a", generation, now);
            assert_eq!(paths.refused("/a", generation, now), blocked, "a success starts anew");
        }
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
