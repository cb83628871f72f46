//! Tickets from one shared cell, and signatures that are made with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;
use tokio::sync::watch;

use crate::admin::support as admin;
use crate::request::assert_refused;
use crate::support::fake::{Fake, Reply, Seen, token};
use crate::support::gate::{APPID, CORPID, Gate, Settings, note_credential};
use crate::support::https::{Response, request};
use crate::support::until::{PATIENCE, until, until_async};
use crate::support::wechat::WeChat;

const GETTICKET: &str = "/cgi-bin/ticket/getticket?type=jsapi";
const JSAPI: &str = "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg";
const INVALID_CREDENTIAL: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n{\"errcode\":40001,\"errmsg\":\"invalid credential\"}";
const CARD: &str = "ojZ8YtyVyr30HheH3CM73y7h4jJE";

fn settings() -> Settings {
    Settings { account: "tickets = true".to_owned(), ..Settings::default() }
}

fn ticket(value: &str) -> Reply {
    note_credential(value);
    Reply::json(&format!(r#"{{"errcode":0,"errmsg":"ok","ticket":"{value}","expires_in":7200}}"#))
}

/// Issues the tickets of WeChat's own examples.
fn example(seen: &Seen) -> Reply {
    match seen.line() {
        line if line.contains("type=jsapi") => ticket(JSAPI),
        line if line.contains("type=wx_card") => ticket(CARD),
        _ => Reply::json("{}"),
    }
}

fn sha1(text: &str) -> String {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("{name}: {json}"))
}

#[track_caller]
fn assert_signed(answer: &Response, ticket: &str, url: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/json; encoding=utf-8"));
    let json = answer.json();
    let names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["appId", "errcode", "nonceStr", "signature", "timestamp"]);
    assert_eq!((&json["errcode"], text(&json, "appId")), (&0.into(), APPID));
    let signed = format!(
        "jsapi_ticket={ticket}&noncestr={}&timestamp={}&url={url}",
        text(&json, "nonceStr"),
        json["timestamp"].as_u64().unwrap()
    );
    assert_eq!(text(&json, "signature"), sha1(&signed), "{signed}");
}

#[tokio::test]
async fn calls_for_tickets_are_answered_from_one_cell() {
    let fake = Fake::answering(example).await;
    let gate = Gate::with(&fake.url(), settings()).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.status, 200);
    assert_eq!(fake.calls(), 1, "without demand none is asked for");
    for n in 0..3 {
        let answer = gate.get(&format!("{GETTICKET}&access_token=stale{n}")).await;
        let right = format!(r#"{{"errcode":0,"errmsg":"ok","ticket":"{JSAPI}","expires_in":600}}"#);
        assert_eq!((answer.status, answer.text()), (200, right.as_str()));
        assert_eq!(answer.header("Content-Type"), Some("application/json; encoding=utf-8"));
        let card = gate.post("/cgi-bin/ticket/getticket?type=wx_card", "").await.json();
        assert_eq!((text(&card, "ticket"), &card["expires_in"]), (CARD, &600.into()));
    }
    assert_eq!(fake.calls(), 3, "one for each kind");
    for other in
        ["/cgi-bin/ticket/getticket?type=2", "/cgi-bin/ticket/getticket", "/cgi-bin/ticket/getticket/?type=x"]
    {
        let before = fake.calls();
        gate.get(other).await;
        assert_eq!(fake.calls(), before + 1, "{other} is forwarded");
    }
}

#[tokio::test]
async fn a_hundred_first_demands_ask_once() {
    let fake = Fake::answering(example).await;
    let gate = Gate::with(&fake.url(), settings()).await;
    let page = "/wxgate/jssdk?url=http%3A%2F%2Fa%2F";
    let calls = (0..100).map(|n| gate.get(if n % 2 == 0 { GETTICKET } else { page }));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!((answer.status, answer.errcode()), (200, 0), "{answer:?}");
    }
    assert_eq!((fake.calls(), fake.fetches()), (1, 1));
}

#[tokio::test]
async fn without_the_setting_they_are_ordinary_calls() {
    let fake = Fake::answering(example).await;
    let gate = Gate::before(&fake.url()).await;
    for n in 1..=2 {
        assert_eq!(gate.get(GETTICKET).await.json()["expires_in"], 7200);
        assert_eq!(fake.calls(), n);
    }
    let answer = gate.get("/wxgate/jssdk?url=http%3A%2F%2Fa%2F").await;
    assert_refused(&answer, 404, 40066, "not-found", "jssdk");
    assert!(text(&answer.json(), "errmsg").contains("tickets = true"));
}

#[tokio::test]
async fn a_dead_token_is_replaced_while_a_ticket_is_asked_for() {
    let wechat = WeChat::start().await;
    let gate = Gate::with(&wechat.url, settings()).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    let answer = gate.get(GETTICKET).await;
    assert_eq!((answer.status, answer.errcode()), (200, 0), "{answer:?}");
    assert_signed(
        &gate.get("/wxgate/jssdk?url=http%3A%2F%2Fa%2F").await,
        text(&answer.json(), "ticket"),
        "http://a/",
    );
    wechat.handle.expire_token();
    assert_eq!(gate.get("/wxgate/cardext?card_id=p").await.errcode(), 0);
    assert_eq!(wechat.handle.stats().fetches.token, 3);
}

#[tokio::test]
async fn nodes_that_lag_behind_refuse_a_ticket_and_no_token_is_fetched_for_it() {
    let (refuse, refusing): (Vec<_>, Vec<_>) = (0..2).map(|_| watch::channel(false)).unzip();
    let asked = Arc::new(AtomicUsize::new(0));
    let fake = Fake::answering({
        let asked = Arc::clone(&asked);
        move |seen| match seen.line().contains("type=jsapi") {
            true => match refusing.get(asked.fetch_add(1, Ordering::SeqCst)) {
                Some(refusing) => Reply::Held(refusing.clone(), INVALID_CREDENTIAL.into()),
                None => ticket(JSAPI),
            },
            false => Reply::json("{}"),
        }
    })
    .await;
    let gate = Gate::with(&fake.url(), settings()).await;
    let others = async {
        for (n, refuse) in refuse.iter().enumerate() {
            until("the ticket is asked for", || asked.load(Ordering::SeqCst) > n).await;
            // Sent later than the call for the ticket, and accepted before that is refused.
            assert_eq!(gate.get("/cgi-bin/user/get").await.status, 200);
            refuse.send_replace(true);
        }
    };
    // A busy machine takes longer than a caller waits.
    let wanted = until_async("there is a ticket", async || gate.get(GETTICKET).await.status == 200);
    tokio::join!(wanted, others);
    assert_eq!((asked.load(Ordering::SeqCst), fake.fetches()), (3, 1));
}

#[tokio::test]
async fn a_refused_ticket_passes_as_wechat_answered_it() {
    let fake = Fake::answering(|_| {
        Reply::json(r#"{"errcode":48001,"errmsg":"api \"unauthorized\" rid: 6aac0063-7ed08fb9-1250f724"}"#)
    })
    .await;
    let gate = Gate::with(&fake.url(), settings()).await;
    for target in [GETTICKET, "/wxgate/jssdk?url=http%3A%2F%2Fa%2F", "/wxgate/cardext?card_id=p"] {
        let answer = gate.get(target).await;
        let right = r#"{"errcode":48001,"errmsg":"api \"unauthorized\" rid: 6aac0063-7ed08fb9-1250f724"}"#;
        assert_eq!((answer.status, answer.text()), (200, right), "{target}");
    }
    assert_eq!((fake.calls(), fake.fetches()), (2, 1), "no errcode of this kind speaks of the token");
}

#[tokio::test]
async fn what_is_wrong_behind_it_is_said_and_healed() {
    let (heal, healed) = watch::channel(false);
    let fake = Fake::answering(move |_| match *healed.borrow() {
        true => ticket(JSAPI),
        false => Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()),
    })
    .await;
    let gate = Gate::with(&fake.url(), settings()).await;
    assert_refused(&gate.get(GETTICKET).await, 503, -1, "no-token", "the upstream is down");
    heal.send(true).unwrap();
    assert_eq!(gate.get(GETTICKET).await.errcode(), 0, "waited for");
}

#[tokio::test]
async fn a_ticket_is_not_refused_when_it_is_a_new_token_that_is_missing() {
    let down = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let fake = Fake::scripted(
        move |n| match n {
            0 => Reply::json(&format!(r#"{{"access_token":"{}","expires_in":7200}}"#, token(0))),
            _ => Reply::Bytes(down.to_vec()),
        },
        |_| Reply::errcode(42001),
    )
    .await;
    let gate = Gate::with(&fake.url(), settings()).await;
    assert_refused(&gate.get(GETTICKET).await, 503, -1, "no-token", "the caller can try again");
}

#[tokio::test]
async fn without_a_token_it_is_the_token_that_is_spoken_of() {
    let fake =
        Fake::scripted(|_| Reply::json(r#"{"errcode":40125,"errmsg":"bad"}"#), |_| ticket(JSAPI)).await;
    let gate = Gate::with(&fake.url(), settings()).await;
    assert_refused(&gate.get(GETTICKET).await, 502, 40125, "token-refused", "a wrong secret");
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_stored_ticket() {
    let fake = Fake::answering(example).await;
    let dir = tempfile::tempdir().unwrap();
    let with = || Settings { state: Some(dir.path().to_owned()), ..settings() };
    let gate = Gate::with(&fake.url(), with()).await;
    assert_eq!(gate.get(GETTICKET).await.errcode(), 0);
    gate.stop();
    let file = dir.path().join(format!("{APPID}-jsapi_ticket.json"));
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(stored.contains(JSAPI), "{stored}");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions()) & 0o777,
        0o600
    );
    let gate = Gate::with(&fake.url(), with()).await;
    assert_eq!(text(&gate.get(GETTICKET).await.json(), "ticket"), JSAPI);
    assert_eq!((fake.calls(), fake.fetches()), (1, 1));
    // A reload that has no more use for it ends it, and one that has again finds it.
    gate.reload(&fake.url(), &Settings { account: String::new(), ..with() }).await;
    assert_eq!(gate.get(GETTICKET).await.json()["expires_in"], 7200);
    gate.reload(&fake.url(), &with()).await;
    assert_eq!(gate.get(GETTICKET).await.json()["expires_in"], 600);
    assert_eq!((fake.calls(), fake.fetches()), (2, 1));
    gate.reload(
        &fake.url(),
        &Settings { account: "tickets = true\ntoken_api = \"stable_token\"".to_owned(), ..with() },
    )
    .await;
    assert_eq!(
        text(&gate.get(GETTICKET).await.json(), "ticket"),
        JSAPI,
        "a task of its own for the other token"
    );
}

#[tokio::test]
async fn pages_are_signed_for_wx_config() {
    let fake = Fake::answering(example).await;
    let gate = Gate::with(&fake.url(), settings()).await;
    let mut nonces = Vec::new();
    for (query, url) in [
        ("url=http%3A%2F%2Fmp.weixin.qq.com%3Fparams%3Dvalue", "http://mp.weixin.qq.com?params=value"),
        (
            "url=https%3A%2F%2Fa.example%2F%3Fx%3D1%26y%3D%25E7%25A5%25A8%23top",
            "https://a.example/?x=1&y=%E7%A5%A8",
        ),
        ("v=1&url=https://a.example/?b+c", "https://a.example/?b+c"),
        ("url=https://a.example/票", "https://a.example/票"),
    ] {
        let answer = gate.get(&format!("/wxgate/jssdk?{query}")).await;
        assert_signed(&answer, JSAPI, url);
        assert_eq!(answer.header("cache-control").or(answer.header("Cache-Control")), Some("no-store"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(answer.json()["timestamp"].as_u64().unwrap()) < 60);
        nonces.push(text(&answer.json(), "nonceStr").to_owned());
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 4);
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn cards_are_signed_for_wx_add_card() {
    let fake = Fake::answering(example).await;
    let gate = Gate::with(&fake.url(), settings()).await;
    for (query, given) in [
        ("card_id=pjZ8Yt1XGILfi-FUsewpnnolGgZk&code=1434008071", &["code"][..]),
        ("card_id=pjZ8Yt1XGILfi-FUsewpnnolGgZk", &[]),
        ("card_id=pjZ8Yt1XGILfi-FUsewpnnolGgZk&openid=o%31&code=c", &["code", "openid"]),
        ("card_id=pjZ8Yt1XGILfi-FUsewpnnolGgZk&openid=&code=", &[]),
    ] {
        let json = gate.get(&format!("/wxgate/cardext?{query}")).await.json();
        let mut values =
            vec![CARD, "pjZ8Yt1XGILfi-FUsewpnnolGgZk", text(&json, "timestamp"), text(&json, "nonce_str")];
        values.extend(given.iter().map(|name| text(&json, name)));
        values.sort_unstable();
        assert_eq!(text(&json, "signature"), sha1(&values.concat()), "{query}");
        assert_eq!(json["errcode"], 0);
        assert_eq!(json.as_object().unwrap().len(), 4 + given.len(), "{json}");
    }
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused() {
    let fake = Fake::answering(example).await;
    let gate = Gate::with(&fake.url(), settings()).await;
    for target in [
        "/wxgate/jssdk",
        "/wxgate/jssdk?",
        "/wxgate/jssdk?url=",
        "/wxgate/jssdk?url=%23top",
        "/wxgate/jssdk?card_id=p",
        "/wxgate/cardext",
        "/wxgate/cardext?code=c",
    ] {
        let answer = gate.get(target).await;
        assert_refused(&answer, 400, 40066, "bad-request", target);
        assert!(text(&answer.json(), "errmsg").contains("is missing"), "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        for target in ["/wxgate/jssdk?url=http://a/", "/wxgate/cardext?card_id=p"] {
            let answer = gate.send(&request(method, target, &[], b"")).await;
            assert_refused(&answer, 405, 43002, "method", method);
        }
    }
    for target in ["/wxgate/jssdk/?url=http://a/", "/wxgate/JSSDK?url=http://a/", "/wxgate/", "/wxgate/x"] {
        assert_refused(&gate.get(target).await, 404, 40066, "not-found", target);
    }
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn prefix_hosts_and_rules_hold_for_signatures_too() {
    let fake = Fake::answering(example).await;
    let tables = "[[account]]\nname = \"shop\"\nappid = \"wxshop\"\nsecret = \"s\"\nprefix = \"/shop\"\ntickets = true\n\
        [[caller]]\nname = \"page\"\nkey = \"k-page\"\nallow = [\"GET /wxgate/jssdk\"]\n\
        [[caller]]\nname = \"shop\"\nkey = \"k-shop\"\naccounts = [\"shop\"]\n"
        .to_owned();
    // `paths` need not name them.
    let account = "tickets = true\npaths = [\"/wxa/\"]".to_owned();
    let gate = Gate::with(&fake.url(), Settings { account, tables, ..Settings::default() }).await;
    let page = "/wxgate/jssdk?url=http://a/";
    for (key, target, right) in [
        ("k-page", page.to_owned(), 200),
        ("k-page", "/wxgate/cardext?card_id=p".to_owned(), 403),
        ("k-page", format!("/shop{page}"), 200),
        ("k-shop", format!("/shop{page}"), 200),
        ("k-shop", page.to_owned(), 403),
        ("wrong", page.to_owned(), 403),
        ("k-shop", format!("/shop{GETTICKET}"), 200),
        ("k-page", format!("/shop{GETTICKET}"), 403),
    ] {
        let key_field = format!("X-Wxgate-Key: {key}");
        let answer = gate.send(&request("GET", &target, &[&key_field], b"")).await;
        assert_eq!(answer.status, right, "{key} {target}: {answer:?}");
        if right == 200 && target.starts_with("/shop/wxgate") {
            assert_eq!(answer.json()["appId"], "wxshop");
        }
    }
}

#[tokio::test]
async fn a_demand_that_waits_in_vain_ends_after_five_seconds() {
    let fake = Fake::answering(|_| Reply::Silence).await;
    let gate = Gate::with(&fake.url(), settings()).await;
    let began = std::time::Instant::now();
    let answers =
        futures_util::future::join(gate.get(GETTICKET), gate.get("/wxgate/jssdk?url=http://a/")).await;
    for answer in [answers.0, answers.1] {
        assert_refused(&answer, 503, -1, "no-token", "silence");
    }
    assert!(began.elapsed() >= Duration::from_millis(4900), "{:?}", began.elapsed());
    until("one call is out", || fake.calls() == 1).await;
    tokio::time::timeout(PATIENCE, gate.get("/cgi-bin/token")).await.unwrap();
}

#[tokio::test]
async fn wecoms_company_and_application_have_a_ticket_each() {
    const AGENT: &str =
        "kgt8ON7yVITDhtdwci0qeZg4L-Dj1O5WF42Nog47n_0aGF4WPJDIF2UA9MeS8GzLe6MPjyp2WlzvsL0nlvkohw";
    let dead = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let killed = Arc::clone(&dead);
    let fake = Fake::renewing(move |seen: &Seen| match seen.line() {
        line if killed.load(Ordering::SeqCst) && line.contains(&token(0)) => Reply::errcode(42001),
        line if line.contains("/cgi-bin/get_jsapi_ticket?") => ticket(JSAPI),
        line if line.contains("/cgi-bin/ticket/get?") && line.contains("&type=agent_config") => ticket(AGENT),
        _ => Reply::json("{}"),
    })
    .await;
    let account = "kind = \"wecom\"\ntickets = true".to_owned();
    let gate = Gate::with(&fake.url(), Settings { account, ..Settings::default() }).await;
    assert_eq!(gate.get("/cgi-bin/user/get?userid=u").await.status, 200);
    dead.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        // WxJava sends an empty pair.
        for (target, right) in [
            ("/cgi-bin/get_jsapi_ticket?access_token=x", JSAPI),
            ("/cgi-bin/ticket/get?&type=agent_config", AGENT),
        ] {
            let answer = gate.get(target).await;
            let body = format!(r#"{{"errcode":0,"errmsg":"ok","ticket":"{right}","expires_in":600}}"#);
            assert_eq!((answer.status, answer.text()), (200, body.as_str()), "{target}");
            assert_eq!(answer.header("Content-Type"), Some("application/json; charset=UTF-8"));
        }
        for (query, ticket) in [("", JSAPI), ("&type=agent_config", AGENT)] {
            let json = gate
                .get(&format!("/wxgate/jssdk?url=https%3A%2F%2Fa.example%2F%3Fx%23y{query}"))
                .await
                .json();
            let signed = format!(
                "jsapi_ticket={ticket}&noncestr={}&timestamp={}&url=https://a.example/?x",
                text(&json, "nonceStr"),
                json["timestamp"]
            );
            assert_eq!((text(&json, "signature"), text(&json, "appId")), (sha1(&signed).as_str(), CORPID));
        }
    }
    // Two tickets, a call, and one that was refused.
    assert_eq!((fake.calls(), fake.fetches()), (4, 2));
    let answer = gate.get("/wxgate/cardext?card_id=p").await;
    assert_refused(&answer, 404, 40066, "not-found", "WeCom has no cards");
    let answer = gate.get("/wxgate/jssdk?url=http://a/&type=wx_card").await;
    assert_refused(&answer, 400, 40066, "bad-request", "type");
}

#[tokio::test]
async fn operators_see_how_tickets_stand_and_never_a_ticket() {
    let fake = Fake::answering(|seen: &Seen| match seen.line().contains("type=wx_card") {
        true => Reply::json(r#"{"errcode":48001,"errmsg":"api unauthorized"}"#),
        false => example(seen),
    })
    .await;
    let gate = admin::with(&fake.url(), "", settings()).await;
    let status = async || admin::json(&admin::get(&gate, "/status").await);
    let fresh = status().await;
    let kinds: Vec<_> =
        fresh["accounts"][0]["tickets"].as_array().unwrap().iter().map(|t| text(t, "kind")).collect();
    assert_eq!(kinds, ["jsapi_ticket", "card_ticket"]);
    assert_eq!(fresh["accounts"][0]["tickets"][0]["state"], "empty");
    for target in [GETTICKET, "/wxgate/cardext?card_id=p"] {
        gate.get(target).await;
    }
    let told = status().await;
    let [jsapi, card] = [0, 1].map(|n| told["accounts"][0]["tickets"][n].clone());
    assert_eq!(
        (&jsapi["state"], &jsapi["generation"], &jsapi["last_error"]),
        (&"fresh".into(), &1.into(), &Value::Null)
    );
    assert!((7190..=7200).contains(&jsapi["expires_in_seconds"].as_u64().unwrap()), "{jsapi}");
    assert_eq!((&card["state"], &card["last_error"]["errcode"]), (&"refused".into(), &48001.into()));
    assert_eq!(told["accounts"][0]["state"], "fresh", "the token's own");
    assert_eq!(told["ready"], true);
    for (page, part) in [
        (
            "/metrics",
            r#"wxgate_ticket_refreshes_total{account="main",ticket="card_ticket",reason="start",outcome="refused"} 1"#,
        ),
        ("/metrics", r#"wxgate_upstream_errcode_total{account="main",errcode="48001"} 1"#),
        ("/", "jsapi_ticket"),
        ("/status", "jsapi_ticket"),
        ("/calls", "cardext"),
    ] {
        let answer = admin::get(&gate, page).await;
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(shown.contains(part) && !shown.contains(JSAPI), "{page}: {shown}");
    }
    let plain = admin::admin(&fake.url()).await;
    let plain = admin::json(&admin::get(&plain, "/status").await);
    assert!(plain["accounts"][0].get("tickets").is_none(), "{plain}");
}
