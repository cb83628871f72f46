//! Accounts whose callers keep their own token (`token_api = "none"`) and need nothing but the one egress IP.

use serde_json::json;

use crate::admin::support::{get, json as body, post, with};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};

fn egress_only() -> Settings {
    Settings { account: "token_api = \"none\"".to_owned(), ..Settings::default() }
}

#[tokio::test]
async fn nothing_is_put_in_or_taken_out_and_nothing_is_sent_twice() {
    let fake = Fake::answering(|_| Reply::errcode(40001)).await;
    let gate = Gate::with(&fake.url(), egress_only()).await;
    for target in [
        "/cgi-bin/user/get?access_token=CALLERS_OWN&next_openid=",
        "/cgi-bin/user/get?access_token=A&access_token=B",
        "/cgi-bin/menu/get",
        "/cgi-bin/gettoken",
        "/cgi-bin/component/x?component_access_token=C",
    ] {
        let before = fake.calls();
        let answer = gate.get(target).await;
        assert_eq!((answer.status, answer.errcode()), (200, 40001), "{target}");
        assert_eq!(answer.header("X-Wxgate-Retry"), None, "{target}");
        assert_eq!(fake.calls() - before, 1, "{target}");
        assert_eq!(fake.seen().pop().unwrap().line(), format!("GET {target} HTTP/1.1"));
    }
    assert_eq!(fake.fetches(), 0, "no token is fetched");
}

#[tokio::test]
async fn callers_fetch_their_own_tokens() {
    let fake = Fake::answering(|_| Reply::json(r#"{"access_token":"THEIR_OWN","expires_in":7200}"#)).await;
    let gate = Gate::with(&fake.url(), egress_only()).await;
    let answer = gate.get("/cgi-bin/token?grant_type=client_credential&appid=wxany&secret=THEIRS").await;
    assert!(answer.text().contains("FAKE_TOKEN"), "the upstream's own answer: {}", answer.text());
    let asked = r#"{"grant_type":"client_credential","appid":"wxany","secret":"THEIRS"}"#;
    assert!(gate.post("/cgi-bin/stable_token", asked).await.text().contains("THEIR_OWN"));
    assert_eq!((fake.fetches(), fake.calls()), (1, 1));
    assert_eq!(fake.seen()[0].body, asked.as_bytes());
}

#[tokio::test]
async fn paths_callers_and_own_answers_are_as_always() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let tables = "[[caller]]\nname = \"app\"\nkey = \"k3y-of-the-app\"\nallow = [\"GET /cgi-bin/user/*\"]\n";
    let gate = Gate::with(&fake.url(), Settings { tables: tables.to_owned(), ..egress_only() }).await;
    let ask = async |target: &str, key: &str| {
        let fields = [&*format!("X-Wxgate-Key: {key}")];
        let request = crate::support::https::request("GET", target, &fields, b"");
        let answer = gate.send(&request).await;
        (answer.status, answer.header("X-Wxgate-Error").unwrap_or_default().to_owned())
    };
    for (target, key, right) in [
        ("/cgi-bin/user/get?access_token=T", "k3y-of-the-app", (200, "")),
        ("/cgi-bin/menu/get?access_token=T", "k3y-of-the-app", (403, "denied")),
        ("/cgi-bin/token", "k3y-of-the-app", (403, "denied")),
        ("/cgi-bin/user/get", "wrong", (403, "denied")),
        ("/wxa/getwxacode", "k3y-of-the-app", (404, "not-found")),
    ] {
        assert_eq!(ask(target, key).await, (right.0, right.1.to_owned()), "{target} {key}");
    }
}

#[tokio::test]
async fn it_can_serve_without_a_token_and_has_none_to_show() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = with(&fake.url(), "", egress_only()).await;
    let ready = get(&gate, "/readyz").await;
    let account = json!({"name": "main", "state": "none", "reason": null});
    assert_eq!((ready.status, body(&ready)), (200, json!({"ready": true, "accounts": [account]})));
    let status = body(&get(&gate, "/status").await);
    let account = &status["accounts"][0];
    for (key, right) in [
        ("kind", json!("weixin")),
        ("token_api", json!("none")),
        ("state", json!("none")),
        ("appid", json!(null)),
        ("generation", json!(null)),
        ("fetches_today", json!(null)),
        ("quota", json!(null)),
        ("last_refresh", json!(null)),
    ] {
        assert_eq!(account[key], right, "{key}");
    }
    gate.get("/cgi-bin/user/get").await;
    let metrics = get(&gate, "/metrics").await;
    let metrics = metrics.text();
    assert!(metrics.contains("wxgate_requests_total{account=\"main\""), "{metrics}");
    assert!(
        !metrics.contains("wxgate_token_quota{") && !metrics.contains("wxgate_token_fetches_today{"),
        "{metrics}"
    );
    assert!(get(&gate, "/").await.text().contains("Callers keep their own token."));
    assert_eq!(post(&gate, "/accounts/main/refresh", "").await.status, 400);
    let call = post(
        &gate,
        "/accounts/main/call",
        r#"{"method":"GET","path":"/cgi-bin/user/get","query":"access_token=T"}"#,
    );
    assert_eq!(body(&call.await)["status"], 200);
    assert!(fake.seen().pop().unwrap().line().contains("?access_token=T "));
}

#[tokio::test]
async fn an_account_can_change_between_a_token_of_wxgates_and_the_callers_own() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    let last = || fake.seen().pop().unwrap().line().to_owned();
    gate.get("/cgi-bin/user/get?access_token=T").await;
    assert!(last().contains("FAKE_TOKEN"));
    gate.reload(&fake.url(), &egress_only()).await;
    gate.get("/cgi-bin/user/get?access_token=T").await;
    assert!(last().contains("access_token=T "), "{}", last());
    gate.reload(&fake.url(), &Settings::default()).await;
    gate.get("/cgi-bin/user/get?access_token=T").await;
    assert!(last().contains("FAKE_TOKEN"));
    assert_eq!(fake.fetches(), 1, "the stored token is used");
}
