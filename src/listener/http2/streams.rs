//! The requests that are open on one HTTP/2 connection: how many there are, and how their answers get on.
//!
//! The flow control of HTTP/2 never reaches the socket, where a caller that reads nothing would be seen. So a stream
//! whose caller makes no room for its answer is ended by the task that drives it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::Instant;

use crate::deadline::Deadline;

/// The requests that are open on one connection; all clones are the same.
#[derive(Clone)]
pub(super) struct Streams(Rc<Open>);

struct Open {
    count: Cell<usize>,
    /// When the last one ended.
    idle_since: Cell<Instant>,
    /// That of the stream whose task is about to be started.
    begun: Cell<Option<Rc<StreamProgress>>>,
}

/// How the answer of one stream gets on.
#[derive(Default)]
struct StreamProgress {
    /// hyper holds a piece that it cannot send before the caller makes room.
    held: Cell<bool>,
    /// hyper has asked for a piece since the last look.
    asked: Cell<bool>,
}

/// One of them, until dropped.
pub(super) struct Stream {
    open: Rc<Open>,
    progress: Rc<StreamProgress>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self(Rc::new(Open {
            count: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            begun: Cell::default(),
        }))
    }

    /// One more is open.
    pub(super) fn begin(&self) -> Stream {
        self.0.count.set(self.0.count.get() + 1);
        let progress = Rc::<StreamProgress>::default();
        self.0.begun.set(Some(Rc::clone(&progress)));
        Stream { open: Rc::clone(&self.0), progress }
    }

    /// Waits until none has been open for so long.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let open = self.0.count.get() > 0;
            let end = if open { Instant::now() } else { self.0.idle_since.get() } + limit;
            if !open && Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// The same, counted from now.
    pub(super) async fn idle_from_now_for(&self, limit: Duration) {
        self.0.idle_since.set(Instant::now());
        self.idle_for(limit).await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.count.set(self.open.count.get() - 1);
        self.open.idle_since.set(Instant::now());
    }
}

/// An answer's body that tells how its stream gets on.
pub(super) struct Answer<B: Body> {
    body: B,
    stream: Stream,
    /// Why the body broke off. h2 resets the stream when it is told, and throws away what it has not sent.
    broken: Option<B::Error>,
    /// Ends with its head, whatever the body is: an answer to HEAD, or a 204.
    head_alone: bool,
}

impl<B: Body> Answer<B> {
    pub(super) fn new(body: B, stream: Stream, head_alone: bool) -> Self {
        Self { body, stream, broken: None, head_alone }
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
        let progress = &this.stream.progress;
        progress.asked.set(true);
        progress.held.set(false);
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            // The connection's task has been woken for what came before: it writes that, as far as the caller makes room,
            // before this one's next turn.
            Some(Err(error)) => {
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => {
                progress.held.set(matches!(frame, Some(Ok(_))));
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.head_alone || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs what belongs to a connection on the connection's own thread, and ends a stream whose caller makes no room for
/// its answer.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    streams: Streams,
    limit: Duration,
}

impl StreamExecutor {
    pub(super) fn new(streams: &Streams, limit: Duration) -> Self {
        Self { streams: streams.clone(), limit }
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // hyper starts the task of a stream right after it has called the service (docs/hyper.md).
        let progress = self.streams.0.begun.take().unwrap_or_default();
        let limit = self.limit;
        tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            let mut stalled = Deadline::default();
            poll_fn(|cx| {
                if future.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if progress.asked.take() {
                    stalled.clear();
                }
                match progress.held.get() {
                    true => stalled.poll(limit, cx),
                    false => Poll::Pending,
                }
            })
            .await;
        });
    }
}
