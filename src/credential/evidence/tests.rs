//! Refusals and acceptances at moments that are told, and what they show.

use super::trial::DEAD;
use super::*;

fn at(ms: u64) -> Stamp {
    Stamp(1 + 1000 * ms)
}

#[test]
fn a_call_that_was_sent_later_speaks_for_the_token_and_an_earlier_one_does_not() {
    let evidence = Evidence::default();
    evidence.accepted(at(10));
    evidence.refused(at(20), at(30));
    let view = evidence.view(at(20), at(30));
    assert!(!view.accepted_later && view.ever_refused && !view.contradicted);
    evidence.accepted(at(21));
    let view = evidence.view(at(20), at(40));
    assert!(view.accepted_later && !view.contradicted, "the two may have overtaken each other");
    // The accepted one with the earlier sending comes late: nothing changes.
    evidence.accepted(at(5));
    assert_eq!(evidence.view(at(20), at(40)), view);
    evidence.accepted(at(40));
    assert!(evidence.view(at(20), at(50)).contradicted);
}

#[test]
fn twenty_refusals_in_a_row_are_a_dead_token_and_one_acceptance_ends_the_row() {
    let evidence = Evidence { born: at(0), ..Evidence::default() };
    evidence.accepted(at(100));
    for n in 101..120 {
        evidence.refused(at(n), at(n));
        assert_eq!(evidence.view(at(n), at(n)).dead_in, None);
    }
    evidence.accepted(at(120));
    evidence.refused(at(121), at(121));
    assert_eq!(evidence.view(at(121), at(121)).dead_in, None);
    (122..141).for_each(|n| evidence.refused(at(n), at(n)));
    let dead_in = |now| evidence.view(at(140), at(now)).dead_in;
    assert_eq!([dead_in(140), dead_in(150)], [10, 0].map(|ms| Some(Duration::from_millis(ms))));
    assert!(evidence.is_refused());
    // Late news of a call that was sent before another was accepted counts for nothing.
    evidence.accepted(at(150));
    (140..149).for_each(|n| evidence.refused(at(n), at(160)));
    assert!(!evidence.is_refused());
}

#[test]
fn doubt_lasts_for_a_minute_after_the_last_refusal_that_was_wrong() {
    let evidence = Evidence::default();
    evidence.refused(at(5), at(6));
    evidence.accepted(at(25));
    assert!(evidence.view(at(5), at(60_000)).contradicted);
    assert!(!evidence.view(at(5), at(60_010)).contradicted);
    // Of a refusal long ago nothing is left but that it was one.
    evidence.refused(at(100_000), at(100_001));
    assert!(!evidence.view(at(100_000), at(100_001)).contradicted);
    evidence.accepted(at(100_020));
    evidence.refused(at(100_030), at(100_031));
    assert!(evidence.view(at(100_030), at(160_030)).contradicted);
    assert!(!evidence.view(at(100_030), at(160_031)).contradicted);
}

#[test]
fn company_are_calls_without_an_answer_and_recent_traffic() {
    let evidence = Evidence::default();
    assert!(!evidence.view(at(0), at(0)).company);
    let sent = evidence.sending();
    assert!(evidence.view(at(0), at(0)).company);
    drop(sent);
    assert!(!evidence.view(at(0), at(0)).company);
    evidence.accepted(at(1000));
    assert!(evidence.view(at(0), at(1199)).company && !evidence.view(at(0), at(1200)).company);
}

#[test]
fn a_row_is_what_was_sent_after_the_latest_accepted_call_whenever_answers_come() {
    let evidence = Evidence { born: at(0), ..Evidence::default() };
    // Of forty calls that were sent together every other one is accepted; a refusal always comes first, and what was
    // sent last is answered first.
    for n in (0..40).rev() {
        evidence.refused(at(100 + 2 * n), at(200));
        evidence.accepted(at(99 + 2 * n));
    }
    assert_eq!(evidence.view(at(100), at(900)).dead_in, None);
    assert!(evidence.is_refused(), "the last one was sent after all that were accepted");
}

#[test]
fn nothing_is_dead_in_the_first_moment_however_many_refusals_come_first() {
    let evidence = Evidence { born: at(1000), ..Evidence::default() };
    (0..30).for_each(|_| evidence.refused(at(1001), at(1002)));
    let dead_in = |now| evidence.view(at(1001), at(now)).dead_in;
    assert_eq!([dead_in(1002), dead_in(1030)], [28, 0].map(|ms| Some(Duration::from_millis(ms))));
}

#[test]
fn a_credential_that_is_refused_among_its_first_calls_settles_within_a_second_of_its_birth() {
    let settled_in = |accepted: u64, now| {
        let evidence = Evidence { born: at(1000), ..Evidence::default() };
        (0..accepted).for_each(|n| evidence.accepted(at(1000 + n)));
        evidence.refused(at(1100), at(1110));
        evidence.view(at(1100), at(now)).settled_in.as_millis()
    };
    assert_eq!([settled_in(0, 1110), settled_in(19, 1900), settled_in(0, 2000)], [890, 100, 0]);
    assert_eq!(settled_in(20, 1110), 0, "where nodes lag behind, one of twenty calls is refused");
}

#[test]
fn ten_acceptances_while_a_refused_call_waits_prove_that_every_node_knows_it() {
    let evidence = Evidence::default();
    (0..50).for_each(|n| evidence.accepted(at(n)));
    assert!(!evidence.view(at(0), at(50)).proven, "nobody waited");
    let observer = evidence.observe();
    (50..60).for_each(|n| evidence.accepted(at(n)));
    assert!(evidence.view(at(0), at(60)).proven);
    drop(observer);
}

fn has_news(observer: &mut Observer<'_>) -> bool {
    Pin::new(observer).poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
}

#[test]
fn who_waits_hears_of_an_accepted_call_of_a_dead_row_and_of_the_probes_end() {
    let evidence = Arc::new(Evidence::default());
    let mut observer = evidence.observe();
    for n in 1..DEAD as u64 {
        evidence.refused(at(n), at(n));
        assert!(!has_news(&mut observer), "{n}");
    }
    evidence.refused(at(100), at(100));
    assert!(has_news(&mut observer));
    drop(observer);
    let mut observer = evidence.observe();
    let probing = evidence.probe().unwrap();
    assert!(!has_news(&mut observer));
    probing.refused(Instant::now());
    assert!(has_news(&mut observer));
    assert_eq!(evidence.view(Stamp::default(), at(100)).probe, ProbeResult::Refused);
    drop(observer);
    let mut observer = evidence.observe();
    evidence.accepted(at(200));
    assert!(has_news(&mut observer));
    assert!(evidence.accepted_after(at(199)) && !evidence.accepted_after(at(200)));
    // Once it has left, nobody counts for it any more.
    drop(observer);
    (0..50).for_each(|n| evidence.accepted(at(n)));
    assert!(!evidence.view(at(0), at(300)).proven);
}

#[test]
fn a_call_that_is_about_to_be_sent_again_is_company() {
    let evidence = Evidence::default();
    assert!(!evidence.is_refused() && evidence.view(at(0), at(0)).dead_in.is_none(), "nothing was refused");
    let again = evidence.resending();
    assert!(evidence.view(at(0), at(0)).company);
    drop(again);
    assert!(!evidence.view(at(0), at(0)).company);
}

#[test]
fn one_probes_for_all_and_a_probe_that_leaves_leaves_room_for_another() {
    let evidence = Arc::new(Evidence::default());
    let probing = evidence.probe().unwrap();
    assert!(evidence.probe().is_none());
    assert_eq!(evidence.view(at(1), at(1)).probe, ProbeResult::Running);
    drop(probing);
    assert_eq!(evidence.view(at(1), at(1)).probe, ProbeResult::None);
    let mut probing = evidence.probe().unwrap();
    probing.refused = Some(at(5));
    drop(probing);
    assert_eq!(evidence.view(at(1), at(9)).probe, ProbeResult::Refused);
    assert_eq!(evidence.view(at(6), at(9)).probe, ProbeResult::None, "it was sent before that call");
}
