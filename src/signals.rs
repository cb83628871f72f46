//! Signals of the system, turned into orders for a running proxy: SIGTERM and SIGINT stop it, SIGHUP has it read
//! its configuration again, a second stop ends the process at once. Knows no command line.

use std::io::Write;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::app::Order;
use crate::config::{Loaded, Loader};
use crate::process;

/// The exit code of a process that was ended in the middle of its requests.
const CUT_OFF: i32 = 1;

/// How often files are looked at with `watch`: a change is in use within 10 s.
const LOOK: Duration = Duration::from_secs(5);

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

    /// Turns signals into orders from now on. `config` is read again at SIGHUP, and, while its `watch` says so, when a
    /// file has changed; `None`: there is nothing to read again.
    pub(crate) fn orders(mut self, config: Option<(Loader, bool)>) -> mpsc::Receiver<Order> {
        let (orders, received) = mpsc::channel(1);
        tokio::spawn(async move {
            match config {
                None => self.stop().await,
                Some((loader, watch)) => {
                    let mut reloads = Reloads { loader, watch, orders: orders.clone() };
                    while let Some(cause) = self.next(reloads.watch).await {
                        tokio::select! {
                            // A stop does not wait for a reload.
                            () = self.stop() => break,
                            () = reloads.reload(cause) => {}
                        }
                    }
                }
            }
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

    /// The next cause for a reload; `None`: a signal to stop.
    async fn next(&mut self, watch: bool) -> Option<Cause> {
        tokio::select! {
            _ = self.term.recv() => None,
            _ = self.int.recv() => None,
            _ = self.hup.recv() => Some(Cause::Signal),
            () = tokio::time::sleep(LOOK), if watch => Some(Cause::Watch),
        }
    }
}

/// Why a configuration is read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Signal,
    /// It is time to look whether a file has changed.
    Watch,
}

/// Reads the configuration of a running process again; a wrong one is logged, and changes nothing.
struct Reloads {
    loader: Loader,
    watch: bool,
    orders: mpsc::Sender<Order>,
}

impl Reloads {
    async fn reload(&mut self, cause: Cause) {
        let changed = match cause {
            Cause::Signal => None,
            Cause::Watch => match self.loader.load_if_changed().await {
                Some(outcome) => Some(outcome),
                None => return,
            },
        };
        // systemd wants to know when a reload began (sd_notify(3), RELOADING=1).
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        let outcome = match changed {
            Some(outcome) => {
                tracing::info!("a file of the configuration has changed");
                outcome
            }
            None => self.loader.load().await,
        };
        match outcome {
            Ok(loaded) => self.apply(loaded).await,
            Err(errors) => {
                for line in errors.to_string().lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the new configuration is wrong; going on with the old one");
            }
        }
        tell_systemd(&[NotifyState::Ready]);
    }

    async fn apply(&mut self, loaded: Loaded) {
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
        self.watch = loaded.config.watch;
        let (done, is_done) = oneshot::channel();
        let order = Order::Reload { config: Box::new(loaded.config), done };
        if self.orders.send(order).await.is_ok() {
            // Whether it could be used has been logged; either way the reload is over.
            let _ = is_done.await;
        }
    }
}

/// Without systemd there is nobody to tell.
pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
