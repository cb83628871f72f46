//! The keys of `[upstream]`.

use super::Kind::{List, Number, Pem};
use super::{Header, Key, NONE, Section, TIME, Text, forms, key, unset, without};

pub(super) const SECTION: Section = Section {
    name: "upstream",
    header: Header::Once,
    text: Text { en: "The API host and how to reach it.", zh: "API 服务器以及到达它的方式。" },
    later: false,
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
        "For name lookup, TCP and TLS together.",
        "域名解析、TCP 和 TLS 握手合计的时限。",
    ),
    key(
        "response_timeout",
        TIME,
        r#""30s""#,
        "From the last byte of the request to the head of the response.",
        "从请求的最后一个字节到响应头的时限。",
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
        "Further API hosts of the same kind, tried in turn when the first cannot be reached.",
        "同类的备用 API 地址，第一个连不上时依次尝试。",
    )
    .such_as(r#"["https://api2.weixin.qq.com"]"#)
    .later(),
    unset(
        "proxy",
        forms::PROXY_URL,
        NONE,
        "Reach the API host through this proxy: `http://[user:pass@]host:port` (CONNECT) or `socks5h://…`.",
        "经由该代理到达 API：`http://[user:pass@]host:port`（CONNECT）或 `socks5h://…`。",
    )
    .such_as(r#""http://proxy.example.com:3128""#)
    .later(),
    key(
        "strip",
        List(&forms::HEADER_NAME),
        "[]",
        "Request headers that are not passed on to the API host.",
        "不转发给 API 的请求头。",
    )
    .such_as(r#"["traceparent", "tracestate"]"#),
];
