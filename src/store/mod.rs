//! Where the state of a credential outlives the process.
//!
//! The trait, and the types of what is stored. What the state means is the lifecycle's business; a store keeps it,
//! hands out the lease to fetch, and tells of what other replicas have published. The file is its one
//! implementation so far; another one is a file beside it and a line in `app/tokens.rs`.

pub mod file;
mod types;

use std::fmt::Debug;
use std::pin::Pin;

pub use types::{LONGEST_VALUE, StoredBucket, StoredCredential, StoredForced, StoredLimits, StoredState};

/// What a store's calls return: boxed, since stores are exchangeable and none of this is on the way of a request.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps the state of one credential. No call blocks its thread, and each is bounded in time by the store itself.
pub trait Store: Debug + Send + Sync + 'static {
    /// The state as it was published last, if it is usable; the store logs and quarantines what is not.
    fn load(&self) -> Pending<'_, Option<StoredState>>;

    /// Compares and sets: replaces the stored state if its generation is still `over`.
    fn publish(&self, state: StoredState, over: u64) -> Pending<'_, Result<Published, PublishError>>;

    /// Asks for the lease before a fetch: only one of several replicas fetches at a time. It lasts until the next
    /// `publish`, or until [`StoreEvent::LeaseLost`].
    fn lease(&self) -> Pending<'_, Lease>;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// It may. So it is, too, when a store that several replicas share is away: each then fetches for itself.
    Granted,
    /// Another replica is fetching.
    HeldByPeer,
}

/// What a store tells without being asked.
#[derive(Debug)]
pub enum StoreEvent {
    /// Another replica published this state.
    Published(Box<StoredState>),
    /// The lease has passed to another replica.
    LeaseLost,
}

/// Why a state could not be published, in words for an operator, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PublishError(pub String);
