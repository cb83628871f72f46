//! What follows from an event: which fetch is sent, who waits for it, who is told that there will be none.
//!
//! The invariants: never two fetches at once; with a credential, a refusal starts a fetch only if the limits allow
//! it and nothing is failing; without one the fetches go by the backoff and never by the limits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::held::{Held, Order, usable};
use super::ledger::Ledger;
use super::limiter::Limiter;
use super::path_blame::{Blame, PathBlame};
use super::schedule::{Schedule, Trouble, life};
use super::second_fetcher::{SecondFetcher, Seldom};
use super::waiters::{Cause, Waiter, Waiters};
use super::{Action, Event, LogEvent, Now, WaiterId, whole_millis};
use crate::credential::policy::{Force, Limit, Policy};
use crate::credential::status::{CredentialState, CredentialStatus};
use crate::credential::types::{
    CellContent, CredentialId, FetchAnswer, FetchMode, Outcome, Reason, Renewal, Suspects,
};
use crate::secret::Secret;
use crate::store::{StoredCredential, StoredLimits, StoredState};

/// What is stored tells no two moments apart that are closer together.
const TICK: Duration = Duration::from_millis(1);

/// The fetch that is under way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    mode: FetchMode,
    reason: Reason,
    /// It is in the books. Before the lease is there it is not: of several replicas that want to fetch one will.
    booked: bool,
    /// The newest generation when it was asked for.
    over: u64,
    /// When the newest fetch had begun that was known of then.
    over_began: Option<SystemTime>,
}

/// The state of one credential.
#[derive(Debug)]
pub(crate) struct Machine {
    id: CredentialId,
    policy: &'static Policy,
    held: Held,
    flight: Option<Flight>,
    schedule: Schedule,
    waiters: Waiters,
    limiter: Limiter,
    /// Somebody has caused a fetch that the limits allow, and that is not in the books yet.
    unbooked: Option<Cause>,
    blame: PathBlame,
    second_fetcher: SecondFetcher,
    ledger: Ledger,
    /// Of each of the limits.
    warned_limited: [Seldom; 3],
}

impl Machine {
    /// Before [`Event::Started`]. `limit` is the policy's, or a part of it.
    pub(crate) fn new(id: CredentialId, policy: &'static Policy, limit: Limit) -> Self {
        Self {
            held: Held::default(),
            id,
            policy,
            flight: None,
            schedule: Schedule::new(policy),
            waiters: Waiters::default(),
            limiter: Limiter::new(limit),
            unbooked: None,
            blame: PathBlame::default(),
            second_fetcher: SecondFetcher::default(),
            ledger: Ledger::default(),
            warned_limited: Default::default(),
        }
    }

    /// Renews in its turn among credentials that came together: 0, the first, to 1, the last.
    pub(crate) fn in_turn(mut self, turn: f64) -> Self {
        self.schedule.take_turn(turn);
        self
    }

    /// One step. The order of the actions is the order to do them in.
    pub(crate) fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut out = Vec::new();
        // Whatever wakes the machine, however late: a credential whose time is over is served no more.
        self.expire(now, &mut out);
        match event {
            Event::Started { stored } => self.start(stored, now, &mut out),
            Event::Refused { generation, path, known, waiter } => {
                let cause = if known { Cause::KnownPath } else { Cause::UnknownPath };
                self.refused(generation, path, cause, waiter, now, &mut out);
            }
            Event::Wanted { waiter } => self.wanted(waiter, now, &mut out),
            Event::AdminRefresh { generation, waiter } => {
                if let Some(current) = self.held.current()
                    && generation.is_some_and(|asked| asked != current.generation)
                {
                    out.push(Action::Answer(waiter, Renewal::Newer(Arc::clone(current))));
                    return out;
                }
                let waiter = Waiter { id: Some(waiter), path: None };
                if self.flight.is_some() || self.schedule.is_handed_over() {
                    self.want(Cause::ByHand);
                    self.waiters.join(waiter);
                } else {
                    self.fetch_for(waiter, Cause::ByHand, now, &mut out);
                }
            }
            Event::RefusedAgain { path, generation } => {
                self.count_refusal(&path, generation, now, &mut out);
            }
            Event::RefusedThoughGood { path, began } => {
                if let Blame::Blocked(block) = self.blame.refused_though_good(&path, began, now.mono) {
                    out.push(Action::Store);
                    out.push(Action::Log(LogEvent::PathBlocked { path, block, though_good: true }));
                }
            }
            Event::Succeeded { path } => {
                if self.blame.succeeded(&path, now.mono) {
                    out.push(Action::Store);
                }
                self.limiter.accepted(&path);
            }
            Event::KnownGood { generation } => self.blame.known_good(generation),
            Event::Leased => self.leased(now, &mut out),
            Event::Fetched { answer, began, jitter } => self.fetched(answer, began, jitter, now, &mut out),
            Event::TimerDue => {
                let wanted = self.policy.on_demand.is_none() || !self.waiters.is_empty();
                if self.flight.is_none() && self.schedule.is_due(now.mono) && wanted {
                    let reason = self.schedule.reason(self.held.current().is_some());
                    self.fetch(FetchMode::Normal, reason, &mut out);
                }
            }
            Event::PeerPublished { stored } => self.peer_published(*stored, now, &mut out),
            Event::HeldByPeer { jitter } => self.held_by_peer(jitter, now, &mut out),
        }
        out
    }

    /// When [`Event::TimerDue`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ends = self.held.current().map(|credential| credential.end);
        // Without anybody who waits, the time from which on it may be asked is no event; and nothing is due while a fetch
        // is under way.
        let wanted = self.policy.on_demand.is_none() || !self.waiters.is_empty();
        let due = self.schedule.due().filter(|_| wanted && self.flight.is_none());
        [ends, due].into_iter().flatten().min()
    }

    /// The paths whose success the machine wants to hear of, if they changed since the last call.
    pub(crate) fn take_suspects(&mut self) -> Option<Suspects> {
        self.blame.take_changed()
    }

    /// From now on no answer leads to another fetch.
    pub(crate) fn want_nothing_more(&mut self) {
        self.waiters.want_nothing_more();
    }

    /// The newest generation.
    pub(crate) fn generation(&self) -> u64 {
        self.held.generation()
    }

    /// What the store has to hold.
    pub(crate) fn state(&mut self, now: Now) -> StoredState {
        let (day, fetches) = self.ledger.today();
        StoredState {
            generation: self.held.generation(),
            credential: self.held.stored(),
            previous: self.held.before().map(|before| before.value.clone()),
            limits: StoredLimits { blame: self.blame.stored(now), ..self.limiter.stored(now) },
            day,
            fetches,
        }
    }

    /// What pages may show.
    pub(crate) fn status(&self) -> CredentialStatus {
        let calm = self.waiters.wanted().is_none() && self.flight.is_none();
        let state = match (self.held.current(), self.schedule.trouble()) {
            (Some(_), None) if calm => CredentialState::Fresh,
            (Some(_), _) => CredentialState::Stale,
            (None, Some(Trouble::Refused(..))) => CredentialState::Refused,
            (None, _) if self.held.generation() > 0 => CredentialState::Expired,
            (None, _) => CredentialState::Empty,
        };
        let (day, fetches) = self.ledger.today();
        CredentialStatus {
            id: self.id.clone(),
            state,
            generation: self.held.generation(),
            held: self.held.times(),
            day,
            fetches,
            quota: self.policy.daily_quota,
            last_refresh: self.ledger.last_refresh.clone(),
            last_error: self.ledger.last_error.clone(),
            refreshes: self.ledger.refreshes.clone(),
            task_restarts: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn due(&self) -> Option<Instant> {
        self.schedule.due()
    }

    #[cfg(test)]
    pub(super) fn flight_reason(&self) -> Option<Reason> {
        self.flight.map(|flight| flight.reason)
    }

    fn start(&mut self, stored: Option<Box<StoredState>>, now: Now, out: &mut Vec<Action>) {
        let stored = stored.map(|stored| *stored).unwrap_or_default();
        if self.policy.on_demand.is_none() {
            self.schedule.at_once(now.mono);
        }
        self.held.restore_generation(stored.generation);
        self.held.restore_before(stored.previous, now);
        self.limiter.restore(&stored.limits, now);
        self.blame.merge(&stored.limits.blame, now);
        self.ledger.merge(stored.day, stored.fetches);
        if let Some(credential) = stored.credential {
            match self.held.restore(credential.clone(), self.policy.overlap, now) {
                Ok((left, life)) => {
                    self.schedule.renewed(left, life, now.mono);
                    self.publish(out);
                    let generation = self.held.generation();
                    out.push(Action::Log(LogEvent::StoredUsed { generation, left }));
                }
                Err(why) => {
                    self.held.restore_before(Some(credential.value.clone()), now);
                    self.held.pass_over(credential);
                    out.push(Action::Log(LogEvent::StoredIgnored { why }));
                }
            }
        }
        if self.schedule.is_due(now.mono) {
            let reason = self.schedule.reason(self.held.current().is_some());
            self.fetch(FetchMode::Normal, reason, out);
        }
    }

    /// Somebody wants a credential that was asked for recently. While asking fails, the last one has to do.
    fn wanted(&mut self, waiter: Option<WaiterId>, now: Now, out: &mut Vec<Action>) {
        let current = self.held.current().cloned();
        let fresh = match (&current, self.policy.on_demand) {
            (Some(current), Some(every)) => current.asked_within(every, now.mono),
            (current, _) => current.is_some(),
        };
        if !fresh && self.flight.is_none() && self.schedule.may_ask(now.mono) {
            let reason = self.schedule.reason(current.is_some());
            self.fetch(FetchMode::Normal, reason, out);
        }
        let Some(id) = waiter else { return };
        let trouble = self.schedule.trouble();
        let passing = !matches!(trouble, Some(Trouble::Refused(..)));
        match current {
            Some(current) if fresh || trouble.is_some() => {
                out.push(Action::Answer(id, Renewal::Newer(current)));
            }
            _ if self.flight.is_some() || passing && self.schedule.is_near(now.mono) => {
                self.waiters.join(Waiter { id: Some(id), path: None });
            }
            _ => out.push(Action::Answer(id, Renewal::Failed)),
        }
    }

    fn expire(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.held.expire(now.mono) {
            self.limiter.forget_handed_back();
            self.publish(out);
            if self.policy.on_demand.is_some() {
                // Nobody has wanted it for long, or what is wrong has been said.
                return;
            }
            let refused = matches!(self.schedule.trouble(), Some(Trouble::Refused(..)));
            out.push(Action::Log(LogEvent::Ended { generation: self.held.generation(), refused }));
        }
    }

    fn refused(
        &mut self,
        generation: u64,
        path: Box<str>,
        cause: Cause,
        id: Option<WaiterId>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        if let Some(current) = self.held.current()
            && generation < current.since
        {
            let newer = current.clone();
            out.extend(id.map(|id| Action::Answer(id, Renewal::Newer(newer))));
            return;
        }
        self.count_refusal(&path, generation, now, out);
        let blocked = self.blame.blocked(&path, now.mono);
        if self.flight.is_some() || self.schedule.is_handed_over() {
            if !blocked {
                self.want(cause);
            }
            return self.waiters.join(Waiter { id, path: (!blocked).then_some(path) });
        }
        if blocked && self.held.current().is_some() {
            out.extend(id.map(|id| Action::Answer(id, Renewal::Limited)));
            return;
        }
        let waiter = Waiter { id, path: (!blocked).then_some(path) };
        if self.held.current().is_none() || self.schedule.trouble().is_some() {
            // A fetch is coming anyway, at the time that the backoff says.
            self.want(cause);
            if self.schedule.is_near(now.mono) {
                self.waiters.join(waiter);
            } else {
                out.extend(id.map(|id| Action::Answer(id, Renewal::Failed)));
            }
            return;
        }
        self.fetch_for(waiter, cause, now, out);
    }

    fn want(&mut self, cause: Cause) {
        if self.held.is_replaceable() {
            self.waiters.want(cause);
        }
    }

    /// Sends a fetch that somebody caused, if the limits allow one.
    fn fetch_for(&mut self, waiter: Waiter, cause: Cause, now: Now, out: &mut Vec<Action>) {
        if self.limiter.allows(cause, waiter.path.as_deref(), self.held.generation(), now.mono) {
            self.want(cause);
            self.waiters.join(waiter);
            self.unbooked = Some(cause);
            let reason = if cause == Cause::ByHand { Reason::Admin } else { Reason::Forced };
            self.fetch(FetchMode::Normal, reason, out);
        } else {
            out.extend(waiter.id.map(|id| Action::Answer(id, Renewal::Limited)));
            self.log_limited(cause, now, out);
        }
    }

    fn fetch(&mut self, mode: FetchMode, reason: Reason, out: &mut Vec<Action>) {
        let (over, over_began) = (self.held.generation(), self.held.newest_began());
        self.flight = Some(Flight { mode, reason, booked: false, over, over_began });
        self.schedule.fetching();
        out.push(Action::Lease);
    }

    /// The fetch that was asked for is sent, if it is wanted still, and spends what the limits and the upstream allow.
    fn leased(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(flight) = self.flight.filter(|flight| !flight.booked) else { return };
        if self.is_superseded(flight) {
            // Whoever wanted it has a peer's newer one.
            self.flight = None;
            return;
        }
        self.flight = Some(Flight { booked: true, ..flight });
        if let Some(cause) = self.unbooked.take() {
            self.limiter.spend(cause, now.mono);
        }
        if flight.mode == FetchMode::Forced {
            self.limiter.spend_forced(self.waiters.wanted().unwrap_or(Cause::KnownPath), now);
        }
        self.ledger.book(now.wall);
        out.push(Action::Fetch(flight.mode));
    }

    /// The fetch that was just booked was never sent.
    fn unbook(&mut self, mode: FetchMode, out: &mut Vec<Action>) {
        self.ledger.unbook();
        if mode == FetchMode::Forced {
            self.limiter.take_back_forced();
        }
        out.push(Action::Store);
    }

    fn fetched(
        &mut self,
        answer: FetchAnswer,
        began: SystemTime,
        jitter: f64,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        // The task hands in one answer for each fetch; one too many would be its fault and changes nothing.
        let Some(flight) = self.flight.take() else { return };
        match answer {
            FetchAnswer::Issued { value, expires_in } => {
                let (life, believed) = life(expires_in);
                if !believed {
                    out.push(Action::Log(LogEvent::OddExpiresIn { said: expires_in, used: life }));
                }
                // It is newer than the one it was to replace, whatever the clocks say.
                let began = whole_millis(flight.over_began.map_or(began, |over| began.max(over + TICK)));
                // What was refused and has ended meanwhile is not a newer one when it comes again.
                if self.held.has(&value) {
                    self.same(flight, life, now, out);
                } else if self.is_superseded(flight) && self.held.began_at().is_some_and(|held| held >= began)
                {
                    // A peer fetched after this fetch had begun: that token has ended this one, or is about to.
                    self.settle(flight, Outcome::New, Some(life), now, out);
                } else {
                    self.renewed(flight, value, life, began, now, out);
                }
            }
            FetchAnswer::Passing { what } => self.failed(flight, Trouble::Passing(what), jitter, now, out),
            FetchAnswer::Unsent { what } => {
                self.unbook(flight.mode, out);
                self.failed(flight, Trouble::Passing(what), jitter, now, out);
            }
            FetchAnswer::Refused { errcode, errmsg } => {
                self.failed(flight, Trouble::Refused(errcode, errmsg), jitter, now, out);
            }
        }
    }

    /// A peer's newer credential has come while the fetch was under way.
    fn is_superseded(&self, flight: Flight) -> bool {
        self.held.current().is_some_and(|current| current.since > flight.over)
    }

    fn renewed(
        &mut self,
        flight: Flight,
        value: Secret,
        life: Duration,
        began: SystemTime,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        // A forced one ends the one before it at once.
        let overlap = if flight.mode == FetchMode::Forced { Duration::ZERO } else { self.policy.overlap };
        self.held.renew(value, life, overlap, began, now);
        self.schedule.renewed(life, life, now.mono);
        let refused = self.serve_new(now, out);
        out.push(Action::Store);
        self.settle(flight, Outcome::New, Some(life), now, out);
        if refused
            && self.policy.force != Force::Never
            && flight.reason != Reason::Admin
            && self.second_fetcher.forced(self.held.generation(), now.mono)
        {
            out.push(Action::Log(LogEvent::SecondFetcher));
        }
    }

    /// Publishes the new credential to all readers and answers those that wait; whether a refusal had caused it.
    fn serve_new(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        self.limiter.forget_handed_back();
        // Where a peer has fetched it, the peer's books have it.
        self.unbooked = None;
        self.publish(out);
        let Some(current) = self.held.current().cloned() else { return false };
        let generation = current.generation;
        let (paths, refused) = self.waiters.grant(&Renewal::Newer(current), out);
        for path in paths {
            self.blame.granted(&path, generation, now.mono);
        }
        refused
    }

    fn same(&mut self, flight: Flight, left: Duration, now: Now, out: &mut Vec<Action>) {
        // WeCom has been seen to say 7200 whatever is left.
        let lengthens = self.policy.force != Force::Never;
        let Some((end, life)) = self.held.extend(left, lengthens, now) else { return };
        self.schedule.same(end, life, now.mono);
        if self.policy.on_demand.is_some() {
            self.serve_new(now, out);
            out.push(Action::Store);
            return self.settle(flight, Outcome::Same, Some(left), now, out);
        }
        self.publish(out);
        self.settle(flight, Outcome::Same, Some(left), now, out);
        let may_follow = self.policy.force == Force::AfterNormal && flight.mode == FetchMode::Normal;
        if let Some(cause) = self.waiters.wanted()
            && may_follow
            && self.limiter.allows_forced(cause, now.mono)
        {
            // The waiters go on waiting: this is still the refresh that they asked for.
            let by_hand = flight.reason == Reason::Admin || cause == Cause::ByHand;
            let reason = if by_hand { Reason::Admin } else { Reason::Forced };
            return self.fetch(FetchMode::Forced, reason, out);
        }
        out.push(Action::Store);
        let cause = self.waiters.wanted();
        self.waiters.want_nothing_more();
        let renewal = match self.policy.force {
            Force::EachFetch => Renewal::Failed,
            Force::Never => Renewal::Same,
            Force::AfterNormal => {
                if let Some(cause) = cause {
                    self.limiter.handed_back(self.held.generation(), now.mono);
                    self.log_limited(cause, now, out);
                }
                Renewal::Limited
            }
        };
        self.waiters.dismiss(&renewal, out);
    }

    fn failed(&mut self, flight: Flight, trouble: Trouble, jitter: f64, now: Now, out: &mut Vec<Action>) {
        let (outcome, errcode, errmsg) = match &trouble {
            Trouble::Passing(what) => (Outcome::Failed, -1, what.clone()),
            Trouble::Refused(errcode, errmsg) => (Outcome::Refused, *errcode, errmsg.clone()),
        };
        // With a peer's newer one there is nothing to try again for.
        if !self.is_superseded(flight) {
            self.schedule.failed(trouble, jitter, now.mono);
        }
        self.ledger.failed(errcode, errmsg, now.wall);
        if self.held.current().is_none() {
            self.publish(out);
        }
        self.waiters.dismiss(&Renewal::Failed, out);
        self.settle(flight, outcome, None, now, out);
    }

    /// The books and the one log message of a fetch that is over.
    fn settle(
        &mut self,
        flight: Flight,
        outcome: Outcome,
        expires_in: Option<Duration>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        self.ledger.settle(flight.reason, outcome, now.wall);
        let failed = matches!(outcome, Outcome::Failed | Outcome::Refused);
        let failure = self.ledger.last_error.as_ref().filter(|_| failed);
        out.push(Action::Log(LogEvent::Fetched {
            mode: flight.mode,
            reason: flight.reason,
            outcome,
            generation: self.held.current().map_or(0, |credential| credential.generation),
            expires_in,
            fetches_today: self.ledger.today().1,
            failure: failure.map(|e| (e.errcode, e.errmsg.clone())),
            next_in: self
                .schedule
                .due()
                .map_or(Duration::ZERO, |due| due.saturating_duration_since(now.mono)),
        }));
    }

    /// What another replica has published, or what the store has gone back to. Where more is known here than there,
    /// it is stored.
    fn peer_published(&mut self, stored: StoredState, now: Now, out: &mut Vec<Action>) {
        let more = self.limiter.merge(&stored.limits, now) | self.ledger.merge(stored.day, stored.fetches);
        self.blame.merge(&stored.limits.blame, now);
        let ours = self.held.generation();
        let theirs = stored.credential;
        let order = theirs.as_ref().map(|credential| self.held.order(credential));
        let lacks_newer = theirs.as_ref().is_some_and(|credential| self.held.has_passed_newer(credential));
        let lacks_ours = match (order, theirs) {
            // Whether it can be used is a matter of clocks, which may differ; the order is the same for all replicas.
            // Were ours put in its place, a replica with another clock would put it back, and so on without end.
            (Some(Order::Newer), Some(theirs)) if usable(&theirs, now).is_err() => {
                self.held.pass_over(theirs);
                let alone = self.held.current().is_some();
                if stored.generation >= ours {
                    self.renumber(stored.generation.saturating_add(u64::from(alone)), out);
                }
                !alone && stored.generation < ours
            }
            (Some(Order::Newer), Some(theirs)) => {
                // A number that is taken here names another credential.
                let taken = stored.generation <= ours;
                let number = if taken { ours.saturating_add(1) } else { stored.generation };
                self.adopt(theirs, number, now, out);
                taken
            }
            (Some(Order::Older), _) | (None, _) if self.held.current().is_some() => {
                if stored.generation >= ours {
                    self.renumber(stored.generation.saturating_add(1), out);
                }
                true
            }
            (Some(Order::Same), Some(theirs)) => {
                self.renumber(stored.generation, out);
                self.peer_asked_again(&theirs, now, out);
                stored.generation < ours
            }
            _ => {
                self.renumber(stored.generation, out);
                stored.generation < ours
            }
        };
        if more || lacks_ours || lacks_newer {
            out.push(Action::Store);
        }
    }

    /// Another replica has asked for a credential of the kind that is asked for on demand, and got the same one.
    fn peer_asked_again(&mut self, theirs: &StoredCredential, now: Now, out: &mut Vec<Action>) {
        let Ok((left, _)) = usable(theirs, now) else { return };
        let is_later = self.held.current().is_some_and(|current| now.mono + left > current.end);
        if self.policy.on_demand.is_some() && is_later {
            let _ = self.held.extend(left, true, now);
            self.schedule.renewed(left, left, now.mono);
            self.serve_new(now, out);
        }
    }

    /// Goes on with a peer's credential under this number.
    fn adopt(&mut self, theirs: StoredCredential, number: u64, now: Now, out: &mut Vec<Action>) {
        self.held.restore_generation(number);
        let Ok((left, life)) = self.held.restore(theirs, self.policy.overlap, now) else { return };
        self.schedule.renewed(left, life, now.mono);
        self.serve_new(now, out);
        out.push(Action::Log(LogEvent::PeerPublished { generation: self.held.generation() }));
    }

    /// Counts on from a later number; what is served gets it too.
    fn renumber(&mut self, number: u64, out: &mut Vec<Action>) {
        if number > self.held.generation() {
            self.held.renumber(number);
            if self.held.current().is_some() {
                self.publish(out);
            }
        }
    }

    fn held_by_peer(&mut self, jitter: f64, now: Now, out: &mut Vec<Action>) {
        let Some(flight) = self.flight.take() else { return };
        if flight.booked {
            self.unbook(flight.mode, out);
        }
        // A peer's newer one may have come meanwhile, and then it is over.
        if !self.is_superseded(flight) {
            let first = !self.schedule.was_handed_over();
            self.schedule.handed_over(flight.reason, jitter, now.mono);
            if first {
                out.push(Action::Log(LogEvent::HeldByPeer));
            }
        }
    }

    fn publish(&self, out: &mut Vec<Action>) {
        out.push(Action::Publish(CellContent {
            current: self.held.current().cloned().ok_or_else(|| self.schedule.absent()),
            previous: self.held.previous().cloned(),
            before: self.held.before().cloned(),
        }));
    }

    fn log_limited(&mut self, cause: Cause, now: Now, out: &mut Vec<Action>) {
        let why = self.limiter.limiting(cause, now.mono);
        if self.warned_limited[why as usize].due(now.mono) {
            out.push(Action::Log(LogEvent::Limited { why }));
        }
    }

    fn count_refusal(&mut self, path: &str, generation: u64, now: Now, out: &mut Vec<Action>) {
        let blame = self.blame.refused(path, generation, now.mono);
        if blame != Blame::Nothing {
            out.push(Action::Store);
        }
        match blame {
            Blame::Nothing => {}
            // The refresh that brought this credential was the path's doing, nobody else's.
            Blame::Counted | Blame::Blocked(_) => self.second_fetcher.forgive(generation),
            Blame::TakenBack => self.second_fetcher.count(generation, now.mono),
        }
        if let Blame::Blocked(block) = blame {
            out.push(Action::Log(LogEvent::PathBlocked { path: path.into(), block, though_good: false }));
        }
    }
}
