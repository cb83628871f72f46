//! Answers pass as the upstream sent them, byte for byte, as soon as they come; a broken one is seen to be broken.

use std::io::Write as _;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{assert_refused, lonely};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::Gate;
use crate::support::raw::Raw;
use crate::support::until::{PATIENCE, until};

const GET: &str = "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n";

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bodies_arrive_as_they_were_sent_and_compressed_as_they_were() {
    let json = br#"{"errcode":0,"errmsg":"ok"}"#.as_slice();
    let gzip = super::gzip(json);
    let (deflate, noise) = (deflated(json), (0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    for (fields, body) in [
        (&["Content-Type: application/json; encoding=utf-8"][..], json),
        (&["Content-Type: application/json", "Content-Encoding: gzip"], &gzip),
        (&["Content-Type: application/json", "Content-Encoding: deflate"], &deflate),
        // What is no br passes like what is.
        (&["Content-Type: application/json", "Content-Encoding: br"], b"no br at all"),
        (&["Content-Type: application/json", "Content-Encoding: zstd"], b"(\xb5/\xfd"),
        (&["Content-Type: text/plain"], b"{\"a\":\"\x01\xff\"}"),
        (&["Content-Type: image/jpeg"], &noise),
        (&["Content-Type: application/json"], &noise),
        (&[], b"no type"),
        (&["Content-Type: text/plain"], b""),
    ] {
        for chunked in [false, true] {
            let mut reply = b"HTTP/1.1 200 OK\r\n".to_vec();
            fields.iter().for_each(|field| reply.extend([field.as_bytes(), b"\r\n"].concat()));
            if chunked {
                reply.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(body.len() / 3 + 1) {
                    reply.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                reply.extend(b"0\r\n\r\n");
            } else {
                reply.extend([format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat());
            }
            let fake = Fake::answering(move |_| Reply::Bytes(reply.clone())).await;
            let gate = Gate::before(&fake.url()).await;
            let response = Raw::to(gate.addr).await.ask(GET).await;
            assert!(response.body == body, "{fields:?} {chunked} {:?}", response.body.len());
            let sent = response.headers.iter().map(|(name, value)| format!("{name}: {value}"));
            let kept: Vec<_> = sent.filter(|f| !f.contains("ength") && !f.contains("hunked")).collect();
            assert_eq!(kept, fields, "{chunked}");
        }
    }
}

#[tokio::test]
async fn every_status_passes() {
    let fake = Fake::answering(|seen| {
        let status = &seen.line()["GET /cgi-bin/".len()..][..3];
        Reply::Bytes(format!("HTTP/1.1 {status} Odd Reason\r\nContent-Length: 1\r\n\r\nx").into())
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    for status in [200, 201, 206, 301, 302, 307, 400, 401, 403, 404, 412, 429, 500, 502, 503, 504, 599, 999] {
        let response = gate.get(&format!("/cgi-bin/{status}")).await;
        assert_eq!((response.status, response.text()), (status, "x"));
        assert_eq!(response.header("X-Wxgate-Error"), None);
    }
    assert_eq!(fake.seen().len(), 18, "nothing is followed or repeated");
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_keep_the_connection() {
    let (fake, gate) = lonely(|seen| {
        Reply::Bytes(
            match seen.line() {
                line if line.starts_with("HEAD /cgi-bin/chunked") => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                }
                line if line.starts_with("HEAD /cgi-bin/x") => {
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1234\r\n\r\n"
                }
                line if line.contains("204") => "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
                line if line.contains("304") => {
                    "HTTP/1.1 304 Not Modified\r\nETag: e\r\nContent-Length: 99\r\n\r\n"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            }
            .into(),
        )
    })
    .await;
    let mut raw = Raw::to(gate.addr).await;
    for (method, path, status, length) in [
        ("HEAD", "x", 200, Some("1234")),
        ("HEAD", "chunked", 200, None),
        // RFC 9110 section 8.6: a 204 has no length.
        ("GET", "204", 204, None),
        ("GET", "304", 304, Some("99")),
        ("HEAD", "304", 304, Some("99")),
        ("GET", "empty", 200, Some("0")),
        ("POST", "empty", 200, Some("0")),
    ] {
        let response = raw
            .ask(format!("{method} /cgi-bin/{path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"))
            .await;
        assert_eq!((response.status, response.body.len()), (status, 0), "{method} {path}");
        assert_eq!(response.header("Content-Length"), length, "{method} {path}");
    }
    let connections: Vec<_> = fake.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.windows(2).all(|two| two[0] == two[1]), "one upstream connection: {connections:?}");
}

#[tokio::test]
async fn a_download_flows_with_its_first_bytes() {
    for head in [
        "Content-Type: image/jpeg\r\nContent-Length: 10",
        "Content-Length: 10",
        "Content-Type: application/json\r\nContent-Length: 10000",
        "Content-Type: application/json\r\nContent-Encoding: zstd\r\nContent-Length: 10",
    ] {
        let signal = Arc::new(Notify::new());
        let (wait, head) = (Arc::clone(&signal), format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nfirst"));
        let rest = if head.contains("10000") { 9995 } else { 5 };
        let fake =
            Fake::answering(move |_| Reply::Then(head.clone().into(), Arc::clone(&wait), vec![b'z'; rest]))
                .await;
        let gate = Gate::before(&fake.url()).await;
        let mut raw = Raw::to(gate.addr).await;
        raw.write(GET).await;
        assert_eq!(raw.head().await.unwrap().status, 200);
        assert_eq!(raw.bytes(5).await, b"first");
        signal.notify_one();
        assert_eq!(raw.bytes(rest).await, vec![b'z'; rest]);
    }
}

#[tokio::test]
async fn text_that_is_no_json_object_flows_at_once() {
    for first in ["[", "  [1,", "<html>", "hello"] {
        let signal = Arc::new(Notify::new());
        let (wait, first) = (Arc::clone(&signal), first.to_owned());
        let sent = first.clone();
        let fake = Fake::answering(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{sent}\r\n", sent.len());
            Reply::Then(head.into(), Arc::clone(&wait), b"1\r\n]\r\n0\r\n\r\n".to_vec())
        })
        .await;
        let gate = Gate::before(&fake.url()).await;
        let mut raw = Raw::to(gate.addr).await;
        raw.write(GET).await;
        assert_eq!(raw.head().await.unwrap().status, 200);
        let chunk = raw.bytes(first.len() + 5).await;
        assert_eq!(String::from_utf8(chunk).unwrap(), format!("{:x}\r\n{first}\r\n", first.len()));
        signal.notify_one();
        assert_eq!(raw.bytes(11).await, b"1\r\n]\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn compressed_text_that_is_no_json_object_flows_with_its_first_letters() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"<html>hello").unwrap();
    encoder.flush().unwrap();
    let first = encoder.get_ref().clone();
    let last = encoder.finish().unwrap().split_off(first.len());
    let signal = Arc::new(Notify::new());
    let wait = Arc::clone(&signal);
    let (length, sent) = (first.len() + last.len(), first.clone());
    let fake = Fake::answering(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n");
        Reply::Then([head.as_bytes(), &sent].concat(), Arc::clone(&wait), last.clone())
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write(GET).await;
    assert_eq!(raw.head().await.unwrap().status, 200);
    assert_eq!(raw.bytes(first.len()).await, first);
    signal.notify_one();
    assert_eq!(raw.bytes(length - first.len()).await.len(), length - first.len());
}

#[tokio::test]
async fn an_answer_that_dribbles_arrives_whole() {
    let body = format!(r#"{{"errcode":0,"list":"{}"}}"#, "x".repeat(300));
    let Reply::Bytes(bytes) = Reply::json(&body) else { unreachable!() };
    let fake = Fake::answering(move |_| Reply::Dribble(bytes.clone())).await;
    let gate = Gate::before(&fake.url()).await;
    assert_eq!(Raw::to(gate.addr).await.ask(GET).await.text(), body);
}

#[tokio::test]
async fn an_answer_of_unknown_length_ends_with_the_upstreams_connection() {
    let body = "z".repeat(50_000);
    let bytes = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}");
    let fake = Fake::answering(move |_| Reply::Close(bytes.clone().into())).await;
    let gate = Gate::before(&fake.url()).await;
    let mut raw = Raw::to(gate.addr).await;
    for _ in 0..2 {
        // In chunks, so that the caller's connection goes on.
        assert_eq!(raw.ask(GET).await.text(), body);
    }
}

#[tokio::test]
async fn hostile_answers_are_whole_or_502_or_broken_and_never_leak_into_the_next_exchange() {
    #[derive(Debug, PartialEq)]
    enum Outcome {
        Whole(u16, usize),
        BadGateway,
        Broken,
    }
    use Outcome::{BadGateway, Broken, Whole};
    let big_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "a".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "A: b\r\n".repeat(200));
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    let extra = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{evil}");
    let no_content = format!("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n{evil}");
    let not_modified = format!("HTTP/1.1 304 Not Modified\r\n\r\n{evil}");
    let chunked_extra =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}");
    let early = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    );
    for (answer, close, outcomes) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            false,
            &[Whole(200, 2), BadGateway][..],
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            false,
            &[Whole(200, 2), BadGateway],
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", false, &[BadGateway]),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            false,
            &[Whole(200, 2), BadGateway],
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", false, &[Whole(200, 2), BadGateway]),
        ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", true, &[BadGateway]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok", true, &[BadGateway]),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            false,
            &[BadGateway],
        ),
        (&early, false, &[Whole(200, 2)]),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            false,
            &[Whole(200, 2)],
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true, &[Whole(200, 2)]),
        ("HTTP/1.0 200 OK\r\n\r\nok", true, &[Whole(200, 2)]),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            true,
            &[BadGateway, Broken, Whole(200, 2)],
        ),
        (&big_head, false, &[Whole(200, 2)]),
        (&many, false, &[BadGateway, Whole(200, 2)]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", true, &[Broken]),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n{\"",
            true,
            &[BadGateway, Broken],
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", true, &[Broken]),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, &[Broken]),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true, &[Broken, BadGateway]),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", true, &[BadGateway]),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            false,
            &[BadGateway],
        ),
        (&extra, false, &[Whole(200, 2)]),
        (&chunked_extra, false, &[Whole(200, 2)]),
        (&no_content, false, &[Whole(204, 0), BadGateway]),
        (&not_modified, false, &[Whole(304, 0)]),
        ("HTTP/1.1 200 OK\r\nContent-Le", true, &[BadGateway]),
        ("HTTP/2.0 200 OK\r\n\r\n", true, &[BadGateway]),
        ("HTTP/1.1 20 OK\r\n\r\n", true, &[BadGateway]),
        ("<html>hello</html>\r\n\r\n", true, &[BadGateway]),
        ("\r\n\r\n\r\n", true, &[BadGateway]),
        ("\x16\x03\x01\x02", true, &[BadGateway]),
    ] {
        let bytes = answer.as_bytes().to_vec();
        let (_fake, gate) = lonely(move |seen| match seen.line().contains("/cgi-bin/hostile") {
            true if close => Reply::Close(bytes.clone()),
            true => Reply::Bytes(bytes.clone()),
            false => Reply::ok(&[], "marker"),
        })
        .await;
        let shown = &answer[..answer.len().min(120)];
        let mut raw = Raw::to(gate.addr).await;
        raw.write("POST /cgi-bin/hostile HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await;
        let outcome = match raw.try_answer().await {
            Ok(response) if response.header("X-Wxgate-Error").is_some() => {
                assert_refused(&response, 502, -1, "upstream-unreachable", shown);
                let unreadable = response.text().contains("no HTTP answer that can be read");
                assert!(unreadable || !answer.starts_with(['<', '\x16']), "{shown:?} {response:?}");
                BadGateway
            }
            Ok(response) => {
                assert!(!response.text().contains("EVIL"), "{shown:?} {response:?}");
                Whole(response.status, response.body.len())
            }
            Err(_) => Broken,
        };
        assert!(outcomes.contains(&outcome), "{shown:?}: {outcome:?}");
        if outcome == Broken {
            // How much of it got through before the break is chance; nothing else may come.
            let rest = raw.rest().await;
            assert!(answer.contains(&*String::from_utf8_lossy(&rest)), "{shown:?} {rest:?}");
            raw = Raw::to(gate.addr).await;
        }
        for _ in 0..3 {
            let next = raw.ask("GET /cgi-bin/next HTTP/1.1\r\nHost: h\r\n\r\n").await;
            assert_eq!((next.status, next.text()), (200, "marker"), "after {shown:?}");
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_an_answer_breaks_the_callers_transfer() {
    let fake = Fake::answering(|seen| match seen.line().contains("reset") {
        true => Reply::Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning".to_vec()),
        false => Reply::ok(&[], "marker"),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write("GET /cgi-bin/reset HTTP/1.1\r\nHost: h\r\n\r\n").await;
    // A reset may overtake the bytes before it: then there is no beginning, and a plain 502.
    match raw.try_answer().await {
        Ok(response) => assert_refused(&response, 502, -1, "upstream-unreachable", "reset"),
        Err(_) => assert!(raw.rest().await.len() < 100),
    }
    assert_eq!(gate.get("/cgi-bin/next").await.text(), "marker");
}

/// Otherwise a caller that has kept its connection takes it for a stale one, and sends its request again (curl does).
#[tokio::test]
async fn what_came_of_an_answer_that_breaks_off_reaches_the_caller() {
    for length in [1, 50_000, 1_000_000] {
        for head in ["Content-Length: 2000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1e8480\r\n"] {
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n{head}").into_bytes();
            answer.resize(answer.len() + length, b'a');
            let fake = Fake::answering(move |seen| match seen.line().contains("broken") {
                true => Reply::Close(answer.clone()),
                false => Reply::ok(&[], "marker"),
            })
            .await;
            let gate = Gate::before(&fake.url()).await;
            let mut raw = Raw::to(gate.addr).await;
            raw.ask("GET /cgi-bin/first HTTP/1.1\r\nHost: h\r\n\r\n").await;
            raw.write("POST /cgi-bin/broken HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(raw.head().await.unwrap().status, 200, "{length} {head}");
            let got = raw.rest().await.iter().filter(|byte| **byte == b'a').count();
            assert_eq!(got, length, "{head}");
        }
    }
}

/// Its end is the connection's, so that only a reset shows that something is missing.
#[tokio::test]
async fn a_caller_over_http_1_0_does_not_take_half_an_answer_for_a_whole_one() {
    let fake = Fake::answering(|seen| {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        match seen.line() {
            line if line.contains("first") => Reply::json("{}"),
            line if line.contains("broken") => Reply::Close(head.into()),
            _ => Reply::Bytes(format!("{head}0\r\n\r\n").into()),
        }
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    for (method, path, whole, kept) in [
        ("GET", "whole", true, false),
        ("GET", "broken", false, false),
        ("HEAD", "whole", true, false),
        ("GET", "whole", true, true),
        ("GET", "broken", false, true),
    ] {
        let mut caller = tokio::net::TcpStream::connect(gate.addr).await.unwrap();
        if kept {
            // An answer with a length, and of the same connection the one that is looked at.
            let first = b"GET /cgi-bin/first HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n";
            caller.write_all(first).await.unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"{}") {
                assert_ne!(timeout(PATIENCE, caller.read_buf(&mut got)).await.unwrap().unwrap(), 0);
            }
        }
        let request = format!("{method} /cgi-bin/{path} HTTP/1.0\r\nHost: h\r\n\r\n");
        caller.write_all(request.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let end = timeout(PATIENCE, caller.read_to_end(&mut got)).await.unwrap();
        let last: &[u8] = if method == "HEAD" { b"\r\n\r\n" } else { b"\r\n\r\nhello" };
        assert!(got.ends_with(last), "{method} {path}: {:?}", String::from_utf8_lossy(&got));
        assert_eq!(end.map_err(|error| error.kind()).is_ok(), whole, "{method} {path}");
    }
}

#[tokio::test]
async fn a_caller_over_http_1_0_that_is_cut_off_does_not_take_what_it_has_for_a_whole_answer() {
    let size = 64 << 20;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n";
    let fake = Fake::answering(move |_| Reply::Zeros(head.into(), size)).await;
    let gate = Gate::with(
        &fake.url(),
        crate::support::gate::Settings {
            limits: "idle_timeout = \"300ms\"".to_owned(),
            ..Default::default()
        },
    )
    .await;
    let mut caller = tokio::net::TcpStream::connect(gate.addr).await.unwrap();
    caller.write_all(b"GET /cgi-bin/large HTTP/1.0\r\nHost: h\r\n\r\n").await.unwrap();
    let mut got = vec![0];
    caller.read_exact(&mut got).await.unwrap();
    let open = fake.open();
    until("the caller is cut off, and with it the call", || fake.open() < open).await;
    let end = timeout(PATIENCE, caller.read_to_end(&mut got)).await.unwrap();
    assert!((got.len() as u64) < size);
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_answer_that_stalls_is_broken_off() {
    let never = Arc::new(Notify::new());
    let fake = Fake::answering(move |seen| {
        let kind = if seen.line().contains("json") { "application/json" } else { "image/jpeg" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n{{");
        Reply::Then(head.into(), Arc::clone(&never), Vec::new())
    })
    .await;
    let upstream = "response_timeout = \"1s\"".to_owned();
    let gate =
        Gate::with(&fake.url(), crate::support::gate::Settings { upstream, ..Default::default() }).await;
    let response = gate.get("/cgi-bin/json").await;
    assert_refused(&response, 504, -1, "upstream-timeout", "held back");
    let mut raw = Raw::to(gate.addr).await;
    raw.write(GET).await;
    assert_eq!(raw.head().await.unwrap().status, 200);
    assert_eq!(raw.rest().await, b"{");
    until("the upstream's connections are closed", || fake.abandoned() == 2).await;
}
