//! The lock of one account: who fetches. Its holder renews it; one that died is replaced when it runs out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::error;

use super::Link;
use super::scripts::{self, LOCK_LIFE_MS};
use super::shared::Shared;
use crate::store::{Grant, Pending};

/// Between two renewals.
const RENEWAL: Duration = Duration::from_millis(700);
/// A lock that was not renewed for so long may be gone by the time a fetch is sent.
const SURE: Duration = Duration::from_millis(LOCK_LIFE_MS - 700);

/// What the name of a holder begins with; the script that asks for the lock knows it, too.
const MARK: &str = "wxgate-lock ";

/// The lock and what names this replica in it.
#[derive(Debug)]
pub(super) struct Lock {
    shared: Arc<Shared>,
    key: Arc<str>,
    owner: Arc<str>,
    said_foreign: AtomicBool,
}

impl Lock {
    /// `None` where the system has no randomness.
    pub(super) fn new(link: &Link, key: String) -> Option<Self> {
        let mut name = [0; 16];
        rand::fill(&mut name).ok()?;
        let owner = format!("{MARK}{:032x}", u128::from_be_bytes(name));
        let (shared, said_foreign) = (Arc::clone(&link.shared), AtomicBool::new(false));
        Some(Self { shared, key: key.into(), owner: owner.into(), said_foreign })
    }

    /// Whether a wxgate wrote this as the name of a holder.
    pub(super) fn is_ours(owner: &[u8]) -> bool {
        owner.starts_with(MARK.as_bytes())
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Says, once, that the lock's key holds what wxgate did not write.
    pub(super) fn say_foreign(&self, account: &str) {
        if !self.said_foreign.swap(true, Ordering::Relaxed) {
            error!(
                account,
                "the store holds under `{}` what wxgate did not write. It is left as it is, and this replica fetches \
                 without asking the others; remove it, or set another `key_prefix`",
                self.key
            );
        }
    }

    /// The lock, asked for at this time; it is renewed from now on.
    pub(super) fn granted(&self, asked: Instant) -> Box<dyn Grant> {
        let renewed = Arc::new(Mutex::new(asked));
        let (shared, key, owner) = (Arc::clone(&self.shared), Arc::clone(&self.key), Arc::clone(&self.owner));
        let since = Arc::clone(&renewed);
        let renewal = tokio::spawn(async move {
            loop {
                sleep(RENEWAL).await;
                let (asked, kept) = shared.renew_at::<i64>(&scripts::renew(&key, &owner)).await;
                if matches!(kept, Ok(1)) {
                    *since.lock().unwrap_or_else(PoisonError::into_inner) = asked;
                }
            }
        });
        Box::new(Held {
            shared: Arc::clone(&self.shared),
            key: Arc::clone(&self.key),
            owner: Arc::clone(&self.owner),
            renewed,
            renewal,
        })
    }
}

#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    key: Arc<str>,
    owner: Arc<str>,
    renewed: Arc<Mutex<Instant>>,
    renewal: JoinHandle<()>,
}

impl Grant for Held {
    fn holds(&self) -> bool {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < SURE
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            self.renewal.abort();
            // It runs out by itself otherwise.
            let _: Result<i64, _> = self.shared.ask(&scripts::release(&self.key, &self.owner)).await;
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}
