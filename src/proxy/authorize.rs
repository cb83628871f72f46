//! Who may call, and what.
//!
//! Pure: an address, the fields of a request and the configured callers in, a caller or a refusal out. A
//! request is authorized before its body is read, before a token is rendered and before the upstream is
//! contacted. `X-Forwarded-For` is never believed; a client certificate is the listener's business.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::refusal::Refusal;
use super::settings::{Allow, Caller};
use crate::secret::Secret;

/// Where a caller may put its key by itself; the other places are those of HTTP authentication.
const KEY: HeaderName = HeaderName::from_static("x-wxgate-key");

/// Whether an `allow` entry covers a call; `path` is without the account's prefix.
fn covers(entry: &Allow, method: &Method, path: &str) -> bool {
    entry.method.as_ref().is_none_or(|allowed| allowed == method) && entry.path.covers(path)
}

/// What a request asks for, as far as rules about callers go.
#[derive(Debug, Clone, Copy)]
pub struct RequestedCall<'a> {
    /// Name of the account.
    pub account: &'a str,
    /// The method, in upper case.
    pub method: &'a Method,
    /// The path, without the account's prefix.
    pub path: &'a str,
    /// Whether wxgate answers it with a placeholder, which every known caller may have.
    pub asks_for_token: bool,
}

/// Finds the caller: the first of those who fit ([`who_fit`]) that may make this call. `requested` is `None` for a
/// request that belongs to no account: it tells no stranger what there is. With no callers configured
/// everyone may call, and nobody has a name.
///
/// # Errors
/// [`Refusal::Denied`] for a stranger, and for a call that nobody who fits may make.
pub fn authorize<'c>(
    callers: &'c [Caller],
    peer: IpAddr,
    headers: &HeaderMap,
    requested: Option<RequestedCall<'_>>,
) -> Result<Option<&'c Caller>, Refusal> {
    if callers.is_empty() {
        return Ok(None);
    }
    let mut known = false;
    let mut asks_for_placeholder = None;
    for caller in who_fit(callers, peer, headers) {
        known = true;
        match requested {
            Some(requested) if requested.asks_for_token => {
                if !may_use_account(caller, requested) {
                    continue;
                }
                // Of several that fit, one that may have the real token speaks for the others.
                if caller.real_token {
                    return Ok(Some(caller));
                }
                asks_for_placeholder.get_or_insert(caller);
            }
            Some(requested) if !may(caller, requested) => {}
            _ => return Ok(Some(caller)),
        }
    }
    if asks_for_placeholder.is_some() {
        return Ok(asks_for_placeholder);
    }
    Err(Refusal::Denied(match known {
        true => "this caller may not make this call; see `accounts` and `allow` in its [[caller]] table",
        false => {
            "this caller is not known; send its key in X-Wxgate-Key or as the password in the base URL, and see \
             `from` and `key` in the [[caller]] tables"
        }
    }))
}

/// The first caller who fits, whatever it may call.
pub fn first_known<'c>(callers: &'c [Caller], peer: IpAddr, headers: &HeaderMap) -> Option<&'c Caller> {
    who_fit(callers, peer, headers).next()
}

/// The callers whose address and key fit, in the order of the configuration; but those whose key the request shows come
/// before those whose address is enough: a program that shows a key is to be known by it.
fn who_fit<'c>(callers: &'c [Caller], peer: IpAddr, headers: &HeaderMap) -> impl Iterator<Item = &'c Caller> {
    let with_key = callers.iter().filter(|caller| !caller.keys.is_empty());
    let without = callers.iter().filter(|caller| caller.keys.is_empty());
    with_key.chain(without).filter(move |caller| fits(caller, peer, headers))
}

/// Whether a request's address and key are this caller's.
fn fits(caller: &Caller, peer: IpAddr, headers: &HeaderMap) -> bool {
    // An IPv4 caller of an IPv6 socket is the same caller.
    let peer = peer.to_canonical();
    let from_there = caller.from.is_empty() || caller.from.iter().any(|net| net.contains(&peer));
    from_there && has_key(caller, headers)
}

/// Whether a request shows one of the caller's keys, or needs none. All are compared: which one fits takes no less time.
fn has_key(caller: &Caller, headers: &HeaderMap) -> bool {
    let shown = caller.keys.iter().filter(|key| shows(headers, key)).count();
    caller.keys.is_empty() || shown > 0
}

fn may_use_account(caller: &Caller, requested: RequestedCall<'_>) -> bool {
    match &caller.accounts {
        Some(accounts) => accounts.iter().any(|name| name == requested.account),
        None => true,
    }
}

fn may(caller: &Caller, requested: RequestedCall<'_>) -> bool {
    let call_fits = match &caller.allow {
        Some(allow) => allow.iter().any(|entry| covers(entry, requested.method, requested.path)),
        None => true,
    };
    call_fits && may_use_account(caller, requested)
}

/// Whether the request shows this key, in any of the places where it may stand.
pub(crate) fn shows(headers: &HeaderMap, key: &Secret) -> bool {
    let mut found = headers.get_all(KEY).iter().any(|value| same(value.as_bytes().trim_ascii(), key));
    for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION] {
        for value in headers.get_all(name) {
            found |= from_authorization(value).is_some_and(|shown| same(&shown, key));
        }
    }
    found
}

/// `Bearer KEY`, or the password of `Basic …`; its user name may be anything.
fn from_authorization(value: &HeaderValue) -> Option<Zeroizing<Vec<u8>>> {
    let value = value.as_bytes();
    let space = value.iter().position(|b| *b == b' ')?;
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(Zeroizing::new(rest.to_vec()));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = Zeroizing::new(BASE64_STANDARD.decode(rest).ok()?);
    let colon = pair.iter().position(|b| *b == b':')?;
    Some(Zeroizing::new(pair[colon + 1..].to_vec()))
}

/// Compares in a time that tells nothing but whether the lengths differ.
fn same(shown: &[u8], key: &Secret) -> bool {
    shown.ct_eq(key.expose().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::route::PathPattern;

    fn caller(name: &str, from: &[&str], key: Option<&str>) -> Caller {
        Caller {
            name: name.into(),
            from: from.iter().map(|net| net.parse().unwrap()).collect(),
            keys: key.iter().map(|key| Secret::new((*key).to_owned())).collect(),
            rate: None,
            concurrent: None,
            accounts: None,
            allow: None,
            real_token: false,
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn who(callers: &[Caller], peer: &str, fields: &[(&'static str, &str)]) -> Option<String> {
        let caller = authorize(callers, peer.parse().unwrap(), &headers(fields), None).ok()??;
        Some(caller.name.to_string())
    }

    #[test]
    fn a_caller_that_may_not_make_a_call_is_known_by_name() {
        let mut app = caller("app", &["10.0.0.0/8"], Some("k"));
        app.allow = Some(Vec::new());
        let callers = [caller("other", &[], Some("o")), app];
        let (peer, method) = ("10.1.1.1".parse().unwrap(), Method::GET);
        let requested =
            RequestedCall { account: "main", method: &method, path: "/cgi-bin/x", asks_for_token: false };
        for (key, name) in [("k", Some("app")), ("wrong", None)] {
            let fields = headers(&[("x-wxgate-key", key)]);
            assert!(authorize(&callers, peer, &fields, Some(requested)).is_err());
            assert_eq!(first_known(&callers, peer, &fields).map(|caller| &*caller.name), name);
        }
    }

    #[test]
    fn without_callers_everyone_may_call() {
        assert_eq!(authorize(&[], "203.0.113.9".parse().unwrap(), &headers(&[]), None), Ok(None));
    }

    #[test]
    fn a_caller_is_known_by_address_and_key() {
        let callers = [
            caller("net", &["10.1.0.0/16", "fd00::/8"], None),
            caller("both", &["192.0.2.7/32"], Some("k-both")),
            caller("key", &[], Some("k-key")),
        ];
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for (peer, fields, right) in [
            ("10.1.2.3", &[][..], Some("net")),
            ("::ffff:10.1.2.3", &[], Some("net")),
            ("fd00::1", &[], Some("net")),
            ("10.2.2.3", &[], None),
            ("192.0.2.7", &[], None),
            ("192.0.2.7", &[("x-wxgate-key", "k-both")], Some("both")),
            ("192.0.2.8", &[("x-wxgate-key", "k-both")], None),
            ("203.0.113.9", &[("x-wxgate-key", "k-key")], Some("key")),
            ("203.0.113.9", &[("x-wxgate-key", "k-keyx")], None),
            ("203.0.113.9", &[("x-wxgate-key", "k-ke")], None),
            ("203.0.113.9", &[("x-wxgate-key", "")], None),
            ("203.0.113.9", &[("authorization", "Bearer k-key")], Some("key")),
            ("203.0.113.9", &[("authorization", "bearer  k-key")], Some("key")),
            ("203.0.113.9", &[("authorization", &basic("anyone:k-key"))], Some("key")),
            ("203.0.113.9", &[("authorization", &basic("k-key"))], None),
            ("203.0.113.9", &[("authorization", &basic(":k-key"))], Some("key")),
            ("203.0.113.9", &[("authorization", "Basic !!!")], None),
            ("203.0.113.9", &[("authorization", "k-key")], None),
            ("203.0.113.9", &[("proxy-authorization", &basic("u:k-key"))], Some("key")),
            ("203.0.113.9", &[("proxy-authorization", "Bearer k-key")], Some("key")),
            (
                "203.0.113.9",
                &[("authorization", "Bearer k-key"), ("proxy-authorization", "Bearer k-key")],
                Some("key"),
            ),
            // The app's own credentials may stand beside the key.
            ("203.0.113.9", &[("authorization", "Bearer other"), ("x-wxgate-key", "k-key")], Some("key")),
            ("203.0.113.9", &[("x-forwarded-for", "10.1.2.3"), ("x-real-ip", "10.1.2.3")], None),
            // The address would do, but a key was shown.
            ("10.1.2.3", &[("x-wxgate-key", "k-key")], Some("key")),
            ("10.1.2.3", &[("x-wxgate-key", "k-both")], Some("net")),
        ] {
            assert_eq!(who(&callers, peer, fields).as_deref(), right, "{peer} {fields:?}");
        }
    }

    #[test]
    fn rules_decide_what_a_known_caller_may_call() {
        let allow = |method, path| Allow { method, path: PathPattern::parse(path).unwrap() };
        let mut reader = caller("reader", &["127.0.0.0/8"], None);
        reader.accounts = Some(vec!["main".to_owned()]);
        reader.allow =
            Some(vec![allow(Some(Method::GET), "/cgi-bin/user/*"), allow(None, "/cgi-bin/menu/get")]);
        let mut writer = caller("writer", &[], Some("k"));
        writer.allow = Some(vec![allow(Some(Method::POST), "/cgi-bin/message/*")]);
        let callers = [reader, writer];
        for (fields, account, method, path, right) in [
            (&[][..], "main", "GET", "/cgi-bin/user/info", Some("reader")),
            (&[], "main", "POST", "/cgi-bin/user/info", None),
            (&[], "shop", "GET", "/cgi-bin/user/info", None),
            (&[], "main", "DELETE", "/cgi-bin/menu/get", Some("reader")),
            (&[], "main", "GET", "/cgi-bin/menu/get/", None),
            (&[], "main", "GET", "/cgi-bin/users", None),
            (&[("x-wxgate-key", "k")], "shop", "POST", "/cgi-bin/message/custom/send", Some("writer")),
            (&[("x-wxgate-key", "k")], "main", "GET", "/cgi-bin/user/get", Some("reader")),
            (&[("x-wxgate-key", "k")], "main", "POST", "/cgi-bin/clear_quota", None),
        ] {
            let method = method.parse().unwrap();
            let asked = Some(RequestedCall { account, method: &method, path, asks_for_token: false });
            let found =
                authorize(&callers, "127.0.0.1".parse().unwrap(), &headers(fields), asked).ok().flatten();
            assert_eq!(found.map(|caller| &*caller.name), right, "{account} {method} {path}");
        }
    }

    #[test]
    fn a_token_call_needs_no_rule() {
        let rule =
            || Some(vec![Allow { method: None, path: PathPattern::parse("/cgi-bin/user/*").unwrap() }]);
        let limited =
            Caller { allow: rule(), accounts: Some(vec!["main".to_owned()]), ..caller("limited", &[], None) };
        let trusted = Caller { allow: rule(), real_token: true, ..caller("trusted", &[], Some("k")) };
        let callers = [limited, trusted];
        for (fields, account, right) in [
            (&[][..], "main", Some("limited")),
            (&[], "shop", None),
            (&[("x-wxgate-key", "k")], "main", Some("trusted")),
            (&[("x-wxgate-key", "k")], "shop", Some("trusted")),
        ] {
            let requested =
                RequestedCall { account, method: &Method::GET, path: "/cgi-bin/token", asks_for_token: true };
            let found = authorize(&callers, "127.0.0.1".parse().unwrap(), &headers(fields), Some(requested));
            assert_eq!(found.ok().flatten().map(|caller| &*caller.name), right, "{account} {fields:?}");
        }
        let stranger = [caller("other", &["10.0.0.0/8"], None)];
        let requested = RequestedCall {
            account: "main",
            method: &Method::GET,
            path: "/cgi-bin/token",
            asks_for_token: true,
        };
        assert!(authorize(&stranger, "127.0.0.1".parse().unwrap(), &headers(&[]), Some(requested)).is_err());
    }
}
