//! Credentials: a cell each, read without a lock by every request; a task each, which alone fetches.
//!
//! `cell.rs` is what readers see, `lifecycle/` decides (pure), `refresher.rs` is the task that carries it out and
//! `supervisor.rs` what starts it anew after a fault. `policy.rs` has what distinguishes the kinds, `issuer/` the calls
//! that issue them, `types.rs` the vocabulary, `refusals.rs` and `events.rs` the words for operators.
//! `evidence.rs` gathers what calls show of a credential, and `resend/` decides by it what becomes of a call whose token was
//! refused. Nothing in here knows requests, TOML or pages.

mod cell;
mod events;
mod evidence;
pub mod issuer;
mod known_paths;
pub(crate) mod lifecycle;
pub mod policy;
mod refresher;
mod refusals;
pub(crate) mod resend;
mod status;
mod supervisor;
pub(crate) mod types;

pub use cell::Reader;
pub use issuer::{Issuer, IssuerClient};
pub use policy::{Policy, TokenApi};
pub use refresher::TaskSpec;
pub use refusals::advice;
pub(crate) use status::beijing_day;
pub use status::{CredentialState, CredentialStatus, Fetch, FetchError, FetchLog, HeldTimes, StoreCounts};
#[cfg(test)]
pub(crate) use supervisor::spawn_with;
pub use supervisor::{Task, spawn};
pub use types::{
    Absent, Credential, CredentialId, CredentialKind, FetchAnswer, FetchMode, Outcome, Previous, Reason,
    Renewal,
};
