//! Holds back the wake-up that a step of a task gives the task itself.
//!
//! hyper's HTTP/1 server has itself woken whenever a part of a request's body is taken, to read the next one. It does
//! so for the last part too, when it has nothing left to read: each small POST would have its caller and its upstream
//! polled once more in vain. hyper cannot be told, but its waker can. What a wake-up is worth is for the step to say.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    /// What becomes of wake-ups on this thread.
    static WAKEUPS: Cell<Wakeups> = const { Cell::new(Wakeups::Pass) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wakeups {
    Pass,
    HoldBack,
    HeldBack,
}

/// Takes a step, and tells whether a wake-up was held back meanwhile. Only those of futures that are polled with
/// [`Waking::poll`] are; a step may wake no other task but its own.
pub(crate) fn during<T>(step: impl FnOnce() -> T) -> (T, bool) {
    /// Also when the step panics.
    struct Restore(Wakeups);
    impl Drop for Restore {
        fn drop(&mut self) {
            WAKEUPS.set(self.0);
        }
    }
    let _restore = Restore(WAKEUPS.replace(Wakeups::HoldBack));
    let done = step();
    (done, WAKEUPS.get() == Wakeups::HeldBack)
}

/// How a future has its task woken: by a waker that [`during`] can hold back.
#[derive(Debug, Default)]
pub(crate) struct Waking {
    /// The task's own waker, and the one that stands before it.
    wakers: Option<(Waker, Waker)>,
}

impl Waking {
    /// Polls a future so.
    pub(crate) fn poll<F: Future>(&mut self, future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let waker = match &mut self.wakers {
            Some((own, waker)) if own.will_wake(cx.waker()) => waker,
            wakers => {
                let own = cx.waker().clone();
                let waker = Waker::from(Arc::new(Task(own.clone())));
                &mut wakers.insert((own, waker)).1
            }
        };
        future.poll(&mut Context::from_waker(waker))
    }
}

/// A task, by its own waker.
#[derive(Debug)]
struct Task(Waker);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match WAKEUPS.get() {
            Wakeups::Pass => self.0.wake_by_ref(),
            Wakeups::HoldBack | Wakeups::HeldBack => WAKEUPS.set(Wakeups::HeldBack),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How often a task has been woken.
    #[derive(Debug, Default)]
    pub(crate) struct Count(AtomicUsize);

    impl Count {
        pub(crate) fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_wake_up_is_held_back_while_a_step_is_taken_and_at_no_other_time() {
        let (own, other) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let counts = || [&own, &other].map(|count| count.get());
        let mut waking = Waking::default();
        // As a task that is polled by another one each time.
        for (task, right) in [(&own, [2, 0]), (&other, [2, 2]), (&own, [4, 2])] {
            let future = poll_fn(|cx: &mut Context<'_>| {
                cx.waker().wake_by_ref();
                let known = cx.waker().clone();
                let twice = || {
                    cx.waker().wake_by_ref();
                    known.wake();
                };
                assert_eq!(during(twice), ((), true));
                assert_eq!(during(|| 7), (7, false), "the time before counts no more");
                let stepped =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| during(|| panic!("a step"))));
                assert!(stepped.is_err());
                cx.waker().wake_by_ref();
                Poll::Ready(())
            });
            let mut future = std::pin::pin!(future);
            let waker = Waker::from(Arc::clone(task));
            assert!(waking.poll(future.as_mut(), &mut Context::from_waker(&waker)).is_ready());
            assert_eq!(counts(), right);
        }
        // Another waker is none of its business.
        let waker = Waker::from(Arc::clone(&own));
        assert_eq!(during(|| waker.wake_by_ref()), ((), false));
        assert_eq!(counts(), [5, 2]);
    }
}
