//! A replica that dies or sleeps while it fetches, as a real process.

use std::time::Duration;

use tempfile::TempDir;
use wxgate_sandbox::{Failure, How};

use super::{PATH, fetches};
use crate::support::child::{Child, serve};
use crate::support::gate::Settings;
use crate::support::https::Connection;
use crate::support::redis::Redis;
use crate::support::until::until;
use crate::support::wechat::WeChat;

struct Process {
    child: Child,
    _dir: TempDir,
}

impl Process {
    async fn start(wechat: &WeChat, redis: &Redis) -> Self {
        let dir = TempDir::new().unwrap();
        let (tables, top) = (redis.patient_table(), "workers = 1\n".to_owned());
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
