//! Makes connections to the one configured host: DNS, TCP from the egress address, TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tower_service::Service;

use super::connection::Connection;
use crate::config;
use crate::socket::Socket;

/// Connects to one host, and to no other.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    uri: Uri,
    limit: Duration,
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

/// `host`, `host:port` or `[v6]:port`, the port only where it is not the scheme's own.
pub(super) fn host_header(config: &config::Upstream) -> Result<HeaderValue, ConnectError> {
    let host = bracketed(&config.host);
    let usual = if config.tls { 443 } else { 80 };
    let text = if config.port == usual { host } else { format!("{host}:{}", config.port) };
    HeaderValue::from_str(&text)
        .map_err(|_| ConnectError::new(format!("upstream.url: `{text}` is not a host")))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl Connector {
    pub(super) fn new(
        config: &config::Upstream,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, ConnectError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        // With an IPv4 egress address the connector leaves IPv6 answers out, but only while this is set.
        tcp.set_happy_eyeballs_timeout(Some(Duration::from_millis(300)));
        tcp.set_local_address(config.egress_ip);
        let name = ServerName::try_from(config.host.clone())
            .map_err(|_| ConnectError::new(format!("upstream.url: `{}` is not a host name", config.host)))?;
        let scheme = if config.tls { "https" } else { "http" };
        let uri = format!("{scheme}://{}:{}/", bracketed(&config.host), config.port);
        Ok(Self {
            tcp,
            tls: config.tls.then(|| (TlsConnector::from(tls), name)),
            uri: uri.parse().map_err(|_| ConnectError::new(format!("upstream.url: `{uri}` is not a URL")))?,
            limit: config.connect_timeout,
        })
    }

    /// DNS, TCP and TLS within the time limit.
    pub(super) async fn connect(&self) -> Result<Box<Connection>, ConnectError> {
        match tokio::time::timeout(self.limit, self.attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectError::new(format!(
                "no connection to {} within {}",
                self.place(),
                humantime::format_duration(self.limit)
            ))),
        }
    }

    async fn attempt(&self) -> Result<Box<Connection>, ConnectError> {
        let tcp = self.tcp.clone().call(self.uri.clone()).await;
        let tcp =
            tcp.map_err(|e| ConnectError::new(format!("{}: {}", self.place(), chain(&e))))?.into_inner();
        let tcp = Socket::new(tcp);
        let wire = match &self.tls {
            None => Either::Left(tcp),
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), tcp).await;
                Either::Right(Box::new(stream.map_err(|e| self.tls_error(&e))?))
            }
        };
        Connection::new(wire).await.map_err(|e| ConnectError::new(format!("{}: {}", self.place(), chain(&e))))
    }

    fn tls_error(&self, e: &std::io::Error) -> ConnectError {
        ConnectError { text: format!("{}: TLS: {}", self.place(), chain(e)), tls: true }
    }

    fn place(&self) -> &str {
        self.uri.authority().map_or("the upstream", |a| a.as_str())
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
