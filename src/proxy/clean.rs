//! Answers that can repeat the token of an earlier call: `openapi/rid/get` shows the query of one. Every token that
//! wxgate remembers is replaced by the placeholder, so such an answer is read whole and has a limit.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, Limited};

use super::Proxy;
use super::answer::{AnswerBody, MASK, PLACEHOLDER};
use super::faults;
use super::inject::Call;
use super::inspect::coding::Coding;
use super::refusal::Refusal;
use super::state::OwnToken;
use super::tally::Tally;
use crate::mask::masked;

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
        let tokens = tokens.iter().map(|token| (&token.value, PLACEHOLDER));
        // An earlier call may be one that the secret was put into.
        for (secret, other) in tokens.chain([(&own.secret, MASK)]) {
            let (secret, other) = (secret.expose().as_bytes(), other.as_bytes());
            let text = clean.as_deref().unwrap_or(&decoded);
            clean = masked(text, secret, other).or(clean);
            for value in parts.headers.values_mut() {
                if let Some(text) = masked(value.as_bytes(), secret, other) {
                    *value = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(PLACEHOLDER));
                }
            }
        }
        let body = match clean {
            None => body,
            Some(clean) => {
                parts.headers.remove(header::CONTENT_ENCODING);
                if parts.headers.contains_key(header::CONTENT_LENGTH) {
                    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(clean.len()));
                }
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
