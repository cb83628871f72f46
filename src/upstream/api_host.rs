//! The API of an account as the whole process reaches it: its host, the fallback hosts, and which of them is in use.
//!
//! Another one is used when connecting to the one in use fails, and the first again when it has answered for
//! [`STEADY`], which is tried beside the calls. Calls and token calls follow alike. Which connections calls have is the
//! workers' business.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::certificate::Certificate;
use super::endpoint::{BaseUrl, Endpoint, Settings};
use super::site::Site;
use super::traffic::Wire;
use super::wire::ConnectError;

/// How long the first host must have answered again before it is used again.
const STEADY: Duration = Duration::from_secs(60);

/// How often it is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_secs(2);

/// Hosts that come and go leave a line in the log this often at most.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where an API is, with its settings, and which of its hosts is in use.
#[derive(Debug)]
pub struct ApiHost {
    me: Weak<Self>,
    settings: Settings,
    /// The first, then the fallbacks.
    sites: Vec<Arc<Site>>,
    /// Where calls go.
    in_use: AtomicUsize,
    /// The first host is being tried.
    trying: AtomicBool,
    start: Instant,
    /// In milliseconds after `start`: when the first host was left last, and when that was logged last, plus one.
    left: AtomicU64,
    logged: AtomicU64,
    changes: AtomicU64,
}

impl ApiHost {
    /// Connects to nobody yet. `fallbacks` are further hosts of the same API.
    pub fn new(endpoint: Endpoint, fallbacks: Vec<Endpoint>, settings: Settings) -> Arc<Self> {
        let endpoints = std::iter::once(endpoint).chain(fallbacks);
        let sites = endpoints.map(|endpoint| Site::new(endpoint, settings.clone())).collect();
        Self::of(sites, settings)
    }

    pub(super) fn of(sites: Vec<Arc<Site>>, settings: Settings) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            settings,
            sites,
            in_use: AtomicUsize::new(0),
            trying: AtomicBool::new(false),
            start: Instant::now(),
            left: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        })
    }

    /// The first host and how it is reached: what a stored token is bound to, whichever host is in use.
    pub fn endpoint(&self) -> &Endpoint {
        self.sites[0].endpoint()
    }

    /// All hosts, the first one first.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.sites.iter().map(|site| site.endpoint())
    }

    /// The host that calls go to.
    pub fn base_in_use(&self) -> &BaseUrl {
        &self.sites[self.in_use()].endpoint().base
    }

    /// The certificate that the host in use showed at its last handshake; `None` before the first one, and without TLS.
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.sites[self.in_use()].certificate()
    }

    /// How often another host has come into use.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Its time limits and the like.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Connections that are open, or being made.
    pub fn open_connections(&self) -> usize {
        self.sites.iter().map(|site| site.open_connections()).sum()
    }

    pub(super) fn sites(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// The index of the host that calls go to.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Where to go when `failed` could not be reached: first where others have gone meanwhile, then in turn. Empty
    /// where another host would not help.
    fn others(&self, failed: usize, error: &ConnectError) -> impl Iterator<Item = usize> + use<> {
        let (count, in_use) = (if error.is_of_host() { self.sites.len() } else { 0 }, self.in_use());
        let begin = if in_use == failed { failed + 1 } else { in_use };
        (0..count).map(move |step| (begin + step) % count).filter(move |next| *next != failed)
    }

    /// A connection of its own to the host in use, or to the next that can be reached; with its index.
    pub(super) async fn wire(&self) -> Result<(usize, Wire), ConnectError> {
        let first = self.in_use();
        match self.sites[first].wire().await {
            Ok(wire) => Ok((first, wire)),
            Err(error) => self.elsewhere(first, error, |next| self.sites[next].wire()).await,
        }
    }

    /// A connection to the next host that can be reached, since `failed` cannot; with its index. Calls go there from
    /// then on.
    pub(super) async fn elsewhere<C, F: Future<Output = Result<C, ConnectError>>>(
        &self,
        failed: usize,
        mut error: ConnectError,
        connect: impl Fn(usize) -> F,
    ) -> Result<(usize, C), ConnectError> {
        for next in self.others(failed, &error) {
            match connect(next).await {
                Ok(connection) => {
                    self.moves(failed, next, &error);
                    return Ok((next, connection));
                }
                Err(further) => error.and(&further),
            }
        }
        Err(error)
    }

    /// From now on calls go to `to`, unless others have moved on from `from` before.
    fn moves(&self, from: usize, to: usize, why: &ConnectError) {
        if self.in_use.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
        let now = self.millis();
        if from == 0 {
            self.left.store(now, Ordering::Relaxed);
        }
        let logged = self.logged.load(Ordering::Relaxed);
        if logged == 0 || now + 1 - logged >= LINE_EVERY.as_millis() as u64 {
            self.logged.store(now + 1, Ordering::Relaxed);
            let to = &self.sites[to].endpoint().base;
            tracing::warn!(cause = %why, %to, "the API host in use cannot be reached; calls go to another from now on");
        }
        if to != 0 && !self.trying.swap(true, Ordering::SeqCst) {
            tokio::spawn(try_first(Weak::clone(&self.me)));
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// With the same endpoints and settings, connections and token tasks can go on.
impl PartialEq for ApiHost {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.endpoints().eq(other.endpoints())
    }
}

/// Goes back to the first host once it has answered for long enough.
async fn try_first(host: Weak<ApiHost>) {
    let mut answers_since = None;
    loop {
        sleep(TRY_EVERY).await;
        // A reload may have brought another.
        let Some(host) = host.upgrade() else { return };
        if host.in_use() == 0 {
            host.trying.store(false, Ordering::SeqCst);
            // It may have been left once more just now, by one who saw that this task still runs.
            if host.in_use() == 0 || host.trying.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        let asked = host.millis();
        if let Err(error) = host.sites[0].wire().await {
            tracing::debug!(%error, "the first API host cannot be reached yet");
            answers_since = None;
            continue;
        }
        let since: u64 = *answers_since.get_or_insert(asked);
        // What it answered before it was left once more does not count.
        let since = since.max(host.left.load(Ordering::Relaxed));
        if Duration::from_millis(host.millis().saturating_sub(since)) >= STEADY {
            host.in_use.store(0, Ordering::Relaxed);
            host.changes.fetch_add(1, Ordering::Relaxed);
            let to = &host.endpoint().base;
            tracing::info!(%to, "the first API host answers again; calls go to it from now on");
        }
    }
}

#[cfg(test)]
mod tests;
