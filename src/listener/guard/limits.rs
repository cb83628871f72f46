//! The time limits of the caller's side of an HTTP/1 connection: how long a head may take, how long nothing may
//! come, how long nothing may be read.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Guard, State, Transport};
use crate::http1::head;
use crate::listener::handler::Limits;

/// How long a connection waits for its next request before it rests: short beside the minute for which many keep
/// a connection that they never use again.
pub(super) const REST: Duration = Duration::from_millis(100);

/// The same for a caller who has come back within [`REST`] before. It would wake its task ten times a second.
pub(super) const LATER_REST: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) head: Duration,
    pub(super) idle: Duration,
}

impl Times {
    pub(super) fn of(limits: Limits) -> Self {
        Self { head: limits.header_timeout, idle: limits.idle_timeout }
    }
}

/// Which limit has run out.
pub(super) enum Limit {
    Head,
    Idle,
    /// None that the caller knows of; see [`Guard::rest`].
    Rest,
    Body,
}

impl<S: Transport> Guard<S> {
    /// Which limit has run out while nothing comes.
    pub(super) fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<Limit> {
        let (limit, what) = match self.course.state {
            // A request is being served, and its caller has nothing to send.
            State::Head { .. } if self.present.is_busy() => {
                self.reading.clear();
                return Poll::Pending;
            }
            // Empty lines alone, as old clients send them after a body, begin no head.
            State::Head { .. } if head::leading_empty_lines(&self.kept) < self.kept.len() => {
                (self.limits.head, Limit::Head)
            }
            State::Head { first: false } if self.may_rest() => (self.rest_after(), Limit::Rest),
            State::Head { first: true } => (self.limits.head, Limit::Idle),
            State::Head { first: false } => (self.limits.idle, Limit::Idle),
            State::Sized(_) | State::Chunked(_) => (self.limits.idle, Limit::Body),
            State::Resting
            | State::Respelt
            | State::Preface
            | State::Through
            | State::Refused
            | State::Broken => {
                return Poll::Pending;
            }
        };
        self.reading.poll(limit, cx).map(|()| what)
    }

    /// Whether this is a pause in which hyper has nothing to do: nothing of the next request has come, and all
    /// of the last answer is on its way.
    fn may_rest(&self) -> bool {
        self.limits.idle > self.rest_after() && self.kept.is_empty() && !self.writing.is_running()
    }

    fn rest_after(&self) -> Duration {
        if self.present.calls() > 1 { LATER_REST } else { REST }
    }

    /// A caller that reads nothing for too long is cut off.
    pub(super) fn limited<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing.clear();
            return outcome;
        }
        ready!(self.writing.poll(self.limits.idle, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
