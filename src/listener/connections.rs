//! How many callers are connected, of all workers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::Limits;

/// How many callers beyond [`Limits::max_connections`] are answered at one moment before they are closed; further ones
/// are closed at once.
const TURNED_AWAY: usize = 512;

/// How many of those may be in a TLS handshake, or behind one: it is more work than a call.
const TURNED_AWAY_OVER_TLS: usize = 128;

/// How many parked callers are let go at one moment for others, where files have run out.
const LET_GO: usize = 32;

/// All caller connections of the process at this moment.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    served: AtomicUsize,
    turned_away: AtomicUsize,
    turned_away_over_tls: AtomicUsize,
    /// Ever, for the log.
    turned_away_in_all: AtomicUsize,
    /// Wakes parked callers, those first that have been parked longest.
    let_go: Notify,
}

/// Counts one connection until dropped.
#[derive(Debug)]
pub(super) struct Counted {
    counts: Arc<Counts>,
    which: fn(&Counts) -> &AtomicUsize,
}

impl Connections {
    /// How many callers are connected and are not about to be turned away.
    pub fn count(&self) -> usize {
        self.0.served.load(Ordering::Relaxed)
    }

    /// Counts one more, unless there are `limit` already.
    pub(super) fn take(&self, limit: usize) -> Option<Counted> {
        self.one_of(|counts| &counts.served, limit)
    }

    /// Counts one that is to be turned away, unless that are too many, too; and logs that callers are turned away: the
    /// first time, and then with every thousandth, for a flood of callers must not become a flood of lines.
    pub(super) fn turn_away(&self, limits: &Limits, tls: bool) -> Option<Counted> {
        let before = self.0.turned_away_in_all.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(1000) {
            tracing::warn!(limit = limits.max_connections, turned_away = before + 1, "{}", limits.when_full);
        }
        match tls {
            true => self.one_of(|counts| &counts.turned_away_over_tls, TURNED_AWAY_OVER_TLS),
            false => self.one_of(|counts| &counts.turned_away, TURNED_AWAY),
        }
    }

    /// Closes the connections of some parked callers: there is no file left for one that asks.
    pub(super) fn let_go(&self) {
        (0..LET_GO).for_each(|_| self.0.let_go.notify_one());
    }

    fn one_of(&self, which: fn(&Counts) -> &AtomicUsize, limit: usize) -> Option<Counted> {
        let before = which(&self.0).fetch_add(1, Ordering::Relaxed);
        // Counts down again where there was no room.
        let counted = Counted { counts: Arc::clone(&self.0), which };
        (before < limit).then_some(counted)
    }
}

impl Counted {
    /// Until a parked caller's connection is wanted for another.
    pub(super) async fn is_let_go(&self) {
        self.counts.let_go.notified().await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.counts).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::limits::tests::LIMITS;

    #[test]
    fn callers_are_counted_up_to_the_limit_and_so_are_those_beyond_it() {
        let connections = Connections::default();
        let served: Vec<_> = (0..5).filter_map(|_| connections.take(3)).collect();
        assert_eq!((served.len(), connections.count()), (3, 3));
        for (tls, most) in [(false, TURNED_AWAY), (true, TURNED_AWAY_OVER_TLS)] {
            let away: Vec<_> = (0..most + 5).filter_map(|_| connections.turn_away(&LIMITS, tls)).collect();
            assert_eq!(away.len(), most);
            drop(away);
            assert!(connections.turn_away(&LIMITS, tls).is_some());
        }
        drop(served);
        assert_eq!(connections.count(), 0);
        assert!(connections.take(1).is_some());
    }
}
