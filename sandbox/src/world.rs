//! Everything the sandbox knows, behind one lock: accounts, tokens, media, orders to fail, counters.
//!
//! No method does I/O, so that the lock is held for microseconds (a millisecond where an answer is signed). What is done with a request is in `request.rs`
//! and `api/`.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::clock::{Clock, Moment, beijing_day};
use crate::errors::{Refusal, refuse};
use crate::failures::Failures;
use crate::fetch::Ledger;
use crate::media::MediaStore;
use crate::secure::Secure;
use crate::stats::{Stats, Tally, TokenStats};
use crate::tokens::{Kind, Tokens, Worth};

/// One appid with all that belongs to it.
pub(crate) struct Account {
    pub(crate) appid: String,
    pub(crate) secret: String,
    pub(crate) ledger: Ledger,
    pub(crate) menu: Option<Value>,
    /// By kind: the ticket and its end.
    pub(crate) tickets: HashMap<&'static str, (String, Moment)>,
    /// Of logins; each works once.
    pub(crate) codes: HashSet<String>,
    /// The month in which quotas were cleared, and how often.
    pub(crate) clears: (String, u32),
    day: u64,
    calls_today: HashMap<&'static str, u64>,
}

/// The state of one sandbox.
pub(crate) struct World {
    pub(crate) clock: Clock,
    /// The time at which the current request is answered.
    pub(crate) now: Moment,
    pub(crate) accounts: Vec<Account>,
    pub(crate) tokens: Tokens,
    pub(crate) media: MediaStore,
    pub(crate) failures: Failures,
    pub(crate) tally: Tally,
    /// Whether it plays WeCom.
    pub(crate) wecom: bool,
    /// With which keys it plays the API security mode.
    pub(crate) secure: Option<Secure>,
    whitelist: Vec<IpAddr>,
    api_quota: u64,
}

impl World {
    pub(crate) fn new(
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
            codes: HashSet::new(),
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
            wecom: false,
            secure: None,
            whitelist,
            api_quota,
        }
    }

    /// Counts a request as the so-many-th on its connection.
    pub(crate) fn count_on_connection(&mut self, nth: u64) {
        let connections = &mut self.tally.stats.connections;
        connections.requests += 1;
        connections.most_requests_on_one = connections.most_requests_on_one.max(nth);
    }

    pub(crate) fn is_allowed(&self, peer: IpAddr) -> bool {
        self.whitelist.contains(&peer)
    }

    pub(crate) fn account_of(&self, appid: &str) -> Option<usize> {
        self.accounts.iter().position(|account| account.appid == appid)
    }

    /// The application of a company with this secret.
    pub(crate) fn application_of(&self, corpid: &str, secret: &str) -> Option<usize> {
        self.accounts.iter().position(|account| account.appid == corpid && account.secret == secret)
    }

    /// Counts a call of this interface.
    ///
    /// # Errors
    /// 45009 when the interface's quota of the day is spent.
    pub(crate) fn spend(&mut self, account: usize, interface: &'static str) -> Result<(), Refusal> {
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
    pub(crate) fn clear_quotas(&mut self, account: usize) {
        let account = &mut self.accounts[account];
        account.calls_today.clear();
        account.ledger.clear();
    }

    /// Another system fetched a token, for one appid or for all. Returns how many tokens it has now.
    pub(crate) fn steal_tokens(&mut self, appid: Option<&str>) -> usize {
        let now = self.clock.now();
        self.chosen(appid).into_iter().map(|account| self.tokens.steal(account, now)).sum()
    }

    /// The tokens of one appid or of all are over. Returns how many were alive.
    pub(crate) fn expire_tokens(&mut self, appid: Option<&str>) -> usize {
        let now = self.clock.now();
        self.chosen(appid).into_iter().map(|account| self.tokens.expire(account, now)).sum()
    }

    fn chosen(&self, appid: Option<&str>) -> Vec<usize> {
        let accounts = self.accounts.iter().enumerate();
        let chosen = accounts.filter(|(_, account)| appid.is_none_or(|only| only == account.appid));
        chosen.map(|(index, _)| index).collect()
    }

    pub(crate) fn stats(&mut self) -> Stats {
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
            lagged: token.lagged,
        });
        stats.per_token = tokens.collect();
        stats
    }
}
