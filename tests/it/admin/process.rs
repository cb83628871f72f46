//! The admin listener of the real binary: on a unix socket, while it drains, and as `wxgate health` asks it.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::support::KEY;
use crate::support::child::{Child, Ended, run, serve, wxgate};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Settings, note_credential};
use crate::support::https::{Connection, request};
use crate::support::port::port;
use crate::support::until::{until, until_async};

/// The status and the text of one answer to a `GET`.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, target: &str) -> (u16, String) {
    let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

/// `wxgate health` with the configuration that a child runs by.
async fn health(dir: &Path) -> Ended {
    run(&mut wxgate(dir, &["health", "--config", "gate.toml"])).await
}

fn with_admin(lines: &str) -> Settings {
    Settings { tables: format!("[admin]\n{lines}\n"), ..Settings::default() }
}

#[tokio::test]
async fn a_unix_socket_is_for_owner_and_group_and_gone_at_the_end() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    // A relative path is relative to the file.
    let settings = with_admin("listen = \"unix:admin.sock\"");
    let path = dir.path().join("admin.sock");
    let mut first = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
    assert!(first.line("(admin)").await.contains(&format!("listening on unix:{}", path.display())));
    let meta = std::fs::symlink_metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o7777, 0o660);
    first.line("(callers)").await;
    until_async("it is ready", async || {
        get(UnixStream::connect(&path).await.unwrap(), "/readyz").await.0 == 200
    })
    .await;
    let (status, text) = get(UnixStream::connect(&path).await.unwrap(), "/status").await;
    assert!(status == 200 && text.contains("\"ready\":true"), "{text}");
    let asked = health(dir.path()).await;
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "ready\n"), "{}", asked.stderr);
    // What a killed process left behind is no obstacle.
    first.signal("KILL");
    first.ended().await;
    assert!(path.exists());
    let asked = health(dir.path()).await;
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), ""));
    assert!(asked.stderr.contains("nobody answers at unix:"), "{}", asked.stderr);
    let mut second = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
    second.line("(callers)").await;
    assert_eq!(get(UnixStream::connect(&path).await.unwrap(), "/livez").await.0, 200);
    second.signal("TERM");
    assert_eq!(second.code().await, 0);
    assert!(!path.exists(), "the file is removed at the end");
}

#[tokio::test]
async fn from_the_first_moment_of_a_stop_it_is_not_ready_and_admin_answers_to_the_end() {
    let (release, released) = watch::channel(false);
    let late = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    let fake = Fake::answering(move |_| Reply::Held(released.clone(), late.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = with_admin("listen = \"127.0.0.1:0\"");
    settings.top = "shutdown_delay = \"3s\"".to_owned();
    let mut child = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
    let (admin, callers) = (child.admin_addr().await, child.addr().await);
    let ask = async |target: &str| get(TcpStream::connect(admin).await.unwrap(), target).await;
    until_async("it is ready", async || ask("/readyz").await.0 == 200).await;
    let call = request("GET", "/cgi-bin/user/get", &[], b"");
    let in_flight = tokio::spawn({
        let call = call.clone();
        async move { Connection::plain(callers).await.send(&call).await }
    });
    until("the call is with the upstream", || fake.calls() == 1).await;

    child.signal("TERM");
    child.line("callers are still accepted").await;
    let (status, text) = ask("/readyz").await;
    assert!(status == 503 && text.contains("\"ready\":false"), "{text}");
    assert!(TcpStream::connect(callers).await.is_ok(), "shutdown_delay still accepts");
    child.line("no more connections").await;
    until_async("callers are accepted no more", async || TcpStream::connect(callers).await.is_err()).await;
    // Draining, with a call in flight: probes and metrics are answered all the same.
    for (target, right) in
        [("/readyz", 503), ("/readyz?account=main", 503), ("/livez", 200), ("/metrics", 200)]
    {
        assert_eq!(ask(target).await.0, right, "{target}");
    }
    release.send_replace(true);
    assert_eq!(in_flight.await.unwrap().unwrap().text(), "{}");
    assert_eq!(child.code().await, 0);
    assert!(TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn health_says_why_wxgate_is_not_ready_or_cannot_be_asked() {
    note_credential(KEY);
    let dir = tempfile::tempdir().unwrap();
    let refused = Fake::scripted(|_| Reply::errcode(40125), |_| Reply::json("{}")).await;
    // One that the file can name: health reads no log.
    let port = port();
    std::fs::write(dir.path().join("admin.key"), KEY).unwrap();
    let settings = with_admin(&format!("listen = \"0.0.0.0:{port}\"\nkey = {{ file = \"admin.key\" }}"));
    let child = Child::start(&mut serve(dir.path(), &refused.url(), &settings));
    child.line("(callers)").await;
    child.line("40125").await;
    let asked = health(dir.path()).await;
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(1), ""), "{}", asked.stderr);
    assert!(asked.stderr.contains("not ready: account `main` is refused: 40125"), "{}", asked.stderr);
    assert!(!asked.stderr.contains(KEY));
    drop(child);
    for (tables, code, words) in [
        ("", 1, "no [admin]"),
        ("[admin]\nlisten = \"127.0.0.1:0\"\n", 1, "port 0"),
        ("[admin]\nlisten = \"unix:nowhere.sock\"\n", 1, "nobody answers at unix:"),
        ("[admin]\nlistne = \"127.0.0.1:0\"\n", 2, "listne"),
    ] {
        let settings = Settings { tables: tables.to_owned(), ..Settings::default() };
        // Writes the file; is not started.
        let _ = serve(dir.path(), &refused.url(), &settings);
        let asked = health(dir.path()).await;
        assert_eq!(asked.code, Some(code), "{tables}: {}", asked.stderr);
        assert!(asked.stderr.contains(words) && asked.stdout.is_empty(), "{tables}: {}", asked.stderr);
    }
}

#[tokio::test]
async fn health_needs_nothing_of_the_configuration_but_where_to_ask() {
    note_credential(KEY);
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("admin.key"), KEY).unwrap();
    let settings = with_admin("listen = \"unix:admin.sock\"\nkey = { file = \"admin.key\" }");
    let mut child = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
    child.line("(callers)").await;
    until_async("it is ready", async || health(dir.path()).await.code == Some(0)).await;
    let file = dir.path().join("gate.toml");
    let right = std::fs::read_to_string(&file).unwrap();
    for wrong in [
        right.replace("[[account]]", "[[account]]\ntypo = 1"),
        right.replace("[[account]]", "[[account]]\nsecret = { credential = \"of-the-unit\" }\n[[account]]"),
        right.replace("{ file = \"admin.key\" }", "{ credential = \"of-the-unit\" }"),
        right.replace("admin.key", "moved.key"),
        // Its key is another one as of the next reload.
        right.replace("{ file = \"admin.key\" }", "\"another-key-of-this-test\""),
    ] {
        std::fs::write(&file, &wrong).unwrap();
        let asked = health(dir.path()).await;
        assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "ready\n"), "{wrong}: {}", asked.stderr);
    }
    std::fs::write(&file, "no TOML").unwrap();
    let asked = health(dir.path()).await;
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
    assert!(asked.stderr.contains("gate.toml:1:"), "{}", asked.stderr);
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
}

#[tokio::test]
async fn whether_the_last_reload_worked_is_told_however_it_was_asked_for() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gate.toml");
    let mut settings = with_admin("listen = \"unix:admin.sock\"");
    settings.top = "watch = true".to_owned();
    let mut child = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
    child.line("(callers)").await;
    let right = std::fs::read_to_string(&file).unwrap();
    let path = dir.path().join("admin.sock");
    let ask = async |target: &str| get(UnixStream::connect(&path).await.unwrap(), target).await.1;
    let told = async |ok: bool| {
        let metric = format!("wxgate_config_last_reload_successful {}\n", u8::from(ok));
        until_async("the outcome is told", async || {
            ask("/status").await.contains(&format!("\"ok\":{ok}")) && ask("/metrics").await.contains(&metric)
        })
        .await;
    };
    told(true).await;
    let wrong = format!("lisen = []\n{right}");
    for how in ["HUP", "POST", "watch"] {
        std::fs::write(&file, &wrong).unwrap();
        match how {
            "HUP" => child.signal("HUP"),
            "POST" => assert!(post(&path, "/reload").await.starts_with("HTTP/1.1 400 "), "{how}"),
            _ => {}
        }
        told(false).await;
        let status = ask("/status").await;
        assert!(status.contains("gate.toml:1: lisen"), "{how}: {status}");
        std::fs::write(&file, &right).unwrap();
        match how {
            "HUP" => child.signal("HUP"),
            "POST" => assert!(post(&path, "/reload").await.starts_with("HTTP/1.1 200 "), "{how}"),
            _ => {}
        }
        told(true).await;
        assert!(ask("/status").await.contains("\"errors\":[]"), "{how}");
    }
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
}

#[tokio::test]
async fn a_reload_tells_what_is_in_force_and_what_takes_a_restart() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gate.toml");
    let settings = with_admin("listen = \"unix:admin.sock\"");
    let child = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
    child.line("(callers)").await;
    let first = std::fs::read_to_string(&file).unwrap();
    let second = format!("shutdown_grace = \"7s\"\n{}", first.replace("unix:admin.sock", "unix:other.sock"));
    let path = dir.path().join("admin.sock");
    let grace = |shown: &str| shown.contains("\"7s\"");
    for (text, changed, needs_restart) in [
        (&second, "[\"shutdown_grace\"]", "[\"admin.listen\"]"),
        (&second, "[]", "[\"admin.listen\"]"),
        (&first, "[\"shutdown_grace\"]", "[]"),
    ] {
        std::fs::write(&file, text).unwrap();
        let answer = post(&path, "/reload").await;
        let right = format!("{{\"changed\":{changed},\"needs_restart\":{needs_restart}}}");
        assert!(answer.trim_end().ends_with(&right), "{answer}");
        let (_, shown) = get(UnixStream::connect(&path).await.unwrap(), "/config").await;
        assert!(shown.contains("unix:admin.sock") && !shown.contains("other.sock"), "{shown}");
        assert_eq!(grace(&shown), text == &second, "{shown}");
    }
}

async fn post(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_reload_says_that_credentials_of_systemd_stay_as_they_were() {
    note_credential(KEY);
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("adminkey"), KEY).unwrap();
    let settings = with_admin("listen = \"unix:admin.sock\"\nkey = { credential = \"adminkey\" }");
    let mut child =
        Child::start(serve(dir.path(), &fake.url(), &settings).env("CREDENTIALS_DIRECTORY", dir.path()));
    child.line("(callers)").await;
    let words = "credentials of systemd stay as they were at the start of the unit";
    assert!(!child.stderr().contains(words));
    child.signal("HUP");
    let line = child.line(words).await;
    assert!(line.contains("WARN") && line.contains("admin.key"), "{line}");
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
}
