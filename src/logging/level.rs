//! The level that is logged, which can be changed while the process runs: raised by a step, and back to what it was at
//! the start. How long that lasts is for the one who changes it to decide.

use std::sync::atomic::{AtomicU8, Ordering};

use tracing::Level;

/// From the quietest on; a level is kept as its place in here.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

static CURRENT: AtomicU8 = AtomicU8::new(2);
static AT_START: AtomicU8 = AtomicU8::new(2);

/// What is logged.
pub(super) fn current() -> Level {
    at(CURRENT.load(Ordering::Relaxed))
}

/// The log begins at this level.
pub(super) fn begin(level: Level) {
    let place = LEVELS.iter().position(|known| *known == level).unwrap_or_default() as u8;
    AT_START.store(place, Ordering::Relaxed);
    CURRENT.store(place, Ordering::Relaxed);
}

/// Logs one step more than now, and tells the new level.
pub fn raise() -> Level {
    let more = CURRENT.load(Ordering::Relaxed).saturating_add(1).min(LEVELS.len() as u8 - 1);
    set(more)
}

/// Logs what was logged at the start again, and tells that level.
pub fn reset() -> Level {
    set(AT_START.load(Ordering::Relaxed))
}

fn set(place: u8) -> Level {
    CURRENT.store(place, Ordering::Relaxed);
    // Each event keeps whether it is wanted, so that those that are not cost nothing.
    tracing_core::callsite::rebuild_interest_cache();
    at(place)
}

fn at(place: u8) -> Level {
    LEVELS.get(usize::from(place)).copied().unwrap_or(Level::INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_raised_by_steps_up_to_the_last_and_reset_to_that_of_the_start() {
        begin(Level::INFO);
        assert_eq!(
            [current(), raise(), raise(), raise()],
            [Level::INFO, Level::DEBUG, Level::TRACE, Level::TRACE]
        );
        assert_eq!((reset(), current()), (Level::INFO, Level::INFO));
    }
}
