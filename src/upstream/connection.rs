//! One connection to the API host.
//!
//! docs/hyper.md has what is relied on here.
//!
//! hyper splits a client connection into a sender and a driver that somebody must poll. The driver is not
//! spawned: the request that uses the connection polls it in its own task, which saves two task switches for each
//! request and lets a caller who leaves end the exchange by the mere drop of it. An idle connection is
//! polled by no task; [`Connection::is_usable`] looks whether it has been closed meanwhile.
//!
//! Sender, driver and response body wake each other through hyper's channels. Here one task polls them one after
//! the other, so those wake-ups would only have the task polled again for nothing: what settles by the driver's
//! progress alone is polled with a waker that does nothing ([`nobody`]), and so is the driver where it is expected
//! to make progress at once. A task that returns `Pending` has polled the driver with its own waker last.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::body::RequestBody;
use super::traffic::{Tap, Traffic, Wire};
use crate::deadline::Deadline;

/// What hyper reads ahead at most, in bytes. Its own limit is three times that: no faster, and larger answers
/// would hold more memory and leave the processor's cache before they are passed on.
pub(super) const BUFFER: usize = 64 << 10;

/// A connection is used for this long at most, so that a new address in DNS is followed while the old one still
/// answers.
const MAX_AGE: Duration = Duration::from_secs(300);

/// A context that wakes no task.
pub(super) fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A connection that is ready for one exchange after the other. It is boxed for life: it is handed on with
/// every request, from the pool to the exchange to the response's body and back.
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// `None` once it has ended: a finished future must not be polled again.
    driver: Option<Driver>,
    pub(super) traffic: Rc<Traffic>,
    /// The time limit of an exchange; kept, since a timer costs more to make than to leave alone.
    pub(super) waiting: Deadline,
    /// From then on it serves no further request.
    pub(super) retires: Instant,
    /// When the upstream was last known to live: the connection was made, or had brought a whole answer.
    pub(super) heard: Instant,
    _permit: OwnedSemaphorePermit,
}

type Driver = Pin<Box<http1::Connection<TokioIo<Tap>, RequestBody>>>;

impl Connection {
    /// Makes an HTTP/1.1 connection of a stream; sends nothing. `permit` is given back when it ends.
    pub(super) async fn new(wire: Wire, permit: OwnedSemaphorePermit) -> hyper::Result<Box<Self>> {
        let traffic = Rc::new(Traffic::default());
        let tap = Tap::new(wire, Rc::clone(&traffic));
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER)
            // As most names are spelled; `header_case.rs` has the others.
            .title_case_headers(true)
            .handshake(TokioIo::new(tap))
            .await?;
        let (driver, heard) = (Some(Box::pin(driver)), Instant::now());
        // Those that were made together are not all replaced together.
        let retires = heard + MAX_AGE - MAX_AGE.mul_f32(0.1 * fastrand::f32());
        let waiting = Deadline::default();
        Ok(Box::new(Self { sender, driver, traffic, waiting, retires, heard, _permit: permit }))
    }

    /// Lets the connection make what progress it can; whether it is still open.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.traffic.begin_poll();
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
}
