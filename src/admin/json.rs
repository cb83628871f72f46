//! The JSON of `/readyz`, `/status` and `/calls`, in the shapes of the contract. Pure.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::view::{Account, Ticket, View};
use crate::calls::Call;
use crate::credential::{Fetch, FetchError};
use crate::errcodes::{Facts, Lang};
use crate::metrics::look::UpstreamConnections;
use crate::stats::milliseconds;

/// A time in RFC 3339, UTC, whole seconds.
pub fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

/// `/readyz`: `accounts` are those that were asked about.
pub fn ready(ready: bool, accounts: &[&Account]) -> Value {
    let account = |account: &&Account| {
        json!({
            "name": &*account.name,
            "state": account.state.as_str(),
            "reason": account.reason(Lang::En),
        })
    };
    json!({ "ready": ready, "accounts": accounts.iter().map(account).collect::<Vec<_>>() })
}

/// `/status`.
pub fn status(view: &View) -> Value {
    let UpstreamConnections { idle, active } = view.upstream_connections;
    json!({
        "version": view.version,
        "uptime_seconds": view.uptime.as_secs(),
        "ready": view.ready(),
        "egress_ip": view.egress_ip,
        "caller_connections": view.caller_connections,
        "upstream_connections": { "idle": idle, "active": active },
        "store": { "kind": view.store.kind, "up": view.store.up },
        "last_reload": {
            "at": time(view.last_reload.at),
            "ok": view.last_reload.ok,
            "errors": view.last_reload.errors,
        },
        "accounts": view.accounts.iter().map(account).collect::<Vec<_>>(),
    })
}

fn seconds(time: Option<Duration>) -> Option<u64> {
    time.map(|time| time.as_secs())
}

fn fetch(fetch: &Fetch) -> Value {
    json!({ "at": time(fetch.at), "reason": fetch.reason.as_str(), "outcome": fetch.outcome.as_str() })
}

fn fetch_error(error: &FetchError) -> Value {
    json!({ "at": time(error.at), "errcode": error.errcode, "errmsg": error.errmsg })
}

fn ticket(ticket: &Ticket) -> Value {
    json!({
        "kind": ticket.kind,
        "state": ticket.state.as_str(),
        "generation": ticket.generation,
        "age_seconds": seconds(ticket.age),
        "expires_in_seconds": seconds(ticket.expires_in),
        "last_refresh": ticket.last_refresh.as_ref().map(fetch),
        "last_error": ticket.last_error.as_ref().map(fetch_error),
    })
}

fn account(account: &Account) -> Value {
    let mut value = json!({
        "name": &*account.name,
        "kind": account.product.as_str(),
        "appid": account.appid,
        "token_api": account.token_api,
        "state": account.state.as_str(),
        "generation": account.generation,
        "age_seconds": seconds(account.age),
        "expires_in_seconds": seconds(account.expires_in),
        "fetches_today": account.fetches_today,
        "quota": account.quota,
        "last_refresh": account.last_refresh.as_ref().map(fetch),
        "last_error": account.last_error.as_ref().map(fetch_error),
        "upstream": {
            "url": account.upstream.url,
            "in_use": account.upstream.in_use,
            "tls_expires_at": account.upstream.tls_expires_at.map(time),
        },
    });
    if !account.certificates.is_empty() {
        let certificates = account.certificates.iter();
        let certificates =
            certificates.map(|one| json!({ "number": one.number, "expires_at": time(one.expires_at) }));
        value["signing"] = json!({ "certificates": certificates.collect::<Vec<_>>() });
    }
    if !account.tickets.is_empty() {
        value["tickets"] = account.tickets.iter().map(ticket).collect();
    }
    value
}

/// `/calls`; `appid` gives that of an account.
pub fn calls<'v>(calls: &[Call], lang: Lang, appid: impl Fn(&str) -> Option<&'v str>) -> Value {
    let call = |call: &Call| {
        let stats = &call.stats;
        let appid = stats.account.as_deref().and_then(&appid);
        let facts = Facts { appid, errmsg: call.errmsg.as_deref() };
        let peer = stats.peer.to_string();
        json!({
            "timestamp": humantime::format_rfc3339_millis(call.at).to_string(),
            "caller": stats.caller.as_deref().unwrap_or(&peer),
            "peer": peer,
            "account": stats.account.as_deref(),
            "method": stats.method.as_str(),
            "path": stats.path.as_deref(),
            "status": stats.status,
            "errcode": stats.errcode,
            "errmsg": call.errmsg,
            "rid": stats.rid.as_deref(),
            "bytes": stats.bytes,
            "ms": milliseconds(call.took),
            "upstream_ms": (stats.attempts > 0).then(|| milliseconds(stats.upstream)),
            "attempts": stats.attempts,
            "error": stats.error(),
            "request_id": stats.request_id.as_deref(),
            "trace_id": stats.trace_id.as_deref(),
            "explain": call.explanation().explain(lang, facts),
        })
    };
    json!({ "calls": calls.iter().map(call).collect::<Vec<_>>() })
}
