//! The central server of WeChat's documents: callers with `real_token` get the real token, and a refresh only while the
//! token is still the one that they got.

use serde_json::{Value, json};

use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::{Gate, Settings, note_credential};
use crate::support::https::{Response, request};
use crate::support::wechat::WeChat;

const KEYS: [&str; 2] = ["k3y-of-the-first-w0rker", "k3y-of-the-second-w0rker"];

fn callers() -> String {
    let caller = |n: usize| {
        note_credential(KEYS[n]);
        format!("[[caller]]\nname = \"worker-{n}\"\nkey = \"{}\"\nreal_token = true\n", KEYS[n])
    };
    format!("{}{}[[caller]]\nname = \"plain\"\nfrom = [\"127.0.0.1\"]\n", caller(0), caller(1))
}

async fn gate(url: &str) -> Gate {
    Gate::with(url, Settings { tables: callers(), ..Settings::default() }).await
}

async fn stable(gate: &Gate, worker: usize, force: &Value) -> Response {
    let body = json!({"grant_type": "client_credential", "appid": "", "secret": "x", "force_refresh": force});
    let key = format!("X-Wxgate-Key: {}", KEYS[worker]);
    let fields = [&*key, "Content-Type: application/json"];
    gate.send(&request("POST", "/cgi-bin/stable_token", &fields, body.to_string().as_bytes())).await
}

fn issued(answer: &Response) -> String {
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_refresh_is_bound_to_the_token_that_the_caller_got() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let gate = gate(&fake.url()).await;
    for worker in [0, 1] {
        assert_eq!(issued(&stable(&gate, worker, &json!(false)).await), token(0));
    }
    // The first one to find it dead causes a refresh; the other gets what that brought.
    let forced = stable(&gate, 0, &json!(true)).await;
    assert_eq!((issued(&forced), fake.fetches()), (token(1), 2));
    assert!((7190..=7200).contains(&forced.json()["expires_in"].as_u64().unwrap()));
    assert_eq!((issued(&stable(&gate, 1, &json!(true)).await), fake.fetches()), (token(1), 2));
    // Who has got that and asks again gets another one.
    assert_eq!((issued(&stable(&gate, 1, &json!(true)).await), fake.fetches()), (token(2), 3));
    assert_eq!((issued(&stable(&gate, 0, &json!(false)).await), fake.fetches()), (token(2), 3));
    // The placeholder is never refreshed.
    let plain = gate.post("/cgi-bin/stable_token", r#"{"force_refresh":true}"#).await;
    assert!(issued(&plain).starts_with("wxgate-placeholder"));
    assert_eq!(fake.fetches(), 3);
}

/// Workers behind one address share what is remembered of it; one that names the dead token needs no memory.
#[tokio::test]
async fn a_refresh_is_bound_to_the_token_that_the_caller_names() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let gate = gate(&fake.url()).await;
    let ask = async |dead: &str| {
        let body = json!({"force_refresh": true, "access_token": dead}).to_string();
        let key = format!("X-Wxgate-Key: {}", KEYS[0]);
        issued(&gate.send(&request("POST", "/cgi-bin/stable_token", &[&*key], body.as_bytes())).await)
    };
    for (dead, right, fetches) in [
        (&*token(7), token(0), 1),
        (&*token(0), token(1), 2),
        (&*token(0), token(1), 2),
        (&*token(1), token(2), 3),
    ] {
        assert_eq!((ask(dead).await, fake.fetches()), (right, fetches), "{dead}");
    }
}

#[tokio::test]
async fn who_never_got_a_token_gets_the_current_one() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let gate = gate(&fake.url()).await;
    assert_eq!(issued(&stable(&gate, 0, &json!(true)).await), token(0));
    assert_eq!(fake.fetches(), 1);
}

#[tokio::test]
async fn what_callers_got_is_remembered_over_a_reload() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let gate = gate(&fake.url()).await;
    stable(&gate, 0, &json!(false)).await;
    gate.reload(&fake.url(), &Settings { tables: callers(), ..Settings::default() }).await;
    assert_eq!(issued(&stable(&gate, 0, &json!(true)).await), token(1));
}

#[tokio::test]
async fn refreshes_come_from_the_bucket_and_then_the_current_token_is_handed_out() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let gate = gate(&fake.url()).await;
    stable(&gate, 0, &json!(false)).await;
    for n in 1..=10 {
        assert_eq!(issued(&stable(&gate, 0, &json!(true)).await), token(n));
    }
    let limited = stable(&gate, 0, &json!(true)).await;
    assert_eq!((limited.status, issued(&limited), fake.fetches()), (200, token(10), 11));
    assert_eq!(limited.header("X-Wxgate-Retry"), Some("refresh-limited"));
}

#[tokio::test]
async fn a_token_that_was_stolen_is_replaced_for_a_caller_that_calls_by_itself() {
    let wechat = WeChat::start().await;
    let gate = gate(&wechat.url).await;
    let old = issued(&stable(&gate, 0, &json!(false)).await);
    wechat.handle.steal_token();
    let new = issued(&stable(&gate, 0, &json!(true)).await);
    assert_ne!(new, old);
    assert_eq!(wechat.handle.stats().fetches.token, 2);
}
