//! What happens up to the first request, and what the log then says of it.

use std::net::TcpListener;

use serde_json::Value;

use super::started;
use crate::support::child::{Child, run, serve, wxgate};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{APPID, SECRET, Settings, configuration, note_credential};
use crate::support::https::{Connection, request};
use crate::support::wechat::WeChat;

#[tokio::test]
async fn it_says_the_real_port_in_both_log_formats_and_serves_there() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    for (format, line_begins) in [("text", "20"), ("json", "{"), ("auto", "{")] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { top: format!("log_format = \"{format}\""), ..Settings::default() };
        let (child, addr) = started(dir.path(), &fake.url(), &settings).await;
        assert_ne!(addr.port(), 0);
        let line = child.line("(callers)").await;
        assert!(line.starts_with(line_begins), "{format}: {line}");
        assert!(line.contains(&format!("listening on http://{addr} (callers)")), "{format}: {line}");
        // No colours where nobody looks.
        assert!(!line.contains('\u{1b}'), "{format}: {line}");
        let call = request("GET", "/cgi-bin/user/get", &[], b"");
        assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().text(), "{}");
    }
}

#[tokio::test]
async fn every_listener_gets_its_line() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let text = configuration(&fake.url(), &Settings::default(), &dir.path().join("state"));
    let two = text.replace("listen = [\"127.0.0.1:0\"]", "listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]");
    std::fs::write(dir.path().join("wxgate.toml"), two).unwrap();
    // A bare `wxgate` serves, with the file that lies there.
    let child = Child::start(&mut wxgate(dir.path(), &[]));
    for address in ["http://127.0.0.1:", "http://127.0.0.2:"] {
        child.line(&format!("listening on {address}")).await;
    }
}

#[tokio::test]
async fn the_environment_alone_is_enough() {
    let wechat = WeChat::with(&["--plain"]).await;
    let dir = tempfile::tempdir().unwrap();
    note_credential(SECRET);
    std::fs::write(dir.path().join("appsecret"), format!("{SECRET}\n")).unwrap();
    for (name, value) in [("WXGATE_SECRET", SECRET), ("WXGATE_SECRET_FILE", "appsecret")] {
        let mut command = wxgate(dir.path(), &[]);
        command
            .env("WXGATE_APPID", APPID)
            .env(name, value)
            .env("WXGATE_LISTEN", "127.0.0.1:0")
            .env("WXGATE_UPSTREAM", &wechat.url)
            .env("WXGATE_EGRESS_IP", "127.0.0.1")
            .env("HOME", dir.path());
        let mut child = Child::start(&mut command);
        let mut caller = Connection::plain(child.addr().await).await;
        let response = caller.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await.unwrap();
        assert_eq!(response.json()["total"], 3, "{name}");
        child.signal("TERM");
        assert_eq!(child.code().await, 0, "{name}");
    }
    assert!(dir.path().join(format!(".local/state/wxgate/{APPID}.json")).is_file());
}

#[tokio::test]
async fn a_port_that_is_taken_is_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let text = configuration("http://127.0.0.1:1", &Settings::default(), &dir.path().join("state"));
    std::fs::write(dir.path().join("wxgate.toml"), text.replace("127.0.0.1:0", &addr.to_string())).unwrap();
    let ended = run(&mut wxgate(dir.path(), &["serve"])).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("cannot listen on {addr}")), "{}", ended.stderr);
    assert!(!ended.stderr.contains("listening on"), "{}", ended.stderr);

    let listen = addr.to_string();
    let ended = run(&mut wxgate(dir.path(), &["sandbox", "--listen", &listen])).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(&listen), "{}", ended.stderr);
}

#[tokio::test]
async fn a_second_wxgate_does_not_share_the_port_of_the_first() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (_first, addr) = started(dirs[0].path(), &fake.url(), &Settings::default()).await;
    let text = configuration(&fake.url(), &Settings::default(), &dirs[1].path().join("state"));
    std::fs::write(dirs[1].path().join("wxgate.toml"), text.replace("127.0.0.1:0", &addr.to_string()))
        .unwrap();
    let ended = run(&mut wxgate(dirs[1].path(), &["serve"])).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_is_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    // Root may write anywhere; below a file nobody can.
    std::fs::write(dir.path().join("state"), "a file").unwrap();
    let text = configuration("http://127.0.0.1:1", &Settings::default(), &dir.path().join("state/below"));
    std::fs::write(dir.path().join("wxgate.toml"), text).unwrap();
    let ended = run(&mut wxgate(dir.path(), &["serve"])).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("state_dir") && ended.stderr.contains("state/below"), "{}", ended.stderr);
}

#[tokio::test]
async fn the_access_line_says_what_happened_and_never_the_query() {
    let wechat = WeChat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (mut child, addr) = started(dir.path(), &wechat.url, &Settings::default()).await;
    let mut caller = Connection::plain(addr).await;
    wechat.handle.expire_token();
    let query =
        "openid=oSandboxFollower000000000002&lang=only-in-the-query&access_token=a-stale-token-of-the-caller";
    note_credential("a-stale-token-of-the-caller");
    let call = request("GET", &format!("/cgi-bin/user/info?{query}"), &[], b"");
    let answer = caller.send(&call).await.unwrap();
    wechat.handle.expire_token();
    caller.send(&call).await.unwrap();
    caller.send(&request("POST", "/cgi-bin/menu/create?only-in-the-query", &[], b"")).await.unwrap();
    caller.send(&request("GET", "/elsewhere?only-in-the-query", &[], b"")).await.unwrap();
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    let lines: Vec<Value> = child.stderr().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let access: Vec<&Value> = lines.iter().filter(|line| line["target"] == "wxgate::access").collect();
    assert_eq!(access.len(), 4, "{access:?}");
    for line in &access {
        assert_eq!((&line["caller"], &line["level"]), (&"127.0.0.1".into(), &"INFO".into()));
        assert!(humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).is_ok(), "{line}");
        assert!(line["ms"].as_f64().unwrap() > 0.0, "{line}");
    }
    let facts = |line: &Value| {
        ["account", "method", "path", "status", "errcode", "attempts", "error"].map(|key| line[key].clone())
    };
    let right = |account: &str,
                 method: &str,
                 path: &str,
                 status: u64,
                 errcode: Value,
                 attempts: u64,
                 error: Value| {
        [account.into(), method.into(), path.into(), status.into(), errcode, attempts.into(), error]
    };
    let info = "/cgi-bin/user/info";
    assert_eq!(facts(access[1]), right("main", "GET", info, 200, Value::Null, 2, Value::Null));
    assert_eq!(access[0]["bytes"], answer.body.len());
    assert_eq!(
        facts(access[2]),
        right("main", "POST", "/cgi-bin/menu/create", 200, 44002.into(), 1, Value::Null)
    );
    assert_eq!(
        facts(access[3]),
        right("main", "GET", "/elsewhere", 404, 40066.into(), 0, "not-found".into())
    );
    assert!(!child.stderr().contains("only-in-the-query"), "{}", child.stderr());
}

#[tokio::test]
async fn access_log_false_leaves_no_line_of_a_request() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { top: "access_log = false".to_owned(), ..Settings::default() };
    let (mut child, addr) = started(dir.path(), &fake.url(), &settings).await;
    let mut caller = Connection::plain(addr).await;
    caller.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await.unwrap();
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    assert!(!child.stderr().contains("user/get"), "{}", child.stderr());
}

#[tokio::test]
async fn an_unknown_log_level_is_said_with_the_right_ones() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let child = Child::start(serve(dir.path(), &fake.url(), &Settings::default()).env("WXGATE_LOG", "loud"));
    let line = child.line("WXGATE_LOG").await;
    assert!(line.contains("error, warn, info, debug and trace") && !line.contains("loud"), "{line}");
    child.line("(callers)").await;
}

#[tokio::test]
async fn a_download_that_its_caller_left_says_so_and_a_whole_one_does_not() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 67108864\r\n\r\n".to_vec();
    let fake = Fake::answering(move |seen| match seen.line().contains("large") {
        true => Reply::Zeros(head.clone(), 64 << 20),
        false => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\nsmall".to_vec()),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (child, addr) = started(dir.path(), &fake.url(), &Settings::default()).await;
    let mut leaver = tokio::net::TcpStream::connect(addr).await.unwrap();
    let call = request("GET", "/cgi-bin/large", &[], b"");
    tokio::io::AsyncWriteExt::write_all(&mut leaver, &call).await.unwrap();
    let mut beginning = [0; 1000];
    tokio::io::AsyncReadExt::read_exact(&mut leaver, &mut beginning).await.unwrap();
    drop(leaver);
    let left: Value = serde_json::from_str(&child.line("/cgi-bin/large").await).unwrap();
    assert_eq!(left["error"], "the caller went away before the end of its answer");
    assert!(left["bytes"].as_u64().unwrap() < 64 << 20, "{left}");

    let mut stayer = Connection::plain(addr).await;
    let whole = stayer.send(&request("GET", "/cgi-bin/small", &["Connection: close"], b"")).await.unwrap();
    assert!(whole.text().contains("small"));
    let whole: Value = serde_json::from_str(&child.line("/cgi-bin/small").await).unwrap();
    assert_eq!((&whole["error"], whole["status"].as_u64()), (&Value::Null, Some(200)));
}
