//! What texts look like: a pattern for the schema, and a word for the documents.
//!
//! The patterns are there for editors: they accept whatever `parse.rs` accepts, and a little more. Only `parse.rs`
//! decides.

use super::{Kind, Text};

/// What a text looks like.
pub(in super::super) struct Form {
    #[cfg_attr(not(test), expect(dead_code, reason = "read where documents are made, in a test"))]
    pub(in super::super) text: Text,
    /// A regular expression in the dialect of JSON schemas.
    pub(in super::super) pattern: &'static str,
}

const fn form(en: &'static str, zh: &'static str, pattern: &'static str) -> Kind {
    Kind::Text(Form { text: Text { en, zh }, pattern })
}

pub(super) const LISTEN: Kind = form("ADDRESS:PORT", "地址:端口", r"^\s*\S+:[0-9]{1,5}\s*$");
pub(super) const ADMIN_LISTEN: Kind =
    form("ADDRESS:PORT or unix:PATH", "地址:端口或 unix:路径", r"^\s*(unix:.+|\S+:[0-9]{1,5})\s*$");
pub(super) const NAME: Kind =
    form("name of `a-z`, `0-9`, `-`", "由 `a-z`、`0-9`、`-` 组成的名称", "^[a-z0-9-]{1,64}$");
pub(super) const APPID: Kind = form("appid", "appid", "^[A-Za-z0-9_-]{1,64}$");
pub(super) const HOST: Kind = form("host name or IP address", "主机名或 IP 地址", r"^[^\s/*]+$");
pub(super) const PREFIX: Kind = form("path prefix", "路径前缀", r"^(/[^/?#%;\\]+)*$");
pub(super) const PATH_START: Kind = form("beginning of a path", "路径的开头", r"^/[^*?#%;\\]*$");
pub(super) const PATH_PATTERN: Kind =
    form("path, `*` at the end for any rest", "路径，末尾的 `*` 匹配任意后续", r"^/[^*?#%;\\]*\*?$");
pub(super) const RULE: Kind = form("METHOD PATH", "方法 路径", r"^([A-Za-z]+|\*) /[^*?#%;\\]*\*?$");
pub(super) const NETWORK: Kind = form("network or address", "网段或地址", r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
pub(super) const IP: Kind = form("IP address", "IP 地址", r"^\s*[0-9A-Fa-f:.]+\s*$");
pub(super) const API_URL: Kind = form("URL", "URL", r"^https?://[^/?#@]+/?$");
pub(super) const RATE: Kind = form("N/s or N/min", "N/s 或 N/min", "^[0-9]+/(s|min)$");
pub(super) const HEADER_NAME: Kind = form("name of a header", "请求头名称", "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$");
pub(super) const FILES: Kind = form("path, `*` for any file name", "路径，`*` 匹配任意文件名", "^.+$");
pub(super) const KEY_NUMBER: Kind = form("number of a key", "密钥编号", "^[A-Za-z0-9_-]{1,128}$");
pub(super) const LINE: Kind = form("text", "文本", "^.*$");
