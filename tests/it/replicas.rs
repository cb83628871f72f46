//! Several wxgate of one account: with nothing between them, and with a shared store.

mod access;
mod alone;
mod fleet;
mod foreign;
mod holder;
mod offers;
mod outage;
mod sentinel;
mod shared;
mod tls;
mod valkey;

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::gate::{Gate, Settings, configuration};
use crate::support::https::Connection;
use crate::support::redis::Redis;
use crate::support::wechat::WeChat;

const PATH: &str = "/cgi-bin/user/get";

async fn replica(wechat: &WeChat, redis: &Redis) -> Gate {
    let (tables, top) = (redis.patient_table(), "workers = 1\n".to_owned());
    Gate::with(&wechat.url, Settings { tables, top, ..Settings::default() }).await
}

async fn fleet(count: usize, wechat: &WeChat, redis: &Redis) -> Vec<Gate> {
    join_all((0..count).map(|_| replica(wechat, redis))).await
}

async fn all_serve(gates: &[Gate]) {
    for answer in join_all(gates.iter().map(|gate| gate.get(PATH))).await {
        assert_eq!(answer.errcode(), 0, "{answer:?}");
    }
}

fn fetches(wechat: &WeChat) -> u64 {
    wechat.handle.stats().fetches.token
}

async fn with_admin(wechat: &WeChat, store: &str) -> Gate {
    let tables = format!("{store}[admin]\nlisten = \"127.0.0.1:0\"\n");
    Gate::with(&wechat.url, Settings { tables, ..Settings::default() }).await
}

async fn admin(gate: &Gate, path: &str) -> String {
    let get = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let mut connection = Connection::plain(gate.admin_addr.unwrap()).await;
    connection.send(get.as_bytes()).await.unwrap().text().to_owned()
}

async fn is_up(gate: &Gate) -> bool {
    let status: Value = serde_json::from_str(&admin(gate, "/status").await).unwrap();
    assert_eq!(status["store"]["kind"], "redis");
    status["store"]["up"] == true
}

async fn generation(gate: &Gate) -> u64 {
    let status: Value = serde_json::from_str(&admin(gate, "/status").await).unwrap();
    status["accounts"][0]["generation"].as_u64().unwrap()
}

/// Two replicas that share a store, which has to be a patient one: one fetch for each generation, and both say that it is up.
async fn two_share(wechat: &WeChat, store: &str) -> [Gate; 2] {
    let gates = [with_admin(wechat, store).await, with_admin(wechat, store).await];
    for round in 1..4 {
        all_serve(&gates).await;
        assert_eq!(fetches(wechat), round);
        wechat.handle.steal_token();
    }
    assert!(is_up(&gates[0]).await && is_up(&gates[1]).await);
    gates
}

/// What `wxgate check` ends with and says.
async fn check(wechat: &WeChat, tables: String) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { tables, ..Settings::default() };
    let text = configuration(&wechat.url, &settings, &dir.path().join("state"));
    let loaded =
        wxgate::config::Config::from_toml(&text, &dir.path().join("wxgate.toml"), &|_| None).unwrap();
    let mut out = Vec::new();
    let code = wxgate::check::command(&loaded, wxgate::check::Asked::default(), &mut out).await;
    (code, String::from_utf8(out).unwrap())
}
