//! Answers that can repeat the token of an earlier call: `openapi/rid/get` shows the query of one. Every token that
//! wxgate remembers is replaced by the placeholder, so such an answer is read whole and has a limit.

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Limited};

use super::Proxy;
use super::answer::{AnswerBody, Hidden, headers};
use super::faults;
use super::inject::Call;
use super::inspect::coding::Coding;
use super::refusal::Refusal;
use super::state::OwnToken;
use super::tally::Tally;

/// The longest such answer in bytes, decoded; a longer one is refused.
pub(super) const LONGEST: usize = 64 << 10;

impl Proxy {
    /// The call with the account's token, whose answer shows none.
    pub(super) async fn with_clean_answer(
        &self,
        own: &OwnToken,
        call: &mut Call<'_>,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        call.ask_for_no_coding();
        let (mut parts, body) = self.with_token(own, call, stats).await?.into_parts();
        let coding = Coding::of(&parts.headers).ok_or_else(unreadable)?;
        let body = match Limited::new(body, LONGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Err(unreadable()),
        };
        let decoded = coding.decode_within(&body, LONGEST).ok_or_else(unreadable)?;
        let tokens = own.reader.remembered();
        let mut clean: Option<Vec<u8>> = None;
        let earlier = tokens.iter().map(|token| Hidden { token: Some(token), secret: None });
        // An earlier call may be one that the secret was put into.
        for hidden in earlier.chain([Hidden { token: None, secret: Some(&own.secret) }]) {
            clean = hidden.masked(clean.as_deref().unwrap_or(&decoded)).or(clean);
            headers::mask_fields(&mut parts.headers, hidden);
        }
        let body = match clean {
            None => body,
            Some(clean) => {
                headers::describe_decoded(&mut parts.headers, clean.len());
                Bytes::from(clean)
            }
        };
        Ok(Response::from_parts(parts, AnswerBody::whole(body)))
    }
}

fn unreadable() -> Refusal {
    faults::unreachable_upstream(
        "the answer of this call can repeat an access_token, and it is over 64 KiB, broken, or in a coding that \
         wxgate cannot look into; it is not passed on",
        "an answer that can repeat a token could not be read whole".to_owned(),
    )
}
