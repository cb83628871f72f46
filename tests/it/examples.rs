//! The programs in `examples/`, unmodified: callers that know nothing of wxgate get what the API gives.
//!
//! They need `php` with its curl extension and `curl`; without them these tests fail and say what to install.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::gate::{APPID, Gate, SECRET};
use crate::support::until::until;
use crate::support::wechat::WeChat;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a program to its end without holding up the sandbox, which may share this thread; gives its stdout.
async fn output(mut command: Command, install: &'static str) -> String {
    command.stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || {
        let ended = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; install {install}"));
        let (stdout, stderr) = (text(ended.stdout), text(ended.stderr));
        assert!(ended.status.success() && stderr.is_empty(), "{}\n{stdout}{stderr}", ended.status);
        stdout
    });
    run.await.unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A folder with a picture of 5 MiB, in which every byte value occurs in many places.
fn desk() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let picture: Vec<u8> = (0..5_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(dir.path().join("picture.jpg"), picture).unwrap();
    dir
}

/// The PHP app with a base URL, in `desk` with a token cache of its own.
async fn app(base: &str, desk: &Path) -> String {
    const INSTALL: &str = "php-cli and php-curl (Debian: apt-get install php-cli php-curl)";
    let mut modules = Command::new("php");
    modules.arg("-m");
    assert!(output(modules, INSTALL).await.lines().any(|line| line == "curl"), "no curl: install {INSTALL}");
    let cache = tempfile::tempdir().unwrap();
    let mut php = Command::new("php");
    php.args(["-d", "error_reporting=-1", "-d", "display_errors=stderr", "-d"])
        // What a system does that trusts the API's certificate.
        .arg(format!("curl.cainfo={}", file("certs/ca.pem").display()))
        .arg(file("examples/php/app.php"))
        .arg(desk.join("picture.jpg"))
        .env("WECHAT_API_BASE", base)
        .env("WECHAT_APPID", APPID)
        .env("WECHAT_SECRET", SECRET)
        .env("WECHAT_CACHE", cache.path().join("access_token.json"));
    output(php, INSTALL).await
}

/// Steals the token whenever the current one has opened a call, but no more often than forced refreshes last.
fn thief(wechat: &WeChat) -> (Arc<AtomicBool>, tokio::task::JoinHandle<usize>) {
    const MOST: usize = 9;
    let (stop, handle) = (Arc::new(AtomicBool::new(false)), wechat.handle.clone());
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        let mut thefts = 0;
        while thefts < MOST && !stopped.load(Ordering::Relaxed) {
            if handle.stats().per_token.last().is_some_and(|token| token.calls > 0) {
                handle.steal_token();
                thefts += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        thefts
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_php_app_gets_the_same_through_the_proxy_as_from_the_api() {
    let desk = desk();
    let direct = WeChat::start().await;
    let expected = app(&direct.url, desk.path()).await;
    assert_eq!(expected.lines().count(), 15, "{expected}");
    for line in [
        r#"menu: {"errcode":0,"errmsg":"ok"}"#,
        "menu as it was sent: yes",
        "download: .jpg, 5242880 bytes, the same bytes as uploaded",
    ] {
        assert!(expected.lines().any(|l| l == line), "{line}\n{expected}");
    }
    for errcode in ["40003", "40007"] {
        assert!(expected.contains(&format!("{{\"errcode\":{errcode},")), "{errcode}\n{expected}");
    }

    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let through = app(&format!("http://{}", gate.addr), desk.path()).await;
    assert_eq!(without_rid(&through), without_rid(&expected));
    let stats = wechat.handle.stats();
    assert_eq!((stats.fetches.token, stats.chunked_bodies, stats.duplicated_token_params), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_php_app_notices_no_theft_behind_the_proxy_and_fails_without_it() {
    let desk = desk();
    let quiet = WeChat::start().await;
    let expected = app(&quiet.url, desk.path()).await;

    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let (stop, thief_at_work) = thief(&wechat);
    let through = app(&format!("http://{}", gate.addr), desk.path()).await;
    stop.store(true, Ordering::Relaxed);
    let thefts = thief_at_work.await.unwrap();
    println!("{thefts} thefts during one run");
    assert!(thefts >= 3, "{thefts}");
    assert_eq!(without_rid(&through), without_rid(&expected));

    let alone = WeChat::start().await;
    let (stop, thief_at_work) = thief(&alone);
    let robbed = app(&alone.url, desk.path()).await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(thief_at_work.await.unwrap(), 1, "the app never fetches again by itself");
    assert!(robbed.contains("\"errcode\":40001"), "{robbed}");
}

/// WeChat's errors end in a number that differs each time.
fn without_rid(text: &str) -> String {
    let cut = |line: &str| match line.split_once(" rid: ") {
        Some((before, after)) => {
            format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '-'))
        }
        None => line.to_owned(),
    };
    text.lines().map(|line| cut(line) + "\n").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_curl_sh_work_through_the_proxy() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let mut script = Command::new(file("examples/curl.sh"));
    script.arg(format!("http://{}", gate.addr));
    let said = output(script, "curl (Debian: apt-get install curl)").await;
    let json: Vec<serde_json::Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(json.len(), 8, "{said}");
    assert_eq!((&json[0]["total"], &json[1]), (&3.into(), &json[2]), "{said}");
    assert_eq!(json[4]["menu"]["button"][0]["name"], "今日歌曲", "{said}");
    for answer in &json {
        assert_eq!(
            answer.get("errcode").and_then(serde_json::Value::as_i64).unwrap_or_default(),
            0,
            "{said}"
        );
    }
    assert!(said.contains("the picture came back as it went"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sh_fails_when_the_proxy_refuses() {
    let wechat = WeChat::with(&["--allow-ip", "127.0.0.9"]).await;
    let gate = Gate::before(&wechat.url).await;
    until("the upstream has refused a token", || !wechat.handle.stats().refused.is_empty()).await;
    let mut script = Command::new(file("examples/curl.sh"));
    script.arg(format!("http://{}", gate.addr));
    let ended = tokio::task::spawn_blocking(move || script.output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(22), "{ended:?}");
    assert!(text(ended.stderr).contains("502"));
}
