//! Invariants that hold whatever happens in whatever order.

use std::time::Duration;

use proptest::prelude::*;

use super::harness::{Run, busy, issued, refused, secret};
use crate::credential::policy::{STABLE_TOKEN, TOKEN};
use crate::credential::types::FetchMode;
use crate::store::StoredCredential;

#[derive(Debug, Clone)]
enum Step {
    Report { back: u64, path: u8 },
    Replayed { back: u64, path: u8, refused: bool },
    Answer(u8),
    Pass(u64),
    JumpWithoutTimer(u64),
    Timer,
    Admin,
    Restart(u64),
    PeerPublished { ahead: u64, life: u64 },
    HeldByPeer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u64, 0..4_u8).prop_map(|(back, path)| Step::Report { back, path }),
        2 => (0..3_u64, 0..4_u8, any::<bool>())
            .prop_map(|(back, path, refused)| Step::Replayed { back, path, refused }),
        5 => any::<u8>().prop_map(Step::Answer),
        3 => (0..4000_u64).prop_map(Step::Pass),
        1 => (0..9000_u64).prop_map(Step::JumpWithoutTimer),
        1 => Just(Step::Timer),
        1 => Just(Step::Admin),
        1 => (0..9000_u64).prop_map(Step::Restart),
        1 => (0..4_u64, 0..9000_u64).prop_map(|(ahead, life)| Step::PeerPublished { ahead, life }),
        1 => Just(Step::HeldByPeer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The harness itself asserts: never two fetches at once, never an ended token in the cell after an
    /// event, generations never fall, and one generation is one value.
    #[test]
    fn nothing_breaks_the_invariants(stable in any::<bool>(), steps in prop::collection::vec(step(), 1..120)) {
        let policy = if stable { &STABLE_TOKEN } else { &TOKEN };
        let mut run = Run::start(policy, None);
        let (mut value, mut seconds, mut highest) = (0_u32, 0_u64, 0_u64);
        let (mut caused, mut forced) = (0_u64, Vec::new());
        for step in steps {
            let (before, flying) = (run.fetches(), run.flight());
            let mut by_report = false;
            match step {
                Step::Report { back, path } => {
                    by_report = true;
                    run.report(run.generation().saturating_sub(back), &format!("/{path}"));
                }
                Step::Replayed { back, path, refused } => {
                    run.replayed(&format!("/{path}"), run.generation().saturating_sub(back), refused);
                }
                Step::Answer(kind) if run.flight().is_some() => match kind % 8 {
                    0 => run.answer(busy()),
                    1 => run.answer(refused(40001)),
                    2 | 3 => run.answer(issued(&format!("T{value}"), u64::from(kind) * 40)),
                    _ => {
                        value += 1;
                        run.answer(issued(&format!("T{value}"), u64::from(kind) * 40));
                    }
                },
                Step::Answer(_) => {}
                Step::Pass(secs) => {
                    seconds += secs;
                    run.pass(secs);
                }
                Step::JumpWithoutTimer(secs) => {
                    seconds += secs;
                    run.jump(Duration::from_secs(secs));
                    run.due_now();
                }
                Step::Timer => run.due_now(),
                Step::Admin => {
                    by_report = true;
                    run.admin();
                }
                Step::PeerPublished { ahead, life } => {
                    value += 1;
                    let now = run.now().wall;
                    let mut state = run.state();
                    state.generation = (state.generation + ahead).saturating_sub(1);
                    state.credential = Some(StoredCredential {
                        value: secret(&format!("P{value}")),
                        issued_at: now,
                        expires_at: now + Duration::from_secs(life),
                        expires_in: Duration::from_secs(life),
                        began_at: now,
                    });
                    run.peer_published(state);
                }
                Step::HeldByPeer => run.held_by_peer(),
                Step::Restart(secs) => {
                    seconds += secs;
                    let record = run.state();
                    run = run.restart(record, secs);
                }
            }
            if by_report && run.fetches() > before {
                caused += 1;
            }
            if run.flight() == Some(FetchMode::Forced) && flying != run.flight() {
                forced.push(seconds);
            }
            if let Ok(generation) = run.cell() {
                prop_assert!(generation >= highest);
                highest = generation;
            }
            if let Some(bucket) = run.state().limits.bucket {
                prop_assert!(bucket.level <= 10);
            }
        }
        if !stable {
            prop_assert!(caused <= 10 + seconds / 60 + 1, "{caused} in {seconds} s");
        }
        for pair in forced.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 29, "{forced:?}");
        }
        for (first, last) in forced.iter().zip(forced.iter().skip(18)) {
            prop_assert!(last - first >= 86_399, "{forced:?}");
        }
    }
}
