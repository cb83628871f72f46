//! What is in the store and not ours is said and left alone.

use super::{PATH, check, fetches, is_up, replica, with_admin};
use crate::support::gate::{Gate, SECRET, Settings};
use crate::support::redis::Redis;
use crate::support::until::{until, until_async};
use crate::support::wechat::WeChat;

#[tokio::test]
async fn a_value_that_wxgate_did_not_write_is_left_alone() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let gate = replica(&wechat, &redis).await;
    assert_eq!(gate.get(PATH).await.errcode(), 0);
    let key = redis.state_key();
    drop(gate);
    for foreign in ["SET KEY somebody", "RPUSH KEY somebody", "HSET KEY some body"] {
        redis.run(&format!("DEL {key}"));
        redis.run(&foreign.replace("KEY", &key));
        let dump = redis.dump(&key);
        let gate = replica(&wechat, &redis).await;
        assert_eq!(gate.get(PATH).await.errcode(), 0, "{foreign}");
        wechat.handle.steal_token();
        assert_eq!(gate.get(PATH).await.errcode(), 0, "{foreign}");
        let (code, said) = check(&wechat, redis.table()).await;
        let wrong = format!("the store holds under `{key}` what wxgate did not write");
        assert!(code == 1 && said.contains(&wrong), "{foreign}: {said}");
        assert_eq!(redis.dump(&key), dump, "{foreign}");
    }
    // Under the lock's key it holds nobody up for ever.
    redis.run(&format!("DEL {key}"));
    redis.run(&format!("SET {key}:lock somebody"));
    let gate = replica(&wechat, &redis).await;
    assert_eq!(gate.get(PATH).await.errcode(), 0);
    let (code, said) = check(&wechat, redis.table()).await;
    assert!(code == 1 && said.contains(&format!("under `{key}:lock` what wxgate did not write")), "{said}");
    assert_eq!(redis.value(&format!("{key}:lock")), b"somebody");
    redis.run(&format!("DEL {key}:lock"));
    let (code, said) = check(&wechat, redis.table()).await;
    assert!(code == 0 && said.contains("account `main`: the stored token is valid for"), "{said}");
}

#[tokio::test]
async fn a_foreign_value_under_the_key_that_proves_writing_is_said_and_left_alone() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    for foreign in ["SET wxgate:alive somebody", "RPUSH wxgate:alive somebody"] {
        redis.run("DEL wxgate:alive");
        redis.run(foreign);
        let dump = redis.dump("wxgate:alive");
        let gate = with_admin(&wechat, &redis.table()).await;
        assert_eq!(gate.get(PATH).await.errcode(), 0, "{foreign}");
        assert!(!is_up(&gate).await, "{foreign}");
        let (code, said) = check(&wechat, redis.table()).await;
        let wrong = "`wxgate:alive` holds what wxgate did not write";
        assert!(code == 1 && said.contains(wrong) && said.contains("key_prefix"), "{foreign}: {said}");
        assert_eq!(redis.dump("wxgate:alive"), dump, "{foreign}");
        redis.run("DEL wxgate:alive");
        until_async("it is used", async || is_up(&gate).await).await;
    }
}

async fn with_secret(wechat: &WeChat, redis: &Redis, secret: &str) -> Gate {
    let settings =
        Settings { tables: redis.patient_table(), secret: Some(secret.to_owned()), ..Settings::default() };
    Gate::with(&wechat.url, settings).await
}

#[tokio::test]
async fn of_two_secrets_only_the_one_that_wechat_accepts_replaces_what_the_other_wrote() {
    let redis = Redis::start().await;
    let before = WeChat::with(&["--secret", "0ld00000000000000000000000000000"]).await;
    let old = with_secret(&before, &redis, "0ld00000000000000000000000000000").await;
    assert_eq!(old.get(PATH).await.errcode(), 0);
    let key = redis.state_key();
    let written = redis.value(&key);
    drop(old);
    // The same API host by its name in the key: another port is another key, so the value is moved.
    let wechat = WeChat::start().await;
    let probe = replica(&wechat, &redis).await;
    assert_eq!(probe.get(PATH).await.errcode(), 0);
    let ours = redis
        .keys()
        .into_iter()
        .find(|k| k.contains("access_token") && *k != key && !k.ends_with("lock"))
        .unwrap();
    drop(probe);
    redis.set(&ours, &written);
    let fetched = fetches(&wechat);
    // A wrong secret is refused, and overwrites nothing.
    let wrong = with_secret(&wechat, &redis, "wr0ng000000000000000000000000000").await;
    assert_ne!(wrong.get(PATH).await.errcode(), 0);
    assert_eq!(redis.value(&ours), written);
    let (code, said) = check(&wechat, redis.table()).await;
    assert!(code == 1 && said.contains("written with another AppSecret"), "{said}");
    let right = with_secret(&wechat, &redis, SECRET).await;
    assert_eq!(right.get(PATH).await.errcode(), 0);
    until("it is replaced", || redis.value(&ours) != written).await;
    let replaced = redis.value(&ours);
    drop(right);
    let again = with_secret(&wechat, &redis, SECRET).await;
    assert_eq!(again.get(PATH).await.errcode(), 0);
    assert_eq!(fetches(&wechat), fetched + 1, "its successor uses it");
    assert_eq!(wrong.get(PATH).await.errcode(), 40125);
    assert!(redis.value(&ours) == replaced);
}
