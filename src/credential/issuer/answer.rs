//! What a body says that came back from a token call. Pure: bytes in, a typed answer out.
//!
//! What makes no sense (empty, not JSON, no token in it) is a passing failure: trusting an empty 200 for good
//! is how other proxies came to inject nothing at all. The body itself is never quoted: it may hold a token.

use http::StatusCode;

use crate::credential::types::FetchAnswer;
use crate::http1::percent;
use crate::json::{self, Object};
use crate::secret::Secret;
use crate::store::LONGEST_VALUE;

/// Upstream text in a log line or an answer is cut here, in characters.
const LONGEST_ERRMSG: usize = 300;

/// Reads the body of a 200 in which the credential has this name. `secret`, which it was asked for with, never comes out
/// of it, even if the upstream repeats it.
pub fn parse(body: &[u8], name: &str, secret: &Secret) -> FetchAnswer {
    let passing = |what: &str| FetchAnswer::Passing { what: what.to_owned() };
    if body.trim_ascii().is_empty() {
        return passing("the upstream answered 200 with an empty body");
    }
    let Some(object) = Object::find(body).filter(|object| object.is_whole()) else {
        return passing(
            "the upstream answered 200 with something that is no JSON object; does `upstream.url` lead to the WeChat API?",
        );
    };
    let integer = |name| object.get(name).and_then(json::integer);
    match integer("errcode") {
        None | Some(0) => {}
        Some(-1) => return passing("the upstream is busy (-1)"),
        Some(errcode) => {
            let errmsg = object.get("errmsg").and_then(json::text).unwrap_or_default();
            return FetchAnswer::Refused { errcode, errmsg: sanitise(&errmsg, secret) };
        }
    }
    match object.get(name).and_then(json::text).map(|text| Secret::new(text.into_owned())) {
        None => passing(&format!("the upstream answered 200 without `{name}`")),
        Some(value) if value.is_empty() => passing(&format!("the upstream issued an empty `{name}`")),
        Some(value) if value.expose().len() > LONGEST_VALUE => {
            passing(&format!("the upstream issued a `{name}` of more than 2048 bytes"))
        }
        Some(value) => FetchAnswer::Issued { value, expires_in: integer("expires_in") },
    }
}

/// Upstream text made fit for a log and for a caller: no control or direction-changing characters, not our
/// secret in any spelling, not long.
pub(crate) fn sanitise(text: &str, secret: &Secret) -> String {
    let mut encoded = String::with_capacity(3 * secret.expose().len());
    percent::encode(secret.expose(), &mut encoded);
    let encoded = Secret::new(encoded);
    let mut text = text.to_owned();
    for spelling in [secret, &encoded] {
        if !spelling.is_empty() && text.contains(spelling.expose()) {
            text = text.replace(spelling.expose(), "***");
        }
    }
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
    };
    let clean: String = text.chars().map(|c| if harmful(c) { ' ' } else { c }).take(LONGEST_ERRMSG).collect();
    clean.trim().to_owned()
}

/// What a status other than 200 to 299 means to an operator.
pub(super) fn status_words(status: StatusCode, base: &str) -> String {
    let status = status.as_u16();
    match status {
        300..=399 => format!(
            "{base} answered with a redirect ({status}), which is never followed: the secret would go with it. \
             Set `upstream.url` to where the API really is"
        ),
        400..=499 => format!(
            "{base} answered {status}, which the WeChat API does not do for a token call; does `upstream.url` lead to it?"
        ),
        _ => format!("{base} answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t/with+signs";

    fn read(body: &[u8]) -> String {
        match parse(body, "access_token", &Secret::new(SECRET.to_owned())) {
            FetchAnswer::Issued { value, expires_in } => format!("{} {expires_in:?}", value.expose()),
            FetchAnswer::Passing { what } | FetchAnswer::Unsent { what } => format!("passing: {what}"),
            FetchAnswer::Refused { errcode, errmsg } => format!("{errcode} {errmsg}"),
        }
    }

    #[test]
    fn bodies_with_a_token() {
        for (body, read_as) in [
            (r#"{"access_token":"T","expires_in":7200}"#, "T Some(7200)"),
            (r#"{"access_token":"T","expires_in":"345"}"#, "T Some(345)"),
            (r#"{"access_token":"T","expires_in":7200,"errcode":0,"errmsg":"ok"}"#, "T Some(7200)"),
            (r#"{"access_token":"T"}"#, "T None"),
            (r#"{"access_token":"T","expires_in":"soon"}"#, "T None"),
            (r#"{"access_token":"T","expires_in":null}"#, "T None"),
            (r#"{"access_token":"T","expires_in":-1}"#, "T Some(-1)"),
            (r#"{"access_token":"T","expires_in":1.5}"#, "T Some(1)"),
            (r#"{"access_token":"T","expires_in":99999999999999999999}"#, "T Some(9223372036854775807)"),
            (r#"{"access_token":"a/b+c=\u0001\"","expires_in":60}"#, "a/b+c=\u{1}\" Some(60)"),
            ("\u{FEFF}{\"access_token\":\"T\",\"expires_in\":60}", "T Some(60)"),
        ] {
            assert_eq!(read(body.as_bytes()), read_as, "{body}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_passing_failure() {
        let long = format!(r#"{{"access_token":"{}","expires_in":7200}}"#, "x".repeat(2049));
        for body in [
            "",
            " \r\n",
            "<html>",
            "[]",
            "null",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"T""#,
            r#"{"errcode":-1,"errmsg":"system error"}"#,
            r#"{"errcode":"-1"}"#,
            r#"{"errcode":0,"errmsg":"ok"}"#,
            long.as_str(),
        ] {
            assert!(read(body.as_bytes()).starts_with("passing: "), "{body}");
        }
        let just = format!(r#"{{"access_token":"{}","expires_in":7200}}"#, "x".repeat(2048));
        assert!(read(just.as_bytes()).ends_with("Some(7200)"));
    }

    #[test]
    fn refusals_come_with_number_and_text() {
        for (body, read_as) in [
            (&br#"{"errcode":40013,"errmsg":"invalid appid rid: 1"}"#[..], "40013 invalid appid rid: 1"),
            (br#"{"errcode":"40125","errmsg":"x"}"#, "40125 x"),
            (br#"{"errcode":40164}"#, "40164 "),
            (b"{\"errcode\":40001,\"errmsg\":\"a\nb\x1b[31m\xff\"}", "40001 a b [31m\u{fffd}"),
            (br#"{"errcode":40001,"errmsg":"a\u202eb\u0007"}"#, "40001 a b"),
            (br#"{"access_token":"T","errcode":40001,"errmsg":"x"}"#, "40001 x"),
        ] {
            assert_eq!(read(body), read_as);
        }
    }

    #[test]
    fn a_secret_that_the_upstream_repeats_is_masked() {
        let body = format!(r#"{{"errcode":40125,"errmsg":"bad {SECRET} or s3cr3t%2Fwith%2Bsigns"}}"#);
        assert_eq!(read(body.as_bytes()), "40125 bad *** or ***");
        assert_eq!(sanitise("anything", &Secret::new(String::new())), "anything");
    }

    #[test]
    fn upstream_text_is_cut() {
        let text = sanitise(&"票".repeat(5000), &Secret::new(SECRET.to_owned()));
        assert_eq!(text.chars().count(), 300);
    }

    #[test]
    fn statuses_are_explained() {
        let words = |status| status_words(StatusCode::from_u16(status).unwrap(), "http://h:1");
        assert!(words(302).contains("never followed"));
        assert!(words(404).contains("upstream.url"));
        assert_eq!(words(503), "http://h:1 answered 503");
    }
}
