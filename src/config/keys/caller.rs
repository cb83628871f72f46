//! The keys of `[[caller]]`.

use super::Kind::{Flag, List, Number, OneOrMore, Secret};
use super::{Header, Key, Section, Text, forms, key, required, unset, without};

pub(super) const SECTION: Section = Section {
    name: "caller",
    header: Header::Any,
    text: Text {
        en: "Who may call. Without any `[[caller]]`, everyone who reaches a listener. A request must match one: its \
             address is in `from` (if given) and its key fits (if given). The key comes in `X-Wxgate-Key`, as the \
             password of Basic authentication (a base URL like `http://legacy-cms:KEY@proxy:8080`), or as a Bearer \
             token.",
        zh: "谁可以调用。没有 `[[caller]]` 时，能连上的人都可以。请求必须符合其中之一：地址在 `from` 内（如有），且密钥相符（如有）。\
             密钥可以放在 `X-Wxgate-Key`、Basic 认证的密码（基础 URL 如 `http://legacy-cms:KEY@proxy:8080`）或 Bearer 令牌中。",
    },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    required(
        "name",
        forms::NAME,
        r#""legacy-cms""#,
        "Its name in the log and the metrics, where `admin` and `-` mean something else.",
        "日志和指标中的名称；`admin` 和 `-` 在那里另有含义，不可使用。",
    ),
    unset(
        "from",
        List(&forms::NETWORK),
        without("any address; then `key` is required", "任意地址；此时 `key` 必填"),
        "Where it calls from.",
        "来源网段或地址。",
    )
    .such_as(r#"["10.1.0.0/16"]"#),
    unset(
        "key",
        OneOrMore(&Secret),
        without("its address is enough", "只看地址"),
        "What it must show; an array of two while a key is changed.",
        "必须出示的密钥；更换密钥期间可以写成两个的数组。",
    )
    .such_as(r#"{ file = "legacy-cms.key" }"#),
    unset(
        "accounts",
        List(&forms::NAME),
        without("all", "全部"),
        "The accounts that it may use, by name.",
        "可以使用的账号名称。",
    )
    .such_as(r#"["main"]"#),
    unset(
        "rate",
        forms::RATE,
        without("no limit", "不限"),
        "At most this many calls, `N/s` or `N/min`, with a burst of as many; beyond it 429 with `Retry-After`.",
        "调用速率上限，`N/s` 或 `N/min`，突发量相同；超出返回 429 和 `Retry-After`。",
    )
    .such_as(r#""50/s""#),
    unset(
        "concurrent",
        Number(1, 1_000_000),
        without("no limit", "不限"),
        "At most this many calls at one moment; beyond it 429.",
        "同一时刻的调用数上限；超出返回 429。",
    )
    .such_as("20"),
    unset(
        "allow",
        List(&forms::RULE),
        without("whatever the account allows", "账号允许的全部"),
        "What it may call: `METHOD PATH`, `*` for any method, a `*` at the end of the path for any rest.",
        "可以调用的接口：`方法 路径`，方法为 `*` 表示任意，路径末尾的 `*` 表示任意后续。",
    )
    .such_as(r#"["GET /cgi-bin/user/*", "POST /cgi-bin/message/*"]"#),
    key(
        "real_token",
        Flag,
        "false",
        "`true`: `/cgi-bin/token` answers this caller with the real token.",
        "`true`：`/cgi-bin/token` 返回真实的凭据。",
    ),
];
