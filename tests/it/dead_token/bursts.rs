//! Many callers at the moment when the token dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::{EXPIRED, REFUSED, call_and_check, check, marked_call};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::Gate;
use crate::support::https::{Connection, request};
use crate::support::until::until;
use crate::support::wechat::WeChat;

const CALLERS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_requests_refused_with_one_token_cause_one_fetch() {
    let (release, released) = watch::channel(false);
    let fake = Fake::issuing(
        |nth| format!("first-or-later-token-of-this-upstream-{nth}."),
        move |seen| match seen.line().contains("upstream-1.&") {
            // All of them are on their way with the old token before the first one is refused.
            true => Reply::Held(released.clone(), bytes(REFUSED)),
            false => {
                let (_, marker) = seen.line().trim_end_matches(" HTTP/1.1").split_once("&n=").unwrap();
                Reply::json(&format!(
                    r#"{{"upstream-2":{},"n":"{marker}"}}"#,
                    seen.line().contains("upstream-2.&")
                ))
            }
        },
    )
    .await;
    let gate = Gate::before(&fake.url()).await;
    let addr = gate.addr;
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let call = request("GET", &format!("/cgi-bin/user/info?n={n}"), &[], b"");
            tokio::spawn(async move { Connection::plain(addr).await.send(&call).await.unwrap() })
        })
        .collect();
    until("all calls are with the upstream", || fake.calls() == CALLERS).await;
    assert_eq!(fake.fetches(), 1);
    release.send_replace(true);
    for (n, response) in all(callers).await.into_iter().enumerate() {
        assert_eq!(response.status, 200);
        assert_eq!(response.text(), format!(r#"{{"upstream-2":true,"n":"{n}"}}"#));
        assert_eq!(response.header("X-Wxgate-Retry"), None);
    }
    assert_eq!(fake.fetches(), 2, "the first token and one more");
    assert_eq!(fake.calls(), 2 * CALLERS, "each call was sent twice and no more");
}

fn bytes(json: &str) -> Vec<u8> {
    let Reply::Bytes(bytes) = Reply::json(json) else { unreachable!("JSON is bytes") };
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_callers_right_after_a_theft_all_get_their_answer_for_one_fetch() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        let mut connection = Connection::plain(gate.addr).await;
        callers.push(tokio::spawn(async move {
            call_and_check(&mut connection, &format!("before-{n}")).await;
            connection
        }));
    }
    let connections = all(callers).await;
    assert_eq!(wechat.handle.stats().fetches.token, 1);
    wechat.handle.steal_token();
    let callers = connections.into_iter().enumerate().map(|(n, mut connection)| {
        tokio::spawn(async move { call_and_check(&mut connection, &format!("after-{n}")).await })
    });
    all(callers.collect()).await;
    let stats = wechat.handle.stats();
    assert_eq!(stats.fetches.token, 2, "the first token and one more");
    let refused = stats.per_token[0].refused;
    println!("{refused} of {CALLERS} calls were refused with the stolen token");
    assert!(refused > 0);
    // The first token, the thief's, and ours.
    assert_eq!((stats.per_token[1].calls, stats.per_token[2].calls), (0, CALLERS as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_stolen_every_200_ms_under_load_is_seen_by_no_caller() {
    const CONNECTIONS: usize = 32;
    // The bucket holds ten forced refreshes.
    const THEFTS: u64 = 9;
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let done: Arc<Vec<AtomicU64>> = Arc::new((0..CONNECTIONS).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let callers = (0..CONNECTIONS).map(|c| {
        let (done, stop, addr) = (Arc::clone(&done), Arc::clone(&stop), gate.addr);
        tokio::spawn(async move {
            let mut connection = Connection::plain(addr).await;
            while !stop.load(Ordering::Relaxed) {
                let n = done[c].load(Ordering::Relaxed);
                call_and_check(&mut connection, &format!("{c}-{n}")).await;
                done[c].store(n + 1, Ordering::Relaxed);
            }
        })
    });
    let callers = callers.collect();
    let counts = || done.iter().map(|n| n.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let started = Instant::now();
    let mut clock = interval(Duration::from_millis(200));
    // A thief that is faster than a call and its one repetition would win; on a machine that is busy with
    // other tests the clock waits for both.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for theft in 1..=THEFTS {
        clock.tick().await;
        until("the first token", || wechat.handle.stats().fetches.token == theft).await;
        let before = counts();
        wechat.handle.steal_token();
        until("every connection has got over the theft", || {
            counts().iter().zip(&before).all(|(now, then)| *now >= then + 2)
        })
        .await;
    }
    let span = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    all(callers).await;
    let stats = wechat.handle.stats();
    let refused: u64 = stats.per_token.iter().map(|token| token.refused).sum();
    println!("{} calls, {THEFTS} thefts in {span:?}, {refused} refusals", counts().iter().sum::<u64>());
    assert_eq!(stats.fetches.token, 1 + THEFTS);
    assert!(refused >= THEFTS, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_stolen_calls_are_sent_again_whole() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    for n in 0..5 {
        wechat.handle.steal_token();
        let menu = format!(r#"{{"button":[{{"type":"click","name":"今日歌曲 {n}","key":"K{n}"}}]}}"#);
        assert_eq!(gate.post("/cgi-bin/menu/create", &menu).await.text(), r#"{"errcode":0,"errmsg":"ok"}"#);
        wechat.handle.steal_token();
        let kept = gate.get("/cgi-bin/menu/get").await.json();
        assert_eq!(kept["menu"], serde_json::from_str::<serde_json::Value>(&menu).unwrap());
    }
    check(&gate.send(&marked_call("end")).await, "end");
}

#[tokio::test]
async fn a_repeated_call_differs_in_its_token_alone() {
    let fake = Fake::issuing(
        |nth| format!("token-that-is-good-from-the-second-on-{nth}."),
        |seen| match seen.line().contains("on-1.") {
            true => Reply::json(EXPIRED),
            false => Reply::json("{}"),
        },
    )
    .await;
    let gate = Gate::before(&fake.url()).await;
    let body: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let fields = ["Content-Type: application/octet-stream", "X-oDD: 1", "x-odd: 2"];
    assert_eq!(gate.send(&request("POST", "/cgi-bin/x?b=2", &fields, &body)).await.text(), "{}");
    let [first, second] = &fake.seen()[..] else { panic!("{} calls", fake.calls()) };
    assert_eq!(first.head.replace("on-1.", "on-2."), second.head);
    assert!(first.body == body && second.body == body, "byte for byte");
    assert_eq!(first.connection, second.connection, "no handshake for the repetition");
}

/// The results of all tasks; one that panicked fails the test.
async fn all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}
