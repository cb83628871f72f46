//! Numbers, times and the words of enumerations, as people of each language write them. Pure.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use crate::admin::view::State;
use crate::credential::{Outcome, Reason};
use crate::errcodes::Lang;

/// The text of this language.
pub(super) fn l(lang: Lang, en: &'static str, zh: &'static str) -> &'static str {
    match lang {
        Lang::En => en,
        Lang::Zh => zh,
    }
}

/// One of our texts as people read it: what stands in backticks is code, and apostrophes are curved.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at.is_multiple_of(2) { (part.replace('\'', "’")) } @else { code { (part) } }
        }
    }
}

/// `12,345`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time in its two largest units: `1 h 42 min`, `1 小时 42 分`.
pub(super) fn duration(lang: Lang, time: Duration) -> String {
    let secs = time.as_secs();
    let units = [
        (secs / 86_400, "d", "天"),
        (secs / 3600 % 24, "h", "小时"),
        (secs / 60 % 60, "min", "分"),
        (secs % 60, "s", "秒"),
    ];
    let first = units.iter().position(|(n, ..)| *n > 0).unwrap_or(3);
    let parts = units[first..].iter().take(2).filter(|(n, ..)| *n > 0 || first == 3);
    let texts: Vec<String> = parts.map(|(n, en, zh)| format!("{n} {}", l(lang, en, zh))).collect();
    texts.join(" ")
}

/// Seconds as `40 ms` or `1.2 s`.
pub(super) fn latency(seconds: f64) -> String {
    match seconds {
        s if s < 0.0095 => format!("{:.1} ms", s * 1000.0),
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

/// A share as `0.3%`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ if part == 0 => "0%".to_owned(),
        _ => {
            let share = part as f64 * 100.0 / whole as f64;
            if share >= 9.95 { format!("{share:.0}%") } else { format!("{:.1}%", share.max(0.1)) }
        }
    }
}

/// `14:03:22 UTC`; the page's script turns it into the viewer's own time.
pub(super) fn clock(at: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(at).to_string();
    format!("{} UTC", text.get(11..19).unwrap_or_default())
}

/// The day in UTC.
pub(super) fn day(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string().get(..10).unwrap_or_default().to_owned()
}

pub(super) fn state(lang: Lang, state: State) -> &'static str {
    match state {
        State::Empty => l(lang, "No token yet", "尚无凭据"),
        State::Fresh => l(lang, "Valid", "有效"),
        State::Stale => l(lang, "Renewal due", "待续期"),
        State::Expired => l(lang, "Expired", "已过期"),
        State::Refused => l(lang, "Refused", "被拒绝"),
        State::None => l(lang, "Egress only", "仅作出口"),
    }
}

pub(super) fn reason(lang: Lang, reason: Reason) -> &'static str {
    match reason {
        Reason::Start => l(lang, "first fetch", "首次获取"),
        Reason::Ahead => l(lang, "ahead of the end", "到期前续期"),
        Reason::Forced => l(lang, "the token was refused", "凭据被拒绝"),
        Reason::Retry => l(lang, "after a failure", "失败后重试"),
        Reason::Admin => l(lang, "by hand", "手动刷新"),
    }
}

pub(super) fn outcome(lang: Lang, outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::New => l(lang, "a new token", "取得新凭据"),
        Outcome::Same => l(lang, "the same token again", "仍为原凭据"),
        Outcome::Failed => l(lang, "failed", "失败"),
        Outcome::Refused => l(lang, "refused by WeChat", "被微信拒绝"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_as_people_write_them() {
        for (n, right) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), right);
        }
        for (secs, en, zh) in [
            (0, "0 s", "0 秒"),
            (59, "59 s", "59 秒"),
            (60, "1 min", "1 分"),
            (6125, "1 h 42 min", "1 小时 42 分"),
            (7200, "2 h", "2 小时"),
            (7205, "2 h", "2 小时"),
            (90_000, "1 d 1 h", "1 天 1 小时"),
        ] {
            let time = Duration::from_secs(secs);
            assert_eq!((duration(Lang::En, time), duration(Lang::Zh, time)), (en.to_owned(), zh.to_owned()));
        }
        for (seconds, right) in
            [(0.0042, "4.2 ms"), (0.042, "42 ms"), (0.9996, "1.0 s"), (1.24, "1.2 s"), (30.0, "30 s")]
        {
            assert_eq!(latency(seconds), right);
        }
        for (part, whole, right) in
            [(0, 0, "–"), (0, 9, "0%"), (1, 9999, "0.1%"), (1, 8, "12%"), (9, 9, "100%")]
        {
            assert_eq!(percent(part, whole), right);
        }
    }
}
