//! Wake suppression: an HTTP/1 connection is not woken to be polled once more for nothing.
//!
//! hyper wakes the task of a connection whenever the service takes a piece of the request's body, so that it goes on
//! reading. Behind the last piece there is nothing to read, and the task is running at that moment anyway: each POST
//! would be polled once more, upstream connection included, for a twentieth of its instructions. So hyper gets a waker
//! of its own for each connection; while [`super::CallerBody`] takes a piece, that one notes the wake-up instead of
//! passing it on. Nobody else has to know of it.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};

thread_local! {
    /// Whether a piece of a body is being taken at this moment.
    static SUPPRESSED: Cell<bool> = const { Cell::new(false) };
    /// The task that was to be woken meanwhile.
    static WOKEN: Cell<Option<Waker>> = const { Cell::new(None) };
}

/// The waker that hyper gets of a connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionWaker {
    /// The task's, and the one in its place.
    made: Option<(Waker, Waker)>,
}

impl ConnectionWaker {
    /// The one that stands for the waker of the connection's task.
    pub(super) fn of(&mut self, task: &Waker) -> &Waker {
        if self.made.as_ref().is_none_or(|(known, _)| !known.will_wake(task)) {
            self.made = None;
        }
        let make = || (task.clone(), Waker::from(Arc::new(Suppressible(task.clone()))));
        &self.made.get_or_insert_with(make).1
    }
}

struct Suppressible(Waker);

impl Wake for Suppressible {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match SUPPRESSED.get() {
            false => self.0.wake_by_ref(),
            true => WOKEN.set(Some(self.0.clone())),
        }
    }
}

/// Ends the suppression, also when what was done meanwhile panics.
struct Suppression;

impl Drop for Suppression {
    fn drop(&mut self) {
        SUPPRESSED.set(false);
    }
}

/// Does something that may wake this thread's connection; and gives back the task that it wanted to be woken.
pub(super) fn suppressed<T>(action: impl FnOnce() -> T) -> (T, Option<Waker>) {
    SUPPRESSED.set(true);
    let suppression = Suppression;
    let done = action();
    drop(suppression);
    (done, WOKEN.take())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How often a task has been woken.
    #[derive(Default)]
    pub(in crate::listener) struct Count(AtomicUsize);

    impl Count {
        pub(in crate::listener) fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wake_ups_are_held_back_for_as_long_as_asked_and_on_this_thread_alone() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let woken = || count.get();
        let mut connection = ConnectionWaker::default();
        let waker = connection.of(&task).clone();
        assert!(connection.of(&task).will_wake(&waker), "it is made once");

        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        let ((), held) = suppressed(|| waker.wake_by_ref());
        assert_eq!(woken(), 1);
        held.unwrap().wake();
        assert_eq!(woken(), 2);
        let ((), held) = suppressed(|| {
            std::thread::scope(|scope| scope.spawn(|| waker.wake_by_ref()).join().unwrap());
        });
        assert!(held.is_none());
        assert_eq!(woken(), 3);

        let panicked = catch_unwind(AssertUnwindSafe(|| suppressed(|| panic!("as a body may"))));
        assert!(panicked.is_err());
        waker.wake();
        assert_eq!(woken(), 4);
    }
}
