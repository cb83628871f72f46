//! Several wxgate of one account: with nothing between them, and with a shared store.

mod alone;
mod foreign;
mod holder;
mod outage;
mod shared;

use futures_util::future::join_all;

use crate::support::gate::{Gate, Settings};
use crate::support::redis::Redis;
use crate::support::wechat::WeChat;

const PATH: &str = "/cgi-bin/user/get";

async fn replica(wechat: &WeChat, redis: &Redis) -> Gate {
    let (tables, top) = (redis.table(), "workers = 1\n".to_owned());
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
