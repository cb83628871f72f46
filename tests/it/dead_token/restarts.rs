//! What a restart costs: nothing while the stored token is valid.

use std::path::Path;

use serde_json::Value;

use crate::support::gate::{APPID, Gate, Settings};
use crate::support::wechat::WeChat;

async fn gate(wechat: &WeChat, state: &Path) -> Gate {
    Gate::with(&wechat.url, Settings { state: Some(state.to_owned()), ..Settings::default() }).await
}

fn stored(state: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(state.join(format!("{APPID}.json"))).unwrap()).unwrap()
}

#[tokio::test]
async fn a_restart_fetches_nothing_and_generations_go_on() {
    let wechat = WeChat::start().await;
    let state = tempfile::tempdir().unwrap();
    let first = gate(&wechat, state.path()).await;
    assert_eq!(first.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    assert_eq!(first.get("/cgi-bin/user/get").await.errcode(), 0);
    first.stop();
    assert_eq!(stored(state.path())["generation"], 2);
    for _ in 0..3 {
        let again = gate(&wechat, state.path()).await;
        assert_eq!(again.get("/cgi-bin/user/get").await.errcode(), 0);
        again.stop();
        assert_eq!(stored(state.path())["generation"], 2);
    }
    assert_eq!(wechat.handle.stats().fetches.token, 2);
    let last = gate(&wechat, state.path()).await;
    wechat.handle.steal_token();
    assert_eq!(last.get("/cgi-bin/user/get").await.errcode(), 0);
    last.stop();
    assert_eq!(stored(state.path())["generation"], 3);
}

#[tokio::test]
async fn a_stored_token_whose_time_is_over_is_replaced_at_the_start() {
    let wechat = WeChat::start().await;
    let state = tempfile::tempdir().unwrap();
    let first = gate(&wechat, state.path()).await;
    assert_eq!(first.get("/cgi-bin/user/get").await.errcode(), 0);
    first.stop();
    // As if wxgate had been away for longer than the token lives.
    let mut record = stored(state.path());
    for time in ["issued_at_ms", "expires_at_ms"] {
        let then = record["token"][time].as_u64().unwrap();
        record["token"][time] = (then - 7_201_000).into();
    }
    std::fs::write(state.path().join(format!("{APPID}.json")), record.to_string()).unwrap();
    let again = gate(&wechat, state.path()).await;
    assert_eq!(again.get("/cgi-bin/user/get").await.errcode(), 0);
    again.stop();
    let stats = wechat.handle.stats();
    assert_eq!((stats.fetches.token, stats.refused.len()), (2, 0), "the old token was not even tried");
    assert_eq!(stored(state.path())["generation"], 2);
}

#[tokio::test]
async fn a_bucket_spent_before_a_restart_is_spent_after_it() {
    let wechat = WeChat::start().await;
    let state = tempfile::tempdir().unwrap();
    let first = gate(&wechat, state.path()).await;
    for _ in 0..11 {
        assert_eq!(first.get("/cgi-bin/user/get").await.errcode(), 0);
        wechat.handle.steal_token();
    }
    first.stop();
    let again = gate(&wechat, state.path()).await;
    let limited = again.get("/cgi-bin/user/get").await;
    assert_eq!((limited.errcode(), limited.header("X-Wxgate-Retry")), (40001, Some("refresh-limited")));
    assert_eq!(wechat.handle.stats().fetches.token, 11);
}
