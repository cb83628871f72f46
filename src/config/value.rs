//! One value of the file with its line and key: the shapes (text, number, list, table) and how a wrong one
//! is reported.
//!
//! What a text must look like is in `parse.rs`, which the environment uses too; ranges are in the table of keys.
//! Nothing here shows a value that stands under a key marked [`Value::secret`].

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::error::shown;
use super::keys::{Kind, Section};
use super::parse;
use super::report::Report;
use super::table::Table;

/// A value, where it stands and what it belongs to.
pub(super) struct Value<'r> {
    toml: &'r Spanned<DeValue<'r>>,
    key: String,
    /// What the table of keys says of it; `None` for a table.
    kind: Option<&'static Kind>,
    secret: bool,
    pub(super) report: &'r Report<'r>,
}

impl<'r> Value<'r> {
    /// The value of a key.
    pub(super) fn new(
        toml: &'r Spanned<DeValue<'r>>,
        key: String,
        kind: &'static Kind,
        report: &'r Report<'r>,
    ) -> Self {
        Self { toml, key, kind: Some(kind), secret: false, report }
    }

    /// A table, or what stands in the place of one.
    pub(super) fn table_named(toml: &'r Spanned<DeValue<'r>>, key: String, report: &'r Report<'r>) -> Self {
        Self { toml, key, kind: None, secret: false, report }
    }

    /// From here on nothing of the value is shown, whatever is wrong with it.
    pub(super) fn secret(&self) -> Self {
        Self { key: self.key.clone(), secret: true, ..*self }
    }

    pub(super) fn toml(&self) -> &'r DeValue<'r> {
        self.toml.get_ref()
    }

    pub(super) fn line(&self) -> usize {
        self.report.line(&self.toml.span())
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Reports "found …, want …"; the `None` is for the reader to return.
    pub(super) fn wrong<T>(&self, want: impl Into<String>) -> Option<T> {
        self.report.problem(self.line(), &self.key, Some(self.found()), want);
        None
    }

    /// Reports in words of its own, without the value.
    pub(super) fn say<T>(&self, words: impl Into<String>) -> Option<T> {
        self.report.problem(self.line(), &self.key, None, words);
        None
    }

    /// As [`Value::wrong`], naming the kind of value alone: for places where anything might have landed.
    pub(super) fn wrong_kind<T>(&self, want: &str) -> Option<T> {
        self.wrong_as(kind(self.toml()), want)
    }

    /// As [`Value::wrong`] with a description in place of the value.
    pub(super) fn wrong_as<T>(&self, found: impl Into<String>, want: &str) -> Option<T> {
        self.report.problem(self.line(), &self.key, Some(found.into()), want);
        None
    }

    fn found(&self) -> String {
        match self.toml() {
            toml if self.secret => kind(toml).to_owned(),
            DeValue::String(text) => shown(text),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(yes) => yes.to_string(),
            toml => kind(toml).to_owned(),
        }
    }

    pub(super) fn text(&self, want: &str) -> Option<&'r str> {
        match self.toml() {
            DeValue::String(text) => Some(text),
            _ => self.wrong(want),
        }
    }

    /// A text that `parse` understands; its error is what would have been right.
    pub(super) fn parsed<T>(&self, want: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match parse(self.text(want)?) {
            Ok(value) => Some(value),
            Err(want) => self.wrong(want),
        }
    }

    pub(super) fn yes_or_no(&self) -> Option<bool> {
        match self.toml() {
            DeValue::Boolean(yes) => Some(*yes),
            _ => self.wrong("true or false, without quotes"),
        }
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let want = names.join(" or ");
        let text = self.text(&want)?;
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => Some(*choice),
            None => self.wrong(want),
        }
    }

    /// A whole number within the range of the key.
    pub(super) fn integer(&self) -> Option<i64> {
        let Some(Kind::Number(low, high)) = self.kind else {
            unreachable!("{} is read as a number", self.key)
        };
        let range = *low..=*high;
        match self.toml() {
            DeValue::Integer(number) => number_of(number)
                .filter(|number| range.contains(number))
                .or_else(|| self.wrong(between(&range))),
            _ => self.wrong(between(&range)),
        }
    }

    /// A whole number that counts things.
    pub(super) fn count(&self) -> Option<usize> {
        self.integer().and_then(|number| usize::try_from(number).ok())
    }

    /// A number of bytes within the range of the key: a whole number, or a text such as "16MiB".
    pub(super) fn size(&self) -> Option<u64> {
        let Some(Kind::Size(low, high)) = self.kind else { unreachable!("{} is read as a size", self.key) };
        let range = *low..=*high;
        match self.toml() {
            DeValue::Integer(number) => {
                let bytes = number_of(number).and_then(|number| u64::try_from(number).ok());
                bytes.filter(|bytes| range.contains(bytes)).or_else(|| self.wrong(parse::size_wanted(&range)))
            }
            _ => self.parsed(&parse::size_wanted(&range), |text| parse::size(text, &range)),
        }
    }

    /// As [`Value::size`], of something that is held in memory.
    pub(super) fn size_in_memory(&self) -> Option<usize> {
        self.size().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// A time within the range of the key.
    pub(super) fn time(&self) -> Option<Duration> {
        let Some(Kind::Time(low, high)) = self.kind else { unreachable!("{} is read as a time", self.key) };
        let range = Duration::from_millis(*low)..=Duration::from_millis(*high);
        self.parsed(parse::TIME_WANTED, |text| parse::time(text, &range))
    }

    /// A path; a relative one starts from the file's folder.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text("a path in quotes")?;
        if text.is_empty() || text.contains('\0') {
            return self.wrong("a path in quotes");
        }
        Some(self.report.base().join(text))
    }

    /// Every element, or nothing if one of them is wrong; all wrong ones are reported.
    pub(super) fn list<T>(&self, want: &str, read: impl FnMut(&Value<'r>) -> Option<T>) -> Option<Vec<T>> {
        let Some(elements) = self.elements() else { return self.wrong(want) };
        let read: Vec<Option<T>> = elements.iter().map(read).collect();
        read.into_iter().collect()
    }

    /// The elements of an array with keys like `listen[0]`; `None` if this is no array.
    pub(super) fn elements(&self) -> Option<Vec<Value<'r>>> {
        let array = self.toml().as_array()?;
        let kind = match self.kind {
            Some(Kind::List(of) | Kind::OneOrMore(of)) => Some(*of),
            kind => kind,
        };
        let element = |(index, toml)| Value {
            toml,
            key: format!("{}[{index}]", self.key),
            kind,
            secret: self.secret,
            report: self.report,
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// This value as a table of the given section.
    pub(super) fn table(&self, section: &'static Section) -> Option<Table<'r>> {
        match self.toml() {
            DeValue::Table(entries) => {
                Some(Table::new(entries, &self.toml.span(), section, self.key.clone(), self.report))
            }
            _ => self.wrong_kind(&format!("a table: `{}`", section.shown())),
        }
    }
}

/// The same value in JSON, which has all that keys take.
pub(super) fn json_of(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => number_of(number).into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().into(),
        DeValue::Boolean(yes) => (*yes).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(array) => array.iter().map(|value| json_of(value.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().as_ref(), json_of(value.get_ref()))).collect()
        }
    }
}

fn number_of(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn between(range: &RangeInclusive<i64>) -> String {
    match (*range.start(), *range.end()) {
        (i64::MIN, i64::MAX) => "a whole number".to_owned(),
        (low, high) => format!("a whole number from {low} to {high}"),
    }
}

fn kind(toml: &DeValue<'_>) -> &'static str {
    match toml {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
