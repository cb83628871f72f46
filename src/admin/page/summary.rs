//! The first thing to see: is all well, and if not, what is wrong and what to do.

use maud::{Markup, html};

use super::Data;
use super::words::{l, latency, number, percent, prose};
use crate::admin::history::Minute;
use crate::admin::view::{Phase, State, View};
use crate::errcodes::{Facts, Lang, seen_ip};

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Good,
    Warning,
    Bad,
}

/// The verdict in one line, and what stands against all being well.
pub(super) struct Summary {
    pub(super) level: Level,
    pub(super) title: String,
    verdict: String,
    problems: Vec<Problem>,
}

struct Problem {
    level: Level,
    what: String,
    text: String,
}

/// errcodes with which WeChat says that it does not accept the egress IP.
const IP_REFUSED: [i64; 9] = [40164, 60020, 61004, 89501, 89502, 89503, 89504, 89505, 89507];

pub(super) fn of(data: &Data<'_>, lang: Lang) -> Summary {
    let view = data.view;
    let mut problems = problems(view, lang);
    if let Egress::Refused { account, text } = egress(data, lang)
        && !problems.iter().any(|problem| problem.what == account)
    {
        problems.push(Problem { level: Level::Bad, what: account, text });
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.level));
    let level = problems.iter().map(|problem| problem.level).max().unwrap_or(Level::Good);
    let failing = view.accounts.iter().filter(|account| !account.state.can_serve()).count();
    let all = view.accounts.len();
    let verdict = match (view.phase, level) {
        (Phase::Starting, _) => l(lang, "wxgate is starting", "wxgate 正在启动").to_owned(),
        (Phase::Draining, _) => l(lang, "wxgate is stopping", "wxgate 正在停止").to_owned(),
        _ if failing > 0 && failing == all => {
            l(lang, "No account can serve calls", "所有账号都无法提供服务").to_owned()
        }
        _ if failing > 0 => match lang {
            Lang::En => format!("{failing} of {all} accounts cannot serve calls"),
            Lang::Zh => format!("{all} 个账号中有 {failing} 个无法提供服务"),
        },
        (_, Level::Good) => l(lang, "All is well", "一切正常").to_owned(),
        (_, Level::Warning) => l(lang, "Serving, with a warning", "服务正常，有警告").to_owned(),
        (_, Level::Bad) => l(lang, "Something is wrong", "有问题需要处理").to_owned(),
    };
    let sign = match level {
        Level::Good => "✓",
        Level::Warning => "!",
        Level::Bad => "✕",
    };
    Summary { level, title: format!("{sign} {verdict} – wxgate"), verdict, problems }
}

fn problems(view: &View, lang: Lang) -> Vec<Problem> {
    let mut problems = Vec::new();
    for account in &view.accounts {
        let level = match account.state {
            State::Fresh | State::None => continue,
            State::Stale if account.present_error().is_none() => continue,
            State::Stale => Level::Warning,
            // The first fetch takes a moment.
            State::Empty if account.present_error().is_none() => Level::Warning,
            State::Empty | State::Expired | State::Refused => Level::Bad,
        };
        let text = account.advice(lang).unwrap_or_default();
        problems.push(Problem { level, what: account.name.to_string(), text });
    }
    if !view.store.up {
        let text = match view.store.kind {
            "file" => l(
                lang,
                "Tokens cannot be stored. Serving goes on, but a restart will fetch new ones.",
                "凭据无法保存。服务不受影响，但重启后需要重新获取。",
            ),
            _ => l(
                lang,
                "The shared store cannot be used. Serving goes on, but each replica fetches tokens for itself.",
                "共享存储无法使用。服务不受影响，但每个副本各自获取凭据。",
            ),
        };
        problems.push(Problem {
            level: Level::Warning,
            what: l(lang, "Store", "存储").to_owned(),
            text: text.to_owned(),
        });
    }
    if !view.last_reload.ok {
        let lead = l(
            lang,
            "The new configuration is wrong; the old one is in force. ",
            "新配置有误，仍在使用旧配置。",
        );
        problems.push(Problem {
            level: Level::Warning,
            what: l(lang, "Configuration", "配置").to_owned(),
            text: format!("{lead}{}", view.last_reload.errors.join(" ")),
        });
    }
    problems
}

/// Whether WeChat accepts the address that calls come from.
enum Egress {
    Accepted,
    Unknown,
    Refused { account: String, text: String },
}

fn egress(data: &Data<'_>, lang: Lang) -> Egress {
    for account in &data.view.accounts {
        if let Some(error) = account.present_error().filter(|error| IP_REFUSED.contains(&error.errcode)) {
            let account_name = account.name.to_string();
            return Egress::Refused {
                account: account_name,
                text: refused(account, &error.errmsg, error.errcode, lang),
            };
        }
        // WeCom refuses calls, not fetches.
        let of_account =
            data.calls.iter().filter(|call| call.stats.account.as_deref() == Some(&*account.name));
        let last =
            of_account.filter(|call| call.stats.code.is_none()).find(|call| call.stats.errcode.is_some());
        if let Some(call) = last
            && let Some(errcode) = call.stats.errcode.filter(|errcode| IP_REFUSED.contains(errcode))
            && account.last_refresh.as_ref().is_none_or(|fetch| fetch.at < call.at)
            && data.view.now.duration_since(call.at).is_ok_and(|ago| ago.as_secs() < 600)
        {
            let text = refused(account, call.errmsg.as_deref().unwrap_or_default(), errcode, lang);
            return Egress::Refused { account: account.name.to_string(), text };
        }
    }
    let accepted =
        data.view.accounts.iter().any(|account| account.state != State::None && account.state.can_serve());
    if accepted { Egress::Accepted } else { Egress::Unknown }
}

fn refused(account: &crate::admin::view::Account, errmsg: &str, errcode: i64, lang: Lang) -> String {
    let facts = Facts { appid: account.appid.as_deref(), errmsg: Some(errmsg) };
    account.explain(errcode).map_or_else(|| errmsg.to_owned(), |entry| entry.explain(lang, facts))
}

pub(super) fn section(data: &Data<'_>, hour: &Minute, summary: &Summary, lang: Lang) -> Markup {
    let level = match summary.level {
        Level::Good => "good",
        Level::Warning => "warning",
        Level::Bad => "bad",
    };
    html! {
        section #summary .summary data-live data-level=(level) data-title=(summary.title)
            data-icon=(super::icon(summary.level)) aria-labelledby="verdict" {
            (verdict(summary.level, &summary.verdict))
            @if !summary.problems.is_empty() {
                ul .problems {
                    @for problem in &summary.problems {
                        li .bad[problem.level == Level::Bad] {
                            strong { (problem.what) } " " span .text { (prose(&problem.text)) }
                        }
                    }
                }
            }
            dl .figures {
                (calls_a_minute(data, hour, lang))
                (failed(hour, lang))
                (typical(hour, lang))
                (address(data, lang))
            }
        }
    }
}

fn verdict(level: Level, text: &str) -> Markup {
    html! {
        div .verdict {
            svg .sign viewBox="0 0 32 32" aria-hidden="true" {
                circle cx="16" cy="16" r="16" {}
                @match level {
                    Level::Good => path d="M9.5 16.5l4.5 4.5 9-10" {},
                    Level::Warning => path d="M16 8.5v9m0 5v.1" {},
                    Level::Bad => path d="M11 11l10 10m0-10l-10 10" {},
                }
            }
            h1 #verdict role="status" { (text) }
        }
    }
}

/// What the script puts in the verdict's place while wxgate does not answer.
pub(super) fn away(lang: Lang) -> Markup {
    let text = l(lang, "wxgate cannot be reached", "无法连接到 wxgate");
    html! {
        template #away data-title={ "✕ " (text) " – wxgate" } data-icon=(super::icon(Level::Bad)) {
            (verdict(Level::Bad, text))
        }
    }
}

fn figure(name: &str, value: &Markup, under: &Markup) -> Markup {
    html! { div { dt { (name) } dd { span .value { (value) } span .under { (under) } } } }
}

fn calls_a_minute(data: &Data<'_>, hour: &Minute, lang: Lang) -> Markup {
    // The last whole minute; the running one would dip with each beginning.
    let last = data.minutes.iter().rev().nth(1).or(data.minutes.last()).map_or(0, |minute| minute.requests);
    figure(
        l(lang, "Calls a minute", "每分钟调用"),
        &html! { (number(last)) },
        &html! { (number(hour.requests)) (l(lang, " in the last hour", " 次（最近 1 小时）")) },
    )
}

fn failed(hour: &Minute, lang: Lang) -> Markup {
    figure(
        l(lang, "Failed", "失败率"),
        &html! { (percent(hour.failed, hour.requests)) },
        &html! { (number(hour.failed)) (l(lang, " in the last hour", " 次（最近 1 小时）")) },
    )
}

fn typical(hour: &Minute, lang: Lang) -> Markup {
    let half = hour.times.quantile(0.5).map_or_else(|| "–".to_owned(), latency);
    let most = hour.times.quantile(0.95).map(latency);
    figure(
        l(lang, "Typical latency", "典型耗时"),
        &html! { (half) },
        &html! {
            @match most {
                Some(most) => { (l(lang, "95% within ", "95% 不超过 ")) (most) },
                None => (l(lang, "no calls in the last hour", "最近 1 小时没有调用")),
            }
        },
    )
}

fn address(data: &Data<'_>, lang: Lang) -> Markup {
    let seen =
        || {
            data.view.accounts.iter().filter_map(|account| account.present_error()).find_map(|error| {
                IP_REFUSED.contains(&error.errcode).then(|| seen_ip(&error.errmsg)).flatten()
            })
        };
    let ip = data.view.egress_ip.or_else(seen);
    let value = html! {
        @match ip {
            Some(ip) => span .address { (ip) },
            None => span .address { (l(lang, "system’s choice", "由系统选择")) },
        }
    };
    let under = match egress(data, lang) {
        Egress::Accepted => html! { span .good { (l(lang, "accepted by WeChat", "已通过微信校验")) } },
        Egress::Refused { .. } => {
            html! { span .bad { (l(lang, "not on the IP whitelist", "不在 IP 白名单中")) } }
        }
        Egress::Unknown => html! { (l(lang, "not known to WeChat yet", "尚未得到微信确认")) },
    };
    figure(l(lang, "Egress IP", "出口 IP"), &value, &under)
}
