//! Response bodies on their way in.
//!
//! A body owns the connection it comes from, drives it while it is read, and gives it back to the pool at
//! its end. Dropped earlier, it closes the connection: that is how a caller who goes away ends the call.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::{Connection, nobody};
use super::pool::Pool;
use crate::deadline::Deadline;

/// The body of an upstream's response.
pub struct ResponseBody {
    incoming: Incoming,
    connection: Option<Box<Connection>>,
    pool: Rc<Pool>,
    stall: Deadline,
    limit: Duration,
}

/// Why a response body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke.
    #[error("the response broke off: {0}")]
    Broken(hyper::Error),
    /// The upstream sent nothing for too long.
    #[error("the response stalled")]
    Stalled,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        connection: Box<Connection>,
        pool: Rc<Pool>,
        limit: Duration,
    ) -> Self {
        let mut body =
            Self { incoming, connection: Some(connection), pool, stall: Deadline::default(), limit };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn poll_incoming(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(&mut nobody()));
        self.stall.clear();
        match frame {
            // With a known length the last frame is followed by nothing, and nobody asks again.
            Some(Ok(_)) if self.incoming.is_end_stream() => self.give_back(),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.connection = None,
            None => self.give_back(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && !connection.drive(cx)
        {
            // It ended, so the body is settled: it yields what is left, its end, or the error.
            self.connection = None;
        }
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        // Each poll of the frames tells the driver that one is wanted.
        if let Poll::Ready(frame) = this.poll_incoming() {
            return Poll::Ready(frame);
        }
        this.drive(&mut nobody());
        if let Poll::Ready(frame) = this.poll_incoming() {
            return Poll::Ready(frame);
        }
        this.drive(cx);
        if let Poll::Ready(frame) = this.poll_incoming() {
            return Poll::Ready(frame);
        }
        std::task::ready!(this.stall.poll(this.limit, cx));
        this.connection = None;
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
