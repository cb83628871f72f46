//! Reads `[limits]`: what one caller, and all of them together, may use up.
//!
//! Enforcing them is the listener's and the proxy's work.

use std::time::Duration;

use super::table::Table;
use super::{DAY, Limits, MILLISECOND, parse};

/// More than any disk; keeps sums of sizes far from overflow.
const PIB: u64 = 1 << 50;

pub(super) fn read(mut table: Table<'_>) -> Limits {
    let max_connections = table.key("max_connections", 10_000, |v| v.count(1..=1_000_000));
    let header_timeout = table.key("header_timeout", Duration::from_secs(10), |v| v.time(MILLISECOND..=DAY));
    let idle_timeout = table.key("idle_timeout", Duration::from_secs(75), |v| v.time(MILLISECOND..=DAY));
    let max_header_bytes = table.key("max_header_bytes", 32 << 10, |v| v.size(1 << 10..=1 << 20));
    let max_body = table.key("max_body", 64 << 20, |v| v.size(1..=PIB));
    let replay_per_request = table.key("replay_per_request", 16 << 20, |v| v.size(0..=PIB));
    let replay_total = table.key("replay_total", 256 << 20, |v| v.size(0..=PIB));
    // No body is larger than `max_body`, so keeping room for more would only tie memory up.
    let replay_per_request = replay_per_request.min(max_body);
    if replay_per_request > replay_total {
        let given = if table.given("replay_per_request") { "replay_per_request" } else { "replay_total" };
        let (one, all) = (parse::bytes(replay_per_request), parse::bytes(replay_total));
        let words = format!(
            "replay_per_request ({one}) must not be larger than replay_total ({all}): not one such body could be kept"
        );
        table.report.problem(table.line_of(given), &table.path_of(given), None, words);
    }
    table.finish();
    Limits {
        max_connections,
        header_timeout,
        idle_timeout,
        max_header_bytes: in_memory(max_header_bytes),
        max_body,
        replay_per_request: in_memory(replay_per_request),
        replay_total: in_memory(replay_total),
    }
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
