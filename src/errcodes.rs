//! WeChat's errcodes: what each means at the proxy and what to do about it, in English and Chinese.
//!
//! One table for the admin listener (`/calls`, the page), `wxgate check`, the log's advice and the documents. Pure
//! data and look-ups: whether an errcode causes a refresh is decided by `refresh_on` and the credential's policy,
//! never here.

mod own;
mod wecom;
mod weixin;

use std::net::IpAddr;

pub use own::{BROKEN_OFF, HTTP_ERROR, LEFT, SENT_AGAIN, UNKNOWN, own, retry};

/// A language that operators read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Simplified Chinese.
    Zh,
}

/// One text in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// English.
    pub en: &'static str,
    /// Simplified Chinese.
    pub zh: &'static str,
}

impl Text {
    /// The text in this language.
    pub const fn get(self, lang: Lang) -> &'static str {
        match lang {
            Lang::En => self.en,
            Lang::Zh => self.zh,
        }
    }
}

/// Whose errcodes: the two products use some numbers for different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Product {
    /// Official accounts, mini programs and third-party platforms (`api.weixin.qq.com`).
    #[default]
    Weixin,
    /// WeCom (`qyapi.weixin.qq.com`).
    Wecom,
}

impl Product {
    /// The word in the configuration and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Weixin => "weixin",
            Self::Wecom => "wecom",
        }
    }
}

/// What is known of one errcode, or of one of wxgate's own codes.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The errcode; 0 for wxgate's own codes, which are words.
    pub number: i64,
    /// What it means at the proxy: a whole sentence.
    pub means: Text,
    /// What to do: whole sentences. May hold `{ip}` and `{appid}`, which [`Entry::todo`] fills.
    todo: Text,
}

/// What fills the gaps of a text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// The appid (or corpid) of the account.
    pub appid: Option<&'a str>,
    /// The upstream's errmsg: it holds the IP that WeChat saw.
    pub errmsg: Option<&'a str>,
}

impl Entry {
    /// What to do, in whole sentences.
    pub fn todo(&self, lang: Lang, facts: Facts<'_>) -> String {
        let (account, egress) = match lang {
            Lang::En => ("this account", "the egress IP"),
            Lang::Zh => ("该账号", "出口 IP "),
        };
        let ip = facts.errmsg.and_then(seen_ip).map(|ip| ip.to_string());
        let text = fill(self.todo.get(lang), "{appid}", facts.appid, account);
        fill(&text, "{ip}", ip.as_deref(), egress)
    }

    /// What it means and what to do, as one paragraph.
    pub fn explain(&self, lang: Lang, facts: Facts<'_>) -> String {
        let gap = if lang == Lang::En { " " } else { "" };
        format!("{}{gap}{}", self.means.get(lang), self.todo(lang, facts))
    }
}

/// Puts a value into each gap, or words where it is not known. Chinese has spaces around Latin letters alone.
fn fill(text: &str, gap: &str, value: Option<&str>, words: &str) -> String {
    match value {
        Some(value) => text.replace(gap, value),
        None if words.is_ascii() => text.replace(gap, words),
        None => text.replace(&format!(" {gap} "), words).replace(&format!(" {gap}"), words.trim_end()),
    }
}

/// What is known of an errcode; `None` for one that is in no table, and for 0 (success).
pub fn errcode(product: Product, number: i64) -> Option<&'static Entry> {
    let of_wecom = || find(wecom::TABLE, number).filter(|_| product == Product::Wecom);
    of_wecom().or_else(|| find(weixin::TABLE, number))
}

fn find(table: &'static [Entry], number: i64) -> Option<&'static Entry> {
    table.binary_search_by_key(&number, |entry| entry.number).ok().map(|at| &table[at])
}

/// The errcodes that metrics count under their own number; all others are `other`. Those of the contract's
/// page and of WeChat's wire facts: a list that no upstream can make longer.
pub const LABELS: [i64; 25] = [
    -1, 40001, 40002, 40013, 40014, 40033, 40066, 40125, 40164, 40243, 41001, 41005, 42001, 43002, 44002,
    45001, 45002, 45009, 45011, 48001, 60020, 61004, 89503, 89506, 89507,
];

/// Whether a call is refused since the address that it comes from is on no list.
pub fn refuses_address(number: i64) -> bool {
    matches!(number, 40164 | 60020 | 61004)
}

/// The index of an errcode in [`LABELS`]; `LABELS.len()` for all others.
pub fn label_index(number: i64) -> usize {
    LABELS.binary_search(&number).unwrap_or(LABELS.len())
}

/// The address that WeChat saw, in `invalid ip 101.226.140.169 ipv6 ::ffff:101.226.140.169, not in whitelist`
/// (40164, 61004) and `not allow to access from your ip, hint: […], from ip: 171.43.188.73, more info at …` (60020).
pub fn seen_ip(errmsg: &str) -> Option<IpAddr> {
    let mut words = errmsg.split(|c: char| c.is_whitespace() || c == ',');
    words.find_map(|word| word.parse().ok())
}

const fn row(
    number: i64,
    means: &'static str,
    todo: &'static str,
    means_zh: &'static str,
    todo_zh: &'static str,
) -> Entry {
    Entry { number, means: Text { en: means, zh: means_zh }, todo: Text { en: todo, zh: todo_zh } }
}

#[cfg(test)]
mod tests;
