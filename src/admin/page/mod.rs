//! The page for people: HTML from plain data, complete in itself.
//!
//! Reading it needs no script. With the script it asks for itself again every few seconds and puts the parts that
//! have changed in place; it also drives the refresh buttons and the console. Nothing comes from outside, styles and
//! script bear the answer's nonce, and there is no `style` attribute anywhere, so that the policy can be strict.
//! [`maud`] escapes every text.

mod accounts;
mod charts;
mod console;
mod lists;
mod summary;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::history::{Minute, sum};
use super::view::View;
use crate::calls::Call;
use crate::errcodes::Lang;
use summary::Level;
use words::{clock, duration, l};

/// Styles of the page.
const STYLE: &str = include_str!("style.css");

/// Script of the page.
const SCRIPT: &str = include_str!("page.js");

/// What a page is made of.
#[derive(Debug)]
pub struct Data<'d> {
    /// State.
    pub view: &'d View,
    /// The last hour, oldest first.
    pub minutes: &'d [Minute],
    /// The last failed or repeated calls, newest first.
    pub calls: &'d [Call],
}

/// The whole page. `nonce` is of this answer alone, and stands in its Content-Security-Policy.
pub fn render(data: &Data<'_>, lang: Lang, nonce: &str) -> String {
    let summary = summary::of(data, lang);
    let code = l(lang, "en", "zh-CN");
    html! {
        (DOCTYPE)
        html lang=(code) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (summary.title) }
                link rel="icon" href=(icon(summary.level));
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#accounts" { (l(lang, "Skip to the accounts", "跳到账号")) }
                (header(lang))
                main {
                    (live(data, lang, &summary))
                    (summary::away(lang))
                    (console::section(data, lang))
                }
                (footer(data.view, lang))
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    }
    .into_string()
}

/// The Content-Security-Policy of a page with this nonce.
pub fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// What changes by itself: the script replaces each part with an id.
fn live(data: &Data<'_>, lang: Lang, summary: &summary::Summary) -> Markup {
    let hour = sum(data.minutes);
    html! {
        (summary::section(data, &hour, summary, lang))
        (accounts::section(data.view, lang))
        (charts::section(data.minutes, &hour, lang))
        div .columns {
            (lists::callers(&hour, lang))
            (lists::connections(data.view, lang))
        }
        (lists::calls(data, lang))
    }
}

fn header(lang: Lang) -> Markup {
    let other = |this: Lang, code: &'static str, text: &'static str, hreflang: &'static str| {
        let current = (this == lang).then_some("true");
        html! { a href={ "?lang=" (code) } hreflang=(hreflang) lang=(hreflang) aria-current=[current] { (text) } }
    };
    html! {
        header .top {
            a .brand href={ "?lang=" (l(lang, "en", "zh")) } aria-label="wxgate" {
                svg viewBox="0 0 24 24" aria-hidden="true" {
                    path d="M3 20V9a9 9 0 0 1 18 0v11h-4V9a5 5 0 0 0-10 0v11z" {}
                    path .beam d="M10.5 20v-9.5a1.5 1.5 0 0 1 3 0V20z" {}
                }
                span { "wxgate" }
            }
            p #pulse .pulse role="status" { }
            nav aria-label=(l(lang, "Language", "语言")) .languages {
                (other(Lang::Zh, "zh", "中文", "zh-CN"))
                (other(Lang::En, "en", "English", "en"))
            }
        }
        noscript {
            p .note {
                (l(lang,
                    "Without JavaScript this page shows the moment at which it was loaded; the console needs it.",
                    "未启用 JavaScript：页面只显示加载时的状态，接口调试不可用。"))
            }
        }
    }
}

fn footer(view: &View, lang: Lang) -> Markup {
    html! {
        footer {
            p #asof {
                "wxgate " (view.version) " · "
                (l(lang, "running for ", "已运行 ")) (duration(lang, view.uptime)) " · "
                (l(lang, "as of ", "数据时间 ")) (moment(view.now))
            }
            nav aria-label=(l(lang, "For programs", "供程序使用")) {
                a href="/status" { "/status" } " " a href="/calls" { "/calls" } " " a href="/metrics" { "/metrics" } " "
                a href="/config" { "/config" } " " a href="/readyz" { "/readyz" }
            }
        }
    }
}

/// A moment that the script shows in the viewer's own time.
fn moment(at: std::time::SystemTime) -> Markup {
    html! { time datetime=(super::json::time(at)) { (clock(at)) } }
}

/// The icon of the tab says how it stands, by colour and by shape.
fn icon(level: Level) -> String {
    let (colour, sign) = match level {
        Level::Good => ("%2307874c", "M9 16.5l5 5 10-11"),
        Level::Warning => ("%23b26a00", "M16 8v10m0 5v.1"),
        Level::Bad => ("%23c62f26", "M10 10l12 12m0-12l-12 12"),
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' \
         height='32' rx='9' fill='{colour}'/%3E%3Cpath d='{sign}' fill='none' stroke='%23fff' stroke-width='4' \
         stroke-linecap='round' stroke-linejoin='round'/%3E%3C/svg%3E"
    )
}

#[cfg(test)]
mod tests;
