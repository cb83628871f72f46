//! Who may call: addresses, keys, accounts, rules. A denied request never reaches the upstream.

use crate::support::fake::{Fake, Reply, TOKEN};
use crate::support::gate::{Gate, Settings, note_credential};
use crate::support::https::{Connection, request};
use crate::support::until::{until, until_async};

const KEY: &str = "k3y-of-the-legacy-cms";

async fn fake() -> Fake {
    Fake::answering(|_| Reply::json(r#"{"errcode":0,"errmsg":"ok"}"#)).await
}

async fn gate(fake: &Fake, callers: &str) -> Gate {
    note_credential(KEY);
    Gate::with(&fake.url(), Settings { tables: callers.to_owned(), ..Settings::default() }).await
}

fn with_key() -> String {
    format!("[[caller]]\nname = \"legacy-cms\"\nkey = {KEY:?}\n")
}

#[tokio::test]
async fn a_key_opens_wherever_it_may_stand_and_never_reaches_the_upstream() {
    let fake = fake().await;
    let gate = gate(&fake, &with_key()).await;
    // base64 of "legacy-cms:" and the key
    let basic = "bGVnYWN5LWNtczprM3ktb2YtdGhlLWxlZ2FjeS1jbXM=";
    for header in [
        format!("X-Wxgate-Key: {KEY}"),
        format!("Authorization: Basic {basic}"),
        format!("Authorization: Bearer {KEY}"),
        format!("Proxy-Authorization: Basic {basic}"),
        format!("proxy-authorization: bearer {KEY}"),
    ] {
        let response = gate.send(&request("GET", "/cgi-bin/user/get", &[&header], b"")).await;
        assert_eq!(response.status, 200, "{header}");
    }
    let seen = fake.seen();
    assert_eq!(seen.len(), 5);
    for request in seen {
        assert!(!request.head.contains(KEY) && !request.head.contains(basic), "{}", request.head);
    }
}

#[tokio::test]
async fn a_stranger_is_denied_in_wechats_form_and_the_upstream_sees_nothing() {
    let fake = fake().await;
    let gate = gate(&fake, &with_key()).await;
    for headers in
        [&[][..], &["X-Wxgate-Key: wrong"], &["X-Forwarded-For: 127.0.0.1", "Authorization: Basic !"]]
    {
        for target in ["/cgi-bin/user/get", "/cgi-bin/token", "/sns/userinfo", "/not/allowed/at/all"] {
            let response = gate.send(&request("GET", target, headers, b"")).await;
            assert_eq!((response.status, response.errcode()), (403, 48001), "{target} {headers:?}");
            assert_eq!(response.header("X-Wxgate-Error"), Some("denied"));
        }
    }
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn a_callers_rules_can_forbid_a_call() {
    let fake = fake().await;
    let rules = "[[caller]]\nname = \"cms\"\nfrom = [\"127.0.0.0/8\"]\n\
                 allow = [\"GET /cgi-bin/*\", \"POST /cgi-bin/message/*\"]\n";
    let gate = gate(&fake, rules).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.status, 200);
    assert_eq!(gate.post("/cgi-bin/message/custom/send", "{}").await.status, 200);
    let denied = gate.post("/cgi-bin/clear_quota", "{}").await;
    assert_eq!((denied.status, denied.errcode()), (403, 48001));
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_method_has_one_spelling_in_rules_calls_and_at_the_upstream() {
    let fake = fake().await;
    let rules = "[[caller]]\nname = \"cms\"\nfrom = [\"::ffff:127.0.0.0/104\"]\n\
                 allow = [\"get /cgi-bin/*\", \"POST /cgi-bin/message/*\"]\n";
    let gate = gate(&fake, rules).await;
    for (method, path, status) in [
        ("post", "/cgi-bin/message/custom/send", 200),
        ("Post", "/cgi-bin//message/custom/send", 200),
        ("get", "/cgi-bin/user/get", 200),
        ("GET", "/cgi-bin/user/get", 200),
        ("post", "/cgi-bin/clear_quota", 403),
        ("delete", "/cgi-bin/user/get", 403),
        ("head", "/cgi-bin/user/get", 400),
        ("trace", "/cgi-bin/user/get", 405),
    ] {
        assert_eq!(gate.send(&request(method, path, &[], b"")).await.status, status, "{method} {path}");
    }
    let methods: Vec<_> =
        fake.seen().iter().map(|seen| seen.line().split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods, ["POST", "POST", "GET", "GET"]);
}

#[tokio::test]
async fn a_token_call_needs_no_rule_but_a_known_caller_and_its_account() {
    let fake = fake().await;
    let tables = "[[account]]\nname = \"shop\"\nappid = \"wxshop\"\nsecret = \"secret-of-shop\"\nprefix = \"/shop\"\n\
                  [[caller]]\nname = \"cms\"\nfrom = [\"127.0.0.1\"]\naccounts = [\"main\"]\n\
                  allow = [\"GET /cgi-bin/user/*\"]\n";
    let gate = gate(&fake, tables).await;
    for (method, path) in [
        ("GET", "/cgi-bin/token?grant_type=client_credential&appid=&secret=s"),
        ("POST", "/cgi-bin/token"),
        ("GET", "/cgi-bin/Token/"),
        ("POST", "/cgi-bin/stable_token"),
    ] {
        let response = gate.send(&request(method, path, &[], b"")).await;
        assert_eq!(response.json()["expires_in"], 7200, "{method} {path}");
    }
    assert_eq!(gate.get("/shop/cgi-bin/token").await.status, 403, "another account's");
    assert_eq!(gate.get("/cgi-bin/ticket/getticket").await.status, 403, "another call");
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn an_address_outside_from_is_denied() {
    let fake = fake().await;
    let gate = gate(&fake, "[[caller]]\nname = \"net\"\nfrom = [\"192.0.2.0/24\"]\n").await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.status, 403);
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn a_trusted_caller_gets_the_real_token_and_the_seconds_it_has_left() {
    let fake = fake().await;
    let trusted =
        format!("{}real_token = true\n[[caller]]\nname = \"plain\"\nfrom = [\"127.0.0.1\"]\n", with_key());
    let gate = gate(&fake, &trusted).await;
    let target = "/cgi-bin/token?grant_type=client_credential";
    let real = gate.send(&request("GET", target, &[&format!("X-Wxgate-Key: {KEY}")], b"")).await.json();
    assert_eq!(real["access_token"], TOKEN);
    let left = real["expires_in"].as_u64().unwrap();
    assert!((7190..=7200).contains(&left), "{left}");
    let placeholder = gate.get(target).await.json();
    assert_ne!(placeholder["access_token"], TOKEN);
    assert_eq!(placeholder["expires_in"], 7200);
}

#[tokio::test]
async fn either_of_two_keys_opens_while_a_key_is_changed() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let tables = "[[caller]]\nname = \"a\"\nkey = [\"the-0ld-key\", \"the-n3w-key\"]\n".to_owned();
    let gate = Gate::with(&fake.url(), Settings { tables, ..Settings::default() }).await;
    for (key, status) in [("the-0ld-key", 200), ("the-n3w-key", 200), ("the-0ld-keythe-n3w-key", 403)] {
        note_credential(key);
        let call = request("GET", "/cgi-bin/x", &[&format!("X-Wxgate-Key: {key}")], b"");
        assert_eq!(gate.send(&call).await.status, status, "{key}");
    }
}

#[tokio::test]
async fn a_caller_beyond_its_rate_gets_429_and_a_reload_gives_no_new_burst() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let tables = "[[caller]]\nname = \"a\"\nfrom = [\"127.0.0.1\"]\nrate = \"3/min\"\n".to_owned();
    let settings = Settings { tables, ..Settings::default() };
    let gate = Gate::with(&fake.url(), settings).await;
    for _ in 0..3 {
        assert_eq!(gate.get("/cgi-bin/x").await.status, 200);
    }
    let tables = "[[caller]]\nname = \"a\"\nfrom = [\"127.0.0.1\", \"::1\"]\nrate = \"3/min\"\n".to_owned();
    gate.reload(&fake.url(), &Settings { tables, ..Settings::default() }).await;
    let limited = gate.get("/cgi-bin/x").await;
    assert_eq!((limited.status, limited.errcode()), (429, 45011));
    assert_eq!(limited.header("X-Wxgate-Error"), Some("limited"));
    let wait: u64 = limited.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(fake.calls(), 3);
}

#[tokio::test]
async fn a_caller_with_all_its_calls_in_flight_gets_429_until_one_ends() {
    let (release, released) = tokio::sync::watch::channel(false);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    let fake = Fake::answering(move |_| Reply::Held(released.clone(), answer.clone())).await;
    let tables = "[[caller]]\nname = \"a\"\nfrom = [\"127.0.0.1\"]\nconcurrent = 1\n".to_owned();
    let gate = Gate::with(&fake.url(), Settings { tables, ..Settings::default() }).await;
    let addr = gate.addr;
    let first = tokio::spawn(async move {
        Connection::plain(addr).await.send(&request("GET", "/cgi-bin/x", &[], b"")).await.unwrap().status
    });
    until("the first call is with the upstream", || fake.calls() == 1).await;
    let limited = gate.get("/cgi-bin/x").await;
    assert_eq!((limited.status, limited.header("Retry-After")), (429, Some("1")));
    release.send_replace(true);
    assert_eq!(first.await.unwrap(), 200);
    until_async("the place is free again", async || gate.get("/cgi-bin/x").await.status == 200).await;
}
