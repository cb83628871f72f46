//! The chapter about errcodes in both languages, made from the tables: docs/en/errcodes.md and docs/zh/errcodes.md.
//!
//! With `WXGATE_WRITE_DOCUMENTS=1` the test writes them anew; without, it fails where one differs.

use std::fmt::Write as _;

use super::own::{OWN, RETRY};
use super::*;
use crate::tests::assert_document;

/// HTTP status and errcode of each of wxgate's own answers; a test beside [`crate::proxy::refusal`] compares them.
const SHAPES: [(&str, &str, &str); 14] = [
    ("bad-request", "400", "40066"),
    ("not-found", "404", "40066"),
    ("method", "405", "43002"),
    ("denied", "403", "48001"),
    ("too-large", "413", "45001"),
    ("head-too-large", "431", "45002"),
    ("caller-timeout", "408", "-1"),
    ("upstream-unreachable", "502", "-1"),
    ("upstream-timeout", "504", "-1"),
    ("no-token", "503", "-1"),
    ("token-refused", "502", "*"),
    ("busy", "503", "-1"),
    ("limited", "429", "45011"),
    ("signing", "502", "40234, 40235"),
];

struct Words {
    lang: Lang,
    path: &'static str,
    head: &'static str,
    own: &'static str,
    retry: &'static str,
    weixin: &'static str,
    wecom: &'static str,
}

const EN: Words = Words {
    lang: Lang::En,
    path: "docs/en/errcodes.md",
    head: "# Answers and errcodes\n\n[简体中文](../zh/errcodes.md)\n\nWhat each answer means at the proxy, and what to do. The \
        same texts stand on the admin page and in its `/calls`.\n\nAn answer with the header `x-wxgate-error` is wxgate's \
        own: WeChat has not executed the call, except that with `upstream-unreachable`, `upstream-timeout` and `signing` this is \
        not known. An answer without it is WeChat's, byte for byte (of the token, ticket and signature calls, wxgate's).\n\nThis page is made from the program's table of errcodes \
        (`src/errcodes/`).\n",
    own: "Answers of wxgate's own\n\nThe body is `{\"errcode\":…,\"errmsg\":\"wxgate: …\"}`, and the `errmsg` names the cause in \
        detail. -1 stands for passing conditions alone; * is the errcode with which WeChat refused the token.\n\n\
        | `x-wxgate-error` | HTTP | errcode | what it means | what to do |\n| --- | --- | --- | --- | --- |\n",
    retry: "Token errors that were passed on\n\nWeChat's own answer, marked with why the call was not sent again.\n\n\
        | `x-wxgate-retry` | what it means | what to do |\n| --- | --- | --- |\n",
    weixin: "Official accounts, mini programs and third-party platforms\n\n| errcode | what it means | what to do |\n| --- | --- | --- |\n",
    wecom: "WeCom\n\nWhat is not here means the same as above.\n\n| errcode | what it means | what to do |\n| --- | --- | --- |\n",
};

const ZH: Words = Words {
    lang: Lang::Zh,
    path: "docs/zh/errcodes.md",
    head: "# 响应与错误码\n\n[English](../en/errcodes.md)\n\n每种响应在代理这一侧意味着什么、该怎么处理。管理页面和 `/calls` 里是同样的文字。\n\n\
        带有响应头 `x-wxgate-error` 的是 wxgate 自己的响应，微信没有执行这次调用；只有 `upstream-unreachable`、`upstream-timeout` 和 `signing` 例外，\
        是否执行过无法确定。没有这个响应头的是微信的原始响应，一个字节也没有改（取凭据、ticket 和签名的请求除外，由 wxgate 回答）。\n\n本页由程序中的错误码表（`src/errcodes/`）生成。\n",
    own: "wxgate 自己的响应\n\n响应体是 `{\"errcode\":…,\"errmsg\":\"wxgate: …\"}`，具体原因写在 `errmsg` 里。-1 只用于暂时性的情况；\
        * 表示微信拒绝颁发凭据时的错误码。\n\n\
        | `x-wxgate-error` | HTTP | errcode | 含义 | 处理办法 |\n| --- | --- | --- | --- | --- |\n",
    retry: "原样返回的凭据错误\n\n这是微信的原始响应，响应头说明了为什么没有重发。\n\n| `x-wxgate-retry` | 含义 | 处理办法 |\n| --- | --- | --- |\n",
    weixin: "公众号、小程序与第三方平台\n\n| 错误码 | 含义 | 处理办法 |\n| --- | --- | --- |\n",
    wecom: "企业微信\n\n这里没有列出的错误码，含义与上表相同。\n\n| 错误码 | 含义 | 处理办法 |\n| --- | --- | --- |\n",
};

fn document(words: &Words) -> String {
    let mut text = words.head.to_owned();
    let told = |entry: &Entry| {
        let (means, todo) = (entry.means.get(words.lang), entry.todo(words.lang, Facts::default()));
        format!("{} | {}", means.replace('|', "\\|"), todo.replace('|', "\\|"))
    };
    write!(text, "\n## {}", words.own).unwrap();
    for (code, entry) in OWN {
        let (_, status, errcode) = SHAPES.iter().find(|(known, ..)| known == code).unwrap();
        writeln!(text, "| `{code}` | {status} | {errcode} | {} |", told(entry)).unwrap();
    }
    write!(text, "\n## {}", words.retry).unwrap();
    for (mark, entry) in RETRY {
        writeln!(text, "| `{mark}` | {} |", told(entry)).unwrap();
    }
    for (title, table) in [(words.weixin, weixin::TABLE), (words.wecom, wecom::TABLE)] {
        write!(text, "\n## {title}").unwrap();
        for entry in table {
            writeln!(text, "| {} | {} |", entry.number, told(entry)).unwrap();
        }
    }
    text
}

#[test]
fn documents_are_made_from_the_table_of_errcodes() {
    for words in [&EN, &ZH] {
        assert_document(words.path, &document(words));
    }
}
