//! Which account a request belongs to: by host, by prefix, by default.

use std::collections::HashSet;

use super::assert_refused;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::raw::Raw;

fn account(name: &str, lines: &str) -> String {
    format!("[[account]]\nname = \"{name}\"\nappid = \"wx{name}\"\nsecret = \"secret-of-{name}\"\n{lines}\n")
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// The token and the path that the upstream saw last.
fn last(fake: &Fake) -> (String, String) {
    let seen = fake.seen().pop().unwrap();
    let (path, query) = seen.line().split(' ').nth(1).unwrap().split_once('?').unwrap();
    (query.to_owned(), path.to_owned())
}

#[tokio::test]
async fn host_then_longest_prefix_then_the_one_without_either() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let tables = [
        account("byhost", "hosts = [\"shop.example.com\", \"api.weixin.qq.com\"]"),
        account("byprefix", "prefix = \"/shop\""),
        account("longer", "prefix = \"/shop/de\""),
    ]
    .concat();
    let gate = Gate::with(&fake.url(), Settings { tables, ..Settings::default() }).await;
    let mut tokens = HashSet::new();
    for group in [
        &[("h", "/cgi-bin/x"), ("other.example.com", "/cgi-bin/x")][..],
        &[
            ("shop.example.com", "/cgi-bin/x"),
            ("SHOP.example.com:8080", "/cgi-bin/x"),
            ("api.weixin.qq.com", "http://api.weixin.qq.com/cgi-bin/x"),
        ],
        &[("h", "/shop/cgi-bin/x")],
        &[("h", "/shop/de/cgi-bin/x")],
    ] {
        let mut group_tokens = HashSet::new();
        for (host, path) in group {
            assert_eq!(Raw::to(gate.addr).await.ask(get(host, path)).await.status, 200, "{host} {path}");
            let (token, seen) = last(&fake);
            assert_eq!(seen, "/cgi-bin/x", "the prefix is stripped: {host} {path}");
            group_tokens.insert(token);
        }
        assert_eq!(group_tokens.len(), 1, "one account: {group:?}");
        tokens.extend(group_tokens);
    }
    assert_eq!(tokens.len(), 4, "four accounts");
    for path in ["/shop", "/shop/", "/shopping/cgi-bin/x", "/shop/wxa/x", "/SHOP/cgi-bin/x"] {
        let response = Raw::to(gate.addr).await.ask(get("h", path)).await;
        assert_refused(&response, 404, 40066, "not-found", path);
    }
}

#[tokio::test]
async fn one_host_in_any_spelling_is_one_account() {
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let tables = [
        account("name", "hosts = [\"Shop.example.com\"]"),
        account("v6", "hosts = [\"[2001:DB8::1]\", \"0:0::1\"]"),
        account("v4", "hosts = [\"::ffff:127.0.0.1\", \"10.0.0.1.\"]"),
    ]
    .concat();
    let gate = Gate::with(&fake.url(), Settings { tables, ..Settings::default() }).await;
    let mut tokens = HashSet::new();
    for hosts in [
        &["other.example.com", "shop.example.com.other", "h"][..],
        &[
            "shop.example.com",
            "SHOP.Example.com",
            "shop.example.com.",
            "Shop.Example.com.:8080",
            "shop.example.com:",
        ],
        &["[2001:db8::1]", "[2001:DB8:0:0::1]:80", "[2001:0db8::0001]", "[::1]", "[0:0:0:0:0:0:0:1]:8080"],
        &["127.0.0.1", "127.0.0.1:80", "127.0.0.1.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]:80", "10.0.0.1"],
    ] {
        let mut group_tokens = HashSet::new();
        for host in hosts {
            assert_eq!(Raw::to(gate.addr).await.ask(get(host, "/cgi-bin/x")).await.status, 200, "{host}");
            group_tokens.insert(last(&fake).0);
            if !host.ends_with(':') {
                let absolute = get(host, &format!("http://{}/cgi-bin/x", host.to_ascii_lowercase()));
                assert_eq!(Raw::to(gate.addr).await.ask(absolute).await.status, 200, "absolute {host}");
                group_tokens.insert(last(&fake).0);
            }
        }
        assert_eq!(group_tokens.len(), 1, "one account: {hosts:?}");
        tokens.extend(group_tokens);
    }
    assert_eq!(tokens.len(), 4, "four accounts");
    for host in [".", "shop..example.com", "shop.example.com..", "[::1", "::1", "[::1%25lo]", "a_b/c"] {
        let response = Raw::to(gate.addr).await.ask(get(host, "/cgi-bin/x")).await;
        assert_refused(&response, 400, 40066, "bad-request", host);
    }
}

#[tokio::test]
async fn without_a_default_account_an_unknown_host_is_404_and_the_keys_are_named() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let settings = Settings {
        account: "hosts = [\"a.example.com\"]".to_owned(),
        tables: account("second", "prefix = \"/b\""),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), settings).await;
    for request in [get("h", "/cgi-bin/x"), "GET /cgi-bin/x HTTP/1.0\r\n\r\n".to_owned()] {
        let response = Raw::to(gate.addr).await.ask(request).await;
        assert_refused(&response, 404, 40066, "not-found", "unknown host");
        assert!(response.text().contains("`hosts`") && response.text().contains("`prefix`"), "{response:?}");
    }
    assert_eq!(Raw::to(gate.addr).await.ask(get("a.example.com", "/cgi-bin/x")).await.status, 200);
    assert_eq!(Raw::to(gate.addr).await.ask(get("h", "/b/cgi-bin/x")).await.status, 200);
}

#[tokio::test]
async fn a_token_call_is_answered_for_the_account_that_it_addresses() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let tables = account("shop", "prefix = \"/shop\"");
    let gate = Gate::with(&fake.url(), Settings { tables, ..Settings::default() }).await;
    assert_eq!(gate.get("/shop/cgi-bin/token?appid=wxshop").await.errcode(), 0);
    assert_eq!(gate.get("/cgi-bin/token?appid=wxshop").await.errcode(), 40013);
}
