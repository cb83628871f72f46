//! Messages to group robots (WeCom, DingTalk, Feishu) when something needs a person, and when it is well again.
//!
//! It looks at what the admin listener shows, every few seconds, on the control thread: no request and no token task
//! knows of it. `decide.rs` says which message is due for a robot (pure), `post.rs` keeps to one at a time for each robot,
//! `text.rs` says what messages say and look like (pure), `sign.rs` signs them where a robot demands it (pure), `send.rs`
//! sends them. A robot's URL holds its key: it goes to that service over verified TLS and nowhere else.

mod decide;
mod post;
mod send;
mod sign;
mod text;
mod watch;

use crate::secret::Secret;

pub use send::Sender;
pub use watch::Alerts;

/// A group robot, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Robot {
    /// Whose robot it is.
    pub service: Service,
    /// Its webhook, with its key.
    pub url: Secret,
    /// What its messages are signed with, where it demands that; WeCom's robots know no signature.
    pub secret: Option<Secret>,
    /// What it is told; at least one.
    pub on: Vec<Cause>,
}

impl Robot {
    /// What no text may hold: the key in its URL (in the query, or else at the end of the path), and what messages are
    /// signed with.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let url = self.url.expose();
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let end_of_path = path.rsplit('/').next().filter(|_| query.is_empty());
        let values = query.split('&').filter_map(|pair| pair.split_once('=').map(|(_, value)| value));
        let signed_with = self.secret.as_ref().map(Secret::expose);
        values.chain(end_of_path).chain(signed_with).filter(|secret| !secret.is_empty())
    }
}

/// A service that has group robots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// WeCom, 企业微信.
    Wecom,
    /// DingTalk, 钉钉.
    Dingtalk,
    /// Feishu, 飞书; Lark abroad.
    Feishu,
}

impl Service {
    /// Where its webhooks are: the only hosts that messages are sent to.
    pub fn hosts(self) -> &'static [&'static str] {
        match self {
            Self::Wecom => &["qyapi.weixin.qq.com"],
            Self::Dingtalk => &["oapi.dingtalk.com"],
            Self::Feishu => &["open.feishu.cn", "open.larksuite.com"],
        }
    }

    /// Whether its robots can demand that messages are signed (DingTalk: 加签, Feishu: 签名校验).
    pub fn can_sign(self) -> bool {
        match self {
            Self::Wecom => false,
            Self::Dingtalk | Self::Feishu => true,
        }
    }

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wecom => "wecom",
            Self::Dingtalk => "dingtalk",
            Self::Feishu => "feishu",
        }
    }
}

/// What a message can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// WeChat refuses to issue a token.
    Refused,
    /// A token ends within five minutes, or has ended, and getting a new one fails.
    Expires,
    /// Something else fetches tokens for the same appid.
    OtherFetcher,
    /// The store is away.
    Store,
}

impl Cause {
    /// All of them, in the order of the configuration.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Expires, Self::OtherFetcher, Self::Store];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Expires => "expires",
            Self::OtherFetcher => "other-fetcher",
            Self::Store => "store",
        }
    }
}
