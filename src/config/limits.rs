//! Reads `[limits]`: what one caller, and all of them together, may use up.
//!
//! Enforcing them is the listener's and the proxy's work.

use super::table::{Given, Table};
use super::value::Value;
use super::{Limits, parse};

pub(super) fn read(mut table: Table<'_>) -> Limits {
    let max_connections = table.key("max_connections", Value::count);
    let header_timeout = table.key("header_timeout", Value::time);
    let idle_timeout = table.key("idle_timeout", Value::time);
    let max_header_bytes = table.key("max_header_bytes", Value::size_in_memory);
    let max_body = table.key("max_body", Value::size);
    let (given, replay_per_request) = table.given_or_default("replay_per_request", Value::size);
    let replay_total = table.key("replay_total", Value::size);
    // No body is larger than `max_body`, so keeping room for more would only tie memory up.
    let replay_per_request = replay_per_request.min(max_body);
    if replay_per_request > replay_total {
        let given = if given == Given::No { "replay_total" } else { "replay_per_request" };
        let (one, all) = (parse::bytes(replay_per_request), parse::bytes(replay_total));
        let words = format!(
            "replay_per_request ({one}) must not be larger than replay_total ({all}): not one such body could be kept"
        );
        table.problem(given, words);
    }
    // One caller holds half of all, at most: waiting for room brings it no more.
    let replay_per_request = replay_per_request.min(replay_total / 2);
    table.finish();
    Limits {
        max_connections,
        header_timeout,
        idle_timeout,
        max_header_bytes,
        max_body,
        replay_per_request: in_memory(replay_per_request),
        replay_total: in_memory(replay_total),
    }
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
