//! Replicas whose clocks differ, without a clock that they share: they find an end, and no token is served that has ended.

use super::harness::{Run, issued};
use crate::credential::policy::{STABLE_TOKEN, TOKEN};

/// Hands on what is stored until nobody stores anything; after how many writes that is.
fn settle(replicas: &mut [Run]) -> usize {
    for writes in 0..12 {
        let Some(writer) = replicas.iter().position(Run::stores) else { return writes };
        let state = replicas[writer].state();
        replicas[writer].forget_stores();
        for (at, replica) in replicas.iter_mut().enumerate() {
            if at != writer {
                replica.peer_published(state.clone());
            }
        }
    }
    panic!("they answer each other without end");
}

#[test]
fn replicas_settle_whatever_their_clocks_say() {
    let hour = 3600;
    for policy in [&TOKEN, &STABLE_TOKEN] {
        for ahead in [-48 * hour, -8 * hour, -7300, -400, -301, 0, 301, 600, 6900, 7300, 8 * hour, 48 * hour]
        {
            for life in [345, 7200] {
                let mut first = Run::start(policy, None);
                first.answer(issued("A", life));
                let (state, now) = (first.state(), first.now());
                let start = |ahead| Run::start_ahead(policy, Some(state.clone()), ahead, now);
                let mut all = [first, start(ahead), start(0), start(-ahead)];
                for (at, value) in [(1, "B"), (3, "C"), (2, "D"), (0, "E"), (1, "F")] {
                    settle(&mut all);
                    let one = &mut all[at];
                    if one.flight().is_none() {
                        one.report(one.generation(), "/a");
                    }
                    if one.flight().is_some() {
                        one.answer(issued(value, life));
                    }
                    settle(&mut all);
                    assert!(all[at].fetches() <= 3, "{ahead} {life}");
                }
                if ahead == 0 && policy.name == TOKEN.name {
                    assert!(all.iter().all(|one| one.token() == "F"), "they share the newest");
                }
            }
        }
    }
}

#[test]
fn a_fetch_is_newer_than_a_stored_token_that_is_of_no_use_here() {
    let now = Run::with_token(&TOKEN).now();
    let mut ahead = Run::start_ahead(&TOKEN, None, 8 * 3600, now);
    ahead.answer(issued("A", 7200));
    let state = ahead.state();
    // By this clock it was issued in the future.
    let mut right = Run::start_ahead(&TOKEN, Some(state.clone()), 0, now);
    right.answer(issued("B", 7200));
    assert!(right.takes_more_than(state), "and goes in its place");
}
