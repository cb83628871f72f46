//! Where the admin listener's figures come from: what workers and token tasks leave in atomics and rings, and what the
//! configuration in force says. Reading them waits for nobody.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::gate::Rules;
use super::history::History;
use super::read::{account, seconds, token};
use super::view::{self, Phase, View};
use crate::calls::Calls;
use crate::credential::{Reader, StoreCounts};
use crate::errcodes::Product;
use crate::listener::Connections;
use crate::logging;
use crate::metrics::Metrics;
use crate::metrics::look::{Look, Reload, Store, UpstreamConnections};
use crate::metrics::process::process;
use crate::proxy::budget::Budget;
use crate::store::redis::Link;
use crate::upstream::ApiHost;

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, where the build said so.
pub const REVISION: &str = match option_env!("WXGATE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// What the configuration in force says; replaced as a whole at a reload.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    /// In the order of the configuration.
    pub accounts: Vec<Account>,
    /// The configured egress IP.
    pub egress_ip: Option<IpAddr>,
    /// Base URLs that callers can reach.
    pub listening: Vec<String>,
    /// Whether callers have to show a key.
    pub callers_need_key: bool,
    /// Whether callers over HTTPS have to show a certificate.
    pub callers_need_certificate: bool,
    /// The way to the store that several wxgate share.
    pub shared_store: Option<Arc<Link>>,
    /// What files were asked to do.
    pub store_counts: Arc<StoreCounts>,
    /// Each key with its value, secrets masked, and its source, for `/config`.
    pub settings: Vec<serde_json::Value>,
}

/// An account by the configuration in force.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub name: Arc<str>,
    /// Whose errcodes it gets.
    pub product: Product,
    /// Its appid, or corpid; `None` where callers keep their own token.
    pub appid: Option<String>,
    /// The word of the configuration.
    pub token_api: &'static str,
    /// `None` where callers keep their own.
    pub token: Option<Reader>,
    /// Its tickets, where it keeps any.
    pub tickets: Vec<Reader>,
    /// What answers are checked with, where its calls are encrypted: number and end.
    pub certificates: Vec<view::PlatformCertificate>,
    /// Its API host.
    pub host: Arc<ApiHost>,
    /// What callers put before the path.
    pub prefix: String,
    /// A Host name that leads to it.
    pub host_name: Option<String>,
    /// What may be called.
    pub paths: Vec<String>,
}

impl InForce {
    /// The account of that name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| *account.name == *name)
    }

    /// What files were asked to do: operation, outcome, how often.
    fn file_operations(&self) -> Vec<(&'static str, &'static str, u64)> {
        let StoreCounts { loads, published, failed } = &*self.store_counts;
        [("load", "ok", loads), ("publish", "failed", failed), ("publish", "ok", published)]
            .map(|(operation, outcome, count)| (operation, outcome, count.load(Ordering::Relaxed)))
            .to_vec()
    }
}

impl Account {
    /// Its token, and its tickets.
    fn credentials(&self) -> impl Iterator<Item = &Reader> {
        self.token.iter().chain(&self.tickets)
    }
}

/// Everything that the admin listener reads; shared with the app, which keeps it true.
#[derive(Debug)]
pub struct Sources {
    started: Instant,
    phase: AtomicU8,
    /// Who may ask.
    pub rules: ArcSwap<Rules>,
    /// What the configuration in force says.
    pub in_force: ArcSwap<InForce>,
    /// The last reload, or the start.
    last_reload: Mutex<view::Reload>,
    last_success: Mutex<SystemTime>,
    /// Counts of all workers.
    pub metrics: Arc<Metrics>,
    /// The last failed calls of all workers.
    pub calls: Arc<Calls>,
    budget: Arc<Budget>,
    caller_connections: Connections,
    pub(super) history: Mutex<History>,
}

impl Sources {
    /// At the start of the process, before there is any account.
    pub fn new(
        rules: Rules,
        metrics: Arc<Metrics>,
        calls: Arc<Calls>,
        budget: Arc<Budget>,
        caller_connections: Connections,
    ) -> Arc<Self> {
        let now = SystemTime::now();
        Arc::new(Self {
            started: Instant::now(),
            phase: AtomicU8::new(0),
            rules: ArcSwap::from_pointee(rules),
            in_force: ArcSwap::default(),
            last_reload: Mutex::new(view::Reload { at: now, ok: true, errors: Vec::new() }),
            last_success: Mutex::new(now),
            metrics,
            calls,
            budget,
            caller_connections,
            history: Mutex::default(),
        })
    }

    /// From now on in this phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Where the process is in its life.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// A reload is over; no errors: it worked.
    pub fn reloaded(&self, errors: Vec<String>) {
        let now = SystemTime::now();
        if errors.is_empty() {
            *lock(&self.last_success) = now;
        }
        *lock(&self.last_reload) = view::Reload { at: now, ok: errors.is_empty(), errors };
    }

    /// Everything at this moment.
    pub fn view(&self) -> View {
        let now = SystemTime::now();
        let in_force = self.in_force.load();
        let accounts: Vec<_> = in_force.accounts.iter().map(|one| account(one, now)).collect();
        let mut kept = in_force.accounts.iter().flat_map(Account::credentials);
        let store = match &in_force.shared_store {
            Some(link) => view::Store { kind: "redis", up: link.is_up() },
            None => view::Store { kind: "file", up: !kept.any(Reader::store_fails) },
        };
        View {
            now,
            version: VERSION,
            uptime: self.started.elapsed(),
            phase: self.phase(),
            egress_ip: in_force.egress_ip,
            listening: in_force.listening.clone(),
            callers_need_key: in_force.callers_need_key,
            callers_need_certificate: in_force.callers_need_certificate,
            caller_connections: self.caller_connections.count() as u64,
            upstream_connections: self.upstream_connections(&in_force),
            store,
            last_reload: lock(&self.last_reload).clone(),
            accounts,
        }
    }

    fn upstream_connections(&self, in_force: &InForce) -> UpstreamConnections {
        let mut hosts: Vec<&Arc<ApiHost>> = Vec::new();
        for account in &in_force.accounts {
            if !hosts.iter().any(|known| Arc::ptr_eq(known, &account.host)) {
                hosts.push(&account.host);
            }
        }
        let open = hosts.iter().map(|host| host.open_connections() as u64).sum::<u64>();
        let totals = self.metrics.totals();
        let active = totals.accounts.iter().map(|account| account.active).sum::<u64>().min(open);
        UpstreamConnections { idle: open - active, active }
    }

    /// What `/metrics` shows at this moment.
    pub fn look(&self) -> Look {
        let view = self.view();
        let in_force = self.in_force.load();
        let mut totals = self.metrics.totals();
        let mut tokens = Vec::with_capacity(in_force.accounts.len());
        for (one, shown) in in_force.accounts.iter().zip(&view.accounts) {
            tokens.push(token(one, shown));
            for reader in one.credentials() {
                // What a fetch was refused with is an errcode of the upstream's like any other.
                if let Some(sums) = totals.accounts.iter_mut().find(|sums| sums.name == one.name) {
                    for (at, count) in reader.fetches().refused {
                        sums.errcodes[at] += count;
                    }
                }
            }
        }
        Look {
            upstream_connections: view.upstream_connections,
            totals,
            tokens,
            caller_connections: view.caller_connections,
            replay_bytes: self.budget.used() as u64,
            dropped_log_lines: logging::lost_lines(),
            reload: Reload { ok: view.last_reload.ok, last_success: seconds(*lock(&self.last_success)) },
            store: Store {
                up: view.store.up,
                operations: match &in_force.shared_store {
                    Some(link) => link.operations(),
                    None => in_force.file_operations(),
                },
            },
            process: process(),
            version: VERSION,
            revision: REVISION,
        }
    }

    /// Ends a minute of the history, once a minute, for ever.
    pub async fn keep_history(&self) {
        let mut minute = tokio::time::interval(Duration::from_secs(60));
        loop {
            minute.tick().await;
            let totals = self.metrics.totals();
            lock(&self.history).tick(totals);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
