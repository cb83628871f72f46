//! The first step: is this a request that can be read in one way only?
//!
//! Checks method, target form, Host and path, and gives back the pieces that the next steps need, each in the
//! one form that rules are compared with and that the upstream receives. What can only be seen in the raw bytes
//! (framing, repeated lengths) the listener has refused before. This file has no I/O and knows no accounts.

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri, Version, header};

use super::refusal::Refusal;
use crate::http1::host::authority;
use crate::http1::target::{BadTarget, check_query, clean_path};

/// What a request asks for, proved to be unambiguous.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'h, 'u> {
    /// Host name without port, in its normal form; `""` when an HTTP/1.0 caller sent none.
    pub host: Cow<'h, str>,
    /// The path, with runs of `/` made one.
    pub path: Cow<'u, str>,
    /// What follows the `?`; `None` without one.
    pub query: Option<&'u str>,
}

/// Proves that a request can be read in one way only. `method` is put into upper case: rules are written so, and
/// `post` is what an old script sends for POST.
///
/// # Errors
/// [`Refusal::Method`] for CONNECT and TRACE, [`Refusal::BadRequest`] for everything else.
pub fn admit<'h, 'u: 'h>(
    method: &mut Method,
    uri: &'u Uri,
    version: Version,
    headers: &'h HeaderMap,
) -> Result<Target<'h, 'u>, Refusal> {
    check_method(method)?;
    let host = host(uri, version, headers)?;
    let Some(target) = uri.path_and_query() else {
        return bad("the request target is neither a path nor a URL; send a path like /cgi-bin/user/get");
    };
    let path = clean_path(target.path())?;
    if let Some(query) = target.query() {
        check_query(query.as_bytes())?;
    }
    Ok(Target { host, path, query: target.query() })
}

impl From<BadTarget> for Refusal {
    fn from(error: BadTarget) -> Self {
        Self::BadRequest(error.0.into())
    }
}

fn bad<T>(text: &'static str) -> Result<T, Refusal> {
    Err(Refusal::BadRequest(text.into()))
}

fn check_method(method: &mut Method) -> Result<(), Refusal> {
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        let upper = method.as_str().to_ascii_uppercase();
        if let Ok(upper) = Method::from_bytes(upper.as_bytes()) {
            *method = upper;
        }
        // hyper has taken it for a method whose answer has a body.
        if *method == Method::HEAD {
            return bad("the method HEAD is not in upper case; send HEAD");
        }
    }
    match *method {
        Method::CONNECT | Method::TRACE => {
            Err(Refusal::Method("CONNECT and TRACE are not served; send GET or POST"))
        }
        _ => Ok(()),
    }
}

/// The one host that Host header and absolute target agree on.
fn host<'h, 'u: 'h>(uri: &'u Uri, version: Version, headers: &'h HeaderMap) -> Result<Cow<'h, str>, Refusal> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return bad("there is more than one Host header; send one");
    }
    let header = match line {
        None => None,
        Some(value) => match value.to_str().ok().and_then(authority) {
            Some(found) => Some(found),
            None => return bad("the Host header is not a host name with or without a port; send one"),
        },
    };
    let absolute = match uri.authority() {
        None => None,
        Some(found) if found.as_str().contains('@') => {
            return bad("the URL in the request line has user information; send it in Proxy-Authorization");
        }
        Some(found) => match authority(found.as_str()) {
            Some(found) => Some(found),
            None => return bad("the host of the URL in the request line is malformed; send a host name"),
        },
    };
    if let Some(scheme) = uri.scheme_str()
        && !matches!(scheme, "http" | "https")
    {
        return bad("the URL in the request line is neither http nor https; send an http:// URL or a path");
    }
    match (header, absolute) {
        (Some(header), Some(absolute)) if !agree(&header, &absolute) => {
            bad("the Host header and the URL in the request line name different hosts; send the same in both")
        }
        // RFC 9112 section 3.2 asks for it beside a URL too, and what is behind a proxy goes by it.
        (None, _) if version == Version::HTTP_11 => bad("there is no Host header; HTTP/1.1 asks for one"),
        (_, Some((name, _))) | (Some((name, _)), None) => Ok(name),
        (None, None) if version <= Version::HTTP_10 => Ok(Cow::Borrowed("")),
        (None, None) => bad("there is neither an :authority nor a Host header; send one"),
    }
}

/// Ports may be written or left out; two that are written must be the same.
fn agree(a: &(Cow<'_, str>, Option<u16>), b: &(Cow<'_, str>, Option<u16>)) -> bool {
    a.0 == b.0 && (a.1 == b.1 || a.1.is_none() || b.1.is_none())
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
            ("/a", v11, &["Proxy"][..], Some("proxy")),
            ("/a", v11, &["proxy:8080"], Some("proxy")),
            ("/a", v11, &["proxy:"], Some("proxy")),
            ("/a", v11, &["[::1]:80"], Some("::1")),
            ("/a", v11, &["Shop.Example.com.:80"], Some("shop.example.com")),
            ("/a", v11, &["[::FFFF:10.0.0.1]"], Some("10.0.0.1")),
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
            ("http://shop.example.com./a", v11, &["Shop.example.com"], Some("shop.example.com")),
            ("http://[0:0::1]/a", v11, &["[::1]"], Some("::1")),
            ("http://a:1/a", v11, &["a:2"], None),
            ("http://a/a", v11, &[], None),
            ("http://a/a", Version::HTTP_10, &[], Some("a")),
            ("/a", Version::HTTP_2, &[], None),
            ("http://u:p@a/a", v11, &["a"], None),
            ("http://a/a", Version::HTTP_2, &[], Some("a")),
            ("ftp://a/a", v11, &["a"], None),
        ] {
            let mut parts = parts("GET", uri, version, hosts);
            let found = admit(&mut parts.method, &parts.uri, parts.version, &parts.headers).map(|t| t.host);
            assert_eq!(found.ok().as_deref(), right, "{uri} {version:?} {hosts:?}");
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
            ("connect", "h:443", Err(405)),
            ("Trace", "/", Err(405)),
            ("GET", "/a/../b", Err(400)),
            ("GET", "//cgi-bin//a?b=//", Ok(("/cgi-bin/a", Some("b=//")))),
            ("GET", "http://h//cgi-bin/a", Ok(("/cgi-bin/a", None))),
            ("BREW", "/cgi-bin/a", Ok(("/cgi-bin/a", None))),
        ] {
            let mut parts = parts(method, uri, Version::HTTP_11, &["h"]);
            let found = admit(&mut parts.method, &parts.uri, parts.version, &parts.headers)
                .map(|t| (t.path.into_owned(), t.query.map(str::to_owned)))
                .map_err(|e| e.shape().status.as_u16());
            let right =
                right.map(|(path, query): (&str, Option<&str>)| (path.to_owned(), query.map(str::to_owned)));
            assert_eq!(found, right, "{method} {uri}");
        }
    }

    #[test]
    fn methods_are_in_upper_case() {
        for (method, right) in [
            ("GET", Some("GET")),
            ("post", Some("POST")),
            ("Brew", Some("BREW")),
            ("HEAD", Some("HEAD")),
            ("head", None),
        ] {
            let mut parts = parts(method, "/cgi-bin/a", Version::HTTP_11, &["h"]);
            let admitted = admit(&mut parts.method, &parts.uri, parts.version, &parts.headers).is_ok();
            assert_eq!(admitted.then_some(parts.method.as_str()), right, "{method}");
        }
    }
}
