//! The proxy that connections to API hosts go through: where it is, and what it has to be shown. A plain value.
//!
//! User name and password are secrets: neither `Debug` nor `Display` shows them.

use std::fmt;

use super::endpoint::Bracketed;
use crate::secret::Secret;

/// How a proxy is asked for a connection. Either way it looks the API host's name up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// HTTP's CONNECT.
    Http,
    /// SOCKS5.
    Socks5,
}

/// A proxy between this machine and the API hosts; shown as a URL without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundProxy {
    /// How it is asked.
    pub protocol: ProxyProtocol,
    /// Host name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it has to be shown, if anything.
    pub credentials: Option<ProxyCredentials>,
}

/// User name and password, neither longer than 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// User name.
    pub user: Secret,
    /// Password, perhaps empty.
    pub password: Secret,
}

impl fmt::Display for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Socks5 => "socks5h",
        };
        write!(f, "{scheme}://{}:{}", Bracketed(&self.host), self.port)
    }
}
