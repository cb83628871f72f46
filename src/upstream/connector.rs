//! Makes connections to one API host: name, TCP from the egress address, TLS.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::api_host::ApiHost;
use super::connection::Connection;
use super::dial::{DialError, dial};
use super::endpoint::BaseUrl;
use crate::socket::Socket;

/// Connects to one API host, and to no other.
#[derive(Clone)]
pub(super) struct Connector {
    host: Arc<ApiHost>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ConnectError {
    /// For the log.
    text: String,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It was not reached.
    Unreachable,
    /// It was reached, and TLS with it failed.
    Tls,
    /// There are too many connections already.
    Busy,
}

impl ConnectError {
    /// Whether the other side was reached and TLS with it failed.
    pub fn is_tls(&self) -> bool {
        self.fault == Fault::Tls
    }

    /// Whether it is wxgate that has too many connections already.
    pub fn is_busy(&self) -> bool {
        self.fault == Fault::Busy
    }
}

impl Connector {
    pub(super) fn new(host: Arc<ApiHost>) -> Self {
        let (base, trust) = (&host.endpoint().base, &host.endpoint().trust);
        let tls = base.is_tls().then(|| (TlsConnector::from(Arc::clone(trust.client())), base.server_name()));
        Self { host, tls }
    }

    pub(super) fn host(&self) -> &ApiHost {
        &self.host
    }

    /// As soon as there may be one more connection, at most after `connect_timeout`; then as [`Self::connect_with`].
    pub(super) async fn connect(&self) -> Result<Box<Connection>, ConnectError> {
        self.connect_with(self.permit().await?).await
    }

    /// The right to make one more connection.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, ConnectError> {
        self.host.permit().await.ok_or_else(|| {
            let most = self.host.settings().max_connections;
            let text = format!("{}: {most} connections are in use (upstream.max_connections)", self.base());
            self.busy(text)
        })
    }

    /// Name lookup, TCP and TLS within the time limit.
    pub(super) async fn connect_with(
        &self,
        permit: OwnedSemaphorePermit,
    ) -> Result<Box<Connection>, ConnectError> {
        let limit = self.host.settings().connect_timeout;
        match tokio::time::timeout(limit, self.attempt(permit)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let limit = humantime::format_duration(limit);
                let text = format!("no connection to {} within {limit}", self.base());
                Err(ConnectError { text, fault: Fault::Unreachable })
            }
        }
    }

    async fn attempt(&self, permit: OwnedSemaphorePermit) -> Result<Box<Connection>, ConnectError> {
        let unreachable = |error: &dyn std::error::Error| self.error(error, Fault::Unreachable);
        let addresses = self.host.resolver.addresses().await.map_err(|e| unreachable(&e))?;
        let dialed = dial(&addresses, self.base().port(), self.host.endpoint().egress).await;
        let dialed = dialed.map_err(|error| match error {
            DialError::Exhausted(_) => self.busy(format!("{}: {error}", self.base())),
            _ => unreachable(&error),
        })?;
        dialed.failed.into_iter().for_each(|address| self.host.resolver.demote(address));
        let tcp = Socket::new(dialed.stream);
        let wire = match &self.tls {
            None => Either::Left(tcp),
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), tcp).await.map_err(|error| self.tls_error(&error))?;
                if let Some([shown, ..]) = stream.get_ref().1.peer_certificates() {
                    self.host.note_certificate(shown);
                }
                Either::Right(Box::new(stream))
            }
        };
        Connection::new(wire, permit).await.map_err(|error| unreachable(&error))
    }

    fn busy(&self, text: String) -> ConnectError {
        self.host.log_busy(&text);
        ConnectError { text, fault: Fault::Busy }
    }

    fn error(&self, error: &dyn std::error::Error, fault: Fault) -> ConnectError {
        ConnectError { text: format!("{}: {}", self.base(), chain(error)), fault }
    }

    fn tls_error(&self, error: &dyn std::error::Error) -> ConnectError {
        ConnectError { text: format!("{}: TLS: {}", self.base(), chain(error)), fault: Fault::Tls }
    }

    fn base(&self) -> &BaseUrl {
        &self.host.endpoint().base
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
