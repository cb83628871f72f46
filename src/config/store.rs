//! Reads `[store]`: where tokens are kept, and with how many other wxgate.
//!
//! Nothing is opened and nothing is connected to.

use super::secret;
use super::table::Table;
use super::value::Value;
use super::{Account, pem};
use crate::credential::policy::Force;
use crate::secret::Secret;
use crate::store::redis::{RedisSettings, StoreUrl, usable_tls};

/// Where tokens are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// Files in `state_dir`.
    File {
        /// How many wxgate of the same accounts there are, this one included; at least 1. They share nothing.
        replicas: usize,
    },
    /// A Redis or Valkey that several wxgate share.
    Redis(Box<RedisSettings>),
}

impl Default for Store {
    fn default() -> Self {
        Self::File { replicas: 1 }
    }
}

impl Store {
    /// Among how many wxgate the daily budget of forced fetches is divided; at least 1.
    pub fn divided_by(&self) -> usize {
        match self {
            Self::File { replicas } => *replicas,
            // They count together.
            Self::Redis(_) => 1,
        }
    }
}

pub(super) fn read(mut table: Table<'_>, accounts: &[Account]) -> Store {
    let redis = table.key("kind", |v| v.one_of(&[("file", false), ("redis", true)]));
    let replicas = table.key("replicas", Value::count);
    let url = table.key("url", url);
    let user = table.optional("user", line);
    let password = table.optional("password", |value| secret::read(value, secret::STORE_PASSWORD));
    let ca = table.optional("ca", pem::read);
    let cert = table.optional("cert", pem::read);
    let key = table.optional("key", pem::read_key);
    let key_prefix = table.key("key_prefix", key_prefix);
    let timeout = table.key("timeout", Value::time);
    let half = match (table.given("cert"), table.given("key")) {
        (true, false) => Some(("cert", "key")),
        (false, true) => Some(("key", "cert")),
        _ => None,
    };
    if let Some((there, missing)) = half {
        let words = format!("`{missing}` is missing beside it; want both, or none");
        table.problem(there, words);
    }
    table.finish();
    if !redis {
        if table.given("url") && !table.given("kind") {
            let words =
                "of no use without `kind = \"redis\"`: tokens are kept in `state_dir` and shared with nobody";
            table.report.warn(table.line_of("url"), &table.path_of("url"), words);
        }
        alone(&table, replicas, accounts);
        return Store::File { replicas };
    }
    let settings = RedisSettings { url, user, password, ca, identity: cert.zip(key), key_prefix, timeout };
    check_tls(&table, &settings);
    Store::Redis(Box::new(settings))
}

fn alone(table: &Table<'_>, replicas: usize, accounts: &[Account]) {
    if replicas < 2 {
        return;
    }
    let ends_others =
        |account: &&Account| account.policy().is_some_and(|policy| policy.force == Force::EachFetch);
    for account in accounts.iter().filter(ends_others) {
        table.report.findings.warn(format!(
            "store.replicas = {replicas}, and account `{}` has token_api = \"token\": without a shared store replicas end \
             each other's tokens; set token_api = \"stable_token\", or kind = \"redis\"",
            account.name
        ));
    }
}

fn check_tls(table: &Table<'_>, settings: &RedisSettings) {
    let asked = [("ca", settings.ca.is_some()), ("cert", settings.identity.is_some())];
    if !settings.url.tls {
        for (key, _) in asked.iter().filter(|(_, given)| *given) {
            let words = "for TLS, and the `url` is without; want a `url` that begins with `rediss://`";
            table.problem(key, words);
        }
    } else if let Err(words) = usable_tls(settings) {
        table.report.problem(table.line_of("url"), &table.path, None, words);
    }
}

fn url(value: &Value<'_>) -> Option<StoreUrl> {
    let hidden = value.secret();
    let text: Secret = match value.toml().as_str() {
        // A plain one is no secret by itself: most have no password.
        Some(text) => Secret::new(text.to_owned()),
        None => secret::read(&hidden, secret::STORE_URL)?,
    };
    match StoreUrl::parse(text.expose()) {
        Ok(url) => Some(url),
        Err(want) => hidden.wrong(want),
    }
}

fn line(value: &Value<'_>) -> Option<String> {
    const WANTED: &str = "a text in quotes, one line, not empty";
    value.parsed(WANTED, |text| match text {
        text if text.is_empty() || text.contains(char::is_control) => Err(WANTED.to_owned()),
        text => Ok(text.to_owned()),
    })
}

/// Braces would end the part that keeps the keys of an account together in a cluster.
fn key_prefix(value: &Value<'_>) -> Option<String> {
    const WANTED: &str = "a text like \"wxgate:\", at most 64 bytes, without braces and spaces";
    value.parsed(WANTED, |text| {
        let wrong = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '{' | '}');
        if text.len() > 64 || text.contains(wrong) { Err(WANTED.to_owned()) } else { Ok(text.to_owned()) }
    })
}
