//! Notes what has crossed the wire of an upstream connection; changes nothing.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::socket::Socket;

/// Plain for loopback, TLS otherwise.
pub(super) type Wire = Either<Socket, Box<TlsStream<Socket>>>;

/// What has happened on the wire since the exchange began; it decides whether a failed one may be repeated.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// A byte of the request was written.
    pub(super) written: Cell<bool>,
    /// A byte of the response was read.
    pub(super) read: Cell<bool>,
    /// In this poll of the driver a read found nothing; hyper asks several times.
    pub(super) dry: Cell<bool>,
}

impl Traffic {
    /// A new exchange begins.
    pub(super) fn begin(&self) {
        self.written.set(false);
        self.read.set(false);
    }
}

/// A wire and the note of what crosses it.
pub(super) struct Tap {
    pub(super) wire: Wire,
    pub(super) traffic: Rc<Traffic>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.traffic.dry.get() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.wire).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.traffic.read.set(true);
        }
        self.traffic.dry.set(outcome.is_pending());
        outcome
    }
}

impl Tap {
    fn noted(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = outcome {
            self.traffic.written.set(true);
        }
        outcome
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.wire).poll_write(cx, buf);
        self.noted(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.wire).poll_write_vectored(cx, bufs);
        self.noted(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
