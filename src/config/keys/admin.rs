//! The keys of `[admin]`.

use super::Kind::{List, Secret};
use super::{Header, Key, Section, Text, forms, key, required, unset, without};

pub(super) const SECTION: Section = Section {
    name: "admin",
    header: Header::Optional,
    text: Text {
        en: "The admin listener: health, metrics, status, the page for people.",
        zh: "管理端口：健康检查、指标、状态和管理页面。",
    },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    required(
        "listen",
        forms::ADMIN_LISTEN,
        r#""127.0.0.1:9090""#,
        "One address, or `unix:/run/wxgate/admin.sock` (mode 0660).",
        "一个地址，或 `unix:/run/wxgate/admin.sock`（权限 0660）。",
    ),
    unset(
        "key",
        Secret,
        without("none; required unless `listen` is loopback or a unix socket", "无；`listen` 不是回环地址或 unix 套接字时必填"),
        "What whoever asks must show, in the same forms as a caller's key. Not asked for on `/livez`, `/healthz` and \
         `/readyz`.",
        "访问时必须出示的密钥，形式与调用方密钥相同；`/livez`、`/healthz`、`/readyz` 不需要。",
    )
    .such_as(r#"{ file = "admin.key" }"#),
    key(
        "hosts",
        List(&forms::HOST),
        "[]",
        "Further host names that the admin listener may be called by. A proxy before it has to pass the Host on as it came \
         (nginx: `proxy_set_header Host $http_host;`), or the page shows everything and may change nothing.",
        "访问管理端口时还可以使用的主机名。前面如有反向代理，须原样转发 Host（nginx：`proxy_set_header Host $http_host;`），\
         否则页面只能查看，不能操作。",
    )
    .such_as(r#"["wxgate.monitoring.svc"]"#),
];
