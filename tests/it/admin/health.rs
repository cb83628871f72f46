//! Probes: what a load balancer and an orchestrator are told.

use serde_json::json;

use super::support::{addr, admin, field, get, json, ready, with};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::Settings;
use crate::support::https::{Connection, request};
use crate::support::raw::Raw;
use crate::support::until::until_async;

fn two_accounts() -> Settings {
    Settings {
        account: "prefix = \"/main\"".to_owned(),
        tables: "[[account]]\nname = \"shop\"\nappid = \"wxshop\"\nsecret = \"s\"\nprefix = \"/shop\"\n"
            .to_owned(),
        ..Settings::default()
    }
}

#[tokio::test]
async fn one_account_that_can_serve_is_enough_unless_more_is_asked() {
    // The second account's fetch is refused.
    let fake = Fake::scripted(
        |n| match n {
            0 => Reply::json(
                r#"{"access_token":"FAKE_TOKEN-of-the-first-account-0123456789abcdef","expires_in":7200}"#,
            ),
            _ => Reply::errcode(40125),
        },
        |_| Reply::json("{}"),
    )
    .await;
    let gate = with(&fake.url(), "", two_accounts()).await;
    ready(&gate).await;
    until_async("the other account is refused", async || {
        let answer = json(&get(&gate, "/readyz").await);
        answer["accounts"].as_array().unwrap().iter().any(|account| account["state"] == "refused")
    })
    .await;
    let all = json(&get(&gate, "/readyz").await);
    assert_eq!(all["ready"], true);
    let refused = all["accounts"].as_array().unwrap().iter().find(|a| a["state"] == "refused").unwrap();
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.starts_with("40125 ") && reason.contains("AppSecret"), "{reason}");
    let other = refused["name"].as_str().unwrap();
    let good = if other == "main" { "shop" } else { "main" };
    for (target, status) in [
        ("/readyz".to_owned(), 200),
        ("/readyz?strict".to_owned(), 503),
        ("/readyz?strict=1".to_owned(), 503),
        (format!("/readyz?account={good}"), 200),
        (format!("/readyz?account={other}"), 503),
        ("/readyz?account=unknown".to_owned(), 404),
        ("/livez".to_owned(), 200),
        ("/healthz".to_owned(), 200),
    ] {
        assert_eq!(get(&gate, &target).await.status, status, "{target}");
    }
    let one = json(&get(&gate, &format!("/readyz?account={good}")).await);
    assert_eq!(one, json!({"ready": true, "accounts": [{"name": good, "state": "fresh", "reason": null}]}));
}

#[tokio::test]
async fn head_is_answered_with_the_length_and_without_the_body() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = admin(&fake.url()).await;
    let mut connection = Raw::to(addr(&gate)).await;
    for _ in 0..2 {
        let answer = connection.ask("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!((answer.status, field(&answer, "content-length")), (200, Some("3")), "{answer:?}");
    }
    assert_eq!(connection.ask("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.text(), "ok\n");
}

#[tokio::test]
async fn without_a_token_it_lives_and_is_not_ready() {
    let fake = Fake::scripted(|_| Reply::Silence, |_| Reply::json("{}")).await;
    let gate = admin(&fake.url()).await;
    assert_eq!(get(&gate, "/livez").await.status, 200);
    let answer = get(&gate, "/readyz").await;
    assert_eq!((answer.status, json(&answer)["accounts"][0]["state"].clone()), (503, json!("empty")));
}

#[tokio::test]
async fn connections_that_others_keep_hold_up_no_probe_for_long() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = admin(&fake.url()).await;
    let request = request("GET", "/livez", &[], b"");
    let mut kept = Vec::new();
    let refused = loop {
        let mut connection = Connection::plain(addr(&gate)).await;
        let answer = connection.send(&request).await.unwrap();
        match answer.status {
            200 => kept.push(connection),
            _ => break answer,
        }
    };
    assert!(kept.len() >= 200, "{}", kept.len());
    assert_eq!((refused.status, &json(&refused)["error"]), (503, &json!("busy")));
    assert!(!refused.text().contains("limits."), "{}", refused.text());
    until_async("a probe is answered", async || get(&gate, "/livez").await.status == 200).await;
}
