//! The keys of `[[account]]`.

use super::Kind::{Choice, Flag, List, Number, Secret, SecretPath};
use super::{Header, Key, Section, Text, forms, key, required, unset, without};

pub(super) const SECTION: Section = Section {
    name: "account",
    header: Header::Many,
    text: Text { en: "One for each appid.", zh: "每个 appid 一个。" },
    keys: KEYS,
};

/// With this key and value wxgate keeps no token.
const EGRESS_ONLY: (&str, &str) = ("token_api", "none");

const KEYS: &[Key] = &[
    key(
        "name",
        forms::NAME,
        r#""main""#,
        "Shown in logs and metrics. Two accounts need two names.",
        "显示在日志和指标中；多个账号的名称不能相同。",
    ),
    required(
        "appid",
        forms::APPID,
        r#""wx0123456789abcdef""#,
        "From the WeChat console; for WeCom the corpid.",
        "来自微信公众平台；企业微信填企业 ID（corpid）。",
    )
    .unless(EGRESS_ONLY),
    key(
        "kind",
        Choice(&["weixin", "wecom"]),
        r#""weixin""#,
        "`weixin`: official accounts and mini programs; `wecom`: an application of WeCom.",
        "`weixin`：公众号和小程序；`wecom`：企业微信的应用。",
    )
    .such_as(r#""wecom""#),
    required(
        "secret",
        Secret,
        r#"{ env = "WECHAT_SECRET" }"#,
        "The AppSecret, for WeCom that of the application: `{ file = \"PATH\" }` with the secret alone in it, `{ env = \"NAME\" }`, \
         `{ credential = \"NAME\" }` for a credential of the systemd unit, or the secret itself in quotes.",
        "AppSecret，企业微信填应用的 Secret：`{ file = \"路径\" }`（文件中只有密钥）、`{ env = \"变量名\" }`、`{ credential = \"名称\" }`（systemd 单元的 credential），或直接写在引号里。",
    )
    .unless(EGRESS_ONLY),
    key(
        "token_api",
        Choice(&["token", "stable_token", "none"]),
        r#""token""#,
        "`token`: every fetch ends the previous token after five minutes, so nobody else may fetch one. \
         `stable_token`: others may fetch tokens with `stable_token` too. `none`: callers keep their own token and need \
         nothing but the egress IP; calls are forwarded as they are. WeCom has one way (`gettoken`), for which this \
         stays `token`.",
        "`token`：每次获取都会使上一个凭据在五分钟后失效，因此不能有别的系统获取；`stable_token`：别的系统也可以用 `stable_token` 获取；\
         `none`：调用方自行管理凭据，只借用出口 IP，请求原样转发。企业微信只有 `gettoken` 一种方式，保持 `token` 即可。",
    ),
    unset(
        "upstream",
        forms::API_URL,
        without(
            "the `url` of `[upstream]`, for WeCom `https://qyapi.weixin.qq.com`",
            "`[upstream]` 的 `url`；企业微信为 `https://qyapi.weixin.qq.com`",
        ),
        "Its API host.",
        "该账号的 API 地址。",
    )
    .such_as(r#""https://api2.weixin.qq.com""#),
    key(
        "hosts",
        List(&forms::HOST),
        "[]",
        "Requests with one of these Host names belong to this account; without port. One account may do without \
         `hosts` and `prefix`: it gets what no other account takes.",
        "Host 为其中之一（不含端口）的请求属于该账号。可以有一个账号既没有 `hosts` 也没有 `prefix`：其余请求都归它。",
    )
    .such_as(r#"["wx.example.com"]"#),
    key(
        "prefix",
        forms::PREFIX,
        r#""""#,
        "`\"/shop\"`: callers use the base URL `http://proxy/shop`, and the prefix is taken off before forwarding.",
        "`\"/shop\"`：调用方的基础 URL 为 `http://proxy/shop`，转发前会去掉前缀。",
    )
    .such_as(r#""/shop""#),
    key(
        "paths",
        List(&forms::PATH_START),
        r#"["/cgi-bin/"]"#,
        "What may be called: the beginnings of paths. Add `/wxa/`, `/datacube/` and so on as needed.",
        "允许调用的路径的开头，按需加入 `/wxa/`、`/datacube/` 等。",
    ),
    key(
        "refresh_on",
        List(&Number(i64::MIN, i64::MAX)),
        "[40001, 40014, 42001]",
        "The errcodes that mean a dead token: wxgate fetches a new one and sends the call again. Empty: never. \
         For WeCom the default is `[40014, 42001]`.",
        "表示凭据失效的 errcode：wxgate 会获取新凭据并重发。空数组表示从不。企业微信的默认值为 `[40014, 42001]`。",
    ),
    key(
        "untouched",
        List(&forms::PATH_PATTERN),
        "[]",
        "Calls that carry a token of their own and are forwarded as they are, besides `/sns/*`, \
         `/cgi-bin/component/*` and `/cgi-bin/clear_quota/v2`. `paths` must cover them too.",
        "自带凭据、原样转发的接口；`/sns/*`、`/cgi-bin/component/*` 和 `/cgi-bin/clear_quota/v2` 不必写出。这些路径也要在 `paths` 之内。",
    )
    .such_as(r#"["/wxa/gettemplatelist"]"#),
    key(
        "tickets",
        Flag,
        "false",
        "Answer calls for jsapi and card tickets from one shared ticket, asked for again every five minutes while there \
         is demand; and sign for pages, `GET /wxgate/jssdk?url=…` for `wx.config` and `GET /wxgate/cardext?card_id=…` for \
         `wx.addCard`. With WeCom the tickets of company and application, `/wxgate/jssdk` and, for `wx.agentConfig`, \
         `&type=agent_config`.",
        "由 wxgate 统一获取并返回 jsapi 和卡券的 ticket，有需求时每五分钟重新查询一次；并为页面签名：`GET /wxgate/jssdk?url=…` 用于 `wx.config`，`GET /wxgate/cardext?card_id=…` 用于 `wx.addCard`。企业微信则是企业和应用的 ticket，`/wxgate/jssdk` 加 `&type=agent_config` 用于 `wx.agentConfig`。",
    ),
    key(
        "secret_paths",
        List(&SecretPath),
        "[]",
        "Calls that take appid and AppSecret: wxgate puts them in, so that no app needs them. It knows \
         `/sns/jscode2session`, `/sns/oauth2/access_token`, `/cgi-bin/clear_quota/v2` and `/donut/code2verifyinfo`; \
         another call is a table that says how it names the two, and with `token = true` that it takes the token, too: \
         `{ path = \"/x/y\", appid = \"appid\", secret = \"appsecret\", token = true }`. They are never sent twice. \
         `paths` must cover them too.",
        "需要 appid 和 AppSecret 的接口，由 wxgate 填入，应用无需持有。已知的有 `/sns/jscode2session`、`/sns/oauth2/access_token`、`/cgi-bin/clear_quota/v2` 和 `/donut/code2verifyinfo`；\
         其他接口用表写明两者的参数名，`token = true` 表示同时需要凭据：`{ path = \"/x/y\", appid = \"appid\", secret = \"appsecret\", token = true }`。这些调用从不重发。路径也要在 `paths` 之内。",
    )
    .such_as(r#"["/sns/jscode2session"]"#),
];
