//! Upstreams that answer from a script, byte by byte, for what no sandbox should be able to do.
//!
//! Plain HTTP on loopback. A fake issues the token [`TOKEN`], again and again, unless its script says else;
//! everything else that was sent to it is kept as raw bytes, and it counts what began and what ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::gate::note_credential;

/// The token that fakes issue.
pub(crate) const TOKEN: &str = "FAKE_TOKEN-5f2c8b1e9d7a4c3b6e0f8a9d2c1b7e4f5a6d3c8b9e0f1a2d";

/// Of a larger body only the beginning is kept.
const KEPT: usize = 32 << 20;

/// A request as it came: its head, text up to and including the empty line, and its body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Bytes of the body, kept or not.
    pub(crate) length: usize,
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

    /// All lines but the first, sorted.
    pub(crate) fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.head.trim_end().lines().skip(1).collect();
        lines.sort_unstable();
        lines
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
    /// The first bytes; the second ones after the signal.
    Then(Vec<u8>, Arc<Notify>, Vec<u8>),
    /// The first bytes, one at a time, each in a segment of its own.
    Dribble(Vec<u8>),
    /// The bytes, then so many zeros.
    Zeros(Vec<u8>, u64),
    /// The bytes, then a reset.
    Reset(Vec<u8>),
}

impl Reply {
    /// A 200 with this JSON, spelled as WeChat does.
    pub(crate) fn json(body: &str) -> Self {
        Self::ok(&["Content-Type: application/json; encoding=utf-8"], body)
    }

    /// A 200 with these fields and a `Content-Length`.
    pub(crate) fn ok(fields: &[&str], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
        for field in fields {
            head += field;
            head += "\r\n";
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// The `Content-Type` lines that WeChat's own errors come with, and an errcode.
    pub(crate) fn errcode(errcode: i64) -> Self {
        Self::json(&format!(r#"{{"errcode":{errcode},"errmsg":"no hint"}}"#))
    }
}

/// A call of this path is not read beyond its head, nor answered.
pub(crate) const UNREAD: &str = "/cgi-bin/unread";

/// What a fake answers to its n-th token call, counted from 0.
type TokenScript = Arc<dyn Fn(usize) -> Reply + Send + Sync>;

/// What happened to a fake.
#[derive(Default)]
struct Events {
    seen: Mutex<Vec<Seen>>,
    /// Heads of calls that came, whether or not their bodies did.
    began: AtomicUsize,
    /// Connections that were open, and those that ended while an answer was owed.
    opened: AtomicUsize,
    closed: AtomicUsize,
    abandoned: AtomicUsize,
    tokens: AtomicUsize,
}

/// A running fake; stops when dropped.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    events: Arc<Events>,
    task: JoinHandle<()>,
}

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
        let issue = move |n| {
            let token = tokens(n + 1);
            note_credential(&token);
            Reply::json(&serde_json::json!({"access_token": token, "expires_in": 7200}).to_string())
        };
        Self::scripted(issue, script).await
    }

    /// The same with a new token for each token call: [`token`] of 0, 1, 2 …
    pub(crate) async fn renewing(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::issuing(|n| token(n - 1), script).await
    }

    /// The same with a script for its token calls.
    pub(crate) async fn scripted(
        tokens: impl Fn(usize) -> Reply + Send + Sync + 'static,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let events = Arc::new(Events::default());
        let (tokens, script): (TokenScript, Script) = (Arc::new(tokens), Arc::new(script));
        let kept = Arc::clone(&events);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tokens, script, kept) = (Arc::clone(&tokens), Arc::clone(&script), Arc::clone(&kept));
                tokio::spawn(async move {
                    let connection = kept.opened.fetch_add(1, Ordering::SeqCst);
                    // An error is a peer that went away.
                    let _ = serve(stream, tokens, script, &kept, connection).await;
                    kept.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, events, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The requests so far, token calls left out, in the order in which they were whole.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.events.seen.lock().unwrap().clone()
    }

    /// How many they are.
    pub(crate) fn calls(&self) -> usize {
        self.events.seen.lock().unwrap().len()
    }

    /// How many calls began, token calls left out.
    pub(crate) fn began(&self) -> usize {
        self.events.began.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.events.opened.load(Ordering::SeqCst) - self.events.closed.load(Ordering::SeqCst)
    }

    /// How many connections the other side closed while it waited for an answer.
    pub(crate) fn abandoned(&self) -> usize {
        self.events.abandoned.load(Ordering::SeqCst)
    }

    /// How many token calls came.
    pub(crate) fn fetches(&self) -> usize {
        self.events.tokens.load(Ordering::SeqCst)
    }
}

/// The n-th token of a renewing fake.
pub(crate) fn token(n: usize) -> String {
    let token = format!("FAKE-{n}_{}", &TOKEN[5..]);
    note_credential(&token);
    token
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    tokens: TokenScript,
    script: Script,
    events: &Events,
    connection: usize,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
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
        let is_token_call = head.contains(" /cgi-bin/token?") || head.contains(" /cgi-bin/gettoken?");
        if !is_token_call {
            events.began.fetch_add(1, Ordering::SeqCst);
        }
        if head.contains(UNREAD) {
            return std::future::pending().await;
        }
        let length = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().to_owned()))
            .map_or(0, |v| v.parse::<usize>().unwrap());
        let mut dropped = 0;
        while buffer.len() + dropped < length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            if buffer.len() > KEPT {
                dropped += buffer.len() - KEPT;
                buffer.truncate(KEPT);
            }
        }
        let body = buffer.drain(..length - dropped).collect();
        let seen = Seen { head, body, length, connection };
        let reply = if is_token_call {
            tokens(events.tokens.fetch_add(1, Ordering::SeqCst))
        } else {
            events.seen.lock().unwrap().push(seen.clone());
            script(&seen)
        };
        match reply {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
            Reply::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Silence => return abandoned(&mut stream, events).await,
            Reply::Held(mut released, bytes) => {
                // An error is a test that has ended.
                if released.wait_for(|released| *released).await.is_err() {
                    return Ok(());
                }
                stream.write_all(&bytes).await?;
            }
            Reply::Then(first, signal, second) => {
                stream.write_all(&first).await?;
                tokio::select! {
                    () = signal.notified() => stream.write_all(&second).await?,
                    ended = abandoned(&mut stream, events) => return ended,
                }
            }
            Reply::Dribble(bytes) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    tokio::task::yield_now().await;
                }
            }
            Reply::Zeros(head, mut left) => {
                stream.write_all(&head).await?;
                let zeros = vec![0; 256 << 10];
                while left > 0 {
                    let here = left.min(zeros.len() as u64);
                    stream.write_all(&zeros[..usize::try_from(here).unwrap()]).await?;
                    left -= here;
                }
            }
            Reply::Reset(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.set_zero_linger();
            }
        }
    }
}

/// Waits until the other side has closed.
async fn abandoned(stream: &mut TcpStream, events: &Events) -> std::io::Result<()> {
    let mut waste = [0; 4096];
    while stream.read(&mut waste).await.unwrap_or(0) > 0 {}
    events.abandoned.fetch_add(1, Ordering::SeqCst);
    Ok(())
}
