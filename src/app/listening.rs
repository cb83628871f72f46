//! The sockets that callers reach: opened before anything else, handed to the workers, the same until a restart.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::StartError;
use crate::admin::gate::{At, Rules};
use crate::config::{self, Config, is_loopback};
use crate::listener::{self, Bound, SharedTls};

/// What callers have to speak to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// One address that callers can reach; shown as a URL.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// The real address, also where port 0 was asked for.
    pub address: SocketAddr,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// Open sockets that no worker has yet.
pub(super) struct Sockets(Vec<(Bound, Scheme)>);

impl Sockets {
    /// One for each address and worker.
    ///
    /// # Errors
    /// When an address is taken, or not of this machine.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let plain = config.listen.iter().map(|address| (*address, Scheme::Http));
        let https = config.tls.iter().flat_map(|tls| &tls.listen).map(|address| (*address, Scheme::Https));
        let bound = plain
            .chain(https)
            .map(|(address, scheme)| {
                Ok((listener::bind(address, config.workers, config.addresses())?, scheme))
            })
            .collect::<io::Result<Vec<_>>>();
        bound.map(Self).map_err(StartError::because)
    }

    /// The addresses that they have.
    pub(super) fn listening(&self) -> Vec<Listening> {
        let listening =
            |(bound, scheme): &(Bound, Scheme)| Listening { scheme: *scheme, address: bound.address };
        self.0.iter().map(listening).collect()
    }

    /// Those of one more worker.
    pub(super) fn of_one(&mut self, tls: Option<&SharedTls>) -> Vec<(TcpListener, Option<SharedTls>)> {
        let of_one = |(bound, scheme): &mut (Bound, Scheme)| {
            let tls = tls.filter(|_| *scheme == Scheme::Https);
            Some((bound.take()?, tls.cloned()))
        };
        self.0.iter_mut().filter_map(of_one).collect()
    }
}

/// What HTTPS listeners show and ask for, where there are any; replaced at a reload.
pub(super) fn shared_tls(config: &Config) -> Result<Option<SharedTls>, StartError> {
    let made = config.tls.as_ref().map(server_config).transpose()?;
    Ok(made.map(|made| Arc::new(ArcSwap::new(made))))
}

/// # Errors
/// When certificate and key are unusable.
pub(super) fn server_config(tls: &config::Tls) -> Result<Arc<ServerConfig>, StartError> {
    crate::tls::server_config(&tls.pem).map_err(|e| StartError(format!("tls.{}: {e}", e.key())))
}

/// The sockets stay as they are until a restart, so the new rules must be enough for the old addresses.
///
/// # Errors
/// When anybody who reaches one of them could use an account.
pub(super) fn refuse_open_relay(listening: &[Listening], config: &Config) -> Result<(), StartError> {
    if config.open_to_everyone || !config.callers.is_empty() {
        return Ok(());
    }
    let certificates = config.tls.as_ref().is_some_and(|tls| tls.pem.client_ca.is_some());
    let guarded = |listening: &&Listening| {
        is_loopback(listening.address.ip()) || (listening.scheme == Scheme::Https && certificates)
    };
    match listening.iter().find(|listening| !guarded(listening)) {
        None => Ok(()),
        Some(listening) => Err(StartError(format!(
            "{listening} stays open until a restart, and by the new configuration whoever reaches it could use \
             the WeChat account; restart wxgate, or keep a [[caller]] or `client_ca`"
        ))),
    }
}

/// The same of the admin listener's socket, whose key may have gone together with the address that it was for.
///
/// # Errors
/// When anybody who reaches it could use it.
pub(super) fn refuse_open_admin(rules: &Rules) -> Result<(), StartError> {
    match (rules.at, &rules.key) {
        (At::Tcp(address), None) if !is_loopback(address.ip()) => Err(StartError(format!(
            "the admin listener stays open on {address} until a restart, and by the new configuration whoever reaches it \
             could make calls with the WeChat account; restart wxgate, or keep `admin.key`"
        ))),
        _ => Ok(()),
    }
}
