//! One encrypted call, for `wxgate check`: whether the keys are those that WeChat has.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use zeroize::Zeroizing;

use crate::http1::percent;
use crate::mask;
use crate::proxy::answer::PLACEHOLDER;
use crate::proxy::inject::query;
use crate::proxy::inspect::errcode;
use crate::proxy::signing::keys::Keys;
use crate::proxy::signing::open::{Unverified, is_signed, open};
use crate::proxy::signing::seal::Subject;
use crate::proxy::signing::sealed_now;
use crate::proxy::state::now;
use crate::secret::Secret;
use crate::upstream::ApiHost;

/// A call that changes nothing: how often another may be made.
const PATH: &str = "/cgi-bin/openapi/quota/get";
const BODY: &[u8] = br#"{"cgi_path":"/cgi-bin/message/custom/send"}"#;

const LONGEST_ANSWER: usize = 64 << 10;

/// What came of it.
#[derive(Debug)]
pub enum Probe {
    /// WeChat has decrypted it, and its answer is good.
    Accepted {
        /// The certificate that replaces the one that it was checked with.
        replaced_by: Option<String>,
    },
    /// WeChat answered with an error before it decrypted.
    Refused {
        /// Never 0.
        errcode: i64,
        /// Its words.
        errmsg: String,
    },
    /// Its answer is not good.
    Unverified(Unverified),
    /// There was no answer; why not.
    Failed(String),
}

/// Makes the call with this token.
pub async fn probe(keys: &Keys, appid: &str, token: &Secret, host: &ApiHost) -> Probe {
    let url = format!("{}{PATH}", keys.url);
    let subject = Subject { url: &url, appid };
    let mut encoded = Zeroizing::new(String::with_capacity(3 * token.expose().len()));
    percent::encode(token.expose(), &mut encoded);
    let target = query::with_token(PATH, None, encoded.as_bytes());
    let mut request = Request::new(Full::from(Bytes::new()));
    *request.method_mut() = Method::POST;
    let target = http::uri::PathAndQuery::from_maybe_shared(Bytes::from(target));
    let sealed = sealed_now(keys, subject, BODY, request.headers_mut());
    let (Ok(target), Ok(body)) = (target, sealed) else {
        return Probe::Failed("the call could not be made".to_owned());
    };
    *request.uri_mut() = target.into();
    *request.body_mut() = Full::from(body);
    let limit = host.settings().response_timeout.min(Duration::from_secs(30));
    let answer = match host.call(request, limit, LONGEST_ANSWER).await {
        Ok(answer) => answer,
        Err(error) => return Probe::Failed(error.to_string()),
    };
    if is_signed(answer.headers()) {
        return match open(keys, subject, answer.headers(), answer.body(), now()) {
            Ok(opened) => Probe::Accepted { replaced_by: opened.replaced_by },
            Err(why) => Probe::Unverified(why),
        };
    }
    unsigned(answer.status(), answer.body(), token)
}

/// What an answer without a signature means. It may repeat the token, which no finding may hold.
fn unsigned(status: StatusCode, body: &[u8], token: &Secret) -> Probe {
    let masked = mask::masked(body, token.expose().as_bytes(), PLACEHOLDER.as_bytes());
    let body = masked.as_deref().unwrap_or(body);
    match errcode::errcode(body) {
        Some(errcode) if errcode != 0 => {
            let errmsg = errcode::explanation(body).errmsg;
            Probe::Refused { errcode, errmsg: errmsg.map(String::from).unwrap_or_default() }
        }
        _ if !status.is_success() => Probe::Failed(format!("it answered with {status}")),
        _ => Probe::Unverified(Unverified::NotSigned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_repeats_the_token_is_told_without_it() {
        let token = Secret::new("t0ken-of-a-check".to_owned());
        let body = br#"{"errcode":40066,"errmsg":"invalid url: /quota?access_token=t0ken%2Dof-a-check"}"#;
        let told = unsigned(StatusCode::OK, body, &token);
        let Probe::Refused { errcode: 40066, errmsg } = told else { panic!("{told:?}") };
        assert_eq!(errmsg, format!("invalid url: /quota?access_token={PLACEHOLDER}"));
    }
}
