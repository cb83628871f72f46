//! Tries what wxgate needs of a store, for `wxgate check`. Leaves nothing behind that does not run out in seconds.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::RedisSettings;
use super::dial::{DialError, Dialer, refusal};
use super::scripts;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// It works.
    pub works: bool,
    /// In words, with what to do where it does not.
    pub text: String,
}

/// Tries all of it; at least one finding.
pub async fn probe(settings: &RedisSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |works: bool, text: String| findings.push(Finding { works, text });
    let shown = settings.shown();
    match try_all(settings, &mut note).await {
        Ok(()) => {}
        Err(DialError(why)) => note(false, format!("the store {shown} cannot be used: {why}")),
    }
    findings
}

async fn try_all(settings: &RedisSettings, note: &mut impl FnMut(bool, String)) -> Result<(), DialError> {
    let shown = settings.shown();
    let dialer = Dialer::new(settings.clone()).await?;
    let (mut connection, _driver) = dialer.commands().await?;
    // Its own slot: what is tried must not depend on another key's.
    let key = format!("{}{{check}}:{:016x}", settings.key_prefix, fastrand::u64(..));
    let (secs, _): (u64, u64) =
        redis::cmd("TIME").query_async(&mut connection).await.map_err(|e| dialer.refused(&e))?;
    note(true, format!("the store {shown} answers"));
    let here = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    if here.abs_diff(secs) > 60 {
        note(
            false,
            format!(
                "the store's clock and this machine's are {} s apart; set them (NTP)",
                here.abs_diff(secs)
            ),
        );
    }
    let set: Result<(), _> =
        redis::cmd("SET").arg(&key).arg("1").arg("PX").arg(5000).query_async(&mut connection).await;
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
    let held: Result<Option<Vec<u8>>, _> = redis::cmd("GET").arg(&alive).query_async(&mut connection).await;
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
    let script: Result<String, _> = scripts::probe(&key).query_async(&mut connection).await;
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
    match message(settings, &dialer, &mut connection).await {
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
    let _: Result<(), _> = redis::cmd("DEL").arg(&key).query_async(&mut connection).await;
    Ok(())
}

async fn message(
    settings: &RedisSettings,
    dialer: &Dialer,
    connection: &mut redis::aio::MultiplexedConnection,
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
