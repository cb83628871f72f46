//! What one caller may use up: `rate` and `concurrent` of its `[[caller]]` table, over all workers, without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::refusal::Refusal;
use super::settings::{Caller, Rate};

/// One caller's limits and what it uses of them at the moment.
#[derive(Debug)]
pub struct CallerLimit {
    rate: Option<Rate>,
    concurrent: Option<usize>,
    began: Instant,
    /// When, in nanoseconds from the beginning, all calls so far would have come at exactly the rate (GCRA).
    due: AtomicU64,
    in_flight: AtomicUsize,
}

/// One call in flight, counted until dropped.
#[derive(Debug)]
pub(super) struct CallerPermit(Arc<CallerLimit>);

impl Drop for CallerPermit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CallerLimit {
    /// The limits of a caller; `None` for one without.
    pub fn of(caller: &Caller) -> Option<Self> {
        let (rate, concurrent) = (caller.rate, caller.concurrent);
        (rate.is_some() || concurrent.is_some()).then(|| Self {
            rate,
            concurrent,
            began: Instant::now(),
            due: AtomicU64::default(),
            in_flight: AtomicUsize::default(),
        })
    }

    /// Whether another one has the same limits, and can go on in its place.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.rate, self.concurrent) == (other.rate, other.concurrent)
    }

    /// Lets one call in.
    ///
    /// # Errors
    /// [`Refusal::Limited`] when the caller has used its limits up.
    pub(super) fn enter(self: &Arc<Self>) -> Result<CallerPermit, Refusal> {
        // Counted first: whatever is refused below is given back by the drop.
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = CallerPermit(Arc::clone(self));
        if self.concurrent.is_some_and(|most| before >= most) {
            let what = "this caller has as many calls in flight as `concurrent` in its [[caller]] table allows; try again";
            return Err(Refusal::Limited { what, retry_after: 1 });
        }
        match self.rate.map(|rate| self.pass(rate, self.began.elapsed())) {
            Some(Err(wait)) => {
                let what = "this caller calls more often than `rate` in its [[caller]] table allows; try again later";
                let retry_after = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Err(Refusal::Limited { what, retry_after })
            }
            _ => Ok(permit),
        }
    }

    /// Takes one call of the rate, or says how long until there is one.
    fn pass(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (now, each) = (nanos(now), nanos(rate.per / rate.calls));
        // The burst is as large as the rate.
        let ahead = each.saturating_mul(u64::from(rate.calls - 1));
        let taken = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            let due = due.max(now);
            (due - now <= ahead).then(|| due.saturating_add(each))
        });
        match taken {
            Ok(_) => Ok(()),
            Err(due) => Err(Duration::from_nanos((due - now).saturating_sub(ahead))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(rate: Option<(u32, u64)>, concurrent: Option<usize>) -> Arc<CallerLimit> {
        let rate = rate.map(|(calls, secs)| Rate { calls, per: Duration::from_secs(secs) });
        let (began, due, in_flight) = (Instant::now(), AtomicU64::default(), AtomicUsize::default());
        Arc::new(CallerLimit { rate, concurrent, began, due, in_flight })
    }

    #[test]
    fn a_rate_lets_a_burst_of_as_many_through_and_then_one_after_the_other() {
        let limit = limit(Some((4, 1)), None);
        let rate = limit.rate.unwrap();
        let at = |ms: u64| limit.pass(rate, Duration::from_millis(ms));
        let wait = |ms: u64| Err(Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(0), at(0)], [Ok(()); 4]);
        assert_eq!((at(0), at(100), at(249)), (wait(250), wait(150), wait(1)));
        assert_eq!((at(250), at(250), at(500)), (Ok(()), wait(250), Ok(())));
        // After a rest there is a burst again, and no more than one.
        assert_eq!([at(60_000), at(60_000), at(60_000), at(60_000)], [Ok(()); 4]);
        assert_eq!(at(60_000), wait(250));
    }

    #[test]
    fn calls_in_flight_are_counted_until_their_end_and_refused_ones_are_not() {
        let limit = limit(Some((2, 60)), Some(2));
        let first = limit.enter().unwrap();
        let second = limit.enter().unwrap();
        let Err(Refusal::Limited { what, retry_after }) = limit.enter() else { panic!("a third call") };
        assert!(what.contains("`concurrent`") && retry_after == 1);
        drop((first, second));
        let Err(Refusal::Limited { what, retry_after }) = limit.enter() else { panic!("beyond the rate") };
        assert!(what.contains("`rate`") && (29..=30).contains(&retry_after), "{retry_after}");
        assert_eq!(limit.in_flight.load(Ordering::Relaxed), 0);
    }
    #[test]
    fn a_caller_without_limits_has_none_and_one_with_the_same_goes_on() {
        let of = |rate: Option<u32>, concurrent| {
            let rate = rate.map(|calls| Rate { calls, per: Duration::from_secs(1) });
            let (name, from, keys) = ("a".into(), Vec::new(), Vec::new());
            let (accounts, allow, real_token) = (None, None, false);
            CallerLimit::of(&Caller { name, from, keys, rate, concurrent, accounts, allow, real_token })
        };
        assert!(of(None, None).is_none());
        let all = [(Some(1), None), (Some(2), None), (None, Some(1)), (Some(1), Some(1))];
        for (one, another) in all.iter().flat_map(|one| all.iter().map(move |another| (one, another))) {
            let alike = of(one.0, one.1).unwrap().is_like(&of(another.0, another.1).unwrap());
            assert_eq!(alike, one == another, "{one:?} {another:?}");
        }
    }
}
