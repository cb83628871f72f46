//! Answers of wxgate's own, in WeChat's form.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::{AnswerBody, PLACEHOLDER};
use crate::credential::Credential;
use crate::errcodes::Product;
use crate::proxy::refusal::Refusal;
use crate::proxy::route::LocalAnswer;

/// The text that SDKs compare (`encoding`, not `charset`); source: recorded traffic.
const JSON: HeaderValue = HeaderValue::from_static("application/json; encoding=utf-8");

/// WeCom's, which has `charset`; source: recorded traffic.
const WECOM_JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// Names the reason when wxgate answers by itself.
const ERROR: HeaderName = HeaderName::from_static("x-wxgate-error");

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
    if let Refusal::Limited { retry_after, .. } = refusal {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
    }
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
        | Refusal::Method(_)
        | Refusal::UpstreamUnreachable { .. }
        | Refusal::UpstreamTimeout
        | Refusal::NoToken { .. }
        | Refusal::TokenRefused { .. }
        | Refusal::Unsigned
        | Refusal::Unverified { .. }
        | Refusal::Busy(_)
        | Refusal::Limited { .. } => false,
    }
}

/// The answer to a caller that asks for a token and gets the placeholder.
pub fn placeholder(call: LocalAnswer) -> Response<AnswerBody> {
    issued(call, &Value::from(PLACEHOLDER), 7200)
}

/// The answer to a caller that is trusted with the real token, and the seconds it has left.
pub fn real_token(call: LocalAnswer, token: &Credential) -> Response<AnswerBody> {
    let left = token.end.saturating_duration_since(Instant::now()).as_secs();
    issued(call, &token.value.expose().into(), left)
}

/// A token as the API itself would issue it.
fn issued(call: LocalAnswer, token: &Value, expires_in: u64) -> Response<AnswerBody> {
    let success = match call.product() {
        Product::Weixin => "",
        Product::Wecom => r#""errcode":0,"errmsg":"ok","#,
    };
    // Written by hand: serde_json would sort the keys, and old code has been seen to cut texts by position.
    of_the_api(call.product(), format!(r#"{{{success}"access_token":{token},"expires_in":{expires_in}}}"#))
}

/// An error as the API itself would answer it.
pub fn wechat_error(product: Product, errcode: i64, errmsg: &str) -> Response<AnswerBody> {
    of_the_api(product, format!(r#"{{"errcode":{errcode},"errmsg":{}}}"#, Value::from(errmsg)))
}

/// A ticket as the API itself would issue it; it is to be asked for again after so many seconds.
pub fn ticket(product: Product, ticket: &Credential, expires_in: u64) -> Response<AnswerBody> {
    let value = Value::from(ticket.value.expose());
    let body = format!(r#"{{"errcode":0,"errmsg":"ok","ticket":{value},"expires_in":{expires_in}}}"#);
    of_the_api(product, body)
}

/// A signature and what it was made of, in this order. It holds for one page at one moment: nobody is to keep it.
pub fn signature(members: &[(&str, Value)]) -> Response<AnswerBody> {
    let mut body = r#"{"errcode":0"#.to_owned();
    for (name, value) in members {
        let _ = write!(body, ",\"{name}\":{value}");
    }
    body.push('}');
    let mut answer = text(StatusCode::OK, body);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn of_the_api(product: Product, body: String) -> Response<AnswerBody> {
    let mut answer = text(StatusCode::OK, body);
    if product == Product::Wecom {
        answer.headers_mut().insert(header::CONTENT_TYPE, WECOM_JSON);
    }
    answer
}

fn json(status: StatusCode, body: &Value) -> Response<AnswerBody> {
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
        let answer = placeholder(LocalAnswer::Token);
        let body: Value = serde_json::from_slice(answer.body().here().unwrap()).unwrap();
        assert_eq!(body, serde_json::json!({"access_token": PLACEHOLDER, "expires_in": 7200}));
        assert_eq!(answer.headers()["content-type"], "application/json; encoding=utf-8");
    }
    #[test]
    fn wecoms_placeholder_says_that_there_is_no_error() {
        let answer = placeholder(LocalAnswer::GetToken);
        let right =
            format!(r#"{{"errcode":0,"errmsg":"ok","access_token":"{PLACEHOLDER}","expires_in":7200}}"#);
        assert_eq!(answer.body().here().unwrap(), &right);
        assert_eq!(answer.headers()["content-type"], "application/json; charset=UTF-8");
        let error = wechat_error(Product::Wecom, 40013, "invalid corpid");
        assert_eq!(error.body().here().unwrap(), r#"{"errcode":40013,"errmsg":"invalid corpid"}"#);
    }
}
