//! What a look at the network says.

use super::super::said;
use super::*;

fn told(date: Option<SystemTime>, before: SystemTime, after: SystemTime) -> String {
    let mut headers = HeaderMap::new();
    if let Some(date) = date {
        headers.insert(header::DATE, httpdate::fmt_http_date(date).parse().unwrap());
    }
    said(|report| clock(&headers, before, after, report))
}

#[test]
fn a_certificate_that_ends_within_a_week_is_a_warning() {
    let base = BaseUrl::new(true, "api.weixin.qq.com", 443).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let told = |days: u64| {
        let ends = now + Duration::from_secs(days * 86_400);
        let shown = Certificate { ends, names: vec!["*.weixin.qq.com".to_owned()] };
        said(|report| certificate(&base, &shown, now, report))
    };
    let (good, bad) = (told(8), told(6));
    assert!(good.starts_with("ok ") && good.contains("*.weixin.qq.com, valid until 2027-01-23T"), "{good}");
    assert!(bad.starts_with("warning ") && bad.contains("ends in 6 days"), "{bad}");
}

#[test]
fn a_clock_that_is_off_by_more_than_a_minute_is_said() {
    let at = |secs: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + secs);
    assert!(told(None, at(0), at(0)).starts_with("warning "));
    for (theirs, right) in [(0, "ok "), (5, "ok "), (10, "ok "), (70, "ok "), (71, "warning ")] {
        let text = told(Some(at(theirs)), at(0), at(10));
        assert!(text.starts_with(right), "{theirs}: {text}");
    }
    let slow = told(Some(at(10_000)), at(0), at(10));
    assert!(slow.contains("2h 46m 30s behind the upstream"), "{slow}");
    let fast = told(Some(at(0)), at(61), at(61));
    assert!(fast.starts_with("warning ") && fast.contains("1m 1s ahead of the upstream"), "{fast}");
}
