//! The body of an HTTP/1 answer, as hyper takes it from the service.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::state::RequestState;

/// A body that tells when the answer has been handed over; and that breaks off when all before has been written.
pub(super) struct Answer<B: Body> {
    body: B,
    state: RequestState,
    /// Why the body broke off. hyper throws away what it has not written when it is told, head included; and a caller
    /// that sees a connection close without a byte may send its request again, although the upstream has had it.
    broken: Option<B::Error>,
    /// The answer has a length and no body: a 304, whose length is that of the answer it stands for. hyper drops the
    /// length of an answer whose body has ended, and writes no body of a 304 in any case (docs/hyper.md).
    length_alone: bool,
    ended: bool,
}

impl<B: Body> Answer<B> {
    pub(super) fn new(body: B, state: RequestState, length_alone: bool) -> Self {
        Self { body, state, broken: None, length_alone, ended: false }
    }
}

impl<B: Body> Drop for Answer<B> {
    fn drop(&mut self) {
        self.state.end();
        if self.ended || self.body.is_end_stream() {
            self.state.note_whole();
        }
    }
}

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.broken.is_none() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                // hyper writes what it has before it waits, and asks again.
                Some(Err(error)) => this.broken = Some(error),
                frame => {
                    this.ended = frame.is_none();
                    return Poll::Ready(frame);
                }
            }
        } else if !this.state.is_blocked() {
            return Poll::Ready(this.broken.take().map(Err));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        !self.length_alone && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length_alone {
            true => SizeHint::default(),
            false => self.body.size_hint(),
        }
    }
}
