//! The memory that buffered request bodies may take at one moment: all together `replay_total`, and those of one
//! caller half of it, so that one who stalls his uploads does not take the others' room.
//!
//! Counters alone, without a lock: one for all, and one for each share. Known by the buffer step, and by `signing/`, which
//! keeps answers.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::refusal::Refusal;
use super::settings::Caller;

/// Shares of configured callers, in their order; further ones use them a second time.
const CALLERS: usize = 1024;

/// Shares of addresses, where there are no configured callers. Addresses that fall on the same one share it.
const ADDRESSES: usize = 4096;

/// The bytes that all buffered bodies may take.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    total: usize,
    shares: Box<[AtomicUsize]>,
    /// So that nobody can choose an address that falls on another's share.
    hash: RandomState,
}

/// What one caller may use of it.
#[derive(Debug, Clone)]
pub struct Share {
    budget: Arc<Budget>,
    index: usize,
}

/// Why there is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// `replay_total` is used up.
    All,
    /// This caller holds half of it.
    Own,
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Self {
        Self::Busy(match exhausted {
            Exhausted::All => {
                "too many request bodies without a length are held at this moment; try again, send a Content-Length, \
                 or raise limits.replay_total"
            }
            Exhausted::Own => {
                "this caller has too many request bodies without a length under way; try again, send a \
                 Content-Length, or raise limits.replay_total, of which a caller may hold half"
            }
        })
    }
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        let shares = (0..CALLERS + ADDRESSES).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { used: AtomicUsize::new(0), total, shares, hash: RandomState::new() })
    }

    /// Bytes that are held at this moment.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The share of one of the configured callers, else of the address that a request comes from.
    pub fn share(self: &Arc<Self>, callers: &[Caller], caller: Option<&Caller>, peer: IpAddr) -> Share {
        let position = caller.and_then(|caller| callers.iter().position(|known| std::ptr::eq(known, caller)));
        let index = match position {
            Some(position) => position % CALLERS,
            None => CALLERS + self.hash.hash_one(network(peer)) as usize % ADDRESSES,
        };
        Share { budget: Arc::clone(self), index }
    }

    /// The share of a request that has nothing to hold.
    pub fn no_share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), index: 0 }
    }
}

/// Who has one address of an IPv6 network has them all.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

impl Share {
    /// Takes so many bytes more; nothing is taken where they do not fit.
    pub(super) fn reserve(&self, bytes: usize) -> Result<(), Exhausted> {
        let Budget { used, total, shares, .. } = &*self.budget;
        let own = &shares[self.index];
        if !take(own, bytes, total / 2) {
            return Err(Exhausted::Own);
        }
        if !take(used, bytes, *total) {
            own.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Exhausted::All);
        }
        Ok(())
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, bytes: usize) {
        self.budget.shares[self.index].fetch_sub(bytes, Ordering::Relaxed);
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes that something else than a request's body takes of a share, until it is dropped.
#[derive(Debug)]
pub struct Room {
    share: Share,
    bytes: usize,
}

impl Room {
    pub(super) fn new(share: Share) -> Self {
        Self { share, bytes: 0 }
    }

    /// Takes so many more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.share.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.share.give_back(self.bytes);
    }
}

fn take(counter: &AtomicUsize, bytes: usize, most: usize) -> bool {
    let before = counter.fetch_add(bytes, Ordering::Relaxed);
    let fits = before + bytes <= most;
    if !fits {
        counter.fetch_sub(bytes, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller {
            name: name.into(),
            from: Vec::new(),
            keys: Vec::new(),
            rate: None,
            concurrent: None,
            accounts: None,
            allow: None,
            real_token: false,
        }
    }

    #[test]
    fn one_caller_holds_half_at_most_and_all_together_the_total() {
        let budget = Budget::new(100);
        let callers = [caller("a"), caller("b"), caller("c")];
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let [a, b, c] = [0, 1, 2].map(|n| budget.share(&callers, Some(&callers[n]), peer));
        assert_eq!(a.reserve(50), Ok(()));
        assert_eq!(a.reserve(1), Err(Exhausted::Own));
        assert_eq!(budget.share(&callers, Some(&callers[0]), peer).reserve(1), Err(Exhausted::Own));
        assert_eq!(b.reserve(40), Ok(()));
        assert_eq!(c.reserve(11), Err(Exhausted::All));
        assert_eq!(c.reserve(10), Ok(()));
        a.give_back(50);
        assert_eq!((c.reserve(40), c.reserve(1)), (Ok(()), Err(Exhausted::Own)));
    }

    #[test]
    fn room_is_taken_piece_by_piece_and_given_back_at_its_end() {
        let budget = Budget::new(100);
        let share = || budget.share(&[], None, "192.0.2.1".parse().unwrap());
        let mut room = Room::new(share());
        assert_eq!((room.grow(20), room.grow(30), room.grow(1)), (Ok(()), Ok(()), Err(Exhausted::Own)));
        assert_eq!((budget.used(), share().reserve(1)), (50, Err(Exhausted::Own)));
        drop(room);
        assert_eq!((budget.used(), share().reserve(50)), (0, Ok(())));
    }

    #[test]
    fn without_callers_an_address_is_one() {
        let budget = Budget::new(100);
        let of = |peer: &str| budget.share(&[], None, peer.parse().unwrap()).index;
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3:4:5"));
        // Two of many may fall together, not all of them.
        let others = (2..20).filter(|n| of(&format!("192.0.2.{n}")) != of("192.0.2.1")).count();
        assert!(others > 10, "{others}");
    }
}
