//! The wire of an upstream connection, below hyper: what has crossed it, and what its end means.
//!
//! After a failed write the read decides: an upstream may answer early and close, and its answer is still in the
//! kernel when the rest of the request can no longer be written.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::answer_head::{self, AnswerHead};
use super::tcp_info::TcpInfo;
use crate::header_case::{CasedHead, HeaderCase};
use crate::socket::Socket;

/// Plain for loopback, TLS otherwise.
pub(super) type Wire = Either<Socket, Box<TlsStream<Socket>>>;

/// Data that the peer's kernel does not acknowledge for so long ends the connection. (`TCP_USER_TIMEOUT` would also
/// end one whose peer is alive and only slow to read.)
pub(super) const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// How many reads may succeed in one poll of the driver: an upstream that writes as fast as it can must leave its task
/// time to see a time limit, or a caller who leaves.
const READS: u8 = 8;

/// What has happened on the wire since the exchange began; it decides whether a failed one may be repeated.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// A byte of the request was written.
    pub(super) written: Cell<bool>,
    /// A byte of the response was read.
    pub(super) read: Cell<bool>,
    /// The upstream had closed before its kernel had received a byte of the request.
    pub(super) unseen: Cell<bool>,
    /// The peer's kernel no longer answers.
    pub(super) dead: Cell<bool>,
    /// The next read looks whether the peer's kernel still answers.
    look: Cell<bool>,
    /// In this poll of the driver a read found nothing; hyper asks several times.
    dry: Cell<bool>,
    /// How many reads have succeeded in this poll of the driver.
    reads: Cell<u8>,
    /// How many bytes of TCP had been written before the request.
    before: Cell<u64>,
    /// hyper has bytes that could not be written.
    blocked: Cell<bool>,
    /// How the names of the request that hyper writes next are spelled.
    request_case: RefCell<Option<HeaderCase>>,
    answer: RefCell<AnswerHead>,
}

impl Traffic {
    /// A new exchange begins.
    pub(super) fn begin_exchange(&self) {
        self.written.set(false);
        self.read.set(false);
        self.answer.borrow_mut().begin();
    }

    /// A new poll of the driver begins.
    pub(super) fn begin_poll(&self) {
        self.dry.set(false);
        self.reads.set(0);
    }

    /// The names of the request that hyper writes next shall be spelled so, if not as hyper spells them. (A request that
    /// is written behind the rest of another has its names `Like-This`: nobody knows where it begins.)
    pub(super) fn spell_request(&self, case: Option<&HeaderCase>) {
        self.request_case.replace(case.filter(|_| !self.blocked.get()).cloned());
    }

    /// How the names of the answer are spelled, unless as hyper spells them.
    pub(super) fn take_answer_case(&self) -> Option<HeaderCase> {
        self.answer.borrow_mut().take_case()
    }

    /// Whether a request was written of which the peer's kernel has acknowledged nothing.
    fn is_unseen(&self, info: &TcpInfo) -> bool {
        self.written.get() && info.acknowledged() <= self.before.get()
    }

    /// With the next poll of the driver the connection ends if the peer has acknowledged nothing for
    /// [`UNACKNOWLEDGED`], or nothing of the request, which must have been waiting for as long.
    pub(super) fn look_for_life(&self) {
        self.look.set(true);
    }
}

/// A wire and the note of what crosses it.
pub(super) struct Tap {
    wire: Wire,
    traffic: Rc<Traffic>,
    /// How a write failed; there is no other one after it.
    broken: Option<ErrorKind>,
    /// The beginning of a request whose names have a case of their own, while it is written.
    head: Option<CasedHead>,
}

impl Tap {
    pub(super) fn new(wire: Wire, traffic: Rc<Traffic>) -> Self {
        Self { wire, traffic, broken: None, head: None }
    }

    fn socket(&self) -> &Socket {
        match &self.wire {
            Either::Left(plain) => plain,
            Either::Right(tls) => tls.get_ref().0,
        }
    }

    /// Where nothing of ours arrives any more, the last answer's acknowledgement was lost, too, and the peer's kernel
    /// goes on sending that answer again. Ours takes each for a sign of life, so a request that is not acknowledged is
    /// judged by itself. (A peer that lives acknowledges its beginning, however slow it is to read.)
    fn is_dead(&self) -> bool {
        TcpInfo::of(self.socket()).is_ok_and(|info| {
            info.is_dead(UNACKNOWLEDGED) || self.traffic.is_unseen(&info) && info.is_sending_again()
        })
    }

    /// The upstream has closed. Its FIN acknowledged what its kernel had received by then.
    fn note_end(&self) {
        if self.traffic.written.get() && !self.traffic.read.get() {
            let info = TcpInfo::of(self.socket());
            self.traffic.unseen.set(info.is_ok_and(|info| self.traffic.is_unseen(&info)));
        }
    }

    fn note_read(&self, bytes: &[u8]) -> io::Result<()> {
        self.traffic.read.set(true);
        self.traffic.reads.set(self.traffic.reads.get() + 1);
        match self.traffic.answer.borrow_mut().follow(bytes) {
            true => Ok(()),
            false => Err(io::Error::other(format!("more than {} interim (1xx) answers", answer_head::MOST))),
        }
    }

    /// Before each write.
    fn note_begin(&self) {
        if !self.traffic.written.get() {
            self.traffic.before.set(self.socket().written());
        }
    }

    /// After each write: one that the peer has made impossible is pending for ever.
    fn note_write<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &Context<'_>) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = &outcome else { return outcome };
        let kind = error.kind();
        if !matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
        {
            return outcome;
        }
        self.broken = Some(kind);
        // There is something to read, be it the end.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
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
        if self.traffic.reads.get() >= READS {
            self.traffic.dry.set(true);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.traffic.look.take() && self.is_dead() {
            self.traffic.dead.set(true);
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.wire).poll_read(cx, buf) {
            Poll::Pending => {
                self.traffic.dry.set(true);
                Poll::Pending
            }
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                Poll::Ready(self.note_read(&buf.filled()[before..]))
            }
            Poll::Ready(Ok(())) => match self.broken {
                // The write took the error away: without a FIN before it, this is no end of an answer.
                Some(kind @ ErrorKind::ConnectionReset) => Poll::Ready(Err(kind.into())),
                _ => {
                    self.note_end();
                    Poll::Ready(Ok(()))
                }
            },
            Poll::Ready(Err(error)) => {
                match error.kind() {
                    ErrorKind::TimedOut => self.traffic.dead.set(true),
                    // TLS that ends without a word of its own.
                    ErrorKind::UnexpectedEof => self.note_end(),
                    _ => {}
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Tap {
    fn noted(&mut self, outcome: Poll<io::Result<usize>>, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = outcome {
            self.traffic.written.set(true);
        }
        self.traffic.blocked.set(outcome.is_pending());
        self.note_write(outcome, cx)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        let this = &mut *self;
        this.note_begin();
        if let (Some(case), [first, ..]) = (this.traffic.request_case.take(), bufs) {
            this.head = Some(CasedHead::new(&case, first));
        }
        let outcome = CasedHead::poll_write(&mut this.head, Pin::new(&mut this.wire), cx, bufs);
        this.noted(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.wire).poll_flush(cx);
        self.note_write(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::set_socket_linger;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::pin::pin;

    /// Our end of a connection that has been used before, and theirs.
    async fn pair() -> (Tap, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let mut tap = Tap::new(Either::Left(Socket::new(ours)), Rc::default());
        write(&mut tap, b"first").await.unwrap();
        theirs.read_exact(&mut [0; 5]).unwrap();
        theirs.write_all(b"answer").unwrap();
        assert_eq!(read(&mut tap).await.unwrap(), b"answer");
        tap.traffic.begin_exchange();
        (tap, theirs)
    }

    /// Without reading first, as when the end is still on its way.
    async fn write(tap: &mut Tap, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| pin!(&mut *tap).poll_write(cx, bytes)).await
    }

    /// As many bytes as come at once; a new poll of the driver each time.
    async fn read(tap: &mut Tap) -> io::Result<Vec<u8>> {
        poll_fn(|cx| {
            tap.traffic.begin_poll();
            let mut bytes = [0; 100];
            let mut buf = ReadBuf::new(&mut bytes);
            let outcome = pin!(&mut *tap).poll_read(cx, &mut buf);
            outcome.map_ok(|()| buf.filled().to_vec())
        })
        .await
    }

    #[tokio::test]
    async fn an_end_before_the_request_proves_that_it_was_not_seen() {
        let (mut tap, theirs) = pair().await;
        drop(theirs);
        write(&mut tap, b"request").await.unwrap();
        assert_eq!(read(&mut tap).await.unwrap(), b"");
        assert!(tap.traffic.written.get() && tap.traffic.unseen.get());
    }

    #[tokio::test]
    async fn no_end_after_the_request_proves_anything() {
        for (what, reads, resets) in
            [("it was read", true, false), ("it was read", true, true), ("it was received", false, true)]
        {
            let (mut tap, mut theirs) = pair().await;
            write(&mut tap, b"request").await.unwrap();
            if reads {
                theirs.read_exact(&mut [0; 7]).unwrap();
            }
            if resets {
                set_socket_linger(&theirs, Some(Duration::ZERO)).unwrap();
            }
            drop(theirs);
            let _ = read(&mut tap).await;
            assert!(!tap.traffic.unseen.get(), "{what}, reset: {resets}");
        }
    }

    #[tokio::test]
    async fn after_a_failed_write_the_answer_is_read() {
        let (mut tap, mut theirs) = pair().await;
        write(&mut tap, &[0; 1000]).await.unwrap();
        theirs.read_exact(&mut [0; 10]).unwrap();
        theirs.write_all(b"early").unwrap();
        // With unread bytes, so with a reset.
        drop(theirs);
        let pending = poll_fn(|cx| Poll::Ready(pin!(&mut tap).poll_write(cx, b"more").is_pending())).await;
        assert!(pending);
        assert_eq!(read(&mut tap).await.unwrap(), b"early");
        // What was reset has no proper end.
        assert_eq!(read(&mut tap).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_busy_upstream_leaves_its_task_time() {
        let (mut tap, mut theirs) = pair().await;
        theirs.write_all(&[0; 100]).unwrap();
        let one = |tap: &mut Tap, cx: &mut Context<'_>| {
            let mut byte = [0];
            pin!(tap).poll_read(cx, &mut ReadBuf::new(&mut byte))
        };
        // Until the first bytes are here.
        poll_fn(|cx| {
            tap.traffic.begin_poll();
            one(&mut tap, cx)
        })
        .await
        .unwrap();
        poll_fn(|cx| {
            tap.traffic.begin_poll();
            for _ in 0..READS {
                assert!(one(&mut tap, cx).is_ready());
            }
            assert!(one(&mut tap, cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(read(&mut tap).await.unwrap().len(), 99 - usize::from(READS));
    }
}
