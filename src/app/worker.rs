//! One worker: a thread with a runtime of its own that serves callers.
//!
//! It shares nothing with the other workers but the token cells and a few counters. New settings reach it
//! while it serves; requests in flight finish with the ones they began with.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use crate::listener::drain::Drain;
use crate::listener::{self, Connections, SharedTls};
use crate::proxy::{Current, Proxy, ProxyState, Recorder};
use crate::upstream::{ApiHost, Upstream};

/// What workers serve by; replaced as a whole when the configuration is read again.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) state: Arc<ProxyState>,
    /// The API host of each account, in their order.
    pub(super) hosts: Vec<Arc<ApiHost>>,
}

/// What a worker tells of itself.
pub(super) enum Report {
    /// It accepts callers.
    Ready,
    /// It has ended, at the end of a drain or because of a fault.
    Ended,
    /// It could not begin.
    Failed(String),
}

/// What a worker thread takes with it.
pub(super) struct Worker {
    pub(super) sockets: Vec<(TcpListener, Option<SharedTls>)>,
    pub(super) settings: watch::Receiver<Settings>,
    pub(super) connections: Connections,
    pub(super) recorder: Recorder,
    pub(super) drain: Drain,
    /// Cancelled when what is in flight may take no more time.
    pub(super) cut: CancellationToken,
    pub(super) reports: mpsc::UnboundedSender<Report>,
}

/// Says that the worker has ended, also when it ends in a panic.
struct Farewell(mpsc::UnboundedSender<Report>);

impl Drop for Farewell {
    fn drop(&mut self) {
        // Nobody listens any more when the process is about to end.
        let _ = self.0.send(Report::Ended);
    }
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(self, index: usize) -> Result<(), StartError> {
        let name = format!("worker-{index}");
        let spawned = thread::Builder::new().name(name.clone()).spawn(move || self.run());
        spawned.map(drop).map_err(|e| StartError::because(format!("cannot start the thread {name}: {e}")))
    }

    fn run(self) {
        let reports = self.reports.clone();
        let _farewell = Farewell(reports.clone());
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => Err(format!("cannot make the runtime of a worker: {error}")),
        };
        if let Err(words) = outcome {
            let _ = reports.send(Report::Failed(words));
        }
    }

    async fn serve(mut self) -> Result<(), String> {
        let settings = self.settings.borrow_and_update().clone();
        let mut upstreams = Upstreams::default();
        let of_accounts = upstreams.replace(&settings.hosts);
        let current = Rc::new(Current::new(Proxy::new(settings.state, of_accounts, self.recorder.clone())));
        let tasks = TaskTracker::new();
        for (socket, tls) in self.sockets {
            let listener = tokio::net::TcpListener::from_std(socket)
                .map_err(|e| format!("a worker cannot accept connections: {e}"))?;
            let (connections, drain) = (self.connections.clone(), self.drain.clone());
            let accepting =
                listener::accept(listener, tls, Rc::clone(&current), connections, tasks.clone(), drain);
            tokio::task::spawn_local(accepting);
        }
        let _ = self.reports.send(Report::Ready);
        loop {
            tokio::select! {
                () = self.drain.begun() => break,
                changed = self.settings.changed() => {
                    // The sender goes when the process ends, and then the drain has begun.
                    let Ok(()) = changed else { break };
                    let settings = self.settings.borrow_and_update().clone();
                    let of_accounts = upstreams.replace(&settings.hosts);
                    current.replace(Proxy::new(settings.state, of_accounts, self.recorder.clone()));
                }
            }
        }
        tasks.close();
        tokio::select! {
            () = tasks.wait() => {}
            // With the runtime its tasks are dropped, and each call that is cut off has its access line.
            () = self.cut.cancelled() => {}
        }
        Ok(())
    }
}

/// The worker's connections to each API host; those of an account whose host has not changed go on being used.
#[derive(Default)]
struct Upstreams(Vec<Running>);

/// One upstream, and the task that keeps its connections ready until this is dropped.
struct Running {
    host: Arc<ApiHost>,
    upstream: Rc<Upstream>,
    keeper: JoinHandle<()>,
}

impl Upstreams {
    /// From now on has these hosts and no others; the upstream of each, in their order.
    fn replace(&mut self, hosts: &[Arc<ApiHost>]) -> Vec<Rc<Upstream>> {
        let mut old = std::mem::take(&mut self.0);
        hosts
            .iter()
            .map(|host| {
                let is_it = |running: &Running| Arc::ptr_eq(&running.host, host);
                let known = self.0.iter().position(is_it).unwrap_or_else(|| {
                    let kept = old.iter().position(is_it).map(|at| old.swap_remove(at));
                    self.0.push(kept.unwrap_or_else(|| Running::start(Arc::clone(host))));
                    self.0.len() - 1
                });
                Rc::clone(&self.0[known].upstream)
            })
            .collect()
    }
}

impl Running {
    fn start(host: Arc<ApiHost>) -> Self {
        let upstream = Rc::new(Upstream::new(Arc::clone(&host)));
        let warm = Rc::clone(&upstream);
        let keeper = tokio::task::spawn_local(async move { warm.keep_warm().await });
        Self { host, upstream, keeper }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
