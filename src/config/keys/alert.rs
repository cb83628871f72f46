//! The keys of `[[alert]]`.

use super::Kind::{Choice, List, Secret};
use super::{Header, Key, Section, Text, key, required};

/// What an alert can be about.
const CAUSES: super::Kind = Choice(&["refused", "expires", "other-fetcher", "store"]);

pub(super) const SECTION: Section = Section {
    name: "alert",
    header: Header::Any,
    text: Text {
        en: "A message to a group robot when something needs a person.",
        zh: "需要人工处理时向群机器人发送消息。",
    },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    required(
        "kind",
        Choice(&["wecom", "dingtalk", "feishu"]),
        r#""wecom""#,
        "Whose robot it is.",
        "机器人所属的平台。",
    ),
    required(
        "url",
        Secret,
        r#"{ file = "robot.url" }"#,
        "The robot's webhook. It holds a key, so it is a secret like any other. Where the service asks for a keyword, use \
         `wxgate`; robots with a signature are not supported. `wxgate check --alerts` sends a test message.",
        "机器人的 webhook。其中含有密钥，因此按密钥处理。若平台要求关键词，请填 `wxgate`；不支持加签的机器人。`wxgate check --alerts` 会发送测试消息。",
    ),
    key(
        "on",
        List(&CAUSES),
        r#"["refused", "expires", "other-fetcher", "store"]"#,
        "What to tell: an account is refused a token, a token ends in five minutes without a new one, somebody else \
         fetches tokens, the store is away. One more message when it is well again; at most one each ten minutes for \
         each cause.",
        "何时发送：获取凭据被拒绝、凭据五分钟内到期而没有新的、有别的系统在获取凭据、存储不可用。恢复后再发一条；每种原因每十分钟最多一条。",
    ),
];
