//! What single texts must look like, for the file and the environment alike: sizes, times, addresses, URLs,
//! names. Each function answers with the value or with the words that follow "want".
//!
//! Pure: no file, no environment, no name lookup.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use http::Uri;
use rustls::pki_types::ServerName;

use crate::http1::host;
use crate::http1::target::clean_path;
use crate::upstream::BaseUrl;

/// What a time looks like.
pub(super) const TIME_WANTED: &str = r#"a time like "3s" or "500ms""#;
/// What a listening address looks like.
pub(super) const LISTEN_WANTED: &str = r#"ADDRESS:PORT such as "127.0.0.1:8080" or "[::1]:8080""#;
/// What the upstream's URL looks like.
pub(super) const URL_WANTED: &str = r#"a URL like "https://api.weixin.qq.com", without path, query or user"#;
/// What an appid looks like.
pub(super) const APPID_WANTED: &str =
    r#"an appid like "wx0123456789abcdef": letters, digits, `-`, `_`, at most 64"#;
/// What an IP address looks like.
pub(super) const IP_WANTED: &str = r#"an IP address of this machine like "203.0.113.7", without port"#;

/// Bytes, `"16MiB"` or a plain number.
pub(super) fn size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    match text.trim().parse::<ByteSize>() {
        Ok(ByteSize(bytes)) if range.contains(&bytes) => Ok(bytes),
        _ => Err(size_wanted(range)),
    }
}

pub(super) fn size_wanted(range: &RangeInclusive<u64>) -> String {
    let (low, high) = (bytes(*range.start()), bytes(*range.end()));
    format!("a size like \"16MiB\", from {low} to {high}")
}

/// A size as a user would write it.
pub(super) fn bytes(size: u64) -> String {
    let units = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let exact = units.iter().find(|(_, bits)| size != 0 && size.trailing_zeros() >= *bits);
    exact.map_or_else(|| size.to_string(), |(unit, bits)| format!("{}{unit}", size >> bits))
}

/// A time with its unit.
pub(super) fn time(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|_| TIME_WANTED.to_owned())?;
    if range.contains(&time) {
        return Ok(time);
    }
    let shown = humantime::format_duration;
    Err(format!("a time from {} to {}", shown(*range.start()), shown(*range.end())))
}

/// An address and port to listen on; names are not looked up.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| LISTEN_WANTED.to_owned())
}

/// Whether only this machine can reach the address; `::ffff:127.0.0.1` is loopback too.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// The first address given twice. Port 0 twice is two ports.
pub(super) fn twice(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let seen_before = |(i, address): &(usize, &SocketAddr)| {
        address.port() != 0 && addresses.iter().take(*i).any(|earlier| earlier == *address)
    };
    addresses.iter().enumerate().find(seen_before).map(|(_, address)| *address)
}

/// The address that outbound connections leave from.
pub(super) fn egress_ip(text: &str) -> Result<IpAddr, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => Err(IP_WANTED.to_owned()),
        Ok(ip) => Ok(ip),
        Err(_) => Err(IP_WANTED.to_owned()),
    }
}

/// `https://host[:port]`, or `http://` for loopback.
pub(super) fn upstream_url(text: &str) -> Result<BaseUrl, String> {
    let wanted = || URL_WANTED.to_owned();
    // `Uri` cuts a fragment off without a word.
    if text.contains(['@', '#', '?']) {
        return Err(wanted());
    }
    let uri: Uri = text.parse().map_err(|_| wanted())?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wanted()),
    };
    let authority = uri.authority().ok_or_else(wanted)?;
    // "host:" and "host:99999" have a port text but no port; falling back to 443 would hide the slip.
    let port_given = authority.as_str().len() > authority.host().len();
    if uri.path() != "/"
        || uri.query().is_some()
        || (port_given && authority.port_u16().is_none_or(|p| p == 0))
    {
        return Err(wanted());
    }
    let host = host(authority.host()).map_err(|_| wanted())?;
    let loopback = host == "localhost" || host.parse().is_ok_and(is_loopback);
    if !tls && !loopback {
        return Err("https://: plain http:// is accepted for loopback alone, for it would show the token \
                    to everyone on the way"
            .to_owned());
    }
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    BaseUrl::new(tls, &host, port).ok_or_else(wanted)
}

/// Whether a URL may be shown in a message: what stands before an `@` or after a `?` may be a password.
pub(super) fn url_may_be_shown(text: &str) -> bool {
    !text.contains(['@', '?', '#'])
}

/// A host name or address without port, in the normal form that requests are compared in.
pub(super) fn host(text: &str) -> Result<String, String> {
    let wanted = || r#"a host name or IP address without port, like "wx.example.com""#.to_owned();
    let name = host::normalize(text).ok_or_else(wanted)?;
    ServerName::try_from(&*name).map_err(|_| wanted())?;
    Ok(name.into_owned())
}

/// The name of an account or a caller.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let right = !text.is_empty() && text.len() <= 64 && text.chars().all(fits);
    right
        .then(|| text.to_owned())
        .ok_or_else(|| r#"a name like "main": lower-case letters, digits and `-`, at most 64"#.to_owned())
}

/// The appid; it names the token's file, so nothing but these characters may be in it.
pub(super) fn appid(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let right = !text.is_empty() && text.len() <= 64 && text.chars().all(fits);
    right.then(|| text.to_owned()).ok_or_else(|| APPID_WANTED.to_owned())
}

/// `""`, or the first part of a path.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let right = text.is_empty() || (is_clean(text) && !text.ends_with('/'));
    right.then(|| text.to_owned()).ok_or_else(|| {
        r#""" or a prefix like "/shop": one `/` before each part, none at the end, no `.` or `..`, no `?`, `#`, `%`, `;`"#
            .to_owned()
    })
}

/// The beginning of the API paths that may be called. What no request can begin with is a slip: the proxy refuses
/// paths that could be read in two ways, so such a rule would never fit.
pub(super) fn api_path(text: &str) -> Result<String, String> {
    is_clean(text).then(|| text.to_owned()).ok_or_else(|| API_PATH_WANTED.to_owned())
}

/// Whether a path is as the proxy compares it.
fn is_clean(path: &str) -> bool {
    clean_path(path).is_ok_and(|clean| clean == path)
}

const API_PATH_WANTED: &str = r#"the beginning of a path like "/cgi-bin/": first a `/`, then visible ASCII as callers send it, without `//`, `.` and `..` segments, `?`, `#`, `\`, `%` and `;`"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let any = 0..=1 << 50;
        for (text, bytes) in [
            ("16MiB", Some(16 << 20)),
            ("64KiB", Some(64 << 10)),
            ("1GiB", Some(1 << 30)),
            ("500KB", Some(500_000)),
            ("4096", Some(4096)),
            ("0", Some(0)),
            ("-1", None),
            ("", None),
            ("16 parsec", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(size(text, &any).ok(), bytes, "{text}");
        }
        assert_eq!(bytes(16 << 20), "16MiB");
        assert_eq!(bytes(1000), "1000");
    }

    #[test]
    fn upstream_urls() {
        let host = |tls, host: &str, port| BaseUrl::new(tls, host, port);
        for (text, expected) in [
            ("https://api.weixin.qq.com", host(true, "api.weixin.qq.com", 443)),
            ("https://API.weixin.qq.com/", host(true, "api.weixin.qq.com", 443)),
            ("https://10.0.0.1:8443", host(true, "10.0.0.1", 8443)),
            ("https://[2001:db8::1]", host(true, "2001:db8::1", 443)),
            ("http://127.0.0.9:9443", host(false, "127.0.0.9", 9443)),
            ("http://[::1]:80", host(false, "::1", 80)),
            ("http://localhost", host(false, "localhost", 80)),
            ("http://api.weixin.qq.com", None),
            ("http://localhost.example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("https://user:pw@api.weixin.qq.com", None),
            ("https://api.weixin.qq.com/cgi-bin", None),
            ("https://api.weixin.qq.com?x=1", None),
            ("https://api.weixin.qq.com#x", None),
            ("https://api.weixin.qq.com:", None),
            ("https://api.weixin.qq.com:0", None),
            ("https://api.weixin.qq.com:99999", None),
            ("https://-x-", None),
            ("ftp://api.weixin.qq.com", None),
            ("api.weixin.qq.com", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(upstream_url(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn hosts_are_lower_case_and_bare() {
        for (text, expected) in [
            ("WX.Example.com", Some("wx.example.com")),
            ("wx.example.com.", Some("wx.example.com")),
            ("legacy_cms", Some("legacy_cms")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[2001:DB8::1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:127.0.0.1", Some("127.0.0.1")),
            ("wx.example.com:80", None),
            ("a b", None),
            ("*.example.com", None),
            ("", None),
        ] {
            assert_eq!(host(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn prefixes() {
        for good in ["", "/shop", "/shop/a-b", "/~x"] {
            assert_eq!(prefix(good).as_deref(), Ok(good));
        }
        for bad in [
            "/", "shop", "/shop/", "//shop", "/a//b", "/a/../b", "/.", "/a?b", "/a#b", "/%61", "/a b", "/ä",
            "/a;b", "/a|b",
        ] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        for (path, right) in [
            ("/", true),
            ("/cgi-bin/", true),
            ("/cgi-bin/user", true),
            ("/a/.b/..c", true),
            ("/a=b,c@d!$&'()*+:[]", true),
            ("/a%20b", false),
            ("/a;b", false),
            ("", false),
            ("cgi-bin/", false),
            ("//", false),
            ("/a//b", false),
            ("/./a", false),
            ("/a/../b", false),
            ("/a/..", false),
            ("/a\\b", false),
            ("/a?b", false),
            ("/a#b", false),
            ("/a b", false),
            ("/ä", false),
            ("/a|b", false),
            ("/%74oken", false),
            ("/%2e%2e/", false),
            ("/a%2Fb", false),
            ("/a%5cb", false),
            ("/a%00", false),
            ("/a%", false),
            ("/a%2", false),
            ("/a%zz", false),
            ("/a%+1", false),
        ] {
            assert_eq!(api_path(path).is_ok(), right, "{path}");
        }
    }

    #[test]
    fn the_same_address_twice_is_seen_but_not_port_0() {
        let listen = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(twice(&[listen("127.0.0.1:0"), listen("127.0.0.1:0")]), None);
        let (a, b) = (listen("127.0.0.1:1"), listen("[::1]:1"));
        assert_eq!(twice(&[a, b]), None);
        assert_eq!(twice(&[a, b, b]), Some(b));
    }
}
