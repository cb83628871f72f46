//! How many calls of one worker may be young at one moment: sent, and neither answered nor grown old.
//!
//! A crowd of callers is served faster one group after the other than all at once. What is sent at once needs a
//! connection each, with a handshake, and comes back when all of it has left the processor's caches. So further
//! calls wait here, first come, first served, for one of the young ones to be answered.
//!
//! A call that is simply slow must not hold up others: after [`TICK`], or two, it is old and counts no more, and
//! so nothing bounds how many slow calls there are. Knows nothing of connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How many calls may be young.
const MOST: usize = 64;

/// How long a call counts as young, while others wait: one to two of these. Short beside a round trip to another
/// network, long beside an answer from this one.
const TICK: Duration = Duration::from_millis(10);

/// The places of one worker.
#[derive(Debug)]
pub(super) struct Places {
    free: Semaphore,
    /// Whether somebody sees to it that calls grow old.
    ageing: Cell<bool>,
    young: RefCell<Young>,
}

/// The calls that have a place, by age.
#[derive(Debug, Default)]
struct Young {
    tick: u64,
    /// Since the last tick, and since the one before.
    count: [usize; 2],
}

/// A place, until dropped or grown old.
#[derive(Debug)]
pub(super) struct Place {
    places: Rc<Places>,
    tick: u64,
}

impl Places {
    pub(super) fn new() -> Rc<Self> {
        let free = Semaphore::new(MOST);
        Rc::new(Self { free, ageing: Cell::new(false), young: RefCell::default() })
    }

    /// A place, if one is free.
    pub(super) fn take(self: &Rc<Self>) -> Option<Place> {
        self.free.try_acquire().ok()?.forget();
        Some(self.taken())
    }

    /// A place as soon as one is free, first come, first served.
    pub(super) async fn wait(self: &Rc<Self>) -> Place {
        if !self.ageing.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).age());
        }
        self.free.acquire().await.expect("nobody closes it").forget();
        self.taken()
    }

    fn taken(self: &Rc<Self>) -> Place {
        let mut young = self.young.borrow_mut();
        young.count[0] += 1;
        Place { places: Rc::clone(self), tick: young.tick }
    }

    /// Lets calls grow old while others wait.
    async fn age(self: Rc<Self>) {
        while self.free.available_permits() == 0 {
            tokio::time::sleep(TICK).await;
            let old = self.young.borrow_mut().age();
            self.free.add_permits(old);
        }
        self.ageing.set(false);
    }
}

impl Young {
    /// A tick has passed; how many calls are old now.
    fn age(&mut self) -> usize {
        self.tick += 1;
        let [new, old] = self.count;
        self.count = [0, new];
        old
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut young = self.places.young.borrow_mut();
        let age = young.tick - self.tick;
        if let Some(count) = young.count.get_mut(age as usize) {
            *count -= 1;
            drop(young);
            self.places.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter;
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::{Instant, timeout};

    fn all(places: &Rc<Places>) -> Vec<Place> {
        iter::from_fn(|| places.take()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_its_call_is_answered() {
        let places = Places::new();
        let mut held = all(&places);
        assert_eq!(held.len(), MOST);
        held.pop();
        let last = places.take();
        assert!(last.is_some() && places.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first_and_at_once() {
        LocalSet::new()
            .run_until(async {
                let places = Places::new();
                let mut held = all(&places);
                let order = Rc::<RefCell<Vec<usize>>>::default();
                let waiting: Vec<_> = (0..5)
                    .map(|number| {
                        let (places, order) = (Rc::clone(&places), Rc::clone(&order));
                        spawn_local(async move {
                            let place = places.wait().await;
                            order.borrow_mut().push(number);
                            place
                        })
                    })
                    .collect();
                tokio::task::yield_now().await;
                let begun = Instant::now();
                held.truncate(MOST - 5);
                for waiting in waiting {
                    held.push(waiting.await.unwrap());
                }
                assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
                assert_eq!(begun.elapsed(), Duration::ZERO);
                assert!(places.take().is_none());
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn slow_calls_hold_nobody_up_for_long() {
        LocalSet::new()
            .run_until(async {
                let places = Places::new();
                let mut held = all(&places);
                // Three times as many as may be young, none of them ever answered.
                for _ in 0..MOST * 3 {
                    let next = timeout(TICK * 3, places.wait()).await;
                    held.push(next.expect("a place after two ticks"));
                }
                // However old they were, each one's end is the end of one.
                drop(held);
                assert_eq!(all(&places).len(), MOST);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_while_it_waits_takes_no_place_with_it() {
        LocalSet::new()
            .run_until(async {
                let places = Places::new();
                let held = all(&places);
                for _ in 0..5 {
                    assert!(timeout(TICK / 10, places.wait()).await.is_err());
                }
                drop(held);
                tokio::time::sleep(TICK * 4).await;
                assert_eq!(all(&places).len(), MOST);
            })
            .await;
    }
}
