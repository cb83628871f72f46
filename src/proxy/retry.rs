//! A call with a token, and what follows when the upstream refuses the token.
//!
//! What a refusal means and what is sent again is decided in `credential/resend/`; this file reads what an answer says of
//! the token, and marks the answers of callers who see a token error all the same.

use http::{HeaderValue, Response};

use super::Proxy;
use super::answer::{self, AnswerBody};
use super::inject::Call;
use super::refusal::Refusal;
use super::send::{Attempt, token_of};
use super::state::OwnToken;
use super::tally::Tally;
use crate::credential::resend::{Next, Obstacle, RefusedCall, TokenVerdict};
use crate::metrics::Retry;

/// Errcodes that come from before the upstream looks at the token: they say nothing about it.
const BEFORE_THE_TOKEN: [i64; 9] = [-1, 40066, 40164, 41001, 43001, 43002, 43003, 45011, 61004];

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
        let verdict = verdict(own, &attempt);
        match RefusedCall::after(verdict, &own.reader, call.path, token, attempt.sent) {
            None => Ok(attempt.answer),
            Some(refused) => Box::pin(self.retry(own, call, refused, attempt.answer, stats)).await,
        }
    }

    async fn retry(
        &self,
        own: &OwnToken,
        call: &mut Call<'_>,
        mut refused: RefusedCall<'_>,
        mut answer: Response<AnswerBody>,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        if !call.can_be_repeated() {
            refused.give_up();
            return Ok(marked(answer, Retry::BodyTooLarge, stats));
        }
        loop {
            match refused.next().await {
                Next::Send(sending) => {
                    let attempt = self.attempt(call, Some(&sending.token), stats).await?;
                    refused.was_sent(sending, attempt.sent, verdict(own, &attempt));
                    answer = attempt.answer;
                }
                Next::Give(None) => return Ok(answer),
                Next::Give(Some(Obstacle::Failed)) => return Ok(marked(answer, Retry::RefreshFailed, stats)),
                Next::Give(Some(Obstacle::Limited)) => {
                    return Ok(marked(answer, Retry::RefreshLimited, stats));
                }
                Next::Give(Some(Obstacle::Same)) => return Ok(marked(answer, Retry::SameToken, stats)),
            }
        }
    }
}

/// Says why the caller sees a token error although wxgate retries.
pub(super) fn marked(
    mut answer: Response<AnswerBody>,
    why: Retry,
    stats: &mut Tally,
) -> Response<AnswerBody> {
    stats.code = Some(why.as_str());
    answer.headers_mut().insert(answer::RETRY, HeaderValue::from_static(why.as_str()));
    answer
}
