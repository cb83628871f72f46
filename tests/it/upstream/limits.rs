//! How many connections there may be to an API host, and what becomes of calls that find none.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::request::assert_refused;
use crate::support::child::{Child, serve};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::https::{Connection, request};
use crate::support::raw::Raw;
use crate::support::until::until;

const GET: &str = "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n";

fn limited(upstream: &str) -> Settings {
    Settings { upstream: format!("warm_connections = 0\n{upstream}"), ..Settings::default() }
}

#[tokio::test]
async fn calls_beyond_max_connections_wait_and_are_then_busy() {
    let (release, released) = watch::channel(false);
    let fake = Fake::answering(move |_| {
        let Reply::Bytes(bytes) = Reply::json("{}") else { unreachable!() };
        Reply::Held(released.clone(), bytes)
    })
    .await;
    let gate = Gate::with(&fake.url(), limited("max_connections = 3\nconnect_timeout = \"2s\"")).await;
    let mut held = Vec::new();
    for count in 1..=3 {
        let mut caller = Raw::to(gate.addr).await;
        caller.write(GET).await;
        until("the call arrives", || fake.calls() == count).await;
        held.push(caller);
    }
    let begun = Instant::now();
    let busy = gate.get("/cgi-bin/x").await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_refused(&busy, 503, -1, "busy", "the fourth");
    assert_eq!(fake.calls(), 3);
    // One that still waits gets the first connection that is free.
    let mut waiting = Raw::to(gate.addr).await;
    waiting.write(GET).await;
    tokio::task::yield_now().await;
    release.send_replace(true);
    for caller in held.iter_mut().chain([&mut waiting]) {
        assert_eq!(caller.answer(false).await.status, 200);
    }
}

#[tokio::test]
async fn an_idle_connection_of_one_worker_makes_room_for_another_worker() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let mut settings = limited("max_connections = 1");
    settings.top = "workers = 4".to_owned();
    let gate = Gate::with(&fake.url(), settings).await;
    let begun = Instant::now();
    // Each caller's connection is some worker's.
    for _ in 0..20 {
        assert_eq!(Raw::to(gate.addr).await.ask(GET).await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_files_for_another_connection_a_call_is_busy() {
    const CALLERS: usize = 30;
    let fake = Fake::answering(|_| Reply::Silence).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { top: "workers = 1".to_owned(), ..limited("") };
    let mut command = serve(dir.path(), &fake.url(), &settings);
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut limit = std::process::Command::new("sh");
    limit.current_dir(dir.path()).env_clear().env("WXGATE_LOG", "trace");
    limit.args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"]).arg(program).args(arguments);
    command = limit;
    let child = Child::start(&mut command);
    let addr = child.addr().await;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let mut caller = Raw::to(addr).await;
        caller.write(GET).await;
        callers.push(caller);
    }
    child.line("no connection to the upstream is free").await;
    let mut busy = 0;
    for caller in &mut callers {
        let answer = tokio::time::timeout(Duration::from_millis(300), caller.try_answer()).await;
        if let Ok(Ok(response)) = answer {
            assert_refused(&response, 503, -1, "busy", "no file left");
            busy += 1;
        }
    }
    assert!(busy > 0);
    // They are free again when their callers have left.
    drop(callers);
    let mut caller = Connection::plain(addr).await;
    assert_eq!(caller.send(&request("GET", "/cgi-bin/token", &[], b"")).await.unwrap().status, 200);
}

#[tokio::test]
async fn many_new_connections_to_a_name_take_one_lookup_and_leave_no_thread() {
    let (release, released) = watch::channel(false);
    let fake = Fake::answering(move |_| {
        let Reply::Bytes(bytes) = Reply::json("{}") else { unreachable!() };
        Reply::Held(released.clone(), bytes)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://localhost:{}", fake.addr.port());
    let child = Child::start(&mut serve(dir.path(), &url, &limited("")));
    let addr = child.addr().await;
    let threads = || std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().count();
    let mut callers = Vec::new();
    for _ in 0..100 {
        let mut caller = Raw::to(addr).await;
        caller.write(GET).await;
        callers.push(caller);
    }
    until("all calls arrive", || fake.calls() == 100).await;
    // Two workers, the control thread, the log, and what writes files beside it; none of them resolves names.
    assert!(threads() < 12, "{} threads", threads());
    release.send_replace(true);
    for caller in &mut callers {
        assert_eq!(caller.answer(false).await.status, 200);
    }
}
