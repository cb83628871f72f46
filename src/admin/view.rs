//! What the admin listener shows, as plain data at one moment: the source of `/readyz`, `/status` and the page.
//!
//! Pure: collected by `sources`, rendered by [`super::json`] and [`super::page`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::credential::{Fetch, FetchError};
use crate::errcodes::{self, Entry, Facts, Lang, Product};
use crate::metrics::look::UpstreamConnections;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Callers are not served yet.
    Starting,
    /// Callers are served.
    Serving,
    /// It has been told to stop.
    Draining,
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// That moment.
    pub now: SystemTime,
    /// Of this program.
    pub version: &'static str,
    /// Since it was started.
    pub uptime: Duration,
    /// Where it is in its life.
    pub phase: Phase,
    /// The configured egress IP; `None`: the system chooses.
    pub egress_ip: Option<IpAddr>,
    /// Base URLs that callers can reach, plain HTTP first.
    pub listening: Vec<String>,
    /// Whether callers have to show a key.
    pub callers_need_key: bool,
    /// Whether callers over HTTPS have to show a certificate.
    pub callers_need_certificate: bool,
    /// Open connections of callers.
    pub caller_connections: u64,
    /// Open connections to the upstream.
    pub upstream_connections: UpstreamConnections,
    /// Where tokens outlive the process.
    pub store: Store,
    /// The last reload, or the start.
    pub last_reload: Reload,
    /// In the order of the configuration.
    pub accounts: Vec<Account>,
}

/// Where tokens outlive the process.
#[derive(Debug, Clone)]
pub struct Store {
    /// `file` or `redis`.
    pub kind: &'static str,
    /// Whether the last operation worked.
    pub up: bool,
}

/// The last time that the configuration was read.
#[derive(Debug, Clone)]
pub struct Reload {
    /// When.
    pub at: SystemTime,
    /// Whether it could be used.
    pub ok: bool,
    /// What is wrong with it, line by line; free of secrets.
    pub errors: Vec<String>,
}

/// How an account's token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No token so far.
    Empty,
    /// A valid token, and nothing is wrong.
    Fresh,
    /// A valid token whose renewal is due and has not succeeded.
    Stale,
    /// The token has ended and no new one is to be had for a passing reason.
    Expired,
    /// WeChat refuses to issue one.
    Refused,
    /// No token is kept for this account.
    None,
}

impl State {
    /// The word in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::None => "none",
        }
    }

    /// Whether calls of the account can be served.
    pub fn can_serve(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale | Self::None)
    }
}

/// One account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub name: Arc<str>,
    /// Whose errcodes it gets.
    pub product: Product,
    /// Its appid, or corpid; `None` where none is configured.
    pub appid: Option<String>,
    /// `token`, `stable_token`, `none`.
    pub token_api: &'static str,
    /// How its token stands.
    pub state: State,
    /// What answers are checked with, where its calls are encrypted.
    pub certificates: Vec<PlatformCertificate>,
    /// The last generation; `None` where no token is kept.
    pub generation: Option<u64>,
    /// How long ago the valid token was issued.
    pub age: Option<Duration>,
    /// What is left of the valid token's life.
    pub expires_in: Option<Duration>,
    /// Fetches of Beijing's day.
    pub fetches_today: Option<u64>,
    /// What WeChat allows a day; `None` where that means nothing.
    pub quota: Option<u64>,
    /// The last fetch.
    pub last_refresh: Option<Fetch>,
    /// The last fetch that failed.
    pub last_error: Option<FetchError>,
    /// The fetches of the last 24 hours, oldest first.
    pub fetches: Vec<Fetch>,
    /// Its tickets, where it keeps any.
    pub tickets: Vec<Ticket>,
    /// When there was a sign that something else fetches its tokens, for the last time.
    pub second_fetcher: Option<SystemTime>,
    /// The API host.
    pub upstream: Upstream,
    /// What callers put before the path, `""` or `/shop`.
    pub prefix: String,
    /// A Host name that leads to this account.
    pub host: Option<String>,
    /// What may be called, for the console.
    pub paths: Vec<String>,
}

/// One of an account's tickets.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// `jsapi_ticket`, `card_ticket`, `agent_ticket`.
    pub kind: &'static str,
    /// How it stands; [`State::Empty`] while nobody has wanted one.
    pub state: State,
    /// The last generation.
    pub generation: u64,
    /// How long ago the valid ticket was issued.
    pub age: Option<Duration>,
    /// What is left of its life, as far as is known.
    pub expires_in: Option<Duration>,
    /// When it was asked for last, and what came of that.
    pub last_refresh: Option<Fetch>,
    /// When asking failed last.
    pub last_error: Option<FetchError>,
}

/// A certificate that answers of the API security mode are checked with.
#[derive(Debug, Clone)]
pub struct PlatformCertificate {
    /// Its number in WeChat's console.
    pub number: String,
    /// When it ends.
    pub expires_at: SystemTime,
}

/// The API host of an account.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// As configured.
    pub url: String,
    /// The host that calls go to: this one, or a fallback host.
    pub in_use: String,
    /// When the certificate that it showed ends.
    pub tls_expires_at: Option<SystemTime>,
}

impl View {
    /// Whether it has started, is not stopping, and at least one account can serve.
    pub fn ready(&self) -> bool {
        self.phase == Phase::Serving && self.accounts.iter().any(|account| account.state.can_serve())
    }

    /// The account of this name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| *account.name == *name)
    }
}

impl Ticket {
    /// The error that holds at this moment: the last one, unless asking has worked since.
    pub fn present_error(&self) -> Option<&FetchError> {
        present_error(self.last_error.as_ref(), self.last_refresh.as_ref())
    }
}

fn present_error<'v>(error: Option<&'v FetchError>, last: Option<&Fetch>) -> Option<&'v FetchError> {
    let error = error?;
    let worked_since = last.is_some_and(|fetch| fetch.worked() && fetch.at >= error.at);
    (!worked_since).then_some(error)
}

impl Account {
    /// The error that holds at this moment: the last one, unless a fetch has worked since.
    pub fn present_error(&self) -> Option<&FetchError> {
        present_error(self.last_error.as_ref(), self.last_refresh.as_ref())
    }

    /// What is known of an errcode at this account.
    pub fn explain(&self, errcode: i64) -> Option<&'static Entry> {
        errcodes::errcode(self.product, errcode)
    }

    /// Why it is in its state, with WeChat's own words, in one paragraph; `None` where all is well.
    pub fn reason(&self, lang: Lang) -> Option<String> {
        let advice = self.advice(lang)?;
        match self.present_error() {
            Some(error) if error.errcode != -1 && self.explain(error.errcode).is_some() => {
                let stop = if lang == Lang::En { ". " } else { "。" };
                Some(format!("{} {}{stop}{advice}", error.errcode, error.errmsg))
            }
            _ => Some(advice),
        }
    }

    /// The same without WeChat's words where they are explained: what is wrong and what to do.
    pub fn advice(&self, lang: Lang) -> Option<String> {
        let bare = match (self.state, lang) {
            (State::Fresh | State::None, _) => return None,
            (State::Stale, Lang::En) => "the token works, a renewal is due",
            (State::Stale, Lang::Zh) => "凭据仍然有效，等待续期",
            (State::Expired, Lang::En) => "the token has ended and there is no new one yet",
            (State::Expired, Lang::Zh) => "凭据已过期，尚未取得新凭据",
            (_, Lang::En) => "there is no token yet",
            (_, Lang::Zh) => "尚未取得凭据",
        };
        let Some(error) = self.present_error() else { return Some(bare.to_owned()) };
        if error.errcode == -1 {
            return Some(error.errmsg.clone());
        }
        let facts = Facts { appid: self.appid.as_deref(), errmsg: Some(&error.errmsg) };
        Some(match self.explain(error.errcode) {
            Some(entry) => entry.explain(lang, facts),
            None => format!("{} {}", error.errcode, error.errmsg),
        })
    }
}
