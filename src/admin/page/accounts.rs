//! Each account: how its token stands, how long it lives, what was fetched when and why.

use std::time::Duration;

use maud::{Markup, html};

use super::words::{clock, day, duration, l, number, outcome, reason, state};
use crate::admin::json::time;
use crate::admin::view::{Account, State, View};
use crate::credential::{Fetch, Reason};
use crate::errcodes::{Lang, Product};

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn section(view: &View, lang: Lang) -> Markup {
    html! {
        section #accounts .accounts aria-labelledby="accounts-title" {
            h2 #accounts-title { (l(lang, "Accounts", "账号")) }
            @for one in &view.accounts { (account(view, one, lang)) }
        }
    }
}

fn account(view: &View, account: &Account, lang: Lang) -> Markup {
    let id = format!("account-{}", account.name);
    let class = match account.state {
        State::Fresh | State::None => "good",
        State::Stale => "warning",
        State::Empty if account.present_error().is_none() => "warning",
        State::Empty | State::Expired | State::Refused => "bad",
    };
    html! {
        article #(id) .account data-live data-state=(account.state.as_str()) aria-label=(account.name) {
            div .who {
                h3 { (account.name) }
                p .pill.(class) { (state(lang, account.state)) }
                p .appid {
                    @if let Some(appid) = &account.appid { code { (appid) } " " }
                    span .kind {
                        @match account.product {
                            Product::Weixin => (l(lang, "Weixin", "公众号 / 小程序")),
                            Product::Wecom => (l(lang, "WeCom", "企业微信")),
                        }
                        @if account.token_api != "none" { " · " code { (account.token_api) } }
                    }
                }
            }
            @if account.state == State::None {
                p .life.quiet {
                    (l(lang, "Callers keep their own token.", "凭据由调用方自行管理。"))
                }
            } @else {
                (life(view, account, lang))
                (refreshes(view, account, lang))
                (today(account, lang))
                form .act method="post" action={ "/accounts/" (account.name) "/refresh" } {
                    button type="submit" data-refresh=(account.name)
                        aria-label={ (l(lang, "Refresh the token of ", "刷新凭据：")) (account.name) } {
                        (l(lang, "Refresh", "刷新"))
                    }
                }
            }
            @if !account.tickets.is_empty() { (tickets(account, lang)) }
            @if !account.certificates.is_empty() { (certificates(account, lang)) }
            @if let Some(error) = account.present_error() {
                p .why.bad[class == "bad"] {
                    (super::moment(error.at)) " "
                    @if error.errcode != -1 { code { (error.errcode) } " " }
                    span .said { (error.errmsg) }
                }
            }
        }
    }
}

/// How the tickets stand: which are in use, and what is wrong with them.
fn tickets(account: &Account, lang: Lang) -> Markup {
    html! {
        div .tickets {
            p .label { span { (l(lang, "Tickets", "ticket")) } }
            @for ticket in &account.tickets {
                p .under {
                    code { (ticket.kind) } " "
                    @match (ticket.present_error(), ticket.expires_in, &ticket.last_refresh) {
                        (Some(error), ..) => span .bad {
                            (super::moment(error.at)) " "
                            @if error.errcode != -1 { (error.errcode) " " }
                            (error.errmsg)
                        },
                        (None, Some(_), Some(asked)) => {
                            (l(lang, "asked for at ", "最近查询 ")) (super::moment(asked.at))
                        },
                        (None, Some(_), None) => (l(lang, "kept from before the start", "启动前保存的")),
                        (None, None, _) => (l(lang, "nobody has asked for one", "尚无需求")),
                    }
                }
            }
        }
    }
}

/// What encrypted answers are checked with, and until when.
fn certificates(account: &Account, lang: Lang) -> Markup {
    html! {
        div .tickets {
            p .label { span { (l(lang, "Platform certificates", "平台证书")) } }
            @for one in &account.certificates {
                p .under {
                    code { (one.number) } " " (l(lang, "until ", "有效期至 "))
                    time datetime=(time(one.expires_at)) data-day { (day(one.expires_at)) }
                }
            }
        }
    }
}

/// The life of the token running down.
fn life(view: &View, account: &Account, lang: Lang) -> Markup {
    let left = account.expires_in.unwrap_or_default();
    let whole = account.age.unwrap_or_default() + left;
    let share = if whole.is_zero() { 0.0 } else { left.as_secs_f64() / whole.as_secs_f64() * 100.0 };
    let ends = view.now + left;
    let name = l(lang, "Token lifetime", "凭据有效期");
    html! {
        div .life {
            p .label {
                span { (name) }
                @match account.expires_in {
                    Some(left) => strong {
                        (l(lang, "", "剩余 "))
                        span data-ends=(time(ends)) { (duration(lang, left)) }
                        (l(lang, " left", ""))
                    },
                    None => strong { (l(lang, "none", "无")) },
                }
            }
            svg .bar role="img" aria-label={ (name) (l(lang, ": ", "：")) (format!("{share:.0}%")) } {
                rect .track width="100%" height="100%" rx="4" {}
                @if account.expires_in.is_some() {
                    rect .fill.low[left < Duration::from_secs(300)] width={ (format!("{share:.2}")) "%" } height="100%" rx="4"
                        data-from=(time(ends - whole)) data-until=(time(ends)) {}
                }
            }
            p .under {
                @match account.expires_in {
                    Some(_) => { (l(lang, "ends at ", "到期 ")) (super::moment(ends)) },
                    None if account.state == State::Refused => (l(lang, "calls are answered with 502", "调用返回 502")),
                    None => (l(lang, "calls wait for a token", "调用正在等待凭据")),
                }
                @if let Some(generation) = account.generation.filter(|n| *n > 0) {
                    " · " (l(lang, "generation ", "第 ")) (number(generation)) (l(lang, "", " 代"))
                }
            }
        }
    }
}

/// The fetches of 24 hours on a time line.
fn refreshes(view: &View, account: &Account, lang: Lang) -> Markup {
    let recent: Vec<(f64, &Fetch)> = account
        .fetches
        .iter()
        .filter_map(|fetch| {
            let ago = view.now.duration_since(fetch.at).unwrap_or_default();
            (ago <= DAY).then(|| (100.0 - ago.as_secs_f64() / DAY.as_secs_f64() * 100.0, fetch))
        })
        .collect();
    let bad = recent.iter().filter(|(_, fetch)| !fetch.worked()).count();
    let told = match lang {
        Lang::En => format!("Refreshes of the last 24 hours: {}, {bad} failed", recent.len()),
        Lang::Zh => format!("最近 24 小时刷新 {} 次，失败 {bad} 次", recent.len()),
    };
    html! {
        div .timeline {
            p .label {
                span { (l(lang, "Refreshes, 24 h", "24 小时刷新")) }
                strong {
                    (number(recent.len() as u64))
                    @if bad > 0 {
                        span .bad { (l(lang, ", ", "，")) (bad) (l(lang, " failed", " 次失败")) }
                    }
                }
            }
            svg .line role="img" aria-label=(told) {
                line .axis x1="0" x2="100%" y1="50%" y2="50%" {}
                @for hours in [6, 12, 18] {
                    line .tick x1={ (hours * 100 / 24) "%" } x2={ (hours * 100 / 24) "%" } y1="25%" y2="75%" {}
                }
                @for (x, fetch) in &recent {
                    (mark(*x, fetch, lang))
                }
            }
            p .under.ends { span { (l(lang, "24 h ago", "24 小时前")) } span { (last(account, lang)) } }
        }
    }
}

/// Worked: a bar; by force: a full dot; failed: a cross. Shape and colour say the same.
fn mark(x: f64, fetch: &Fetch, lang: Lang) -> Markup {
    let at = format!("{x:.2}%");
    let title = format!(
        "{} {} · {} · {}",
        day(fetch.at),
        clock(fetch.at),
        reason(lang, fetch.reason),
        outcome(lang, fetch.outcome)
    );
    html! {
        @if !fetch.worked() {
            svg .cross x=(at) y="50%" overflow="visible" { title { (title) } path d="M-4-4l8 8m0-8l-8 8" {} }
        } @else if matches!(fetch.reason, Reason::Forced | Reason::Admin) {
            circle .forced cx=(at) cy="50%" r="4.5" { title { (title) } }
        } @else {
            line .planned x1=(at) x2=(at) y1="15%" y2="85%" { title { (title) } }
        }
    }
}

fn last(account: &Account, lang: Lang) -> Markup {
    html! {
        @if let Some(fetch) = &account.last_refresh {
            (l(lang, "last: ", "最近：")) (reason(lang, fetch.reason)) (l(lang, ", ", "，")) (super::moment(fetch.at))
        } @else {
            (l(lang, "now", "现在"))
        }
    }
}

/// Fetches of the day against WeChat's quota.
fn today(account: &Account, lang: Lang) -> Markup {
    let fetched = account.fetches_today.unwrap_or(0);
    let name = l(lang, "Fetches today", "今日获取");
    html! {
        div .today {
            p .label {
                span { (name) }
                strong {
                    (number(fetched))
                    @if let Some(quota) = account.quota { span .of { " / " (number(quota)) } }
                }
            }
            @if let Some(quota) = account.quota {
                @let share = fetched as f64 * 100.0 / quota.max(1) as f64;
                svg .bar role="img" aria-label={ (name) (l(lang, ": ", "：")) (fetched) " / " (quota) } {
                    rect .track width="100%" height="100%" rx="4" {}
                    rect .fill.low[share >= 75.0] width={ (format!("{:.2}", share.min(100.0))) "%" } height="100%" rx="4" {}
                }
                p .under { (l(lang, "Beijing time", "按北京时间")) }
            } @else {
                p .under { (l(lang, "quota is ample", "额度充足")) }
            }
        }
    }
}
