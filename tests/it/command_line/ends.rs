//! Signals: what is in flight is finished, for a while, and what is idle holds nobody up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::started;
use crate::support::child::{Child, serve, wxgate};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{SECRET, Settings, note_credential};
use crate::support::https::{Connection, Response, request};
use crate::support::raw::Raw;
use crate::support::until::{until, until_some};

/// Ending by itself is quick; `shutdown_grace` is 30 s.
const PROMPT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn either_signal_is_a_clean_stop() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, _) = started(dir.path(), &fake.url(), &Settings::default()).await;
        let begun = Instant::now();
        child.signal(signal);
        assert_eq!(child.code().await, 0, "{signal}");
        assert!(begun.elapsed() < PROMPT, "{signal}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits_for_the_state() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    // Both have the same folder for their state, and it is the first one's.
    let (mut first, _) = started(dir.path(), &fake.url(), &Settings::default()).await;
    let tables = "[admin]\nlisten = \"unix:admin.sock\"\n".to_owned();
    for signal in ["TERM", "INT"] {
        let settings = Settings { tables: tables.clone(), ..Settings::default() };
        let mut second = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
        // It serves there before it waits.
        let socket = dir.path().join("admin.sock");
        until("it is starting", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
        second.signal(signal);
        assert_eq!(second.code().await, 0, "{signal}: {}", second.stderr());
        assert!(!second.stderr().contains("another wxgate"), "{signal}: {}", second.stderr());
        assert!(!socket.exists(), "{signal}");
    }
    first.signal("TERM");
    assert_eq!(first.code().await, 0);
}

#[tokio::test]
async fn the_sandbox_says_where_it_listens_and_stops_cleanly_too() {
    let dir = tempfile::tempdir().unwrap();
    note_credential(SECRET);
    let mut child = Child::start(&mut wxgate(dir.path(), &["sandbox", "--listen", "127.0.0.1:0"]));
    let line = child.line("listening on https://127.0.0.1:").await;
    assert!(line.ends_with(" (sandbox)") && !line.contains(":0 "), "{line}");
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
}

#[tokio::test]
async fn idle_keep_alive_connections_do_not_hold_the_end_up() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut child, addr) = started(dir.path(), &fake.url(), &Settings::default()).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::plain(addr).await;
        connection.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await.unwrap();
        idle.push(connection);
    }
    // Some have never sent anything.
    let silent = [TcpStream::connect(addr).await.unwrap(), TcpStream::connect(addr).await.unwrap()];
    let begun = Instant::now();
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    drop((idle, silent));
}

/// An upstream that answers when it is told to, and a proxy with one request in flight.
struct InFlight {
    fake: Fake,
    release: watch::Sender<bool>,
    child: Child,
    addr: SocketAddr,
    caller: JoinHandle<std::io::Result<Response>>,
    _dir: tempfile::TempDir,
}

async fn in_flight(grace: &str) -> InFlight {
    let (release, released) = watch::channel(false);
    let answer =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"late\":true}";
    let fake = Fake::answering(move |_| Reply::Held(released.clone(), answer.to_vec())).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { top: format!("shutdown_grace = \"{grace}\""), ..Settings::default() };
    let (child, addr) = started(dir.path(), &fake.url(), &settings).await;
    let caller = tokio::spawn(async move {
        Connection::plain(addr).await.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await
    });
    until("the request is with the upstream", || fake.calls() == 1).await;
    InFlight { fake, release, child, addr, caller, _dir: dir }
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_nobody_new_is_served() {
    let mut flight = in_flight("30s").await;
    flight.child.signal("TERM");
    let addr = flight.addr;
    until_some("no more connections are accepted", || {
        std::net::TcpStream::connect_timeout(&addr, Duration::from_secs(1)).err()
    })
    .await;
    assert!(!flight.caller.is_finished());
    flight.release.send_replace(true);
    assert_eq!(flight.caller.await.unwrap().unwrap().text(), r#"{"late":true}"#);
    assert_eq!(flight.child.code().await, 0);
    assert_eq!(flight.fake.calls(), 1);
}

#[tokio::test]
async fn a_head_that_is_on_its_way_is_still_answered() {
    let mut flight = in_flight("30s").await;
    let mut caller = Raw::to(flight.addr).await;
    caller.write("GET /cgi-bin/user/get HTTP/1.1\r\nHost: ").await;
    // The one before it has been read when that is answered on a connection that came later.
    let later = Connection::plain(flight.addr).await.send(&request("GET", "/nothing", &[], b"")).await;
    assert_eq!(later.unwrap().status, 404);
    flight.child.signal("TERM");
    until_some("no more connections are accepted", || {
        std::net::TcpStream::connect_timeout(&flight.addr, Duration::from_secs(1)).err()
    })
    .await;
    flight.release.send_replace(true);
    flight.caller.await.unwrap().unwrap();
    caller.write("localhost\r\n\r\n").await;
    let head = caller.head().await.unwrap();
    assert_eq!((head.status, head.header("Connection")), (200, Some("close")));
    assert_eq!(flight.child.code().await, 0);
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_is_cut_off() {
    let mut flight = in_flight("400ms").await;
    let begun = Instant::now();
    flight.child.signal("TERM");
    assert_eq!(flight.child.code().await, 0, "cut off or not, it was asked to stop");
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    flight.caller.await.unwrap().expect_err("no answer");
    assert!(
        flight.child.stderr().contains("did not finish within shutdown_grace"),
        "{}",
        flight.child.stderr()
    );
    let line: serde_json::Value =
        serde_json::from_str(&flight.child.line("/cgi-bin/user/get").await).expect("it has its access line");
    assert!(line["upstream_ms"].as_f64().unwrap() >= 300.0, "{line}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("INT", "INT")] {
        let mut flight = in_flight("30s").await;
        flight.child.signal(first);
        flight.child.line("stopping: no more connections").await;
        let begun = Instant::now();
        flight.child.signal(second);
        // Not a clean stop: a request was cut off.
        assert_eq!(flight.child.code().await, 1, "{first} {second}");
        assert!(begun.elapsed() < PROMPT, "{first} {second}: {:?}", begun.elapsed());
        flight.caller.await.unwrap().expect_err("no answer");
    }
}

/// A load balancer needs some seconds to look away.
#[tokio::test]
async fn shutdown_delay_goes_on_accepting_before_it_drains() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { top: "shutdown_delay = \"5s\"".to_owned(), ..Settings::default() };
    let (mut child, addr) = started(dir.path(), &fake.url(), &settings).await;
    let begun = Instant::now();
    child.signal("TERM");
    child.line("callers are still accepted").await;
    let call = request("GET", "/cgi-bin/user/get", &[], b"");
    assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().status, 200);
    assert_eq!(child.code().await, 0);
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    // A second signal does not wait for it.
    let settings = Settings { top: "shutdown_delay = \"60s\"".to_owned(), ..Settings::default() };
    let (mut child, _) = started(dir.path(), &fake.url(), &settings).await;
    child.signal("TERM");
    child.line("callers are still accepted").await;
    child.signal("TERM");
    assert_eq!(child.code().await, 1);
}
