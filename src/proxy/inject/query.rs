//! The query's surgery: every `access_token` out, the current one in, everything else byte for byte.

use std::borrow::Cow;

use crate::http1::percent;

const NAME: &[u8] = b"access_token";

/// Builds the request target for the upstream: path, then the token, then what was in the query besides.
///
/// `encoded` is the percent-encoded token. One allocation.
pub fn with_token(path: &str, query: Option<&str>, encoded: &[u8]) -> Vec<u8> {
    let query = query.unwrap_or_default();
    let mut target = Vec::with_capacity(path.len() + NAME.len() + encoded.len() + query.len() + 3);
    target.extend_from_slice(path.as_bytes());
    target.push(b'?');
    target.extend_from_slice(NAME);
    target.push(b'=');
    target.extend_from_slice(encoded);
    if query.is_empty() {
        return target;
    }
    for parameter in query.as_bytes().split(|b| *b == b'&') {
        if !names_access_token(parameter) {
            target.push(b'&');
            target.extend_from_slice(parameter);
        }
    }
    target
}

/// The target of a call that the token does not belong to: nothing out, nothing in.
pub fn untouched(path: &str, query: Option<&str>) -> Vec<u8> {
    let mut target = Vec::with_capacity(path.len() + 1 + query.map_or(0, str::len));
    target.extend_from_slice(path.as_bytes());
    if let Some(query) = query {
        target.push(b'?');
        target.extend_from_slice(query.as_bytes());
    }
    target
}

/// Whether a parameter's name, in any percent-encoding, is `access_token`.
fn names_access_token(parameter: &[u8]) -> bool {
    let name = parameter.split(|b| *b == b'=').next().unwrap_or_default();
    // The usual parameter is settled by one byte: nothing but `a` and `%61` can begin the name.
    match name.first() {
        Some(b'a' | b'%') => percent::decode(name).eq(NAME.iter().copied()),
        _ => false,
    }
}

/// The values of all parameters named `access_token`, decoded.
pub fn access_tokens(query: &str) -> impl Iterator<Item = Vec<u8>> {
    let named = query.as_bytes().split(|b| *b == b'&').filter(|parameter| names_access_token(parameter));
    named.map(|parameter| {
        let value = parameter.iter().position(|b| *b == b'=').map_or(&[][..], |at| &parameter[at + 1..]);
        percent::decode(value).collect()
    })
}

/// The values of a parameter that are not empty, decoded as a form (`+` is a space).
pub fn values<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes())
        .filter(move |(found, value)| found == name && !value.is_empty())
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn injected(query: Option<&str>) -> String {
        String::from_utf8(with_token("/p", query, b"T")).unwrap()
    }

    #[test]
    fn the_token_goes_in_and_nothing_else_moves() {
        for (query, right) in [
            (None, "/p?access_token=T"),
            (Some(""), "/p?access_token=T"),
            (Some("access_token="), "/p?access_token=T"),
            (Some("access_token"), "/p?access_token=T"),
            (Some("access_token=old"), "/p?access_token=T"),
            (Some("a=1&access_token=old&b=2"), "/p?access_token=T&a=1&b=2"),
            (Some("access_token=x&access_token=y&a=1"), "/p?access_token=T&a=1"),
            (Some("%61ccess_token=x&a=1"), "/p?access_token=T&a=1"),
            (Some("access%5Ftoken=x&a=1"), "/p?access_token=T&a=1"),
            (Some("access%5ftoken=x&a=1"), "/p?access_token=T&a=1"),
            (Some("%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x"), "/p?access_token=T"),
            (Some("Access_Token=x"), "/p?access_token=T&Access_Token=x"),
            (Some("access_tokens=x&xaccess_token=y"), "/p?access_token=T&access_tokens=x&xaccess_token=y"),
            (Some("access_token%3Dx"), "/p?access_token=T&access_token%3Dx"),
            (Some("a=access_token=1"), "/p?access_token=T&a=access_token=1"),
            (Some("a=1&&b=%zz&="), "/p?access_token=T&a=1&&b=%zz&="),
            (Some("&"), "/p?access_token=T&&"),
            (Some("名=值&a=%E5"), "/p?access_token=T&名=值&a=%E5"),
        ] {
            assert_eq!(injected(query), right, "{query:?}");
        }
    }

    #[test]
    fn foreign_calls_keep_their_query() {
        assert_eq!(untouched("/sns/x", None), b"/sns/x");
        assert_eq!(untouched("/sns/x", Some("")), b"/sns/x?");
        assert_eq!(untouched("/sns/x", Some("access_token=u&a")), b"/sns/x?access_token=u&a");
    }

    #[test]
    fn values_are_found_decoded() {
        assert_eq!(values("a=1&appid=wx%31&b", "appid").next().as_deref(), Some("wx1"));
        assert_eq!(values("appid=&a", "appid").next(), None);
        assert_eq!(values("%61ppid=x", "appid").next().as_deref(), Some("x"));
        assert_eq!(values("", "appid").next(), None);
    }

    #[test]
    fn all_tokens_of_a_query_are_found_decoded() {
        for (query, right) in [
            ("", &[][..]),
            ("a=1&access_tokens=x&b=access_token=y", &[]),
            ("access_token=T%2Bk&a=1&%61ccess%5Ftoken=b=c", &["T+k", "b=c"]),
            ("access_token&access_token=", &["", ""]),
        ] {
            let found: Vec<_> = access_tokens(query).map(|token| String::from_utf8(token).unwrap()).collect();
            assert_eq!(found, right, "{query}");
        }
    }

    /// A parser that shares no code with the surgery.
    fn names_the_token(parameter: &str) -> bool {
        let name = parameter.split('=').next().unwrap();
        let mut decoded = Vec::new();
        let bytes = name.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            let escape = (bytes[i] == b'%' && i + 2 < bytes.len())
                .then(|| std::str::from_utf8(&bytes[i + 1..i + 3]).ok())
                .flatten()
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            match escape {
                Some(byte) => {
                    decoded.push(byte);
                    i += 3;
                }
                None => {
                    decoded.push(bytes[i]);
                    i += 1;
                }
            }
        }
        decoded == b"access_token"
    }

    fn parameter() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z_%=0-9A-F.]{0,12}",
            Just("access_token=stale".to_owned()),
            Just("access%5Ftoken=stale".to_owned()),
            Just("%61ccess_token".to_owned()),
            "access_token[a-z=%]{0,3}",
        ]
    }

    proptest! {
        #[test]
        fn exactly_one_token_and_all_others_in_order(parameters in proptest::collection::vec(parameter(), 0..8)) {
            let query = parameters.join("&");
            let target = injected(Some(&query));
            let rest = target.strip_prefix("/p?access_token=T").unwrap();
            let kept: Vec<&str> = rest.split('&').skip(1).collect();
            let right: Vec<&str> = if query.is_empty() {
                Vec::new()
            } else {
                query.split('&').filter(|p| !names_the_token(p)).collect()
            };
            prop_assert_eq!(kept, right);
        }
    }
}
