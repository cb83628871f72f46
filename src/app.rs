//! Wires the parts into a running proxy: sockets first, then tokens, then workers.
//!
//! One thread with one current-thread runtime per worker serves callers and shares nothing with the others
//! but the token cells; the runtime that calls [`App::run`] does the rest (token tasks, signals). The figures
//! behind that choice are in ARCHITECTURE.md. Knows no command line and no signal.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::listener::drain::{Drain, DrainSender, drain};
use crate::listener::{self, Bound, Connections, SharedTls};
use crate::proxy::replay::Budget;
use crate::proxy::route::Rules;
use crate::proxy::{Account, Proxy, Shared};
use crate::token::{self, Issuer, Store, Subject};
use crate::upstream::{Upstream, tls};

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

/// Why wxgate could not go on; the text says what to do.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

fn start_error(error: impl fmt::Display) -> StartError {
    StartError(error.to_string())
}

/// A proxy whose sockets are open; callers may connect, nobody is served before [`App::run`].
pub struct App {
    config: Config,
    bound: Vec<(Bound, Scheme)>,
    /// For the HTTPS listeners, where there are any.
    server_tls: Option<SharedTls>,
    shared: Arc<Shared>,
    tasks: Vec<token::Task>,
    tls: Arc<rustls::ClientConfig>,
}

impl App {
    /// Opens the sockets and the state, and starts the token tasks on the current runtime.
    ///
    /// # Errors
    /// When an address is taken, the state directory cannot be written, or there is no trust root.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let plain = config.listen.iter().map(|address| (*address, Scheme::Http));
        let https = config.tls.iter().flat_map(|tls| &tls.listen).map(|address| (*address, Scheme::Https));
        let bound = plain
            .chain(https)
            .map(|(address, scheme)| Ok((listener::bind(address, config.workers)?, scheme)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(start_error)?;
        let server_tls = match &config.tls {
            Some(tls) => {
                let config = listener::tls::server_config(tls)
                    .map_err(|e| StartError(format!("tls.{}: {}", e.key, e.words)))?;
                Some(Arc::new(ArcSwap::new(config)))
            }
            None => None,
        };
        let tls = tls::client_config(config.upstream.ca.as_deref()).map_err(start_error)?;
        let mut accounts = Vec::new();
        let mut tasks = Vec::new();
        for account in &config.accounts {
            let store = Store::open(
                &config.state_dir,
                &account.appid,
                &token::base_url(&config.upstream),
                account.token_api,
            )
            .map_err(start_error)?;
            let issuer = Issuer::new(&config.upstream, &tls, &account.appid, account.secret.clone())
                .map_err(start_error)?;
            let subject = Subject {
                name: account.name.clone(),
                appid: account.appid.clone(),
                token_api: account.token_api,
            };
            let (token, task) = token::spawn(subject, issuer, Arc::new(store));
            tasks.push(task);
            accounts.push(Account {
                name: account.name.as_str().into(),
                appid: account.appid.clone(),
                rules: Rules {
                    hosts: account.hosts.clone(),
                    prefix: account.prefix.clone(),
                    paths: account.paths.clone(),
                },
                refresh_on: account.refresh_on.clone(),
                token,
            });
        }
        let shared = Arc::new(Shared {
            accounts,
            callers: config.callers.clone(),
            limits: config.limits.clone(),
            budget: Budget::new(config.limits.replay_total),
            access_log: config.access_log,
        });
        Ok(Self { config, bound, server_tls, shared, tasks, tls })
    }

    /// The real addresses: those of `listen`, then those of `tls.listen`, each in the order of the configuration.
    pub fn listening(&self) -> Vec<Listening> {
        self.bound
            .iter()
            .map(|(bound, scheme)| Listening { scheme: *scheme, address: bound.address })
            .collect()
    }

    /// Serves until `shutdown` is over, then lets requests in flight finish for up to `shutdown_grace`.
    ///
    /// # Errors
    /// When a worker cannot be started.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
        let (sender, drain) = drain();
        let (finished, mut unfinished) = mpsc::channel::<()>(1);
        let connections = Connections::default();
        let warm = self.config.upstream.warm_connections.div_ceil(self.config.workers);
        for index in 0..self.config.workers {
            let worker = Worker {
                sockets: self.sockets(),
                shared: Arc::clone(&self.shared),
                upstream: self.config.upstream.clone(),
                tls: Arc::clone(&self.tls),
                warm,
                connections: connections.clone(),
                drain: drain.clone(),
                _finished: finished.clone(),
            };
            let name = format!("worker-{index}");
            thread::Builder::new()
                .name(name.clone())
                .spawn(move || worker.run())
                .map_err(|e| StartError(format!("cannot start the thread {name}: {e}")))?;
        }
        drop(finished);
        shutdown.await;
        self.end(sender, &mut unfinished).await;
        Ok(())
    }

    /// The sockets of one more worker.
    fn sockets(&mut self) -> Vec<(TcpListener, Option<SharedTls>)> {
        let tls = &self.server_tls;
        let of_one = |(bound, scheme): &mut (Bound, Scheme)| {
            let tls = tls.as_ref().filter(|_| *scheme == Scheme::Https);
            Some((bound.take()?, tls.cloned()))
        };
        self.bound.iter_mut().filter_map(of_one).collect()
    }

    async fn end(self, sender: DrainSender, unfinished: &mut mpsc::Receiver<()>) {
        sender.begin();
        let grace = self.config.shutdown_grace;
        // The channel ends when the last worker has dropped its side of it.
        if tokio::time::timeout(grace, unfinished.recv()).await.is_err() {
            tracing::warn!(
                grace = %humantime::format_duration(grace),
                "some requests did not finish within shutdown_grace and are cut off"
            );
        }
        // Each gives itself a few seconds at most, and all of them the same ones.
        let ending: JoinSet<()> = self.tasks.into_iter().map(token::Task::shutdown).collect();
        let _ = tokio::time::timeout(Duration::from_secs(10), ending.join_all()).await;
    }
}

/// What one worker thread takes with it.
struct Worker {
    sockets: Vec<(TcpListener, Option<SharedTls>)>,
    shared: Arc<Shared>,
    upstream: crate::config::Upstream,
    tls: Arc<rustls::ClientConfig>,
    warm: usize,
    connections: Connections,
    drain: Drain,
    /// Dropped when the worker has ended.
    _finished: mpsc::Sender<()>,
}

impl Worker {
    fn run(self) {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(%error, "cannot make the runtime of a worker"),
        }
    }

    async fn serve(self) {
        let upstream = match Upstream::new(&self.upstream, self.tls, self.warm) {
            Ok(upstream) => upstream,
            Err(error) => return tracing::error!(%error, "cannot serve"),
        };
        let proxy = Rc::new(Proxy::new(self.shared, upstream));
        let tasks = TaskTracker::new();
        for (socket, tls) in self.sockets {
            let accepting = match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => listener::accept(
                    listener,
                    tls,
                    Rc::clone(&proxy),
                    self.connections.clone(),
                    tasks.clone(),
                    self.drain.clone(),
                ),
                Err(error) => return tracing::error!(%error, "cannot accept"),
            };
            tokio::task::spawn_local(accepting);
        }
        let warm = Rc::clone(&proxy);
        let keeper = tokio::task::spawn_local(async move { warm.upstream().keep_warm().await });
        let mut drain = self.drain;
        drain.begun().await;
        tasks.close();
        tasks.wait().await;
        keeper.abort();
    }
}
