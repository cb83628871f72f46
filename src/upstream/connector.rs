//! Makes the connections of forwarded calls to one host: the right to one more, the way there, HTTP/1.1 on it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::connection::Connection;
use super::site::Site;
use super::wire::{ConnectError, Fault};

/// Connects to one host, and to no other.
#[derive(Clone)]
pub(super) struct Connector(Arc<Site>);

impl Connector {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self(site)
    }

    pub(super) fn host(&self) -> &Site {
        &self.0
    }

    /// As soon as there may be one more connection, at most after `connect_timeout`; then as [`Self::connect_with`].
    pub(super) async fn connect(&self) -> Result<Box<Connection>, ConnectError> {
        self.connect_with(self.permit().await?).await
    }

    /// The right to make one more connection.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, ConnectError> {
        self.0.permit().await.ok_or_else(|| {
            let (base, most) = (&self.0.endpoint().base, self.0.settings().max_connections);
            self.0.busy(format!("{base}: {most} connections are in use (upstream.max_connections)"))
        })
    }

    /// The way there within the time limit.
    pub(super) async fn connect_with(
        &self,
        permit: OwnedSemaphorePermit,
    ) -> Result<Box<Connection>, ConnectError> {
        let wire = self.0.wire().await?;
        Connection::new(wire, permit).await.map_err(|error| self.0.fails(Fault::Unreachable, error))
    }
}
