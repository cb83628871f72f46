//! The programs in `examples/`, unmodified: callers that know nothing of wxgate get what the API gives.
//!
//! They need `php` with its curl extension, `curl` and `openssl`; without them these tests fail and say what to
//! install.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wxgate::config::Config;
use wxgate::proxy::authorize::{RequestedCall, authorize};

use crate::support::child::{Child, wxgate};
use crate::support::gate::{APPID, Gate, SECRET, Settings, note_credential};
use crate::support::thief::Thief;
use crate::support::until::{until, until_some};
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

/// The PHP app with a base URL, in `desk` with a token cache of its own; with the AppSecret where it calls WeChat itself.
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
        .env_remove("WECHAT_SECRET")
        .env("WECHAT_CACHE", cache.path().join("access_token.json"));
    if base.starts_with("https:") {
        php.env("WECHAT_SECRET", SECRET);
    }
    output(php, INSTALL).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_php_login_works_without_a_secret() {
    let wechat = WeChat::start().await;
    let account = "paths = [\"/sns/\"]\nsecret_paths = [\"/sns/jscode2session\"]".to_owned();
    let gate = Gate::with(&wechat.url, Settings { account, ..Settings::default() }).await;
    let login = || {
        let mut php = Command::new("php");
        php.args(["-d", "error_reporting=-1", "-d", "display_errors=stderr"]);
        php.arg(file("examples/php/login.php")).arg("0a1/b c");
        php.env_remove("WECHAT_SECRET").env("WECHAT_API_BASE", format!("http://{}", gate.addr));
        output(php, "php-cli and php-curl (Debian: apt-get install php-cli php-curl)")
    };
    let said = login().await;
    assert!(said.starts_with("openid: o") && said.contains("session_key: 24 characters"), "{said}");
    let said = login().await;
    assert!(said.starts_with("refused: 40163 "), "{said}");
}

/// The page's fetch, put together as its script does, through the configuration beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_with_the_js_sdk_gets_its_signature_and_nothing_else() {
    let page = std::fs::read_to_string(file("examples/jssdk/index.html")).unwrap();
    let (_, call) = page.split_once("await fetch('").unwrap();
    let (beginning, rest) = call.split_once('\'').unwrap();
    assert!(rest.starts_with(" + encodeURIComponent(page));"), "{rest}");
    assert_eq!(page.matches("fetch(").count(), 1);
    for name in ["appId", "timestamp", "nonceStr", "signature"] {
        assert!(page.contains(&format!("{name}: signed.{name},")), "{name}");
    }
    assert!(!page.contains("secret:") && !page.contains("ticket:") && !page.contains("wx0"));

    let wechat = WeChat::start().await;
    let dir = tempfile::tempdir().unwrap();
    note_credential(SECRET);
    std::fs::write(dir.path().join("appsecret"), SECRET).unwrap();
    let mut text = std::fs::read_to_string(file("examples/jssdk/wxgate.toml")).unwrap();
    for (theirs, ours) in [("127.0.0.1:8080", "127.0.0.1:0"), ("wx0123456789abcdef", APPID)] {
        assert!(text.contains(theirs), "{theirs}");
        text = text.replace(theirs, ours);
    }
    let upstream = format!("[upstream]\nurl = {:?}\nca = {:?}\n", wechat.url, file("certs/ca.pem"));
    std::fs::write(dir.path().join("wxgate.toml"), format!("state_dir = \"state\"\n{text}\n{upstream}"))
        .unwrap();
    let child = Child::start(&mut wxgate(dir.path(), &["serve"]));
    let addr = child.addr().await;
    let target = format!("{beginning}https%3A%2F%2Fshop.example.com%2Fpage%3Fid%3D1");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"]);
    curl.arg(format!("http://{addr}{target}"));
    let signed: serde_json::Value = serde_json::from_str(&output(curl, "curl").await).unwrap();
    assert_eq!((&signed["errcode"], &signed["appId"]), (&0.into(), &APPID.into()));
    // What nobody but wxgate and WeChat knows.
    let stored = dir.path().join(format!("state/{APPID}-jsapi_ticket.json"));
    let ticket = until_some("the ticket is stored", || {
        let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&stored).ok()?).ok()?;
        stored["token"]["access_token"].as_str().map(str::to_owned)
    })
    .await;
    note_credential(&ticket);
    let text = format!(
        "jsapi_ticket={ticket}&noncestr={}&timestamp={}&url=https://shop.example.com/page?id=1",
        signed["nonceStr"].as_str().unwrap(),
        signed["timestamp"]
    );
    std::fs::write(dir.path().join("signed"), text).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha1", "-r", "signed"]).current_dir(dir.path());
    let digest = output(openssl, "openssl (Debian: apt-get install openssl)").await;
    assert_eq!(digest.split(' ').next(), signed["signature"].as_str());
    let mut other = Command::new("curl");
    other.args(["--silent", "--noproxy", "*"]).arg(format!("http://{addr}/cgi-bin/user/get"));
    assert!(output(other, "curl").await.contains("\"errcode\":48001"));
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
    let thief = Thief::of(&wechat);
    let through = app(&format!("http://{}", gate.addr), desk.path()).await;
    let thefts = thief.thefts().await;
    println!("{thefts} thefts during one run");
    assert!(thefts >= 2, "{thefts}");
    assert_eq!(without_rid(&through), without_rid(&expected));

    let alone = WeChat::start().await;
    let thief = Thief::of(&alone);
    let robbed = app(&alone.url, desk.path()).await;
    assert_eq!(thief.thefts().await, 1, "the app never fetches again by itself");
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

/// A base URL with user information is all that the app changes where wxgate asks for a key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_php_app_shows_its_key_in_the_base_url() {
    const KEY: &str = "k3y-in-the-base-url";
    note_credential(KEY);
    let desk = desk();
    let direct = WeChat::start().await;
    let expected = app(&direct.url, desk.path()).await;
    let wechat = WeChat::start().await;
    // From a file, with the line end that an editor leaves.
    let key = desk.path().join("legacy-cms.key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let tables = format!("[[caller]]\nname = \"legacy-cms\"\nkey = {{ file = {key:?} }}\n");
    let gate = Gate::with(&wechat.url, Settings { tables, ..Settings::default() }).await;
    let through = app(&format!("http://legacy-cms:{KEY}@{}", gate.addr), desk.path()).await;
    assert_eq!(without_rid(&through), without_rid(&expected));

    let mut php = Command::new("php");
    php.arg(file("examples/php/app.php")).arg(desk.path().join("picture.jpg"));
    php.env("WECHAT_API_BASE", format!("http://legacy-cms:wrong@{}", gate.addr));
    php.env("WECHAT_APPID", APPID).env("WECHAT_SECRET", SECRET);
    php.env("WECHAT_CACHE", desk.path().join("access_token.json"));
    let said = output(php, "php-cli").await;
    assert!(said.starts_with("no access_token: 48001 "), "{said}");
}

#[test]
fn the_callers_of_callers_toml_may_do_what_its_comments_say() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("wxgate.toml");
    std::fs::copy(file("examples/callers.toml"), &config).unwrap();
    for (name, text) in
        [("appsecret", "s3cret"), ("legacy-cms.key", "k-cms\n"), ("mini-program.key", "k-mini\r\n")]
    {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let home = dir.path().to_owned();
    let env = move |name: &str| (name == "HOME").then(|| home.clone().into());
    let loaded = Config::load(Some(&config), &env).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    let callers = loaded.config.callers;
    for (peer, key, method, path, right) in [
        ("10.1.7.7", "k-cms", "GET", "/cgi-bin/user/info", Some("legacy-cms")),
        ("10.1.7.7", "k-cms", "POST", "/cgi-bin/message/custom/send", Some("legacy-cms")),
        ("10.1.7.7", "k-cms", "GET", "/cgi-bin/token", Some("legacy-cms")),
        ("fd00:1::9", "k-cms", "GET", "/cgi-bin/media/get", Some("legacy-cms")),
        ("10.1.7.7", "k-cms", "POST", "/cgi-bin/clear_quota", None),
        ("10.1.7.7", "k-cms", "POST", "/cgi-bin/clear_quota/v2", None),
        ("10.1.7.7", "k-cms", "GET", "/cgi-bin/menu/delete", None),
        ("10.1.7.7", "wrong", "GET", "/cgi-bin/user/info", None),
        ("10.4.7.7", "k-cms", "GET", "/cgi-bin/user/info", None),
        ("10.2.0.7", "", "POST", "/datacube/getusersummary", Some("reports")),
        ("10.2.0.7", "", "POST", "/cgi-bin/clear_quota", None),
        ("10.2.0.8", "", "POST", "/datacube/getusersummary", None),
        ("10.3.0.2", "k-mini", "POST", "/cgi-bin/clear_quota", Some("mini-program")),
        ("10.3.0.2", "k-mini", "GET", "/cgi-bin/token", Some("mini-program")),
        ("10.3.0.2", "k-cms", "GET", "/cgi-bin/token", None),
    ] {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-wxgate-key", key.parse().unwrap());
        let method = method.parse().unwrap();
        let asks_for_token = path == "/cgi-bin/token";
        let asked = Some(RequestedCall { account: "main", method: &method, path, asks_for_token });
        let found = authorize(&callers, peer.parse().unwrap(), &headers, asked).ok().flatten();
        assert_eq!(found.map(|caller| &*caller.name), right, "{peer} {key} {method} {path}");
        // Nobody else gets the real token.
        assert_eq!(found.is_some_and(|caller| caller.real_token), right == Some("mini-program"));
    }
}

/// The folder of an operator who has followed `examples/drop-in/README.md` up to its third step.
async fn drop_in(wechat: &WeChat) -> (tempfile::TempDir, Child, SocketAddr) {
    let dir = tempfile::tempdir().unwrap();
    let mut script = Command::new(file("examples/drop-in/make-certs.sh"));
    script.arg(dir.path());
    let said = output(script, "openssl (Debian: apt-get install openssl)").await;
    assert!(said.starts_with("made ca.pem, server.pem and server.key"), "{said}");
    note_credential(SECRET);
    std::fs::write(dir.path().join("appsecret"), SECRET).unwrap();
    // What differs here: the port, the appid, and where the API is.
    let mut text = std::fs::read_to_string(file("examples/drop-in/wxgate.toml")).unwrap();
    for (theirs, ours) in [("\"0.0.0.0:443\"", "\"127.0.0.1:0\""), ("wx0123456789abcdef", APPID)] {
        assert!(text.contains(theirs), "{theirs}");
        text = text.replace(theirs, ours);
    }
    let upstream = format!("[upstream]\nurl = {:?}\nca = {:?}\n", wechat.url, file("certs/ca.pem"));
    text = format!("state_dir = \"state\"\n{text}\n{upstream}");
    std::fs::write(dir.path().join("wxgate.toml"), text).unwrap();
    let child = Child::start(&mut wxgate(dir.path(), &["serve"]));
    let line = child.line("listening on https://").await;
    let (_, rest) = line.split_once("listening on https://").unwrap();
    let addr = rest.split_once(' ').unwrap().0.parse().unwrap();
    (dir, child, addr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_coded_https_url_of_the_api_works_through_the_drop_in_unchanged() {
    let wechat = WeChat::start().await;
    let (dir, child, addr) = drop_in(&wechat).await;
    let port = addr.port();
    let curl = |trust: &[&str], more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "--resolve"]);
        curl.arg(format!("api.weixin.qq.com:{port}:127.0.0.1")).args(trust).args(more);
        curl.current_dir(dir.path());
        curl
    };
    let trusting = ["--cacert", "ca.pem"];
    let info = format!(
        "https://api.weixin.qq.com:{port}/cgi-bin/user/info?access_token=STALE&openid=oSandboxFollower000000000001"
    );
    for version in ["--http1.1", "--http2"] {
        let said = output(curl(&trusting, &[version, &info]), "curl").await;
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(json["openid"], "oSandboxFollower000000000001", "{version} {said}");
    }
    // The app's own fetching of tokens, with whatever it believes to be the secret.
    let token = format!(
        "https://api.weixin.qq.com:{port}/cgi-bin/token?grant_type=client_credential&appid={APPID}&secret=OLD"
    );
    let said = output(curl(&trusting, &[&token]), "curl").await;
    assert!(said.contains("\"expires_in\":7200"), "{said}");
    assert_eq!(wechat.handle.stats().fetches.token, 1);

    // Who does not trust the CA is not served, and nobody can use it for another name.
    for (trust, url) in [(&[][..], info.clone()), (&trusting, info.replace("api.weixin.qq.com", "127.0.0.1"))]
    {
        let mut distrusting = curl(trust, &[&url]);
        let ended = tokio::task::spawn_blocking(move || distrusting.output().unwrap()).await.unwrap();
        assert_eq!(ended.status.code(), Some(60), "{ended:?}");
    }
    // The key is for its owner alone, and there was nothing to warn about.
    let mode = std::fs::metadata(dir.path().join("server.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!child.stderr().contains("private key"), "{}", child.stderr());
    // A second run does not overwrite what is in use.
    let mut again = Command::new(file("examples/drop-in/make-certs.sh"));
    again.arg(dir.path());
    let ended = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}
