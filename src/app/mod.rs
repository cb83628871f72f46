//! Wires the parts into a running proxy: sockets first, then tokens, then workers.
//!
//! One thread with one current-thread runtime per worker serves callers and shares nothing with the others
//! but the token cells; the runtime that calls [`App::run`] does the rest (token tasks, orders). The figures
//! behind that choice are in ARCHITECTURE.md. Knows no command line and no signal.

mod admin;
mod tokens;
mod upstreams;
mod worker;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::gate::{At, Rules};
pub use crate::admin::server::{ReloadRequest, Reloaded};
use crate::admin::sources::{InForce, Sources};
use crate::admin::view::{Phase, PlatformCertificate};
use crate::alert::{Alerts, Sender};
use crate::calls::Calls;
use crate::config::{self, is_loopback};
use crate::config::{AdminListen, Config, LogFormat, Setting};
use crate::listener::drain::{DrainSender, drain};
use crate::listener::{self, Bound, Connections, SharedTls};
use crate::metrics::Metrics;
use crate::proxy::budget::Budget;
use crate::proxy::signing::Signing;
use crate::proxy::{Account, ProxyState, Recorder};
use crate::store::redis::Link;
use crate::upstream::ApiHost;
use crate::upstream::tls::Trust;
use admin::RunningAdmin;
use tokens::Tokens;
use worker::{Report, Settings, Worker};

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

/// Why wxgate could not go on, or not follow an order; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn because(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// What a running proxy can be told. When nobody can order any more, it stops.
#[derive(Debug)]
pub enum Order {
    /// Go on with another configuration.
    Reload {
        /// The new one.
        config: Box<Config>,
        /// The same key by key, for those who show it.
        settings: Vec<Setting>,
        /// Told when it is in use, or why it cannot be.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Go on for `shutdown_delay`, then accept no more, let requests in flight finish for up to `shutdown_grace`, end.
    Stop,
}

/// A proxy that serves callers.
pub struct App {
    fixed: Fixed,
    shutdown_grace: Duration,
    shutdown_delay: Duration,
    listening: Vec<Listening>,
    /// For the HTTPS listeners, where there are any.
    server_tls: Option<SharedTls>,
    tokens: Tokens,
    settings: watch::Sender<Settings>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    drain: DrainSender,
    reports: mpsc::UnboundedReceiver<Report>,
    /// What the admin listener shows, also where there is none.
    sources: Arc<Sources>,
    alerts: Alerts,
    admin: Option<RunningAdmin>,
    /// By what the admin listener makes calls.
    admin_settings: watch::Sender<Option<Settings>>,
    reload_requests: Option<mpsc::Receiver<ReloadRequest>>,
}

/// The side of a running proxy that reloads are asked of and told to.
pub struct Reloads {
    sources: Arc<Sources>,
    requests: mpsc::Receiver<ReloadRequest>,
}

impl Reloads {
    /// The next order to reload that came by the admin listener; never, when none can come.
    pub async fn asked(&mut self) -> ReloadRequest {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// The new configuration could not be read, for these reasons.
    pub fn failed(&self, errors: Vec<String>) {
        self.sources.reloaded(errors);
    }
}

impl App {
    /// Opens the sockets and the state, starts the token tasks on the current runtime and the workers on
    /// threads of their own. When it returns, callers are served.
    ///
    /// # Errors
    /// When an address is taken, the state directory cannot be written, there is no trust root, or a worker
    /// cannot begin.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut bound = bind(&config)?;
        let listening: Vec<Listening> = bound
            .iter()
            .map(|(bound, scheme)| Listening { scheme: *scheme, address: bound.address })
            .collect();
        let server_tls = match &config.tls {
            Some(tls) => Some(Arc::new(ArcSwap::new(server_config(tls)?))),
            None => None,
        };
        let budget = Budget::new(config.limits.replay_total);
        let connections = Connections::default();
        // One more thread counts: the admin listener's own calls.
        let metrics = Metrics::new(config.workers + 1);
        let calls = Calls::new(config.workers + 1);
        let recorder = |worker| Recorder { worker, metrics: Arc::clone(&metrics), calls: Arc::clone(&calls) };
        let bound_admin = config.admin.as_ref().map(admin::bind).transpose()?;
        let rules = bound_admin.as_ref().zip(config.admin.as_ref()).map(|(bound, admin)| bound.rules(admin));
        let sources = Sources::new(
            rules.unwrap_or(Rules { at: At::Unix, key: None, hosts: Vec::new() }),
            Arc::clone(&metrics),
            Arc::clone(&calls),
            Arc::clone(&budget),
            connections.clone(),
        );
        let (admin_settings, of_admin) = watch::channel(None);
        let (reload, reload_requests) = mpsc::channel(1);
        // It tells that accounts cannot serve yet, while they cannot.
        let running_admin = bound_admin
            .map(|bound| bound.start(&sources, of_admin, recorder(config.workers), reload))
            .transpose()?;
        let trust = upstreams::trust(&config).await?;
        let hosts = upstreams::api_hosts(&config, &trust, config.workers, &[]);
        let mut tokens = Tokens::default();
        let accounts = tokens.apply(&config, &hosts).await?;
        let shown = in_force(&config, &accounts, &hosts, &listening, tokens.link(), Vec::new());
        let state = Arc::new(state(&config, accounts, &budget, &metrics));
        let settings = Settings { state, hosts };
        sources.in_force.store(Arc::new(shown));
        admin_settings.send_replace(Some(settings.clone()));
        let (settings, _) = watch::channel(settings);
        let (drain_sender, drain) = drain();
        let (report, reports) = mpsc::unbounded_channel();
        for index in 0..config.workers {
            let worker = Worker {
                sockets: sockets_of_one(&mut bound, server_tls.as_ref()),
                settings: settings.subscribe(),
                connections: connections.clone(),
                recorder: recorder(index),
                drain: drain.clone(),
                reports: report.clone(),
            };
            worker.start(index)?;
        }
        let alerts = Alerts::start(Arc::clone(&sources), config.alerts.clone(), sender(&config, &trust));
        let mut app = Self {
            fixed: Fixed::of(&config),
            shutdown_grace: config.shutdown_grace,
            shutdown_delay: config.shutdown_delay,
            listening,
            server_tls,
            tokens,
            settings,
            budget,
            metrics,
            drain: drain_sender,
            reports,
            sources,
            alerts,
            admin: running_admin,
            admin_settings,
            reload_requests: Some(reload_requests),
        };
        for _ in 0..app.fixed.workers {
            app.worker_is(Report::Ready).await?;
        }
        app.sources.enter(Phase::Serving);
        Ok(app)
    }

    /// Where the admin listener is: `http://ADDRESS` or `unix:PATH`.
    pub fn admin(&self) -> Option<&str> {
        self.admin.as_ref().map(|running| running.shown.as_str())
    }

    /// The configuration in force key by key, for those who show it.
    pub fn show(&self, settings: &[Setting]) {
        let in_force = self.sources.in_force.load();
        let shown = InForce { settings: values(settings), ..InForce::clone(&in_force) };
        self.sources.in_force.store(Arc::new(shown));
    }

    /// For whoever reads the configuration again; once.
    pub fn reloads(&mut self) -> Option<Reloads> {
        let requests = self.reload_requests.take()?;
        Some(Reloads { sources: Arc::clone(&self.sources), requests })
    }

    /// The real addresses: those of `listen`, then those of `tls.listen`, each in the order of the configuration.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// When a worker ends by itself: half a proxy would look alive and serve some callers only.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> Result<(), StartError> {
        // Where nobody reads the configuration again, whoever asks for it is told so at once.
        self.reload_requests = None;
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Reload { config, settings, done }) => {
                        let outcome = self.reload(*config, &settings).await;
                        // Whoever ordered it need not wait.
                        let _ = done.send(outcome);
                    }
                    Some(Order::Stop) | None => break,
                },
                report = self.reports.recv() => return Err(ended_by_itself(report)),
            }
        }
        // Load balancers look away from here on: `/readyz` says 503.
        self.sources.enter(Phase::Draining);
        if !self.shutdown_delay.is_zero() {
            let delay = humantime::format_duration(self.shutdown_delay);
            tracing::info!(%delay, "stopping after shutdown_delay: callers are still accepted");
            tokio::select! {
                () = tokio::time::sleep(self.shutdown_delay) => {}
                report = self.reports.recv() => return Err(ended_by_itself(report)),
            }
        }
        tracing::info!("stopping: no more connections, requests in flight may finish");
        self.end().await;
        Ok(())
    }

    async fn worker_is(&mut self, wanted: Report) -> Result<(), StartError> {
        match (self.reports.recv().await, wanted) {
            (Some(Report::Ready), Report::Ready) | (Some(Report::Ended), Report::Ended) => Ok(()),
            (Some(Report::Failed(words)), _) => Err(StartError(words)),
            _ => Err(StartError("a worker has ended by itself, which is a fault in wxgate".to_owned())),
        }
    }

    /// Goes on with another configuration, or, when that cannot be, with the present one.
    async fn reload(&mut self, config: Config, settings: &[Setting]) -> Result<(), String> {
        let waiting = self.fixed.differs_from(&config);
        let outcome = self.apply(config, settings).await;
        self.sources.reloaded(outcome.as_ref().err().map(|error| error.to_string()).into_iter().collect());
        match outcome {
            Ok(()) => {
                for key in waiting {
                    tracing::warn!("`{key}` is not what is in use; that takes effect with a restart");
                }
                tracing::info!("the configuration has been read again");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration cannot be used; going on with the old one");
                Err(error.to_string())
            }
        }
    }

    async fn apply(&mut self, config: Config, shown: &[Setting]) -> Result<(), StartError> {
        self.refuse_open_relay(&config)?;
        let certificates = match (&self.server_tls, &config.tls) {
            (Some(shared), Some(tls)) => Some((shared, server_config(tls)?)),
            _ => None,
        };
        let trust = upstreams::trust(&config).await?;
        let hosts = upstreams::api_hosts(&config, &trust, self.fixed.workers, &self.settings.borrow().hosts);
        let accounts = self.tokens.apply(&config, &hosts).await?;
        if let Some((shared, certificates)) = certificates {
            shared.store(certificates);
        }
        let link = self.tokens.link();
        let in_force = in_force(&config, &accounts, &hosts, &self.listening, link, values(shown));
        let state = state(&config, accounts, &self.budget, &self.metrics);
        let state = Arc::new(state.with_limits_of(&self.settings.borrow().state));
        let settings = Settings { state, hosts };
        self.sources.in_force.store(Arc::new(in_force));
        self.alerts.set(config.alerts.clone(), sender(&config, &trust));
        if let (Some(running), Some(admin)) = (&self.admin, &config.admin) {
            self.sources.rules.store(Arc::new(running.rules(admin)));
        }
        self.admin_settings.send_replace(Some(settings.clone()));
        self.settings.send_replace(settings);
        (self.shutdown_grace, self.shutdown_delay) = (config.shutdown_grace, config.shutdown_delay);
        Ok(())
    }

    /// The sockets stay as they are until a restart, so the new rules must be enough for the old addresses.
    fn refuse_open_relay(&self, config: &Config) -> Result<(), StartError> {
        if config.open_to_everyone || !config.callers.is_empty() {
            return Ok(());
        }
        let certificates = config.tls.as_ref().is_some_and(|tls| tls.pem.client_ca.is_some());
        let guarded = |listening: &&Listening| {
            is_loopback(listening.address.ip()) || (listening.scheme == Scheme::Https && certificates)
        };
        let open = self.listening.iter().find(|listening| !guarded(listening));
        match open {
            None => Ok(()),
            Some(listening) => Err(StartError(format!(
                "{listening} stays open until a restart, and by the new configuration whoever reaches it could use \
                 the WeChat account; restart wxgate, or keep a [[caller]] or `client_ca`"
            ))),
        }
    }

    async fn end(mut self) {
        self.drain.begin();
        let grace = self.shutdown_grace;
        let finished = async {
            for _ in 0..self.fixed.workers {
                // However it ended: it has ended.
                let _ = self.worker_is(Report::Ended).await;
            }
        };
        if tokio::time::timeout(grace, finished).await.is_err() {
            tracing::warn!(
                grace = %humantime::format_duration(grace),
                "some requests did not finish within shutdown_grace and are cut off"
            );
        }
        let _ = tokio::time::timeout(Duration::from_secs(10), self.tokens.end()).await;
    }
}

/// What a worker said that nobody asked.
fn ended_by_itself(report: Option<Report>) -> StartError {
    let words = match report {
        Some(Report::Failed(words)) => words,
        _ => "a worker has ended by itself, which is a fault in wxgate".to_owned(),
    };
    StartError(format!("{words}; start wxgate again"))
}

/// What a running process cannot change.
struct Fixed {
    listen: Vec<SocketAddr>,
    tls_listen: Option<Vec<SocketAddr>>,
    workers: usize,
    log_format: LogFormat,
    admin_listen: Option<AdminListen>,
    replay_total: usize,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            tls_listen: config.tls.as_ref().map(|tls| tls.listen.clone()),
            workers: config.workers,
            log_format: config.log_format,
            admin_listen: config.admin.as_ref().map(|admin| admin.listen.clone()),
            replay_total: config.limits.replay_total,
        }
    }

    /// The keys of a configuration that take effect with a restart alone.
    fn differs_from(&self, config: &Config) -> Vec<&'static str> {
        let new = Self::of(config);
        [
            ("listen", self.listen != new.listen),
            ("tls.listen", self.tls_listen != new.tls_listen),
            ("workers", self.workers != new.workers),
            ("log_format", self.log_format != new.log_format),
            ("admin.listen", self.admin_listen != new.admin_listen),
            ("limits.replay_total", self.replay_total != new.replay_total),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

/// What the admin listener shows of a configuration.
fn in_force(
    config: &Config,
    accounts: &[Account],
    hosts: &[Arc<ApiHost>],
    listening: &[Listening],
    shared_store: Option<&Arc<Link>>,
    settings: Vec<serde_json::Value>,
) -> InForce {
    let certificate = |(number, expires_at)| PlatformCertificate { number, expires_at };
    let account =
        |((account, host), token_api): ((&Account, &Arc<ApiHost>), _)| crate::admin::sources::Account {
            name: Arc::clone(&account.name),
            product: account.product,
            appid: account.token.as_ref().map(|token| token.appid.clone()),
            token_api,
            token: account.token.as_ref().map(|token| token.reader.clone()),
            tickets: account.token.as_ref().map(|token| token.tickets.clone()).unwrap_or_default(),
            certificates: account.signing.iter().flat_map(Signing::certificates).map(certificate).collect(),
            host: Arc::clone(host),
            prefix: account.rules.prefix.clone(),
            host_name: account.rules.hosts.first().cloned(),
            paths: account.rules.paths.clone(),
        };
    let token_apis = config.accounts.iter().map(config::Account::token_api);
    InForce {
        accounts: accounts.iter().zip(hosts).zip(token_apis).map(account).collect(),
        egress_ip: config.upstream.egress_ip,
        listening: listening.iter().map(ToString::to_string).collect(),
        shared_store: shared_store.cloned(),
        callers_need_key: config.callers.iter().any(|caller| !caller.keys.is_empty()),
        settings,
    }
}

/// What messages to robots go out by.
fn sender(config: &Config, trust: &Trust) -> Sender {
    let (egress, proxy) = (config.upstream.egress_ip, config.upstream.proxy.clone());
    Sender { trust: trust.clone(), egress, proxy }
}

fn values(settings: &[Setting]) -> Vec<serde_json::Value> {
    settings.iter().filter_map(|setting| serde_json::to_value(setting).ok()).collect()
}

/// What workers serve by.
fn state(config: &Config, accounts: Vec<Account>, budget: &Arc<Budget>, metrics: &Metrics) -> ProxyState {
    let mut state = ProxyState::new(
        accounts,
        config.callers.clone(),
        config.limits.clone(),
        Arc::clone(budget),
        config.access_log,
        metrics,
    );
    state.strip.clone_from(&config.upstream.strip);
    state
}

fn bind(config: &Config) -> Result<Vec<(Bound, Scheme)>, StartError> {
    let plain = config.listen.iter().map(|address| (*address, Scheme::Http));
    let https = config.tls.iter().flat_map(|tls| &tls.listen).map(|address| (*address, Scheme::Https));
    plain
        .chain(https)
        .map(|(address, scheme)| Ok((listener::bind(address, config.workers)?, scheme)))
        .collect::<io::Result<Vec<_>>>()
        .map_err(StartError::because)
}

fn server_config(tls: &config::Tls) -> Result<Arc<rustls::ServerConfig>, StartError> {
    crate::tls::server_config(&tls.pem).map_err(|e| StartError(format!("tls.{}: {e}", e.key())))
}

/// The sockets of one more worker.
fn sockets_of_one(
    bound: &mut [(Bound, Scheme)],
    tls: Option<&SharedTls>,
) -> Vec<(TcpListener, Option<SharedTls>)> {
    let of_one = |(bound, scheme): &mut (Bound, Scheme)| {
        let tls = tls.filter(|_| *scheme == Scheme::Https);
        Some((bound.take()?, tls.cloned()))
    };
    bound.iter_mut().filter_map(of_one).collect()
}
