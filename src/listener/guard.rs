//! Stands between a caller's socket and hyper, and lets through only what can be read in one way.
//!
//! hyper accepts, and silently repairs, what request smuggling is made of, and answers what it does refuse
//! with an empty body. So the guard reads each head first ([`crate::http1::head`]), follows each body to its end
//! ([`crate::http1::chunks`]), and keeps the time limits of the caller's side. A head that is rejected is replaced by
//! a small request, and the service answers that one with the rejection ([`Present::rejection`]): answers come in
//! order, and hyper writes all of them.
//!
//! The usual head arrives in one read and is checked where hyper wants it, without a copy. The guard changes
//! no byte, and knows nothing of accounts and tokens.

mod close;
mod course;
mod limits;
mod rest;

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_rustls::server::TlsStream;

use super::handler::{Limits, Rejection};
use crate::deadline::Deadline;
use crate::socket::Socket;
use course::{Course, State, Verdict};
use limits::{Limit, Times};
pub(super) use rest::Rested;

/// The request that hyper reads in the place of a rejected one.
const REJECTED: &[u8] = b"GET / HTTP/1.1\r\nHost: wxgate\r\nConnection: close\r\n\r\n";

/// What a caller's bytes come through.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether its end is more than its close, and has to be written.
    const SAYS_GOODBYE: bool;

    /// Whether [`Self::poll_gone`] sees the caller leave. Otherwise hyper has to read ahead for that, which takes
    /// it a buffer for each request.
    const SEES_LEAVING: bool;

    /// Ready when the caller is seen to have left.
    fn poll_gone(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Ready when something may have come.
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Told before the last write that its end follows at once.
    fn expect_end(&mut self) {}
}

impl Transport for Socket {
    const SAYS_GOODBYE: bool = false;
    const SEES_LEAVING: bool = true;

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll_gone(self, cx)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_readable(self, cx)
    }

    fn expect_end(&mut self) {
        Self::expect_end(self);
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    const SAYS_GOODBYE: bool = true;
    // The goodbye is behind what can be seen without reading.
    const SEES_LEAVING: bool = false;
}

impl Transport for UnixStream {
    const SAYS_GOODBYE: bool = false;
    const SEES_LEAVING: bool = false;
}

/// What guard and service tell each other of a connection's present request.
#[derive(Debug, Clone, Default)]
pub(super) struct Present(Rc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    busy: Cell<bool>,
    /// How many have been begun since the connection began or rested.
    calls: Cell<usize>,
    /// Why the next request is to be rejected.
    rejection: Cell<Option<Rejection>>,
}

impl Present {
    /// From now on it is being served.
    pub(super) fn begin(&self) {
        self.0.busy.set(true);
        self.0.calls.set(self.calls() + 1);
    }

    /// Its answer has been handed over, or given up.
    pub(super) fn end(&self) {
        self.0.busy.set(false);
    }

    /// Why the request that hyper has read is to be rejected, if it is.
    pub(super) fn rejection(&self) -> Option<Rejection> {
        self.0.rejection.take()
    }

    fn calls(&self) -> usize {
        self.0.calls.get()
    }

    fn forget_calls(&self) {
        self.0.calls.set(0);
    }

    fn is_busy(&self) -> bool {
        self.0.busy.get()
    }
}

/// A caller's connection, guarded.
pub(super) struct Guard<S> {
    io: S,
    course: Course,
    /// Bytes that have been read but not been let through yet.
    kept: BytesMut,
    /// How many of those, from the first, may go through.
    approved: usize,
    present: Present,
    reading: Deadline,
    writing: Deadline,
    limits: Times,
}

impl<S: Transport> Guard<S> {
    pub(super) fn new(io: S, present: Present, limits: Limits) -> Self {
        Self {
            io,
            course: Course::new(limits.max_header_bytes),
            kept: BytesMut::new(),
            approved: 0,
            present,
            reading: Deadline::default(),
            writing: Deadline::default(),
            limits: Times::of(limits),
        }
    }

    /// Whether the caller began with HTTP/2's preface; then hyper's HTTP/1 side has seen nothing but an end.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.course.state, State::Preface)
    }

    /// The largest head that this caller may send.
    pub(super) fn max_head(&self) -> usize {
        self.course.max_head()
    }

    /// Whether hyper is to remember how this caller spells names.
    pub(super) fn keeps_spelling(&self) -> bool {
        self.course.keeps_spelling()
    }

    /// Lets everything through, from the preface on.
    pub(super) fn into_http2(mut self: Box<Self>) -> Box<Self> {
        self.approved = self.kept.len();
        self.course.state = State::Through;
        self
    }

    /// Whether hyper has nothing more to say: an end would cut nothing off.
    fn is_silent(&self) -> bool {
        !self.present.is_busy() && !self.writing.is_running()
    }

    /// Whether the caller owes nothing and has sent nothing that waits.
    fn is_clean(&self) -> bool {
        matches!(self.course.state, State::Head { .. } | State::Resting) && self.kept.is_empty()
    }

    /// Tells the transport when what hyper writes now is the end of the connection's last answer.
    fn foresee_end(&mut self) {
        if self.course.is_last() && !self.present.is_busy() && self.is_clean() {
            self.io.expect_end();
        }
    }

    /// Puts a request that stands for the rejected one in the place of what the caller sent.
    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.present.0.rejection.set(Some(rejection));
        self.kept.clear();
        self.kept.extend_from_slice(REJECTED);
        self.approved = self.kept.len();
        self.course.state = State::Refused;
    }

    /// Reads a piece behind what is kept; nothing is an end.
    fn poll_keep(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; 2048];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        self.kept.extend_from_slice(piece.filled());
        Poll::Ready(Ok(piece.filled().len()))
    }

    /// Hands approved bytes to hyper.
    fn release(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.approved.min(buf.remaining());
        buf.put_slice(&self.kept[..length]);
        self.kept.advance(length);
        self.approved -= length;
        if self.kept.is_empty() {
            // An idle connection holds no buffer.
            self.kept = BytesMut::new();
        }
    }
}

impl<S: Transport> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.approved > 0 {
                this.release(buf);
                return Poll::Ready(Ok(()));
            }
            match this.course.state {
                State::Preface | State::Resting => return Poll::Ready(Ok(())),
                State::Respelt if this.is_silent() => return Poll::Ready(Ok(())),
                // Woken with the flush.
                State::Respelt => return Poll::Pending,
                State::Refused => return Poll::Pending,
                State::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                _ => {}
            }
            if !this.course.has_seen(this.kept.len()) {
                match this.course.consider(&this.kept) {
                    Verdict::Pass(length) => {
                        this.approved = length;
                        this.reading.clear();
                    }
                    Verdict::Wait => {}
                    Verdict::Reject(error) => this.reject(error.into()),
                }
                continue;
            }
            let read = if this.kept.is_empty() {
                // Straight into hyper's buffer; whatever may not pass is taken out again.
                let start = buf.filled().len();
                let read = Pin::new(&mut this.io).poll_read(cx, buf)?;
                let fresh = &buf.filled()[start..];
                if read.is_ready() && !fresh.is_empty() {
                    let was_idle = matches!(this.course.state, State::Head { first: false });
                    let verdict = this.course.consider(fresh);
                    let pass = if let Verdict::Pass(length) = verdict { length } else { 0 };
                    this.kept.extend_from_slice(&fresh[pass..]);
                    buf.set_filled(start + pass);
                    // The time for a head begins with the connection, later with the head's first byte.
                    if pass > 0 || was_idle {
                        this.reading.clear();
                    }
                    match verdict {
                        Verdict::Pass(_) => return Poll::Ready(Ok(())),
                        Verdict::Wait => {}
                        Verdict::Reject(error) => this.reject(error.into()),
                    }
                    continue;
                }
                read.map(|()| 0)
            } else {
                this.poll_keep(cx)?
            };
            match read {
                // The caller has left, perhaps in the middle of a head.
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => continue,
                Poll::Pending => {}
            }
            match ready!(this.poll_limit(cx)) {
                Limit::Idle => return Poll::Ready(Ok(())),
                Limit::Rest => this.course.state = State::Resting,
                Limit::Head => this.reject(Rejection::HeadTimeout),
                Limit::Body => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            }
        }
    }
}

impl<S: Transport> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.foresee_end();
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.limited(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.foresee_end();
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.limited(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes with each of its polls; while a request is served it reads nothing.
        if self.present.is_busy() && self.is_clean() && self.io.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        let outcome = self.limited(cx, outcome);
        // hyper, where it reads ahead to see the caller leave, does not read again behind the answer: so the limit for
        // the next request begins here.
        let next = matches!(self.course.state, State::Head { first: false }) && !self.course.is_last();
        let ends = matches!(self.course.state, State::Respelt) && self.is_silent();
        if outcome.is_ready() && (ends || next && self.poll_limit(cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
        outcome
    }

    /// Does nothing before HTTP/2: [`Guard::close`] ends the connection, once the last answer can be read.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.course.state, State::Through) {
            return Poll::Ready(Ok(()));
        }
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.limited(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    pub(super) const HEAD: &[u8] = b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n";
    pub(super) const IDLE: Duration = Duration::from_secs(75);

    thread_local! {
        /// How often a transport has been told of its end.
        static TOLD: Cell<usize> = const { Cell::new(0) };
    }

    impl Transport for DuplexStream {
        const SAYS_GOODBYE: bool = false;
        const SEES_LEAVING: bool = false;

        fn expect_end(&mut self) {
            TOLD.set(TOLD.get() + 1);
        }
    }

    /// A caller, and the guard of its connection of which a head has been read.
    pub(super) async fn after(head: &[u8], present: &Present) -> (DuplexStream, Guard<DuplexStream>) {
        let limits = Limits {
            max_connections: 1,
            header_timeout: Duration::from_secs(10),
            idle_timeout: IDLE,
            max_header_bytes: 1024,
        };
        let (mut caller, io) = tokio::io::duplex(64);
        let mut guard = Guard::new(io, present.clone(), limits);
        caller.write_all(head).await.unwrap();
        read(&mut guard).await;
        (caller, guard)
    }

    /// What hyper would read next.
    pub(super) async fn read(guard: &mut Guard<DuplexStream>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        guard.read_buf(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn the_transport_is_told_of_its_end_before_the_last_write_and_no_earlier() {
        for (head, told) in [
            (&b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"[..], true),
            (b"GET / HTTP/1.0\r\n\r\n", true),
            (HEAD, false),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
            // The close will wait for what the caller still sends.
            (b"PUT / HTTP/1.1\r\nConnection: close\r\nContent-Length: 9\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\nmore", false),
        ] {
            let present = Present::default();
            let (_caller, mut guard) = after(head, &present).await;
            let before = TOLD.get();
            present.begin();
            guard.write_all(b"the first part of an answer").await.unwrap();
            assert_eq!(TOLD.get(), before, "more of the answer follows");
            present.end();
            guard.write_all(b"its end").await.unwrap();
            assert_eq!(TOLD.get() > before, told, "{}", head.escape_ascii());
        }
    }
}
