//! Reads what tasks and connections have left of one account into what is shown of it.

use std::sync::Arc;
use std::time::SystemTime;

use super::sources::Account;
use super::view::{self, State};
use crate::credential::{CredentialState, CredentialStatus, Outcome, Reader, Reason};
use crate::metrics::look::{Ticket, Token};

/// Seconds since 1970.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn state(state: CredentialState) -> State {
    match state {
        CredentialState::Empty => State::Empty,
        CredentialState::Fresh => State::Fresh,
        CredentialState::Stale => State::Stale,
        CredentialState::Expired => State::Expired,
        CredentialState::Refused => State::Refused,
    }
}

fn ticket(status: &CredentialStatus, now: SystemTime) -> view::Ticket {
    view::Ticket {
        kind: status.id.kind.as_str(),
        state: state(status.state),
        generation: status.generation,
        age: status.age(now),
        expires_in: status.expires_in(tokio::time::Instant::now()),
        last_refresh: status.last_refresh.clone(),
        last_error: status.last_error.clone(),
    }
}

/// What is shown of an account.
pub(super) fn account(account: &Account, now: SystemTime) -> view::Account {
    let status = account.token.as_ref().map(Reader::status);
    let status = status.as_deref();
    let fetches = account.token.as_ref().map(Reader::fetches);
    view::Account {
        name: Arc::clone(&account.name),
        product: account.product,
        appid: account.appid.clone(),
        token_api: account.token_api,
        state: status.map_or(State::None, |status| state(status.state)),
        generation: status.map(|status| status.generation),
        age: status.and_then(|status| status.age(now)),
        expires_in: status.and_then(|status| status.expires_in(tokio::time::Instant::now())),
        fetches_today: status.map(|status| u64::from(status.fetches_today(now))),
        quota: status.and_then(|status| status.quota).map(u64::from),
        last_refresh: status.and_then(|status| status.last_refresh.clone()),
        last_error: status.and_then(|status| status.last_error.clone()),
        tickets: account.tickets.iter().map(|reader| ticket(&reader.status(), now)).collect(),
        certificates: account.certificates.clone(),
        fetches: fetches.iter().flat_map(|log| &log.recent).cloned().collect(),
        second_fetcher: account.token.as_ref().and_then(Reader::second_fetcher),
        upstream: view::Upstream {
            url: account.host.endpoint().base.shortest(),
            in_use: account.host.base_in_use().shortest(),
            tls_expires_at: account.host.certificate().map(|shown| shown.ends),
        },
        prefix: account.prefix.clone(),
        host: account.host_name.clone(),
        paths: account.paths.clone(),
    }
}

/// What metrics tell of an account.
pub(super) fn token(account: &Account, shown: &view::Account) -> Token {
    let status = account.token.as_ref().map(Reader::status);
    let held = status.as_ref().and_then(|status| status.held.as_ref());
    let last_success = shown.fetches.iter().rev().find(|fetch| fetch.worked()).map(|fetch| fetch.at);
    // A stored token was fetched when it was issued.
    let last_success = last_success.or(held.map(|held| held.issued_at));
    Token {
        account: Arc::clone(&account.name),
        expires_at: held.map(|held| seconds(held.expires_at)),
        last_success: last_success.map(seconds),
        fetches_today: shown.fetches_today,
        quota: shown.quota,
        tls_expires_at: shown.upstream.tls_expires_at.map(seconds),
        platform_expires_at: shown.certificates.iter().map(|one| one.expires_at).max().map(seconds),
        hosts: account
            .host
            .endpoints()
            .map(|endpoint| (endpoint.base.shortest(), endpoint.base == *account.host.base_in_use()))
            .collect(),
        host_changes: account.host.changes(),
        refreshes: status.iter().flat_map(|status| refreshes(status)).collect(),
        tickets: account
            .tickets
            .iter()
            .map(|reader| {
                let status = reader.status();
                Ticket {
                    kind: status.id.kind.as_str(),
                    expires_at: status.held.as_ref().map(|held| seconds(held.expires_at)),
                    refreshes: refreshes(&status).collect(),
                }
            })
            .collect(),
    }
}

/// Every pair of reason and outcome, also where it is 0: a series that begins with its first event hides that event from
/// `increase()`.
fn refreshes(status: &CredentialStatus) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    let pairs = Reason::ALL.into_iter().flat_map(|reason| Outcome::ALL.map(|outcome| (reason, outcome)));
    pairs.map(|pair| {
        (pair.0.as_str(), pair.1.as_str(), status.refreshes.get(&pair).copied().unwrap_or_default())
    })
}
