//! The sandbox's time: how long since 1970, and which day and month that is in Beijing.
//!
//! It runs on the monotonic clock from the moment the sandbox starts, so that a clock that is set while it
//! runs moves no token's end, and a test can turn it forward. It knows nothing of what happens then.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Beijing is eight hours ahead of UTC, without summer time; WeChat counts its quotas by that day.
const BEIJING: Duration = Duration::from_secs(8 * 3600);

/// A moment, as the time since the beginning of 1970 (UTC).
pub(crate) type Moment = Duration;

/// The clock of one sandbox.
pub(crate) struct Clock {
    started: Instant,
    /// The wall clock at `started`, plus what a test has added since.
    at_start: Moment,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), at_start: wall }
    }

    pub(crate) fn now(&self) -> Moment {
        self.at_start + self.started.elapsed()
    }

    /// Lets this much time pass at once.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.at_start += by;
    }
}

/// The number of Beijing's day: quotas begin anew when it changes.
pub(crate) fn beijing_day(now: Moment) -> u64 {
    (now + BEIJING).as_secs() / 86_400
}

/// Beijing's month as `2026-09`: `clear_quota` is counted by it.
pub(crate) fn beijing_month(now: Moment) -> String {
    let mut text = humantime::format_rfc3339_seconds(UNIX_EPOCH + now + BEIJING).to_string();
    text.truncate("2026-09".len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_changes_at_sixteen_hours_utc() {
        let noon = Duration::from_secs(1_790_000_000 / 86_400 * 86_400 + 12 * 3600);
        let hour = Duration::from_secs(3600);
        assert_eq!(beijing_day(noon), beijing_day(noon + 3 * hour));
        assert_eq!(beijing_day(noon) + 1, beijing_day(noon + 4 * hour));
    }

    #[test]
    fn a_month_is_beijings() {
        let utc = humantime::parse_rfc3339("2026-09-30T16:00:00Z").unwrap();
        assert_eq!(beijing_month(utc.duration_since(UNIX_EPOCH).unwrap()), "2026-10");
    }
}
