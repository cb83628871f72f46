//! The last hour, minute by minute: what the page's charts are drawn from.
//!
//! Made of differences between sums that are taken once a minute beside the calls, so that a call pays nothing for
//! it. Bounded: sixty minutes, and in each only those callers and errcodes that occurred.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::errcodes::LABELS;
use crate::metrics::NONE;
use crate::metrics::totals::{Times, Totals};

/// What is kept.
pub const MINUTES: usize = 60;

/// One minute.
#[derive(Debug, Clone, Default)]
pub struct Minute {
    /// Requests whose answer was over in it.
    pub requests: u64,
    /// Those of them whose answer was an error.
    pub failed: u64,
    /// How long they took.
    pub times: Times,
    /// Errcodes of the upstream's by their index in [`LABELS`] (its length: all others), with their number.
    pub errcodes: Vec<(usize, u64)>,
    /// Callers with their requests, and those that failed.
    pub callers: Vec<(Arc<str>, u64, u64)>,
}

/// The minutes, and the sums at the end of the last one.
#[derive(Debug, Default)]
pub struct History {
    minutes: VecDeque<Minute>,
    last: Option<Totals>,
}

impl History {
    /// Ends a minute. To be called once a minute; a call that comes late makes a longer one.
    pub fn tick(&mut self, totals: Totals) {
        if let Some(last) = &self.last {
            if self.minutes.len() == MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(between(last, &totals));
        }
        self.last = Some(totals);
    }

    /// The minutes, oldest first, and last the one that has just begun.
    pub fn minutes(&self, totals: &Totals) -> Vec<Minute> {
        let running = self.last.as_ref().map(|last| between(last, totals));
        let skip = (self.minutes.len() + usize::from(running.is_some())).saturating_sub(MINUTES);
        self.minutes.iter().skip(skip).cloned().chain(running).collect()
    }
}

fn between(earlier: &Totals, later: &Totals) -> Minute {
    let mut minute = Minute::default();
    let mut errcodes = [0; LABELS.len() + 1];
    for account in &later.accounts {
        let before = earlier.accounts.iter().find(|before| before.name == account.name);
        match before {
            Some(before) => minute.times.add(&account.durations.since(&before.durations)),
            None => minute.times.add(&account.durations),
        }
        for (at, count) in account.errcodes.iter().enumerate() {
            errcodes[at] += count.saturating_sub(before.map_or(0, |before| before.errcodes[at]));
        }
        for caller in &account.callers {
            let before = before.and_then(|before| before.callers.iter().find(|c| c.name == caller.name));
            let requests = caller.requests().saturating_sub(before.map_or(0, |before| before.requests()));
            let failed = caller.failed.saturating_sub(before.map_or(0, |before| before.failed));
            if requests == 0 {
                continue;
            }
            minute.requests += requests;
            minute.failed += failed;
            match minute.callers.iter_mut().find(|(name, ..)| *name == caller.name) {
                Some((_, all, bad)) => {
                    *all += requests;
                    *bad += failed;
                }
                None => minute.callers.push((Arc::clone(&caller.name), requests, failed)),
            }
        }
    }
    minute.errcodes = errcodes.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
    minute
}

/// The sum of several minutes.
pub fn sum(minutes: &[Minute]) -> Minute {
    let mut all = Minute::default();
    for minute in minutes {
        all.requests += minute.requests;
        all.failed += minute.failed;
        all.times.add(&minute.times);
        for (at, count) in &minute.errcodes {
            match all.errcodes.iter_mut().find(|(known, _)| known == at) {
                Some((_, sum)) => *sum += count,
                None => all.errcodes.push((*at, *count)),
            }
        }
        for (name, requests, failed) in &minute.callers {
            match all.callers.iter_mut().find(|(known, ..)| known == name) {
                Some((_, sum, bad)) => {
                    *sum += requests;
                    *bad += failed;
                }
                None => all.callers.push((Arc::clone(name), *requests, *failed)),
            }
        }
    }
    all.errcodes.sort_by_key(|(at, count)| (std::cmp::Reverse(*count), *at));
    all.callers.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    all
}

/// How the page calls a caller's name: nobody known has none.
pub fn is_unnamed(caller: &str) -> bool {
    caller == NONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Finished, Metrics, NO_CALLER};
    use std::time::Duration;

    #[test]
    fn minutes_hold_what_was_counted_in_them_and_sixty_are_kept() {
        let metrics = Metrics::new(1);
        let accounts = metrics.configure(["main"], ["cms"]);
        let count = |caller, failed| {
            accounts[0]
                .finished(0, &Finished { caller, status: 200, failed, took: Duration::from_millis(3) });
        };
        let mut history = History::default();
        count(2, false);
        // What was counted before the first tick belongs to no minute.
        history.tick(metrics.totals());
        for n in 0..100_u64 {
            (0..n).for_each(|_| count(2, false));
            count(NO_CALLER, true);
            accounts[0].exchanged(0, Duration::ZERO, Some(40001));
            history.tick(metrics.totals());
        }
        count(2, false);
        let minutes = history.minutes(&metrics.totals());
        assert_eq!(minutes.len(), MINUTES);
        assert_eq!((minutes[0].requests, minutes[0].failed), (42, 1));
        assert_eq!((minutes[58].requests, minutes[58].times.count()), (100, 100));
        assert_eq!((minutes[59].requests, minutes[59].failed), (1, 0));
        let all = sum(&minutes);
        assert_eq!(all.errcodes, [(LABELS.binary_search(&40001).unwrap(), 59)]);
        assert_eq!((&*all.callers[0].0, all.callers[1].1, all.callers[1].2), ("cms", 59, 59));
    }

    #[test]
    fn an_account_that_is_gone_takes_nothing_away() {
        let metrics = Metrics::new(1);
        let old = metrics.configure(["main", "shop"], []);
        let request = Finished { caller: NO_CALLER, status: 200, failed: false, took: Duration::ZERO };
        old[1].finished(0, &request);
        let mut history = History::default();
        history.tick(metrics.totals());
        let new = metrics.configure(["main"], []);
        new[0].finished(0, &request);
        assert_eq!(history.minutes(&metrics.totals())[0].requests, 1);
    }
}
