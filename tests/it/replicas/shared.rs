//! Replicas that share a real Redis behave like one.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::{PATH, all_serve, fetches, fleet, generation, replica, with_admin};
use crate::support::gate::{Gate, Settings};
use crate::support::redis::Redis;
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

#[tokio::test]
async fn five_replicas_fetch_once_at_the_start_and_once_for_a_thousand_refused_calls() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gates = fleet(5, &wechat, &redis).await;
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), 1);
    wechat.handle.steal_token();
    let calls = futures_util::stream::iter((0..1000).map(|n| gates[n % 5].get(PATH)));
    let answers: Vec<_> = calls.buffer_unordered(100).collect().await;
    for answer in answers {
        assert_eq!(answer.errcode(), 0);
    }
    assert_eq!(fetches(&wechat), 2);
    for key in redis.keys() {
        let ttl: i64 = redis::cmd("PTTL").arg(&key).query(&mut redis.client()).unwrap();
        // -2: it has just run out.
        assert!(ttl > 0 || ttl == -2, "{key} stays for ever");
        assert!(key.starts_with("wxgate:"), "{key}");
    }
    let value = String::from_utf8(redis.value(&redis.state_key())).unwrap();
    assert!(wechat.handle.tokens_issued().iter().all(|token| !value.contains(token)));
}

#[tokio::test]
async fn a_token_is_adopted_within_200_milliseconds_and_within_two_seconds_where_the_news_got_lost() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let store = redis.patient_table();
    let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
    all_serve(&gates).await;
    let refused = || wechat.handle.stats().refused.values().sum::<u64>();
    let adopted = async || {
        wechat.handle.steal_token();
        assert_eq!(gates[0].get(PATH).await.errcode(), 0);
        let (began, newest) = (Instant::now(), generation(&gates[0]).await);
        // The other one makes no call meanwhile: what it uses has come to it.
        until_async("it is adopted", async || generation(&gates[1]).await == newest).await;
        let took = began.elapsed();
        let before = (refused(), fetches(&wechat));
        assert_eq!(gates[1].get(PATH).await.errcode(), 0);
        assert_eq!((refused(), fetches(&wechat)), before);
        took
    };
    let mut times = Vec::new();
    for _ in 0..6 {
        times.push(adopted().await);
    }
    times.sort_unstable();
    // Half of them: a busy machine is no fault, and a poll alone would be so fast once in seven times.
    assert!(times[2] < Duration::from_millis(200), "{times:?}");
    redis.run("ACL SETUSER default resetchannels");
    redis.run("CLIENT KILL TYPE pubsub");
    let took = adopted().await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn what_one_replica_spends_is_spent_for_all_and_a_restart_fetches_nothing() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let store = redis.patient_table();
    let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
    all_serve(&gates).await;
    for n in 0..10 {
        wechat.handle.steal_token();
        assert_eq!(gates[n % 2].get(PATH).await.errcode(), 0, "{n}");
        let newest = generation(&gates[n % 2]).await;
        let other = &gates[1 - n % 2];
        until_async("the other one has it before its turn", async || generation(other).await == newest).await;
    }
    wechat.handle.steal_token();
    for gate in &gates {
        let limited = gate.get(PATH).await;
        assert_eq!((limited.errcode(), limited.header("X-Wxgate-Retry")), (40001, Some("refresh-limited")));
    }
    assert_eq!(fetches(&wechat), 11);
    drop(gates);
    let again = replica(&wechat, &redis).await;
    assert_eq!(again.get(PATH).await.errcode(), 40001);
    assert_eq!(fetches(&wechat), 11);
}

#[tokio::test]
async fn a_path_that_is_refused_whatever_the_token_is_is_blamed_by_all_together() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gates = fleet(3, &wechat, &redis).await;
    all_serve(&gates).await;
    let sick = "/cgi-bin/media/get?media_id=x";
    for round in 0..12 {
        let path = Some("/cgi-bin/media/get".to_owned());
        let how = wxgate_sandbox::How::Errcode(42001);
        wechat.handle.fail(wxgate_sandbox::Failure { count: 3, path, how });
        let _ = gates[round % 3].get(sick).await;
        all_serve(&gates).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let fetched = fetches(&wechat) - 1;
    assert!(fetched <= 3, "{fetched} fetches for one path");
}

#[tokio::test]
async fn two_appids_share_one_redis_and_notice_nothing_of_each_other() {
    let redis = Redis::start().await;
    let (one, other) = (WeChat::start().await, WeChat::with(&["--appid", "wxfedcba9876543210"]).await);
    let first = replica(&one, &redis).await;
    let (tables, appid) = (redis.patient_table(), Some("wxfedcba9876543210".to_owned()));
    let second = Gate::with(&other.url, Settings { tables, appid, ..Settings::default() }).await;
    for _ in 0..2 {
        assert_eq!((first.get(PATH).await.errcode(), second.get(PATH).await.errcode()), (0, 0));
        one.handle.steal_token();
    }
    assert_eq!((fetches(&one), fetches(&other)), (2, 1));
    let states =
        redis.keys().into_iter().filter(|key| key.contains("access_token") && !key.ends_with("lock"));
    assert_eq!(states.count(), 2);
}

#[tokio::test]
async fn replicas_share_a_ticket_like_a_token() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let account = || "tickets = true".to_owned();
    let replica = || {
        let (tables, top) = (redis.patient_table(), "workers = 1\n".to_owned());
        Gate::with(&wechat.url, Settings { account: account(), tables, top, ..Settings::default() })
    };
    let gates = join_all((0..3).map(|_| replica())).await;
    let asked = || wechat.handle.stats().calls_by_path.get("/cgi-bin/ticket/getticket").copied().unwrap_or(0);
    let calls = (0..30).map(|n| gates[n % 3].get("/cgi-bin/ticket/getticket?type=jsapi"));
    let mut tickets: Vec<String> = join_all(calls)
        .await
        .iter()
        .map(|answer| answer.json()["ticket"].as_str().unwrap().to_owned())
        .collect();
    tickets.dedup();
    assert_eq!((tickets.len(), asked()), (1, 1), "one call for all of them");
    // One that comes later finds it.
    let late = replica().await;
    assert_eq!(late.get("/cgi-bin/ticket/getticket?type=jsapi").await.json()["ticket"], tickets[0].as_str());
    assert_eq!((asked(), fetches(&wechat)), (1, 1));
    for key in redis.keys() {
        let value = String::from_utf8_lossy(&redis.value(&key)).into_owned();
        assert!(!value.contains(&tickets[0]), "{key} holds the ticket in clear");
    }
}
