//! The URL of the proxy before the API hosts.
//!
//! Its user and password are secrets: no message shows anything of it.

use percent_encoding::percent_decode_str;

use super::address::host;
use crate::secret::Secret;
use crate::upstream::{OutboundProxy, ProxyCredentials, ProxyProtocol};

const WANTED: &str = "want http://[user:pass@]host:port or socks5h://[user:pass@]host:port";

/// More than this no SOCKS5 proxy can be shown.
const LONGEST: usize = 255;

/// Reads it; an error is a whole sentence.
pub(in super::super) fn outbound_proxy(text: &str) -> Result<OutboundProxy, String> {
    let wrong = |what: &str| format!("{what}; {WANTED}");
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
    let protocol = match scheme.to_ascii_lowercase().as_str() {
        "http" => ProxyProtocol::Http,
        "socks5h" => ProxyProtocol::Socks5,
        "socks5" => {
            return Err(wrong("`socks5://` would look names up here; the proxy does it with `socks5h://`"));
        }
        "https" => return Err(wrong("TLS with the proxy itself is not supported")),
        _ => return Err(wrong("proxies of this scheme are not supported")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    if login.unwrap_or_default().contains(['/', '?', '#', '@']) {
        return Err(wrong("`/`, `?`, `#` and `@` in user and password are written %2F, %3F, %23 and %40"));
    }
    if place.contains(['/', '?', '#']) {
        return Err(wrong("it has a path, and a proxy is named without one"));
    }
    let (name, port) = place.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("its port is none"))?;
    let bare = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|name| name.contains(':')),
        None => Some(name).filter(|name| !name.contains(':')),
    };
    let host = bare
        .and_then(|name| host(name).ok())
        .ok_or_else(|| wrong("its host is neither a name nor an address"))?;
    let credentials = login.map(|login| credentials(login, protocol)).transpose().map_err(wrong)?;
    Ok(OutboundProxy { protocol, host, port, credentials })
}

fn credentials(login: &str, protocol: ProxyProtocol) -> Result<ProxyCredentials, &'static str> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |text| match percent_decode_str(text).decode_utf8() {
        Ok(text) if text.contains(char::is_control) => Err("its user or password holds control characters"),
        Ok(text) if text.len() > LONGEST => Err("its user or password is longer than 255 bytes"),
        Ok(text) => Ok(Secret::new(text.into_owned())),
        Err(_) => Err("its user or password is not UTF-8"),
    };
    let (user, password) = (decoded(user)?, decoded(password)?);
    match protocol {
        _ if user.is_empty() => Err("its user is empty"),
        ProxyProtocol::Http if user.expose().contains(':') => {
            Err("a `:` in the user is not possible with Basic")
        }
        ProxyProtocol::Socks5 if password.is_empty() => Err("SOCKS5 needs a password beside the user"),
        _ => Ok(ProxyCredentials { user, password }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_decoded() {
        for (text, shown, login) in [
            ("http://proxy.example.com:3128", "http://proxy.example.com:3128", None),
            ("HTTP://Proxy.Example.com:3128/", "http://proxy.example.com:3128", None),
            ("socks5h://10.0.0.1:1080", "socks5h://10.0.0.1:1080", None),
            ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080", None),
            ("http://alice:hunter2@p:1", "http://p:1", Some(("alice", "hunter2"))),
            ("http://a%40b:p%3Aw%2F%C3%A9:x@p:1", "http://p:1", Some(("a@b", "p:w/é:x"))),
            ("http://token@p:1", "http://p:1", Some(("token", ""))),
            ("socks5h://u:p@[::1]:1080", "socks5h://[::1]:1080", Some(("u", "p"))),
        ] {
            let proxy = outbound_proxy(text).unwrap_or_else(|words| panic!("{text}: {words}"));
            let read = proxy.credentials.as_ref().map(|c| (c.user.expose(), c.password.expose()));
            assert_eq!((proxy.to_string().as_str(), read), (shown, login), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_any_of_it() {
        for (text, words) in [
            ("hunter2", "no scheme"),
            ("", "no scheme"),
            ("https://u:hunter2@p:1", "TLS with the proxy"),
            ("socks5://u:hunter2@p:1", "socks5h"),
            ("socks4://u:hunter2@p:1", "this scheme"),
            ("http://hunter2", "no port"),
            ("http://hunter2:", "port is none"),
            ("http://p:0", "port is none"),
            ("http://p:99999", "port is none"),
            ("http://p:80/hunter2", "has a path"),
            ("http://p:80//", "has a path"),
            ("http://p:80?hunter2", "has a path"),
            ("http://u:hunter2/x@p:80", "%2F"),
            ("http://u:hunter2@x@p:80", "%40"),
            ("http://2001:db8::1:80", "neither a name"),
            ("http://[hunter2]:80", "neither a name"),
            ("http://:80", "neither a name"),
            ("http://:hunter2@p:80", "user is empty"),
            ("http://a%3Ab:hunter2@p:80", "`:` in the user"),
            ("http://u:hunter2%0a@p:80", "control characters"),
            ("http://u:hunter2%ff@p:80", "UTF-8"),
            ("socks5h://hunter2@p:80", "needs a password"),
            (&format!("socks5h://u:{}@p:80", "x".repeat(256)), "255"),
        ] {
            let said = outbound_proxy(text).unwrap_err();
            assert!(
                said.contains(words) && !said.contains("hunter2") && said.ends_with(WANTED),
                "{text}: {said}"
            );
        }
    }
}
