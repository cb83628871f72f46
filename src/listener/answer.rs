//! The body of an HTTP/1 answer, as hyper takes it from the service.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::state::RequestState;

/// A body that tells when the answer has been handed over.
pub(super) struct Answer<B> {
    body: B,
    state: RequestState,
    /// The answer has a length and no body: a 304, whose length is that of the answer it stands for. hyper drops the
    /// length of an answer whose body has ended, and writes no body of a 304 in any case (docs/hyper.md).
    length_alone: bool,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, state: RequestState, length_alone: bool) -> Self {
        Self { body, state, length_alone }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.state.end();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
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
