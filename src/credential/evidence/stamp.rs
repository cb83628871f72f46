//! A moment as one number, which fits into an atomic.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Microseconds since the process began to count, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp(pub(super) u64);

impl Stamp {
    pub(crate) fn of(at: Instant) -> Self {
        static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
        let since = at.saturating_duration_since(*EPOCH).as_micros();
        Self(u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// By tokio's clock, which is the system's but where a test pauses it.
    pub(crate) fn now() -> Self {
        Self::of(tokio::time::Instant::now().into_std())
    }

    pub(crate) fn minutes(self) -> u64 {
        self.0 / 60_000_000
    }

    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
