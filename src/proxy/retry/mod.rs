//! A call with a token, and what follows when the upstream refuses the token: send again, refresh, or give the answer.
//!
//! `decide.rs` decides; this file looks, waits and sends. The proxy never fetches a token: it reports the generation
//! that was refused and waits for a newer one.

mod decide;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response};
use tokio::time::{Instant, sleep};

use super::Proxy;
use super::answer::{self, AnswerBody};
use super::inject::Call;
use super::refusal::Refusal;
use super::send::{Attempt, token_of};
use super::state::OwnToken;
use super::tally::Tally;
use crate::credential::evidence::{ProbeResult, View};
use crate::credential::{Credential, Previous, Reader, Renewal};
use decide::{Facts, Newer, Step, decide};

/// How long a refused request waits for a forced refresh.
const REFRESH_WAIT: Duration = Duration::from_secs(5);

/// So much earlier than is known here a token may end: the upstream counts its life from the issue, wxgate from the
/// answer.
const EARLIER_END: Duration = Duration::from_secs(1);

/// Errcodes that come from before the upstream looks at the token: they say nothing about it.
const BEFORE_THE_TOKEN: [i64; 9] = [-1, 40066, 40164, 41001, 43001, 43002, 43003, 45011, 61004];

/// What an answer says about the token that its call was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenVerdict {
    /// The upstream took it.
    Accepted,
    /// The upstream refused it; `proof` when that alone proves it dead.
    Refused { proof: bool },
    /// Neither.
    Silent,
}

fn verdict(own: &OwnToken, attempt: &Attempt) -> TokenVerdict {
    match attempt.errcode {
        Some(errcode) if own.refresh_on.contains(&errcode) => {
            TokenVerdict::Refused { proof: !own.reader.policy().doubtful.contains(&errcode) }
        }
        Some(errcode) if BEFORE_THE_TOKEN.contains(&errcode) => TokenVerdict::Silent,
        _ if attempt.answer.status().is_success() => TokenVerdict::Accepted,
        _ => TokenVerdict::Silent,
    }
}

impl Proxy {
    /// The call with the current token; and when that is refused, what follows.
    pub(super) async fn with_token(
        &self,
        own: &OwnToken,
        call: &mut Call<'_>,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let token = token_of(own).await?;
        let attempt = self.attempt(call, Some(&token), stats).await?;
        match verdict(own, &attempt) {
            TokenVerdict::Accepted => own.reader.accepted(&token, call.path, attempt.sent),
            TokenVerdict::Silent => {}
            TokenVerdict::Refused { proof } => {
                let refused = RefusedCall::new(token, attempt.sent, proof);
                return Box::pin(self.retry(own, call, refused, attempt, stats)).await;
            }
        }
        Ok(attempt.answer)
    }

    async fn retry(
        &self,
        own: &OwnToken,
        call: &mut Call<'_>,
        refused: RefusedCall,
        attempt: Attempt,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let (reader, path) = (&own.reader, call.path);
        reader.refused(&refused.token, path, attempt.sent);
        if !call.can_be_repeated() {
            if !refused.view().accepted_later {
                reader.start_renewal(&refused.token, path);
            }
            return Ok(marked(attempt.answer, "body-too-large", stats));
        }
        let send = async |token: &Credential| {
            let attempt = self.attempt(call, Some(token), stats).await?;
            Ok::<_, Refusal>(Sending {
                verdict: verdict(own, &attempt),
                sent: attempt.sent,
                answer: attempt.answer,
            })
        };
        let (answer, why) = refused.send_again(reader, path, attempt.answer, send).await?;
        Ok(match why {
            Some(why) => marked(answer, why, stats),
            None => answer,
        })
    }
}

/// One more sending of a refused call.
struct Sending<A> {
    answer: A,
    verdict: TokenVerdict,
    sent: std::time::Instant,
}

/// What a refused call does next.
enum Next {
    Send(Arc<Credential>),
    Probe(Arc<Credential>),
    Refresh,
    Give,
}

/// A call whose token was refused.
struct RefusedCall {
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
    /// Since then it has not been sent, and there has been no newer token.
    since: Instant,
    /// The generation that was the newest then.
    newest: u64,
    waited: Duration,
}

impl RefusedCall {
    fn new(token: Arc<Credential>, sent: std::time::Instant, proof: bool) -> Self {
        Self {
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
            since: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// Sends the call again for as long as that helps: its last answer, `first` to begin with; and why the caller sees a
    /// token error, where something stood in the way.
    async fn send_again<A, E>(
        mut self,
        reader: &Reader,
        path: &str,
        first: A,
        mut send: impl AsyncFnMut(&Credential) -> Result<Sending<A>, E>,
    ) -> Result<(A, Option<&'static str>), E> {
        let mut answer = first;
        loop {
            let (token, probing) = match self.next(reader, path).await {
                Next::Send(token) => (token, false),
                Next::Probe(token) => (token, true),
                Next::Refresh => match reader.renew(&self.token, path, REFRESH_WAIT).await {
                    Renewal::Newer(newer) => {
                        self.refreshed_with(newer);
                        continue;
                    }
                    Renewal::Failed => return Ok((answer, Some("refresh-failed"))),
                    Renewal::Limited => return Ok((answer, Some("refresh-limited"))),
                    Renewal::Same => return Ok((answer, Some("same-token"))),
                },
                Next::Give => break,
            };
            let probe = match probing {
                false => None,
                true => match token.evidence.probe() {
                    // Another worker's call was faster.
                    None => continue,
                    probe => probe,
                },
            };
            let sending = send(&token).await?;
            answer = sending.answer;
            match sending.verdict {
                TokenVerdict::Accepted => {
                    reader.accepted(&token, path, sending.sent);
                    return Ok((answer, None));
                }
                TokenVerdict::Silent => return Ok((answer, None)),
                TokenVerdict::Refused { proof } => {
                    reader.refused(&token, path, sending.sent);
                    if let Some(probe) = probe {
                        probe.refused(sending.sent);
                    }
                    self.again(&token, sending.sent, proof);
                }
            }
        }
        self.blame(reader, path);
        Ok((answer, None))
    }

    /// It was sent once more, and refused.
    fn again(&mut self, token: &Arc<Credential>, sent: std::time::Instant, proof: bool) {
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

    fn refreshed_with(&mut self, newer: Arc<Credential>) {
        self.refreshed = Some(newer);
    }

    fn view(&self) -> View {
        self.token.evidence_since(self.sent)
    }

    /// Waits for as long as it takes to decide, and says what is to be done.
    async fn next(&mut self, reader: &Reader, path: &str) -> Next {
        let mut changes = reader.changes();
        loop {
            changes.borrow_and_update();
            let (token, newer) = (Arc::clone(&self.token), self.newer(reader));
            let newest = Arc::clone(newer.as_ref().unwrap_or(&token));
            // From here on no news is missed.
            let observer = newest.evidence.observe();
            if let Some(newer) = newer.as_ref().filter(|newer| newer.generation > self.newest) {
                (self.newest, self.since) = (newer.generation, Instant::now());
            }
            if self.view().probe == ProbeResult::Refused && !self.probe_refused {
                (self.probe_refused, self.since) = (true, Instant::now());
            }
            let previous = self.previous(reader);
            let facts = self.facts(newer.as_deref(), previous.is_some(), reader.blocked(path));
            let before = Instant::now();
            match decide(&facts) {
                Step::SendCurrent => return Next::Send(newer.unwrap_or(token)),
                Step::Probe => return Next::Probe(token),
                Step::SendPrevious => {
                    self.previous_until = previous.as_ref().map(|previous| previous.until);
                    return previous.map_or(Next::Refresh, |p| Next::Send(p.credential));
                }
                Step::Refresh => return Next::Refresh,
                Step::Give => return Next::Give,
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
    fn newer(&self, reader: &Reader) -> Option<Arc<Credential>> {
        let current = reader.current().ok().or_else(|| self.refreshed.clone());
        current.filter(|current| current.since > self.token.generation)
    }

    fn previous(&self, reader: &Reader) -> Option<Previous> {
        reader.previous().filter(|previous| {
            self.previous_until.is_none() && previous.credential.generation < self.token.generation
        })
    }

    fn facts(&mut self, newer: Option<&Credential>, previous: bool, blocked: bool) -> Facts {
        let view = self.view();
        let young = Instant::now() < self.token.young_until;
        // Of two calls at the same moment the later one may reach the upstream first, just before a theft: with an old
        // token that shows nothing any more once the call was refused again.
        self.known_good = (self.known_good && young)
            || view.accepted_later
            || self.token.accepted_after(self.first_refused);
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
    fn blame(&self, reader: &Reader, path: &str) {
        if self.refreshed.is_none() && self.known_good {
            reader.refused_though_good(path, self.began);
        } else {
            reader.refused_again(path, self.token.generation);
        }
    }
}

/// Says why the caller sees a token error although wxgate retries.
fn marked(mut answer: Response<AnswerBody>, why: &'static str, stats: &mut Tally) -> Response<AnswerBody> {
    stats.code = Some(why);
    answer.headers_mut().insert(answer::RETRY, HeaderValue::from_static(why));
    answer
}
