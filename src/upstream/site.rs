//! One host of an API as the whole process reaches it: shared by all workers, and by the token calls of its accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::certificate::Certificate;
use super::endpoint::{Endpoint, Settings};
use super::resolver::Resolver;

/// An endpoint with its settings, and what all connections to it have in common.
#[derive(Debug)]
pub(super) struct Site {
    endpoint: Endpoint,
    settings: Settings,
    /// Of the host, or of the proxy before it.
    pub(super) resolver: Resolver,
    /// For `https`.
    pub(super) tls: Option<Tls>,
    /// The last certificate that it showed.
    certificate: ArcSwapOption<Certificate>,
    /// One for each connection that may still be made; beside them are those of token calls, one for each account.
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    wanted: Notify,
    start: Instant,
    /// Milliseconds after `start`; 0: never.
    died: AtomicU64,
    /// How many calls got no connection since wxgate itself had too many.
    busy: AtomicU64,
}

/// TLS with a host.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) client: Arc<ClientConfig>,
    /// What the certificate must be for.
    pub(super) name: ServerName<'static>,
}

impl Site {
    /// Connects to nobody yet.
    pub(super) fn new(endpoint: Endpoint, settings: Settings) -> Arc<Self> {
        let resolver = Resolver::new(endpoint.peer().0);
        Self::with_resolver(endpoint, settings, resolver)
    }

    /// The same with lookups of its own.
    pub(super) fn with_resolver(endpoint: Endpoint, settings: Settings, resolver: Resolver) -> Arc<Self> {
        let (base, trust) = (&endpoint.base, &endpoint.trust);
        let tls = base.is_tls().then(|| Tls { client: Arc::clone(trust.client()), name: base.server_name() });
        let free = Semaphore::new(settings.max_connections);
        Arc::new(Self {
            endpoint,
            settings,
            resolver,
            tls,
            certificate: ArcSwapOption::empty(),
            free: Arc::new(free),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            start: Instant::now(),
            died: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        })
    }

    /// Where it is and how it is reached.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its time limits and the like.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Connections that are open, or being made.
    pub(super) fn open_connections(&self) -> usize {
        self.settings.max_connections.saturating_sub(self.free.available_permits())
    }

    /// The right to make one connection, waited for up to `connect_timeout`; `None`: there are too many.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Some(permit) = self.try_permit() {
            return Some(permit);
        }
        let _waiting = Waiting::begin(self);
        self.wanted.notify_waiters();
        let permit = timeout(self.settings.connect_timeout, Arc::clone(&self.free).acquire_owned()).await;
        // The semaphore is never closed.
        permit.ok()?.ok()
    }

    /// The right to make one connection, if there is one.
    pub(super) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Logs that a call gets no connection: the first one, and then every thousandth.
    pub(super) fn log_busy(&self, cause: &str) {
        let before = self.busy.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(1000) {
            tracing::warn!(
                cause,
                calls = before + 1,
                "calls get `busy`: no connection to the upstream is free"
            );
        }
    }

    /// The certificate that it showed at the last handshake; `None` before the first one, and without TLS.
    pub(super) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.load_full()
    }

    /// Takes over what can be shown of a verified certificate. A handshake costs a thousand times as much.
    pub(super) fn note_certificate(&self, der: &[u8]) {
        self.certificate.store(Certificate::read(der).map(Arc::new));
    }

    /// Whether somebody waits for another connection to end.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Ready when somebody has begun to wait for another connection to end.
    pub(super) async fn becomes_full(&self) {
        self.wanted.notified().await;
    }

    /// A connection has died silently; its peer was last known to live at `heard`.
    pub(super) fn connection_died(&self, heard: Instant) {
        let millis = u64::try_from(heard.saturating_duration_since(self.start).as_millis());
        self.died.fetch_max(millis.unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
    }

    /// Whether another connection died that had been idle for no longer than one that was `heard` then.
    pub(super) fn may_be_dead(&self, heard: Instant) -> bool {
        match self.died.load(Ordering::Relaxed) {
            0 => false,
            died => heard <= self.start + Duration::from_millis(died),
        }
    }
}

/// Counted as waiting until dropped.
struct Waiting<'a>(&'a Site);

impl<'a> Waiting<'a> {
    fn begin(host: &'a Site) -> Self {
        host.waiting.fetch_add(1, Ordering::Relaxed);
        Self(host)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
