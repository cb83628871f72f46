//! What one look at the metrics shows: plain data.

use std::sync::Arc;

use super::process::Process;
use super::totals::Totals;

/// Everything that one look at the metrics shows.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// What workers have counted.
    pub totals: Totals,
    /// The accounts' tokens, in the order of the configuration.
    pub tokens: Vec<Token>,
    /// Open connections of callers.
    pub caller_connections: u64,
    /// Open connections to the upstream without and with a call.
    pub upstream_connections: UpstreamConnections,
    /// Bytes of request bodies that are kept for a second sending.
    pub replay_bytes: u64,
    /// Log lines that were lost because stderr was too slow.
    pub dropped_log_lines: u64,
    /// The last reload, or the start.
    pub reload: Reload,
    /// Where tokens are kept.
    pub store: Store,
    /// `None` where the system tells nothing.
    pub process: Option<Process>,
    /// Version of this program.
    pub version: &'static str,
    /// Commit that it was built from, `unknown` where nobody said.
    pub revision: &'static str,
}

/// One account's token; times in seconds since 1970.
#[derive(Debug, Clone)]
pub struct Token {
    /// Name of the account.
    pub account: Arc<str>,
    /// When the valid token ends.
    pub expires_at: Option<f64>,
    /// When one was fetched last.
    pub last_success: Option<f64>,
    /// Fetches of Beijing's day; `None` where no token is kept.
    pub fetches_today: Option<u64>,
    /// What WeChat allows a day.
    pub quota: Option<u64>,
    /// When the certificate that the upstream showed ends.
    pub tls_expires_at: Option<f64>,
    /// When the last certificate ends that its encrypted answers are checked with.
    pub platform_expires_at: Option<f64>,
    /// The API hosts, and whether calls go there.
    pub hosts: Vec<(String, bool)>,
    /// How often calls have begun to go to another of them.
    pub host_changes: u64,
    /// Fetches by reason and outcome.
    pub refreshes: Vec<(&'static str, &'static str, u64)>,
    /// The account's tickets, where it keeps any.
    pub tickets: Vec<Ticket>,
}

/// One of an account's tickets.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Which one, `jsapi_ticket` for example.
    pub kind: &'static str,
    /// When the valid ticket ends, as far as is known.
    pub expires_at: Option<f64>,
    /// Fetches by reason and outcome.
    pub refreshes: Vec<(&'static str, &'static str, u64)>,
}

/// Connections to the upstream.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpstreamConnections {
    /// Ready for a call.
    pub idle: u64,
    /// With a call.
    pub active: u64,
}

/// What came of the last reload.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reload {
    /// Whether it worked; the start counts as one that did.
    pub ok: bool,
    /// When one worked last, in seconds since 1970.
    pub last_success: f64,
}

/// How the store fares.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// Whether the last operation worked.
    pub up: bool,
    /// By operation and outcome.
    pub operations: Vec<(&'static str, &'static str, u64)>,
}
