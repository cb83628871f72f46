//! Signals of the system, turned into orders for a running proxy: SIGTERM and SIGINT stop it, SIGHUP has it read
//! its configuration again, a second stop ends the process at once. Knows no command line.

use std::io::Write;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::app::Order;
use crate::config::Loader;
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

    /// Waits for a signal to stop.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    /// Turns signals into orders from now on. `config` is read again at SIGHUP; `None`: there is nothing to read
    /// again.
    pub(crate) fn orders(mut self, config: Option<Loader>) -> mpsc::Receiver<Order> {
        let (orders, received) = mpsc::channel(1);
        tokio::spawn(async move {
            while self.stop_or_hangup().await == Told::Hangup {
                let Some(config) = &config else { continue };
                tokio::select! {
                    // A stop does not wait for a reload.
                    () = self.stop() => break,
                    () = reload(config, &orders) => {}
                }
            }
            tracing::info!("stopping: no more connections, requests in flight may finish");
            tell_systemd(&[NotifyState::Stopping]);
            // An error means that the proxy has ended by itself, and so does the process in a moment.
            let _ = orders.send(Order::Stop).await;
            self.stop().await;
            // The log may be blocked; with stderr gone nobody is left to tell.
            let _ = writeln!(std::io::stderr(), "wxgate: a second signal: stopping at once");
            std::process::exit(CUT_OFF);
        });
        received
    }

    async fn stop_or_hangup(&mut self) -> Told {
        tokio::select! {
            _ = self.term.recv() => Told::Stop,
            _ = self.int.recv() => Told::Stop,
            _ = self.hup.recv() => Told::Hangup,
        }
    }
}

/// Which kind of signal came.
#[derive(PartialEq, Eq)]
enum Told {
    Stop,
    Hangup,
}

/// Reads the configuration of a running process again; a wrong one is logged, and changes nothing.
async fn reload(config: &Loader, orders: &mpsc::Sender<Order>) {
    // systemd wants to know when a reload began (sd_notify(3), RELOADING=1).
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell_systemd(&[NotifyState::Reloading, now]);
    }
    match config.load().await {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            if !loaded.credentials.is_empty() {
                tracing::warn!(
                    keys = loaded.credentials.join(" "),
                    "credentials of systemd stay as they were at the start of the unit; a changed one takes a restart"
                );
            }
            process::allow_open_files(loaded.config.connections());
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
