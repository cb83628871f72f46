//! Messages to group robots, by the real binary: in a mount namespace of its own the robot's host leads to a server of
//! this test, which shows a certificate for it.
//!
//! Needs root, `unshare` and `mount` (util-linux), since the URL of a robot has no port: without them the test says so
//! and passes, in CI it fails.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::child::{Child, serve};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Settings, note_credential};
use crate::support::until::until;

const HOST: &str = "qyapi.weixin.qq.com";
const KEY: &str = "r0b0t-key-that-no-log-may-hold";

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
        let [_, a, b, _] = std::process::id().to_be_bytes();
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
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let (config, messages) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&messages);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut stream =
                    StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
                let mut request = Vec::new();
                // The body is one JSON object with one inside, at the end.
                while !request.ends_with(b"}}") {
                    let mut chunk = [0; 4096];
                    match stream.read(&mut chunk) {
                        Ok(length) if length > 0 => request.extend_from_slice(&chunk[..length]),
                        _ => break,
                    }
                }
                kept.lock().unwrap().push(String::from_utf8(request).unwrap());
                let body = r#"{"errcode":0,"errmsg":"ok"}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Some(Self { address, ca: ca.pem(), messages })
    }

    fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_robot_is_told_that_a_token_is_refused_and_once_more_when_it_is_well_again() {
    let Some(service) = Service::start() else { return };
    note_credential(KEY);
    let token = r#"{"access_token":"FAKE_TOKEN-after-the-refusal-0123456789abcdef","expires_in":7200}"#;
    let upstream = Fake::scripted(
        move |n| if n == 0 { Reply::errcode(40125) } else { Reply::json(token) },
        |_| Reply::json("{}"),
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (ca, hosts) = (dir.path().join("robot-ca.pem"), dir.path().join("hosts"));
    std::fs::write(&ca, &service.ca).unwrap();
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n{} {HOST}\n", service.address)).unwrap();
    std::fs::write(dir.path().join("robot.url"), format!("https://{HOST}/cgi-bin/webhook/send?key={KEY}\n"))
        .unwrap();
    let settings = Settings {
        upstream: format!("ca = {ca:?}"),
        distrusts_the_sandbox: true,
        tables: "[[alert]]\nkind = \"wecom\"\nurl = { file = \"robot.url\" }\n[[alert]]\nkind = \"wecom\"\n\
                 url = { file = \"robot.url\" }\non = [\"store\"]\n[admin]\nlisten = \"unix:admin.sock\"\n"
            .to_owned(),
        ..Settings::default()
    };
    let command = serve(dir.path(), &upstream.url(), &settings);
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(&hosts);
    inside.arg(command.get_program()).args(command.get_args()).current_dir(dir.path()).env_clear();
    inside.env("PATH", std::env::var_os("PATH").unwrap()).env("WXGATE_LOG", "trace");
    let mut child = Child::start(&mut inside);
    child.line("40125").await;
    // There is no token either: another cause, and so another message.
    until("the robot is told", || service.messages().len() == 2).await;
    let told = service.messages();
    let about =
        |words: &str| told.iter().find(|message| message.contains(words)).cloned().unwrap_or_default();
    let refused = about("wxgate alert: WeChat refuses to issue a token");
    assert!(refused.starts_with(&format!("POST /cgi-bin/webhook/send?key={KEY} HTTP/1.1\r\n")), "{told:?}");
    assert!(refused.contains("main: 40125"), "{refused}");
    assert!(about("wxgate alert: a token ends, and there is no new one").contains("40125"), "{told:?}");

    let mut stream = tokio::net::UnixStream::connect(dir.path().join("admin.sock")).await.unwrap();
    let post = b"POST /accounts/main/refresh HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, post).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    until("it is well again", || service.messages().len() == 4).await;
    let well = service.messages().split_off(2);
    assert!(well.iter().all(|message| message.contains("wxgate, well again: ")), "{well:?}");
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    assert!(!child.stderr().contains(KEY));
}
