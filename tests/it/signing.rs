//! The API security mode: callers send plain JSON, WeChat gets it encrypted and signed.
//!
//! The sandbox (`--api-security`) has an implementation of its own; where a test needs an upstream that does more than
//! WeChat would, it seals with the proxy's.

use std::path::Path;
use std::time::SystemTime;

use http_body_util::{BodyExt as _, Full};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::process::Command;
use wxgate::proxy::signing::keys::{Keys, PlatformCertificate, PrivateKey, SymmetricKey};
use wxgate::proxy::signing::open::open;
use wxgate::proxy::signing::seal::{Stamp, Subject, plaintext, seal};
use wxgate_sandbox::{ApiKeys, SealedAnswers};

use crate::admin;
use crate::request::assert_refused;
use crate::support::fake::{Fake, Reply, Seen, TOKEN};
use crate::support::gate::{APPID, Gate, Settings, note_credential};
use crate::support::http2;
use crate::support::https::{Response, request};
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

const RISK: &str = "/wxa/getuserriskrank";
const ORDER: &str = r#"{"openid":"o1","scene":0,"client_ip":"127.0.0.1"}"#;
/// Members of an encrypted answer.
const CIPHERTEXT: &str = "authtag";

fn note_keys() {
    let keys = ApiKeys::default();
    note_credential(keys.key);
    // Of each line of a key a log would show all or nothing.
    note_credential(keys.private_key.lines().nth(1).unwrap());
}

/// The account's lines with these in `[account.signing]` besides the usual ones.
pub(crate) fn account(lines: &str) -> String {
    let ApiKeys { key_number, key, certificate_number, .. } = ApiKeys::default();
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/signing");
    let usual = [
        ("key_number", format!("{key_number:?}")),
        ("key", format!("{key:?}")),
        ("private_key", format!("{:?}", certs.join("app.key"))),
        ("certificates", format!("{{ {certificate_number} = {:?} }}", certs.join("platform.pem"))),
    ];
    let usual = usual
        .iter()
        .filter(|(name, _)| !lines.lines().any(|line| line.starts_with(&format!("{name} ="))))
        .map(|(name, value)| format!("{name} = {value}\n"));
    format!("paths = [\"/cgi-bin/\", \"/wxa/\"]\n[account.signing]\n{}{lines}", usual.collect::<String>())
}

fn settings(lines: &str) -> Settings {
    note_keys();
    Settings { account: account(lines), ..Settings::default() }
}

async fn wechat() -> WeChat {
    WeChat::with(&["--api-security"]).await
}

fn assert_plain(answer: &Response) {
    assert_eq!((answer.status, answer.errcode()), (200, 0), "{answer:?}");
    assert!(!answer.text().contains(CIPHERTEXT) && !answer.text().contains("_appid"), "{answer:?}");
    assert!(
        !answer.headers.iter().any(|(name, _)| name.to_lowercase().starts_with("wechatmp-")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn plain_calls_are_encrypted_signed_and_answered_in_plain() {
    let wechat = wechat().await;
    let plain = Gate::with(
        &wechat.url,
        Settings { account: "paths = [\"/wxa/\"]".to_owned(), ..Settings::default() },
    );
    assert_eq!(plain.await.post(RISK, ORDER).await.errcode(), 40232, "WeChat asks for it");
    let gate =
        Gate::with(&wechat.url, settings("private_key_number = \"97845f6ed842ea860df6fdf65941ff56\"\n"))
            .await;
    let answer = gate.post(RISK, ORDER).await;
    assert_plain(&answer);
    assert_eq!(answer.json()["errmsg"], "getuserriskrank succ");
    // As old PHP sends JSON, and with members in the query.
    let form = ["Content-Type: application/x-www-form-urlencoded", "Accept-Encoding: gzip"];
    let target = format!("{RISK}?access_token=of-old&client_ip=127.0.0.1");
    assert_plain(&gate.send(&request("POST", &target, &form, br#"{"openid":"o1"}"#)).await);
    // What WeChat says about a call stands in an encrypted answer, too.
    let wrong = gate.post(RISK, "{}").await;
    assert_eq!((wrong.status, wrong.errcode()), (200, 40003), "{wrong:?}");
}

#[tokio::test]
async fn curl_and_php_post_plain_json() {
    let wechat = wechat().await;
    let gate = Gate::with(&wechat.url, settings("")).await;
    let url = format!("http://{}{RISK}", gate.addr);
    let curl = ["-sS", "--noproxy", "*", "-d", ORDER, &url];
    let curl = Command::new("curl").args(curl).output().await.unwrap();
    let php = format!(
        "$c = curl_init('{url}'); curl_setopt_array($c, [CURLOPT_POSTFIELDS => '{ORDER}', CURLOPT_RETURNTRANSFER => true]);\
         echo curl_exec($c);"
    );
    let php = Command::new("php").args(["-r", &php]).env("no_proxy", "*").output().await.unwrap();
    for output in [curl, php] {
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("getuserriskrank succ") && !said.contains(CIPHERTEXT), "{said}");
    }
}

#[tokio::test]
async fn a_dead_token_is_found_in_plain_and_behind_the_encryption_and_the_call_sealed_anew() {
    let wechat = wechat().await;
    let gate = Gate::with(&wechat.url, settings("")).await;
    assert_plain(&gate.post(RISK, ORDER).await);
    wechat.handle.steal_token();
    assert_plain(&gate.post(RISK, ORDER).await);
    assert_eq!(wechat.handle.stats().fetches.token, 2, "the thief's is counted apart");
    // The sandbox takes no text `_n` twice.
    for errcode in [40001, 42001] {
        wechat.handle.sealed_answers(SealedAnswers::Errcode(errcode), 1);
        assert_plain(&gate.post(RISK, ORDER).await);
    }
    wechat.handle.sealed_answers(SealedAnswers::Errcode(45009), 1);
    assert_eq!(gate.post(RISK, ORDER).await.errcode(), 45009);
}

#[tokio::test]
async fn an_answer_that_is_not_good_is_never_passed_on() {
    let wechat = wechat().await;
    let gate = admin::support::with(&wechat.url, "", settings("")).await;
    for (how, errcode, words) in [
        (SealedAnswers::Unsigned, 40234, "it is not signed"),
        (SealedAnswers::Tampered, 40234, "its signature does not fit the platform certificate"),
        (SealedAnswers::ForeignKey, 40234, "its signature does not fit the platform certificate"),
        (SealedAnswers::ForeignNumber, 40234, "certificate 0123456789abcdef0123456789abcdef, which"),
        (SealedAnswers::Stale, 40234, "it was signed 36"),
    ] {
        wechat.handle.sealed_answers(how, 1);
        let answer = gate.post(RISK, ORDER).await;
        assert_refused(&answer, 502, errcode, "signing", &format!("{how:?}"));
        assert!(answer.text().contains(words) && !answer.text().contains(CIPHERTEXT), "{answer:?}");
    }
    until_async("all are kept", async || {
        let calls = admin::support::json(&admin::support::get(&gate, "/calls").await);
        let said = calls["calls"][0]["error"].as_str().unwrap_or_default().to_owned();
        calls["calls"].as_array().map_or(0, Vec::len) == 5 && said.starts_with("signing: it was signed 36")
    })
    .await;
    let metrics = admin::support::get(&gate, "/metrics").await;
    assert!(metrics.text().contains("code=\"signing\"} 5\n"), "{}", metrics.text());
    let line = "wxgate_platform_certificate_expiry_timestamp_seconds{account=\"main\"} 4949";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    let status = admin::support::json(&admin::support::get(&gate, "/status").await);
    let certificate = &status["accounts"][0]["signing"]["certificates"][0];
    let number = ApiKeys::default().certificate_number;
    assert!(
        certificate["number"] == number && certificate["expires_at"] == "2126-11-02T20:31:12Z",
        "{status}"
    );
    // While certificates change, the old one is as good as ever.
    wechat.handle.sealed_answers(SealedAnswers::Changing, 1);
    assert_plain(&gate.post(RISK, ORDER).await);
}

#[tokio::test]
async fn keys_that_wechat_does_not_have_are_wechats_own_errors() {
    let wechat = wechat().await;
    let other = "key_number = \"1234\"\n";
    let gate = Gate::with(&wechat.url, settings(other)).await;
    assert_eq!(gate.post(RISK, ORDER).await.errcode(), 40235);
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/signing/platform.key");
    let gate = Gate::with(&wechat.url, settings(&format!("private_key = {certs:?}\n"))).await;
    assert_eq!(gate.post(RISK, ORDER).await.errcode(), 40234);
    let elsewhere = "url = \"https://api2.weixin.qq.com\"\n";
    let gate = Gate::with(&wechat.url, settings(elsewhere)).await;
    assert_eq!(gate.post(RISK, ORDER).await.errcode(), 40234, "another URL is signed");
}

fn keys() -> Keys {
    let ApiKeys { key_number, key, private_key, certificate_number, certificate, .. } = ApiKeys::default();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key_der = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).unwrap();
    Keys {
        key_number: key_number.to_owned(),
        key: SymmetricKey::from_base64(key).unwrap(),
        private_key_number: None,
        private_key: PrivateKey::from_der(&key_der).unwrap(),
        certificates: vec![
            PlatformCertificate::from_der(certificate_number.to_owned(), &certificate).unwrap(),
        ],
        url: String::new(),
        paths: Vec::new(),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A body sealed for a path, and the lines of its fields.
fn sealed(keys: &Keys, path: &str, plain: &[u8], iv: u8) -> (Vec<String>, Vec<u8>) {
    let url = format!("https://api.weixin.qq.com{path}");
    let stamp = Stamp { seconds: now(), nonce: &format!("n{iv}"), iv: [iv; 12] };
    let sealed = seal(keys, Subject { url: &url, appid: APPID }, plain, stamp).unwrap();
    let fields = vec![
        format!("Wechatmp-Appid: {APPID}"),
        format!("Wechatmp-TimeStamp: {}", stamp.seconds),
        format!("Wechatmp-Signature: {}", sealed.signature),
    ];
    (fields, sealed.body)
}

#[tokio::test]
async fn a_call_that_its_caller_has_signed_is_left_alone() {
    let wechat = wechat().await;
    let gate = Gate::with(&wechat.url, settings("")).await;
    let (fields, body) = sealed(&keys(), RISK, ORDER.as_bytes(), 1);
    let lines: Vec<&str> = fields.iter().map(String::as_str).collect();
    // Through a stolen token, too: nothing of the token is signed.
    wechat.handle.steal_token();
    let answer = gate.send(&request("POST", RISK, &lines, &body)).await;
    assert!(answer.status == 200 && answer.text().contains(CIPHERTEXT), "{answer:?}");
    let mut headers = http::HeaderMap::new();
    for (name, value) in &answer.headers {
        headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let url = format!("https://api.weixin.qq.com{RISK}");
    let opened = open(&keys(), Subject { url: &url, appid: APPID }, &headers, &answer.body, now()).unwrap();
    assert!(String::from_utf8(opened.text).unwrap().contains("getuserriskrank succ"));
}

fn body_of(seen: &Seen) -> &str {
    std::str::from_utf8(&seen.body).unwrap()
}

#[tokio::test]
async fn what_wechat_does_not_encrypt_is_forwarded_as_it_is() {
    let fake = Fake::answering(|_| Reply::json(r#"{"errcode":0}"#)).await;
    let gate = Gate::with(&fake.url(), settings("paths = [\"/wxa/*\"]\n")).await;
    let json = "Content-Type: application/json";
    let long = vec![b'x'; 2 << 20];
    for (method, target, field, body) in [
        ("GET", "/wxa/getwxadevinfo?a=1", "X-A: b", &b""[..]),
        ("POST", "/wxa/img_sec_check", "Content-Type: Multipart/form-data; boundary=x", &long),
        ("POST", "/wxa/x?a=1", json, b"a=1&b=2"),
        ("POST", "/wxa/x?a=1", json, b"[1]"),
        ("POST", "/cgi-bin/menu/create", json, b"{}"),
        ("POST", "/wxa/x?a=1", "wechatmp-signature: mine", b"{}"),
    ] {
        let answer = gate.send(&request(method, target, &[field], body)).await;
        assert_eq!((answer.status, answer.errcode()), (200, 0), "{method} {target}: {answer:?}");
        let seen = fake.seen().pop().unwrap();
        let rest = target.split_once('?').map_or(String::new(), |(_, query)| format!("&{query}"));
        assert!(seen.line().contains(&format!("access_token={TOKEN}{rest} ")), "{}", seen.line());
        assert_eq!((seen.body == body, seen.fields(field.split(": ").next().unwrap()).len()), (true, 1));
    }
    assert_eq!(fake.calls(), 6);
}

#[tokio::test]
async fn nothing_of_a_call_but_its_path_is_seen_on_the_way() {
    let fake = Fake::answering(|_| Reply::errcode(45009)).await;
    let gate = Gate::with(&fake.url(), settings("")).await;
    let fields = ["Accept-Encoding: gzip", "Content-Type: application/json"];
    let sent = request("POST", &format!("{RISK}?openid=o1"), &fields, br#"{"client_ip":"127.0.0.1"}"#);
    let answer = gate.send(&sent).await;
    assert_eq!(answer.errcode(), 45009, "an error that WeChat answers before it decrypts");
    let seen = fake.seen().pop().unwrap();
    assert_eq!(seen.line(), format!("POST {RISK}?access_token={TOKEN} HTTP/1.1"));
    assert_eq!(seen.fields("Content-Type"), ["application/json"]);
    assert_eq!(seen.fields("Wechatmp-Appid"), [APPID]);
    assert!(
        seen.fields("Accept-Encoding").is_empty() && seen.fields("Wechatmp-Serial").is_empty(),
        "{}",
        seen.head
    );
    let body = body_of(&seen);
    assert!(
        body.starts_with(r#"{"iv":""#) && !body.contains("openid") && !body.contains("127.0.0.1"),
        "{body}"
    );
}

#[tokio::test]
async fn a_long_body_is_refused_and_so_is_a_query_that_cannot_be_encrypted() {
    let fake = Fake::answering(|_| Reply::errcode(45009)).await;
    let gate = Gate::with(&fake.url(), settings("")).await;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    assert_refused(&gate.post(RISK, &long).await, 413, 45001, "too-large", "1 MiB");
    assert_refused(&gate.post(&format!("{RISK}?a=%ff"), "{}").await, 400, 40066, "bad-request", "no UTF-8");
    let many = format!("{RISK}?a{}", "&a".repeat(32));
    assert_refused(&gate.post(&many, "{}").await, 400, 40066, "bad-request", "32 parameters");
    let small = Settings { limits: "max_body = \"64KiB\"".to_owned(), ..settings("") };
    let gate = Gate::with(&fake.url(), small).await;
    assert_refused(&gate.post(RISK, &long[..70_000]).await, 413, 45001, "too-large", "limits.max_body");
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn upstream_errors_pass_and_a_plain_success_does_not() {
    for (reply, status) in [
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"errcode\":0}", 0),
        ("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\nno", 0),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 31\r\n\r\n{\"iv\":\"\",\"data\":\"\",\"authtag\":\"\"}", 0),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", 0),
    ] {
        let bytes = match reply.contains("5000000") {
            true => [reply.as_bytes(), &[b' '; 5_000_000][..]].concat(),
            false => reply.as_bytes().to_vec(),
        };
        let fake = Fake::answering(move |_| Reply::Close(bytes.clone())).await;
        let gate = Gate::with(&fake.url(), settings("")).await;
        let answer = gate.post(RISK, ORDER).await;
        match status {
            0 => assert_refused(&answer, 502, 40234, "signing", reply),
            status => assert_eq!((answer.status, answer.text()), (status, "no"), "{answer:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_shows_calls_is_cleaned_behind_its_encryption() {
    const RID: &str = "/cgi-bin/openapi/rid/get";
    let platform = include_str!("../../certs/signing/platform.key");
    let platform =
        PrivateKey::from_der(&PrivateKeyDer::from_pem_slice(platform.as_bytes()).unwrap()).unwrap();
    let wechat = Keys { private_key: platform, ..keys() };
    let fake = Fake::answering(move |_| {
        let plain = format!(
            r#"{{"errcode":0,"request":{{"request_url":"access_token={TOKEN}"}},"pad":"{}"}}"#,
            "x".repeat(5000)
        );
        let plain = plaintext("", plain.as_bytes()).unwrap().unwrap();
        let (mut fields, body) = sealed(&wechat, RID, &plain, 2);
        fields.push(format!("Wechatmp-Serial: {}", ApiKeys::default().certificate_number));
        Reply::ok(&fields.iter().map(String::as_str).collect::<Vec<_>>(), body)
    })
    .await;
    let gate = Gate::with(&fake.url(), settings("")).await;
    let answer = gate.post(RID, r#"{"rid":"1-2-3"}"#).await;
    assert_plain(&answer);
    assert!(answer.text().contains("wxgate-placeholder") && !answer.text().contains(TOKEN), "{answer:?}");
}

#[tokio::test]
async fn a_caller_over_http2_is_served_like_any_other() {
    let wechat = wechat().await;
    let gate = Gate::with(&wechat.url, settings("")).await;
    let stream = TcpStream::connect(gate.addr).await.unwrap();
    let (mut sender, connection) = http2::over(stream).await;
    let request =
        http::Request::post(format!("http://h{RISK}")).body(Full::new(bytes::Bytes::from(ORDER))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("getuserriskrank succ"), "{body:?}");
    drop(sender);
    connection.await.unwrap().unwrap();
}
