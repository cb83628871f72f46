//! What the workers' proxies share: accounts, callers, limits. Replaced as a whole at a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use http::HeaderName;

use super::budget::Budget;
use super::caller_limit::CallerLimit;
use super::central::Handed;
use super::refusal::Refusal;
use super::route::{Action, Routes, Rules};
use super::settings::{Caller, Limits};
use super::signing::Signing;
use crate::credential::{CredentialKind, Reader};
use crate::errcodes::Product;
use crate::metrics::{AccountCounts, Metrics};
use crate::secret::Secret;

/// One account as requests see it.
#[derive(Debug)]
pub struct Account {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whose API it calls.
    pub product: Product,
    /// Which requests belong to it, and what they may call.
    pub rules: Rules,
    /// `None` where callers keep their own.
    pub token: Option<OwnToken>,
    /// What its calls are encrypted and signed with.
    pub signing: Option<Signing>,
}

/// The token that wxgate keeps for an account.
#[derive(Debug)]
pub struct OwnToken {
    /// The account's appid, or corpid.
    pub appid: String,
    /// Its AppSecret, for calls of `secret_paths` alone.
    pub secret: Secret,
    /// The errcodes that mean that it is dead.
    pub refresh_on: Vec<i64>,
    /// It.
    pub reader: Reader,
    /// The account's tickets, where wxgate answers for them.
    pub tickets: Vec<Reader>,
}

impl OwnToken {
    /// The account's ticket of this kind.
    pub(super) fn ticket(&self, kind: CredentialKind) -> Option<&Reader> {
        self.tickets.iter().find(|reader| reader.policy().kind == kind)
    }
}

impl Account {
    /// Whether an errcode means that the token is dead.
    pub(super) fn refuses(&self, errcode: i64) -> bool {
        self.token.as_ref().is_some_and(|own| own.refresh_on.contains(&errcode))
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct ProxyState {
    /// At least one.
    pub accounts: Vec<Account>,
    /// The ways to them, by their indices.
    routes: Routes,
    /// Who may call; empty: everyone who reaches a listener.
    pub callers: Vec<Caller>,
    /// What each of them may use up, in their order; `None`: no limit.
    pub caller_limits: Vec<Option<Arc<CallerLimit>>>,
    /// Fields of callers that are not passed on, besides those that never are.
    pub strip: Vec<HeaderName>,
    /// What one caller may use up.
    pub limits: Limits,
    /// What all request bodies in memory may use up.
    pub budget: Arc<Budget>,
    /// Whether each request leaves a line in the log.
    pub access_log: bool,
    /// Which tokens callers with `real_token` got.
    pub(super) handed: Arc<Handed>,
    /// When it was last said of each account that the upstream refuses wxgate's address; seconds since 1970.
    address_refused: Vec<AtomicU64>,
    /// Where the accounts' requests are counted, in their order; the last one is for requests without an account.
    pub counts: Vec<Arc<AccountCounts>>,
}

/// Where a request goes.
#[derive(Debug)]
pub struct Route<'a> {
    /// Which of the accounts it belongs to.
    pub index: usize,
    /// That account.
    pub account: &'a Account,
    /// The path without the account's prefix.
    pub path: &'a str,
    /// What is done with it.
    pub action: Action,
}

impl ProxyState {
    /// Makes the routes to these accounts once, for all requests.
    pub fn new(
        accounts: Vec<Account>,
        callers: Vec<Caller>,
        limits: Limits,
        budget: Arc<Budget>,
        access_log: bool,
        metrics: &Metrics,
    ) -> Self {
        let routes = Routes::new(accounts.iter().map(|account| &account.rules));
        let counts = metrics.configure(
            accounts.iter().map(|account| &*account.name),
            callers.iter().map(|caller| &*caller.name),
        );
        let caller_limits = callers.iter().map(|caller| CallerLimit::of(caller).map(Arc::new)).collect();
        let (strip, handed) = (Vec::new(), Arc::default());
        let address_refused = accounts.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            accounts,
            routes,
            callers,
            caller_limits,
            strip,
            limits,
            budget,
            access_log,
            handed,
            address_refused,
            counts,
        }
    }

    /// Goes on with the limits of another configuration where a caller's have not changed: a reload gives nobody a
    /// new burst, and calls in flight stay counted.
    #[must_use]
    pub fn with_limits_of(mut self, before: &Self) -> Self {
        self.handed = Arc::clone(&before.handed);
        for (caller, limit) in self.callers.iter().zip(&mut self.caller_limits) {
            let place = before.callers.iter().position(|other| other.name == caller.name);
            let other = place.and_then(|place| before.caller_limits[place].as_ref());
            if let (Some(limit), Some(other)) = (limit, other)
                && limit.is_like(other)
            {
                *limit = Arc::clone(other);
            }
        }
        self
    }

    /// Whether ten minutes have passed since it was said of this account that its address is refused.
    pub(super) fn is_address_worth_saying(&self, account: usize) -> bool {
        self.address_refused.get(account).is_some_and(|said| is_due(said, 600))
    }

    /// The place of one of `callers` among them.
    pub(super) fn place_of(&self, caller: &Caller) -> Option<usize> {
        self.callers.iter().position(|known| std::ptr::eq(known, caller))
    }

    /// The account of a request. `host` and `path` come from the admit step.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when there is no such account.
    pub fn account_of<'a>(&'a self, host: &str, path: &'a str) -> Result<Addressed<'a>, Refusal> {
        let (index, path) = self.routes.find(host, path)?;
        Ok(Addressed { index, account: &self.accounts[index], path })
    }
}

/// The account that a request is for.
#[derive(Clone, Copy)]
pub struct Addressed<'a> {
    /// The account's place among all.
    pub index: usize,
    pub account: &'a Account,
    /// Without the account's prefix.
    pub path: &'a str,
}

impl<'a> Addressed<'a> {
    /// What is done with the request.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when the path may not be called.
    pub fn route(self) -> Result<Route<'a>, Refusal> {
        let Self { index, account, path } = self;
        Ok(Route { index, account, path, action: account.rules.action(path)? })
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether something was `said` so many seconds ago, and is to be said again: to one of those who ask.
pub(super) fn is_due(said: &AtomicU64, every: u64) -> bool {
    let now = now();
    let again = |last: u64| (now.abs_diff(last) >= every).then_some(now);
    said.fetch_update(Ordering::Relaxed, Ordering::Relaxed, again).is_ok()
}
