//! No caller notices what becomes of the store, and it is used again by itself.

use std::time::{Duration, Instant};

use super::{PATH, admin, all_serve, check, fetches, generation, is_up, with_admin};
use crate::support::nobody::nobody;
use crate::support::redis::Redis;
use crate::support::until::{PATIENCE, until_async};
use crate::support::wechat::WeChat;

#[tokio::test]
async fn a_store_that_stops_and_comes_back_empty_gets_the_last_token_and_no_caller_notices() {
    let (wechat, mut redis) = (WeChat::start().await, Redis::start().await);
    let gates = [with_admin(&wechat, &redis.table()).await, with_admin(&wechat, &redis.table()).await];
    all_serve(&gates).await;
    assert!(is_up(&gates[0]).await && admin(&gates[0], "/metrics").await.contains("wxgate_store_up 1"));
    redis.stop();
    until_async("the loss of the store is seen", async || !is_up(&gates[0]).await).await;
    assert!(admin(&gates[0], "/metrics").await.contains("wxgate_store_up 0"));
    all_serve(&gates).await;
    wechat.handle.steal_token();
    all_serve(&gates).await;
    let alone = fetches(&wechat);
    assert!((2..=3).contains(&alone), "{alone}");
    redis.again().await;
    let back = Instant::now();
    until_async("both use the store again", async || is_up(&gates[0]).await && is_up(&gates[1]).await).await;
    assert!(back.elapsed() < Duration::from_secs(20), "{:?}", back.elapsed());
    until_async("the token is put back", async || {
        redis.keys().iter().any(|key| key.contains("access_token"))
    })
    .await;
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), alone);
    let newcomer = super::replica(&wechat, &redis).await;
    assert_eq!(newcomer.get(PATH).await.errcode(), 0);
    assert_eq!(fetches(&wechat), alone, "a new replica uses it");
    redis.run("FLUSHALL");
    until_async("and again", async || redis.keys().iter().any(|key| key.contains("access_token"))).await;
}

#[tokio::test]
async fn a_store_that_is_restored_from_an_old_copy_costs_no_caller_an_answer_and_no_fetch() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gates = [with_admin(&wechat, &redis.table()).await, with_admin(&wechat, &redis.table()).await];
    all_serve(&gates).await;
    let (key, old) = (redis.state_key(), redis.value(&redis.state_key()));
    wechat.handle.steal_token();
    all_serve(&gates).await;
    until_async("the new token is shared", async || redis.value(&key) != old).await;
    let (fetched, newest) = (fetches(&wechat), generation(&gates[0]).await);
    redis.set(&key, &old);
    until_async("the newer token is put back", async || redis.value(&key) != old).await;
    all_serve(&gates).await;
    let newcomer = super::replica(&wechat, &redis).await;
    assert_eq!(newcomer.get(PATH).await.errcode(), 0);
    assert_eq!(fetches(&wechat), fetched);
    for gate in &gates {
        assert!(generation(gate).await >= newest, "no generation goes back");
    }
}

#[tokio::test]
async fn a_store_that_hangs_or_is_made_a_replica_costs_no_caller_an_answer() {
    let (wechat, redis, other) = (WeChat::start().await, Redis::start().await, Redis::start().await);
    let gates = [with_admin(&wechat, &redis.table()).await, with_admin(&wechat, &redis.table()).await];
    all_serve(&gates).await;
    redis.signal("STOP");
    all_serve(&gates).await;
    wechat.handle.steal_token();
    let before = Instant::now();
    all_serve(&gates).await;
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    until_async("it is seen to hang", async || !is_up(&gates[0]).await).await;
    redis.signal("CONT");
    until_async("it is used again", async || is_up(&gates[0]).await && is_up(&gates[1]).await).await;
    redis.run(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    until_async("it is seen to be a replica", async || !is_up(&gates[0]).await).await;
    wechat.handle.steal_token();
    all_serve(&gates).await;
    redis.run("REPLICAOF NO ONE");
    until_async("it is used again", async || is_up(&gates[0]).await && is_up(&gates[1]).await).await;
    all_serve(&gates).await;
}

#[tokio::test]
async fn a_store_that_is_paused_for_ten_seconds_is_noticed_by_nobody_who_calls() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gates = [with_admin(&wechat, &redis.table()).await, with_admin(&wechat, &redis.table()).await];
    all_serve(&gates).await;
    redis.signal("STOP");
    let paused = Instant::now();
    let mut slowest = Duration::ZERO;
    while paused.elapsed() < Duration::from_secs(10) {
        if fetches(&wechat) == 1 && paused.elapsed() > Duration::from_secs(4) {
            wechat.handle.steal_token();
        }
        let began = Instant::now();
        all_serve(&gates).await;
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The call that finds the token stolen waits for its fetch, and that for one command to the store.
    assert!(slowest < Duration::from_secs(8), "{slowest:?}");
    let alone = fetches(&wechat);
    assert!((2..=3).contains(&alone), "{alone}");
    redis.signal("CONT");
    let back = Instant::now();
    until_async("it is used again", async || is_up(&gates[0]).await && is_up(&gates[1]).await).await;
    assert!(back.elapsed() < Duration::from_secs(20), "{:?}", back.elapsed());
    all_serve(&gates).await;
    // The one that was fetched last is used by both.
    until_async("both have one token", async || {
        let generations = [generation(&gates[0]).await, generation(&gates[1]).await];
        generations[0] == generations[1]
    })
    .await;
    all_serve(&gates).await;
}

#[tokio::test]
async fn a_start_does_without_a_store_that_is_away_or_refuses_it_and_check_says_so() {
    let (wechat, redis) = (WeChat::start().await, Redis::with(&["--requirepass", "r1ght"]).await);
    let (_held, nobody) = nobody();
    for url in [format!("redis://{nobody}"), format!("redis://:wr0ng@127.0.0.1:{}", redis.port)] {
        let store = format!("[store]\nkind = \"redis\"\nurl = \"{url}\"\n");
        let gate = with_admin(&wechat, &store).await;
        assert_eq!(gate.get(PATH).await.errcode(), 0);
        assert!(!is_up(&gate).await);
        let (code, said) = check(&wechat, store).await;
        assert!(code == 1 && said.contains("FAIL     the store redis://127.0.0.1:"), "{said}");
        assert!(!said.contains("wr0ng"), "{said}");
    }
    let store = format!(
        "[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\npassword = \"r1ght\"\n",
        redis.port
    );
    let (code, said) = check(&wechat, store.clone()).await;
    assert_eq!(code, 0, "{said}");
    for works in
        ["answers", "can be written", "runs scripts (EVAL)", "passes messages on (PUBLISH, SUBSCRIBE)"]
    {
        assert!(said.contains(&format!("the store {works}")) || said.contains(works), "{works}: {said}");
    }
    for command in ["del", "pttl", "pexpire"] {
        redis.run_as("r1ght", &format!("ACL SETUSER default -{command}"));
        let (code, said) = check(&wechat, store.clone()).await;
        assert!(code == 1 && said.contains("runs no scripts"), "{command}: {said}");
        redis.run_as("r1ght", &format!("ACL SETUSER default +{command}"));
    }
    redis.run_as("r1ght", "ACL SETUSER default -eval -subscribe");
    let (code, said) = check(&wechat, store).await;
    assert!(code == 1 && said.contains("runs no scripts") && said.contains("passes no messages"), "{said}");
}

#[tokio::test]
async fn a_store_that_is_away_is_tried_again_four_times_a_second_at_most() {
    let wechat = WeChat::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = format!("[store]\nkind = \"redis\"\nurl = \"redis://{}\"\n", listener.local_addr().unwrap());
    let counting = tokio::spawn(async move {
        let mut times = Vec::new();
        while let Ok(Ok((stream, _))) = tokio::time::timeout(PATIENCE, listener.accept()).await {
            times.push(Instant::now());
            drop(stream);
            if times.len() == 4 {
                break;
            }
        }
        times
    });
    let _gate = with_admin(&wechat, &store).await;
    let times = counting.await.unwrap();
    // Not gap by gap: a busy machine may see one attempt late, and the next in time.
    let all = times[3] - times[0];
    assert!(all >= 3 * Duration::from_millis(250), "{all:?}");
}
