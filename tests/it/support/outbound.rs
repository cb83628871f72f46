//! Proxies for outbound connections, HTTP's CONNECT and SOCKS5, that lead every name to one address; and a relay that
//! can be cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::gate::note_credential;

/// User and password that a proxy wants, where it wants them. They are noted for the search through the logs.
pub(crate) const LOGIN: (&str, &str) = ("outbound-user-4711", "outbound-p@ss/word:0815");

/// The same as a URL has them.
pub(crate) const LOGIN_IN_URL: &str = "outbound-user-4711:outbound-p%40ss%2Fword%3A0815@";

/// One connection that a proxy was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `name:port`, as it was asked.
    pub(crate) target: String,
    /// The address of who asked.
    pub(crate) from: std::net::IpAddr,
}

/// A running proxy; stops when dropped.
pub(crate) struct OutboundProxy {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl OutboundProxy {
    /// CONNECT, with Basic where `login` says so.
    pub(crate) async fn http(leads_to: SocketAddr, login: bool) -> Self {
        Self::start(leads_to, login, false).await
    }

    /// SOCKS5, with user and password where `login` says so.
    pub(crate) async fn socks5(leads_to: SocketAddr, login: bool) -> Self {
        Self::start(leads_to, login, true).await
    }

    async fn start(leads_to: SocketAddr, login: bool, socks: bool) -> Self {
        note_credential(LOGIN.1);
        note_credential(LOGIN_IN_URL);
        note_credential(&basic());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let noted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, from)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                connections.spawn(async move {
                    let target = match socks {
                        true => socks5(&mut stream, login).await,
                        false => connect(&mut stream, login).await,
                    };
                    // Nothing: it was refused, or left.
                    let Some(target) = target else { return };
                    noted.lock().unwrap().push(Asked { target, from: from.ip() });
                    let there = TcpStream::connect(leads_to).await;
                    let answer: &[u8] = match (socks, &there) {
                        (true, Ok(_)) => b"\x05\x00\x00\x01\0\0\0\0\0\0",
                        (true, Err(_)) => b"\x05\x05\x00\x01\0\0\0\0\0\0",
                        (false, Ok(_)) => b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n",
                        (false, Err(_)) => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
                    };
                    let _ = stream.write_all(answer).await;
                    if let Ok(mut there) = there {
                        let _ = copy_bidirectional(&mut stream, &mut there).await;
                    }
                });
            }
        });
        Self { addr, asked, task }
    }

    /// What it was asked for so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for OutboundProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn basic() -> String {
    BASE64_STANDARD.encode(format!("{}:{}", LOGIN.0, LOGIN.1))
}

async fn connect(stream: &mut TcpStream, login: bool) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let shown = format!("\r\nProxy-Authorization: Basic {}\r\n", basic());
    if login && !head.contains(&shown) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n";
        let _ = stream.write_all(refusal).await;
        return None;
    }
    let target = head.strip_prefix("CONNECT ").unwrap().split_once(' ').unwrap().0;
    assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
    Some(target.to_owned())
}

async fn socks5(stream: &mut TcpStream, login: bool) -> Option<String> {
    let mut methods = vec![0; 2];
    stream.read_exact(&mut methods).await.ok()?;
    let mut offered = vec![0; usize::from(methods[1])];
    stream.read_exact(&mut offered).await.ok()?;
    if login {
        if !offered.contains(&2) {
            let _ = stream.write_all(b"\x05\xff").await;
            return None;
        }
        stream.write_all(b"\x05\x02").await.ok()?;
        assert_eq!(stream.read_u8().await.ok()?, 1);
        let mut shown = Vec::new();
        for _ in 0..2 {
            let mut text = vec![0; usize::from(stream.read_u8().await.ok()?)];
            stream.read_exact(&mut text).await.ok()?;
            shown.push(String::from_utf8(text).unwrap());
        }
        let right = shown == [LOGIN.0, LOGIN.1];
        stream.write_all(if right { b"\x01\x00" } else { b"\x01\x01" }).await.ok()?;
        if !right {
            return None;
        }
    } else {
        stream.write_all(b"\x05\x00").await.ok()?;
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.ok()?;
    let host = match request[3] {
        1 => Ipv4Addr::from(stream.read_u32().await.ok()?).to_string(),
        3 => {
            let mut name = vec![0; usize::from(stream.read_u8().await.ok()?)];
            stream.read_exact(&mut name).await.ok()?;
            String::from_utf8(name).unwrap()
        }
        kind => panic!("an address of kind {kind}"),
    };
    Some(format!("{host}:{}", stream.read_u16().await.ok()?))
}

/// Passes connections on to one address until it is cut: then its connections are gone, and new ones are refused.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    leads_to: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(leads_to: SocketAddr) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        // An address of its own: nobody takes its port while it is cut.
        let (pid, count) = (std::process::id() % 250, COUNT.fetch_add(1, Ordering::SeqCst));
        let listener = TcpListener::bind(format!("127.99.{pid}.{count}:0")).await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { addr, leads_to, task: Self::pass(listener, leads_to) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// As when the machine at the other end dies.
    pub(crate) async fn cut(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// It is there again.
    pub(crate) async fn mend(&mut self) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        self.task = Self::pass(listener, self.leads_to);
    }

    fn pass(listener: TcpListener, leads_to: SocketAddr) -> JoinHandle<()> {
        tokio::spawn(async move {
            // Connections end with this task.
            let mut connections = JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut there = TcpStream::connect(leads_to).await.unwrap();
                    let _ = copy_bidirectional(&mut here, &mut there).await;
                });
            }
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
