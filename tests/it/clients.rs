//! Clients that know nothing of wxgate, with nothing but their base URL changed: what they get while another system
//! keeps stealing the token is what they get from an account that is left alone.
//!
//! PHP's curl, curl.sh and a WeCom application on wechatpy are in `examples/`, and their tests beside this one. The
//! programs of `tests/clients/` need what `tests/run` installs; without it these tests fail and say so.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::gate::{APPID, Gate, Settings, https_listener};
use crate::support::thief::Thief;
use crate::support::tools::{file, python, tool};
use crate::support::wechat::WeChat;

/// A proxy before a sandbox, a thief, and a picture.
struct Scene {
    wechat: WeChat,
    gate: Gate,
    desk: TempDir,
}

impl Scene {
    async fn set() -> Self {
        // Without TLS, so that the time goes to the clients.
        let wechat = WeChat::with(&["--plain"]).await;
        let settings = Settings { tables: https_listener(), ..Settings::default() };
        let gate = Gate::with(&wechat.url, settings).await;
        let desk = tempfile::tempdir().unwrap();
        // Every byte value in many places, and more than a socket takes at once.
        let picture: Vec<u8> =
            (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(desk.path().join("picture.jpg"), picture).unwrap();
        Self { wechat, gate, desk }
    }

    fn base(&self) -> String {
        format!("http://{}", self.gate.addr)
    }

    fn picture(&self) -> PathBuf {
        self.desk.path().join("picture.jpg")
    }

    /// Runs a client, and steals the token whenever it is used; what the client has written.
    async fn robbed(&self, client: &mut Command) -> String {
        // So that the client finds it stolen from the beginning.
        assert_eq!(self.gate.get("/cgi-bin/user/get").await.errcode(), 0);
        self.robbed_by(Thief::of(&self.wechat), client).await
    }

    async fn robbed_by(&self, thief: Thief, client: &mut Command) -> String {
        client.stdin(Stdio::null()).env("NO_PROXY", "*");
        let mut running = tokio::process::Command::from(std::mem::replace(client, Command::new("true")));
        let ended = running.kill_on_drop(true).output().await;
        let ended =
            ended.unwrap_or_else(|e| panic!("{running:?}: {e}; `tests/run` installs what is missing"));
        let (stdout, stderr) =
            (String::from_utf8(ended.stdout).unwrap(), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success(), "{running:?}: {}\n{stdout}{stderr}", ended.status);
        let thefts = thief.thefts().await;
        assert!(thefts >= 2, "{thefts} thefts\n{stdout}{stderr}");
        let stats = self.wechat.handle.stats();
        assert_eq!((stats.chunked_bodies, stats.duplicated_token_params), (0, 0));
        stdout
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phps_streams_and_sockets_notice_no_theft() {
    let scene = Scene::set().await;
    let mut php = Command::new("php");
    php.args(["-d", "error_reporting=-1", "-d", "display_errors=stdout"]);
    php.arg(file("tests/clients/streams.php")).arg(scene.base()).arg(scene.picture());
    let right = "\
file_get_contents: 0
file_get_contents with a POST: 0
file_get_contents with a form: 0
fsockopen, HTTP/1.0: 0
fsockopen, HTTP/1.1 with bare line feeds: 0
download: the same bytes
first on one socket: 0
second on one socket: 0
third on one socket: 0
";
    assert_eq!(scene.robbed(&mut php).await, right);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pythons_libraries_notice_no_theft_over_http2_either() {
    let scene = Scene::set().await;
    let mut python = Command::new(python());
    let https = format!("https://localhost:{}", scene.gate.tls_addr.unwrap().port());
    python.arg(file("tests/clients/libraries.py")).args([scene.base(), https]);
    python.arg(file("certs/ca.pem")).arg(scene.picture());
    let right = "\
requests: 0
requests, a message: 0
requests, a form: 0
requests, in chunks: 0
requests, a download: the same bytes
httpx over HTTP/2, call 0: 0
httpx over HTTP/2, call 1: 0
httpx over HTTP/2, call 2: 0
httpx, a message: 0
httpx, in parts: 0
httpx, a form: 0
httpx, a download: the same bytes
wechatpy, followers: 3
wechatpy, follower: oSandboxFollower000000000001
wechatpy, message: ok
wechatpy, upload: image
wechatpy, menu: 0
";
    assert_eq!(scene.robbed(&mut python).await, right);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_sdk_and_nodes_own_fetch_notice_no_theft() {
    let scene = Scene::set().await;
    let mut node = Command::new("node");
    node.arg(file("tests/clients/sdk.js")).args([&scene.base(), APPID]).arg(scene.picture());
    node.env("NODE_PATH", tool("node/node_modules"));
    let right = "\
followers: 3
follower: oSandboxFollower000000000001
message: ok
menu: 0 今日歌曲
upload: image
download: the same bytes
qrcode: true
to nobody: 40003
fetch, followers: 0
fetch, message: 0
fetch, message in chunks: 0
fetch, form: 0
";
    assert_eq!(scene.robbed(&mut node).await, right);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curls_ways_to_upload_notice_no_theft() {
    let scene = Scene::set().await;
    let mut curl = Command::new(file("tests/clients/forms.sh"));
    curl.arg(scene.base()).arg(scene.picture());
    let right = "\
a form: 0
a form with a text: 0
a form without asking first: 0
a form over HTTP/1.0: 0
a form over HTTP/2: 0
a form in chunks: 0
a form from a pipe: 0
a body as it is: 0
a body from a pipe: 0
a body of json: 0
compressed: 0
";
    assert_eq!(scene.robbed(&mut curl).await, right);
}

/// It calls for an answer of another length than the first one's a failure, and so would see each error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ab_counts_no_failure_while_the_token_is_stolen() {
    let text = r#"{"touser":"oSandboxFollower000000000001","msgtype":"text","text":{"content":"您好"}}"#;
    for kept in [&["-k"][..], &[]] {
        let scene = Scene::set().await;
        let message = scene.desk.path().join("message");
        std::fs::write(&message, text).unwrap();
        let mut ab = Command::new("ab");
        ab.args(["-q", "-n", "500", "-c", "5", "-s", "30", "-T", "application/json", "-p"]);
        ab.arg(&message).args(kept).arg(scene.base() + "/cgi-bin/message/custom/send");
        let said = scene.robbed_by(Thief::after(&scene.wechat, 100), &mut ab).await;
        let figure = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}\n{said}")).split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!((&*figure("Complete requests:"), &*figure("Failed requests:")), ("500", "0"), "{said}");
        assert!(!said.contains("Non-2xx"), "{said}");
        // The length of `{"errcode":0,"errmsg":"ok"}`.
        assert_eq!(figure("Document Length:"), "27", "{said}");
        if !kept.is_empty() {
            assert_eq!(figure("Keep-Alive requests:"), "500", "{said}");
        }
    }
}
