//! Reads one TOML table key by key: what is wrong is reported and the next key is read.
//!
//! Naming a key once, in [`Table::key`] or [`Table::required`], gives its reader, its default and its place
//! in the list that a misspelt key is compared with. What a value means is the business of `value.rs`.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;
use super::value::Value;

/// One table of the file, or an empty one in place of a table that the file leaves out.
pub(super) struct Table<'r> {
    entries: &'r DeTable<'r>,
    /// Line of the header, 1 for the top of the file.
    pub(super) line: usize,
    /// The table's name without indexes, the same for all `[[account]]`.
    kind: &'static str,
    /// The table's name as messages show it: `account[1]`.
    pub(super) path: String,
    asked: Vec<&'static str>,
    pub(super) report: &'r Report<'r>,
}

impl<'r> Table<'r> {
    pub(super) fn new(
        entries: &'r DeTable<'r>,
        span: &Range<usize>,
        kind: &'static str,
        path: String,
        report: &'r Report<'r>,
    ) -> Self {
        Self { entries, line: report.line(span), kind, path, asked: Vec::new(), report }
    }

    /// The value of a key, if the file has it; from now on the key is known.
    pub(super) fn value(&mut self, name: &'static str) -> Option<Value<'r>> {
        self.asked.push(name);
        self.report.know(self.kind, name);
        let toml = self.entries.get(name)?;
        Some(Value::new(toml, self.path_of(name), self.report))
    }

    /// A key with a default; a wrong value is reported and the default stands in for it.
    pub(super) fn key<T>(
        &mut self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&Value<'r>) -> Option<T>,
    ) -> T {
        self.value(name).and_then(|value| read(&value)).unwrap_or(default)
    }

    /// A key without a default; `example` shows what to write.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        example: &str,
        read: impl FnOnce(&Value<'r>) -> Option<T>,
    ) -> Option<T> {
        match self.value(name) {
            Some(value) => read(&value),
            None => {
                let advice = format!("missing, and required: {example}");
                self.report.problem(self.line, &self.path_of(name), None, advice);
                None
            }
        }
    }

    /// A key of a feature that is still to come: known, and refused rather than ignored.
    ///
    /// `harmless` says which values change nothing and may stay.
    pub(super) fn later(&mut self, name: &'static str, harmless: impl FnOnce(&DeValue<'_>) -> bool) {
        if let Some(value) = self.value(name)
            && !harmless(value.toml())
        {
            value.say::<()>("not supported by this version of wxgate yet; remove it");
        }
    }

    /// A table inside this one, read from nothing if the file leaves it out.
    pub(super) fn table(&mut self, name: &'static str, empty: &'r Spanned<DeTable<'r>>) -> Table<'r> {
        let found = self.value(name).and_then(|value| value.table(name));
        found
            .unwrap_or_else(|| Table::new(empty.get_ref(), &empty.span(), name, name.to_owned(), self.report))
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

    /// As [`Table::check_rest`], as the last thing that is done with a table.
    pub(super) fn finish(self) {
        self.check_rest();
    }

    /// Reports the keys that nobody asked for. Their values are not looked at: a misspelt `secret` is one.
    pub(super) fn check_rest(&self) {
        for key in self.entries.keys() {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                let line = self.report.line(&key.span());
                self.report.unknown(line, self.kind, &self.path, key.get_ref());
            }
        }
    }
}
