//! What an operator sets for the proxy: who may call, and how much a call may use up.
//!
//! Plain types, which the configuration fills in. What they mean is carried out in `authorize.rs`, `buffer.rs` and
//! the listener.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;

use super::route::PathPattern;
use crate::secret::Secret;

/// What one caller, and all of them together, may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Caller connections at one moment.
    pub max_connections: usize,
    /// Time for a caller to send a whole head.
    pub header_timeout: Duration,
    /// Time that a keep-alive connection may stay silent.
    pub idle_timeout: Duration,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Bytes of a request body.
    pub max_body: u64,
    /// Bytes of one request body that are kept for a second sending.
    pub replay_per_request: usize,
    /// Bytes of all bodies kept for that at one moment.
    pub replay_total: usize,
}

/// One who may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// `[a-z0-9-]+`, unique; its name in logs.
    pub name: Arc<str>,
    /// Where it calls from; empty: from anywhere.
    pub from: Vec<IpNet>,
    /// What it must show one of; none: its address is enough. Two while a key is changed.
    pub keys: Vec<Secret>,
    /// How often it may call.
    pub rate: Option<Rate>,
    /// How many calls it may have in flight.
    pub concurrent: Option<usize>,
    /// The accounts that it may use, by name; `None`: all.
    pub accounts: Option<Vec<String>>,
    /// What it may call; `None`: whatever the account allows.
    pub allow: Option<Vec<Allow>>,
    /// Whether it gets the real token when it asks for one.
    pub real_token: bool,
}

/// So many calls in such a time, with a burst of as many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub calls: u32,
    /// A second or a minute.
    pub per: Duration,
}

/// One `METHOD PATTERN` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// In upper case; `None`: any method.
    pub method: Option<Method>,
    /// The path, without the account's prefix.
    pub path: PathPattern,
}
