//! What is stored of a credential. Plain values: no file, no task, no decision.

use std::time::{Duration, SystemTime};

use crate::secret::Secret;

/// A longer value, in bytes, is no credential (WeChat asks for room for 512).
pub const LONGEST_VALUE: usize = 2048;

/// Whose state a store holds; one of somebody else is never used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreKey {
    /// The account's appid.
    pub appid: String,
    /// Which of the account's credentials, `access_token` for example.
    pub kind: &'static str,
    /// Where it was issued: `https://host:port`.
    pub upstream: String,
    /// Which call issues it; two calls issue independent credentials.
    pub issued_by: &'static str,
}

impl StoreKey {
    /// What the names of its files begin with.
    pub(super) fn stem(&self) -> String {
        match self.kind {
            "access_token" => self.appid.clone(),
            kind => format!("{}-{kind}", self.appid),
        }
    }
}

/// What outlives the process.
#[derive(Debug, Clone, Default)]
pub struct StoredState {
    /// The last generation issued.
    pub generation: u64,
    /// The credential, if one was valid.
    pub credential: Option<StoredCredential>,
    /// The value before it, which answers to callers must not show.
    pub previous: Option<Secret>,
    /// What is left of the limits on forced refreshes.
    pub limits: StoredLimits,
    /// Beijing's day that `fetches` counts (days since 1970 at UTC+8).
    pub day: i64,
    /// Fetches sent on that day.
    pub fetches: u32,
}

impl StoredState {
    /// Whether it says the same: a bucket fills up by itself, which is nothing new.
    pub fn is_as_good_as(&self, other: &Self) -> bool {
        let same_credential = match (&self.credential, &other.credential) {
            (Some(one), Some(another)) => {
                one.value == another.value
                    && one.expires_at == another.expires_at
                    && one.began_at == another.began_at
            }
            (one, another) => one.is_none() && another.is_none(),
        };
        // Where a refresh was taken between the two, that shows for longer than it takes to look.
        let level = |state: &Self| state.limits.bucket.map(|bucket| bucket.level);
        let counted = |state: &Self| (state.generation, state.day, state.fetches);
        same_credential
            && level(self) == level(other)
            && counted(self) == counted(other)
            && self.limits.forced == other.limits.forced
            && self.limits.blame == other.limits.blame
    }
}

/// A credential as it is stored.
#[derive(Debug, Clone)]
pub struct StoredCredential {
    /// The credential itself: not empty and not longer than [`LONGEST_VALUE`].
    pub value: Secret,
    /// When it was issued.
    pub issued_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
    /// Its whole life as the upstream said it.
    pub expires_in: Duration,
    /// When the fetch began that brought it, by the clock that all replicas share: of two credentials the one whose
    /// fetch began later is the newer one.
    pub began_at: SystemTime,
}

/// The limits on forced refreshes. Which of them count is the policy's to say; the others stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLimits {
    /// The bucket of forced refreshes.
    pub bucket: Option<StoredBucket>,
    /// The share of it that paths without an accepted call have.
    pub unknown_paths: Option<StoredBucket>,
    /// The refreshes with `force_refresh` within the last day.
    pub forced: Vec<StoredForced>,
    /// What is held against single paths, for other replicas; newest last.
    pub blame: Vec<StoredBlame>,
}

/// What is held against one path that was refused whatever the credential was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlame {
    /// Without query.
    pub path: String,
    /// The generation last fetched for it.
    pub granted: u64,
    /// The generation whose refusal was counted last.
    pub counted: u64,
    /// Refusals in a row that count.
    pub in_a_row: u32,
    /// Blocks so far.
    pub blocks: u32,
    /// Until then it starts no fetch.
    pub blocked_until: Option<SystemTime>,
    /// When this was true; of two the later one holds.
    pub at: SystemTime,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn state() -> StoredState {
        let credential = StoredCredential {
            value: Secret::new("T".to_owned()),
            issued_at: at(1000),
            expires_at: at(8200),
            expires_in: Duration::from_secs(7200),
            began_at: at(999),
        };
        let bucket = StoredBucket { level: 3, next_in: Duration::from_secs(9), at: at(1000) };
        let limits = StoredLimits { bucket: Some(bucket), ..StoredLimits::default() };
        let credential = Some(credential);
        StoredState { generation: 7, credential, limits, day: 20_000, fetches: 5, ..StoredState::default() }
    }

    #[test]
    fn a_state_is_as_good_as_another_while_nothing_but_time_has_passed() {
        let same: [fn(&mut StoredState); 2] = [
            |_| {},
            |state| {
                state.limits.bucket =
                    Some(StoredBucket { level: 3, next_in: Duration::from_secs(1), at: at(1008) });
            },
        ];
        let other: [fn(&mut StoredState); 11] = [
            |state| state.credential = None,
            |state| state.credential.as_mut().unwrap().value = Secret::new("U".to_owned()),
            |state| state.credential.as_mut().unwrap().expires_at = at(8201),
            |state| state.credential.as_mut().unwrap().began_at = at(998),
            |state| state.generation = 8,
            |state| state.day = 20_001,
            |state| state.fetches = 6,
            |state| state.limits.bucket = None,
            |state| state.limits.bucket.as_mut().unwrap().level = 2,
            |state| state.limits.forced.push(StoredForced { at: at(1000), unknown_path: false }),
            |state| {
                let path = "/a".to_owned();
                let blocked_until = None;
                let blame = StoredBlame {
                    path,
                    granted: 1,
                    counted: 1,
                    in_a_row: 1,
                    blocks: 0,
                    blocked_until,
                    at: at(1),
                };
                state.limits.blame.push(blame);
            },
        ];
        let changes =
            same.iter().map(|change| (change, true)).chain(other.iter().map(|change| (change, false)));
        for (number, (change, right)) in changes.enumerate() {
            let (one, mut another) = (state(), state());
            change(&mut another);
            assert_eq!([one.is_as_good_as(&another), another.is_as_good_as(&one)], [right; 2], "{number}");
        }
        let none = || StoredState { credential: None, ..state() };
        assert!(none().is_as_good_as(&none()));
    }
}
