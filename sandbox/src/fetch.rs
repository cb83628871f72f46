//! How tokens are handed out: the quotas of the two token calls and the modes of the stable one.
//!
//! Pure, like `tokens.rs`: the time is an argument. Parameters, secrets and addresses were checked before.

use std::time::Duration;

use crate::clock::{Moment, beijing_day};
use crate::tokens::{Issued, Kind, Tokens};

/// `/cgi-bin/token`, a day (WeChat's list of call limits).
const TOKEN_A_DAY: u64 = 2_000;
/// `stable_token` in its normal mode (WeChat's page on getStableAccessToken).
const STABLE_A_MINUTE: u64 = 10_000;
const STABLE_A_DAY: u64 = 500_000;
/// `stable_token` with `force_refresh` (the same page).
const FORCED_A_DAY: u64 = 20;
const FORCED_APART: Duration = Duration::from_secs(30);

/// What one account has fetched so far.
#[derive(Default)]
pub(crate) struct Ledger {
    day: u64,
    /// Fetches of the day that count against the quota of `/cgi-bin/token`.
    spent: u64,
    minute: u64,
    stable_this_minute: u64,
    forced_refreshes_today: u64,
    last_forced: Option<Moment>,
    pub(crate) today: Fetches,
    pub(crate) total: Fetches,
}

/// Answered fetches by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fetches {
    /// Tokens issued by `/cgi-bin/token`.
    pub token: u64,
    /// Answers of `stable_token` in its normal mode, whether the token was a new one or not.
    pub stable: u64,
    /// Answers of `stable_token` with `force_refresh`, whether it refreshed or came too soon after the last.
    pub stable_forced: u64,
}

impl std::ops::Add for Fetches {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            token: self.token + other.token,
            stable: self.stable + other.stable,
            stable_forced: self.stable_forced + other.stable_forced,
        }
    }
}

/// A token with the seconds it has left.
pub(crate) type Handed = (String, u64);

impl Ledger {
    /// `/cgi-bin/token`: always a new token.
    ///
    /// # Errors
    /// The errcode 45009 when the day's quota is spent.
    pub(crate) fn token(&mut self, tokens: &mut Tokens, account: usize, now: Moment) -> Result<Handed, i64> {
        self.turn_to(now);
        if self.spent >= TOKEN_A_DAY {
            return Err(45009);
        }
        self.spent += 1;
        self.today.token += 1;
        self.total.token += 1;
        Ok(handed(tokens.issue(account, Kind::Token, now), now))
    }

    /// WeCom's `/cgi-bin/gettoken`: the current token while it lives.
    pub(crate) fn same(&mut self, tokens: &mut Tokens, account: usize, now: Moment) -> Handed {
        self.turn_to(now);
        self.today.token += 1;
        self.total.token += 1;
        match tokens.current(account, Kind::Token, now) {
            Some(token) => handed(token, now),
            None => handed(tokens.issue_at_once(account, Kind::Token, now), now),
        }
    }

    /// `/cgi-bin/stable_token`.
    ///
    /// # Errors
    /// The errcode: 45009 or 45011 when a quota is spent.
    pub(crate) fn stable(
        &mut self,
        tokens: &mut Tokens,
        account: usize,
        force: bool,
        now: Moment,
    ) -> Result<Handed, i64> {
        self.turn_to(now);
        if force { self.forced(tokens, account, now) } else { self.normal(tokens, account, now) }
    }

    fn normal(&mut self, tokens: &mut Tokens, account: usize, now: Moment) -> Result<Handed, i64> {
        if self.stable_this_minute >= STABLE_A_MINUTE {
            return Err(45011);
        }
        if self.today.stable >= STABLE_A_DAY {
            return Err(45009);
        }
        self.stable_this_minute += 1;
        self.today.stable += 1;
        self.total.stable += 1;
        let window = tokens.stable_window();
        Ok(match tokens.current(account, Kind::Stable, now).filter(|token| token.left(now) > window) {
            Some(token) => handed(token, now),
            None => handed(tokens.issue(account, Kind::Stable, now), now),
        })
    }

    fn forced(&mut self, tokens: &mut Tokens, account: usize, now: Moment) -> Result<Handed, i64> {
        let too_soon = self.last_forced.is_some_and(|last| now < last + FORCED_APART);
        let unchanged = tokens.current(account, Kind::Stable, now).filter(|_| too_soon);
        if unchanged.is_none() && self.forced_refreshes_today >= FORCED_A_DAY {
            return Err(45009);
        }
        self.today.stable_forced += 1;
        self.total.stable_forced += 1;
        if let Some(token) = unchanged {
            return Ok(handed(token, now));
        }
        self.forced_refreshes_today += 1;
        self.last_forced = Some(now);
        Ok(handed(tokens.issue_at_once(account, Kind::Stable, now), now))
    }

    /// Gives the day's quota of `/cgi-bin/token` back.
    pub(crate) fn clear(&mut self) {
        self.spent = 0;
    }

    /// Begins a new day or minute if it is time for one.
    pub(crate) fn turn_to(&mut self, now: Moment) {
        if self.day != beijing_day(now) {
            self.day = beijing_day(now);
            self.today = Fetches::default();
            self.spent = 0;
            self.forced_refreshes_today = 0;
        }
        let minute = now.as_secs() / 60;
        if self.minute != minute {
            self.minute = minute;
            self.stable_this_minute = 0;
        }
    }
}

fn handed(token: &Issued, now: Moment) -> Handed {
    // Rounded down, so that nobody believes in a token that is dead; but never 0, which means "unknown".
    (token.value.clone(), token.left(now).as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight in Beijing, so that a test's seconds stay within one day.
    const START: Moment = Duration::from_secs(1_790_000_000 / 86_400 * 86_400 - 8 * 3600);

    struct World {
        ledger: Ledger,
        tokens: Tokens,
    }

    impl World {
        fn new() -> Self {
            let tokens = Tokens::new(Duration::from_secs(7200), Duration::from_secs(300));
            Self { ledger: Ledger::default(), tokens }
        }

        fn token(&mut self, at: u64) -> Result<Handed, i64> {
            self.ledger.token(&mut self.tokens, 0, START + Duration::from_secs(at))
        }

        fn normal(&mut self, at: u64) -> Result<Handed, i64> {
            self.ledger.stable(&mut self.tokens, 0, false, START + Duration::from_secs(at))
        }

        fn forced(&mut self, at: u64) -> Result<Handed, i64> {
            self.ledger.stable(&mut self.tokens, 0, true, START + Duration::from_secs(at))
        }

        fn works(&mut self, value: &str, at: u64) -> bool {
            self.tokens.look_up(value, START + Duration::from_secs(at)).is_ok()
        }
    }

    #[test]
    fn the_token_call_issues_two_thousand_a_day() {
        let mut world = World::new();
        for _ in 0..2000 {
            world.token(5).unwrap();
        }
        assert_eq!(world.token(6), Err(45009));
        assert!(world.token(86_400).is_ok(), "the next day");
    }

    #[test]
    fn the_normal_mode_hands_back_the_same_token_with_what_is_left() {
        let mut world = World::new();
        let (first, left) = world.normal(0).unwrap();
        assert_eq!(left, 7200);
        assert_eq!(world.normal(6855).unwrap(), (first, 345));
    }

    #[test]
    fn the_last_five_minutes_bring_the_next_token_and_both_work() {
        let mut world = World::new();
        let (first, _) = world.normal(0).unwrap();
        let (second, left) = world.normal(6900).unwrap();
        assert_ne!(first, second);
        assert_eq!(left, 7200);
        assert!(world.works(&first, 7199) && world.works(&second, 7199));
        assert!(!world.works(&first, 7200));
    }

    #[test]
    fn a_forced_refresh_ends_the_previous_token_at_once() {
        let mut world = World::new();
        let (first, _) = world.normal(0).unwrap();
        let (second, _) = world.forced(1).unwrap();
        assert!(!world.works(&first, 1) && world.works(&second, 1));
    }

    #[test]
    fn within_thirty_seconds_of_a_forced_refresh_nothing_is_refreshed() {
        let mut world = World::new();
        let (first, _) = world.forced(0).unwrap();
        assert_eq!(world.forced(29).unwrap(), (first.clone(), 7171));
        assert_ne!(world.forced(30).unwrap().0, first);
    }

    #[test]
    fn twenty_forced_refreshes_a_day() {
        let mut world = World::new();
        for n in 0..20 {
            world.forced(n * 30).unwrap();
        }
        assert_eq!(world.forced(600), Err(45009));
        assert!(world.normal(600).is_ok(), "the normal mode is free of it");
    }

    #[test]
    fn the_normal_mode_stops_at_ten_thousand_a_minute() {
        let mut world = World::new();
        for _ in 0..10_000 {
            world.normal(0).unwrap();
        }
        assert_eq!(world.normal(59), Err(45011));
        assert!(world.normal(60).is_ok());
    }
}
