//! The bytes of an HTTP/2 connection, between the caller and h2.
//!
//! What has been read before goes first. A caller that reads nothing is cut off, and so is one that does not bring a head
//! to its end, behind which nothing else can come; one that floods is read slowly. [`super::frames`] says what its frames
//! are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::frames::Frames;
use crate::deadline::Deadline;
use crate::listener::transport::Transport;

/// How many frames that ask for nothing a caller may send at once.
const BURST: i64 = 1024;

/// How many more in a second, besides those that its requests and its answers' bytes bring with them: an honest caller
/// sends a ping now and then.
const A_SECOND: i64 = 256;

/// How many seconds a caller may be made to wait before it is cut off.
const PAUSES: u32 = 10;

/// How many more for each request: a reset, a priority, room in two windows.
const A_REQUEST: i64 = 4;

/// For so many bytes written there may be one more: honest callers make room for what they have read.
const BYTES: usize = 256;

/// What h2 reads and writes.
pub(super) struct Wire<S> {
    io: S,
    frames: Frames,
    /// What has been read and has not gone to h2.
    kept: BytesMut,
    /// How many of those bytes, from the first, may.
    approved: usize,
    allowance: Allowance,
    /// Whether pieces in one write are welcome. h2 asks before its first write, and would put no answer of 256 bytes or
    /// more behind another one in a write; told no, it joins answers of up to 1 KiB that are ready together.
    vectored: bool,
    writing: Deadline,
    /// How long the head takes that is coming.
    head: Deadline,
    head_limit: Duration,
    /// How long nothing may be written of what there is to write.
    limit: Duration,
}

impl<S: Transport> Wire<S> {
    /// `read` is what has been read before.
    pub(super) fn new(io: S, read: Bytes, limit: Duration, head_limit: Duration) -> Self {
        let mut wire = Self {
            io,
            frames: Frames::new(),
            kept: BytesMut::from(read),
            approved: 0,
            allowance: Allowance::new(),
            vectored: false,
            writing: Deadline::default(),
            head: Deadline::default(),
            head_limit,
            limit,
        };
        wire.follow_kept();
        wire
    }

    /// Looks at what is kept.
    fn follow_kept(&mut self) {
        let passed = self.frames.follow(&mut self.kept);
        self.approved = passed.length;
        if let Some(then) = passed.then {
            let rest = self.kept.split_off(passed.length);
            self.kept.extend_from_slice(&then);
            self.approved = self.kept.len();
            self.kept.extend_from_slice(&rest);
        }
        self.allowance.count(self.frames.take_counts());
    }

    fn release(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.approved.min(buf.remaining());
        buf.put_slice(&self.kept[..length]);
        self.kept.advance(length);
        self.approved -= length;
        if self.kept.is_empty() {
            self.kept = BytesMut::new();
        } else if self.approved == 0 {
            // Behind a frame that was put in.
            self.follow_kept();
        }
    }

    fn poll_keep(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; 2048];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        self.kept.extend_from_slice(piece.filled());
        self.follow_kept();
        Poll::Ready(Ok(piece.filled().len()))
    }

    /// Reads straight into h2's buffer; what may not pass is taken out again.
    fn poll_read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = &mut buf.filled_mut()[start..];
        let came = fresh.len();
        let passed = self.frames.follow(fresh);
        if let Some(then) = &passed.then {
            self.kept.extend_from_slice(then);
            self.approved = then.len();
        }
        self.kept.extend_from_slice(&fresh[passed.length..]);
        buf.set_filled(start + passed.length);
        self.allowance.count(self.frames.take_counts());
        Poll::Ready(Ok(came))
    }

    /// Hands h2 what has come and may pass.
    fn poll_pass(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        loop {
            if self.approved > 0 {
                self.release(buf);
                return Poll::Ready(Ok(()));
            }
            ready!(self.allowance.poll(cx))?;
            let came = match self.kept.is_empty() {
                true => ready!(self.poll_read_through(cx, buf))?,
                false => ready!(self.poll_keep(cx))?,
            };
            if came == 0 || buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn limited<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing.clear();
            return outcome;
        }
        ready!(self.writing.poll(self.limit, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.vectored = self.io.is_write_vectored();
        if let Poll::Ready(Ok(bytes)) = &outcome {
            self.allowance.wrote(*bytes);
        }
        self.limited(cx, outcome)
    }
}

impl<S: Transport> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = this.poll_pass(cx, buf);
        let in_head = this.frames.awaits_head() || (this.approved == 0 && !this.kept.is_empty());
        if this.frames.take_between() || !in_head {
            this.head.clear();
        }
        if in_head && outcome.is_pending() {
            ready!(this.head.poll(this.head_limit, cx));
            tracing::debug!(
                "an HTTP/2 caller did not bring a head to its end within limits.header_timeout; it is cut off"
            );
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        outcome
    }
}

impl<S: Transport> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.limited(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.limited(cx, outcome)
    }
}

/// How many frames that ask for nothing a caller may still send. Those beyond it wait: a flood costs its sender the
/// use of the connection, and nobody else anything.
struct Allowance {
    left: i64,
    /// What the seconds before this bring is in `left`, as far as it was needed.
    since: Instant,
    /// Whether the caller is made to wait.
    waits: bool,
    pause: Deadline,
    pauses: u32,
}

impl Allowance {
    fn new() -> Self {
        Self { left: BURST, since: Instant::now(), waits: false, pause: Deadline::default(), pauses: 0 }
    }

    fn count(&mut self, (requests, idle): (u32, u32)) {
        self.earn(i64::from(requests) * A_REQUEST);
        self.left -= i64::from(idle);
    }

    fn wrote(&mut self, bytes: usize) {
        self.earn((bytes / BYTES) as i64);
    }

    fn earn(&mut self, more: i64) {
        self.left = (self.left + more).min(BURST);
    }

    /// Whether a second has gone by since the last time.
    fn earn_by_time(&mut self) -> bool {
        let seconds = self.since.elapsed().as_secs();
        if seconds > 0 {
            self.earn(i64::try_from(seconds).unwrap_or(BURST).saturating_mul(A_SECOND));
            self.since = Instant::now();
        }
        seconds > 0
    }

    /// Ready when more may be read.
    ///
    /// # Errors
    /// When the caller has been made to wait [`PAUSES`] times.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left <= 0 {
            if !self.waits && self.earn_by_time() {
                continue;
            }
            self.waits = true;
            ready!(self.pause.poll(Duration::from_secs(1), cx));
            self.pause.clear();
            self.waits = false;
            self.earn_by_time();
            self.pauses += 1;
            if self.pauses == PAUSES {
                tracing::debug!("an HTTP/2 caller floods with frames that ask for nothing; it is cut off");
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_and_is_cut_off_and_what_requests_bring_with_them_is_none() {
        let mut allowance = Allowance::new();
        let start = Instant::now();
        for _ in 0..10_000 {
            allowance.count((1, 4));
            allowance.wrote(BYTES);
            allowance.count((0, 1));
            assert!(poll_fn(|cx| allowance.poll(cx)).await.is_ok());
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        let mut sent = 0;
        while poll_fn(|cx| allowance.poll(cx)).await.is_ok() {
            allowance.count((0, 1));
            sent += 1;
        }
        assert_eq!(start.elapsed().as_secs(), u64::from(PAUSES));
        let most = BURST + i64::from(PAUSES - 1) * A_SECOND;
        assert!((most - 10..=most).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_a_second_is_no_flood_however_long_it_goes_on() {
        let mut allowance = Allowance::new();
        for _ in 0..10_000 {
            tokio::time::advance(Duration::from_secs(1)).await;
            allowance.count((0, 1));
            assert!(poll_fn(|cx| Poll::Ready(allowance.poll(cx))).await.is_ready());
        }
        assert_eq!(allowance.pauses, 0);
    }
}
