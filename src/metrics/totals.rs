//! The sums over all workers at one moment: what metrics, the page and its charts are made of.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

pub use super::cell::{BOUNDS, Times};
use super::{AccountCounts, CODES, Metrics, Retry, STATUSES};
use crate::errcodes;

/// All counts at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// In the order of the configuration; the last one is of requests without an account.
    pub accounts: Vec<AccountTotals>,
    /// Answers of wxgate's own, in the order of [`CODES`].
    pub own_answers: [u64; CODES.len()],
}

/// The counts of one account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountTotals {
    /// Its name.
    pub name: Arc<str>,
    /// Whole requests.
    pub durations: Times,
    /// Exchanges with the upstream.
    pub upstream: Times,
    /// In the order of [`errcodes::LABELS`]; the last one is of all others.
    pub errcodes: [u64; errcodes::LABELS.len() + 1],
    /// In the order of [`Retry::ALL`].
    pub retries: [u64; Retry::ALL.len()],
    /// Calls that are at the upstream at this moment.
    pub active: u64,
    /// Those who have called, or may.
    pub callers: Vec<CallerTotals>,
}

/// The counts of one account and one caller.
#[derive(Debug, Clone, PartialEq)]
pub struct CallerTotals {
    /// Its name.
    pub name: Arc<str>,
    /// In the order of [`STATUSES`]; the last one is of all others.
    pub statuses: [u64; STATUSES.len() + 1],
    /// Those of them whose answer was an error.
    pub failed: u64,
}

impl CallerTotals {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.statuses.iter().sum()
    }
}

impl Metrics {
    /// Sums up what all workers have counted.
    pub fn totals(&self) -> Totals {
        let mut own_answers = [0; CODES.len()];
        for cells in self.own_answers.all() {
            own_answers.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell.get());
        }
        // Cloned, so that a look never holds up a reload.
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Totals { accounts: accounts.iter().map(|account| account.totals()).collect(), own_answers }
    }
}

impl AccountCounts {
    fn totals(&self) -> AccountTotals {
        let mut totals = AccountTotals {
            name: Arc::clone(&self.name),
            durations: Times::default(),
            upstream: Times::default(),
            errcodes: [0; errcodes::LABELS.len() + 1],
            retries: [0; Retry::ALL.len()],
            active: 0,
            callers: Vec::with_capacity(self.callers.len()),
        };
        for cells in self.cells.all() {
            totals.active = totals.active.wrapping_add(cells.active.get());
            cells.durations.add_to(&mut totals.durations);
            cells.upstream.add_to(&mut totals.upstream);
            totals.errcodes.iter_mut().zip(&cells.errcodes).for_each(|(sum, cell)| *sum += cell.get());
            totals.retries.iter_mut().zip(&cells.retries).for_each(|(sum, cell)| *sum += cell.get());
        }
        let mut seen = HashSet::new();
        for pair in self.callers.iter().filter(|pair| seen.insert(Arc::as_ptr(pair))) {
            let mut sums =
                CallerTotals { name: Arc::clone(&pair.caller), statuses: [0; STATUSES.len() + 1], failed: 0 };
            for cells in pair.cells.all() {
                sums.statuses.iter_mut().zip(&cells.statuses).for_each(|(sum, cell)| *sum += cell.get());
                sums.failed += cells.failed.get();
            }
            totals.callers.push(sums);
        }
        totals
    }
}
