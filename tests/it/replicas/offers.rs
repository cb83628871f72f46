//! Offers of Redis that lack something: `check` says what, and wxgate serves in any case.

use super::{PATH, all_serve, check, fetches, generation, is_up, two_share, with_admin};
use crate::support::redis::Redis;
use crate::support::redis_line::RedisLine;
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

/// Every managed offer has these. That each script names its keys, all in one hash slot, is asked for by a cluster.
const LEAST: &[&str] = &["AUTH", "SELECT", "PING", "TIME", "GET", "SET", "EVAL", "PUBLISH", "SUBSCRIBE"];

#[tokio::test]
async fn what_every_offer_has_is_enough() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let line = RedisLine::knowing(&redis, LEAST).await;
    let (code, said) = check(&wechat, line.table()).await;
    assert_eq!(code, 0, "{said}");
    let gates = two_share(&wechat, &line.patient_table()).await;
    let fetched = fetches(&wechat);
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), fetched + 1, "one for both");
}

#[tokio::test]
async fn a_cluster_of_one_is_enough() {
    let wechat = WeChat::start().await;
    // Its second port would be the first one plus 10000, which outgoing connections may have.
    let bus = crate::support::port::port().to_string();
    let redis = Redis::with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    redis.run("CLUSTER ADDSLOTSRANGE 0 16383");
    until_async("it takes its slots", async || redis.says("CLUSTER INFO").contains("cluster_state:ok")).await;
    let (code, said) = check(&wechat, redis.table()).await;
    assert_eq!(code, 0, "{said}");
    let _gates = two_share(&wechat, &redis.patient_table()).await;
}

#[tokio::test]
async fn an_offer_without_messages_shares_by_polling_and_one_without_scripts_or_clock_does_not_share() {
    for (lacks, said, shares) in [
        ("SUBSCRIBE", "passes no messages on (PUBLISH, SUBSCRIBE)", true),
        ("PUBLISH", "passes no messages on (PUBLISH, SUBSCRIBE)", true),
        ("EVAL", "runs no scripts (EVAL)", false),
        ("TIME", "TIME", false),
    ] {
        let (wechat, redis) = (WeChat::start().await, Redis::start().await);
        let line = RedisLine::to(&redis, move |words| {
            if words[0] == lacks.as_bytes() {
                words[0] = format!("no-{lacks}").into_bytes();
            }
            false
        })
        .await;
        let (code, found) = check(&wechat, line.table()).await;
        assert!(code == 1 && found.contains(said), "{lacks}: {found}");
        let store = line.patient_table();
        let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
        all_serve(&gates).await;
        wechat.handle.steal_token();
        all_serve(&gates).await;
        all_serve(&gates).await;
        assert_eq!([is_up(&gates[0]).await, is_up(&gates[1]).await], [shares; 2], "{lacks}");
        if shares {
            assert_eq!(fetches(&wechat), 2, "{lacks}");
        }
    }
}

#[tokio::test]
async fn where_publications_get_lost_the_others_take_a_token_over_within_two_seconds() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let line = RedisLine::to(&redis, |words| {
        if words[0] == b"PUBLISH" {
            words[1] = b"nobody".to_vec();
        }
        false
    })
    .await;
    let store = line.patient_table();
    let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
    all_serve(&gates).await;
    for _ in 0..2 {
        wechat.handle.steal_token();
        assert_eq!(gates[0].get(PATH).await.errcode(), 0);
        let newest = generation(&gates[0]).await;
        until_async("the other one has it without a call", async || generation(&gates[1]).await == newest)
            .await;
        assert_eq!(gates[1].get(PATH).await.errcode(), 0);
    }
    assert_eq!(fetches(&wechat), 3);
}
