//! Callers who go away: their call ends, a refresh that others wait for does not.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::{Gate, Settings, https_listener};
use crate::support::https::Connection;
use crate::support::raw::Raw;
use crate::support::until::until;

const GET: &str = "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn a_caller_who_leaves_ends_its_call() {
    let never = Arc::new(Notify::new());
    let (head, json) = ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n", "Content-Type: application/json\r\n");
    for (what, reply) in [
        ("before an answer", Reply::Silence),
        (
            "in the middle of a download",
            Reply::Then(format!("{head}\r\nabc").into(), Arc::clone(&never), Vec::new()),
        ),
        (
            "in the middle of what is held back",
            Reply::Then(format!("{head}{json}\r\n{{").into(), never, Vec::new()),
        ),
    ] {
        let fake = Fake::answering(move |_| reply.clone()).await;
        let gate =
            Gate::with(&fake.url(), Settings { tables: https_listener(), ..Settings::default() }).await;
        for (ended, way) in ["closed", "half closed", "over TLS"].into_iter().enumerate() {
            let arrived = || fake.seen().len() == ended + 1;
            if way == "over TLS" {
                let mut caller = Connection::tls(gate.tls_addr.unwrap()).await;
                tokio::select! {
                    answer = caller.send(GET.as_bytes()) => panic!("{what}: {answer:?}"),
                    () = until("the call arrives", arrived) => {}
                }
            } else {
                let mut raw = Raw::to(gate.addr).await;
                raw.write(GET).await;
                until("the call arrives", arrived).await;
                // Otherwise it is dropped here.
                if way == "half closed" {
                    raw.stream.shutdown().await.unwrap();
                    until(what, || fake.abandoned() == ended + 1).await;
                }
            }
            until(what, || fake.abandoned() == ended + 1).await;
        }
    }
}

#[tokio::test]
async fn a_caller_who_leaves_during_a_refresh_does_not_end_it() {
    let signal = Arc::new(Notify::new());
    let wait = Arc::clone(&signal);
    let issue = move |n: usize| {
        let Reply::Bytes(bytes) =
            Reply::json(&format!(r#"{{"access_token":"{}","expires_in":7200}}"#, token(n)))
        else {
            unreachable!()
        };
        if n == 0 { Reply::Bytes(bytes) } else { Reply::Then(Vec::new(), Arc::clone(&wait), bytes) }
    };
    let fake = Fake::scripted(issue, |seen| match seen.line().contains(&token(0)) {
        true => Reply::errcode(40001),
        false => Reply::errcode(0),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let mut first = Raw::to(gate.addr).await;
    first.write(GET).await;
    until("the refresh begins", || fake.fetches() == 2).await;
    let mut second = Raw::to(gate.addr).await;
    second.write(GET).await;
    until("the second call is refused too", || fake.seen().len() == 2).await;
    drop(first);
    signal.notify_one();
    assert_eq!(second.answer(false).await.errcode(), 0);
    assert_eq!(fake.fetches(), 2, "one fetch");
    assert_eq!(fake.abandoned(), 0, "the fetch was not broken off");
}

#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_of_an_upload_ends_it() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let settings = Settings {
        limits: "replay_per_request = \"1KiB\"".to_owned(),
        upstream: "warm_connections = 0".to_owned(),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), settings).await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\nabc").await;
    until("the call begins", || fake.began() == 1).await;
    let open = fake.open();
    drop(raw);
    until("the upstream's connection is closed", || fake.open() < open).await;
    assert_eq!(fake.seen().len(), 0);
}
