//! Which header fields of a caller the upstream gets.
//!
//! A pure edit of a header map. Names keep the caller's spelling (`header_case.rs`), values stay byte
//! for byte; the one exception are codings that wxgate could not look into.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::proxy::fields::{drop_hop_by_hop_and, lines};

/// Whether a field is what the caller says to wxgate, or would tell the upstream who the callers are.
fn is_private(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "authorization" | "x-wxgate-key" | "forwarded" | "x-real-ip" | "via")
        || name.starts_with("x-forwarded-")
}

/// Codings that `inspect` can look into.
const READABLE: [&str; 5] = ["gzip", "x-gzip", "deflate", "br", "identity"];

/// Edits a caller's fields into what the upstream gets.
pub fn to_upstream(headers: &mut HeaderMap, version: Version, host: &HeaderValue) {
    drop_hop_by_hop_and(headers, is_private);
    keep_readable_codings(headers);
    if version == Version::HTTP_2 {
        join_cookies(headers);
    }
    headers.insert(header::HOST, host.clone());
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

/// A caller over HTTP/2 may split its cookies over several fields, which have to be one again in HTTP/1.1 (RFC 9113 section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if lines(headers, &header::COOKIE).nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(value) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        edited_of(Version::HTTP_11, fields)
    }

    fn edited_of(version: Version, fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        to_upstream(&mut headers, version, &HeaderValue::from_static("api.weixin.qq.com"));
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
    fn split_cookies_of_http_2_are_joined_and_others_pass_as_they_are() {
        for (version, right) in [(Version::HTTP_2, &["a=1; b=2"][..]), (Version::HTTP_11, &["a=1", "b=2"])] {
            let found = edited_of(version, &[("cookie", "a=1"), ("cookie", "b=2")]);
            let cookies: Vec<_> =
                found.iter().filter(|(name, _)| name == "cookie").map(|(_, value)| value).collect();
            assert_eq!(cookies, right, "{version:?}");
        }
    }
}
