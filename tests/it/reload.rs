//! Reading the configuration again: what changes, what stays, and that nobody is cut off.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::child::{Child, wxgate};
use crate::support::fake::{Fake, Reply, TOKEN};
use crate::support::gate::{APPID, Gate, SECRET, Settings, note_credential};
use crate::support::https::{Connection, request};
use crate::support::until::{until, until_async};
use crate::support::wechat::WeChat;

async fn ok() -> Fake {
    Fake::answering(|_| Reply::json(r#"{"errcode":0}"#)).await
}

#[tokio::test]
async fn rules_change_for_the_next_request_of_an_open_connection() {
    let fake = ok().await;
    let gate = Gate::before(&fake.url()).await;
    let mut caller = Connection::plain(gate.addr).await;
    let call = request("GET", "/datacube/x", &[], b"");
    assert_eq!(caller.send(&call).await.unwrap().status, 404);
    let wider =
        Settings { account: "paths = [\"/cgi-bin/\", \"/datacube/\"]".to_owned(), ..Settings::default() };
    gate.reload(&fake.url(), &wider).await;
    until_async("the workers have the new rules", async || caller.send(&call).await.unwrap().status == 200)
        .await;
    let closed = Settings { tables: "[[caller]]\nname = \"a\"\nkey = \"k-e-y-1\"\n".to_owned(), ..wider };
    gate.reload(&fake.url(), &closed).await;
    until_async("the workers know the callers", async || caller.send(&call).await.unwrap().status == 403)
        .await;
}

#[tokio::test]
async fn an_unchanged_account_keeps_its_token_and_a_new_one_gets_its_own() {
    let wechat =
        WeChat::with(&["--appid", APPID, "--secret", SECRET, "--appid", "wx2", "--secret", "s3cret-of-wx2"])
            .await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    let two = Settings {
        tables:
            "[[account]]\nname = \"two\"\nappid = \"wx2\"\nsecret = \"s3cret-of-wx2\"\nprefix = \"/two\"\n"
                .to_owned(),
        ..Settings::default()
    };
    gate.reload(&wechat.url, &two).await;
    until_async("the second account answers", async || {
        let response = gate.get("/two/cgi-bin/user/get").await;
        response.status == 200 && response.errcode() == 0
    })
    .await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(wechat.handle.stats().fetches.token, 2);
    // Gone again: its prefix leads nowhere, and the first account still has its first token.
    gate.reload(&wechat.url, &Settings::default()).await;
    until_async("the second account is gone", async || gate.get("/two/cgi-bin/user/get").await.status == 404)
        .await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(wechat.handle.stats().fetches.token, 2);
}

#[tokio::test]
async fn an_account_with_another_secret_goes_on_with_its_stored_token() {
    let fake = ok().await;
    let gate = Gate::before(&fake.url()).await;
    assert_eq!(gate.get("/cgi-bin/x").await.status, 200);
    let stable = Settings { account: "refresh_on = [40001]".to_owned(), ..Settings::default() };
    // The name of the account is part of its task: this starts the task anew, in place.
    gate.reload(&fake.url(), &Settings { upstream: "response_timeout = \"7s\"".to_owned(), ..stable }).await;
    until_async("calls go on", async || gate.get("/cgi-bin/x").await.status == 200).await;
    assert_eq!(fake.fetches(), 1);
    assert!(fake.seen().iter().all(|seen| seen.head.contains(TOKEN)));
}

#[tokio::test]
async fn a_reload_that_fails_leaves_every_account_its_task() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    let nowhere = std::path::Path::new("/proc/wxgate");
    let refused = gate.reload_with_state(&wechat.url, &Settings::default(), nowhere).await;
    assert!(refused.unwrap_err().contains("state_dir"));
    // Its task still fetches.
    wechat.handle.expire_token();
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(wechat.handle.stats().fetches.token, 2);
    // And it can move: its token goes along, and nothing is fetched for that.
    let elsewhere = TempDir::new().unwrap();
    let moved = gate.reload_with_state(&wechat.url, &Settings::default(), elsewhere.path()).await;
    assert_eq!(moved, Ok(vec![]));
    until_async("it serves from there", async || {
        elsewhere.path().join(format!("{APPID}.json")).exists()
            && gate.get("/cgi-bin/user/get").await.errcode() == 0
    })
    .await;
    assert_eq!(wechat.handle.stats().fetches.token, 2);
}

#[tokio::test]
async fn a_request_in_flight_finishes_with_the_configuration_it_began_with() {
    let (release, released) = tokio::sync::watch::channel(false);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow".to_vec();
    let slow = Fake::answering(move |_| Reply::Held(released.clone(), answer.clone())).await;
    let fake = ok().await;
    let gate = Gate::before(&slow.url()).await;
    let addr = gate.addr;
    let waiting = tokio::spawn(async move {
        let mut caller = Connection::plain(addr).await;
        caller.send(&request("GET", "/cgi-bin/slow", &[], b"")).await.unwrap().body
    });
    until("the call is under way", || !slow.seen().is_empty()).await;
    gate.reload(&fake.url(), &Settings::default()).await;
    until_async("new calls go to the new upstream", async || {
        tokio::time::timeout(Duration::from_secs(2), gate.get("/cgi-bin/x"))
            .await
            .is_ok_and(|r| r.status == 200)
    })
    .await;
    assert!(!waiting.is_finished());
    release.send(true).unwrap();
    assert_eq!(waiting.await.unwrap(), b"slow");
}

/// The old sockets stay until a restart: new rules that would leave them to everyone are not taken over.
#[tokio::test]
async fn a_reload_never_opens_a_listener_to_everyone() {
    let fake = ok().await;
    let closed = Settings {
        top: "listen = [\"0.0.0.0:0\"]".to_owned(),
        tables: "[[caller]]\nname = \"a\"\nkey = \"k-e-y-2\"\n".to_owned(),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), closed).await;
    let call = request("GET", "/cgi-bin/x", &[], b"");
    let addr = ([127, 0, 0, 1], gate.addr.port()).into();
    let status = async || Connection::plain(addr).await.send(&call).await.unwrap().status;
    assert_eq!(status().await, 403);
    // By the file alone all is well: it listens on loopback.
    let wider = "paths = [\"/cgi-bin/\", \"/datacube/\"]".to_owned();
    gate.reload(&fake.url(), &Settings { account: wider, ..Settings::default() }).await;
    assert_eq!(status().await, 403);
    assert_eq!(fake.seen().len(), 0);
    // Said on purpose, it is done.
    let open = Settings { top: "open_to_everyone = true".to_owned(), ..Settings::default() };
    gate.reload(&fake.url(), &open).await;
    until_async("the workers are open", async || status().await == 200).await;
}

#[tokio::test]
async fn a_reload_never_opens_the_admin_listener_to_everyone() {
    let fake = ok().await;
    let admin = |listen: &str, key: &str| Settings {
        tables: format!("[admin]\nlisten = \"{listen}\"\n{key}"),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), admin("0.0.0.0:0", "key = \"k-e-y-3\"")).await;
    let call = request("GET", "/status", &[], b"");
    let addr = ([127, 0, 0, 1], gate.admin_addr.unwrap().port()).into();
    let status = async || Connection::plain(addr).await.send(&call).await.unwrap().status;
    assert_eq!(status().await, 401);
    // By the file alone all is well: it listens on loopback.
    gate.reload(&fake.url(), &admin("127.0.0.1:0", "")).await;
    assert_eq!(status().await, 401);
}

/// The real binary, told by the real signal.
#[tokio::test]
async fn sighup_reads_the_file_again_and_a_wrong_one_changes_nothing() {
    let fake = ok().await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("wxgate.toml");
    let write = |more: &str| {
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nstate_dir = \"state\"\nlog_format = \"text\"\n[upstream]\nurl = {:?}\n\
             [[account]]\nappid = \"{APPID}\"\nsecret = \"{SECRET}\"\n{more}\n",
            fake.url()
        );
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let mut child =
        Child::start(wxgate(dir.path(), &["serve", "--config", "wxgate.toml"]).env("HOME", dir.path()));
    let addr = child.addr().await;
    let mut caller = Connection::plain(addr).await;
    let call = request("GET", "/datacube/x", &[], b"");
    assert_eq!(caller.send(&call).await.unwrap().status, 404);

    write("paths = 7\npats = []");
    child.signal("HUP");
    child.line("going on with the old one").await;
    assert!(child.stderr().contains("paths"));
    assert_eq!(caller.send(&call).await.unwrap().status, 404);

    write("paths = [\"/datacube/\"]");
    child.signal("HUP");
    child.line("has been read again").await;
    until_async("the new rules", async || caller.send(&call).await.unwrap().status == 200).await;
    // The port that the system chose has stayed, for new callers too.
    assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().status, 200);
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
}

/// A FIFO blocks whoever opens it. Whatever file becomes one, signals and calls go on, and the start is refused.
#[tokio::test]
async fn a_file_that_becomes_a_fifo_is_an_error_and_holds_nothing_up() {
    let fake = ok().await;
    let dir = TempDir::new().unwrap();
    let certs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let files = ["wxgate.toml", "appsecret", "caller.key", "server.pem", "server.key", "ca.pem"];
    let write = |name: &str| {
        let path = dir.path().join(name);
        let _ = std::fs::remove_file(&path);
        match name {
            "appsecret" => std::fs::write(path, SECRET).unwrap(),
            "caller.key" => std::fs::write(path, "k-e-y-7").unwrap(),
            "wxgate.toml" => {
                let text = format!(
                    "listen = [\"127.0.0.1:0\"]\nstate_dir = \"state\"\nlog_format = \"text\"\n[upstream]\nurl = {:?}\n\
                     ca = \"ca.pem\"\n[tls]\nlisten = [\"127.0.0.1:0\"]\ncert = \"server.pem\"\nkey = \"server.key\"\n\
                     client_ca = \"ca.pem\"\n[[account]]\nappid = \"{APPID}\"\nsecret = {{ file = \"appsecret\" }}\n\
                     [[caller]]\nname = \"a\"\nkey = {{ file = \"caller.key\" }}\n",
                    fake.url()
                );
                std::fs::write(path, text).unwrap();
            }
            name => drop(std::fs::copy(certs.join(name), path).unwrap()),
        }
    };
    files.iter().for_each(|name| write(name));
    note_credential("k-e-y-7");
    let command = || {
        let mut command = wxgate(dir.path(), &["serve", "--config", "wxgate.toml"]);
        command.env("HOME", dir.path());
        command
    };
    let mut child = Child::start(&mut command());
    let mut caller = Connection::plain(child.addr().await).await;
    let call = request("GET", "/cgi-bin/x", &["X-Wxgate-Key: k-e-y-7"], b"");
    for (n, name) in files.into_iter().enumerate() {
        let path = dir.path().join(name);
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        child.signal("HUP");
        until("the new configuration is refused", || {
            child.stderr().matches("going on with the old one").count() == n + 1
        })
        .await;
        assert!(child.stderr().matches("a FIFO").count() > n, "{name}: {}", child.stderr());
        assert_eq!(caller.send(&call).await.unwrap().status, 200, "{name}");
        let ended = crate::support::child::run(&mut command()).await;
        assert_eq!(ended.code, Some(2), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("a FIFO"), "{name}: {}", ended.stderr);
        write(name);
    }
    child.signal("HUP");
    child.line("has been read again").await;
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
}

#[tokio::test]
async fn with_watch_a_changed_file_is_in_use_within_seconds_and_a_wrong_one_is_said_once() {
    let fake = ok().await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("wxgate.toml");
    let write = |more: &str| {
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nstate_dir = \"state\"\nlog_format = \"text\"\nwatch = true\n[upstream]\n\
             url = {:?}\n[[account]]\nappid = \"{APPID}\"\nsecret = \"{SECRET}\"\n{more}\n",
            fake.url()
        );
        std::fs::write(&file, text).unwrap();
    };
    write("");
    let mut child =
        Child::start(wxgate(dir.path(), &["serve", "--config", "wxgate.toml"]).env("HOME", dir.path()));
    let mut caller = Connection::plain(child.addr().await).await;
    let call = request("GET", "/datacube/x", &[], b"");
    assert_eq!(caller.send(&call).await.unwrap().status, 404);
    write("paths = [\"/datacube/\"]");
    until_async("the new rules", async || caller.send(&call).await.unwrap().status == 200).await;
    write("pats = 7");
    child.line("going on with the old one").await;
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    assert_eq!(child.stderr().matches("a file of the configuration has changed").count(), 2);
}
