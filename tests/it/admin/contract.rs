//! What others rely on by name: each route and each metric is there, and no other without a line here.

use std::collections::BTreeMap;

use wxgate::admin::routes::ROUTES;

use super::support::{get, ready, with};
use crate::support::gate::Settings;
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

#[test]
fn each_route_is_there() {
    let routes: Vec<String> = ROUTES.iter().map(|row| format!("{} {}", row.method, row.path)).collect();
    assert_eq!(
        routes,
        [
            "GET /livez",
            "GET /healthz",
            "GET /readyz",
            "GET /metrics",
            "GET /status",
            "GET /calls",
            "GET /config",
            "GET /",
            "POST /accounts/{account}/refresh",
            "POST /accounts/{account}/call",
            "POST /reload",
        ]
    );
}

/// Name, type and labels.
const METRICS: &[(&str, &str, &[&str])] = &[
    ("wxgate_requests_total", "counter", &["account", "caller", "status"]),
    ("wxgate_request_duration_seconds", "histogram", &["account"]),
    ("wxgate_upstream_request_duration_seconds", "histogram", &["account"]),
    ("wxgate_own_answers_total", "counter", &["code"]),
    ("wxgate_upstream_errcode_total", "counter", &["account", "errcode"]),
    ("wxgate_retries_total", "counter", &["account", "outcome"]),
    ("wxgate_token_refreshes_total", "counter", &["account", "outcome", "reason"]),
    ("wxgate_token_expiry_timestamp_seconds", "gauge", &["account"]),
    ("wxgate_token_last_refresh_success_timestamp_seconds", "gauge", &["account"]),
    ("wxgate_token_fetches_today", "gauge", &["account"]),
    ("wxgate_token_quota", "gauge", &["account"]),
    ("wxgate_ticket_refreshes_total", "counter", &["account", "outcome", "reason", "ticket"]),
    ("wxgate_ticket_expiry_timestamp_seconds", "gauge", &["account", "ticket"]),
    ("wxgate_caller_connections", "gauge", &[]),
    ("wxgate_upstream_connections", "gauge", &["state"]),
    ("wxgate_upstream_tls_expiry_timestamp_seconds", "gauge", &["account"]),
    ("wxgate_platform_certificate_expiry_timestamp_seconds", "gauge", &["account"]),
    ("wxgate_upstream_in_use", "gauge", &["account", "url"]),
    ("wxgate_upstream_changes_total", "counter", &["account"]),
    ("wxgate_replay_bytes", "gauge", &[]),
    ("wxgate_dropped_log_lines_total", "counter", &[]),
    ("wxgate_config_last_reload_successful", "gauge", &[]),
    ("wxgate_config_last_reload_success_timestamp_seconds", "gauge", &[]),
    ("wxgate_store_up", "gauge", &[]),
    ("wxgate_store_operations_total", "counter", &["operation", "outcome"]),
    ("wxgate_build_info", "gauge", &["revision", "version"]),
    ("process_cpu_seconds_total", "counter", &[]),
    ("process_max_fds", "gauge", &[]),
    ("process_open_fds", "gauge", &[]),
    ("process_resident_memory_bytes", "gauge", &[]),
    ("process_start_time_seconds", "gauge", &[]),
    ("process_threads", "gauge", &[]),
    ("process_virtual_memory_bytes", "gauge", &[]),
];

/// The names of the labels of a line.
fn labels(line: &str) -> Vec<&str> {
    let inside =
        line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
    let mut names: Vec<&str> =
        inside.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name).collect();
    names.retain(|name| *name != "le");
    names.sort_unstable();
    names
}

#[tokio::test]
async fn fetches_that_have_not_happened_are_shown_as_0() {
    let wechat = WeChat::start().await;
    let settings = Settings { account: "tickets = true".to_owned(), ..Settings::default() };
    let gate = with(&wechat.url, "", settings).await;
    ready(&gate).await;
    let text = get(&gate, "/metrics").await.text().to_owned();
    let counts = |name: &str| {
        let of = text.lines().filter(|line| line.starts_with(name));
        of.map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let tokens = counts("wxgate_token_refreshes_total{");
    assert_eq!((tokens.len(), tokens.iter().filter(|count| *count == "0").count()), (20, 19), "{text}");
    let tickets = counts("wxgate_ticket_refreshes_total{");
    assert!(!tickets.is_empty() && tickets.iter().all(|count| count == "0"), "{tickets:?}");
    for pair in ["reason=\"forced\",outcome=\"ok\"", "reason=\"ahead\",outcome=\"refused\""] {
        assert!(
            text.contains(&format!("wxgate_token_refreshes_total{{account=\"main\",{pair}}} 0")),
            "{pair}"
        );
    }
}

#[tokio::test]
async fn each_metric_is_there_with_its_type_and_labels() {
    let wechat = WeChat::start().await;
    let account = format!("tickets = true\n{}", crate::signing::account(""));
    let settings = Settings { account, ..Settings::default() };
    let gate = with(&wechat.url, "", settings).await;
    ready(&gate).await;
    // One of each kind: answered, with an errcode, repeated, refused by wxgate itself.
    gate.get("/cgi-bin/user/get").await;
    gate.get("/cgi-bin/user/info?openid=nobody").await;
    wechat.handle.expire_token();
    gate.get("/cgi-bin/user/get").await;
    gate.get("/elsewhere").await;
    gate.get("/wxgate/jssdk?url=http%3A%2F%2Fa%2F").await;
    until_async("all are counted", async || {
        get(&gate, "/metrics").await.text().contains("code=\"not-found\"")
    })
    .await;
    let text = get(&gate, "/metrics").await.text().to_owned();
    let mut types = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            types.insert(name, kind);
        }
    }
    for (name, kind, labelled) in METRICS {
        assert_eq!(types.remove(name), Some(*kind), "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        let samples: Vec<&str> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ', '_'])))
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert!(!samples.is_empty(), "{name} has no sample");
        for sample in samples {
            assert_eq!(labels(sample), *labelled, "{sample}");
        }
    }
    assert!(types.is_empty(), "{types:?} have no line in this test");
}

fn example(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_dashboard_and_the_alert_rules_ask_for_metrics_that_exist() {
    let dashboard: serde_json::Value = serde_json::from_str(&example("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let asked = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked: Vec<&str> = asked.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(asked.len() > 15);
    let texts = [asked.join("\n"), example("alerts.yml"), example("alerts.test.yml")];
    let mut names = std::collections::BTreeSet::new();
    for text in &texts {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        names.extend(words.filter(|word| word.starts_with("wxgate_") || word.starts_with("process_")));
    }
    for name in &names {
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(METRICS.iter().any(|(known, ..)| known == name || known == &base), "{name}");
    }
    assert!(names.len() > 15, "{names:?}");
}

#[tokio::test]
async fn the_dashboard_lists_accounts_without_a_token_and_all_means_all() {
    let wechat = WeChat::start().await;
    let tables =
        "[[account]]\nname = \"egress-only\"\ntoken_api = \"none\"\nprefix = \"/egress\"\n".to_owned();
    let gate = with(&wechat.url, "", Settings { tables, ..Settings::default() }).await;
    let text = get(&gate, "/metrics").await.text().to_owned();
    let dashboard: serde_json::Value = serde_json::from_str(&example("dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        assert_eq!(variable["allValue"], ".*", "{variable}");
    }
    let account = variables.iter().find(|variable| variable["name"] == "account").unwrap();
    let query = account["query"]["query"].as_str().unwrap();
    let metric =
        query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(", account)")).unwrap();
    for name in ["main", "egress-only"] {
        assert!(text.contains(&format!("{metric}{{account=\"{name}\"")), "{metric} {name}");
    }
}

#[test]
fn promtool_accepts_the_alert_rules_and_their_tests_hold() {
    let promtool = std::env::var_os("WXGATE_PROMTOOL").unwrap_or_else(|| "promtool".into());
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = std::process::Command::new(&promtool)
            .args(arguments)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/monitoring"))
            .output()
            .expect("promtool (Debian's prometheus): tests/run gets it");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("warn"), "{arguments:?}: {said}");
    }
}
