//! The keys of `[limits]`.

use super::Kind::{Number, Size};
use super::{Header, Key, Section, TIME, Text, key};

/// More than any disk; keeps sums of sizes far from overflow.
const PIB: u64 = 1 << 50;

pub(super) const SECTION: Section = Section {
    name: "limits",
    header: Header::Once,
    text: Text {
        en: "What one caller, and all of them together, may use up.",
        zh: "单个调用方以及全部调用方合计可以占用的资源。",
    },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    key(
        "max_connections",
        Number(1, 1_000_000),
        "10000",
        "Caller connections at one moment.",
        "同一时刻的调用方连接数。",
    ),
    key(
        "header_timeout",
        TIME,
        r#""10s""#,
        "A caller that has not sent a whole head by then is cut off.",
        "在此时间内未发完请求头的调用方会被断开。",
    ),
    key(
        "idle_timeout",
        TIME,
        r#""75s""#,
        "How long a keep-alive connection may stay without a request.",
        "长连接上没有请求时最多保持多久。",
    ),
    key("max_header_bytes", Size(1 << 10, 1 << 20), r#""32KiB""#, "A request head.", "请求头的大小上限。"),
    key("max_body", Size(1, PIB), r#""64MiB""#, "A request body.", "请求体的大小上限。"),
    key(
        "replay_per_request",
        Size(0, PIB),
        r#""16MiB""#,
        "A request body up to this size can be sent a second time, with a new token.",
        "不超过此大小的请求体可以用新凭据重发一次。",
    ),
    key(
        "replay_total",
        Size(0, PIB),
        r#""256MiB""#,
        "All bodies held for that at one moment. One caller (one address where there is no `[[caller]]`) holds at most \
         half of it, so that only smaller bodies can be sent a second time.",
        "同一时刻为重发而保留的请求体总量；一个调用方（没有 `[[caller]]` 时为一个地址）最多占其中一半，更大的请求体不能重发。",
    ),
];
