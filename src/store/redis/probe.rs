//! Tries what wxgate needs of a store, for `wxgate check`. Leaves nothing behind that does not run out in seconds.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use super::RedisSettings;
use super::dial::{Commands, DialError, Dialer, Driver, refusal};
use super::look::{Look, look};
use super::scripts;
use crate::secret::Secret;
use crate::store::StoreKey;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// It works.
    pub works: bool,
    /// In words, with what to do where it does not.
    pub text: String,
}

/// A connection to the store on which it is tried and looked at.
#[derive(Debug)]
pub struct Probe {
    settings: RedisSettings,
    dialer: Dialer,
    connection: MultiplexedConnection,
    _driver: Driver,
    /// Its clock, in seconds since 1970.
    clock: u64,
}

impl Probe {
    /// Connects to a store, which then has answered.
    ///
    /// # Errors
    /// Why it cannot be used, in words for an operator.
    pub async fn connect(settings: &RedisSettings) -> Result<Self, String> {
        let connected = async {
            let dialer = Dialer::new(settings.clone()).await?;
            let Commands { mut connection, driver, .. } = dialer.commands().await?;
            let time = redis::cmd("TIME").query_async(&mut connection).await;
            let (clock, _): (u64, u64) = time.map_err(|e| dialer.refused(&e))?;
            Ok(Self { settings: settings.clone(), dialer, connection, _driver: driver, clock })
        };
        connected.await.map_err(|DialError(why)| why)
    }

    /// What stands under the keys of these accounts, in their order.
    ///
    /// # Errors
    /// Why the store cannot be asked, in words for an operator.
    pub async fn look(&mut self, accounts: Vec<(StoreKey, Secret)>) -> Result<Vec<Look>, String> {
        let looks = look(&self.settings, &mut self.connection, accounts).await;
        looks.map_err(|DialError(why)| why)
    }

    /// Tries all that wxgate needs of it.
    pub async fn try_all(&mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.note_all(&mut |works, text| findings.push(Finding { works, text })).await;
        findings
    }

    async fn note_all(&mut self, note: &mut impl FnMut(bool, String)) {
        let Self { settings, dialer, connection, clock, .. } = self;
        // Its own slot: what is tried must not depend on another key's.
        let key = format!("{}{{check}}:{:016x}", settings.key_prefix, fastrand::u64(..));
        note(true, format!("the store {} answers", settings.shown()));
        let here = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        if here.abs_diff(*clock) > 60 {
            let apart = here.abs_diff(*clock);
            note(false, format!("the store's clock and this machine's are {apart} s apart; set them (NTP)"));
        }
        let set: Result<(), _> =
            redis::cmd("SET").arg(&key).arg("1").arg("PX").arg(5000).query_async(&mut *connection).await;
        match set {
            Ok(()) => note(true, "the store can be written".to_owned()),
            Err(e) => note(
                false,
                format!(
                    "the store cannot be written: {}; wxgate needs the master, and a user who may write keys that begin with `{}`",
                    refusal(&e),
                    settings.key_prefix
                ),
            ),
        }
        let alive = scripts::alive(&settings.key_prefix);
        let held: Result<Option<Vec<u8>>, _> =
            redis::cmd("GET").arg(&alive).query_async(&mut *connection).await;
        if match held {
            Ok(held) => held.is_some_and(|held| held != scripts::ALIVE.as_bytes()),
            Err(e) => scripts::is_wrong_type(&e),
        } {
            note(
                false,
                format!(
                    "the store's `{alive}` holds what wxgate did not write; remove it, or set another `store.key_prefix`"
                ),
            );
        }
        let script: Result<String, _> = scripts::probe(&key).query_async(&mut *connection).await;
        match script {
            Ok(_) => note(true, "the store runs scripts (EVAL)".to_owned()),
            Err(e) => note(
                false,
                format!(
                    "the store runs no scripts (EVAL): {}; wxgate needs an edition, and a user, with EVAL and, in scripts, GET, SET, DEL, PTTL and PEXPIRE",
                    refusal(&e)
                ),
            ),
        }
        match message(settings, dialer, connection).await {
            Ok(()) => note(true, "the store passes messages on (PUBLISH, SUBSCRIBE)".to_owned()),
            Err(DialError(why)) => note(
                false,
                format!(
                    "the store passes no messages on (PUBLISH, SUBSCRIBE): {why}; without them replicas take a new token up \
                     to 2 s later. Its user needs the channels `{}*`",
                    settings.key_prefix
                ),
            ),
        }
        let _: Result<(), _> = redis::cmd("DEL").arg(&key).query_async(&mut *connection).await;
    }
}

async fn message(
    settings: &RedisSettings,
    dialer: &Dialer,
    connection: &mut MultiplexedConnection,
) -> Result<(), DialError> {
    let limit = settings.timeout.max(Duration::from_secs(1));
    let late = |_| DialError("nothing arrives in time".to_owned());
    let said = |e| DialError(refusal(&e));
    let channel = format!("{}check:{:016x}", settings.key_prefix, fastrand::u64(..));
    let mut messages = dialer.messages().await?;
    timeout(limit, messages.subscribe(&channel)).await.map_err(late)?.map_err(said)?;
    let _: i64 = redis::cmd("PUBLISH").arg(&channel).arg("1").query_async(connection).await.map_err(said)?;
    let mut stream = messages.into_on_message();
    timeout(limit, stream.next()).await.map_err(late)?;
    Ok(())
}
