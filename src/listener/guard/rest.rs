//! Waits for a request with a socket and a timer alone: for a connection's first one, and between two.
//!
//! A caller may keep its connection for minutes and ask for nothing. hyper would hold 16 KiB of buffers for it,
//! so it is told that the connection has ended, and given the connection again when the caller goes on.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Guard, State, Transport};

/// How a rest has ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::listener) enum Rested {
    /// The next request has begun; its first bytes are kept, or still to be read.
    Woken,
    /// Nothing more comes: the caller has left, or has been idle for too long, or the drain has begun.
    Over,
}

impl<S: Transport> Guard<S> {
    /// Waits for the first bytes of a new connection, within the limit for its head, or until the drain has begun.
    pub(in crate::listener) async fn begin(&mut self, drained: Pin<&mut impl Future<Output = ()>>) -> Rested {
        let begun = |cx: &mut Context<'_>| match self.io.poll_readable(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Rested::Woken),
            Poll::Ready(Err(_)) => Poll::Ready(Rested::Over),
            Poll::Pending => self.reading.poll(self.limits.head, cx).map(|()| Rested::Over),
        };
        unless(drained, begun).await
    }

    /// Whether hyper has seen an end although the connection goes on.
    pub(in crate::listener) fn is_resting(&self) -> bool {
        matches!(self.course.state, State::Resting | State::Respelt)
    }

    /// Waits until the caller goes on, within the limit that counts from its last request, or until the drain
    /// has begun.
    pub(in crate::listener) async fn rest(&mut self, drained: Pin<&mut impl Future<Output = ()>>) -> Rested {
        let rested = match self.course.state {
            State::Respelt => Rested::Woken,
            _ => {
                let rested = unless(drained, |cx| self.poll_rest(cx)).await;
                self.present.forget_calls();
                rested
            }
        };
        self.course.state = State::Head { first: false };
        rested
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Rested> {
        match self.poll_keep(cx) {
            Poll::Ready(Ok(1..)) => {
                // The time for the head begins.
                self.reading.clear();
                Poll::Ready(Rested::Woken)
            }
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Rested::Over),
            Poll::Pending => self.reading.poll(self.limits.idle, cx).map(|()| Rested::Over),
        }
    }
}

/// Waits until `rested` is settled, unless the drain begins before.
async fn unless(
    drained: Pin<&mut impl Future<Output = ()>>,
    rested: impl FnMut(&mut Context<'_>) -> Poll<Rested>,
) -> Rested {
    tokio::select! {
        biased;
        rested = poll_fn(rested) => rested,
        () = drained => Rested::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::guard::limits::{LATER_REST, REST};
    use crate::listener::guard::tests::{HEAD, IDLE, after, read};
    use crate::listener::guard::{Present, REJECTED};
    use std::future::pending;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::{Instant, timeout};

    /// A caller, and the guard of its connection of which one request has been read.
    async fn after_one_request(present: &Present) -> (DuplexStream, Guard<DuplexStream>) {
        after(HEAD, present).await
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_while_hyper_sees_an_end_and_the_next_request_begins_anew() {
        let (mut caller, mut guard) = after_one_request(&Present::default()).await;
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(read(&mut guard).await, b"");
            assert!(guard.is_resting());
            assert!((REST..REST * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
            // In two halves: what wakes it is not yet a head.
            caller.write_all(&HEAD[..9]).await.unwrap();
            assert_eq!(guard.rest(pin!(pending())).await, Rested::Woken);
            assert!(!guard.is_resting());
            assert!(timeout(Duration::from_secs(5), read(&mut guard)).await.is_err(), "half a head");
            caller.write_all(&HEAD[9..]).await.unwrap();
            assert_eq!(read(&mut guard).await, HEAD);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_comes_back_is_given_longer_until_it_has_rested() {
        let present = Present::default();
        let (mut caller, mut guard) = after_one_request(&present).await;
        for (calls, pause) in [(1, REST), (2, LATER_REST), (1, REST), (3, LATER_REST)] {
            for _ in 0..calls {
                present.begin();
                present.end();
            }
            let start = Instant::now();
            assert_eq!(read(&mut guard).await, b"");
            assert!((pause..pause * 2).contains(&start.elapsed()), "{calls} {:?}", start.elapsed());
            caller.write_all(HEAD).await.unwrap();
            assert_eq!(guard.rest(pin!(pending())).await, Rested::Woken);
            assert_eq!(read(&mut guard).await, HEAD);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_after_a_rest_has_its_own_time() {
        let (mut caller, mut guard) = after_one_request(&Present::default()).await;
        assert_eq!(read(&mut guard).await, b"");
        tokio::time::sleep(Duration::from_secs(60)).await;
        caller.write_all(b"G").await.unwrap();
        assert_eq!(guard.rest(pin!(pending())).await, Rested::Woken);
        let start = Instant::now();
        assert!(read(&mut guard).await.starts_with(REJECTED));
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_counts_from_the_last_request() {
        let (_caller, mut guard) = after_one_request(&Present::default()).await;
        let start = Instant::now();
        assert_eq!(read(&mut guard).await, b"");
        assert_eq!(guard.rest(pin!(pending())).await, Rested::Over);
        assert_eq!(start.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_and_a_drain_end_the_rest_at_once() {
        let (caller, mut guard) = after_one_request(&Present::default()).await;
        assert_eq!(read(&mut guard).await, b"");
        let start = Instant::now();
        assert_eq!(guard.rest(pin!(async {})).await, Rested::Over);
        drop(caller);
        assert_eq!(guard.rest(pin!(pending())).await, Rested::Over);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// A body that waits for a slow upstream is nobody's delay: woken for it, hyper would not read, flush again,
    /// and be woken again.
    #[tokio::test(start_paused = true)]
    async fn a_flush_begins_the_limit_for_the_next_request_and_no_other() {
        let (mut caller, mut guard) = after_one_request(&Present::default()).await;
        guard.flush().await.unwrap();
        let start = Instant::now();
        tokio::time::sleep(REST).await;
        assert_eq!(read(&mut guard).await, b"");
        assert_eq!(start.elapsed(), REST, "counted from the flush");
        caller.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").await.unwrap();
        assert_eq!(guard.rest(pin!(pending())).await, Rested::Woken);
        read(&mut guard).await;
        guard.flush().await.unwrap();
        tokio::time::sleep(IDLE * 2).await;
        guard.flush().await.unwrap();
        assert!(!guard.reading.is_running());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_a_pause_is_no_rest() {
        let longer = REST * 3;
        let present = Present::default();
        let (mut caller, mut guard) = after_one_request(&present).await;
        present.begin();
        assert!(timeout(longer, read(&mut guard)).await.is_err(), "a request is being served");
        // The caller has read nothing of an answer yet.
        guard.write_all(&[b'a'; 64]).await.unwrap();
        assert!(timeout(longer, guard.write_all(b"b")).await.is_err());
        present.end();
        assert!(timeout(longer, read(&mut guard)).await.is_err(), "an answer is on its way");
        caller.read_exact(&mut [0; 64]).await.unwrap();
        guard.write_all(b"b").await.unwrap();
        // Old clients send an empty line after a body.
        caller.write_all(b"\r\n").await.unwrap();
        assert!(timeout(longer, read(&mut guard)).await.is_err(), "the next head may have begun");
    }

    /// hyper is asked to keep a spelling when it begins, and an end would cut off what it still has to say.
    #[tokio::test(start_paused = true)]
    async fn a_head_in_its_own_spelling_waits_until_hyper_can_begin_anew() {
        let head = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
        let present = Present::default();
        let (mut caller, mut guard) = after_one_request(&present).await;
        present.begin();
        caller.write_all(head).await.unwrap();
        assert!(timeout(REST, read(&mut guard)).await.is_err(), "a request is being served");
        guard.write_all(&[b'a'; 64]).await.unwrap();
        assert!(timeout(REST, guard.write_all(b"b")).await.is_err());
        present.end();
        assert!(timeout(REST, read(&mut guard)).await.is_err(), "an answer is on its way");
        caller.read_exact(&mut [0; 64]).await.unwrap();
        guard.write_all(b"b").await.unwrap();
        let start = Instant::now();
        for _ in 0..2 {
            assert_eq!(read(&mut guard).await, b"");
        }
        assert!(guard.is_resting() && guard.keeps_spelling());
        assert_eq!(guard.rest(pin!(async {})).await, Rested::Woken);
        assert_eq!(read(&mut guard).await, head);
        // From here on hyper keeps it.
        caller.write_all(head).await.unwrap();
        assert_eq!(read(&mut guard).await, head);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
