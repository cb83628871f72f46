//! Waits for a request with a socket and a timer alone: for a connection's first one, and between two.
//!
//! A caller may keep its connection for minutes and ask for nothing. hyper would hold 16 KiB of buffers for it, so
//! hyper is let go, and the connection is parked until the caller goes on.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::framing::StrictFraming;
use super::limits::TimeLimits;
use super::state::RequestState;
use super::transport::Transport;

/// A connection that nobody serves for now.
pub(super) struct Idle<'c, S> {
    framing: &'c mut StrictFraming<S>,
    limits: &'c mut TimeLimits,
}

/// How the wait has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The next request has begun; its first bytes are kept, or still to be read.
    Request,
    /// Nothing more comes: the caller has left, has been idle for too long, or is let go.
    Over,
}

impl<'c, S: Transport> Idle<'c, S> {
    pub(super) fn new(framing: &'c mut StrictFraming<S>, limits: &'c mut TimeLimits) -> Self {
        Self { framing, limits }
    }

    /// Waits for the first bytes of a new connection, within the limit for its head, or until the drain has begun.
    pub(super) async fn first(self, drained: Pin<&mut impl Future<Output = ()>>) -> Woken {
        unless(drained, |cx| match self.framing.poll_readable(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Woken::Request),
            Poll::Ready(Err(_)) => Poll::Ready(Woken::Over),
            Poll::Pending => self.limits.poll_first(cx).map(|()| Woken::Over),
        })
        .await
    }

    /// Waits until the caller of a parked connection goes on, within the limit that counts from its last request, or
    /// until the connection is over: the drain has begun, or others need its file.
    pub(super) async fn next(self, state: &RequestState, over: Pin<&mut impl Future<Output = ()>>) -> Woken {
        unless(over, |cx| match self.framing.poll_keep(cx) {
            Poll::Ready(Ok(1..)) => {
                self.limits.begin_head(state);
                Poll::Ready(Woken::Request)
            }
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Woken::Over),
            Poll::Pending => self.limits.poll_parked(cx).map(|()| Woken::Over),
        })
        .await
    }
}

/// Waits until `woken` is settled, unless the connection is over before.
async fn unless(
    over: Pin<&mut impl Future<Output = ()>>,
    woken: impl FnMut(&mut Context<'_>) -> Poll<Woken>,
) -> Woken {
    tokio::select! {
        biased;
        woken = poll_fn(woken) => woken,
        () = over => Woken::Over,
    }
}
