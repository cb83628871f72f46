//! HTTP/2 by prior knowledge on the plain listener.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::client::conn::http2::SendRequest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::fake::{Fake, Reply, TOKEN, UNREAD, token};
use crate::support::gate::{Gate, Settings};
use crate::support::http2;
use crate::support::raw::Raw;
use crate::support::until::{PATIENCE, until};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

async fn connect(addr: SocketAddr) -> (SendRequest<Body>, JoinHandle<hyper::Result<()>>) {
    http2::over(TcpStream::connect(addr).await.unwrap()).await
}

/// Leaves as a caller does; while a proxy stops, a test answers nobody.
async fn leave(sender: SendRequest<Body>, connection: JoinHandle<hyper::Result<()>>) {
    drop(sender);
    timeout(PATIENCE, connection).await.expect("the connection ends").unwrap().unwrap();
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

async fn send(sender: &mut SendRequest<Body>, request: http::Request<Body>) -> Answer {
    let exchange = async {
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    };
    timeout(PATIENCE, exchange).await.unwrap()
}

fn request(method: &str, target: &str, body: Body) -> http::Request<Body> {
    http::Request::builder().method(method).uri(format!("http://h{target}")).body(body).unwrap()
}

#[tokio::test]
async fn calls_of_one_connection_are_served_at_once_and_retried_alike() {
    let fake = Fake::renewing(|seen| match seen.line().contains(&token(0)) {
        true => Reply::errcode(40001),
        false => Reply::json(&format!(r#"{{"path":"{}"}}"#, seen.line().split('?').next().unwrap())),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let (sender, connection) = connect(gate.addr).await;
    let calls: Vec<_> = (0..20)
        .map(|i| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                send(&mut sender, request("GET", &format!("/cgi-bin/{i}?a=1"), full(""))).await
            })
        })
        .collect();
    for (i, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap();
        let right = format!(r#"{{"path":"GET /cgi-bin/{i}"}}"#);
        assert_eq!((answer.status, &*answer.body), (200, right.as_bytes()));
        assert_eq!(answer.headers["content-type"], "application/json; encoding=utf-8");
        assert!(!answer.headers.contains_key("connection"));
    }
    assert_eq!(fake.fetches(), 2);
    let second = fake.seen().iter().filter(|seen| seen.line().contains(&token(1))).count();
    assert_eq!(second, 20);
    leave(sender, connection).await;
}

#[tokio::test]
async fn the_upstreams_trailers_go_no_further() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\nTrailer: X-Token\r\n\r\n\
         2\r\nok\r\n0\r\nX-Token: {TOKEN}\r\n\r\n"
    );
    let fake = Fake::answering(move |_| Reply::Bytes(answer.clone().into())).await;
    let gate = Gate::before(&fake.url()).await;
    let (mut sender, connection) = connect(gate.addr).await;
    let answer = sender.send_request(request("GET", "/cgi-bin/x", full(""))).await.unwrap();
    assert!(!answer.headers().contains_key("trailer"));
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), None);
    assert_eq!(collected.to_bytes(), "ok");
    leave(sender, connection).await;
    let raw =
        Raw::to(gate.addr).await.ask("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n").await;
    assert_eq!((raw.status, &*raw.body), (200, &b"ok"[..]));
}

#[tokio::test]
async fn bodies_get_a_length_and_nothing_else_is_added() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    let (mut sender, connection) = connect(gate.addr).await;
    let (parts, unknown) = mpsc::channel::<&'static [u8]>(4);
    for part in [b"hel".as_slice(), b"lo"] {
        parts.send(part).await.unwrap();
    }
    drop(parts);
    let stream = Parts(unknown).boxed_unsync();
    for (method, body, right) in [
        ("POST", full("hello"), Some("hello")),
        ("POST", stream, Some("hello")),
        ("POST", full(""), Some("")),
        ("GET", full(""), None),
    ] {
        assert_eq!(send(&mut sender, request(method, "/cgi-bin/x", body)).await.status, 200);
        let seen = fake.seen().pop().unwrap();
        assert_eq!(seen.line(), format!("{method} /cgi-bin/x?access_token={TOKEN} HTTP/1.1"));
        let mut lines = vec![format!("Host: {}", fake.addr)];
        lines.extend(right.map(|body| format!("Content-Length: {}", body.len())));
        lines.sort();
        assert_eq!(seen.lines(), lines, "{method}");
        assert_eq!(seen.body, right.unwrap_or_default().as_bytes());
    }
    leave(sender, connection).await;
}

/// A body of unknown length: parts as they come.
struct Parts(mpsc::Receiver<&'static [u8]>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(Bytes::from_static(part)))))
    }
}

#[tokio::test]
async fn refusals_have_wechats_form_here_too() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let limits = "max_header_bytes = \"2KiB\"\nmax_body = \"4KiB\"".to_owned();
    let gate = Gate::with(&fake.url(), Settings { limits, ..Settings::default() }).await;
    let (mut sender, connection) = connect(gate.addr).await;
    let mut long = request("GET", "/cgi-bin/x", full(""));
    long.headers_mut().insert("x", "a".repeat(3000).parse().unwrap());
    for (request, status, code) in [
        (request("GET", "/elsewhere", full("")), 404, "not-found"),
        (request("GET", "/cgi-bin/%74oken", full("")), 400, "bad-request"),
        (request("TRACE", "/cgi-bin/x", full("")), 405, "method"),
        (request("POST", "/cgi-bin/x", full(vec![b'a'; 5000])), 413, "too-large"),
        (long, 431, "head-too-large"),
    ] {
        let answer = send(&mut sender, request).await;
        assert_eq!((answer.status, &answer.headers["x-wxgate-error"]), (status, &code.parse().unwrap()));
        assert!(!answer.headers.contains_key("connection"), "{code}");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(json["errcode"].is_i64(), "{json}");
    }
    assert_eq!(fake.began(), 0);
    assert_eq!(
        send(&mut sender, request("GET", "/cgi-bin/x", full(""))).await.status,
        200,
        "the connection goes on"
    );
    leave(sender, connection).await;
}

#[tokio::test]
async fn a_body_that_stalls_is_408_although_the_connection_lives() {
    for limits in ["idle_timeout = \"1s\"", "idle_timeout = \"1s\"\nreplay_per_request = \"1KiB\""] {
        let fake = Fake::answering(|_| Reply::json("{}")).await;
        let gate =
            Gate::with(&fake.url(), Settings { limits: limits.to_owned(), ..Settings::default() }).await;
        let (mut sender, connection) = connect(gate.addr).await;
        let (parts, unfinished) = mpsc::channel(4);
        parts.send(b"hel".as_slice()).await.unwrap();
        let mut request = request("POST", "/cgi-bin/x", Parts(unfinished).boxed_unsync());
        request.headers_mut().insert("content-length", "2000".parse().unwrap());
        let answer = send(&mut sender, request).await;
        assert_eq!(
            (answer.status, &answer.headers["x-wxgate-error"]),
            (408, &"caller-timeout".parse().unwrap())
        );
        assert_eq!(fake.seen().len(), 0);
        leave(sender, connection).await;
    }
}

#[tokio::test]
async fn an_upload_that_the_upstream_does_not_read_holds_up_no_other_body() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    let (mut sender, connection) = connect(gate.addr).await;
    let (parts, stuck) = mpsc::channel(1);
    let mut upload = request("POST", UNREAD, Parts(stuck).boxed_unsync());
    upload.headers_mut().insert("content-length", "60000000".parse().unwrap());
    let upload = tokio::spawn(sender.send_request(upload));
    while let Ok(Ok(())) = timeout(Duration::from_secs(1), parts.send(&[b'a'; 64 << 10])).await {}
    let other = send(&mut sender, request("POST", "/cgi-bin/x", full("hello"))).await;
    assert_eq!((other.status, fake.seen()[0].body.as_slice()), (200, b"hello".as_slice()));
    assert!(!upload.is_finished(), "it is still on its way");
    upload.abort();
    drop(parts);
    leave(sender, connection).await;
}

#[tokio::test]
async fn an_answer_to_head_and_one_without_content_end_with_their_heads() {
    let fake = Fake::answering(|seen| match seen.line().starts_with("HEAD ") {
        true => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()),
        false => Reply::Bytes(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".to_vec()),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let (mut sender, connection) = connect(gate.addr).await;
    for (target, status) in [("/cgi-bin/token", 200), ("/nothing", 404), ("/cgi-bin/a%2fb", 400)] {
        let whole = send(&mut sender, request("GET", target, full(""))).await;
        let head = send(&mut sender, request("HEAD", target, full(""))).await;
        assert_eq!((whole.status, head.status), (status, status), "{target}");
        assert!(!whole.body.is_empty() && head.body.is_empty(), "{target}");
        assert_ne!(head.headers["content-length"], "0", "{target}");
    }
    let head = send(&mut sender, request("HEAD", "/cgi-bin/x", full(""))).await;
    assert_eq!((head.status, &head.headers["content-length"]), (200, &"5".parse().unwrap()));
    let none = send(&mut sender, request("GET", "/cgi-bin/x", full(""))).await;
    assert_eq!((none.status, none.headers.get("content-length")), (204, None));
    leave(sender, connection).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_at_work_is_not() {
    let signal = Arc::new(Notify::new());
    let wait = Arc::clone(&signal);
    let Reply::Bytes(bytes) = Reply::json("{}") else { unreachable!() };
    let fake = Fake::answering(move |_| Reply::Then(Vec::new(), Arc::clone(&wait), bytes.clone())).await;
    let limits = "idle_timeout = \"1s\"".to_owned();
    let gate = Gate::with(&fake.url(), Settings { limits, ..Settings::default() }).await;
    let (mut sender, connection) = connect(gate.addr).await;
    let call =
        tokio::spawn(async move { send(&mut sender, request("GET", "/cgi-bin/x", full(""))).await.status });
    until("the call arrives", || fake.seen().len() == 1).await;
    // Two idle times, which do not count while the call is served.
    tokio::time::sleep(Duration::from_secs(2)).await;
    signal.notify_one();
    assert_eq!(call.await.unwrap(), 200);
    timeout(PATIENCE, connection).await.expect("closed when idle").unwrap().unwrap();
}

#[tokio::test]
async fn a_caller_who_resets_its_stream_ends_its_call() {
    let fake = Fake::answering(|_| Reply::Silence).await;
    let gate = Gate::before(&fake.url()).await;
    let (mut sender, _connection) = connect(gate.addr).await;
    let call = tokio::spawn(async move { sender.send_request(request("GET", "/cgi-bin/x", full(""))).await });
    until("the call arrives", || fake.seen().len() == 1).await;
    call.abort();
    until("the upstream's connection is closed", || fake.abandoned() == 1).await;
}

#[tokio::test]
async fn the_preface_may_come_in_pieces() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for cut in [1, 3, 14, 16, 17, 18, 20, 24, 30] {
        let mut raw = Raw::to(gate.addr).await;
        raw.write(&preface[..cut]).await;
        tokio::task::yield_now().await;
        raw.write(&preface[cut..]).await;
        // The server's settings: a frame of type 4 on stream 0.
        let frame = raw.bytes(9).await;
        assert_eq!(frame[3..9], [4, 0, 0, 0, 0, 0], "{cut}: {frame:?}");
    }
    for piece in 1..4 {
        let mut raw = Raw::to(gate.addr).await;
        for bytes in preface.chunks(piece) {
            raw.write(bytes).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(raw.bytes(9).await[3], 4, "{piece}");
    }
}

#[tokio::test]
async fn http2_after_a_first_http1_request_is_refused() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(raw.ask("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n").await.status, 200);
    assert_eq!(raw.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.status, 400);
    assert_eq!(raw.rest().await, b"");
}

#[tokio::test]
async fn a_caller_who_answers_nothing_does_not_hold_up_the_end() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    let mut raw = Raw::to(gate.addr).await;
    raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    assert_eq!(raw.bytes(9).await[3], 4);
    until("there is a token", || fake.fetches() == 1).await;
    let start = Instant::now();
    tokio::task::spawn_blocking(|| gate.stop()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_came_of_an_answer_that_breaks_off_reaches_the_caller() {
    for length in [1, 50_000] {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 60000\r\n\r\n".to_vec();
        answer.resize(answer.len() + length, b'a');
        let fake = Fake::answering(move |_| Reply::Close(answer.clone())).await;
        let gate = Gate::before(&fake.url()).await;
        let (mut sender, connection) = connect(gate.addr).await;
        for _ in 0..10 {
            let exchange = async {
                let request = request("GET", "/cgi-bin/broken", full(""));
                let mut body = sender.send_request(request).await.expect("a head").into_body();
                let mut got = 0;
                loop {
                    match body.frame().await.expect("no end, but a reset") {
                        Ok(frame) => got += frame.into_data().unwrap().len(),
                        Err(error) => return (got, error),
                    }
                }
            };
            let (got, error) = timeout(PATIENCE, exchange).await.unwrap();
            assert_eq!(got, length, "{error}");
        }
        leave(sender, connection).await;
    }
}

#[tokio::test]
async fn an_answer_reaches_a_caller_that_is_still_sending_its_body() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let limits = "max_body = \"64KiB\"".to_owned();
    let gate = Gate::with(&fake.url(), Settings { limits, ..Settings::default() }).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    std::fs::write(&file, vec![b'x'; 4 << 20]).unwrap();
    for (path, right) in [("/cgi-bin/x", "413"), ("/nowhere", "404")] {
        // curl 7.88 loses the answer when its stream is reset behind it.
        let curl = tokio::process::Command::new("curl")
            .args([
                "-q",
                "-sS",
                "--max-time",
                "20",
                "--http2-prior-knowledge",
                "-w",
                " %{http_code}",
                "--data-binary",
            ])
            .arg(format!("@{}", file.display()))
            .arg(format!("http://{}{path}", gate.addr))
            .output()
            .await
            .unwrap();
        let (told, errors) = (String::from_utf8_lossy(&curl.stdout), String::from_utf8_lossy(&curl.stderr));
        assert!(told.starts_with("{\"errcode\":") && told.ends_with(right), "{path}: {told} {errors}");
    }
}
