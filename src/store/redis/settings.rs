//! Where a store is and how to reach it: plain values of the configuration.

use std::time::Duration;

use super::url::StoreUrl;
use crate::secret::Secret;
use crate::store::StoreKey;
use crate::tls::Pem;

/// A Redis or Valkey that several wxgate share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it is.
    pub url: StoreUrl,
    /// Instead of the user name in the URL.
    pub user: Option<String>,
    /// Instead of the password in the URL.
    pub password: Option<Secret>,
    /// Further trust roots.
    pub ca: Option<Pem>,
    /// The chain and the key that wxgate shows.
    pub identity: Option<(Pem, Pem)>,
    /// What every key begins with; without braces.
    pub key_prefix: String,
    /// For one command.
    pub timeout: Duration,
}

impl RedisSettings {
    /// The store in messages, without user and password.
    pub fn shown(&self) -> String {
        let hosts: Vec<_> = self.url.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let scheme = if self.url.tls { "rediss" } else { "redis" };
        match &self.url.master {
            Some(master) => format!("{scheme}-sentinel://{}/{master}/{}", hosts.join(","), self.url.database),
            None => format!("{scheme}://{}/{}", hosts.join(","), self.url.database),
        }
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref().or(self.url.user.as_deref())
    }

    pub(super) fn password(&self) -> Option<&Secret> {
        self.password.as_ref().or(self.url.password.as_ref())
    }

    /// The key of an account's state; what is in braces is its hash slot.
    pub(super) fn state_key(&self, store_key: &StoreKey) -> String {
        let host = store_key.upstream.split_once("://").map_or(&*store_key.upstream, |(_, host)| host);
        let StoreKey { appid, kind, issued_by, .. } = store_key;
        format!("{}{{{appid}}}:{kind}:{issued_by}@{host}", self.key_prefix)
    }
}

/// The key of the lock beside a state.
pub(super) fn lock_key(state: &str) -> String {
    format!("{state}:lock")
}
