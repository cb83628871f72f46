//! WeCom (`kind = "wecom"`): a token that a fetch cannot rotate, and answers in WeCom's form.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::admin::support::{get, json as body, post, ready, with};
use wxgate_sandbox::Handle;

use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::{CORPID, Gate, Settings};
use crate::support::https::Response;
use crate::support::until::until;
use crate::support::wechat::WeChat;

const PLACEHOLDER: &str = wxgate::proxy::answer::PLACEHOLDER;

fn wecom() -> Settings {
    Settings { account: "kind = \"wecom\"".to_owned(), ..Settings::default() }
}

/// The answer of `gettoken` with the n-th token.
fn issued(n: usize) -> Reply {
    let answer = json!({"errcode": 0, "errmsg": "ok", "access_token": token(n), "expires_in": 7200});
    Reply::json(&answer.to_string())
}

fn of(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// A fake that issues one token until it is told to issue the next, and refuses all but the current with `errcode`.
async fn fake(current: &Arc<AtomicUsize>, errcode: i64) -> (Fake, Arc<AtomicUsize>) {
    let valid = Arc::new(AtomicUsize::new(0));
    let (issues, takes) = (Arc::clone(current), Arc::clone(&valid));
    let fake = Fake::scripted(
        move |_| issued(issues.load(Ordering::SeqCst)),
        move |seen| match seen.line().contains(&token(takes.load(Ordering::SeqCst))) {
            true => Reply::json(r#"{"errcode":0,"errmsg":"ok"}"#),
            false => Reply::errcode(errcode),
        },
    )
    .await;
    (fake, valid)
}

#[tokio::test]
async fn a_dead_token_is_replaced_by_the_one_that_gettoken_hands_out() {
    for errcode in [40014, 42001] {
        let current = Arc::new(AtomicUsize::new(0));
        let (fake, valid) = fake(&current, errcode).await;
        let gate = Gate::with(&fake.url(), wecom()).await;
        assert_eq!(gate.get("/cgi-bin/user/get?userid=u").await.errcode(), 0);
        current.store(1, Ordering::SeqCst);
        valid.store(1, Ordering::SeqCst);
        let answer = gate.post("/cgi-bin/message/send", r#"{"touser":"u"}"#).await;
        assert_eq!((answer.errcode(), answer.header("X-Wxgate-Retry")), (0, None), "{errcode}");
        assert_eq!(fake.fetches(), 2);
        let lines: Vec<_> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
        assert_eq!(lines[0], format!("GET /cgi-bin/user/get?access_token={}&userid=u HTTP/1.1", token(0)));
        assert_eq!(lines[2], format!("POST /cgi-bin/message/send?access_token={} HTTP/1.1", token(1)));
    }
}

#[tokio::test]
async fn a_refused_token_that_is_handed_out_again_ends_with_the_upstreams_own_answer() {
    let current = Arc::new(AtomicUsize::new(0));
    let (fake, valid) = fake(&current, 40014).await;
    let gate = Gate::with(&fake.url(), wecom()).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    valid.store(1, Ordering::SeqCst);
    let answer = gate.get("/cgi-bin/user/get").await;
    assert_eq!((answer.status, answer.errcode()), (200, 40014));
    assert_eq!(answer.header("X-Wxgate-Retry"), Some("same-token"));
    assert_eq!((fake.fetches(), fake.calls()), (2, 2), "asked once, and the call is not sent again");
    // As soon as there is another one, it is used.
    current.store(1, Ordering::SeqCst);
    let answer = gate.get("/cgi-bin/user/get").await;
    assert_eq!((answer.errcode(), answer.header("X-Wxgate-Retry")), (0, None));
}

#[tokio::test]
async fn what_no_refresh_can_help_causes_none() {
    for errcode in [40001, 41001, 60020, 48002, 301_002, 42009, 40082] {
        let fake = Fake::scripted(|_| issued(0), move |_| Reply::errcode(errcode)).await;
        let gate = Gate::with(&fake.url(), wecom()).await;
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), errcode);
        assert_eq!((fake.fetches(), fake.calls()), (1, 1), "{errcode}");
    }
}

#[tokio::test]
async fn gettoken_is_answered_with_the_placeholder_in_wecoms_form() {
    let fake = Fake::scripted(|_| issued(0), |_| Reply::json("{}")).await;
    let gate = Gate::with(&fake.url(), wecom()).await;
    for target in [
        &*format!("/cgi-bin/gettoken?corpid={CORPID}&corpsecret=anything"),
        "/cgi-bin/gettoken",
        "/CGI-BIN/GetToken/?corpid=",
        "//cgi-bin/gettoken",
    ] {
        let answer = gate.get(target).await;
        let right =
            format!(r#"{{"errcode":0,"errmsg":"ok","access_token":"{PLACEHOLDER}","expires_in":7200}}"#);
        assert_eq!((answer.status, answer.text()), (200, &*right), "{target}");
        assert_eq!(answer.header("Content-Type"), Some("application/json; charset=UTF-8"));
    }
    let other = gate.get("/cgi-bin/gettoken?corpid=wwother&corpsecret=x").await;
    assert_eq!((other.status, of(&other)), (200, json!({"errcode": 40013, "errmsg": "invalid corpid"})));
    for look_alike in ["/cgi-bin/gettoken.json", "/cgi-bin/gettoken/x"] {
        assert_eq!(gate.get(look_alike).await.status, 404, "{look_alike}");
    }
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn calls_of_service_providers_are_forwarded_as_they_are() {
    let fake = Fake::scripted(|_| issued(0), |_| Reply::errcode(42001)).await;
    let gate = Gate::with(&fake.url(), wecom()).await;
    for target in [
        "/cgi-bin/service/get_login_info?access_token=PROVIDERS",
        "/cgi-bin/service/get_corp_token?suite_access_token=SUITES",
    ] {
        assert_eq!(gate.post(target, "{}").await.errcode(), 42001);
        assert_eq!(fake.seen().pop().unwrap().line(), format!("POST {target} HTTP/1.1"));
    }
    assert_eq!(fake.calls(), 2);
    assert!(fake.fetches() <= 1, "no refresh, whatever came back");
}

#[tokio::test]
async fn status_metrics_and_page_show_it_as_wecom() {
    let fake = Fake::scripted(|_| issued(0), |_| Reply::json("{}")).await;
    let gate = with(&fake.url(), "", wecom()).await;
    ready(&gate).await;
    let status = body(&get(&gate, "/status").await);
    let account = &status["accounts"][0];
    for (key, right) in [
        ("kind", json!("wecom")),
        ("appid", json!(CORPID)),
        ("token_api", json!("token")),
        ("state", json!("fresh")),
        ("quota", json!(null)),
        ("generation", json!(1)),
    ] {
        assert_eq!(account[key], right, "{key}");
    }
    assert!(get(&gate, "/").await.text().contains("WeCom"));
    let again = post(&gate, "/accounts/main/refresh", "").await;
    assert_eq!((again.status, body(&again)["error"].clone()), (409, json!("same-token")));
}

/// The applications of a company share its corpid, and each has its own secret, token and state.
#[tokio::test]
async fn two_applications_of_one_company_have_two_tokens() {
    let fake = Fake::scripted(issued, |_| Reply::json("{}")).await;
    let second = format!(
        "[[account]]\nkind = \"wecom\"\nname = \"contacts\"\nprefix = \"/contacts\"\nappid = \"{CORPID}\"\n\
         secret = \"another-secret\"\nupstream = {:?}\n",
        fake.url()
    );
    let gate = Gate::with(&fake.url(), Settings { tables: second, ..wecom() }).await;
    gate.get("/cgi-bin/user/get").await;
    gate.get("/contacts/cgi-bin/user/get").await;
    let mut used: Vec<_> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
    used.dedup();
    assert_eq!((used.len(), fake.fetches()), (2, 2), "{used:?}");
}

#[tokio::test]
async fn a_message_is_sent_through_a_token_that_has_expired() {
    let wechat = WeChat::with(&["--wecom"]).await;
    let gate = Gate::with(&wechat.url, wecom()).await;
    let message = r#"{"touser":"zhangsan","msgtype":"text","agentid":1,"text":{"content":"您好"}}"#;
    for (n, end) in [Handle::expire_token, Handle::steal_token, Handle::expire_token].into_iter().enumerate()
    {
        let sent = gate.post("/cgi-bin/message/send", message).await;
        assert_eq!((sent.errcode(), sent.header("X-Wxgate-Retry")), (0, None));
        assert_eq!(wechat.handle.stats().fetches.token, n as u64 + 1);
        end(&wechat.handle);
    }
    assert_eq!(gate.post("/cgi-bin/message/send", message).await.errcode(), 0);
    let stats = wechat.handle.stats();
    assert_eq!((stats.refused[&42001], stats.refused[&40014], stats.fetches.token), (2, 1, 4));
}

/// A refused fetch and a refused call name the address that WeCom saw.
#[tokio::test]
async fn a_refused_address_is_said_with_what_wecom_saw() {
    let wechat = WeChat::with(&["--wecom", "--allow-ip", "127.0.0.9"]).await;
    let gate = with(&wechat.url, "", wecom()).await;
    ready(&gate).await;
    let refused = gate.get("/cgi-bin/user/get?userid=zhangsan").await;
    assert_eq!((refused.status, refused.errcode(), refused.header("X-Wxgate-Retry")), (200, 60020, None));
    assert!(refused.text().contains("from ip: 127.0.0.1, "), "{}", refused.text());
    let calls = body(&get(&gate, "/calls").await);
    let explain = calls["calls"][0]["explain"].as_str().unwrap();
    assert!(explain.contains("Put 127.0.0.1 on the list of trusted IPs"), "{explain}");
    let page = get(&gate, "/").await;
    assert!(page.text().contains("Put 127.0.0.1 on the list of trusted IPs"));
    let log = crate::support::gate::log_dir().join(format!("trace-{}.log", std::process::id()));
    until("the log says so", || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.lines().any(|line| {
            line.contains("refuses calls from wxgate's address: 60020.") && line.contains("Put 127.0.0.1")
        })
    })
    .await;
}
