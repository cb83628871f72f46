//! Addresses, networks, host names and URLs.
//!
//! Where a text is a common slip (`"localhost:8080"`, `"*.example.com"`, `"10.1.*"`), the words say how it is spelt here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Uri;
use ipnet::{IpNet, Ipv4Net};
use rustls::pki_types::ServerName;

use crate::http1::host;
use crate::upstream::BaseUrl;

/// What a listening address looks like.
pub(in super::super) const LISTEN_WANTED: &str = r#"ADDRESS:PORT such as "127.0.0.1:8080" or "[::1]:8080""#;
/// What the upstream's URL looks like.
pub(in super::super) const URL_WANTED: &str =
    r#"a URL like "https://api.weixin.qq.com", without path, query or user"#;
/// What an IP address looks like.
pub(in super::super) const IP_WANTED: &str =
    r#"an IP address of this machine like "203.0.113.7", without port"#;
/// What a network looks like.
pub(in super::super) const NETWORK_WANTED: &str =
    r#"a network like "10.1.0.0/16" or "fd00::/8", or an address like "10.1.2.3""#;

/// An address and port to listen on; names are not looked up.
pub(in super::super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| listen_wanted(text.trim()))
}

fn listen_wanted(text: &str) -> String {
    if text.starts_with("unix:") {
        return format!("{LISTEN_WANTED}: a unix socket is for [admin] alone");
    }
    let text = text.split_once("://").map_or(text, |(_, rest)| rest.trim_end_matches('/'));
    let (name, port) = text.rsplit_once(':').unwrap_or(("", text));
    let address = match name {
        "" | "localhost" => "127.0.0.1",
        "*" => "0.0.0.0",
        name => name,
    };
    match format!("{address}:{port}").parse::<SocketAddr>() {
        Ok(right) => format!("\"{right}\": an address and a port"),
        Err(_) => LISTEN_WANTED.to_owned(),
    }
}

/// Whether only this machine can reach the address; `::ffff:127.0.0.1` is loopback too.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether a host is known to be this machine without a lookup.
pub(in super::super) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}

/// Whether two listeners are on one address: an IPv4-mapped one is the IPv4 one. Port 0 twice is two ports.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let scope = |address: SocketAddr| match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    one.port() != 0
        && one.port() == other.port()
        && one.ip().to_canonical() == other.ip().to_canonical()
        && scope(one) == scope(other)
}

/// Whether two listeners cannot be open at one moment: on one port the same address, or one of them on all addresses of
/// the other's kind. All IPv6 addresses beside an IPv4 one can be (`listener::bind`).
pub(in super::super) fn conflict(one: SocketAddr, other: SocketAddr) -> bool {
    let (here, there) = (one.ip().to_canonical(), other.ip().to_canonical());
    let all = here.is_unspecified() || there.is_unspecified();
    is_same(one, other)
        || one.port() != 0 && one.port() == other.port() && all && here.is_ipv4() == there.is_ipv4()
}

/// The first address given twice. Port 0 twice is two ports.
pub(in super::super) fn twice(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let seen_before = |(i, address): &(usize, &SocketAddr)| {
        addresses.iter().take(*i).any(|earlier| is_same(*earlier, **address))
    };
    addresses.iter().enumerate().find(seen_before).map(|(_, address)| *address)
}

/// The address that outbound connections leave from.
pub(in super::super) fn egress_ip(text: &str) -> Result<IpAddr, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => Err(IP_WANTED.to_owned()),
        Ok(ip) => Ok(ip),
        Err(_) => Err(IP_WANTED.to_owned()),
    }
}

/// `https://host[:port]`, or `http://` for loopback.
pub(in super::super) fn upstream_url(text: &str) -> Result<BaseUrl, String> {
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
    if !tls && !is_this_machine(&host) {
        return Err("https://: plain http:// is accepted for loopback alone, for it would show the token \
                    to everyone on the way"
            .to_owned());
    }
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    BaseUrl::new(tls, &host, port).ok_or_else(wanted)
}

/// Whether a URL may be shown in a message: what stands before an `@` or after a `?` may be a password.
pub(in super::super) fn url_may_be_shown(text: &str) -> bool {
    !text.contains(['@', '?', '#'])
}

/// A host name or address without port, in the normal form that requests are compared in.
pub(in super::super) fn host(text: &str) -> Result<String, String> {
    if let Some(name) = host::normalize(text)
        && ServerName::try_from(&*name).is_ok()
    {
        return Ok(name.into_owned());
    }
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.split('/').next().unwrap_or_default();
    Err(match host::authority(bare) {
        Some((name, _)) if text != &*name => format!("\"{name}\": a name or an address alone, without port"),
        _ if text.contains('*') => "each host name in full: `*` has no meaning here".to_owned(),
        _ => r#"a host name or IP address without port, like "wx.example.com""#.to_owned(),
    })
}

/// A network, or a single address as one; an IPv4-mapped one as IPv4, for that is what callers are compared as.
pub(in super::super) fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| network_wanted(text))?;
    let IpNet::V6(v6) = network else { return Ok(network) };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    Ok(v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4))
}

fn network_wanted(text: &str) -> String {
    if text == "*" {
        return "the key left out: without `from` it may call from anywhere (then `key` is required)"
            .to_owned();
    }
    // "10.1.*" and "10.1.*.*" are 10.1.0.0/16.
    let parts: Vec<&str> = text.split('.').collect();
    let fixed = parts.iter().take_while(|part| **part != "*").count();
    if parts.len() <= 4 && fixed < parts.len() && parts.iter().skip(fixed).all(|part| *part == "*") {
        let octets: Vec<&str> = parts.iter().take(fixed).copied().chain(["0"; 4]).take(4).collect();
        if let Ok(address) = octets.join(".").parse::<Ipv4Addr>() {
            return format!("\"{address}/{}\"", fixed * 8);
        }
    }
    NETWORK_WANTED.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn networks_and_single_addresses() {
        for (text, right) in [
            ("10.1.0.0/16", Some("10.1.0.0/16")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::/8", Some("fd00::/8")),
            ("::1", Some("::1/128")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.1.0.0/112", Some("10.1.0.0/16")),
            ("::ffff:0:0/96", Some("0.0.0.0/0")),
            ("::/0", Some("::/0")),
            ("10.1.0.0/33", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(network(text).ok().map(|net| net.to_string()).as_deref(), right, "{text}");
        }
    }

    #[test]
    fn common_slips_are_told_the_right_spelling() {
        for (text, words) in [
            ("8080", "\"127.0.0.1:8080\": an address and a port"),
            (":8080", "\"127.0.0.1:8080\": an address and a port"),
            ("*:8080", "\"0.0.0.0:8080\": an address and a port"),
            ("localhost:80", "\"127.0.0.1:80\": an address and a port"),
            ("http://10.0.0.1:80/", "\"10.0.0.1:80\": an address and a port"),
            ("proxy.example.com:80", LISTEN_WANTED),
            ("10.0.0.1", LISTEN_WANTED),
            ("", LISTEN_WANTED),
        ] {
            assert_eq!(listen(text).unwrap_err(), words, "{text}");
        }
        assert!(listen("unix:/run/x").unwrap_err().ends_with("a unix socket is for [admin] alone"));
        for (text, words) in [
            ("a.example:80", "\"a.example\": a name or an address alone, without port"),
            ("https://A.example/", "\"a.example\": a name or an address alone, without port"),
            ("[::1]:80", "\"::1\": a name or an address alone, without port"),
            ("*.example.com", "each host name in full: `*` has no meaning here"),
            ("*", "each host name in full: `*` has no meaning here"),
        ] {
            assert_eq!(host(text).unwrap_err(), words, "{text}");
        }
        for (text, words) in [
            ("10.1.*", "\"10.1.0.0/16\""),
            ("10.1.*.*", "\"10.1.0.0/16\""),
            ("10.1.2.*", "\"10.1.2.0/24\""),
            ("10.*.2.3", NETWORK_WANTED),
            ("10.300.*", NETWORK_WANTED),
            ("10.1.2.3.*", NETWORK_WANTED),
        ] {
            assert_eq!(network(text).unwrap_err(), words, "{text}");
        }
        assert!(network("*").unwrap_err().contains("left out"));
    }

    #[test]
    fn the_same_address_twice_is_seen_but_not_port_0() {
        let listen = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(twice(&[listen("127.0.0.1:0"), listen("127.0.0.1:0")]), None);
        let (a, b) = (listen("127.0.0.1:1"), listen("[::1]:1"));
        assert_eq!(twice(&[a, b]), None);
        assert_eq!(twice(&[a, b, b]), Some(b));
        let mapped = listen("[::ffff:127.0.0.1]:1");
        assert_eq!(twice(&[a, mapped]), Some(mapped));
    }

    #[test]
    fn listeners_conflict_where_the_system_gives_one_of_them_alone() {
        for (one, other, right) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::ffff:127.0.0.1]:1", true),
            ("[::]:1", "[::1]:1", true),
            ("[::]:1", "0.0.0.0:1", false),
            ("[::]:1", "127.0.0.1:1", false),
            ("[fe80::1%1]:1", "[fe80::1%2]:1", false),
        ] {
            let [one, other] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!((conflict(one, other), conflict(other, one)), (right, right), "{one} {other}");
        }
    }
}
