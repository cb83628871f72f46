//! The metrics in Prometheus' text format 0.0.4, with the names of the contract.
//!
//! Knows neither where the figures come from nor who asks for them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;

use super::families::Families;
use super::look::{Look, Token, UpstreamConnections};
use super::process::Process;
use super::{CODES, Retry, STATUSES};
use crate::errcodes;

pub use prometheus_text::CONTENT_TYPE;

/// The text of the metrics.
pub fn encode(look: Look) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(look));
    let mut text = String::new();
    // Writing to a String cannot fail, and all figures are plain numbers.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

impl Collector for Look {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        self.requests(&mut families)?;
        self.tokens(&mut families)?;
        self.state(&mut families)?;
        self.process.as_ref().map_or(Ok(()), |process| process_families(process, &mut families))
    }
}

impl Look {
    fn requests(&self, families: &mut Families<'_>) -> fmt::Result {
        let names: Vec<String> =
            STATUSES.iter().map(ToString::to_string).chain(["other".to_owned()]).collect();
        let requests = self.totals.accounts.iter().flat_map(|account| {
            account.callers.iter().flat_map(|caller| {
                let counted = names.iter().zip(caller.statuses).filter(|(_, count)| *count > 0);
                counted.map(|(status, count)| {
                    let labels =
                        [("account", &*account.name), ("caller", &*caller.name), ("status", status.as_str())];
                    (labels, count)
                })
            })
        });
        families.counters("wxgate_requests", "Requests that were answered, by HTTP status.", requests)?;
        // Requests without an account never reach an upstream.
        let real = || self.totals.accounts.iter().filter(|account| *account.name != *super::NONE);
        let all = self.totals.accounts.iter().map(|account| (&*account.name, &account.durations));
        families.histograms(
            "wxgate_request_duration_seconds",
            "Time from a request's head to the last byte of its answer.",
            all,
        )?;
        families.histograms(
            "wxgate_upstream_request_duration_seconds",
            "Time from sending a call to the head of the upstream's answer.",
            real().map(|account| (&*account.name, &account.upstream)),
        )?;
        let own = CODES.iter().zip(self.totals.own_answers).map(|(code, count)| ([("code", *code)], count));
        families.counters("wxgate_own_answers", "Answers of wxgate's own, by x-wxgate-error.", own)?;
        let numbers: Vec<String> =
            errcodes::LABELS.iter().map(ToString::to_string).chain(["other".to_owned()]).collect();
        let seen = real().flat_map(|account| {
            let of_account = numbers.iter().zip(account.errcodes);
            of_account
                .map(|(errcode, count)| ([("account", &*account.name), ("errcode", errcode.as_str())], count))
        });
        families.counters(
            "wxgate_upstream_errcode",
            "Errcodes other than 0 in the upstream's answers.",
            seen,
        )?;
        let retries = real().flat_map(|account| {
            let of_account = Retry::ALL.iter().zip(account.retries);
            of_account.map(|(outcome, n)| ([("account", &*account.name), ("outcome", outcome.as_str())], n))
        });
        families.counters("wxgate_retries", "Calls whose token was refused, by what came of them.", retries)
    }

    fn tokens(&self, families: &mut Families<'_>) -> fmt::Result {
        let refreshes = self.tokens.iter().flat_map(|token| {
            token.refreshes.iter().map(|(reason, outcome, count)| {
                ([("account", &*token.account), ("reason", *reason), ("outcome", *outcome)], *count)
            })
        });
        families.counters(
            "wxgate_token_refreshes",
            "Fetches of a token, by reason and outcome.",
            refreshes,
        )?;
        let mut each = |name: &str, help: &str, value: &dyn Fn(&Token) -> Option<f64>| {
            let series =
                self.tokens.iter().filter_map(|token| Some(([("account", &*token.account)], value(token)?)));
            families.gauges(name, help, series)
        };
        each(
            "wxgate_token_expiry_timestamp_seconds",
            "When the valid token ends; missing without one.",
            &|token| token.expires_at,
        )?;
        each(
            "wxgate_token_last_refresh_success_timestamp_seconds",
            "When a token was fetched last.",
            &|token| token.last_success,
        )?;
        each("wxgate_token_fetches_today", "Fetches of Beijing's day.", &|token| {
            token.fetches_today.map(|n| n as f64)
        })?;
        each("wxgate_token_quota", "Fetches that WeChat allows a day.", &|token| {
            token.quota.map(|n| n as f64)
        })?;
        each(
            "wxgate_upstream_tls_expiry_timestamp_seconds",
            "When the certificate that the upstream showed last ends.",
            &|token| token.tls_expires_at,
        )?;
        if self.tokens.iter().any(|token| token.platform_expires_at.is_some()) {
            each(
                "wxgate_platform_certificate_expiry_timestamp_seconds",
                "When the last certificate ends that answers of the API security mode are checked with.",
                &|token| token.platform_expires_at,
            )?;
        }
        let hosts = self.tokens.iter().flat_map(|token| {
            token.hosts.iter().map(|(url, in_use)| {
                ([("account", &*token.account), ("url", url.as_str())], f64::from(u8::from(*in_use)))
            })
        });
        families.gauges("wxgate_upstream_in_use", "Whether calls go to this API host.", hosts)?;
        let changes = self.tokens.iter().map(|token| ([("account", &*token.account)], token.host_changes));
        families.counters(
            "wxgate_upstream_changes",
            "How often calls have begun to go to another API host.",
            changes,
        )?;
        self.tickets(families)
    }

    fn tickets(&self, families: &mut Families<'_>) -> fmt::Result {
        if self.tokens.iter().all(|token| token.tickets.is_empty()) {
            return Ok(());
        }
        let tickets =
            || self.tokens.iter().flat_map(|token| token.tickets.iter().map(|one| (&*token.account, one)));
        let refreshes = tickets().flat_map(|(account, ticket)| {
            ticket.refreshes.iter().map(move |(reason, outcome, count)| {
                let labels = [
                    ("account", account),
                    ("ticket", ticket.kind),
                    ("reason", *reason),
                    ("outcome", *outcome),
                ];
                (labels, *count)
            })
        });
        families.counters(
            "wxgate_ticket_refreshes",
            "Calls for a ticket, by reason and outcome.",
            refreshes,
        )?;
        let ends = tickets().filter_map(|(account, ticket)| {
            Some(([("account", account), ("ticket", ticket.kind)], ticket.expires_at?))
        });
        families.gauges(
            "wxgate_ticket_expiry_timestamp_seconds",
            "When the valid ticket ends as far as is known; missing without one.",
            ends,
        )
    }

    fn state(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "wxgate_caller_connections",
            "Open connections of callers.",
            self.caller_connections as f64,
        )?;
        let UpstreamConnections { idle, active } = self.upstream_connections;
        families.gauges(
            "wxgate_upstream_connections",
            "Open connections to the upstream.",
            [([("state", "idle")], idle as f64), ([("state", "active")], active as f64)],
        )?;
        families.gauge(
            "wxgate_replay_bytes",
            "Request bodies that are kept for a second sending.",
            self.replay_bytes as f64,
        )?;
        families.counters(
            "wxgate_dropped_log_lines",
            "Log lines that were lost because stderr was too slow.",
            [([], self.dropped_log_lines)],
        )?;
        families.gauge(
            "wxgate_config_last_reload_successful",
            "Whether the last reload of the configuration worked.",
            f64::from(u8::from(self.reload.ok)),
        )?;
        families.gauge(
            "wxgate_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read.",
            self.reload.last_success,
        )?;
        families.gauge(
            "wxgate_store_up",
            "Whether the store of tokens works.",
            f64::from(u8::from(self.store.up)),
        )?;
        let operations =
            self.store.operations.iter().map(|(operation, outcome, count)| {
                ([("operation", *operation), ("outcome", *outcome)], *count)
            });
        families.counters("wxgate_store_operations", "Operations of the store of tokens.", operations)?;
        let build = [("version", self.version), ("revision", self.revision)];
        families.gauges("wxgate_build_info", "What is running.", [(build, 1.0)])
    }
}

fn process_families(process: &Process, families: &mut Families<'_>) -> fmt::Result {
    families.seconds(
        "process_cpu_seconds",
        "User and system CPU time of the process.",
        process.cpu_seconds,
    )?;
    families.gauge("process_open_fds", "Open file descriptors.", process.open_fds as f64)?;
    if let Some(max) = process.max_fds {
        families.gauge("process_max_fds", "How many file descriptors may be open.", max as f64)?;
    }
    families.gauge("process_virtual_memory_bytes", "Address space.", process.virtual_bytes as f64)?;
    families.gauge("process_resident_memory_bytes", "Memory in RAM.", process.resident_bytes as f64)?;
    families.gauge("process_threads", "Threads.", process.threads as f64)?;
    families.gauge("process_start_time_seconds", "When the process was started.", process.start_time)
}
