//! A hundred accounts on one wxgate; what a thousand cost is measured by `benches/scale`.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::gate::{APPID, Gate, SECRET, Settings};
use crate::support::https::Connection;
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

const COUNT: usize = 100;
const CHANGED: usize = 50;

fn appid(n: usize) -> String {
    format!("wx{:016x}", n + 4096)
}

/// The tables of all accounts but the usual one, half of them by host and half by prefix; `change` is a line of one.
fn tables(change: &str) -> String {
    let mut text = "[admin]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for n in 0..COUNT {
        let appid = appid(n);
        let at = if n % 2 == 0 { format!("hosts = [\"a{n}.test\"]") } else { format!("prefix = \"/a{n}\"") };
        let change = if n == CHANGED { change } else { "" };
        write!(
            text,
            "[[account]]\nname = \"a{n}\"\nappid = \"{appid}\"\nsecret = \"{SECRET}\"\n{at}\n{change}\n"
        )
        .unwrap();
    }
    text
}

async fn wechat() -> WeChat {
    let mut arguments = Vec::new();
    for appid in (0..COUNT).map(appid).chain([APPID.to_owned()]) {
        arguments.extend(["--appid".to_owned(), appid, "--secret".to_owned(), SECRET.to_owned()]);
    }
    WeChat::with(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn all_serve(gate: &Gate) {
    let mut caller = Connection::plain(gate.addr).await;
    for n in 0..COUNT {
        let (prefix, host) =
            if n % 2 == 0 { ("", format!("a{n}.test")) } else { (&*format!("/a{n}"), "a".to_owned()) };
        let call = format!("GET {prefix}/cgi-bin/user/get HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = caller.send(call.as_bytes()).await.unwrap();
        assert_eq!(answer.errcode(), 0, "account {n}: {answer:?}");
    }
}

/// When each account's token was fetched, as its task knows.
async fn refreshes(gate: &Gate) -> HashMap<String, Value> {
    let get = "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let mut connection = Connection::plain(gate.admin_addr.unwrap()).await;
    let status = connection.send(get.as_bytes()).await.unwrap().json();
    let accounts = status["accounts"].as_array().unwrap().iter();
    accounts
        .map(|account| (account["name"].as_str().unwrap().to_owned(), account["last_refresh"]["at"].clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_restart_nor_a_reload_of_one_account_fetches_a_token() {
    let (wechat, state) = (wechat().await, TempDir::new().unwrap());
    let settings = |change: &str| Settings {
        tables: tables(change),
        state: Some(state.path().to_owned()),
        ..Settings::default()
    };
    let fetches = || wechat.handle.stats().fetches.token;
    let gate = Gate::with(&wechat.url, settings("")).await;
    let all = COUNT as u64 + 1;
    // Nobody calls the usual one.
    until_async("all have a token", async || fetches() == all).await;
    until_async("their tasks say so", async || refreshes(&gate).await.values().all(Value::is_string)).await;
    all_serve(&gate).await;
    let before = refreshes(&gate).await;

    // The rules of one account: no task has anything to do with them.
    gate.reload(&wechat.url, &settings("paths = [\"/cgi-bin/\", \"/wxa/\"]")).await;
    assert_eq!(refreshes(&gate).await, before);
    all_serve(&gate).await;
    assert_eq!(fetches(), all);
    gate.stop();

    let gate = Gate::with(&wechat.url, settings("")).await;
    all_serve(&gate).await;
    assert_eq!(fetches(), all);
}
