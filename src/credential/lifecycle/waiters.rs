//! The readers that wait for a fetch, and what they want of it.

use super::{Action, WaiterId};
use crate::credential::types::Renewal;

/// Reports without a waiter join a fetch only while no more than this have joined it: nothing else bounds them.
const MOST_UNATTENDED: usize = 1024;

/// Why a credential other than the current one is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The current one was refused on a path without an accepted call in the last hour.
    UnknownPath,
    /// Somebody asked for a refresh by hand.
    ByHand,
    /// The current one was refused on a path that had an accepted call in the last hour.
    KnownPath,
}

impl Cause {
    pub(super) fn is_refusal(self) -> bool {
        self != Self::ByHand
    }
}

/// A reader that caused or joined a fetch.
#[derive(Debug)]
pub(super) struct Waiter {
    /// `None` when nobody waits.
    pub(super) id: Option<WaiterId>,
    /// The path that the new credential is then fetched for; none for one that may start no fetch.
    pub(super) path: Option<Box<str>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Vec<Waiter>,
    /// A newer credential than the last one is wanted, and there is none yet; the weightiest cause counts.
    wanted: Option<Cause>,
    /// One of the causes was a refusal.
    refused: bool,
}

impl Waiters {
    pub(super) fn want(&mut self, cause: Cause) {
        self.wanted = self.wanted.max(Some(cause));
        self.refused |= cause.is_refusal();
    }

    pub(super) fn wanted(&self) -> Option<Cause> {
        self.wanted
    }

    pub(super) fn want_nothing_more(&mut self) {
        (self.wanted, self.refused) = (None, false);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Joins the fetch that is under way or near.
    pub(super) fn join(&mut self, waiter: Waiter) {
        if waiter.id.is_some() || self.waiting.len() < MOST_UNATTENDED {
            self.waiting.push(waiter);
        }
    }

    /// Their wish has come true: the paths that it was fetched for, and whether a refusal was among the causes.
    pub(super) fn grant(&mut self, renewal: &Renewal, out: &mut Vec<Action>) -> (Vec<Box<str>>, bool) {
        let mut paths = Vec::new();
        for waiter in self.waiting.drain(..) {
            paths.extend(waiter.path);
            out.extend(waiter.id.map(|id| Action::Answer(id, renewal.clone())));
        }
        let refused = self.refused;
        self.want_nothing_more();
        (paths, refused)
    }

    /// Tells all of them that there will be none; what is wanted stays wanted.
    pub(super) fn dismiss(&mut self, renewal: &Renewal, out: &mut Vec<Action>) {
        let ids = self.waiting.drain(..).filter_map(|waiter| waiter.id);
        out.extend(ids.map(|id| Action::Answer(id, renewal.clone())));
    }
}
