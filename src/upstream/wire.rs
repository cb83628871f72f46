//! The way to a host, the same for forwarded calls and token calls: name, TCP from the egress address, the proxy, TLS.
//!
//! All of it within `connect_timeout`. An error names the leg that failed. Speaks no HTTP with the host.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::dial::{DialError, dial};
use super::site::Site;
use super::traffic::Wire;
use super::tunnel::{self, Target, TunnelError};
use crate::socket::Socket;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ConnectError {
    /// For the log.
    pub(super) text: String,
    pub(super) fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The host was not reached.
    Unreachable,
    /// It was reached, and TLS with it failed.
    Tls,
    /// The proxy was not reached, or does not serve wxgate.
    Proxy,
    /// There are too many connections already.
    Busy,
}

impl ConnectError {
    /// Whether the other side was reached and TLS with it failed.
    pub fn is_tls(&self) -> bool {
        self.fault == Fault::Tls
    }

    /// Whether it is the proxy that cannot be used.
    pub fn is_of_proxy(&self) -> bool {
        self.fault == Fault::Proxy
    }

    /// Whether it is wxgate that has too many connections already.
    pub fn is_busy(&self) -> bool {
        self.fault == Fault::Busy
    }

    /// Another host could not be reached either.
    pub(super) fn and(&mut self, further: &Self) {
        self.text.push_str("; ");
        self.text.push_str(&further.text);
    }

    /// Whether another host might be reached all the same.
    pub(super) fn is_of_host(&self) -> bool {
        matches!(self.fault, Fault::Unreachable | Fault::Tls)
    }
}

impl Site {
    /// A connection to the host.
    pub(super) async fn wire(&self) -> Result<Wire, ConnectError> {
        let deadline = Instant::now() + self.settings().connect_timeout;
        // It counts what the proxy is sent, too, as the kernel does.
        let mut tcp = Socket::new(self.tcp(deadline).await?);
        if self.endpoint().proxy.is_some() {
            self.tunnel(&mut tcp, deadline).await?;
        }
        let Some(tls) = &self.tls else { return Ok(Either::Left(tcp)) };
        let connecting = TlsConnector::from(Arc::clone(&tls.client)).connect(tls.name.clone(), tcp);
        let stream = self.within(deadline, Fault::Tls, "the TLS handshake was not over", connecting).await?;
        let stream =
            stream.map_err(|error| self.fails(Fault::Tls, format_args!("TLS: {}", chain(&error))))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if let Some(certificate) = shown {
            self.note_certificate(certificate);
        }
        Ok(Either::Right(Box::new(stream)))
    }

    /// To the host, or to the proxy before it.
    async fn tcp(&self, deadline: Instant) -> Result<TcpStream, ConnectError> {
        let proxy = self.endpoint().proxy.as_ref();
        let (fault, slow) = match proxy {
            Some(_) => (Fault::Proxy, "the proxy was not reached"),
            None => (Fault::Unreachable, "it was not reached"),
        };
        let fails = |fault, error: &dyn Display| match proxy {
            Some(proxy) => self.fails(fault, format_args!("the proxy {proxy} is not reached: {error}")),
            None => self.fails(fault, error),
        };
        let addresses = self.within(deadline, fault, slow, self.resolver.addresses()).await?;
        let addresses = addresses.map_err(|error| fails(fault, &error))?;
        let dialing = dial(&addresses, self.endpoint().peer().1, self.endpoint().egress);
        let dialed = self.within(deadline, fault, slow, dialing).await?;
        let dialed = dialed.map_err(|error| match error {
            DialError::Exhausted(_) => self.busy(format!("{}: {error}", self.endpoint().base)),
            _ => fails(fault, &error),
        })?;
        dialed.failed.into_iter().for_each(|address| self.resolver.demote(address));
        Ok(dialed.stream)
    }

    async fn tunnel(&self, stream: &mut Socket, deadline: Instant) -> Result<(), ConnectError> {
        let Some(proxy) = &self.endpoint().proxy else { return Ok(()) };
        let base = &self.endpoint().base;
        let target = Target { host: base.host(), port: base.port() };
        let opening = tunnel::open(proxy, stream, target);
        let slow = "the proxy had not made the connection";
        // It may be slow because the host is.
        let opened = self.within(deadline, Fault::Unreachable, slow, opening).await?;
        opened.map_err(|error| {
            let fault = match error {
                TunnelError::Refused(_) => Fault::Unreachable,
                TunnelError::Credentials(_) | TunnelError::Strange(_) | TunnelError::Broken(_) => {
                    Fault::Proxy
                }
            };
            self.fails(fault, format_args!("the proxy {proxy}: {error}"))
        })
    }

    async fn within<T>(
        &self,
        deadline: Instant,
        fault: Fault,
        slow: &str,
        leg: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        timeout_at(deadline, leg).await.map_err(|_| {
            let limit = humantime::format_duration(self.settings().connect_timeout);
            self.fails(fault, format_args!("no connection within {limit}: {slow}"))
        })
    }

    pub(super) fn fails(&self, fault: Fault, what: impl Display) -> ConnectError {
        ConnectError { text: format!("{}: {what}", self.endpoint().base), fault }
    }

    pub(super) fn busy(&self, text: String) -> ConnectError {
        self.log_busy(&text);
        ConnectError { text, fault: Fault::Busy }
    }
}

/// An error with all its causes, since the outermost one rarely says what happened.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
