//! `wxgate check` as the program that an operator runs: what it says, its exit code, and that it ends no token.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use wxgate_sandbox::ApiKeys;

use crate::signing;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{APPID, Gate, SECRET, Settings, note_credential};
use crate::support::nobody::nobody;
use crate::support::outbound::{LOGIN, LOGIN_IN_URL, OutboundProxy};
use crate::support::until::until;
use crate::support::wechat::WeChat;

/// What one run said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    /// The findings of one kind.
    fn lines(&self, kind: &str) -> Vec<&str> {
        self.stdout.lines().filter(|line| line.split(' ').next() == Some(kind)).collect()
    }

    /// Whether a finding of this kind holds all these words.
    fn has(&self, kind: &str, words: &[&str]) -> bool {
        self.lines(kind).iter().any(|line| words.iter().all(|word| line.contains(word)))
    }
}

/// A configuration file in a folder of its own.
struct Site {
    dir: TempDir,
    url: String,
    secret: String,
    upstream: String,
    ca: Option<PathBuf>,
    state: PathBuf,
    tables: String,
}

impl Site {
    /// The usual account before the upstream at `url`, which `certs/ca.pem` has to vouch for.
    fn before(url: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let ca = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/ca.pem"));
        let (state, secret) = (dir.path().join("state"), SECRET.to_owned());
        std::fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
        Self { dir, url: url.to_owned(), secret, upstream: String::new(), ca, state, tables: String::new() }
    }

    async fn check(&self, arguments: &[&str]) -> Said {
        let said = self.checked(arguments).await;
        let kinds = ["ok", "warning", "FAIL"];
        assert!(said.stdout.lines().all(|line| kinds.contains(&line.split(' ').next().unwrap())), "{said:?}");
        said
    }

    async fn checked(&self, arguments: &[&str]) -> Said {
        note_credential(&self.secret);
        let file = self.dir.path().join("wxgate.toml");
        let ca = self.ca.as_ref().map(|ca| format!("ca = {ca:?}\n")).unwrap_or_default();
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nstate_dir = {:?}\n[limits]\nmax_connections = 10\n[upstream]\nurl = {:?}\n{ca}{}\n\
             [[account]]\nname = \"main\"\nappid = \"{APPID}\"\nsecret = {{ env = \"CHECKED_SECRET\" }}\n{}",
            self.state, self.url, self.upstream, self.tables
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wxgate"));
        command.arg("check").arg("--config").arg(&file).args(arguments);
        let said = run(command.env("CHECKED_SECRET", &self.secret)).await;
        assert!(!said.stdout.contains(&self.secret) && !said.stderr.contains(&self.secret), "{said:?}");
        said
    }
}

async fn run(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Its words hold no token of the sandbox, and it made no call that ends one.
fn ended_nobodys_token(said: &Said, wechat: &WeChat) {
    let stats = wechat.handle.stats();
    assert_eq!(stats.calls_by_path.get("/cgi-bin/token"), None, "{said:?}");
    assert_eq!(stats.fetches.token, 0, "{said:?}");
    assert_eq!(stats.fetches.stable_forced, 0, "{said:?}");
    for token in wechat.handle.tokens_issued() {
        assert!(!said.stdout.contains(&token) && !said.stderr.contains(&token), "{said:?}");
    }
}

#[tokio::test]
async fn all_is_well() {
    let wechat = WeChat::start().await;
    let said = Site::before(&wechat.url).check(&[]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.lines("FAIL").is_empty() && said.lines("warning").is_empty(), "{said:?}");
    for words in [
        &["configuration from", "wxgate.toml"][..],
        &["account `main`", APPID, "token_api token", "/cgi-bin/"],
        &["upstream", &wechat.url],
        &["listen 127.0.0.1:0"],
        &["open files"],
        &["state_dir", "can be written"],
        &["trust roots", "1 of upstream.ca"],
        &["connected to", "certificate is trusted"],
        &["TLS: the certificate of", "is for localhost", "valid until 20"],
        &["clock: agrees"],
        &["free space:"],
        &["secrets: 1 read (0 from files, 1 from the environment", "no other user"],
        &["answers as the WeChat API does"],
        &["account `main`", "accepts the secret"],
    ] {
        assert!(said.has("ok", words), "{words:?} in {said:?}");
    }
    assert!(said.has("ok", &["no token is stored yet"]), "{said:?}");
    ended_nobodys_token(&said, &wechat);
    // One for the look at the connection and the call on it, one for the account.
    assert_eq!(wechat.handle.stats().connections.accepted, 2);
}

#[tokio::test]
async fn a_running_proxy_keeps_its_token_and_its_files() {
    let wechat = WeChat::start().await;
    let mut site = Site::before(&wechat.url);
    let settings = Settings { state: Some(site.state.clone()), ..Settings::default() };
    let gate = Gate::with(&wechat.url, settings).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    // The token is served before it is stored; what is stored before is that it is being fetched.
    let file = site.state.join(format!("{APPID}.json"));
    let stored = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(&file).ok()?).ok();
    until("the token is stored", || stored().is_some_and(|state| state["generation"] == 1)).await;
    let left_by_another = site.state.join(format!(".{APPID}.json.half-written.tmp"));
    std::fs::write(&left_by_another, "").unwrap();
    site.upstream = "egress_ip = \"127.0.0.1\"".to_owned();

    let said = site.check(&[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.has("ok", &["the stored token is valid for 1h 5", "generation 1, 1 of 2000"]), "{said:?}");
    assert!(said.has("ok", &["egress_ip 127.0.0.1 is an address of this machine"]), "{said:?}");
    assert!(left_by_another.exists(), "a running wxgate may be about to rename it");

    // The token that the proxy holds opens the API as before, and nobody fetched another.
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    let stats = wechat.handle.stats();
    assert_eq!(stats.fetches.token, 1);
    assert_eq!(stats.fetches.stable_forced, 0);
    assert_eq!(stats.refused.get(&40001), None);
    let held = stats.per_token.iter().find(|token| token.kind == "token").unwrap();
    assert_eq!((held.state, held.calls), ("alive", 2));
}

#[tokio::test]
async fn a_wrong_secret_is_said_without_showing_it() {
    let wechat = WeChat::start().await;
    let mut site = Site::before(&wechat.url);
    site.secret = "0123456789abcdef-not-the-secret".to_owned();
    let said = site.check(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.has("FAIL", &["account `main`", "40125", "Check the account's `secret`", APPID]),
        "{said:?}"
    );
    assert_eq!(said.lines("FAIL").len(), 1, "{said:?}");
    ended_nobodys_token(&said, &wechat);
}

#[tokio::test]
async fn an_address_that_is_not_whitelisted_is_named() {
    let wechat = WeChat::with(&["--allow-ip", "203.0.113.9"]).await;
    let said = Site::before(&wechat.url).check(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.has("FAIL", &["40164", "Put 127.0.0.1 on the IP whitelist"]), "{said:?}");
    ended_nobodys_token(&said, &wechat);
}

#[tokio::test]
async fn the_whitelist_has_to_hold_the_egress_ip() {
    // On loopback every 127.x.y.z is ours; only this one is let in.
    let wechat = WeChat::with(&["--allow-ip", "127.0.0.7"]).await;
    let mut site = Site::before(&wechat.url);
    assert_eq!(site.check(&[]).await.code, Some(1));
    site.upstream = "egress_ip = \"127.0.0.7\"".to_owned();
    let said = site.check(&[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn an_upstream_that_is_down_is_said_once() {
    let (_held, address) = nobody();
    let said = Site::before(&format!("https://{address}")).check(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.has("FAIL", &["no connection to the upstream", "refused", "firewall"]), "{said:?}");
    assert!(said.has("warning", &["account `main`: not checked"]), "{said:?}");
    assert_eq!(said.lines("FAIL").len(), 1, "{said:?}");
}

#[tokio::test]
async fn each_fallback_is_asked_and_a_dead_one_is_wrong() {
    let (wechat, other) = (WeChat::start().await, WeChat::start().await);
    let (_held, dead) = nobody();
    let mut site = Site::before(&wechat.url);
    site.upstream = format!("fallbacks = [{:?}]", other.url);
    let said = site.check(&[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.has("ok", &["connected to ", &other.url]), "{said:?}");
    assert_eq!(other.handle.stats().connections.requests, 1);
    site.upstream = format!("fallbacks = [{:?}]", format!("https://{dead}"));
    let said = site.check(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.has("FAIL", &["no connection", &format!("https://{dead}")]), "{said:?}");
    // With the first host dead the credentials are asked for at the other.
    (site.url, site.upstream) = (format!("https://{dead}"), format!("fallbacks = [{:?}]", wechat.url));
    let said = site.check(&[]).await;
    assert!(said.has("ok", &["account `main`: WeChat accepts the secret"]), "{said:?}");
    ended_nobodys_token(&said, &wechat);
}

/// What `check` says of this proxy, none of which is a password.
async fn through(url: &str, proxy: String) -> Said {
    let mut site = Site::before(url);
    site.upstream = format!("proxy = {proxy:?}");
    let said = site.check(&[]).await;
    assert!(
        !format!("{said:?}").contains(LOGIN.1) && !format!("{said:?}").contains(LOGIN_IN_URL),
        "{said:?}"
    );
    said
}

#[tokio::test]
async fn the_whole_way_through_a_proxy_is_walked() {
    let wechat = WeChat::start().await;
    let url = format!("https://sandbox.wxgate.test:{}", wechat.addr.port());
    let (http, socks) =
        (OutboundProxy::http(wechat.addr, true).await, OutboundProxy::socks5(wechat.addr, true).await);
    for (scheme, proxy) in [("http", &http), ("socks5h", &socks)] {
        let said = through(&url, format!("{scheme}://{LOGIN_IN_URL}{}", proxy.addr)).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let way = format!("through the proxy {scheme}://{}", proxy.addr);
        assert!(said.has("ok", &[&url, &way, "its certificate is trusted"]), "{said:?}");
        assert!(said.has("ok", &["account `main`: WeChat accepts the secret"]), "{said:?}");
        ended_nobodys_token(&said, &wechat);
    }
}

#[tokio::test]
async fn the_leg_that_failed_is_named() {
    let wechat = WeChat::start().await;
    let url = format!("https://sandbox.wxgate.test:{}", wechat.addr.port());
    let (_held, dead) = nobody();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = OutboundProxy::http(wechat.addr, true).await;
    let socks = OutboundProxy::socks5(wechat.addr, true).await;
    let (http_to_nobody, socks_to_nobody) =
        (OutboundProxy::http(dead, false).await, OutboundProxy::socks5(dead, false).await);
    let wrong = "user:wrong-p4ss@";
    for (proxy, words) in [
        (format!("http://{LOGIN_IN_URL}{dead}"), &["is not reached", "refused", "see `upstream.proxy`"][..]),
        (format!("http://{}", http.addr), &["it wants user and password (407)"]),
        (format!("http://{wrong}{}", http.addr), &["it refuses user and password"]),
        (format!("socks5h://{}", socks.addr), &["it wants user and password"]),
        (format!("socks5h://{wrong}{}", socks.addr), &["it refuses user and password"]),
        (format!("http://{}", http_to_nobody.addr), &["it refuses the connection: 502 Bad Gateway", "allow"]),
        (format!("socks5h://{}", socks_to_nobody.addr), &["connection refused by the host (SOCKS5 reply 5)"]),
        (format!("http://{}", wechat.addr), &["its answer is not HTTP"]),
        (format!("socks5h://{}", http_to_nobody.addr), &["the proxy"]),
        (format!("http://{}", silent.local_addr().unwrap()), &["the proxy had not made the connection"]),
    ] {
        let said = through(&url, proxy.clone()).await;
        assert_eq!(said.code, Some(1), "{proxy}: {said:?}");
        assert!(said.has("FAIL", words), "{proxy}: {said:?}");
        assert!(!format!("{said:?}").contains("wrong-p4ss"), "{said:?}");
    }
    // Behind the proxy stands somebody else.
    let another = format!("https://api.weixin.qq.com:{}", wechat.addr.port());
    let open = OutboundProxy::http(wechat.addr, false).await;
    let said = through(&another, format!("http://{}", open.addr)).await;
    assert!(said.has("FAIL", &["TLS: ", "certificate", "certificates are always verified"]), "{said:?}");
    assert_eq!(wechat.handle.stats().connections.requests, 0);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_said() {
    let mut site = Site::before("https://wxgate-test.invalid");
    // A machine without any name server gets no answer at all.
    site.upstream = "connect_timeout = \"500ms\"".to_owned();
    let said = site.check(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.has("FAIL", &["DNS: ", "wxgate-test.invalid"]), "{said:?}");
}

#[tokio::test]
async fn an_untrusted_certificate_ends_the_look() {
    let wechat = WeChat::start().await;
    let mut site = Site::before(&wechat.url);
    site.ca = None;
    let said = site.check(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(!said.has("ok", &["connected"]), "{said:?}");
    // On a machine without any roots of the system that is the finding.
    let told = said.has("FAIL", &["TLS", "upstream.ca"]) || said.has("FAIL", &["no trust roots"]);
    assert!(told, "{said:?}");
    assert_eq!(wechat.handle.stats().connections.requests, 0);
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_is_wrong() {
    let wechat = WeChat::start().await;
    let mut site = Site::before(&wechat.url);
    // Not even root can make a folder below a file.
    let file = site.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    site.state = file.join("state");
    let said = site.check(&["--offline"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.has("FAIL", &["state_dir", "another `state_dir`"]), "{said:?}");
}

#[tokio::test]
async fn offline_contacts_nobody() {
    let wechat = WeChat::start().await;
    let said = Site::before(&wechat.url).check(&["--offline"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.has("ok", &["--offline"]), "{said:?}");
    assert_eq!(wechat.handle.stats().connections.accepted, 0);
}

#[tokio::test]
async fn something_else_than_wechat_is_noticed() {
    let fake = Fake::answering(|_| {
        Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html\r\n\
              Content-Length: 5\r\n\r\nhello"
                .to_vec(),
        )
    })
    .await;
    let said = Site::before(&fake.url()).check(&[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.has("ok", &["connected", "plain HTTP"]), "{said:?}");
    assert!(said.has("warning", &["status 200 and no errcode", "upstream.url"]), "{said:?}");
    assert!(said.has("warning", &["clock: this machine is", "ahead of"]), "{said:?}");
    assert!(said.has("FAIL", &["account `main`", "no JSON object"]), "{said:?}");
    // Without a token, and never the call that ends one.
    let lines: Vec<String> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(lines, ["GET /cgi-bin/getcallbackip HTTP/1.1", "POST /cgi-bin/stable_token HTTP/1.1"]);
}

#[tokio::test]
async fn findings_come_as_json_too() {
    let wechat = WeChat::start().await;
    let mut site = Site::before(&wechat.url);
    let findings = async |site: &Site| {
        let said = site.checked(&["--json"]).await;
        let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        (said.code, told)
    };
    let (code, told) = findings(&site).await;
    assert_eq!((code, &told["ok"]), (Some(0), &true.into()), "{told}");
    let all = told["findings"].as_array().unwrap();
    assert!(all.len() > 8 && all.iter().all(|finding| finding["level"] == "ok"), "{told}");
    assert!(all.iter().any(|finding| finding["text"].as_str().unwrap().contains("accepts the secret")));
    site.secret = "0123456789abcdef-not-the-secret".to_owned();
    let (code, told) = findings(&site).await;
    assert_eq!((code, &told["ok"]), (Some(1), &false.into()), "{told}");
    let bad: Vec<_> =
        told["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "fail").collect();
    assert!(bad.len() == 1 && bad[0]["text"].as_str().unwrap().contains("40125"), "{told}");
    // All that is wrong with a configuration, in the same form.
    site.upstream = "nothing = 1\nno_key = 2".to_owned();
    let (code, told) = findings(&site).await;
    assert_eq!((code, &told["ok"]), (Some(2), &false.into()), "{told}");
    let all = told["findings"].as_array().unwrap();
    assert!(all.len() == 2 && all.iter().all(|finding| finding["level"] == "fail"), "{told}");
    let text = |at: usize| all[at]["text"].as_str().unwrap();
    assert!(text(0).contains("upstream.nothing") && text(1).contains("upstream.no_key"), "{told}");
}

#[tokio::test]
async fn a_robot_is_tested_when_that_is_asked_for() {
    let wechat = WeChat::start().await;
    let mut site = Site::before(&wechat.url);
    let said = site.check(&["--alerts"]).await;
    assert!(said.code == Some(0) && said.has("warning", &["no [[alert]]"]), "{said:?}");
    let url = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=";
    note_credential("r0b0t-key-that-no-output-may-hold");
    // Leaves from an address that leads nowhere, so that no robot of anybody is told anything.
    site.upstream = "egress_ip = \"127.0.0.1\"".to_owned();
    site.tables = format!("[[alert]]\nkind = \"wecom\"\nurl = \"{url}r0b0t-key-that-no-output-may-hold\"\n");
    let said = site.check(&[]).await;
    assert!(said.code == Some(0) && said.has("ok", &["alerts: 1 robot ", "--alerts"]), "{said:?}");
    let said = site.check(&["--alerts"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.has("FAIL", &["alert[0]: qyapi.weixin.qq.com cannot be reached"]), "{said:?}");
    assert!(!said.stdout.contains("r0b0t") && !said.stderr.contains("r0b0t"), "{said:?}");
}

#[tokio::test]
async fn a_wrong_configuration_is_another_exit_code() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("wxgate.toml");
    std::fs::write(&file, "listne = []\n").unwrap();
    let said = run(Command::new(env!("CARGO_BIN_EXE_wxgate")).arg("check").arg("--config").arg(&file)).await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("listne"), "{said:?}");
}

#[tokio::test]
async fn the_api_security_mode_is_tried_with_one_call() {
    let wechat = WeChat::with(&["--api-security"]).await;
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/signing");
    let keys = ApiKeys::default();
    let site = |private_key: &str, number: &str, key_number: &str| {
        note_credential(keys.key);
        let tables = signing::account(&format!(
            "key_number = {key_number:?}\nprivate_key = {:?}\ncertificates = {{ {number} = {:?} }}\n",
            certs.join(private_key),
            certs.join("platform.pem")
        ));
        Site { tables, ..Site::before(&wechat.url) }
    };
    let said = site("app.key", keys.certificate_number, keys.key_number).check(&[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.has("ok", &["account `main`", "platform certificate", "valid until 2126-"]), "{said:?}");
    assert!(said.has("ok", &["WeChat takes encrypted calls, and its answer is signed"]), "{said:?}");
    ended_nobodys_token(&said, &wechat);
    for (private_key, number, key_number, words) in [
        (
            "platform.key",
            keys.certificate_number,
            keys.key_number,
            &["40234", "other half of the console's public key"],
        ),
        ("app.key", keys.certificate_number, "1", &["40235", "Check the symmetric key and its number"]),
        (
            "app.key",
            "7",
            keys.key_number,
            &["answer to an encrypted call is not good", keys.certificate_number],
        ),
    ] {
        let said = site(private_key, number, key_number).check(&[]).await;
        assert!(said.code == Some(1) && said.has("FAIL", words), "{said:?}");
    }
}
