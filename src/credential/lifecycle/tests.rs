//! The rules of a token's life, one fact each, on a clock that only the test moves.

mod clocks;
mod harness;
mod on_demand;
mod random;
mod replicas;

use std::time::Duration;

use harness::{DAY, LeaseAnswer, Run, busy, issued, refused};

use super::{FetchMode, Limiting, LogEvent};
use crate::credential::policy::{GETTOKEN, STABLE_TOKEN, TOKEN};
use crate::credential::status::CredentialState;
use crate::credential::types::{Absent, Outcome, Reason};
use crate::store::StoredState;

#[test]
fn without_a_stored_token_one_is_fetched_at_once() {
    let mut run = Run::start(&TOKEN, None);
    assert_eq!(run.flight(), Some(FetchMode::Normal));
    assert_eq!(run.cell(), Err(Absent::Waiting));
    run.answer(issued("A", 7200));
    assert_eq!(run.generation(), 1);
    assert_eq!(run.due_in(), 6900);
}

#[test]
fn a_stored_token_is_used_and_nothing_is_fetched() {
    let mut before = Run::start(&TOKEN, None);
    before.answer(issued("A", 7200));
    before.pass(1000);
    let record = before.state();
    for (away, fetches, served) in [(0, 0, true), (5000, 0, true), (6000, 1, true), (6200, 1, false)] {
        let run = before.restart(record.clone(), away);
        assert_eq!(run.fetches(), fetches, "{away} s away");
        assert_eq!(run.cell().is_ok(), served, "{away} s away");
        if fetches == 0 {
            assert_eq!(run.due_in(), 5900 - away, "{away} s away");
        }
    }
}

#[test]
fn a_stored_token_is_never_trusted_for_longer_than_its_life() {
    let mut before = Run::start(&TOKEN, None);
    before.answer(issued("A", 7200));
    let record = before.state();
    let set_back_a_little = before.restart_at(record.clone(), -200);
    assert_eq!(set_back_a_little.due_in(), 6900, "no more than expires_in");
    assert!(before.restart_at(record.clone(), -300).cell().is_ok(), "clocks differ by so much at most");
    let set_back = before.restart_at(record.clone(), -301);
    assert!(set_back.cell().is_err() && set_back.fetches() == 1);
    let mut ended = before.restart(record, 80_000);
    ended.answer(issued("B", 7200));
    assert_eq!(ended.generation(), 2, "generations go on");
}

#[test]
fn a_stored_token_lives_for_a_day_at_most() {
    let mut before = Run::start(&TOKEN, None);
    before.answer(issued("A", 7200));
    let mut record = before.state();
    let token = record.credential.as_mut().unwrap();
    (token.expires_in, token.expires_at) = (Duration::MAX, token.expires_at + Duration::from_secs(10 * DAY));
    let run = before.restart(record, 0);
    assert_eq!(run.due_in(), DAY - 300);
    let held = run.status().held.unwrap();
    assert_eq!(held.expires_at, run.now().wall + Duration::from_secs(DAY));
}

#[test]
fn the_next_token_is_fetched_five_minutes_ahead_or_at_four_fifths_of_a_short_life() {
    for policy in [&TOKEN, &STABLE_TOKEN] {
        for (life, due) in [(7200, 6900), (1500, 1200), (1000, 800), (345, 276), (60, 48), (5, 4)] {
            let mut run = Run::start(policy, None);
            run.answer(issued("A", life));
            assert_eq!(run.due_in(), due, "{life}");
            run.pass(due - 1);
            assert_eq!(run.fetches(), 1);
            run.pass(1);
            assert_eq!((run.fetches(), run.generation()), (2, 1), "the old one is served meanwhile");
            run.answer(issued("B", life));
            assert_eq!(run.generation(), 2);
            assert_eq!(run.last_fetched().0, Reason::Ahead);
        }
    }
}

#[test]
fn what_the_upstream_says_of_a_life_is_believed_within_a_minute_and_a_day() {
    for (said, due, odd) in [
        (None, 48, true),
        (Some(0), 48, true),
        (Some(-7), 48, true),
        (Some(100_000), 86_100, true),
        (Some(10), 8, false),
    ] {
        let mut run = Run::start(&TOKEN, None);
        run.answer(super::FetchAnswer::Issued { value: harness::secret("A"), expires_in: said });
        assert_eq!(run.due_in(), due);
        assert_eq!(run.logged(|n| matches!(n, LogEvent::OddExpiresIn { .. })), usize::from(odd), "{said:?}");
    }
}

#[test]
fn the_same_token_once_more_is_no_failure_and_no_new_generation() {
    let mut run = Run::start(&STABLE_TOKEN, None);
    run.answer(issued("A", 7200));
    run.pass(6900);
    run.answer(issued("A", 300));
    assert_eq!((run.generation(), run.due_in()), (1, 30));
    assert_eq!(run.last_fetched().1, Outcome::Same);
    run.pass(30);
    run.answer(issued("B", 7200));
    assert_eq!((run.generation(), run.fetches()), (2, 3));
}

#[test]
fn the_old_token_is_served_until_it_ends_and_not_longer() {
    let mut run = Run::start(&TOKEN, None);
    run.answer(issued("A", 60));
    run.pass(48);
    run.answer(busy());
    run.pass(11);
    assert_eq!(run.generation(), 1);
    run.skip_to_end_of_life();
    assert!(matches!(run.cell(), Err(Absent::Passing { .. })));
    assert_eq!(run.logged(|n| matches!(n, LogEvent::Ended { generation: 1, refused: false })), 1);
    assert_eq!(run.status().state, CredentialState::Expired);
}

#[test]
fn a_passing_failure_is_tried_again_after_1_2_4_to_60_seconds() {
    let mut run = Run::start(&TOKEN, None);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        run.answer(busy());
        assert!(matches!(run.cell(), Err(Absent::Passing { .. })));
        assert_eq!(run.due_in(), wait);
        run.pass(wait);
    }
    run.answer(issued("A", 7200));
    run.pass(6900);
    run.answer(busy());
    assert_eq!(run.due_in(), 1, "a success starts the count anew");
}

#[test]
fn a_refusal_is_tried_again_every_60_seconds() {
    let mut run = Run::start(&TOKEN, None);
    for _ in 0..4 {
        run.answer(refused(40164));
        assert!(matches!(run.cell(), Err(Absent::Refused { errcode: 40164, .. })));
        assert_eq!((run.due_in(), run.status().state), (60, CredentialState::Refused));
        run.pass(60);
        assert!(matches!(run.cell(), Err(Absent::Refused { .. })), "while it is tried again, too");
    }
    run.answer(issued("A", 7200));
    assert_eq!((run.generation(), run.status().state), (1, CredentialState::Fresh));
    assert_eq!(run.status().last_error.unwrap().errcode, 40164);
}

#[test]
fn any_number_of_reports_of_one_generation_cause_one_fetch() {
    let mut run = Run::with_token(&TOKEN);
    for _ in 0..500 {
        run.report(1, "/a");
    }
    assert_eq!((run.fetches(), run.answers()), (2, "".to_owned()));
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N2 ".repeat(500));
}

#[test]
fn a_report_of_an_older_generation_causes_no_fetch() {
    let mut run = Run::with_token(&TOKEN);
    run.report(1, "/a");
    run.answer(issued("B", 7200));
    run.answers();
    run.report(1, "/a");
    assert_eq!((run.fetches(), run.answers()), (2, "N2 ".to_owned()));
}

#[test]
fn a_fetch_ahead_of_time_serves_reports_too() {
    let mut run = Run::with_token(&TOKEN);
    run.pass(6900);
    run.report(1, "/a");
    run.answer(issued("B", 7200));
    assert_eq!((run.fetches(), run.answers()), (2, "N2 ".to_owned()));
    let bucket = run.state().limits.bucket.unwrap();
    assert_eq!(bucket.level, 10, "and spends nothing of the bucket");
}

#[test]
fn a_failed_fetch_answers_at_once_and_later_reports_wait_only_for_a_near_attempt() {
    let mut run = Run::with_token(&TOKEN);
    run.report(1, "/a");
    run.answer(busy());
    assert_eq!(run.answers(), "F ");
    run.report(1, "/a");
    assert_eq!(run.answers(), "", "the next attempt is near");
    run.pass(1);
    assert_eq!(run.last_flight_reason(), Reason::Retry);
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N2 ");
    run.report(2, "/b");
    run.answer(refused(40001));
    assert_eq!(run.answers(), "F ");
    run.report(2, "/b");
    assert_eq!((run.answers(), run.generation()), ("F ".to_owned(), 2), "60 s are too long to wait");
    run.pass(55);
    run.report(2, "/b");
    run.pass(5);
    run.answer(issued("C", 7200));
    assert_eq!(run.answers(), "N3 ");
    assert_eq!(run.state().limits.bucket.unwrap().level, 9, "one spent, one refilled, none for the retries");
}

#[test]
fn ten_forced_refreshes_then_one_a_minute() {
    let mut run = Run::with_token(&TOKEN);
    for n in 1..=10 {
        run.report(n, &format!("/{n}"));
        run.answer(issued(&format!("T{n}"), 7200));
    }
    run.answers();
    run.report(11, "/x");
    assert_eq!((run.answers(), run.fetches()), ("L ".to_owned(), 11));
    assert_eq!(run.logged(|n| matches!(n, LogEvent::Limited { .. })), 1);
    let record = run.state();
    let mut restarted = run.restart(record, 59);
    restarted.report(11, "/x");
    assert_eq!(restarted.answers(), "L ", "a restart does not fill it");
    run.pass(60);
    run.report(11, "/x");
    run.answer(issued("Z", 7200));
    assert_eq!(run.answers(), "N12 ");
}

#[test]
fn without_any_token_the_bucket_is_not_touched() {
    let mut run = Run::start(&TOKEN, None);
    for _ in 0..20 {
        run.report(0, "/a");
        run.answer(busy());
        run.pass(run.due_in());
    }
    assert_eq!(run.state().limits.bucket.unwrap().level, 10);
}

#[test]
fn stable_tokens_are_forced_only_when_the_normal_mode_hands_back_the_refused_one() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    run.report(1, "/a");
    assert_eq!(run.flight(), Some(FetchMode::Normal));
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N2 ");
    run.report(2, "/b");
    run.answer(issued("B", 7000));
    assert_eq!((run.flight(), run.answers()), (Some(FetchMode::Forced), String::new()));
    run.answer(issued("C", 7200));
    assert_eq!((run.answers(), run.generation()), ("N3 ".to_owned(), 3));
}

#[test]
fn forced_stable_tokens_are_30_seconds_apart() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    run.report(1, "/a");
    run.answer(issued("A", 7000));
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N2 ");
    run.pass(10);
    run.report(2, "/b");
    assert_eq!(run.flight(), Some(FetchMode::Normal));
    run.answer(issued("B", 7190));
    assert_eq!((run.answers(), run.flight()), ("L ".to_owned(), None));
    let sent = run.fetches();
    run.pass(4);
    run.report(2, "/b");
    assert_eq!((run.answers(), run.fetches()), ("L ".to_owned(), sent), "nothing to gain by asking");
    run.pass(1);
    run.report(2, "/b");
    assert_eq!(run.flight(), Some(FetchMode::Normal), "another may have had a new one issued");
    run.answer(issued("B", 7185));
    assert_eq!((run.answers(), run.flight()), ("L ".to_owned(), None));
    run.pass(15);
    run.report(2, "/b");
    run.answer(issued("B", 7170));
    assert_eq!(run.flight(), Some(FetchMode::Forced));
    run.answer(issued("C", 7200));
    assert_eq!(run.answers(), "N3 ");
}

#[test]
fn a_report_that_joins_a_fetch_ahead_of_time_may_lead_to_a_forced_one() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    run.pass(6900);
    run.report(1, "/a");
    run.answer(issued("A", 300));
    assert_eq!((run.flight(), run.answers()), (Some(FetchMode::Forced), String::new()));
    let mut alone = Run::with_token(&STABLE_TOKEN);
    alone.pass(6900);
    alone.answer(issued("A", 300));
    assert_eq!(alone.flight(), None, "nobody was refused: nothing is forced");
}

#[test]
fn what_the_normal_mode_handed_back_is_forgotten_when_the_token_ends() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    run.report(1, "/a");
    run.answer(issued("A", 7000));
    run.answer(issued("B", 7200));
    run.report(2, "/b");
    run.answer(issued("B", 5));
    assert_eq!(run.answers(), "N2 L ");
    run.pass(2);
    run.answer(refused(45011));
    run.pass(5);
    assert!(run.cell().is_err());
    run.admin();
    assert_eq!(run.flight(), Some(FetchMode::Normal));
}

#[test]
fn a_refused_token_that_ends_meanwhile_does_not_come_back_as_a_newer_one() {
    let mut run = Run::start(&STABLE_TOKEN, None);
    run.answer(issued("A", 5));
    run.report(1, "/a");
    run.skip_to_end_of_life();
    assert!(run.cell().is_err() && run.flight() == Some(FetchMode::Normal));
    run.answer(issued("A", 300));
    assert_eq!((run.flight(), run.answers()), (Some(FetchMode::Forced), String::new()));
    run.answer(issued("B", 7200));
    assert_eq!((run.answers(), run.generation()), ("N2 ".to_owned(), 2));
}

#[test]
fn eighteen_forced_stable_tokens_in_any_24_hours() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    let mut forced = 0;
    let mut value = "A".to_owned();
    // A quarter of an hour apart over a day: 96 reports, each of which the normal mode does not cure.
    for n in 0..96 {
        run.pass(900);
        while run.flight().is_some() {
            run.answer(issued(&value, 7200));
        }
        run.report(run.generation(), &format!("/{n}"));
        run.answer(issued(&value, 7200));
        if run.flight() == Some(FetchMode::Forced) {
            forced += 1;
            value = format!("V{n}");
            run.answer(issued(&value, 7200));
        }
        if n == 50 {
            let record = run.state();
            run = run.restart(record, 0);
        }
    }
    assert_eq!(forced, 18);
    assert!(run.answers().ends_with("L "));
    run.pass(DAY);
    while run.flight().is_some() {
        run.answer(issued(&value, 7200));
    }
    run.report(run.generation(), "/x");
    run.answer(issued(&value, 7200));
    assert_eq!(run.flight(), Some(FetchMode::Forced), "a day later they are there again");
}

#[test]
fn the_token_call_handing_back_the_refused_one_is_a_failed_refresh() {
    let mut run = Run::with_token(&TOKEN);
    run.report(1, "/a");
    run.answer(issued("A", 7200));
    assert_eq!((run.answers(), run.generation(), run.due_in()), ("F ".to_owned(), 1, 6900));
}

#[test]
fn a_path_refused_twice_in_a_row_with_fresh_tokens_starts_no_fetch_for_ten_minutes() {
    let mut run = Run::with_token(&TOKEN);
    for n in 1..=2 {
        (0..500).for_each(|_| run.report(n, "/bad"));
        run.answer(issued(&format!("T{n}"), 7200));
        (0..500).for_each(|_| run.replayed("/bad", n + 1, true));
        assert_eq!(run.logged(|x| matches!(x, LogEvent::PathBlocked { .. })), usize::from(n == 2));
    }
    run.answers();
    run.report(3, "/bad");
    assert_eq!((run.answers(), run.fetches()), ("L ".to_owned(), 3));
    // Another path, for which the token worked, still gets its fetch, and the blocked one is served by it.
    run.known_good(3);
    run.report(3, "/good");
    run.report(3, "/bad");
    run.answer(issued("X", 7200));
    assert_eq!(run.answers(), "N4 N4 ");
    run.report(3, "/bad");
    assert_eq!(run.answers(), "N4 ", "and by what others fetched before");
    // After ten minutes one attempt; its refusal blocks at once.
    run.pass(600);
    run.report(4, "/bad");
    run.answer(issued("Y", 7200));
    run.replayed("/bad", 5, true);
    run.answers();
    run.report(5, "/bad");
    assert_eq!(run.answers(), "L ");
    // One success clears it.
    assert!(run.suspects().contains_key("/bad"));
    run.replayed("/bad", 0, false);
    assert!(!run.suspects().contains_key("/bad"));
    run.report(5, "/bad");
    assert_eq!(run.last_flight_reason(), Reason::Forced);
}

#[test]
fn a_path_that_is_always_refused_does_not_spend_the_days_forced_refreshes() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    let (mut forced, mut value) = (0, "A".to_owned());
    for n in 0..DAY / 60 {
        run.report(run.generation(), "/bad");
        while let Some(mode) = run.flight() {
            if mode == FetchMode::Forced {
                forced += 1;
                value = format!("V{n}");
            }
            run.answer(issued(&value, 7200));
            run.replayed("/bad", run.generation(), true);
        }
        run.pass(60);
    }
    assert!(forced <= 10, "{forced} of 18");
}

/// Two paths are refused with each new token, and their replays too.
fn two_paths_refused(run: &mut Run, proven: bool) -> String {
    for n in 1..=3 {
        if proven {
            run.known_good(n);
        }
        run.report(n, "/a");
        run.report(n, "/b");
        run.answers();
        if run.flight().is_some() {
            run.answer(issued(&format!("T{n}"), 7200));
            if proven {
                run.known_good(n + 1);
            }
            run.replayed("/a", n + 1, true);
            run.replayed("/b", n + 1, true);
        }
    }
    run.answers()
}

#[test]
fn tokens_that_die_at_once_block_nobody_and_a_proven_one_clears_nobody() {
    let mut stolen = Run::with_token(&TOKEN);
    assert_eq!(two_paths_refused(&mut stolen, false), "N4 N4 ");
    let mut good = Run::with_token(&TOKEN);
    two_paths_refused(&mut good, true);
    assert_eq!(good.fetches(), 3);
    assert_eq!(good.logged(|x| matches!(x, LogEvent::PathBlocked { .. })), 2);
}

#[test]
fn a_success_in_between_starts_the_count_anew() {
    let mut run = Run::with_token(&TOKEN);
    for n in 1..=6 {
        run.report(n, "/flaky");
        run.answer(issued(&format!("T{n}"), 7200));
        run.replayed("/flaky", n + 1, n % 2 == 1);
    }
    assert_eq!(run.logged(|x| matches!(x, LogEvent::PathBlocked { .. })), 0);
}

#[test]
fn a_path_too_large_to_replay_is_counted_by_its_next_report() {
    let mut run = Run::with_token(&TOKEN);
    for n in 1..=2 {
        run.report_without_waiting(n, "/upload");
        run.answer(issued(&format!("T{n}"), 7200));
    }
    run.report_without_waiting(3, "/upload");
    assert_eq!(run.fetches(), 3, "blocked by the second refusal of a token fetched for it");
}

#[test]
fn three_forced_refreshes_in_ten_minutes_are_said_once_in_ten_minutes() {
    for (policy, callers) in [(&TOKEN, 1), (&TOKEN, 2), (&STABLE_TOKEN, 1)] {
        let mut run = Run::with_token(policy);
        let mut said = Vec::new();
        for n in 1..=12 {
            (0..callers).for_each(|caller| run.report(n, &format!("/{n}/{caller}")));
            run.answer(issued(&format!("T{n}"), 7200));
            said.push(run.logged(|x| *x == LogEvent::SecondFetcher));
            run.pass(120);
        }
        assert_eq!(said, [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2], "{}", policy.name);
    }
    let mut rare = Run::with_token(&TOKEN);
    for n in 1..=12 {
        rare.report(n, &format!("/{n}"));
        rare.answer(issued(&format!("T{n}"), 7200));
        rare.pass(301);
    }
    assert_eq!(rare.logged(|x| *x == LogEvent::SecondFetcher), 0);
}

#[test]
fn the_first_token_replaces_none_that_another_fetcher_had_ended() {
    let mut run = Run::start(&TOKEN, None);
    for (generation, value) in [(0, "A"), (1, "B"), (2, "C")] {
        run.report(generation, &format!("/{value}"));
        run.answer(issued(value, 7200));
    }
    assert_eq!(run.logged(|n| *n == LogEvent::SecondFetcher), 0);
}

#[test]
fn what_is_held_against_a_path_is_stored() {
    let mut run = Run::with_token(&TOKEN);
    run.report(1, "/a");
    run.answer(issued("B", 7200));
    run.known_good(2);
    for (path, stored) in [("/b", false), ("/a", true)] {
        run.forget_stores();
        run.replayed(path, 2, true);
        assert_eq!(run.stores(), stored, "{path}");
    }
}

#[test]
fn refreshes_that_a_bad_call_or_a_person_caused_are_nobody_elses() {
    let mut bad_call = Run::with_token(&TOKEN);
    for n in 1..=6 {
        bad_call.known_good(n);
        bad_call.report(n, &format!("/bad/{n}"));
        bad_call.answer(issued(&format!("T{n}"), 7200));
        bad_call.replayed(&format!("/bad/{n}"), n + 1, true);
    }
    assert_eq!(bad_call.logged(|x| *x == LogEvent::SecondFetcher), 0);
    let mut by_hand = Run::with_token(&TOKEN);
    for n in 1..=6 {
        by_hand.pass(48);
        by_hand.admin();
        by_hand.answer(issued(&format!("T{n}"), 60));
    }
    assert_eq!(by_hand.logged(|x| *x == LogEvent::SecondFetcher), 0);
    assert_eq!(by_hand.last_fetched().0, Reason::Ahead, "it joined");
}

#[test]
fn fetches_are_counted_by_beijings_day_and_over_restarts() {
    // The harness starts at 12:00 in Beijing.
    let mut run = Run::with_token(&TOKEN);
    run.report(1, "/a");
    run.answer(issued("B", 86_400));
    let record = run.state();
    let same_day = run.restart(record.clone(), 12 * 3600 - 1);
    assert_eq!(same_day.status().fetches_today(same_day.now().wall), 2);
    let next_day = run.restart(record, 12 * 3600);
    assert_eq!(next_day.status().fetches_today(next_day.now().wall), 0);
}

#[test]
fn what_never_reached_the_upstream_is_not_counted() {
    let unsent = || super::FetchAnswer::Unsent { what: "no connection".to_owned() };
    let mut run = Run::with_token(&STABLE_TOKEN);
    run.report(1, "/a");
    run.answer(unsent());
    assert_eq!((run.answers(), run.due_in(), run.state().fetches), ("F ".to_owned(), 1, 1));
    run.report(1, "/a");
    run.pass(1);
    run.answer(issued("A", 7000));
    assert_eq!((run.flight(), run.state().limits.forced.len()), (Some(FetchMode::Forced), 1));
    run.answer(unsent());
    assert_eq!((run.state().limits.forced.len(), run.state().fetches), (0, 2));
    run.pass(1);
    run.answer(busy());
    assert_eq!(run.state().fetches, 3, "what was sent counts, whatever came of it");
}

#[test]
fn the_end_of_a_token_sends_no_fetch_that_is_not_due() {
    // While one is under way.
    let mut run = Run::with_token(&TOKEN);
    run.pass(7300);
    assert_eq!((run.fetches(), run.flight().is_some(), run.cell().is_err()), (2, true, true));
    // Between two attempts, which are 60 s apart.
    let mut run = Run::with_token(&TOKEN);
    run.pass(6910);
    for _ in 0..4 {
        run.answer(refused(40164));
        run.pass(60);
    }
    assert!(run.flight().is_some(), "50 s before its end");
    run.answer(refused(40164));
    let fetches = run.fetches();
    run.pass(59);
    assert_eq!((run.fetches(), run.cell().is_err()), (fetches, true));
    run.pass(1);
    assert_eq!(run.fetches(), fetches + 1);
}

#[test]
fn the_state_says_what_is_due_and_what_callers_get() {
    let mut run = Run::start(&TOKEN, None);
    assert_eq!(run.status().state, CredentialState::Empty);
    run.answer(busy());
    assert_eq!(run.status().state, CredentialState::Empty);
    assert_eq!(run.status().last_error.unwrap().errcode, -1);
    run.pass(1);
    run.answer(issued("A", 7200));
    assert_eq!(run.status().state, CredentialState::Fresh);
    run.pass(6900);
    assert_eq!(run.status().state, CredentialState::Stale, "a renewal is under way");
    run.answer(busy());
    assert_eq!(run.status().state, CredentialState::Stale, "it has failed");
    run.answer_all("B", 1, 7200);
    assert_eq!(run.status().state, CredentialState::Fresh);
    run.report(2, "/a");
    assert_eq!(run.status().state, CredentialState::Stale, "somebody waits for another one");
}

#[test]
fn the_end_of_a_token_is_said_with_what_callers_get() {
    for (answer, refusal) in [(busy(), false), (refused(40001), true)] {
        let mut run = Run::start(&TOKEN, None);
        run.answer(issued("A", 60));
        run.pass(48);
        run.answer(answer);
        run.skip_to_end_of_life();
        assert_eq!(run.logged(|n| *n == LogEvent::Ended { generation: 1, refused: refusal }), 1);
    }
}

#[test]
fn a_refresh_by_hand_spends_like_a_forced_one() {
    let mut run = Run::with_token(&TOKEN);
    for n in 1..=10 {
        run.admin();
        run.answer(issued(&format!("T{n}"), 7200));
    }
    assert!(run.answers().ends_with("N11 "));
    run.admin();
    assert_eq!(run.answers(), "L ");
    assert_eq!(run.logged(|n| *n == LogEvent::SecondFetcher), 0);
    let mut stable = Run::with_token(&STABLE_TOKEN);
    stable.admin();
    stable.answer(issued("A", 7000));
    assert_eq!(stable.flight(), Some(FetchMode::Forced));
    stable.answer(issued("B", 7200));
    assert_eq!((stable.answers(), stable.last_fetched().0), ("N2 ".to_owned(), Reason::Admin));
}

#[test]
fn a_forced_stable_token_was_wanted_by_hand_if_anybody_asked_by_hand() {
    type Ask = fn(&mut Run);
    let asks: [(Ask, Reason); 4] = [
        (|run| run.report(1, "/a"), Reason::Forced),
        (Run::admin, Reason::Admin),
        (
            |run| {
                run.admin();
                run.report(1, "/a");
            },
            Reason::Admin,
        ),
        (
            |run| {
                run.pass(6900);
                run.admin();
            },
            Reason::Admin,
        ),
    ];
    for (n, (ask, reason)) in asks.into_iter().enumerate() {
        let mut run = Run::with_token(&STABLE_TOKEN);
        ask(&mut run);
        run.answer(issued("A", 300));
        assert_eq!((run.flight(), run.last_flight_reason()), (Some(FetchMode::Forced), reason), "{n}");
    }
}

#[test]
fn what_was_refused_the_forced_refresh_it_wanted_is_not_forced_later() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    run.report(1, "/a");
    run.answer(issued("A", 7000));
    run.answer(issued("B", 7200));
    run.report(2, "/a");
    run.answer(issued("B", 7200));
    assert_eq!(
        (run.answers(), run.flight()),
        ("N2 L ".to_owned(), None),
        "within 30 seconds of the last one"
    );
    run.pass(6900);
    run.answer(issued("B", 300));
    assert_eq!(run.flight(), None, "nobody has wanted this one");
}

#[test]
fn a_refresh_by_hand_of_another_generation_than_the_current_one_fetches_nothing() {
    let mut run = Run::with_token(&TOKEN);
    run.admin_over(Some(1));
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N2 ");
    let fetches = run.fetches();
    for other in [1, 3] {
        run.admin_over(Some(other));
        assert_eq!((run.answers(), run.fetches()), ("N2 ".to_owned(), fetches), "{other}");
    }
    run.admin_over(Some(2));
    assert_eq!(run.fetches(), fetches + 1);
}

#[test]
fn a_late_timer_serves_no_ended_token() {
    let mut run = Run::with_token(&TOKEN);
    run.jump(Duration::from_secs(90_000));
    run.report(1, "/a");
    assert!(run.cell().is_err());
    assert_eq!(run.answers(), "", "it waits for the fetch that is due");
    run.due_now();
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N2 ");
}

#[test]
fn an_upstream_that_refuses_for_a_day_is_asked_once_a_minute_at_most() {
    for policy in [&TOKEN, &STABLE_TOKEN] {
        for answer in [refused(40001), busy()] {
            let mut run = Run::with_token(policy);
            for n in 0..DAY {
                run.report(1, &format!("/{}", n % 7));
                while run.flight().is_some() {
                    run.answer(answer.clone());
                }
                run.pass_failing(1, &answer);
            }
            assert!(run.fetches() <= 1 + 1440 + 8, "{}: {}", policy.name, run.fetches());
            assert!(run.fetches() >= 1400, "{}: {}", policy.name, run.fetches());
        }
    }
}

#[test]
fn reports_without_end_never_burn_the_days_quota() {
    // Every token that is issued is refused at once, on ever new paths.
    let mut run = Run::with_token(&TOKEN);
    for n in 0..DAY {
        run.report(run.generation(), &format!("/{n}"));
        while run.flight().is_some() {
            run.answer(issued(&format!("T{n}"), 7200));
        }
        run.pass(1);
    }
    assert!(run.fetches() < 1500, "{}", run.fetches());
}

#[test]
fn the_token_before_goes_on_working_for_five_minutes_unless_a_forced_one_ended_it() {
    let mut run = Run::with_token(&TOKEN);
    run.pass(6900);
    run.answer(issued("B", 7200));
    assert_eq!(run.previous(), Some((1, 300)));
    // As it is published anew, with a later number that a peer gives it.
    for (passed, previous) in [(100, Some((1, 200))), (199, Some((1, 1))), (1, None)] {
        run.pass(passed);
        let state = run.state();
        run.peer_published(StoredState { generation: state.generation + 1, ..state });
        assert_eq!(run.previous(), previous);
    }
    let mut short = Run::start(&TOKEN, None);
    short.answer(issued("A", 60));
    short.pass(48);
    short.answer(issued("B", 60));
    assert_eq!(short.previous(), Some((1, 12)), "not beyond its own end");
    short.answer_all("C", 48, 60);
    assert_eq!(short.previous(), Some((2, 12)), "one is remembered, not all");
    let mut forced = Run::with_token(&STABLE_TOKEN);
    forced.report(1, "/a");
    forced.answer(issued("A", 7000));
    forced.answer(issued("B", 7200));
    assert_eq!(forced.previous(), Some((1, 0)));
}

#[test]
fn paths_without_an_accepted_call_take_three_of_the_ten_together() {
    let mut run = Run::with_token(&TOKEN);
    for n in 1..=40 {
        run.report_unknown(run.generation(), &format!("/made-up/{n}"));
        if run.flight().is_some() {
            run.answer(issued(&format!("T{n}"), 7200));
        }
    }
    assert_eq!(run.fetches(), 4);
    assert_eq!(run.logged(|x| *x == LogEvent::Limited { why: Limiting::Share }), 1);
    assert_eq!(run.logged(|x| *x == LogEvent::Limited { why: Limiting::Whole }), 0);
    // A real theft is healed for the others as ever.
    run.answers();
    for n in 1..=7 {
        run.report(run.generation(), &format!("/known/{n}"));
        run.answer(issued(&format!("U{n}"), 7200));
    }
    run.report(run.generation(), "/known");
    assert!(run.answers().ends_with("N11 L "), "ten in all");
}

#[test]
fn a_new_path_that_is_accepted_with_the_token_fetched_for_it_takes_nothing_of_the_share() {
    let mut run = Run::with_token(&TOKEN);
    for n in 1..=9 {
        let path = format!("/new/{n}");
        run.report_unknown(n, &path);
        run.answer(issued(&format!("T{n}"), 7200));
        run.replayed(&path, n + 1, false);
    }
    assert_eq!(run.generation(), 10);
}

#[test]
fn paths_without_an_accepted_call_force_six_of_the_eighteen_stable_tokens() {
    let mut run = Run::with_token(&STABLE_TOKEN);
    let mut forced = 0;
    let mut value = "A".to_owned();
    for n in 0..20 {
        run.report_unknown(run.generation(), &format!("/made-up/{n}"));
        while let Some(mode) = run.flight() {
            if mode == FetchMode::Forced {
                (forced, value) = (forced + 1, format!("T{n}"));
            }
            run.answer(issued(&value, 7200));
        }
        run.pass(31);
    }
    assert_eq!(forced, 6);
    run.report(run.generation(), "/known");
    run.answer(issued(&value, 7200));
    assert_eq!(run.flight(), Some(FetchMode::Forced), "the others have theirs");
}

#[test]
fn a_refusal_of_an_administrator_is_not_hammered() {
    for (errcode, wait) in [(40243, 60), (61004, 60), (89503, 60), (89507, 3600), (89506, DAY)] {
        let mut run = Run::start(&TOKEN, None);
        run.answer(refused(errcode));
        assert_eq!(run.due_in(), wait, "{errcode}");
        run.pass(wait - 1);
        assert_eq!(run.fetches(), 1, "{errcode}");
        run.pass(1);
        assert_eq!(run.fetches(), 2, "{errcode}");
    }
}

#[test]
fn what_a_peer_publishes_is_adopted_and_answers_those_who_wait() {
    let mut peer = Run::with_token(&TOKEN);
    let mut run = Run::start(&TOKEN, Some(peer.state()));
    assert_eq!((run.generation(), run.fetches()), (1, 0));
    peer.report(1, "/a");
    peer.answer(issued("B", 7200));
    run.report(1, "/a");
    run.held_by_peer();
    assert_eq!(run.answers(), "", "they wait for the peer's");
    run.peer_published(peer.state());
    assert_eq!((run.answers(), run.generation(), run.due_in()), ("N2 ".to_owned(), 2, 6900));
    assert_eq!(run.previous(), Some((1, 300)));
    // What both spent together is spent here too.
    assert_eq!((run.state().limits.bucket.unwrap().level, run.state().fetches), (9, 2));
    assert_eq!(run.logged(|x| *x == LogEvent::PeerPublished { generation: 2 }), 1);
}

#[test]
fn of_two_tokens_the_one_whose_fetch_began_later_is_used_by_all_whatever_their_numbers() {
    let twins = || {
        let (mut a, mut b) = (Run::with_token(&TOKEN), Run::with_token(&TOKEN));
        for run in [&mut a, &mut b] {
            run.report(1, "/a");
        }
        (a, b)
    };
    // A slept after its fetch: B's token has ended A's.
    let (mut a, mut b) = twins();
    b.pass(5);
    b.held_by_peer();
    b.pass(1);
    b.answer(issued("B", 7200));
    a.pass(7);
    a.answer(issued("A2", 7200));
    a.peer_published(b.state());
    b.peer_published(a.state());
    assert_eq!((a.token(), b.token()), ("B".to_owned(), "B".to_owned()));
    assert_eq!((a.generation(), b.generation()), (3, 3), "number 2 named two tokens");
    // The answer comes after B's news.
    let (mut a, mut b) = twins();
    b.pass(5);
    b.held_by_peer();
    b.pass(1);
    b.answer(issued("B", 7200));
    a.pass(7);
    a.peer_published(b.state());
    a.answer(issued("A2", 7200));
    assert_eq!((a.token(), a.generation(), a.due_in()), ("B".to_owned(), 2, 6899));
    // A slept before its fetch: A's token has ended B's, whether B's news come before its answer or after it.
    let asleep_before_its_fetch = || {
        let (mut a, mut b) = twins();
        b.answer(issued("B", 7200));
        a.pass(5);
        a.held_by_peer();
        a.pass(1);
        (a, b)
    };
    let (mut a, mut b) = asleep_before_its_fetch();
    a.peer_published(b.state());
    a.answer(issued("A2", 7200));
    assert_eq!((a.token(), a.generation()), ("A2".to_owned(), 3));
    let (mut a, mut b) = asleep_before_its_fetch();
    a.answer(issued("A2", 7200));
    a.peer_published(b.state());
    assert_eq!((a.token(), a.generation()), ("A2".to_owned(), 3));
    b.pass(6);
    b.peer_published(a.state());
    assert_eq!((b.token(), b.generation()), ("A2".to_owned(), 3));
    assert_eq!(b.previous(), Some((2, 300)));
}

#[test]
fn a_token_is_newer_than_the_one_it_replaced_though_the_clock_was_set_back() {
    let mut run = Run::with_token(&TOKEN);
    let stored = run.state();
    let mut peer = Run::start(&TOKEN, Some(stored.clone()));
    let mut set_back = run.restart_at(stored, -200);
    set_back.report(1, "/a");
    set_back.answer(issued("B", 7200));
    peer.peer_published(set_back.state());
    assert_eq!((peer.token(), peer.generation()), ("B".to_owned(), 2));
}

#[test]
fn a_later_end_of_the_same_token_in_the_store_is_believed_for_none_but_tickets() {
    let mut run = Run::with_token(&TOKEN);
    let mut stored = run.state();
    stored.credential.as_mut().unwrap().expires_at += Duration::from_secs(100);
    run.pass(100);
    run.peer_published(stored);
    assert_eq!(run.due_in(), 6800);
}

#[test]
fn a_refusal_of_a_token_that_was_renumbered_is_one_of_the_current_token() {
    let mut run = Run::with_token(&TOKEN);
    let mut restored = run.state();
    restored.generation = 5;
    run.peer_published(restored);
    assert_eq!((run.token(), run.generation()), ("A".to_owned(), 5));
    run.report(1, "/a");
    assert_eq!(run.answers(), "");
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N6 ");
}

#[test]
fn a_store_that_went_back_gets_what_is_known_here() {
    let mut run = Run::with_token(&TOKEN);
    let old = run.state();
    run.report(1, "/a");
    run.answer(issued("B", 7200));
    let same = run.state();
    assert!(!run.takes_more_than(same));
    assert!(run.takes_more_than(old), "an older token");
    assert!(run.takes_more_than(StoredState { generation: 9, ..StoredState::default() }), "none");
    assert_eq!((run.token(), run.generation()), ("B".to_owned(), 10));
    let mut fewer = run.state();
    fewer.fetches = 0;
    assert!(run.takes_more_than(fewer), "a lower count");
    let mut fuller = run.state();
    fuller.limits.bucket.as_mut().unwrap().level = 10;
    assert!(run.takes_more_than(fuller.clone()), "a fuller bucket");
    fuller.fetches = 0;
    assert!(run.takes_more_than(fuller), "both");
    let lower = StoredState { generation: 3, ..run.state() };
    assert!(run.takes_more_than(lower), "the same token under a lower number");
}

#[test]
fn a_store_that_has_no_token_gets_a_number_from_one_who_has_none_either_if_its_own_is_lower() {
    let mut run = Run::start(&TOKEN, Some(StoredState { generation: 5, ..StoredState::default() }));
    for (theirs, takes) in [(5, false), (3, true), (7, false)] {
        let state = StoredState { generation: theirs, ..run.state() };
        assert_eq!(run.takes_more_than(state), takes, "{theirs}");
    }
    run.answer(issued("A", 7200));
    assert_eq!(run.generation(), 8);
}

#[test]
fn a_peers_token_without_life_left_moves_the_generation_on_and_nothing_else() {
    let mut peer = Run::with_token(&TOKEN);
    peer.report(1, "/a");
    peer.answer(issued("B", 60));
    let state = peer.state();
    let mut run = Run::with_token(&TOKEN);
    run.pass(100);
    run.peer_published(state);
    assert_eq!((run.token(), run.generation()), ("A".to_owned(), 3), "its own is still valid");
    run.report(3, "/b");
    run.answer(issued("C", 7200));
    assert_eq!(run.answers(), "N4 ", "no number is given twice");
}

#[test]
fn reports_wait_for_the_peer_that_fetches_and_spend_nothing() {
    let mut run = Run::with_token(&TOKEN);
    run.report(1, "/a");
    run.held_by_peer();
    for _ in 0..20 {
        run.report(1, "/a");
    }
    assert_eq!((run.answers(), run.flight(), run.state().fetches), (String::new(), None, 1));
    assert_eq!(run.state().limits.bucket.unwrap().level, 9);
    for _ in 0..3 {
        run.pass(1);
        run.held_by_peer();
    }
    assert_eq!(run.logged(|x| *x == LogEvent::HeldByPeer), 1);
    // The peer died: this one fetches, for the same reason as before.
    run.pass(1);
    assert_eq!(run.last_flight_reason(), Reason::Forced);
    run.answer(issued("B", 7200));
    assert_eq!(run.answers(), "N2 ".repeat(21));
    run.held_by_peer();
    assert_eq!(run.due_in(), 6900, "without a fetch it says nothing");
}

#[test]
fn replicas_that_want_to_fetch_together_spend_of_the_bucket_what_is_sent() {
    let (mut one, mut two) = (Run::with_token(&TOKEN), Run::with_token(&TOKEN));
    two.peer_published(one.state());
    for n in 1..=10 {
        one.pass(1);
        two.pass(1);
        one.report(n, &format!("/{n}"));
        one.peer_published(two.state());
        two.lease = LeaseAnswer::HeldByPeer;
        two.report(n, &format!("/{n}"));
        two.peer_published(one.state());
        one.peer_published(two.state());
        one.answer(issued(&format!("T{n}"), 7200));
        two.peer_published(one.state());
        std::mem::swap(&mut one, &mut two);
        one.lease = LeaseAnswer::Granted;
    }
    for run in [&mut one, &mut two] {
        let answers: String = (2..=11).map(|n| format!("N{n} ")).collect();
        assert_eq!(run.answers(), answers);
        assert_eq!((run.state().limits.bucket.unwrap().level, run.state().fetches), (0, 11));
    }
}

#[test]
fn a_lease_that_comes_behind_a_peers_token_is_not_used() {
    let (mut run, mut peer) = (Run::with_token(&TOKEN), Run::with_token(&TOKEN));
    run.lease = LeaseAnswer::Waits;
    run.report(1, "/a");
    peer.pass(1);
    peer.report(1, "/a");
    peer.answer(issued("B", 7200));
    run.peer_published(peer.state());
    run.leased();
    assert_eq!((run.flight(), run.fetches(), run.answers()), (None, 1, "N2 ".to_owned()));
    assert_eq!((run.state().limits.bucket.unwrap().level, run.state().fetches), (9, 2), "the peer's");
    run.leased();
    assert_eq!(run.fetches(), 1, "without a fetch it says nothing");
}

#[test]
fn a_fetch_that_a_peer_did_not_bring_is_paid_for_when_it_is_sent() {
    let mut run = Run::with_token(&TOKEN);
    run.lease = LeaseAnswer::HeldByPeer;
    run.report(1, "/a");
    assert_eq!((run.state().limits.bucket.unwrap().level, run.state().fetches), (10, 1));
    run.lease = LeaseAnswer::Granted;
    run.pass(1);
    assert_eq!(run.last_flight_reason(), Reason::Forced);
    assert_eq!((run.state().limits.bucket.unwrap().level, run.state().fetches), (9, 2));
}

#[test]
fn a_fetch_that_fails_after_a_peers_success_is_not_tried_again() {
    let mut run = Run::with_token(&TOKEN);
    let mut peer = Run::with_token(&TOKEN);
    run.report(1, "/a");
    peer.report(1, "/a");
    peer.answer(issued("B", 7200));
    run.peer_published(peer.state());
    run.answer(busy());
    assert_eq!((run.answers(), run.due_in()), ("N2 ".to_owned(), 6900));
}

#[test]
fn calls_refused_though_the_token_is_good_block_their_path_and_fetch_nothing() {
    let mut run = Run::with_token(&TOKEN);
    for _ in 0..2 {
        run.refused_though_good("/sick");
        run.pass(2);
    }
    assert_eq!(run.logged(|x| matches!(x, LogEvent::PathBlocked { though_good: true, .. })), 1);
    assert!(run.suspects()["/sick"].is_some());
    run.report(1, "/sick");
    assert_eq!((run.answers(), run.fetches()), ("L ".to_owned(), 1));
    run.replayed("/sick", 1, false);
    run.report(1, "/sick");
    assert_eq!(run.last_flight_reason(), Reason::Forced, "one success clears it");
}

#[test]
fn a_refused_token_of_wecom_that_comes_again_is_the_same_and_another_is_newer() {
    let mut run = Run::with_token(&GETTOKEN);
    run.report(1, "/a");
    run.answer(issued("A", 7100));
    assert_eq!((run.answers(), run.generation(), run.flight()), ("S ".to_owned(), 1, None));
    run.report(1, "/a");
    run.answer(issued("B", 7200));
    assert_eq!((run.answers(), run.generation()), ("N2 ".to_owned(), 2));
    assert_eq!(run.previous(), Some((1, 0)));
    assert_eq!(run.logged(|event| matches!(event, LogEvent::SecondFetcher)), 0);
}

#[test]
fn a_later_end_of_a_wecom_token_is_not_believed_while_there_is_an_earlier_one() {
    let mut run = Run::with_token(&GETTOKEN);
    // The upstream says 7200 whatever is left.
    for second in 1..7200 {
        run.pass(1);
        if run.flight().is_some() {
            run.answer(issued("A", 7200));
        }
        assert_eq!(run.generation(), 1, "{second}");
    }
    assert!((5..30).contains(&run.fetches()), "{}", run.fetches());
    run.pass(1);
    assert_eq!(run.cell(), Err(Absent::Waiting), "its first end holds");
    run.answer(issued("B", 7200));
    assert_eq!(run.generation(), 2);
}

#[test]
fn wecom_is_never_asked_often_enough_to_block_the_account() {
    let mut run = Run::with_token(&GETTOKEN);
    for _ in 0..3600 {
        run.report(run.generation(), "/a");
        if run.flight().is_some() {
            run.answer(refused(40001));
        }
        run.pass_failing(1, &refused(40001));
    }
    // Refused fetches are repeated once a minute, whatever callers do.
    assert!(run.fetches() < 100, "{}", run.fetches());
    let mut run = Run::with_token(&GETTOKEN);
    for _ in 0..3600 {
        run.report(1, "/a");
        if run.flight().is_some() {
            run.answer(issued("A", 7200));
        }
        run.pass(1);
    }
    assert!((300..400).contains(&run.fetches()), "{}", run.fetches());
    assert!(run.answers().contains('L'));
}
