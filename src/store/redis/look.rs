//! Looks at what stands under an account's keys, for `wxgate check`. Changes nothing.

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::RedisSettings;
use super::dial::{DialError, refusal};
use super::lock::Lock;
use super::scripts::is_wrong_type;
use super::seal::{Opened, Seal};
use super::settings::lock_key;
use crate::secret::Secret;
use crate::store::{StoreKey, StoredState};

/// What stands under an account's keys.
#[derive(Debug)]
pub enum Look {
    /// Nothing.
    Missing,
    /// The account's state. What it holds may have ended.
    Held(Box<StoredState>),
    /// What another AppSecret wrote, or damage, under this key.
    OtherSecret(String),
    /// What wxgate did not write, under this key.
    Foreign(String),
}

/// Looks at the keys of these accounts, in their order.
///
/// # Errors
/// Why the store cannot be asked.
pub(super) async fn look(
    settings: &RedisSettings,
    connection: &mut MultiplexedConnection,
    accounts: Vec<(StoreKey, Secret)>,
) -> Result<Vec<Look>, DialError> {
    let mut looks = Vec::new();
    for (key, secret) in accounts {
        looks.push(one(settings, connection, key, &secret).await?);
    }
    Ok(looks)
}

async fn one(
    settings: &RedisSettings,
    connection: &mut MultiplexedConnection,
    key: StoreKey,
    secret: &Secret,
) -> Result<Look, DialError> {
    let state = settings.state_key(&key);
    let lock = lock_key(&state);
    match get(connection, &lock).await? {
        Value::Text(owner) if owner.is_empty() || Lock::is_ours(&owner) => {}
        Value::Text(_) | Value::Other => return Ok(Look::Foreign(lock)),
    }
    let Value::Text(value) = get(connection, &state).await? else { return Ok(Look::Foreign(state)) };
    if value.is_empty() {
        return Ok(Look::Missing);
    }
    let seal = Seal::new(secret, key, state.clone());
    let seal = seal.ok_or_else(|| DialError("the system gives no random numbers".to_owned()))?;
    Ok(match seal.open(&value) {
        Opened::Ours(held) => Look::Held(held),
        Opened::OtherSecret(_) => Look::OtherSecret(state),
        Opened::Foreign => Look::Foreign(state),
    })
}

enum Value {
    /// Empty where there is nothing.
    Text(Vec<u8>),
    /// Another type than a text.
    Other,
}

async fn get(connection: &mut MultiplexedConnection, key: &str) -> Result<Value, DialError> {
    let value: Result<Option<Vec<u8>>, RedisError> = redis::cmd("GET").arg(key).query_async(connection).await;
    match value {
        Ok(value) => Ok(Value::Text(value.unwrap_or_default())),
        Err(e) if is_wrong_type(&e) => Ok(Value::Other),
        Err(e) => Err(DialError(refusal(&e))),
    }
}
