//! The console: one call through an account, its answer, and the same call as `curl` through the proxy.
//!
//! The form needs the script; without it the page says so. The `curl` text holds no token, secret or key.

use maud::{Markup, html};

use super::Data;
use super::words::l;
use crate::admin::view::{Account, View};
use crate::errcodes::Lang;

pub(super) fn section(data: &Data<'_>, lang: Lang) -> Markup {
    let view = data.view;
    html! {
        section #console .card.wide aria-labelledby="console-title"
            data-busy=(l(lang, "Waiting for the answer …", "正在等待响应 …"))
            data-copied=(l(lang, "Copied", "已复制"))
            data-copy=(l(lang, "Copy", "复制"))
            data-refreshed=(l(lang, "The token has been renewed.", "凭据已刷新。"))
            data-failed=(l(lang, "That did not work: ", "操作失败："))
            data-no-answer=(l(lang, "wxgate did not answer.", "wxgate 没有响应。"))
            data-lost=(l(lang, "No connection to wxgate since ", "与 wxgate 的连接已断开，数据时间 "))
            data-live-word=(l(lang, "live", "实时"))
            data-units=(l(lang, "d,h,min,s", "天,小时,分,秒")) {
            h2 #console-title { (l(lang, "Console", "接口调试")) }
            p .quiet {
                (l(lang,
                    "Sends a call as this account, on the ordinary way of a request. It counts, and stands in the access log as the caller admin.",
                    "以该账号的身份发起一次真实调用，计入统计，并以调用方 admin 记入访问日志。"))
            }
            form #call {
                div .row {
                    label { span { (l(lang, "Account", "账号")) }
                        select name="account" required {
                            @for account in &view.accounts { (option(view, account)) }
                        }
                    }
                    label .method { span { (l(lang, "Method", "方法")) }
                        select name="method" { option { "GET" } option { "POST" } }
                    }
                    label .grow { span { (l(lang, "Path", "路径")) }
                        input name="path" value=(first_path(view)) required spellcheck="false" autocomplete="off";
                    }
                    label .grow { span { (l(lang, "Query", "查询参数")) }
                        input name="query" placeholder="next_openid=…" spellcheck="false" autocomplete="off";
                    }
                }
                label .body hidden { span { (l(lang, "Body (JSON)", "请求体（JSON）")) }
                    textarea name="body" rows="4" spellcheck="false" { }
                }
                div .row.buttons {
                    button type="submit" .primary { (l(lang, "Send", "发送")) }
                    p #call-state role="status" { }
                }
            }
            div #answer hidden {
                h3 { (l(lang, "Answer", "响应")) }
                p #answer-head .meta { }
                p #answer-explain .explain { }
                pre #answer-body tabindex="0" aria-label=(l(lang, "Answer", "响应")) { }
            }
            div .curl {
                h3 { (l(lang, "The same as curl, through wxgate", "对应的 curl 命令（经 wxgate）")) }
                pre #curl tabindex="0" aria-label="curl" { }
                button type="button" #copy { (l(lang, "Copy", "复制")) }
                p #curl-key .quiet data-live hidden[!view.callers_need_key] {
                    (l(lang, "$WXGATE_KEY stands for the caller’s key.", "$WXGATE_KEY 表示调用方的密钥。"))
                }
            }
        }
    }
}

fn option(view: &View, account: &Account) -> Markup {
    let base = view.listening.first().map_or("http://127.0.0.1:8080", String::as_str);
    let cert = view.callers_need_certificate && base.starts_with("https://");
    html! {
        option value=(account.name) data-base={ (base) (account.prefix) } data-host=[account.host.as_deref()]
            data-key=[view.callers_need_key.then_some("1")] data-cert=[cert.then_some("1")] { (account.name) }
    }
}

/// A call that every account has and that changes nothing.
fn first_path(view: &View) -> String {
    let paths = view.accounts.first().map_or(&[][..], |account| &account.paths);
    match paths.first() {
        Some(first) if "/cgi-bin/getcallbackip".starts_with(first.as_str()) => {
            "/cgi-bin/getcallbackip".to_owned()
        }
        Some(first) => first.clone(),
        None => "/cgi-bin/getcallbackip".to_owned(),
    }
}
