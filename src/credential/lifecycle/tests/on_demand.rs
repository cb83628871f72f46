//! Credentials that are asked for when somebody wants them: tickets.

use super::harness::{Run, busy, issued, refused};
use crate::credential::policy::JSAPI_TICKET;
use crate::credential::types::{Absent, Outcome, Reason};

#[test]
fn without_demand_nothing_is_asked() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    run.pass(100_000);
    assert_eq!(run.fetches(), 0);
    run.want();
    run.answer(issued("A", 7200));
    run.pass(100_000);
    assert_eq!((run.fetches(), run.answers().as_str()), (1, "N1 "));
    assert_eq!(run.cell(), Err(Absent::Waiting), "its life is over");
}

#[test]
fn the_first_demand_asks_and_all_others_wait_for_that_answer() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    for _ in 0..50 {
        run.want();
    }
    assert_eq!((run.fetches(), run.last_flight_reason()), (1, Reason::Start));
    run.answer(issued("A", 7200));
    assert_eq!(run.answers(), "N1 ".repeat(50));
    run.pass(299);
    run.want();
    assert_eq!((run.fetches(), run.answers().as_str()), (1, "N1 "));
}

#[test]
fn it_is_asked_again_every_five_minutes_while_there_is_demand() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    run.want();
    run.answer(issued("A", 7200));
    for n in 2..30 {
        run.pass(300);
        run.want_without_waiting();
        assert_eq!((run.fetches(), run.last_flight_reason()), (n, Reason::Ahead));
        run.answer(issued("A", 7200));
        assert_eq!((run.generation(), run.last_fetched().1), (1, Outcome::Same));
    }
    run.pass(300);
    run.want();
    run.answer(issued("B", 7200));
    assert_eq!((run.generation(), run.answers().as_str()), (2, "N1 N2 "));
}

#[test]
fn who_waits_gets_the_same_one_once_more() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    run.want();
    run.answer(issued("A", 7200));
    run.pass(3600);
    run.want();
    assert_eq!(run.answers(), "N1 ", "the first one");
    run.answer(issued("A", 7200));
    assert_eq!(run.answers(), "N1 ", "asked again after a pause");
    run.pass(7199);
    assert!(run.cell().is_ok(), "its life counts from the last answer");
}

#[test]
fn while_asking_fails_the_last_one_is_served_to_its_end() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    run.want();
    run.answer(issued("A", 7200));
    run.pass(1000);
    run.want();
    run.answer(busy());
    assert_eq!(run.answers(), "N1 F ", "who waited looks into the cell");
    assert_eq!(run.generation(), 1);
    run.want();
    assert_eq!(run.answers(), "N1 ", "nobody waits while it is failing");
    assert_eq!(run.fetches(), 2, "not before the backoff is over");
    run.pass(2);
    assert_eq!(run.fetches(), 2, "and then on demand alone");
    run.want();
    assert_eq!((run.fetches(), run.answers().as_str()), (3, "N1 "));
    run.answer(refused(45009));
    assert_eq!(run.generation(), 1, "a spent quota does not end the ticket");
    run.pass(6200);
    assert!(run.cell().is_err());
}

#[test]
fn a_refusal_is_passed_on_and_asked_again_soon() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    run.want();
    run.answer(refused(48001));
    assert!(matches!(run.cell(), Err(Absent::Refused { errcode: 48001, .. })));
    run.want();
    assert_eq!((run.fetches(), run.answers().as_str()), (1, "F F "));
    run.pass(1);
    run.want();
    assert_eq!(run.fetches(), 2);
    run.answer(issued("A", 7200));
    assert_eq!(run.answers(), "N1 ");
}

#[test]
fn refusals_are_further_and_further_apart() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    for _ in 0..3600 {
        run.want();
        if run.flight().is_some() {
            run.answer(refused(45009));
        }
        run.pass(1);
    }
    assert!((60..70).contains(&run.fetches()), "{}", run.fetches());
}

#[test]
fn who_waits_through_a_short_backoff_gets_the_next_answer() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    run.want();
    run.answer(busy());
    run.want();
    assert_eq!((run.fetches(), run.answers().as_str()), (1, "F "));
    run.pass(1);
    assert_eq!((run.fetches(), run.last_flight_reason()), (2, Reason::Retry));
    run.answer(issued("A", 7200));
    assert_eq!(run.answers(), "N1 ");
}

#[test]
fn a_restart_goes_on_with_the_stored_one() {
    let mut before = Run::start(&JSAPI_TICKET, None);
    before.want();
    before.answer(issued("A", 7200));
    before.pass(3600);
    before.want();
    before.answer(issued("A", 7200));
    let record = before.state();
    let mut soon = before.restart(record.clone(), 200);
    soon.want();
    assert_eq!((soon.fetches(), soon.answers().as_str()), (0, "N1 "));
    let mut later = before.restart(record.clone(), 400);
    later.want();
    assert_eq!((later.fetches(), later.answers().as_str()), (1, ""));
    later.answer(busy());
    assert_eq!(later.generation(), 1);
    let mut ended = before.restart(record, 7200);
    ended.want();
    ended.answer(issued("A", 7200));
    assert_eq!(ended.generation(), 2, "generations go on");
}

#[test]
fn another_replicas_answer_counts() {
    let mut run = Run::start(&JSAPI_TICKET, None);
    run.want();
    run.answer(issued("A", 7200));
    run.pass(400);
    let record = run.state();
    let mut peer = run.restart(record, 0);
    peer.want();
    peer.answer(issued("A", 7200));
    let published = peer.state();
    run.peer_published(published);
    run.want();
    assert_eq!((run.fetches(), run.answers().as_str()), (1, "N1 N1 "));
}
