//! Upstreams that answer from a script, byte by byte, for what no sandbox should be able to do.
//!
//! Plain HTTP on loopback. A fake issues the token [`TOKEN`], again and again, unless it was started with
//! other ones; everything else that was sent to it is kept as raw bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gate::note_credential;

/// The token that fakes issue.
pub(crate) const TOKEN: &str = "FAKE_TOKEN-5f2c8b1e9d7a4c3b6e0f8a9d2c1b7e4f5a6d3c8b9e0f1a2d";

/// A request as it came: its head, text up to and including the empty line, and its body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
}

impl Seen {
    /// The first line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The values of the fields with exactly this spelling.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        self.head.lines().skip(1).filter_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).collect()
    }
}

/// What a fake does with a request that is no token call: the bytes of its answer, and whether it closes.
pub(crate) type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// An answer from a script.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, then the next request.
    Bytes(Vec<u8>),
    /// These bytes, then the end of the connection.
    Close(Vec<u8>),
    /// Nothing at all, while the connection stays open.
    Silence,
    /// These bytes once the value is true, then the next request.
    Held(watch::Receiver<bool>, Vec<u8>),
}

impl Reply {
    /// A 200 with this JSON, spelled as WeChat does.
    pub(crate) fn json(body: &str) -> Self {
        Self::Bytes(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }
}

/// A running fake; stops when dropped.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    fetches: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// The token that the so-many-th token call gets, counted from 1.
type Issue = Arc<dyn Fn(usize) -> String + Send + Sync>;

impl Fake {
    /// An upstream that answers every call with what the script says.
    pub(crate) async fn answering(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::issuing(|_| TOKEN.to_owned(), script).await
    }

    /// The same with tokens of the test's own: `tokens` gets the number of the token call, from 1.
    pub(crate) async fn issuing(
        tokens: impl Fn(usize) -> String + Send + Sync + 'static,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let fetches = Arc::new(AtomicUsize::new(0));
        let issue: Issue = Arc::new(tokens);
        let (kept, counted) = (Arc::clone(&seen), Arc::clone(&fetches));
        let task = tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                // An error is a peer that went away.
                let (issue, counted) = (Arc::clone(&issue), Arc::clone(&counted));
                let issue = move || {
                    let token = issue(counted.fetch_add(1, Ordering::SeqCst) + 1);
                    note_credential(&token);
                    token
                };
                let serving = serve(stream, issue, Arc::clone(&script), Arc::clone(&kept), connection);
                tokio::spawn(async { _ = serving.await });
                connection += 1;
            }
        });
        Self { addr, seen, fetches, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The requests so far, token calls left out, in the order in which they were whole.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many they are.
    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// How many token calls there were.
    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    issue: impl Fn() -> String,
    script: Script,
    kept: Arc<Mutex<Vec<Seen>>>,
    connection: usize,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let length = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().to_owned()))
            .map_or(0, |v| v.parse::<usize>().unwrap());
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body = buffer.drain(..length).collect();
        let seen = Seen { head, body, connection };
        let reply = if seen.line().contains(" /cgi-bin/token?") {
            Reply::json(&serde_json::json!({"access_token": issue(), "expires_in": 7200}).to_string())
        } else {
            kept.lock().unwrap().push(seen.clone());
            script(&seen)
        };
        match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
            Reply::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Silence => std::future::pending::<()>().await,
            Reply::Held(mut released, bytes) => {
                // An error is a test that has ended.
                if released.wait_for(|released| *released).await.is_err() {
                    return Ok(());
                }
                stream.write_all(&bytes).await?;
            }
        }
    }
}
