//! Looks for WeChat's `errcode` in an answer that can be an error.
//!
//! Pure: headers and bytes in, a number out. Never fails: what cannot be read has no errcode.

use std::sync::LazyLock;

use http::header::{self, HeaderMap};
use memchr::{memchr, memmem};

use super::LIMIT;
use super::coding::Coding;
use crate::json::{self, Object};
use crate::proxy::fields;
use crate::stats;
use crate::text::beginning;

/// Made once, since that takes longer than the search.
static ERRCODE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("errcode"));

/// Types of which no answer is an error. WeChat's errors have come as JSON, as text, and as types that nobody knows.
const MEDIA: [&[u8]; 4] = [b"image/", b"audio/", b"video/", b"font/"];

/// Of an errmsg so much is kept, in bytes.
const LONGEST_ERRMSG: usize = 200;

/// How the body of an answer with these fields is coded, if it can be an error. `length` is the exact length of
/// its body where that is known.
pub fn can_be_error(headers: &HeaderMap, length: Option<u64>) -> Option<Coding> {
    let begins = |value: &[u8], with: &[u8]| {
        value.get(..with.len()).is_some_and(|part| part.eq_ignore_ascii_case(with))
    };
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind.as_bytes().trim_ascii_start();
        if MEDIA.iter().any(|media| begins(kind, media)) {
            return None;
        }
    }
    let attachment = fields::lines(headers, &header::CONTENT_DISPOSITION)
        .any(|value| begins(value.as_bytes().trim_ascii_start(), b"attachment"));
    if attachment {
        return None;
    }
    let coding = Coding::of(headers)?;
    match length {
        Some(0) => None,
        Some(length) if length > coding.limit() as u64 => None,
        _ => Some(coding),
    }
}

/// Whether the beginning of a body rules out that it is an error, so that it need not be kept back.
pub fn cannot_be_error(coding: Coding, beginning: &[u8]) -> bool {
    let decoded = coding.decode_beginning(beginning);
    decoded.len() > LIMIT || json::beginning(&decoded) == json::Beginning::Other
}

/// The top-level errcode of a decoded body: a number or a string of digits.
pub fn errcode(text: &[u8]) -> Option<i64> {
    // Most answers are no errors and have the name nowhere; one that hides it in `\u` escapes is read on.
    let escaped = || memchr(b'\\', text).is_some() && memmem::find(text, b"\\u").is_some();
    if ERRCODE.find(text).is_none() && !escaped() {
        return None;
    }
    let numbers = Object::find(text)?.members().filter(|member| member.is("errcode"));
    // As in PHP's `json_decode`, the last of several wins; what is no number is none of them.
    let number = numbers.filter_map(|member| json::integer(member.value)).last();
    // One that is cut to what a number can hold would be shown as one that nobody sent.
    number.filter(|number| !matches!(*number, i64::MIN | i64::MAX))
}

/// What an error says of itself besides its number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Its `errmsg`, cut.
    pub errmsg: Option<Box<str>>,
    /// WeChat's id of the call.
    pub rid: Option<Box<str>>,
}

/// Reads what a decoded body with an errcode other than 0 says besides.
pub fn explanation(text: &[u8]) -> Explanation {
    let errmsg = Object::find(text).and_then(|object| object.get("errmsg")).and_then(json::text);
    let Some(errmsg) = errmsg else { return Explanation::default() };
    Explanation {
        errmsg: Some(beginning(&errmsg, LONGEST_ERRMSG).into()),
        rid: stats::rid(&errmsg).map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn errcode_is_read_at_the_top_level_alone() {
        for (body, right) in [
            (&br#"{"errcode":40001,"errmsg":"x"}"#[..], Some(40001)),
            (br#"{"errcode":"42001"}"#, Some(42001)),
            (br#"{"errcode":-1,"errmsg":"system error"}"#, Some(-1)),
            (br#"{"errcode":0,"errmsg":"ok"}"#, Some(0)),
            (br#"  { "errmsg" : "x" , "errcode" : 40001 } "#, Some(40001)),
            (b"\xef\xbb\xbf{\"errcode\":1}", Some(1)),
            (b" \r\n\xef\xbb\xbf {\"errcode\":1}", Some(1)),
            (br#"{"errcode":40001.0}"#, Some(40001)),
            (br#"{"errcode":4.0001e4}"#, Some(40001)),
            (br#"{"err\u0063ode":40001}"#, Some(40001)),
            (br#"{"list":[{"errcode":40001}],"total":1}"#, None),
            (br#"{"a":{"errcode":40001}}"#, None),
            (br#"{"base_resp":{"errcode":40001}}"#, None),
            (br#"[{"errcode":40001}]"#, None),
            (br#"{"a":"\"errcode\":40001"}"#, None),
            (br#"{"a":"}","errcode":7}"#, Some(7)),
            (br#"{"a":[1,{"b":"]"}],"errcode":7}"#, Some(7)),
            (br#"{"errcode":1,"errcode":2}"#, Some(2)),
            (br#"{"errcode":1,"errcode":"x"}"#, Some(1)),
            (br#"{"errcode":99999999999999999999}"#, None),
            (br#"{"errcode":"-99999999999999999999"}"#, None),
            (br#"{"errcode":1e99}"#, None),
            (br#"{"errcode":null}"#, None),
            (br#"{"errcode":"abc"}"#, None),
            (br#"{"errcode":true}"#, None),
            (br#"{"errcode":{"a":1}}"#, None),
            (br#"{"errcode":"4.0e4"}"#, None),
            (b"{\"errmsg\":\"a\x01b\xff\xfe\",\"errcode\":40001}", Some(40001)),
            (b"{\x02\"errcode\"\x00:\t40001}", Some(40001)),
            (b"{\"errcode\":40001\x00}", Some(40001)),
            (br#"{"errcode":40001,"errmsg":"cut"#, Some(40001)),
            (br#"{"errcode"#, None),
            (br#"{"errcode":"#, None),
            (b"", None),
            (b"   ", None),
            (b"hello", None),
            (b"<html>errcode</html>", None),
        ] {
            assert_eq!(errcode(body), right, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn everything_small_but_media_and_attachments_is_looked_into() {
        for (kind, disposition, length, right) in [
            ("application/json; encoding=utf-8", "", Some(100), true),
            ("application/json", "", None, true),
            ("application/json:UTF-8", "", None, true),
            ("plain/text", "", None, true),
            ("application/octet-stream", "", Some(100), true),
            ("", "", Some(100), true),
            (";", "", Some(100), true),
            ("text/html", "inline", Some(4096), true),
            ("application/json", "filename=attachment", None, true),
            ("text/plain", "", Some(4097), false),
            ("application/json", "", Some(0), false),
            ("image/jpeg", "", Some(100), false),
            (" Image/png; x", "", Some(100), false),
            ("AUDIO/amr", "", None, false),
            ("video/mp4", "", None, false),
            ("font/woff2", "", None, false),
            ("application/json", "attachment; filename=\"MEDIA_ID.json\"", Some(100), false),
            ("", " ATTACHMENT", Some(100), false),
        ] {
            let mut headers = HeaderMap::new();
            if !kind.is_empty() {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            if !disposition.is_empty() {
                headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
            }
            let found = can_be_error(&headers, length);
            assert_eq!(found.is_some(), right, "{kind:?} {disposition:?} {length:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(can_be_error(&headers, Some(4100)), Some(Coding::Gzip));
        assert_eq!(can_be_error(&headers, Some(40_000)), None);
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        assert_eq!(can_be_error(&headers, None), None);
    }

    #[test]
    fn a_beginning_that_is_no_object_is_let_go_and_one_that_may_be_is_not() {
        for (beginning, right) in [
            (&b""[..], false),
            (b"  ", false),
            (b" {", false),
            (b"[", true),
            (b"hello", true),
            (b"\xef", false),
            (b"\xef\xbb", false),
            (b"\xef\xbb\xbf", false),
            (b" \xef\xbb\xbf{", false),
            (b"\xefx", true),
        ] {
            assert_eq!(cannot_be_error(Coding::Identity, beginning), right, "{beginning:?}");
        }
        assert!(!cannot_be_error(Coding::Gzip, b"\x1f\x8b"));
        for (length, right) in [(LIMIT, false), (LIMIT + 1, true)] {
            assert_eq!(cannot_be_error(Coding::Identity, &vec![b'{'; length]), right, "{length}");
        }
    }

    #[test]
    fn an_error_explains_itself() {
        let found = |body: &str| explanation(body.as_bytes());
        let told = found(r#"{"errcode":40001,"errmsg":"invalid \u0022x\" rid: 6aac0063-7ed08fb9-1250f724"}"#);
        assert_eq!(told.errmsg.as_deref(), Some("invalid \"x\" rid: 6aac0063-7ed08fb9-1250f724"));
        assert_eq!(told.rid.as_deref(), Some("6aac0063-7ed08fb9-1250f724"));
        let long = found(&format!(r#"{{"errcode":1,"errmsg":"{} rid: abc-1"}}"#, "票".repeat(100)));
        assert_eq!(long.errmsg.unwrap().len(), 198);
        assert_eq!(long.rid.as_deref(), Some("abc-1"));
        assert_eq!(found(r#"{"errcode":1}"#), Explanation::default());
        assert_eq!(found(r#"{"errcode":1,"errmsg":7}"#), Explanation::default());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (errcode(&body), explanation(&body), cannot_be_error(Coding::Identity, &body));
        }

        #[test]
        fn agrees_with_a_strict_parser_on_valid_json(
            code in any::<i32>(), before in "[^\\p{Cc}]{0,20}", nested in any::<i32>(),
        ) {
            let value = serde_json::json!({"a": before, "n": [{"errcode": nested}], "errcode": code, "z": {"errcode": nested}});
            let body = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(errcode(&body), Some(i64::from(code)));
        }
    }
}
