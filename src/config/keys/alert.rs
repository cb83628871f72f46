//! The keys of `[[alert]]`.

use super::Kind::{Choice, List, Secret};
use super::{Header, Key, Section, Text, key, required, unset, without};

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
         `wxgate`. `wxgate check --alerts` sends a test message.",
        "机器人的 webhook。其中含有密钥，因此按密钥处理。若平台要求关键词，请填 `wxgate`。`wxgate check --alerts` 会发送测试消息。",
    ),
    unset(
        "secret",
        Secret,
        without("messages are not signed", "消息不签名"),
        "What messages are signed with, for a robot that demands it: of DingTalk (加签) the text that begins with `SEC`, of \
         Feishu (签名校验) the one beside that setting. WeCom's robots have none. The clock of this machine must be right \
         within an hour.",
        "机器人要求签名时使用的密钥：钉钉“加签”处以 `SEC` 开头的文本，飞书“签名校验”处的文本。企业微信机器人没有签名。本机时钟误差不能超过一小时。",
    )
    .such_as(r#"{ file = "robot.secret" }"#),
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
