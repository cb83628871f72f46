//! What becomes of a call whose token was refused: a pure decision by what is known at the moment.
//!
//! A refusal is no proof by itself, so nothing is fetched while something speaks for the token: a call that was sent
//! later and accepted, the token's youth, refusals that were wrong of late. The call is then sent again, with the
//! token before it where that still works, else with the same one after a pause. Each sending is precious: there are
//! three. While nodes may not know a token yet, only a row that chance does not bring is a proof; else one call, sent
//! again when they all know it, finds out for the others. Waiting and sending are done elsewhere.

use std::time::Duration;

use crate::credential::evidence::ProbeResult;

/// A call is sent so often at most.
const MOST_SENDINGS: u8 = 3;
/// A call waits for so long at most because its token was refused, refreshes left aside.
const LONGEST_WAIT: Duration = Duration::from_millis(1500);
/// So long the answers of other calls are waited for.
const OBSERVED: Duration = Duration::from_millis(100);
/// Before the second sending of a call whose token others show to be good: another node is met.
const BRIEF: Duration = Duration::from_millis(50);
/// Before the second sending with a young token.
const YOUNG: Duration = Duration::from_millis(300);
/// Before the last sending: what lags behind has mostly caught up.
const LAST: Duration = Duration::from_secs(1);

/// What is known when a call has been refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// How often it was sent.
    pub(super) sendings: u8,
    /// A refresh was forced for it.
    pub(super) refreshed: bool,
    /// Its errcode alone proves the token dead.
    pub(super) proof: bool,
    /// Its path starts no fetch.
    pub(super) blocked: bool,
    /// There is a token that it was not sent with, newer than all that it was.
    pub(super) newer: Option<Newer>,
    /// The newest token that it was sent with was one that it was sent with twice, or the one before it was refused too.
    pub(super) tried_enough: bool,
    /// The token before the current one still works, as far as is known, and was not tried.
    pub(super) previous: bool,
    /// Not every node of the upstream need know the token yet.
    pub(super) young: bool,
    /// Its refusals were wrong of late.
    pub(super) contradicted: bool,
    /// After this time every node knows it; until then a refusal may come from one that lags behind.
    pub(super) settled_in: Duration,
    /// A call that was sent later was accepted with the same token; before the last sending: than the first one.
    pub(super) accepted_later: bool,
    /// So many calls in a row were refused with it that it is dead, or will be after this time.
    pub(super) dead_in: Option<Duration>,
    /// Other calls are out with it, or about to come.
    pub(super) company: bool,
    /// What the call found out that is sent again on behalf of all.
    pub(super) probe: ProbeResult,
    /// Since it was refused, since there is a newer token, or since the probe was refused.
    pub(super) since: Duration,
    /// How long it has waited in all.
    pub(super) waited: Duration,
}

/// What is known of a newer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newer {
    /// Other calls have shown that every node knows it.
    Proven,
    /// Nothing against it; whether other calls are out with it, or about to come, and will show more; and how long some
    /// nodes may not know it yet.
    Clear { company: bool, may_lag_for: Duration },
    /// It was refused: not every node knows it yet.
    Refused,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Send it with the newest token.
    SendCurrent,
    /// Send it with the same token once more, on behalf of all that were refused.
    Probe,
    /// Send it with the token before the current one.
    SendPrevious,
    /// Ask for a newer token.
    Refresh,
    /// The caller gets the answer that is there.
    Give,
    /// Wait so long, or until there is a newer token; then decide again.
    Pause(Duration),
    /// Wait so long, or until there is news of any kind; then decide again.
    Observe(Duration),
}

/// Decides.
pub(super) fn decide(facts: &Facts) -> Step {
    if facts.sendings >= MOST_SENDINGS {
        return Step::Give;
    }
    let last = facts.sendings == MOST_SENDINGS - 1;
    match facts.newer {
        // The last sending is not wasted on a token that not every node knows yet. Other calls show whether that is so; a
        // call that is alone waits where refusals have been wrong of late. Elsewhere it would wait for the next theft.
        Some(Newer::Refused) if last => return after(LAST, facts, Step::SendCurrent),
        Some(Newer::Clear { company, may_lag_for }) if last => {
            let span = match (company, facts.contradicted) {
                (true, _) => LAST,
                (false, true) => OBSERVED.max(facts.since + may_lag_for),
                (false, false) => OBSERVED,
            };
            return observe(span, facts).unwrap_or(Step::SendCurrent);
        }
        Some(_) => return Step::SendCurrent,
        None => {}
    }
    if facts.blocked {
        return Step::Refresh;
    }
    if facts.proof {
        return if facts.refreshed { Step::Give } else { Step::Refresh };
    }
    let doubtful = facts.young || facts.contradicted;
    if facts.previous && (doubtful || facts.accepted_later) {
        return Step::SendPrevious;
    }
    let dead = facts.dead_in.is_some_and(|left| left.is_zero());
    let found_dead = dead || facts.probe == ProbeResult::Refused;
    if facts.accepted_later && !found_dead {
        let pause = match (last, facts.young) {
            (true, _) => LAST,
            (false, true) => YOUNG,
            (false, false) => BRIEF,
        };
        return after(pause, facts, Step::SendCurrent);
    }
    if let Some(left) = facts.dead_in.filter(|left| !left.is_zero())
        && let Some(step) = observe(facts.since + left, facts)
    {
        return step;
    }
    if !dead
        && facts.company
        && let Some(step) = observe(OBSERVED, facts)
    {
        return step;
    }
    if doubtful && !found_dead && !(last && facts.tried_enough) {
        return probe(facts);
    }
    // That others found dead what was fetched for this call is not its path's fault.
    let once_more = found_dead && last && !facts.tried_enough;
    if facts.refreshed && !once_more { Step::Give } else { Step::Refresh }
}

/// One of all that were refused finds out for the others, so that these keep their sendings: once every node knows
/// the token.
fn probe(facts: &Facts) -> Step {
    if let Some(step) = observe(YOUNG.max(facts.since + facts.settled_in), facts) {
        return step;
    }
    match facts.probe {
        ProbeResult::Running => observe(LONGEST_WAIT, facts).unwrap_or(Step::SendCurrent),
        ProbeResult::None | ProbeResult::Refused => Step::Probe,
    }
}

fn after(pause: Duration, facts: &Facts, step: Step) -> Step {
    left(pause, facts).map_or(step, Step::Pause)
}

/// `None` when the time for it is over.
fn observe(span: Duration, facts: &Facts) -> Option<Step> {
    left(span, facts).map(Step::Observe)
}

fn left(span: Duration, facts: &Facts) -> Option<Duration> {
    let left = span.saturating_sub(facts.since).min(LONGEST_WAIT.saturating_sub(facts.waited));
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Refused once, with an old token, for which nothing speaks.
    fn refused() -> Facts {
        Facts {
            sendings: 1,
            refreshed: false,
            proof: false,
            blocked: false,
            newer: None,
            tried_enough: false,
            previous: false,
            young: false,
            contradicted: false,
            settled_in: Duration::ZERO,
            accepted_later: false,
            dead_in: None,
            company: false,
            probe: ProbeResult::None,
            since: Duration::ZERO,
            waited: Duration::ZERO,
        }
    }

    #[test]
    fn each_situation_has_its_step() {
        use Step::{Give, Observe, Pause, Probe, Refresh, SendCurrent, SendPrevious};
        let f = refused();
        let young = Facts { young: true, ..f };
        let lagging = Facts { settled_in: ms(900), ..young };
        let good = Facts { accepted_later: true, ..f };
        let wrong = Facts { contradicted: true, ..f };
        let second = |facts: Facts| Facts { sendings: 2, tried_enough: true, ..facts };
        let once = |facts: Facts| Facts { sendings: 2, tried_enough: false, ..facts };
        let at = |since: u64, facts: Facts| Facts { since: ms(since), waited: ms(since), ..facts };
        let clear = |company, may_lag_for| Some(Newer::Clear { company, may_lag_for: ms(may_lag_for) });
        let (alone, busy) = (clear(false, 0), clear(true, 0));
        for (n, (facts, step)) in [
            // A dead token is found at once when nothing speaks for it.
            (f, Refresh),
            (second(f), Refresh),
            (Facts { proof: true, ..young }, Refresh),
            (Facts { proof: true, accepted_later: true, ..f }, Refresh),
            (Facts { dead_in: Some(ms(0)), company: true, ..f }, Refresh),
            (Facts { dead_in: Some(ms(0)), company: true, ..young }, Refresh),
            (Facts { dead_in: Some(ms(20)), company: true, ..young }, Observe(ms(20))),
            (at(90, Facts { dead_in: Some(ms(20)), ..young }), Observe(ms(20))),
            // Other calls' answers are waited for, for a tenth of a second.
            (Facts { company: true, ..f }, Observe(ms(100))),
            (at(60, Facts { company: true, ..f }), Observe(ms(40))),
            (at(100, Facts { company: true, ..f }), Refresh),
            // Others show that it is good.
            (good, Pause(ms(50))),
            (at(50, good), SendCurrent),
            (Facts { young: true, ..good }, Pause(ms(300))),
            (Facts { contradicted: true, ..good }, Pause(ms(50))),
            (second(good), Pause(ms(1000))),
            (second(at(1000, good)), SendCurrent),
            (second(Facts { waited: ms(800), ..good }), Pause(ms(700))),
            (second(Facts { waited: ms(1500), ..good }), SendCurrent),
            (Facts { sendings: 3, ..good }, Give),
            // The token before it works still.
            (Facts { previous: true, ..young }, SendPrevious),
            (Facts { previous: true, ..good }, SendPrevious),
            (Facts { previous: true, proof: true, ..young }, Refresh),
            (Facts { previous: true, ..f }, Refresh),
            // Young, and nothing else is known: one finds out for all.
            (young, Observe(ms(300))),
            (Facts { company: true, ..young }, Observe(ms(100))),
            (at(100, Facts { company: true, ..young }), Observe(ms(200))),
            (at(300, young), Probe),
            (at(300, Facts { probe: ProbeResult::Running, ..young }), Observe(ms(1200))),
            (at(1500, Facts { probe: ProbeResult::Running, ..young }), SendCurrent),
            (at(300, Facts { probe: ProbeResult::Refused, ..young }), Refresh),
            (Facts { probe: ProbeResult::Refused, ..young }, Refresh),
            (Facts { probe: ProbeResult::Refused, company: true, ..young }, Observe(ms(100))),
            (second(Facts { company: true, ..young }), Observe(ms(100))),
            (second(young), Refresh),
            // Its refusals were wrong of late: so it is with an old one. With a young one nodes lag behind.
            (at(300, Facts { contradicted: true, ..f }), Probe),
            (second(Facts { contradicted: true, ..f }), Refresh),
            (Facts { contradicted: true, ..lagging }, Observe(ms(900))),
            (second(Facts { contradicted: true, ..young }), Refresh),
            // Others have shown that it was good, and then that it no longer is.
            (second(Facts { dead_in: Some(ms(0)), ..good }), Refresh),
            (second(Facts { probe: ProbeResult::Refused, ..good }), Refresh),
            // Just fetched for this call or another one, and refused too.
            (once(Facts { refreshed: true, ..lagging }), Observe(ms(900))),
            (once(lagging), Observe(ms(900))),
            (once(at(900, Facts { refreshed: true, ..young })), Probe),
            (
                once(at(900, Facts { refreshed: true, probe: ProbeResult::Running, ..young })),
                Observe(ms(600)),
            ),
            (once(Facts { refreshed: true, ..f }), Give),
            (once(Facts { refreshed: true, dead_in: Some(ms(0)), ..young }), Refresh),
            (once(Facts { refreshed: true, probe: ProbeResult::Refused, ..young }), Refresh),
            (once(Facts { refreshed: true, proof: true, ..young }), Give),
            (Facts { sendings: 3, ..young }, Give),
            // A newer token.
            (Facts { newer: alone, ..young }, SendCurrent),
            (Facts { newer: busy, ..young }, SendCurrent),
            (Facts { newer: Some(Newer::Refused), ..f }, SendCurrent),
            (second(Facts { newer: alone, refreshed: true, ..f }), Observe(ms(100))),
            (second(Facts { newer: clear(false, 900), refreshed: true, ..f }), Observe(ms(100))),
            (second(Facts { newer: clear(false, 900), refreshed: true, ..wrong }), Observe(ms(900))),
            (second(at(600, Facts { newer: clear(false, 300), ..wrong })), Observe(ms(300))),
            (second(at(1200, Facts { newer: clear(false, 900), ..wrong })), Observe(ms(300))),
            (second(at(900, Facts { newer: alone, ..wrong })), SendCurrent),
            (second(Facts { newer: clear(true, 900), ..f }), Observe(ms(1000))),
            (second(at(100, Facts { newer: alone, ..f })), SendCurrent),
            (second(at(100, Facts { newer: busy, ..f })), Observe(ms(900))),
            (second(at(1000, Facts { newer: busy, ..f })), SendCurrent),
            (second(Facts { newer: Some(Newer::Proven), ..f }), SendCurrent),
            (second(Facts { newer: Some(Newer::Refused), refreshed: true, ..f }), Pause(ms(1000))),
            (second(at(1000, Facts { newer: Some(Newer::Refused), ..f })), SendCurrent),
            // Some nodes may not know it yet: the one that finds out is sent when they do.
            (lagging, Observe(ms(900))),
            (at(200, Facts { settled_in: ms(700), ..young }), Observe(ms(700))),
            (Facts { settled_in: ms(200), ..young }, Observe(ms(300))),
            (at(900, young), Probe),
            (Facts { company: true, ..lagging }, Observe(ms(100))),
            (at(100, Facts { company: true, settled_in: ms(800), ..young }), Observe(ms(800))),
            (Facts { dead_in: Some(ms(0)), ..lagging }, Refresh),
            (Facts { sendings: 3, newer: Some(Newer::Proven), ..f }, Give),
            // A path that is to blame itself costs nobody anything; a newer token serves it all the same.
            (Facts { blocked: true, ..good }, Refresh),
            (Facts { blocked: true, ..young }, Refresh),
            (Facts { blocked: true, newer: alone, ..f }, SendCurrent),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(decide(&facts), step, "row {n}: {facts:?}");
        }
    }

    #[test]
    fn every_way_ends_within_three_sendings_and_a_second_and_a_half() {
        let both = [false, true];
        let probes = [ProbeResult::None, ProbeResult::Running, ProbeResult::Refused];
        let newer = [
            None,
            Some(Newer::Clear { company: false, may_lag_for: Duration::ZERO }),
            Some(Newer::Clear { company: false, may_lag_for: ms(900) }),
            Some(Newer::Clear { company: true, may_lag_for: ms(900) }),
            Some(Newer::Proven),
            Some(Newer::Refused),
        ];
        // What stays as it is for the whole of a call, and what a refresh brings.
        let mut tried = 0;
        for bits in 0..256_u32 {
            let bit = |n: u32| bits >> n & 1 == 1;
            for (probe, newer) in probes.iter().flat_map(|p| newer.iter().map(move |n| (*p, *n))) {
                for refresh_helps in both {
                    let mut facts = Facts {
                        previous: bit(0),
                        young: bit(1),
                        contradicted: bit(6),
                        settled_in: if bit(7) { ms(900) } else { Duration::ZERO },
                        accepted_later: bit(2),
                        dead_in: bit(3).then_some(Duration::ZERO),
                        company: bit(4),
                        proof: bit(5),
                        probe,
                        ..refused()
                    };
                    let (mut sent, mut steps) = (1, 0);
                    loop {
                        steps += 1;
                        assert!(steps < 50, "{facts:?}");
                        match decide(&facts) {
                            Step::Pause(d) | Step::Observe(d) => {
                                assert!(d > Duration::ZERO, "{facts:?}");
                                facts.since += d;
                                facts.waited += d;
                                facts.settled_in = facts.settled_in.saturating_sub(d);
                            }
                            Step::Give => break,
                            Step::Refresh if refresh_helps && !facts.refreshed => {
                                (facts.refreshed, facts.newer) = (
                                    true,
                                    newer.or(Some(Newer::Clear { company: bit(4), may_lag_for: ms(900) })),
                                );
                                facts.since = Duration::ZERO;
                            }
                            Step::Refresh => break,
                            step => {
                                sent += 1;
                                facts.sendings += 1;
                                facts.tried_enough = facts.newer.is_none();
                                facts.since = Duration::ZERO;
                                facts.newer = None;
                                facts.previous &= step != Step::SendPrevious;
                            }
                        }
                    }
                    assert!(sent <= 3 && facts.waited <= LONGEST_WAIT, "{facts:?}");
                    tried += 1;
                }
            }
        }
        assert_eq!(tried, 256 * 3 * 6 * 2);
    }
}
