//! What calls have shown of one credential: that it was accepted, that it was refused, that answers are still out.
//!
//! A refusal is no proof by itself: nodes that lag behind answer 40001 to a good token. What other calls show decides
//! whether it is dead. An accepted call pays two relaxed additions and a store for it; all that is dearer happens
//! only where a call was refused. Nothing here decides what is sent again.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// So many calls refused in a row, while none was accepted, are no accident: of nodes of which half lag behind, one
/// such row in 65,536 would come …
const DEAD: u32 = 16;

/// … and in so long a time one is accepted where thousands come each second.
const QUIET: Duration = Duration::from_millis(30);

/// An acceptance so long ago shows that more calls are about to come.
const TRAFFIC: Duration = Duration::from_millis(200);

/// With half of the nodes lagging behind, so many acceptances and no refusal have a chance of 1 in 1,000.
const PROOF: u32 = 10;

/// Nodes lag behind for so long at most: those that were seen did for a second.
const LAG: Duration = Duration::from_secs(2);

/// A node that lags behind refuses one of the first calls: within this time, where there are several callers.
const EARLY: Duration = Duration::from_millis(100);

/// So many refusals in a row are no sign of nodes that lag behind: four callers, and each tried twice.
const MANY: u32 = 8;

/// Of two calls so far apart the later one does not reach the upstream first.
const APART: Duration = Duration::from_millis(20);

/// So long a credential whose refusals have been contradicted by other calls is not believed to be dead at once.
const DOUBT: Duration = Duration::from_secs(60);

/// A moment as one number: microseconds since the process began to count, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn of(at: Instant) -> Self {
        static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
        let since = at.saturating_duration_since(*EPOCH).as_micros();
        Self(u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1))
    }

    pub(crate) fn now() -> Self {
        Self::of(Instant::now())
    }

    pub(crate) fn minutes(self) -> u64 {
        self.0 / 60_000_000
    }

    fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What calls have shown of one generation. Shared by all requests that carry it.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// When it became the current one here.
    born: Stamp,
    /// Calls that were sent and not answered.
    in_flight: AtomicU32,
    /// When the latest of the accepted calls was sent; 0 without one.
    accepted: AtomicU64,
    /// Refused calls that wait for news.
    observers: AtomicU32,
    /// Calls that were accepted while one waited.
    observed: AtomicU32,
    /// Refused calls that are about to be sent with it again, since others were accepted.
    resends: AtomicU32,
    trial: Mutex<Trial>,
    news: Notify,
}

/// What the refusals have shown.
#[derive(Debug, Default)]
struct Trial {
    /// Refusals since the last acceptance.
    in_a_row: u32,
    /// When the first of the refused calls was sent.
    first: Option<Stamp>,
    /// When the latest of the refused calls was sent.
    latest: Stamp,
    /// When a refused call was sent that no call sent well after it has contradicted yet.
    unanswered: Option<Stamp>,
    /// When a refusal was last known to be wrong.
    contradicted: Option<Stamp>,
    probe: Probe,
}

impl Trial {
    /// Whether its refusals were wrong of late.
    fn is_contradicted(&self, accepted: Stamp, now: Stamp) -> bool {
        let lately = |at: &Stamp| now.since(*at) < DOUBT;
        self.contradicted.as_ref().is_some_and(lately)
            || self.unanswered.as_ref().filter(|at| lately(at)).is_some_and(|at| well_after(accepted, *at))
    }
}

fn well_after(accepted: Stamp, sent: Stamp) -> bool {
    accepted > sent && accepted.since(sent) >= APART
}

/// One call that is sent again to find out, on behalf of all that were refused at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Probe {
    #[default]
    None,
    Running,
    /// It was refused too; when it was sent.
    Refused(Stamp),
}

/// What the probe has to say to a call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// There is none.
    None,
    /// It is being sent.
    Running,
    /// It was sent later than the call, and was refused too.
    Refused,
}

/// What is known of a credential at one moment, from where one refused call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// A call that was sent later was accepted.
    pub accepted_later: bool,
    /// Any call was refused.
    pub ever_refused: bool,
    /// So many calls were accepted, while a refused one waited for that, that no node is likely to refuse it.
    pub proven: bool,
    /// So many in a row that it is dead, or will be after this time if none is accepted.
    pub dead_in: Option<Duration>,
    /// Its refusals have been wrong of late.
    pub contradicted: bool,
    /// It is so new that nodes of the upstream may lag behind.
    pub fresh: bool,
    /// The first refusal came as soon as it was known here, so that some node may not know it yet; and there have been
    /// few in a row.
    pub lags: bool,
    /// Other calls are out, or are about to come.
    pub company: bool,
    /// Other calls were refused, and wait to be sent with it again.
    pub others_wait: bool,
    /// The probe.
    pub probe: ProbeResult,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            born: Stamp::now(),
            in_flight: AtomicU32::default(),
            accepted: AtomicU64::default(),
            observers: AtomicU32::default(),
            observed: AtomicU32::default(),
            resends: AtomicU32::default(),
            trial: Mutex::default(),
            news: Notify::default(),
        }
    }
}

impl Evidence {
    /// A call is being sent; it is answered when the guard is dropped.
    pub(crate) fn sending(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// A call that was sent at this moment has been accepted.
    pub(crate) fn accepted(&self, sent: Stamp) {
        // Of two at the same time the later one may be lost: it would only have said the same thing.
        if self.accepted.load(Ordering::Relaxed) < sent.0 {
            self.accepted.store(sent.0, Ordering::Relaxed);
        }
        if self.observers.load(Ordering::Relaxed) > 0 {
            self.observed.fetch_add(1, Ordering::Relaxed);
            self.news.notify_waiters();
        }
    }

    /// A call that was sent at this moment has been refused.
    pub(crate) fn refused(&self, sent: Stamp, now: Stamp) {
        let accepted = self.latest_accepted();
        let mut trial = self.trial();
        trial.first.get_or_insert(sent);
        if trial.is_contradicted(accepted, now) {
            trial.contradicted = Some(now);
        }
        match trial.unanswered {
            Some(before) if !well_after(accepted, before) => {}
            _ => trial.unanswered = Some(sent),
        }
        if accepted > sent {
            return;
        }
        if accepted > trial.latest {
            trial.in_a_row = 0;
        }
        trial.in_a_row = trial.in_a_row.saturating_add(1);
        trial.latest = trial.latest.max(sent);
        if trial.in_a_row == DEAD {
            self.news.notify_waiters();
        }
    }

    /// A refused call is going to be sent with it again; it has been when the guard is dropped.
    pub(crate) fn resending(&self) -> InFlight<'_> {
        self.resends.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.resends)
    }

    /// Whether it was refused and not accepted since: then it is no good as a way round.
    pub(crate) fn is_refused(&self) -> bool {
        let trial = self.trial();
        trial.in_a_row > 0 && self.latest_accepted() <= trial.latest
    }

    /// What is known from where a call stands that was sent at this moment.
    pub(crate) fn view(&self, sent: Stamp, now: Stamp) -> View {
        let accepted = self.latest_accepted();
        let trial = self.trial();
        View {
            accepted_later: accepted > sent,
            ever_refused: trial.unanswered.is_some(),
            proven: self.observed.load(Ordering::Relaxed) >= PROOF,
            dead_in: (accepted <= trial.latest && trial.in_a_row >= DEAD)
                .then(|| QUIET.saturating_sub(now.since(accepted))),
            contradicted: trial.is_contradicted(accepted, now),
            fresh: now.since(self.born) < LAG,
            lags: trial.first.is_some_and(|first| first.since(self.born) < EARLY)
                && (accepted > trial.latest || trial.in_a_row < MANY),
            company: self.in_flight.load(Ordering::Relaxed) > 0
                || self.resends.load(Ordering::Relaxed) > 0
                || (accepted > Stamp::default() && now.since(accepted) < TRAFFIC),
            others_wait: self.resends.load(Ordering::Relaxed) > 0,
            probe: match trial.probe {
                Probe::Running => ProbeResult::Running,
                Probe::Refused(at) if at > sent => ProbeResult::Refused,
                Probe::None | Probe::Refused(_) => ProbeResult::None,
            },
        }
    }

    pub(crate) fn accepted_well_after(&self, sent: Stamp) -> bool {
        well_after(self.latest_accepted(), sent)
    }

    /// Becomes the one that finds out, unless another is.
    pub(crate) fn probe(&self) -> Option<Probing<'_>> {
        let mut trial = self.trial();
        if trial.probe == Probe::Running {
            return None;
        }
        trial.probe = Probe::Running;
        Some(Probing { evidence: self, refused: None })
    }

    /// News about it, to be waited for; made before the view is looked at, none is missed.
    pub(crate) fn observe(&self) -> Observer<'_> {
        self.observers.fetch_add(1, Ordering::Relaxed);
        let mut notified = Box::pin(self.news.notified());
        notified.as_mut().enable();
        Observer { notified, observers: &self.observers }
    }

    fn latest_accepted(&self) -> Stamp {
        Stamp(self.accepted.load(Ordering::Relaxed))
    }

    fn trial(&self) -> MutexGuard<'_, Trial> {
        self.trial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call without an answer yet, or one that is about to be sent.
#[derive(Debug)]
pub struct InFlight<'a>(&'a AtomicU32);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A refused call that waits for news; it is over when there is some.
pub(crate) struct Observer<'a> {
    notified: Pin<Box<Notified<'a>>>,
    observers: &'a AtomicU32,
}

impl Future for Observer<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.notified.as_mut().poll(context)
    }
}

impl Drop for Observer<'_> {
    fn drop(&mut self) {
        self.observers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The call that finds out. However it ends, the others are told.
#[derive(Debug)]
pub(crate) struct Probing<'a> {
    evidence: &'a Evidence,
    refused: Option<Stamp>,
}

impl Probing<'_> {
    /// It was sent at this moment, and was refused.
    pub(crate) fn refused(mut self, sent: Instant) {
        self.refused = Some(Stamp::of(sent));
    }
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.evidence.trial().probe = self.refused.map_or(Probe::None, Probe::Refused);
        self.evidence.news.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp(1 + 1000 * ms)
    }

    #[test]
    fn a_call_that_was_sent_later_speaks_for_the_token_and_an_earlier_one_does_not() {
        let evidence = Evidence::default();
        evidence.accepted(at(10));
        evidence.refused(at(20), at(30));
        let view = evidence.view(at(20), at(30));
        assert!(!view.accepted_later && view.ever_refused && !view.contradicted);
        evidence.accepted(at(21));
        let view = evidence.view(at(20), at(40));
        assert!(view.accepted_later && !view.contradicted, "the two may have overtaken each other");
        // The accepted one with the earlier sending comes late: nothing changes.
        evidence.accepted(at(5));
        assert_eq!(evidence.view(at(20), at(40)), view);
        evidence.accepted(at(40));
        assert!(evidence.view(at(20), at(50)).contradicted);
    }

    #[test]
    fn sixteen_refusals_in_a_row_are_a_dead_token_and_one_acceptance_ends_the_row() {
        let evidence = Evidence::default();
        evidence.accepted(at(100));
        for n in 101..116 {
            evidence.refused(at(n), at(n));
            assert_eq!(evidence.view(at(n), at(n)).dead_in, None);
        }
        evidence.accepted(at(116));
        evidence.refused(at(117), at(117));
        assert_eq!(evidence.view(at(117), at(117)).dead_in, None);
        (118..133).for_each(|n| evidence.refused(at(n), at(n)));
        let dead_in = |now| evidence.view(at(132), at(now)).dead_in;
        assert_eq!([dead_in(132), dead_in(146)], [14, 0].map(|ms| Some(Duration::from_millis(ms))));
        assert!(evidence.is_refused());
        // Late news of a call that was sent before another was accepted counts for nothing.
        evidence.accepted(at(150));
        (140..149).for_each(|n| evidence.refused(at(n), at(160)));
        assert!(!evidence.is_refused());
    }

    #[test]
    fn doubt_lasts_for_a_minute_after_the_last_refusal_that_was_wrong() {
        let evidence = Evidence::default();
        evidence.refused(at(5), at(6));
        evidence.accepted(at(25));
        assert!(evidence.view(at(5), at(60_000)).contradicted);
        assert!(!evidence.view(at(5), at(60_010)).contradicted);
        // Of a refusal long ago nothing is left but that it was one.
        evidence.refused(at(100_000), at(100_001));
        assert!(!evidence.view(at(100_000), at(100_001)).contradicted);
        evidence.accepted(at(100_020));
        evidence.refused(at(100_030), at(100_031));
        assert!(evidence.view(at(100_030), at(160_030)).contradicted);
        assert!(!evidence.view(at(100_030), at(160_031)).contradicted);
    }

    #[test]
    fn company_are_calls_without_an_answer_and_recent_traffic() {
        let evidence = Evidence::default();
        assert!(!evidence.view(at(0), at(0)).company);
        let sent = evidence.sending();
        assert!(evidence.view(at(0), at(0)).company);
        drop(sent);
        assert!(!evidence.view(at(0), at(0)).company);
        evidence.accepted(at(1000));
        assert!(evidence.view(at(0), at(1199)).company && !evidence.view(at(0), at(1200)).company);
    }

    #[test]
    fn a_credential_that_is_refused_from_its_first_calls_on_lags_until_many_were_refused_in_a_row() {
        let evidence = Evidence { born: at(1000), ..Evidence::default() };
        assert!(!evidence.view(at(1000), at(1000)).lags);
        for n in 0..7 {
            evidence.refused(at(1010 + n), at(1020 + n));
            assert!(evidence.view(at(1010), at(1030)).lags);
        }
        evidence.refused(at(1020), at(1030));
        assert!(!evidence.view(at(1010), at(1030)).lags, "eight in a row");
        evidence.accepted(at(1040));
        assert!(evidence.view(at(1010), at(1050)).lags, "not by all");
        let steady = Evidence { born: at(1000), ..Evidence::default() };
        steady.accepted(at(1050));
        steady.refused(at(1100), at(1110));
        assert!(!steady.view(at(1100), at(1110)).lags);
    }

    #[test]
    fn ten_acceptances_while_a_refused_call_waits_prove_that_every_node_knows_it() {
        let evidence = Evidence::default();
        (0..50).for_each(|n| evidence.accepted(at(n)));
        assert!(!evidence.view(at(0), at(50)).proven, "nobody waited");
        let observer = evidence.observe();
        (50..60).for_each(|n| evidence.accepted(at(n)));
        assert!(evidence.view(at(0), at(60)).proven);
        drop(observer);
    }

    #[test]
    fn one_probes_for_all_and_a_probe_that_leaves_leaves_room_for_another() {
        let evidence = Evidence::default();
        let probing = evidence.probe().unwrap();
        assert!(evidence.probe().is_none());
        assert_eq!(evidence.view(at(1), at(1)).probe, ProbeResult::Running);
        drop(probing);
        assert_eq!(evidence.view(at(1), at(1)).probe, ProbeResult::None);
        let mut probing = evidence.probe().unwrap();
        probing.refused = Some(at(5));
        drop(probing);
        assert_eq!(evidence.view(at(1), at(9)).probe, ProbeResult::Refused);
        assert_eq!(evidence.view(at(6), at(9)).probe, ProbeResult::None, "it was sent before that call");
    }
}
