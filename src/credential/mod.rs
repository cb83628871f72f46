//! The token plane: one cell per account, read without a lock by every request; one task per account fetches.
//!
//! `cell.rs` is what readers see, `lifecycle.rs` decides (pure), `refresher.rs` is the task that carries it
//! out, `issue.rs` makes the two WeChat calls, `store.rs` keeps the state over restarts, `notice.rs` has the
//! words of the log. Nothing in here knows requests, TOML or pages.

mod cell;
mod issue;
pub(crate) mod lifecycle;
mod notice;
mod refresher;
mod status;

pub use crate::store::file::{Keep, Look, Store, StoreError, look};
pub use cell::{Absent, Reader, Renewal, Token};
pub use issue::{Issue, Issuer, IssuerError, base_url};
pub use lifecycle::{Answer, How, Outcome, Reason, Record, StoredBucket, StoredToken};
pub use notice::{advice, seen_ip};
pub use refresher::{Subject, Task, spawn};
pub(crate) use status::beijing_day;
pub use status::{HeldTimes, LastError, LastRefresh, State, Status};
