//! The keys before the first header.

use super::Kind::{Choice, Flag, List, Number, OneOrMore, Path};
use super::{Header, Key, Section, TIME_OR_NONE, TOP, Text, forms, key, unset, without};

pub(super) const SECTION: Section = Section {
    name: TOP,
    header: Header::None,
    text: Text { en: "Before the first table.", zh: "写在第一个表之前。" },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    key(
        "listen",
        OneOrMore(&forms::LISTEN),
        r#"["127.0.0.1:8080"]"#,
        "Addresses for callers, plain HTTP. Port 0: the system chooses, and the log says which. `[::]` takes IPv4, too, \
         unless an IPv4 address with the same port is listened on. May be an empty array where there is a `[tls]`.",
        "供调用方使用的明文 HTTP 地址。端口 0 由系统选择，实际端口见日志。`[::]` 也接受 IPv4，除非同一端口另有 IPv4 监听地址。有 `[tls]` 时可以为空数组。",
    ),
    unset(
        "state_dir",
        Path,
        without(
            "`$STATE_DIRECTORY` (systemd), else `$XDG_STATE_HOME/wxgate`, else `~/.local/state/wxgate`",
            "`$STATE_DIRECTORY`（systemd），否则 `$XDG_STATE_HOME/wxgate`，再否则 `~/.local/state/wxgate`",
        ),
        "Folder of the stored tokens, so that a restart fetches none.",
        "存放凭据的目录：重启后不必重新获取。",
    )
    .such_as(r#""/var/lib/wxgate""#),
    key(
        "log_format",
        Choice(&["auto", "text", "json", "ecs"]),
        r#""auto""#,
        "`auto`: text on a terminal, JSON otherwise. Or always text, always JSON, or JSON in the names of the Elastic Common \
         Schema.",
        "`auto`：终端上为文本，否则为 JSON；也可固定为文本、JSON 或使用 Elastic Common Schema 字段名的 JSON。",
    ),
    key(
        "access_log",
        Flag,
        "true",
        "One line per request, without query, token and secret.",
        "每个请求记一行，不含查询串、凭据和密钥。",
    ),
    key(
        "workers",
        Number(0, 1024),
        "0",
        "Threads that serve requests; 0: one for each CPU that this process may use.",
        "处理请求的线程数；0 表示本进程可用的每个 CPU 一个。",
    ),
    key(
        "shutdown_grace",
        TIME_OR_NONE,
        r#""30s""#,
        "How long requests in flight may take to finish after SIGTERM.",
        "收到 SIGTERM 后，处理中的请求最多还有多少时间完成。",
    ),
    key(
        "shutdown_delay",
        TIME_OR_NONE,
        r#""0s""#,
        "How long wxgate goes on accepting after SIGTERM, with `/readyz` at 503, so that a load balancer can look away.",
        "收到 SIGTERM 后继续接受新连接多久；期间 `/readyz` 返回 503，让负载均衡先把流量移走。",
    )
    .such_as(r#""5s""#),
    key(
        "watch",
        Flag,
        "false",
        "Reload within 10 s when the content of this file, or of a file that it names, has changed.",
        "本文件或其中提到的文件内容变化后，10 秒内自动重新加载。",
    ),
    key(
        "accounts",
        List(&forms::FILES),
        "[]",
        "Further files with `[[account]]` and `[[caller]]` tables.",
        "另外的文件，内含 `[[account]]` 和 `[[caller]]`。",
    )
    .such_as(r#"["accounts.d/*.toml"]"#),
    key(
        "open_to_everyone",
        Flag,
        "false",
        "`true`: accept a listen address that others than this machine can reach, although wxgate asks nobody who \
         they are. Whoever reaches it can use the WeChat account; set it only where a firewall decides who does.",
        "`true`：允许监听本机以外可达的地址，且不校验调用方身份。能连上的人都能使用该微信账号，只应在防火墙已限制来源时设置。",
    ),
];
