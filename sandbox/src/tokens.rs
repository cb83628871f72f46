//! Every token ever issued, and whether it still works. Pure: the time is an argument.
//!
//! This is the rule of lives and deaths only. Who may fetch how often is in `fetch.rs`, and whether an
//! address may use a token is not asked here.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Moment;

/// The two ways to fetch a token. A token of one kind never ends one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Issued by `/cgi-bin/token`.
    Token,
    /// Issued by `/cgi-bin/stable_token`.
    Stable,
}

/// One token, alive or dead. Tokens are never forgotten: a test may ask for all of them.
pub(crate) struct Issued {
    pub(crate) value: String,
    pub(crate) account: usize,
    pub(crate) kind: Kind,
    /// Calls that it opened, and calls refused because it was dead.
    pub(crate) calls: u64,
    pub(crate) refused: u64,
    /// Calls refused, while it was alive, by a node that did not know it yet.
    pub(crate) lagged: u64,
    issued_at: Moment,
    expires_at: Moment,
    /// When a newer token ends it, or ended it, before its time.
    replaced_at: Option<Moment>,
}

/// What a token is worth at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    Alive,
    /// Its time is over: 42001.
    Expired,
    /// A newer one took its place: 40001.
    Replaced,
}

impl Issued {
    pub(crate) fn worth(&self, now: Moment) -> Worth {
        match self.replaced_at {
            Some(end) if end <= now && end < self.expires_at => Worth::Replaced,
            _ if self.expires_at <= now => Worth::Expired,
            _ => Worth::Alive,
        }
    }

    pub(crate) fn left(&self, now: Moment) -> Duration {
        self.expires_at.saturating_sub(now)
    }
}

/// Nodes that have not heard of a new token yet: they refuse it as if it were none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// Which part of the calls meets such a node, from 0 (none) to 1 (all).
    pub share: f64,
    /// How long after its issue a token is refused by them; `None`: always, so that calls are refused at random.
    pub time: Option<Duration>,
}

/// All tokens of one sandbox.
pub(crate) struct Tokens {
    ttl: Duration,
    overlap: Duration,
    pub(crate) lag: Lag,
    issued: Vec<Issued>,
    by_value: HashMap<String, usize>,
    current: HashMap<(usize, Kind), usize>,
}

impl Tokens {
    pub(crate) fn new(ttl: Duration, overlap: Duration) -> Self {
        Self {
            ttl,
            overlap,
            lag: Lag { share: 0.0, time: None },
            issued: Vec::new(),
            by_value: HashMap::new(),
            current: HashMap::new(),
        }
    }

    pub(crate) fn all(&self) -> &[Issued] {
        &self.issued
    }

    /// A new token; the one before it works until the overlap is over.
    pub(crate) fn issue(&mut self, account: usize, kind: Kind, now: Moment) -> &Issued {
        self.issue_ending(account, kind, now, now + self.overlap)
    }

    /// A new token that ends all before it at once: what a forced refresh does, and a thief.
    pub(crate) fn issue_at_once(&mut self, account: usize, kind: Kind, now: Moment) -> &Issued {
        self.issue_ending(account, kind, now, now)
    }

    fn issue_ending(&mut self, account: usize, kind: Kind, now: Moment, end: Moment) -> &Issued {
        for old in self.issued.iter_mut().filter(|t| t.account == account && t.kind == kind) {
            old.replaced_at = Some(old.replaced_at.map_or(end, |earlier| earlier.min(end)));
        }
        let index = self.issued.len();
        let value = new_value();
        self.by_value.insert(value.clone(), index);
        self.current.insert((account, kind), index);
        let expires_at = now + self.ttl;
        self.issued.push(Issued {
            value,
            account,
            kind,
            calls: 0,
            refused: 0,
            lagged: 0,
            issued_at: now,
            expires_at,
            replaced_at: None,
        });
        &self.issued[index]
    }

    /// The newest token, if it is alive.
    pub(crate) fn current(&self, account: usize, kind: Kind, now: Moment) -> Option<&Issued> {
        let token = &self.issued[*self.current.get(&(account, kind))?];
        (token.worth(now) == Worth::Alive).then_some(token)
    }

    /// From how little time left on the stable call hands out the next token: five minutes, or a fifth of
    /// a life shorter than 25 minutes, so that a test with short lives sees the same shape.
    pub(crate) fn stable_window(&self) -> Duration {
        Duration::from_secs(300).min(self.ttl / 5)
    }

    /// Another system fetched a token of each kind that this account has. Returns how many were taken.
    pub(crate) fn steal(&mut self, account: usize, now: Moment) -> usize {
        let kinds = [Kind::Token, Kind::Stable].into_iter();
        let held: Vec<Kind> = kinds.filter(|kind| self.current.contains_key(&(account, *kind))).collect();
        for kind in &held {
            self.issue_at_once(account, *kind, now);
        }
        held.len()
    }

    /// The time of all this account's tokens is over from now on. Returns how many were alive.
    pub(crate) fn expire(&mut self, account: usize, now: Moment) -> usize {
        let mut ended = 0;
        for token in self.issued.iter_mut().filter(|t| t.account == account) {
            if token.worth(now) == Worth::Alive {
                token.expires_at = now;
                ended += 1;
            }
        }
        ended
    }

    /// The account that a token opens, counted as one call made with it.
    ///
    /// # Errors
    /// The errcode: 40014 for what is no token at all, 40001 for one that is unknown, replaced or met by a node that
    /// lags, 42001 for one whose time is over.
    pub(crate) fn look_up(&mut self, text: &str, now: Moment) -> Result<usize, i64> {
        let Some(index) = self.by_value.get(text) else {
            return Err(if looks_like_a_token(text) { 40001 } else { 40014 });
        };
        let token = &mut self.issued[*index];
        let code = match token.worth(now) {
            Worth::Alive if self.lag.strikes(now.saturating_sub(token.issued_at)) => {
                token.lagged += 1;
                return Err(40001);
            }
            Worth::Alive => {
                token.calls += 1;
                return Ok(token.account);
            }
            Worth::Expired => 42001,
            Worth::Replaced => 40001,
        };
        token.refused += 1;
        Err(code)
    }
}

impl Lag {
    /// Whether one call meets a node that does not know a token of this age.
    fn strikes(self, age: Duration) -> bool {
        self.time.is_none_or(|time| age < time) && fastrand::f64() < self.share
    }
}

fn looks_like_a_token(text: &str) -> bool {
    (64..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// 136 to 160 characters with a serial number in front, as WeChat's look today.
fn new_value() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut value = format!("{}_", fastrand::u8(60..100));
    let length = fastrand::usize(136..=160);
    value.extend((value.len()..length).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Duration::from_secs(1_790_000_000);

    fn tokens() -> Tokens {
        Tokens::new(Duration::from_secs(7200), Duration::from_secs(300))
    }

    fn at(seconds: u64) -> Moment {
        START + Duration::from_secs(seconds)
    }

    fn state(tokens: &mut Tokens, value: &str, seconds: u64) -> Result<(), i64> {
        tokens.look_up(value, at(seconds)).map(|_| ())
    }

    #[test]
    fn a_new_token_ends_the_one_before_it_after_the_overlap() {
        let mut tokens = tokens();
        let first = tokens.issue(0, Kind::Token, at(0)).value.clone();
        let second = tokens.issue(0, Kind::Token, at(10)).value.clone();
        assert_eq!(state(&mut tokens, &first, 309), Ok(()));
        assert_eq!(state(&mut tokens, &first, 310), Err(40001));
        assert_eq!(state(&mut tokens, &second, 7209), Ok(()));
        assert_eq!(state(&mut tokens, &second, 7210), Err(42001));
    }

    #[test]
    fn neither_another_kind_nor_another_account_ends_a_token() {
        let mut tokens = tokens();
        let mine = tokens.issue(0, Kind::Token, at(0)).value.clone();
        tokens.issue_at_once(0, Kind::Stable, at(1));
        tokens.issue_at_once(1, Kind::Token, at(1));
        assert_eq!(state(&mut tokens, &mine, 2), Ok(()));
    }

    #[test]
    fn a_token_that_expires_within_the_overlap_is_expired() {
        let mut tokens = tokens();
        let first = tokens.issue(0, Kind::Token, at(0)).value.clone();
        tokens.issue(0, Kind::Token, at(7100));
        assert_eq!(state(&mut tokens, &first, 7200), Err(42001));
        assert_eq!(state(&mut tokens, &first, 9000), Err(42001));
    }

    #[test]
    fn a_thief_ends_every_token_at_once_and_has_a_new_one() {
        let mut tokens = tokens();
        let first = tokens.issue(0, Kind::Token, at(0)).value.clone();
        let second = tokens.issue(0, Kind::Token, at(1)).value.clone();
        assert_eq!(tokens.steal(0, at(2)), 1);
        assert_eq!(state(&mut tokens, &first, 2), Err(40001));
        assert_eq!(state(&mut tokens, &second, 2), Err(40001));
        assert!(tokens.current(0, Kind::Token, at(2)).is_some());
    }

    #[test]
    fn an_expired_token_says_so_even_after_a_new_one_was_issued() {
        let mut tokens = tokens();
        let first = tokens.issue(0, Kind::Token, at(0)).value.clone();
        assert_eq!(tokens.expire(0, at(1)), 1);
        assert_eq!(state(&mut tokens, &first, 1), Err(42001));
        tokens.issue_at_once(0, Kind::Token, at(2));
        assert_eq!(state(&mut tokens, &first, 3), Err(42001));
    }

    #[test]
    fn only_what_has_the_shape_of_a_token_is_an_invalid_credential() {
        let mut tokens = tokens();
        for (text, code) in [
            ("", 40014),
            ("wxgate-placeholder", 40014),
            (&*"a".repeat(63), 40014),
            (&*"a".repeat(64), 40001),
            (&*"a ".repeat(50), 40014),
            (&*"a".repeat(513), 40014),
        ] {
            assert_eq!(state(&mut tokens, text, 0), Err(code), "{text:?}");
        }
    }

    #[test]
    fn tokens_look_like_wechats() {
        for _ in 0..100 {
            let value = new_value();
            assert!((136..=160).contains(&value.len()) && looks_like_a_token(&value), "{value}");
        }
    }
}
