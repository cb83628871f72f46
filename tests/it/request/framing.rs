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
        "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\n".to_owned(),
        "GET /cgi-bin/x HTTP/1.1\r\nHost: h\n\n".to_owned(),
        "GET /cgi-bin/x HTTP/1.1\r\nHost: h\n\r\n".to_owned(),
        "GET /cgi-bin/x HTTP/1.1\r\nHost: h\nHost: h\r\n\r\n".to_owned(),
        "GET /cgi-bin/x HTTP/1.1\nA: b\n c\nHost: h\n\n".to_owned(),
        post("A: b\nContent-Length: 5\r\n", "hello"),
        post("Content-Length: 5\nA: b\r\n", "hello"),
        post("A: b\nC: d\r\nContent-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        post("A: b\nC: d\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("A: b\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\nA: b\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n").replace("\r\n", "\n"),
        post("Content-Length: 5\nContent-Length: 6\r\n", "hello").replace("\r\n", "\n"),
        post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello").replace("T /", "T  /"),
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "hello").replace("T /", "T  /"),
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
        "GET   /cgi-bin/x?a=1  HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /cgi-bin/x?a=1 HTTP/1.1\nHost: h\n\n",
        "GET /cgi-bin/x?a=1 HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        "GET  /cgi-bin/x?a=1 HTTP/1.1\nHost: h\r\n\r\n",
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

/// `file_get_contents` with headers that are joined with `PHP_EOL`, and fsockopen with two spaces.
#[tokio::test]
async fn what_old_php_sends_is_read_as_it_is_meant_and_sent_on_in_its_strict_form() {
    let (fake, gate) = pair().await;
    let php = "POST /cgi-bin/x?a=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: text/plain\nX-App: cms\r\n";
    let requests = [
        format!("{php}Content-Length: 5\r\n\r\nhello"),
        // The length among the lines that the app wrote.
        php.replace("cms\r\n", "cms\nContent-Length: 5\r\n\r\nhello"),
        format!("{php}Content-Length: 5\r\n\r\n").replace("\r\n", "\n") + "hello",
        format!("{}Content-Length: 5\n\nhello", php.replace("\r\n", "\n").replace("Connection: close\n", "")),
        php.replace("POST /", "POST   /").replace("a\n", "a\r\n") + "Content-Length: 5\r\n\r\nhello",
        php.replace("POST /", "POST  /") + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for request in &requests {
        assert_eq!(Raw::to(gate.addr).await.ask(request).await.status, 200, "{request:?}");
    }
    let seen = fake.seen();
    assert_eq!(seen.len(), requests.len());
    for seen in seen {
        assert_eq!((seen.body.as_slice(), seen.fields("X-App")), (&b"hello"[..], vec!["cms"]), "{seen:?}");
        assert_eq!(seen.fields("Content-Length"), ["5"], "{seen:?}");
    }
}

#[tokio::test]
async fn a_refused_head_is_answered_with_its_cause_and_the_cure() {
    let (fake, gate) = pair().await;
    for (head, words) in [
        (&b"GET /cgi-bin/x?a=b c HTTP/1.1\r\nHost: h\r\n\r\n"[..], "the query has a space; send it as %20"),
        (b"GET /cgi-bin/x?a=\xc4\xe3 HTTP/1.1\r\nHost: h\r\n\r\n", "not UTF-8 (GBK, perhaps); convert"),
        (b"GET /cgi-bin/\xc4\xe3 HTTP/1.1\r\nHost: h\r\n\r\n", "the path has bytes outside ASCII"),
        (b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", "unfolded"),
        (
            b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX a\r\n\r\n",
            "a header line has no colon; send `Name: value`",
        ),
        (b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n", "a space between its name and the colon"),
        (b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "more than one Host"),
        (b"GET /cgi-bin/x HTTP/1.1\r\n\r\n", "no Host"),
        (b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", "carriage return"),
        (b"\xef\xbb\xbfGET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n", "byte order mark"),
    ] {
        let response = refused(gate.addr, head).await;
        let shown = head.escape_ascii().to_string();
        assert_refused(&response, 400, 40066, "bad-request", &shown);
        assert!(response.text().contains(words), "{shown}: {}", response.text());
    }
    assert_eq!(fake.began(), 0);
}

/// hyper closes behind such an answer; a caller that is not told so would send its next request into the void.
#[tokio::test]
async fn an_early_answer_to_an_unread_body_says_that_the_connection_ends() {
    let (_fake, gate) = pair().await;
    for body in [
        "Content-Length: 100000\r\n\r\nabc",
        "Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n",
        "Content-Length: 3\r\n\r\nabc",
    ] {
        for path in ["/elsewhere", "/cgi-bin/../x", "*"] {
            let mut raw = Raw::to(gate.addr).await;
            let response = raw.ask(format!("POST {path} HTTP/1.1\r\nHost: h\r\n{body}")).await;
            assert!((400..500).contains(&response.status), "{response:?}");
            if response.header("Connection") == Some("close") {
                raw.stream.shutdown().await.unwrap();
                assert_eq!(raw.rest().await, b"", "{path} {body}");
            } else {
                assert_eq!(
                    raw.ask("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n").await.status,
                    200,
                    "{path} {body}"
                );
            }
        }
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
        "GET /cgi-bin/b HTTP/1.1\r\nHost: h\n\r\n",
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
