//! What is in force, as data: each key with its value, secrets masked, and where it comes from.
//!
//! `wxgate config print` shows it as text ([`print()`]); an admin listener may show it as JSON.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde_json::Value as Json;
use toml::de::DeValue;

use super::keys::{Default, Key, Kind, SECTIONS, Section, TOP};
use super::value::json_of;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// One key and its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Dotted path: `listen`, `upstream.url`, `account[0].name`. Accounts and callers are counted over all files.
    pub key: String,
    /// As a file would have it, in JSON; `null` for a key without a value. Secrets are masked.
    pub value: Json,
    /// Where it comes from.
    pub source: ValueSource,
    /// Differs when what is masked, or the content of a file that the value names, differs.
    #[serde(skip)]
    pub(super) content: Content,
}

/// Tells contents apart without showing them: a hash with keys of this process alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Content(u64);

impl Content {
    pub(super) fn of(content: impl Hash) -> Self {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEYS.hash_one(content))
    }
}

/// Whether what is shown of a value hides a part of it.
pub(super) fn hides(shown: &Json) -> bool {
    shown.to_string().contains(MASK)
}

/// The keys whose values differ, those of secrets and of files that are named here too. A default of a table that has come
/// or gone is no change: nobody set it.
pub fn changed(old: &[Setting], new: &[Setting]) -> Vec<String> {
    // A thousand accounts have fifteen thousand keys.
    let (before, after) = (by_key(old), by_key(new));
    let mut seen = HashSet::new();
    let differs = |setting: &&Setting| {
        let key = setting.key.as_str();
        match (before.get(key), after.get(key)) {
            (Some(before), Some(after)) => before != after,
            _ => setting.source != ValueSource::Default,
        }
    };
    let keys = new.iter().chain(old).filter(differs).map(|setting| setting.key.as_str());
    keys.filter(|key| seen.insert(*key)).map(str::to_owned).collect()
}

fn by_key(settings: &[Setting]) -> HashMap<&str, (&Json, Content)> {
    settings.iter().map(|setting| (setting.key.as_str(), (&setting.value, setting.content))).collect()
}

impl Setting {
    /// Whether a secret is set, here or by what is named here.
    pub fn is_secret(&self) -> bool {
        match &self.value {
            Json::Array(list) => list.iter().any(|value| value == MASK),
            value => value == MASK,
        }
    }

    /// `file`, `environment` or `credential` for a value that does not stand in the configuration itself.
    pub fn source_of_secret(&self) -> Option<&str> {
        match &self.source {
            ValueSource::Default => None,
            ValueSource::Line { from, .. } => from.as_deref()?.split(' ').next(),
            ValueSource::Environment(_) => Some("environment"),
        }
    }
}

/// Where a value comes from; shown as `default`, `wxgate.toml:3`, `environment WXGATE_LISTEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// Nothing sets it.
    Default,
    /// A line of a file.
    Line {
        /// The file, as it was named.
        file: Arc<Path>,
        /// From 1.
        line: usize,
        /// Where the line leads to: `file appsecret`, `environment WECHAT_SECRET`, `credential appsecret`.
        from: Option<String>,
    },
    /// A variable.
    Environment(&'static str),
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Line { file, line, from: None } => write!(f, "{}:{line}", file.display()),
            Self::Line { file, line, from: Some(from) } => write!(f, "{}:{line}, {from}", file.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

impl Serialize for ValueSource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What may be shown of a value in a file, and where it leads to.
pub(super) fn shown(key: &Key, value: &DeValue<'_>) -> (Json, Option<String>) {
    let elsewhere = value.as_table().and_then(|table| table.iter().next()).map(|(source, name)| {
        let source = if source.get_ref() == "env" { "environment" } else { source.get_ref() };
        format!("{source} {}", name.get_ref().as_str().unwrap_or_default())
    });
    match (&key.kind, value) {
        // A list of keys: each is masked.
        (Kind::OneOrMore(Kind::Secret), DeValue::Array(list)) => {
            (list.iter().map(|_| Json::from(MASK)).collect(), None)
        }
        (Kind::Secret | Kind::OneOrMore(Kind::Secret), _) => (MASK.into(), elsewhere),
        (Kind::Certificates, DeValue::Table(table)) => {
            let shown = |value: &DeValue<'_>| match value {
                DeValue::String(path) => Json::from(path.as_ref()),
                _ => MASK.into(),
            };
            let certificates =
                table.iter().map(|(number, value)| (number.get_ref().as_ref(), shown(value.get_ref())));
            (certificates.collect(), None)
        }
        (_, DeValue::Table(_)) => (MASK.into(), elsewhere),
        (_, DeValue::String(text)) => (without_password(text).into(), None),
        (_, value) => (json_of(value), None),
    }
}

/// A URL without what stands before an `@`; other texts as they are.
fn without_password(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{MASK}@{host}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

/// Replaces the value of a key that something other than the file decides.
pub(super) fn replace(
    settings: &mut [Setting],
    key: &str,
    value: Json,
    source: ValueSource,
    content: Content,
) {
    if let Some(setting) = settings.iter_mut().find(|setting| setting.key == key) {
        (setting.value, setting.source, setting.content) = (value, source, content);
    }
}

/// As a file that could be used again but for its secrets, each line with where it comes from.
pub fn print(settings: &[Setting]) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut section = TOP.to_owned();
    for Setting { key, value, source, .. } in settings {
        let (of, name) = key.rsplit_once('.').unwrap_or((TOP, key));
        if of != section {
            let header = section_of(of).map(Section::shown).unwrap_or_default();
            lines.push((format!("\n{header}"), String::new()));
            of.clone_into(&mut section);
        }
        let line = match value {
            Json::Null => format!("# {name}: {}", unset(of, name)),
            value => format!("{name} = {}", toml_of(value)),
        };
        lines.push((line, source.to_string()));
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max();
    let width = width.unwrap_or_default();
    let line = |(line, source): (String, String)| match source.as_str() {
        "" => format!("{line}\n"),
        source => format!("{line:width$}  # {source}\n"),
    };
    lines.into_iter().map(line).collect()
}

/// The section of a table by its path: `account[1].signing` is one of `account.signing`.
fn section_of(path: &str) -> Option<&'static Section> {
    let name = match path.split_once('[') {
        Some((outer, rest)) => format!("{outer}{}", rest.split_once(']').map_or("", |(_, inner)| inner)),
        None => path.to_owned(),
    };
    SECTIONS.iter().find(|section| section.name == name)
}

/// What a key without a value comes to.
fn unset(path: &str, name: &str) -> &'static str {
    match section_of(path).and_then(|section| section.key(name)).map(|key| key.default) {
        Some(Default::Unset(text)) => text.en,
        _ => "not set",
    }
}

fn toml_of(value: &Json) -> String {
    match value {
        Json::Array(list) => {
            format!("[{}]", list.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Json::Object(table) => {
            let members: Vec<_> =
                table.iter().map(|(key, value)| format!("{key} = {}", toml_of(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        // JSON's escapes are TOML's too.
        value => value.to_string(),
    }
}
