//! The token plane: one cell per account, read without a lock by every request; one task per account fetches.
//!
//! `cell.rs` is what readers see, `lifecycle.rs` decides (pure), `refresher.rs` is the task that carries it
//! out, `issuer/` makes the two WeChat calls, `types.rs` is the vocabulary, `events.rs` has the
//! log messages. Nothing in here knows requests, TOML or pages.

mod cell;
mod events;
mod issuer;
pub(crate) mod lifecycle;
mod refresher;
mod status;
pub(crate) mod types;

pub use crate::store::file::{Keep, Look, Store, StoreError, look};
pub use cell::Reader;
pub use events::{advice, seen_ip};
pub use issuer::{Issue, Issuer, IssuerError};
pub use lifecycle::{Record, StoredBucket, StoredToken};
pub use refresher::{Task, TaskSpec, spawn};
pub(crate) use status::beijing_day;
pub use status::{HeldTimes, LastError, LastRefresh, State, Status};
pub use types::{
    Absent, Answer, Credential, CredentialId, CredentialKind, FetchMode, Outcome, Reason, Renewal,
};
