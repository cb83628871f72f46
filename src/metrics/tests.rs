//! What is counted is what the text shows, and Prometheus' own checker has nothing to say against it.

mod documents;

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use super::look::{Look, Reload, Store, Ticket, Token, UpstreamConnections};
use super::text::encode;
use super::*;

fn finished(caller: usize, status: u16, millis: u64) -> Finished {
    Finished { caller, status, failed: status >= 400, took: Duration::from_millis(millis) }
}

fn requests(metrics: &Metrics) -> Vec<(String, String, u64)> {
    let totals = metrics.totals();
    let rows = totals.accounts.iter().flat_map(|account| {
        account.callers.iter().map(|c| (account.name.to_string(), c.name.to_string(), c.requests()))
    });
    rows.filter(|(_, _, count)| *count > 0).collect()
}

fn row(account: &str, caller: &str, count: u64) -> (String, String, u64) {
    (account.to_owned(), caller.to_owned(), count)
}

#[test]
fn all_workers_are_summed() {
    let metrics = Metrics::new(3);
    let accounts = metrics.configure(["main"], ["cms"]);
    thread::scope(|scope| {
        for worker in 0..3 {
            let (main, metrics) = (&accounts[0], &metrics);
            scope.spawn(move || {
                for _ in 0..1000 {
                    main.finished(worker, &finished(2, 200, 7));
                    main.exchanged(worker, Duration::from_millis(3), Some(40001));
                    main.exchanged(worker, Duration::from_millis(3), Some(0));
                    main.retried(worker, Retry::RefreshLimited);
                    metrics.own_answer(worker, "busy");
                }
            });
        }
    });
    let totals = metrics.totals();
    let main = &totals.accounts[0];
    assert_eq!(requests(&metrics), [row("main", "cms", 3000)]);
    assert_eq!(main.durations.buckets[1], 3000);
    assert_eq!(main.durations.sum_micros, 3000 * 7000);
    assert_eq!(main.upstream.buckets[0], 6000);
    assert_eq!(main.errcodes[errcodes::label_index(40001)], 3000);
    assert_eq!(main.errcodes.iter().sum::<u64>(), 3000);
    assert_eq!(main.retries, [0, 0, 0, 0, 0, 3000, 0]);
    assert_eq!(totals.own_answers[11], 3000);
}

#[test]
fn what_an_upstream_or_a_caller_makes_up_is_other() {
    let metrics = Metrics::new(1);
    let accounts = metrics.configure(["main"], []);
    for status in 100..1000 {
        accounts[0].finished(0, &finished(NO_CALLER, status, 1));
    }
    for errcode in -2000..2000 {
        accounts[0].exchanged(0, Duration::ZERO, Some(errcode));
    }
    metrics.own_answer(0, "made-up");
    // Neither a worker nor a caller that does not exist counts, or panics.
    accounts[0].finished(1, &finished(NO_CALLER, 200, 1));
    accounts[0].finished(0, &finished(7, 200, 1));
    let text = encode(Look { totals: metrics.totals(), ..Look::default() });
    let series = text.lines().filter(|line| line.starts_with("wxgate_requests_total{")).count();
    assert_eq!(series, STATUSES.len());
    let others = format!("status=\"other\"}} {}", 900 - (STATUSES.len() - 1));
    assert!(text.contains(&others), "{text}");
    assert!(text.contains("errcode=\"other\"} 3998\n") && text.contains("errcode=\"-1\"} 1\n"), "{text}");
}

#[test]
fn a_reload_keeps_what_stays_and_forgets_what_is_gone() {
    let metrics = Metrics::new(2);
    let old = metrics.configure(["main", "shop"], ["cms", "crm"]);
    old[0].finished(0, &finished(2, 200, 1));
    old[0].finished(0, &finished(3, 200, 1));
    old[1].finished(1, &finished(2, 200, 1));
    old[2].finished(1, &finished(NO_CALLER, 404, 1));
    // `main` moves, `shop` goes, `crm` comes first, `cms` goes.
    let new = metrics.configure(["other", "main"], ["crm"]);
    new[1].finished(0, &finished(2, 200, 1));
    // A request in flight that began before the reload.
    old[0].finished(1, &finished(3, 200, 1));
    old[1].finished(1, &finished(2, 200, 1));
    assert_eq!(requests(&metrics), [row("main", "crm", 3), row("-", "-", 1)]);
    let text = encode(Look { totals: metrics.totals(), ..Look::default() });
    assert!(!text.contains("shop") && !text.contains("cms"), "{text}");
}

#[test]
fn a_caller_named_admin_shares_the_series_of_admin_calls() {
    let metrics = Metrics::new(1);
    let accounts = metrics.configure(["main"], ["admin", "cms"]);
    accounts[0].finished(0, &finished(ADMIN_CALLER, 200, 1));
    accounts[0].finished(0, &finished(2, 200, 1));
    accounts[0].finished(0, &finished(3, 200, 1));
    assert_eq!(requests(&metrics), [row("main", "admin", 2), row("main", "cms", 1)]);
}

#[test]
fn quantiles_lie_within_their_bucket() {
    let metrics = Metrics::new(1);
    let accounts = metrics.configure(["main"], []);
    for millis in [3, 20, 20, 20, 20, 20, 20, 20, 700, 60_000] {
        accounts[0].finished(0, &finished(NO_CALLER, 200, millis));
    }
    let times = metrics.totals().accounts[0].durations.clone();
    let half = times.quantile(0.5).unwrap();
    assert!((0.01..=0.025).contains(&half), "{half}");
    let most = times.quantile(0.9).unwrap();
    assert!((0.5..=1.0).contains(&most), "{most}");
    assert_eq!(times.quantile(1.0), Some(30.0));
    assert_eq!(times.since(&times).quantile(0.5), None);
}

/// A look with a series of each family, and names that need escaping.
pub(super) fn everything() -> Look {
    let metrics = Metrics::new(1);
    let accounts = metrics.configure(["main", "a\"b\\c\n"], ["cms"]);
    for account in &accounts {
        account.finished(0, &finished(2, 200, 42));
        account.exchanged(0, Duration::from_millis(40), Some(40164));
        account.retried(0, Retry::Ok);
    }
    metrics.own_answer(0, "not-found");
    let token = Token {
        account: "main".into(),
        expires_at: Some(1_764_000_000.5),
        last_success: Some(1_763_992_800.25),
        fetches_today: Some(12),
        quota: Some(2000),
        tls_expires_at: Some(1_790_000_000.0),
        platform_expires_at: Some(1_800_000_000.0),
        hosts: vec![
            ("https://api.weixin.qq.com".to_owned(), false),
            ("https://api2.weixin.qq.com".to_owned(), true),
        ],
        host_changes: 3,
        refreshes: vec![("start", "ok", 1), ("ahead", "ok", 11)],
        tickets: vec![Ticket {
            kind: "jsapi_ticket",
            expires_at: Some(1_764_000_000.0),
            refreshes: vec![("ahead", "same", 7)],
        }],
    };
    Look {
        totals: metrics.totals(),
        tokens: vec![token],
        caller_connections: 3,
        upstream_connections: UpstreamConnections { idle: 2, active: 1 },
        replay_bytes: 17,
        dropped_log_lines: 5,
        reload: Reload { ok: true, last_success: 1_763_992_800.0 },
        store: Store { up: true, operations: vec![("load", "ok", 1), ("publish", "failed", 2)] },
        process: process::process(),
        version: "1.2.3",
        revision: "abc",
    }
}

#[test]
fn the_text_has_the_names_and_labels_of_the_contract() {
    let text = encode(everything());
    for line in [
        "wxgate_requests_total{account=\"main\",caller=\"cms\",status=\"200\"} 1",
        "wxgate_requests_total{account=\"a\\\"b\\\\c\\n\",caller=\"cms\",status=\"200\"} 1",
        "wxgate_request_duration_seconds_bucket{account=\"main\",le=\"0.025\"} 0",
        "wxgate_request_duration_seconds_bucket{account=\"main\",le=\"0.05\"} 1",
        "wxgate_request_duration_seconds_bucket{account=\"main\",le=\"30\"} 1",
        "wxgate_request_duration_seconds_bucket{account=\"main\",le=\"+Inf\"} 1",
        "wxgate_request_duration_seconds_sum{account=\"main\"} 0.042",
        "wxgate_request_duration_seconds_count{account=\"main\"} 1",
        "wxgate_upstream_request_duration_seconds_bucket{account=\"main\",le=\"0.05\"} 1",
        "wxgate_own_answers_total{code=\"not-found\"} 1",
        "wxgate_own_answers_total{code=\"limited\"} 0",
        "wxgate_upstream_errcode_total{account=\"main\",errcode=\"40164\"} 1",
        "wxgate_retries_total{account=\"main\",outcome=\"ok\"} 1",
        "wxgate_token_refreshes_total{account=\"main\",reason=\"ahead\",outcome=\"ok\"} 11",
        "wxgate_ticket_refreshes_total{account=\"main\",ticket=\"jsapi_ticket\",reason=\"ahead\",outcome=\"same\"} 7",
        "wxgate_ticket_expiry_timestamp_seconds{account=\"main\",ticket=\"jsapi_ticket\"} 1764000000",
        "wxgate_token_expiry_timestamp_seconds{account=\"main\"} 1764000000.5",
        "wxgate_upstream_in_use{account=\"main\",url=\"https://api.weixin.qq.com\"} 0",
        "wxgate_upstream_in_use{account=\"main\",url=\"https://api2.weixin.qq.com\"} 1",
        "wxgate_upstream_changes_total{account=\"main\"} 3",
        "wxgate_token_last_refresh_success_timestamp_seconds{account=\"main\"} 1763992800.25",
        "wxgate_token_fetches_today{account=\"main\"} 12",
        "wxgate_token_quota{account=\"main\"} 2000",
        "wxgate_caller_connections 3",
        "wxgate_upstream_connections{state=\"idle\"} 2",
        "wxgate_upstream_connections{state=\"active\"} 1",
        "wxgate_upstream_tls_expiry_timestamp_seconds{account=\"main\"} 1790000000",
        "wxgate_replay_bytes 17",
        "wxgate_dropped_log_lines_total 5",
        "wxgate_config_last_reload_successful 1",
        "wxgate_config_last_reload_success_timestamp_seconds 1763992800",
        "wxgate_store_up 1",
        "wxgate_store_operations_total{operation=\"publish\",outcome=\"failed\"} 2",
        "wxgate_build_info{version=\"1.2.3\",revision=\"abc\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains("_total_total"), "{text}");
    assert!(text.contains("\n# TYPE wxgate_request_duration_seconds histogram\n"), "{text}");
    assert!(text.contains("\nprocess_cpu_seconds_total ") && text.contains("\nprocess_open_fds "), "{text}");
    for bound in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30"] {
        assert!(text.contains(&format!("le=\"{bound}\"}}")), "{bound}");
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let promtool = std::env::var_os("WXGATE_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let checking = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut checking = checking.expect("promtool (Debian's prometheus): tests/run gets it");
    checking.stdin.take().unwrap().write_all(encode(everything()).as_bytes()).unwrap();
    let said = checking.wait_with_output().unwrap();
    let words = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && words.is_empty(), "{words}");
}
