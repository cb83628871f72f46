//! How credentials are asked for: a file for each way.
//!
//! An issuer knows one call of the upstream and nothing of when it is made. `client.rs` sends, `answer.rs` reads.

pub mod answer;
mod client;
pub mod gettoken;
pub mod stable;
pub mod ticket;
pub mod token;

use std::fmt::Debug;

pub use client::IssuerClient;

use super::types::{FetchAnswer, FetchMode};
use crate::store::Pending;

/// The step from "a credential is wanted" to "this came back"; tests put their own in.
pub trait Issuer: Debug + Send + Sync + 'static {
    /// Sends one call and waits for its answer; bounded in time by itself.
    fn fetch(&self, mode: FetchMode) -> Pending<'_, FetchAnswer>;
}
