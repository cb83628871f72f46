//! The TOML texts of a configuration: the file itself, and those that `accounts` names.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use zeroize::Zeroizing;

use super::Env;
use super::files::Files;
use super::secret::is_exposed;
use super::value::Value;
use crate::regular_file::ReadError;

/// More than any configuration.
const MOST_BYTES: usize = 1 << 20;

/// More files than anybody has accounts.
const MOST_FILES: usize = 10_000;

/// One file's text.
pub(super) struct Text {
    pub(super) path: PathBuf,
    pub(super) text: Zeroizing<String>,
    /// Whether other users of this machine can read the file.
    pub(super) exposed: bool,
}

/// Why there is no text: the line, where it is known, and what to do.
pub(super) struct NoText {
    pub(super) line: Option<usize>,
    pub(super) words: String,
}

/// Reads a file; `place` says what names it.
pub(super) fn read(place: String, path: &Path, files: &Files, env: Env<'_>) -> Result<Text, NoText> {
    let wrong = |line, words: &str| NoText { line, words: words.to_owned() };
    let contents = files.read(place, path, MOST_BYTES).map_err(|error| match error {
        ReadError::TooLong(_) => {
            wrong(None, "far too long for a configuration; want a TOML file of some lines")
        }
        error => wrong(None, &format!("cannot read the configuration: {error}")),
    })?;
    let exposed = is_exposed(&contents.meta, path, env);
    match std::str::from_utf8(&contents.bytes) {
        Ok(text) => Ok(Text { path: path.to_owned(), text: Zeroizing::new(text.to_owned()), exposed }),
        Err(e) => {
            let before = contents.bytes.iter().take(e.valid_up_to());
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            Err(wrong(Some(line), "not UTF-8; save the file as UTF-8"))
        }
    }
}

/// The files that one entry of `accounts` names, sorted by name; `None` if it is wrong.
pub(super) fn named(value: &Value<'_>) -> Option<Vec<PathBuf>> {
    const WANTED: &str = r#"a path like "accounts.d/*.toml""#;
    let text = value.text(WANTED)?;
    if text.is_empty() || text.contains('\0') {
        return value.wrong(WANTED);
    }
    let base = value.report.base();
    if !text.contains(['*', '?', '[']) {
        return Some(vec![base.join(text)]);
    }
    // The folder's own name is no pattern.
    let base = Pattern::escape(&base.to_string_lossy());
    let pattern = Path::new(&base).join(text);
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    value.report.reading(value);
    let found = match glob::glob_with(&pattern.to_string_lossy(), options) {
        Ok(found) => found,
        Err(error) => return value.wrong(format!("{WANTED}: {}", error.msg)),
    };
    let mut paths = Vec::new();
    for path in found.take(MOST_FILES + 1) {
        match path {
            Ok(path) => paths.push(path),
            Err(error) => {
                let words = crate::regular_file::reason(error.error());
                return value
                    .wrong(format!("a folder that can be read: {}: {words}", error.path().display()));
            }
        }
    }
    if paths.len() > MOST_FILES {
        return value.wrong(format!("a pattern of at most {MOST_FILES} files"));
    }
    Some(paths)
}
