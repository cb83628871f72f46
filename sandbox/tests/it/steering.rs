//! The calls under `/sandbox/`, and the handle that does the same.

use std::time::Duration;

use serde_json::json;
use wxgate_sandbox::{DEFAULT_SECRET, Failure, How};

use super::{assert_refused, get, post, sandbox, sandbox_with, send, stable_body, token_call};
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
async fn stealing_and_expiring_can_be_restricted_to_one_account() {
    let pairs = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let it = sandbox_with(|options| {
        options.appids = pairs(&["wx1", "wx2"]);
        options.secrets = pairs(&["s1", "s2"]);
    })
    .await;
    let fetch = async |appid: &str, secret: &str| {
        let target = format!("/cgi-bin/token?grant_type=client_credential&appid={appid}&secret={secret}");
        get(it.addr, &target).await.json()["access_token"].as_str().unwrap().to_owned()
    };
    let (first, second) = (fetch("wx1", "s1").await, fetch("wx2", "s2").await);
    assert_eq!(post(it.addr, "/sandbox/steal-token?appid=wx1", "").await.json()["count"], 1);
    assert_eq!((it.errcode_with(&first).await, it.errcode_with(&second).await), (40001, 0));
    assert_eq!(post(it.addr, "/sandbox/expire-token?appid=wx2", "").await.json()["count"], 1);
    assert_eq!((it.errcode_with(&first).await, it.errcode_with(&second).await), (40001, 42001));
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

/// Each way to fail, ordered twice for one path: it strikes that path twice and no other.
#[tokio::test]
async fn each_way_to_fail_keeps_to_its_path_and_count() {
    let it = sandbox().await;
    let token = it.token().await;
    let call = async |path: &str| {
        let mut connection = Connection::tls(it.addr).await;
        let begun = std::time::Instant::now();
        match connection.send(&request("GET", &format!("{path}?access_token={token}"), &[], b"")).await {
            Err(error) => format!("{:?}", error.kind()),
            Ok(response) if response.status != 200 => response.status.to_string(),
            Ok(response) if response.errcode() != 0 => response.errcode().to_string(),
            Ok(_) if begun.elapsed() >= Duration::from_millis(150) => "late".to_owned(),
            Ok(_) => "good".to_owned(),
        }
    };
    for (how, expected) in [
        (r#"{"errcode":-1}"#, "-1"),
        (r#"{"status":503}"#, "503"),
        (r#"{"hang_ms":150}"#, "late"),
        (r#"{"reset":true}"#, "ConnectionReset"),
        (r#"{"early_errcode":40009}"#, "40009"),
    ] {
        let order = format!(r#"{{"count":2,"path":"/cgi-bin/user/get","how":{how}}}"#);
        assert_eq!(post(it.addr, "/sandbox/fail", order).await.json()["count"], 2);
        assert_eq!(get(it.addr, "/sandbox/stats").await.json()["failures_left"], 2);
        // Another path may be slow by itself, but not fail.
        assert!(["good", "late"].contains(&&*call("/cgi-bin/getcallbackip").await), "{how} on another path");
        for _ in 0..2 {
            assert_eq!(call("/cgi-bin/user/get").await, expected);
        }
        assert!(["good", "late"].contains(&&*call("/cgi-bin/user/get").await), "{how} a third time");
        assert_eq!(get(it.addr, "/sandbox/stats").await.json()["failures_left"], 0);
    }
}

#[tokio::test]
async fn an_early_answer_comes_before_the_body_is_whole_and_ends_the_connection() {
    let it = sandbox().await;
    let token = it.token().await;
    let order = r#"{"count":2,"path":"/cgi-bin/media/upload","how":{"early_errcode":40009}}"#;
    post(it.addr, "/sandbox/fail", order).await;
    let target = format!("/cgi-bin/media/upload?access_token={token}");
    let mut upload =
        format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n").into_bytes();
    upload.resize(upload.len() + (64 << 10), b'x');
    // The token is looked at first.
    for expected in ["40009", "40001"] {
        // All that was sent has been read, so that the answer arrives whole and an end follows it.
        let said = Connection::tls(it.addr).await.send_all(&upload).await.unwrap();
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.contains(expected), "{said}");
        post(it.addr, "/sandbox/steal-token", "").await;
    }
}

#[tokio::test]
async fn a_node_that_lags_refuses_a_new_token_and_knows_it_later() {
    let it = sandbox().await;
    let old = it.token().await;
    it.handle.advance(Duration::from_secs(10));
    assert_eq!(post(it.addr, "/sandbox/lag", r#"{"share":1,"ms":5000}"#).await.errcode(), 0);
    let new = it.token().await;
    assert_eq!((it.errcode_with(&old).await, it.errcode_with(&new).await), (0, 40001));
    assert_eq!(it.handle.stats().per_token[1].lagged, 1);
    it.handle.advance(Duration::from_secs(5));
    assert_eq!(it.errcode_with(&new).await, 0);
}

#[tokio::test]
async fn a_share_of_the_calls_meets_nodes_that_lag() {
    let it = sandbox().await;
    let token = it.token().await;
    post(it.addr, "/sandbox/lag", r#"{"share":0.5}"#).await;
    let mut connection = Connection::tls(it.addr).await;
    let call = request("GET", &format!("/cgi-bin/user/get?access_token={token}"), &[], b"");
    for _ in 0..200 {
        connection.send(&call).await.unwrap();
    }
    let stats = &it.handle.stats().per_token[0];
    assert_eq!(stats.calls + stats.lagged, 200);
    assert!((50..=150).contains(&stats.lagged), "{stats:?}");
    post(it.addr, "/sandbox/lag", r#"{"share":0}"#).await;
    assert_eq!(it.errcode_with(&token).await, 0);
    for wrong in ["", r#"{"share":1.5}"#, r#"{"share":0.5,"for":1}"#, r#"{"ms":5}"#] {
        assert_eq!(post(it.addr, "/sandbox/lag", wrong).await.status, 400, "{wrong}");
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
