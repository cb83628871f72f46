//! How wxgate reaches the upstream: from which address, over which connections, with what trust, and with whose token.

mod early_answers;
mod fallbacks;
mod limits;
mod outbound_proxy;
mod silence;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::ServerConnection;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::child::{Child, serve};
use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::{APPID, Gate, SECRET, Settings, note_credential};
use crate::support::https::Connection;
use crate::support::https::request;
use crate::support::tls::localhost;
use crate::support::until::{until, until_async};
use crate::support::wechat::WeChat;

#[tokio::test]
async fn calls_and_token_fetches_leave_from_the_egress_ip() {
    let wechat = WeChat::with(&["--allow-ip", "127.0.0.2"]).await;
    let upstream = "egress_ip = \"127.0.0.2\"".to_owned();
    let gate = Gate::with(&wechat.url, Settings { upstream, ..Settings::default() }).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    let stats = wechat.handle.stats();
    assert_eq!(stats.calls_by_path["/cgi-bin/token"], 2);
    // Two fetches, two calls, one of them three times.
    assert_eq!(stats.peers, [("127.0.0.2".parse().unwrap(), 6)].into());
}

#[tokio::test]
async fn an_address_that_is_not_whitelisted_is_named_to_caller_and_operator() {
    let wechat = WeChat::with(&["--allow-ip", "127.0.0.2"]).await;
    let dir = tempfile::tempdir().unwrap();
    let child = Child::start(&mut serve(dir.path(), &wechat.url, &Settings::default()));
    let mut caller = Connection::plain(child.addr().await).await;
    let refused = caller.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await.unwrap();
    assert_eq!((refused.status, refused.errcode()), (502, 40164), "{refused:?}");
    assert_eq!(refused.header("X-Wxgate-Error"), Some("token-refused"));
    let said = refused.json()["errmsg"].as_str().unwrap().to_owned();
    assert!(said.starts_with("wxgate: ") && said.contains("127.0.0.1"), "{said}");
    let line = child.line("refuses to issue a token: 40164").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "ERROR");
    let said = line["message"].as_str().unwrap();
    for word in ["Put 127.0.0.1 on the IP whitelist of", APPID, "WeChat's console", "Trying again in 60 s"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// A call that needs no token, so that not the lack of one but the upstream itself is what fails.
async fn call_without_token(gate: &Gate) -> crate::support::https::Response {
    let body = json!({"appid": APPID, "appsecret": SECRET}).to_string();
    gate.post("/cgi-bin/clear_quota/v2", body).await
}

/// The gate at `url` gets no further than the handshake, for calls and token fetches alike.
async fn is_refused(wechat: &WeChat, url: &str, settings: Settings) {
    let gate = Gate::with(url, settings).await;
    let response = call_without_token(&gate).await;
    assert_eq!((response.status, response.errcode()), (502, -1), "{response:?}");
    assert_eq!(response.header("X-Wxgate-Error"), Some("upstream-unreachable"));
    // The call, the first token fetch, the connections kept ready.
    until("handshakes fail", || wechat.handle.stats().connections.tls_failed >= 3).await;
    let stats = wechat.handle.stats();
    assert_eq!((stats.connections.requests, stats.connections.tls_full), (0, 0), "nothing was sent");
}

#[tokio::test]
async fn an_upstream_that_is_not_trusted_gets_nothing() {
    let wechat = WeChat::start().await;
    is_refused(&wechat, &wechat.url, Settings { distrusts_the_sandbox: true, ..Settings::default() }).await;
}

#[tokio::test]
async fn an_upstream_with_a_certificate_for_another_name_gets_nothing() {
    // The test certificate is for 127.0.0.1 and two host names.
    let wechat = WeChat::with(&["--listen", "127.0.0.2:0"]).await;
    is_refused(&wechat, &wechat.url, Settings::default()).await;
}

#[tokio::test]
async fn an_upstream_that_is_trusted_gets_the_same_call() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let response = call_without_token(&gate).await;
    assert_eq!((response.status, response.errcode()), (200, 0), "{response:?}");
}

#[tokio::test]
async fn two_accounts_get_tokens_of_their_own() {
    const OTHER: &str = "wx0000000000000002";
    const OTHER_SECRET: &str = "another0secret0another0secret002";
    note_credential(OTHER_SECRET);
    let pairs = ["--appid", APPID, "--secret", SECRET, "--appid", OTHER, "--secret", OTHER_SECRET];
    let wechat = WeChat::with(&pairs).await;
    let tables = format!(
        "[[account]]\nname = \"shop\"\nappid = \"{OTHER}\"\nsecret = \"{OTHER_SECRET}\"\nprefix = \"/shop\"\n"
    );
    let gate = Gate::with(&wechat.url, Settings { tables, ..Settings::default() }).await;
    let clear = |appid: &str| json!({"appid": appid}).to_string();
    // The sandbox refuses an appid that is not the token's own.
    for (base, own, other) in [("", APPID, OTHER), ("/shop", OTHER, APPID)] {
        let target = format!("{base}/cgi-bin/clear_quota");
        assert_eq!(gate.post(&target, clear(own)).await.errcode(), 0, "{base}");
        assert_eq!(gate.post(&target, clear(other)).await.errcode(), 40013, "{base}");
    }
    // One account's dead token costs the other nothing.
    let mut thief = Connection::tls(wechat.addr).await;
    thief.send(&request("POST", &format!("/sandbox/steal-token?appid={OTHER}"), &[], b"")).await.unwrap();
    assert_eq!(gate.get("/shop/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    let stats = wechat.handle.stats();
    assert_eq!(stats.fetches.token, 3);
    // And a file for each.
    for appid in [APPID, OTHER] {
        let file = gate.state_dir().join(format!("{appid}.json"));
        until("the token is stored", || file.is_file()).await;
    }
    let calls =
        |appid: &str| stats.per_token.iter().filter(|t| t.appid == appid).map(|t| t.calls).sum::<u64>();
    assert_eq!((calls(APPID), calls(OTHER)), (3, 3));
}

#[tokio::test]
async fn each_account_calls_its_own_api_host() {
    let (first, second) = (
        Fake::issuing(|_| token(1), |_| Reply::json(r#"{"host":1}"#)).await,
        Fake::issuing(|_| token(2), |_| Reply::json(r#"{"host":2}"#)).await,
    );
    let tables = format!(
        "[[account]]\nname = \"two\"\nappid = \"wx2\"\nsecret = \"s3cret-of-wx2\"\nprefix = \"/two\"\nupstream = {:?}\n",
        second.url()
    );
    let gate = Gate::with(&first.url(), Settings { tables, ..Settings::default() }).await;
    for (path, fake, number) in [("/cgi-bin/x", &first, 1), ("/two/cgi-bin/x", &second, 2)] {
        assert_eq!(gate.get(path).await.json()["host"], number);
        let [seen] = &fake.seen()[..] else { panic!("{path}: {:?}", fake.seen()) };
        assert_eq!(seen.line(), format!("GET /cgi-bin/x?access_token={} HTTP/1.1", token(number)));
        assert_eq!(seen.fields("Host"), [fake.addr.to_string()]);
        assert_eq!(fake.fetches(), 1);
    }
}

#[tokio::test]
async fn a_reload_keeps_the_connections_to_an_api_host_that_stays() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let lonely = Settings {
        top: "workers = 1".to_owned(),
        upstream: "warm_connections = 0".to_owned(),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), lonely).await;
    gate.get("/cgi-bin/x").await;
    let changed = Settings {
        top: "workers = 1\naccess_log = false".to_owned(),
        upstream: "warm_connections = 0".to_owned(),
        account: "paths = [\"/cgi-bin/\", \"/datacube/\"]".to_owned(),
        ..Settings::default()
    };
    gate.reload(&fake.url(), &changed).await;
    until_async("the reload", async || gate.get("/datacube/x").await.status == 200).await;
    let connections: Vec<_> = fake.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [connections[0]; 2]);
}

/// A road to the upstream. While it is `blocked`, who sets out on it gets nowhere, and who is on it already comes back
/// only when somebody has set out.
struct Road {
    addr: SocketAddr,
    blocked: watch::Sender<bool>,
    set_out: watch::Sender<usize>,
}

impl Road {
    async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let road = Self {
            addr: listener.local_addr().unwrap(),
            blocked: watch::Sender::new(false),
            set_out: watch::Sender::new(0),
        };
        let (blocked, set_out) = (road.blocked.clone(), road.set_out.clone());
        tokio::spawn(async move {
            let mut stuck = Vec::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                if *blocked.borrow() {
                    stuck.push(near);
                    set_out.send_modify(|count| *count += 1);
                    continue;
                }
                let (mut from, mut back) = near.into_split();
                let (mut answers, mut to) = TcpStream::connect(upstream).await.unwrap().into_split();
                tokio::spawn(async move { copy(&mut from, &mut to).await });
                let (blocked, mut set_out) = (blocked.clone(), set_out.subscribe());
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = answers.read(&mut bytes).await {
                        if *blocked.borrow() {
                            set_out.wait_for(|count| *count > 0).await.unwrap();
                        }
                        back.write_all(&bytes[..count]).await.unwrap();
                    }
                });
            }
        });
        road
    }
}

#[tokio::test]
async fn a_call_without_a_connection_takes_one_that_is_free_before_its_own_is_made() {
    let wechat = WeChat::start().await;
    let road = Road::to(wechat.addr).await;
    let url = format!("https://{}", road.addr);
    let settings = Settings {
        top: "workers = 1".to_owned(),
        upstream: "warm_connections = 0\nconnect_timeout = \"1m\"".to_owned(),
        ..Settings::default()
    };
    let gate = Gate::with(&url, settings).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    road.blocked.send_replace(true);
    // The first is answered when the other is in need of a connection of its own, which it never gets.
    let (first, second) = tokio::join!(gate.get("/cgi-bin/user/get"), gate.get("/cgi-bin/user/get"));
    assert_eq!((first.errcode(), second.errcode()), (0, 0));
    assert_eq!(*road.set_out.borrow(), 1);
}

/// An upstream that ends each connection with the last bytes of its handshake; how many there were.
fn upstream_that_takes_leave() -> (SocketAddr, Arc<AtomicUsize>) {
    let (chain, key) = localhost();
    // In TLS 1.2 the last bytes are the server's, if the handshake is a whole one.
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            while tls.is_handshaking() && tls.read_tls(&mut socket).is_ok_and(|count| count > 0) {
                tls.process_new_packets().unwrap();
                if !tls.is_handshaking() {
                    tls.send_close_notify();
                }
                while tls.wants_write() && tls.write_tls(&mut socket).is_ok() {}
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (addr, ended)
}

#[tokio::test]
async fn an_upstream_that_ends_each_connection_at_once_holds_no_call_and_is_not_stormed() {
    let (addr, ended) = upstream_that_takes_leave();
    let begun = Instant::now();
    let settings = Settings { top: "workers = 1".to_owned(), ..Settings::default() };
    let gate = Gate::with(&format!("https://{addr}"), settings).await;
    let call = call_without_token(&gate);
    let response = timeout(Duration::from_secs(10), call).await.expect("the call is answered");
    assert_eq!((response.status, response.errcode()), (502, -1), "{response:?}");
    assert_eq!(response.header("X-Wxgate-Error"), Some("upstream-unreachable"));
    // Two for the call, a few for the token, and at most two of those kept ready for each second and each call.
    until("connections go on being made", || ended.load(Ordering::Relaxed) >= 14).await;
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
}
