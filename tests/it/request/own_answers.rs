//! The table of wxgate's own answers, and the token calls that it answers itself.

use std::time::{Duration, Instant};

use super::assert_refused;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{APPID, Gate, Settings};
use crate::support::https::request;
use crate::support::raw::{Raw, refused};

async fn limited(limits: &str) -> (Fake, Gate) {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::with(&fake.url(), Settings { limits: limits.to_owned(), ..Settings::default() }).await;
    (fake, gate)
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_408() {
    let (fake, gate) = limited("header_timeout = \"1s\"").await;
    for beginning in ["G", "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n", "\r\nGET"] {
        let response = refused(gate.addr, beginning).await;
        assert_refused(&response, 408, -1, "caller-timeout", beginning);
    }
    // After a first request, too.
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(raw.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    assert_refused(&raw.ask("GET /cgi").await, 408, -1, "caller-timeout", "second");
    assert_eq!(raw.rest().await, b"");
    assert_eq!(fake.began(), 1);
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off_all_the_same() {
    let (_fake, gate) = limited("header_timeout = \"400ms\"").await;
    let mut raw = Raw::to(gate.addr).await;
    let start = Instant::now();
    raw.write("GET /cgi-bin/x HTTP/1.1\r\n").await;
    let mut byte = [0; 1];
    loop {
        raw.write("a").await;
        let answered = tokio::time::timeout(Duration::from_millis(20), raw.stream.peek(&mut byte)).await;
        if answered.is_ok() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "still dripping");
    }
    assert_refused(&raw.answer(false).await, 408, -1, "caller-timeout", "drip");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let (_fake, gate) = limited("header_timeout = \"1s\"\nidle_timeout = \"1s\"").await;
    assert_eq!(Raw::to(gate.addr).await.rest().await, b"");
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(raw.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    assert_eq!(raw.rest().await, b"", "idle after a request");
    // Old clients send an empty line after a body: that begins no head.
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(
        raw.ask([&request("POST", "/cgi-bin/x", &[], b"body")[..], b"\r\n"].concat()).await.status,
        200
    );
    assert_eq!(raw.rest().await, b"", "an empty line and nothing more");
}

#[tokio::test]
async fn an_empty_line_after_a_body_counts_for_nothing() {
    let (_fake, gate) = limited("").await;
    let mut raw = Raw::to(gate.addr).await;
    for _ in 0..3 {
        let bytes = [&request("POST", "/cgi-bin/x", &[], b"body")[..], b"\r\n"].concat();
        assert_eq!(raw.ask(bytes).await.status, 200);
    }
}

#[tokio::test]
async fn a_request_in_flight_is_no_idle_connection() {
    let fake = Fake::answering(|_| Reply::Silence).await;
    let gate = Gate::with(
        &fake.url(),
        Settings {
            limits: "header_timeout = \"1s\"\nidle_timeout = \"1s\"".to_owned(),
            upstream: "response_timeout = \"3s\"".to_owned(),
            ..Settings::default()
        },
    )
    .await;
    assert_refused(&gate.get("/cgi-bin/x").await, 504, -1, "upstream-timeout", "GET");
}

#[tokio::test]
async fn a_head_over_the_limit_is_431() {
    let (fake, gate) = limited("max_header_bytes = \"2KiB\"").await;
    let long =
        |length: usize| format!("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(length));
    assert_refused(&refused(gate.addr, long(3000)).await, 431, 45002, "head-too-large", "whole");
    assert_refused(
        &refused(gate.addr, &long(3000)[..2500]).await,
        431,
        45002,
        "head-too-large",
        "unfinished",
    );
    let target = format!("GET /cgi-bin/{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(3000));
    assert_refused(&refused(gate.addr, target).await, 431, 45002, "head-too-large", "target");
    assert_eq!(fake.began(), 0);
    assert_eq!(Raw::to(gate.addr).await.ask(long(1900)).await.status, 200);
}

#[tokio::test]
async fn a_head_over_hypers_own_limits_is_431_too() {
    let (_fake, gate) = limited("max_header_bytes = \"1MiB\"").await;
    let many = format!("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert_refused(&refused(gate.addr, many).await, 431, 45002, "head-too-large", "many fields");
    let target = format!("GET /cgi-bin/{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(60_000));
    assert_refused(&refused(gate.addr, target).await, 431, 45002, "head-too-large", "long target");
    let big = format!("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(900_000));
    assert_eq!(Raw::to(gate.addr).await.ask(big).await.status, 200, "as large as the limit allows");
}

#[tokio::test]
async fn one_connection_too_many_is_503_busy() {
    let (_fake, gate) = limited("max_connections = 1").await;
    let mut first = Raw::to(gate.addr).await;
    assert_eq!(first.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    let response = refused(gate.addr, request("GET", "/cgi-bin/x", &[], b"")).await;
    assert_refused(&response, 503, -1, "busy", "second");
    assert_eq!(first.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    drop(first);
    let deadline = Instant::now() + crate::support::until::PATIENCE;
    while gate.get("/cgi-bin/x").await.status != 200 {
        assert!(Instant::now() < deadline, "the room is never free again");
    }
}

/// A proxy whose token calls are answered so.
async fn no_token(reply: Reply) {
    let fake = Fake::scripted(move |_| reply.clone(), |_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    let start = Instant::now();
    let response = gate.get("/cgi-bin/x").await;
    assert_refused(&response, 503, -1, "no-token", "token calls fail");
    assert!(start.elapsed() >= Duration::from_millis(4900), "{:?}", start.elapsed());
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn without_a_token_for_a_passing_reason_it_is_503_no_token_after_5_s() {
    let broken = Reply::Bytes(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec());
    tokio::join!(no_token(broken), no_token(Reply::errcode(-1)));
}

#[tokio::test]
async fn the_first_token_is_waited_for() {
    let issue = |n| match n {
        0 => Reply::errcode(-1),
        _ => Reply::json(&format!(
            r#"{{"access_token":"{}","expires_in":7200}}"#,
            crate::support::fake::token(n)
        )),
    };
    let fake = Fake::scripted(issue, |_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    assert_eq!(gate.get("/cgi-bin/x").await.status, 200);
}

#[tokio::test]
async fn a_refusal_to_issue_a_token_is_502_with_the_upstreams_number() {
    for errcode in [40013, 40125, 40164, 45009] {
        let fake = Fake::scripted(move |_| Reply::errcode(errcode), |_| Reply::json("{}")).await;
        let gate = Gate::before(&fake.url()).await;
        let response = gate.get("/cgi-bin/x").await;
        assert_refused(&response, 502, errcode, "token-refused", "refused");
        assert_eq!(fake.began(), 0);
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_502() {
    let fake = Fake::answering(|_| {
        Reply::Close(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec())
    })
    .await;
    let upstream = "warm_connections = 0".to_owned();
    let gate = Gate::with(&fake.url(), Settings { upstream, ..Settings::default() }).await;
    assert_eq!(gate.get("/cgi-bin/x").await.status, 200);
    drop(fake);
    let deadline = Instant::now() + crate::support::until::PATIENCE;
    let response = loop {
        let response = gate.post("/cgi-bin/x", "{}").await;
        if response.status != 200 {
            break response;
        }
        assert!(Instant::now() < deadline, "the fake never ends");
    };
    assert_refused(&response, 502, -1, "upstream-unreachable", "closed port");
}

#[tokio::test]
async fn an_upstream_that_refuses_tls_is_502_or_no_token() {
    // A plain listener where TLS is expected.
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url().replace("http://", "https://")).await;
    let response = gate.get("/cgi-bin/x").await;
    assert_refused(&response, 503, -1, "no-token", "no TLS, so no token either");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504_after_response_timeout() {
    let fake = Fake::answering(|_| Reply::Silence).await;
    let upstream = "response_timeout = \"1s\"".to_owned();
    let gate = Gate::with(&fake.url(), Settings { upstream, ..Settings::default() }).await;
    for request in [request("GET", "/cgi-bin/x", &[], b""), request("POST", "/cgi-bin/x", &[], b"body")] {
        let start = Instant::now();
        let response = Raw::to(gate.addr).await.ask(request).await;
        assert_refused(&response, 504, -1, "upstream-timeout", "silence");
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    }
    assert_eq!(fake.seen().len(), 2, "not repeated");
}

#[tokio::test]
async fn a_token_call_with_more_than_64_kib_is_413_and_costs_no_more_than_it_says() {
    let (fake, gate) = limited("").await;
    let json = ["Content-Type: application/json"];
    let nested = |length: usize| {
        let mut body = "[".to_owned();
        while body.len() + 9 < length {
            body += r#"{"a":{}},"#;
        }
        let room = length - body.len();
        body + &" ".repeat(room - 3) + "{}]"
    };
    for target in ["/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/Stable_Token/"] {
        let most = gate.send(&request("POST", target, &json, nested(65_536).as_bytes())).await;
        assert_eq!(most.json()["expires_in"], 7200, "{target}");
        for length in [65_537, 15 << 20] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            // Refused by its head: nothing of the body is waited for.
            let response = Raw::to(gate.addr).await.ask(head).await;
            assert_refused(&response, 413, 45001, "too-large", target);
            assert!(response.text().contains("64 KiB"), "{response:?}");
        }
        let chunk = format!("10001\r\n{}\r\n", "x".repeat(65_537));
        let chunked =
            format!("POST {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        assert_refused(&Raw::to(gate.addr).await.ask(chunked).await, 413, 45001, "too-large", target);
    }
    // What stands behind a long way is found, and so is the last of several, as PHP reads it.
    let other = format!(r#"{{"x":{},"appid":"{APPID}","appid":"wxother"}}"#, nested(60_000));
    let response = gate.send(&request("POST", "/cgi-bin/stable_token", &json, other.as_bytes())).await;
    assert_eq!(response.errcode(), 40013);
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn token_calls_are_answered_here() {
    let (fake, gate) = limited("").await;
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let json = ["Content-Type: application/json"];
    let own = format!("grant_type=client_credential&appid={APPID}&secret=whatever");
    let ok = None;
    for (method, target, fields, body, right) in [
        ("GET", format!("/cgi-bin/token?{own}"), &[][..], String::new(), ok),
        ("GET", "/cgi-bin/token".to_owned(), &[], String::new(), ok),
        ("GET", "/cgi-bin/token?appid=".to_owned(), &[], String::new(), ok),
        ("GET", "/cgi-bin/token?appid=wxother".to_owned(), &[], String::new(), Some(40013)),
        ("POST", "/cgi-bin/token".to_owned(), &form, own.clone(), ok),
        ("POST", "/cgi-bin/token".to_owned(), &form, "appid=wxother".to_owned(), Some(40013)),
        (
            "POST",
            "/cgi-bin/stable_token".to_owned(),
            &json,
            format!(r#"{{"appid":"{APPID}","force_refresh":true}}"#),
            ok,
        ),
        ("POST", "/cgi-bin/stable_token".to_owned(), &json, r#"{"appid":"wxother"}"#.to_owned(), Some(40013)),
        ("POST", "/cgi-bin/stable_token".to_owned(), &json, "not json".to_owned(), ok),
        ("GET", "/cgi-bin/stable_token".to_owned(), &[], String::new(), Some(43002)),
        ("PUT", "/cgi-bin/token".to_owned(), &[], String::new(), Some(43002)),
        ("DELETE", "/cgi-bin/stable_token".to_owned(), &[], String::new(), Some(43002)),
    ] {
        let response = gate.send(&request(method, &target, fields, body.as_bytes())).await;
        assert_eq!(response.status, 200, "{method} {target}");
        assert_eq!(response.header("Content-Type"), Some("application/json; encoding=utf-8"));
        assert_eq!(response.header("X-Wxgate-Error"), None, "as WeChat would say it: {method} {target}");
        let json = response.json();
        match right {
            None => {
                assert_eq!(json["expires_in"], 7200, "{method} {target} {body}");
                let placeholder = json["access_token"].as_str().unwrap();
                assert!(placeholder.starts_with("wxgate-placeholder"), "{placeholder}");
                // What the app then sends with every call.
                assert_eq!(gate.get(&format!("/cgi-bin/x?access_token={placeholder}")).await.status, 200);
            }
            Some(errcode) => assert_eq!(json["errcode"], errcode, "{method} {target} {body}"),
        }
    }
    assert_eq!(fake.fetches(), 1, "the proxy's own, and no other");
    assert!(fake.seen().iter().all(|seen| !seen.head.contains("placeholder")));
}
