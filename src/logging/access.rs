//! The access line: what the log says of one request, at its end.
//!
//! Its keys are part of the product; `tests/it/command_line/log.rs` has each of them.

use crate::stats::{RequestStats, milliseconds};

/// Writes the line of a request whose answer is over.
pub fn log_request(stats: &RequestStats) {
    let peer = stats.peer.to_string();
    tracing::info!(
        target: "wxgate::access",
        // A caller that matched no [[caller]] is known by its address alone.
        caller = stats.caller.as_deref().unwrap_or(&peer),
        peer,
        account = stats.account.as_deref().unwrap_or("-"),
        method = %stats.method,
        path = %stats.path.as_deref().unwrap_or("-"),
        status = stats.status,
        errcode = stats.errcode,
        rid = stats.rid.as_deref(),
        bytes = stats.bytes,
        ms = milliseconds(stats.took),
        upstream_ms = (stats.attempts > 0).then(|| milliseconds(stats.upstream)),
        attempts = stats.attempts,
        request_id = stats.request_id.as_deref(),
        trace_id = stats.trace_id.as_deref(),
        error = stats.error().as_deref(),
    );
}
