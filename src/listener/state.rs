//! What the parts of one HTTP/1 connection tell each other: framing, time limits, and the service that answers.
//!
//! hyper stands between them and lends its I/O to nobody, so this is shared. It holds facts and decides nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Rejection;
use crate::header_case::HeaderCase;

/// The state of one connection; all clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestState(Rc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    phase: Cell<Phase>,
    /// hyper has asked for bytes, and there were none.
    starved: Cell<bool>,
    /// Bytes that count as progress have come since the last look.
    received: Cell<bool>,
    /// hyper has bytes that could not be written.
    blocked: Cell<bool>,
    /// Some could, since the last look.
    wrote: Cell<bool>,
    in_service: Cell<bool>,
    /// How many requests have been begun since the connection was accepted or parked for long.
    requests: Cell<usize>,
    /// How many heads have been let through since then.
    heads: Cell<usize>,
    /// How the names in the last of them are spelled.
    case: RefCell<Option<HeaderCase>>,
    /// How the names of the answer that hyper writes next are spelled.
    answer_case: RefCell<Option<HeaderCase>>,
    /// Why the next request is to be rejected.
    rejection: Cell<Option<Rejection>>,
    expired: Cell<Option<Expired>>,
    /// The caller takes the connection's close for the end of its answer.
    ends_by_close: Cell<bool>,
    /// That answer's body has been handed over to its end.
    whole: Cell<bool>,
}

/// What the caller is expected to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// The first head of the connection.
    #[default]
    FirstHead,
    /// The next head, of which nothing has come.
    Between,
    /// The rest of a head.
    Head,
    /// A body, or the rest of one.
    Body,
    /// HTTP/2, whose preface has come.
    Http2,
    /// Nothing that would be let through.
    Nothing,
}

/// A time limit that hyper has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// A head has begun and not come to its end in time.
    Head,
    /// A body has paused for too long.
    Body,
}

impl RequestState {
    /// A request is being served from now on.
    pub(super) fn begin(&self) {
        self.0.in_service.set(true);
        self.0.requests.set(self.0.requests.get() + 1);
    }

    /// The answer has been handed over, or given up.
    pub(super) fn end(&self) {
        self.0.in_service.set(false);
    }

    /// Whether a request is being served.
    pub(super) fn is_in_service(&self) -> bool {
        self.0.in_service.get()
    }

    /// Whether the caller has sent one request and no more since the connection was accepted or parked for long.
    pub(super) fn has_had_one_request(&self) -> bool {
        self.0.requests.get() == 1 && self.0.heads.get() == 1
    }

    /// The connection has been parked for long.
    pub(super) fn forget_requests(&self) {
        self.0.requests.set(0);
        self.0.heads.set(0);
    }

    /// A head has been let through, with its names in this case.
    pub(super) fn note_head(&self, case: Option<HeaderCase>) {
        self.0.heads.set(self.0.heads.get() + 1);
        self.0.case.replace(case);
    }

    /// How the names in the head that was let through last are spelled, unless all of them are `Like-This`.
    pub(super) fn take_case(&self) -> Option<HeaderCase> {
        self.0.case.take()
    }

    /// The names of the answer that hyper writes next shall be spelled so. While hyper still has bytes of the answer
    /// before it, nobody knows where the next one begins, and its names are spelled `Like-This`: that takes a caller
    /// who sends requests ahead and does not read.
    pub(super) fn spell_answer(&self, case: HeaderCase) {
        if !self.is_blocked() {
            self.0.answer_case.replace(Some(case));
        }
    }

    /// How the names of the answer are to be spelled that hyper begins to write.
    pub(super) fn take_answer_case(&self) -> Option<HeaderCase> {
        self.0.answer_case.take()
    }

    /// Whether the body of the request that is being served has not been let through to its end. (hyper reads the
    /// next head ahead of that request's turn.)
    pub(super) fn owes_body(&self) -> bool {
        self.phase() == Phase::Body && self.0.heads == self.0.requests
    }

    pub(super) fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.0.phase.set(phase);
    }

    /// The request that hyper reads next is to be answered with this.
    pub(super) fn reject(&self, rejection: Rejection) {
        self.0.rejection.set(Some(rejection));
    }

    /// Why the request that hyper has read is to be rejected, if it is.
    pub(super) fn take_rejection(&self) -> Option<Rejection> {
        self.0.rejection.take()
    }

    /// Bytes have come that start the time limits anew.
    pub(super) fn note_received(&self) {
        self.0.received.set(true);
    }

    /// Whether such bytes have come since the last look.
    pub(super) fn take_received(&self) -> bool {
        self.0.received.take()
    }

    /// hyper wants bytes that have not come.
    pub(super) fn note_starved(&self) {
        self.0.starved.set(true);
    }

    /// Whether hyper has wanted bytes since the last look, and waits for them.
    pub(super) fn take_starved(&self) -> bool {
        self.0.starved.take()
    }

    /// Whether a write was taken, or has to wait until the caller makes room.
    pub(super) fn note_write(&self, taken: bool) {
        self.0.blocked.set(!taken);
        if taken {
            self.0.wrote.set(true);
        }
    }

    /// Whether hyper has bytes that the caller makes no room for.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.blocked.get()
    }

    /// Whether bytes have been written since the last look.
    pub(super) fn take_wrote(&self) -> bool {
        self.0.wrote.take()
    }

    /// The answer that begins has no other end than the connection's close: its caller speaks HTTP/1.0.
    pub(super) fn note_end_by_close(&self) {
        self.0.ends_by_close.set(true);
        // Answers before it on the connection were.
        self.0.whole.set(false);
    }

    /// The answer's body has been handed over to its end.
    pub(super) fn note_whole(&self) {
        self.0.whole.set(true);
    }

    /// Whether a close now would be taken for the end of an answer that has not been written to its end.
    pub(super) fn is_truncated(&self) -> bool {
        self.0.ends_by_close.get() && (!self.0.whole.get() || self.is_blocked())
    }

    /// A limit has run out, which hyper is told with its next read.
    pub(super) fn expire(&self, limit: Expired) {
        self.0.expired.set(Some(limit));
    }

    /// Which limit has run out, if one has.
    pub(super) fn take_expired(&self) -> Option<Expired> {
        self.0.expired.take()
    }
}
