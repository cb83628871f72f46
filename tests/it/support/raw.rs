//! A client of bytes: sends what no library would, and reads answers one after the other.
//!
//! It understands `Content-Length` and chunked answers, so that what is left behind an answer is seen too.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::https::Response;
use super::until::PATIENCE;

/// One plain connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    pub(crate) async fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Writes; that the other side has closed meanwhile is for the reading to find out.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Writes a request and reads its answer.
    pub(crate) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        let head_only = bytes.as_ref().starts_with(b"HEAD ");
        self.write(bytes).await;
        self.answer(head_only).await
    }

    /// The next answer, which must be whole.
    pub(crate) async fn answer(&mut self, head_only: bool) -> Response {
        timeout(PATIENCE, self.read_answer(head_only))
            .await
            .expect("an answer in time")
            .expect("a whole answer")
    }

    /// The next answer, or the way in which it broke off.
    pub(crate) async fn try_answer(&mut self) -> io::Result<Response> {
        timeout(PATIENCE, self.read_answer(false)).await.expect("an answer or its end in time")
    }

    /// The head of the next answer; its body stays unread.
    pub(crate) async fn head(&mut self) -> io::Result<Response> {
        timeout(PATIENCE, self.read_head()).await.expect("a head in time")
    }

    /// Whether nothing more comes, and what came before that.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.unread);
        let reading = async { while self.stream.read_buf(&mut rest).await.unwrap_or(0) > 0 {} };
        timeout(PATIENCE, reading).await.expect("the connection is closed in time");
        rest
    }

    /// So many more bytes of a body.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let reading = async {
            while self.unread.len() < count {
                self.more().await.unwrap();
            }
        };
        timeout(PATIENCE, reading).await.expect("bytes in time");
        self.unread.drain(..count).collect()
    }

    /// How many bytes have been received that no call has handed out.
    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn read_head(&mut self) -> io::Result<Response> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 128];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = head.parse(&self.unread).unwrap() {
                let text = |header: &httparse::Header<'_>| {
                    (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
                };
                let headers = head.headers.iter().map(text).collect();
                let response = Response { status: head.code.unwrap(), headers, body: Vec::new() };
                self.unread.drain(..length);
                if response.status == 100 {
                    continue;
                }
                return Ok(response);
            }
            self.more().await?;
        }
    }

    async fn read_answer(&mut self, head_only: bool) -> io::Result<Response> {
        let mut response = self.read_head().await?;
        let field = |name: &str| {
            let found = response.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        let length = field("content-length").map(|v| v.parse::<usize>().unwrap());
        let chunked = field("transfer-encoding").is_some();
        assert!(!(chunked && length.is_some()), "both lengths: {response:?}");
        match length {
            _ if head_only || matches!(response.status, 204 | 304) => {}
            Some(length) => {
                while self.unread.len() < length {
                    self.more().await?;
                }
                response.body = self.unread.drain(..length).collect();
            }
            None if chunked => response.body = self.chunks().await?,
            None => {
                while self.more().await.is_ok() {}
                response.body = std::mem::take(&mut self.unread);
            }
        }
        Ok(response)
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line = self.unread.drain(..end + 2).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
            while self.unread.len() < size + 2 {
                self.more().await?;
            }
            body.extend(self.unread.drain(..size));
            assert_eq!(self.unread.drain(..2).collect::<Vec<_>>(), b"\r\n");
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

/// Sends bytes on a connection of its own and reads one answer, after which the connection must be closed.
pub(crate) async fn refused(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let mut raw = Raw::to(addr).await;
    let response = raw.ask(bytes).await;
    assert_eq!(raw.rest().await, b"", "bytes behind the refusal");
    response
}
