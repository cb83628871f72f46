//! What is stored of a credential. Plain values: no file, no task, no decision.

use std::time::{Duration, SystemTime};

use crate::secret::Secret;

/// A longer value, in bytes, is no credential (WeChat asks for room for 512).
pub const LONGEST_VALUE: usize = 2048;

/// What outlives the process.
#[derive(Debug, Clone, Default)]
pub struct StoredState {
    /// The last generation issued.
    pub generation: u64,
    /// The credential, if one was valid.
    pub credential: Option<StoredCredential>,
    /// What is left of the limits on forced refreshes.
    pub limits: StoredLimits,
    /// Beijing's day that `fetches` counts (days since 1970 at UTC+8).
    pub day: i64,
    /// Fetches sent on that day.
    pub fetches: u32,
}

/// A credential as it is stored.
#[derive(Debug, Clone)]
pub struct StoredCredential {
    /// The credential itself.
    pub value: Secret,
    /// When it was issued.
    pub issued_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
    /// Its whole life as the upstream said it.
    pub expires_in: Duration,
}

/// The limits on forced refreshes. Which of them count is the policy's to say; the others stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLimits {
    /// The bucket of forced refreshes.
    pub bucket: Option<StoredBucket>,
    /// The refreshes with `force_refresh` within the last day.
    pub forced: Vec<StoredForced>,
}

/// A bucket of tokens that refills over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBucket {
    /// Refreshes left.
    pub level: u32,
    /// Until one more is added; meaningless in a full bucket.
    pub next_in: Duration,
    /// When these two were true.
    pub at: SystemTime,
}

/// One refresh with `force_refresh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredForced {
    /// When it was sent.
    pub at: SystemTime,
    /// Caused by a path without an accepted call.
    pub unknown_path: bool,
}
