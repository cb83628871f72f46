//! Which API host is meant, and how connections to it are made.
//!
//! An [`Endpoint`] is what decides whether two accounts share connections, and whether a stored token still belongs
//! to its account. Pure values: nothing is looked up or connected to.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;

use super::outbound_proxy::OutboundProxy;
use super::tls::Trust;

/// Scheme, host and port; shown as `https://host:port`, which is also what a stored token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    tls: bool,
    host: String,
    port: u16,
}

impl BaseUrl {
    /// `tls` for `https`, else `http`; `host` is a name or an address, without brackets. `None` when TLS could verify
    /// no such host.
    pub fn new(tls: bool, host: &str, port: u16) -> Option<Self> {
        ServerName::try_from(host).ok()?;
        Some(Self { tls, host: host.to_owned(), port })
    }

    /// Whether the scheme is `https`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host name or address, without brackets and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` field: the port only where it is not the scheme's own.
    pub fn host_header(&self) -> HeaderValue {
        HeaderValue::try_from(self.authority()).expect("what TLS can verify is visible ASCII")
    }

    /// As people write it: `https://host`, and the port only where it is not the scheme's own.
    pub fn shortest(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }

    fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let host = Bracketed(&self.host);
        if self.port == usual { host.to_string() } else { format!("{host}:{}", self.port) }
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The name that the certificate must be for.
    pub(super) fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.host.clone()).expect("checked when the value was made")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme(), Bracketed(&self.host), self.port)
    }
}

/// A host as URLs write it: an IPv6 address in brackets.
pub(super) struct Bracketed<'a>(pub(super) &'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// One API host, the address that connections to it leave from, the proxy that they go through, and whom they trust:
/// the key of connection pools.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where it is.
    pub base: BaseUrl,
    /// The local address of every connection; `None`: the system chooses.
    pub egress: Option<IpAddr>,
    /// The proxy that every connection goes through.
    pub proxy: Option<OutboundProxy>,
    /// The trust roots of TLS.
    pub trust: Trust,
}

impl Endpoint {
    /// Whom connections are made to: name or address, and port.
    pub fn peer(&self) -> (&str, u16) {
        match &self.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (self.base.host(), self.base.port()),
        }
    }
}

/// How calls to an API host are limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time for DNS, TCP, the proxy and TLS together.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the head of the response.
    pub response_timeout: Duration,
    /// Connections at one moment, of all workers together; token calls are not counted.
    pub max_connections: usize,
    /// Idle connections that each worker keeps ready.
    pub warm_connections: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_url_and_host_header_name_the_same_host() {
        for (tls, host, port, base, header) in [
            (true, "api.weixin.qq.com", 443, "https://api.weixin.qq.com:443", "api.weixin.qq.com"),
            (true, "api.weixin.qq.com", 8443, "https://api.weixin.qq.com:8443", "api.weixin.qq.com:8443"),
            (false, "127.0.0.1", 80, "http://127.0.0.1:80", "127.0.0.1"),
            (false, "127.0.0.1", 443, "http://127.0.0.1:443", "127.0.0.1:443"),
            (true, "2001:db8::1", 443, "https://[2001:db8::1]:443", "[2001:db8::1]"),
            (true, "2001:db8::1", 1, "https://[2001:db8::1]:1", "[2001:db8::1]:1"),
        ] {
            let url = BaseUrl::new(tls, host, port).unwrap();
            assert_eq!((url.to_string().as_str(), url.host_header()), (base, header.parse().unwrap()));
            assert_eq!(url.shortest(), format!("{}://{header}", if tls { "https" } else { "http" }));
        }
        assert_eq!(BaseUrl::new(true, "[::1]", 443), None);
        assert_eq!(BaseUrl::new(true, "a b", 443), None);
    }
}
