//! A TCP line to a Redis that looks at each command on its way: it can be made one that the server does not know, go
//! somewhere else, or have its answer held back. Knows requests of RESP2; answers pass as they are.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::redis::{PATIENT, Redis};

/// A command's words.
pub(crate) type Words = Vec<Vec<u8>>;

/// What becomes of a command: its words may be changed, and `true` holds back all answers from here on.
type Meet = dyn Fn(&mut Words) -> bool + Send + Sync;

/// The line; it ends with the test.
pub(crate) struct RedisLine {
    pub(crate) port: u16,
    held: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl RedisLine {
    pub(crate) async fn to(redis: &Redis, meet: impl Fn(&mut Words) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), redis.port);
        let (meet, held): (Arc<Meet>, _) = (Arc::new(meet), watch::Sender::new(false));
        let holding = held.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Without a server it hangs up.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(requests(from_client, to_server, Arc::clone(&meet), holding.clone()));
                tokio::spawn(answers(from_server, to_client, holding.subscribe()));
            }
        });
        Self { port, held, accepting }
    }

    /// One that knows no other commands than these.
    pub(crate) async fn knowing(redis: &Redis, commands: &'static [&'static str]) -> Self {
        Self::to(redis, move |words| {
            let name = String::from_utf8_lossy(&words[0]).to_uppercase();
            if !commands.contains(&&*name) {
                words[0] = format!("no-{name}").into_bytes();
            }
            false
        })
        .await
    }

    /// The table that makes a wxgate use it.
    pub(crate) fn table(&self) -> String {
        format!("[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}/0\"\n", self.port)
    }

    /// The same for tests that count fetches, as [`Redis::patient_table`].
    pub(crate) fn patient_table(&self) -> String {
        self.table() + PATIENT
    }

    /// Waits until an answer is held back.
    pub(crate) async fn holds(&self) {
        self.held.subscribe().wait_for(|held| *held).await.unwrap();
    }

    /// Answers pass again.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }
}

impl Drop for RedisLine {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    meet: Arc<Meet>,
    held: watch::Sender<bool>,
) {
    let mut buffer = Vec::new();
    loop {
        while let Some((mut words, length)) = command(&buffer) {
            buffer.drain(..length);
            if meet(&mut words) {
                held.send_replace(true);
            }
            if to.write_all(&spelled(&words)).await.is_err() {
                return;
            }
        }
        if !matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let free = held.wait_for(|held| !held).await.is_ok();
        if !free || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// The first command in `bytes`, and how long it is; `None` while it is not complete.
fn command(bytes: &[u8]) -> Option<(Words, usize)> {
    let mut at = 0;
    let number = |mark: u8, at: &mut usize| -> Option<usize> {
        let end = *at + bytes.get(*at..)?.windows(2).position(|two| two == b"\r\n")?;
        assert_eq!(bytes[*at], mark, "a request in RESP2");
        let number = std::str::from_utf8(&bytes[*at + 1..end]).unwrap().parse().unwrap();
        *at = end + 2;
        Some(number)
    };
    let words = (0..number(b'*', &mut at)?)
        .map(|_| {
            let length = number(b'$', &mut at)?;
            let word = bytes.get(at..at + length)?.to_vec();
            at += length + 2;
            Some(word)
        })
        .collect::<Option<Words>>()?;
    (at <= bytes.len()).then_some((words, at))
}

fn spelled(words: &Words) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
