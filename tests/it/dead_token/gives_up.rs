//! When a refused call cannot be repeated, its caller gets the upstream's own answer and a word about why.

use std::time::{Duration, Instant};

use wxgate_sandbox::{Failure, How};

use crate::support::gate::{Gate, Settings};
use crate::support::https::Response;
use crate::support::until::until;
use crate::support::wechat::WeChat;

fn fail_fetches(wechat: &WeChat, how: How) {
    wechat.handle.fail(Failure { count: 1, path: Some("/cgi-bin/token".to_owned()), how });
}

fn is_the_upstreams_own(response: &Response, why: &str) {
    assert_eq!((response.status, response.errcode()), (200, 40001), "{response:?}");
    assert_eq!(response.header("X-Wxgate-Retry"), Some(why));
    assert_eq!(response.header("X-Wxgate-Error"), None);
    assert!(response.text().contains("invalid credential"), "{}", response.text());
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_first_answer_and_is_tried_again() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    fail_fetches(&wechat, How::Status(503));
    is_the_upstreams_own(&gate.get("/cgi-bin/user/get").await, "refresh-failed");
    // After about a second, without anybody asking.
    until("the next fetch", || wechat.handle.stats().fetches.token == 2).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
}

#[tokio::test]
async fn a_refresh_of_more_than_5_seconds_is_not_waited_for() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    fail_fetches(&wechat, How::Hang(Duration::from_secs(12)));
    let begun = Instant::now();
    is_the_upstreams_own(&gate.get("/cgi-bin/user/get").await, "refresh-failed");
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(wechat.handle.stats().fetches.token, 1, "the fetch is not over");
    // It goes on all the same, and its token is used.
    until("the slow fetch is over", || wechat.handle.stats().fetches.token == 2).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(wechat.handle.stats().fetches.token, 2);
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_still_starts_the_refresh() {
    let wechat = WeChat::start().await;
    let limits = "replay_per_request = \"4KiB\"".to_owned();
    let gate = Gate::with(&wechat.url, Settings { limits, ..Settings::default() }).await;
    let menu =
        |length: usize| serde_json::json!({"button": [{"name": "x", "url": "y".repeat(length)}]}).to_string();
    assert_eq!(gate.post("/cgi-bin/menu/create", menu(8192)).await.errcode(), 0);
    wechat.handle.steal_token();
    is_the_upstreams_own(&gate.post("/cgi-bin/menu/create", menu(8192)).await, "body-too-large");
    until("the refresh", || wechat.handle.stats().fetches.token == 2).await;
    assert_eq!(gate.post("/cgi-bin/menu/create", menu(1024)).await.errcode(), 0);
    wechat.handle.steal_token();
    assert_eq!(gate.post("/cgi-bin/menu/create", menu(1024)).await.errcode(), 0, "a small one is repeated");
}
