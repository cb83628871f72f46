//! Which message a robot is to be sent next: a pure decision from what is wrong at a moment and what has reached it.
//!
//! A problem is told once. For each cause at most one message about problems goes out in ten minutes, and one about what
//! is well again; what would be more is told together when the ten minutes are over, unless it has passed by then. Only
//! what the robot has taken counts as told. Nothing is queued: after a failure and a pause it is decided anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Cause;

/// The least time between two messages of one kind about one cause.
const APART: Duration = Duration::from_secs(600);

/// The pauses after the first, second, … failure in a row to send something about one cause; the last is that of all
/// further ones.
const AGAIN: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
    APART,
];

/// What is the case at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// All that is wrong.
    pub(super) wrong: Vec<Problem>,
    /// The accounts that there are and that wxgate keeps a token for.
    pub(super) accounts: Vec<Arc<str>>,
    /// The kind of the store.
    pub(super) store: &'static str,
}

impl Look {
    /// Whether that of which something was told is still there: a reload may have taken it away or renamed it.
    fn has(&self, cause: Cause, of: &Arc<str>) -> bool {
        match cause {
            Cause::Store => **of == *self.store,
            Cause::Refused | Cause::Expires | Cause::OtherFetcher => self.accounts.contains(of),
        }
    }
}

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

/// What has reached one robot.
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
    /// How many messages in a row could not be sent, and until when none is tried.
    failures: usize,
    not_before: Option<Instant>,
}

impl Decider {
    /// What is to be sent next, of these causes.
    pub(super) fn next(&mut self, look: &Look, on: &[Cause], now: Instant) -> Option<Message> {
        on.iter().find_map(|cause| self.causes.entry(*cause).or_default().next(*cause, look, now))
    }

    /// The robot has taken this message.
    pub(super) fn arrived(&mut self, message: &Message, now: Instant) {
        let told = self.causes.entry(message.cause()).or_default();
        match message {
            Message::Wrong(_, problems) => {
                let new = problems.iter().filter(|problem| !told.of.contains(&problem.of));
                let new: Vec<_> = new.map(|problem| Arc::clone(&problem.of)).collect();
                told.of.extend(new);
                told.wrong_at = Some(now);
            }
            Message::WellAgain(_, over) => {
                told.of.retain(|of| !over.contains(of));
                told.well_at = Some(now);
            }
        }
        (told.failures, told.not_before) = (0, None);
    }

    /// A message about this could not be sent; how many have failed in a row.
    pub(super) fn failed(&mut self, cause: Cause, now: Instant) -> usize {
        let told = self.causes.entry(cause).or_default();
        let pause = AGAIN.get(told.failures).copied().unwrap_or(APART);
        told.not_before = Some(now + pause);
        told.failures = told.failures.saturating_add(1);
        told.failures
    }
}

impl Told {
    fn next(&mut self, cause: Cause, look: &Look, now: Instant) -> Option<Message> {
        // An account that is gone is not well again, and there is nothing more to say of it.
        self.of.retain(|of| look.has(cause, of));
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let present: Vec<&Problem> = look.wrong.iter().filter(|problem| problem.cause == cause).collect();
        let may = |last: Option<Instant>| last.is_none_or(|last| now.duration_since(last) >= APART);
        let is_over = |of: &&Arc<str>| !present.iter().any(|problem| problem.of == **of);
        let over: Vec<_> = self.of.iter().filter(is_over).cloned().collect();
        if !over.is_empty() && may(self.well_at) {
            return Some(Message::WellAgain(cause, over));
        }
        let is_new = present.iter().any(|problem| !self.of.contains(&problem.of));
        (is_new && may(self.wrong_at)).then(|| Message::Wrong(cause, present.into_iter().cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(cause: Cause, of: &str) -> Problem {
        Problem { cause, of: of.into(), words: [String::new(), String::new()] }
    }

    fn look(wrong: Vec<Problem>) -> Look {
        Look { wrong, accounts: ["a", "b", "c"].map(Arc::from).to_vec(), store: "a" }
    }

    fn refused(accounts: &[&str]) -> Look {
        look(accounts.iter().map(|of| wrong(Cause::Refused, of)).collect())
    }

    /// All that is due, where the robot takes each message.
    fn due(decider: &mut Decider, look: &Look, now: Instant) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = decider.next(look, &Cause::ALL, now) {
            decider.arrived(&message, now);
            messages.push(message);
        }
        messages
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
        for (second, accounts, right) in [
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
            let told = due(&mut decider, &refused(accounts), begin + Duration::from_secs(second));
            assert_eq!(shown(&told), right, "after {second} s");
        }
    }

    #[test]
    fn causes_do_not_wait_for_each_other() {
        let (now, mut decider) = (Instant::now(), Decider::default());
        assert_eq!(shown(&due(&mut decider, &look(vec![wrong(Cause::Expires, "a")]), now)), ["+a"]);
        let all: Vec<_> = Cause::ALL.into_iter().map(|cause| wrong(cause, "a")).collect();
        let told = due(&mut decider, &look(all), now);
        assert_eq!(shown(&told), ["+a", "+a", "+a"]);
        assert!(told.iter().all(|message| message.cause() != Cause::Expires));
    }

    #[test]
    fn what_could_not_be_sent_is_tried_again_for_as_long_as_it_is_true() {
        let (begin, mut decider) = (Instant::now(), Decider::default());
        let at = |second| begin + Duration::from_secs(second);
        let mut second = 0;
        for (failures, pause) in [5, 30, 60, 120, 300, 600, 600].into_iter().enumerate() {
            assert!(decider.next(&refused(&["a"]), &Cause::ALL, at(second)).is_some(), "{second}");
            assert_eq!(decider.failed(Cause::Refused, at(second)), failures + 1);
            second += pause;
            assert_eq!(decider.next(&refused(&["a"]), &Cause::ALL, at(second - 1)), None, "{second}");
            // Other causes go on.
            let store = look(vec![wrong(Cause::Store, "a")]);
            assert!(decider.next(&store, &Cause::ALL, at(second - 1)).is_some());
        }
        // Nobody got the alarm, so nobody is told that it is over.
        assert_eq!(decider.next(&refused(&[]), &Cause::ALL, at(second)), None);
        assert_eq!(shown(&due(&mut decider, &refused(&["b"]), at(second))), ["+b"]);
        // Neither is that forgotten which could not be sent.
        assert!(decider.next(&refused(&[]), &Cause::ALL, at(second)).is_some());
        assert_eq!(decider.failed(Cause::Refused, at(second)), 1);
        assert_eq!(shown(&due(&mut decider, &refused(&[]), at(second + 5))), ["-b"]);
    }

    #[test]
    fn nothing_is_said_of_an_account_that_is_gone() {
        let (now, mut decider) = (Instant::now(), Decider::default());
        assert_eq!(shown(&due(&mut decider, &refused(&["a", "b"]), now)), ["+a,b"]);
        let gone = Look { accounts: vec!["b".into()], ..refused(&[]) };
        assert_eq!(shown(&due(&mut decider, &gone, now)), ["-b"]);
        assert_eq!(shown(&due(&mut decider, &refused(&[]), now)), [""; 0]);
    }
}
