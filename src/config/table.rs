//! Reads one TOML table key by key: what is wrong is reported and the next key is read.
//!
//! Names, defaults and ranges come from the table of keys (`keys.rs`). What a value means is the business of
//! `value.rs`.

use std::ops::Range;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeTable;

use super::keys::{self, Key, Section};
use super::report::Report;
use super::settings::{self, Content, ValueSource};
use super::value::{Value, json_of};

/// One table of the file, or an empty one in place of a table that the file leaves out.
pub(super) struct Table<'r> {
    entries: &'r DeTable<'r>,
    /// Line of the header, 1 for the top of the file.
    pub(super) line: usize,
    section: &'static Section,
    /// The table's name as messages show it: `account[1]`.
    pub(super) path: String,
    pub(super) report: &'r Report<'r>,
}

impl<'r> Table<'r> {
    pub(super) fn new(
        entries: &'r DeTable<'r>,
        span: &Range<usize>,
        section: &'static Section,
        path: String,
        report: &'r Report<'r>,
    ) -> Self {
        Self { entries, line: report.line(span), section, path, report }
    }

    /// The value of a key, if the file has it.
    fn value(&mut self, name: &str) -> (&'static Key, Option<Value<'r>>) {
        let key = self.section.key(name).expect("readers ask for keys of the table alone");
        self.report.asked(self.section.name, key.name);
        let found = self.entries.get(name);
        (key, found.map(|toml| Value::new(toml, self.path_of(name), &key.kind, self.report)))
    }

    /// A key with a default; a wrong value is reported and the default stands in for it.
    pub(super) fn key<T>(&mut self, name: &str, read: impl Fn(&Value<'r>) -> Option<T>) -> T {
        self.given_or_default(name, &read).1
    }

    /// As [`Table::key`]; with whether the file has it and it is right.
    pub(super) fn given_or_default<T>(
        &mut self,
        name: &str,
        read: impl Fn(&Value<'r>) -> Option<T>,
    ) -> (Given, T) {
        let (key, found) = self.value(name);
        let given = match found {
            None => Given::No,
            Some(value) => match read(&value) {
                Some(read) => return (Given::Right, read),
                None => Given::Wrong,
            },
        };
        let default = key.default_value().expect("a key that is read so has a default");
        let default = Value::new(default, self.path_of(name), &key.kind, self.report);
        (given, read(&default).expect("a test reads all defaults"))
    }

    /// A key that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value<'r>) -> Option<T>,
    ) -> Option<T> {
        self.value(name).1.and_then(|value| read(&value))
    }

    /// A key without a default.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value<'r>) -> Option<T>,
    ) -> Option<T> {
        match self.value(name) {
            (_, Some(value)) => read(&value),
            (key, None) => {
                let advice = format!("missing, and required: {name} = {}", key.example);
                self.report.problem(self.line, &self.path_of(name), None, advice);
                None
            }
        }
    }

    /// A key that the table must not have beside its others; `why` says so.
    pub(super) fn unwanted(&mut self, name: &str, why: &str) {
        if self.value(name).1.is_some() {
            self.problem(name, why);
        }
    }

    /// Something is wrong with a key that the file has or should have.
    pub(super) fn problem(&self, name: &str, words: impl Into<String>) {
        self.report.problem(self.line_of(name), &self.path_of(name), None, words);
    }

    /// A `[table]`, if the file has it.
    pub(super) fn table(&self, name: &str) -> Option<Table<'r>> {
        self.tables(name).and_then(|value| value.table(keys::section(name)))
    }

    /// A table of this one, if the file has it: `[account.signing]`.
    pub(super) fn inner(&self, name: &str) -> Option<Table<'r>> {
        let section = keys::section(&format!("{}.{name}", self.section.name));
        self.tables(name).and_then(|value| value.table(section))
    }

    /// A `[table]` all of whose keys have defaults; read from nothing where the file leaves it out.
    pub(super) fn table_or_defaults(&self, name: &str, empty: &'r Spanned<DeTable<'r>>) -> Table<'r> {
        let found = self.table(name);
        found.unwrap_or_else(|| {
            let section = keys::section(name);
            Table::new(empty.get_ref(), &empty.span(), section, name.to_owned(), self.report)
        })
    }

    /// The value of `[[name]]`, if the file has one.
    pub(super) fn tables(&self, name: &str) -> Option<Value<'r>> {
        let toml = self.entries.get(name)?;
        Some(Value::table_named(toml, self.path_of(name), self.report))
    }

    /// Whether the file has the key.
    pub(super) fn given(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether the file has the key with something in it.
    pub(super) fn has_elements(&self, name: &str) -> bool {
        self.entries
            .get(name)
            .is_some_and(|value| value.get_ref().as_array().is_some_and(|array| !array.is_empty()))
    }

    /// Line of a key's value, or of the header if the file leaves the key out.
    pub(super) fn line_of(&self, name: &str) -> usize {
        self.entries.get(name).map_or(self.line, |value| self.report.line(&value.span()))
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Notes what is in force, and reports what is left: keys that are in no table of keys. Their values are not looked
    /// at: a misspelt `secret` is one.
    pub(super) fn finish(&self) {
        self.finish_with(&[]);
    }

    /// As [`Table::finish`] where other defaults hold than those of the table of keys.
    pub(super) fn finish_with(&self, defaults: &[(&str, Json)]) {
        let path = self.report.findings.next_table(self.section);
        for key in self.section.keys {
            let (value, source, content) = match self.entries.get(key.name) {
                Some(toml) => {
                    let (value, from) = settings::shown(key, toml.get_ref());
                    let span = toml.span();
                    let content = self.report.content(&span, &value);
                    (value, self.report.source(self.report.line(&span), from), content)
                }
                None => {
                    let other = defaults.iter().find(|(name, _)| *name == key.name);
                    let default = match other {
                        Some((_, value)) => Some(value.clone()),
                        None => key.default_value().map(|default| json_of(default.get_ref())),
                    };
                    (default.unwrap_or_default(), ValueSource::Default, Content::default())
                }
            };
            let name = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            self.report.findings.set(name, value, source, content);
        }
        for name in self.entries.keys() {
            let known = self.section.names().any(|known| known == name.get_ref());
            if !known {
                self.report.unknown(self.report.line(&name.span()), self.section, &self.path, name.get_ref());
            }
        }
    }

    /// As [`Table::finish`] for the top of a file that `accounts` names.
    pub(super) fn finish_included(&self) {
        for name in self.entries.keys() {
            let line = self.report.line(&name.span());
            match name.get_ref().as_ref() {
                "account" | "caller" => {}
                name if self.section.names().any(|known| known == name) => {
                    let words =
                        "not in a file that `accounts` names: want [[account]] and [[caller]] here alone";
                    self.report.problem(line, name, None, words);
                }
                name => self.report.unknown(line, self.section, &self.path, name),
            }
        }
    }
}

/// Whether the file has a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// It has not; the default holds.
    No,
    /// It has, and that is reported as wrong.
    Wrong,
    /// It has.
    Right,
}
