//! Which header fields cross, in both directions.

use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::https::request;
use crate::support::raw::Raw;

/// What the upstream sees of a request with these fields, and what the caller sees of this answer.
async fn exchange(request: &str, answer: &str) -> (Vec<String>, Vec<String>) {
    let answer = answer.to_owned();
    let fake = Fake::answering(move |_| Reply::Bytes(answer.clone().into())).await;
    let gate = Gate::before(&fake.url()).await;
    let mut raw = Raw::to(gate.addr).await;
    let response = raw.ask(request).await;
    let own = format!("Host: {}", fake.addr);
    let seen = fake.seen().pop().unwrap();
    let lines = seen.lines().into_iter().filter(|line| *line != own).map(str::to_owned).collect();
    assert!(seen.head.to_ascii_lowercase().contains(&own.to_ascii_lowercase()), "{seen:?}");
    let mut fields: Vec<_> =
        response.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.sort();
    (lines, fields)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn nothing_is_added_in_either_direction() {
    for (request, right) in [
        ("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n", &[][..]),
        ("GET /cgi-bin/x HTTP/1.0\r\n\r\n", &[]),
        ("DELETE /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n", &[]),
        ("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", &["Content-Length: 0"]),
        ("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\ncontent-length: 2\r\n\r\nab", &["content-length: 2"]),
    ] {
        let (seen, fields) = exchange(request, OK).await;
        assert_eq!(seen, right, "{request}");
        let kept: Vec<_> = fields.iter().filter(|field| !field.starts_with("Connection:")).collect();
        assert_eq!(kept, ["Content-Length: 2"], "{request}");
    }
}

#[tokio::test]
async fn what_speaks_of_one_connection_or_of_the_caller_goes_no_further() {
    let request = "POST /cgi-bin/x HTTP/1.1\r\nHOST: h\r\nuser-AGENT: old php\r\nConnection: keep-alive, X-One\r\n\
        CONNECTION: x-TWO,,content-length , x-three\r\nX-One: 1\r\nx-two: 2\r\nX-Three: 3\r\nX-Four: 4\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
        Proxy-Authenticate: x\r\nTE: trailers\r\nTrailer: X-T\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
        Expect: 100-continue\r\nAuthorization: Bearer k\r\nX-Wxgate-Key: k\r\nForwarded: for=1.2.3.4\r\n\
        X-Forwarded-For: 1.2.3.4\r\nx-forwarded-PROTO: https\r\nX-Forwarded-Anything: x\r\nX-Real-IP: 1.2.3.4\r\nVia: 1.1 a\r\n\
        Wechatmp-Signature: sig\r\nCookie: a=b\r\nX-Odd:  two  words \r\nX-Rep: 1\r\nX-Rep: 2\r\ncontent-TYPE: a/b\r\n\
        Content-Length: 3\r\n\r\nabc";
    let (mut seen, _) = exchange(request, OK).await;
    // The caller's own Content-Length is named by its Connection field; the body has one all the same.
    let length = seen.iter().position(|line| line.eq_ignore_ascii_case("content-length: 3")).unwrap();
    seen.remove(length);
    let right = [
        "Cookie: a=b",
        "Wechatmp-Signature: sig",
        "X-Four: 4",
        "X-Odd: two  words",
        "X-Rep: 1",
        "X-Rep: 2",
        "content-TYPE: a/b",
        "user-AGENT: old php",
    ];
    // The name of the host keeps its spelling too.
    let without_host: Vec<_> = seen.iter().filter(|line| !line.starts_with("HOST: ")).collect();
    assert_eq!(without_host, right);
}

#[tokio::test]
async fn the_upstreams_hop_by_hop_fields_stay_behind_and_all_others_keep_their_spelling() {
    let answer = "HTTP/1.1 200 Fine\r\nserver: nginx\r\nDate: then\r\nCONTENT-type: image/jpeg\r\n\
        Content-disposition: attachment; filename=\"a.jpg\"\r\nConnection: keep-alive, x-hop\r\nConnection: X-Hop2\r\n\
        X-Hop: 1\r\nx-hop2: 2\r\nKeep-Alive: timeout=60\r\nProxy-Authenticate: Basic\r\nUpgrade: h2\r\nTrailer: x\r\n\
        Proxy-Connection: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\nx-UTF: \u{540d}\r\nvia: 1.1 b\r\n\
        conTent-length: 3\r\n\r\nabc";
    let (_, fields) = exchange("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n", answer).await;
    let right = [
        "CONTENT-type: image/jpeg",
        "Content-disposition: attachment; filename=\"a.jpg\"",
        "Date: then",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "X-Empty: ",
        "conTent-length: 3",
        "server: nginx",
        "via: 1.1 b",
        "x-UTF: \u{540d}",
    ];
    assert_eq!(fields, right);
}

/// Names in the usual spelling need no map that remembers it; whether they have it is seen for each head anew.
#[tokio::test]
async fn names_keep_their_spelling_whatever_came_before_on_the_connection() {
    let heads = [
        "Accept: a\r\nX-Wx-One: 1",
        "accept: a\r\nX-Wx-One: 1",
        "Accept: a\r\nX-WX-One: 1",
        "Content-MD5: a\r\nX--1a: 1",
        "Accept: a\r\nX-Wx-One: 1",
        "ACCEPT: a",
    ];
    let request =
        |head| format!("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\n{head}\r\nContent-Length: 1\r\n\r\na");
    for together in [false, true] {
        let fake = Fake::answering(|_| Reply::json("{}")).await;
        let gate = Gate::before(&fake.url()).await;
        let mut raw = Raw::to(gate.addr).await;
        if together {
            raw.write(heads.map(request).concat()).await;
        }
        for head in heads {
            if !together {
                raw.write(request(head)).await;
            }
            assert_eq!(raw.answer(false).await.status, 200);
        }
        for (head, seen) in heads.iter().zip(fake.seen()) {
            for line in head.split("\r\n") {
                assert!(seen.lines().contains(&line), "{line} in {:?}", seen.lines());
            }
        }
    }
}

/// Each answer of a connection anew, behind interim answers, and with bodies of all kinds.
#[tokio::test]
async fn an_answers_names_keep_their_spelling_whatever_is_around_them() {
    let large = "x".repeat(300_000);
    let answers = [
        "HTTP/1.1 200 OK\r\nETag: 1\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\nEtag: Etag:\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\nX-WX: 1\r\nX-Wx: 2\r\nContent-Length: 0\r\n\r\n"
            .to_owned(),
        format!("HTTP/1.1 200 OK\r\nx-one: 1\r\nContent-Length: {}\r\n\r\n{large}", large.len()),
        "HTTP/1.1 200 OK\r\nX-oNe: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 404 Not Found\r\nCONTENT-LENGTH: 0\r\n\r\n".to_owned(),
    ];
    let right = [
        &["ETag: 1", "content-length: 2"][..],
        &["Etag: Etag:", "Content-Length: 2"],
        &["X-WX: 1", "X-Wx: 2", "Content-Length: 0"],
        &["x-one: 1", "Content-Length: 300000"],
        &["X-oNe: 1"],
        &["CONTENT-LENGTH: 0"],
    ];
    let count = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::answering(move |_| {
        let next = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::Bytes(answers[next % answers.len()].clone().into())
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let post = "POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab";
    let get = "GET /cgi-bin/x HTTP/1.1\r\nhost: h\r\n\r\n";
    for (request, together) in [(get, false), (post, false), (get, true)] {
        let mut raw = Raw::to(gate.addr).await;
        if together {
            raw.write(request.repeat(right.len())).await;
        }
        for fields in right {
            if !together {
                raw.write(request.to_owned()).await;
            }
            let answer = loop {
                let answer = raw.answer(false).await;
                if answer.status != 100 {
                    break answer;
                }
            };
            let seen: Vec<_> =
                answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            for field in fields {
                assert!(seen.iter().any(|seen| seen == field), "{field} in {seen:?}, together: {together}");
            }
        }
    }
}

#[tokio::test]
async fn codings_that_hide_an_errcode_are_not_offered() {
    for (sent, right) in [
        ("gzip", "gzip"),
        ("gzip, deflate, br", "gzip, deflate, br"),
        ("gzip, deflate, br, zstd", "gzip, deflate, br"),
        ("zstd", "identity"),
        ("*", "identity"),
        ("", ""),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br;q=1.0, gzip;q=0.8"),
    ] {
        let request = format!("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\naccept-ENCODING: {sent}\r\n\r\n");
        let (seen, _) = exchange(&request, OK).await;
        assert_eq!(seen, [format!("accept-ENCODING: {right}").trim_end()], "{sent}");
    }
}

#[tokio::test]
async fn a_token_call_that_is_answered_here_has_wechats_fields_and_no_more() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    for target in ["/cgi-bin/token", "/cgi-bin/x/../y"] {
        let response = gate.get(target).await;
        let names: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
        let known = ["Content-Type", "Content-Length", "X-Wxgate-Error", "Connection"];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        assert_eq!(response.header("Content-Type"), Some("application/json; encoding=utf-8"));
    }
}

#[tokio::test]
async fn fields_that_strip_names_go_no_further_in_any_spelling() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let upstream = "strip = [\"traceparent\", \"X-Request-ID\"]".to_owned();
    let gate = Gate::with(&fake.url(), Settings { upstream, ..Settings::default() }).await;
    let fields = ["TraceParent: 00-1", "x-request-id: 7", "X-Kept: 1"];
    assert_eq!(gate.send(&request("GET", "/cgi-bin/x", &fields, b"")).await.status, 200);
    let head = fake.seen()[0].head.to_ascii_lowercase();
    assert!(
        head.contains("x-kept: 1") && !head.contains("traceparent") && !head.contains("x-request-id"),
        "{head}"
    );
}
