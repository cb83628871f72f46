//! What the answer to a fetch means: a new token, the current one once more, a failure.
//!
//! Nobody is left waiting by any of them, unless a `force_refresh` follows at once.

use std::sync::Arc;
use std::time::Duration;

use super::bucket::FORCED_APART;
use super::machine::{Flight, Held, Machine, Trouble, WARNING_SPAN, Wanted};
use super::schedule::{AFTER_REFUSAL, after_same, backoff, life, margin};
use super::{Action, Answer, FetchMode, LogEvent, Now, Outcome, Reason};
use crate::credential::status::{LastError, LastRefresh};
use crate::credential::types::{Credential, LONGEST_TOKEN, Renewal};
use crate::secret::Secret;

impl Machine {
    pub(super) fn fetched(&mut self, answer: Answer, jitter: f64, now: Now, out: &mut Vec<Action>) {
        // The task hands in one answer for each fetch; one too many would be its fault and changes nothing.
        let Some(flight) = self.flight.take() else { return };
        match answer {
            Answer::Issued { value, .. } if value.is_empty() || value.expose().len() > LONGEST_TOKEN => {
                let what = "the upstream issued an empty or overlong access_token".to_owned();
                self.failed(flight, Trouble::Passing(what), jitter, now, out);
            }
            Answer::Issued { value, expires_in } => {
                let (life, believed) = life(expires_in);
                if !believed {
                    out.push(Action::Log(LogEvent::OddExpiresIn { said: expires_in, used: life }));
                }
                self.trouble = None;
                self.failures = 0;
                let is_it = |held: &mut Held| held.token.value == value;
                // What was refused and has ended meanwhile is not a newer token when it comes again.
                if self.held.is_none() {
                    self.held = self.ended.take_if(is_it);
                }
                if self.held.as_mut().is_some_and(is_it) {
                    self.same(flight, life, now, out);
                } else {
                    self.renewed(flight, value, life, now, out);
                }
            }
            Answer::Passing { what } => self.failed(flight, Trouble::Passing(what), jitter, now, out),
            Answer::Unsent { what } => {
                self.unbook(flight.mode, out);
                self.failed(flight, Trouble::Passing(what), jitter, now, out);
            }
            Answer::Refused { errcode, errmsg } => {
                self.failed(flight, Trouble::Refused(errcode, errmsg), jitter, now, out);
            }
        }
    }

    fn renewed(&mut self, flight: Flight, value: Secret, life: Duration, now: Now, out: &mut Vec<Action>) {
        self.generation = self.generation.saturating_add(1);
        let ends = now.mono + life;
        let token = Arc::new(Credential::new(self.id.clone(), self.generation, value, ends));
        let expires_at = now.wall + life;
        self.ended = None;
        self.held = Some(Held { token: token.clone(), life, issued_at: now.wall, expires_at });
        self.due = Some(now.mono + (life - margin(life)));
        self.handed_back = None;
        out.push(Action::Publish(Ok(token.clone())));
        for waiter in std::mem::take(&mut self.waiting) {
            if let Some(path) = &waiter.path {
                self.paths.granted(path, self.generation, now.mono);
            }
            out.extend(waiter.id.map(|id| Action::Answer(id, Renewal::Newer(token.clone()))));
        }
        out.push(Action::Store);
        self.settle(flight, Outcome::New, Some(life), now, out);
        if self.wanted.take() == Some(Wanted::Refused) && flight.reason != Reason::Admin {
            self.look_for_somebody_else(now, out);
        }
    }

    fn same(&mut self, flight: Flight, life: Duration, now: Now, out: &mut Vec<Action>) {
        let Some(held) = &mut self.held else { return };
        let ends = now.mono + life;
        held.token = Arc::new(Credential { end: ends, ..Credential::clone(&held.token) });
        held.expires_at = now.wall + life;
        held.life = held.life.max(life);
        out.push(Action::Publish(Ok(held.token.clone())));
        self.due = Some(after_same(now.mono, ends, held.life));
        self.settle(flight, Outcome::Same, Some(life), now, out);

        let wanted = self.wanted.take();
        let allowed_at = self.forced.allowed_at(now.mono);
        if wanted.is_some() && flight.mode == FetchMode::StableNormal && allowed_at <= now.mono {
            // The waiters go on waiting: this is still the refresh that they asked for.
            self.wanted = wanted;
            let by_hand = flight.reason == Reason::Admin || wanted == Some(Wanted::ByHand);
            let reason = if by_hand { Reason::Admin } else { Reason::Forced };
            return self.fetch(FetchMode::StableForced, reason, now, out);
        }
        out.push(Action::Store);
        let verdict = match flight.mode {
            FetchMode::Token => Renewal::Failed,
            FetchMode::StableNormal | FetchMode::StableForced => Renewal::Limited,
        };
        if wanted.is_some() && flight.mode != FetchMode::Token {
            self.handed_back = Some((self.generation, allowed_at.min(now.mono + FORCED_APART)));
            self.say_limited(now, out);
        }
        self.dismiss(&verdict, out);
    }

    fn failed(&mut self, flight: Flight, trouble: Trouble, jitter: f64, now: Now, out: &mut Vec<Action>) {
        let (outcome, wait, errcode, errmsg) = match &trouble {
            Trouble::Passing(what) => {
                self.failures = self.failures.saturating_add(1);
                (Outcome::Failed, backoff(self.failures, jitter), -1, what.clone())
            }
            Trouble::Refused(errcode, errmsg) => (Outcome::Refused, AFTER_REFUSAL, *errcode, errmsg.clone()),
        };
        self.trouble = Some(trouble);
        self.due = Some(now.mono + wait);
        self.last_error = Some(LastError { at: now.wall, errcode, errmsg });
        if self.held.is_none() {
            out.push(Action::Publish(Err(self.absent())));
        }
        self.dismiss(&Renewal::Failed, out);
        self.settle(flight, outcome, None, now, out);
    }

    fn dismiss(&mut self, verdict: &Renewal, out: &mut Vec<Action>) {
        let ids = self.waiting.drain(..).filter_map(|waiter| waiter.id);
        out.extend(ids.map(|id| Action::Answer(id, verdict.clone())));
    }

    /// The books and the one log line of a fetch that is over.
    fn settle(
        &mut self,
        flight: Flight,
        outcome: Outcome,
        expires_in: Option<Duration>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let reason = flight.reason;
        self.last_refresh = Some(LastRefresh { at: now.wall, reason, outcome });
        *self.refreshes.entry((reason, outcome)).or_default() += 1;
        let failed = matches!(outcome, Outcome::Failed | Outcome::Refused);
        out.push(Action::Log(LogEvent::Fetched {
            mode: flight.mode,
            reason,
            outcome,
            generation: self.held.as_ref().map_or(0, |held| held.token.generation),
            expires_in,
            fetches_today: self.fetches,
            failure: self.last_error.as_ref().filter(|_| failed).map(|e| (e.errcode, e.errmsg.clone())),
            next_in: self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now.mono)),
        }));
    }

    /// Forced refreshes are rare in a healthy account: three in ten minutes that each brought a new token
    /// mean that the token is being ended from outside.
    fn look_for_somebody_else(&mut self, now: Now, out: &mut Vec<Action>) {
        self.forced_lately.push_back((now.mono, self.generation));
        while self.forced_lately.front().is_some_and(|&(at, _)| now.mono >= at + WARNING_SPAN) {
            self.forced_lately.pop_front();
        }
        if self.forced_lately.len() >= 3
            && self.warned_somebody_else.is_none_or(|at| now.mono >= at + WARNING_SPAN)
        {
            self.warned_somebody_else = Some(now.mono);
            out.push(Action::Log(LogEvent::SomebodyElse));
        }
    }
}
