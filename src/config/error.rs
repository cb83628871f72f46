//! What is wrong with a configuration, in words that say how to mend it.
//!
//! Every text here may reach a log or a ticket, so it holds no source line and no value of a key that may
//! carry a secret; [`shown`] is the one place that turns a value into text. It decides nothing about what is
//! right; the readers beside it do.

use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration to run with; always the user's to mend (exit code 2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigErrors {
    /// No `--config`, no `./wxgate.toml`, nothing in the environment: most likely a first start.
    #[error("{NOTHING_CONFIGURED}")]
    NothingConfigured,
    /// Everything that is wrong with the files, or with the environment, sorted by file and line.
    #[error("{}", one_each_line(.0))]
    Wrong(Vec<Problem>),
}

fn one_each_line(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it; `None`: the environment.
    pub file: Option<PathBuf>,
    /// Line in `file`, from 1.
    pub line: Option<usize>,
    /// Column in that line in characters, from 1; only for text that is not TOML.
    pub column: Option<usize>,
    /// Dotted path such as `account[0].token_api`, or the name of an environment variable.
    pub key: Option<String>,
    /// What was there, if it can be shown.
    pub found: Option<String>,
    /// What would be right; together with `found` it reads "found …, want …".
    pub advice: String,
}

impl ConfigErrors {
    /// The single entries; empty for [`ConfigErrors::NothingConfigured`].
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::NothingConfigured => &[],
            Self::Wrong(problems) => problems,
        }
    }

    /// What to do next, for whoever has not just done it.
    pub fn hint(&self) -> Option<String> {
        let file = self.problems().first()?.file.as_ref();
        let file = file.map_or(String::new(), |file| format!(" --config {}", file.display()));
        Some(format!("hint: `wxgate check{file}` shows what is right and what is wrong"))
    }
}

const NOTHING_CONFIGURED: &str = "\
nothing configured: no --config, no ./wxgate.toml, no WXGATE_APPID in the environment. Three ways to start:
  1. wxgate demo
       sandbox and proxy in one process, ready for curl, nothing to configure
  2. WXGATE_APPID=wx... WXGATE_SECRET_FILE=/path/to/appsecret wxgate serve
       one account from the environment
  3. wxgate serve --config wxgate.toml
       everything from a file; `wxgate init` writes one, and three lines are enough:
         [[account]]
         appid  = \"wx...\"
         secret = { file = \"appsecret\" }";

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        match &self.found {
            Some(found) => write!(f, "found {found}, want {}", self.advice),
            None => f.write_str(&self.advice),
        }
    }
}

/// A value in quotes, cut short; or only a description where the text may hold something private.
///
/// A text of several lines is what an unclosed `"""` makes of the rest of the file, secrets and all; a long
/// run of hex digits is an AppSecret in the wrong place.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    if text.contains(['\n', '\r']) {
        return "a text of several lines".to_owned();
    }
    if looks_like_appsecret(text) {
        return "a text that looks like a secret".to_owned();
    }
    let cut: String = text.chars().take(MOST).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

/// A key name as the user wrote it, or `None` where it is no plausible name of a key and might be a value
/// that slipped to the wrong side of a `=`.
pub(super) fn shown_key(name: &str) -> Option<&str> {
    let plausible = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!name.is_empty() && name.len() <= 24 && name.chars().all(plausible) && !looks_like_appsecret(name))
        .then_some(name)
}

fn looks_like_appsecret(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_configured_names_demo_first() {
        let text = ConfigErrors::NothingConfigured.to_string();
        let demo = text.find("wxgate demo").unwrap();
        assert!(demo < text.find("WXGATE_APPID=").unwrap());
        assert!(demo < text.find("--config wxgate.toml").unwrap());
    }

    #[test]
    fn long_private_and_multi_line_values_are_not_quoted() {
        assert_eq!(shown("a\"b"), r#""a\"b""#);
        assert_eq!(shown(&"x".repeat(80)), format!("\"{}…\"", "x".repeat(60)));
        assert_eq!(shown("one\ntwo"), "a text of several lines");
        assert_eq!(shown("0123456789abcdef0123456789abcdef"), "a text that looks like a secret");
        assert_eq!(shown_key("conect_timeout"), Some("conect_timeout"));
        assert_eq!(shown_key("no key at all"), None);
        assert_eq!(shown_key("longer-than-any-key-there-is"), None);
        assert_eq!(shown_key("0123456789abcdef01234567"), None);
    }
}
