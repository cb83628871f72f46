//! Where the state of a credential outlives the process.
//!
//! The trait, and the types of what is stored. What the state means is the lifecycle's business; a store keeps it,
//! hands out the lease to fetch, and tells of what other replicas have published. A file and Redis are
//! its implementations; another one is a folder beside them and a line in `app/tokens.rs`.

pub mod file;
#[doc(hidden)]
pub mod format;
pub mod redis;
mod types;

use std::fmt::Debug;
use std::pin::Pin;
use std::time::SystemTime;

pub use types::{
    LONGEST_VALUE, StoreKey, StoredBlame, StoredBucket, StoredCredential, StoredForced, StoredLimits,
    StoredState,
};

/// What a store's calls return: boxed, since stores are exchangeable and none of this is on the way of a request.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps the state of one credential. No call blocks its thread, and each is bounded in time by the store itself.
pub trait Store: Debug + Send + Sync + 'static {
    /// The state as it was published last, if it is usable; the store logs and quarantines what is not.
    fn load(&self) -> Pending<'_, Option<StoredState>>;

    /// Compares and sets: replaces the stored state if its generation is still `over`.
    fn publish(&self, state: StoredState, over: u64) -> Pending<'_, Result<Published, PublishError>>;

    /// Asks for the lease before a fetch that is to replace this generation: of several replicas one fetches at a
    /// time. It ends with the next `publish`, with the [`Grant`], or when its holder can no longer renew it. Nothing
    /// may rest on it: two that fetch at a time cost one fetch too many.
    fn lease(&self, over: u64) -> Pending<'_, Lease>;

    /// Now, by the clock that all replicas share; `None` where there is none.
    fn time(&self) -> Option<SystemTime> {
        None
    }

    /// Waits for news from other replicas; for ever where there can be none.
    fn watch(&self) -> Pending<'_, StoreEvent>;
}

/// What came of publishing a state.
#[derive(Debug)]
pub enum Published {
    /// It is stored.
    Stored,
    /// Another replica was faster: this is stored instead.
    Superseded(Box<StoredState>),
}

/// Whether a fetch may be sent.
#[derive(Debug)]
pub enum Lease {
    /// It may. So it is, too, when a store that several replicas share is away: each then fetches for itself.
    Granted(Box<dyn Grant>),
    /// Another replica is fetching, or has fetched: then [`StoreEvent::Published`] tells.
    HeldByPeer,
}

impl Lease {
    /// Where nobody else fetches, or nobody else can be asked.
    pub fn alone() -> Self {
        Self::Granted(Box::new(Alone))
    }
}

/// The lease, for as long as it is kept.
pub trait Grant: Debug + Send {
    /// Whether it still holds; a holder that was paused for long has lost it.
    fn holds(&self) -> bool;

    /// Gives the lease up without a new credential: the fetch has failed, or brought the one that is known.
    fn release(self: Box<Self>) -> Pending<'static, ()>;
}

/// The lease of a replica that asks nobody.
#[derive(Debug)]
struct Alone;

impl Grant for Alone {
    fn holds(&self) -> bool {
        true
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What a store tells without being asked.
#[derive(Debug)]
pub enum StoreEvent {
    /// Another replica published this state, or the store has gone back to it.
    Published(Box<StoredState>),
    /// It holds nothing, having lost what it held, or it can be written again: what is known here goes into it.
    Behind,
}

/// Why a state could not be published, in words for an operator, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);
