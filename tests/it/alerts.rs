//! Messages to group robots, by the real binary: in a mount namespace of its own the robot's host leads to a server of
//! this test, which shows a certificate for it.
//!
//! Needs root, `unshare` and `mount` (util-linux), since the URL of a robot has no port: without them the test says so
//! and passes, in CI it fails.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{ServerConnection, StreamOwned};

use crate::support::child::{Child, run, serve, wxgate};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Settings, note_credential};
use crate::support::tls;
use crate::support::until::until;

const HOST: &str = "qyapi.weixin.qq.com";
const HOSTS: [&str; 3] = [HOST, "oapi.dingtalk.com", "open.feishu.cn"];
const KEY: &str = "r0b0t-key-that-no-log-may-hold";
const SECRET: &str = "SECr0b0t-secret-that-no-log-may-hold";

/// A robot's service: takes each message, and keeps its request.
struct Service {
    address: String,
    ca: String,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Service {
    #[expect(clippy::print_stdout, reason = "who runs the tests is told what was left out")]
    fn start() -> Option<Self> {
        // All of 127.0.0.0/8 is ours; whoever runs this test beside us has another address.
        static STARTED: AtomicU8 = AtomicU8::new(0);
        let [_, a, b, _] = std::process::id().to_be_bytes();
        let a = a ^ (STARTED.fetch_add(1, Relaxed) << 6);
        let last = std::process::id() % 250 + 1;
        let address = format!("127.{a}.{b}.{last}");
        let allowed =
            Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
        let listener = TcpListener::bind((address.as_str(), 443)).ok().filter(|_| allowed);
        let Some(listener) = listener else {
            assert!(std::env::var_os("CI").is_none(), "no mount namespace or no port 443: it takes root");
            println!("skipped: no mount namespace or no port 443 (it takes root)");
            return None;
        };
        let (identity, ca) = tls::issued_for(HOSTS);
        let (config, messages) = (tls::server(identity), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&messages);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut stream =
                    StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
                let mut request = Vec::new();
                while !is_whole(&request) {
                    let mut chunk = [0; 4096];
                    match stream.read(&mut chunk) {
                        Ok(length) if length > 0 => request.extend_from_slice(&chunk[..length]),
                        _ => break,
                    }
                }
                kept.lock().unwrap().push(String::from_utf8(request).unwrap());
                let body = r#"{"errcode":0,"errmsg":"ok","code":0,"msg":"success"}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Some(Self { address, ca, messages })
    }

    /// What wxgate is started by, so that the robots' names lead here; trusts this server by `robot-ca.pem`.
    fn leads_to(&self, dir: &Path, command: &Command) -> Command {
        let hosts = dir.join("hosts");
        std::fs::write(dir.join("robot-ca.pem"), &self.ca).unwrap();
        let names = HOSTS.join(" ");
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{} {names}\n", self.address)).unwrap();
        let mut inside = Command::new("unshare");
        inside.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(&hosts);
        inside.arg(command.get_program()).args(command.get_args()).current_dir(dir).env_clear();
        inside.env("PATH", std::env::var_os("PATH").unwrap()).env("WXGATE_LOG", "trace");
        inside
    }

    fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_robot_is_told_that_a_token_is_refused_and_once_more_when_it_is_well_again() {
    let Some(service) = Service::start() else { return };
    note_credential(KEY);
    note_credential(SECRET);
    let token = r#"{"access_token":"FAKE_TOKEN-after-the-refusal-0123456789abcdef","expires_in":7200}"#;
    let upstream = Fake::scripted(
        move |n| if n == 0 { Reply::errcode(40125) } else { Reply::json(token) },
        |_| Reply::json("{}"),
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("robot.url"), format!("https://{HOST}/cgi-bin/webhook/send?key={KEY}\n"))
        .unwrap();
    let secret = dir.path().join("robot.secret");
    std::fs::write(&secret, SECRET).unwrap();
    let settings = Settings {
        upstream: "ca = \"robot-ca.pem\"".to_owned(),
        distrusts_the_sandbox: true,
        tables: format!(
            "[[alert]]\nkind = \"wecom\"\nurl = {{ file = \"robot.url\" }}\n[[alert]]\nkind = \"wecom\"\n\
             url = {{ file = \"robot.url\" }}\non = [\"store\"]\n{DINGTALK}on = [\"refused\"]\n\
             [admin]\nlisten = \"unix:admin.sock\"\n"
        ),
        ..Settings::default()
    };
    let command = serve(dir.path(), &upstream.url(), &settings);
    let mut child = Child::start(&mut service.leads_to(dir.path(), &command));
    child.line("40125").await;
    // There is no token either: another cause, and so another message.
    until("the robots are told", || service.messages().len() == 3).await;
    let told = wecom(service.messages());
    assert_eq!(told.len(), 2, "{told:?}");
    let about =
        |words: &str| told.iter().find(|message| message.contains(words)).cloned().unwrap_or_default();
    let refused = about("wxgate alert: WeChat refuses to issue a token");
    assert!(refused.starts_with(&format!("POST /cgi-bin/webhook/send?key={KEY} HTTP/1.1\r\n")), "{told:?}");
    assert!(refused.contains("main: 40125"), "{refused}");
    assert!(about("wxgate alert: a token ends, and there is no new one").contains("40125"), "{told:?}");

    let signed = dingtalk(&service.messages());
    assert_eq!(signed.sign, signed.wanted(SECRET), "{signed:?}");
    std::fs::write(&secret, format!("{SECRET}-new")).unwrap();
    child.signal("HUP");
    child.line("the configuration has been read again").await;

    let mut stream = tokio::net::UnixStream::connect(dir.path().join("admin.sock")).await.unwrap();
    let post = b"POST /accounts/main/refresh HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, post).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    until("it is well again", || service.messages().len() == 6).await;
    let well = service.messages().split_off(3);
    let signed = dingtalk(&well);
    assert_eq!(signed.sign, signed.wanted(&format!("{SECRET}-new")), "{signed:?}");
    assert!(well.iter().all(|message| message.contains("wxgate, well again: ")), "{well:?}");
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    assert!(!child.stderr().contains(KEY) && !child.stderr().contains(SECRET));
}

#[tokio::test]
async fn check_sends_signed_messages_to_robots_that_demand_it() {
    let Some(service) = Service::start() else { return };
    note_credential(KEY);
    note_credential(SECRET);
    let upstream = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("robot.secret"), SECRET).unwrap();
    let settings = Settings {
        upstream: "ca = \"robot-ca.pem\"".to_owned(),
        distrusts_the_sandbox: true,
        tables: format!(
            "{DINGTALK}[[alert]]\nkind = \"feishu\"\nurl = \"https://open.feishu.cn/open-apis/bot/v2/hook/{KEY}\"\n\
             secret = {{ file = \"robot.secret\" }}\n"
        ),
        ..Settings::default()
    };
    let serve = serve(dir.path(), &upstream.url(), &settings);
    let file = serve.get_args().last().unwrap().to_str().unwrap();
    let command = wxgate(dir.path(), &["check", "--alerts", "--config", file]);
    let said = run(&mut service.leads_to(dir.path(), &command)).await;
    for words in ["alert[0]: the dingtalk robot took a test", "alert[1]: the feishu robot took a test"] {
        assert!(said.stdout.contains(words), "{}", said.stdout);
    }
    let output = said.stdout + &said.stderr;
    assert!(!output.contains(KEY) && !output.contains(SECRET), "{output}");
    let messages = service.messages();
    let signed = dingtalk(&messages);
    assert_eq!(signed.sign, signed.wanted(SECRET), "{signed:?}");
    let (_, body) = messages[1].split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let timestamp = body["timestamp"].as_str().unwrap();
    assert!(is_now(timestamp.parse().unwrap()), "{body}");
    assert_eq!(body["sign"], BASE64_STANDARD.encode(hmac(&format!("{timestamp}\n{SECRET}"), "")));
}

/// A robot that demands a signature.
const DINGTALK: &str = "[[alert]]\nkind = \"dingtalk\"\nurl = \"https://oapi.dingtalk.com/robot/send?access_token=r0b0t-key-that-no-log-may-hold\"\nsecret = { file = \"robot.secret\" }\n";

fn wecom(mut messages: Vec<String>) -> Vec<String> {
    messages.retain(|message| message.contains(&format!("\r\nHost: {HOST}\r\n")));
    messages
}

/// What DingTalk's robot was sent beside the message.
#[derive(Debug)]
struct Signed {
    timestamp: String,
    sign: String,
}

impl Signed {
    fn wanted(&self, secret: &str) -> String {
        BASE64_STANDARD.encode(hmac(secret, &format!("{}\n{secret}", self.timestamp)))
    }
}

/// Of the first message to DingTalk's robot.
fn dingtalk(messages: &[String]) -> Signed {
    let begin = format!("POST /robot/send?access_token={KEY}&timestamp=");
    let query = messages.iter().find_map(|message| message.strip_prefix(&begin));
    let query = query.unwrap_or_else(|| panic!("no signed message: {messages:?}"));
    let (timestamp, sign) = query.split_once(' ').unwrap().0.split_once("&sign=").unwrap();
    assert!(is_now(timestamp.parse::<u64>().unwrap() / 1000), "{timestamp}");
    let sign = percent_encoding::percent_decode_str(sign).decode_utf8().unwrap().into_owned();
    Signed { timestamp: timestamp.to_owned(), sign }
}

/// Within the hour that the services allow.
fn is_now(seconds: u64) -> bool {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().abs_diff(seconds) < 3600
}

/// HMAC-SHA256 as RFC 2104 has it, of a key of any length.
fn hmac(key: &str, message: &str) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| digest(&SHA256, &parts.concat()).as_ref().to_vec();
    let key = if key.len() > 64 { hash(&[key.as_bytes()]) } else { key.as_bytes().to_vec() };
    let pad = |with: u8| (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect::<Vec<u8>>();
    hash(&[&pad(0x5c), &hash(&[&pad(0x36), message.as_bytes()])])
}

/// Whether a request has its whole body, which is one JSON object.
fn is_whole(request: &[u8]) -> bool {
    let body = request.windows(4).position(|at| at == b"\r\n\r\n").map(|at| &request[at + 4..]);
    body.is_some_and(|body| serde_json::from_slice::<serde_json::Value>(body).is_ok())
}
