//! The second sending: once, with the new token, the same bytes; and the transport's own resend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{assert_refused, lonely};
use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::{Gate, Settings, note_credential};
use crate::support::https::request;
use crate::support::raw::Raw;
use crate::support::until::until;
use crate::support::wechat::WeChat;

#[tokio::test]
async fn a_call_is_repeated_once_and_the_second_answer_passes_whatever_it_is() {
    for second in [
        Reply::errcode(42001),
        Reply::errcode(45009),
        Reply::Bytes(b"HTTP/1.1 503 Away\r\nContent-Length: 4\r\n\r\naway".to_vec()),
        Reply::Bytes(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ] {
        let Reply::Bytes(right) = second.clone() else { unreachable!() };
        let right = String::from_utf8(right).unwrap();
        let fake = Fake::renewing(move |seen| match seen.line().contains(&token(0)) {
            true => Reply::errcode(42001),
            false => second.clone(),
        })
        .await;
        let gate = Gate::before(&fake.url()).await;
        let response = gate.get("/cgi-bin/x?a=1").await;
        assert!(right.starts_with(&format!("HTTP/1.1 {} ", response.status)), "{right} {response:?}");
        assert!(right.ends_with(response.text()), "{right} {response:?}");
        assert_eq!(response.header("X-Wxgate-Retry"), None);
        let lines: Vec<_> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
        let right = [0, 1].map(|n| format!("GET /cgi-bin/x?access_token={}&a=1 HTTP/1.1", token(n)));
        assert_eq!(lines, right);
    }
}

#[tokio::test]
async fn the_second_request_has_the_same_head_and_the_same_5_mib() {
    let fake = Fake::renewing(|seen| match seen.line().contains(&token(0)) {
        true => Reply::errcode(42001),
        false => Reply::json(r#"{"media_id":"m"}"#),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let file: Vec<u8> = (0..5 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let body = [
        b"--b0undary\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.jpg\"\r\n\r\n"
            .as_slice(),
        &file,
        b"\r\n--b0undary--\r\n",
    ]
    .concat();
    let fields = ["Content-Type: multipart/form-data; boundary=b0undary", "X-oDD: 1"];
    let response = gate.send(&request("POST", "/cgi-bin/media/upload?type=image", &fields, &body)).await;
    assert_eq!(response.json()["media_id"], "m");
    let seen = fake.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.body == body));
    assert_eq!(seen[0].head.replace(&token(0), &token(1)), seen[1].head);
}

#[tokio::test]
async fn a_stolen_token_does_not_break_an_upload() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    let head = "--b\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n";
    let body = [head.as_bytes(), &vec![0xd8; 5 << 20], b"\r\n--b--\r\n"].concat();
    let fields = ["Content-Type: multipart/form-data; boundary=b"];
    let response = gate.send(&request("POST", "/cgi-bin/media/upload?type=image", &fields, &body)).await;
    assert!(response.json()["media_id"].is_string(), "{response:?}");
}

#[tokio::test]
async fn a_body_too_large_to_replay_gets_the_first_answer_and_starts_the_refresh() {
    let fake = Fake::renewing(|seen| match seen.line().contains(&token(0)) {
        true => Reply::errcode(40001),
        false => Reply::errcode(0),
    })
    .await;
    let limits = "replay_per_request = \"1KiB\"".to_owned();
    let gate = Gate::with(&fake.url(), Settings { limits, ..Settings::default() }).await;
    let response = gate.post("/cgi-bin/x", vec![b'a'; 2000]).await;
    assert_eq!(response.errcode(), 40001);
    assert_eq!(response.header("X-Wxgate-Retry"), Some("body-too-large"));
    assert_eq!(fake.seen().len(), 1);
    until("the refresh that was started", || fake.fetches() == 2).await;
    // Small bodies are repeated as ever.
    assert_eq!(gate.post("/cgi-bin/x", vec![b'a'; 1000]).await.errcode(), 0);
}

#[tokio::test]
async fn a_refresh_that_fails_gives_the_first_answer() {
    let issue = |n| match n {
        0 => Reply::json(&format!(r#"{{"access_token":"{}","expires_in":7200}}"#, token(0))),
        _ => Reply::errcode(-1),
    };
    let fake = Fake::scripted(issue, |_| Reply::errcode(42001)).await;
    let gate = Gate::before(&fake.url()).await;
    let response = gate.get("/cgi-bin/x").await;
    assert_eq!((response.status, response.errcode()), (200, 42001));
    assert_eq!(response.header("X-Wxgate-Retry"), Some("refresh-failed"));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_refresh_of_more_than_5_s_gives_the_first_answer() {
    let issue = |n| match n {
        0 => Reply::json(&format!(r#"{{"access_token":"{}","expires_in":7200}}"#, token(0))),
        _ => Reply::Silence,
    };
    let fake = Fake::scripted(issue, |_| Reply::errcode(40001)).await;
    let gate = Gate::before(&fake.url()).await;
    let start = Instant::now();
    let response = gate.get("/cgi-bin/x").await;
    assert!(start.elapsed() >= Duration::from_millis(4900), "{:?}", start.elapsed());
    assert_eq!(response.errcode(), 40001);
    assert_eq!(response.header("X-Wxgate-Retry"), Some("refresh-failed"));
}

#[tokio::test]
async fn a_path_that_is_always_refused_stops_causing_refreshes() {
    let fake = Fake::renewing(|_| Reply::errcode(40001)).await;
    let gate = Gate::before(&fake.url()).await;
    for _ in 0..2 {
        let response = gate.get("/cgi-bin/x").await;
        assert_eq!((response.errcode(), response.header("X-Wxgate-Retry")), (40001, None));
    }
    let response = gate.get("/cgi-bin/x").await;
    assert_eq!((response.errcode(), response.header("X-Wxgate-Retry")), (40001, Some("refresh-limited")));
    // Three sendings of two calls whose tokens were young, one of the third.
    assert_eq!((fake.fetches(), fake.seen().len()), (3, 7));
}

#[tokio::test]
async fn many_callers_with_one_dead_token_cause_one_fetch() {
    let fake = Fake::renewing(|seen| match seen.line().contains(&token(0)) {
        true => Reply::errcode(40001),
        false => Reply::errcode(0),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let calls = (0..60).map(|i| {
        let addr = gate.addr;
        tokio::spawn(async move {
            Raw::to(addr).await.ask(request("GET", &format!("/cgi-bin/{i}"), &[], b"")).await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().errcode(), 0);
    }
    assert_eq!(fake.fetches(), 2);
}

/// A worker's first connection is answered once; its second request ends it without a byte.
fn dies_at_the_second() -> impl Fn(&crate::support::fake::Seen) -> Reply + Send + Sync + 'static {
    let calls = AtomicUsize::new(0);
    move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::Close(Vec::new()),
        _ => Reply::ok(&[], ""),
    }
}

#[tokio::test]
async fn a_get_on_a_connection_that_dies_is_sent_again() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let (fake, gate) = lonely(dies_at_the_second()).await;
        let mut raw = Raw::to(gate.addr).await;
        for i in 0..2 {
            let response = raw.ask(request(method, &format!("/cgi-bin/{i}"), &[], b"")).await;
            assert_eq!(response.status, 200, "{method} {i}");
        }
        let seen = fake.seen();
        let paths: Vec<_> = seen.iter().map(|seen| &seen.line()[method.len() + 10..][..1]).collect();
        assert_eq!(paths, ["0", "1", "1"]);
        assert_eq!(seen[0].connection, seen[1].connection);
        assert_ne!(seen[1].connection, seen[2].connection);
    }
}

#[tokio::test]
async fn a_post_on_a_connection_that_dies_is_502_and_was_sent_once() {
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let (fake, gate) = lonely(dies_at_the_second()).await;
        let mut raw = Raw::to(gate.addr).await;
        assert_eq!(raw.ask(request(method, "/cgi-bin/0", &[], b"body")).await.status, 200);
        let response = raw.ask(request(method, "/cgi-bin/1", &[], b"body")).await;
        assert_refused(&response, 502, -1, "upstream-unreachable", method);
        let seen = fake.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].connection, seen[1].connection);
        assert_eq!(raw.ask(request(method, "/cgi-bin/2", &[], b"body")).await.status, 200);
    }
}

#[tokio::test]
async fn a_call_is_sent_again_once_and_not_for_ever() {
    let (fake, gate) = lonely(|_| Reply::Close(Vec::new())).await;
    assert_refused(&gate.get("/cgi-bin/x").await, 502, -1, "upstream-unreachable", "GET");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_call_whose_answer_had_begun_is_not_sent_again() {
    for beginning in ["H", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let (fake, gate) = lonely(move |_| Reply::Close(beginning.into())).await;
        assert_refused(&gate.get("/cgi-bin/x").await, 502, -1, "upstream-unreachable", beginning);
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_has_been_closed_is_never_picked() {
    // It closes after each answer without having announced it.
    let (fake, gate) = lonely(|seen| {
        let Reply::Bytes(bytes) = Reply::ok(&[], seen.line()) else { unreachable!() };
        Reply::Close(bytes)
    })
    .await;
    let mut raw = Raw::to(gate.addr).await;
    for i in 0..20 {
        let response = raw.ask(request("POST", &format!("/cgi-bin/{i}"), &[], b"body")).await;
        assert_eq!(response.status, 200, "{i}: {response:?}");
        // The close is on its way; the token task's own connection stays.
        until("the connection is closed", || fake.open() <= 1).await;
    }
    assert_eq!(fake.seen().len(), 20);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_answers_no_call() {
    // HAProxy says so to a connection that it closes because it was idle.
    let timeout = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let signal = Arc::new(Notify::new());
    let wait = Arc::clone(&signal);
    let (fake, gate) = lonely(move |seen| {
        let Reply::Bytes(bytes) = Reply::ok(&[], seen.line()) else { unreachable!() };
        Reply::Then(bytes, Arc::clone(&wait), timeout.to_vec())
    })
    .await;
    let mut raw = Raw::to(gate.addr).await;
    for i in 0..5 {
        let response = raw.ask(request("POST", &format!("/cgi-bin/{i}"), &[], b"body")).await;
        assert_eq!(response.status, 200, "{i}: {response:?}");
        signal.notify_one();
        until("it has been said", || Arc::strong_count(&signal) == 2).await;
    }
    assert_eq!(fake.seen().len(), 5);
}

#[tokio::test]
async fn whatever_repeats_the_token_has_the_placeholder_instead() {
    const ODD: &str = "odd+token/with=signs-0123456789-abcdefghij-0123456789";
    note_credential(ODD);
    let issue = |_| Reply::json(&format!(r#"{{"access_token":"{ODD}","expires_in":7200}}"#));
    let encoded = |times: usize| {
        (0..times).fold(ODD.to_owned(), |text, _| {
            text.bytes().fold(String::new(), |out, b| match b.is_ascii_alphanumeric() {
                true => out + &char::from(b).to_string(),
                false => out + &format!("%{b:02X}"),
            })
        })
    };
    let forms = [encoded(0), encoded(1), encoded(2), encoded(5), ODD.replace('/', "\\/")];
    let said = format!(r#"{{"errcode":40007,"errmsg":"no: {}"}}"#, forms.join(" "));
    let fields: String =
        forms.iter().enumerate().map(|(n, form)| format!("X-Echo-{n}: a {form} b\r\n")).collect();
    let (echo, zipped) = (said.clone(), super::gzip(said.as_bytes()));
    let (head, second) = (fields.clone(), encoded(2));
    let fake = Fake::scripted(issue, move |seen| match seen.line().contains("/zipped") {
        true => Reply::ok(&["Content-Type: application/json", "Content-Encoding: gzip"], &zipped),
        false => Reply::Bytes(
            format!("HTTP/1.1 200 Dear {second}\r\n{head}Content-Length: {}\r\n\r\n{echo}", echo.len())
                .into(),
        ),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let placeholder = gate.get("/cgi-bin/token").await.json()["access_token"].as_str().unwrap().to_owned();
    let right = format!(r#"{{"errcode":40007,"errmsg":"no: {}"}}"#, [&*placeholder; 5].join(" "));

    let mut raw = Raw::to(gate.addr).await;
    raw.write("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let whole = String::from_utf8(raw.rest().await).unwrap();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, right);
    assert!(head.starts_with(&format!("HTTP/1.1 200 Dear {placeholder}\r\n")), "{head}");
    for n in 0..forms.len() {
        assert!(head.contains(&format!("X-Echo-{n}: a {placeholder} b\r\n")), "{head}");
    }
    assert!(head.contains(&format!("Content-Length: {}\r\n", right.len())), "{head}");

    let zipped = gate.get("/cgi-bin/zipped").await;
    assert_eq!((zipped.text(), zipped.header("Content-Encoding")), (&*right, None));
}

#[tokio::test]
async fn redirects_pass_with_the_placeholder_where_the_token_was() {
    const ODD: &str = "odd+token/with=signs-0123456789-0123456789-0123456789";
    note_credential(ODD);
    let issue = |_| Reply::json(&format!(r#"{{"access_token":"{ODD}","expires_in":7200}}"#));
    let upper = "odd%2Btoken%2Fwith%3Dsigns-0123456789-0123456789-0123456789";
    let fake = Fake::scripted(issue, move |seen| {
        assert!(seen.line().contains(&format!("access_token={upper}&")), "{seen:?}");
        let lower = upper.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d");
        Reply::Bytes(
            format!(
                "HTTP/1.1 302 Found\r\nLocation: https://h/a?access_token={ODD}&b=1\r\nX-Upper: /a?access_token={upper}\r\n\
                 X-Lower: /a?access_token={lower}&again={ODD}\r\nContent-Length: 0\r\n\r\n"
            )
            .into(),
        )
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let response = gate.get("/cgi-bin/x?a=1").await;
    let placeholder = gate.get("/cgi-bin/token").await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(response.status, 302);
    assert_eq!(response.header("Location"), Some(&*format!("https://h/a?access_token={placeholder}&b=1")));
    assert_eq!(response.header("X-Upper"), Some(&*format!("/a?access_token={placeholder}")));
    assert_eq!(
        response.header("X-Lower"),
        Some(&*format!("/a?access_token={placeholder}&again={placeholder}"))
    );
    assert_eq!(fake.seen().len(), 1, "not followed");
}
