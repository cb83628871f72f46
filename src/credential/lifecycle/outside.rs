//! The machine and the world outside its process: the stored record in and out, and what pages may show.

use std::sync::Arc;
use std::time::Duration;

use super::bucket::{Bucket, Forced};
use super::machine::{Held, Machine, Trouble};
use super::schedule::{LONGEST_LIFE, margin};
use super::{Action, LogEvent, Now, Reason, Record, StoredToken};
use crate::config::TokenApi;
use crate::credential::status::{HeldTimes, State, Status};
use crate::credential::types::{Credential, LONGEST_TOKEN};

/// A token that was issued further in the future than this was not issued by this clock.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

impl Machine {
    /// What the file has to hold.
    pub(crate) fn record(&mut self, now: Now) -> Record {
        Record {
            generation: self.generation,
            token: self.held.as_ref().map(|held| StoredToken {
                value: held.token.value.clone(),
                issued_at: held.issued_at,
                expires_at: held.expires_at,
                expires_in: held.life,
            }),
            bucket: self.bucket.as_mut().map(|bucket| bucket.stored(now)),
            forced: self.forced.stored(),
            day: self.day,
            fetches: self.fetches,
        }
    }

    /// What pages may show.
    pub(crate) fn status(&self, appid: &str) -> Status {
        let state = match (&self.held, &self.trouble) {
            (Some(_), None) if self.wanted.is_none() && self.flight.is_none() => State::Fresh,
            (Some(_), _) => State::Stale,
            (None, Some(Trouble::Refused(..))) => State::Refused,
            (None, _) if self.generation > 0 => State::Expired,
            (None, _) => State::Empty,
        };
        Status {
            id: self.id.clone(),
            appid: appid.to_owned(),
            token_api: self.api,
            state,
            generation: self.generation,
            held: self.held.as_ref().map(|held| HeldTimes {
                issued_at: held.issued_at,
                expires_at: held.expires_at,
                ends: held.token.end,
            }),
            day: self.day,
            fetches: self.fetches,
            quota: self.quota(),
            last_refresh: self.last_refresh.clone(),
            last_error: self.last_error.clone(),
            refreshes: self.refreshes.clone(),
        }
    }

    /// 2,000 a day with `token`; the 500,000 of `stable_token`'s normal mode are out of reach.
    pub(crate) fn quota(&self) -> Option<u32> {
        match self.api {
            TokenApi::Token => Some(2000),
            TokenApi::StableToken => None,
        }
    }

    pub(super) fn start(&mut self, stored: Option<Record>, now: Now, out: &mut Vec<Action>) {
        self.due = Some(now.mono);
        self.bucket = Some(Bucket::full(now.mono));
        if let Some(stored) = stored {
            self.generation = stored.generation;
            self.bucket = stored.bucket.map(|bucket| Bucket::restore(bucket, now)).or(self.bucket.take());
            self.forced = Forced::restore(&stored.forced, now);
            (self.day, self.fetches) = (stored.day, stored.fetches);
            if let Some(token) = stored.token {
                self.take_stored(token, now, out);
            }
        }
        if self.due.is_some_and(|due| due <= now.mono) {
            let reason = if self.held.is_some() { Reason::Ahead } else { Reason::Start };
            self.fetch(self.usual(), reason, now, out);
        }
    }

    fn take_stored(&mut self, stored: StoredToken, now: Now, out: &mut Vec<Action>) {
        // No token lives longer than a day, whatever the file says.
        let life = stored.expires_in.min(LONGEST_LIFE);
        let left = stored.expires_at.duration_since(now.wall).unwrap_or_default().min(life);
        let ignored = |why| Action::Log(LogEvent::StoredIgnored { why });
        if stored.value.is_empty() || stored.value.expose().len() > LONGEST_TOKEN {
            return out.push(ignored("it is no token"));
        }
        if left.is_zero() {
            return out.push(ignored("it has ended"));
        }
        if stored.issued_at.duration_since(now.wall).is_ok_and(|ahead| ahead > CLOCK_SLACK) {
            return out.push(ignored("it was issued in the future: has the clock been set back?"));
        }
        let ends = now.mono + left;
        self.generation = self.generation.max(1);
        let token = Arc::new(Credential::new(self.id.clone(), self.generation, stored.value, ends));
        self.due = Some(now.mono + left.saturating_sub(margin(life)));
        self.held = Some(Held {
            token: token.clone(),
            life,
            issued_at: stored.issued_at,
            expires_at: now.wall + left,
        });
        out.push(Action::Publish(Ok(token)));
        out.push(Action::Log(LogEvent::StoredUsed { generation: self.generation, left }));
    }
}
