//! What is seen on the wire: TLS, HTTP, compression, starting and stopping.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use wxgate_sandbox::{Options, Sandbox, command_until};

use super::{get, sandbox, send, token_call};
use crate::https::{self, Connection, request};

#[tokio::test]
async fn text_is_compressed_when_asked_for() {
    let it = sandbox().await;
    for target in
        [format!("/cgi-bin/user/get?access_token={}", it.token().await), "/cgi-bin/user/get".to_owned()]
    {
        let plain = get(it.addr, &target).await;
        let zipped = send(it.addr, &request("GET", &target, &["Accept-Encoding: gzip"], b"")).await;
        assert_eq!(zipped.header("Content-Encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*zipped.body).read_to_string(&mut text).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["errcode"], plain.json()["errcode"]);
        assert_eq!(value["data"], plain.json()["data"]);
    }
}

#[tokio::test]
async fn a_head_request_has_the_head_of_a_get() {
    let it = sandbox().await;
    let response = send(it.addr, &request("HEAD", "/cgi-bin/getcallbackip", &[], b"")).await;
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_ne!(response.header("Content-Length"), Some("0"));
}

#[tokio::test]
async fn http_1_0_is_served() {
    let it = sandbox().await;
    let response = send(it.addr, b"GET /cgi-bin/user/get HTTP/1.0\r\n\r\n").await;
    assert_eq!((response.errcode(), response.header("Connection")), (41001, Some("close")));
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_sessions_resume() {
    let it = sandbox().await;
    let config = https::client_config();
    for _ in 0..2 {
        let mut connection = Connection::tls_as(it.addr, "localhost", config.clone()).await.unwrap();
        for _ in 0..5 {
            connection.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await.unwrap();
        }
    }
    let connections = it.handle.stats().connections;
    assert_eq!((connections.accepted, connections.tls_full, connections.tls_resumed), (2, 1, 1));
    assert_eq!((connections.requests, connections.most_requests_on_one), (10, 5));
}

#[tokio::test]
async fn the_test_certificate_is_good_for_its_three_names_and_no_other() {
    let it = sandbox().await;
    for name in ["localhost", "127.0.0.1", "sandbox.wxgate.test"] {
        assert!(Connection::tls_as(it.addr, name, https::client_config()).await.is_ok(), "{name}");
    }
    assert!(Connection::tls_as(it.addr, "api.weixin.qq.com", https::client_config()).await.is_err());
}

#[tokio::test]
async fn plain_http_is_served_when_asked_for() {
    let options =
        Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), plain: true, ..Options::default() };
    let sandbox = Sandbox::bind(options).await.unwrap();
    let addr = sandbox.addr();
    assert_eq!(sandbox.url(), format!("http://{addr}"));
    tokio::spawn(sandbox.run(std::future::pending()));
    let response =
        Connection::plain(addr).await.send(&request("GET", &token_call(), &[], b"")).await.unwrap();
    assert_eq!(response.json()["expires_in"], 7200);
}

#[tokio::test]
async fn it_stops_when_told_to_though_connections_are_idle() {
    let options = Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Options::default() };
    let sandbox = Sandbox::bind(options).await.unwrap();
    let addr = sandbox.addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(sandbox.run(async move { _ = stopped.await }));
    let mut idle = Connection::tls(addr).await;
    idle.send(&request("GET", "/", &[], b"")).await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_and_options_that_contradict_are_told_apart() {
    let it = sandbox().await;
    let taken = Options { listen: it.addr, ..Options::default() };
    assert_eq!(Sandbox::bind(taken).await.err().unwrap().exit_code(), 1);
    let unpaired = Options { appids: vec!["wx1".to_owned(), "wx2".to_owned()], ..Options::default() };
    assert_eq!(Sandbox::bind(unpaired).await.err().unwrap().exit_code(), 2);
}

#[tokio::test]
async fn the_command_says_in_one_line_where_it_listens() {
    let mut said = Vec::new();
    let options = Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Options::default() };
    let code = command_until(options, &mut said, std::future::ready(())).await;
    let said = String::from_utf8(said).unwrap();
    let port = said
        .strip_prefix("listening on https://127.0.0.1:")
        .and_then(|rest| rest.strip_suffix(" (sandbox)\n"));
    assert!(code == 0 && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0)), "{said}");
}

#[tokio::test]
async fn the_command_names_what_it_cannot_use() {
    let mut said = Vec::new();
    let nowhere = || Some("/nowhere/x.pem".into());
    let options = Options { cert: nowhere(), key: nowhere(), ..Options::default() };
    assert_eq!(command_until(options, &mut said, std::future::ready(())).await, 2);
    assert!(String::from_utf8(said).unwrap().contains("cannot read `/nowhere/x.pem`"));
}
