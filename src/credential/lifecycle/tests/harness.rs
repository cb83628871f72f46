//! A machine, a clock that only the test moves, and a record of what the machine wanted done.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::credential::lifecycle::{Action, Event, LogEvent, Machine, Now};
use crate::credential::policy::Policy;
use crate::credential::status::CredentialStatus;
use crate::credential::types::{
    Absent, Credential, CredentialId, FetchAnswer, FetchMode, Outcome, Previous, Reason, Renewal, Suspects,
};
use crate::secret::Secret;
use crate::store::StoredState;

pub(super) const DAY: u64 = 86_400;

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

pub(super) fn issued(value: &str, expires_in: u64) -> FetchAnswer {
    FetchAnswer::Issued { value: secret(value), expires_in: Some(i64::try_from(expires_in).unwrap()) }
}

pub(super) fn refused(errcode: i64) -> FetchAnswer {
    FetchAnswer::Refused { errcode, errmsg: "no".to_owned() }
}

pub(super) fn busy() -> FetchAnswer {
    FetchAnswer::Passing { what: "busy".to_owned() }
}

/// What comes of asking for the lease.
#[derive(Debug, Clone, Copy)]
pub(super) enum LeaseAnswer {
    /// It is granted at once.
    Granted,
    /// Another replica has it.
    HeldByPeer,
    /// It is granted when the test says so.
    Waits,
}

#[derive(Debug)]
pub(super) struct Run {
    policy: &'static Policy,
    machine: Machine,
    now: Now,
    cell: Result<Arc<Credential>, Absent>,
    flight: Option<FetchMode>,
    /// What comes of asking for the lease.
    pub(super) lease: LeaseAnswer,
    began: SystemTime,
    stores: bool,
    fetches: usize,
    answers: String,
    logged: Vec<LogEvent>,
    previous: Option<Previous>,
    suspects: Suspects,
    waiters: u64,
}

impl Run {
    pub(super) fn start(policy: &'static Policy, stored: Option<StoredState>) -> Self {
        // 2027-01-15 04:00:00 UTC, noon in Beijing.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_799_985_600);
        Self::start_at(policy, stored, Now { mono: Instant::now() + Duration::from_secs(1), wall })
    }

    /// A replica whose clock is so many seconds ahead of the others'.
    pub(super) fn start_ahead(
        policy: &'static Policy,
        stored: Option<StoredState>,
        secs: i64,
        now: Now,
    ) -> Self {
        let by = Duration::from_secs(secs.unsigned_abs());
        let wall = if secs < 0 { now.wall - by } else { now.wall + by };
        Self::start_at(policy, stored, Now { wall, ..now })
    }

    fn start_at(policy: &'static Policy, stored: Option<StoredState>, now: Now) -> Self {
        let mut run = Self {
            policy,
            machine: Machine::new(CredentialId::access_token("main"), policy, policy.limit),
            now,
            cell: Err(Absent::Waiting),
            flight: None,
            lease: LeaseAnswer::Granted,
            began: now.wall,
            stores: false,
            fetches: 0,
            answers: String::new(),
            logged: Vec::new(),
            previous: None,
            suspects: Suspects::new(),
            waiters: 0,
        };
        run.event(Event::Started { stored: stored.map(Box::new) });
        run
    }

    /// Generation 1 is `A`, just issued for two hours.
    pub(super) fn with_token(policy: &'static Policy) -> Self {
        let mut run = Self::start(policy, None);
        run.answer(issued("A", 7200));
        run
    }

    pub(super) fn restart(&self, record: StoredState, away: u64) -> Self {
        self.restart_at(record, i64::try_from(away).unwrap())
    }

    /// A restart after `wall` seconds by the wall clock.
    pub(super) fn restart_at(&self, record: StoredState, wall: i64) -> Self {
        let by = Duration::from_secs(wall.unsigned_abs());
        let wall = if wall < 0 { self.now.wall - by } else { self.now.wall + by };
        Self::start_at(self.policy, Some(record), Now { mono: self.now.mono + by, wall })
    }

    pub(super) fn event(&mut self, event: Event) {
        let mut lease = None;
        for action in self.machine.handle(event, self.now) {
            match action {
                Action::Lease => {
                    let asked = match self.lease {
                        LeaseAnswer::Granted => Some(Event::Leased),
                        LeaseAnswer::HeldByPeer => Some(Event::HeldByPeer { jitter: 1.0 }),
                        LeaseAnswer::Waits => None,
                    };
                    assert!(std::mem::replace(&mut lease, asked).is_none(), "two fetches at once");
                }
                Action::Fetch(mode) => {
                    assert_eq!(self.flight.replace(mode), None, "two fetches at once");
                    self.began = self.now.wall;
                    self.fetches += 1;
                }
                Action::Publish(content) => {
                    self.previous = content.previous;
                    let slot = content.current;
                    if let (Ok(old), Ok(new)) = (&self.cell, &slot) {
                        assert!(new.generation >= old.generation);
                        assert!(new.generation > old.generation || new.value == old.value);
                    }
                    self.cell = slot;
                }
                Action::Store => self.stores = true,
                Action::Answer(_, Renewal::Newer(token)) => {
                    self.answers.push_str(&format!("N{} ", token.generation));
                }
                Action::Answer(_, Renewal::Failed) => self.answers.push_str("F "),
                Action::Answer(_, Renewal::Limited) => self.answers.push_str("L "),
                Action::Answer(_, Renewal::Same) => self.answers.push_str("S "),
                Action::Log(event) => self.logged.push(event),
            }
        }
        if let Some(suspects) = self.machine.take_suspects() {
            self.suspects = suspects;
        }
        if let Ok(token) = &self.cell {
            assert!(token.end > self.now.mono, "an ended token is served");
        }
        if let Some(lease) = lease {
            self.event(lease);
        }
    }

    pub(super) fn answer(&mut self, answer: FetchAnswer) {
        assert!(self.flight.take().is_some(), "nothing was asked");
        let began = self.began;
        self.event(Event::Fetched { answer, began, jitter: 1.0 });
    }

    pub(super) fn report(&mut self, generation: u64, path: &str) {
        self.waiters += 1;
        let waiter = Some(self.waiters);
        self.event(Event::Refused { generation, path: path.into(), known: true, waiter });
    }

    /// A report of a path that had no accepted call in the last hour.
    pub(super) fn report_unknown(&mut self, generation: u64, path: &str) {
        self.waiters += 1;
        let waiter = Some(self.waiters);
        self.event(Event::Refused { generation, path: path.into(), known: false, waiter });
    }

    /// Somebody wants a credential that is asked for on demand.
    pub(super) fn want(&mut self) {
        self.waiters += 1;
        self.event(Event::Wanted { waiter: Some(self.waiters) });
    }

    pub(super) fn want_without_waiting(&mut self) {
        self.event(Event::Wanted { waiter: None });
    }

    pub(super) fn report_without_waiting(&mut self, generation: u64, path: &str) {
        self.event(Event::Refused { generation, path: path.into(), known: true, waiter: None });
    }

    pub(super) fn replayed(&mut self, path: &str, generation: u64, refused: bool) {
        if refused {
            return self.event(Event::RefusedAgain { path: path.into(), generation });
        }
        self.known_good(generation);
        self.event(Event::Succeeded { path: path.into() });
    }

    pub(super) fn known_good(&mut self, generation: u64) {
        self.event(Event::KnownGood { generation });
    }

    /// Another replica has published this state.
    pub(super) fn peer_published(&mut self, stored: StoredState) {
        self.event(Event::PeerPublished { stored: Box::new(stored) });
    }

    /// The lease that was asked for is granted.
    pub(super) fn leased(&mut self) {
        self.event(Event::Leased);
    }

    /// The lease is lost before the fetch is sent.
    pub(super) fn held_by_peer(&mut self) {
        self.flight = None;
        self.event(Event::HeldByPeer { jitter: 1.0 });
    }

    /// The next fetch is due in `secs` and brings this value.
    pub(super) fn answer_all(&mut self, value: &str, secs: u64, life: u64) {
        self.pass(secs);
        self.answer(issued(value, life));
    }

    /// A call of this path, begun now, was refused with all its sendings, which took a second.
    pub(super) fn refused_though_good(&mut self, path: &str) {
        let began = self.now.mono;
        self.jump(Duration::from_secs(1));
        self.event(Event::RefusedThoughGood { path: path.into(), began });
    }

    /// The one before the current, and for how many seconds it goes on working.
    pub(super) fn previous(&self) -> Option<(u64, u64)> {
        let left = |previous: &Previous| previous.until.saturating_duration_since(self.now.mono).as_secs();
        self.previous.as_ref().map(|previous| (previous.credential.generation, left(previous)))
    }

    pub(super) fn admin(&mut self) {
        self.admin_over(None);
    }

    /// Somebody asks for a refresh, if this generation is still the current one.
    pub(super) fn admin_over(&mut self, generation: Option<u64>) {
        self.waiters += 1;
        self.event(Event::AdminRefresh { generation, waiter: self.waiters });
    }

    /// Time passes; the timer rings whenever the machine wants it.
    pub(super) fn pass(&mut self, secs: u64) {
        let end = self.now.mono + Duration::from_secs(secs);
        while let Some(at) = self.machine.deadline().filter(|&at| at <= end) {
            self.jump(at.saturating_duration_since(self.now.mono));
            self.event(Event::TimerDue);
        }
        self.jump(end - self.now.mono);
    }

    /// The same with an upstream that always gives this answer.
    pub(super) fn pass_failing(&mut self, secs: u64, answer: &FetchAnswer) {
        self.pass(secs);
        if self.flight.is_some() {
            self.answer(answer.clone());
        }
    }

    /// Time passes and no timer rings.
    pub(super) fn jump(&mut self, by: Duration) {
        self.now.mono += by;
        self.now.wall += by;
    }

    pub(super) fn due_now(&mut self) {
        self.event(Event::TimerDue);
    }

    pub(super) fn skip_to_end_of_life(&mut self) {
        let ends = self.cell.as_ref().unwrap().end;
        self.jump(ends - self.now.mono);
        self.due_now();
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    pub(super) fn flight(&self) -> Option<FetchMode> {
        self.flight
    }

    /// Fetches sent so far.
    pub(super) fn fetches(&self) -> usize {
        self.fetches
    }

    /// Seconds until the next fetch; panics while one is under way.
    pub(super) fn due_in(&self) -> u64 {
        let due = self.machine.due().unwrap();
        due.saturating_duration_since(self.now.mono).as_secs_f64().round() as u64
    }

    /// What waiters were told since the last call: N and the generation, F(ailed), L(imited), S(ame).
    pub(super) fn answers(&mut self) -> String {
        std::mem::take(&mut self.answers)
    }

    pub(super) fn cell(&self) -> Result<u64, Absent> {
        self.cell.as_ref().map(|token| token.generation).map_err(Clone::clone)
    }

    /// The value that is served.
    pub(super) fn token(&self) -> String {
        self.cell.as_ref().unwrap().value.expose().to_owned()
    }

    /// Whether the store needs what is known here when it holds this.
    pub(super) fn takes_more_than(&mut self, stored: StoredState) -> bool {
        self.forget_stores();
        self.peer_published(stored);
        self.stores()
    }

    /// Whether anything was to be stored since [`Self::forget_stores`].
    pub(super) fn stores(&self) -> bool {
        self.stores
    }

    pub(super) fn forget_stores(&mut self) {
        self.stores = false;
    }

    pub(super) fn generation(&self) -> u64 {
        self.cell().unwrap_or(0)
    }

    pub(super) fn logged(&self, which: impl Fn(&LogEvent) -> bool) -> usize {
        self.logged.iter().filter(|event| which(event)).count()
    }

    pub(super) fn last_fetched(&self) -> (Reason, Outcome) {
        let last = self.status().last_refresh.unwrap();
        (last.reason, last.outcome)
    }

    pub(super) fn last_flight_reason(&self) -> Reason {
        self.machine.flight_reason().unwrap()
    }

    pub(super) fn suspects(&self) -> &Suspects {
        &self.suspects
    }

    pub(super) fn state(&mut self) -> StoredState {
        self.machine.state(self.now)
    }

    pub(super) fn status(&self) -> CredentialStatus {
        self.machine.status()
    }
}
