//! The HTTPS listener: HTTP/1.1 and HTTP/2 by ALPN, client certificates, files that are wrong.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use wxgate::config::Config;

use crate::support::fake::{Fake, Reply};
use crate::support::gate::{Gate, Settings};
use crate::support::http2;
use crate::support::https::{Connection, client_config, request};
use crate::support::raw::Raw;
use crate::support::until::{PATIENCE, until};

fn certs(name: &str) -> String {
    format!("{}/certs/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn gate(fake: &Fake, more: &str) -> (Gate, SocketAddr) {
    limited(fake, more, "").await
}

async fn limited(fake: &Fake, more: &str, limits: &str) -> (Gate, SocketAddr) {
    let tables = format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\ncert = {:?}\nkey = {:?}\n{more}\n",
        certs("server.pem"),
        certs("server.key")
    );
    let (upstream, limits) = ("warm_connections = 0".to_owned(), limits.to_owned());
    let gate = Gate::with(&fake.url(), Settings { tables, limits, upstream, ..Settings::default() }).await;
    let addr = gate.tls_addr.expect("an HTTPS listener");
    (gate, addr)
}

async fn fake() -> Fake {
    Fake::answering(|seen| Reply::json(&format!(r#"{{"errcode":0,"length":{}}}"#, seen.body.len()))).await
}

#[tokio::test]
async fn https_serves_what_http_serves_and_keeps_the_connection() {
    let fake = fake().await;
    let (_gate, addr) = gate(&fake, "").await;
    let mut connection = Connection::tls(addr).await;
    for _ in 0..3 {
        let response = connection.send(&request("POST", "/cgi-bin/x", &[], b"hello")).await.unwrap();
        assert_eq!((response.status, response.json()["length"].as_u64()), (200, Some(5)));
    }
    assert_eq!(fake.seen().len(), 3);
}

/// A client that offers what `alpn` says and shows what `identity` says.
fn client(alpn: &[&[u8]], identity: Option<(&Path, &Path)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certs("ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(cert).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

#[tokio::test]
async fn http2_is_spoken_where_the_caller_prefers_it() {
    let fake = fake().await;
    let (_gate, addr) = gate(&fake, "").await;
    let tcp = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(client(&[b"h2", b"http/1.1"], None)).connect(name, tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, _connection) = http2::over(stream).await;
    // Several at once, on one connection.
    let calls = (0..20_usize).map(|n| {
        let body = Full::new(Bytes::from(vec![b'x'; n * 1000]));
        let request = http::Request::post(format!("https://localhost/cgi-bin/x?n={n}")).body(body).unwrap();
        let answer = sender.send_request(request);
        async move {
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(json["length"], n * 1000);
        }
    });
    let calls: Vec<_> = calls.map(tokio::spawn).collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn callers_beyond_max_connections_get_busy_over_tls_too() {
    let fake = fake().await;
    let (gate, addr) = limited(&fake, "", "max_connections = 1").await;
    let mut held = Connection::tls(addr).await;
    let call = request("GET", "/cgi-bin/x", &[], b"");
    assert_eq!(held.send(&call).await.unwrap().status, 200);
    for _ in 0..20 {
        let response = Connection::tls(addr).await.send(&call).await.unwrap();
        assert_eq!((response.status, response.errcode()), (503, -1));
        assert_eq!(response.header("X-Wxgate-Error"), Some("busy"));
        assert_eq!(response.header("Connection"), Some("close"));
    }
    let tcp = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(client(&[b"h2", b"http/1.1"], None)).connect(name, tcp).await.unwrap();
    let (mut sender, _connection) = http2::over(stream).await;
    let ask = http::Request::get("https://localhost/cgi-bin/x").body(Full::<Bytes>::default()).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(ask)).await.unwrap().unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-wxgate-error"]),
        (503, &"busy".parse().unwrap())
    );
    assert_eq!(held.send(&call).await.unwrap().status, 200);
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    while gate.get("/cgi-bin/x").await.status != 200 {
        assert!(Instant::now() < deadline, "the room is never free again");
    }
}

/// A certificate authority of the test's own and one client's certificate, in files.
fn client_pki(dir: &Path) {
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(["legacy-cms".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(dir.join("client.pem"), client.pem()).unwrap();
    std::fs::write(dir.join("client.key"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn with_a_client_ca_nobody_is_served_without_a_certificate_of_it() {
    let fake = fake().await;
    let dir = TempDir::new().unwrap();
    client_pki(dir.path());
    let ours = dir.path();
    let (_gate, addr) = gate(&fake, &format!("client_ca = {:?}", ours.join("ca.pem"))).await;
    let call = request("GET", "/cgi-bin/x", &[], b"");

    let known = client(&[], Some((&ours.join("client.pem"), &ours.join("client.key"))));
    let mut connection = Connection::tls_as(addr, "localhost", known).await.unwrap();
    assert_eq!(connection.send(&call).await.unwrap().status, 200);

    let other = TempDir::new().unwrap();
    client_pki(other.path());
    let stranger = client(&[], Some((&other.path().join("client.pem"), &other.path().join("client.key"))));
    for config in [client_config(), stranger] {
        // In TLS 1.3 the refusal may come with the first read rather than in the handshake.
        if let Ok(mut connection) = Connection::tls_as(addr, "localhost", config).await {
            assert!(connection.send(&call).await.is_err());
        }
    }
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_to_its_end_is_cut_off() {
    let fake = fake().await;
    let (_gate, addr) = limited(&fake, "", "header_timeout = \"2s\"").await;
    let beginnings =
        [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e"];
    futures_util::future::join_all(beginnings.map(async |beginning| {
        let mut raw = Raw::to(addr).await;
        raw.write(beginning).await;
        timeout(PATIENCE, raw.rest()).await.unwrap_or_else(|_| panic!("{}", beginning.escape_ascii()));
    }))
    .await;
    // Byte by byte it takes no longer.
    let mut raw = Raw::to(addr).await;
    raw.write(b"\x16\x03\x01\x40\x00").await;
    let start = Instant::now();
    let mut byte = [0];
    while timeout(Duration::from_millis(20), raw.stream.peek(&mut byte)).await.is_err() {
        raw.write(b"\x01").await;
        assert!(start.elapsed() < Duration::from_secs(10), "still dripping");
    }
    let mut connection = Connection::tls(addr).await;
    assert_eq!(connection.send(&request("GET", "/cgi-bin/x", &[], b"")).await.unwrap().status, 200);
}

#[tokio::test]
async fn handshakes_by_the_hundred_that_never_end_do_not_hold_up_the_others() {
    let fake = fake().await;
    let (_gate, addr) = limited(&fake, "", "header_timeout = \"60s\"").await;
    let mut stuck = Vec::new();
    for _ in 0..500 {
        let mut raw = Raw::to(addr).await;
        raw.write(b"\x16\x03\x01\x02\x00\x01\x00").await;
        stuck.push(raw);
    }
    let start = Instant::now();
    for _ in 0..10 {
        let mut connection = Connection::tls(addr).await;
        assert_eq!(connection.send(&request("GET", "/cgi-bin/x", &[], b"")).await.unwrap().status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_caller_who_reads_nothing_is_cut_off_here_too() {
    let fake = Fake::answering(|_| {
        Reply::Zeros(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n".to_vec(), 256 << 20)
    })
    .await;
    let (_gate, addr) = limited(&fake, "", "idle_timeout = \"2s\"").await;
    let connector = TlsConnector::from(client(&[], None));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, TcpStream::connect(addr).await.unwrap()).await.unwrap();
    stream.write_all(&request("GET", "/cgi-bin/x", &[], b"")).await.unwrap();
    stream.flush().await.unwrap();
    until("the call arrives", || fake.calls() == 1).await;
    let open = fake.open();
    until("the caller is cut off, and with it the call", || fake.open() < open).await;
}

#[test]
fn wrong_files_are_said_with_line_and_key() {
    let dir = TempDir::new().unwrap();
    client_pki(dir.path());
    let here = dir.path().display();
    for (cert, key, more, right) in [
        (format!("{here}/none.pem"), certs("server.key"), String::new(), "wxgate.toml:3: tls.cert: found \""),
        (certs("server.key"), certs("server.key"), String::new(), "wxgate.toml:3: tls.cert: "),
        (certs("server.pem"), certs("ca.pem"), String::new(), "wxgate.toml:4: tls.key: `"),
        (certs("server.pem"), format!("{here}/client.key"), String::new(), "wxgate.toml:3: tls.cert: "),
        (
            certs("server.pem"),
            certs("server.key"),
            format!("client_ca = \"{here}/client.key\"\n"),
            "wxgate.toml:5: tls.client_ca: ",
        ),
    ] {
        let text = format!(
            "[tls]\nlisten = [\"127.0.0.1:0\"]\ncert = {cert:?}\nkey = {key:?}\n{more}[[account]]\nappid = \"wx1\"\nsecret = \"s\"\n"
        );
        let env = |name: &str| (name == "HOME").then(|| "/tmp".into());
        let errors = Config::from_toml(&text, Path::new("wxgate.toml"), &env).unwrap_err().to_string();
        assert!(errors.starts_with(right), "{errors}");
    }
}

#[test]
fn an_open_https_listener_needs_callers_or_client_certificates() {
    let dir = TempDir::new().unwrap();
    client_pki(dir.path());
    let check = |more: &str, tables: &str| {
        let text = format!(
            "[tls]\nlisten = [\"0.0.0.0:8443\"]\ncert = {:?}\nkey = {:?}\n{more}[[account]]\nappid = \"wx1\"\nsecret = \"s\"\n{tables}",
            certs("server.pem"),
            certs("server.key")
        );
        let env = |name: &str| (name == "HOME").then(|| "/tmp".into());
        Config::from_toml(&text, Path::new("wxgate.toml"), &env).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(check("", "").unwrap_err().contains("tls.listen: found \"0.0.0.0:8443\""));
    assert_eq!(check(&format!("client_ca = \"{}/ca.pem\"\n", dir.path().display()), ""), Ok(()));
    assert_eq!(check("", "[[caller]]\nname = \"a\"\nkey = \"k\"\n"), Ok(()));
}

/// hyper reads ahead to see callers leave, and so gets the second head before the first answer.
#[tokio::test]
async fn pipelined_requests_over_tls_keep_their_header_case() {
    let (release, released) = watch::channel(false);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    let fake = Fake::answering(move |_| Reply::Held(released.clone(), answer.clone())).await;
    let (_gate, addr) = gate(&fake, "").await;
    let mut connection = Connection::tls(addr).await;
    let both = b"GET /cgi-bin/a HTTP/1.1\r\nHost: h\r\n\r\n\
        GET /cgi-bin/b HTTP/1.1\r\nhost: h\r\nX-WX: 1\r\nConnection: close\r\n\r\n";
    let answers = tokio::spawn(async move { connection.send_all(both).await });
    until("the first call", || fake.began() == 1).await;
    release.send(true).unwrap();
    let answers = timeout(PATIENCE, answers).await.expect("in time").unwrap().unwrap();
    assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 200 OK").count(), 2);
    assert!(fake.seen()[1].lines().contains(&"X-WX: 1"), "{:?}", fake.seen());
}
