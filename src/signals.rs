//! Signals of the system, turned into orders for a running proxy: SIGTERM and SIGINT stop it, SIGHUP has it read
//! its configuration again, a second stop ends the process at once, SIGUSR1 and SIGUSR2 change the level of the log. What
//! systemd wants to hear of it is said here. Knows no command line.

use std::io::Write;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::app::fixed::in_force;
use crate::app::{Order, ReloadOutcome, ReloadRequest, Reloaded, Reloads};
use crate::config::{Loaded, Loader, Setting, changed};
use crate::{logging, process};

/// The exit code of a process that was ended in the middle of its requests.
const CUT_OFF: i32 = 1;

/// How often files are looked at with `watch`: a change is in use within 10 s.
const LOOK: Duration = Duration::from_secs(5);

/// How long SIGUSR1 lasts.
const MORE_LOG: Duration = Duration::from_secs(300);

/// The signals that wxgate understands; from [`Signals::new`] on none of them ends the process by itself.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        let signals = Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        };
        tokio::spawn(level(signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?));
        Ok(signals)
    }

    /// Waits for a signal to stop.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    /// Turns signals into orders from now on. `again` is read again at SIGHUP, when the admin listener asks for it, and,
    /// while its `watch` says so, when a file has changed; `None`: there is nothing to read again.
    pub(crate) fn orders(mut self, again: Option<Again>) -> mpsc::Receiver<Order> {
        let (orders, received) = mpsc::channel(1);
        tokio::spawn(async move {
            match again {
                None => self.stop().await,
                Some(mut again) => {
                    while let Some(cause) = self.next(&mut again).await {
                        tokio::select! {
                            // A stop does not wait for a reload.
                            () = self.stop() => break,
                            () = again.reload(cause, &orders) => {}
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
    async fn next(&mut self, again: &mut Again) -> Option<Cause> {
        let watch = again.watch;
        tokio::select! {
            _ = self.term.recv() => None,
            _ = self.int.recv() => None,
            _ = self.hup.recv() => Some(Cause::Signal),
            request = again.asked() => Some(Cause::Admin(request)),
            () = tokio::time::sleep(LOOK), if watch => Some(Cause::Watch),
        }
    }
}

/// Changes the level of the log at signals: `more` raises it by a step for five minutes, `back` resets it at once.
async fn level(mut more: Signal, mut back: Signal) {
    let mut until = None;
    loop {
        let end = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = more.recv() => {
                until = Some(Instant::now() + MORE_LOG);
                let level = logging::raise();
                tracing::warn!(
                    "SIGUSR1: the level of the log is {level} for {}; SIGUSR2 resets it",
                    humantime::format_duration(MORE_LOG)
                );
            }
            _ = back.recv() => {
                until = None;
                tracing::warn!("SIGUSR2: the level of the log is {} again", logging::reset());
            }
            () = end => {
                until = None;
                tracing::warn!("the level of the log is {} again", logging::reset());
            }
        }
    }
}

/// Why a configuration is read again.
enum Cause {
    Signal,
    /// It is time to look whether a file has changed.
    Watch,
    /// The admin listener was asked for it, and answers with what comes of it.
    Admin(ReloadRequest),
}

/// What a running process reads again.
pub(crate) struct Again {
    loader: Loader,
    watch: bool,
    /// What is in force, to tell what has changed.
    settings: Vec<Setting>,
    reloads: Option<Reloads>,
}

impl Again {
    /// The configuration that `loader` reads, which was `settings` at the start.
    pub(crate) fn new(loader: Loader, watch: bool, settings: Vec<Setting>, reloads: Option<Reloads>) -> Self {
        Self { loader, watch, settings, reloads }
    }

    /// The next order to reload that comes by the admin listener.
    async fn asked(&mut self) -> ReloadRequest {
        match &mut self.reloads {
            Some(reloads) => reloads.asked().await,
            None => std::future::pending().await,
        }
    }

    /// Reads the configuration again; a wrong one is logged, and changes nothing.
    async fn reload(&mut self, cause: Cause, orders: &mpsc::Sender<Order>) {
        let changed = match cause {
            Cause::Signal | Cause::Admin(_) => None,
            Cause::Watch => match self.loader.load_if_changed().await {
                Some(outcome) => Some(outcome),
                None => return,
            },
        };
        // systemd wants to know when a reload began (sd_notify(3), RELOADING=1).
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        let loaded = match changed {
            Some(outcome) => {
                tracing::info!("a file of the configuration has changed");
                outcome
            }
            None => self.loader.load().await,
        };
        let outcome = match loaded {
            Ok(loaded) => self.apply(loaded, orders).await,
            Err(errors) => {
                let errors: Vec<String> = errors.to_string().lines().map(str::to_owned).collect();
                for line in &errors {
                    tracing::error!("{line}");
                }
                tracing::error!("the new configuration is wrong; going on with the old one");
                if let Some(reloads) = &self.reloads {
                    reloads.failed(errors.clone());
                }
                Err(errors)
            }
        };
        if let Cause::Admin(request) = cause {
            // Whoever asked may have gone.
            let _ = request.send(outcome);
        }
        tell_systemd(&[NotifyState::Ready]);
    }

    /// The keys that have changed, or why the configuration cannot be used.
    async fn apply(&mut self, loaded: Loaded, orders: &mpsc::Sender<Order>) -> ReloadOutcome {
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
        let settings = in_force(loaded.settings, &self.settings);
        let order = Order::Reload { config: Box::new(loaded.config), settings: settings.clone(), done };
        if orders.send(order).await.is_err() {
            return Err(vec!["wxgate is stopping".to_owned()]);
        }
        // Whether it could be used has been logged; either way the reload is over.
        match is_done.await {
            Ok(Ok(needs_restart)) => {
                let changed = changed(&self.settings, &settings);
                self.settings = settings;
                Ok(Reloaded { changed, needs_restart })
            }
            Ok(Err(error)) => Err(vec![error]),
            Err(_) => Err(vec!["wxgate is stopping".to_owned()]),
        }
    }
}

/// From now on systemd hears twice in each `WatchdogSec=` that the thread that calls this goes on; it ends and restarts
/// a wxgate that does not. The word goes out from another thread, since systemd may be slow to take it.
pub(crate) fn keep_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else { return };
    tokio::spawn(async move {
        loop {
            // An error means that the process is ending.
            let _ = tokio::task::spawn_blocking(|| tell_systemd(&[NotifyState::Watchdog])).await;
            tokio::time::sleep(limit / 2).await;
        }
    });
}

/// Without systemd there is nobody to tell.
pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
