//! A call whose token was refused, and what follows: send again, refresh, or give the answer. It may be a caller's call
//! or one that asks for a ticket.
//!
//! `decide.rs` decides; this file looks and waits; whoever made the call sends it. Nothing here fetches a token: the
//! generation that was refused is reported, and a newer one waited for.

mod decide;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::evidence::{ProbeResult, Probing, View};
use super::{Credential, Previous, Reader, Renewal};
use decide::{Facts, Newer, Step, decide};

/// How long a refused request waits for a forced refresh.
const REFRESH_WAIT: Duration = Duration::from_secs(5);

/// So much earlier than is known here a token may end: the upstream counts its life from the issue, wxgate from the
/// answer.
const EARLIER_END: Duration = Duration::from_secs(1);

/// By so long after every node knows a token, calls that were sent then have their answers.
const ANSWERED: Duration = Duration::from_millis(250);

/// What an answer says about the token that its call was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenVerdict {
    /// The upstream took it.
    Accepted,
    /// The upstream refused it; `proof` when that alone proves it dead.
    Refused { proof: bool },
    /// Neither.
    Silent,
}

/// What stood in the way of a newer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The fetch failed, or took too long.
    Failed,
    /// The limits allow no fetch now.
    Limited,
    /// The upstream issued the refused one once more.
    Same,
}

/// What becomes of a refused call.
pub(crate) enum Next {
    /// It is sent once more.
    Send(Resending),
    /// The caller gets the answer that is there; and what stood in the way of a newer token, where something did.
    Give(Option<Obstacle>),
}

/// One more sending of a refused call.
pub(crate) struct Resending {
    /// What it is sent with.
    pub(crate) token: Arc<Credential>,
    /// It finds out for all that were refused.
    probing: Option<Probing>,
}

/// What was decided.
enum Decision {
    Send(Arc<Credential>),
    Probe(Arc<Credential>),
    Refresh,
    Give,
}

/// A call whose token was refused.
pub(crate) struct RefusedCall<'c> {
    reader: &'c Reader,
    path: &'c str,
    /// When it was sent first.
    began: Instant,
    sendings: u8,
    /// The newest token that it was sent with, when that was first refused, and when it was last sent with it.
    token: Arc<Credential>,
    first_refused: std::time::Instant,
    sent_twice: bool,
    sent: std::time::Instant,
    proof: bool,
    /// A call was accepted with that token that was sent later than this one, or after its first refusal.
    known_good: bool,
    /// A refresh was forced for it, and has brought this.
    refreshed: Option<Arc<Credential>>,
    /// It was sent with the one before the current, which works until then.
    previous_until: Option<Instant>,
    /// That one was refused too, and had not ended.
    previous_refused: bool,
    /// What the call found out that was sent again on behalf of all has been seen.
    probe_refused: bool,
    /// An answer has come that is no refusal of a token.
    answered: bool,
    /// Since then it has not been sent, and there has been no newer token.
    since: Instant,
    /// The generation that was the newest then.
    newest: u64,
    waited: Duration,
}

impl<'c> RefusedCall<'c> {
    /// Reports what the first answer to a call of this path, sent at `sent`, says of its token; the call, where the
    /// upstream refused that.
    pub(crate) fn after(
        verdict: TokenVerdict,
        reader: &'c Reader,
        path: &'c str,
        token: Arc<Credential>,
        sent: std::time::Instant,
    ) -> Option<Self> {
        let proof = match verdict {
            TokenVerdict::Accepted => {
                reader.accepted(&token, path, sent);
                return None;
            }
            TokenVerdict::Silent => return None,
            TokenVerdict::Refused { proof } => proof,
        };
        reader.refused(&token, path, sent);
        Some(Self {
            reader,
            path,
            began: Instant::from_std(sent),
            sendings: 1,
            newest: token.generation,
            token,
            first_refused: Instant::now().into_std(),
            sent_twice: false,
            sent,
            proof,
            known_good: false,
            refreshed: None,
            previous_until: None,
            previous_refused: false,
            probe_refused: false,
            answered: false,
            since: Instant::now(),
            waited: Duration::ZERO,
        })
    }

    /// It cannot be sent again. Others profit from a newer token, unless a call that was sent later was accepted; where nodes
    /// may not know this one yet, that is seen once they do.
    pub(crate) fn give_up(self) {
        let may_lag_for = self.view().may_lag_for;
        if self.proof || may_lag_for.is_zero() {
            return start_renewal(self.reader, self.path, &self.token, self.sent);
        }
        let (reader, path) = (self.reader.clone(), self.path.to_owned());
        let (token, sent) = (Arc::clone(&self.token), self.sent);
        // The caller has its answer meanwhile.
        spawn_local(async move {
            sleep(may_lag_for + ANSWERED).await;
            start_renewal(&reader, &path, &token, sent);
        });
    }

    /// Waits until it is time to send the call again, as long as that helps. What is sent is handed to
    /// [`Self::was_sent`] before this is asked anew.
    pub(crate) async fn next(&mut self) -> Next {
        while !self.answered {
            let (token, probing) = match self.step().await {
                Decision::Send(token) => (token, None),
                Decision::Probe(token) => match token.evidence.probe() {
                    // Another worker's call was faster.
                    None => continue,
                    probing => (token, probing),
                },
                Decision::Refresh => match self.reader.renew(&self.token, self.path, REFRESH_WAIT).await {
                    Renewal::Newer(newer) => {
                        self.refreshed = Some(newer);
                        continue;
                    }
                    Renewal::Failed => return Next::Give(Some(Obstacle::Failed)),
                    Renewal::Limited => return Next::Give(Some(Obstacle::Limited)),
                    Renewal::Same => return Next::Give(Some(Obstacle::Same)),
                },
                Decision::Give => {
                    self.blame();
                    break;
                }
            };
            return Next::Send(Resending { token, probing });
        }
        Next::Give(None)
    }

    /// It was sent once more, at `sent`, and this is what its answer says.
    pub(crate) fn was_sent(&mut self, sending: Resending, sent: std::time::Instant, verdict: TokenVerdict) {
        let Resending { token, probing } = sending;
        match verdict {
            TokenVerdict::Accepted => self.reader.accepted(&token, self.path, sent),
            TokenVerdict::Silent => {}
            TokenVerdict::Refused { proof } => {
                self.reader.refused(&token, self.path, sent);
                if let Some(probing) = probing {
                    probing.refused(sent);
                }
                return self.refused_again(&token, sent, proof);
            }
        }
        self.answered = true;
    }

    fn refused_again(&mut self, token: &Arc<Credential>, sent: std::time::Instant, proof: bool) {
        self.sendings += 1;
        self.sent_twice = token.generation == self.token.generation;
        if token.generation > self.token.generation {
            (self.first_refused, self.known_good, self.probe_refused) =
                (Instant::now().into_std(), false, false);
        }
        if token.generation >= self.token.generation {
            (self.token, self.sent, self.proof) = (Arc::clone(token), sent, proof);
        } else {
            let ended_by = Instant::now() + EARLIER_END;
            self.previous_refused = self.previous_until.is_some_and(|until| ended_by < until);
        }
        self.since = Instant::now();
    }

    fn view(&self) -> View {
        self.token.evidence_since(self.sent)
    }

    /// Waits for as long as it takes to decide, and says what is to be done.
    async fn step(&mut self) -> Decision {
        let mut changes = self.reader.changes();
        loop {
            changes.borrow_and_update();
            let (token, newer) = (Arc::clone(&self.token), self.newer());
            let newest = Arc::clone(newer.as_ref().unwrap_or(&token));
            // From here on no news is missed.
            let observer = newest.evidence.observe();
            if let Some(newer) = newer.as_ref().filter(|newer| newer.generation > self.newest) {
                (self.newest, self.since) = (newer.generation, Instant::now());
            }
            if self.view().probe == ProbeResult::Refused && !self.probe_refused {
                (self.probe_refused, self.since) = (true, Instant::now());
            }
            let previous = self.previous();
            let facts = self.facts(newer.as_deref(), previous.is_some(), self.reader.blocked(self.path));
            let before = Instant::now();
            match decide(&facts) {
                Step::SendCurrent => return Decision::Send(newer.unwrap_or(token)),
                Step::Probe => return Decision::Probe(token),
                Step::SendPrevious => {
                    self.previous_until = previous.as_ref().map(|previous| previous.until);
                    return previous.map_or(Decision::Refresh, |p| Decision::Send(p.credential));
                }
                Step::Refresh => return Decision::Refresh,
                Step::Give => return Decision::Give,
                Step::Pause(span) => {
                    let _resending = self.known_good.then(|| token.evidence.resending());
                    tokio::select! {
                        () = sleep(span) => {}
                        _ = changes.changed() => {}
                    }
                }
                Step::Observe(span) => {
                    tokio::select! {
                        () = sleep(span) => {}
                        _ = changes.changed() => {}
                        () = observer => {}
                    }
                }
            }
            self.waited += before.elapsed();
        }
    }

    /// A token that it was not sent with, newer than all that it was.
    fn newer(&self) -> Option<Arc<Credential>> {
        let current = self.reader.current().ok().or_else(|| self.refreshed.clone());
        current.filter(|current| current.since > self.token.generation)
    }

    fn previous(&self) -> Option<Previous> {
        self.reader.previous().filter(|previous| {
            self.previous_until.is_none() && previous.credential.generation < self.token.generation
        })
    }

    fn facts(&mut self, newer: Option<&Credential>, previous: bool, blocked: bool) -> Facts {
        let view = self.view();
        let young = Instant::now() < self.token.young_until;
        // Of two calls at the same moment the later one may reach the upstream first, just before a theft: with an old
        // token that shows nothing any more once the call was refused again, or several that were sent still later.
        let turning = view.refused_since && !young;
        self.known_good = (self.known_good && young)
            || !turning && (view.accepted_later || self.token.accepted_after(self.first_refused));
        Facts {
            sendings: self.sendings,
            refreshed: self.refreshed.is_some(),
            proof: self.proof,
            blocked,
            newer: newer.map(|newer| match newer.evidence_since(self.sent) {
                View { ever_refused: true, .. } => Newer::Refused,
                View { proven: true, .. } => Newer::Proven,
                View { company, may_lag_for, .. } => Newer::Clear { company, may_lag_for },
            }),
            tried_enough: self.sent_twice || self.previous_refused,
            previous,
            young,
            contradicted: view.contradicted,
            settled_in: view.settled_in,
            accepted_later: self.known_good,
            dead_in: view.dead_in,
            company: view.company,
            probe: view.probe,
            since: self.since.elapsed(),
            waited: self.waited,
        }
    }

    /// Tells the task that its last sending was refused too.
    fn blame(&self) {
        if self.refreshed.is_none() && self.known_good {
            self.reader.refused_though_good(self.path, self.began);
        } else {
            self.reader.refused_again(self.path, self.token.generation);
        }
    }
}

/// Reports that a call of this path was refused, unless one that was sent after it was accepted.
fn start_renewal(reader: &Reader, path: &str, refused: &Credential, sent: std::time::Instant) {
    if !refused.evidence_since(sent).accepted_later {
        reader.start_renewal(refused, path);
    }
}
