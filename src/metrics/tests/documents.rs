//! The chapter about metrics in both languages, made from what `/metrics` shows: docs/en/metrics.md, docs/zh/metrics.md.
//!
//! With `WXGATE_WRITE_DOCUMENTS=1` the test writes them anew; without, it fails where one differs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::everything;
use crate::metrics::text::encode;
use crate::tests::assert_document;

/// What each family says, in Chinese; the English is its `# HELP` line.
const CHINESE: [(&str, &str); 33] = [
    ("process_cpu_seconds_total", "进程的 CPU 时间（用户态加内核态）。"),
    ("process_max_fds", "最多可以打开的文件描述符数。"),
    ("process_open_fds", "已打开的文件描述符数。"),
    ("process_resident_memory_bytes", "常驻内存。"),
    ("process_start_time_seconds", "进程启动的时间。"),
    ("process_threads", "线程数。"),
    ("process_virtual_memory_bytes", "虚拟地址空间。"),
    ("wxgate_build_info", "正在运行的版本。"),
    ("wxgate_caller_connections", "调用方的连接数。"),
    ("wxgate_config_last_reload_success_timestamp_seconds", "当前配置的读入时间。"),
    ("wxgate_config_last_reload_successful", "最近一次重新加载配置是否成功。"),
    ("wxgate_dropped_log_lines_total", "stderr 写得太慢而丢失的日志行数。"),
    ("wxgate_own_answers_total", "wxgate 自己的响应，按 x-wxgate-error 统计。"),
    (
        "wxgate_platform_certificate_expiry_timestamp_seconds",
        "API 签名与加密：验签用的最后一张平台证书的到期时间。",
    ),
    ("wxgate_replay_bytes", "为重发而保留的请求体字节数。"),
    ("wxgate_request_duration_seconds", "从收到请求头到发完响应的时间。"),
    ("wxgate_requests_total", "已响应的请求，按 HTTP 状态统计。"),
    ("wxgate_retries_total", "凭据被拒绝的调用，按结果统计。"),
    ("wxgate_store_operations_total", "凭据存储的操作次数。"),
    ("wxgate_store_up", "凭据存储是否可用。"),
    ("wxgate_ticket_expiry_timestamp_seconds", "ticket 的到期时间（已知的话）；没有 ticket 时不输出。"),
    ("wxgate_ticket_refreshes_total", "查询 ticket 的次数，按原因和结果统计。"),
    ("wxgate_token_expiry_timestamp_seconds", "当前凭据的到期时间；没有凭据时不输出。"),
    ("wxgate_token_fetches_today", "今天（北京时间）获取凭据的次数。"),
    ("wxgate_token_last_refresh_success_timestamp_seconds", "最近一次成功获取凭据的时间。"),
    ("wxgate_token_quota", "微信每天允许的获取次数。"),
    ("wxgate_token_refreshes_total", "获取凭据的次数，按原因和结果统计。"),
    ("wxgate_upstream_changes_total", "改用另一个接口地址的次数。"),
    ("wxgate_upstream_connections", "到微信的连接数。"),
    ("wxgate_upstream_errcode_total", "微信响应中不为 0 的错误码。"),
    ("wxgate_upstream_in_use", "当前是否使用这个接口地址。"),
    ("wxgate_upstream_request_duration_seconds", "从发出调用到收到微信响应头的时间。"),
    ("wxgate_upstream_tls_expiry_timestamp_seconds", "微信最近出示的证书的到期时间。"),
];

/// Name, type, help and labels of each family, sorted by name.
fn families() -> BTreeMap<String, (String, String, Vec<String>)> {
    let mut families: BTreeMap<String, (String, String, Vec<String>)> = BTreeMap::new();
    for line in encode(everything()).lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().1 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else if let Some((name, labels)) = line.split_once('{') {
            let name =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let Some(family) = families.get_mut(name) else { continue };
            // Values hold commas and equals signs in a test's names alone; a label's name never does.
            for label in labels.split("=\"").filter_map(|part| part.rsplit([',', '"', '{']).next()) {
                let named = label.starts_with(|c: char| c.is_ascii_lowercase()) && label != "le";
                if named && !label.contains(['}', ' ', '\\']) && !family.2.contains(&label.to_owned()) {
                    family.2.push(label.to_owned());
                }
            }
        }
    }
    families
}

const EN: [&str; 2] = [
    "docs/en/metrics.md",
    "# Metrics\n\n[简体中文](../zh/metrics.md)\n\n`GET /metrics` of the admin listener, in Prometheus' text format 0.0.4. Labels \
     never hold what a caller can choose freely: a status or an errcode that is in no table is `other`. An account that is \
     gone after a reload takes its series along. The alert rules and the dashboard in \
     [examples/monitoring](../../examples/monitoring) use these names.\n\n\
     - `outcome` of `wxgate_retries_total`: `ok` (sent again, and accepted), `refused` (sent again, and refused again), \
     `broken` (sent again, and no answer came), or the value of [`x-wxgate-retry`](errcodes.md#token-errors-that-were-passed-on).\n\
     - `reason` of a refresh: `start`, `ahead` (before the token ends), `forced` (WeChat refused the current one), `retry` (the \
     last fetch failed), `admin` (by hand). `outcome`: `ok` (a new one), `same` (the current one again), `failed` (a passing \
     failure), `refused`. All pairs are shown from the start, at 0, so that `increase()` sees the first event, too.\n\nThis page is made from what the program shows (`src/metrics/text.rs`).\n\n\
     | metric | type | labels | what it says |\n| --- | --- | --- | --- |\n",
];

const ZH: [&str; 2] = [
    "docs/zh/metrics.md",
    "# 指标\n\n[English](../en/metrics.md)\n\n管理端口的 `GET /metrics`，格式为 Prometheus 文本格式 0.0.4。标签的值都不是调用方可以随意填的：\
     不在表里的状态码和错误码一律记为 `other`。重新加载后不再存在的账号，其序列也随之消失。\
     [examples/monitoring](../../examples/monitoring) 里的告警规则和仪表盘用的就是这些名字。\n\n\
     - `wxgate_retries_total` 的 `outcome`：`ok`（重发后成功）、`refused`（重发后仍被拒绝）、`broken`（重发后没有收到响应），\
     或者 [`x-wxgate-retry`](errcodes.md#原样返回的凭据错误) 的值。\n\
     - 刷新的 `reason`：`start`（启动）、`ahead`（到期前）、`forced`（微信拒绝了当前凭据）、`retry`（上次获取失败）、`admin`（手动）。\
     `outcome`：`ok`（新凭据）、`same`（仍是当前凭据）、`failed`（暂时性失败）、`refused`（被拒绝）。所有组合从启动起就以 0 输出，因此 `increase()` 也能算上第一次。\n\n\
     本页由程序的输出（`src/metrics/text.rs`）生成。\n\n| 指标 | 类型 | 标签 | 含义 |\n| --- | --- | --- | --- |\n",
];

#[test]
fn documents_are_made_from_the_metrics() {
    let families = families();
    let named: Vec<_> = CHINESE.iter().map(|(name, _)| *name).collect();
    assert_eq!(families.keys().collect::<Vec<_>>(), named, "a family lacks its Chinese words, or is gone");
    for [path, head] in [EN, ZH] {
        let mut text = head.to_owned();
        for ((name, (kind, help, labels)), (_, chinese)) in families.iter().zip(CHINESE) {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let help = if path == EN[0] { help } else { chinese };
            writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
        }
        assert_document(path, &text);
    }
}
