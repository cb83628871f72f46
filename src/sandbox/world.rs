//! Everything the sandbox knows, behind one lock: accounts, tokens, media, orders to fail, counters.
//!
//! [`World::answer`] is the life of a request: count, 412, ordered failures, the interface. It does no I/O,
//! so that the lock is held for microseconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::answer::{Answer, JSON, TEXT};
use super::api;
use super::call::Call;
use super::clock::{Clock, Moment, beijing_day};
use super::errors::{Refusal, refuse};
use super::failures::{Failures, How};
use super::fetch::Ledger;
use super::media::MediaStore;
use super::stats::{Seen, Stats, Tally, TokenStats};
use super::tokens::{Kind, Tokens, Worth};

/// One appid with all that belongs to it.
pub(super) struct Account {
    pub(super) appid: String,
    pub(super) secret: String,
    pub(super) ledger: Ledger,
    pub(super) menu: Option<Value>,
    /// By kind: the ticket and its end.
    pub(super) tickets: HashMap<&'static str, (String, Moment)>,
    /// The month in which quotas were cleared, and how often.
    pub(super) clears: (String, u32),
    day: u64,
    calls_today: HashMap<&'static str, u64>,
}

/// The state of one sandbox.
pub(super) struct World {
    pub(super) clock: Clock,
    /// The time at which the current request is answered.
    pub(super) now: Moment,
    pub(super) accounts: Vec<Account>,
    pub(super) tokens: Tokens,
    pub(super) media: MediaStore,
    pub(super) failures: Failures,
    pub(super) tally: Tally,
    whitelist: Vec<IpAddr>,
    api_quota: u64,
}

impl World {
    pub(super) fn new(
        accounts: Vec<(String, String)>,
        (ttl, overlap): (Duration, Duration),
        whitelist: Vec<IpAddr>,
        api_quota: u64,
    ) -> Self {
        let account = |(appid, secret)| Account {
            appid,
            secret,
            ledger: Ledger::default(),
            menu: None,
            tickets: HashMap::new(),
            clears: (String::new(), 0),
            day: 0,
            calls_today: HashMap::new(),
        };
        let clock = Clock::new();
        Self {
            now: clock.now(),
            clock,
            accounts: accounts.into_iter().map(account).collect(),
            tokens: Tokens::new(ttl, overlap),
            media: MediaStore::default(),
            failures: Failures::default(),
            tally: Tally::default(),
            whitelist,
            api_quota,
        }
    }

    /// Counts a request as the so-many-th on its connection.
    pub(super) fn count_on_connection(&mut self, nth: u64) {
        let connections = &mut self.tally.stats.connections;
        connections.requests += 1;
        connections.most_requests_on_one = connections.most_requests_on_one.max(nth);
    }

    /// Counts a request and says whether a failure was ordered for it.
    pub(super) fn begin(&mut self, call: &Call) -> Option<How> {
        self.tally.request(call.path(), api::is_token_call(call.path()), call.peer);
        if call.count("access_token") > 1 {
            self.tally.stats.duplicated_token_params += 1;
        }
        if call.is_chunked() { None } else { self.failures.strike(call.path()) }
    }

    /// The answer to a request that [`World::begin`] has counted.
    pub(super) fn answer(&mut self, call: Call, ordered: Option<How>) -> Answer {
        self.now = self.clock.now();
        let (answer, errcode) = match self.outcome(&call, ordered) {
            Ok(answer) => (answer, None),
            Err(refusal) => {
                self.tally.refused(refusal.code);
                let mime = if api::answers_as_text(call.path()) { TEXT } else { JSON };
                (Answer::of(StatusCode::OK, mime, refusal.body(self.now)), Some(refusal.code))
            }
        };
        let status = answer.status().as_u16();
        self.tally.remember(Seen { peer: call.peer, parts: call.parts, status, errcode });
        answer
    }

    fn outcome(&mut self, call: &Call, ordered: Option<How>) -> Result<Answer, Refusal> {
        if call.is_chunked() {
            self.tally.stats.chunked_bodies += 1;
            return Ok(Answer::empty(StatusCode::PRECONDITION_FAILED));
        }
        match ordered {
            Some(How::Errcode(code)) => Err(refuse(code)),
            Some(How::Status(status)) => {
                Ok(Answer::empty(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)))
            }
            Some(How::Hang(_) | How::Reset) | None => api::answer(self, call),
        }
    }

    pub(super) fn is_allowed(&self, peer: IpAddr) -> bool {
        self.whitelist.contains(&peer)
    }

    pub(super) fn account_of(&self, appid: &str) -> Option<usize> {
        self.accounts.iter().position(|account| account.appid == appid)
    }

    /// Counts a call of this interface.
    ///
    /// # Errors
    /// 45009 when the interface's quota of the day is spent.
    pub(super) fn spend(&mut self, account: usize, interface: &'static str) -> Result<(), Refusal> {
        let account = &mut self.accounts[account];
        let day = beijing_day(self.now);
        if account.day != day {
            account.day = day;
            account.calls_today.clear();
        }
        let calls = account.calls_today.entry(interface).or_default();
        if self.api_quota > 0 && *calls >= self.api_quota {
            return Err(refuse(45009));
        }
        *calls += 1;
        Ok(())
    }

    /// Gives the account its quotas of the day back, that of `/cgi-bin/token` among them.
    pub(super) fn clear_quotas(&mut self, account: usize) {
        let account = &mut self.accounts[account];
        account.calls_today.clear();
        account.ledger.clear();
    }

    /// Another system fetched a token, for one appid or for all. Returns how many tokens it has now.
    pub(super) fn steal_tokens(&mut self, appid: Option<&str>) -> usize {
        let now = self.clock.now();
        self.chosen(appid).into_iter().map(|account| self.tokens.steal(account, now)).sum()
    }

    /// The tokens of one appid or of all are over. Returns how many were alive.
    pub(super) fn expire_tokens(&mut self, appid: Option<&str>) -> usize {
        let now = self.clock.now();
        self.chosen(appid).into_iter().map(|account| self.tokens.expire(account, now)).sum()
    }

    fn chosen(&self, appid: Option<&str>) -> Vec<usize> {
        let accounts = self.accounts.iter().enumerate();
        let chosen = accounts.filter(|(_, account)| appid.is_none_or(|only| only == account.appid));
        chosen.map(|(index, _)| index).collect()
    }

    pub(super) fn stats(&mut self) -> Stats {
        let now = self.clock.now();
        let mut stats = self.tally.stats.clone();
        stats.failures_left = self.failures.left();
        for account in &mut self.accounts {
            account.ledger.turn_to(now);
            stats.fetches = stats.fetches + account.ledger.total;
            stats.fetches_today = stats.fetches_today + account.ledger.today;
        }
        let tokens = self.tokens.all().iter().enumerate().map(|(index, token)| TokenStats {
            ordinal: index + 1,
            appid: self.accounts[token.account].appid.clone(),
            kind: match token.kind {
                Kind::Token => "token",
                Kind::Stable => "stable",
            },
            ends_with: token.value[token.value.len() - 6..].to_owned(),
            state: match token.worth(now) {
                Worth::Alive => "alive",
                Worth::Expired => "expired",
                Worth::Replaced => "replaced",
            },
            calls: token.calls,
            refused: token.refused,
        });
        stats.per_token = tokens.collect();
        stats
    }
}
