//! Many callers who are slow, too many callers, and too few file descriptors: a real process, from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::assert_refused;
use crate::support::child::{Child, serve};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::https::request;
use crate::support::raw::{Raw, refused};
use crate::support::until::{PATIENCE, until};

async fn fake() -> Fake {
    Fake::answering(|_| Reply::json("{}")).await
}

fn settings(limits: &str) -> Settings {
    Settings {
        top: "workers = 2\naccess_log = false".to_owned(),
        upstream: "warm_connections = 0".to_owned(),
        limits: limits.to_owned(),
        ..Settings::default()
    }
}

fn get() -> Vec<u8> {
    request("GET", "/cgi-bin/x", &[], b"")
}

/// The time that all but the slowest 5 % of so many calls take, half of them on connections of their own.
async fn p95(addr: SocketAddr, calls: usize) -> Duration {
    let mut kept = Raw::to(addr).await;
    let mut times = Vec::new();
    for number in 0..calls {
        let start = Instant::now();
        let status = match number % 2 {
            0 => kept.ask(get()).await.status,
            _ => Raw::to(addr).await.ask(get()).await.status,
        };
        times.push(start.elapsed());
        assert_eq!(status, 200);
    }
    times.sort_unstable();
    times[calls * 95 / 100]
}

#[tokio::test]
async fn slow_callers_by_the_thousand_do_not_slow_the_others() {
    let fake = fake().await;
    let dir = TempDir::new().unwrap();
    let limits = settings("header_timeout = \"60s\"\nidle_timeout = \"60s\"");
    let child = Child::start(serve(dir.path(), &fake.url(), &limits).env("WXGATE_LOG", "info"));
    let addr = child.addr().await;
    let alone = p95(addr, 200).await;
    let mut heads = Vec::new();
    for _ in 0..1000 {
        let mut raw = Raw::to(addr).await;
        raw.write("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX: ").await;
        heads.push(raw);
    }
    let mut bodies = Vec::new();
    for _ in 0..300 {
        let mut raw = Raw::to(addr).await;
        raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").await;
        bodies.push(raw);
    }
    let dripping = tokio::spawn(async move {
        loop {
            for raw in heads.iter_mut().chain(&mut bodies) {
                raw.write("a").await;
                tokio::task::yield_now().await;
            }
        }
    });
    let among = p95(addr, 200).await;
    dripping.abort();
    assert!(among < alone * 10 + Duration::from_secs(2), "{among:?}, and alone {alone:?}");
    assert!(fake.began() <= 401, "no dribbled body has reached the upstream");
}

#[tokio::test]
async fn heads_that_drip_are_all_cut_off_at_header_timeout() {
    let fake = fake().await;
    let gate = Gate::with(&fake.url(), settings("header_timeout = \"500ms\"")).await;
    let start = Instant::now();
    let mut heads = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::to(gate.addr).await;
        raw.write("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nX: ").await;
        heads.push(raw);
    }
    for mut raw in heads {
        assert_eq!(raw.answer(false).await.status, 408);
        assert_eq!(raw.rest().await, b"");
    }
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn overload_is_answered_at_once_and_ends_with_its_cause() {
    let fake = fake().await;
    let gate = Gate::with(&fake.url(), settings("max_connections = 20")).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::to(gate.addr).await;
        assert_eq!(raw.ask(get()).await.status, 200);
        held.push(raw);
    }
    for _ in 0..100 {
        let start = Instant::now();
        let mut raw = Raw::to(gate.addr).await;
        assert_refused(&raw.ask(get()).await, 503, -1, "busy", "overload");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
    // One that says nothing is told as fast, and does not have to ask.
    assert_refused(&refused(gate.addr, "").await, 503, -1, "busy", "no request at all");
    for raw in &mut held {
        assert_eq!(raw.ask(get()).await.status, 200);
    }
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    while gate.get("/cgi-bin/x").await.status != 200 {
        assert!(Instant::now() < deadline, "the room is never free again");
    }
}

/// Open descriptors of a process.
fn descriptors(id: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(id.to_string()).join("fd")).unwrap().count()
}

/// Connections to this address whose caller has left, and which have not been closed: accepted ones, and ones that
/// wait to be accepted.
fn left_by_their_callers(addr: SocketAddr) -> usize {
    const CLOSE_WAIT: &str = "08";
    let local = format!(":{:04X}", addr.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            Some((fields.next()?, fields.nth(1)?))
        })
        .filter(|(address, state)| address.ends_with(&local) && *state == CLOSE_WAIT)
        .count()
}

/// The same command with a limit for its open files.
fn with_files(command: &Command, files: usize) -> Command {
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap()).env_clear().env("WXGATE_LOG", "info");
    limited
}

#[tokio::test]
async fn out_of_file_descriptors_callers_that_ask_for_nothing_make_room_for_others() {
    const FILES: usize = 64;
    let fake = fake().await;
    let dir = TempDir::new().unwrap();
    let command = serve(dir.path(), &fake.url(), &settings("idle_timeout = \"60s\""));
    let child = Child::start(&mut with_files(&command, FILES));
    let addr = child.addr().await;
    let mut kept = Vec::new();
    for n in 0..2 * FILES {
        let mut caller = Raw::to(addr).await;
        caller.write(get()).await;
        // The first of them, which have been parked longest, are closed for the last. (Upstreams need files, too.)
        let answer = tokio::time::timeout(Duration::from_secs(10), caller.answer(false)).await;
        let status = answer.unwrap_or_else(|_| panic!("caller {n} waits")).status;
        assert!(matches!(status, 200 | 503), "{status}");
        kept.push(caller);
    }
}

#[tokio::test]
async fn out_of_file_descriptors_accepting_pauses_and_goes_on() {
    const FILES: usize = 64;
    let fake = fake().await;
    let dir = TempDir::new().unwrap();
    let command = serve(dir.path(), &fake.url(), &settings("header_timeout = \"60s\""));
    let child = Child::start(&mut with_files(&command, FILES));
    let addr = child.addr().await;
    assert_eq!(Raw::to(addr).await.ask(get()).await.status, 200);
    // The system takes these in, whether or not they are accepted.
    let mut flood = Vec::new();
    for _ in 0..2 * FILES {
        flood.push(TcpStream::connect(addr).await.unwrap());
    }
    child.line("cannot accept a connection").await;
    assert!(descriptors(child.id()) >= FILES - 2, "{}", descriptors(child.id()));
    drop(flood);
    // Those that still wait to be accepted would keep others out.
    until("the descriptors are given back", || {
        left_by_their_callers(addr) == 0 && descriptors(child.id()) < FILES / 2
    })
    .await;
    for _ in 0..20 {
        assert_eq!(Raw::to(addr).await.ask(get()).await.status, 200);
    }
    let warnings = child.stderr().matches("cannot accept a connection").count();
    assert!(warnings < 100, "{warnings} warnings");
}
