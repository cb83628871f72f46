//! Who may ask the admin listener: one decision before every route.
//!
//! A key against strangers, `Host` against DNS rebinding (a page of an attacker's whose name suddenly leads to this
//! listener), `Origin` and `Sec-Fetch-Site` against forms that a foreign page posts with the operator's own browser. The
//! probes alone are open, for load balancers send neither a key nor a known name. It asks the system no more than whether
//! an address is one of this machine's, where the listener is on all of them.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, Uri, header};

use crate::http1::host;
use crate::proxy::authorize;
use crate::secret::Secret;

/// Paths that are answered without a key and under any name; they tell a status and nothing else.
pub const PROBES: [&str; 3] = ["/livez", "/healthz", "/readyz"];

/// What the gate is set to.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where the listener is.
    pub at: At,
    /// What must be shown; `None`: nothing.
    pub key: Option<Secret>,
    /// Further names, in any spelling.
    pub hosts: Vec<String>,
}

/// Where an admin listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// On a unix socket: no web page can reach it, so any Host is right.
    Unix,
    /// On this address.
    Tcp(SocketAddr),
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is answered.
    Admit {
        /// Whether it may learn more than a status: the key was shown, or there is none.
        trusted: bool,
    },
    /// The key is missing or wrong: 401 with a challenge.
    Unauthorized,
    /// It comes by a foreign name or from a foreign page: 403, with why and what to do.
    Forbidden(&'static str),
}

const FOREIGN_HOST: &str = "this Host is neither loopback nor an address of the admin listener; call it by one of \
                            those, or add the name to `hosts` in [admin]";
const FOREIGN_ORIGIN: &str = "this request was sent by a page of another origin; nothing was changed";

/// Decides about a request, whatever its route.
pub fn decide(rules: &Rules, method: &Method, uri: &Uri, headers: &HeaderMap) -> Decision {
    let shown = rules.key.as_ref().is_none_or(|key| authorize::shows(headers, key));
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads && PROBES.contains(&uri.path()) {
        return Decision::Admit { trusted: shown };
    }
    let host = authority(uri, headers);
    if !host.is_some_and(|host| rules.knows(host)) {
        return Decision::Forbidden(FOREIGN_HOST);
    }
    if !shown {
        return Decision::Unauthorized;
    }
    // Everything but GET and HEAD may change something, also a method that no route has.
    if !reads && !same_origin(host.unwrap_or_default(), headers) {
        return Decision::Forbidden(FOREIGN_ORIGIN);
    }
    Decision::Admit { trusted: true }
}

/// The one authority that a request names; HTTP/2 has it in its target. `None`: none, or several.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), None, None) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        (Some(authority), Some(host), None) if authority.as_str() == host => Some(authority.as_str()),
        _ => None,
    }
}

impl Rules {
    fn knows(&self, authority: &str) -> bool {
        let At::Tcp(listener) = self.at else { return true };
        let Some((name, _)) = host::authority(authority) else { return false };
        let of_listener = match name.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || is_of(listener.ip(), ip),
            Err(_) => name == "localhost",
        };
        of_listener
            || self.hosts.iter().any(|known| host::normalize(known).is_some_and(|known| known == name))
    }
}

/// Whether a listener on `bound` can be reached at `ip`. One on all addresses is reached at those of this machine:
/// only they can be bound to.
fn is_of(bound: IpAddr, ip: IpAddr) -> bool {
    match bound.is_unspecified() {
        true => !ip.is_unspecified() && std::net::UdpSocket::bind((ip, 0)).is_ok(),
        false => bound.to_canonical() == ip,
    }
}

/// Whether a request that may change something was sent by the page itself, or by no page at all.
fn same_origin(host: &str, headers: &HeaderMap) -> bool {
    let site_fits = headers
        .get_all("sec-fetch-site")
        .iter()
        .all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    let origin_fits = headers.get_all(header::ORIGIN).iter().all(|origin| {
        // Behind a proxy that speaks TLS the page's scheme is another than ours; name and port decide.
        let origin = origin.to_str().unwrap_or_default();
        let (rest, default) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
            (Some(rest), _) => (rest, ":80"),
            (_, Some(rest)) => (rest, ":443"),
            // `null` and whatever else.
            _ => return false,
        };
        let bare =
            |authority: &str| authority.strip_suffix(default).unwrap_or(authority).to_ascii_lowercase();
        bare(rest) == bare(host)
    });
    site_fits && origin_fits
}

#[cfg(test)]
mod tests;
