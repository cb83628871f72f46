//! Request bodies: lengths, limits, streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::assert_refused;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::raw::Raw;
use crate::support::until::{PATIENCE, until};

async fn limited(limits: &str) -> (Fake, Gate) {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::with(&fake.url(), Settings { limits: limits.to_owned(), ..Settings::default() }).await;
    (fake, gate)
}

/// Bytes that repeat at no round number.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i % 251) ^ (i / 65_521 % 256)) as u8).collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = b"POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x};ext=1\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\nX-Trailer: t\r\n\r\n");
    bytes
}

fn sized(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn bodies_pass_byte_for_byte_with_a_length_and_without_chunks() {
    let (fake, gate) = limited("").await;
    for (bytes, right) in [
        (sized(b"hello"), b"hello".to_vec()),
        (sized(b""), Vec::new()),
        (sized(&noise(3 << 20)), noise(3 << 20)),
        (chunked(b"hello", 1), b"hello".to_vec()),
        (chunked(b"", 1), Vec::new()),
        (chunked(&noise(100_000), 77), noise(100_000)),
        (chunked(&noise(3 << 20), 70_001), noise(3 << 20)),
    ] {
        assert_eq!(Raw::to(gate.addr).await.ask(bytes).await.status, 200);
        let seen = fake.seen().pop().unwrap();
        assert!(seen.body == right, "{} of {}", seen.body.len(), right.len());
        let length = format!("content-length: {}", right.len());
        assert!(seen.lines().iter().any(|line| line.eq_ignore_ascii_case(&length)), "{}", seen.head);
        let head = seen.head.to_ascii_lowercase();
        assert!(!head.contains("transfer-encoding") && !head.contains("x-trailer"), "{head}");
    }
}

#[tokio::test]
async fn a_body_over_replay_per_request_is_streamed_byte_for_byte() {
    let (fake, gate) = limited("replay_per_request = \"64KiB\"").await;
    let body = noise(5 << 20);
    assert_eq!(Raw::to(gate.addr).await.ask(sized(&body)).await.status, 200);
    assert!(fake.seen()[0].body == body);
}

#[tokio::test]
async fn a_streamed_body_reaches_the_upstream_before_it_has_ended() {
    let (fake, gate) = limited("replay_per_request = \"1KiB\"").await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\na").await;
    until("the upstream sees the head", || fake.began() == 1).await;
    raw.write(vec![b'a'; 1999]).await;
    assert_eq!(raw.answer(false).await.status, 200);
    assert_eq!(fake.seen()[0].length, 2000);
}

#[tokio::test]
async fn a_long_body_without_a_length_is_413_with_the_advice_to_send_one() {
    let (fake, gate) = limited("replay_per_request = \"10KiB\"").await;
    let response = Raw::to(gate.addr).await.ask(chunked(&noise(20_000), 1000)).await;
    assert_refused(&response, 413, 45001, "too-large", "chunked");
    assert!(response.text().contains("Content-Length"), "{response:?}");
    assert_eq!(Raw::to(gate.addr).await.ask(chunked(&noise(10 << 10), 1000)).await.status, 200);
    assert_eq!(fake.began(), 1);
}

#[tokio::test]
async fn a_body_over_max_body_is_413_and_can_be_read_while_the_caller_still_uploads() {
    let (fake, gate) = limited("max_body = \"1MiB\"").await;
    let body = vec![b'a'; 50 << 20];
    let response = Raw::to(gate.addr).await.ask(sized(&body)).await;
    assert_refused(&response, 413, 45001, "too-large", "50 MB");
    assert_eq!(response.header("Connection"), Some("close"));
    let response = Raw::to(gate.addr).await.ask(chunked(&body[..3 << 20], 100_000)).await;
    assert_refused(&response, 413, 45001, "too-large", "3 MB in chunks");
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn expect_100_continue_is_answered_here() {
    let (fake, gate) = limited("").await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(raw.bytes(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(fake.began(), 0);
    raw.write("hello").await;
    assert_eq!(raw.answer(false).await.status, 200);
    let seen = fake.seen().pop().unwrap();
    assert_eq!(seen.body, b"hello");
    assert!(!seen.head.to_ascii_lowercase().contains("expect"), "{}", seen.head);
}

#[tokio::test]
async fn a_refused_call_gets_no_100_continue() {
    let (_fake, gate) = limited("max_body = \"4KiB\"").await;
    for (path, length, status) in [("/cgi-bin/x", 5000, 413), ("/elsewhere", 5, 404), ("/cgi-bin/..", 5, 400)]
    {
        let mut raw = Raw::to(gate.addr).await;
        raw.write(format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
        assert!(raw.bytes(12).await.ends_with(status.to_string().as_bytes()), "{path}");
    }
}

#[tokio::test]
async fn an_early_answer_to_a_large_upload_reaches_the_caller() {
    let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull";
    // It answers as soon as it has the head, and reads no more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let _serving = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                let mut text = String::new();
                while !text.contains("\r\n\r\n") {
                    let read = stream.read(&mut buffer).await.unwrap();
                    if read == 0 {
                        return;
                    }
                    text += &String::from_utf8_lossy(&buffer[..read]);
                }
                if text.contains("/cgi-bin/token?") {
                    let json =
                        format!(r#"{{"access_token":"{}","expires_in":7200}}"#, crate::support::fake::TOKEN);
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len());
                    stream.write_all(head.as_bytes()).await.unwrap();
                } else {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                // The other side closes first.
                while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
            });
        }
    });
    let limits = "replay_per_request = \"1KiB\"".to_owned();
    let gate = Gate::with(&url, Settings { limits, ..Settings::default() }).await;
    let response = Raw::to(gate.addr).await.ask(sized(&noise(8 << 20))).await;
    assert_eq!((response.status, response.text()), (413, "full"));
}

#[tokio::test]
async fn a_caller_who_pauses_longer_than_response_timeout_is_not_the_upstreams_fault() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::with(
        &fake.url(),
        Settings {
            limits: "replay_per_request = \"1KiB\"".to_owned(),
            upstream: "response_timeout = \"1s\"".to_owned(),
            ..Settings::default()
        },
    )
    .await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\na").await;
    until("the upstream sees the head", || fake.began() == 1).await;
    // The pause itself is the thing under test.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    raw.write(vec![b'a'; 1999]).await;
    assert_eq!(raw.answer(false).await.status, 200);
}

#[tokio::test]
async fn a_caller_who_stops_in_the_middle_of_a_body_gets_408() {
    for limits in ["idle_timeout = \"300ms\"", "idle_timeout = \"300ms\"\nreplay_per_request = \"1KiB\""] {
        let (fake, gate) = limited(limits).await;
        let mut raw = Raw::to(gate.addr).await;
        raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\na").await;
        assert_refused(&raw.answer(false).await, 408, -1, "caller-timeout", limits);
        tokio::time::timeout(PATIENCE, raw.rest()).await.unwrap();
        assert_eq!(fake.seen().len(), 0);
    }
}

#[tokio::test]
async fn one_callers_stalled_uploads_leave_half_of_replay_total_to_the_others() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let (one, other) = ("key-of-one-0123456789", "key-of-other-0123456789");
    for key in [one, other] {
        crate::support::gate::note_credential(key);
    }
    let tables = format!(
        "[[caller]]\nname = \"one\"\nkey = \"{one}\"\n[[caller]]\nname = \"other\"\nkey = \"{other}\"\n"
    );
    let limits = "replay_total = \"200KiB\"\nreplay_per_request = \"100KiB\"".to_owned();
    let gate = Gate::with(&fake.url(), Settings { limits, tables, ..Settings::default() }).await;
    let of = |key: &str, mut bytes: Vec<u8>| {
        let line_end = bytes.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
        bytes.splice(line_end..line_end, format!("X-Wxgate-Key: {key}\r\n").into_bytes());
        bytes
    };
    let body = noise(40_000);
    let unfinished = chunked(&body, 1000);
    let unfinished = &unfinished[..unfinished.len() - 30];
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::to(gate.addr).await;
        raw.write(of(one, unfinished.to_vec())).await;
        stalled.push(raw);
    }
    // Two fit into its half, whichever they are.
    let answers = stalled.iter_mut().map(|raw| Box::pin(raw.head()));
    let (refused, ..) = futures_util::future::select_all(answers).await;
    let refused = refused.unwrap();
    assert_eq!((refused.status, refused.header("X-Wxgate-Error")), (503, Some("busy")));
    // What has a length goes on, as a stream; and the other caller has its half.
    assert_eq!(Raw::to(gate.addr).await.ask(of(one, sized(&body))).await.status, 200);
    let response = Raw::to(gate.addr).await.ask(of(other, chunked(&noise(90_000), 1000))).await;
    assert_eq!(response.status, 200, "{response:?}");
}

/// One caller holds half of `replay_total` at most, so waiting for room would bring it none.
#[tokio::test]
async fn a_body_over_half_of_replay_total_is_one_over_replay_per_request() {
    let (_fake, gate) = limited("replay_total = \"200KiB\"\nreplay_per_request = \"180KiB\"").await;
    let body = noise(120_000);
    let response = Raw::to(gate.addr).await.ask(chunked(&body, 1000)).await;
    assert_refused(&response, 413, 45001, "too-large", "for ever too large");
    assert_eq!(Raw::to(gate.addr).await.ask(sized(&body)).await.status, 200);
}

#[tokio::test]
async fn when_replay_total_is_used_up_bodies_with_a_length_are_streamed_and_others_told_to_try_again() {
    let signal = Arc::new(Notify::new());
    let wait = Arc::clone(&signal);
    let fake =
        Fake::answering(move |seen| match (Reply::json("{}"), seen.line().contains("/cgi-bin/holder?")) {
            (Reply::Bytes(bytes), true) => Reply::Then(Vec::new(), Arc::clone(&wait), bytes),
            (reply, _) => reply,
        })
        .await;
    let limits = "replay_total = \"200KiB\"\nreplay_per_request = \"100KiB\"".to_owned();
    let gate = Gate::with(&fake.url(), Settings { limits, ..Settings::default() }).await;
    // One body takes most of it for as long as its call has no answer.
    let mut holder = Raw::to(gate.addr).await;
    let holders = sized(&vec![b'a'; 90_000]);
    holder.write(String::from_utf8(holders).unwrap().replace("/cgi-bin/x", "/cgi-bin/holder")).await;
    until("the call arrives", || fake.calls() == 1).await;
    let body = noise(50_000);
    let response = Raw::to(gate.addr).await.ask(chunked(&body, 1000)).await;
    assert_refused(&response, 503, -1, "busy", "no room");
    assert_eq!(Raw::to(gate.addr).await.ask(sized(&body)).await.status, 200);
    assert!(fake.seen().pop().unwrap().body == body);
    signal.notify_one();
    assert_eq!(holder.answer(false).await.status, 200);
    // Its room is free again, soon after the last byte of its answer.
    let deadline = Instant::now() + PATIENCE;
    while Raw::to(gate.addr).await.ask(chunked(&body, 1000)).await.status != 200 {
        assert!(Instant::now() < deadline, "the room is never free again");
    }
}
