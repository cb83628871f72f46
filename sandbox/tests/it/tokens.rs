//! How the sandbox hands tokens out and ends them.

use std::time::Duration;

use serde_json::json;
use wxgate_sandbox::{DEFAULT_APPID, DEFAULT_SECRET};

use super::{assert_refused, get, post, sandbox, sandbox_with, stable_body, token_call};
use crate::https::{Connection, request};

#[tokio::test]
async fn a_token_comes_with_the_seconds_it_lives_in_wechats_type() {
    let it = sandbox().await;
    let answer = get(it.addr, &token_call()).await;
    assert_eq!(answer.header("Content-Type"), Some("application/json; encoding=utf-8"));
    assert_eq!(answer.json()["expires_in"], 7200);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert!((136..=160).contains(&token.len()), "{token}");
    assert_eq!(it.handle.tokens_issued(), std::slice::from_ref(&token));
    assert_eq!(it.errcode_with(&token).await, 0);
}

#[tokio::test]
async fn a_token_can_be_fetched_by_post() {
    let it = sandbox().await;
    assert!(post(it.addr, &token_call(), "").await.json()["access_token"].is_string());
    let form = token_call().split_once('?').unwrap().1.to_owned();
    assert!(post(it.addr, "/cgi-bin/token", form).await.json()["access_token"].is_string());
}

#[tokio::test]
async fn the_parameters_of_the_token_call_are_checked_in_wechats_order() {
    let it = sandbox().await;
    for (query, code, text) in [
        ("", 41002, "appid missing"),
        ("grant_type=client_credential", 41002, "appid missing"),
        ("grant_type=password&appid=x&secret=y", 40013, "invalid appid"),
        (&*format!("grant_type=password&appid={DEFAULT_APPID}&secret=y"), 40002, "invalid grant_type"),
        (&*format!("appid={DEFAULT_APPID}"), 40002, "invalid grant_type"),
        (&*format!("grant_type=client_credential&appid={DEFAULT_APPID}"), 41004, "appsecret missing"),
        ("grant_type=client_credential&appid=wx1&secret=s", 40013, "invalid appid"),
        (
            &*format!("grant_type=client_credential&appid={DEFAULT_APPID}&secret=s"),
            40125,
            "invalid appsecret",
        ),
    ] {
        assert_refused(&get(it.addr, &format!("/cgi-bin/token?{query}")).await, code, text);
    }
    assert!(it.handle.tokens_issued().is_empty());
}

#[tokio::test]
async fn an_address_off_the_whitelist_fetches_no_token_and_makes_no_call() {
    let it = sandbox_with(|options| options.allow_ips = vec![[203, 0, 113, 7].into()]).await;
    let text = "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist";
    assert_refused(&get(it.addr, &token_call()).await, 40164, text);
    assert_refused(&post(it.addr, "/cgi-bin/stable_token", stable_body(false)).await, 40164, text);
    assert_refused(&get(it.addr, "/cgi-bin/user/get?access_token=x").await, 40164, text);
}

#[tokio::test]
async fn two_thousand_tokens_a_day_and_clear_quota_gives_them_back() {
    let it = sandbox().await;
    let mut connection = Connection::tls(it.addr).await;
    let fetch = request("GET", &token_call(), &[], b"");
    for _ in 0..2000 {
        assert_eq!(connection.send(&fetch).await.unwrap().errcode(), 0);
    }
    assert_refused(&connection.send(&fetch).await.unwrap(), 45009, "reach max api daily quota limit");
    let body = json!({ "appid": DEFAULT_APPID, "appsecret": DEFAULT_SECRET }).to_string();
    assert_eq!(post(it.addr, "/cgi-bin/clear_quota/v2", body).await.errcode(), 0);
    assert_eq!(connection.send(&fetch).await.unwrap().errcode(), 0);
}

#[tokio::test]
async fn the_previous_token_works_until_the_overlap_is_over() {
    let it = sandbox().await;
    let (first, second) = (it.token().await, it.token().await);
    assert_eq!(it.errcode_with(&first).await, 0);
    it.handle.advance(Duration::from_secs(301));
    assert_eq!(it.errcode_with(&first).await, 40001);
    assert_eq!(it.errcode_with(&second).await, 0);
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let it = sandbox_with(|options| options.token_ttl = Duration::from_secs(60)).await;
    let answer = get(it.addr, &token_call()).await.json();
    assert_eq!(answer["expires_in"], 60);
    it.handle.advance(Duration::from_secs(60));
    let target = format!("/cgi-bin/user/get?access_token={}", answer["access_token"].as_str().unwrap());
    assert_refused(&get(it.addr, &target).await, 42001, "access_token expired");
}

#[tokio::test]
async fn the_stable_call_hands_back_the_same_token() {
    let it = sandbox().await;
    let (first, _) = it.stable(false).await;
    it.handle.advance(Duration::from_secs(6000));
    let (second, left) = it.stable(false).await;
    assert_eq!(first, second);
    assert!((1195..=1200).contains(&left), "{left}");
}

#[tokio::test]
async fn the_stable_call_hands_out_the_next_token_near_the_end() {
    let it = sandbox_with(|options| options.token_ttl = Duration::from_secs(100)).await;
    let (first, _) = it.stable(false).await;
    it.handle.advance(Duration::from_secs(81));
    let (second, _) = it.stable(false).await;
    assert_ne!(first, second);
    assert_eq!((it.errcode_with(&first).await, it.errcode_with(&second).await), (0, 0));
}

#[tokio::test]
async fn a_forced_refresh_ends_the_stable_token_and_no_other() {
    let it = sandbox().await;
    let (plain, (stable, _)) = (it.token().await, it.stable(false).await);
    let (forced, _) = it.stable(true).await;
    assert_eq!(it.errcode_with(&stable).await, 40001);
    assert_eq!((it.errcode_with(&forced).await, it.errcode_with(&plain).await), (0, 0));
    assert_eq!(it.stable(true).await.0, forced, "within 30 s nothing is refreshed");
}

#[tokio::test]
async fn the_stable_call_takes_a_post_with_json_alone() {
    let it = sandbox().await;
    let path = "/cgi-bin/stable_token";
    assert_refused(&get(it.addr, path).await, 43002, "require POST method");
    for (body, code, text) in [
        ("", 44002, "empty post data"),
        ("grant_type=client_credential", 47001, "data format error"),
        ("[]", 47001, "data format error"),
        ("{}", 41002, "appid missing"),
        (r#"{"grant_type":"client_credential"}"#, 41002, "appid missing"),
        (r#"{"grant_type":"client_credential","appid":"wx1"}"#, 40013, "invalid appid"),
        (&*format!(r#"{{"appid":"{DEFAULT_APPID}"}}"#), 40002, "invalid grant_type"),
        (
            &*format!(r#"{{"grant_type":"client_credential","appid":"{DEFAULT_APPID}"}}"#),
            41004,
            "appsecret missing",
        ),
        (r#"{"grant_type":"client_credential","appid":"wx1","secret":"s"}"#, 40013, "invalid appid"),
    ] {
        assert_refused(&post(it.addr, path, body).await, code, text);
    }
}

#[tokio::test]
async fn each_account_has_a_token_of_its_own() {
    let it = sandbox_with(|options| {
        options.appids = vec!["wxa".to_owned(), "wxb".to_owned()];
        options.secrets = vec!["sa".to_owned(), "sb".to_owned()];
    })
    .await;
    let call = |appid, secret| {
        let target = format!("/cgi-bin/token?grant_type=client_credential&appid={appid}&secret={secret}");
        async move { get(it.addr, &target).await.json()["access_token"].as_str().map(str::to_owned) }
    };
    let a = call("wxa", "sa").await.unwrap();
    assert!(call("wxb", "sb").await.is_some());
    assert_eq!(call("wxb", "sa").await, None);
    post(it.addr, "/sandbox/steal-token?appid=wxb", "").await;
    assert_eq!(it.errcode_with(&a).await, 0);
}
