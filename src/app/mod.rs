//! Wires the parts into a running proxy: sockets first, then tokens, then workers.
//!
//! One thread with one current-thread runtime per worker serves callers and shares nothing with the others
//! but the token cells; the runtime that calls [`App::run`] does the rest (token tasks, orders). The figures
//! behind that choice are in ARCHITECTURE.md. Knows no command line and no signal.

mod admin;
pub(crate) mod fixed;
mod in_force;
mod listening;
mod tokens;
mod upstreams;
mod worker;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::gate::{At, Rules};
pub use crate::admin::server::{ReloadOutcome, ReloadRequest, Reloaded};
use crate::admin::sources::{InForce, Sources};
use crate::admin::view::Phase;
use crate::alert::Alerts;
use crate::calls::Calls;
use crate::config::{Config, Setting};
use crate::listener::{Connections, SharedTls};
use crate::metrics::Metrics;
use crate::proxy::Recorder;
use crate::proxy::budget::Budget;
use admin::RunningAdmin;
use fixed::Fixed;
use in_force::{in_force, sender, state, values};
pub use listening::{Listening, Scheme};
use listening::{Sockets, refuse_open_admin, refuse_open_relay, server_config, shared_tls};
use tokens::Tokens;
use worker::Settings;
use workers::Workers;

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
        /// Key by key what will be in force, for those who show it.
        settings: Vec<Setting>,
        /// Told when it is in use, with the keys that take a restart, or why it cannot be.
        done: oneshot::Sender<Result<Vec<&'static str>, String>>,
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
    workers: Workers,
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
        let sockets = Sockets::open(&config)?;
        let listening = sockets.listening();
        let server_tls = shared_tls(&config)?;
        let budget = Budget::new(config.limits.replay_total);
        let connections = Connections::default();
        // One more thread counts: the admin listener's own calls.
        let metrics = Metrics::new(config.workers + 1);
        let calls = Calls::new(config.workers + 1);
        let recorder = |worker| Recorder { worker, metrics: Arc::clone(&metrics), calls: Arc::clone(&calls) };
        let bound_admin = config.admin.as_ref().map(|admin| admin::bind(admin, &config)).transpose()?;
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
        let shown = in_force(&config, &accounts, &hosts, &listening, &tokens, Vec::new());
        let state = Arc::new(state(&config, accounts, &budget, &metrics));
        let settings = Settings { state, hosts };
        sources.in_force.store(Arc::new(shown));
        admin_settings.send_replace(Some(settings.clone()));
        let (settings, _) = watch::channel(settings);
        let tls = server_tls.as_ref();
        let workers = Workers::start(config.workers, sockets, tls, &settings, &connections, recorder).await?;
        let alerts = Alerts::start(Arc::clone(&sources), config.alerts.clone(), sender(&config, &trust));
        sources.enter(Phase::Serving);
        Ok(Self {
            fixed: Fixed::of(&config),
            shutdown_grace: config.shutdown_grace,
            shutdown_delay: config.shutdown_delay,
            listening,
            server_tls,
            tokens,
            settings,
            budget,
            metrics,
            workers,
            sources,
            alerts,
            admin: running_admin,
            admin_settings,
            reload_requests: Some(reload_requests),
        })
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
                error = self.workers.one_ends() => return Err(error),
            }
        }
        // Load balancers look away from here on: `/readyz` says 503.
        self.sources.enter(Phase::Draining);
        if !self.shutdown_delay.is_zero() {
            let delay = humantime::format_duration(self.shutdown_delay);
            tracing::info!(%delay, "stopping after shutdown_delay: callers are still accepted");
            tokio::select! {
                () = tokio::time::sleep(self.shutdown_delay) => {}
                error = self.workers.one_ends() => return Err(error),
            }
        }
        tracing::info!("stopping: no more connections, requests in flight may finish");
        self.end().await;
        Ok(())
    }

    /// Goes on with another configuration, or, when that cannot be, with the present one.
    async fn reload(&mut self, config: Config, settings: &[Setting]) -> Result<Vec<&'static str>, String> {
        let waiting = self.fixed.differs_from(&config);
        let outcome = self.apply(config, settings).await;
        self.sources.reloaded(outcome.as_ref().err().map(|error| error.to_string()).into_iter().collect());
        match outcome {
            Ok(()) => {
                for key in &waiting {
                    tracing::warn!("`{key}` is not what is in use; that takes effect with a restart");
                }
                tracing::info!("the configuration has been read again");
                Ok(waiting)
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration cannot be used; going on with the old one");
                Err(error.to_string())
            }
        }
    }

    async fn apply(&mut self, config: Config, shown: &[Setting]) -> Result<(), StartError> {
        refuse_open_relay(&self.listening, &config)?;
        let rules =
            self.admin.as_ref().zip(config.admin.as_ref()).map(|(running, admin)| running.rules(admin));
        rules.as_ref().map_or(Ok(()), refuse_open_admin)?;
        let certificates = match (&self.server_tls, &config.tls) {
            (Some(shared), Some(tls)) => Some((shared, server_config(tls)?)),
            _ => None,
        };
        let trust = upstreams::trust(&config).await?;
        let hosts =
            upstreams::api_hosts(&config, &trust, self.workers.count(), &self.settings.borrow().hosts);
        let accounts = self.tokens.apply(&config, &hosts).await?;
        if let Some((shared, certificates)) = certificates {
            shared.store(certificates);
        }
        let in_force = in_force(&config, &accounts, &hosts, &self.listening, &self.tokens, values(shown));
        let state = state(&config, accounts, &self.budget, &self.metrics);
        let state = Arc::new(state.with_limits_of(&self.settings.borrow().state));
        let settings = Settings { state, hosts };
        self.sources.in_force.store(Arc::new(in_force));
        self.alerts.set(config.alerts.clone(), sender(&config, &trust));
        if let Some(rules) = rules {
            self.sources.rules.store(Arc::new(rules));
        }
        self.admin_settings.send_replace(Some(settings.clone()));
        self.settings.send_replace(settings);
        (self.shutdown_grace, self.shutdown_delay) = (config.shutdown_grace, config.shutdown_delay);
        Ok(())
    }

    async fn end(self) {
        self.workers.end(self.shutdown_grace).await;
        let _ = tokio::time::timeout(Duration::from_secs(10), self.tokens.end()).await;
    }
}
