//! Reads `[store]`: where tokens are kept, and with how many other wxgate.
//!
//! Nothing is opened and nothing is connected to.

use super::Account;
use super::table::Table;
use super::value::Value;
use crate::credential::policy::Force;

/// Where tokens are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// Files in `state_dir`.
    File {
        /// How many wxgate of the same accounts there are, this one included; at least 1. They share nothing.
        replicas: usize,
    },
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
        }
    }
}

pub(super) fn read(mut table: Table<'_>, accounts: &[Account]) -> Store {
    let replicas = table.key("replicas", Value::count);
    table.finish();
    if replicas > 1 {
        for account in accounts
            .iter()
            .filter(|account| account.policy().is_some_and(|policy| policy.force == Force::EachFetch))
        {
            table.report.findings.warn(format!(
                "store.replicas = {replicas}, and account `{}` has token_api = \"token\": without a shared store \
                 replicas end each other's tokens; set token_api = \"stable_token\"",
                account.name
            ));
        }
    }
    Store::File { replicas }
}
