//! Tests of the reader as a whole. Nothing here touches the process's environment or working directory.

mod documents;
mod examples;
mod included;
mod leaks;
mod messages;
mod settings;
mod sources;
mod table_of_keys;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use super::*;

/// An account that nothing is wrong with.
const ACCOUNT: &str = "[[account]]\nappid = \"wx1\"\nsecret = \"s3cret\"\n";

/// An environment of its own; HOME is always there.
fn env_of(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<> {
    let mut map = HashMap::from([("HOME".to_owned(), "/home/wx".to_owned())]);
    map.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    move |name| map.get(name).map(OsString::from)
}

fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    Config::from_toml(text, Path::new("wxgate.toml"), &env_of(&[("WECHAT_SECRET", "s3cret")]))
}

/// What the first account's token is issued for.
fn app(config: &Config) -> &App {
    config.accounts[0].app.as_ref().unwrap()
}

/// What is wrong with a text, without the hint at the end.
fn complaints(text: &str) -> Vec<String> {
    match load_text(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems().iter().map(ToString::to_string).collect(),
    }
}
