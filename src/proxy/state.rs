//! What the workers' proxies share: accounts, callers, limits. Replaced as a whole at a reload.

use std::sync::Arc;

use super::buffer::Budget;
use super::route::Rules;
use crate::config::{Caller, Limits};
use crate::credential::Reader;

/// One account as requests see it.
#[derive(Debug)]
pub struct Account {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its appid.
    pub appid: String,
    /// Which requests belong to it, and what they may call.
    pub rules: Rules,
    /// The errcodes that mean a dead token.
    pub refresh_on: Vec<i64>,
    /// Its token.
    pub token: Reader,
}

/// What all workers share.
#[derive(Debug)]
pub struct ProxyState {
    /// At least one.
    pub accounts: Vec<Account>,
    /// Who may call; empty: everyone who reaches a listener.
    pub callers: Vec<Caller>,
    /// What one caller may use up.
    pub limits: Limits,
    /// What all request bodies in memory may use up.
    pub budget: Arc<Budget>,
    /// Whether each request leaves a line in the log.
    pub access_log: bool,
}
