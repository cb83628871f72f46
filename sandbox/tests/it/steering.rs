//! The calls under `/sandbox/`, and the handle that does the same.

use std::time::Duration;

use serde_json::json;
use wxgate_sandbox::{DEFAULT_SECRET, Failure, How};

use super::{assert_refused, get, post, sandbox, send, stable_body, token_call};
use crate::https::{Connection, request};

#[tokio::test]
async fn a_stolen_token_stops_working_at_once_and_a_new_fetch_mends_it() {
    let it = sandbox().await;
    let token = it.token().await;
    assert_eq!(post(it.addr, "/sandbox/steal-token", "").await.json()["count"], 1);
    assert_eq!(it.errcode_with(&token).await, 40001);
    assert_eq!(it.errcode_with(&it.token().await).await, 0);
    assert_eq!(it.handle.stats().fetches.token, 2, "the thief's fetch is not ours");
}

#[tokio::test]
async fn an_expired_token_says_so() {
    let it = sandbox().await;
    let (token, (stable, _)) = (it.token().await, it.stable(false).await);
    assert_eq!(post(it.addr, "/sandbox/expire-token", "").await.json()["count"], 2);
    assert_eq!(it.errcode_with(&token).await, 42001);
    assert_eq!(it.errcode_with(&stable).await, 42001);
    assert_ne!(it.stable(false).await.0, stable);
}

#[tokio::test]
async fn an_ordered_errcode_comes_as_often_as_ordered_on_its_path() {
    let it = sandbox().await;
    let token = it.token().await;
    let order = r#"{"count":2,"path":"/cgi-bin/user/get","how":{"errcode":45009}}"#;
    assert_eq!(post(it.addr, "/sandbox/fail", order).await.json()["count"], 2);
    assert_eq!(it.get("/cgi-bin/getcallbackip", "").await.errcode(), 0);
    let call = || it.errcode_with(&token);
    assert_eq!([call().await, call().await, call().await], [45009, 45009, 0]);
}

#[tokio::test]
async fn an_ordered_failure_without_a_path_strikes_token_calls_too() {
    let it = sandbox().await;
    it.handle.fail(Failure { count: 2, path: None, how: How::Errcode(-1) });
    assert_refused(&get(it.addr, &token_call()).await, -1, "system error");
    assert_refused(&post(it.addr, "/cgi-bin/stable_token", stable_body(false)).await, -1, "system error");
    assert!(it.handle.tokens_issued().is_empty());
}

#[tokio::test]
async fn an_ordered_status_has_no_body() {
    let it = sandbox().await;
    post(it.addr, "/sandbox/fail", r#"{"how":{"status":502}}"#).await;
    let response = get(it.addr, "/cgi-bin/user/get").await;
    assert_eq!((response.status, response.body.len()), (502, 0));
}

#[tokio::test]
async fn an_ordered_hang_delays_the_true_answer() {
    let it = sandbox().await;
    let token = it.token().await;
    post(it.addr, "/sandbox/fail", r#"{"how":{"hang_ms":200}}"#).await;
    let begun = std::time::Instant::now();
    assert_eq!(it.errcode_with(&token).await, 0);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_ordered_reset_is_a_reset_and_not_an_end() {
    let it = sandbox().await;
    for _ in 0..3 {
        post(it.addr, "/sandbox/fail", r#"{"how":{"reset":true}}"#).await;
        let mut connection = Connection::tls(it.addr).await;
        let error = connection.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_wrong_order_is_refused_in_words() {
    let it = sandbox().await;
    let response = post(it.addr, "/sandbox/fail", "{").await;
    assert_eq!(response.status, 400);
    assert!(response.text().contains("not JSON"), "{}", response.text());
    assert_eq!(post(it.addr, "/sandbox/nothing", "").await.status, 404);
    assert_eq!(post(it.addr, "/sandbox/steal-token?appid=wx1", "").await.status, 404);
}

#[tokio::test]
async fn stats_count_fetches_calls_tokens_errors_and_peers_without_a_token() {
    let it = sandbox().await;
    let token = it.token().await;
    it.stable(false).await;
    it.stable(true).await;
    it.errcode_with(&token).await;
    it.errcode_with("x").await;
    let response = get(it.addr, "/sandbox/stats").await;
    let stats = response.json();
    assert_eq!(stats["fetches"], json!({ "token": 1, "stable": 1, "stable_forced": 1 }));
    assert_eq!(stats["fetches_today"], stats["fetches"]);
    assert_eq!((&stats["calls"], &stats["calls_by_path"]["/cgi-bin/user/get"]), (&json!(2), &json!(2)));
    assert_eq!(stats["calls_by_path"]["/cgi-bin/stable_token"], 2);
    assert_eq!(stats["per_token"][0]["calls"], 1);
    assert_eq!(stats["per_token"][0]["ends_with"], token[token.len() - 6..]);
    assert_eq!(stats["per_token"][1]["state"], "replaced");
    assert_eq!(stats["refused"]["40014"], 1);
    assert_eq!(stats["peers"]["127.0.0.1"], 5);
    for token in it.handle.tokens_issued() {
        assert!(!response.text().contains(&token));
    }
}

#[tokio::test]
async fn the_last_requests_are_remembered_with_their_headers_and_no_token() {
    let it = sandbox().await;
    let token = it.token().await;
    let target = format!("/cgi-bin/user/get?a=%20&access_token={token}");
    send(it.addr, &request("GET", &target, &["X-Test: 1"], b"")).await;
    let response = get(it.addr, "/sandbox/last").await;
    let seen = &response.json()[1];
    assert_eq!(seen["query"], "a=%20&access_token=***");
    assert!(seen["headers"].as_array().unwrap().contains(&json!(["x-test", "1"])));
    assert!(!response.text().contains(&token) && !response.text().contains(DEFAULT_SECRET));
}
