//! Puts appid and AppSecret into a call that takes them: into its query, and into its body where that is a form or
//! JSON, since a caller could have put them into either.
//!
//! What the caller has there under these names is replaced, in whatever encoding of the name and however often it
//! stands there; everything else stays byte for byte. Pure.

use http::{HeaderMap, header};
use zeroize::Zeroizing;

use crate::http1::percent;
use crate::json;
use crate::proxy::route::SecretPath;
use crate::secret::Secret;

/// What is put into a call: names and values.
pub struct Credentials<'a> {
    names: [&'a str; 2],
    values: [&'a str; 2],
}

impl<'a> Credentials<'a> {
    /// This account's, under the names that the call has for them.
    pub fn new(entry: &'a SecretPath, appid: &'a str, secret: &'a Secret) -> Self {
        Self { names: [&entry.appid, &entry.secret], values: [appid, secret.expose()] }
    }

    /// A query with both in it.
    pub fn in_parameters(&self, text: &str) -> String {
        String::from_utf8(self.in_form(text.as_bytes())).expect("what is put between characters is ASCII")
    }

    /// A form with both in it. Old code sends its text in GBK.
    fn in_form(&self, text: &[u8]) -> Vec<u8> {
        let encoded = self.values.map(|value| {
            let mut encoded = Zeroizing::new(String::with_capacity(3 * value.len()));
            percent::encode(value, &mut encoded);
            encoded
        });
        let room: usize = (0..2).map(|n| self.names[n].len() + encoded[n].len() + 2).sum();
        let mut out = Vec::with_capacity(text.len() + room);
        let mut put = [false; 2];
        let mut first = true;
        let mut push = |parameter: [&[u8]; 3]| {
            if !std::mem::take(&mut first) {
                out.push(b'&');
            }
            parameter.iter().for_each(|piece| out.extend_from_slice(piece));
        };
        let ours = |n: usize| [self.names[n].as_bytes(), b"=", encoded[n].as_bytes()];
        for parameter in text.split(|byte| *byte == b'&').filter(|_| !text.is_empty()) {
            match self.names.iter().position(|name| is_named(parameter, name)) {
                None => push([parameter, b"", b""]),
                // Of several one is left.
                Some(n) if put[n] => {}
                Some(n) => {
                    put[n] = true;
                    push(ours(n));
                }
            }
        }
        (0..2).filter(|n| !put[*n]).for_each(|n| push(ours(n)));
        out
    }

    /// A body with both in it; `None` for one that is neither a form nor a JSON object, which stays as it is.
    pub fn in_body(&self, headers: &HeaderMap, body: &[u8]) -> Option<Vec<u8>> {
        if json::Object::find(body).is_some() {
            let quoted = self.values.map(|value| Zeroizing::new(serde_json::Value::from(value).to_string()));
            return json::with_members(body, &[(self.names[0], &quoted[0]), (self.names[1], &quoted[1])]);
        }
        let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let is_form =
            kind.get(..FORM.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(FORM.as_bytes()));
        (is_form && !body.is_empty()).then(|| self.in_form(body))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Whether a parameter has this name, in any percent-encoding.
fn is_named(parameter: &[u8], name: &str) -> bool {
    let found = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
    percent::decode(found).eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn with<T>(look: impl FnOnce(&Credentials<'_>) -> T) -> T {
        let entry = SecretPath {
            path: "/p".to_owned(),
            appid: "appid".to_owned(),
            secret: "secret".to_owned(),
            token: false,
        };
        look(&Credentials::new(&entry, "wx1", &Secret::new("s+\"/".to_owned())))
    }

    #[test]
    fn parameters_have_both_once_and_the_rest_as_it_was() {
        for (text, right) in [
            ("", "appid=wx1&secret=s%2B%22%2F"),
            ("js_code=0a%2f+b&x", "js_code=0a%2f+b&x&appid=wx1&secret=s%2B%22%2F"),
            ("appid=wrong&secret=&js_code=c", "appid=wx1&secret=s%2B%22%2F&js_code=c"),
            ("secret=a&%73ecret=b&a=1&secret", "secret=s%2B%22%2F&a=1&appid=wx1"),
            ("%61%70%70%69%64=x&Appid=y&appids=z", "appid=wx1&Appid=y&appids=z&secret=s%2B%22%2F"),
            ("a&&b=%zz", "a&&b=%zz&appid=wx1&secret=s%2B%22%2F"),
            ("&a=1", "&a=1&appid=wx1&secret=s%2B%22%2F"),
        ] {
            assert_eq!(with(|c| c.in_parameters(text)), right, "{text}");
        }
    }

    #[test]
    fn bodies_that_are_forms_or_json_have_both_too() {
        for (kind, body, right) in [
            (
                "application/json",
                r#"{"js_code":"c"}"#,
                Some(r#"{"appid":"wx1","secret":"s+\"/","js_code":"c"}"#),
            ),
            ("application/json", r#"{"secret":"x","appid":7}"#, Some(r#"{"secret":"s+\"/","appid":"wx1"}"#)),
            // curl -d sends JSON under the form's name.
            (FORM, "{}", Some(r#"{"appid":"wx1","secret":"s+\"/"}"#)),
            ("", "{}", Some(r#"{"appid":"wx1","secret":"s+\"/"}"#)),
            (
                "Application/x-www-form-urlencoded; charset=utf-8",
                "secret=x",
                Some("secret=s%2B%22%2F&appid=wx1"),
            ),
            (FORM, "", None),
            ("application/json", r#"{"secret":"x"#, None),
            ("application/json", "[]", None),
            ("text/plain", "secret=x", None),
            ("", "", None),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            let found = with(|c| c.in_body(&headers, body.as_bytes()));
            assert_eq!(found.map(|body| String::from_utf8(body).unwrap()).as_deref(), right, "{kind} {body}");
        }
    }

    #[test]
    fn a_form_that_is_not_utf_8_has_both_too() {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(FORM))]);
        let found = with(|c| c.in_body(&headers, b"appid=x&q=\xc4\xe3&%73ecret=y"));
        assert_eq!(found.unwrap(), b"appid=wx1&q=\xc4\xe3&secret=s%2B%22%2F");
    }

    proptest! {
        #[test]
        fn whatever_a_caller_sends_the_names_stand_there_once(
            parameters in proptest::collection::vec("(secret|%73ecret|appid|app%69d|a|%zz|)(=[a-z%=]{0,4})?", 0..8),
        ) {
            let text = parameters.join("&");
            let filled = with(|c| c.in_parameters(&text));
            let named = |name: &str| form_urlencoded::parse(filled.as_bytes())
                .filter(|(found, _)| found == name).map(|(_, value)| value.into_owned()).collect::<Vec<_>>();
            prop_assert_eq!(named("secret"), ["s+\"/"]);
            prop_assert_eq!(named("appid"), ["wx1"]);
        }
    }
}
