//! The configuration: no text makes it panic, and nothing it says holds a secret.
//!
//! `$S` in a text stands for the secret. Where the text puts it in a place that may hold one (a `secret`, a `key`, a
//! `password`, the `url` of a store or a robot, a `proxy`), no error, no warning and no `Debug` may show it; a text that
//! is not TOML may hold it anywhere. What stands behind a line `#---` is the file `more.toml` beside it, which `accounts`
//! may name.
#![no_main]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use toml::de::{DeTable, DeValue};
use wxgate::config::Config;

const SECRET: &str = "mk-5ecret-7f3a";
const FROM_ENVIRONMENT: &str = "mk-fr0m-env-91";

/// Whether the secret stands in a place where nobody would expect it to be kept back. `part` is the key that the table
/// is the value of.
fn misplaced(table: &DeTable<'_>, part: &str) -> bool {
    table.iter().any(|(key, value)| {
        let (key, value) = (key.get_ref(), value.get_ref());
        let guarded = match &**key {
            "secret" | "key" | "password" | "proxy" => true,
            // Redis's has a password, a robot's a key; an API's has neither, but somebody may think so.
            "url" => {
                ["store", "alert"].contains(&part) || value.as_str().is_some_and(|url| url.contains('@'))
            }
            _ => false,
        };
        key.contains(SECRET) || (!guarded && shows(value, key))
    })
}

fn shows(value: &DeValue<'_>, key: &str) -> bool {
    match value {
        DeValue::String(text) => text.contains(SECRET),
        DeValue::Array(items) => items.iter().any(|item| shows(item.get_ref(), key)),
        DeValue::Table(table) => misplaced(table, key),
        _ => false,
    }
}

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("wxgate-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the second file");
    folder
});

fuzz_target!(|text: &str| {
    let text = text.replace("$S", SECRET);
    // A file that blocks, a terminal say, is no finding.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let env = |name: &str| (name == "WECHAT_SECRET").then(|| OsString::from(FROM_ENVIRONMENT));
    let (main, more) = text.split_once("\n#---\n").unwrap_or((&text, ""));
    std::fs::write(FOLDER.join("more.toml"), more).expect("the second file is written");
    let said = match Config::from_toml(main, &FOLDER.join("wxgate.toml"), &env) {
        Ok(loaded) => {
            assert!(!loaded.config.accounts.is_empty() && !loaded.config.listen.is_empty());
            assert!(loaded.config.workers > 0);
            format!("{loaded:?} {}", loaded.warnings.join(" "))
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            format!("{errors} {errors:?}")
        }
    };
    assert!(!said.contains(FROM_ENVIRONMENT), "{said}");
    // As the configuration's own reader takes it: a number that is too large is no reason for it to stop.
    let misplaced = |text| DeTable::parse(text).is_ok_and(|table| misplaced(table.get_ref(), ""));
    if [main, more].into_iter().any(misplaced) {
        return;
    }
    assert!(!said.contains(SECRET), "{said}");
});
