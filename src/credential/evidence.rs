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
/// such row in a million would come …
const DEAD: usize = 20;

/// … and in so long a time one is accepted where thousands come each second, or where answers take a while.
const QUIET: Duration = Duration::from_millis(30);

/// An acceptance so long ago shows that more calls are about to come.
const TRAFFIC: Duration = Duration::from_millis(200);

/// With half of the nodes lagging behind, so many acceptances and no refusal have a chance of 1 in 1,000.
const PROOF: u32 = 10;

/// Nodes lag behind for so long: those that were seen did.
const LAG: Duration = Duration::from_secs(1);

/// Where nodes lag behind, one of the first calls is refused: so many accepted before that have a chance of one in a
/// million with half of them.
const STEADY: u32 = 20;

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

    /// By tokio's clock, which is the system's but where a test pauses it.
    pub(crate) fn now() -> Self {
        Self::of(tokio::time::Instant::now().into_std())
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
    /// Calls that were accepted, up to [`STEADY`]; no more are counted.
    first_accepted: AtomicU32,
    /// Refused calls that are about to be sent with it again, since others were accepted.
    resends: AtomicU32,
    trial: Mutex<Trial>,
    news: Notify,
}

/// What the refusals have shown.
#[derive(Debug, Default)]
struct Trial {
    /// When the latest of the refused calls were sent, the last one first. Answers overtake each other: a row is what was
    /// sent after the latest call that was accepted, whenever its answer came.
    latest: [Stamp; DEAD],
    /// Hardly any call was accepted before the first refusal: some nodes may not have known it yet.
    early: bool,
    /// When a refused call was sent that no call sent well after it has contradicted yet.
    unanswered: Option<Stamp>,
    /// When a refusal was last known to be wrong.
    contradicted: Option<Stamp>,
    probe: Probe,
}

impl Trial {
    fn insert(&mut self, sent: Stamp) {
        let at = self.latest.partition_point(|later| *later >= sent);
        if at < DEAD {
            self.latest[at..].rotate_right(1);
            self.latest[at] = sent;
        }
    }

    /// Refused calls that were sent after the latest accepted one, up to [`DEAD`].
    fn in_a_row(&self, accepted: Stamp) -> usize {
        self.latest.partition_point(|sent| *sent > Stamp::default() && *sent >= accepted)
    }

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
    /// It was sent later than the call, and was refused too; no call that was sent after it has been accepted.
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
    /// After this time every node knows it; until then a refusal may come from one that lags behind.
    pub settled_in: Duration,
    /// Other calls are out, or are about to come.
    pub company: bool,
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
            first_accepted: AtomicU32::default(),
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
        if self.first_accepted.load(Ordering::Relaxed) < STEADY {
            self.first_accepted.fetch_add(1, Ordering::Relaxed);
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
        if trial.unanswered.is_none() {
            trial.early = self.first_accepted.load(Ordering::Relaxed) < STEADY;
        }
        if trial.is_contradicted(accepted, now) {
            trial.contradicted = Some(now);
        }
        match trial.unanswered {
            Some(before) if !well_after(accepted, before) => {}
            _ => trial.unanswered = Some(sent),
        }
        let before = trial.in_a_row(accepted);
        trial.insert(sent);
        if before < DEAD && trial.in_a_row(accepted) == DEAD {
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
        self.trial().in_a_row(self.latest_accepted()) > 0
    }

    /// What is known from where a call stands that was sent at this moment.
    pub(crate) fn view(&self, sent: Stamp, now: Stamp) -> View {
        let accepted = self.latest_accepted();
        let trial = self.trial();
        View {
            accepted_later: accepted > sent,
            ever_refused: trial.unanswered.is_some(),
            proven: self.observed.load(Ordering::Relaxed) >= PROOF,
            dead_in: (trial.in_a_row(accepted) == DEAD)
                .then(|| QUIET.saturating_sub(now.since(accepted.max(self.born)))),
            contradicted: trial.is_contradicted(accepted, now),
            settled_in: match trial.early {
                true => LAG.saturating_sub(now.since(self.born)),
                false => Duration::ZERO,
            },
            company: self.in_flight.load(Ordering::Relaxed) > 0
                || self.resends.load(Ordering::Relaxed) > 0
                || (accepted > Stamp::default() && now.since(accepted) < TRAFFIC),
            probe: match trial.probe {
                Probe::Running => ProbeResult::Running,
                Probe::Refused(at) if at > sent && at >= accepted => ProbeResult::Refused,
                Probe::None | Probe::Refused(_) => ProbeResult::None,
            },
        }
    }

    pub(crate) fn accepted_after(&self, moment: Stamp) -> bool {
        self.latest_accepted() > moment
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
    fn twenty_refusals_in_a_row_are_a_dead_token_and_one_acceptance_ends_the_row() {
        let evidence = Evidence { born: at(0), ..Evidence::default() };
        evidence.accepted(at(100));
        for n in 101..120 {
            evidence.refused(at(n), at(n));
            assert_eq!(evidence.view(at(n), at(n)).dead_in, None);
        }
        evidence.accepted(at(120));
        evidence.refused(at(121), at(121));
        assert_eq!(evidence.view(at(121), at(121)).dead_in, None);
        (122..141).for_each(|n| evidence.refused(at(n), at(n)));
        let dead_in = |now| evidence.view(at(140), at(now)).dead_in;
        assert_eq!([dead_in(140), dead_in(150)], [10, 0].map(|ms| Some(Duration::from_millis(ms))));
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
    fn a_row_is_what_was_sent_after_the_latest_accepted_call_whenever_answers_come() {
        let evidence = Evidence { born: at(0), ..Evidence::default() };
        // Of forty calls that were sent together every other one is accepted; a refusal always comes first, and what was
        // sent last is answered first.
        for n in (0..40).rev() {
            evidence.refused(at(100 + 2 * n), at(200));
            evidence.accepted(at(99 + 2 * n));
        }
        assert_eq!(evidence.view(at(100), at(900)).dead_in, None);
        assert!(evidence.is_refused(), "the last one was sent after all that were accepted");
    }

    #[test]
    fn nothing_is_dead_in_the_first_moment_however_many_refusals_come_first() {
        let evidence = Evidence { born: at(1000), ..Evidence::default() };
        (0..30).for_each(|_| evidence.refused(at(1001), at(1002)));
        let dead_in = |now| evidence.view(at(1001), at(now)).dead_in;
        assert_eq!([dead_in(1002), dead_in(1030)], [28, 0].map(|ms| Some(Duration::from_millis(ms))));
    }

    #[test]
    fn a_credential_that_is_refused_among_its_first_calls_settles_within_a_second_of_its_birth() {
        let settled_in = |accepted: u64, now| {
            let evidence = Evidence { born: at(1000), ..Evidence::default() };
            (0..accepted).for_each(|n| evidence.accepted(at(1000 + n)));
            evidence.refused(at(1100), at(1110));
            evidence.view(at(1100), at(now)).settled_in.as_millis()
        };
        assert_eq!([settled_in(0, 1110), settled_in(19, 1900), settled_in(0, 2000)], [890, 100, 0]);
        assert_eq!(settled_in(20, 1110), 0, "where nodes lag behind, one of twenty calls is refused");
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

    fn has_news(observer: &mut Observer<'_>) -> bool {
        Pin::new(observer).poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn who_waits_hears_of_an_accepted_call_of_a_dead_row_and_of_the_probes_end() {
        let evidence = Evidence::default();
        let mut observer = evidence.observe();
        for n in 1..DEAD as u64 {
            evidence.refused(at(n), at(n));
            assert!(!has_news(&mut observer), "{n}");
        }
        evidence.refused(at(100), at(100));
        assert!(has_news(&mut observer));
        drop(observer);
        let mut observer = evidence.observe();
        let probing = evidence.probe().unwrap();
        assert!(!has_news(&mut observer));
        probing.refused(Instant::now());
        assert!(has_news(&mut observer));
        assert_eq!(evidence.view(Stamp::default(), at(100)).probe, ProbeResult::Refused);
        drop(observer);
        let mut observer = evidence.observe();
        evidence.accepted(at(200));
        assert!(has_news(&mut observer));
        assert!(evidence.accepted_after(at(199)) && !evidence.accepted_after(at(200)));
        // Once it has left, nobody counts for it any more.
        drop(observer);
        (0..50).for_each(|n| evidence.accepted(at(n)));
        assert!(!evidence.view(at(0), at(300)).proven);
    }

    #[test]
    fn a_call_that_is_about_to_be_sent_again_is_company() {
        let evidence = Evidence::default();
        assert!(
            !evidence.is_refused() && evidence.view(at(0), at(0)).dead_in.is_none(),
            "nothing was refused"
        );
        let again = evidence.resending();
        assert!(evidence.view(at(0), at(0)).company);
        drop(again);
        assert!(!evidence.view(at(0), at(0)).company);
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
