//! Fallback hosts: when they are used, and when they are not. When the first host is used again is a test of
//! `upstream/api_host.rs`, which has a clock of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::admin::support;
use crate::request::assert_refused;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{APPID, Gate, SECRET, Settings};
use crate::support::https::{Connection, request};
use crate::support::nobody::nobody;
use crate::support::outbound::Relay;
use crate::support::until::{until, until_async};
use crate::support::wechat::WeChat;

fn fallbacks(urls: &[&str]) -> Settings {
    let tables = "[admin]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    Settings { upstream: format!("fallbacks = {urls:?}"), tables, ..Settings::default() }
}

async fn ok() -> Fake {
    Fake::answering(|_| Reply::json(r#"{"errcode":0}"#)).await
}

/// What `/status` says of the account's upstream.
async fn upstream(gate: &Gate) -> Value {
    support::json(&support::get(gate, "/status").await)["accounts"][0]["upstream"].clone()
}

#[tokio::test]
async fn with_the_first_host_down_token_and_calls_come_from_the_next() {
    let ((_a, dead), (_b, dead_too)) = (nobody(), nobody());
    let fake = ok().await;
    let (first, second) = (format!("http://{dead}"), format!("http://{dead_too}"));
    let gate = Gate::with(&first, fallbacks(&[&second, &fake.url()])).await;
    for _ in 0..3 {
        assert_eq!(gate.post("/cgi-bin/x", "{}").await.errcode(), 0);
    }
    assert_eq!((fake.fetches(), fake.calls()), (1, 3));
    for seen in fake.seen() {
        assert_eq!(seen.fields("Host"), [fake.addr.to_string()], "{seen:?}");
    }
    let upstream = upstream(&gate).await;
    assert_eq!((&upstream["url"], &upstream["in_use"]), (&first.into(), &fake.url().into()));
    let metrics = support::get(&gate, "/metrics").await;
    let in_use = format!("wxgate_upstream_in_use{{account=\"main\",url=\"{}\"}} 1", fake.url());
    assert!(metrics.text().contains(&in_use), "{}", metrics.text());
    let page = support::get(&gate, "/").await;
    assert!(page.text().contains(&format!("<code>{}</code> <span class=\"bad\">fallback", fake.url())));
}

#[tokio::test]
async fn a_host_whose_certificate_is_refused_is_passed_over() {
    // The certificate is for 127.0.0.1.
    let (stranger, wechat) = (WeChat::with(&["--listen", "127.0.0.2:0"]).await, WeChat::start().await);
    let gate = Gate::with(&stranger.url, fallbacks(&[&wechat.url])).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(stranger.handle.stats().connections.requests, 0);
    let end = upstream(&gate).await["tls_expires_at"].as_str().unwrap().to_owned();
    assert!(end.starts_with("20") && end.ends_with('Z'), "{end}");
}

#[tokio::test]
async fn a_call_that_was_written_goes_to_no_other_host() {
    let closing = Fake::answering(|_| Reply::Close(Vec::new())).await;
    let fake = ok().await;
    let gate = Gate::with(&closing.url(), fallbacks(&[&fake.url()])).await;
    let refused = gate.post("/cgi-bin/x", "{}").await;
    assert_refused(&refused, 502, -1, "upstream-unreachable", "it may have been executed");
    assert_eq!((closing.calls(), fake.calls(), fake.open()), (1, 0, 0));
}

#[tokio::test]
async fn fallbacks_stand_in_for_url_and_for_no_other_host() {
    let (_held, dead) = nobody();
    let (main, spare) = (ok().await, ok().await);
    let mut settings = fallbacks(&[&spare.url()]);
    settings.account = "prefix = \"/main\"".to_owned();
    settings.tables += &format!(
        "[[account]]\nname = \"own\"\nappid = \"wx2\"\nsecret = \"{SECRET}\"\nupstream = \"http://{dead}\"\n"
    );
    let gate = Gate::with(&main.url(), settings).await;
    assert_eq!(gate.get("/main/cgi-bin/x").await.errcode(), 0);
    let refused = gate.get("/sns/x").await;
    assert_eq!(refused.status, 404, "{refused:?}");
    until_async("its token cannot be fetched", async || {
        let status = support::json(&support::get(&gate, "/status").await);
        status["accounts"][1]["last_error"]["errcode"] == -1
    })
    .await;
    assert_eq!((spare.fetches(), spare.calls()), (0, 0));
}

#[tokio::test]
async fn the_stored_token_is_the_same_whichever_host_is_in_use() {
    let (main, spare) = (ok().await, ok().await);
    let mut relay = Relay::to(main.addr).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = || Settings { state: Some(dir.path().join("state")), ..fallbacks(&[&spare.url()]) };
    let gate = Gate::with(&relay.url(), settings()).await;
    assert_eq!(gate.get("/cgi-bin/x").await.errcode(), 0);
    gate.stop();
    relay.cut().await;
    let gate = Gate::with(&relay.url(), settings()).await;
    assert_eq!(gate.get("/cgi-bin/x").await.errcode(), 0);
    assert_eq!((main.fetches(), spare.fetches(), spare.calls()), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_dies_under_load_costs_no_get_and_no_call_that_begins_later() {
    let (main, spare) = (ok().await, ok().await);
    let mut relay = Relay::to(main.addr).await;
    let gate = Gate::with(&relay.url(), fallbacks(&[&spare.url()])).await;
    let (stop, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let after = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..8)
        .map(|n| {
            let (stop, cut, after) = (Arc::clone(&stop), Arc::clone(&cut), Arc::clone(&after));
            let (addr, method) = (gate.addr, if n % 2 == 0 { "GET" } else { "POST" });
            tokio::spawn(async move {
                let mut caller = Connection::plain(addr).await;
                let mut failed = 0;
                while !stop.load(Ordering::SeqCst) {
                    let later = cut.load(Ordering::SeqCst);
                    let answer = caller.send(&request(method, "/cgi-bin/x", &[], b"")).await.unwrap();
                    if answer.status != 200 {
                        // Only a POST that the dying host may have executed.
                        assert!(method == "POST" && answer.status == 502 && !later, "{method}: {answer:?}");
                        failed += 1;
                    } else if later {
                        after.fetch_add(1, Ordering::SeqCst);
                    }
                }
                failed
            })
        })
        .collect();
    until("calls reach the first host", || main.calls() > 200).await;
    relay.cut().await;
    cut.store(true, Ordering::SeqCst);
    until("calls reach the other", || after.load(Ordering::SeqCst) > 500).await;
    stop.store(true, Ordering::SeqCst);
    let mut failed = 0;
    for caller in callers {
        failed += caller.await.unwrap();
    }
    assert!(failed <= 4, "one for each POST on its way: {failed}");
    assert_eq!(upstream(&gate).await["in_use"], spare.url());
    // It is back, and not at once.
    relay.mend().await;
    let before = main.calls();
    for _ in 0..20 {
        assert_eq!(gate.get("/cgi-bin/x").await.errcode(), 0);
    }
    assert_eq!(main.calls(), before);
    assert!(gate.get(&format!("/cgi-bin/token?appid={APPID}")).await.json()["access_token"].is_string());
}
