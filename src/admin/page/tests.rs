//! The page in every state that an operator may meet, as text.
//!
//! `WXGATE_WRITE_PAGES=folder cargo test --lib pages_of_every_kind` writes the pages for a look at them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;

use super::*;
use crate::admin::view::{Account, Phase, Reload, State, Store, Ticket, Upstream};
use crate::credential::{Fetch, FetchError, Outcome, Reason};
use crate::errcodes::{LABELS, Product};
use crate::metrics::look::UpstreamConnections;
use crate::metrics::totals::Times;
use crate::stats::RequestStats;

const HOUR: u64 = 3600;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_702_000)
}

fn ago(secs: u64) -> SystemTime {
    now() - Duration::from_secs(secs)
}

fn account(name: &str, state: State) -> Account {
    let valid = state.can_serve() && state != State::None;
    let planned =
        (0..13).map(|n| Fetch { at: ago(1500 + n * 6900), reason: Reason::Ahead, outcome: Outcome::New });
    let mut fetches: Vec<_> = planned.collect();
    fetches.push(Fetch { at: ago(31_000), reason: Reason::Forced, outcome: Outcome::New });
    fetches.push(Fetch { at: ago(60_000), reason: Reason::Retry, outcome: Outcome::Failed });
    fetches.sort_by_key(|fetch| fetch.at);
    Account {
        name: name.into(),
        product: Product::Weixin,
        appid: Some("wx0123456789abcdef".to_owned()),
        token_api: "token",
        state,
        generation: Some(418),
        age: valid.then(|| Duration::from_secs(1500)),
        expires_in: valid.then(|| Duration::from_secs(5700)),
        fetches_today: Some(14),
        quota: Some(2000),
        last_refresh: fetches.last().cloned(),
        last_error: None,
        fetches,
        tickets: Vec::new(),
        certificates: Vec::new(),
        second_fetcher: None,
        upstream: Upstream {
            url: "https://api.weixin.qq.com".to_owned(),
            in_use: "https://api.weixin.qq.com".to_owned(),
            tls_expires_at: Some(ago(0) + Duration::from_secs(90 * 86_400)),
        },
        prefix: String::new(),
        host: None,
        paths: vec!["/cgi-bin/".to_owned()],
    }
}

#[test]
fn tickets_are_shown_with_when_they_were_asked_for_and_what_is_wrong() {
    let ticket = |kind: &'static str, secs: Option<u64>, error: Option<i64>| Ticket {
        kind,
        state: State::Fresh,
        generation: 1,
        age: secs.map(Duration::from_secs),
        expires_in: secs.map(Duration::from_secs),
        last_refresh: Some(Fetch {
            at: ago(60),
            reason: Reason::Ahead,
            outcome: if error.is_some() { Outcome::Refused } else { Outcome::New },
        }),
        last_error: error.map(|errcode| FetchError {
            at: ago(60),
            errcode,
            errmsg: "api <unauthorized>".to_owned(),
        }),
    };
    let mut one = account("main", State::Fresh);
    one.tickets = vec![
        ticket("jsapi_ticket", Some(7000), None),
        ticket("card_ticket", None, Some(48001)),
        Ticket { last_refresh: None, ..ticket("agent_ticket", None, None) },
    ];
    let text = page(&view(vec![one.clone()]), &[], &[], Lang::En);
    for words in
        ["jsapi_ticket", "asked for at", "48001 api &lt;unauthorized&gt;", "nobody has asked for one"]
    {
        assert!(text.contains(words), "{words}");
    }
    assert!(page(&view(vec![one]), &[], &[], Lang::Zh).contains("尚无需求"));
    assert!(
        !page(&view(vec![account("main", State::Fresh)]), &[], &[], Lang::En).contains("nobody has asked")
    );
}

fn refused(name: &str) -> Account {
    let mut account = account(name, State::Refused);
    account.generation = Some(0);
    account.fetches = (0..20)
        .map(|n| Fetch { at: ago(40 + n * 60), reason: Reason::Retry, outcome: Outcome::Refused })
        .rev()
        .collect();
    account.last_refresh = account.fetches.last().cloned();
    account.last_error = Some(FetchError {
        at: ago(40),
        errcode: 40164,
        errmsg:
            "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 6510fcad-3d8ae261-25861ec2"
                .to_owned(),
    });
    account
}

fn view(accounts: Vec<Account>) -> View {
    View {
        now: now(),
        version: "0.1.0",
        uptime: Duration::from_secs(3 * 86_400 + 4 * HOUR),
        phase: Phase::Serving,
        egress_ip: "203.0.113.7".parse().ok(),
        listening: vec!["http://127.0.0.1:8080".to_owned()],
        callers_need_key: true,
        callers_need_certificate: true,
        caller_connections: 37,
        upstream_connections: UpstreamConnections { idle: 6, active: 2 },
        store: Store { kind: "file", up: true },
        last_reload: Reload { at: ago(3 * 86_400), ok: true, errors: Vec::new() },
        accounts,
    }
}

fn minutes() -> Vec<Minute> {
    let at = |errcode: i64| LABELS.binary_search(&errcode).unwrap();
    (0..60_u64)
        .map(|n| {
            let requests = 700 + (n * 37 % 190) + if n > 40 { 160 } else { 0 };
            let failed = if n % 13 == 5 { 9 } else { n % 3 };
            let buckets = [
                requests / 12,
                requests / 5,
                requests / 3,
                requests / 4,
                requests / 20,
                3,
                n % 4,
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            let times = Times { buckets, sum_micros: 0 };
            Minute {
                requests,
                failed,
                times,
                errcodes: vec![
                    (at(45009), failed),
                    (at(40001), u64::from(n == 30) * 4),
                    (LABELS.len(), n % 2),
                ]
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect(),
                callers: vec![
                    (Arc::from("legacy-cms"), requests / 2, 0),
                    (Arc::from("crm"), requests / 3, failed),
                    (Arc::from("-"), requests / 6, 0),
                ],
            }
        })
        .collect()
}

fn call(secs: u64, errcode: i64, errmsg: &str) -> Call {
    let mut stats = RequestStats::begin([10, 1, 2, 3].into(), &Method::POST);
    stats.caller = Some("crm".into());
    stats.account = Some("main".into());
    stats.keep_path("/cgi-bin/message/custom/send");
    (stats.status, stats.errcode, stats.attempts) = (200, Some(errcode), 1);
    let rid = (!errmsg.is_empty()).then(|| "6aac0064-355b48ab-4c5b487e".into());
    stats.rid = rid;
    Call {
        at: ago(secs),
        took: Duration::from_micros(41_700),
        product: Product::Weixin,
        errmsg: Some(errmsg.to_owned()).filter(|errmsg| !errmsg.is_empty()),
        stats,
    }
}

fn calls() -> Vec<Call> {
    let mut healed = call(130, 0, "");
    healed.stats.attempts = 2;
    let mut own = call(300, 40066, "");
    (own.stats.account, own.stats.status, own.stats.code) = (None, 404, Some("not-found"));
    own.stats.path = Some("/wxa/getwxacode".into());
    let mut calls = vec![
        call(20, 45009, "reach max api daily quota limit rid: 6aac0064-355b48ab-4c5b487e"),
        healed,
        call(200, 40003, "invalid openid rid: 6aac0064-355b48ab-4c5b487e"),
        own,
    ];
    calls.extend((0..30).map(|n| {
        call(400 + n * 90, 45015, "response out of time limit or subscription is canceled rid: 1-2-3")
    }));
    calls
}

fn page(view: &View, minutes: &[Minute], calls: &[Call], lang: Lang) -> String {
    render(&Data { view, minutes, calls }, lang, "bm9uY2U")
}

/// Every state by its name.
fn all() -> Vec<(&'static str, View, Vec<Minute>, Vec<Call>)> {
    let mut stale = account("shop", State::Stale);
    stale.expires_in = Some(Duration::from_secs(140));
    stale.age = Some(Duration::from_secs(7060));
    stale.last_error = Some(FetchError {
        at: ago(5),
        errcode: -1,
        errmsg: "the WeChat API did not answer within 30 s".to_owned(),
    });
    stale.last_refresh = Some(Fetch { at: ago(5), reason: Reason::Ahead, outcome: Outcome::Failed });
    let mut evil = refused("main");
    evil.last_error = Some(FetchError {
        at: ago(9),
        errcode: 99999,
        errmsg: "</p><script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" & 'so'".to_owned(),
    });
    let evil_call = call(3, 99999, "<b>bold</b> \"><svg onload=alert(3)>");
    let twenty = (0..20).map(|n| match n {
        3 => refused("acc-03"),
        7 => stale.clone(),
        11 => Account {
            appid: None,
            token_api: "none",
            quota: None,
            generation: None,
            ..account("egress-only", State::None)
        },
        14 => Account {
            product: Product::Wecom,
            quota: None,
            appid: Some("ww0123456789abcdef".to_owned()),
            ..account("wecom", State::Fresh)
        },
        _ => account(&format!("acc-{n:02}"), State::Fresh),
    });
    let mut broken = view(vec![account("main", State::Fresh), stale.clone()]);
    broken.store.up = false;
    broken.last_reload.ok = false;
    broken.last_reload.errors = vec!["wxgate.toml:12: `lisen` is no key; did you mean `listen`?".to_owned()];
    let mut starting = view(vec![Account {
        generation: Some(0),
        fetches: Vec::new(),
        last_refresh: None,
        ..account("main", State::Empty)
    }]);
    starting.phase = Phase::Starting;
    starting.uptime = Duration::from_secs(1);
    starting.egress_ip = None;
    starting.caller_connections = 0;
    starting.upstream_connections = UpstreamConnections::default();
    vec![
        ("well", view(vec![account("main", State::Fresh)]), minutes(), calls()),
        ("twenty", view(twenty.collect()), minutes(), calls()),
        ("failing", view(vec![refused("main"), refused("shop")]), minutes(), calls()),
        ("warnings", broken, minutes(), calls()),
        ("evil", view(vec![evil]), minutes(), vec![evil_call]),
        ("starting", starting, Vec::new(), Vec::new()),
    ]
}

#[test]
fn pages_of_every_kind_are_whole_and_hold_no_style_attribute_or_handler() {
    for (name, view, minutes, calls) in all() {
        for lang in [Lang::En, Lang::Zh] {
            let page = page(&view, &minutes, &calls, lang);
            if let Some(folder) = std::env::var_os("WXGATE_WRITE_PAGES") {
                let file = std::path::Path::new(&folder).join(format!("{name}-{lang:?}.html"));
                std::fs::write(file, &page).unwrap();
            }
            let (_, body) = page.split_once("</style>").unwrap();
            let (html, _) = body.rsplit_once("<script nonce").unwrap();
            assert!(
                !html.contains(" style=") && !html.contains("<script") && !html.contains("href=\"http"),
                "{name}"
            );
            assert!(!html.contains("<img") && !html.contains("<b>"), "{name}");
            assert_eq!(html.matches("<article").count(), view.accounts.len(), "{name}");
            for account in &view.accounts {
                assert!(html.contains(&format!("id=\"account-{}\"", account.name)), "{name}");
            }
        }
    }
}

fn title(page: &str) -> &str {
    page.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0
}

#[test]
fn the_title_tells_how_it_stands() {
    let titles: Vec<_> = all()
        .into_iter()
        .map(|(name, view, minutes, calls)| {
            let of = |lang| title(&page(&view, &minutes, &calls, lang)).to_owned();
            (name, of(Lang::En), of(Lang::Zh))
        })
        .collect();
    let right = [
        ("well", "✓ All is well – wxgate", "✓ 一切正常 – wxgate"),
        (
            "twenty",
            "✕ 1 of 20 accounts cannot serve calls – wxgate",
            "✕ 20 个账号中有 1 个无法提供服务 – wxgate",
        ),
        ("failing", "✕ No account can serve calls – wxgate", "✕ 所有账号都无法提供服务 – wxgate"),
        ("warnings", "! Serving, with a warning – wxgate", "! 服务正常，有警告 – wxgate"),
        ("evil", "✕ No account can serve calls – wxgate", "✕ 所有账号都无法提供服务 – wxgate"),
        ("starting", "! wxgate is starting – wxgate", "! wxgate 正在启动 – wxgate"),
    ];
    let right: Vec<_> = right.iter().map(|(n, en, zh)| (*n, (*en).to_owned(), (*zh).to_owned())).collect();
    assert_eq!(titles, right);
}

#[test]
fn what_was_refused_says_what_to_do() {
    let view = view(vec![refused("main")]);
    let english = page(&view, &[], &[], Lang::En);
    assert!(english.contains("Put 203.0.113.7 on the IP whitelist of wx0123456789abcdef"), "{english}");
    assert!(english.contains("not on the IP whitelist"));
    let chinese = page(&view, &[], &[], Lang::Zh);
    assert!(chinese.contains("请把 203.0.113.7 加入 wx0123456789abcdef 的 IP 白名单"), "{chinese}");
    assert!(chinese.contains("不在 IP 白名单中"));
}

#[test]
fn the_policy_lets_nothing_in_but_this_pages_own() {
    let policy = policy("bm9uY2U");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    let page = page(&view(vec![account("main", State::Fresh)]), &[], &[], Lang::En);
    assert_eq!(page.matches("nonce=\"bm9uY2U\"").count(), 2);
}
