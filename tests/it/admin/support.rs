//! A proxy with an admin listener, and requests to it.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::gate::{Gate, Settings, note_credential};
use crate::support::https::Response;
use crate::support::raw::Raw;

/// The key of admin listeners that have one.
pub(crate) const KEY: &str = "adm1n-key-that-no-log-may-hold";

/// A proxy with an open admin listener before the upstream at `url`.
pub(crate) async fn admin(url: &str) -> Gate {
    with(url, "", Settings::default()).await
}

/// The same with further lines of `[admin]` and other settings.
pub(crate) async fn with(url: &str, lines: &str, mut settings: Settings) -> Gate {
    note_credential(KEY);
    settings.tables = format!("[admin]\nlisten = \"127.0.0.1:0\"\n{lines}\n{}", settings.tables);
    Gate::with(url, settings).await
}

/// Where the admin listener is.
pub(crate) fn addr(gate: &Gate) -> SocketAddr {
    gate.admin_addr.unwrap()
}

/// One request to the admin listener with these fields, `Host` among them.
pub(crate) async fn ask(gate: &Gate, method: &str, target: &str, fields: &[&str], body: &str) -> Response {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for field in fields {
        text += &format!("{field}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    Raw::to(addr(gate)).await.ask(format!("{text}\r\n{body}")).await
}

/// `GET` as a local program sends it.
pub(crate) async fn get(gate: &Gate, target: &str) -> Response {
    ask(gate, "GET", target, &["Host: localhost"], "").await
}

/// `POST` as a local program sends it.
pub(crate) async fn post(gate: &Gate, target: &str, body: &str) -> Response {
    ask(gate, "POST", target, &["Host: localhost"], body).await
}

/// The body as JSON.
pub(crate) fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("{e}: {response:?}"))
}

/// Waits until the account has a token.
pub(crate) async fn ready(gate: &Gate) {
    crate::support::until::until_async("the account can serve", async || {
        get(gate, "/readyz").await.status == 200
    })
    .await;
}

/// The value of a field, however its name is spelt.
pub(crate) fn field<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    let found = response.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}
