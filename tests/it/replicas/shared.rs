//! Replicas that share a real Redis behave like one, and no caller notices what becomes of it.

use std::time::{Duration, Instant};

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
        assert_eq!(answer.errcode(), 0);
    }
}

fn fetches(wechat: &WeChat) -> u64 {
    wechat.handle.stats().fetches.token
}

#[tokio::test]
async fn five_replicas_fetch_once_at_the_start_and_once_for_a_thousand_refused_calls() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gates = fleet(5, &wechat, &redis).await;
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), 1);
    wechat.handle.steal_token();
    let calls = (0..1000).map(|n| gates[n % 5].get(PATH));
    for answer in join_all(calls).await {
        assert_eq!(answer.errcode(), 0);
    }
    assert_eq!(fetches(&wechat), 2);
    for key in redis.keys() {
        let ttl: i64 = redis::cmd("PTTL").arg(&key).query(&mut redis.client()).unwrap();
        assert!(ttl > 0, "{key} stays for ever");
        assert!(key.starts_with("wxgate:"), "{key}");
    }
    let value = String::from_utf8(redis.value(&redis.state_key())).unwrap();
    assert!(wechat.handle.tokens_issued().iter().all(|token| !value.contains(token)));
}

#[tokio::test]
async fn a_token_is_adopted_within_200_milliseconds_and_within_two_seconds_where_the_news_got_lost() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gates = fleet(2, &wechat, &redis).await;
    all_serve(&gates).await;
    let adopted = async |limit: Duration| {
        wechat.handle.steal_token();
        assert_eq!(gates[0].get(PATH).await.errcode(), 0);
        let (since, before) = (Instant::now(), fetches(&wechat));
        // It does not ask, so what it uses came to it.
        let refused = || wechat.handle.stats().refused.values().sum::<u64>();
        tokio::time::sleep(limit).await;
        let seen = refused();
        assert_eq!(gates[1].get(PATH).await.errcode(), 0);
        assert_eq!((refused(), fetches(&wechat)), (seen, before), "after {:?}", since.elapsed());
    };
    adopted(Duration::from_millis(200)).await;
    let _: () =
        redis::cmd("ACL").arg(&["SETUSER", "default", "resetchannels"]).query(&mut redis.client()).unwrap();
    let _: i64 = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query(&mut redis.client()).unwrap();
    adopted(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_store_that_is_paused_costs_no_caller_an_answer() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gates = fleet(2, &wechat, &redis).await;
    all_serve(&gates).await;
    redis.signal("STOP");
    all_serve(&gates).await;
    wechat.handle.steal_token();
    all_serve(&gates).await;
    redis.signal("CONT");
}
