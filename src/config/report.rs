//! Gathers what is wrong with a configuration while its readers go on, so that the user sees everything at once.
//!
//! [`Findings`] are those of the whole configuration, a [`Report`] belongs to one of its files. Both know lines and
//! key names, and at the end turn unknown keys into advice. They read no value.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Env;
use super::advice::advise;
use super::error::Problem;
use super::files::Files;
use super::keys::{Header, Section};
use super::settings::{Content, Setting, ValueSource, hides, replace};
use super::value::Value;
use crate::regular_file::{Contents, ReadError};

/// What the readers of all files of one configuration found; the cells are borrowed for single statements only.
pub(super) struct Findings<'a> {
    /// Where the values of `{ env = … }` and of the default `state_dir` come from.
    pub(super) env: Env<'a>,
    pub(super) files: &'a Files,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
    exposed: Cell<bool>,
    env_used: RefCell<Vec<String>>,
    credentials: RefCell<Vec<String>>,
    settings: RefCell<Vec<Setting>>,
    /// How many tables of each section there have been, over all files.
    tables: RefCell<Vec<(&'static str, usize)>>,
    #[cfg(test)]
    asked: RefCell<Vec<(&'static str, &'static str)>>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(files: &'a Files, env: Env<'a>) -> Self {
        Self {
            env,
            files,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            exposed: Cell::default(),
            env_used: RefCell::default(),
            credentials: RefCell::default(),
            settings: RefCell::default(),
            tables: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// Something wrong with a whole file.
    pub(super) fn problem_in(&self, file: &Path, line: Option<usize>, advice: String) {
        let file = Some(file.to_owned());
        let problem = Problem { file, line, column: None, key: None, found: None, advice };
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warn(&self, words: String) {
        self.warnings.borrow_mut().push(words);
    }

    /// Warns of a file with a secret that other users can read.
    pub(super) fn warn_exposed(&self, words: String) {
        self.exposed.set(true);
        self.warn(words);
    }

    /// The path of one more table in what is in force, counted over all files.
    pub(super) fn next_table(&self, section: &'static Section) -> String {
        match section.header {
            Header::None | Header::Once | Header::Optional => section.name.to_owned(),
            // Of the outer table that came last.
            Header::Inner => {
                let (outer, inner) = section.name.split_once('.').unwrap_or((section.name, ""));
                let tables = self.tables.borrow();
                let count = tables.iter().find(|(name, _)| *name == outer).map_or(1, |(_, count)| *count);
                format!("{outer}[{}].{inner}", count - 1)
            }
            Header::Many | Header::Any => {
                let mut tables = self.tables.borrow_mut();
                let known = tables.iter().position(|(name, _)| *name == section.name);
                let at = known.unwrap_or_else(|| {
                    tables.push((section.name, 0));
                    tables.len() - 1
                });
                let (name, count) = &mut tables[at];
                *count += 1;
                format!("{name}[{}]", *count - 1)
            }
        }
    }

    /// Notes what is in force.
    pub(super) fn set(&self, key: String, value: Json, source: ValueSource, content: Content) {
        self.settings.borrow_mut().push(Setting { key, value, source, content });
    }

    /// Notes that something other than the file decides about a key.
    pub(super) fn replace(&self, key: &str, value: Json, source: ValueSource) {
        replace(&mut self.settings.borrow_mut(), key, value, source, Content::default());
    }

    pub(super) fn finish(self) -> Finished {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Finished {
            problems,
            warnings: self.warnings.into_inner(),
            exposed: self.exposed.get(),
            env_used: self.env_used.into_inner(),
            credentials: self.credentials.into_inner(),
            settings: self.settings.into_inner(),
            #[cfg(test)]
            asked: self.asked.into_inner(),
        }
    }
}

/// What is left when all readers are through.
pub(super) struct Finished {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// Other users can read a file with a secret.
    pub(super) exposed: bool,
    /// Environment variables that the files themselves ask for.
    pub(super) env_used: Vec<String>,
    /// Keys whose values are systemd's credentials.
    pub(super) credentials: Vec<String>,
    /// What is in force.
    pub(super) settings: Vec<Setting>,
    /// Section and name of each key that a reader asked for.
    #[cfg(test)]
    pub(super) asked: Vec<(&'static str, &'static str)>,
}

/// What the readers of one file share.
pub(super) struct Report<'a> {
    pub(super) findings: &'a Findings<'a>,
    file: &'a Path,
    /// The same, to be shared by what is in force.
    shared_file: Arc<Path>,
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    plain_secret: Cell<bool>,
    /// Of the files that values name, with the lines that name them.
    contents: RefCell<Vec<(usize, Content)>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, findings: &'a Findings<'a>) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        let (plain_secret, contents) = (Cell::new(false), RefCell::default());
        Self { findings, file, shared_file: file.into(), text, lines, plain_secret, contents }
    }

    pub(super) fn env(&self) -> Env<'a> {
        self.findings.env
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The file, as it was named.
    pub(super) fn file(&self) -> &'a Path {
        self.file
    }

    /// A line of this file as the source of a value.
    pub(super) fn source(&self, line: usize, from: Option<String>) -> ValueSource {
        ValueSource::Line { file: Arc::clone(&self.shared_file), line, from }
    }

    /// The folder that relative paths start from; empty for the working directory.
    pub(super) fn base(&self) -> &'a Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Line (from 1) of a byte offset.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.lines.partition_point(|begin| *begin <= span.start)
    }

    /// Column (from 1, in characters) of a byte offset.
    pub(super) fn column(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        1 + before.chars().rev().take_while(|c| *c != '\n').count()
    }

    pub(super) fn problem(&self, line: usize, key: &str, found: Option<String>, advice: impl Into<String>) {
        self.findings.problems.borrow_mut().push(Problem {
            file: Some(self.file.to_owned()),
            line: Some(line),
            column: None,
            key: (!key.is_empty()).then(|| key.to_owned()),
            found,
            advice: advice.into(),
        });
    }

    /// Something in the text that is not TOML; one per line, for what follows on it is seldom meant.
    pub(super) fn syntax(&self, span: &Range<usize>, words: &str) {
        let line = self.line(span);
        let here = |p: &Problem| p.line == Some(line) && p.file.as_deref() == Some(self.file);
        if self.findings.problems.borrow().iter().any(here) {
            return;
        }
        self.problem(line, "", None, words);
        if let Some(last) = self.findings.problems.borrow_mut().last_mut() {
            last.column = Some(self.column(span));
        }
    }

    pub(super) fn warn(&self, line: usize, key: &str, words: &str) {
        self.findings.warn(self.at(line, key, words));
    }

    /// As [`Findings::warn_exposed`], of a file that a value names.
    pub(super) fn warn_exposed(&self, line: usize, key: &str, words: &str) {
        self.findings.warn_exposed(self.at(line, key, words));
    }

    fn at(&self, line: usize, key: &str, words: &str) -> String {
        format!("{}:{line}: {key}: {words}", self.file.display())
    }

    /// Notes, in tests, that a reader asked for a key.
    pub(super) fn asked(&self, _section: &'static str, _name: &'static str) {
        #[cfg(test)]
        self.findings.asked.borrow_mut().push((_section, _name));
    }

    /// A key that is in no table of keys, with the most likely cure.
    pub(super) fn unknown(&self, line: usize, section: &'static Section, path: &str, name: &str) {
        let (path, advice) = advise(section, path, name);
        self.problem(line, &path, None, advice);
    }

    pub(super) fn env_used(&self, name: &str) {
        self.findings.env_used.borrow_mut().push(name.to_owned());
    }

    /// Notes that a key's value is one of systemd's credentials.
    pub(super) fn credential_used(&self, key: &str) {
        self.findings.credentials.borrow_mut().push(key.to_owned());
    }

    /// Reads a file that a value names.
    pub(super) fn read_file(
        &self,
        value: &Value<'_>,
        path: &Path,
        most: usize,
    ) -> Result<Contents, ReadError> {
        let contents = self.findings.files.read(self.place(value), path, most)?;
        self.contents.borrow_mut().push((value.line(), Content::of(&*contents.bytes)));
        Ok(contents)
    }

    /// What the value at `span` holds beyond what is `shown` of it: in the text itself, and in the files that it names.
    pub(super) fn content(&self, span: &Range<usize>, shown: &Json) -> Content {
        let lines = self.line(span)..=self.line(&(span.end..span.end));
        let contents = self.contents.borrow();
        let named = contents.iter().filter(|(line, _)| lines.contains(line)).map(|(_, content)| *content);
        let hidden = hides(shown).then(|| self.text.get(span.clone()));
        Content::of((hidden, named.collect::<Vec<_>>()))
    }

    /// Notes that what a value names is being read.
    pub(super) fn reading(&self, value: &Value<'_>) {
        self.findings.files.reading(self.place(value));
    }

    fn place(&self, value: &Value<'_>) -> String {
        format!("{}:{}: {}", self.file.display(), value.line(), value.key())
    }

    /// Notes that the file itself holds a secret.
    pub(super) fn plain_secret(&self) {
        self.plain_secret.set(true);
    }

    /// Whether the file itself holds a secret.
    pub(super) fn has_plain_secret(&self) -> bool {
        self.plain_secret.get()
    }
}
