//! Who calls, what is connected, and the last calls that failed.

use std::collections::BTreeSet;
use std::time::SystemTime;

use maud::{Markup, html};

use super::words::{l, number, percent, prose};
use super::{Data, moment};
use crate::admin::history::{Minute, is_unnamed};
use crate::admin::view::View;
use crate::calls::Call;
use crate::errcodes::{Facts, Lang};
use crate::metrics::look::UpstreamConnections;
use crate::stats::milliseconds;

/// Callers that are shown; the rest is in the metrics.
const CALLERS: usize = 12;

/// Kinds of failed calls that are shown at once; and all that are on the page.
const FIRST: usize = 8;
const GROUPS: usize = 60;

pub(super) fn callers(hour: &Minute, lang: Lang) -> Markup {
    html! {
        section #callers .card data-live aria-labelledby="callers-title" {
            h2 #callers-title { (l(lang, "Callers", "调用方")) }
            @if hour.callers.is_empty() {
                p .quiet { (l(lang, "Nobody called in the last hour.", "最近 1 小时没有调用。")) }
            } @else {
                table {
                    thead {
                        tr {
                            th scope="col" { (l(lang, "Caller", "调用方")) }
                            th scope="col" .n { (l(lang, "Calls, 1 h", "1 小时调用")) }
                            th scope="col" .n { (l(lang, "Failed", "失败")) }
                        }
                    }
                    tbody {
                        @for (name, requests, failed) in hour.callers.iter().take(CALLERS) {
                            tr {
                                th scope="row" {
                                    @if is_unnamed(name) { (l(lang, "not named", "未命名")) } @else { (name) }
                                }
                                td .n { (number(*requests)) }
                                td .n { span .bad[*failed > 0] { (percent(*failed, *requests)) } }
                            }
                        }
                    }
                }
                @if hour.callers.len() > CALLERS {
                    p .quiet {
                        (l(lang, "and ", "另有 ")) (hour.callers.len() - CALLERS) (l(lang, " more", " 个"))
                    }
                }
            }
        }
    }
}

pub(super) fn connections(view: &View, lang: Lang) -> Markup {
    let UpstreamConnections { idle, active } = view.upstream_connections;
    let row = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    let hosts: BTreeSet<(&str, bool)> =
        view.accounts.iter().map(|a| (&*a.upstream.in_use, a.upstream.in_use != a.upstream.url)).collect();
    let certificate = view.accounts.iter().filter_map(|account| account.upstream.tls_expires_at).min();
    html! {
        section #connections .card data-live aria-labelledby="connections-title" {
            h2 #connections-title { (l(lang, "Connections", "连接")) }
            dl .rows {
                (row(l(lang, "Callers", "调用方"), html! { (number(view.caller_connections)) }))
                (row(l(lang, "To WeChat", "到微信"), html! {
                    (number(active)) (l(lang, " in use, ", " 使用中，")) (number(idle)) (l(lang, " idle", " 空闲"))
                }))
                (row(l(lang, "API host", "接口地址"), html! {
                    @for (at, (host, fallback)) in hosts.iter().enumerate() {
                        @if at > 0 { br; }
                        code { (host) }
                        @if *fallback { " " span .bad { (l(lang, "fallback", "备用")) } }
                    }
                }))
                @if let Some(at) = certificate {
                    (row(l(lang, "Its certificate ends", "证书到期"), html! { time datetime=(crate::admin::json::time(at)) data-day { (super::words::day(at)) } }))
                }
                (row(l(lang, "Store", "存储"), html! {
                    (view.store.kind) " · "
                    @if view.store.up { span .good { (l(lang, "works", "正常")) } }
                    @else { span .bad { (l(lang, "fails", "不可用")) } }
                }))
                (row(l(lang, "Configuration", "配置"), html! {
                    @if view.last_reload.ok { span .good { (l(lang, "in force", "已生效")) } }
                    @else { span .bad { (l(lang, "new one is wrong", "新配置有误")) } }
                    " · " (moment(view.last_reload.at))
                }))
            }
        }
    }
}

/// Calls that failed in the same way: the newest, how many there are, and when the oldest was.
struct Group<'c> {
    newest: &'c Call,
    count: usize,
    oldest: SystemTime,
}

/// Groups what failed alike, in the order of the newest of each.
fn groups(calls: &[Call]) -> Vec<Group<'_>> {
    fn alike(call: &Call) -> impl PartialEq + '_ {
        let stats = &call.stats;
        let who = (&stats.account, &stats.caller, stats.caller.is_none().then_some(stats.peer));
        (who, &stats.method, &stats.path, stats.status, stats.errcode, stats.code, call.went_well())
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    for call in calls {
        match groups.iter_mut().find(|group| alike(group.newest) == alike(call)) {
            Some(group) => {
                group.count += 1;
                group.oldest = call.at;
            }
            None => groups.push(Group { newest: call, count: 1, oldest: call.at }),
        }
    }
    groups
}

pub(super) fn calls(data: &Data<'_>, lang: Lang) -> Markup {
    let groups = groups(data.calls);
    let (first, more) = groups.split_at(groups.len().min(FIRST));
    let more = &more[..more.len().min(GROUPS - FIRST)];
    html! {
        section #calls .card.wide data-live aria-labelledby="calls-title" {
            h2 #calls-title { (l(lang, "Failed or repeated calls", "失败或重发的调用")) }
            @if first.is_empty() {
                p .quiet { (l(lang, "None so far.", "暂无。")) }
            } @else {
                ol .calls-list { @for one in first { (group(data.view, one, lang)) } }
            }
            @if !more.is_empty() {
                details #calls-more {
                    summary { (more.len()) (l(lang, " more", " 条更早的记录")) }
                    ol .calls-list { @for one in more { (group(data.view, one, lang)) } }
                }
            }
        }
    }
}

fn group(view: &View, group: &Group<'_>, lang: Lang) -> Markup {
    let (call, stats) = (group.newest, &group.newest.stats);
    let account = stats.account.as_deref().and_then(|name| view.account(name));
    let facts =
        Facts { appid: account.and_then(|account| account.appid.as_deref()), errmsg: call.errmsg.as_deref() };
    html! {
        li {
            p .head {
                @match (stats.errcode.filter(|errcode| *errcode != 0), stats.status) {
                    _ if call.went_well() => span .badge.healed { (l(lang, "healed", "已恢复")) },
                    (_, 0) => span .badge.bad { (l(lang, "left", "已断开")) },
                    (Some(errcode), 200) => span .badge.bad { (errcode) },
                    (_, status) => span .badge.bad { "HTTP " (status) },
                }
                code .target { (stats.method) " " (stats.path.as_deref().unwrap_or("-")) }
                @if group.count > 1 {
                    span .times {
                        (l(lang, "", "共 ")) (group.count) (l(lang, " times since ", " 次，最早 ")) (moment(group.oldest))
                    }
                }
            }
            p .meta {
                (moment(call.at)) " · "
                @if let Some(account) = &stats.account { (account) " · " }
                @match &stats.caller { Some(caller) => (caller), None => (stats.peer) }
                " · " (format!("{:.0}", milliseconds(call.took))) " ms"
                @if stats.attempts > 1 {
                    " · " (l(lang, "sent ", "发送 ")) (stats.attempts) (l(lang, " times", " 次"))
                }
                @if let Some(rid) = &stats.rid { " · rid " code { (rid) } }
            }
            @match (&call.errmsg, &stats.cause) {
                (Some(errmsg), _) => p .said { (errmsg) },
                (None, Some(cause)) => p .said { (cause) },
                (None, None) => {},
            }
            p .explain { (prose(&call.explanation().explain(lang, facts))) }
        }
    }
}
