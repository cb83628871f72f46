//! Which header fields cross wxgate, in both directions.
//!
//! Pure edits of a header map. Names keep the sender's spelling (hyper carries it beside the map), values
//! stay byte for byte; the two exceptions are codings that could not be looked into, and the token itself.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::credential::Credential;
use crate::http1::percent;

/// What callers get to see where the token would be, and what they get when they ask for one.
pub const PLACEHOLDER: &str =
    "wxgate-placeholder-this-opens-nothing-the-proxy-puts-the-real-access-token-into-every-call";

/// Fields that speak about one connection and go no further (RFC 9110 section 7.6.1), and `Expect`, which
/// wxgate answers itself.
static HOP_BY_HOP: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::EXPECT,
];

/// What the caller says to wxgate, or what would tell the upstream who the callers are.
static PRIVATE: [HeaderName; 5] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-wxgate-key"),
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
    header::VIA,
];

/// Codings that `inspect` can look into.
const READABLE: [&str; 5] = ["gzip", "x-gzip", "deflate", "br", "identity"];

/// Whether there is such a field. Most messages have few: a look at each name costs less than a hash of one.
pub fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|known| known == name)
}

/// All lines of a field, which is mostly not there.
pub fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h HeaderValue> {
    has(headers, name).then(|| headers.get_all(name)).into_iter().flatten()
}

/// Edits a caller's fields into what the upstream gets.
pub fn to_upstream(headers: &mut HeaderMap, host: &HeaderValue) {
    let private = |name: &HeaderName| PRIVATE.contains(name) || name.as_str().starts_with("x-forwarded-");
    drop_hop_by_hop_and(headers, private);
    keep_readable_codings(headers);
    join_cookies(headers);
    headers.insert(header::HOST, host.clone());
}

/// Edits the upstream's fields into what the caller gets; `token` is the one that the call was made with.
pub fn to_caller(headers: &mut HeaderMap, token: Option<&Credential>) {
    if has(headers, &header::TRANSFER_ENCODING) {
        // RFC 9112 section 6.3: with both, the length is a lie (and hyper's server would drop the caller).
        headers.remove(header::CONTENT_LENGTH);
    }
    one_length(headers);
    drop_hop_by_hop_and(headers, |_| false);
    if let Some(token) = token {
        mask_token(headers, token);
    }
}

/// hyper has taken `5, 5`, and two lines that agree, for what they mean; not every caller does.
fn one_length(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return };
    let one = first.as_bytes().split(|b| *b == b',').next().unwrap_or_default().trim_ascii();
    if (lines.next().is_some() || one.len() < first.len())
        && let Ok(value) = HeaderValue::from_bytes(one)
    {
        headers.insert(header::CONTENT_LENGTH, value);
    }
}

/// Drops what speaks about one connection, and what else the condition names.
fn drop_hop_by_hop_and(headers: &mut HeaderMap, other: impl Fn(&HeaderName) -> bool) {
    let named = connection_names(headers);
    let condition = |name: &HeaderName| HOP_BY_HOP.contains(name) || named.contains(name) || other(name);
    // Most messages have few of these: one pass over the names is cheaper than a look-up for each.
    while let Some(name) = headers.keys().find(|name| condition(name)).cloned() {
        headers.remove(name);
    }
}

/// What the `Connection` lines name, all of them: a second line counts like the first.
fn connection_names(headers: &HeaderMap) -> Vec<HeaderName> {
    lines(headers, &header::CONNECTION)
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        // The two usual options name no field of their own that is not in HOP_BY_HOP already.
        .filter(|name| !name.eq_ignore_ascii_case(b"close") && !name.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}

/// Takes codings out of `Accept-Encoding` that would hide an errcode from wxgate.
fn keep_readable_codings(headers: &mut HeaderMap) {
    let readable = |entry: &&str| {
        let coding = entry.split(';').next().unwrap_or_default().trim();
        coding.is_empty() || READABLE.iter().any(|known| coding.eq_ignore_ascii_case(known))
    };
    let entries = |line: &HeaderValue| {
        let text = line.to_str().unwrap_or_default().to_owned();
        text.split(',').map(|entry| entry.trim().to_owned()).collect::<Vec<_>>()
    };
    let lines = || lines(headers, &header::ACCEPT_ENCODING);
    if lines().all(|line| line.to_str().is_ok_and(|text| text.split(',').all(|e| readable(&e)))) {
        return;
    }
    let kept: Vec<String> = lines().flat_map(entries).filter(|entry| readable(&entry.as_str())).collect();
    // With nothing left the field says what its absence would not: no coding at all, please.
    let text = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(header::ACCEPT_ENCODING, value);
    }
}

/// HTTP/2 callers may split cookies over several fields, HTTP/1.1 wants one (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if lines(headers, &header::COOKIE).nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(value) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, value);
    }
}

/// A redirect that repeats the request's query would hand the token to the caller.
fn mask_token(headers: &mut HeaderMap, token: &Credential) {
    let token = token.value.expose().as_bytes();
    for value in headers.values_mut() {
        // Nearly every value is shorter than a token.
        if value.len() >= token.len()
            && let Some(text) = masked(value.as_bytes(), token)
            && let Ok(text) = HeaderValue::from_bytes(&text)
        {
            *value = text;
        }
    }
}

/// The text with the placeholder wherever the token stands, in any percent-encoding of it; `None` where it
/// stands nowhere.
fn masked(text: &[u8], token: &[u8]) -> Option<Vec<u8>> {
    let mut out = None;
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        match spelled(&text[at..], token) {
            Some(length) if length > 0 => {
                let out: &mut Vec<u8> = out.get_or_insert_default();
                out.extend_from_slice(&text[copied..at]);
                out.extend_from_slice(PLACEHOLDER.as_bytes());
                at += length;
                copied = at;
            }
            _ => at += 1,
        }
    }
    out.map(|mut out| {
        out.extend_from_slice(&text[copied..]);
        out
    })
}

/// How many bytes at the beginning of `text` spell the token.
fn spelled(text: &[u8], token: &[u8]) -> Option<usize> {
    if text.starts_with(token) {
        return Some(token.len());
    }
    let mut at = 0;
    for byte in token {
        at += match text.get(at..)? {
            [b'%', _, _, ..] if percent::decode(&text[at..at + 3]).eq([*byte]) => 3,
            [first, ..] if first == byte => 1,
            _ => return None,
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn edited(fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        to_upstream(&mut headers, &HeaderValue::from_static("api.weixin.qq.com"));
        let mut all: Vec<_> =
            headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        all.sort();
        all
    }

    #[test]
    fn hop_by_hop_and_private_fields_go_no_further() {
        let kept = edited(&[
            ("host", "proxy"),
            ("accept", "*/*"),
            ("connection", "keep-alive, X-One"),
            ("connection", "x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("expect", "100-continue"),
            ("authorization", "Bearer x"),
            ("x-wxgate-key", "k"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "1.2.3.4"),
            ("via", "1.1 a"),
            ("wechatmp-signature", "s"),
        ]);
        let names: Vec<_> = kept.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        assert_eq!(names, ["accept: */*", "host: api.weixin.qq.com", "wechatmp-signature: s", "x-three: 3"]);
    }

    #[test]
    fn unreadable_codings_are_taken_out() {
        for (lines, right) in [
            (&["gzip"][..], "gzip"),
            (&["gzip, deflate;q=0.5,br"], "gzip, deflate;q=0.5,br"),
            (&["gzip, zstd"], "gzip"),
            (&["zstd;q=1.0, GZIP;q=0.5 , *"], "GZIP;q=0.5"),
            (&["zstd"], "identity"),
            (&["*"], "identity"),
            (&[""], ""),
            (&["gzip,,br"], "gzip,,br"),
            (&["gzip", "zstd, br"], "gzip, br"),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("accept-encoding", *line)).collect();
            let found = edited(&fields);
            assert_eq!(found[0], ("accept-encoding".to_owned(), right.to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn split_cookies_are_joined() {
        let found = edited(&[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(found[0], ("cookie".to_owned(), "a=1; b=2".to_owned()));
    }

    #[test]
    fn the_upstreams_length_beside_chunked_is_dropped() {
        let mut headers = map(&[("content-length", "5"), ("transfer-encoding", "chunked"), ("x", "y")]);
        to_caller(&mut headers, None);
        assert_eq!(headers, map(&[("x", "y")]));
    }

    #[test]
    fn a_length_that_is_said_twice_is_said_once() {
        for lines in [&["5"][..], &["5", "5"], &["5, 5"], &["5,5", "5"]] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(line));
            }
            to_caller(&mut headers, None);
            assert_eq!(headers, map(&[("content-length", "5")]), "{lines:?}");
        }
    }

    #[test]
    fn the_token_is_masked_wherever_it_stands() {
        let p = PLACEHOLDER;
        for (text, right) in [
            ("https://h/?access_token=T+/k&b=T+/k", format!("https://h/?access_token={p}&b={p}")),
            ("T%2B%2Fk", p.to_owned()),
            ("?a=T%2b%2fk&c", format!("?a={p}&c")),
            ("T+%2F%6B", p.to_owned()),
            ("TT+/k", format!("T{p}")),
        ] {
            assert_eq!(masked(text.as_bytes(), b"T+/k"), Some(right.into_bytes()), "{text}");
        }
        for text in ["", "T+/", "T%2B%2", "T%zz/k", "nothing"] {
            assert_eq!(masked(text.as_bytes(), b"T+/k"), None, "{text}");
        }
        assert_eq!(masked(b"a%25b", b"a%b"), Some(p.into()));
        assert_eq!(masked(b"a%b", b"a%b"), Some(p.into()));
    }
}
