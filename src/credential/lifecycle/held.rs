//! The credential that is served, the one before it, and the generations that number them.
//!
//! A generation never goes back, and one generation is one value.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Now;
use super::schedule::LONGEST_LIFE;
use crate::credential::status::HeldTimes;
use crate::credential::types::{Credential, Previous};
use crate::secret::Secret;
use crate::store::StoredCredential;

/// A credential that was issued further in the future than this was not issued by this clock.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// A credential and what is known of its times.
#[derive(Debug)]
struct Live {
    credential: Arc<Credential>,
    /// The longest `expires_in` that was said of it.
    life: Duration,
    issued_at: SystemTime,
    expires_at: SystemTime,
    /// When its fetch began, by the clock that all replicas share.
    began_at: SystemTime,
}

/// What a stored credential is to the one that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The same value.
    Same,
    /// Its fetch began later, or there is none here.
    Newer,
    /// Its fetch began earlier.
    Older,
}

/// What is left of a stored credential's life, and all of it.
///
/// # Errors
/// Why it is unusable, in words.
pub(super) fn usable(stored: &StoredCredential, now: Now) -> Result<(Duration, Duration), &'static str> {
    // No credential lives longer than a day, whatever the store says.
    let life = stored.expires_in.min(LONGEST_LIFE);
    let left = stored.expires_at.duration_since(now.wall).unwrap_or_default().min(life);
    if left.is_zero() {
        return Err("it has ended");
    }
    if stored.issued_at.duration_since(now.wall).is_ok_and(|ahead| ahead > CLOCK_SLACK) {
        return Err("it was issued in the future: has the clock been set back?");
    }
    Ok((left, life))
}

/// Of two stored credentials the one with the higher rank is the newer one.
fn rank(stored: &StoredCredential) -> (SystemTime, &str) {
    (stored.began_at, stored.value.expose())
}

/// All credentials that the machine remembers.
#[derive(Debug, Default)]
pub(super) struct Held {
    generation: u64,
    current: Option<Live>,
    /// The last one after its end, until there is another: an upstream may hand out its value once more.
    ended: Option<Live>,
    /// The one before the current, while it may go on working.
    previous: Option<Previous>,
    /// The one before the current, whether it works or not: answers must not show it.
    before: Option<Arc<Credential>>,
    /// The newest one in the store that is of no use by the clock here, which may be wrong.
    passed_over: Option<StoredCredential>,
}

impl Held {
    pub(super) fn current(&self) -> Option<&Arc<Credential>> {
        self.current.as_ref().map(|live| &live.credential)
    }

    pub(super) fn previous(&self) -> Option<&Previous> {
        self.previous.as_ref()
    }

    pub(super) fn before(&self) -> Option<&Arc<Credential>> {
        self.before.as_ref()
    }

    /// The store knows the value that came before: it is not used, and not shown.
    pub(super) fn restore_before(&mut self, value: Option<Secret>, now: Now) {
        let number = self.generation.saturating_sub(1);
        let before = value.map(|value| Credential::new(number, value, now.mono, now.mono));
        self.before = before.map(Arc::new).or(self.before.take());
    }

    /// The last generation issued, valid or not; 0 when there has never been one.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether there is, or was, one to be replaced.
    pub(super) fn is_replaceable(&self) -> bool {
        self.current.is_some() || self.ended.is_some()
    }

    /// Goes on counting where the store has got to.
    pub(super) fn restore_generation(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// How a stored credential stands to the one that is served: all replicas agree about any two.
    pub(super) fn order(&self, stored: &StoredCredential) -> Order {
        let Some(live) = &self.current else { return Order::Newer };
        let (ours, theirs) = (&live.credential.value, &stored.value);
        if ours == theirs {
            return Order::Same;
        }
        match rank(stored) > (live.began_at, ours.expose()) {
            true => Order::Newer,
            false => Order::Older,
        }
    }

    /// When the fetch began that brought the current one.
    pub(super) fn began_at(&self) -> Option<SystemTime> {
        self.current.as_ref().map(|live| live.began_at)
    }

    /// A stored one is of no use here, by a clock that may be wrong: it stays in the store until there is a newer one.
    pub(super) fn pass_over(&mut self, stored: StoredCredential) {
        if !self.has_passed_newer(&stored) {
            self.passed_over = Some(stored);
        }
    }

    /// Whether one was passed over that is newer than this one.
    pub(super) fn has_passed_newer(&self, stored: &StoredCredential) -> bool {
        self.passed_over.as_ref().is_some_and(|passed| rank(passed) > rank(stored))
    }

    /// What the next fetch has to be later than: the current one's beginning, and that of any that was passed over.
    pub(super) fn newest_began(&self) -> Option<SystemTime> {
        self.began_at().max(self.passed_over.as_ref().map(|passed| passed.began_at))
    }

    /// Gives the current one a later number.
    pub(super) fn renumber(&mut self, generation: u64) {
        self.restore_generation(generation);
        if let Some(live) = &mut self.current {
            live.credential = Arc::new(live.credential.renumbered(self.generation));
        }
    }

    /// Takes a stored credential over, with the generation that was restored; what is left of its life, and all of
    /// it. One that is replaced by it goes on working for `overlap`.
    ///
    /// # Errors
    /// Why it is unusable, in words.
    pub(super) fn restore(
        &mut self,
        stored: StoredCredential,
        overlap: Duration,
        now: Now,
    ) -> Result<(Duration, Duration), &'static str> {
        let (left, life) = usable(&stored, now)?;
        self.generation = self.generation.max(1);
        let age = now.wall.duration_since(stored.issued_at).unwrap_or_default();
        let end = now.mono + left;
        let mut credential =
            Credential::new(self.generation, stored.value, end, now.mono).aged(age, now.mono);
        // Each answer has said the whole life.
        credential.asked = now.mono.checked_sub(life - left);
        let next = Live {
            credential: Arc::new(credential),
            life,
            issued_at: stored.issued_at,
            expires_at: now.wall + left,
            began_at: stored.began_at,
        };
        self.replace(next, overlap, now.mono);
        Ok((left, life))
    }

    fn replace(&mut self, next: Live, overlap: Duration, now: Instant) {
        let before = self.current.replace(next);
        let last = before.as_ref().or(self.ended.as_ref()).map(|live| Arc::clone(&live.credential));
        self.before = last.or(self.before.take());
        self.previous = before.map(|live| Previous {
            until: live.credential.end.min(now + overlap),
            credential: live.credential,
        });
        self.ended = None;
        let began = self.began_at();
        self.passed_over.take_if(|passed| Some(passed.began_at) < began);
    }

    /// A value has been issued that is another than the current one: the next generation. The current one goes on
    /// working for `overlap`.
    pub(super) fn renew(
        &mut self,
        value: Secret,
        life: Duration,
        overlap: Duration,
        began_at: SystemTime,
        now: Now,
    ) {
        self.generation = self.generation.saturating_add(1);
        let end = now.mono + life;
        let next = Live {
            credential: Arc::new(Credential::new(self.generation, value, end, now.mono)),
            life,
            issued_at: now.wall,
            expires_at: now.wall + life,
            began_at,
        };
        self.replace(next, overlap, now.mono);
    }

    /// Whether this value is the current one, or the one that has ended meanwhile: then it is current again.
    pub(super) fn has(&mut self, value: &Secret) -> bool {
        if self.current.is_none() {
            self.current = self.ended.take_if(|live| live.credential.value == *value);
        }
        self.current.as_ref().is_some_and(|live| live.credential.value == *value)
    }

    /// The current value has been handed out once more, with so much left; its end, and its whole life. `lengthens`:
    /// whether its life may have grown, else a later end is not believed while there is an earlier one.
    pub(super) fn extend(
        &mut self,
        left: Duration,
        lengthens: bool,
        now: Now,
    ) -> Option<(Instant, Duration)> {
        let live = self.current.as_mut()?;
        let known = live.credential.end.saturating_duration_since(now.mono);
        let left = if lengthens || known.is_zero() { left } else { left.min(known) };
        let end = now.mono + left;
        let asked = Some(now.mono);
        live.credential = Arc::new(Credential { end, asked, ..Credential::clone(&live.credential) });
        live.expires_at = now.wall + left;
        live.life = live.life.max(left);
        Some((end, live.life))
    }

    /// Whether the current one has just ended.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.previous.take_if(|previous| previous.until <= now);
        if self.current().is_none_or(|credential| credential.end > now) {
            return false;
        }
        self.ended = self.current.take();
        true
    }

    /// For the store: the newest one that is known, used here or not.
    pub(super) fn stored(&self) -> Option<StoredCredential> {
        let current = self.current.as_ref().map(|live| StoredCredential {
            value: live.credential.value.clone(),
            issued_at: live.issued_at,
            expires_at: live.expires_at,
            expires_in: live.life,
            began_at: live.began_at,
        });
        current.into_iter().chain(self.passed_over.clone()).max_by(|one, other| rank(one).cmp(&rank(other)))
    }

    /// For pages.
    pub(super) fn times(&self) -> Option<HeldTimes> {
        self.current.as_ref().map(|live| HeldTimes {
            issued_at: live.issued_at,
            expires_at: live.expires_at,
            ends: live.credential.end,
        })
    }
}
