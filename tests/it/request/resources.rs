//! What the program uses up: memory and descriptors of a real process, from outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use crate::support::child::{Child, serve};
use crate::support::fake::{Fake, Reply};
use crate::support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, WINDOW_UPDATE, block, frame};
use crate::support::gate::Settings;
use crate::support::https::request;
use crate::support::raw::Raw;
use crate::support::until::{PATIENCE, until};

const MIB: u64 = 1 << 20;

/// `wxgate serve` in a process of its own.
struct Served {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Served {
    async fn before(fake: &Fake, limits: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let settings = Settings {
            top: "workers = 2\naccess_log = false".to_owned(),
            upstream: "warm_connections = 0".to_owned(),
            limits: limits.to_owned(),
            ..Settings::default()
        };
        let child = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
        let addr = child.addr().await;
        Self { child, addr, _dir: dir }
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// The most memory that it has had so far.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    fn descriptors(&self) -> usize {
        // Only root may list them, for wxgate is not dumpable; how many there are is told to everybody (Linux 6.2).
        match std::fs::read_dir(self.proc("fd")) {
            Ok(listed) => listed.count(),
            Err(_) => usize::try_from(std::fs::metadata(self.proc("fd")).unwrap().len()).unwrap(),
        }
    }
}

#[tokio::test]
async fn an_upload_of_300_mib_is_streamed_in_constant_memory() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let served = Served::before(&fake, "replay_per_request = \"64KiB\"\nmax_body = \"1GiB\"").await;
    assert_eq!(Raw::to(served.addr).await.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    let before = served.peak();
    let mut raw = Raw::to(served.addr).await;
    let length = 300 * MIB;
    raw.write(format!("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")).await;
    let piece = vec![b'a'; MIB as usize];
    for _ in 0..300 {
        raw.write(&piece).await;
    }
    assert_eq!(raw.answer(false).await.status, 200);
    assert_eq!(fake.seen().pop().unwrap().length as u64, length);
    let grown = served.peak() - before;
    assert!(grown < 20 * MIB, "grew by {} KiB", grown / 1024);
}

#[tokio::test]
async fn a_download_of_1_gib_is_streamed_in_constant_memory() {
    let length = 1024 * MIB;
    let fake = Fake::answering(move |seen| match seen.line().contains("/cgi-bin/big") {
        true => {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {length}\r\n\r\n");
            Reply::Zeros(head.into(), length)
        }
        false => Reply::json("{}"),
    })
    .await;
    let served = Served::before(&fake, "").await;
    assert_eq!(Raw::to(served.addr).await.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    let before = served.peak();
    let mut raw = Raw::to(served.addr).await;
    raw.write(request("GET", "/cgi-bin/big", &[], b"")).await;
    assert_eq!(raw.head().await.unwrap().status, 200);
    // The first bytes flow, then the caller pauses: nothing may pile up meanwhile.
    let mut received = raw.bytes(1).await.len() as u64 + raw.unread() as u64;
    let mut buffer = vec![0; MIB as usize];
    while received < length {
        let read = tokio::time::timeout(PATIENCE, raw.stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{received} bytes came");
        received += read as u64;
    }
    assert_eq!(received, length);
    let grown = served.peak() - before;
    assert!(grown < 20 * MIB, "grew by {} KiB", grown / 1024);
}

#[tokio::test]
async fn a_caller_who_reads_nothing_holds_no_more_than_buffers() {
    let length = 256 * MIB;
    let fake = Fake::answering(move |seen| match seen.line().contains("/cgi-bin/big") {
        true => Reply::Zeros(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into(), length),
        false => Reply::json("{}"),
    })
    .await;
    let served = Served::before(&fake, "idle_timeout = \"1s\"").await;
    assert_eq!(Raw::to(served.addr).await.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    let before = served.peak();
    let mut raw = Raw::to(served.addr).await;
    raw.write(request("GET", "/cgi-bin/big", &[], b"")).await;
    assert_eq!(raw.head().await.unwrap().status, 200);
    let open = fake.open();
    until("the caller is cut off, and with it the call", || fake.open() < open).await;
    let grown = served.peak() - before;
    assert!(grown < 20 * MIB, "grew by {} KiB", grown / 1024);
}

/// SETTINGS_INITIAL_WINDOW_SIZE and the connection's window as large as they can be, and nothing is read any more.
#[tokio::test]
async fn a_caller_who_reads_none_of_its_http2_answers_holds_16_mib_at_most() {
    let length = 64 * MIB;
    let fake = Fake::answering(move |seen| match seen.line().contains("/cgi-bin/big") {
        true => Reply::Zeros(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into(), length),
        false => Reply::json("{}"),
    })
    .await;
    for read_first in [0, 32 * MIB] {
        let served = Served::before(&fake, "").await;
        assert_eq!(Raw::to(served.addr).await.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
        let most = (1 << 31) - 1;
        let get: [(&[u8], &[u8]); 4] =
            [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/cgi-bin/big")];
        let call = |number: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block(&get));
        let mut buffer = vec![0; MIB as usize];
        // What the process takes for the first such call is no caller's.
        let mut first = Frames::to(served.addr, &[(4, most)]).await;
        first.write(call(0)).await;
        assert!(first.stream.read(&mut buffer).await.unwrap() > 0);
        drop(first);
        let before = served.peak();
        let mut frames = Frames::to(served.addr, &[(4, most)]).await;
        frames.write(frame(WINDOW_UPDATE, 0, 0, &(most - 65_535).to_be_bytes())).await;
        let calls: Vec<u8> = (0..128).flat_map(call).collect();
        let began = fake.began();
        frames.write(calls).await;
        until("all streams are served", || fake.began() >= began + 100).await;
        let mut received = 0;
        while received < read_first {
            received += frames.stream.read(&mut buffer).await.unwrap() as u64;
        }
        // Nothing grows any more.
        let mut peak = served.peak();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if std::mem::replace(&mut peak, served.peak()) == peak {
                break;
            }
        }
        let grown = served.peak() - before;
        assert!(grown < 16 * MIB, "{read_first}: grew by {} KiB", grown / 1024);
    }
}

#[tokio::test]
async fn odd_exchanges_leave_no_descriptor_behind() {
    let fake = Fake::answering(|seen| {
        let path = seen.line().split(['/', '?']).nth(2).unwrap_or_default();
        match path {
            "silence" => Reply::Silence,
            "close" => Reply::Close(Vec::new()),
            "reset" => Reply::Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()),
            "short" => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()),
            "switch" => Reply::Bytes(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_vec()),
            "big" => Reply::Zeros(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), 64 * MIB),
            _ => Reply::json("{}"),
        }
    })
    .await;
    let served = Served::before(
        &fake,
        "header_timeout = \"150ms\"\nidle_timeout = \"150ms\"\nreplay_per_request = \"1KiB\"",
    )
    .await;
    assert_eq!(Raw::to(served.addr).await.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
    let before = served.descriptors();
    for _ in 0..10 {
        for bytes in [
            &b"GET /cgi-bin/silence HTTP/1.1\r\nHost: h\r\n\r\n"[..],
            b"GET /cgi-bin/close HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST /cgi-bin/close HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na",
            b"GET /cgi-bin/reset HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /cgi-bin/short HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /cgi-bin/switch HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /cgi-bin/big HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\nGET /cgi",
            b"POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc",
            b"POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\nabc",
            b"POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\ngarbage garbage garbage garbage garbage",
            b"\n",
            b"",
        ] {
            let mut raw = Raw::to(served.addr).await;
            raw.write(bytes).await;
            // Some leave at once, the others after the first bytes of an answer or when they are cut off.
            if !bytes.windows(7).any(|w| w == b"silence") && fastrand::bool() {
                let mut byte = [0];
                let _ = tokio::time::timeout(PATIENCE, raw.stream.peek(&mut byte)).await;
            }
        }
    }
    // Idle connections to the upstream come and go.
    until("the descriptors are given back", || served.descriptors() <= before + 4).await;
    assert_eq!(Raw::to(served.addr).await.ask(request("GET", "/cgi-bin/x", &[], b"")).await.status, 200);
}
