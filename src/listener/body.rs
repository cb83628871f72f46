//! The body of a caller's request, as a handler reads it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::wake;

/// What a caller sends behind the head of its request.
#[derive(Debug)]
pub struct CallerBody {
    incoming: Incoming,
    /// Whether another task brings the bytes, and has to wake the one that reads them.
    wakes: bool,
}

impl CallerBody {
    /// Over HTTP/1 the task that reads the caller's bytes is the one that serves the request, and polls it behind each
    /// read (docs/hyper.md): a waker would only have it polled once more, for nothing.
    pub(super) fn of_http1(incoming: Incoming) -> Self {
        Self { incoming, wakes: false }
    }

    /// Over HTTP/2 each stream is a task of its own.
    pub(super) fn of_http2(incoming: Incoming) -> Self {
        Self { incoming, wakes: true }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Self { incoming, wakes } = &mut *self;
        if *wakes {
            return Pin::new(incoming).poll_frame(cx);
        }
        let mut nobody = Context::from_waker(Waker::noop());
        let (frame, hyper) = wake::suppressed(|| Pin::new(&mut *incoming).poll_frame(&mut nobody));
        // hyper reads on when a piece has been taken; behind the last one there is nothing.
        if let Some(hyper) = hyper.filter(|_| !incoming.is_end_stream()) {
            hyper.wake();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
