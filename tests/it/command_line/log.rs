//! The log of the real binary: every line at the end, soon where there are few, and no request that waits for a
//! reader.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::started;
use crate::support::child::serve;
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
