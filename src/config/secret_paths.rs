//! Reads `secret_paths`: paths that wxgate knows, and tables that say how other calls name appid and AppSecret.

use std::fmt::Write as _;

use toml::de::DeValue;

use super::parse::path;
use super::value::Value;
use crate::proxy::route::{PathTable, SecretPath};

/// What a table may hold.
const KEYS: [&str; 4] = ["path", "appid", "secret", "token"];

const WANT: &str = r#"an array of paths like ["/sns/jscode2session"]"#;

/// The entries, each a path of its own. `known` has those that need no table; `paths` is what the account allows.
pub(super) fn read(value: &Value<'_>, known: &PathTable, paths: &[String]) -> Option<Vec<SecretPath>> {
    let mut seen: Vec<String> = Vec::new();
    value.list(WANT, |v| {
        let entry = one(v, known)?;
        if known.is_local(&entry.path) {
            return v
                .say(format!("wxgate answers {} by itself and never sends it on; remove it", entry.path));
        }
        if seen.contains(&entry.path) {
            return v.say(format!("{} a second time; remove one of them", entry.path));
        }
        seen.push(entry.path.clone());
        if !paths.iter().any(|allowed| entry.path.starts_with(allowed.as_str())) {
            let words = format!("no call fits \"{}\": none of the account's `paths` admits it", entry.path);
            v.report.warn(v.line(), v.key(), &words);
        }
        Some(entry)
    })
}

fn one(value: &Value<'_>, known: &PathTable) -> Option<SecretPath> {
    if matches!(value.toml(), DeValue::Table(_)) {
        return described(value);
    }
    let text = value.text(&format!("a path in quotes, or a table like {}", example("/wxa/x")))?;
    if let Some(known) = known.secret_paths.iter().find(|known| known.path == text) {
        return Some(known.into());
    }
    let mut want = String::new();
    for known in known.secret_paths {
        let _ = write!(want, "\"{}\", ", known.path);
    }
    let path = path::whole(text).unwrap_or("/wxa/x");
    value.wrong(format!("{want}or for another call how it names the two: {}", example(path)))
}

fn example(path: &str) -> String {
    format!("{{ path = \"{path}\", appid = \"appid\", secret = \"secret\" }}")
}

fn described(value: &Value<'_>) -> Option<SecretPath> {
    let DeValue::Table(entries) = value.toml() else { return None };
    let mut right = true;
    for name in entries.keys() {
        let found = name.get_ref().as_ref();
        if !KEYS.contains(&found) {
            // What stands under an unknown key may be a secret, and so may the key.
            right = value.say::<()>("unknown key in this table: want path, appid, secret, token").is_some();
        }
    }
    let member = |name: &str| {
        entries
            .get(name)
            .map(|toml| Value::table_named(toml, format!("{}.{name}", value.key()), value.report))
    };
    let Some(path) = member("path") else {
        return value.say(format!("`path` is missing: want a table like {}", example("/wxa/x")));
    };
    let path = path.parsed("a path in quotes", |text| {
        path::whole(text).map(ToOwned::to_owned).ok_or_else(|| path::WHOLE_WANTED.to_owned())
    });
    let names = ["appid", "secret"].map(|name| match member(name) {
        // Somebody may take it for the place of the AppSecret itself.
        Some(found) => found.secret().parsed("a name in quotes", parameter),
        None => Some(name.to_owned()),
    });
    let token = member("token").map_or(Some(false), |found| found.yes_or_no());
    let [appid, secret] = names;
    let entry = SecretPath { path: path?, appid: appid?, secret: secret?, token: token? };
    if entry.appid == entry.secret {
        return value.say("appid and secret have the same name here; want two");
    }
    if [&entry.appid, &entry.secret].contains(&&"access_token".to_owned()) {
        return value.say("`access_token` is the name of the token; want those of appid and AppSecret");
    }
    right.then_some(entry)
}

/// The name of a parameter.
fn parameter(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_value = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(good) && !is_value {
        true => Ok(text.to_owned()),
        false => Err("what the call names it (letters, digits, `_`, `-` and `.`), not its value".to_owned()),
    }
}
