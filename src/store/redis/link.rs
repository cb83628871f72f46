//! The way to the store, for all accounts together: one connection for commands, one for messages, made anew for as
//! long as they are wanted.
//!
//! All of it runs in a task of its own. Nobody waits for it: without a connection a command fails at once, and each
//! replica goes on alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::RedisSettings;
use super::dial::{Address, Commands, DialError, Dialer, refusal};
use super::scripts;
use super::shared::{Operation, Outcome, Shared};

/// Between two attempts to connect: from the first to the longest, each with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A connection that has worked for so long was a good one.
const SOUND: Duration = Duration::from_secs(10);
/// Between two proofs that the store can be written.
const BEAT: Duration = Duration::from_secs(2);
/// Between two questions whether the connection for messages is alive.
const PING: Duration = Duration::from_secs(5);
/// While the store is away, this is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(300);

/// The way to the store; it ends when dropped.
#[derive(Debug)]
pub struct Link {
    pub(super) shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to connect, on the current runtime.
    pub fn open(settings: RedisSettings) -> Arc<Self> {
        let shared = Arc::new(Shared::new(settings));
        let task = tokio::spawn(keep_connected(Arc::clone(&shared)));
        Arc::new(Self { shared, task })
    }

    /// What it was opened with.
    pub fn settings(&self) -> &RedisSettings {
        &self.shared.settings
    }

    /// Whether the store can be used, for all accounts.
    pub fn is_up(&self) -> bool {
        self.shared.is_up()
    }

    /// Operation, outcome and how often, since the start.
    pub fn operations(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.shared.operations()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_connected(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    let mut said: Option<(String, Instant)> = None;
    let shown = shared.settings.shown();
    let mut dialer = None;
    loop {
        let began = Instant::now();
        let attempt = connected(&shared, &mut dialer).await;
        shared.tried.store(true, Ordering::SeqCst);
        let why = match attempt {
            Ok((commands, dialer)) => {
                shared.count(Operation::Connect, Outcome::Ok);
                if said.take().is_some() {
                    info!("the store {shown} is back; tokens are shared again");
                } else {
                    info!("tokens are shared through the store {shown}");
                }
                shared.connection.send_replace(Some(commands.connection.clone()));
                work(&shared, commands, dialer).await
            }
            Err(DialError(why)) => {
                shared.count(Operation::Connect, Outcome::Failed);
                why
            }
        };
        shared.connection.send_replace(None);
        if said.as_ref().is_none_or(|(before, at)| *before != why || at.elapsed() > SAY_AGAIN) {
            error!(
                "the store {shown} is away: {why}. Callers are served as ever, and each replica fetches for itself \
                 meanwhile; it is tried again. `wxgate check` says more"
            );
            said = Some((why, Instant::now()));
        }
        pause_after(began, &mut pause).await;
    }
}

/// The pause behind an attempt that began then: longer each time, unless it went well for a while.
async fn pause_after(began: Instant, pause: &mut Duration) {
    if began.elapsed() >= SOUND {
        *pause = FIRST_PAUSE;
    }
    sleep(pause.mul_f64(0.85 + 0.3 * fastrand::f64())).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

/// A connection to a store that can be written.
async fn connected<'a>(
    shared: &Shared,
    dialer: &'a mut Option<Dialer>,
) -> Result<(Commands, &'a Dialer), DialError> {
    let dialer = match dialer {
        Some(dialer) => dialer,
        None => dialer.insert(Dialer::new(shared.settings.clone()).await?),
    };
    let attempt = async {
        let mut commands = dialer.commands().await?;
        beat(shared, &mut commands.connection).await.map_err(|e| dialer.refused(&e))?;
        Ok(commands)
    };
    let attempt = attempt.await.inspect_err(|_: &DialError| dialer.was_of_no_use());
    attempt.map(|commands| (commands, &*dialer))
}

/// Proves that scripts can write to the store, which they cannot in one that was made a replica, nor in an edition or
/// for a user without EVAL; and hears its clock.
async fn beat(shared: &Shared, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let asked = Instant::now();
    let mut time = redis::cmd("TIME");
    let (secs, micros): (u64, u64) = time.take().query_async(connection).await?;
    let heard = SystemTime::UNIX_EPOCH + Duration::from_secs(secs) + Duration::from_micros(micros);
    shared.heard_time(heard, asked + asked.elapsed() / 2);
    scripts::beat(&shared.settings.key_prefix).query_async(connection).await
}

/// Goes on until the connection is of no more use; why that is.
async fn work(shared: &Shared, commands: Commands, dialer: &Dialer) -> String {
    let Commands { mut connection, mut driver, master } = commands;
    let beats = async {
        loop {
            let broken = timeout(BEAT, shared.broken.notified()).await.is_ok();
            // A command that failed is one witness; this is the other.
            if let Err(e) = beat(shared, &mut connection).await {
                return refusal(&e);
            }
            if broken {
                sleep(FIRST_PAUSE).await;
            }
        }
    };
    tokio::select! {
        why = beats => why,
        why = moved(dialer, master) => why,
        () = driver.ended() => "it closed the connection".to_owned(),
        never = hear(shared, dialer) => match never {},
    }
}

/// Goes on until the sentinels name another master than the one connected to: it may go on taking writes for a while, and
/// some replicas' with it.
async fn moved(dialer: &Dialer, connected: Option<Address>) -> String {
    let Some(connected) = connected else { return std::future::pending().await };
    loop {
        sleep(PING).await;
        if let Ok(Some(named)) = dialer.master().await
            && named != connected
        {
            return format!("its sentinels name another master, {}:{}", named.0, named.1);
        }
    }
}

/// Hears news for as long as it is polled. Without it the accounts still ask every other second.
async fn hear(shared: &Shared, dialer: &Dialer) -> Infallible {
    let mut pause = FIRST_PAUSE;
    let mut said = false;
    loop {
        let began = Instant::now();
        if let Err(why) = heard(shared, dialer).await
            && !said
        {
            warn!("the store tells no news: {why}; it is asked every other second instead");
            said = true;
        }
        pause_after(began, &mut pause).await;
    }
}

async fn heard(shared: &Shared, dialer: &Dialer) -> Result<(), DialError> {
    let limit = shared.settings.timeout;
    let late = || DialError("it does not answer in time".to_owned());
    let mut messages = dialer.messages().await?;
    let subscribed = timeout(limit, messages.subscribe(shared.channel())).await.map_err(|_| late())?;
    subscribed.map_err(|e| DialError(refusal(&e)))?;
    // What was published before is not told any more.
    shared.tell_all();
    let (mut sink, mut stream) = messages.split();
    loop {
        match timeout(PING, stream.next()).await {
            Ok(Some(message)) => {
                shared.tell(&String::from_utf8_lossy(message.get_payload_bytes()));
            }
            Ok(None) => return Err(DialError("it closed the connection for news".to_owned())),
            Err(_) => {
                let alive: Result<redis::Value, _> = timeout(limit, sink.ping()).await.map_err(|_| late())?;
                alive.map_err(|e| DialError(refusal(&e)))?;
            }
        }
    }
}
