//! Calls and token fetches through a proxy: CONNECT and SOCKS5.

use std::net::IpAddr;

use crate::support::child::{Child, serve};
use crate::support::gate::{Gate, Settings};
use crate::support::nobody::nobody;
use crate::support::outbound::{Asked, LOGIN, LOGIN_IN_URL, OutboundProxy};
use crate::support::until::until;
use crate::support::wechat::WeChat;

/// Of the sandbox's certificate; no name server knows it.
const NAME: &str = "sandbox.wxgate.test";

fn behind(proxy: &str, lines: &str) -> Settings {
    Settings { upstream: format!("proxy = {proxy:?}\n{lines}"), ..Settings::default() }
}

/// Everything that was asked for was this, from this address.
fn asked_for_nothing_but(proxy: &OutboundProxy, target: &str, from: &str) {
    let (target, from): (_, IpAddr) = (target.to_owned(), from.parse().unwrap());
    let asked = proxy.asked();
    // A token fetch and a call at least.
    assert!(asked.len() >= 2, "{asked:?}");
    assert!(asked.iter().all(|asked| *asked == Asked { target: target.clone(), from }), "{asked:?}");
}

#[tokio::test]
async fn calls_and_token_fetches_go_through_the_proxy_which_looks_the_name_up() {
    let wechat = WeChat::start().await;
    let (http, socks) =
        (OutboundProxy::http(wechat.addr, true).await, OutboundProxy::socks5(wechat.addr, true).await);
    let target = format!("{NAME}:{}", wechat.addr.port());
    for (scheme, proxy) in [("http", &http), ("socks5h", &socks)] {
        let url = format!("{scheme}://{LOGIN_IN_URL}{}", proxy.addr);
        let gate = Gate::with(&format!("https://{target}"), behind(&url, "egress_ip = \"127.0.0.8\"")).await;
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0, "{scheme}");
        wechat.handle.steal_token();
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0, "{scheme}");
        gate.stop();
        asked_for_nothing_but(proxy, &target, "127.0.0.8");
    }
}

#[tokio::test]
async fn a_plain_upstream_on_loopback_is_reached_through_the_proxy_too() {
    let wechat = WeChat::with(&["--plain"]).await;
    let (http, socks) =
        (OutboundProxy::http(wechat.addr, false).await, OutboundProxy::socks5(wechat.addr, false).await);
    for (scheme, proxy) in [("http", &http), ("socks5h", &socks)] {
        let gate = Gate::with(&wechat.url, behind(&format!("{scheme}://{}", proxy.addr), "")).await;
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0, "{scheme}");
        gate.stop();
        asked_for_nothing_but(proxy, &wechat.addr.to_string(), "127.0.0.1");
    }
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_named_to_the_operator_and_its_password_to_nobody() {
    let wechat = WeChat::start().await;
    let (_held, dead) = nobody();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("proxy.url"), format!("http://{LOGIN_IN_URL}{dead}\n")).unwrap();
    let settings = Settings {
        upstream: "proxy = { file = \"proxy.url\" }".to_owned(),
        tables: "[admin]\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        ..Settings::default()
    };
    let child = Child::start(&mut serve(dir.path(), &wechat.url, &settings));
    child.addr().await;
    child.line(&format!("the proxy http://{dead} is not reached")).await;
    let said = child.stderr();
    assert!(![LOGIN.0, LOGIN.1, LOGIN_IN_URL].iter().any(|secret| said.contains(secret)), "{said}");
    assert_eq!(wechat.handle.stats().connections.requests, 0, "it is not gone around");
}

#[tokio::test]
async fn a_reload_to_another_proxy_is_followed() {
    let wechat = WeChat::with(&["--plain"]).await;
    let (first, second) =
        (OutboundProxy::http(wechat.addr, false).await, OutboundProxy::socks5(wechat.addr, false).await);
    let gate = Gate::with(&wechat.url, behind(&format!("http://{}", first.addr), "")).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    gate.reload(&wechat.url, &behind(&format!("socks5h://{}", second.addr), "")).await;
    until("connections are kept ready through the other", || !second.asked().is_empty()).await;
    let before = first.asked().len();
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(first.asked().len(), before);
    assert_eq!(wechat.handle.stats().calls_by_path["/cgi-bin/token"], 1, "the token is still good");
}
