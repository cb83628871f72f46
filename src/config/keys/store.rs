//! The keys of `[store]`.

use super::Kind::{Choice, Number, Pem, Secret};
use super::{Header, Key, NONE, Section, TIME, Text, forms, key, unset, without};

pub(super) const SECTION: Section = Section {
    name: "store",
    header: Header::Once,
    text: Text { en: "Where tokens are kept.", zh: "凭据存放在哪里。" },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    key(
        "kind",
        Choice(&["file", "redis"]),
        r#""file""#,
        "`file`: files in `state_dir`. `redis`: shared by several wxgate.",
        "`file`：`state_dir` 中的文件；`redis`：由多个 wxgate 共享。",
    )
    .such_as(r#""redis""#),
    key(
        "replicas",
        Number(1, 1000),
        "1",
        "With `kind = \"file\"`: how many wxgate of the same accounts there are, itself included. The daily budget of \
         forced fetches is divided among them.",
        "`kind = \"file\"` 时：同样账号的 wxgate 一共有几个（含自己）。每天强制获取的额度由它们平分。",
    )
    .such_as("2"),
    key(
        "url",
        Secret,
        r#""redis://127.0.0.1:6379/0""#,
        "Redis or Valkey; `rediss://` for TLS. A secret, since it may hold a password.",
        "Redis 或 Valkey；`rediss://` 表示 TLS。可能含有密码，因此按密钥处理。",
    )
    .such_as(r#"{ file = "redis.url" }"#),
    unset("user", forms::LINE, NONE, "User name, beside or instead of the one in `url`.", "用户名，补充或代替 `url` 中的。")
        .such_as(r#""wxgate""#),
    unset("password", Secret, NONE, "Password, beside or instead of the one in `url`.", "密码，补充或代替 `url` 中的。")
        .such_as(r#"{ file = "redis.password" }"#),
    unset(
        "ca",
        Pem,
        without("the system's trust roots alone", "只用系统的信任根"),
        "PEM file of further trust roots for `rediss://`.",
        "PEM 文件：`rediss://` 额外信任的根证书。",
    )
    .such_as(r#""certs/redis-ca.pem""#),
    unset("cert", Pem, NONE, "PEM chain that wxgate shows to the store.", "wxgate 向存储出示的 PEM 证书链。")
        .such_as(r#""certs/wxgate.pem""#),
    unset("key", Pem, NONE, "PEM key of that chain.", "该证书链的 PEM 私钥。")
        .such_as(r#""certs/wxgate.key""#),
    key("key_prefix", forms::LINE, r#""wxgate:""#, "What every key in the store begins with.", "存储中所有键的前缀。")
        .such_as(r#""wxgate-test:""#),
    key(
        "timeout",
        TIME,
        r#""300ms""#,
        "For one command, and for a connection where this is more than a second.",
        "单个命令的时限；超过一秒时，也是建立连接的时限。",
    ),
];
