//! Signals of the system, turned into orders for a running proxy: SIGTERM and SIGINT stop it, SIGHUP has it read
//! its configuration again, a second stop ends the process at once. Knows no command line.

use std::io::Write;
use std::path::{Path, PathBuf};

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::app::Order;
use crate::config::Config;
use crate::process;

/// The exit code of a process that was ended in the middle of its requests.
const CUT_OFF: i32 = 1;

/// The signals that wxgate understands; from [`Signals::new`] on none of them ends the process by itself.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into orders from now on. `config` is what the command line named as the file to read again
    /// at SIGHUP; `None`: there is nothing to read again.
    pub(crate) fn orders(mut self, config: Option<Option<PathBuf>>) -> mpsc::Receiver<Order> {
        let (orders, received) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = self.term.recv() => break,
                    _ = self.int.recv() => break,
                    _ = self.hup.recv() => if let Some(path) = &config {
                        reload(path.as_deref(), &orders).await;
                    },
                }
            }
            tracing::info!("stopping: no more connections, requests in flight may finish");
            tell_systemd(&[NotifyState::Stopping]);
            // An error means that the proxy has ended by itself, and so does the process in a moment.
            let _ = orders.send(Order::Stop).await;
            tokio::select! {
                _ = self.term.recv() => {}
                _ = self.int.recv() => {}
            }
            // The log may be blocked; with stderr gone nobody is left to tell.
            let _ = writeln!(std::io::stderr(), "wxgate: a second signal: stopping at once");
            std::process::exit(CUT_OFF);
        });
        received
    }
}

/// Reads the configuration of a running process again; a wrong one is logged, and changes nothing.
async fn reload(path: Option<&Path>, orders: &mpsc::Sender<Order>) {
    // systemd wants to know when a reload began (sd_notify(3), RELOADING=1).
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell_systemd(&[NotifyState::Reloading, now]);
    }
    match Config::load(path, &|name| std::env::var_os(name)) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            process::allow_open_files(loaded.config.limits.max_connections);
            let (done, is_done) = oneshot::channel();
            let order = Order::Reload { config: Box::new(loaded.config), done };
            if orders.send(order).await.is_ok() {
                // Whether it could be used has been logged; either way the reload is over.
                let _ = is_done.await;
            }
        }
        Err(errors) => {
            for line in errors.to_string().lines() {
                tracing::error!("{line}");
            }
            tracing::error!("the new configuration is wrong; going on with the old one");
        }
    }
    tell_systemd(&[NotifyState::Ready]);
}

/// Without systemd there is nobody to tell.
pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
