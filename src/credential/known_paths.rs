//! Which paths had an accepted call within the last hour, in a table of fixed size.
//!
//! Callers choose paths, so nothing here grows: a path leaves a fingerprint, and where there is no room, the oldest
//! one goes. A look-up can take a path for another with a chance of one in four million; the hash is keyed, so that
//! nobody can choose such a path. One path costs an accepted call its hash and a relaxed load.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::evidence::Stamp;

/// A call that was accepted so many minutes ago counts.
const MINUTES: u32 = 60;
/// Rows; each has room for [`WAYS`] paths. A product's paths that are in use together are some dozens.
const ROWS: usize = 128;
const WAYS: usize = 4;
/// The lower bits of an entry are the minute, the others a fingerprint; 0 is an empty entry.
const MINUTE_BITS: u32 = 10;
const MINUTE_MASK: u32 = (1 << MINUTE_BITS) - 1;

/// The paths of one account.
#[derive(Debug)]
pub(crate) struct KnownPaths {
    hasher: RandomState,
    rows: Box<[[AtomicU32; WAYS]; ROWS]>,
    /// Any call was ever accepted.
    any: AtomicBool,
}

impl Default for KnownPaths {
    fn default() -> Self {
        let row = || std::array::from_fn(|_| AtomicU32::new(0));
        Self {
            hasher: RandomState::new(),
            rows: Box::new(std::array::from_fn(|_| row())),
            any: AtomicBool::new(false),
        }
    }
}

impl KnownPaths {
    /// A call of this path was accepted.
    pub(crate) fn accepted(&self, path: &str, now: Stamp) {
        let (row, fingerprint) = self.place(path);
        let entry = fingerprint | minute(now);
        let entries = row.iter().map(|way| way.load(Ordering::Relaxed));
        let (mut oldest, mut oldest_age) = (&row[0], 0);
        for (way, found) in row.iter().zip(entries) {
            if found == entry {
                return;
            }
            if found & !MINUTE_MASK == fingerprint {
                return way.store(entry, Ordering::Relaxed);
            }
            let age = if found == 0 { u32::MAX } else { age(found, now) };
            if age >= oldest_age {
                (oldest, oldest_age) = (way, age);
            }
        }
        oldest.store(entry, Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Whether there is nothing yet to tell paths apart by.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Whether it had an accepted call within the last hour.
    pub(crate) fn contains(&self, path: &str, now: Stamp) -> bool {
        let (row, fingerprint) = self.place(path);
        row.iter()
            .map(|way| way.load(Ordering::Relaxed))
            .any(|found| found != 0 && found & !MINUTE_MASK == fingerprint && age(found, now) <= MINUTES)
    }

    fn place(&self, path: &str) -> (&[AtomicU32; WAYS], u32) {
        let hash = self.hasher.hash_one(path.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "parts of a hash")]
        let (row, fingerprint) = (hash as usize % ROWS, (hash >> 32) as u32 & !MINUTE_MASK);
        // Never empty, whatever the minute.
        (&self.rows[row], fingerprint.max(1 << MINUTE_BITS))
    }
}

/// Wraps around after 17 hours: a fingerprint of that age may count for an hour more.
fn minute(now: Stamp) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    let minutes = now.minutes() as u32;
    minutes & MINUTE_MASK
}

fn age(entry: u32, now: Stamp) -> u32 {
    minute(now).wrapping_sub(entry) & MINUTE_MASK
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn at(minutes: u64) -> Stamp {
        Stamp::of(Instant::now() + Duration::from_secs(60 * minutes))
    }

    #[test]
    fn a_path_is_known_for_an_hour_after_its_last_accepted_call() {
        let paths = KnownPaths::default();
        assert!(!paths.contains("/a", at(0)));
        paths.accepted("/a", at(0));
        assert!(paths.contains("/a", at(59)) && !paths.contains("/b", at(59)));
        assert!(!paths.contains("/a", at(62)));
        paths.accepted("/a", at(50));
        assert!(paths.contains("/a", at(100)) && !paths.contains("/a", at(113)));
        // Beyond the wrap of the minutes.
        paths.accepted("/a", at(5000));
        assert!(paths.contains("/a", at(5030)) && !paths.contains("/a", at(5070)));
    }

    #[test]
    fn the_paths_of_a_product_have_room_beside_any_number_of_others() {
        let paths = KnownPaths::default();
        let used: Vec<String> = (0..40).map(|n| format!("/cgi-bin/interface/{n}")).collect();
        (0..100_000).for_each(|n| paths.accepted(&format!("/once/{n}"), at(0)));
        used.iter().for_each(|path| paths.accepted(path, at(1)));
        let known = used.iter().filter(|path| paths.contains(path, at(30))).count();
        assert_eq!(known, used.len(), "the oldest make room");
    }
}
