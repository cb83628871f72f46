//! What the sandbox counts and remembers, for tests to look at. It never holds a whole token.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use http::request::Parts;
use serde::Serialize;
use serde_json::{Value, json};

use crate::fetch::Fetches;

/// How many requests are remembered.
const REMEMBERED: usize = 100;
/// A caller can invent paths; past this many different ones they are counted together.
const PATHS: usize = 1_000;

/// The answer of `GET /sandbox/stats`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Answered token calls of all accounts since the start.
    pub fetches: Fetches,
    /// The same since midnight in Beijing, what `clear_quota` gave back not counted off.
    pub fetches_today: Fetches,
    /// Requests for everything but the two token calls and `/sandbox/`, refused ones too.
    pub calls: u64,
    /// Requests by path, token calls too.
    pub calls_by_path: BTreeMap<String, u64>,
    /// Every token that was issued, oldest first.
    pub per_token: Vec<TokenStats>,
    /// Errors answered, by errcode, ordered failures too.
    pub refused: BTreeMap<i64, u64>,
    /// Requests by the address they came from.
    pub peers: BTreeMap<IpAddr, u64>,
    /// Requests whose query had more than one `access_token`; the first counted.
    pub duplicated_token_params: u64,
    /// Requests answered 412 because of a `Transfer-Encoding`.
    pub chunked_bodies: u64,
    /// Ordered failures that have struck nobody yet.
    pub failures_left: u64,
    /// TCP connections.
    pub connections: Connections,
}

/// One token in [`Stats`].
#[derive(Clone, Debug, Serialize)]
pub struct TokenStats {
    /// Counts from 1 over all accounts and kinds.
    pub ordinal: usize,
    /// Whose it is.
    pub appid: String,
    /// `token` or `stable`.
    pub kind: &'static str,
    /// Its last six characters.
    pub ends_with: String,
    /// `alive`, `expired` or `replaced`.
    pub state: &'static str,
    /// Calls it opened.
    pub calls: u64,
    /// Calls refused because it was dead.
    pub refused: u64,
    /// Calls refused by a node that lags, while it was alive.
    pub lagged: u64,
}

/// The connections in [`Stats`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Connections {
    /// All that were accepted.
    pub accepted: u64,
    /// Those open now.
    pub open: u64,
    /// Full TLS handshakes.
    pub tls_full: u64,
    /// Resumed TLS sessions.
    pub tls_resumed: u64,
    /// Handshakes that failed.
    pub tls_failed: u64,
    /// Requests on all of them, `/sandbox/` too.
    pub requests: u64,
    /// The most requests that one of them carried.
    pub most_requests_on_one: u64,
}

/// One remembered request.
pub(crate) struct Seen {
    pub(crate) peer: IpAddr,
    pub(crate) parts: Parts,
    pub(crate) status: u16,
    pub(crate) errcode: Option<i64>,
}

/// The counters that grow with each request.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) stats: Stats,
    seen: VecDeque<Seen>,
}

impl Tally {
    pub(crate) fn request(&mut self, path: &str, is_fetch: bool, peer: IpAddr) {
        self.stats.calls += u64::from(!is_fetch);
        *self.stats.peers.entry(peer).or_default() += 1;
        let by_path = &mut self.stats.calls_by_path;
        match by_path.get_mut(path) {
            Some(count) => *count += 1,
            None => {
                let name = if by_path.len() < PATHS { path } else { "(others)" };
                *by_path.entry(name.to_owned()).or_default() += 1;
            }
        }
    }

    pub(crate) fn refused(&mut self, errcode: i64) {
        *self.stats.refused.entry(errcode).or_default() += 1;
    }

    pub(crate) fn remember(&mut self, seen: Seen) {
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    /// The remembered requests, oldest first.
    pub(crate) fn last(&self) -> Value {
        self.seen.iter().map(Seen::show).collect()
    }
}

impl Seen {
    fn show(&self) -> Value {
        let headers = self.parts.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        json!({
            "peer": self.peer,
            "method": self.parts.method.as_str(),
            "path": self.parts.uri.path(),
            "query": masked(self.parts.uri.query().unwrap_or_default()),
            "version": format!("{:?}", self.parts.version),
            "headers": headers,
            "status": self.status,
            "errcode": self.errcode,
        })
    }
}

/// The query byte for byte, but for the values of tokens and secrets.
fn masked(query: &str) -> String {
    let mask = |pair: &str| {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        let name = form_urlencoded::parse(key.as_bytes()).next().map(|(name, _)| name.into_owned());
        match name.as_deref() {
            Some("access_token" | "secret" | "appsecret" | "corpsecret") if key.len() < pair.len() => {
                format!("{key}=***")
            }
            _ => pair.to_owned(),
        }
    };
    query.split('&').map(mask).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_query_keeps_everything_but_tokens_and_secrets() {
        for (query, shown) in [
            ("", ""),
            ("a=1&access_token=xyz&b=%20", "a=1&access_token=***&b=%20"),
            ("%61ccess_token=xyz", "%61ccess_token=***"),
            ("appid=wx1&secret=s", "appid=wx1&secret=***"),
            ("access_token", "access_token"),
        ] {
            assert_eq!(masked(query), shown);
        }
    }

    #[test]
    fn invented_paths_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        for n in 0..3 * PATHS {
            tally.request(&format!("/{n}"), false, [127, 0, 0, 1].into());
        }
        assert_eq!(tally.stats.calls_by_path.len(), PATHS + 1);
        assert_eq!(tally.stats.calls_by_path["(others)"], 2 * PATHS as u64);
    }
}
