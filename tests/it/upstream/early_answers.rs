//! Upstreams that answer before they have read the whole request, and ones that never stop answering.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream as AsyncStream;

use crate::request::assert_refused;
use crate::support::fake::{Fake, Reply, TOKEN};
use crate::support::gate::{Gate, Settings, note_credential};
use crate::support::raw::Raw;
use crate::support::tls::{localhost, server};

/// Of a body an impatient upstream reads this much.
const READ: usize = 64 << 10;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// An upstream on threads of its own: issues a token, and hands each other call to `serve` after its head.
fn upstream(tls: Option<Arc<ServerConfig>>, serve: fn(&mut dyn Stream)) -> SocketAddr {
    note_credential(TOKEN);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map(Result::unwrap) {
            let tls = tls.clone();
            std::thread::spawn(move || connection(socket, tls, serve));
        }
    });
    addr
}

fn connection(socket: TcpStream, tls: Option<Arc<ServerConfig>>, serve: fn(&mut dyn Stream)) {
    // Else the answer may wait for an acknowledgement, and be thrown away by the close.
    socket.set_nodelay(true).unwrap();
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(socket),
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), socket)),
    };
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1..) => head.push(byte[0]),
            _ => return,
        }
    }
    if head.windows(16).any(|part| part == b"/cgi-bin/token?g") {
        let body = format!("{{\"access_token\":\"{TOKEN}\",\"expires_in\":7200}}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes());
        return;
    }
    serve(&mut stream);
}

/// Refuses an upload as soon as it has seen its beginning, and closes: the rest is answered with resets.
fn refuse(stream: &mut dyn Stream) {
    let _ = stream.read_exact(&mut vec![0; READ]);
    let body = r#"{"errcode":40009,"errmsg":"invalid image size"}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes());
}

/// One upload; its errcode. The caller goes on sending while it reads.
async fn upload(addr: SocketAddr, size: usize) -> i64 {
    let mut caller = Raw::to(addr).await;
    let second = TcpStream::from(caller.stream.as_fd().try_clone_to_owned().unwrap());
    let mut write = AsyncStream::from_std(second).unwrap();
    let sending = tokio::spawn(async move {
        let head =
            format!("POST /cgi-bin/media/upload HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
        let _ = write.write_all(head.as_bytes()).await;
        let _ = write.write_all(&vec![b'a'; size]).await;
    });
    let response = caller.answer(false).await;
    sending.abort();
    response.errcode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_reaches_every_caller_although_the_upstream_closes() {
    for (scheme, tls) in [("http", None), ("https", Some(server(localhost())))] {
        let addr = upstream(tls, refuse);
        let settings = Settings { limits: "replay_total = \"64MiB\"".to_owned(), ..Settings::default() };
        let gate = Gate::with(&format!("{scheme}://{addr}"), settings).await;
        for size in [256 << 10, 2 << 20, 24 << 20] {
            let calls: Vec<_> = (0..16).map(|_| tokio::spawn(upload(gate.addr, size))).collect();
            let mut errcodes = Vec::new();
            for call in calls {
                errcodes.push(call.await.unwrap());
            }
            assert_eq!(errcodes, [40009; 16], "{scheme}, {size} bytes");
        }
    }
}

#[tokio::test]
async fn sixteen_interim_answers_are_read_and_none_is_passed_on() {
    for (count, right) in [(0, true), (16, true), (17, false)] {
        let fake = Fake::answering(move |_| {
            let Reply::Bytes(last) = Reply::json("{}") else { unreachable!() };
            let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(count);
            Reply::Bytes([interim.as_bytes(), &last].concat())
        })
        .await;
        let gate = Gate::before(&fake.url()).await;
        // The next request on a connection is counted anew.
        for _ in 0..2 {
            let response = Raw::to(gate.addr).await.ask("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n").await;
            match right {
                true => assert_eq!((response.status, response.text()), (200, "{}"), "{count}"),
                false => assert_refused(&response, 502, -1, "upstream-unreachable", "17"),
            }
        }
        assert_eq!(fake.calls(), 2);
    }
}

/// Writes interim answers as fast as it can, and the time in which it was stopped.
fn flood(stream: &mut dyn Stream) {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    while stream.write_all(interim.as_bytes()).is_ok() {}
}

#[tokio::test]
async fn endless_interim_answers_are_502_at_once_and_end() {
    for (scheme, tls) in [("http", None), ("https", Some(server(localhost())))] {
        let addr = upstream(tls, flood);
        let settings = Settings { top: "workers = 1".to_owned(), ..Settings::default() };
        let gate = Gate::with(&format!("{scheme}://{addr}"), settings).await;
        let begun = Instant::now();
        let response = gate.get("/cgi-bin/x").await;
        assert_refused(&response, 502, -1, "upstream-unreachable", scheme);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(gate.get("/cgi-bin/token").await.status, 200);
    }
}
