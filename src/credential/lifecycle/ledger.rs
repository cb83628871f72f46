//! What has been fetched: the day's count, the last fetch, the last failure, sums for metrics.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::credential::status::{Fetch, FetchError, beijing_day};
use crate::credential::types::{Outcome, Reason};

/// The books of one credential.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    day: i64,
    fetches: u32,
    pub(super) last_refresh: Option<Fetch>,
    pub(super) last_error: Option<FetchError>,
    pub(super) refreshes: BTreeMap<(Reason, Outcome), u64>,
}

impl Ledger {
    /// Beijing's day, and the fetches sent on it.
    pub(super) fn today(&self) -> (i64, u32) {
        (self.day, self.fetches)
    }

    /// Another process, or this one before, has counted so many on that day; whether more are known here.
    pub(super) fn merge(&mut self, day: i64, fetches: u32) -> bool {
        (self.day, self.fetches) = (self.day, self.fetches).max((day, fetches));
        (self.day, self.fetches) > (day, fetches)
    }

    /// A fetch is being sent.
    pub(super) fn book(&mut self, now: SystemTime) {
        let today = beijing_day(now);
        if today != self.day {
            (self.day, self.fetches) = (today, 0);
        }
        self.fetches = self.fetches.saturating_add(1);
    }

    /// The fetch that was just booked was never sent: WeChat counts nothing.
    pub(super) fn unbook(&mut self) {
        self.fetches = self.fetches.saturating_sub(1);
    }

    /// A fetch is over.
    pub(super) fn settle(&mut self, reason: Reason, outcome: Outcome, now: SystemTime) {
        self.last_refresh = Some(Fetch { at: now, reason, outcome });
        *self.refreshes.entry((reason, outcome)).or_default() += 1;
    }

    /// It failed.
    pub(super) fn failed(&mut self, errcode: i64, errmsg: String, now: SystemTime) {
        self.last_error = Some(FetchError { at: now, errcode, errmsg });
    }
}
