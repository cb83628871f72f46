//! The body of a caller's request, as a handler reads it; over HTTP/2, what it leaves unread is thrown away here.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use super::close::{LINGER, LINGER_BYTES};
use super::wake;

/// What a caller sends behind the head of its request.
#[derive(Debug)]
pub struct CallerBody {
    /// There until the drop.
    incoming: Option<Incoming>,
    /// Whether another task brings the bytes, and has to wake the one that reads them.
    wakes: bool,
}

impl CallerBody {
    /// Over HTTP/1 the task that reads the caller's bytes is the one that serves the request, and polls it behind each
    /// read (docs/hyper.md): a waker would only have it polled once more, for nothing.
    pub(super) fn of_http1(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), wakes: false }
    }

    /// Over HTTP/2 each stream is a task of its own.
    pub(super) fn of_http2(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), wakes: true }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Self { incoming: Some(incoming), wakes } = &mut *self else { return Poll::Ready(None) };
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
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for CallerBody {
    /// h2 resets a stream whose body nobody reads any more as soon as its answer has been sent. Callers that are still
    /// sending may lose the answer for that (curl 7.88 does), so what they send is read and thrown away for a while. Over
    /// HTTP/1 the whole connection is closed in that way (`close.rs`).
    fn drop(&mut self) {
        let unread = self.incoming.take().filter(|incoming| self.wakes && !incoming.is_end_stream());
        if let (Some(unread), Ok(runtime)) = (unread, Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LINGER, throw_away(unread)));
        }
    }
}

async fn throw_away(mut body: Incoming) {
    let mut total = 0;
    while let Some(Ok(frame)) = body.frame().await {
        total += frame.data_ref().map_or(0, Bytes::len);
        if total > LINGER_BYTES {
            return;
        }
    }
}
