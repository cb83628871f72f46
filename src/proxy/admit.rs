//! The first step: is this a request that can be read in one way only?
//!
//! Checks method, target form, Host and path, and gives back the pieces that the next steps need. What can
//! only be seen in the raw bytes (framing, repeated lengths, bare line feeds) the listener's guard has
//! refused before. This file has no I/O and knows no accounts.

use http::{HeaderMap, Method, Uri, Version, header};

use super::refusal::Refusal;
use crate::http1::target::{check_path, check_query};

/// What a request asks for, proved to be unambiguous.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'h, 'u> {
    /// Host name without port, as it was spelt; `""` when an HTTP/1.0 caller sent none.
    pub host: &'h str,
    /// The path, byte for byte.
    pub path: &'u str,
    /// What follows the `?`; `None` without one.
    pub query: Option<&'u str>,
}

/// Proves that a request can be read in one way only.
///
/// # Errors
/// [`Refusal::Method`] for CONNECT and TRACE, [`Refusal::BadRequest`] for everything else.
pub fn admit<'h, 'u: 'h>(
    method: &Method,
    uri: &'u Uri,
    version: Version,
    headers: &'h HeaderMap,
) -> Result<Target<'h, 'u>, Refusal> {
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method);
    }
    let host = host(uri, version, headers)?;
    let Some(target) = uri.path_and_query() else {
        return bad("the request target is neither a path nor a URL");
    };
    check_path(target.path().as_bytes()).map_err(|e| Refusal::BadRequest(e.0.into()))?;
    if let Some(query) = target.query() {
        check_query(query.as_bytes()).map_err(|e| Refusal::BadRequest(e.0.into()))?;
    }
    Ok(Target { host, path: target.path(), query: target.query() })
}

fn bad<T>(text: &'static str) -> Result<T, Refusal> {
    Err(Refusal::BadRequest(text.into()))
}

/// The one host that Host header and absolute target agree on.
fn host<'h, 'u: 'h>(uri: &'u Uri, version: Version, headers: &'h HeaderMap) -> Result<&'h str, Refusal> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return bad("there is more than one Host header");
    }
    let header = match line {
        None => None,
        Some(value) => match value.to_str().ok().and_then(authority) {
            Some(found) => Some(found),
            None => return bad("the Host header is not a host name"),
        },
    };
    let absolute = match uri.authority() {
        None => None,
        Some(found) => match authority(found.as_str()) {
            Some(found) => Some(found),
            None => return bad("the URL in the request line has user information or a malformed host"),
        },
    };
    if let Some(scheme) = uri.scheme_str()
        && !matches!(scheme, "http" | "https")
    {
        return bad("the URL in the request line is neither http nor https");
    }
    match (header, absolute) {
        (Some(header), Some(absolute)) if !agree(header, absolute) => {
            bad("the Host header and the URL in the request line name different hosts")
        }
        (_, Some((name, _))) | (Some((name, _)), None) => Ok(name),
        (None, None) if version <= Version::HTTP_10 => Ok(""),
        (None, None) => bad("there is no Host header"),
    }
}

/// Ports may be written or left out; two that are written must be the same.
fn agree(a: (&str, Option<u16>), b: (&str, Option<u16>)) -> bool {
    a.0.eq_ignore_ascii_case(b.0) && (a.1 == b.1 || a.1.is_none() || b.1.is_none())
}

/// Splits `name[:port]`, refusing whatever is not plainly that: user information, spaces, commas, slashes.
fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let end = rest.find(']')? + 2;
        rest[..end - 2].parse::<std::net::Ipv6Addr>().ok()?;
        (&text[..end], &text[end..])
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let name = &text[..end];
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        {
            return None;
        }
        (name, &text[end..])
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        // "example.com:" is allowed by RFC 3986 and means the default port.
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, version: Version, hosts: &[&str]) -> http::request::Parts {
        let mut request = http::Request::builder().method(method).uri(uri).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn host_is_found_or_refused() {
        let v11 = Version::HTTP_11;
        for (uri, version, hosts, right) in [
            ("/a", v11, &["Proxy"][..], Some("Proxy")),
            ("/a", v11, &["proxy:8080"], Some("proxy")),
            ("/a", v11, &["proxy:"], Some("proxy")),
            ("/a", v11, &["[::1]:80"], Some("[::1]")),
            ("/a", v11, &["10.0.0.1:80"], Some("10.0.0.1")),
            ("/a", Version::HTTP_10, &[], Some("")),
            ("/a", v11, &[], None),
            ("/a", v11, &["a", "b"], None),
            ("/a", v11, &["a", "a"], None),
            ("/a", v11, &[""], None),
            ("/a", v11, &["a b"], None),
            ("/a", v11, &["a/b"], None),
            ("/a", v11, &["c@d"], None),
            ("/a", v11, &["a,b"], None),
            ("/a", v11, &["a:b"], None),
            ("/a", v11, &["a:99999"], None),
            ("/a", v11, &["[::1"], None),
            ("/a", v11, &["[::1]x"], None),
            ("/a", v11, &["[zz]"], None),
            ("http://api.weixin.qq.com/a", v11, &["api.weixin.qq.com"], Some("api.weixin.qq.com")),
            ("http://api.weixin.qq.com:80/a", v11, &["API.weixin.qq.com"], Some("api.weixin.qq.com")),
            ("http://api.weixin.qq.com/a", v11, &["evil"], None),
            ("http://a:1/a", v11, &["a:2"], None),
            ("http://u:p@a/a", v11, &["a"], None),
            ("http://a/a", Version::HTTP_2, &[], Some("a")),
            ("ftp://a/a", v11, &["a"], None),
        ] {
            let parts = parts("GET", uri, version, hosts);
            let found = admit(&parts.method, &parts.uri, parts.version, &parts.headers).map(|t| t.host);
            assert_eq!(found.ok(), right, "{uri} {version:?} {hosts:?}");
        }
    }

    #[test]
    fn target_forms() {
        for (method, uri, right) in [
            ("GET", "/cgi-bin/a?b=c", Ok(("/cgi-bin/a", Some("b=c")))),
            ("GET", "/cgi-bin/a?", Ok(("/cgi-bin/a", Some("")))),
            ("GET", "http://h/cgi-bin/a?b", Ok(("/cgi-bin/a", Some("b")))),
            ("GET", "*", Err(400)),
            ("OPTIONS", "*", Err(400)),
            ("GET", "h:443", Err(400)),
            ("CONNECT", "h:443", Err(405)),
            ("TRACE", "/", Err(405)),
            ("GET", "/a/../b", Err(400)),
            ("BREW", "/cgi-bin/a", Ok(("/cgi-bin/a", None))),
        ] {
            let parts = parts(method, uri, Version::HTTP_11, &["h"]);
            let found = admit(&parts.method, &parts.uri, parts.version, &parts.headers)
                .map(|t| (t.path, t.query))
                .map_err(|e| e.shape().status.as_u16());
            assert_eq!(found, right, "{method} {uri}");
        }
    }
}
