//! What callers send and what wxgate holds is in no log line, at no level, whatever goes wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::child::{Child, run, serve, wxgate};
use crate::support::fake::{Fake, Reply, Seen, TOKEN};
use crate::support::gate::{APPID, SECRET, Settings, note_credential};

/// A credential of its own for each place where a caller could put one.
fn secret() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let secret = format!("callers0secret0{:04}", NEXT.fetch_add(1, Ordering::Relaxed));
    note_credential(&secret);
    secret
}

/// Sends bytes as they are and reads what comes until the connection ends or nothing more comes.
async fn send(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 64 * 1024];
    let length = stream.read(&mut answer).await.unwrap_or_default();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn with_body(head: &str, body: &str) -> String {
    format!("{head}\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Requests with secrets in them, each with the status that it gets: good ones, malformed ones, and good ones
/// that the upstream does not answer well.
fn requests() -> Vec<(u16, String)> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let field = |field: &str| format!("GET /cgi-bin/user/get HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let form = "Content-Type: application/x-www-form-urlencoded";
    let s = secret;
    let sick = secret();
    vec![
        // Where old apps and SDKs put them.
        (200, get(&format!("/cgi-bin/token?grant_type=client_credential&appid={APPID}&secret={}", s()))),
        (200, get(&format!("/cgi-bin/token?appid=wx-of-somebody-else&secret={}", s()))),
        (
            200,
            with_body(
                &format!("POST /cgi-bin/token HTTP/1.1\r\n{form}"),
                &format!("appid={APPID}&secret={}", s()),
            ),
        ),
        (
            200,
            with_body(
                "POST /cgi-bin/stable_token HTTP/1.1",
                &format!(r#"{{"appid":"{APPID}","secret":"{}","force_refresh":true}}"#, s()),
            ),
        ),
        (200, get(&format!("/cgi-bin/user/get?access_token={}", s()))),
        (200, get(&format!("/cgi-bin/user/get?%61ccess_token={}&access_token={}", s(), s()))),
        (200, get(&format!("/sns/jscode2session?appid={APPID}&secret={}&js_code={}", s(), s()))),
        (200, field(&format!("X-Wxgate-Key: {}", s()))),
        (200, field(&format!("Authorization: Bearer {}", s()))),
        (200, field(&format!("Authorization: Basic {}", s()))),
        (200, field(&format!("Proxy-Authorization: Basic {}", s()))),
        (200, field(&format!("Cookie: session={}", s()))),
        (200, field(&format!("Referer: https://cms.example.com/?token={}", s()))),
        (
            200,
            format!(
                "GET http://api.weixin.qq.com/cgi-bin/x?secret={} HTTP/1.1\r\nHost: api.weixin.qq.com\r\n\r\n",
                s()
            ),
        ),
        // Malformed: the log says why, but not with what.
        (400, format!("GET http://user:{}@a/cgi-bin/x HTTP/1.1\r\nHost: a\r\n\r\n", s())),
        (400, get(&format!("/cgi-bin/../x?secret={}", s()))),
        (400, get(&format!("/cgi-bin/x?secret=\"{}\"", s()))),
        (400, format!("GET /cgi-bin/x?secret={} HTTP/1.1\r\n\r\n", s())),
        (400, format!("GET /cgi-bin/x?secret={} HTTP/1.1\r\nHost: a\r\nHost: {}\r\n\r\n", s(), s())),
        (400, field(&format!("Content-Length: 1\r\nContent-Length: 2\r\nAuthorization: {}", s()))),
        (400, with_body("POST /cgi-bin/x HTTP/1.1\r\nTransfer-Encoding: chunked", &s())),
        (400, format!("GET /cgi-bin/x?secret={} and more HTTP/1.1\r\nHost: a\r\n\r\n", s())),
        (400, field(&format!("a header without a colon {}", s()))),
        (405, format!("CONNECT {}:443 HTTP/1.1\r\nHost: {}\r\n\r\n", s(), s())),
        (404, get(&format!("/elsewhere?secret={}", s()))),
        (431, field(&format!("Authorization: {}{}", s(), "x".repeat(40_000)))),
        // A `?` that was forgotten or encoded makes the query a part of the path.
        (200, get(&format!("/cgi-bin/user/get&access_token={}", s()))),
        (400, get(&format!("/cgi-bin/user/get%3Faccess_token={}", s()))),
        (400, get(&format!("/cgi-bin/user/get%3faccess_token%3d{}", s()))),
        (400, get(&format!("/cgi-bin/user/get;access_token={}", s()))),
        // Upstreams that break off, stall and redirect.
        (502, get(&format!("/cgi-bin/breaks?secret={}", s()))),
        (504, get(&format!("/cgi-bin/stalls?secret={}", s()))),
        (302, get(&format!("/cgi-bin/redirects?secret={}", s()))),
        (200, get(&format!("/cgi-bin/refuses?secret={}", s()))),
        (200, get(&format!("/cgi-bin/refuses&secret={sick}"))),
        (200, get(&format!("/cgi-bin/refuses&secret={sick}"))),
        (200, with_body("POST /cgi-bin/refuses HTTP/1.1", &format!("{{\"secret\":\"{}\"}}", s()))),
    ]
}

#[tokio::test]
async fn no_secret_of_a_caller_and_no_token_is_logged_whatever_goes_wrong() {
    let answer = |seen: &Seen| {
        let target = seen.line().split(' ').nth(1).unwrap().to_owned();
        match target.split(['?', '&']).next().unwrap() {
            "/cgi-bin/breaks" => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
            "/cgi-bin/stalls" => Reply::Silence,
            "/cgi-bin/redirects" => Reply::Bytes(
                format!("HTTP/1.1 302 Found\r\nLocation: https://a{target}\r\nContent-Length: 0\r\n\r\n")
                    .into_bytes(),
            ),
            // Twice in a row: the warning about a path that is refused, with token, path and all.
            "/cgi-bin/refuses" => Reply::json(
                &serde_json::json!({"errcode": 40001, "errmsg": format!("invalid credential {target}")})
                    .to_string(),
            ),
            _ => Reply::json(&serde_json::json!({"access_token": target, "ticket": "t"}).to_string()),
        }
    };
    let fake = Fake::issuing(|nth| format!("{TOKEN}-{nth}"), answer).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        account: "paths = [\"/cgi-bin/\", \"/sns/\"]".to_owned(),
        upstream: "response_timeout = \"3s\"".to_owned(),
        ..Settings::default()
    };
    let mut child = Child::start(&mut serve(dir.path(), &fake.url(), &settings));
    let addr = child.addr().await;
    let requests = requests();
    let mut wrong = Vec::new();
    for (status, request) in &requests {
        let answer = send(addr, request).await;
        if !answer.starts_with(&format!("HTTP/1.1 {status} ")) {
            wrong.push(format!("{status}: {}\n{answer}", &request[..request.len().min(200)]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    child.signal("TERM");
    assert_eq!(child.code().await, 0);
    let log = child.stderr();
    assert!(log.lines().count() > requests.len(), "each request has left its line:\n{log}");
    assert!(log.contains("refused twice in a row"), "the sick path has been said:\n{log}");
    for leaked in ["callers0secret0", TOKEN, SECRET] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(leaked)).collect();
        assert!(lines.is_empty(), "{leaked} in\n{}", lines.join("\n"));
    }
}

#[tokio::test]
async fn an_upstream_that_repeats_the_secret_of_the_token_call_gets_it_into_no_log() {
    // A proxy on the way that prints the whole URL into its error page, say.
    let secret = "appsecret/with+odd&signs0001";
    note_credential(secret);
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = upstream.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let body = serde_json::json!({"errcode": 40125, "errmsg": format!("invalid appsecret, {request}")})
            .to_string();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        request
    });
    let dir = tempfile::tempdir().unwrap();
    // The connections kept ready would take the place of the token call.
    let settings = Settings { upstream: "warm_connections = 0".to_owned(), ..Settings::default() };
    let mut command = serve(dir.path(), &url, &settings);
    let file = dir.path().join("gate.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace(SECRET, secret);
    std::fs::write(&file, text).unwrap();
    let child = Child::start(&mut command);
    let line = child.line("40125").await;
    assert!(serving.join().unwrap().contains("appsecret%2Fwith%2Bodd%26signs0001"), "it was sent");
    assert!(!line.contains("odd"), "{line}");
}

#[tokio::test]
async fn a_wrong_configuration_is_said_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let secret = secret();
    for text in [
        format!("[[account]]\nappid = \"wx1\"\nsecret = {secret}\n"),
        format!("[[account]]\nappid = \"wx1\"\nsecret = \"{secret}\n"),
        format!("[[account]]\nappid = \"wx1\"\nsecret = {{ file = \"{secret}\" }}\n"),
        format!("[[account]]\nappid = \"wx1\"\nsecret = {{ env = \"{secret}\" }}\n"),
        format!("[[account]]\nappid = \"wx1\"\nsecret = {{ {secret} = 1 }}\n"),
        format!("[[account]]\nappid = \"wx1\"\nsecret = [\"{secret}\"]\n"),
        format!("[[account]]\nappid = \"wx1\"\nsecert = \"{secret}\"\n"),
        format!("[upstream]\nurl = \"https://user:{secret}@api.weixin.qq.com\"\n"),
    ] {
        std::fs::write(dir.path().join("wxgate.toml"), &text).unwrap();
        let ended = run(&mut wxgate(dir.path(), &["serve"])).await;
        assert_eq!(ended.code, Some(2), "{text}");
        assert!(!ended.stderr.contains(&secret), "{text}\n{}", ended.stderr);
    }
}
