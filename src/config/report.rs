//! Gathers what is wrong with one file while its readers go on, so that the user sees everything at once.
//!
//! It knows lines and key names, and at the end turns unknown keys into advice. It reads no value.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::Path;

use super::Env;
use super::error::{Problem, shown_key};

/// The table of the keys that stand before the first header.
pub(super) const TOP: &str = "";

/// Shared by all readers of one file; the cells are borrowed for single statements only.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    /// Where the values of `{ env = … }` and of the default `state_dir` come from.
    pub(super) env: Env<'a>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
    known: RefCell<Vec<(&'static str, &'static str)>>,
    unknown: RefCell<Vec<Unknown>>,
    env_used: RefCell<Vec<String>>,
    plain_secret: Cell<bool>,
}

struct Unknown {
    line: usize,
    table: &'static str,
    path: String,
    name: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, env: Env<'a>) -> Self {
        Self {
            file,
            text,
            env,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
            env_used: RefCell::default(),
            plain_secret: Cell::new(false),
        }
    }

    /// The folder that relative paths start from; empty for the working directory.
    pub(super) fn base(&self) -> &'a Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Line (from 1) of a byte offset.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    /// Column (from 1, in characters) of a byte offset.
    pub(super) fn column(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        1 + before.chars().rev().take_while(|c| *c != '\n').count()
    }

    pub(super) fn problem(&self, line: usize, key: &str, found: Option<String>, advice: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
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
        if self.problems.borrow().iter().any(|p| p.line == Some(line)) {
            return;
        }
        self.problem(line, "", None, words);
        if let Some(last) = self.problems.borrow_mut().last_mut() {
            last.column = Some(self.column(span));
        }
    }

    pub(super) fn warn(&self, line: usize, key: &str, words: &str) {
        self.warnings.borrow_mut().push(format!("{}:{line}: {key}: {words}", self.file.display()));
    }

    pub(super) fn know(&self, table: &'static str, name: &'static str) {
        let mut known = self.known.borrow_mut();
        if !known.contains(&(table, name)) {
            known.push((table, name));
        }
    }

    /// A key that no reader asked for. What to say waits until all tables have said which keys they have.
    pub(super) fn unknown(&self, line: usize, table: &'static str, path: &str, name: &str) {
        let (path, name) = (path.to_owned(), name.to_owned());
        self.unknown.borrow_mut().push(Unknown { line, table, path, name });
    }

    pub(super) fn env_used(&self, name: &str) {
        self.env_used.borrow_mut().push(name.to_owned());
    }

    /// Says that the file itself holds a secret.
    pub(super) fn plain_secret(&self) {
        self.plain_secret.set(true);
    }

    /// Runs a reader for the sake of its key names and forgets what it complains about.
    pub(super) fn quietly(&self, run: impl FnOnce()) {
        let (problems, warnings) = (self.problems.borrow().len(), self.warnings.borrow().len());
        run();
        self.problems.borrow_mut().truncate(problems);
        self.warnings.borrow_mut().truncate(warnings);
    }

    pub(super) fn finish(self) -> Finished {
        for key in self.unknown.borrow().iter() {
            let (path, advice) = self.advise(key);
            self.problem(key.line, &path, None, advice);
        }
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        Finished {
            problems,
            warnings: self.warnings.into_inner(),
            env_used: self.env_used.into_inner(),
            plain_secret: self.plain_secret.get(),
            #[cfg(test)]
            known: self.known.into_inner(),
        }
    }

    fn advise(&self, key: &Unknown) -> (String, String) {
        let known = self.known.borrow();
        let here: Vec<&str> = known.iter().filter(|(t, _)| *t == key.table).map(|(_, name)| *name).collect();
        let Some(name) = shown_key(&key.name) else {
            let words = format!("holds something that is not one of its keys: {}", listed(&here));
            return (key.path.clone(), words);
        };
        let path = if key.path.is_empty() { name.to_owned() } else { format!("{}.{name}", key.path) };
        let asked = name.to_ascii_lowercase().replace('-', "_");
        let close = here
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, &asked), known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
            .min();
        let advice = if let Some((_, nearest)) = close {
            format!("unknown key, did you mean `{nearest}`?")
        } else if let Some((table, _)) = known.iter().find(|(_, other)| *other == asked) {
            match *table {
                TOP => {
                    "unknown key here, it belongs at the top of the file, before the first [table]".to_owned()
                }
                "account" => "unknown key here, it belongs under [[account]]".to_owned(),
                table => format!("unknown key here, it belongs under [{table}]"),
            }
        } else {
            format!("unknown key, known here are {}", listed(&here))
        };
        (path, advice)
    }
}

/// What is left when all readers are through.
pub(super) struct Finished {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// Environment variables that the file itself asks for.
    pub(super) env_used: Vec<String>,
    pub(super) plain_secret: bool,
    #[cfg(test)]
    pub(super) known: Vec<(&'static str, &'static str)>,
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
