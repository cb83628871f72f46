//! What calls have shown of one credential: that it was accepted, that it was refused, that answers are still out.
//!
//! A refusal is no proof by itself: nodes that lag behind answer 40001 to a good token. What other calls show decides
//! whether it is dead. An accepted call pays two relaxed additions, two loads and a store for it; all that is dearer
//! happens only where a call was refused. `trial.rs` judges the refusals. Nothing here decides what is sent again.

mod stamp;
#[cfg(test)]
mod tests;
mod trial;

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub(crate) use stamp::Stamp;
pub(crate) use trial::ProbeResult;
use trial::Trial;

/// However many are refused in a row: in so long a time one is accepted where thousands come each second, or where
/// answers take a while.
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

/// What is known of a credential at one moment, from where one refused call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// A call that was sent later was accepted.
    pub accepted_later: bool,
    /// Several were refused since that were sent still later.
    pub refused_since: bool,
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
    /// The same where nothing was refused yet.
    pub may_lag_for: Duration,
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
        let early = self.first_accepted.load(Ordering::Relaxed) < STEADY;
        if self.trial().refused(sent, accepted, early, now) {
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
        self.trial().is_refused(self.latest_accepted())
    }

    /// What is known from where a call stands that was sent at this moment.
    pub(crate) fn view(&self, sent: Stamp, now: Stamp) -> View {
        let accepted = self.latest_accepted();
        let trial = self.trial();
        let may_lag_for = LAG.saturating_sub(now.since(self.born));
        View {
            accepted_later: accepted > sent,
            refused_since: trial.is_turning(accepted),
            ever_refused: trial.is_any(),
            proven: self.observed.load(Ordering::Relaxed) >= PROOF,
            dead_in: trial
                .is_dead(accepted)
                .then(|| QUIET.saturating_sub(now.since(accepted.max(self.born)))),
            contradicted: trial.is_contradicted(accepted, now),
            settled_in: match trial.was_early() {
                true => may_lag_for,
                false => Duration::ZERO,
            },
            may_lag_for,
            company: self.in_flight.load(Ordering::Relaxed) > 0
                || self.resends.load(Ordering::Relaxed) > 0
                || (accepted > Stamp::default() && now.since(accepted) < TRAFFIC),
            probe: trial.probe_result(sent, accepted),
        }
    }

    /// Whether a call was accepted that was sent after this moment.
    pub(crate) fn accepted_after(&self, moment: Stamp) -> bool {
        self.latest_accepted() > moment
    }

    /// Becomes the one that finds out, unless another is.
    pub(crate) fn probe(self: &Arc<Self>) -> Option<Probing> {
        let free = self.trial().begin_probe();
        free.then(|| Probing { evidence: Arc::clone(self), refused: None })
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
pub(crate) struct Probing {
    evidence: Arc<Evidence>,
    refused: Option<Stamp>,
}

impl Probing {
    /// It was sent at this moment, and was refused.
    pub(crate) fn refused(mut self, sent: Instant) {
        self.refused = Some(Stamp::of(sent));
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.evidence.trial().end_probe(self.refused);
        self.evidence.news.notify_waiters();
    }
}
