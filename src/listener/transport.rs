//! What a caller's bytes come through: TCP, a unix socket, TLS over either.

use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio_rustls::server::TlsStream;

use crate::socket::Socket;

/// A caller's connection below HTTP.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether its end is more than its close, and has to be written.
    const SAYS_GOODBYE: bool;

    /// Ready when something may have come.
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Told before the last write that its end follows at once.
    fn expect_end(&mut self) {}

    /// Told before its close that this must not be taken for the end of an answer.
    fn expect_reset(&mut self) {}
}

impl Transport for Socket {
    const SAYS_GOODBYE: bool = false;

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_readable(self, cx)
    }

    fn expect_end(&mut self) {
        Self::expect_end(self);
    }

    fn expect_reset(&mut self) {
        Self::expect_reset(self);
    }
}

impl Transport for UnixStream {
    const SAYS_GOODBYE: bool = false;
}

impl<S: Transport> Transport for TlsStream<S> {
    const SAYS_GOODBYE: bool = true;

    fn expect_reset(&mut self) {
        self.get_mut().0.expect_reset();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::io::DuplexStream;

    thread_local! {
        /// How often a transport has been told of its end.
        pub(in crate::listener) static TOLD: Cell<usize> = const { Cell::new(0) };
    }

    impl Transport for DuplexStream {
        const SAYS_GOODBYE: bool = false;

        fn expect_end(&mut self) {
            TOLD.set(TOLD.get() + 1);
        }
    }
}
