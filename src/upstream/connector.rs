//! Makes connections to one API host: DNS, TCP from the egress address, TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tower_service::Service;

use super::api_host::ApiHost;
use super::connection::Connection;
use super::endpoint::{BaseUrl, Endpoint};
use crate::socket::Socket;

/// Connects to one API host, and to no other.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    host: Arc<ApiHost>,
}

/// Why there is no connection; the text is for the log.
#[derive(Debug)]
pub struct ConnectError {
    text: String,
    tls: bool,
}

impl ConnectError {
    fn new(text: String) -> Self {
        Self { text, tls: false }
    }

    /// Whether the other side was reached and TLS with it failed.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConnectError {}

impl Connector {
    pub(super) fn new(host: Arc<ApiHost>) -> Self {
        let (Endpoint { base, egress, trust }, limit) = (host.endpoint(), host.settings().connect_timeout);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        // With an IPv4 egress address the connector leaves IPv6 answers out, but only while this is set.
        tcp.set_happy_eyeballs_timeout(Some(Duration::from_millis(300)));
        tcp.set_local_address(*egress);
        let tls = base.is_tls().then(|| (TlsConnector::from(Arc::clone(trust.client())), base.server_name()));
        Self { tcp, tls, host }
    }

    /// DNS, TCP and TLS within the time limit.
    pub(super) async fn connect(&self) -> Result<Box<Connection>, ConnectError> {
        let limit = self.host.settings().connect_timeout;
        match tokio::time::timeout(limit, self.attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectError::new(format!(
                "no connection to {} within {}",
                self.base(),
                humantime::format_duration(limit)
            ))),
        }
    }

    async fn attempt(&self) -> Result<Box<Connection>, ConnectError> {
        let uri: Uri = self.base().to_string().parse().expect("a base URL is a URL");
        let tcp = self.tcp.clone().call(uri).await;
        let tcp = tcp.map_err(|e| ConnectError::new(format!("{}: {}", self.base(), chain(&e))))?.into_inner();
        let tcp = Socket::new(tcp);
        let wire = match &self.tls {
            None => Either::Left(tcp),
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), tcp).await;
                Either::Right(Box::new(stream.map_err(|e| self.tls_error(&e))?))
            }
        };
        Connection::new(wire).await.map_err(|e| ConnectError::new(format!("{}: {}", self.base(), chain(&e))))
    }

    fn tls_error(&self, e: &std::io::Error) -> ConnectError {
        ConnectError { text: format!("{}: TLS: {}", self.base(), chain(e)), tls: true }
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
