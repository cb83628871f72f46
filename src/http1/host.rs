//! Names of hosts: the one normal form that the configuration and the wire are compared in.
//!
//! Case, one trailing dot, the port, and the way an address is written make no difference. Pure: no look-up of
//! names, no accounts.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The normal form of a host name or an address without port; `None` for what is neither.
///
/// Names are in lower case and without a dot at the end; IPv6 addresses are without brackets and in the
/// shortest spelling, IPv4-mapped ones are IPv4 addresses. A name that has its normal form is not copied.
pub fn normalize(name: &str) -> Option<Cow<'_, str>> {
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if bracketed.is_some() || name.contains(':') {
        let address: Ipv6Addr = bracketed.unwrap_or(name).parse().ok()?;
        return Some(Cow::Owned(address.to_canonical().to_string()));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut before = b'.';
    let mut upper = false;
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            b'.' if before != b'.' => {}
            _ => return None,
        }
        before = byte;
    }
    // An empty label at the end, or no name at all.
    if before == b'.' {
        return None;
    }
    // An IPv4 address has one spelling only: what Rust's parser takes is what it prints.
    Some(if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

/// The host in its normal form, and the port, of `name[:port]`; `None` for whatever is not plainly that: user
/// information, spaces, commas, slashes, an IPv6 address without brackets.
pub fn authority(text: &str) -> Option<(Cow<'_, str>, Option<u16>)> {
    let end = match text.starts_with('[') {
        true => text.find(']')? + 1,
        false => text.find(':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        // "example.com:" is allowed by RFC 3986 and means the default port.
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((normalize(name)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_form() {
        for (right, spellings) in [
            (
                Some("shop.example.com"),
                &["shop.example.com", "SHOP.Example.com", "shop.example.com.", "Shop.EXAMPLE.com."][..],
            ),
            (Some("legacy_cms"), &["legacy_cms", "LEGACY_CMS."]),
            (Some("10.0.0.1"), &["10.0.0.1", "10.0.0.1.", "[::ffff:10.0.0.1]", "::FFFF:a00:1"]),
            (Some("::1"), &["::1", "[::1]", "[0:0:0:0:0:0:0:1]", "[::0001]"]),
            (Some("2001:db8::1"), &["[2001:DB8::1]", "2001:db8:0:0::1", "[2001:0db8::0001]"]),
            (
                None,
                &[
                    "",
                    ".",
                    "..",
                    "a..",
                    "a..b",
                    ".a",
                    "a b",
                    "a/b",
                    "c@d",
                    "a,b",
                    "*.a",
                    "[",
                    "[]",
                    "[::1",
                    "::1]",
                    "[zz]",
                    "[10.0.0.1]",
                    "[::1].",
                    "[fe80::1%eth0]",
                    "a:80",
                    "ä.example.com",
                    "a%2e",
                ],
            ),
        ] {
            for spelling in spellings {
                assert_eq!(normalize(spelling).as_deref(), right, "{spelling}");
            }
        }
        assert!(
            matches!(normalize("wx.example.com"), Some(Cow::Borrowed(_))),
            "the usual name is not copied"
        );
    }

    #[test]
    fn ports_are_split_off() {
        for (text, right) in [
            ("proxy", Some(("proxy", None))),
            ("Proxy.:8080", Some(("proxy", Some(8080)))),
            ("proxy:", Some(("proxy", None))),
            ("[::1]:80", Some(("::1", Some(80)))),
            ("[::1]", Some(("::1", None))),
            ("::1", None),
            ("", None),
            (":80", None),
            ("a:b", None),
            ("a:+1", None),
            ("a:99999", None),
            ("a:1:2", None),
            ("[::1]x", None),
            ("[::1", None),
            ("u:p@a", None),
        ] {
            let found = authority(text);
            assert_eq!(found.as_ref().map(|(name, port)| (&**name, *port)), right, "{text}");
        }
    }
}
