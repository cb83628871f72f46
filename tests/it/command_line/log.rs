//! The log of the real binary: every line at the end, soon where there are few, and no request that waits for a
//! reader.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::started;
use crate::support::child::{Child, serve};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::Settings;
use crate::support::https::{Connection, request};
use crate::support::until::until_some;

#[tokio::test]
async fn a_clean_stop_loses_no_line_and_tears_none() {
    const CONNECTIONS: usize = 4;
    const REQUESTS: usize = 250;
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    for format in ["json", "text"] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { top: format!("log_format = \"{format}\""), ..Settings::default() };
        let (mut child, addr) = started(dir.path(), &fake.url(), &settings).await;
        let callers = (0..CONNECTIONS).map(|caller| {
            tokio::spawn(async move {
                let mut connection = Connection::plain(addr).await;
                for number in 0..REQUESTS {
                    let target = format!("/cgi-bin/{caller}/{number}");
                    let answer = connection.send(&request("GET", &target, &[], b"")).await.unwrap();
                    assert_eq!(answer.text(), "{}");
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        child.signal("TERM");
        assert_eq!(child.code().await, 0);
        let log = child.stderr();
        let access: Vec<&str> = log.lines().filter(|line| line.contains("wxgate::access")).collect();
        assert_eq!(access.len(), CONNECTIONS * REQUESTS, "{format}");
        for caller in 0..CONNECTIONS {
            // Those of one connection come in the order of its requests.
            let mine: Vec<_> =
                access.iter().filter(|line| line.contains(&format!("/cgi-bin/{caller}/"))).collect();
            for (number, line) in mine.iter().enumerate() {
                let path = format!("/cgi-bin/{caller}/{number}");
                match format {
                    "json" => assert_eq!(serde_json::from_str::<Value>(line).unwrap()["path"], *path),
                    _ => {
                        assert!(line.starts_with("20") && line.contains(&format!(" path={path} status=200 ")))
                    }
                }
            }
        }
        let last = log.lines().last().unwrap();
        assert!(log.contains("stopping: no more connections"), "{format}: {last}");
    }
}

#[tokio::test]
async fn an_access_line_has_the_keys_of_its_request_and_no_others() {
    let fake = Fake::answering(|seen| match seen.line().contains("/fails") {
        true => Reply::json(
            r#"{"errcode":45009,"errmsg":"reach max api daily quota limit rid: 6aac0064-355b48ab-4c5b487e"}"#,
        ),
        false => Reply::json("{}"),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (mut child, addr) = started(dir.path(), &fake.url(), &Settings::default()).await;
    let mut caller = Connection::plain(addr).await;
    for (target, fields) in [
        ("/cgi-bin/works?q=not-to-be-logged", &[][..]),
        (
            "/cgi-bin/fails",
            &[
                "X-Request-Id: order:7/a_b+c=-.",
                "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ],
        ),
        ("/cgi-bin/token", &["X-Request-Id: not {well} formed", "traceparent: 00-0-0-01"]),
        ("/cgi-bin/%20", &["X-Request-Id: 1"]),
    ] {
        caller.send(&request("GET", target, fields, b"")).await.unwrap();
    }
    let odd = request("POST", "/cgi-bin/x?not-to-be-logged with a space", &[], b"");
    Connection::plain(addr).await.send(&odd).await.unwrap();
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    let log = child.stderr();
    assert!(!log.contains("not-to-be-logged") && !log.contains("{well}"));
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("wxgate::access"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let common = [
        "account",
        "attempts",
        "bytes",
        "caller",
        "level",
        "method",
        "ms",
        "path",
        "peer",
        "status",
        "target",
        "timestamp",
    ];
    for (line, further) in lines.iter().zip([
        &["upstream_ms"][..],
        &["errcode", "request_id", "rid", "trace_id", "upstream_ms"],
        &[],
        &["errcode", "error", "request_id"],
        &["errcode", "error"],
    ]) {
        let mut right: Vec<_> = common.iter().chain(further).map(ToString::to_string).collect();
        right.sort();
        assert_eq!(keys(line), right, "{line}");
    }
    assert_eq!(lines[1]["rid"], "6aac0064-355b48ab-4c5b487e");
    assert_eq!(lines[1]["request_id"], "order:7/a_b+c=-.");
    assert_eq!(lines[1]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let (all, upstream) = (lines[1]["ms"].as_f64().unwrap(), lines[1]["upstream_ms"].as_f64().unwrap());
    assert!(0.0 < upstream && upstream <= all, "{all} {upstream}");
    assert_eq!((&lines[3]["error"], &lines[3]["path"]), (&"bad-request".into(), &"/cgi-bin/%20".into()));
    assert_eq!(
        (&lines[4]["method"], &lines[4]["path"]),
        (&"-".into(), &"-".into()),
        "nothing is known of it"
    );
}

#[tokio::test]
async fn ecs_has_the_same_in_the_names_of_the_schema() {
    let fake = Fake::answering(|_| Reply::json(r#"{"errcode":45009,"errmsg":"limit rid: 6aac-35"}"#)).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { top: "log_format = \"ecs\"".to_owned(), ..Settings::default() };
    let (mut child, addr) = started(dir.path(), &fake.url(), &settings).await;
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let call = request("POST", "/cgi-bin/fails?q=not-to-be-logged", &["X-Request-Id: order-7", trace], b"{}");
    let answer = Connection::plain(addr).await.send(&call).await.unwrap();
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    let lines: Vec<Value> = child.stderr().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        for key in ["@timestamp", "log.level", "message", "log.logger", "ecs.version", "service.name"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
        assert!(humantime::parse_rfc3339(line["@timestamp"].as_str().unwrap()).is_ok());
    }
    let access = lines.iter().find(|line| line["log.logger"] == "wxgate::access").unwrap();
    for (key, right) in [
        ("log.level", "info".into()),
        ("client.user.name", "127.0.0.1".into()),
        ("client.ip", "127.0.0.1".into()),
        ("wxgate.account", "main".into()),
        ("http.request.method", "POST".into()),
        ("url.path", "/cgi-bin/fails".into()),
        ("http.response.status_code", 200.into()),
        ("error.code", "45009".into()),
        ("wxgate.rid", "6aac-35".into()),
        ("http.response.body.bytes", answer.body.len().into()),
        ("wxgate.attempts", Value::from(1)),
        ("http.request.id", "order-7".into()),
        ("trace.id", "4bf92f3577b34da6a3ce929d0e0e4736".into()),
    ] {
        assert_eq!(access[key], right, "{key}: {access}");
    }
    let [all, upstream] =
        ["event.duration", "wxgate.upstream.duration"].map(|key| access[key].as_u64().unwrap());
    assert!(10_000 < upstream && upstream <= all, "nanoseconds: {all} {upstream}");
    assert!(!child.stderr().contains("not-to-be-logged"));
}

#[tokio::test]
async fn signals_raise_the_level_and_reset_it() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let settings =
        Settings { tables: "[admin]\nlisten = \"unix:admin.sock\"\n".to_owned(), ..Settings::default() };
    let mut child = Child::start(serve(dir.path(), &fake.url(), &settings).env("WXGATE_LOG", "warn"));
    // Where it listens is said at every level.
    let port = child.addr().await;
    child.line("(admin)").await;
    let call = async |path: &str| {
        Connection::plain(port).await.send(&request("GET", path, &["Connection: close"], b"")).await.unwrap()
    };
    call("/cgi-bin/before").await;
    child.signal("USR1");
    assert!(child.line("SIGUSR1").await.contains("the level of the log is INFO for 5m"));
    call("/cgi-bin/raised").await;
    child.signal("USR1");
    child.line("the level of the log is DEBUG for 5m").await;
    child.signal("USR2");
    child.line("SIGUSR2: the level of the log is WARN again").await;
    call("/cgi-bin/after").await;
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    let log = child.stderr();
    assert!(log.contains("/cgi-bin/raised"), "{log}");
    assert!(!log.contains("/cgi-bin/before") && !log.contains("/cgi-bin/after"), "{log}");
}

#[tokio::test]
async fn a_line_that_is_repeated_is_left_out_after_sixty_in_a_minute() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let settings =
        Settings { tables: "[admin]\nlisten = \"unix:admin.sock\"\n".to_owned(), ..Settings::default() };
    let (mut child, _) = started(dir.path(), &fake.url(), &settings).await;
    std::fs::write(dir.path().join("gate.toml"), "lisen = []\n").unwrap();
    let path = dir.path().join("admin.sock");
    for _ in 0..70 {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let post = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, post).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    let log = child.stderr();
    assert_eq!(log.matches("the new configuration is wrong; going on").count(), 60);
    assert_eq!(log.matches("a line was repeated more than 60 times within a minute").count(), 2, "{log}");
}

#[tokio::test]
async fn a_reader_that_stopped_holds_no_request_and_learns_what_it_missed() {
    /// More than may wait (16 MiB), twice, since as much may be in the middle of being written.
    const LOGGED: usize = 34 << 20;
    const CONNECTIONS: usize = 4;
    // In none of the account's `paths`: a line that long, and no call.
    let path = format!("/{}", "x".repeat(30_000));
    let each = LOGGED / path.len() / CONNECTIONS;
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let mut command = serve(dir.path(), &fake.url(), &Settings::default());
    let mut process = command.env("WXGATE_LOG", "info").stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listening = log.find(|line| line.contains("(callers)")).unwrap();
    let (_, rest) = listening.split_once("listening on http://").unwrap();
    let addr = rest.split_once(' ').unwrap().0.parse().unwrap();
    let callers = (0..CONNECTIONS).map(|_| {
        let call = request("GET", &path, &[], b"");
        tokio::spawn(async move {
            let mut connection = Connection::plain(addr).await;
            for _ in 0..each {
                assert_eq!(connection.send(&call).await.unwrap().status, 404);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }

    let mut seen = 0;
    let lost = log.find_map(|line| {
        let line: Value = serde_json::from_str(&line).expect("a whole line");
        seen += usize::from(line["target"] == "wxgate::access");
        line["message"].as_str().is_some_and(|words| words.contains("were lost")).then_some(line)
    });
    let lost = lost.expect("the loss is said");
    assert_eq!(lost["level"], "WARN");
    assert_eq!(seen + lost["lines"].as_u64().unwrap() as usize, CONNECTIONS * each, "{lost}");
    assert!(seen > 500, "{seen} of {LOGGED} bytes");

    let stopped = std::process::Command::new("kill").arg(process.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert!(log.any(|line| line.contains("stopping: no more connections")));
    let status = until_some("the end", || process.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}
