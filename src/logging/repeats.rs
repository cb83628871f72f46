//! A limit on warnings that are repeated: an event of the program that fires at every call must not fill the log.
//!
//! Events are told apart by the line of the source that they come from, so the table is as small as the program.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Metadata;

/// How often one warning is logged within [`WINDOW`]: an account each second, say.
pub(super) const MOST: u32 = 60;

/// After this time it counts anew.
const WINDOW: Duration = Duration::from_secs(60);

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is logged; so many were left out before it.
    Log {
        /// In the last window.
        left_out: u32,
    },
    /// It is the first one too many: a line says so instead.
    First,
    /// It is left out.
    LeftOut,
}

/// The windows of all events that have occurred.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<Line, Window>>);

/// A line of the source.
type Line = (&'static str, u32);

#[derive(Debug)]
struct Window {
    began: Instant,
    count: u32,
}

impl Repeats {
    /// Counts an event.
    pub(super) fn count(&self, event: &'static Metadata<'static>, now: Instant) -> Verdict {
        self.count_line((event.file().unwrap_or_default(), event.line().unwrap_or_default()), now)
    }

    fn count_line(&self, of: Line, now: Instant) -> Verdict {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(of).or_insert(Window { began: now, count: 0 });
        let mut left_out = 0;
        if now.saturating_duration_since(window.began) >= WINDOW {
            left_out = window.count.saturating_sub(MOST);
            *window = Window { began: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        match window.count {
            count if count <= MOST => Verdict::Log { left_out },
            count if count == MOST + 1 => Verdict::First,
            _ => Verdict::LeftOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_in_a_minute_are_logged_then_one_line_says_so_then_it_counts_anew() {
        let (repeats, begin) = (Repeats::default(), Instant::now());
        let at = |line, seconds| repeats.count_line(("src/x.rs", line), begin + Duration::from_secs(seconds));
        for _ in 0..MOST {
            assert_eq!(at(1, 0), Verdict::Log { left_out: 0 });
        }
        assert_eq!(at(1, 10), Verdict::First);
        assert_eq!(at(2, 10), Verdict::Log { left_out: 0 }, "another line of the source");
        assert_eq!(at(1, 11), Verdict::LeftOut);
        assert_eq!(at(1, 59), Verdict::LeftOut);
        assert_eq!(at(1, 60), Verdict::Log { left_out: 3 });
        assert_eq!(at(1, 61), Verdict::Log { left_out: 0 });
    }
}
