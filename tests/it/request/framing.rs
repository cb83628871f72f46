//! What can be read in two ways never reaches the upstream: heads, lengths, chunks, from raw sockets.

use std::fmt::Write as _;

use tokio::io::AsyncWriteExt;

use super::assert_refused;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::raw::{Raw, refused};
use crate::support::until::until;

async fn pair() -> (Fake, Gate) {
    let fake = Fake::answering(|_| Reply::json(r#"{"errcode":0}"#)).await;
    let gate = Gate::before(&fake.url()).await;
    (fake, gate)
}

#[tokio::test]
async fn ambiguous_heads_are_refused_and_the_upstream_sees_nothing() {
    let (fake, gate) = pair().await;
    let get = |fields: &str| format!("GET /cgi-bin/x HTTP/1.1\r\n{fields}\r\n");
    let post =
        |fields: &str, body: &str| format!("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let requests = [
        // Host
        get(""),
        get("Host: a\r\nHost: a\r\n"),
        get("Host: a\r\nHost: b\r\n"),
        get("Host: \r\n"),
        get("Host: a b\r\n"),
        get("Host: a/b\r\n"),
        get("Host: u@a\r\n"),
        get("Host: a, b\r\n"),
        get("Host: a:x\r\n"),
        get("Host: a:99999\r\n"),
        // target
        line("GET http://other/cgi-bin/x HTTP/1.1"),
        line("GET http://h:1/cgi-bin/x HTTP/1.1").replace("Host: h", "Host: h:2"),
        line("GET http://u:p@h/cgi-bin/x HTTP/1.1"),
        line("GET http://u@h/cgi-bin/x HTTP/1.1"),
        line("GET ftp://h/cgi-bin/x HTTP/1.1"),
        line("GET * HTTP/1.1"),
        line("OPTIONS * HTTP/1.1"),
        line("GET h:443 HTTP/1.1"),
        line("GET h HTTP/1.1"),
        line("GET cgi-bin/x HTTP/1.1"),
        line("GET /cgi-bin/x#f HTTP/1.1"),
        line("GET /cgi-bin/x?a#f HTTP/1.1"),
        line("GET /cgi-bin/x HTTP/1.2"),
        line("GET /cgi-bin/x HTTP/2.0"),
        line("GET /cgi-bin/x"),
        line("GET  /cgi-bin/x HTTP/1.1"),
        line("GET /cgi-bin/x  HTTP/1.1"),
        line(" GET /cgi-bin/x HTTP/1.1"),
        line("GET\t/cgi-bin/x HTTP/1.1"),
        // lengths
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        post("Content-Length: 5, 5\r\n", "hello"),
        post("Content-Length: +5\r\n", "hello"),
        post("Content-Length: 5 5\r\n", "hello"),
        post("Content-Length: 0x5\r\n", "hello"),
        post("Content-Length: -1\r\n", "hello"),
        post("Content-Length:\r\n", "hello"),
        post("Content-Length: 99999999999999999999\r\n", "hello"),
        post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: identity\r\n", "hello"),
        post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked;a=b\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding:\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
        // lines
        get("Host: h\r\n").replace("\r\n", "\n"),
        "GET /cgi-bin/x HTTP/1.1\r\nHost: h\nA: b\r\n\r\n".to_owned(),
        "GET /cgi-bin/x HTTP/1.1\nHost: h\r\n\r\n".to_owned(),
        "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\n".to_owned(),
        get("Host: h\r\nA: b\r\n c\r\n"),
        get("Host: h\r\nA: b\r\n\tc\r\n"),
        get(" Host: h\r\n"),
        get("Host : h\r\n"),
        get("Host: h\r\nContent-Length : 5\r\n"),
        get("Host: h\r\nTransfer-Encoding : chunked\r\n"),
        get("Host: h\r\nTransfer-Encoding\t: chunked\r\n"),
        get("Host: h\r\nA: b\0c\r\n"),
        get("Host: h\r\nA: b\rc\r\n"),
        get("Host: h\r\nA\0: b\r\n"),
        get("Host: h\r\nA(: b\r\n"),
        get("Host: h\r\n: b\r\n"),
        get("Host: h\r\nno colon\r\n"),
    ];
    for request in requests {
        let response = refused(gate.addr, &request).await;
        assert_refused(&response, 400, 40066, "bad-request", &request);
        assert_eq!(response.header("Connection"), Some("close"), "{request:?}");
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn connect_and_trace_are_refused_with_405() {
    let (fake, gate) = pair().await;
    for line in ["CONNECT h:443", "CONNECT /cgi-bin/x", "TRACE /cgi-bin/x", "TRACE http://h/cgi-bin/x"] {
        let response = gate.send(format!("{line} HTTP/1.1\r\nHost: h:443\r\n\r\n").as_bytes()).await;
        assert_refused(&response, 405, 43002, "method", line);
    }
    until("there is a token, so that stopping waits for none", || fake.fetches() == 1).await;
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn heads_that_are_unusual_but_clear_are_served() {
    let (fake, gate) = pair().await;
    let requests = [
        "GET http://api.weixin.qq.com/cgi-bin/x?a=1 HTTP/1.1\r\nHost: api.weixin.qq.com\r\n\r\n",
        "GET http://api.weixin.qq.com:80/cgi-bin/x?a=1 HTTP/1.1\r\nHost: API.weixin.qq.com\r\n\r\n",
        "GET https://api.weixin.qq.com/cgi-bin/x?a=1 HTTP/1.1\r\nHost: api.weixin.qq.com\r\n\r\n",
        "\r\n\r\nGET /cgi-bin/x?a=1 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /cgi-bin/x?a=1 HTTP/1.1\r\nhOsT:h:8080\r\n\r\n",
        "GET /cgi-bin/x?a=1 HTTP/1.1\r\nHost: \t h \t\r\nX-Empty:\r\n\r\n",
        "GET /cgi-bin/x?a=1 HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET /cgi-bin/x?a=1 HTTP/1.0\r\n\r\n",
    ];
    for request in requests {
        assert_eq!(Raw::to(gate.addr).await.ask(request).await.status, 200, "{request:?}");
    }
    let seen = fake.seen();
    assert_eq!(seen.len(), requests.len());
    for seen in seen {
        assert!(
            seen.line().ends_with("&a=1 HTTP/1.1") && seen.line().starts_with("GET /cgi-bin/x?"),
            "{seen:?}"
        );
        assert_eq!(seen.fields("Host").len() + seen.fields("hOsT").len(), 1, "{seen:?}");
    }
}

#[tokio::test]
async fn a_head_may_come_in_pieces_of_any_size() {
    let (fake, gate) = pair().await;
    let request = "\r\nPOST /cgi-bin/x?a=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    for piece in [1, 2, 3, 7, 50] {
        let mut raw = Raw::to(gate.addr).await;
        for bytes in request.as_bytes().chunks(piece) {
            raw.write(bytes).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(raw.answer(false).await.status, 200, "{piece}");
    }
    for seen in fake.seen() {
        assert_eq!(seen.body, b"hello");
    }
}

const BROKEN_CHUNKS: [&str; 22] = [
    "x\r\n",
    "\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "4\r\nhello\r\n0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\n\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\r\nA: b\n\r\n",
    "5\r\nhello\r\n0\r\n\0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5;\x01\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "00000000000000005\r\nhello\r\n0\r\n\r\n",
];

#[tokio::test]
async fn a_broken_chunk_is_a_400_and_no_request() {
    let (fake, gate) = pair().await;
    let head = "POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in BROKEN_CHUNKS {
        let response = refused(gate.addr, format!("{head}{chunks}")).await;
        assert_refused(&response, 400, 40066, "bad-request", chunks);
        // The same with a good chunk before, and the broken one in a segment of its own.
        let mut raw = Raw::to(gate.addr).await;
        raw.write(format!("{head}3\r\nabc\r\n")).await;
        raw.write(chunks).await;
        assert_refused(&raw.answer(false).await, 400, 40066, "bad-request", chunks);
        assert_eq!(raw.rest().await, b"");
    }
    let endless = [format!("5;{}", "a".repeat(5000)), format!("0\r\n{}", "A: b\r\n".repeat(1000))];
    for chunks in endless {
        let response = refused(gate.addr, format!("{head}{chunks}")).await;
        assert_refused(&response, 400, 40066, "bad-request", "endless");
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn a_body_that_ends_early_is_a_400_and_no_request() {
    let (fake, gate) = pair().await;
    for (fields, body) in [
        ("Content-Length: 10", "hello"),
        ("Content-Length: 10", ""),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked", ""),
    ] {
        let mut raw = Raw::to(gate.addr).await;
        raw.write(format!("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}")).await;
        raw.stream.shutdown().await.unwrap();
        assert_refused(&raw.answer(false).await, 400, 40066, "bad-request", body);
        assert_eq!(raw.rest().await, b"");
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn a_streamed_body_that_ends_early_never_becomes_a_complete_request() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let settings = Settings {
        limits: "replay_per_request = \"1KiB\"".to_owned(),
        upstream: "warm_connections = 0".to_owned(),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), settings).await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").await;
    raw.write(vec![b'a'; 50_000]).await;
    until("the upstream sees the beginning", || fake.began() == 1).await;
    let open = fake.open();
    raw.stream.shutdown().await.unwrap();
    let response = raw.answer(false).await;
    assert_refused(&response, 400, 40066, "bad-request", "cut short");
    until("the upstream's connection is closed", || fake.open() < open).await;
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let fake = Fake::answering(|seen| Reply::json(&format!(r#"{{"line":"{}"}}"#, seen.line()))).await;
    let gate = Gate::before(&fake.url()).await;
    let mut all = String::new();
    for i in 0..20 {
        write!(all, "POST /cgi-bin/{i} HTTP/1.1\r\nHost: h\r\n").unwrap();
        match i % 3 {
            0 => all += "Content-Length: 3\r\n\r\nabc",
            1 => all += "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: t\r\n\r\n",
            _ => all += "\r\n",
        }
    }
    let mut raw = Raw::to(gate.addr).await;
    raw.write(&all).await;
    for i in 0..20 {
        let response = raw.answer(false).await;
        assert!(response.text().contains(&format!("POST /cgi-bin/{i}?")), "{i}: {response:?}");
    }
    for (i, seen) in fake.seen().iter().enumerate() {
        assert_eq!(seen.body, if i % 3 == 2 { &b""[..] } else { b"abc" });
    }
}

#[tokio::test]
async fn a_refused_second_request_gets_its_400_after_the_firsts_answer() {
    let (fake, gate) = pair().await;
    for second in [
        "GET /cgi-bin/b HTTP/1.1\r\n\r\n",
        "GET /cgi-bin/b HTTP/1.1\nHost: h\r\n\r\n",
        "POST /cgi-bin/b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut raw = Raw::to(gate.addr).await;
        let third = "GET /cgi-bin/c HTTP/1.1\r\nHost: h\r\n\r\n";
        raw.write(format!("GET /cgi-bin/a HTTP/1.1\r\nHost: h\r\n\r\n{second}{third}")).await;
        assert_eq!(raw.answer(false).await.status, 200);
        assert_refused(&raw.answer(false).await, 400, 40066, "bad-request", second);
        assert_eq!(raw.rest().await, b"", "nothing after a refusal");
    }
    assert!(fake.seen().iter().all(|seen| seen.line().contains("/cgi-bin/a?")), "{:?}", fake.seen());
}

#[tokio::test]
async fn http_1_0_is_closed_unless_it_asks_for_keep_alive() {
    let (_fake, gate) = pair().await;
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(raw.ask("GET /cgi-bin/x HTTP/1.0\r\n\r\n").await.status, 200);
    assert_eq!(raw.rest().await, b"");
    let mut raw = Raw::to(gate.addr).await;
    for _ in 0..3 {
        let request = "GET /cgi-bin/x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
        let response = raw.ask(request).await;
        assert_eq!(response.status, 200);
        assert!(
            response.header("Connection").is_some_and(|v| v.eq_ignore_ascii_case("keep-alive")),
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_of_unknown_length_ends_with_the_connection_in_http_1_0() {
    let body = "x".repeat(5000);
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n{body}\r\n0\r\n\r\n");
    let fake = Fake::answering(move |_| Reply::Bytes(answer.clone().into())).await;
    let gate = Gate::before(&fake.url()).await;
    let response = Raw::to(gate.addr).await.ask("GET /cgi-bin/x HTTP/1.0\r\n\r\n").await;
    assert_eq!(response.text(), body);
    assert_eq!(response.header("Transfer-Encoding"), None);
}

#[tokio::test]
async fn connection_close_is_honoured() {
    let (_fake, gate) = pair().await;
    let response =
        refused(gate.addr, "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(response.status, 200);
}
