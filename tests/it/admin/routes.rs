//! What each route tells and does.

use serde_json::{Value, json};

use super::support::{addr, admin, ask, get, json, post, ready, with};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{APPID, SECRET, Settings};
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_status_has_the_shape_of_the_contract() {
    let wechat = WeChat::start().await;
    let gate = admin(&wechat.url).await;
    ready(&gate).await;
    let status = json(&get(&gate, "/status").await);
    assert_eq!(
        keys(&status),
        [
            "accounts",
            "caller_connections",
            "egress_ip",
            "last_reload",
            "ready",
            "store",
            "upstream_connections",
            "uptime_seconds",
            "version"
        ]
    );
    assert_eq!(keys(&status["upstream_connections"]), ["active", "idle"]);
    assert_eq!(status["store"], json!({"kind": "file", "up": true}));
    assert_eq!(keys(&status["last_reload"]), ["at", "errors", "ok"]);
    let account = &status["accounts"][0];
    assert_eq!(
        keys(account),
        [
            "age_seconds",
            "appid",
            "expires_in_seconds",
            "fetches_today",
            "generation",
            "kind",
            "last_error",
            "last_refresh",
            "name",
            "quota",
            "state",
            "token_api",
            "upstream"
        ]
    );
    assert_eq!(keys(&account["upstream"]), ["in_use", "tls_expires_at", "url"]);
    for (key, right) in [
        ("name", json!("main")),
        ("kind", json!("weixin")),
        ("appid", json!(APPID)),
        ("token_api", json!("token")),
        ("state", json!("fresh")),
        ("generation", json!(1)),
        ("fetches_today", json!(1)),
        ("quota", json!(2000)),
        ("last_error", json!(null)),
    ] {
        assert_eq!(account[key], right, "{key}");
    }
    let ends = account["upstream"]["tls_expires_at"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(ends).unwrap() > std::time::SystemTime::now(), "{ends}");
    assert!(account["expires_in_seconds"].as_u64().unwrap() > 7000);
    assert_eq!(account["last_refresh"]["reason"], "start");
}

#[tokio::test]
async fn calls_that_failed_or_were_healed_are_explained_in_both_languages() {
    let wechat = WeChat::start().await;
    let gate = admin(&wechat.url).await;
    gate.get("/cgi-bin/user/get").await;
    assert_eq!(json(&get(&gate, "/calls").await), json!({"calls": []}), "a good call is not in the list");
    wechat.handle.expire_token();
    gate.get("/cgi-bin/user/get?a=secret-query").await;
    gate.get("/cgi-bin/user/info?openid=nobody").await;
    gate.get("/elsewhere").await;
    let english = json(&get(&gate, "/calls").await);
    let calls = english["calls"].as_array().unwrap();
    let of = |key: &str| calls.iter().map(|call| call[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("path"), ["/elsewhere", "/cgi-bin/user/info", "/cgi-bin/user/get"]);
    assert_eq!(of("account"), ["main"; 3]);
    assert_eq!(of("attempts"), [0, 1, 2]);
    assert_eq!(of("errcode"), [json!(40066), json!(40003), json!(null)]);
    assert_eq!(of("error"), [json!("not-found"), json!(null), json!(null)]);
    assert!(calls[1]["errmsg"].as_str().unwrap().starts_with("invalid openid"));
    assert!(calls[1]["explain"].as_str().unwrap().contains(APPID));
    assert!(calls[2]["explain"].as_str().unwrap().contains("sent the call again"), "{}", calls[2]);
    let own = calls[0]["errmsg"].as_str().unwrap();
    assert!(
        own.starts_with("this path is not among the account's `paths`"),
        "what the caller was told: {own}"
    );
    let fields = ["Host: localhost", "Accept-Language: fr, zh-CN;q=0.9, en;q=0.8"];
    let chinese = json(&ask(&gate, "GET", "/calls", &fields, "").await);
    assert!(chinese["calls"][1]["explain"].as_str().unwrap().contains("不属于这个账号"), "{chinese}");
    let text = english.to_string();
    assert!(!text.contains("secret-query") && !text.contains(SECRET), "{text}");
    for token in wechat.handle.tokens_issued() {
        assert!(!text.contains(&token));
    }
}

#[tokio::test]
async fn five_apps_that_ask_together_for_a_refresh_cause_one_fetch() {
    let wechat = WeChat::start().await;
    let gate = admin(&wechat.url).await;
    ready(&gate).await;
    let ask = || post(&gate, "/accounts/main/refresh?generation=1", "");
    let answers = tokio::join!(ask(), ask(), ask(), ask(), ask());
    for answer in [answers.0, answers.1, answers.2, answers.3, answers.4] {
        let told = json(&answer);
        assert_eq!((answer.status, &told["generation"]), (200, &json!(2)));
        assert!(told["expires_in_seconds"].as_u64().unwrap() > 7000);
    }
    assert_eq!(json(&ask().await)["generation"], 2, "the current state at once");
    assert_eq!(json(&get(&gate, "/status").await)["accounts"][0]["fetches_today"], 2);
    assert_eq!(json(&post(&gate, "/accounts/main/refresh", "").await)["generation"], 3);
    assert_eq!(post(&gate, "/accounts/other/refresh", "").await.status, 404);
    assert_eq!(post(&gate, "/accounts/main/refresh?generation=x", "").await.status, 400);
    assert_eq!(get(&gate, "/accounts/main/refresh").await.status, 405);
}

#[tokio::test]
async fn an_empty_bucket_is_429() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let gate = admin(&fake.url()).await;
    ready(&gate).await;
    for _ in 0..10 {
        assert_eq!(post(&gate, "/accounts/main/refresh", "").await.status, 200);
    }
    let limited = post(&gate, "/accounts/main/refresh", "").await;
    assert_eq!((limited.status, json(&limited)["error"].clone()), (429, json!("refresh-limited")));
}

#[tokio::test]
async fn a_call_goes_the_ordinary_way_as_the_caller_admin() {
    let wechat = WeChat::start().await;
    let gate =
        with(&wechat.url, "", Settings { account: "prefix = \"/shop\"".to_owned(), ..Settings::default() })
            .await;
    ready(&gate).await;
    wechat.handle.expire_token();
    let call = json!({"method": "GET", "path": "/cgi-bin/user/get", "query": "next_openid=", "headers": {"X-A": "b"}});
    let answer = post(&gate, "/accounts/main/call", &call.to_string()).await;
    let told = json(&answer);
    assert_eq!((answer.status, &told["status"], &told["attempts"]), (200, &json!(200), &json!(2)));
    assert!(
        told["body"].as_str().unwrap().contains("oSandboxFollower") && told["ms"].as_f64().unwrap() > 0.0
    );
    assert_eq!(told["headers"]["content-type"], "application/json; encoding=utf-8");
    let call = json!({"method": "POST", "path": "/cgi-bin/message/custom/send", "body": "{}"});
    let told = json(&post(&gate, "/accounts/main/call", &call.to_string()).await);
    assert_ne!(told["errcode"], 0);
    let call =
        json!({"method": null, "path": "/cgi-bin/user/get", "query": null, "headers": null, "body": null});
    assert_eq!(json(&post(&gate, "/accounts/main/call", &call.to_string()).await)["status"], 200);
    let outside = json(&post(&gate, "/accounts/main/call", r#"{"path":"/wxa/x"}"#).await);
    assert_eq!(
        (&outside["status"], &outside["errcode"]),
        (&json!(404), &json!(40066)),
        "`paths` hold here too"
    );
    let placeholder = json(&post(&gate, "/accounts/main/call", r#"{"path":"/cgi-bin/token"}"#).await);
    assert!(placeholder["body"].as_str().unwrap().contains("placeholder"));
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        (r#"{"path":"/a","method":"A B"}"#, 400),
        (r#"{"path":"/a","headers":{"a b":"c"}}"#, 400),
        (r#"{"path":"/a","unknown":1}"#, 400),
    ] {
        assert_eq!(post(&gate, "/accounts/main/call", body).await.status, status, "{body}");
    }
    for path in ["http://evil.example.com/cgi-bin/x", "/cgi-bin/a b", "/cgi-bin/../x", "/cgi-bin/x#y", "x"] {
        let body = json!({ "path": path }).to_string();
        assert_eq!(json(&post(&gate, "/accounts/main/call", &body).await)["status"], 400, "{path}");
    }
    let calls = json(&get(&gate, "/calls").await);
    assert!(calls["calls"].as_array().unwrap().iter().all(|call| call["caller"] == "admin"), "{calls}");
    assert_eq!(post(&gate, "/accounts/other/call", r#"{"path":"/cgi-bin/x"}"#).await.status, 404);
}

#[tokio::test]
async fn the_body_of_a_call_is_a_text_or_json() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = admin(&fake.url()).await;
    for (body, status) in [
        (r#"{"path":"/cgi-bin/a","method":"POST","body":{"touser":["a"],"n":1}}"#, 200),
        (r#"{"path":"/cgi-bin/a","method":"POST","body":"{\"n\": 1}"}"#, 200),
        (r#"{"path":"/cgi-bin/a","method":"POST","body":{},"headers":{"Content-Type":"text/plain"}}"#, 200),
        (r#"{"path":"/cgi-bin/a","method":"POST","body":5}"#, 400),
    ] {
        assert_eq!(post(&gate, "/accounts/main/call", body).await.status, status, "{body}");
    }
    let seen: Vec<_> =
        fake.seen().iter().map(|call| (call.body.clone(), call.fields("Content-Type").join(","))).collect();
    let right = [
        (&br#"{"n":1,"touser":["a"]}"#[..], "application/json"),
        (br#"{"n": 1}"#, ""),
        (b"{}", "text/plain"),
    ]
    .map(|(body, kind)| (body.to_vec(), kind.to_owned()));
    assert_eq!(seen, right);
}

#[tokio::test]
async fn bytes_that_are_no_text_come_as_base64() {
    let fake = Fake::answering(|_| Reply::ok(&["Content-Type: image/jpeg"], [0xff, 0xd8, 0xff])).await;
    let gate = admin(&fake.url()).await;
    let told = json(&post(&gate, "/accounts/main/call", r#"{"path":"/cgi-bin/media/get"}"#).await);
    assert_eq!((&told["body_base64"], told.get("body")), (&json!("/9j/"), None));
}

#[tokio::test]
async fn metrics_are_counted_and_an_account_that_is_gone_takes_its_series_along() {
    let wechat = WeChat::start().await;
    let two = "[[account]]\nname = \"shop\"\nappid = \"wxshop\"\nsecret = \"s\"\nprefix = \"/shop\"\n\
               [[caller]]\nname = \"cms\"\nfrom = [\"127.0.0.1\"]\n";
    let settings =
        || Settings { tables: format!("[admin]\nlisten = \"127.0.0.1:0\"\n{two}"), ..Settings::default() };
    let gate = crate::support::gate::Gate::with(&wechat.url, settings()).await;
    ready(&gate).await;
    gate.get("/cgi-bin/user/get").await;
    wechat.handle.expire_token();
    gate.get("/cgi-bin/user/get").await;
    gate.get("/elsewhere").await;
    gate.get("/shop/cgi-bin/user/get").await;
    let metrics = async || get(&gate, "/metrics").await.text().to_owned();
    until_async("the calls are counted", async || {
        metrics().await.contains("wxgate_requests_total{account=\"main\",caller=\"cms\",status=\"200\"} 2\n")
    })
    .await;
    let text = metrics().await;
    for line in [
        "wxgate_own_answers_total{code=\"not-found\"} 1",
        "wxgate_requests_total{account=\"main\",caller=\"cms\",status=\"404\"} 1",
        "wxgate_upstream_errcode_total{account=\"main\",errcode=\"42001\"} 1",
        "wxgate_retries_total{account=\"main\",outcome=\"ok\"} 1",
        "wxgate_token_refreshes_total{account=\"main\",reason=\"forced\",outcome=\"ok\"} 1",
        "wxgate_token_fetches_today{account=\"main\"} 2",
        "wxgate_token_quota{account=\"main\"} 2000",
        "wxgate_request_duration_seconds_count{account=\"main\"} 3",
        "wxgate_upstream_request_duration_seconds_count{account=\"main\"} 3",
        "wxgate_upstream_errcode_total{account=\"shop\",errcode=\"40013\"} 1",
        "wxgate_config_last_reload_successful 1",
        "wxgate_store_up 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.contains("account=\"shop\""));
    let loads = |text: &str| -> u64 {
        let series = "wxgate_store_operations_total{operation=\"load\",outcome=\"ok\"} ";
        text.lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap()
    };
    let before = loads(&text);
    let mut one = settings();
    one.tables = "[admin]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    gate.reload(&wechat.url, &one).await;
    let text = metrics().await;
    assert!(!text.contains("\"shop\"") && !text.contains("\"cms\""), "{text}");
    assert!(text.contains("wxgate_request_duration_seconds_count{account=\"main\"} 3\n"), "{text}");
    assert!(
        before >= 2 && loads(&text) >= before,
        "what an account did counts when it has gone: {before}, {text}"
    );
}

#[tokio::test]
async fn admin_requests_are_counted_for_nobody_and_stay_small() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = admin(&fake.url()).await;
    ready(&gate).await;
    for target in ["/", "/status", "/calls", "/nothing"] {
        get(&gate, target).await;
    }
    let text = get(&gate, "/metrics").await.text().to_owned();
    assert!(!text.lines().any(|line| line.starts_with("wxgate_requests_total{")), "{text}");
    assert!(text.contains("wxgate_caller_connections 0\n"));
    assert_eq!(post(&gate, "/accounts/main/call", &"x".repeat(3 << 20)).await.status, 413);
    assert_ne!(addr(&gate).port(), 0);
}
