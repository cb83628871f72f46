//! Which messages are due: a pure decision from what is wrong at a moment and what has been told.
//!
//! A problem is told once. For each cause at most one message about problems goes out in ten minutes, and one about what
//! is well again; what would be more is told together when the ten minutes are over, unless it has passed by then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Cause;

/// The least time between two messages of one kind about one cause.
const APART: Duration = Duration::from_secs(600);

/// What is wrong with one account, or with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) cause: Cause,
    /// Name of the account; of the store, its kind.
    pub(super) of: Arc<str>,
    /// What and why, in Chinese and in English.
    pub(super) words: [String; 2],
}

/// A message that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// This is wrong, some of it since the last message.
    Wrong(Cause, Vec<Problem>),
    /// What was told of these is over.
    WellAgain(Cause, Vec<Arc<str>>),
}

impl Message {
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Wrong(cause, _) | Self::WellAgain(cause, _) => *cause,
        }
    }
}

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Decider {
    causes: BTreeMap<Cause, Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// Of whom it was told that something is wrong, and not yet that it is over.
    of: Vec<Arc<str>>,
    wrong_at: Option<Instant>,
    well_at: Option<Instant>,
}

impl Decider {
    /// What is due, with all that is wrong now.
    pub(super) fn due(&mut self, wrong: &[Problem], now: Instant) -> Vec<Message> {
        let mut messages = Vec::new();
        for cause in Cause::ALL {
            let told = self.causes.entry(cause).or_default();
            let present: Vec<&Problem> = wrong.iter().filter(|problem| problem.cause == cause).collect();
            let may = |last: Option<Instant>| last.is_none_or(|last| now.duration_since(last) >= APART);
            let is_over = |of: &Arc<str>| !present.iter().any(|problem| problem.of == *of);
            if told.of.iter().any(is_over) && may(told.well_at) {
                let (over, still) = std::mem::take(&mut told.of).into_iter().partition(is_over);
                told.of = still;
                told.well_at = Some(now);
                messages.push(Message::WellAgain(cause, over));
            }
            if present.iter().any(|problem| !told.of.contains(&problem.of)) && may(told.wrong_at) {
                let new = present.iter().map(|problem| Arc::clone(&problem.of));
                let new: Vec<_> = new.filter(|of| !told.of.contains(of)).collect();
                told.of.extend(new);
                told.wrong_at = Some(now);
                messages.push(Message::Wrong(cause, present.into_iter().cloned().collect()));
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(cause: Cause, of: &str) -> Problem {
        Problem { cause, of: of.into(), words: [String::new(), String::new()] }
    }

    /// `+a,b` for a message that a and b are wrong, `-a` for one that a is well again.
    fn shown(messages: &[Message]) -> Vec<String> {
        let one = |message: &Message| match message {
            Message::Wrong(_, problems) => {
                let names: Vec<&str> = problems.iter().map(|problem| &*problem.of).collect();
                format!("+{}", names.join(","))
            }
            Message::WellAgain(_, names) => format!("-{}", names.join(",")),
        };
        messages.iter().map(one).collect()
    }

    #[test]
    fn at_most_one_message_in_ten_minutes_for_each_cause_and_one_when_it_is_well_again() {
        let (begin, mut decider) = (Instant::now(), Decider::default());
        // Seconds, the accounts that are refused then, and what is told.
        for (second, refused, right) in [
            (0, &[][..], &[][..]),
            (5, &["a"], &["+a"]),
            (10, &["a"], &[]),
            // It is told at once that it is over; a relapse waits.
            (60, &[], &["-a"]),
            (65, &["a"], &[]),
            (604, &["a"], &[]),
            (605, &["a"], &["+a"]),
            // A second account waits, is told with the first, and a third that came and went is never told.
            (610, &["a", "b"], &[]),
            (615, &["a", "b", "c"], &[]),
            (1205, &["a", "b"], &["+a,b"]),
            // The last message that something is well was at 60.
            (1210, &["b"], &["-a"]),
            (1215, &[], &[]),
            // A relapse before that was told is none.
            (1220, &["b"], &[]),
            (1225, &[], &[]),
            (1810, &[], &["-b"]),
            (9999, &[], &[]),
        ] {
            let problems: Vec<_> = refused.iter().map(|of| wrong(Cause::Refused, of)).collect();
            let told = decider.due(&problems, begin + Duration::from_secs(second));
            assert_eq!(shown(&told), right, "after {second} s");
        }
    }

    #[test]
    fn causes_do_not_wait_for_each_other() {
        let (now, mut decider) = (Instant::now(), Decider::default());
        assert_eq!(shown(&decider.due(&[wrong(Cause::Expires, "a")], now)), ["+a"]);
        let all: Vec<_> = Cause::ALL.into_iter().map(|cause| wrong(cause, "a")).collect();
        let told = decider.due(&all, now);
        assert_eq!(shown(&told), ["+a", "+a", "+a"]);
        assert!(told.iter().all(|message| message.cause() != Cause::Expires));
    }
}
