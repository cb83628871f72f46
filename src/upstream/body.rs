//! Request bodies on their way out: whole ones that can be sent again, and streams that cannot.
//!
//! Nothing here decides which of the two a body becomes; that is the proxy's `buffer` step.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::deadline::Deadline;

/// How far a request body has come, so that a slow upload is told from a dead upstream.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Rc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    taken: Cell<u64>,
    owed: Cell<bool>,
}

impl Progress {
    /// Grows whenever the connection takes more of the body.
    pub(super) fn taken(&self) -> u64 {
        self.0.taken.get()
    }

    /// Whether the connection waits for more from the caller.
    pub(super) fn is_owed(&self) -> bool {
        self.0.owed.get()
    }
}

/// A request body that the caller sends on.
struct Rest {
    body: Pin<Box<dyn Body<Data = Bytes, Error = hyper::Error>>>,
    stall: Deadline,
    /// The longest pause.
    limit: Duration,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Why a caller's body broke off; a pause that was too long is an [`std::io::ErrorKind::TimedOut`] within.
pub(super) type CallerError = Box<dyn std::error::Error + Send + Sync>;

/// A request body of known length.
#[derive(Debug)]
pub struct RequestBody {
    /// The first of the chunks that are here: most bodies have one, and need no list.
    next: Option<Bytes>,
    more: VecDeque<Bytes>,
    /// Boxed, since few bodies have it, and every request is handed on several times.
    rest: Option<Box<Rest>>,
    left: u64,
    /// `None` where there is no body.
    progress: Option<Progress>,
}

impl RequestBody {
    /// A body that is here in full. Cloning `Bytes` copies no data.
    pub fn whole(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let mut chunks = chunks.into_iter();
        let (next, more): (_, VecDeque<_>) = (chunks.next(), chunks.collect());
        let left = next.iter().chain(&more).map(|chunk| chunk.len() as u64).sum();
        Self { next, more, rest: None, left, progress: (left > 0).then(Progress::default) }
    }

    /// A body of `length` bytes, of which the beginning is here and the rest still comes from the caller,
    /// with no pause longer than `limit`.
    pub fn stream(
        beginning: impl IntoIterator<Item = Bytes>,
        rest: impl Body<Data = Bytes, Error = hyper::Error> + 'static,
        length: u64,
        limit: Duration,
    ) -> Self {
        let mut beginning = beginning.into_iter();
        let (next, more) = (beginning.next(), beginning.collect());
        let rest = Some(Box::new(Rest { body: Box::pin(rest), stall: Deadline::default(), limit }));
        Self { next, more, rest, left: length, progress: Some(Progress::default()) }
    }

    /// How far this body has come, to be looked at while the connection has it.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }

    fn taken(&mut self, chunk: Bytes) -> Frame<Bytes> {
        self.left = self.left.saturating_sub(chunk.len() as u64);
        if let Some(Progress(counters)) = &self.progress {
            counters.taken.set(counters.taken.get() + 1);
            counters.owed.set(false);
        }
        Frame::data(chunk)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = CallerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerError>>> {
        if let Some(chunk) = self.next.take() {
            self.next = self.more.pop_front();
            return Poll::Ready(Some(Ok(self.taken(chunk))));
        }
        while let Some(rest) = self.rest.as_mut() {
            let Poll::Ready(frame) = rest.body.as_mut().poll_frame(cx) else {
                if rest.stall.poll(rest.limit, cx).is_ready() {
                    let stalled = std::io::Error::from(std::io::ErrorKind::TimedOut);
                    return Poll::Ready(Some(Err(stalled.into())));
                }
                if let Some(Progress(counters)) = &self.progress {
                    counters.owed.set(true);
                }
                return Poll::Pending;
            };
            rest.stall.clear();
            match frame {
                Some(Ok(frame)) => {
                    // Trailers end here: `Trailer` is hop-by-hop, and the WeChat API refuses chunked bodies.
                    if let Ok(chunk) = frame.into_data() {
                        return Poll::Ready(Some(Ok(self.taken(chunk))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
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
