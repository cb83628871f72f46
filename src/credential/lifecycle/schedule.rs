//! When to fetch: ahead of a credential's end, and after a failure; and what is wrong meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use crate::credential::policy::Policy;
use crate::credential::refusals;
use crate::credential::types::{Absent, Reason};

/// A life of this kind is counted where the upstream says none that makes sense.
const FALLBACK_LIFE: Duration = Duration::from_secs(60);
/// No credential is believed to live longer.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// A report that comes during the backoff waits for the next attempt if that is due within this time, which
/// is the time that its reader waits.
const WORTH_WAITING: Duration = Duration::from_secs(5);
/// A replica that was refused the lease asks again after about this long: the holder may have died.
const LEASE_AGAIN: Duration = Duration::from_millis(500);
/// Credentials that came together are renewed within this part of the time that is left for it: a thousand accounts
/// over 75 s.
const SPREAD: f64 = 0.25;

/// Why the last fetch failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may go better next time; in words, without secrets.
    Passing(String),
    /// The upstream refuses: errcode and errmsg.
    Refused(i64, String),
}

/// The time of the next fetch.
#[derive(Debug)]
pub(super) struct Schedule {
    ahead: Duration,
    ahead_part: u32,
    /// Where in [`SPREAD`] this credential's renewals are: 0 to 1.
    turn: f64,
    on_demand: bool,
    /// On demand: not before this. `None` before the start and while a fetch is under way.
    due: Option<Instant>,
    /// Why the fetch was sent that another replica has taken over.
    handed_over: Option<Reason>,
    /// The fetch under way asks again after another replica had taken it over.
    again: bool,
    trouble: Option<Trouble>,
    /// Passing failures since the last success.
    failures: u32,
}

impl Schedule {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            ahead: policy.ahead,
            ahead_part: policy.ahead_part,
            turn: 0.0,
            on_demand: policy.on_demand.is_some(),
            due: None,
            handed_over: None,
            again: false,
            trouble: None,
            failures: 0,
        }
    }

    /// Renews later by this part, 0 to 1, of what renewals are spread over.
    pub(super) fn take_turn(&mut self, turn: f64) {
        self.turn = turn.clamp(0.0, 1.0);
    }

    /// There is nothing to go on with: at once.
    pub(super) fn at_once(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// A fetch is under way.
    pub(super) fn fetching(&mut self) {
        self.again = self.handed_over.is_some();
        (self.due, self.handed_over) = (None, None);
    }

    /// A credential has come that lives for `life` in all, and for `left` of it from now on.
    pub(super) fn renewed(&mut self, left: Duration, life: Duration, now: Instant) {
        self.well();
        self.due = (!self.on_demand).then(|| now + left.saturating_sub(self.margin(life)));
    }

    /// The current credential has come once more: ask at the usual time if that is still ahead, else soon, but not
    /// in a spin (asking before the issuer is willing is no failure).
    pub(super) fn same(&mut self, ends: Instant, life: Duration, now: Instant) {
        self.well();
        let usual = ends.checked_sub(self.margin(life)).unwrap_or(now);
        let left = ends.saturating_duration_since(now);
        let soon = (left / 4).clamp(Duration::from_secs(1), Duration::from_secs(30));
        let soon = now + soon.min(left.max(Duration::from_millis(100)));
        self.due = (!self.on_demand).then_some(if usual > now { usual } else { soon });
    }

    /// The fetch failed.
    pub(super) fn failed(&mut self, trouble: Trouble, jitter: f64, now: Instant) {
        let wait = match &trouble {
            // A quota that is spent does not come back by asking, but an operator may just have mended the cause.
            Trouble::Refused(..) if self.on_demand => {
                self.failures = self.failures.saturating_add(1);
                backoff(self.failures, jitter)
            }
            Trouble::Passing(_) => {
                self.failures = self.failures.saturating_add(1);
                backoff(self.failures, jitter)
            }
            Trouble::Refused(errcode, _) => refusals::retry_after(*errcode),
        };
        self.trouble = Some(trouble);
        self.due = Some(now + wait);
    }

    /// Another replica fetches instead; if it dies, this one tries again.
    pub(super) fn handed_over(&mut self, reason: Reason, jitter: f64, now: Instant) {
        self.handed_over = Some(reason);
        self.due = Some(now + LEASE_AGAIN.mul_f64(sensible(jitter)));
    }

    /// Whether another replica is fetching.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.is_some()
    }

    /// Whether the fetch under way is one that another replica had taken over before.
    pub(super) fn was_handed_over(&self) -> bool {
        self.again
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether somebody who wants one now may have it asked for.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether the next fetch is near enough for a caller to wait for it.
    pub(super) fn is_near(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now + WORTH_WAITING)
    }

    /// Why the fetch that is due is sent.
    pub(super) fn reason(&self, held: bool) -> Reason {
        match (self.handed_over, &self.trouble, held) {
            (Some(reason), ..) => reason,
            (None, Some(_), _) => Reason::Retry,
            (None, None, true) => Reason::Ahead,
            (None, None, false) => Reason::Start,
        }
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Why there is no credential, where there is none.
    pub(super) fn absent(&self) -> Absent {
        match &self.trouble {
            None => Absent::Waiting,
            Some(Trouble::Passing(what)) => Absent::Passing { what: what.clone() },
            Some(Trouble::Refused(errcode, errmsg)) => {
                Absent::Refused { errcode: *errcode, errmsg: errmsg.clone() }
            }
        }
    }

    fn well(&mut self) {
        (self.trouble, self.failures, self.handed_over) = (None, 0, None);
    }

    /// How long before its end a credential is replaced.
    fn margin(&self, life: Duration) -> Duration {
        self.ahead.min(life / self.ahead_part).mul_f64(1.0 - SPREAD * self.turn)
    }
}

/// The life to count on, and whether that is what the upstream said.
pub(super) fn life(expires_in: Option<i64>) -> (Duration, bool) {
    match expires_in {
        Some(..=0) | None => (FALLBACK_LIFE, false),
        Some(secs) => {
            let said = Duration::from_secs(secs.unsigned_abs());
            (said.min(LONGEST_LIFE), said <= LONGEST_LIFE)
        }
    }
}

/// 1, 2, 4 … 60 s after the first, second, third … failure in a row, times `jitter`.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let secs = 2_u32.saturating_pow(failures.saturating_sub(1)).min(60);
    Duration::from_secs(secs.into()).mul_f64(sensible(jitter))
}

/// A jitter that is no sensible number must not panic in `mul_f64`.
fn sensible(jitter: f64) -> f64 {
    if jitter.is_finite() { jitter.clamp(0.8, 1.2) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::policy::TOKEN;

    #[test]
    fn expires_in_is_believed_within_reason() {
        for (said, life_secs, believed) in [
            (Some(7200), 7200, true),
            (Some(1), 1, true),
            (Some(345), 345, true),
            (Some(86_400), 86_400, true),
            (Some(86_401), 86_400, false),
            (Some(i64::MAX), 86_400, false),
            (Some(0), 60, false),
            (Some(-5), 60, false),
            (Some(i64::MIN), 60, false),
            (None, 60, false),
        ] {
            assert_eq!(life(said), (Duration::from_secs(life_secs), believed), "{said:?}");
        }
    }

    #[test]
    fn five_minutes_ahead_or_a_fifth_of_a_short_life() {
        let schedule = Schedule::new(&TOKEN);
        for (life, ahead) in [(7200, 300), (1500, 300), (1499, 299), (600, 120), (60, 12), (5, 1)] {
            assert_eq!(schedule.margin(Duration::from_secs(life)).as_secs(), ahead, "{life}");
        }
    }

    #[test]
    fn credentials_that_came_together_are_renewed_in_turn() {
        let now = Instant::now();
        let mut schedule = Schedule::new(&TOKEN);
        for (turn, due) in [(0.0, 6900), (0.5, 6937), (1.0, 6975), (7.0, 6975)] {
            schedule.take_turn(turn);
            schedule.renewed(Duration::from_secs(7200), Duration::from_secs(7200), now);
            assert_eq!((schedule.due().unwrap() - now).as_secs(), due, "{turn}");
        }
    }

    #[test]
    fn the_same_token_again_is_asked_for_soon_but_not_in_a_spin() {
        let now = Instant::now();
        for (left, life, next) in
            [(7200, 7200, 6900), (298, 7200, 30), (100, 7200, 25), (12, 60, 3), (2, 60, 1)]
        {
            let mut schedule = Schedule::new(&TOKEN);
            schedule.same(now + Duration::from_secs(left), Duration::from_secs(life), now);
            assert_eq!((schedule.due().unwrap() - now).as_secs(), next, "{left} s left");
        }
    }

    #[test]
    fn failures_back_off_to_a_minute() {
        let secs: Vec<_> = (1..=9).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(1000, 1.0).as_secs(), 60);
        assert_eq!(backoff(7, 0.8).as_secs(), 48);
        assert_eq!(backoff(7, 9.0).as_secs(), 72);
        assert_eq!(backoff(1, f64::NAN).as_secs(), 1);
    }
}
