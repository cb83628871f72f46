//! Reads a secret: `{ file = "…" }`, `{ env = "NAME" }`, `{ credential = "NAME" }` or a plain text.
//!
//! No message of this file holds anything that the user wrote as a value, not even the path of a secret's
//! file: whoever writes `{ file = "<the secret itself>" }` must not find it in a log. The one exception is
//! the name of an environment variable in the customary capitals.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Env;
use super::files::Files;
use super::keys::Kind;
use super::value::Value;
use crate::regular_file::{Contents, ReadError};
use crate::secret::Secret;

/// What to write for a secret.
const SECRET_WANTED: &str =
    r#"{ file = "PATH" }, { env = "NAME" }, { credential = "NAME" } or a text in quotes"#;

/// systemd's folder of the credentials of a unit.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What a warning says about a file with a secret that others can read.
pub(super) const EXPOSED: &str =
    "other users of this machine can read the file with the secret; `chmod 600` it";

/// More than any secret, and little enough for a wrong path.
const MOST_BYTES: usize = 64 * 1024;

/// What a secret is for, as messages name it, and where it comes from.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    name: &'static str,
    source: &'static str,
}

/// An account's secret.
pub(super) const APP_SECRET: Purpose =
    Purpose { name: "secret", source: "the AppSecret that the WeChat console shows" };
/// What whoever asks the admin listener shows.
pub(super) const ADMIN_KEY: Purpose =
    Purpose { name: "key", source: "a long random text that only operators and their monitoring know" };
/// The proxy before the API hosts, whose URL may hold a password.
pub(super) const PROXY_URL: Purpose = Purpose {
    name: "proxy",
    source: "a URL like http://user:pass@host:port or socks5h://user:pass@host:port",
};
/// What a caller shows.
pub(super) const CALLER_KEY: Purpose =
    Purpose { name: "key", source: "a long random text that only this caller knows" };

/// What calls are encrypted with.
pub(super) const SIGNING_KEY: Purpose =
    Purpose { name: "symmetric key", source: "the 44 characters that the console shows for AES256_GCM" };
/// Where a group robot is told.
pub(super) const ROBOT_URL: Purpose =
    Purpose { name: "url", source: "the webhook that the service shows for the robot" };
/// What messages to a group robot are signed with.
pub(super) const ROBOT_SECRET: Purpose = Purpose {
    name: "secret",
    source: "the text that the service shows beside 加签 or 签名校验 in the robot's security settings",
};
/// The URL of a shared store.
pub(super) const STORE_URL: Purpose =
    Purpose { name: "URL", source: "the URL of the store, like redis://user:password@host:6379/0" };
/// The password of a shared store.
pub(super) const STORE_PASSWORD: Purpose = Purpose { name: "password", source: "the password of the store" };

/// The text of an AppSecret.
///
/// # Errors
/// What is wrong with it, without any of it.
pub(crate) fn appsecret(text: &str) -> Result<Secret, String> {
    checked(text, APP_SECRET)
}

/// A secret-bearing key.
pub(super) fn read(value: &Value<'_>, purpose: Purpose) -> Option<Secret> {
    let value = &value.secret();
    if let Some(text) = value.toml().as_str() {
        value.report.plain_secret();
        return match checked(text, purpose) {
            Ok(_) if is_a_file(text, value) => value.say(format!(
                "the {} is the name of a file; want {{ file = \"…\" }} around it, to use what the file holds",
                purpose.name
            )),
            checked => checked.map_or_else(|words| value.say(words), Some),
        };
    }
    let (source, value) = source(value, SECRET_WANTED)?;
    let text = match source {
        SecretSource::Variable(text) => from_variable(text, purpose),
        SecretSource::File(path) => {
            let contents = value.report.read_file(&value, &path, MOST_BYTES);
            contents.map_err(|error| cannot_read(&error, purpose, &value)).and_then(|contents| {
                warn_if_exposed(&contents.meta, &path, EXPOSED, &value);
                text_of(&contents, purpose)
            })
        }
    };
    text.map_or_else(|words| value.say(words), Some)
}

/// Where a value comes from that does not stand in the configuration itself.
pub(super) enum SecretSource {
    /// The text of an environment variable.
    Variable(OsString),
    /// A file, be it one of systemd's credentials.
    File(PathBuf),
}

/// Reads `{ file = "…" }`, `{ env = "NAME" }` or `{ credential = "NAME" }`; with the value inside, for messages.
pub(super) fn source<'r>(value: &Value<'r>, wanted: &str) -> Option<(SecretSource, Value<'r>)> {
    let Some(entries) = value.toml().as_table() else { return value.wrong(wanted) };
    // Unknown keys are not even named here: `{ <the secret> = "" }` is a slip that happens.
    let mut entries = entries.iter();
    let (Some((key, inside)), None) = (entries.next(), entries.next()) else { return value.wrong(wanted) };
    let path = format!("{}.{}", value.key(), key.get_ref());
    let inside = Value::new(inside, path, &Kind::Path, value.report).secret();
    let source = match key.get_ref().as_ref() {
        "file" => SecretSource::File(inside.path()?),
        "env" => SecretSource::Variable(variable(&inside)?),
        "credential" => SecretSource::File(credential(&inside)?),
        _ => return value.wrong(wanted),
    };
    Some((source, inside))
}

fn variable(value: &Value<'_>) -> Option<OsString> {
    let name = value.text(r#"the name of an environment variable, like "WECHAT_SECRET""#)?;
    if name.is_empty() || name.contains(['=', '\0']) {
        return value.wrong(r#"the name of an environment variable, like "WECHAT_SECRET""#);
    }
    value.report.env_used(name);
    let text = (value.report.env())(name).filter(|text| !text.is_empty());
    text.or_else(|| {
        let shown = shown_variable(name).map_or("named here".to_owned(), str::to_owned);
        value.say(format!(
            "the environment variable {shown} is not set or empty; set it, or use {{ file = \"PATH\" }}"
        ))
    })
}

/// The file of a credential that systemd passes to the unit.
fn credential(value: &Value<'_>) -> Option<PathBuf> {
    let wanted =
        r#"the name of a credential in the unit, like "appsecret" for LoadCredential=appsecret:PATH"#;
    let name = value.text(wanted)?;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return value.wrong(wanted);
    }
    let Some(folder) = (value.report.env())(CREDENTIALS).filter(|folder| !folder.is_empty()) else {
        return value.say(format!(
            "{CREDENTIALS} is not set: systemd sets it for a unit with LoadCredential=; elsewhere use {{ file = \"PATH\" }}"
        ));
    };
    value.report.credential_used(value.key());
    Some(Path::new(&folder).join(name))
}

/// Whether a plain secret names a file: `key = "server.key"` is a path in `[tls]` and nowhere else.
fn is_a_file(text: &str, value: &Value<'_>) -> bool {
    value.report.base().join(text).is_file()
}

fn cannot_read(error: &ReadError, purpose: Purpose, value: &Value<'_>) -> String {
    let words = words_for(error, purpose);
    let base = value.report.base();
    match error {
        ReadError::System(_) if !base.as_os_str().is_empty() && value.key().ends_with(".file") => {
            format!("{words} (a relative path starts from `{}`)", base.display())
        }
        _ => words,
    }
}

fn words_for(error: &ReadError, purpose: Purpose) -> String {
    let name = purpose.name;
    match error {
        ReadError::TooLong(_) => {
            format!("the file named here is far too long for a {name}; want the {name} alone in it")
        }
        error => format!("cannot read the file named here: {error}{}", error.cure()),
    }
}

/// The text of an environment variable.
pub(super) fn from_variable(text: OsString, purpose: Purpose) -> Result<Secret, String> {
    let text = Zeroizing::new(text.into_string().map_err(|_| not_visible(purpose))?);
    checked(&text, purpose)
}

/// The text of a file that the environment names, and whether others than its owner may read it.
pub(super) fn from_file(
    files: &Files,
    place: &str,
    path: &Path,
    env: Env<'_>,
    purpose: Purpose,
) -> Result<(Secret, bool), String> {
    let contents =
        files.read(place.to_owned(), path, MOST_BYTES).map_err(|error| words_for(&error, purpose))?;
    Ok((text_of(&contents, purpose)?, is_exposed(&contents.meta, path, env)))
}

fn text_of(contents: &Contents, purpose: Purpose) -> Result<Secret, String> {
    let text = std::str::from_utf8(&contents.bytes).map_err(|_| not_visible(purpose))?;
    // Windows editors put a byte order mark in front.
    checked(text.strip_prefix('\u{feff}').unwrap_or(text), purpose)
}

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

/// Warns where others than its owner may read a file.
pub(super) fn warn_if_exposed(meta: &Metadata, path: &Path, words: &str, value: &Value<'_>) {
    if is_exposed(meta, path, value.report.env()) {
        value.report.warn_exposed(value.line(), value.key(), words);
    }
}

/// Whether group or world may read. A file of root for the group of a service (`root:wxgate 0640`) is how
/// packages do it, and systemd's credentials are guarded by their folder: neither is worth a warning.
pub(super) fn is_exposed(meta: &Metadata, path: &Path, env: Env<'_>) -> bool {
    if env(CREDENTIALS).is_some_and(|folder| !folder.is_empty() && path.starts_with(folder)) {
        return false;
    }
    let for_a_service = meta.uid() == 0 && meta.gid() != 0;
    let others = if for_a_service { 0o004 } else { 0o044 };
    meta.mode() & others != 0
}

/// A variable's name, if it can be nothing else.
fn shown_variable(name: &str) -> Option<&str> {
    let customary = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let hex = name.chars().all(|c| c.is_ascii_hexdigit());
    (name.len() <= 64 && name.chars().all(customary) && !hex).then_some(name)
}
