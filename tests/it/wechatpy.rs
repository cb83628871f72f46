//! wechatpy, a client that knows nothing of wxgate: the programs of `examples/wechatpy`, unmodified.
//!
//! They need wechatpy, which `tests/run` installs for Python in the folder of its tools; without it these tests fail
//! and say so.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::support::gate::{Gate, Settings, note_credential};
use crate::support::tools::{file, python};
use crate::support::wechat::WeChat;

const KEY: &str = "k3y-of-the-python-app";

fn program(name: &str, wxgate: &Gate) -> Command {
    let mut command = Command::new(python());
    command.arg(file("examples/wechatpy").join(name));
    command.env("WXGATE", format!("http://{}", wxgate.addr)).env("NO_PROXY", "*").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const INSTALL: &str =
    "no Python with wechatpy: `tests/run` installs it, or WXGATE_TEST_PYTHON names one that has it";

async fn output(command: &mut Command) -> String {
    let ended = command.output().await.unwrap_or_else(|e| panic!("{e}: {INSTALL}"));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{stderr}\n{INSTALL}");
    String::from_utf8(ended.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wecom_application_notices_nothing_of_tokens_that_end_early() {
    let wechat = WeChat::with(&["--wecom"]).await;
    let settings = Settings { account: "kind = \"wecom\"".to_owned(), ..Settings::default() };
    let gate = Gate::with(&wechat.url, settings).await;
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.jpg");
    std::fs::write(&picture, (0..100_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>()).unwrap();
    let quiet = output(program("wecom.py", &gate).arg(&picture)).await;
    assert_eq!(quiet, "member: 张三\nmessage: ok\nupload: image\ndownload: the same bytes\nticket: yes\n");
    // Between any two calls the token ends, in one way or the other.
    let (handle, stop) =
        (wechat.handle.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = std::sync::Arc::clone(&stop);
    let thief = tokio::spawn(async move {
        let mut ended = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            if handle.stats().per_token.last().is_some_and(|token| token.state == "alive" && token.calls > 0)
            {
                if ended % 2 == 0 {
                    handle.expire_token()
                } else {
                    handle.steal_token()
                }
                ended += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ended
    });
    let disturbed = output(program("wecom.py", &gate).arg(&picture)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(thief.await.unwrap() >= 3);
    assert_eq!(disturbed, quiet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_takes_its_token_from_wxgate_and_another_one_when_that_is_refused() {
    note_credential(KEY);
    let wechat = WeChat::with(&["--plain"]).await;
    let tables = format!("[[caller]]\nname = \"python\"\nkey = \"{KEY}\"\nreal_token = true\n");
    let gate = Gate::with(&wechat.url, Settings { tables, ..Settings::default() }).await;
    let mut app = program("central.py", &gate);
    app.env("WECHAT_API", &wechat.url).env("WXGATE_KEY", KEY);
    let mut app = app.spawn().unwrap_or_else(|e| panic!("{e}: {INSTALL}"));
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines();
    let mut stdin = app.stdin.take().unwrap();
    for (call, fetches) in [("first", 1), ("second", 2), ("third", 3)] {
        let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("{INSTALL}"));
        assert_eq!(line, format!("{call} call: 3 followers"));
        assert_eq!(wechat.handle.stats().fetches.token, fetches, "{call}");
        wechat.handle.steal_token();
        stdin.write_all(b"\n").await.unwrap();
    }
    assert!(app.wait().await.unwrap().success());
}
