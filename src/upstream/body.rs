//! Request bodies on their way out: whole ones that can be sent again, and streams that cannot.
//!
//! Nothing here decides which of the two a body becomes; that is the proxy's `replay` step.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// Counts what the connection has taken of a request body, so that a slow upload is told from a dead one.
pub(super) type Progress = Rc<Cell<u64>>;

/// A request body of known length.
#[derive(Debug)]
pub struct RequestBody {
    ready: VecDeque<Bytes>,
    rest: Option<Incoming>,
    left: u64,
    progress: Progress,
}

impl RequestBody {
    /// A body that is here in full. Cloning `Bytes` copies no data.
    pub fn whole(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let ready: VecDeque<Bytes> = chunks.into_iter().collect();
        let left = ready.iter().map(|chunk| chunk.len() as u64).sum();
        Self { ready, rest: None, left, progress: Progress::default() }
    }

    /// A body of `length` bytes, of which the beginning is here and the rest still comes from the caller.
    pub fn stream(beginning: impl IntoIterator<Item = Bytes>, rest: Incoming, length: u64) -> Self {
        let ready = beginning.into_iter().collect();
        Self { ready, rest: Some(rest), left: length, progress: Progress::default() }
    }

    /// A counter that grows whenever the connection takes more of this body.
    pub(super) fn progress(&self) -> Progress {
        Rc::clone(&self.progress)
    }

    fn taken(&mut self, chunk: Bytes) -> Frame<Bytes> {
        self.left = self.left.saturating_sub(chunk.len() as u64);
        self.progress.set(self.progress.get() + 1);
        Frame::data(chunk)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(chunk) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(self.taken(chunk))));
        }
        while let Some(rest) = self.rest.as_mut() {
            match ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers end here: `Trailer` is hop-by-hop, and the WeChat API refuses chunked bodies.
                    if let Ok(chunk) = frame.into_data() {
                        return Poll::Ready(Some(Ok(self.taken(chunk))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.rest = None,
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
