//! What is wrong, of what the admin listener shows.

use super::*;
use crate::admin::view::{Phase, Reload, Store, Upstream};
use crate::credential::Outcome::{Failed, New, Refused};
use crate::credential::{Fetch, FetchError, Reason};
use crate::errcodes::Product;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_702_000)
}

/// An account whose last fetches ended so, a minute apart, and whose token lives for so long.
fn account(outcomes: &[Outcome], left: Option<u64>) -> Account {
    let ago = |n: usize| now() - Duration::from_secs(60 * (outcomes.len() - n) as u64);
    let fetches: Vec<_> = outcomes
        .iter()
        .enumerate()
        .map(|(n, &outcome)| Fetch { at: ago(n), reason: Reason::Ahead, outcome })
        .collect();
    let error = fetches.iter().rev().find(|fetch| !fetch.worked()).map(|fetch| {
        let (errcode, errmsg) = match fetch.outcome {
            Refused => (40125, "invalid appsecret"),
            _ => (-1, "cannot connect"),
        };
        FetchError { at: fetch.at, errcode, errmsg: errmsg.to_owned() }
    });
    Account {
        name: "main".into(),
        product: Product::Weixin,
        appid: Some("wx0123456789abcdef".to_owned()),
        token_api: "token",
        state: match left {
            Some(left) if left > 300 => State::Fresh,
            Some(_) => State::Stale,
            None if outcomes.last() == Some(&Refused) => State::Refused,
            None => State::Expired,
        },
        generation: Some(3),
        age: left.map(Duration::from_secs),
        expires_in: left.map(Duration::from_secs),
        fetches_today: Some(3),
        quota: Some(2000),
        last_refresh: fetches.last().cloned(),
        last_error: error,
        fetches,
        tickets: Vec::new(),
        certificates: Vec::new(),
        second_fetcher: None,
        upstream: Upstream {
            url: "https://api.weixin.qq.com".to_owned(),
            in_use: "https://api.weixin.qq.com".to_owned(),
            tls_expires_at: None,
        },
        prefix: String::new(),
        host: None,
        paths: vec!["/cgi-bin/".to_owned()],
    }
}

fn view(account: Account, store_up: bool) -> View {
    View {
        now: now(),
        version: "0.1.0",
        uptime: Duration::from_secs(60),
        phase: Phase::Serving,
        egress_ip: None,
        listening: Vec::new(),
        callers_need_key: false,
        callers_need_certificate: false,
        caller_connections: 0,
        upstream_connections: Default::default(),
        store: Store { kind: "file", up: store_up },
        last_reload: Reload { at: now(), ok: true, errors: Vec::new() },
        accounts: vec![account],
    }
}

fn causes(account: Account, store_up: bool) -> Vec<&'static str> {
    problems(&view(account, store_up)).iter().map(|problem| problem.cause.as_str()).collect()
}

#[test]
fn what_is_wrong_with_an_account() {
    for (outcomes, left, right) in [
        (&[New][..], Some(7000), &[][..]),
        // A renewal is due and has not been tried yet.
        (&[New], Some(299), &[]),
        (&[New, Failed], Some(400), &[]),
        (&[New, Failed], Some(300), &["expires"]),
        (&[Failed], None, &["expires"]),
        (&[New, Refused], Some(400), &["refused"]),
        (&[New, Refused], Some(200), &["refused", "expires"]),
        (&[Refused], None, &["refused", "expires"]),
        // It would still be refused, as far as is known.
        (&[Refused, Failed], None, &["refused", "expires"]),
        (&[Refused, Failed, New], Some(7200), &[]),
        // Asking is under way for the first time.
        (&[], None, &[]),
    ] {
        assert_eq!(causes(account(outcomes, left), true), right, "{outcomes:?} {left:?}");
    }
    let mut other = account(&[New], Some(7000));
    for (ago, right) in [(0, &["other-fetcher"][..]), (1199, &["other-fetcher"]), (1200, &[])] {
        other.second_fetcher = Some(now() - Duration::from_secs(ago));
        assert_eq!(causes(other.clone(), true), right, "{ago}");
    }
    assert_eq!(causes(account(&[New], Some(7000)), false), ["store"]);
}

#[test]
fn each_problem_says_what_and_why_in_both_languages() {
    let refused = problems(&view(account(&[Refused], Some(200)), true));
    let [zh, en] = &refused[0].words;
    assert!(
        zh.starts_with("40125 invalid appsecret。") && en.starts_with("40125 invalid appsecret. "),
        "{zh}\n{en}"
    );
    let [zh, en] = &refused[1].words;
    assert!(
        zh.starts_with("凭据将在 4 分钟内到期。") && en.starts_with("the token ends in 4 min. "),
        "{zh}\n{en}"
    );
}
