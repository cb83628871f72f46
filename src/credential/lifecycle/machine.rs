//! When a fetch is sent, who waits for it, and who gets told that there will be none.
//!
//! The invariants: never two fetches at once; with a token, a report starts a fetch only if the limits allow
//! it and nothing is failing; without a token the fetches go by the backoff and never by the limits.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::bucket::{Bucket, Forced};
use super::paths::{Paths, Verdict};
use super::schedule::WORTH_WAITING;
use super::{Action, Event, FetchMode, LogEvent, Now, Outcome, Reason, WaiterId};
use crate::config::TokenApi;
use crate::credential::status::{LastError, LastRefresh, beijing_day};
use crate::credential::types::{Absent, Credential, CredentialId, Renewal};

/// Warnings about forced refreshes look back this far and come no more often.
pub(super) const WARNING_SPAN: Duration = Duration::from_secs(600);

/// Reports without a waiter join a fetch only while no more than this have joined it.
const MOST_UNATTENDED: usize = 1024;

/// The token that is being served.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) token: Arc<Credential>,
    /// The longest `expires_in` that was said of it.
    pub(super) life: Duration,
    pub(super) issued_at: SystemTime,
    pub(super) expires_at: SystemTime,
}

/// The fetch that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) mode: FetchMode,
    pub(super) reason: Reason,
}

/// What the last fetch failed of.
#[derive(Debug)]
pub(super) enum Trouble {
    Passing(String),
    Refused(i64, String),
}

/// Why a token other than the current one is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// Somebody asked for a refresh by hand.
    ByHand,
    /// The current token was refused.
    Refused,
}

/// Somebody who caused or joined a fetch.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: Option<WaiterId>,
    /// The path that the new token is then fetched for; none for one that may start no fetch.
    pub(super) path: Option<Box<str>>,
}

/// The state of one account's token.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) id: CredentialId,
    pub(super) api: TokenApi,
    pub(super) held: Option<Held>,
    /// The last token after its end, until there is another: an upstream may hand out its value once more.
    pub(super) ended: Option<Held>,
    pub(super) generation: u64,
    pub(super) flight: Option<Flight>,
    /// When the next fetch is sent unless something causes one earlier; `None` before the start and while a
    /// fetch is under way.
    pub(super) due: Option<Instant>,
    pub(super) trouble: Option<Trouble>,
    /// Passing failures since the last success.
    pub(super) failures: u32,
    /// A newer token than the last one is wanted, and there is none yet.
    pub(super) wanted: Option<Wanted>,
    pub(super) waiting: Vec<Waiter>,
    pub(super) bucket: Option<Bucket>,
    pub(super) forced: Forced,
    /// `stable_token`'s normal mode handed out this refused generation: asking again before then is no use.
    pub(super) handed_back: Option<(u64, Instant)>,
    pub(super) paths: Paths,
    pub(super) day: i64,
    pub(super) fetches: u32,
    /// When reports led to a new token, and to which generation.
    pub(super) forced_lately: VecDeque<(Instant, u64)>,
    pub(super) warned_somebody_else: Option<Instant>,
    warned_limited: Option<Instant>,
    pub(super) last_refresh: Option<LastRefresh>,
    pub(super) last_error: Option<LastError>,
    pub(super) refreshes: BTreeMap<(Reason, Outcome), u64>,
}

impl Machine {
    /// Before [`Event::Started`].
    pub(crate) fn new(id: CredentialId, api: TokenApi) -> Self {
        Self {
            id,
            api,
            held: None,
            ended: None,
            generation: 0,
            flight: None,
            due: None,
            trouble: None,
            failures: 0,
            wanted: None,
            waiting: Vec::new(),
            bucket: None,
            forced: Forced::default(),
            handed_back: None,
            paths: Paths::default(),
            day: 0,
            fetches: 0,
            forced_lately: VecDeque::new(),
            warned_somebody_else: None,
            warned_limited: None,
            last_refresh: None,
            last_error: None,
            refreshes: BTreeMap::new(),
        }
    }

    /// One step. The order of the actions is the order to do them in.
    pub(crate) fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut out = Vec::new();
        // Whatever wakes the machine, however late: a token whose time is over is served no more.
        self.expire(now, &mut out);
        match event {
            Event::Started { stored } => self.start(stored, now, &mut out),
            Event::Reported { generation, path, waiter } => {
                self.reported(generation, path, waiter, now, &mut out);
            }
            Event::AdminRefresh { waiter } => {
                let waiter = Waiter { id: Some(waiter), path: None };
                if self.flight.is_some() {
                    self.want(Wanted::ByHand);
                    self.waiting.push(waiter);
                } else {
                    self.fetch_for(waiter, Reason::Admin, now, &mut out);
                }
            }
            Event::RefusedAgain { path, generation } => {
                self.count_refusal(&path, generation, now, &mut out);
            }
            Event::Succeeded { path } => self.paths.succeeded(&path),
            Event::Proved { generation } => self.paths.proved(generation),
            Event::Fetched { answer, jitter } => self.fetched(answer, jitter, now, &mut out),
            Event::TimerDue => {
                if self.flight.is_none() && self.due.is_some_and(|due| due <= now.mono) {
                    let reason = match (&self.trouble, &self.held) {
                        (Some(_), _) => Reason::Retry,
                        (None, Some(_)) => Reason::Ahead,
                        (None, None) => Reason::Start,
                    };
                    self.fetch(self.usual(), reason, now, &mut out);
                }
            }
        }
        out
    }

    /// When [`Event::TimerDue`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ends = self.held.as_ref().map(|held| held.token.end);
        [ends, self.due].into_iter().flatten().min()
    }

    /// The paths whose success the machine wants to hear of, if they changed since the last call.
    pub(crate) fn take_suspects(&mut self) -> Option<HashSet<Arc<str>>> {
        self.paths.take_changed()
    }

    /// From now on no answer leads to another fetch.
    pub(crate) fn want_nothing_more(&mut self) {
        self.wanted = None;
    }

    fn expire(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.held.as_ref().is_none_or(|held| held.token.end > now.mono) {
            return;
        }
        self.ended = self.held.take();
        self.handed_back = None;
        out.push(Action::Publish(Err(self.absent())));
        let refused = matches!(self.trouble, Some(Trouble::Refused(..)));
        out.push(Action::Log(LogEvent::Ended { generation: self.generation, refused }));
    }

    fn reported(
        &mut self,
        generation: u64,
        path: Box<str>,
        id: Option<WaiterId>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        if let Some(held) = &self.held
            && generation < held.token.generation
        {
            let newer = held.token.clone();
            out.extend(id.map(|id| Action::Answer(id, Renewal::Newer(newer))));
            return;
        }
        self.count_refusal(&path, generation, now, out);
        let blocked = self.paths.blocked(&path, now.mono);
        if self.flight.is_some() {
            if !blocked {
                self.want(Wanted::Refused);
            }
            return self.wait(Waiter { id, path: (!blocked).then_some(path) });
        }
        if blocked && self.held.is_some() {
            out.extend(id.map(|id| Action::Answer(id, Renewal::Limited)));
            return;
        }
        let waiter = Waiter { id, path: (!blocked).then_some(path) };
        if self.held.is_none() || self.trouble.is_some() {
            // A fetch is coming anyway, at the time that the backoff says.
            self.want(Wanted::Refused);
            if self.due.is_none_or(|due| due <= now.mono + WORTH_WAITING) {
                self.wait(waiter);
            } else {
                out.extend(id.map(|id| Action::Answer(id, Renewal::Failed)));
            }
            return;
        }
        self.fetch_for(waiter, Reason::Forced, now, out);
    }

    fn want(&mut self, why: Wanted) {
        if self.held.is_some() || self.ended.is_some() {
            self.wanted = self.wanted.max(Some(why));
        }
    }

    /// Joins the fetch that is under way or near. Reports that nobody waits for are kept for their path's sake
    /// alone, and only so many: nothing else bounds them.
    fn wait(&mut self, waiter: Waiter) {
        if waiter.id.is_some() || self.waiting.len() < MOST_UNATTENDED {
            self.waiting.push(waiter);
        }
    }

    /// Sends a fetch that somebody caused, if the limits allow one.
    fn fetch_for(&mut self, waiter: Waiter, reason: Reason, now: Now, out: &mut Vec<Action>) {
        let allowed = match self.api {
            TokenApi::Token => self.bucket.as_mut().is_some_and(|bucket| bucket.take(now.mono)),
            // The normal mode is free, but there is nothing to gain from it in a spin.
            TokenApi::StableToken => !self
                .handed_back
                .is_some_and(|(generation, until)| generation == self.generation && now.mono < until),
        };
        if allowed {
            self.want(if reason == Reason::Admin { Wanted::ByHand } else { Wanted::Refused });
            self.waiting.push(waiter);
            self.fetch(self.usual(), reason, now, out);
        } else {
            out.extend(waiter.id.map(|id| Action::Answer(id, Renewal::Limited)));
            self.say_limited(now, out);
        }
    }

    pub(super) fn fetch(&mut self, mode: FetchMode, reason: Reason, now: Now, out: &mut Vec<Action>) {
        self.flight = Some(Flight { mode, reason });
        self.due = None;
        if mode == FetchMode::StableForced {
            self.forced.spend(now);
        }
        let today = beijing_day(now.wall);
        if today != self.day {
            (self.day, self.fetches) = (today, 0);
        }
        self.fetches = self.fetches.saturating_add(1);
        // A process that is killed before the answer has spent it all the same.
        out.push(Action::Store);
        out.push(Action::Fetch(mode));
    }

    /// The fetch that was just booked was never sent: WeChat counts nothing.
    pub(super) fn unbook(&mut self, mode: FetchMode, out: &mut Vec<Action>) {
        self.fetches = self.fetches.saturating_sub(1);
        if mode == FetchMode::StableForced {
            self.forced.take_back();
        }
        out.push(Action::Store);
    }

    /// The call that needs no permission of the daily count of `force_refresh`.
    pub(super) fn usual(&self) -> FetchMode {
        match self.api {
            TokenApi::Token => FetchMode::Token,
            TokenApi::StableToken => FetchMode::StableNormal,
        }
    }

    pub(super) fn absent(&self) -> Absent {
        match &self.trouble {
            None => Absent::Waiting,
            Some(Trouble::Passing(what)) => Absent::Passing { what: what.clone() },
            Some(Trouble::Refused(errcode, errmsg)) => {
                Absent::Refused { errcode: *errcode, errmsg: errmsg.clone() }
            }
        }
    }

    pub(super) fn say_limited(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.warned_limited.is_none_or(|at| now.mono >= at + WARNING_SPAN) {
            self.warned_limited = Some(now.mono);
            out.push(Action::Log(LogEvent::Limited));
        }
    }

    fn count_refusal(&mut self, path: &str, generation: u64, now: Now, out: &mut Vec<Action>) {
        let verdict = self.paths.refused(path, generation, now.mono);
        match verdict {
            Verdict::Nothing => {}
            // The refresh that brought this token was the path's doing, nobody else's.
            Verdict::Counted | Verdict::Blocked(_) => {
                self.forced_lately.retain(|&(_, forced)| forced != generation);
            }
            Verdict::TakenBack => self.forced_lately.push_back((now.mono, generation)),
        }
        if let Verdict::Blocked(block) = verdict {
            out.push(Action::Log(LogEvent::PathBlocked { path: path.into(), block }));
        }
    }
}
