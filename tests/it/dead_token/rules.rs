//! Which refusals cause a fetch, and what keeps fetches bounded when nothing helps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wxgate_sandbox::{Failure, How};

use super::REFUSED;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::https::{Connection, request};
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

fn refusing(path: &str, errcode: i64, count: u64) -> Failure {
    Failure { count, path: Some(path.to_owned()), how: How::Errcode(errcode) }
}

#[tokio::test]
async fn an_expired_token_is_never_seen_by_the_caller() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.expire_token();
    assert_eq!(gate.get("/cgi-bin/user/get").await.json()["total"], 3);
    let stats = wechat.handle.stats();
    assert_eq!((stats.fetches.token, stats.refused[&42001]), (2, 1));
}

#[tokio::test]
async fn refresh_on_says_which_refusals_cause_a_fetch() {
    // The errcodes in the configuration, what the upstream answers once, what the caller gets, and the fetches.
    // The token is young: a refusal that is no proof is first answered by a repetition.
    for (refresh_on, errcode, answer, fetches) in [
        ("", 40001, 0, 1),
        ("", 40014, 0, 1),
        ("", 42001, 0, 2),
        ("", 45009, 45009, 1),
        ("", 41001, 41001, 1),
        ("refresh_on = [40001]", 40014, 40014, 1),
        ("refresh_on = [40001]", 42001, 42001, 1),
        ("refresh_on = [41001]", 41001, 0, 2),
    ] {
        let wechat = WeChat::start().await;
        let gate =
            Gate::with(&wechat.url, Settings { account: refresh_on.to_owned(), ..Settings::default() }).await;
        wechat.handle.fail(refusing("/cgi-bin/user/get", errcode, 1));
        let response = gate.get("/cgi-bin/user/get").await;
        let fetched = wechat.handle.stats().fetches.token;
        assert_eq!((response.errcode(), fetched), (answer, fetches), "{refresh_on} {errcode}");
        assert_eq!(response.header("X-Wxgate-Retry"), None, "{refresh_on} {errcode}");
    }
}

/// An upstream that refuses all tokens from some moment on: the fetches that its callers cause, each of whom calls a
/// path of its own again and again. In a good time before that, `known` of the paths were accepted.
async fn fetches_of_refused_callers(known: bool) -> usize {
    const CONNECTIONS: usize = 32;
    const CALLS: usize = 25;
    let refusing = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&refusing);
    let fake = Fake::issuing(
        |nth| format!("a-token-that-is-refused-{nth}"),
        move |_| match refuses.load(Ordering::SeqCst) {
            true => Reply::json(REFUSED),
            false => Reply::json("{}"),
        },
    )
    .await;
    let gate = Gate::before(&fake.url()).await;
    let path = |c: usize| format!("/cgi-bin/path/{c}");
    for c in (0..CONNECTIONS).filter(|_| known) {
        assert_eq!(gate.get(&path(c)).await.text(), "{}");
    }
    refusing.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let mut callers = Vec::new();
    for c in 0..CONNECTIONS {
        let addr = gate.addr;
        callers.push(tokio::spawn(async move {
            let mut connection = Connection::plain(addr).await;
            let mut marks = BTreeMap::<_, usize>::new();
            for _ in 0..CALLS {
                let response = connection.send(&request("GET", &path(c), &[], b"")).await.unwrap();
                // The upstream's own answer, byte for byte, whatever wxgate says about it.
                assert_eq!((response.status, response.text()), (200, REFUSED));
                let mark = response.header("X-Wxgate-Retry").map(str::to_owned);
                *marks.entry(mark.unwrap_or_default()).or_default() += 1;
            }
            marks
        }));
    }
    let mut marks = BTreeMap::<_, usize>::new();
    for caller in callers {
        for (mark, count) in caller.await.unwrap() {
            *marks.entry(mark).or_default() += count;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "the bucket got one more meanwhile");
    assert!(marks.keys().all(|mark| mark.is_empty() || mark == "refresh-limited"), "{marks:?}");
    let late = gate.get(&path(0)).await;
    assert_eq!((late.header("X-Wxgate-Retry"), late.text()), (Some("refresh-limited"), REFUSED));
    fake.fetches() - 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_refuses_every_token_costs_no_more_than_the_bucket() {
    assert_eq!(fetches_of_refused_callers(true).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_were_never_accepted_cost_three_of_the_bucket_together() {
    assert_eq!(fetches_of_refused_callers(false).await, 3);
}

#[tokio::test]
async fn made_up_paths_leave_a_real_theft_to_be_healed_for_the_others() {
    let refused = "/cgi-bin/made-up/";
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    for n in 0..40 {
        wechat.handle.fail(refusing(&format!("{refused}{n}"), 40001, 3));
    }
    let addr = gate.addr;
    let callers = (0..40).map(|n| {
        let call = request("GET", &format!("{refused}{n}"), &[], b"");
        tokio::spawn(async move { Connection::plain(addr).await.send(&call).await.unwrap().errcode() })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert!(wechat.handle.stats().fetches.token <= 4, "{:?}", wechat.handle.stats().fetches);
    for theft in 0..7 {
        wechat.handle.steal_token();
        let healed = gate.get("/cgi-bin/user/get").await;
        assert_eq!((healed.errcode(), healed.header("X-Wxgate-Retry")), (0, None), "theft {theft}");
    }
}

#[tokio::test]
async fn a_path_that_refuses_every_token_stops_causing_fetches_and_harms_no_other() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let sick = "/cgi-bin/menu/get";
    wechat.handle.fail(refusing(sick, 40001, 1_000));
    let mut told = None;
    for n in 0..20 {
        let refused = gate.get(sick).await;
        assert_eq!(refused.errcode(), 40001);
        match refused.header("X-Wxgate-Retry") {
            Some("refresh-limited") => _ = told.get_or_insert(n),
            mark => assert_eq!((mark, told), (None, None), "call {n}"),
        }
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    }
    // At the third call; later where the machine is too busy to fetch within one.
    assert!(told.is_some_and(|n| n >= 2), "{told:?}");
    assert_eq!(wechat.handle.stats().fetches.token, 3, "the first token and two for the sick path");
    // The others are still healed at once.
    wechat.handle.steal_token();
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(wechat.handle.stats().fetches.token, 4);
}

#[tokio::test]
async fn one_success_clears_a_path_that_was_refused() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let path = "/cgi-bin/getcallbackip";
    // Three sendings of two calls; a call is sent less often where the machine is too busy to fetch in between.
    wechat.handle.fail(refusing(path, 40001, 6));
    assert_eq!(gate.get(path).await.errcode(), 40001);
    until_async("it is accepted", async || gate.get(path).await.errcode() == 0).await;
    wechat.handle.steal_token();
    let healed = gate.get(path).await;
    assert_eq!((healed.errcode(), healed.header("X-Wxgate-Retry")), (0, None));
}
