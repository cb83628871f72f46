//! The in-flight limit: how many requests of one worker are sent at one moment and neither answered nor slow.
//!
//! Many callers at once are served faster one group after the other than all together: what is sent at once needs a
//! connection each, with a handshake, and comes back when all of it has left the processor's caches. So a request
//! takes a permit, and waits for one, first come, first served, while [`LIMIT`] others hold theirs.
//!
//! A slow request must not hold up others: after one or two times [`TICK`] it no longer counts, and so the number of
//! slow requests is not bounded here. Knows nothing of connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How many requests hold a permit that counts.
const LIMIT: usize = 64;

/// How long a permit counts while others wait: one to two of these. Short beside a round trip to another network,
/// long beside an answer from this one.
const TICK: Duration = Duration::from_millis(10);

/// The in-flight limit of one worker.
#[derive(Debug)]
pub(super) struct InFlight {
    free: Semaphore,
    /// Whether a task runs that lets permits expire.
    expiring: Cell<bool>,
    counted: RefCell<Counted>,
}

/// The permits that count, by age.
#[derive(Debug, Default)]
struct Counted {
    tick: u64,
    /// Since the last tick, and since the one before.
    count: [usize; 2],
}

/// The right to be in flight. It counts until it is dropped, or until it is older than two ticks while others wait.
#[derive(Debug)]
pub(super) struct Permit {
    limit: Rc<InFlight>,
    tick: u64,
}

impl InFlight {
    pub(super) fn new() -> Rc<Self> {
        let free = Semaphore::new(LIMIT);
        Rc::new(Self { free, expiring: Cell::new(false), counted: RefCell::default() })
    }

    /// A permit, if one is free.
    pub(super) fn try_acquire(self: &Rc<Self>) -> Option<Permit> {
        self.free.try_acquire().ok()?.forget();
        Some(self.permit())
    }

    /// A permit as soon as one is free, first come, first served.
    pub(super) async fn acquire(self: &Rc<Self>) -> Permit {
        if !self.expiring.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).expire());
        }
        self.free.acquire().await.expect("the semaphore is never closed").forget();
        self.permit()
    }

    fn permit(self: &Rc<Self>) -> Permit {
        let mut counted = self.counted.borrow_mut();
        counted.count[0] += 1;
        Permit { limit: Rc::clone(self), tick: counted.tick }
    }

    /// Lets permits expire while requests wait.
    async fn expire(self: Rc<Self>) {
        while self.free.available_permits() == 0 {
            tokio::time::sleep(TICK).await;
            let expired = self.counted.borrow_mut().tick();
            self.free.add_permits(expired);
        }
        self.expiring.set(false);
    }
}

impl Counted {
    /// A tick has passed; how many permits count no longer.
    fn tick(&mut self) -> usize {
        self.tick += 1;
        let [new, expired] = self.count;
        self.count = [0, new];
        expired
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counted = self.limit.counted.borrow_mut();
        let age = counted.tick - self.tick;
        if let Some(count) = counted.count.get_mut(age as usize) {
            *count -= 1;
            drop(counted);
            self.limit.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter;
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::{Instant, timeout};

    fn all(limit: &Rc<InFlight>) -> Vec<Permit> {
        iter::from_fn(|| limit.try_acquire()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_is_free_again_when_it_is_dropped() {
        let limit = InFlight::new();
        let mut held = all(&limit);
        assert_eq!(held.len(), LIMIT);
        held.pop();
        let last = limit.try_acquire();
        assert!(last.is_some() && limit.try_acquire().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_get_permits_in_their_order_and_at_once() {
        LocalSet::new()
            .run_until(async {
                let limit = InFlight::new();
                let mut held = all(&limit);
                let order = Rc::<RefCell<Vec<usize>>>::default();
                let waiting: Vec<_> = (0..5)
                    .map(|number| {
                        let (limit, order) = (Rc::clone(&limit), Rc::clone(&order));
                        spawn_local(async move {
                            let permit = limit.acquire().await;
                            order.borrow_mut().push(number);
                            permit
                        })
                    })
                    .collect();
                tokio::task::yield_now().await;
                let begun = Instant::now();
                held.truncate(LIMIT - 5);
                for waiting in waiting {
                    held.push(waiting.await.unwrap());
                }
                assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
                assert_eq!(begun.elapsed(), Duration::ZERO);
                assert!(limit.try_acquire().is_none());
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn slow_requests_hold_up_no_other_for_long() {
        LocalSet::new()
            .run_until(async {
                let limit = InFlight::new();
                let mut held = all(&limit);
                // Three times the limit, none of them ever answered.
                for _ in 0..LIMIT * 3 {
                    let next = timeout(TICK * 3, limit.acquire()).await;
                    held.push(next.expect("a permit after two ticks"));
                }
                // An expired permit frees nothing when it is dropped.
                drop(held);
                assert_eq!(all(&limit).len(), LIMIT);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_dropped_while_it_waits_takes_no_permit_with_it() {
        LocalSet::new()
            .run_until(async {
                let limit = InFlight::new();
                let held = all(&limit);
                for _ in 0..5 {
                    assert!(timeout(TICK / 10, limit.acquire()).await.is_err());
                }
                drop(held);
                tokio::time::sleep(TICK * 4).await;
                assert_eq!(all(&limit).len(), LIMIT);
            })
            .await;
    }
}
