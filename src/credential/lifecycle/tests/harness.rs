//! A machine, a clock that only the test moves, and a record of what the machine wanted done.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::TokenApi;
use crate::credential::lifecycle::{
    Action, Answer, Event, FetchMode, LogEvent, Machine, Now, Outcome, Reason, Record,
};
use crate::credential::status::Status;
use crate::credential::types::{Absent, Credential, CredentialId, Renewal};
use crate::secret::Secret;

pub(super) const DAY: u64 = 86_400;

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

pub(super) fn issued(value: &str, expires_in: u64) -> Answer {
    Answer::Issued { value: secret(value), expires_in: Some(i64::try_from(expires_in).unwrap()) }
}

pub(super) fn refused(errcode: i64) -> Answer {
    Answer::Refused { errcode, errmsg: "no".to_owned() }
}

pub(super) fn busy() -> Answer {
    Answer::Passing { what: "busy".to_owned() }
}

#[derive(Debug)]
pub(super) struct Run {
    api: TokenApi,
    machine: Machine,
    now: Now,
    cell: Result<Arc<Credential>, Absent>,
    flight: Option<FetchMode>,
    fetches: usize,
    answers: String,
    logged: Vec<LogEvent>,
    suspects: HashSet<Arc<str>>,
    waiters: u64,
}

impl Run {
    pub(super) fn start(api: TokenApi, stored: Option<Record>) -> Self {
        // 2027-01-15 04:00:00 UTC, noon in Beijing.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_799_985_600);
        Self::start_at(api, stored, Now { mono: Instant::now() + Duration::from_secs(1), wall })
    }

    fn start_at(api: TokenApi, stored: Option<Record>, now: Now) -> Self {
        let mut run = Self {
            api,
            machine: Machine::new(CredentialId::access_token("main"), api),
            now,
            cell: Err(Absent::Waiting),
            flight: None,
            fetches: 0,
            answers: String::new(),
            logged: Vec::new(),
            suspects: HashSet::new(),
            waiters: 0,
        };
        run.event(Event::Started { stored });
        run
    }

    /// Generation 1 is `A`, just issued for two hours.
    pub(super) fn with_token(api: TokenApi) -> Self {
        let mut run = Self::start(api, None);
        run.answer(issued("A", 7200));
        run
    }

    pub(super) fn restart(&self, record: Record, away: u64) -> Self {
        self.restart_at(record, i64::try_from(away).unwrap())
    }

    /// A restart after `wall` seconds by the wall clock.
    pub(super) fn restart_at(&self, record: Record, wall: i64) -> Self {
        let by = Duration::from_secs(wall.unsigned_abs());
        let wall = if wall < 0 { self.now.wall - by } else { self.now.wall + by };
        Self::start_at(self.api, Some(record), Now { mono: self.now.mono + by, wall })
    }

    pub(super) fn event(&mut self, event: Event) {
        for action in self.machine.handle(event, self.now) {
            match action {
                Action::Fetch(mode) => {
                    assert_eq!(self.flight.replace(mode), None, "two fetches at once");
                    self.fetches += 1;
                }
                Action::Publish(slot) => {
                    if let (Ok(old), Ok(new)) = (&self.cell, &slot) {
                        assert!(new.generation >= old.generation);
                        assert_eq!(new.generation == old.generation, new.value == old.value);
                    }
                    self.cell = slot;
                }
                Action::Store => {}
                Action::Answer(_, Renewal::Newer(token)) => {
                    self.answers.push_str(&format!("N{} ", token.generation));
                }
                Action::Answer(_, Renewal::Failed) => self.answers.push_str("F "),
                Action::Answer(_, Renewal::Limited) => self.answers.push_str("L "),
                Action::Log(event) => self.logged.push(event),
            }
        }
        if let Some(suspects) = self.machine.take_suspects() {
            self.suspects = suspects;
        }
        if let Ok(token) = &self.cell {
            assert!(token.end > self.now.mono, "an ended token is served");
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        assert!(self.flight.take().is_some(), "nothing was asked");
        self.event(Event::Fetched { answer, jitter: 1.0 });
    }

    pub(super) fn report(&mut self, generation: u64, path: &str) {
        self.waiters += 1;
        self.event(Event::Reported { generation, path: path.into(), waiter: Some(self.waiters) });
    }

    pub(super) fn report_without_waiting(&mut self, generation: u64, path: &str) {
        self.event(Event::Reported { generation, path: path.into(), waiter: None });
    }

    pub(super) fn replayed(&mut self, path: &str, generation: u64, refused: bool) {
        if refused {
            return self.event(Event::RefusedAgain { path: path.into(), generation });
        }
        self.proved(generation);
        self.event(Event::Succeeded { path: path.into() });
    }

    pub(super) fn proved(&mut self, generation: u64) {
        self.event(Event::Proved { generation });
    }

    pub(super) fn admin(&mut self) {
        self.waiters += 1;
        self.event(Event::AdminRefresh { waiter: self.waiters });
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
    pub(super) fn pass_failing(&mut self, secs: u64, answer: &Answer) {
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
        let due = self.machine.due.unwrap();
        due.saturating_duration_since(self.now.mono).as_secs_f64().round() as u64
    }

    /// What waiters were told since the last call: N and the generation, F(ailed), L(imited).
    pub(super) fn answers(&mut self) -> String {
        std::mem::take(&mut self.answers)
    }

    pub(super) fn cell(&self) -> Result<u64, Absent> {
        self.cell.as_ref().map(|token| token.generation).map_err(Clone::clone)
    }

    pub(super) fn generation(&self) -> u64 {
        self.cell().unwrap_or(0)
    }

    pub(super) fn logged(&self, which: impl Fn(&LogEvent) -> bool) -> usize {
        self.logged.iter().filter(|event| which(event)).count()
    }

    pub(super) fn last_fetched(&self) -> (Reason, Outcome) {
        let last = self.machine.last_refresh.as_ref().unwrap();
        (last.reason, last.outcome)
    }

    pub(super) fn last_flight_reason(&self) -> Reason {
        self.machine.flight.unwrap().reason
    }

    pub(super) fn suspects(&self) -> &HashSet<Arc<str>> {
        &self.suspects
    }

    pub(super) fn record(&mut self) -> Record {
        self.machine.record(self.now)
    }

    pub(super) fn status(&self) -> Status {
        self.machine.status("wx1")
    }
}
