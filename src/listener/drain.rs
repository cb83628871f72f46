//! Tells every part of a worker that the end has begun.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use tokio::sync::Notify;

/// The side that ends things; dropping it counts as the end.
#[derive(Debug)]
pub struct DrainSender(Arc<Signal>);

/// The side that waits for it; every connection has a clone.
#[derive(Debug, Clone)]
pub struct Drain(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    begun: AtomicBool,
    bell: Notify,
}

/// A drain that has not begun.
pub fn drain() -> (DrainSender, Drain) {
    let signal = Arc::<Signal>::default();
    (DrainSender(Arc::clone(&signal)), Drain(signal))
}

impl DrainSender {
    /// Accept no more, finish what is in flight.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::SeqCst);
        self.0.bell.notify_waiters();
    }
}

impl Drop for DrainSender {
    fn drop(&mut self) {
        self.begin();
    }
}

impl Drain {
    /// Waits until the drain has begun.
    pub async fn begun(&self) {
        // Hears the bell from here on, also before it is polled: so the flag cannot be missed.
        let mut bell = pin!(self.0.bell.notified());
        let mut known: Option<Waker> = None;
        poll_fn(|cx| {
            if self.0.begun.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            // Connections poll this with each of their events: the lock of the bell is taken only for a waker
            // that it does not know.
            if known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            known = Some(cx.waker().clone());
            bell.as_mut().poll(cx)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::wake::tests::Count;
    use std::task::Context;

    #[test]
    fn whoever_polled_last_is_woken_and_latecomers_need_not_wait() {
        let (sender, drain) = drain();
        let mut begun = pin!(drain.begun());
        let (first, last) = (Arc::<Count>::default(), Arc::<Count>::default());
        for (waker, times) in [(&first, 2), (&last, 3)] {
            let waker = Waker::from(Arc::clone(waker));
            for _ in 0..times {
                assert!(begun.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
        }
        sender.begin();
        assert_eq!([first, last].map(|count| count.get()), [0, 1]);
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(begun.as_mut().poll(&mut nobody).is_ready());
        assert!(pin!(drain.clone().begun()).poll(&mut nobody).is_ready());
    }

    #[test]
    fn a_sender_that_is_gone_is_the_end() {
        let (sender, drain) = drain();
        let mut begun = pin!(drain.begun());
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(begun.as_mut().poll(&mut nobody).is_pending());
        drop(sender);
        assert!(begun.as_mut().poll(&mut nobody).is_ready());
    }
}
