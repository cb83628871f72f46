//! Each option of the command line, as it is typed, and what it changes on the wire.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Parser;
use tokio::net::{TcpSocket, TcpStream};
use wxgate_sandbox::{DEFAULT_APPID, DEFAULT_SECRET, Handle, Options, Sandbox, command_until};

use super::{get, token_call};
use crate::https::{self, Connection, Response, request};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn options(arguments: &[&str]) -> Options {
    let usual = ["sandbox", "--listen", "127.0.0.1:0"];
    Arguments::parse_from(usual.iter().chain(arguments)).options
}

async fn start(arguments: &[&str]) -> (SocketAddr, Handle) {
    let sandbox = Sandbox::bind(options(arguments)).await.unwrap();
    let started = (sandbox.addr(), sandbox.handle());
    tokio::spawn(sandbox.run(std::future::pending()));
    started
}

async fn token(addr: SocketAddr) -> String {
    get(addr, &token_call()).await.json()["access_token"].as_str().unwrap().to_owned()
}

async fn errcode(addr: SocketAddr, token: &str) -> i64 {
    get(addr, &format!("/cgi-bin/user/get?access_token={token}")).await.errcode()
}

/// A token call over plain HTTP from an address of this machine.
async fn fetch_from(from: Ipv4Addr, addr: SocketAddr) -> Response {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream: TcpStream = socket.connect(addr).await.unwrap();
    Connection::over(stream).send(&request("GET", &token_call(), &[], b"")).await.unwrap()
}

#[tokio::test]
async fn appid_and_secret_are_the_ones_that_fetch() {
    let (addr, _) = start(&["--appid", "wx00000000000000ff", "--secret", "0123456789abcdef"]).await;
    let fetch = async |appid: &str, secret: &str| {
        let target = format!("/cgi-bin/token?grant_type=client_credential&appid={appid}&secret={secret}");
        get(addr, &target).await.errcode()
    };
    assert_eq!(fetch("wx00000000000000ff", "0123456789abcdef").await, 0);
    assert_eq!(fetch("wx00000000000000ff", DEFAULT_SECRET).await, 40125);
    assert_eq!(fetch(DEFAULT_APPID, DEFAULT_SECRET).await, 40013);
}

#[tokio::test]
async fn token_ttl_is_how_long_a_token_lives() {
    let (addr, handle) = start(&["--token-ttl", "90s"]).await;
    let answer = get(addr, &token_call()).await.json();
    assert_eq!(answer["expires_in"], 90);
    let token = answer["access_token"].as_str().unwrap();
    handle.advance(Duration::from_secs(85));
    assert_eq!(errcode(addr, token).await, 0);
    handle.advance(Duration::from_secs(5));
    assert_eq!(errcode(addr, token).await, 42001);
}

#[tokio::test]
async fn overlap_is_how_long_the_previous_token_works() {
    let (addr, handle) = start(&["--overlap", "20s"]).await;
    let (old, new) = (token(addr).await, token(addr).await);
    handle.advance(Duration::from_secs(15));
    assert_eq!((errcode(addr, &old).await, errcode(addr, &new).await), (0, 0));
    handle.advance(Duration::from_secs(5));
    assert_eq!((errcode(addr, &old).await, errcode(addr, &new).await), (40001, 0));

    let (addr, _) = start(&["--overlap", "0s"]).await;
    let (old, new) = (token(addr).await, token(addr).await);
    assert_eq!((errcode(addr, &old).await, errcode(addr, &new).await), (40001, 0), "without an overlap");
}

#[tokio::test]
async fn allow_ip_is_the_whitelist_and_can_be_repeated() {
    let (addr, handle) = start(&["--plain", "--allow-ip", "127.0.0.2", "--allow-ip", "127.0.0.3"]).await;
    for last in [2, 3] {
        assert_eq!(fetch_from(Ipv4Addr::new(127, 0, 0, last), addr).await.errcode(), 0, "127.0.0.{last}");
    }
    let refused = fetch_from(Ipv4Addr::LOCALHOST, addr).await;
    assert_eq!(refused.errcode(), 40164);
    let text = "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist rid: ";
    assert!(refused.json()["errmsg"].as_str().unwrap().starts_with(text), "{refused:?}");
    let peers = handle.stats().peers;
    let expected = [1, 2, 3].map(|last| (IpAddr::from([127, 0, 0, last]), 1));
    assert_eq!(peers.into_iter().collect::<Vec<_>>(), expected, "and stats name the addresses");
}

#[tokio::test]
async fn api_quota_is_counted_for_each_interface_and_comes_back_the_next_day() {
    let (addr, handle) = start(&["--api-quota", "2"]).await;
    let used = token(addr).await;
    for expected in [0, 0, 45009] {
        assert_eq!(errcode(addr, &used).await, expected);
    }
    assert_eq!(
        get(addr, &format!("/cgi-bin/getcallbackip?access_token={used}")).await.errcode(),
        0,
        "another one"
    );
    handle.advance(Duration::from_secs(86_400));
    assert_eq!(errcode(addr, &token(addr).await).await, 0);
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["my.test".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("my.pem"), dir.path().join("my.key"));
    std::fs::write(&cert, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let (addr, _) = start(&["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]).await;
    let trusting = https::client_config_with(pair.cert.der().clone());
    let mut connection = Connection::tls_as(addr, "my.test", trusting).await.unwrap();
    assert_eq!(
        connection.send(&request("GET", &token_call(), &[], b"")).await.unwrap().json()["expires_in"],
        7200
    );
    let usual = Connection::tls_as(addr, "localhost", https::client_config()).await;
    assert!(usual.is_err(), "the built-in one is not served beside it");
}

#[tokio::test]
async fn plain_says_so_where_it_listens() {
    let mut said = Vec::new();
    assert_eq!(command_until(options(&["--plain"]), &mut said, std::future::ready(())).await, 0);
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("listening on http://127.0.0.1:") && said.ends_with(" (sandbox)\n"), "{said}");
}
