//! Strict framing: stands between a caller's bytes and hyper, and lets through only what can be read in one way.
//!
//! hyper accepts, and silently repairs, what request smuggling is made of, and answers what it does refuse
//! with an empty body. So each head is read here first ([`crate::http1::head`]), and each body is followed to its
//! end ([`crate::http1::chunks`]). A head that is refused is replaced by a small request, and the service answers
//! that one with the rejection ([`RequestState::take_rejection`]): answers come in order, and hyper writes all of
//! them. A head that is odd but clear goes to hyper in its strict form ([`crate::http1::lenient`]).
//!
//! The usual head arrives in one read and is checked where hyper wants it, without a copy. Time limits are not kept
//! here ([`super::limits`]); what the bytes mean is not known here. docs/hyper.md has what this relies on in hyper.

mod lent;
mod state;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::{Expired, Phase, RequestState};
use super::transport::Transport;
use super::{Limits, Rejection};
use crate::header_case::CasedHead;
use crate::http1::head;
pub(super) use lent::Lent;
use state::{FramingState, Verdict};

/// The request that hyper reads in the place of a rejected one.
const REJECTED: &[u8] = b"GET / HTTP/1.1\r\nHost: wxgate\r\nConnection: close\r\n\r\n";

/// A caller's HTTP/1 connection, strictly framed.
pub(super) struct StrictFraming<S> {
    io: S,
    framing: FramingState,
    /// Bytes that have been read but not been let through yet.
    kept: BytesMut,
    /// How many of those, from the first, may go through.
    approved: usize,
    /// Nothing more is let through.
    closed: Option<Closed>,
    /// The beginning of an answer whose names have a case of their own, while it is written.
    head: Option<CasedHead>,
    state: RequestState,
}

/// Why nothing more is let through.
#[derive(Debug, Clone, Copy)]
enum Closed {
    /// A rejection is the last that the caller gets.
    Rejected,
    /// A chunk was malformed, or a body paused for too long.
    Broken(io::ErrorKind),
    /// HTTP/2 has begun.
    Http2,
}

impl<S: Transport> StrictFraming<S> {
    pub(super) fn new(io: S, state: RequestState, limits: Limits) -> Self {
        Self {
            io,
            framing: FramingState::new(limits.max_header_bytes),
            kept: BytesMut::new(),
            approved: 0,
            closed: None,
            head: None,
            state,
        }
    }

    /// The largest head that this caller may send.
    pub(super) fn max_head(&self) -> usize {
        self.framing.max_head()
    }

    /// Gives back the connection, and what has been read of it without having been let through.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.io, self.kept.freeze())
    }

    /// Lets nothing more through: hyper reads a request that stands for the rejected one.
    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.state.reject(rejection);
        self.state.note_head(None);
        self.kept.clear();
        self.kept.extend_from_slice(REJECTED);
        self.approved = self.kept.len();
        self.close(Closed::Rejected);
    }

    /// Whether the caller owes nothing and has sent nothing that waits.
    pub(super) fn is_clean(&self) -> bool {
        self.closed.is_none() && self.framing.is_at_head() && self.kept.is_empty()
    }

    /// Waits until something may have come, without reading.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_readable(cx)
    }

    /// Reads a piece behind what is kept; nothing is an end.
    pub(super) fn poll_keep(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [const { MaybeUninit::uninit() }; 2048];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        self.kept.extend_from_slice(piece.filled());
        Poll::Ready(Ok(piece.filled().len()))
    }

    /// Whether the caller of a request that is being served has left. What it sends ahead instead is kept, a piece of
    /// it; while a body is awaited, hyper reads and sees the end itself.
    pub(super) fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        self.closed.is_none()
            && self.framing.is_at_head()
            && self.kept.is_empty()
            && matches!(self.poll_keep(cx), Poll::Ready(Ok(0) | Err(_)))
    }

    fn close(&mut self, why: Closed) {
        self.closed = Some(why);
        self.state.set_phase(match why {
            Closed::Http2 => Phase::Http2,
            Closed::Rejected | Closed::Broken(_) => Phase::Nothing,
        });
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

    fn consider(&mut self, fresh: Option<&[u8]>) -> Verdict {
        let was_at_head = self.framing.is_at_head();
        let verdict = self.framing.consider(fresh.unwrap_or(&self.kept));
        if was_at_head && matches!(verdict, Verdict::Pass(_) | Verdict::Rewrite(..)) {
            self.state.note_head(self.framing.take_case());
        }
        verdict
    }

    /// Follows a verdict about the bytes that are kept.
    fn follow(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass(length) => self.approved = length,
            Verdict::Rewrite(head, length) => {
                self.approved = head.len();
                let mut rewritten = BytesMut::from(&head[..]);
                rewritten.extend_from_slice(&self.kept[length..]);
                self.kept = rewritten;
            }
            Verdict::Wait => {}
            Verdict::Http2 => self.close(Closed::Http2),
            Verdict::Reject(error) => self.reject(error.into()),
            Verdict::Broken => self.close(Closed::Broken(io::ErrorKind::InvalidData)),
        }
        if self.approved > 0 {
            self.state.note_received();
        }
        if self.closed.is_none() {
            self.state.set_phase(self.phase());
        }
    }

    fn phase(&self) -> Phase {
        if !self.framing.is_at_head() {
            return Phase::Body;
        }
        let waiting = &self.kept[self.approved..];
        match () {
            () if self.framing.is_first() && waiting.is_empty() => Phase::FirstHead,
            // Empty lines alone, as old clients send them after a body, begin no head.
            () if head::leading_empty_lines(waiting) < waiting.len() => Phase::Head,
            () if self.framing.is_first() => Phase::FirstHead,
            () => Phase::Between,
        }
    }

    /// Reads straight into hyper's buffer; what may not pass is taken out again. Whether anything came.
    fn poll_read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = &buf.filled()[start..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(false));
        }
        // The time for a head begins with the connection, later with the head's first byte.
        if self.state.phase() == Phase::Between {
            self.state.note_received();
        }
        let verdict = self.consider(Some(fresh));
        let pass = if let Verdict::Pass(length) = verdict { length } else { 0 };
        self.kept.extend_from_slice(&fresh[pass..]);
        buf.set_filled(start + pass);
        match verdict {
            Verdict::Pass(_) => {
                self.state.note_received();
                self.state.set_phase(self.phase());
            }
            verdict => self.follow(verdict),
        }
        Poll::Ready(Ok(true))
    }

    /// Tells the transport when what hyper writes now is the end of the connection's last answer.
    fn foresee_end(&mut self) {
        if self.framing.is_last() && !self.state.is_in_service() && self.is_clean() {
            self.io.expect_end();
        }
    }

    fn written<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.state.note_write(outcome.is_ready());
        outcome
    }
}

impl<S: Transport> AsyncRead for StrictFraming<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buf.filled().len();
        loop {
            if this.approved > 0 {
                this.release(buf);
                return Poll::Ready(Ok(()));
            }
            match this.closed {
                None => {}
                Some(Closed::Rejected | Closed::Http2) => return Poll::Pending,
                Some(Closed::Broken(kind)) => return Poll::Ready(Err(kind.into())),
            }
            match this.state.take_expired() {
                None => {}
                Some(Expired::Head) => {
                    this.reject(Rejection::HeadTimeout);
                    continue;
                }
                Some(Expired::Body) => {
                    this.close(Closed::Broken(io::ErrorKind::TimedOut));
                    continue;
                }
            }
            if !this.framing.has_seen(this.kept.len()) {
                let verdict = this.consider(None);
                this.follow(verdict);
                continue;
            }
            let came = if this.kept.is_empty() {
                this.poll_read_through(cx, buf)?
            } else {
                this.poll_keep(cx)?.map(|length| length > 0)
            };
            match came {
                // The caller has left, perhaps in the middle of a head.
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Ready(true) if buf.filled().len() > start => return Poll::Ready(Ok(())),
                Poll::Ready(true) => {}
                Poll::Pending => {
                    this.state.note_starved();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: Transport> AsyncWrite for StrictFraming<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.foresee_end();
        if let (Some(case), [first, ..]) = (this.state.take_answer_case(), bufs) {
            this.head = Some(CasedHead::new(&case, first));
        }
        let outcome = CasedHead::poll_write(&mut this.head, Pin::new(&mut this.io), cx, bufs);
        this.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.written(outcome)
    }

    /// Does nothing: [`super::close`] ends the connection, once the last answer can be read.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use crate::listener::limits::tests::{HEAD, Read, Served};
    use crate::listener::state::Phase;
    use crate::listener::transport::tests::TOLD;
    use tokio::io::AsyncWriteExt;

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
            let (_caller, mut served) = Served::after(head).await;
            let before = TOLD.get();
            served.state.begin();
            served.framing.write_all(b"the first part of an answer").await.unwrap();
            assert_eq!(TOLD.get(), before, "more of the answer follows");
            served.state.end();
            served.framing.write_all(b"its end").await.unwrap();
            assert_eq!(TOLD.get() > before, told, "{}", head.escape_ascii());
        }
    }

    #[tokio::test]
    async fn an_odd_head_goes_on_in_its_strict_form_and_what_follows_it_as_it_came() {
        for cut in [1, 5, 20, 40, 60] {
            let sent = b"POST  /a HTTP/1.1\r\nX: y\nZ: w\r\nContent-Length: 3\r\n\r\nabcGET";
            let right = b"POST /a HTTP/1.1\r\nX: y\r\nZ: w\r\nContent-Length: 3\r\n\r\nabc";
            let (mut caller, mut served) = Served::new();
            let mut read = Vec::new();
            let writing = async {
                for piece in sent.chunks(cut) {
                    caller.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let reading = async {
                while read.len() < right.len() {
                    let Read::Bytes(bytes) = served.read().await else { panic!("{cut}") };
                    read.extend(bytes);
                }
            };
            tokio::join!(writing, reading);
            assert_eq!(read.escape_ascii().to_string(), right.escape_ascii().to_string());
            assert_eq!(served.state.take_rejection(), None);
        }
    }

    #[tokio::test]
    async fn the_end_of_a_body_that_nobody_has_asked_for_is_not_let_through() {
        for (body, owed) in [
            ("Content-Length: 3\r\n\r\nabc", false),
            ("Content-Length: 3\r\n\r\nab", true),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true),
            ("\r\n", false),
        ] {
            let (mut caller, mut served) = Served::new();
            let head = format!("POST / HTTP/1.1\r\n{body}");
            let (_, read) = tokio::join!(caller.write_all(head.as_bytes()), served.read());
            assert!(matches!(read, Read::Bytes(_)));
            served.state.begin();
            assert_eq!(served.state.owes_body(), owed, "{body:?}");
            assert_eq!(served.state.phase() == Phase::Body, owed, "{body:?}");
        }
    }
}
