//! Reads a secret: `{ file = "…" }`, `{ env = "NAME" }` or a plain text.
//!
//! No message of this file holds anything that the user wrote as a value, not even the path of a secret's
//! file: whoever writes `{ file = "<the secret itself>" }` must not find it in a log. The one exception is
//! the name of an environment variable in the customary capitals.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::Env;
use super::keys::Kind;
use super::value::Value;
use crate::secret::Secret;

/// What to write for a secret.
pub(super) const SECRET_WANTED: &str = r#"{ file = "PATH" }, { env = "NAME" } or a text in quotes"#;

/// What a secret is for, as messages name it, and where it comes from.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    name: &'static str,
    source: &'static str,
}

/// An account's secret.
pub(super) const APP_SECRET: Purpose =
    Purpose { name: "secret", source: "the AppSecret that the WeChat console shows" };
/// What a caller shows.
pub(super) const CALLER_KEY: Purpose =
    Purpose { name: "key", source: "a long random text that only this caller knows" };

/// More than any secret, and little enough for a wrong path such as `/dev/zero`.
const MOST_BYTES: u64 = 64 * 1024;

/// A secret-bearing key.
pub(super) fn read(value: &Value<'_>, purpose: Purpose) -> Option<Secret> {
    let value = &value.secret();
    if value.toml().as_str().is_some() {
        value.report.plain_secret();
        let text = value.text(SECRET_WANTED)?;
        return checked(text, purpose).map_or_else(|words| value.say(words), Some);
    }
    let Some(entries) = value.toml().as_table() else { return value.wrong(SECRET_WANTED) };
    // Unknown keys are not even named here: `{ <the secret> = "" }` is a slip that happens.
    if entries.len() != 1 || !(entries.contains_key("file") || entries.contains_key("env")) {
        return value.wrong(SECRET_WANTED);
    }
    let (key, source) = entries.iter().next()?;
    let path = format!("{}.{}", value.key(), key.get_ref());
    let source = Value::new(source, path, &Kind::Path, value.report).secret();
    if key.get_ref() == "file" { from_file_of(&source, purpose) } else { from_env_of(&source, purpose) }
}

fn from_file_of(value: &Value<'_>, purpose: Purpose) -> Option<Secret> {
    let base = value.report.base();
    match from_file(&value.path()?, value.report.env(), purpose) {
        Ok((secret, exposed)) => {
            if exposed {
                value.report.warn(value.line(), value.key(), EXPOSED);
            }
            Some(secret)
        }
        Err(words) if base.as_os_str().is_empty() => value.say(words),
        Err(words) => value.say(format!("{words} (a relative path starts from `{}`)", base.display())),
    }
}

fn from_env_of(value: &Value<'_>, purpose: Purpose) -> Option<Secret> {
    let name = value.text(r#"the name of an environment variable, like "WECHAT_SECRET""#)?;
    if name.is_empty() || name.contains(['=', '\0']) {
        return value.wrong(r#"the name of an environment variable, like "WECHAT_SECRET""#);
    }
    value.report.env_used(name);
    let Some(text) = (value.report.env())(name).filter(|text| !text.is_empty()) else {
        return value.say(match shown_variable(name) {
            Some(name) => format!(
                "the environment variable {name} is not set or empty; set it, or use {{ file = \"PATH\" }}"
            ),
            None => {
                "the environment variable named here is not set or empty; set it, or use { file = \"PATH\" }"
                    .to_owned()
            }
        });
    };
    from_variable(text, purpose).map_or_else(|words| value.say(words), Some)
}

/// The text of an environment variable.
pub(super) fn from_variable(text: OsString, purpose: Purpose) -> Result<Secret, String> {
    let text = Zeroizing::new(text.into_string().map_err(|_| not_visible(purpose))?);
    checked(&text, purpose)
}

/// The text of a file, and whether others than its owner may read the file.
pub(super) fn from_file(path: &Path, env: Env<'_>, purpose: Purpose) -> Result<(Secret, bool), String> {
    let cannot = |e: std::io::Error| format!("cannot read the file named here: {}", reason(&e));
    let file = File::open(path).map_err(cannot)?;
    let exposed = is_exposed(&file, path, env);
    let text = read_at_most(file, MOST_BYTES).map_err(cannot)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(
            "the file named here is far too long for a secret; want the secret alone in it".to_owned()
        );
    }
    let text = std::str::from_utf8(&text).map_err(|_| not_visible(purpose))?;
    // Windows editors put a byte order mark in front.
    Ok((checked(text.strip_prefix('\u{feff}').unwrap_or(text), purpose)?, exposed))
}

/// A file's beginning, one byte more than `most` if it is longer. The buffer is made once and wiped after use:
/// growing would leave unwiped copies behind.
pub(super) fn read_at_most(file: impl Read, most: u64) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(most).unwrap_or(0) + 1));
    file.take(most + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// What a warning says about a file that [`from_file`] calls exposed.
pub(super) const EXPOSED: &str =
    "other users of this machine can read the file with the secret; `chmod 600` it";

fn not_visible(purpose: Purpose) -> String {
    let name = purpose.name;
    format!("the {name} holds more than one line of visible ASCII characters; want the {name} alone")
}

fn checked(text: &str, purpose: Purpose) -> Result<Secret, String> {
    let text = text.trim_end();
    let Purpose { name, source } = purpose;
    if text.is_empty() {
        return Err(format!("the {name} is empty; want {source}"));
    }
    if text.starts_with(char::is_whitespace) {
        return Err(format!("the {name} begins with a blank or an empty line; want the {name} alone"));
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(not_visible(purpose));
    }
    Ok(Secret::new(text.to_owned()))
}

/// The operating system's reason without anything that a path could have contributed.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code).to_string(),
        None => error.kind().to_string(),
    }
}

/// As [`is_exposed`]; a file that cannot be opened is for its reader to complain about.
pub(super) fn is_exposed_at(path: &Path, env: Env<'_>) -> bool {
    File::open(path).is_ok_and(|file| is_exposed(&file, path, env))
}

/// Whether group or world may read. A file of root for the group of a service (`root:wxgate 0640`) is how
/// packages do it, and systemd's credentials are guarded by their folder: neither is worth a warning.
#[cfg(unix)]
pub(super) fn is_exposed(file: &File, path: &Path, env: Env<'_>) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = file.metadata() else { return false };
    if env("CREDENTIALS_DIRECTORY").is_some_and(|folder| !folder.is_empty() && path.starts_with(folder)) {
        return false;
    }
    let for_a_service = meta.uid() == 0 && meta.gid() != 0;
    let others = if for_a_service { 0o004 } else { 0o044 };
    meta.is_file() && meta.mode() & others != 0
}

#[cfg(not(unix))]
pub(super) fn is_exposed(_: &File, _: &Path, _: Env<'_>) -> bool {
    false
}

/// A variable's name, if it can be nothing else.
fn shown_variable(name: &str) -> Option<&str> {
    let customary = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let hex = name.chars().all(|c| c.is_ascii_hexdigit());
    (name.len() <= 64 && name.chars().all(customary) && !hex).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_a_secret_never_grows() {
        for (length, read) in [(0, 0), (1, 1), (1000, 1000), (1001, 1001), (5000, 1001)] {
            let text = read_at_most(vec![b'x'; length].as_slice(), 1000).unwrap();
            assert_eq!((text.len(), text.capacity()), (read, 1001), "{length}");
        }
    }
}
