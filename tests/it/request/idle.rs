//! Connections that are kept and not used: wxgate lets go of their buffers after a while, and no caller may see
//! that in what it is answered.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::assert_refused;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings, https_listener};
use crate::support::https::{Connection, request};
use crate::support::raw::{Raw, refused};

/// An upstream that answers with the body of its call, and a proxy with limits.
async fn echo(limits: &str) -> (Fake, Gate) {
    let fake = Fake::answering(|seen| Reply::ok(&["Content-Type: text/plain"], seen.body.clone())).await;
    let gate = Gate::with(&fake.url(), Settings { limits: limits.to_owned(), ..Settings::default() }).await;
    (fake, gate)
}

/// Long enough for a head, and longer than an unused connection keeps its buffers.
const HEAD: &str = "header_timeout = \"800ms\"";

/// Waits as long as wxgate itself waits for a head that does not come.
async fn pause(gate: &Gate) {
    assert_eq!(refused(gate.addr, "GET").await.status, 408);
}

fn get() -> Vec<u8> {
    request("GET", "/cgi-bin/x", &[], b"")
}

#[tokio::test]
async fn a_connection_goes_on_after_each_pause() {
    let (fake, gate) = echo(HEAD).await;
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(raw.ask(get()).await.status, 200);
    for round in 0..3 {
        pause(&gate).await;
        // A body comes with its head, and one so large that it comes in many pieces.
        for length in [0, 100, 300_000] {
            let body = vec![b'a' + round; length];
            let response = raw.ask(request("POST", "/cgi-bin/x", &[], &body)).await;
            assert_eq!((response.status, response.body == body), (200, true), "{round} {length}");
        }
    }
    pause(&gate).await;
    raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel").await;
    raw.write("lo\r\n0\r\n\r\n").await;
    assert_eq!(raw.answer(false).await.body, b"hello");
    assert_eq!(fake.calls(), 11);
}

#[tokio::test]
async fn requests_that_come_together_after_a_pause_are_answered_in_turn() {
    let (fake, gate) = echo(HEAD).await;
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(raw.ask(get()).await.status, 200);
    pause(&gate).await;
    let bodies = [b"one", b"two", b"sex"];
    let together: Vec<u8> =
        bodies.iter().flat_map(|body| request("POST", "/cgi-bin/x", &[], *body)).collect();
    raw.write(together).await;
    for body in bodies {
        assert_eq!(raw.answer(false).await.body, body);
    }
    assert_eq!(fake.calls(), 4);
}

#[tokio::test]
async fn a_head_may_come_in_halves_after_a_pause() {
    let (_fake, gate) = echo(HEAD).await;
    let mut raw = Raw::to(gate.addr).await;
    for cut in [1, 20] {
        assert_eq!(raw.ask(get()).await.status, 200);
        pause(&gate).await;
        raw.write(&get()[..cut]).await;
        // Another caller's call is served between the halves.
        assert_eq!(gate.get("/cgi-bin/x").await.status, 200);
        raw.write(&get()[cut..]).await;
        assert_eq!(raw.answer(false).await.status, 200);
    }
    pause(&gate).await;
    assert_refused(&raw.ask("GET /cgi").await, 408, -1, "caller-timeout", "one half alone");
    assert_eq!(raw.rest().await, b"");
}

#[tokio::test]
async fn what_is_refused_is_refused_after_a_pause_too() {
    let (fake, gate) = echo(HEAD).await;
    for (bytes, status, errcode, code) in [
        ("GET /cgi-bin/x HTTP/1.1\r\nHost: h\n\n", 400, 40066, "bad-request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 40066, "bad-request"),
        ("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na", 400, 40066, "bad-request"),
    ] {
        let mut raw = Raw::to(gate.addr).await;
        assert_eq!(raw.ask(get()).await.status, 200);
        pause(&gate).await;
        assert_refused(&raw.ask(bytes).await, status, errcode, code, bytes);
        assert_eq!(raw.rest().await, b"", "{bytes:?}");
    }
    assert_eq!(fake.calls(), 3);
}

#[tokio::test]
async fn callers_with_http_1_0_and_tls_pause_too() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let settings = Settings { limits: HEAD.to_owned(), tables: https_listener(), ..Settings::default() };
    let gate = Gate::with(&fake.url(), settings).await;
    let mut old = Raw::to(gate.addr).await;
    let mut tls = Connection::tls(gate.tls_addr.unwrap()).await;
    for _ in 0..3 {
        let response = old.ask("GET /cgi-bin/x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").await;
        assert_eq!(response.status, 200);
        assert!(response.header("Connection").is_some_and(|v| v.eq_ignore_ascii_case("keep-alive")));
        assert_eq!(tls.send(&get()).await.unwrap().status, 200);
        pause(&gate).await;
    }
    assert_eq!(old.ask("GET /cgi-bin/x HTTP/1.0\r\n\r\n").await.status, 200);
    assert_eq!(old.rest().await, b"", "closed, as HTTP/1.0 without keep-alive is");
    assert_eq!(
        tls.send(&request("GET", "/cgi-bin/x", &["Connection: close"], b"")).await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn a_pause_ends_with_the_idle_time() {
    let (_fake, gate) = echo("header_timeout = \"400ms\"\nidle_timeout = \"700ms\"").await;
    let mut raw = Raw::to(gate.addr).await;
    let start = Instant::now();
    assert_eq!(raw.ask(get()).await.status, 200);
    assert_eq!(raw.rest().await, b"");
    assert!(start.elapsed() > Duration::from_millis(600), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_pause_ends_with_the_caller_and_with_the_drain() {
    let (_fake, gate) = echo(HEAD).await;
    let mut pausing = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::to(gate.addr).await;
        assert_eq!(raw.ask(get()).await.status, 200);
        pausing.push(raw);
    }
    pause(&gate).await;
    // Half a close is a whole one between two requests.
    pausing[0].stream.shutdown().await.unwrap();
    assert_eq!(pausing[0].rest().await, b"");
    let start = Instant::now();
    gate.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for mut raw in pausing {
        assert_eq!(raw.rest().await, b"");
    }
}

#[tokio::test]
async fn a_connection_that_has_not_begun_ends_with_the_caller_and_with_the_drain() {
    let (_fake, gate) = echo("").await;
    let mut left = Raw::to(gate.addr).await;
    left.stream.shutdown().await.unwrap();
    assert_eq!(left.rest().await, b"");
    let mut silent = Raw::to(gate.addr).await;
    // Accepted behind the silent one.
    assert_eq!(Raw::to(gate.addr).await.ask(get()).await.status, 200);
    let start = Instant::now();
    gate.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(silent.rest().await, b"");
}
