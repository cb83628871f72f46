//! One connection to the API host and one exchange on it.
//!
//! hyper splits a client connection into a sender and a driver that somebody must poll. The driver is not
//! spawned: whoever uses the connection polls it in their own task, which saves two task switches for each
//! request and makes "the caller went away" end the exchange by the mere drop of it. An idle connection is
//! polled by nobody; [`Connection::is_usable`] looks whether it has been closed meanwhile.
//!
//! Sender, driver and response body wake each other through hyper's channels. Here they are polled one after
//! the other by one task, so those wake-ups would only have the task polled again for nothing: what settles
//! by the driver's progress alone is polled with a waker that does nothing ([`nobody`]), and so is the driver
//! where it is expected to have come to something. Whoever gives up for now has polled the driver with the
//! task's own waker last.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::body::RequestBody;
use crate::deadline::Deadline;
use crate::socket::Socket;

/// Plain for loopback, TLS otherwise.
pub(super) type Wire = Either<Socket, Box<TlsStream<Socket>>>;

/// What hyper reads ahead at most, in bytes. Its own limit is three times that: no faster, and larger answers
/// would hold more memory and leave the processor's cache before they are passed on.
const BUFFER: usize = 128 << 10;

/// What has happened on the wire since the exchange began; it decides whether a broken one may be repeated.
#[derive(Debug, Default)]
struct Traffic {
    written: Cell<bool>,
    read: Cell<bool>,
    /// In this poll of the driver a read found nothing; hyper asks several times.
    dry: Cell<bool>,
}

/// The context of those who need not be woken.
pub(super) fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A connection that is ready for one exchange after the other. It is boxed for life: it is handed on with
/// every request, from the pool to the exchange to the response's body and back.
pub(super) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// `None` once it has ended: a finished future must not be polled again.
    driver: Option<Driver>,
    traffic: Rc<Traffic>,
    /// The time limit of an exchange; kept, since a timer costs more to make than to leave alone.
    waiting: Deadline,
}

type Driver = Pin<Box<http1::Connection<TokioIo<Tap>, RequestBody>>>;

/// An exchange that brought no response head.
#[derive(Debug)]
pub(super) struct Broken {
    /// Why.
    pub(super) why: Why,
    /// Whether a byte of the request may have reached the upstream.
    pub(super) written: bool,
    /// Whether a byte of a response had come.
    pub(super) answered: bool,
    /// The request, when it was never begun. Boxed, as what is rare is.
    pub(super) request: Option<Box<Request<RequestBody>>>,
}

/// Why an exchange brought no response head.
#[derive(Debug)]
pub(super) enum Why {
    /// No head within the time limit.
    TimedOut,
    /// The connection or the request body broke.
    Failed(hyper::Error),
    /// There is no request, since its body has been sent before.
    BodyGone,
}

impl Connection {
    /// Makes an HTTP/1.1 connection of a stream; sends nothing.
    pub(super) async fn new(wire: Wire) -> hyper::Result<Box<Self>> {
        let traffic = Rc::new(Traffic::default());
        let tap = Tap { wire, traffic: Rc::clone(&traffic) };
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .preserve_header_case(true)
            // For the fields that wxgate writes itself; the callers' keep their spelling.
            .title_case_headers(true)
            .handshake(TokioIo::new(tap))
            .await?;
        let driver = Some(Box::pin(driver));
        Ok(Box::new(Self { sender, driver, traffic, waiting: Deadline::default() }))
    }

    /// Lets the connection make what progress it can; whether it is still open.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.traffic.dry.set(false);
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            // Whatever it ended with, the sender or the body has been told.
            self.driver = None;
        }
        self.driver.is_some()
    }

    /// Whether the exchange is over as far as has been seen, without looking again.
    pub(super) fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether another exchange can begin now: open, nothing unread, nothing half done.
    pub(super) fn is_usable(&mut self) -> bool {
        self.drive(&mut nobody()) && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the response, at most `limit` after the last part of the
    /// request body was taken. While the caller owes more of the body, the wait is not the upstream's doing.
    /// Dropping the future closes the connection.
    pub(super) async fn exchange(
        mut self: Box<Self>,
        // Made here, so that a request is part of no future: it goes to hyper at once.
        make: impl FnOnce() -> Option<Request<RequestBody>>,
        limit: Duration,
    ) -> Result<(Response<Incoming>, Box<Self>), Broken> {
        self.traffic.written.set(false);
        self.traffic.read.set(false);
        self.waiting.clear();
        let progress;
        let mut response = pin!({
            let Some(request) = make() else {
                return Err(Broken { why: Why::BodyGone, written: false, answered: false, request: None });
            };
            progress = request.body().progress();
            self.sender.try_send_request(request)
        });
        let mut seen = 0;
        let mut begun = false;
        let outcome = std::future::poll_fn(|cx| {
            // First the driver, which takes the request; then the response, which is settled in any case when
            // the driver has ended. The first time nothing can have come yet.
            if std::mem::replace(&mut begun, true) {
                self.drive(&mut nobody());
                if let Poll::Ready(outcome) = response.as_mut().poll(&mut nobody()) {
                    return Poll::Ready(Some(outcome));
                }
            }
            self.drive(cx);
            if let Poll::Ready(outcome) = response.as_mut().poll(&mut nobody()) {
                return Poll::Ready(Some(outcome));
            }
            // A caller's pause is not the upstream's.
            if let Some(progress) = &progress
                && (progress.taken() != seen || progress.is_owed())
            {
                seen = progress.taken();
                self.waiting.clear();
            }
            self.waiting.poll(limit, cx).map(|()| None)
        })
        .await;
        let (why, request) = match outcome {
            Some(Ok(response)) => return Ok((response, self)),
            Some(Err(mut failed)) => {
                let request = failed.take_message().map(Box::new);
                (Why::Failed(failed.into_error()), request)
            }
            None => (Why::TimedOut, None),
        };
        Err(Broken { why, written: self.traffic.written.get(), answered: self.traffic.read.get(), request })
    }
}

/// Notes whether bytes have crossed, and changes nothing.
struct Tap {
    wire: Wire,
    traffic: Rc<Traffic>,
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
