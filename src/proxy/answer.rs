//! What the caller gets: the upstream's answer, or one of wxgate's own in WeChat's form.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::inject::headers::PLACEHOLDER;
use super::refusal::Refusal;
use super::tally::Tally;
use crate::credential::Credential;
use crate::upstream::{BodyError, ResponseBody};

/// The text that SDKs compare (`encoding`, not `charset`); source: recorded traffic.
const JSON: HeaderValue = HeaderValue::from_static("application/json; encoding=utf-8");

/// Names the reason when wxgate answers by itself.
const ERROR: HeaderName = HeaderName::from_static("x-wxgate-error");

/// Says why the caller sees a token error although wxgate retries.
pub const RETRY: HeaderName = HeaderName::from_static("x-wxgate-retry");

/// An answer's body: bytes that are here, then what still comes.
pub struct AnswerBody {
    ready: Option<Bytes>,
    /// Boxed, since most answers are small and are here in full, and every answer is handed on several times.
    rest: Option<Box<ResponseBody>>,
    tally: Option<Tally>,
}

impl AnswerBody {
    /// A body that is here in full.
    pub fn whole(bytes: Bytes) -> Self {
        Self { ready: Some(bytes).filter(|b| !b.is_empty()), rest: None, tally: None }
    }

    /// A body that flows from the upstream, behind the part that has been looked at.
    pub fn stream(beginning: Bytes, rest: ResponseBody) -> Self {
        Self { ready: Some(beginning).filter(|b| !b.is_empty()), rest: Some(Box::new(rest)), tally: None }
    }

    /// Lets the statistics of the request end with its body.
    pub(super) fn with_tally(mut self, tally: Tally) -> Self {
        self.tally = Some(tally);
        self
    }

    /// The part that is here, for tests of the answers.
    #[cfg(test)]
    pub fn here(&self) -> Option<&Bytes> {
        self.ready.as_ref()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match this.ready.take() {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None => match &mut this.rest {
                Some(rest) => std::task::ready!(Pin::new(&mut **rest).poll_frame(cx)),
                None => None,
            },
        };
        if frame.is_none() {
            this.rest = None;
        }
        if let Some(stats) = &mut this.tally {
            match &frame {
                Some(Ok(frame)) => stats.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(error)) => stats.cause = Some(error.to_string().into()),
                None => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let ready = self.ready.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let Some(rest) = &self.rest else { return SizeHint::with_exact(ready) };
        match rest.size_hint().exact() {
            Some(length) => SizeHint::with_exact(ready + length),
            None => SizeHint::new(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let more = self.rest.as_ref().is_some_and(|rest| !rest.is_end_stream());
        if more && let Some(stats) = &mut self.tally {
            stats.cause.get_or_insert("the caller went away before the end of its answer".into());
        }
    }
}

/// The answer to a request that wxgate refuses or could not forward.
pub fn refusal(refusal: &Refusal) -> Response<AnswerBody> {
    let shape = refusal.shape();
    let mut answer = json(
        shape.status,
        &serde_json::json!({
            "errcode": shape.errcode,
            "errmsg": format!("wxgate: {}", refusal.message()),
        }),
    );
    answer.headers_mut().insert(ERROR, HeaderValue::from_static(shape.code));
    if ends_connection(refusal) {
        // hyper leaves the field out of HTTP/2 answers.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Whether the caller's next bytes cannot be trusted, or are the rest of a body that nobody wants.
fn ends_connection(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::BadRequest(_)
        | Refusal::TooLarge(_)
        | Refusal::HeadTooLarge(_)
        | Refusal::CallerTimeout(_) => true,
        Refusal::NotFound(_)
        | Refusal::Denied(_)
        | Refusal::Method
        | Refusal::UpstreamUnreachable { .. }
        | Refusal::UpstreamTimeout
        | Refusal::NoToken { .. }
        | Refusal::TokenRefused { .. }
        | Refusal::Busy(_) => false,
    }
}

/// The answer to a caller that asks for a token and gets the placeholder.
pub fn placeholder() -> Response<AnswerBody> {
    // Written by hand: serde_json would sort the keys, and old code has been seen to cut texts by position.
    text(StatusCode::OK, format!(r#"{{"access_token":"{PLACEHOLDER}","expires_in":7200}}"#))
}

/// The answer to a caller that is trusted with the real token, and the seconds it has left.
pub fn real_token(token: &Credential) -> Response<AnswerBody> {
    let left = token.end.saturating_duration_since(Instant::now()).as_secs();
    json(StatusCode::OK, &serde_json::json!({ "access_token": token.value.expose(), "expires_in": left }))
}

/// An error as WeChat itself would answer it.
pub fn wechat_error(errcode: i64, errmsg: &str) -> Response<AnswerBody> {
    text(StatusCode::OK, format!(r#"{{"errcode":{errcode},"errmsg":"{errmsg}"}}"#))
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<AnswerBody> {
    text(status, body.to_string())
}

fn text(status: StatusCode, body: String) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_answers_have_wechats_form() {
        let answer = refusal(&Refusal::BadRequest("say \"please\"".into()));
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()["content-type"], "application/json; encoding=utf-8");
        assert_eq!(answer.headers()["x-wxgate-error"], "bad-request");
        let body = answer.body().here().unwrap();
        assert_eq!(body, r#"{"errcode":40066,"errmsg":"wxgate: say \"please\""}"#);
    }

    #[test]
    fn the_placeholder_comes_as_wechat_writes_a_token() {
        let answer = placeholder();
        let body: serde_json::Value = serde_json::from_slice(answer.body().here().unwrap()).unwrap();
        assert_eq!(body, serde_json::json!({"access_token": PLACEHOLDER, "expires_in": 7200}));
        assert_eq!(answer.headers()["content-type"], "application/json; encoding=utf-8");
    }
}
