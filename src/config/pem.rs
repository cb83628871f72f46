//! Reads a key that names PEM: a path, `{ file = "…" }`, `{ env = "NAME" }` or `{ credential = "NAME" }`.
//!
//! What is read is kept, so that whoever uses it touches no file. Whether it holds what it should is seen where a TLS
//! configuration is made of it.

use std::os::unix::ffi::OsStringExt;

use zeroize::Zeroizing;

use super::secret::{self, SecretSource};
use super::value::Value;
use crate::regular_file::ReadError;
use crate::tls::Pem;

/// What to write.
const WANTED: &str = r#"the path of a PEM file in quotes, or { credential = "NAME" }, { env = "NAME" }"#;

/// More than the certificates of any system.
const MOST_BYTES: usize = 4 << 20;

/// What a warning says about a key that others can read.
const EXPOSED: &str = "other users of this machine can read the file with the private key; `chmod 600` it";

/// Certificates.
pub(super) fn read(value: &Value<'_>) -> Option<Pem> {
    from(value, false)
}

/// A private key: a secret, so that not even a path that leads nowhere is shown. A warning says when others can read
/// its file.
pub(super) fn read_key(value: &Value<'_>) -> Option<Pem> {
    from(&value.secret(), true)
}

fn from(value: &Value<'_>, key: bool) -> Option<Pem> {
    let (source, inside) = match value.toml().as_str() {
        // The key itself in the place of its path must not be shown as one.
        Some(text) if text.contains("-----BEGIN") => return value.secret().wrong(WANTED),
        Some(_) => (SecretSource::File(value.path()?), None),
        None => secret::source(value, WANTED).map(|(source, inside)| (source, Some(inside)))?,
    };
    let value = inside.as_ref().unwrap_or(value);
    let path = match source {
        SecretSource::Variable(text) => {
            let text = Zeroizing::new(text.into_vec());
            return Some(Pem::new(format!("the variable of {}", value.key()), text));
        }
        SecretSource::File(path) => path,
    };
    match value.report.read_file(value, &path, MOST_BYTES) {
        Ok(contents) => {
            if key {
                secret::warn_if_exposed(&contents.meta, &path, EXPOSED, value);
            }
            Some(Pem::new(path.display().to_string(), contents.bytes))
        }
        Err(ReadError::NotRegular(kind)) => value.wrong(format!("a PEM file; this is {kind}")),
        Err(ReadError::TooLong(_)) => value.wrong("a PEM file; this is far too long for one"),
        Err(error) if key => value.say(format!("cannot read the file named here: {error}{}", error.cure())),
        Err(error) => {
            value.wrong(format!("a PEM file that can be read: {}: {error}{}", path.display(), error.cure()))
        }
    }
}
