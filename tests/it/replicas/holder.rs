//! A replica that dies or sleeps while it fetches, as a real process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wxgate_sandbox::{Failure, How};

use super::{PATH, fetches};
use crate::support::child::{Child, serve};
use crate::support::gate::Settings;
use crate::support::https::Connection;
use crate::support::redis::Redis;
use crate::support::redis_line::RedisLine;
use crate::support::until::until;
use crate::support::wechat::WeChat;

struct Process {
    child: Child,
    _dir: TempDir,
}

impl Process {
    async fn start(wechat: &WeChat, redis: &Redis) -> Self {
        Self::with(wechat, redis.patient_table()).await
    }

    async fn with(wechat: &WeChat, tables: String) -> Self {
        let dir = TempDir::new().unwrap();
        let top = "workers = 1\n".to_owned();
        let child = Child::start(&mut serve(
            dir.path(),
            &wechat.url,
            &Settings { tables, top, ..Settings::default() },
        ));
        child.addr().await;
        Self { child, _dir: dir }
    }

    async fn errcode(&self) -> i64 {
        let get = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        Connection::plain(self.child.addr().await).await.send(get.as_bytes()).await.unwrap().errcode()
    }
}

fn hang_one_fetch(wechat: &WeChat, ms: u64) {
    let path = Some("/cgi-bin/token".to_owned());
    wechat.handle.fail(Failure { count: 1, path, how: How::Hang(Duration::from_millis(ms)) });
}

#[tokio::test]
async fn a_holder_that_is_killed_in_mid_fetch_is_replaced_before_a_caller_gives_up() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let (a, b) = (Process::start(&wechat, &redis).await, Process::start(&wechat, &redis).await);
    assert_eq!((a.errcode().await, b.errcode().await), (0, 0));
    hang_one_fetch(&wechat, 60_000);
    wechat.handle.steal_token();
    let dying = async {
        until("the fetch hangs", || wechat.handle.stats().failures_left == 0).await;
        a.child.signal("KILL");
    };
    tokio::select! {
        _ = a.errcode() => panic!("an answer without a token"),
        () = dying => {}
    }
    // A call waits for a token for five seconds; the lock of one that died is free after 2.5.
    assert_eq!(b.errcode().await, 0);
}

#[tokio::test]
async fn a_holder_that_slept_after_its_fetch_goes_on_with_the_token_of_the_others() {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let (a, b) = (Process::start(&wechat, &redis).await, Process::start(&wechat, &redis).await);
    assert_eq!((a.errcode().await, b.errcode().await), (0, 0));
    hang_one_fetch(&wechat, 1000);
    wechat.handle.steal_token();
    let calling = async {
        let _ = tokio::time::timeout(Duration::from_secs(20), a.errcode()).await;
    };
    let sleeping = async {
        until("the fetch is under way", || wechat.handle.stats().failures_left == 0).await;
        a.child.signal("STOP");
        let served = b.errcode().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        a.child.signal("CONT");
        assert_eq!(served, 0);
    };
    tokio::join!(calling, sleeping);
    let after = fetches(&wechat);
    for _ in 0..5 {
        assert_eq!((a.errcode().await, b.errcode().await), (0, 0));
    }
    assert!(fetches(&wechat) <= after + 1, "one extra fetch at most");
}

/// A replica whose next answer about the lock is held back.
async fn with_a_line(wechat: &WeChat, redis: &Redis) -> (Process, RedisLine) {
    let held = AtomicBool::new(false);
    let line = RedisLine::to(redis, move |words| {
        let asks = words[0] == b"EVAL" && String::from_utf8_lossy(&words[1]).contains("'granted'");
        // That of the start, which knows of no state, is let through.
        asks && words.iter().any(|word| word.starts_with(b"wxgate1 ")) && !held.swap(true, Ordering::SeqCst)
    })
    .await;
    (Process::with(wechat, line.patient_table()).await, line)
}

/// The order in which a replica that is paused before its fetch wakes up, and the one that waits for it fetches.
async fn paused_before_its_fetch(awake_after: Duration, fetched: u64) {
    let (wechat, redis) = (WeChat::start().await, Redis::start().await);
    let (a, line) = with_a_line(&wechat, &redis).await;
    assert_eq!(a.errcode().await, 0);
    let b = Process::start(&wechat, &redis).await;
    assert_eq!((b.errcode().await, fetches(&wechat)), (0, 1));
    wechat.handle.steal_token();
    let calling = async {
        let _ = tokio::time::timeout(Duration::from_secs(20), a.errcode()).await;
    };
    let sleeping = async {
        line.holds().await;
        a.child.signal("STOP");
        line.release();
        let waking = async {
            tokio::time::sleep(awake_after).await;
            a.child.signal("CONT");
        };
        let (served, ()) = tokio::join!(b.errcode(), waking);
        assert_eq!(served, 0);
    };
    tokio::join!(calling, sleeping);
    for _ in 0..3 {
        assert_eq!((a.errcode().await, b.errcode().await), (0, 0));
    }
    assert_eq!(fetches(&wechat), fetched);
}

#[tokio::test]
async fn a_holder_that_slept_before_its_fetch_sees_that_another_has_fetched() {
    // Longer than its lock lives.
    paused_before_its_fetch(Duration::from_secs(6), 2).await;
}

#[tokio::test]
async fn a_holder_that_wakes_up_before_its_lock_ends_fetches_and_the_other_waits() {
    paused_before_its_fetch(Duration::from_millis(500), 2).await;
}

#[tokio::test]
async fn a_fetch_that_reaches_wechat_after_that_of_another_replica_costs_one_more_and_no_caller_an_error() {
    let (wechat, redis) = (WeChat::with(&["--overlap", "1s"]).await, Redis::start().await);
    let (a, b) = (Process::start(&wechat, &redis).await, Process::start(&wechat, &redis).await);
    assert_eq!((a.errcode().await, b.errcode().await), (0, 0));
    hang_one_fetch(&wechat, 9000);
    wechat.handle.steal_token();
    let issued = wechat.handle.tokens_issued().len();
    let calling = async {
        let _ = tokio::time::timeout(Duration::from_secs(20), a.errcode()).await;
    };
    let sleeping = async {
        until("the fetch hangs", || wechat.handle.stats().failures_left == 0).await;
        a.child.signal("STOP");
        // Takes the lock over, and has WeChat issue a token before the one that hangs.
        assert_eq!((b.errcode().await, wechat.handle.tokens_issued().len()), (0, issued + 1));
        until("WeChat has issued both", || wechat.handle.tokens_issued().len() == issued + 2).await;
        a.child.signal("CONT");
    };
    tokio::join!(calling, sleeping);
    // The token in use ends after its second, and the first refusal of it fetches.
    let calls = Instant::now();
    while calls.elapsed() < Duration::from_secs(3) {
        assert_eq!((a.errcode().await, b.errcode().await), (0, 0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((3..=4).contains(&fetches(&wechat)), "{}", fetches(&wechat));
}
