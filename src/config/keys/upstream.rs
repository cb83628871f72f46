//! The keys of `[upstream]`.

use super::Kind::{List, Number, Pem, Secret};
use super::{Header, Key, NONE, Section, TIME, Text, forms, key, unset, without};

pub(super) const SECTION: Section = Section {
    name: "upstream",
    header: Header::Once,
    text: Text { en: "The API host and how to reach it.", zh: "API 服务器以及到达它的方式。" },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    key(
        "url",
        forms::API_URL,
        r#""https://api.weixin.qq.com""#,
        "The API host. `http://` is accepted for loopback alone.",
        "API 地址。`http://` 只允许用于回环地址。",
    ),
    unset(
        "egress_ip",
        forms::IP,
        without("the system chooses", "由系统选择"),
        "The local address that every outbound connection leaves from, for WeChat's IP whitelist.",
        "所有对外连接使用的本机地址，对应微信的 IP 白名单。",
    )
    .such_as(r#""203.0.113.7""#),
    unset(
        "ca",
        Pem,
        without("the system's trust roots alone", "只用系统的信任根"),
        "PEM file of further trust roots, beside the system's.",
        "PEM 文件：系统之外额外信任的根证书。",
    )
    .such_as(r#""certs/company-ca.pem""#),
    key(
        "connect_timeout",
        TIME,
        r#""3s""#,
        "For name lookup, TCP, the proxy and TLS together.",
        "域名解析、TCP、代理和 TLS 握手合计的时限。",
    ),
    key(
        "response_timeout",
        TIME,
        r#""30s""#,
        "From the last byte of the request to the head of the response; and for a pause of its body.",
        "从请求的最后一个字节到响应头的时限，也是响应体停顿的时限。",
    ),
    key(
        "max_connections",
        Number(1, 1_000_000),
        "1024",
        "Connections to one API host at one moment, of all workers together. Calls beyond it wait for up to \
         `connect_timeout`, then get 503 `busy`.",
        "到同一个 API 服务器的最大同时连接数（所有线程合计）。超出的调用最多等待 `connect_timeout`，然后得到 503 `busy`。",
    ),
    key(
        "warm_connections",
        Number(0, 1000),
        "2",
        "Idle TLS connections kept ready, so that a call pays no handshake.",
        "保持就绪的空闲 TLS 连接数，调用时无需握手。",
    ),
    key(
        "fallbacks",
        List(&forms::API_URL),
        "[]",
        "Further hosts of the API at `url`, tried in turn when connecting to it fails or TLS is refused, never after a \
         byte of a call was written; back to `url` once it has answered again for 60 s. Accounts with an `upstream` of \
         their own have none.",
        "`url` 所指 API 的备用地址：连接失败或 TLS 被拒绝时依次尝试，请求一旦发出任何字节就不再换；`url` 恢复并稳定 60 秒后换回。\
         有自己 `upstream` 的账号不使用。",
    )
    .such_as(r#"["https://api2.weixin.qq.com"]"#),
    unset(
        "proxy",
        Secret,
        NONE,
        "Reach the API hosts through this proxy: `http://[user:pass@]host:port` (CONNECT, Basic) or \
         `socks5h://[user:pass@]host:port`; other characters than letters and digits in user and password \
         percent-encoded. It looks the names up; TLS is with the API host, and verified. Messages of `[[alert]]` go \
         through it, too. A secret, since it may hold a password.",
        "经由该代理到达 API：`http://[user:pass@]host:port`（CONNECT，Basic 认证）或 `socks5h://[user:pass@]host:port`；\
         用户名和密码中字母、数字以外的字符要百分号编码。域名由代理解析；TLS 仍与 API 服务器直接建立并验证。`[[alert]]` 的消息也经过它。可能含有密码，因此按密钥处理。",
    )
    .such_as(r#""http://proxy.example.com:3128""#),
    key(
        "strip",
        List(&forms::HEADER_NAME),
        "[]",
        "Request headers that are not passed on to the API host.",
        "不转发给 API 的请求头。",
    )
    .such_as(r#"["traceparent", "tracestate"]"#),
];
