//! What a connection over HTTP/2 writes, seen below it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::{LocalSet, spawn_local};

use super::serve;
use crate::listener::limits::tests::LIMITS;
use crate::listener::transport::Transport;
use crate::listener::{CallerBody, Handler, Limits, Rejection, drain};

/// A transport that keeps the length of each write.
struct Writes {
    io: DuplexStream,
    lengths: Rc<RefCell<Vec<usize>>>,
}

impl Writes {
    fn keep(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = &outcome {
            self.lengths.borrow_mut().push(*length);
        }
        outcome
    }
}

impl AsyncRead for Writes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Writes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.keep(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.keep(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Transport for Writes {
    const SAYS_GOODBYE: bool = false;
}

/// Answers everything with so many bytes.
struct Answers(usize);

impl Handler<()> for Answers {
    type Body = Full<Bytes>;

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn handle(
        &self,
        _: Request<CallerBody>,
        (): (),
    ) -> impl Future<Output = Response<Full<Bytes>>> + use<> + 'static {
        let length = self.0;
        async move { Response::new(Full::from(vec![b'a'; length])) }
    }

    fn reject(&self, _: Rejection, (): ()) -> Response<Full<Bytes>> {
        unreachable!("nothing is wrong with these requests")
    }
}

/// The lengths of the writes that answer four requests of one packet with bodies of so many bytes each.
async fn writes_of_four_answers(length: usize) -> Vec<usize> {
    let (mut caller, io) = duplex(1 << 16);
    let lengths = Rc::<RefCell<Vec<usize>>>::default();
    let writes = Writes { io, lengths: Rc::clone(&lengths) };
    let (_sender, drain) = drain::drain();
    LocalSet::new()
        .run_until(async {
            spawn_local(serve(writes, Bytes::new(), (), Rc::new(Answers(length)), drain));
            let mut requests = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
            for stream in [1, 3, 5, 7] {
                // HEADERS with END_STREAM and END_HEADERS: GET http://h/
                requests.extend_from_slice(&[0, 0, 6, 1, 5, 0, 0, 0, stream]);
                requests.extend_from_slice(b"\x82\x86\x84\x41\x01h");
            }
            caller.write_all(&requests).await.unwrap();
            let mut read = Vec::new();
            while read.iter().filter(|&&byte| byte == b'a').count() < 4 * length {
                assert_ne!(caller.read_buf(&mut read).await.unwrap(), 0);
            }
        })
        .await;
    lengths.take()
}

#[tokio::test]
async fn small_answers_that_are_ready_together_are_one_write() {
    let writes = writes_of_four_answers(1000).await;
    assert!(writes.iter().any(|&length| length > 4 * 1000), "{writes:?}");
}

#[tokio::test]
async fn a_larger_answer_goes_out_in_one_write_with_its_head() {
    let writes = writes_of_four_answers(3000).await;
    assert_eq!(writes.iter().filter(|&&length| length > 3000).count(), 4, "{writes:?}");
    assert!(!writes.contains(&3000), "{writes:?}");
}
